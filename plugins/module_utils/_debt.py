# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of a restart that is still owed. Pure.

Nothing in the API tells whether a running Coreapp already uses the stored settings, so the containers that have to
restart are written down on their host before the settings are written, and struck out one by one when they are back.

This module is private to the collection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict
from urllib.parse import quote

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import Container

_VERSION = 1
_LONGEST_NAME = 200  # file systems allow 255 bytes


class Owed(TypedDict):
    """A container that owes a restart."""

    name: str
    id: str
    kind: str


def as_owed(container: Container) -> Owed:
    """What is written down of a container."""
    return {"name": container["name"], "id": container["id"], "kind": container["kind"]}


class Unreadable(ValueError):
    """There is a record, and it makes no sense; the message says why."""


@dataclass(frozen=True)
class Debt:
    """What the containers of one host owe for one cluster.

    recorded: when it was first written down (UTC, for people). settings: dotted names, no values. written: when the
    settings were certainly written, in seconds since the epoch by the host's clock; None while that is not known.
    containers, settings: None where the record could not be read: then everything is owed. connected_before: connected
    Coreapps of the cluster before the first restart; None where nobody could tell.
    """

    cluster: str
    recorded: str
    containers: tuple[Owed, ...] | None
    settings: tuple[str, ...] | None
    written: float | None = None
    connected_before: int | None = None


def file_name(cluster: str) -> str:
    """The record's file name: one for each cluster, whatever characters the cluster's name has."""
    name = quote(cluster, safe="")
    return f"{name if len(name) <= _LONGEST_NAME else hashlib.sha256(cluster.encode()).hexdigest()}.json"


def unreadable(cluster: str) -> Debt:
    """What to take an unreadable record for: everything owed."""
    return Debt(cluster, recorded="", containers=None, settings=None)


def render(debt: Debt) -> str:
    """The text of the file, one line."""
    return json.dumps({"version": _VERSION, **asdict(debt)}, sort_keys=True) + "\n"


def parse(text: str) -> Debt:
    """The record in a file's text. Raises Unreadable."""
    try:
        found = json.loads(text)
    except ValueError:
        raise Unreadable("it is no JSON") from None
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise Unreadable("it is of no known version")
    try:
        return Debt(
            cluster=_text(found["cluster"]),
            recorded=_text(found["recorded"]),
            containers=tuple(_owed(container) for container in _list(found["containers"])),
            settings=tuple(_text(name) for name in _list(found["settings"])),
            written=None if found["written"] is None else _number(found["written"]),
            connected_before=None if found["connected_before"] is None else int(_number(found["connected_before"])),
        )
    except KeyError as error:
        raise Unreadable(f"{error.args[0]} is missing") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable("a text is expected in it where there is none")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable("a number is expected in it where there is none")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unreadable("a list is expected in it where there is none")
    return value


def _owed(value: Any) -> Owed:
    if not isinstance(value, dict):
        raise Unreadable("a container in it is no object")
    return {"name": _text(value["name"]), "id": _text(value["id"]), "kind": _text(value["kind"])}


def same(one: Owed | Container, other: Owed | Container) -> bool:
    """Whether both are the same container, by name or by id."""
    return one["name"] == other["name"] or (bool(one["id"]) and one["id"] == other["id"])


def owes(debt: Debt | None, container: Container) -> bool:
    """Whether the container still has to restart: it is written down, and not known to have started since."""
    if debt is None or not container["alive"]:
        return False
    if debt.containers is not None and not any(same(owed, container) for owed in debt.containers):
        return False
    started = container["started"]
    return debt.written is None or started is None or started <= debt.written


def demand(
    before: Debt | None,
    cluster: str,
    containers: Iterable[Owed],
    *,
    settings: Sequence[str],
    recorded: str,
    connected_before: int | None,
) -> Debt:
    """The record with a new demand in it. From now on all that is in it owes, until the moment of writing is known."""
    owed = list(containers)
    names = set(settings)
    if before is not None:
        owed += [old for old in before.containers or () if not any(same(old, new) for new in owed)]
        names |= set(before.settings or ())
        # The cluster may be in the middle of a restart that was cut off: what it once was is the better measure.
        counts = [count for count in (before.connected_before, connected_before) if count is not None]
        connected_before = max(counts, default=None)
    return Debt(
        cluster,
        recorded=before.recorded if before is not None and before.recorded else recorded,
        containers=tuple(sorted(owed, key=lambda container: (container["kind"], container["name"]))),
        settings=tuple(sorted(names)),
        connected_before=connected_before,
    )


def stamp(debt: Debt, now: float) -> Debt:
    """The record of settings that were written before now; what starts later runs with them. A known moment stays."""
    return debt if debt.written is not None else replace(debt, written=now)


def strike(debt: Debt, containers: Iterable[Owed]) -> Debt | None:
    """The record without these containers; None when nothing is left, and the file is to go."""
    if debt.containers is None:
        raise ValueError("a record that could not be read has to be replaced before it can be paid")
    paid = list(containers)
    left = tuple(owed for owed in debt.containers if not any(same(owed, other) for other in paid))
    return replace(debt, containers=left) if left else None


def next_debt(before: Debt | None, change: Mapping[str, Any], recorded: str, now: Callable[[], float]) -> Debt | None:
    """The record after a change; None when there is to be none any more.

    change: options of M(wabiz.onprem.wa_restart_debt). recorded: this moment, for people. now: asked only where the
    record notes that settings have been written.
    """
    if change["state"] == "recorded":
        debt = demand(
            before,
            change["cluster"],
            change["containers"],
            settings=change["settings"],
            recorded=recorded,
            connected_before=change["connected_before"],
        )
        if not debt.containers:
            return None
        return stamp(debt, now()) if change["written"] else debt
    if before is None or before.containers is None:
        return before
    return stamp(before, now()) if change["state"] == "written" else strike(before, change["containers"])


def thaw(found: Any) -> Debt | None:
    """The record as it travels between tasks: what C(asdict) makes of it, or nothing."""
    if not found:
        return None
    containers, settings = found["containers"], found["settings"]
    return Debt(
        cluster=found["cluster"],
        recorded=found["recorded"],
        containers=None if containers is None else tuple(_owed(container) for container in containers),
        settings=None if settings is None else tuple(settings),
        written=found["written"],
        connected_before=found["connected_before"],
    )
