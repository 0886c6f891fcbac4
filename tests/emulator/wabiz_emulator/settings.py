# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from wabiz_emulator.bodies import is_integer
from wabiz_emulator.errors import ApiError, entry
from wabiz_emulator.switches import Switches

Values = dict[str, Any]
Path = tuple[str, ...]

MEDIA_KINDS = ("audio", "document", "voice", "video", "image", "sticker")
# pass_through cannot be switched on again from this version (settings.md).
PASS_THROUGH_ENDS = (2, 35)
# The oldest edition of the page has keys that the next one, which has the first key of 2.25, lacks (reference, 2.3).
OLDEST_EDITION_ENDS = (2, 25)


@dataclasses.dataclass(frozen=True)
class Key:
    """One settings key as settings.md has it: client versions from `since` on know it, and before `until`."""

    kind: str
    default: Any
    choices: tuple[Any, ...] = ()
    since: tuple[int, ...] = ()
    until: tuple[int, ...] = ()
    restart: bool = False


# An independent witness of settings.md: nothing here is taken from the collection's own catalogue.
KEYS: dict[Path, Key] = {
    ("callback_backoff_delay_ms",): Key("delay", 3000),
    ("max_callback_backoff_delay_ms",): Key("delay", 900000),
    ("callback_persist",): Key("boolean", True, restart=True),
    ("heartbeat_interval",): Key("integer", 5),
    ("unhealthy_interval",): Key("integer", 30),
    ("media", "auto_download"): Key("words", list(MEDIA_KINDS), choices=MEDIA_KINDS),
    ("webhooks", "url"): Key("url", ""),
    ("webhooks", "max_concurrent_requests"): Key("integer", 6, choices=(6, 12, 18, 24), restart=True),
    ("webhooks", "message", "sent"): Key("boolean", True, since=(2, 41, 2)),
    ("webhooks", "message", "delivered"): Key("boolean", True, since=(2, 41, 2)),
    ("webhooks", "message", "read"): Key("boolean", True, since=(2, 41, 2)),
    ("notify_user_change_number",): Key("boolean", False),
    ("show_security_notifications",): Key("boolean", False),
    ("axolotl_context_striping_disabled",): Key("boolean", False, since=(2, 25), restart=True),
    ("skip_referral_media_download",): Key("boolean", False),
    ("garbagecollector_enable", "messages"): Key("boolean", True, since=(2, 49, 1), restart=True),
    ("garbagecollector_enable", "media"): Key("boolean", False, since=(2, 49, 1), restart=True),
    ("db_garbagecollector_enable",): Key("boolean", True, restart=True),
    ("verbose_logging",): Key("boolean", False, since=(2, 51, 1), restart=True),
    ("log_level",): Key(
        "choice", "info", choices=("info", "warning", "error", "fatal"), since=(2, 51, 1), restart=True
    ),
    ("pass_through",): Key("boolean", False, restart=True),
    ("sent_status",): Key("boolean", False),
    ("webhook_payload_conversation_pricingmodel_disabled",): Key("boolean", False),
    ("on_call_pager",): Key("text", "", until=OLDEST_EDITION_ENDS),
    ("tcp_listen_address",): Key("text", "any", until=OLDEST_EDITION_ENDS),
}
READ_ONLY: Path = ("wa_id",)
MOST_DIGITS = 19
# The name system's limits. Underscores are no host name's, but services of Compose files have them.
HOST_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")
MOST_HOST_LETTERS = 253


def available(client_version: str) -> dict[Path, Key]:
    """The keys that a client of this version knows."""
    version = version_tuple(client_version)
    return {path: key for path, key in KEYS.items() if key.since <= version and (not key.until or version < key.until)}


def version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Values:
    """A new object: `changes` over `base`, objects member by member, everything else as a whole."""
    result = dict(base)
    for name, value in changes.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def effective(stored: Mapping[str, Any], switches: Switches) -> Values:
    """Every value in force: the stored ones over the defaults of this client's version.

    What only other versions know is stored and not in force, as after an up- or downgrade.
    """
    known = available(switches.client_version)
    defaults: Values = {}
    for path, key in known.items():
        _put(defaults, path, copy.copy(key.default))
    values = copy.deepcopy(merged(merged(defaults, switches.default_overrides), stored))
    if switches.unknown_keys != "keep":
        for path in KEYS.keys() - known.keys():
            _remove(values, path)
            group = _get(values, path[:-1])[1]
            if group == {} and not any(other[: len(path) - 1] == path[:-1] for other in known):
                _remove(values, path[:-1])
    return values


def usable(stored: Mapping[str, Any], switches: Switches) -> Values:
    """The values in force as a Coreapp works with them: a default where the store holds what the key cannot be."""
    values, result = effective(stored, switches), Values()
    for path, key in available(switches.client_version).items():
        found, value = _get(values, path)
        if key.kind == "url":
            valid = isinstance(value, str)
        else:
            # How PATCH takes the delays does not matter to what is stored already.
            valid = found and _problem(key, path, value, dataclasses.replace(switches, delays_on_write="both")) is None
        _put(result, path, _stored_form(key, value) if valid else copy.copy(key.default))
    return result


def reported(stored: Mapping[str, Any], switches: Switches) -> Values:
    """The `application` object of GET (reference, sections 2.3 and 2.4)."""
    values = effective(stored, switches)
    if not switches.report_all:
        version = version_tuple(switches.client_version)
        for entry_ in switches.unreported:
            name, _at, since = entry_.partition("@")
            if version >= version_tuple(since):
                _remove(values, tuple(name.split(".")))
    if switches.delays_in_get == "string":
        for path, key in KEYS.items():
            if key.kind == "delay" and path[0] in values:
                values[path[0]] = str(values[path[0]])
    values["wa_id"] = "" if switches.unregistered else switches.wa_id
    return values


def patched(stored: Mapping[str, Any], body: Any, switches: Switches) -> Values:
    """The stored values after PATCH (reference, section 2.2); ApiError 1008, 1009, 1010, 1025: all that is wrong."""
    if not isinstance(body, dict):
        raise ApiError(1025, "The body has to be a JSON object")
    wish = _accepted(body, switches)
    result = merged(stored, wish) if switches.nested == "merge" else {**stored, **wish}
    for name in switches.dropped_keys:
        path = tuple(name.split("."))
        found, value = _get(stored, path)
        result = copy.deepcopy(result)
        if found:
            _put(result, path, value)
        else:
            _remove(result, path)
    return result


def restart_bound(stored: Mapping[str, Any], switches: Switches) -> Values:
    """Dotted name → value of the keys that a node reads when it starts, and only then (reference, section 2.5)."""
    values = effective(stored, switches)
    return {
        ".".join(path): _get(values, path)[1] for path, key in available(switches.client_version).items() if key.restart
    }


def _accepted(body: Values, switches: Switches) -> Values:
    known = available(switches.client_version)
    groups = {path[:depth] for path in known for depth in range(1, len(path))}
    errors: list[dict[str, Any]] = []
    result: Values = {}
    for path, value in _leaves(body, groups):
        name = ".".join(path)
        if path == READ_ONLY:
            errors.append(entry(1010, f"Parameter '{name}' is read-only"))
        elif path == ("media",) and value == {}:
            errors.append(entry(1008, "Parameter 'media.auto_download' is missing"))
        elif path in known or path in groups:
            key = known.get(path)
            problem = _problem(key, path, value, switches) if key else _group_problem(value)
            if not problem:
                _put(result, path, _stored_form(key, value) if key else {})
            elif switches.wrong_types == "reject":
                errors.append(entry(1009, f"Parameter '{name}' {problem}"))
            elif switches.wrong_types == "keep":
                _put(result, path, value)
        elif switches.unknown_keys == "reject":
            errors.append(entry(1010, f"Parameter '{name}' is not required"))
        elif switches.unknown_keys == "keep":
            _put(result, path, value)
    if errors:
        error = ApiError(1009, "", 400)
        error.errors = errors
        raise error
    return result


def _leaves(body: Values, groups: set[Path], prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in body.items():
        path = (*prefix, name)
        if path in groups and isinstance(value, dict) and value:
            yield from _leaves(value, groups, path)
        else:
            yield path, value


def _group_problem(value: Any) -> str | None:
    return None if isinstance(value, dict) else "has to be an object"


def _problem(key: Key, path: Path, value: Any, switches: Switches) -> str | None:
    if key.kind == "boolean":
        if not isinstance(value, bool):
            return "has to be a boolean"
        if path == ("pass_through",) and value and version_tuple(switches.client_version) >= PASS_THROUGH_ENDS:
            return "cannot be switched on"
    elif key.kind == "delay":
        number = is_integer(value) and 0 < value < 10**MOST_DIGITS and switches.delays_on_write != "string"
        text = (
            isinstance(value, str)
            and re.fullmatch(rf"0*[1-9][0-9]{{0,{MOST_DIGITS - 1}}}", value)
            and switches.delays_on_write != "integer"
        )
        if not number and not text:
            return "has to be a positive number of milliseconds, as " + {
                "both": "string or integer", "string": "string", "integer": "integer",
            }[switches.delays_on_write]  # fmt: skip
    elif key.kind == "integer":
        if not is_integer(value) or not 0 < value < 10**MOST_DIGITS:
            return "has to be a positive integer"
    elif key.kind == "words":
        if not isinstance(value, list) or any(word not in key.choices for word in value):
            return f"has to be a list of {', '.join(key.choices)}"
    elif not isinstance(value, str):
        return "has to be a string"
    elif key.kind == "url" and value and not _is_address(value, switches.http_webhooks == "accept"):
        return "has to be an HTTPS address"
    if key.choices and key.kind != "words" and value not in key.choices:
        return f"has to be one of {', '.join(str(choice) for choice in key.choices)}"
    return None


def _is_address(text: str, plain: bool) -> bool:
    """Whether somebody could post there, with HTTP too if `plain`: a host that can exist, a port if any."""
    if not re.match("https?://" if plain else "https://", text) or re.search(r"[\x00-\x20\x7f]", text):
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        if "[" in parts.netloc:
            ipaddress.IPv6Address(host.partition("%")[0])
            return port != 0
    except ValueError:
        return False
    return port != 0 and is_host(host.removesuffix("."))


def is_host(text: str) -> bool:
    """Whether this can be a host name or an IPv4 address; with or without a domain."""
    return len(text) <= MOST_HOST_LETTERS and all(map(HOST_LABEL.fullmatch, text.split(".")))


def _stored_form(key: Key, value: Any) -> Any:
    if key.kind == "delay":
        return int(value)
    return list(dict.fromkeys(value)) if key.kind == "words" else value


def _get(values: Mapping[str, Any], path: Path) -> tuple[bool, Any]:
    current: Any = values
    for name in path:
        if not isinstance(current, dict) or name not in current:
            return False, None
        current = current[name]
    return True, current


def _put(values: Values, path: Path, value: Any) -> None:
    for name in path[:-1]:
        if not isinstance(values.get(name), dict):
            values[name] = {}
        values = values[name]
    values[path[-1]] = value


def _remove(values: Values, path: Path) -> None:
    found, parent = _get(values, path[:-1])
    if path and found and isinstance(parent, dict):
        parent.pop(path[-1], None)
