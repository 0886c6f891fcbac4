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
from urllib.parse import unquote, unquote_plus

MASK = "********"
CHANGED = "(changed)"

_SECRET_NAME = re.compile(r"passw|passphrase|^pass$|token|secret|bearer|credential|(api|private)_?key", re.IGNORECASE)
# What is hidden wherever it occurs; shorter ones would make every text unreadable.
_SHORTEST = 4
_WHITESPACE = re.compile(r"\s")
_BETWEEN_PAIRS = re.compile("[&;]")
# Generous on purpose: what merely looks like a URL is masked rather than shown.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")


def _split_url(url: str) -> tuple[str, str | None, str, str]:
    """Scheme with its separator, user info, what may be seen, and all from the query or the fragment on.

    Not C(urlsplit), which drops characters and raises. People do not always quote their passwords, so in doubt more is
    user info than the grammar says.
    """
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    end = min((at for at in (rest.find(mark) for mark in "?#") if at >= 0), default=len(rest))
    shown, tail = rest[:end], rest[end:]
    if "@" in tail and ":" in shown:
        # What looks like a port may be the beginning of a password with a question mark in it.
        return scheme + separator, rest.rpartition("@")[0], "", tail
    user_info, at_sign, host = shown.rpartition("@")
    return scheme + separator, user_info if at_sign else None, host, tail


def mask_url(url: str) -> str:
    """The URL without user info, query and fragment: C(https://********@host/path?********)."""
    scheme, user_info, shown, tail = _split_url(url)
    hidden = "" if user_info is None else f"{MASK}@"
    return f"{scheme}{hidden}{shown}{tail[:1]}{MASK if tail[1:] else ''}"


def url_secrets(url: str) -> set[str]:
    """What must not be seen of a URL: user info, query, fragment and the values in them, quoted and not."""
    _scheme, user_info, _shown, tail = _split_url(url)
    query, _mark, fragment = tail[1:].partition("#")
    user, _colon, password = (user_info or "").partition(":")
    pieces = {user_info or "", user, password, tail[1:], query, fragment}
    for pair in _BETWEEN_PAIRS.split(query):
        name, _sign, value = pair.partition("=")
        pieces.add(value or name)
    forms = {form for piece in pieces for form in (piece, unquote(piece), unquote_plus(piece))}
    return {form for form in forms if len(form) >= _SHORTEST}


def find_secrets(value: Any) -> set[str]:
    """Every secret string in a settings object: URL parts, and the values of names that tell of a secret."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for name, member in value.items():
            found |= _texts(member) if _SECRET_NAME.search(str(name)) else find_secrets(member)
            if isinstance(member, str) and _names_url(str(name)):
                found |= url_secrets(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            found |= find_secrets(member)
    elif isinstance(value, str):
        for url in [value] if _is_url(value) else _URL.findall(value):
            found |= url_secrets(url)
    return found


def _texts(value: Any) -> set[str]:
    """Every text in a value, and every text in what is in it."""
    if isinstance(value, str):
        return {value} if len(value) >= _SHORTEST else set()
    if isinstance(value, Mapping):
        value = list(value.values())
    return set().union(*(_texts(member) for member in value)) if isinstance(value, (list, tuple)) else set()


def _names_url(name: str) -> bool:
    return name.lower().endswith("url")


def _is_url(value: str) -> bool:
    """Whether the whole text is one URL; settings hold those, and prose hardly ever."""
    return _URL.match(value.strip()) is not None or ("://" in value and not _WHITESPACE.search(value))


def mask(value: Any) -> Any:
    """A copy of a settings object in which secrets are masked; structure, types and everything else stay."""
    if isinstance(value, Mapping):
        return {name: _mask_member(str(name), member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(member) for member in value]
    if isinstance(value, str):
        return mask_url(value) if _is_url(value) else _URL.sub(lambda match: mask_url(match[0]), value)
    return value


def _mask_member(name: str, member: Any) -> Any:
    if _SECRET_NAME.search(name):
        return _mask_all(member)
    if isinstance(member, str) and _names_url(name):
        return mask_url(member)
    return mask(member)


def _mask_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _mask_all(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask_all(member) for member in value]
    return value if value is None or isinstance(value, bool) or value == "" else MASK


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def scrub(text: str, secrets: Iterable[str]) -> str:
    """One line of text without control characters, and without any of the secrets, whatever form a server echoes."""
    line = _one_line(text)
    for secret in sorted({_one_line(secret) for secret in secrets}, key=len, reverse=True):
        if secret:
            line = line.replace(secret, MASK)
    return _URL.sub(lambda match: mask_url(match[0]), line)
