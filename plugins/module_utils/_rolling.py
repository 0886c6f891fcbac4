# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which containers of a cluster restart, in which order, and what has to be written down for it. Pure.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import COREAPP, MASTER, Container
from ansible_collections.wabiz.onprem.plugins.module_utils._debt import Debt, Owed, as_owed, demand, owes, same
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node

# Media is collected by the leading master (API notes, section 6), so it has to learn of a change as well.
MASTERS_TOO = "garbagecollector_enable.media"
TITLES = {COREAPP: "Coreapp", MASTER: "master"}


class CannotRestart(Exception):
    """Nothing may be written or restarted; the message says why and what to do."""


@dataclass(frozen=True)
class Look:
    """What was seen on one container host of the cluster.

    inside: belongs to the play, so that its containers may be restarted. problem: why nothing could be seen.
    """

    host: str
    inside: bool = True
    problem: str | None = None
    containers: tuple[Container, ...] = ()
    debt: Debt | None = None


@dataclass(frozen=True)
class Wish:
    """A new demand for restarts: settings that are about to be written, or everything without one. None: pay only."""

    settings: tuple[str, ...] = ()
    everything: bool = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.settings)


@dataclass
class RollingPlan:
    """writes: changes of the hosts' records, in order. nodes: what restarts, in order.

    connected: Coreapps that are connected or about to be. expect_connected: how many to wait for after each restart;
    None where nobody can tell.
    """

    writes: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    connected: int | None = None
    expect_connected: int | None = None
    warnings: list[str] = field(default_factory=list)


def plan_restarts(
    cluster: str,
    looks: Sequence[Look],
    wish: Wish,
    *,
    masters: bool | None,
    health: Sequence[Node] | None,
    shards: int | None = None,
    clustered: bool | None = None,
) -> RollingPlan:
    """The plan for one cluster.

    masters: whether masters restart too; None: when MASTERS_TOO is among the settings. health: the nodes now, None
    where the client did not say; clustered likewise. Raises CannotRestart.
    """
    _check(cluster, looks, wish)
    plan = RollingPlan(connected=_about_to_be_connected(health))
    owing: list[tuple[Look, Container]] = []
    for look in looks:
        if look.problem is not None:
            plan.warnings.append(
                f"{look.host} of cluster {cluster} is outside this play and cannot be asked ({look.problem}): "
                "whether its containers owe a restart is not known"
            )
            continue
        debt = _write(plan, cluster, look, wish, masters)
        in_debt = [
            container
            for container in look.containers
            if owes(debt, container) and (container["kind"] == COREAPP or masters is not False)
        ]
        if look.inside:
            owing += [(look, container) for container in in_debt]
            gone = _paid_otherwise(debt, in_debt)
            if gone:
                plan.writes.append({"host": look.host, "state": "paid", "containers": gone})
            down = [c["name"] for c in look.containers if not c["alive"] and any(same(owed, c) for owed in gone)]
            if down:
                # Perhaps it was this role that stopped it, in a restart that failed.
                plan.warnings.append(
                    f"{look.host} of cluster {cluster}: {', '.join(down)} owed a restart and is stopped. It is not "
                    "started; once you start it, it runs with the settings that are stored"
                )
        elif in_debt:
            names = ", ".join(container["name"] for container in in_debt)
            plan.warnings.append(
                f"{look.host} of cluster {cluster} is outside this play: {names} on it still owes a restart"
            )
    _check_deployments(cluster, looks, [container for _look, container in owing], clustered)
    plan.expect_connected = _expect_connected(looks, health, shards, plan.connected)
    plan.nodes = _in_order(_each_once(owing), health or ())
    return plan


def _check(cluster: str, looks: Sequence[Look], wish: Wish) -> None:
    silent = [f"{look.host} ({look.problem})" for look in looks if look.inside and look.problem is not None]
    if silent:
        raise CannotRestart(
            f"cluster {cluster}: {', '.join(silent)} cannot be asked for its containers, "
            "so nothing is written or restarted"
        )
    if wish and not any(look.containers for look in looks):
        hosts = ", ".join(look.host for look in looks)
        raise CannotRestart(
            f"cluster {cluster}: no Coreapp container found on {hosts}, so what has to restart is not known and "
            "nothing is written; see wa_settings_restart_containers, wa_settings_restart_image_pattern and "
            "wa_settings_restart_backend"
        )


def _check_deployments(cluster: str, looks: Sequence[Look], owing: Sequence[Container], clustered: bool | None) -> None:
    paused = [container["name"] for container in owing if container.get("paused")]
    if paused:
        raise CannotRestart(
            f"cluster {cluster}: Deployment {', '.join(paused)} is paused, so a restart would wait for ever; "
            "resume it with kubectl rollout resume. Nothing is written or restarted"
        )
    if clustered is None:
        # The client does not answer, or was not asked. Outside a cluster there is one Coreapp, never more.
        clustered = _coreapps(looks) > 1
    surging = [container["name"] for container in owing if container["kind"] == COREAPP and container.get("surges")]
    if surging and not clustered:
        raise CannotRestart(
            f"{cluster} is no cluster, and Deployment {', '.join(surging)} starts a new Coreapp before it stops the "
            "old one: two Coreapps for one number can get the number banned. Give it the strategy Recreate, or "
            "maxSurge 0. Nothing is written or restarted"
        )


def _coreapps(looks: Sequence[Look]) -> int:
    """How many Coreapps are meant to run, as far as the hosts were seen."""
    found = {
        container["id"] or (look.host, container["name"]): container for look in looks for container in look.containers
    }
    return sum(c.get("replicas", 1) for c in found.values() if c["alive"] and c["kind"] == COREAPP)


def _each_once(owing: Sequence[tuple[Look, Container]]) -> list[tuple[Look, Container]]:
    """Without what two hosts of the inventory have in common, as Deployments that both of them find."""
    seen: dict[Any, tuple[Look, Container]] = {}
    for look, container in owing:
        seen.setdefault(container["id"] or (look.host, container["name"]), (look, container))
    return list(seen.values())


def _write(plan: RollingPlan, cluster: str, look: Look, wish: Wish, masters: bool | None) -> Debt | None:
    """Adds what has to be written down on the host. The record as it will be then."""
    before = look.debt
    lost = before is not None and before.containers is None
    if not wish and not lost:
        if before is not None and before.written is None:
            plan.writes.append({"host": look.host, "state": "written"})
        return before
    # Where a record could not be read everything is owed, masters included.
    masters_too = (MASTERS_TOO in wish.settings or lost) if masters is None else masters
    containers = [
        as_owed(container)
        for container in look.containers
        if container["alive"] and (container["kind"] == COREAPP or masters_too)
    ]
    if not containers and before is None:
        return None
    after = demand(before, cluster, containers, settings=wish.settings, recorded="", connected_before=plan.connected)
    plan.writes.append(
        {
            "host": look.host,
            "state": "recorded",
            "containers": list(after.containers or ()),
            "settings": list(after.settings or ()),
            "connected_before": after.connected_before,
            # Without settings that are still to be written, what starts from now on runs with what it should.
            "written": not wish.settings,
        }
    )
    return after


def _paid_otherwise(debt: Debt | None, in_debt: Sequence[Container]) -> list[Owed]:
    """What is written down and owes nothing: gone, stopped, started since, or a master where those are left alone."""
    if debt is None or debt.containers is None:
        return []
    return [owed for owed in debt.containers if not any(same(owed, container) for container in in_debt)]


def _about_to_be_connected(health: Sequence[Node] | None) -> int | None:
    if health is None:
        return None
    states = [node.gateway_status for node in health if node.role == COREAPP]
    connected = sum(state in ("connected", "connecting") for state in states)
    # While the database is prepared nobody is connected, and somebody will be.
    return connected or int("uninitialized" in states)


def _expect_connected(
    looks: Sequence[Look], health: Sequence[Node] | None, shards: int | None, connected: int | None
) -> int | None:
    before = [look.debt.connected_before for look in looks if look.debt and look.debt.connected_before is not None]
    if any(node.gateway_status == "unregistered" for node in health or ()):
        before = []
    counts = before if connected is None else [*before, connected]
    if not counts:
        return None
    expected = max(counts)
    if shards is not None:
        expected = min(expected, shards)
    if all(look.problem is None for look in looks):
        expected = min(expected, _coreapps(looks))
    return expected


def _health_node(container: Container, health: Sequence[Node]) -> Node | None:
    """The health's node of a container: a restart keeps the short id in its name (API notes, section 4.1)."""
    for node in health:
        host_name, _colon, short_id = (node.name or "").rpartition(":")
        if container["id"]:
            if short_id and container["id"].startswith(short_id):
                return node
        elif container["name"] in (node.name, host_name):
            return node
    return None


def _in_order(owing: Sequence[tuple[Look, Container]], health: Sequence[Node]) -> list[dict[str, Any]]:
    """Coreapps first, then masters, the primary one last of all, so that leadership moves once."""
    found = []
    for look, container in owing:
        node = _health_node(container, health)
        primary = node is not None and node.role == "primary_master"
        found.append((container["kind"] == MASTER, primary, look, container, node))
    found.sort(key=lambda entry: entry[:2])
    nodes = []
    for _is_master, _primary, look, container, node in found:
        same = [entry[3] for entry in found if entry[3]["kind"] == container["kind"]]
        position = next(at for at, other in enumerate(same, 1) if other is container)
        nodes.append(
            {
                "host": look.host,
                "name": container["name"],
                "id": container["id"],
                "label": f"{container['name']} on {look.host}",
                "title": f"{TITLES[container['kind']]} {position} of {len(same)}",
                "health_name": node.name if node is not None else None,
            }
        )
    return nodes
