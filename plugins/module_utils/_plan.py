# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done to bring an application's settings where they were declared.

Pure: no request, no file, no Ansible.

Settings objects are nested as in the API. Inside this file a setting is addressed by its path, a tuple of names;
outside by its dotted name. "Canonical" is the form in which values are compared and shown: delays as integers,
C(media.auto_download) sorted and without repeats.

This module is private to the collection.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import (
    KEYS,
    READ_ONLY,
    RESTART_BOUND,
    Certainty,
    Key,
    Kind,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import (
    LARGEST_NUMBER,
    InvalidOptions,
    is_nested_deeper,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import CHANGED, holds_mask, mask

SettingPath = tuple[str, ...]
Version = tuple[int, ...]
Settings = dict[str, Any]

NOT_REPORTED = "(not reported by the client)"

_PATHS: Mapping[SettingPath, Key] = {tuple(name.split(".")): key for name, key in KEYS.items()}
_GROUPS = frozenset(path[:depth] for path in _PATHS for depth in range(1, len(path)))
_VERSION = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){1,3})")
_NEVER_IN_URL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,20}")
_LONGEST_SHOWN = 40  # characters of a refused value in a message


class _Missing:
    """A value that a settings object does not have; C(None) is a value of JSON."""


MISSING = _Missing()


@dataclass(frozen=True)
class Declaration:
    """The declared settings as leaves: canonical where the catalogue knows the key, as given where it does not."""

    known: Mapping[SettingPath, Any] = field(default_factory=dict)
    extra: Mapping[SettingPath, Any] = field(default_factory=dict)

    def leaves(self) -> dict[SettingPath, Any]:
        return {**self.known, **self.extra}


@dataclass(frozen=True)
class Plan:
    """What to do, and what will be seen when it is done. Names are dotted and sorted."""

    patch: Settings  # the body of the PATCH; empty when nothing is to be sent
    delete: bool  # whether DELETE is to be sent
    before: Settings  # canonical, not masked
    after: Settings  # canonical, not masked: what a GET is expected to report
    sent: Mapping[SettingPath, Any]  # canonical value of every leaf that is to change
    changed: tuple[str, ...]
    restart: tuple[str, ...]
    unverified: tuple[str, ...]  # sent, although the client does not report them
    warnings: tuple[str, ...] = ()
    uncertainties: tuple[str, ...] = ()  # what a prediction has to say beside the warnings
    declaration: Declaration = field(default_factory=Declaration)

    @property
    def writes(self) -> bool:
        return self.delete or bool(self.patch)

    def taken_over(self, reported: Mapping[str, Any]) -> bool | None:
        """Whether a reading after the writing shows that it was done; None where it could not show that."""
        if self.delete:
            return bool(differences(self.before, canonical_settings(reported)))
        if not any(reports(reported, path) for path in self.sent):
            return None
        return not not_taken_over(self.sent, reported)


def dotted(path: SettingPath) -> str:
    return ".".join(path)


def parse_version(text: str | None) -> Version | None:
    """C(v2.49.1) or C(2.49.1) as numbers; None for what does not tell a version.

    3.0.x is a placeholder in Meta's samples, no client of that version was ever published (API notes, 4.2).
    """
    match = _VERSION.fullmatch((text or "").strip())
    if not match:
        return None
    version = tuple(int(part) for part in match[1].split("."))
    return None if version[:2] == (3, 0) else version


def show_version(version: Version | None) -> str | None:
    return None if version is None else ".".join(str(part) for part in version)


def flatten(settings: Mapping[str, Any], above: SettingPath = ()) -> Iterator[tuple[SettingPath, Any]]:
    """The leaves of a nested object; an empty object is a leaf itself."""
    for name, value in settings.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and value and path not in _PATHS:
            yield from flatten(value, path)
        else:
            yield path, value


def is_settings(found: Mapping[str, Any], declaration: Declaration) -> bool:
    """Whether an object without a wrapper is a settings object at all: it holds something that is known or declared."""
    if any(path[0] in found for path in _PATHS) or not READ_ONLY.isdisjoint(found):
        return True
    return not declaration.known and any(reports(found, path) for path in declaration.extra)


def lookup(settings: Mapping[str, Any], path: SettingPath) -> Any:
    """The value at a path, or MISSING."""
    value: Any = settings
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return value


def reports(settings: Mapping[str, Any], path: SettingPath) -> bool:
    """Whether a settings object has a value at a path."""
    return not isinstance(lookup(settings, path), _Missing)


def place(settings: Settings, path: SettingPath, value: Any) -> None:
    """Sets the value at a path, making or replacing what stands in the way."""
    for name in path[:-1]:
        below = settings.get(name)
        if not isinstance(below, dict):
            below = settings[name] = {}
        settings = below
    settings[path[-1]] = value


# --- one value ---------------------------------------------------------------------------------------------------


def canonical(key: Key, value: Any) -> Any:
    """A reported value in the form in which it is compared; what does not fit the key's kind stays as it is."""
    if key.kind is Kind.BOOLEAN and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if key.kind in (Kind.COUNT, Kind.MILLISECONDS):
        return _as_whole_number(value)
    if key.kind is Kind.TEXT_SET and isinstance(value, (list, tuple)):
        return sorted({str(member) for member in value})
    if key.kind in (Kind.URL, Kind.TEXT) and value is None:
        return ""
    return copy.deepcopy(value)


def _as_whole_number(value: Any) -> Any:
    """C(7.0) and C("7") as C(7); what is no whole number stays as it is."""
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return copy.deepcopy(value)


def canonical_settings(settings: Mapping[str, Any]) -> Settings:
    """A reported settings object, every known leaf canonical."""
    result: Settings = {}
    for path, value in flatten(settings):
        key = _PATHS.get(path)
        place(result, path, copy.deepcopy(value) if key is None else canonical(key, value))
    return result


def on_the_wire(key: Key | None, value: Any, delays_as_strings: bool = True) -> Any:
    """A canonical value as the API documents it: delays are strings (settings reference)."""
    if key is not None and key.kind is Kind.MILLISECONDS and delays_as_strings:
        return str(value)
    return copy.deepcopy(value)


def _same(key: Key | None, reported: Any, wanted: Any) -> bool:
    if key is not None:
        reported = canonical(key, reported)
        return type(reported) is type(wanted) and bool(reported == wanted)
    if wanted == {} and isinstance(reported, Mapping):
        return True  # extra settings are laid over what is there, and here is nothing to lay
    return bool(_loose(reported) == _loose(wanted))


def _loose(value: Any) -> Any:
    """Unknown keys have no type to go by: C("5") and C(5), C("true") and C(true) mean the same."""
    if isinstance(value, Mapping):
        return {name: _loose(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_loose(member) for member in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else value if value is None else str(value)


def _check(name: str, key: Key, value: Any) -> Any:
    """A declared value in canonical form, or InvalidOptions."""
    if key.kind is Kind.BOOLEAN:
        if isinstance(value, bool):
            return bool(value)
        raise InvalidOptions(f"{name}: expected true or false")
    if key.kind in (Kind.COUNT, Kind.MILLISECONDS):
        number = _as_whole_number(value)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= LARGEST_NUMBER:
            raise InvalidOptions(
                f"{name}: expected a positive whole number up to {LARGEST_NUMBER}, got {_briefly(value)}"
            )
        value = int(number)
    elif key.kind is Kind.TEXT_SET:
        if not isinstance(value, (list, tuple)):
            raise InvalidOptions(f"{name}: expected a list, got {_briefly(value)}")
        value = sorted({str(member) for member in value})
    elif not isinstance(value, str):
        raise InvalidOptions(f"{name}: expected text")
    else:
        value = str(value)
    if key.kind is Kind.URL:
        _check_webhook(name, value)
    if key.choices:
        strange = [member for member in (value if isinstance(value, list) else [value]) if member not in key.choices]
        if strange:
            allowed = ", ".join(str(choice) for choice in key.choices)
            raise InvalidOptions(f"{name}: {_briefly(strange)} is not one of {allowed}")
    return value


def _briefly(value: Any) -> str:
    """A refused value for a message: the beginning of it."""
    if isinstance(value, (list, tuple)):
        text = ", ".join(str(member)[:_LONGEST_SHOWN] for member in value[:5])
    else:
        text = repr(value[: _LONGEST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _check_webhook(name: str, url: str) -> None:
    """Webhooks are HTTPS only (settings reference); the message never repeats the address, it may hold a secret."""
    if not url:
        return
    if url.partition("://")[0].lower() != "https":
        raise InvalidOptions(
            f"{name}: must begin with https:// (the client delivers callbacks over HTTPS only), or be empty"
        )
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or _NEVER_IN_URL.search(url):
        raise InvalidOptions(f"{name}: is not a usable https:// address")


# --- the declaration ---------------------------------------------------------------------------------------------


def read_declaration(settings: Mapping[str, Any] | None, extra_settings: Mapping[str, Any] | None) -> Declaration:
    """The declared settings, checked. A C(None) inside C(settings) counts as not named.

    Raises InvalidOptions; nothing has been sent by then.
    """
    for name, given in (("settings", settings), ("extra_settings", extra_settings)):
        if is_nested_deeper(given):
            raise InvalidOptions(f"{name}: is nested too deeply")
    known: dict[SettingPath, Any] = {}
    for path, value in flatten(settings or {}):
        if value is None or (path in _GROUPS and value == {}):
            continue
        key = _PATHS.get(path)
        if key is None:
            _refuse_read_only(path)
            raise InvalidOptions(
                f"{dotted(path)}: unknown setting; keys that this collection does not know go into extra_settings"
            )
        _refuse_mask(dotted(path), value)
        known[path] = _check(dotted(path), key, value)
    extra: dict[SettingPath, Any] = {}
    for path, value in flatten(extra_settings or {}):
        if path in _GROUPS and value == {}:
            continue
        _refuse_read_only(path)
        if path in _PATHS or path in _GROUPS or any(path[:depth] in _PATHS for depth in range(1, len(path))):
            raise InvalidOptions(
                f"{dotted(path)}: is a documented setting; declare it in settings, not in extra_settings"
            )
        _refuse_mask(dotted(path), value)
        extra[path] = _plain(dotted(path), value)
    return Declaration(known, extra)


def _plain(name: str, value: Any) -> Any:
    """The value in the plain types of JSON; variables of a playbook can be dates, or subclasses that carry tags."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidOptions(f"{name}: {float(value)} is not a number that JSON can hold")
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(member): _plain(f"{name}.{member}", below) for member, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(name, member) for member in value]
    raise InvalidOptions(f"{name}: a {type(value).__name__} cannot be written as JSON; put it in quotes")


def _refuse_mask(name: str, value: Any) -> None:
    """What an earlier result has masked would replace the value that it hides."""
    if holds_mask(value):
        raise InvalidOptions(f"{name}: is masked, as results show it; give the value itself, or leave it out")


def _refuse_read_only(path: SettingPath) -> None:
    if path[0] in READ_ONLY:
        raise InvalidOptions(f"{dotted(path)}: is read-only and cannot be declared")


def is_restart_bound(path: SettingPath, restart_bound: Sequence[str]) -> bool:
    """Whether a dotted name of the list names this setting or the group it is in."""
    return any(dotted(path[:depth]) in restart_bound for depth in range(1, len(path) + 1))


def unknown_names(restart_bound: Sequence[str], declaration: Declaration) -> list[str]:
    """The names of C(restart_bound) that neither the catalogue nor the declaration has."""
    known = {dotted(path[:depth]) for path in (*_PATHS, *declaration.extra) for depth in range(1, len(path) + 1)}
    return [name for name in restart_bound if name not in known]


def _gate(declaration: Declaration, current: Mapping[str, Any], version: Version | None) -> list[str]:
    """Refuses what the client's version cannot take; returns warnings. An unknown version never blocks."""
    warnings = []
    for path, value in declaration.known.items():
        key, name = _PATHS[path], dotted(path)
        if version is not None and key.since is not None and version < key.since:
            raise InvalidOptions(
                f"{name}: needs client version {show_version(key.since)} or newer, "
                f"this client is {show_version(version)}"
            )
        if (
            version is not None
            and key.fixed_since is not None
            and version >= key.fixed_since
            and value == key.fixed_value
            and not _same(key, lookup(current, path), value)
        ):
            raise InvalidOptions(
                f"{name}: cannot be set to {str(value).lower()} from client version {show_version(key.fixed_since)} "
                f"on, this client is {show_version(version)}"
            )
        if key.deprecated is not None and (version is None or version >= key.deprecated):
            since = "" if key.deprecated == (0,) else f" since client version {show_version(key.deprecated)}"
            instead = f"; use {key.successor} instead" if key.successor else "; it has no successor"
            warnings.append(f"{name} is deprecated{since}{instead}")
    return warnings


# --- the plan ----------------------------------------------------------------------------------------------------


AlreadySent = Callable[[str, Any, "str | None"], "bool | None"]


def nothing_sent(_name: str, _value: Any, _version: str | None) -> bool | None:
    """For callers that do not remember what was sent."""
    return None


def plan(
    current: Mapping[str, Any],
    declaration: Declaration,
    state: str = "present",
    unreported: str = "send",
    *,
    restart_bound: Sequence[str] = RESTART_BOUND,
    version: Version | None = None,
    already_sent: AlreadySent = nothing_sent,
) -> Plan:
    """What brings C(current), a settings object as GET reports it, to the declaration.

    already_sent: by dotted name, canonical value and client version, whether the caller knows that the client has
    accepted this value last of a restart-bound setting that it does not report; it is then neither a change nor sent
    again. False if that was another value, None if nothing is known.

    Raises InvalidOptions where the client's version cannot take a declared value.
    """
    if state == "absent":
        return _plan_reset(current, restart_bound)
    warnings = _gate(declaration, current, version)
    wanted = declaration.leaves()
    if state == "replaced":
        wanted = {**_defaults_to_restore(current, version), **wanted}
    sent: dict[SettingPath, Any] = {}
    unverified: list[SettingPath] = []
    for path, value in wanted.items():
        reported, key = lookup(current, path), _PATHS.get(path)
        if reports(current, path):
            if not _same(key, reported, value):
                sent[path] = value
        elif unreported == "skip":
            warnings.append(f"{dotted(path)} is not reported by the client and was skipped (unreported: skip)")
        elif _is_to_be_sent(path, key, value, restart_bound, version, already_sent):
            sent[path] = value
            unverified.append(path)
            warnings.append(
                f"{dotted(path)} is not reported by the client, so it is sent without knowing whether it is in force "
                "(unreported: send)"
            )
    before = canonical_settings(current)
    after = copy.deepcopy(before)
    for path, value in sent.items():
        if path not in unverified:
            place(after, path, copy.deepcopy(value))
    return Plan(
        patch=build_patch(current, sent),
        delete=False,
        before=before,
        after=after,
        sent=sent,
        changed=_names(sent),
        restart=_names(path for path in sent if is_restart_bound(path, restart_bound)),
        unverified=_names(unverified),
        warnings=tuple(warnings),
        declaration=declaration,
    )


def _is_to_be_sent(
    path: SettingPath,
    key: Key | None,
    value: Any,
    restart_bound: Sequence[str],
    version: Version | None,
    already_sent: AlreadySent,
) -> bool:
    """Whether a value that the client does not report has to be sent."""
    known = already_sent(dotted(path), value, show_version(version)) if is_restart_bound(path, restart_bound) else None
    return _may_differ(key, value) if known is None else not known


def _may_differ(key: Key | None, value: Any) -> bool:
    """Whether a wanted value may differ from one that the client does not report."""
    if key is None:
        return bool(value != {})
    return key.certainty is Certainty.UNKNOWN or bool(value != key.default)


def build_patch(
    current: Mapping[str, Any], sent: Mapping[SettingPath, Any], delays_as_strings: bool = True
) -> Settings:
    """The body of the PATCH: every top-level key that changes, complete.

    Whether the server merges nested objects or replaces them is not documented (API notes, 2.2); the current value
    with the declaration laid over it is right either way.
    """
    body: Settings = {}
    for path in sent:
        whole = current.get(path[0])
        if len(path) > 1 and isinstance(whole, Mapping):
            body.setdefault(path[0], copy.deepcopy(dict(whole)))
    for path, value in sent.items():
        place(body, path, on_the_wire(_PATHS.get(path), value, delays_as_strings))
    return body


def _defaults_to_restore(current: Mapping[str, Any], version: Version | None) -> dict[SettingPath, Any]:
    """What C(replaced) puts back: reported, not deprecated, with a certain default."""
    return {
        path: copy.deepcopy(key.default)
        for path, key in _PATHS.items()
        if key.certainty is Certainty.CERTAIN
        and key.deprecated is None
        and (version is None or key.since is None or version >= key.since)
        and reports(current, path)
    }


def non_default(current: Mapping[str, Any]) -> dict[SettingPath, Any]:
    """The reported leaves that differ from a certain default, canonical."""
    return {
        path: canonical(key, lookup(current, path))
        for path, key in _PATHS.items()
        if key.certainty is Certainty.CERTAIN
        and reports(current, path)
        and not _same(key, lookup(current, path), key.default)
    }


def _plan_reset(current: Mapping[str, Any], restart_bound: Sequence[str]) -> Plan:
    before = canonical_settings(current)
    url = ("webhooks", "url")
    if not non_default(current) and lookup(before, url) in ("", MISSING):
        return Plan({}, False, before, copy.deepcopy(before), {}, (), (), ())
    after = copy.deepcopy(before)
    for path, key in _PATHS.items():
        if key.certainty is not Certainty.UNKNOWN and reports(before, path):
            place(after, path, copy.deepcopy(key.default))
    sent = {path: lookup(after, path) for path in differences(before, after)}
    unsure = [
        path
        for path, _value in flatten(before)
        if path[0] not in READ_ONLY and (path not in _PATHS or _PATHS[path].certainty is Certainty.UNKNOWN)
    ]
    warnings = [f"what the reset makes of {', '.join(_names(unsure))} is not known before: no default of it is certain"]
    return Plan(
        patch={},
        delete=True,
        before=before,
        after=after,
        sent=sent,
        changed=_names(sent),
        restart=_names(path for path in sent if is_restart_bound(path, restart_bound)),
        unverified=(),
        uncertainties=tuple(warnings) if unsure else (),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[SettingPath]:
    """The leaves in which two canonical settings objects differ."""
    old, new = dict(flatten(before)), dict(flatten(after))
    return [path for path in {**old, **new} if old.get(path, MISSING) != new.get(path, MISSING)]


def not_taken_over(sent: Mapping[SettingPath, Any], reported: Mapping[str, Any]) -> list[SettingPath]:
    """The leaves that were sent and that a fresh GET reports with another value."""
    return [
        path
        for path, value in sent.items()
        if reports(reported, path) and not _same(_PATHS.get(path), lookup(reported, path), value)
    ]


def _names(paths: Any) -> tuple[str, ...]:
    return tuple(sorted(dotted(path) for path in paths))


# --- what people see ---------------------------------------------------------------------------------------------


def show_diff(before: Settings, after: Settings, unverified: Mapping[SettingPath, Any]) -> dict[str, Settings]:
    """Before and after for C(--diff): masked, with a sign where only the masked part of a value changed.

    Settings that are sent without being reported are shown as well: leaving them out would hide a change.
    """
    old, new = mask(before), mask(after)
    for path, value in unverified.items():
        place(old, path, NOT_REPORTED)
        holder: Settings = {}
        place(holder, path, value)
        place(new, path, lookup(mask(holder), path))
    sign_changes(before, after, old, new)
    return {"before": old, "after": new}


def sign_changes(before: Settings, after: Settings, old: Settings, new: Settings) -> None:
    """Puts a sign into C(new) where a value has changed and its masked form in C(old) and C(new) is the same."""
    for path in differences(before, after):
        shown = lookup(new, path)
        if reports(new, path) and shown == lookup(old, path):
            place(new, path, [*shown, CHANGED] if isinstance(shown, list) else f"{shown} {CHANGED}")
