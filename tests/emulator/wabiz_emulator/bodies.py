# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is common to the bodies of the API and of the control API: JSON that can be handed on, and typed members."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

# Far more than any edge has; what is deeper breaks whatever goes through it member by member.
MOST_LEVELS = 64
_WORDS = {
    str: "text", bool: "true or false", int: "an integer", float: "a number", type(None): "null", list: "a list",
    dict: "an object",
}  # fmt: skip


def parsed(body: bytes) -> Any:
    """The value of a JSON body; ValueError says why it is none, or one that could not be sent on as JSON."""
    try:
        value = json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _depth in range(MOST_LEVELS):
        level = [below for above in level for below in _below(above).values()]
        if not level:
            return value
    raise ValueError("nested too deeply")


def broken_text(value: Any, name: str = "") -> str | None:
    """The dotted name of a text in a parsed body that is no Unicode, such as a lone surrogate; None if all are."""
    if isinstance(value, str):
        return None if _is_unicode(value) else name
    for member, below in _below(value).items():
        full = f"{name}.{member}" if name else str(member)
        found = full if not _is_unicode(str(member)) else broken_text(below, full)
        if found is not None:
            return found
    return None


def members(
    body: Any, what: str, types: Mapping[str, tuple[type, ...]], required: Collection[str] = ()
) -> dict[str, Any]:
    """The body as an object with members of these types only; ValueError says what does not fit. int is float too."""
    if not isinstance(body, dict):
        raise ValueError(f"{what}: a JSON object expected")
    unknown = sorted(set(body) - set(types))
    if unknown:
        raise ValueError(f"unknown in {what}: {', '.join(unknown)}; known: {', '.join(types)}")
    for name in required:
        if name not in body:
            raise ValueError(f"{what} needs {name}")
    for name, value in body.items():
        kinds = types[name]
        if type(value) not in kinds and not (float in kinds and is_integer(value)):
            raise ValueError(f"{name}: {' or '.join(_WORDS[kind] for kind in kinds)} expected")
    return body


def is_integer(value: Any) -> bool:
    """Whether it is an integer; true and false, which Python takes for 1 and 0, are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _below(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, list) else {}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number
