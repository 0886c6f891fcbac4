# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of pending restarts: what one container host keeps for one client or cluster. Pure.

Nothing in the API tells whether a running Coreapp already uses the stored settings. So the nodes that have to restart
are written down before the settings are, and taken off one by one when they are back.

No clock decides anything: times in a record are for people. Whether a node has started since is told by its
incarnation, a text of its engine's that differs after each start and is compared for equality only.

This module is private to the collection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

COREAPP = "coreapp"
MASTER = "master"

_FORMAT = 2
_LONGEST_NAME = 200  # file systems allow 255 bytes


@dataclass(frozen=True)
class Node:
    """A Coreapp or master as its backend sees it now.

    id: empty where the backend has none. kind: COREAPP or MASTER. running: False for what is stopped. steady: False
    while the engine starts it over and over. incarnation: empty where the backend cannot tell one start from another.
    hostname: the first part of the node's name in health, or several that it may be, with spaces between; empty if not
    known. unit: what makes the node anew under another name, as a Deployment its pods; empty where a restart keeps the
    name. alone: why it must not restart outside a cluster; empty if it may.
    """

    name: str
    id: str = ""
    kind: str = COREAPP
    running: bool = True
    steady: bool = True
    incarnation: str = ""
    hostname: str = ""
    unit: str = ""
    alone: str = ""


@dataclass(frozen=True)
class Pending:
    """A node with a pending restart.

    generation: the latest demand that it has to restart for. incarnation: what ran when the writing of the settings was
    noted; empty where the backend cannot tell. listed: of a node that was stopped, the name in health that has to come
    back; empty where health did not list it.
    """

    name: str
    id: str = ""
    kind: str = COREAPP
    generation: int = 0
    incarnation: str = ""
    unit: str = ""
    listed: str = ""


@dataclass(frozen=True)
class Lease:
    """Who may change the record now.

    token: differs for each holder. run: one run of Ansible. controller, since: for people. machine, process: where the
    holder can be seen to be gone. seconds: how long the lease lasts without a renewal. renewal: grows with each.
    """

    token: str
    run: str
    controller: str
    machine: str
    process: str
    since: str
    seconds: float
    renewal: int = 0

    def __str__(self) -> str:
        return f"another run on {self.controller} (process {self.process.partition('/')[0]}, since {self.since})"


@dataclass(frozen=True)
class Sent:
    """Values that the client does not report, as it last accepted them: setting → salted digest, no value.

    version: the client's; another version may have forgotten them.
    """

    salt: str
    version: str | None
    digests: Mapping[str, str] = field(default_factory=dict)

    def digest(self, setting: str, value: Any) -> str:
        text = json.dumps([self.salt, setting, value], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def knows(self, setting: str, value: Any, version: str | None) -> bool | None:
        """Whether this very value was accepted last by this version; None if nothing is known."""
        if setting not in self.digests or version != self.version:
            return None
        return self.digests[setting] == self.digest(setting, value)

    def learn(self, values: Mapping[str, Any]) -> Sent:
        return replace(self, digests={**self.digests, **{name: self.digest(name, v) for name, v in values.items()}})


@dataclass(frozen=True)
class Campaign:
    """Campaigns that keep the automatic collection of messages off.

    setting: the dotted name of what switches it. before: what it was before the first of them. names: of all that have
    begun and not ended.
    """

    setting: str
    before: bool
    names: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What is pending on one host.

    client: the address of the client at the demand, as this host has it. generation: grows with each demand. noted: the
    generation up to which it was noted that the settings are written; while it lags behind, every node has a pending
    restart, whatever has started since. recorded: when the first of the present demands was written (UTC, for people).
    settings: dotted names, no values. returning: the node that was stopped for its restart and has not been seen
    healthy since. connected_before: connected Coreapps of the cluster before the first restart; None where nobody could
    tell. elsewhere: hosts of the cluster that could not be looked at when a restart was demanded. campaign: what has to
    be put back, until that is done.
    """

    cluster: str
    host: str
    client: str = ""
    generation: int = 0
    noted: int = 0
    recorded: str = ""
    nodes: tuple[Pending, ...] = ()
    settings: tuple[str, ...] = ()
    returning: Pending | None = None
    connected_before: int | None = None
    elsewhere: tuple[str, ...] = ()
    lease: Lease | None = None
    sent: Sent | None = None
    campaign: Campaign | None = None

    @property
    def is_pending(self) -> bool:
        return self.waits or bool(self.elsewhere)

    @property
    def waits(self) -> bool:
        """Whether nodes of this host are to restart, or to be seen healthy, or may have to."""
        return bool(self.nodes or self.returning) or self.noted < self.generation

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it is worth a file."""
        return not self.is_pending and self.lease is None and self.sent is None and self.campaign is None

    def is_of_another(self, client: str) -> bool:
        """Whether what is pending in it, or a campaign, is another client's than the one at this address."""
        holds = self.is_pending or self.campaign is not None
        return holds and self.client not in ("", client.rstrip("/"))

    def labels(self) -> list[str]:
        """What is pending, for people."""
        return [f"{name} on {self.host}" for name in self._own_names()] + self._names_elsewhere()

    def names(self) -> list[str]:
        """The same, where it is clear which host's record it is."""
        return self._own_names() + self._names_elsewhere()

    def _own_names(self) -> list[str]:
        return [entry.name for entry in self.nodes] or ([self.returning.name] if self.returning else [])

    def _names_elsewhere(self) -> list[str]:
        return [f"all Coreapps on {host}" for host in self.elsewhere]

    def find(self, node: Node | Pending) -> Pending | None:
        """The entry of a node."""
        return next((entry for entry in self.nodes if is_same(entry, node)), None)


class Unreadable(ValueError):
    """There is a record, and it makes no sense or is another's; the message says why."""


class Misplaced(Unreadable):
    """A record that is another cluster's or host's."""


def unknown(cluster: str, host: str) -> Record:
    """What takes the place of a record that cannot be read: everything is pending, until it is noted what that is."""
    everything = tuple(Pending(f"all {kind}s", kind=kind, generation=1) for kind in (COREAPP, MASTER))
    return Record(cluster, host, generation=1, nodes=everything)


def is_same(one: Node | Pending, other: Node | Pending) -> bool:
    """Whether both are the same node: by name, or by id where it was renamed."""
    return one.name == other.name or (bool(one.id) and one.id == other.id)


# --- the file ----------------------------------------------------------------------------------------------------


def file_name(cluster: str, host: str) -> str:
    """One for each cluster and inventory host, whatever characters their names have; hosts may share a directory."""
    name = f"{quote(cluster, safe='')}@{quote(host, safe='')}.json"
    if len(name) > _LONGEST_NAME + len(".json"):
        name = f"{hashlib.sha256(name.encode()).hexdigest()}.json"
    return name


@dataclass(frozen=True)
class Whose:
    """How the records of one client are told from others, also under names that it has no more.

    client: its address. cluster, host: its names now. is_known: whether a name is that of a host of the inventory.
    """

    client: str
    cluster: str
    host: str
    is_known: Callable[[str], bool]

    @property
    def marks(self) -> tuple[str, str]:
        """What stands in a record of the client: one of these at least."""
        return f'"client": {json.dumps(self.client.rstrip("/"))}', f'"cluster": {json.dumps(self.cluster)}'

    def leaves(self, host: str) -> bool:
        """Whether a record is that of another host, which sees to it itself."""
        return host != self.host and self.is_known(host)

    def leaves_file(self, name: str) -> bool:
        """The same by the name of a file, as far as it is in there."""
        host = name[: -len(".json")].rpartition("@")[2]
        return not name.endswith(".json") or self.leaves(unquote(host))

    def misnamed(self, others: Iterable[tuple[str, str]]) -> str:
        """What is wrong if pending restarts or campaigns of the client are on records under other names; or nothing.

        others: name and text of each record that has one of the marks.
        """
        for name, text in others:
            try:
                found = json.loads(text)
                cluster, host, client = str(found["cluster"]), str(found["host"]), str(found["client"])
                pending = found["nodes"] or found["returning"] or found["elsewhere"]
                campaign = found.get("campaign")
            except (ValueError, LookupError, TypeError, AttributeError):
                continue
            if self.leaves(host) or not (pending or campaign):
                continue
            names = [f"for the host {host}, which is not in this inventory"] if host != self.host else []
            names += [f"when its wa_settings_cluster was {cluster}"] if cluster != self.cluster else []
            made, those = ", ".join(names), "that name" if len(names) == 1 else "those names"
            of, end = "this client", ""
            if client not in ("", self.client.rstrip("/")):
                of, end = client, ". If that is another client, give each a wa_settings_cluster of its own"
            if pending:
                return (
                    f"{name} holds a pending restart of {of}, made {made}. Run once with {those}; or remove it and run "
                    f"once with wa_settings_restart: always{end}"
                )
            return f"{name} holds a campaign of {of}, begun {made}. End it with {those}{end}"
        return ""


def others_record(name: str, record: Record) -> str:
    """What to say of a record of another client, which lies where this client's should."""
    held, then = "a pending restart", "remove the file and run with wa_settings_restart: always"
    if not record.is_pending:
        held, then = "a campaign", "put that into the file"
    return (
        f"{name} holds {held} of another client, {record.client}; give each client on this host a "
        f"wa_settings_cluster of its own. If it is the same client at a new address, {then}"
    )


def render(record: Record) -> str:
    """The text of the file."""
    return json.dumps({"format": _FORMAT, **asdict(record)}, sort_keys=True, indent=1) + "\n"


def parse(text: str, cluster: str, host: str) -> Record:
    """The record in a file's text. Raises Unreadable, also where it is another cluster's or host's."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise Unreadable("its format is not known")
    try:
        record = Record(
            cluster=_text(found["cluster"]),
            host=_text(found["host"]),
            client=_text(found["client"]),
            generation=_count(found["generation"]),
            noted=_count(found["noted"]),
            recorded=_text(found["recorded"]),
            nodes=tuple(_pending(entry) for entry in _list(found["nodes"])),
            settings=tuple(_text(name) for name in _list(found["settings"])),
            returning=None if found["returning"] is None else _pending(found["returning"]),
            connected_before=None if found["connected_before"] is None else _count(found["connected_before"]),
            elsewhere=tuple(_text(name) for name in _list(found["elsewhere"])),
            lease=None if found["lease"] is None else Lease(**_fields(found["lease"], Lease)),
            sent=None if found["sent"] is None else Sent(**_fields(found["sent"], Sent)),
            campaign=None if found.get("campaign") is None else _campaign(found["campaign"]),
        )
    except KeyError as error:
        raise Unreadable(f"{error.args[0]} is missing") from None
    if (record.cluster, record.host) != (cluster, host):
        raise Misplaced(f"it belongs to {record.host} of cluster {record.cluster}")
    return record


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable("it lacks a text where one is expected")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Unreadable("it lacks a number where one is expected")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unreadable("it lacks a list where one is expected")
    return value


_FIELD_TYPES: Mapping[str, tuple[type, ...]] = {
    "seconds": (int, float),
    "renewal": (int,),
    "digests": (dict,),
    "version": (str, type(None)),
    "before": (bool,),
    "names": (list,),
}


def _fields(value: Any, kind: type) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("it lacks an object where one is expected")
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]
    found = {name: value[name] for name in names}
    for name, member in found.items():
        if not isinstance(member, _FIELD_TYPES.get(name, (str,))):
            raise Unreadable(f"{name} in it is of the wrong kind")
    return found


def _pending(value: Any) -> Pending:
    if not isinstance(value, dict):
        raise Unreadable("a node in it is not an object")
    return Pending(
        name=_text(value["name"]),
        id=_text(value["id"]),
        kind=_text(value["kind"]),
        generation=_count(value["generation"]),
        incarnation=_text(value["incarnation"]),
        unit=_text(value["unit"]),
        listed=_text(value.get("listed", "")),
    )


def _campaign(value: Any) -> Campaign:
    fields = _fields(value, Campaign)
    return Campaign(**{**fields, "names": tuple(_text(name) for name in fields["names"])})


# --- what may happen to it ---------------------------------------------------------------------------------------


def may_take(lease: Lease | None, token: str, holder_is_gone: bool, seconds_unchanged: float) -> bool:
    """Whether a lease may be taken over.

    holder_is_gone: its process was seen to be gone, on its own machine. seconds_unchanged: how long the observer has
    seen this lease without a renewal, by the observer's own clock.
    """
    return lease is None or lease.token == token or holder_is_gone or seconds_unchanged >= lease.seconds


def demand(
    record: Record,
    nodes: Iterable[Node],
    *,
    settings: Sequence[str],
    recorded: str,
    connected_before: int | None,
    elsewhere: Iterable[str] = (),
) -> Record:
    """The record with one more demand in it. Until C(note_written) every node has a pending restart."""
    generation = record.generation + 1
    demanded = [_entry(node, generation) for node in nodes]
    kept = [entry for entry in record.nodes if not any(is_same(entry, new) for new in demanded)]
    return replace(
        record,
        generation=generation,
        recorded=record.recorded if record.is_pending and record.recorded else recorded,
        nodes=_sorted([*demanded, *kept]),
        settings=tuple(sorted({*record.settings, *settings})),
        connected_before=highest(record.connected_before, connected_before),
        elsewhere=tuple(sorted({*record.elsewhere, *elsewhere})),
    )


def _entry(node: Node, generation: int) -> Pending:
    return Pending(node.name, node.id, node.kind, generation, node.incarnation, node.unit)


def _sorted(entries: Iterable[Pending]) -> tuple[Pending, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.kind, entry.name)))


def under_present_names(record: Record, nodes: Sequence[Node]) -> Record:
    """The record of a host whose nodes were given other names.

    For backends that cannot tell one start from another: a node is a name there and nothing else. That a name is gone
    does not show that anything has restarted, so the nodes of now take its place, of whatever kind: a name that health
    did not list may have been a master's.
    """
    gone = [entry.generation for entry in record.nodes if not any(is_same(entry, node) for node in nodes)]
    new = [node for node in nodes if gone and not record.find(node)]
    returning = record.returning
    if returning is not None and new and not any(is_same(returning, node) for node in nodes):
        # If it is not clear which of the nodes it is, health alone has to tell whether the client has recovered.
        returning = replace(returning, name=new[0].name, id=new[0].id, listed="") if len(new) == 1 else None
    pending = [*record.nodes, *(_entry(node, max(gone)) for node in new)]
    return replace(record, nodes=_sorted(pending), returning=returning)


def highest(*counts: int | None) -> int | None:
    """The measure of health that a cut off restart must not lower: the highest that is known."""
    return max((count for count in counts if count is not None), default=None)


def note_written(record: Record, nodes: Sequence[Node], connected_before: int | None = None) -> Record:
    """The record after the settings of the latest demand were written, or certainly will not be written any more.

    Whatever starts from now on runs with the stored values; what runs now need not, also if it was made after the
    demand. What is stopped now will load them when it starts. Of Coreapps none need have been there at the demand.
    """
    kinds = {COREAPP, *(entry.kind for entry in record.nodes if entry.generation > record.noted)}
    kept = [entry for entry in record.nodes if entry.kind not in kinds]
    now = [_entry(node, record.generation) for node in nodes if node.running and node.kind in kinds]
    return tidy(
        replace(
            record,
            noted=record.generation,
            nodes=_sorted([*now, *kept]),
            connected_before=highest(record.connected_before, connected_before),
        )
    )


def withdraw(record: Record, before: Record) -> Record:
    """The record after a demand whose settings were certainly not written."""
    restored = replace(
        record,
        noted=record.generation,
        nodes=before.nodes,
        settings=before.settings,
        recorded=before.recorded,
        elsewhere=before.elsewhere,
        connected_before=before.connected_before,
    )
    return tidy(restored)


def has_started_since(entry: Pending, node: Node) -> bool:
    """Whether the node is known to have started after the settings were written."""
    return bool(node.running and node.incarnation and entry.incarnation and node.incarnation != entry.incarnation)


def begin_restart(record: Record, node: Node, listed: str = "") -> Record:
    """The record just before the node is stopped. listed: the name in health that has to come back."""
    return replace(record, returning=replace(_entry(node, record.generation), listed=listed))


def settle(record: Record, node: Node | Pending, generation: int) -> Record:
    """The record after a node was seen healthy: it pays for demands up to the generation at which it was stopped."""
    back = record.returning is not None and is_same(record.returning, node)
    kept = tuple(entry for entry in record.nodes if not is_same(entry, node) or entry.generation > generation)
    return tidy(replace(record, nodes=kept, returning=None if back else record.returning))


def pending_again(record: Record, before: Record, node: Node) -> Record:
    """The record with a node that was settled, and turns out not to have restarted. before: as it was until then."""
    entries = [entry for entry in before.nodes if is_same(entry, node)]
    return replace(
        record,
        nodes=_sorted([*(entry for entry in record.nodes if not is_same(entry, node)), *entries]),
        settings=tuple(sorted({*record.settings, *before.settings})),
        recorded=record.recorded or before.recorded,
        connected_before=highest(record.connected_before, before.connected_before),
    )


def tidy(record: Record) -> Record:
    """The record without what only a pending restart needs, when none is left."""
    if record.is_pending:
        return record
    return replace(record, settings=(), recorded="", connected_before=None)


Change = Callable[[Record], Record]
