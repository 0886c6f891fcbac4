# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the health of a client says, and what is still missing. Pure. Facts from the API notes, section 4.1.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COREAPP = "coreapp"
CONNECTED = "connected"
UNREGISTERED = "unregistered"
# A node in one of these has come to rest: stand-by nodes of a cluster are disconnected for good.
_SETTLED = frozenset({CONNECTED, "disconnected", UNREGISTERED})


@dataclass(frozen=True)
class Node:
    """One node; C(name) is C(host name:short container id), or None for the only node of a single instance."""

    name: str | None
    role: str
    gateway_status: str

    def __str__(self) -> str:
        return f"{self.name or 'Coreapp'} {self.gateway_status}"


@dataclass(frozen=True)
class Health:
    nodes: tuple[Node, ...]
    clustered: bool

    @property
    def connected_coreapps(self) -> int:
        return sum(node.role == COREAPP and node.gateway_status == CONNECTED for node in self.nodes)

    @property
    def unregistered(self) -> bool:
        return any(node.gateway_status == UNREGISTERED for node in self.nodes)


def read_health(body: Any) -> Health | None:
    """The C(health) of an answer, or None where there is none in it."""
    health = body.get("health") if isinstance(body, Mapping) else None
    if not isinstance(health, Mapping) or not health:
        return None
    if isinstance(health.get("gateway_status"), str):
        return Health((Node(None, COREAPP, health["gateway_status"]),), clustered=False)
    nodes = [
        Node(str(name), str(facts.get("role", "unknown")), str(facts.get("gateway_status", "unknown")))
        for name, facts in sorted(health.items())
        if isinstance(facts, Mapping)
    ]
    return Health(tuple(nodes), clustered=True) if nodes else None


def read_shards(body: Any) -> int | None:
    """The number of shards, each of which one Coreapp serves (API notes, 4.1)."""
    account = body.get("account") if isinstance(body, Mapping) else None
    shards = account.get("shards") if isinstance(account, Mapping) else None
    return shards if isinstance(shards, int) and not isinstance(shards, bool) and shards > 0 else None


def still_missing(health: Health, expect_connected: int, expect_nodes: Sequence[str] = ()) -> str | None:
    """What keeps the client from being as healthy as expected, in words; None when nothing does."""
    if health.connected_coreapps < expect_connected:
        states = ", ".join(str(node) for node in health.nodes)
        return f"{health.connected_coreapps} of {expect_connected} Coreapps connected ({states})"
    uninitialized = [str(node) for node in health.nodes if node.gateway_status == "uninitialized"]
    if uninitialized:
        return ", ".join(uninitialized)
    by_name = {node.name: node for node in health.nodes}
    for name in expect_nodes:
        node = by_name.get(name)
        if node is None:
            return f"{name} is not back yet"
        if node.gateway_status not in _SETTLED:
            return str(node)
    return None
