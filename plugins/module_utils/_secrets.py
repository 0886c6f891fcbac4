# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding and masking secrets. Pure.

What is secret: passwords, tokens, provider credentials, and the query, fragment and user info of URLs, since a
webhook may carry its shared secret there (API notes, section 7).

Everything here takes time in proportion to what it reads: what it reads comes from a server.

This module is private to the collection.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from html.entities import codepoint2name
from itertools import groupby
from typing import Any
from urllib.parse import unquote, unquote_plus

MASK = "********"
CHANGED = "(changed)"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# What tells of a secret as a whole word of a name; C(pass) only at its end, C(pass_through) is none.
_SECRET_WORD = re.compile("auth|authn|authz|hmac|jwt|mfa|oauth|otp|pem|pin|psk|pwd|pw|salt|sas|sid|sig|tan|totp")
# What tells of a secret wherever it is in a name that has been joined to one word.
_SECRET_PART = re.compile(
    "passw|passphrase|passcode|passkey|token|secret|bearer|credential|authoriz|authentic|authcode|cookie|signature|"
    "sessionid|connectionstring|onetimecode|pincode|jsonwebtoken|"
    "(?:access|account|api|app|auth|client|consumer|crypt|encryption|hmac|integration|license|licence|master|private|"
    "security|service|shared|sign|signing|ssh|storage|subscription|verification|verify|webhook)key"
)
# What is hidden wherever it occurs; shorter ones would make every text unreadable.
_SHORTEST = 4
# A word or a number like this is hidden only where it stands alone: "test" is no part of "latest".
_WORD_OR_NUMBER = re.compile("[A-Za-z]{1,7}|[0-9]{1,7}")
_MOST_PIECES = 100  # of one URL; its query is hidden as a whole as well
_LONGEST_PATTERN = 128  # characters of a secret that are looked for in every encoding
_LONGEST_SEARCHED = 16_384  # characters of a text that is shown
_UNTOUCHED = re.compile("[0-9A-Za-z]*")  # what every encoding leaves as it is
_WHITESPACE = re.compile(r"\s")
_BETWEEN_PAIRS = re.compile("[&;]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Generous on purpose: what merely looks like a URL is masked rather than shown. It begins at its separator, since
# looking for the scheme before it would take quadratic time. A quote ends it only where something ends.
_FROM_SEPARATOR = re.compile(r"""://(?:[^\s"'<>]|["'](?=[^\s"'<>,;:.)\]}]))+""")


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
    for pair in _BETWEEN_PAIRS.split(query, _MOST_PIECES):
        name, _sign, value = pair.partition("=")
        pieces.add(value or name)
    forms = {form for piece in pieces for form in (piece, unquote(piece), unquote_plus(piece))}
    return {form for form in forms if len(form) >= _SHORTEST}


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is secret: C(api-key), C(accessKey), C(DB_PASS), C(otp)."""
    words = [word.lower() for word in _WORD.findall(name)]
    if words[-1:] == ["pass"] or any(_SECRET_WORD.fullmatch(word) for word in words):
        return True
    return _SECRET_PART.search("".join(words)) is not None


def find_secrets(value: Any) -> set[str]:
    """Every secret string in a settings object: URL parts, and the values of names that tell of a secret."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for name, member in value.items():
            found |= texts_in(member) if is_secret_name(str(name)) else find_secrets(member)
            if isinstance(member, str) and _names_url(str(name)):
                found |= url_secrets(member)
        if isinstance(value.get("username"), str) and isinstance(value.get("password"), str):
            found |= basic_credentials(value["username"], value["password"])
    elif isinstance(value, (list, tuple)):
        for member in value:
            found |= find_secrets(member)
    elif isinstance(value, str):
        for url in [value] if _is_url(value) else _FROM_SEPARATOR.findall(value):
            found |= url_secrets(url)
    return found


def texts_in(value: Any) -> set[str]:
    """Every text and every number in a value, and in what is in it, that is long enough to be hidden anywhere."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return set().union(*(texts_in(member) for member in value))
    text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    return {text} if len(text) >= _SHORTEST else set()


def basic_credentials(username: str, password: str) -> set[str]:
    """The password, and what a C(Basic) header makes of it: servers and proxies like to repeat headers."""
    try:
        pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    except UnicodeError:
        return {password}  # an answer may hold what no header can
    forms = (base64.b64encode(pair), base64.urlsafe_b64encode(pair))
    return {password, *(form.decode().rstrip("=") for form in forms)}


def _names_url(name: str) -> bool:
    return name.lower().endswith("url")


def _is_url(value: str) -> bool:
    """Whether the whole text is one URL; settings hold those, and prose hardly ever."""
    return _SCHEME.match(value.strip()) is not None or ("://" in value and not _WHITESPACE.search(value))


def mask(value: Any) -> Any:
    """A copy of a settings object in which secrets are masked; structure, types and everything else stay."""
    if isinstance(value, Mapping):
        return {name: _mask_member(str(name), member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(member) for member in value]
    if isinstance(value, str):
        return mask_url(value) if _is_url(value) else _mask_urls_in(value)
    return value


def _mask_member(name: str, member: Any) -> Any:
    if is_secret_name(name):
        return mask_all(member)
    if isinstance(member, str) and _names_url(name):
        return mask_url(member)
    return mask(member)


def mask_all(value: Any) -> Any:
    """A copy in which every text and number is masked; the structure stays."""
    if isinstance(value, Mapping):
        return {name: mask_all(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_all(member) for member in value]
    return value if value is None or isinstance(value, bool) or value == "" else MASK


def _mask_urls_in(text: str) -> str:
    return _FROM_SEPARATOR.sub(lambda match: mask_url(match[0]), text)


def holds_mask(value: Any) -> bool:
    """Whether something in a value was masked by an earlier run, so that it cannot be what is meant."""
    if isinstance(value, Mapping):
        return any(holds_mask(member) for member in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds_mask(member) for member in value)
    return isinstance(value, str) and MASK in value


# --- text ----------------------------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """The text without control characters and line breaks, which would forge lines of a terminal or a log."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def scrub(text: str, secrets: Iterable[str]) -> str:
    """One line of text without any of the secrets, in whatever encoding a server or a library repeats them.

    Of a very long text the beginning only.
    """
    line = one_line(text[:_LONGEST_SEARCHED])
    # What is in no encoding touched has to be there; that is soon found out, and nearly always it is not.
    known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
    longest = len(known[0]) if known else 0
    known = [secret for secret in known if max(_UNTOUCHED.findall(secret[:_LONGEST_PATTERN]), key=len) in line]
    for alone in (False, True):
        forms = [_in_any_encoding(one) for one in known if (_WORD_OR_NUMBER.fullmatch(one) is not None) is alone]
        pattern = "|".join(form for form in forms if form)
        if pattern:
            line = re.sub(rf"(?<![0-9A-Za-z])(?:{pattern})(?![0-9A-Za-z])" if alone else pattern, MASK, line)
    line = _mask_urls_in(line)
    if len(text) > _LONGEST_SEARCHED:
        # What was cut in two at the end is not recognised any more.
        line = line[: max(0, len(line) - 8 * longest)]
    return line


def _in_any_encoding(secret: str) -> str:
    """A pattern for a secret as it is, in percent signs, in JSON, in HTML, escaped by Python, or several of these."""
    pieces = []
    # Nowhere may one repetition follow another that can match the same: trying all ways to share takes for ever.
    for kind, letters in groupby(secret[:_LONGEST_PATTERN].strip(), _kind):
        run = "".join(letters)
        if kind == "blank":  # one_line folds several into one
            forms = {form for letter in run for form in _escapes(letter)}
            pieces.append(f"(?: |{'|'.join(sorted(forms))}){{1,{len(run)}}}")
        elif kind == "backslash":
            pieces.append(
                rf"(?:\\|%(?:25){{0,4}}5[cC]|&(?:amp;){{0,4}}#(?:0{{0,6}}92|[xX]0{{0,6}}5[cC]);){{1,{8 * len(run)}}}"
            )
        elif kind == "untouched":
            pieces.append(run)
        else:
            pieces += [rf"(?:\\{{0,8}}{re.escape(one)}|{'|'.join(_escapes(one))})" for one in run]
    # Of a very long one the beginning is enough, and what goes on without a blank.
    return "".join(pieces) + (r"\S*" if len(secret) > _LONGEST_PATTERN else "")


def _kind(letter: str) -> str:
    if letter == "\\":
        return "backslash"
    if letter.isspace() or not letter.isprintable():
        return "blank"
    return "untouched" if letter.isascii() and letter.isalnum() else "other"


def _escapes(letter: str) -> list[str]:
    octets = letter.encode("utf-8", "surrogatepass")
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    code = ord(letter)
    forms = [
        "".join(f"%(?:25){{0,4}}{_any_case(f'{octet:02x}')}" for octet in octets),
        "".join(rf"\\{{1,8}}u{_any_case(units[at : at + 4])}" for at in range(0, len(units), 4)),
        f"&(?:amp;){{0,4}}#0{{0,6}}{code};",
        f"&(?:amp;){{0,4}}#[xX]0{{0,6}}{_any_case(f'{code:x}')};",
    ]
    if code < 256:
        forms.append(rf"\\{{1,8}}x{_any_case(f'{code:02x}')}")
    if code in codepoint2name:
        forms.append(f"&(?:amp;){{0,4}}{codepoint2name[code]};")
    elif letter == "'":
        forms.append("&(?:amp;){0,4}apos;")
    if letter == " ":
        forms.append(r"\+")
    elif letter in "\n\r\t":
        forms.append(r"\\{1,8}" + {"\n": "n", "\r": "r", "\t": "t"}[letter])
    if code > 127:
        forms.append("".join(rf"\\{{1,8}}x{_any_case(f'{octet:02x}')}" for octet in octets))
        forms.append(re.escape(octets.decode("latin-1")))
    return forms


def _any_case(digits: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)
