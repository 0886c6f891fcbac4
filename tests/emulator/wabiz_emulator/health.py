# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from wabiz_emulator.switches import Switches


@dataclasses.dataclass
class NodeRecord:
    """What one Coreapp or master tells about itself in the store. Times are seconds since the epoch."""

    hostname: str
    short_id: str
    kind: str
    clustered: bool
    started: float = 0.0
    starts: int = 0
    beat: float = 0.0
    stopped: bool = False
    role: str = ""
    gateway_status: str = "disconnected"
    active_since: float | None = None
    running: dict[str, Any] = dataclasses.field(default_factory=dict)
    webhook_ca: str | None = None
    pid: int | None = None
    # How a local process was started, to start it again.
    arguments: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """`hostname:short-id`, as health has it (reference, section 4.1)."""
        return f"{self.hostname}:{self.short_id}"


def alive(record: NodeRecord, switches: Switches, now: float) -> bool:
    """Neither stopped cleanly nor silent for longer than the heartbeat timeout."""
    return not record.stopped and now - record.beat <= switches.heartbeat_timeout


def assess(own: NodeRecord, peers: Iterable[NodeRecord], switches: Switches, now: float) -> NodeRecord:
    """The node's record after looking at its peers: role, status, since when it is an active one.

    Seniority decides, so whoever is restarted comes back as a stand-by. High availability: one Coreapp connected.
    Multiconnect with X shards: X Coreapps and the primary master (reference, section 4.1).
    """
    fellows = [own] + [
        peer
        for peer in peers
        if peer.name != own.name
        and peer.kind == own.kind
        and peer.clustered == own.clustered
        and alive(peer, switches, now)
        and now - peer.started >= switches.uninitialized_seconds
    ]
    by_seniority = sorted(fellows, key=lambda record: (record.started, record.name))
    initialized = now - own.started >= switches.uninitialized_seconds
    if own.kind == "master":
        primary = by_seniority[0] is own
        role, active = ("primary_master" if primary else "secondary_master"), primary and switches.shards > 1
    elif own.clustered:
        role, active = "coreapp", own in by_seniority[: switches.shards]
    else:
        # Outside a cluster a second Coreapp kicks out the first (reference, section 5.1).
        role, active = "coreapp", by_seniority[-1] is own
    active_since = (own.active_since if own.active_since is not None else now) if active and initialized else None
    if not initialized:
        status = "uninitialized"
    elif switches.unregistered:
        status = "unregistered"
    elif active_since is None:
        status = "disconnected"
    else:
        status = "connected" if now - active_since >= switches.connect_seconds else "connecting"
    return dataclasses.replace(own, role=role, gateway_status=status, active_since=active_since)


def cluster_health(records: Iterable[NodeRecord], switches: Switches, now: float) -> dict[str, dict[str, str]]:
    """The `health` object of a cluster (reference, section 4.1)."""
    view = {}
    for record in records:
        if alive(record, switches, now):
            view[record.name] = {"gateway_status": record.gateway_status, "role": record.role}
        elif switches.gone_nodes == "disconnected":
            # A master that is gone cannot be the primary one any more.
            role = "secondary_master" if record.kind == "master" else record.role
            view[record.name] = {"gateway_status": "disconnected", "role": role}
    return view
