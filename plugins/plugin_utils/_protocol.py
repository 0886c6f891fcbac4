# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster's restarts look like as a whole: what may be demanded, what is pending, in which order. Pure.

The invariants: no run ends with a Coreapp that runs with older values than the stored ones and no record that says so;
never two nodes down by us; no needless restart; nothing restarts that is not known to belong to this client.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.wabiz.onprem.plugins.module_utils._health import CONNECTED, UNREGISTERED
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node as HealthNode
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    COREAPP,
    MASTER,
    Node,
    Pending,
    Record,
    demand,
    has_started_since,
    highest,
    is_same,
    note_written,
    tidy,
    under_present_names,
)

# Media is collected by the leading master (API notes, section 6), so it has to learn of a change as well.
MASTERS_TOO = "garbagecollector_enable.media"
TITLES: Mapping[str, str] = {COREAPP: "Coreapp", MASTER: "master"}


class Refused(Exception):
    """Nothing may be written or restarted; the message says why and what to do."""


@dataclass(frozen=True)
class Look:
    """What was seen on one container host of the cluster.

    inside: its nodes may be restarted in this run. problem: why nothing could be seen. away: because no connection
    leads there. lost: its record could not be read. names_given: the operator named the nodes, so they belong to the
    client by declaration. tells_starts: the backend can tell one start from another. assumed: as a C(Member)'s.
    """

    host: str
    inside: bool = True
    problem: str | None = None
    nodes: tuple[Node, ...] = ()
    record: Record | None = None
    lost: str | None = None
    names_given: bool = False
    tells_starts: bool = True
    away: bool = False
    assumed: bool = False


@dataclass(frozen=True)
class Wanted:
    """Why something has to restart: settings that are about to be written, or everything without one."""

    settings: tuple[str, ...] = ()
    everything: bool = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.settings)


@dataclass(frozen=True)
class ClientHealth:
    """What the client says of itself. nodes: None if it did not say. shards: None if it did not say."""

    nodes: tuple[HealthNode, ...] | None = None
    clustered: bool | None = None
    shards: int | None = None

    @property
    def connected(self) -> int | None:
        """Coreapps that are connected or about to be; None if the client did not say."""
        if self.nodes is None:
            return None
        states = [node.gateway_status for node in self.nodes if node.role == COREAPP]
        connected = sum(state in (CONNECTED, "connecting") for state in states)
        # While the database is prepared nobody is connected, and somebody will be.
        return connected or int("uninitialized" in states)

    @property
    def unregistered(self) -> bool:
        return any(node.gateway_status == UNREGISTERED for node in self.nodes or ())

    def find(self, node: Node) -> HealthNode | None:
        """A node's entry: by its id, or by its host name, which a container that was made anew keeps."""
        for entry in self.nodes or ():
            _name, _colon, short_id = (entry.name or "").rpartition(":")
            if short_id and node.id.startswith(short_id):
                return entry
        names = (node.hostname or node.name).split()
        named = [entry for entry in self.nodes or () if _is_named(entry, names)]
        # A Coreapp and a master of one host have one host name. A backend without ids does not know them apart either.
        of_kind = [entry for entry in named if _is_of_kind(entry, node.kind)]
        return next(iter(of_kind or ([] if node.id else named)), None)

    def lists(self, name: str, kind: str) -> bool:
        """Whether a node of this kind is there under a host name. kind: empty if it is not known."""
        return any(_is_named(entry, [name]) and (not kind or _is_of_kind(entry, kind)) for entry in self.nodes or ())


def _is_named(entry: HealthNode, names: Sequence[str]) -> bool:
    return bool(entry.name) and (entry.name in names or str(entry.name).rpartition(":")[0] in names)


def _is_of_kind(entry: HealthNode, kind: str) -> bool:
    return entry.role == "unknown" or (entry.role == COREAPP) == (kind == COREAPP)


@dataclass(frozen=True)
class Restart:
    """One node to restart: C(label) names it with its host, C(title) its place in the order."""

    host: str
    node: Node
    title: str
    label: str


@dataclass(frozen=True)
class Targets:
    """What a demand is about: nodes by host, hosts that could not be told, and what to say."""

    nodes: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def refuse_other_clients(
    cluster: str,
    own: str,
    health: ClientHealth,
    others: Mapping[str, ClientHealth],
    end: str = "Nothing is written or restarted",
) -> None:
    """Raises Refused where hosts of one cluster are known to be of different clients.

    own, health: a host and what its client says. others: the same of hosts that have other addresses. end: what the
    message says of what was done.
    """
    strangers = [host for host, other in others.items() if _is_another_client(health, other)]
    if strangers:
        raise Refused(
            f"wa_settings_cluster: {own} and {', '.join(strangers)} are hosts of cluster {cluster}, but different "
            "clients answer at their addresses; give each client a wa_settings_cluster of its own, or all hosts the "
            f"same wa_settings_api_url if it is one client. {end}"
        )


def _is_another_client(one: ClientHealth, other: ClientHealth) -> bool:
    """Whether two answers cannot come from one client: every Webapp of a cluster lists the same nodes (API notes,
    section 4.1), and a client outside a cluster needs no second address. Unknown is not different."""
    if one.nodes is None or other.nodes is None:
        return False
    if one.clustered != other.clustered or not one.clustered:
        return True
    return {node.name for node in one.nodes}.isdisjoint(node.name for node in other.nodes)


def as_health_says(nodes: Iterable[Node], health: ClientHealth) -> tuple[Node, ...]:
    """Nodes of which only the name is known, with the role that the client's health gives to that name."""
    known = []
    for node in nodes:
        entry = health.find(node) if not node.id else None
        is_master = entry is not None and entry.role.endswith("_master")
        known.append(replace(node, kind=MASTER) if is_master else node)
    return tuple(known)


# --- a demand ----------------------------------------------------------------------------------------------------


def targets(
    cluster: str,
    looks: Sequence[Look],
    wanted: Wanted,
    *,
    masters: bool | None,
    health: ClientHealth,
    partial_cluster: bool = False,
    writes: bool = True,
) -> Targets:
    """The nodes that a demand is about. Raises Refused.

    masters: whether masters restart too; None: when MASTERS_TOO is among the settings. writes: whether anything is to
    be written to the client; if not, a restart is only asked for, and can wait for a host that is away.
    """
    _refuse_unseen(cluster, looks, wanted, writes)
    elsewhere = tuple(look.host for look in looks if look.problem is not None)
    warnings = [
        f"{look.host} of cluster {cluster} cannot be looked at ({look.problem}); its restart stays pending until a run "
        "reaches it"
        for look in looks
        if look.problem is not None
    ]
    if not wanted:
        return Targets(warnings=tuple(warnings))
    _refuse_assumed(cluster, looks, health)
    coreapps = _once(node for look in looks for node in look.nodes if node.kind == COREAPP)
    if not coreapps:
        hosts = ", ".join(look.host for look in looks)
        found = "only masters were" if any(look.nodes for look in looks) else "none was"
        raise Refused(
            f"cluster {cluster}: no Coreapp container found on {hosts} ({found} found), so what has to restart is not "
            "known and nothing is written; see wa_settings_restart_containers, wa_settings_restart_image_pattern and "
            "wa_settings_restart_backend"
        )
    _refuse_several_outside_a_cluster(cluster, looks, coreapps, health)
    if not health.clustered and any(node.alone for node in coreapps):
        alone = next(node.alone for node in coreapps if node.alone)
        raise Refused(f"{cluster} is not a cluster: {alone}. Nothing is written or restarted")
    _refuse_strangers(cluster, looks, health)
    unknown = _unaccounted(looks, health)
    if unknown and partial_cluster:
        warnings.append(
            f"cluster {cluster}: no host of this inventory accounts for {', '.join(unknown)}, whose restart is for "
            "somebody else to do"
        )
    elif unknown:
        raise Refused(
            f"cluster {cluster}: the client's health names {', '.join(unknown)}, which no host of this inventory "
            "accounts for, so its restart would be forgotten. Run with the whole cluster in the inventory, or set "
            "wa_settings_partial_cluster if that node is looked after elsewhere. Nothing is written or restarted"
        )
    masters_too = MASTERS_TOO in wanted.settings if masters is None else masters
    return Targets(
        nodes={
            look.host: tuple(node for node in look.nodes if node.kind == COREAPP or masters_too)
            for look in looks
            if look.problem is None
        },
        elsewhere=elsewhere,
        warnings=tuple(warnings),
    )


def _once(nodes: Iterable[Node]) -> list[Node]:
    """Without what two hosts of the inventory that are one machine both see."""
    seen: dict[str, Node] = {}
    for at, node in enumerate(nodes):
        seen.setdefault(node.id or f"{at} {node.name}", node)
    return list(seen.values())


def _refuse_assumed(cluster: str, looks: Sequence[Look], health: ClientHealth) -> None:
    """Sees that hosts which a loop alone puts into the cluster are of this client."""
    certain = [node for look in looks if not look.assumed for node in look.nodes]
    # Of nodes without ids only names are known, which need not be the ones in health.
    if health.nodes is None or (health.clustered and not any(health.find(node) for node in certain)):
        return
    strangers = [
        f"{node.name} on {look.host}"
        for look in looks
        if look.assumed
        for node in look.nodes
        if node.running
        and not (health.clustered and health.find(node))
        and not any(node.id and node.id == own.id for own in certain)
        and not _is_on_record(look, node)
    ]
    if strangers:
        raise Refused(
            f"cluster {cluster}: {', '.join(strangers)} may belong to another client, since this one does not list it. "
            "wa_settings_cluster comes from a loop here, so all hosts of the play count as one cluster; put "
            "inventory_hostname into the name if each host has clients of its own, or have a play for each cluster's "
            "hosts. Nothing is written or restarted"
        )


def _is_on_record(look: Look, node: Node) -> bool:
    return bool(look.record and (look.record.find(node) or look.record.returning))


def _refuse_unseen(cluster: str, looks: Sequence[Look], wanted: Wanted, writes: bool) -> None:
    waits = bool(wanted) and not writes and any(look.problem is None for look in looks)
    silent = [
        f"{look.host} ({look.problem})"
        for look in looks
        if look.inside and look.problem is not None and not (waits and look.away)
    ]
    if silent:
        end = "nothing is written or restarted" if wanted else "nothing is restarted and all of it stays pending"
        raise Refused(f"cluster {cluster}: restarts cannot be done on {', '.join(silent)}, so {end}")


def _refuse_several_outside_a_cluster(
    cluster: str, looks: Sequence[Look], coreapps: Sequence[Node], health: ClientHealth
) -> None:
    running = [node.name for node in coreapps if node.running]
    if health.clustered is False and len(running) > 1 and not all(look.names_given for look in looks if look.nodes):
        raise Refused(
            f"{cluster} is not a cluster and has one Coreapp, but {', '.join(running)} were found; name the container "
            "of this client in wa_settings_restart_containers. Nothing is written or restarted"
        )


def _refuse_strangers(cluster: str, looks: Sequence[Look], health: ClientHealth) -> None:
    if not health.clustered or health.nodes is None:
        return
    strangers = [
        f"{node.name} on {look.host}"
        for look in looks
        if not look.names_given
        for node in look.nodes
        if node.running and node.id and health.find(node) is None and not _is_on_record(look, node)
    ]
    if strangers:
        raise Refused(
            f"cluster {cluster}: {', '.join(strangers)} is not in the health of this client, so it may belong to "
            "another one; name the containers of this client in wa_settings_restart_containers. Nothing is written or "
            "restarted"
        )


def _unaccounted(looks: Sequence[Look], health: ClientHealth) -> list[str]:
    """Coreapps that the client's health names and that no host accounts for, if all hosts were looked at."""
    if not health.clustered or health.nodes is None or any(look.problem is not None for look in looks):
        return []
    nodes = [node for look in looks for node in look.nodes]
    unknown = [entry.name or "" for entry in health.nodes if entry.role == COREAPP and not _accounts(nodes, entry)]
    # Of a node without an id only the name is known, which need not be the one in health; if others are, it should be.
    nameless = [node for node in nodes if not node.id and node.kind == COREAPP and health.find(node) is None]
    others = any(not node.id and health.find(node) for node in nodes)
    return sorted(unknown) if others or len(unknown) > len(nameless) else []


def _accounts(nodes: Sequence[Node], entry: HealthNode) -> bool:
    alone = ClientHealth((entry,))
    return any(alone.find(node) is not None for node in nodes)


# --- records of all hosts together -------------------------------------------------------------------------------


def adopted(look: Look, looks: Sequence[Look], recorded: str) -> Record:
    """A host's record with what must be pending on it beside its own entries.

    A record that could not be read means that everything is pending, masters included. So does a host that could not be
    looked at when a restart was demanded.
    """
    record = look.record
    if record is None:
        raise ValueError(f"{look.host} has not been looked at")
    told = [other.record for other in looks if other.record is not None and look.host in other.record.elsewhere]
    if look.lost is not None or told:
        masters = look.lost is not None or any(MASTERS_TOO in other.settings for other in told)
        record = demand(
            record,
            [node for node in look.nodes if node.running and (node.kind == COREAPP or masters)],
            settings=sorted({name for other in told for name in other.settings}),
            recorded=recorded,
            connected_before=highest(*(other.connected_before for other in told)),
        )
    if record.noted < record.generation:
        # Nobody else writes while the lease is ours, so whatever was to be written is written by now.
        record = note_written(record, look.nodes)
    return record if look.tells_starts else under_present_names(record, look.nodes)


def without_seen(record: Record, looks: Iterable[Look]) -> Record:
    """The record without the hosts that have been looked at meanwhile; their restarts are on their own records now."""
    seen = {look.host for look in looks if look.problem is None}
    return tidy(replace(record, elsewhere=tuple(host for host in record.elsewhere if host not in seen)))


def expected_connected(looks: Iterable[Look], health: ClientHealth, given: int | None) -> int | None:
    """How many Coreapps have to be connected before a node is stopped; None where nobody can tell.

    given: what an operator accepts.
    """
    if given is not None:
        return given
    now = health.connected
    if health.unregistered:
        return now
    before = [look.record.connected_before for look in looks if look.record is not None]
    counts = [count for count in [*before, now] if count is not None]
    if not counts:
        return None
    expected = max(counts)
    return expected if health.shards is None else min(expected, health.shards)


# --- what restarts -----------------------------------------------------------------------------------------------


def is_pending(record: Record, node: Node, masters: bool | None = None) -> bool:
    """Whether the node has to restart: it is written down, runs, and is not known to have started since."""
    entry = record.find(node)
    if entry is None or not node.running or (node.kind == MASTER and masters is False):
        return False
    return not has_started_since(entry, node)


def settled_otherwise(look: Look, masters: bool | None = None) -> list[Pending]:
    """Entries that need no restart by us: gone, stopped, started since, or masters that are to be left alone.

    A node that has started since must be seen healthy before its entry may go, see C(unproven).
    """
    if look.record is None:
        return []
    pending = [node for node in look.nodes if is_pending(look.record, node, masters)]
    return [entry for entry in look.record.nodes if not any(is_same(entry, node) for node in pending)]


def unproven(look: Look) -> list[Node]:
    """Nodes that have started since, by whoever's hand; their entries go when they are seen healthy."""
    if look.record is None:
        return []
    return [
        node for node in look.nodes if (entry := look.record.find(node)) is not None and has_started_since(entry, node)
    ]


def stopped_since(look: Look) -> list[str]:
    """Names of nodes with a pending restart that are stopped and are not the one that we stopped."""
    if look.record is None:
        return []
    returning = look.record.returning
    return [
        node.name
        for node in look.nodes
        if not node.running
        and look.record.find(node) is not None
        and not (returning is not None and is_same(returning, node))
    ]


def in_order(looks: Sequence[Look], health: ClientHealth, masters: bool | None = None) -> list[Restart]:
    """What has to restart, in order.

    Stand-bys first and connected Coreapps last, so that high availability sees one fail-over; then masters, the primary
    one last of all.
    """
    found: dict[str, tuple[tuple[bool, bool], str, Node]] = {}
    for at, look in enumerate(looks):
        for node in look.nodes:
            if look.inside and look.record is not None and is_pending(look.record, node, masters):
                rank = (node.kind == MASTER, leads(node, health))
                found.setdefault(node.id or f"{at} {node.name}", (rank, look.host, node))
    ordered = sorted(found.values(), key=lambda entry: entry[0])
    restarts: list[Restart] = []
    for _rank, host, node in ordered:
        of_kind = [other for _r, _h, other in ordered if other.kind == node.kind]
        place = next(at for at, other in enumerate(of_kind, 1) if other is node)
        title = f"{TITLES[node.kind]} {place} of {len(of_kind)}"
        restarts.append(Restart(host, node, title, f"{node.name} on {host}"))
    return restarts


def leads(node: Node, health: ClientHealth) -> bool:
    """Whether the node serves now: a connected Coreapp, or the primary master."""
    entry = health.find(node)
    if entry is None:
        return False
    return entry.role == "primary_master" if node.kind == MASTER else entry.gateway_status == CONNECTED
