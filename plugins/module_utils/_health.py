# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The health of a client: what it says, what is still missing, and the spec and the flow of C(wa_health_info).

Facts from the API notes, section 4.1.

This module is private to the collection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client
from ansible_collections.wabiz.onprem.plugins.module_utils._options import (
    CONNECTION,
    Spec,
    check_count,
    check_seconds,
    read_connection,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Failure, Params, Result, Run

HEALTH = "/v1/health"
SHARDS = "/v1/account/shards"

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


def read_node(name: str | None, facts: Mapping[str, Any]) -> Node:
    """A node of a cluster, from what the client says of it or from the C(nodes) of a result."""
    return Node(name, str(facts.get("role", "unknown")), str(facts.get("gateway_status", "unknown")))


def read_health(body: Any) -> Health | None:
    """The C(health) of an answer, or None where there is none in it."""
    health = body.get("health") if isinstance(body, Mapping) else None
    if not isinstance(health, Mapping) or not health:
        return None
    if isinstance(health.get("gateway_status"), str):
        return Health((Node(None, COREAPP, health["gateway_status"]),), clustered=False)
    nodes = [read_node(str(name), facts) for name, facts in sorted(health.items()) if isinstance(facts, Mapping)]
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
    for name in expect_nodes:
        # A Coreapp and a master of one host may have one host name.
        nodes = [node for node in health.nodes if name in (node.name, (node.name or "").rpartition(":")[0])]
        if not nodes:
            return f"{name} is not back yet"
        if unsettled := [str(node) for node in nodes if node.gateway_status not in _SETTLED]:
            return unsettled[0]
    return None


# --- wa_health_info ----------------------------------------------------------------------------------------------

_PROGRESS_EVERY = 5.0  # seconds between two lines that say the same
_LONGEST_REASON = 500  # characters; a cluster may have many nodes
_SERVER_ERROR = 500  # the first HTTP status for a fault of the server's own
_AWAY = frozenset({1011, 1014})  # the API's codes for a Coreapp that is not ready, or does not answer the Webapp
_SHORTEST_POLL = 1.0  # seconds that a poll gets at least; the first always happens


def health_info_spec() -> Spec:
    return {
        **CONNECTION,
        "wait": {"type": "bool", "default": False},
        "wait_timeout": {"type": "float", "default": 300.0},
        "wait_interval": {"type": "float", "default": 2.0},
        "expect_connected": {"type": "int"},
        "expect_nodes": {"type": "list", "elements": "str", "default": []},
    }


def health_info(params: Params, run: Run, with_shards: bool = True) -> Result:
    """The module C(wa_health_info). with_shards: whether the client is asked for their number."""
    connection = read_connection(params)
    for option in ("wait_timeout", "wait_interval"):
        check_seconds(option, params[option])
    expected = 1 if params["expect_connected"] is None else check_count("expect_connected", params["expect_connected"])
    with run.connect(connection, True) as client:
        if params["wait"]:
            health = _wait_for_health(client, connection.api_url, params, expected, run)
            warnings: list[str] = []
        else:
            health, warnings = _health_now(client)
        shards = _shards(client) if health.clustered and with_shards else None
    result = _show_health(health, shards, still_missing(health, expected, params["expect_nodes"]) is None)
    return {**result, **({"warnings": warnings} if warnings else {})}


def health_or_none(client: Client) -> Result | None:
    """What C(wa_health_info) returns, read in a conversation that is open already; None where it cannot be read."""
    try:
        health, warnings = _health_now(client)
        shards = _shards(client) if health.clustered else None
    except ApiError:
        return None
    return {
        **_show_health(health, shards, still_missing(health, 1) is None),
        **({"warnings": warnings} if warnings else {}),
    }


def _show_health(health: Health, shards: int | None, healthy: bool) -> Result:
    return {
        "changed": False,
        "nodes": [
            {"name": node.name, "role": node.role, "gateway_status": node.gateway_status} for node in health.nodes
        ],
        "connected_coreapps": health.connected_coreapps,
        "clustered": health.clustered,
        "shards": shards,
        "healthy": healthy,
    }


def ask_health(client: Client, retries: int | None = None, seconds: float = math.inf) -> Health:
    """What the client says of its health now. Raises ApiError."""
    health = read_health(client.get(HEALTH, retries, seconds).body)
    if health is None:
        raise ApiError(f"{client.where('GET', HEALTH)}: the answer holds no health", passing=True)
    return health


def shows_absence(error: ApiError) -> bool:
    """Whether it shows that a client's node is away: the Webapp says that it does not reach it, or there is no Webapp.

    The error of a proxy, or an answer that was lost on its way, says nothing of the node.
    """
    return error.refused or (error.passing and bool(_AWAY & set(error.codes)))


def _health_now(client: Client) -> tuple[Health, list[str]]:
    try:
        return ask_health(client), []
    except ApiError as error:
        if not error.codes or not error.passing:
            raise
        # The Webapp answers and says that the Coreapp does not: that is a state of health, not a failure to ask.
        return Health((), clustered=False), [str(error)]


def _shards(client: Client) -> int | None:
    try:
        return read_shards(client.get(SHARDS, 0).body)
    except ApiError:
        return None  # single clients, gateways and old clients do not tell


def _wait_for_health(client: Client, address: str, params: Params, expected: int, run: Run) -> Health:
    """Polls until nothing is missing. Raises Failure at the end of the time, or where waiting cannot help."""
    start, timeout, last_line, said_at = run.clock(), params["wait_timeout"], "", 0.0
    limit = f"{round(timeout, 1):g} s"
    left = max(timeout, _SHORTEST_POLL)
    while True:
        health = Health((), clustered=False)
        try:
            health = ask_health(client, retries=0, seconds=left)
            missing = still_missing(health, expected, params["expect_nodes"])
        except ApiError as error:
            # Whoever waits does so because something starts: its Webapp may be at odds with itself for a while.
            if not error.passing and (error.status or 0) < _SERVER_ERROR:
                raise
            missing = str(error)
        if missing is None:
            return health
        missing = client.scrub(missing)[:_LONGEST_REASON]
        waited = run.clock() - start
        if health.unregistered and health.connected_coreapps < expected:
            message = f"{address}: no phone number is registered ({missing}); waiting does not change that"
            raise Failure(message, _show_health(health, None, False))
        if waited + params["wait_interval"] > timeout:
            raise Failure(f"{address}: not healthy after {limit}: {missing}", _show_health(health, None, False))
        if missing != last_line or waited - said_at >= _PROGRESS_EVERY:
            run.progress(client.scrub(f"{address}: waiting for health, {waited:.0f} s of {limit}: {missing}"))
            last_line, said_at = missing, waited
        run.sleep(params["wait_interval"])
        left = max(timeout - (run.clock() - start), _SHORTEST_POLL)
