# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which steps the work on a cluster takes, as the items of a task's loop. Pure.

A step concerns a container host or the client's API. Steps one after the other on the same host are one item; where
the API is called from the controller itself, its steps join whatever item is there.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Item = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """C(name) is a method of Work. host: a container host, or None for the API. node: for the steps of a restart."""

    name: str
    host: str | None = None
    node: str | None = None
    about: str | None = None  # the host that an API step is about


def demand_steps(
    hosts: Sequence[str],
    *,
    health: bool,
    writes: bool = False,
    ask: bool = False,
    peek: str | None = None,
    providers: bool = False,
    campaign: bool = False,
) -> list[Step]:
    """Writes a demand down on all hosts, then the settings, then that they are written.

    health: the client's health is not known yet. writes: there are settings to write. ask: whether they differ is not
    known yet. peek: a host whose record has not been read yet. providers: there are media providers to see to.
    campaign: what to write is known when the records of all hosts are.
    """
    return [
        *([Step("peek", peek)] if peek is not None else []),
        *([Step("ask")] if ask else []),
        *([Step("providers")] if providers else []),
        *(Step("look", host) for host in hosts),
        *([Step("health")] if health else []),
        *([Step("campaign")] if campaign else []),
        # Back from the last host to the first: on both, steps of two kinds are one item.
        *(Step("record", host) for host in reversed(hosts)),
        *([Step("write")] if writes or campaign else []),
        *(Step("note", host) for host in hosts),
        *([Step("collect")] if campaign else []),
    ]


def restart_steps(hosts: Sequence[str], nodes: Iterable[tuple[str, str]], check_mode: bool) -> list[Step]:
    """Restarts nodes one after the other.

    nodes: host and name, in order. All but the last come a second time: one that serves when its turn comes lets the
    stand-bys go first.
    """
    turns = list(nodes)
    again = turns if len(turns) > 1 else []
    first, last = [host for host, _node in turns[:1]], [host for host, _node in turns[-1:]]
    # A host whose step before or after is on the same host needs no item more.
    to_the_first = [*(host for host in reversed(hosts) if host not in first), *first]
    from_the_last = [*last, *(host for host in hosts if host not in last)]
    return [
        *(Step("look", host) for host in hosts),
        Step("health"),
        # In check mode no demand was written down, so it is made once more, in memory.
        *(Step("record", host) for host in hosts if check_mode),
        Step("regain"),
        *(Step("recover", host) for host in to_the_first),
        *(
            step
            for host, node in [*turns, *again]
            for step in (
                Step("gate", None, node, host),
                Step("restart", host, node),
                Step("wait", None, node, host),
                Step("settle", host, node),
            )
        ),
        *(Step("release", host) for host in from_the_last),
    ]


def as_items(
    context: str,
    steps: Iterable[Step],
    own: str,
    api: str | None,
    phase: str,
    asked_from: Mapping[str, str],
    here: Collection[str] = (),
) -> list[Item]:
    """The items of the loop. own: the host that acts. api: the host that calls the API; None: the controller itself.

    phase: C(demand) or C(restart). asked_from: container hosts that are asked from another host. here: container hosts
    that the host that acts can do everything for.
    """
    items: list[Item] = []
    for step in steps:
        on_api = step.host is None
        host = api if on_api else own if step.host in here else step.host
        last = items[-1] if items else None
        if last is None or (host is not None and (last["host"], last["api"]) != (host, on_api)):
            last = {"context": context, "host": host or own, "api": on_api and api is not None, "do": []}
            items.append(last)
        last["do"].append([step.name, step.about or step.host or "", step.node or ""])
    for at, item in enumerate(items):
        item.update(label=label(item), phase=phase, at=at)
        if item["host"] in asked_from and not item["api"]:
            item.update(delegate_to=asked_from[item["host"]], api=True)
        elif item["host"] != own or item["api"]:
            item["delegate_to"] = item["host"]
    if items:
        items[-1]["last"] = True
    if len(items) == 1 and "delegate_to" not in items[0]:
        items[0]["alone"] = True  # the host's own task can do it, no loop is needed to get to other hosts
    return items


_SAID = {
    "write": "write the settings",
    "providers": "set the media providers",
    "record": "write the restart down",
    "restart": "restart",
}


def label(item: Item) -> str:
    """What an item does, for the line of its result."""
    doing = [f"{_SAID[name]}{' ' + node if node else ''}" for name, _host, node in item["do"] if name in _SAID]
    return f"{item['host']}: {', '.join(dict.fromkeys(doing)) or item['do'][0][0]}"
