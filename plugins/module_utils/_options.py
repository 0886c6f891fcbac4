# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a connection, which every module shares: their argument spec, what they mean together, and words for
those that cannot be meant.

This module is private to the collection.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.common.parameters import env_fallback
from ansible.module_utils.errors import AnsibleFallbackNotFound
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import READ_ONLY
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import LARGEST_NUMBER, InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Connection, check_address, is_token
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import holds_mask

Spec = dict[str, Any]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
# These say where a request goes and where it ends, which is not for the user to choose.
_RESERVED_HEADERS = frozenset({"host", "connection", "transfer-encoding"})
LONGEST_SECONDS = 86_400.0  # of a request or a wait; sockets refuse much longer ones in words that do not help


def _environment(name: str) -> Any:
    """As C(env_fallback) does it, but what is empty counts as not set."""
    value = env_fallback(name)
    if not value:
        raise AnsibleFallbackNotFound
    return value


CONNECTION: Spec = {
    "api_url": {"type": "str", "required": True, "fallback": (_environment, ["WABIZ_API_URL"])},
    "username": {"type": "str", "default": "admin", "fallback": (_environment, ["WABIZ_USERNAME"])},
    # No fallback here: an explicit token must win over a password from the environment and the other way round,
    # and behind a fallback nobody can tell them apart any more. read_connection looks into the environment.
    "password": {"type": "str", "no_log": True},
    "token": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "default": True, "fallback": (_environment, ["WABIZ_VALIDATE_CERTS"])},
    "ca_path": {"type": "path", "fallback": (_environment, ["WABIZ_CA_PATH"])},
    "timeout": {"type": "float", "default": 30.0},
    "retries": {"type": "int", "default": 4},
    "use_proxy": {"type": "bool", "default": True},
    "headers": {"type": "dict", "no_log": True},
    "allow_http": {"type": "bool", "default": False},
}


def check_seconds(name: str, value: float) -> float:
    """A number of seconds that can be waited for. Raises InvalidOptions."""
    if not (math.isfinite(value) and 0 < value <= LONGEST_SECONDS):
        raise InvalidOptions(f"{name}: must be more than 0 and at most {LONGEST_SECONDS:.0f} seconds")
    return float(value)


def check_count(name: str, value: int) -> int:
    """A whole number that is not negative. Raises InvalidOptions."""
    if value < 0:
        raise InvalidOptions(f"{name}: must not be negative")
    if value > LARGEST_NUMBER:
        raise InvalidOptions(f"{name}: must be at most {LARGEST_NUMBER}")
    return int(value)


def check_shapes(spec: Spec, params: Any, above: str = "") -> None:
    """Refuses what Ansible's own validation of options breaks on. Raises InvalidOptions."""
    for name, value in params.items() if isinstance(params, Mapping) else ():
        option = spec.get(str(name), {})
        if option.get("type") == "dict" and value is not None and not isinstance(value, (str, Mapping)):
            raise InvalidOptions(explain_refusal({name: option}, {name: value}, above))
        if "options" in option:
            check_shapes(option["options"], value, f"{above}{name}.")
        elif option.get("type") == "int" and isinstance(value, (str, float)) and not _is_finite(value):
            raise InvalidOptions(f"{above}{name}: must be a whole number")


def _is_finite(value: str | float) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return True  # no number at all, which Ansible says in its own words


def explain_refusal(spec: Spec, params: Any, above: str = "") -> str:
    """What may help with options that do not fit the spec: one sentence, or nothing. It repeats no value."""
    return next(_explanations(spec, params, above), "")


def _explanations(spec: Spec, params: Any, above: str) -> Iterator[str]:
    for key, value in params.items() if isinstance(params, Mapping) else ():
        name = str(key)
        place = f"{above}{name}"
        options = spec.get(name, {}).get("options")
        if name in spec:
            if options and isinstance(value, Mapping):
                yield from _explanations(options, value, f"{place}.")
            elif spec[name].get("type") == "dict" and value is not None and not isinstance(value, Mapping):
                lists = [option for option, entry in (options or {}).items() if entry["type"] == "list"]
                if not isinstance(value, (list, tuple)):
                    yield f"{place} has to be a dictionary"
                elif lists:
                    yield f"{place} is a dictionary, the list belongs into {place}.{lists[0]}"
                else:
                    yield f"{place} has to be a dictionary, not a list"
        elif above and name in READ_ONLY:
            yield f"{place} is read-only and cannot be declared"
        elif name.partition(".")[0] in spec:
            group, _dot, member = name.partition(".")
            yield f"a dotted name is not a key: nest it, {member} below {above}{group}"
        else:
            alike = difflib.get_close_matches(name[:100].replace("-", "_").lower(), spec, 1, 0.8)
            alike = alike or [known for known in spec if known.replace("_", "") == name[:100].replace("_", "").lower()]
            if alike:
                yield f"did you mean {above}{alike[0]}?"


def _read_headers(given: Mapping[Any, Any] | None) -> dict[str, str]:
    """The option C(headers), checked. No message repeats a value."""
    headers: dict[str, str] = {}
    for key, content in (given or {}).items():
        name = str(key)
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidOptions("headers: a name must consist of letters, digits and dashes")
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith("content-"):
            raise InvalidOptions(f"headers: {name} cannot be chosen")
        if name.lower() in {known.lower() for known in headers}:
            raise InvalidOptions(f"headers: {name} is there twice")
        text = content.strip() if isinstance(content, str) else content
        if isinstance(text, bool) or not isinstance(text, (str, int)) or not _HEADER_VALUE.fullmatch(str(text)):
            raise InvalidOptions(f"headers: {name} must be printable ASCII text, and not empty")
        if holds_mask(text):
            raise InvalidOptions(f"headers: {name} is masked; give the value itself")
        headers[name] = str(text)
    return headers


def _can_be_sent(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeError:
        return False
    return True


def read_connection(params: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Connection:
    """The options of a connection, checked; an empty string counts as not given. Raises InvalidOptions."""

    environ = os.environ if environ is None else environ

    def given(option: str) -> str | None:
        return params.get(option) or environ.get(f"WABIZ_{option.upper()}") or None

    headers = _read_headers(params.get("headers"))
    authorized = any(name.lower() == "authorization" for name in headers)
    password, token = params.get("password") or None, params.get("token") or None
    if password and token:
        raise InvalidOptions("password and token exclude each other; give one of them")
    if authorized and (password or token):
        raise InvalidOptions("headers: Authorization does not go with password or token")
    if not password and not token and not authorized:
        password, token = environ.get("WABIZ_PASSWORD") or None, environ.get("WABIZ_TOKEN") or None
        if password and token:
            raise InvalidOptions(
                "WABIZ_PASSWORD and WABIZ_TOKEN exclude each other; set one of them, or give password or token"
            )
    if not password and not token and not headers:
        raise InvalidOptions(
            "password or token: one of them is needed (or WABIZ_PASSWORD or WABIZ_TOKEN in the environment), "
            "or headers that authenticate"
        )
    if token:
        token = str(token).strip()
        if not is_token(token):
            raise InvalidOptions("token: must be printable ASCII without blanks")
    username = given("username") or "admin"
    if ":" in username:
        raise InvalidOptions("username: must not hold a colon")
    for name, text in (("username", username), ("password", password)):
        if not _can_be_sent(str(text or "")):
            raise InvalidOptions(f"{name}: holds characters that cannot be sent")
    api_url = given("api_url")
    if api_url is None:
        raise InvalidOptions("api_url: is needed (or WABIZ_API_URL in the environment)")
    try:
        api_url = check_address(api_url, params["allow_http"])
    except ValueError as error:
        raise InvalidOptions(str(error)) from None
    ca_path = given("ca_path")
    return Connection(
        api_url=api_url,
        username=str(username),
        password=str(password) if password else None,
        token=token,
        validate_certs=boolean(params["validate_certs"]),
        # As Ansible expands options of type path: an unknown account stays as it is.
        ca_path=os.path.expanduser(os.path.expandvars(ca_path)) if ca_path else None,  # noqa: PTH111
        timeout=check_seconds("timeout", params["timeout"]),
        retries=check_count("retries", params["retries"]),
        use_proxy=params["use_proxy"],
        headers=headers,
        allow_http=params["allow_http"],
    )
