# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that a run is given, and the hunt for them in all that it says and leaves behind.

What is secret is found by rules of its own, not by those of the collection, which may be wrong.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

# Shorter ones are in many a text by chance.
SHORTEST = 6
SECRET_NAME = re.compile(r"(password|token|secret|bearer|api_?key)$", re.IGNORECASE)
URL = re.compile(r"""[a-z][a-z0-9+]*://[^\s"']+""", re.IGNORECASE)

# Every secret of every run of this session, for what all runs share.
seen: set[str] = set()


def secrets_in(value: Any) -> set[str]:
    """The secrets in what a test writes: values under telling names, headers, and the hidden parts of URLs."""
    found = {text for text in _secrets_in(value) if len(text) >= SHORTEST and "{{" not in text and set(text) != {"*"}}
    seen.update(found)
    return found


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            if str(name).endswith("headers") and isinstance(member, Mapping):
                yield from (text for text in member.values() if isinstance(text, str))
            elif SECRET_NAME.search(str(name)) and isinstance(member, str):
                yield member
                users = {"admin"} | {str(value[key]) for key in value if str(key).lower().endswith("username")}
                yield from (base64.b64encode(f"{user}:{member}".encode()).decode().rstrip("=") for user in users)
            else:
                yield from _secrets_in(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _secrets_in(member)
    elif isinstance(value, str):
        for url in URL.findall(value):
            yield from _hidden_parts(url)


def _hidden_parts(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for text in (parts.username, parts.password, parts.fragment, *(member for _name, member in parse_qsl(parts.query))):
        if text:
            yield from {text, unquote(text)}


@cache
def _forms(secret: str) -> frozenset[str]:
    """A secret in every encoding in which one travels."""
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    return frozenset({*forms, json.dumps(secret)[1:-1], repr(secret)[1:-1]})


def hunt(text: str, secrets: Iterable[str]) -> list[str]:
    """Those of the secrets that are in a text, in whatever encoding."""
    return [secret for secret in secrets if any(form in text for form in _forms(secret))]


def hunt_in_files(files: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """Which files hold which of the secrets."""
    found = []
    for file in files:
        # What a run has left may be gone a moment later.
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() and not file.is_symlink() else ""
        found += [f"{secret} in {file}" for secret in hunt(text, secrets)]
    return found
