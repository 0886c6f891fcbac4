# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects in `extensions/awx` as data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "extensions" / "awx"


class Unsafe(str):
    """Text that Ansible does not render."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(node.value))


def load() -> dict[str, Any]:
    """All variables of the files; one that is nothing but the name of another one of them is that one."""
    found: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("*.yml")):
        found |= yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader with one more tag
    resolved: dict[str, Any] = _resolve(found, found)
    return resolved


def _resolve(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _resolve(member, known) for name, member in value.items()}
    if isinstance(value, list):
        return [_resolve(member, known) for member in value]
    name = re.fullmatch(r"\{\{ (\w+) \}\}", value) if isinstance(value, str) else None
    return known[name[1]] if name and name[1] in known else value
