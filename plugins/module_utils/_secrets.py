# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding and masking secrets. Pure.

What is secret: passwords, tokens, provider credentials, and the query, fragment and user info of URLs, since a
webhook may carry its shared secret there (API notes, section 7).

This module is private to the collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "********"
CHANGED = " (changed)"

_SECRET_NAME = re.compile(r"passw|token|secret|bearer|credential|api_?key", re.IGNORECASE)
# Generous on purpose: what merely looks like a URL is masked rather than shown.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")


def mask_url(url: str) -> str:
    """The URL without user info, query and fragment: C(https://********@host/path?********)."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority_end = min((at for at in (rest.find(mark) for mark in "/?#") if at >= 0), default=len(rest))
    # A stray "@" behind the authority may still be a password with a slash in it, so the last one counts.
    at = rest.rfind("@")
    if at >= authority_end:
        tail_mark = min((at for at in (rest.find(mark) for mark in "?#") if at >= 0), default=len(rest))
        at = rest.rfind("@", 0, tail_mark)
    if at >= 0:
        rest = MASK + rest[at:]
    for mark in "?#":
        head, found, tail = rest.partition(mark)
        if found:
            return f"{scheme}{separator}{head}{mark}{MASK if tail else ''}"
    return f"{scheme}{separator}{rest}"


def url_secrets(url: str) -> set[str]:
    """What must not be seen of a URL: its user info, query, fragment, and the values in them (4 characters and up)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    found = {parts.query, parts.fragment}
    if "@" in parts.netloc:
        user_info = parts.netloc.rpartition("@")[0]
        found |= {user_info, unquote(user_info)}
        found |= {unquote(part) for part in user_info.split(":")} | set(user_info.split(":"))
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        found |= {value or name}
    found |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    return {secret for secret in found if len(secret) >= 4}


def find_secrets(value: Any) -> set[str]:
    """Every secret string in a settings object: URL parts, and the values of names that tell of a secret."""
    if isinstance(value, Mapping):
        found: set[str] = set()
        for name, member in value.items():
            if isinstance(member, str) and _SECRET_NAME.search(str(name)):
                found.add(member)
            else:
                found |= find_secrets(member)
        return {secret for secret in found if len(secret) >= 4}
    if isinstance(value, (list, tuple)):
        return set().union(*(find_secrets(member) for member in value)) if value else set()
    if isinstance(value, str):
        return set().union(*(url_secrets(url) for url in _URL.findall(value)), set())
    return set()


def mask(value: Any) -> Any:
    """A copy of a settings object in which secrets are masked; structure, types and everything else stay."""
    if isinstance(value, Mapping):
        return {name: _mask_member(str(name), member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(member) for member in value]
    if isinstance(value, str) and "://" in value:
        # One run of characters is one URL: settings hold URLs, not prose.
        return mask_url(value) if not re.search(r"\s", value) else _URL.sub(lambda match: mask_url(match[0]), value)
    return value


def _mask_member(name: str, member: Any) -> Any:
    if isinstance(member, str) and member:
        if _SECRET_NAME.search(name):
            return MASK
        if name.lower().endswith("url"):
            return mask_url(member)
    return mask(member)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """One line of text without control characters, and without any of the secrets, whatever form a server echoes."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        line = line.replace(secret, MASK)
    return _URL.sub(lambda match: mask_url(match[0]), line)
