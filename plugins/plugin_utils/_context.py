# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a piece of the role's work is about, from its first task to its last.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Member, member_from_json
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import keep
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Wanted
from ansible_collections.wabiz.onprem.plugins.plugin_utils._steps import Item, Step, as_items


@dataclass(frozen=True)
class Context:
    """What was meant when the work was asked for. It is handed over as it is, never read from variables again."""

    id: str
    host: str
    cluster: str
    members: tuple[Member, ...]
    environment: Mapping[str, str]  # the task's, on the host that acts
    connection: Mapping[str, Any]
    settings: Mapping[str, Any] | None  # the module's arguments without the connection's; None: nothing to write
    wanted: Wanted
    unverified: tuple[str, ...]  # settings to write that the client does not report
    client_version: str | None
    changes: tuple[str, ...]
    values: Mapping[str, Any]
    api: str | None  # the host that calls the API; None: the controller, in the process of the task
    may_restart: bool
    by_itself: bool  # the restart does not wait for a handler
    tells_change: bool = False  # the task that tells the handler has a change of its own to tell
    notified: bool = False  # a task of a user has asked for the restart, through the handler
    counted: bool = False  # a change was told for the handler's sake alone, and stands for these restarts
    health: Mapping[str, Any] | None = None
    providers: Sequence[Mapping[str, Any]] | None = None  # the media providers that a step has to see to
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # hosts with other addresses: connections
    campaign: Mapping[str, Any] | None = None  # what begins or ends: C(name), C(begins), C(collect), C(options)
    here: Sequence[str] = ()  # hosts that commands of the host that acts reach as their own would
    steps: Sequence[Mapping[str, Any]] = ()  # the items of the loop that makes the demand, if the handler does
    restarts: Sequence[Mapping[str, Any]] = ()  # the items of the loop that restarts

    @property
    def api_here(self) -> bool:
        return self.api is None

    @property
    def hosts(self) -> list[str]:
        return [member.host for member in self.members]

    def items(self, steps: Iterable[Step], phase: str) -> list[Item]:
        """Steps as the items of a loop. What an item does is kept apart: a result shows what people want to see."""
        asked = {m.host: self.api or "localhost" for m in self.members if BACKENDS[m.backend].on_api_host}
        items = as_items(self.id, steps, self.host, self.api, phase, asked, self.here)
        keep([item.pop("do") for item in items], "doing", self.id, phase)
        return items

    @property
    def masters(self) -> bool | None:
        value = str(self.values["restart_masters"])
        return None if value == "auto" else bool(boolean(value))

    @property
    def health_timeout(self) -> float:
        return float(self.values["health_timeout"])


def context_to_json(context: Context) -> dict[str, Any]:
    return asdict(context)


def context_from_json(found: Mapping[str, Any]) -> Context:
    members = tuple(member_from_json(member) for member in found["members"])
    wanted = Wanted(tuple(found["wanted"]["settings"]), found["wanted"]["everything"])
    return Context(
        **{
            **found,
            "members": members,
            "wanted": wanted,
            **{name: tuple(found[name]) for name in ("changes", "unverified")},
        }
    )
