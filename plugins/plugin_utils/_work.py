# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a change or a rolling restart on one cluster, as one task carries them out.

A task that loops over steps runs all of them in one process, each delegated to the host that it concerns. So the steps
share this object, a lease is never held across tasks, and hosts of one run that wait for each other cannot block each
other. What is decided here comes from the pure C(_protocol) and C(_record); what is done goes through a C(Port).

This module is private to the collection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from ansible_collections.wabiz.onprem.plugins.module_utils._health import CONNECTED, read_node
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import dotted, place, read_declaration
from ansible_collections.wabiz.onprem.plugins.module_utils._run import secrets_of
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import (
    Host,
    Member,
    Problem,
    only,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._campaign import (
    Decision,
    begin,
    end,
    in_words,
    left_alone,
    together,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._context import Context
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import RUN
from ansible_collections.wabiz.onprem.plugins.plugin_utils._lease import is_gone, new_lease, now
from ansible_collections.wabiz.onprem.plugins.plugin_utils._media import keep_by_modules
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import (
    ClientHealth,
    Look,
    Refused,
    Restart,
    Targets,
    Wanted,
    adopted,
    as_health_says,
    expected_connected,
    in_order,
    is_pending,
    leads,
    refuse_other_clients,
    settled_otherwise,
    stopped_since,
    targets,
    unproven,
    without_seen,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    COREAPP,
    MASTER,
    Campaign,
    Change,
    Lease,
    Misplaced,
    Node,
    Pending,
    Record,
    Sent,
    Unreadable,
    begin_restart,
    demand,
    highest,
    is_same,
    may_take,
    note_written,
    others_record,
    parse,
    pending_again,
    render,
    settle,
    tidy,
    unknown,
    withdraw,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._steps import Step, restart_steps
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Place, Store, Unreachable
from ansible_collections.wabiz.onprem.plugins.plugin_utils._summary import summary_line
from ansible_collections.wabiz.onprem.plugins.plugin_utils._watch import Ask, Watch

Result = dict[str, Any]

_POLL = 0.2  # seconds between two looks at something that is expected soon
_STEADY = 3.0  # seconds that a stand-by has to run, since its health looks the same when it is dead
# The documented default of the setting unhealthy_interval: so long a cluster may list a node that was killed as it was.
_UNHEALTHY = 30.0
# Seconds after a restart command in which a node that restarts shows it. What was killed may be listed as it was, and a
# slow machine takes its time to start another.
_SIGN_AFTER = _UNHEALTHY
_LEASE_SLACK = 60.0  # seconds
PATIENCE = 5.0  # seconds for an answer of another address, which may be nobody's


class Failed(Exception):
    """The work on this cluster cannot go on; the message says why, where and what to do."""


class Port(Protocol):
    """What the present step may use: a host, the client's API, and the person who watches."""

    host: Host

    def store(self, member: Member, cluster: str) -> Store:
        """Where the member's record lies."""

    def api(self, module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> Result:
        """Runs a module of the collection; its result. arguments: with C(api_url) they say the whole connection."""

    def watch(self) -> AbstractContextManager[Ask] | None:
        """What asks for the nodes in health again and again, in another thread; None where the API is elsewhere."""

    def say(self, line: str) -> None:
        """Shows a line."""


def read_client_health(result: Mapping[str, Any] | None) -> ClientHealth:
    """What a result of C(wa_health_info) says."""
    if not result or not result.get("nodes"):
        return ClientHealth()
    nodes = tuple(read_node(node.get("name"), node) for node in result["nodes"])
    return ClientHealth(nodes, bool(result["clustered"]), result.get("shards"))


def require_one_client(
    ask: Callable[[Mapping[str, Any]], Result],
    cluster: str,
    host: str,
    connection: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    **words: str,
) -> str | None:
    """Sees that one client answers for all hosts of a cluster. Raises Refused, with C(words).

    ask: runs wa_health_info with a connection. host, connection: who acts. others: the connections of the hosts that
    have other addresses. An address that does not answer within a few seconds is unknown. Returns a host whose address
    answers if that of who acts does not.
    """

    def health_at(there: Mapping[str, Any]) -> ClientHealth:
        seconds = min(float(there.get("timeout") or PATIENCE), PATIENCE)
        return read_client_health(ask({**there, "timeout": seconds, "retries": 0}))

    own = health_at(connection)
    answers = {name: health_at(there) for name, there in others.items()}
    refuse_other_clients(cluster, host, own, answers, **words)
    answering = (name for name, health in answers.items() if health.nodes is not None)
    return next(answering, None) if own.nodes is None else None


@dataclass
class _Member:
    """What the work knows of one host."""

    member: Member
    look: Look | None = None
    place: Place | None = None
    stored: str | None = None  # the text of the record as it lies there
    before: Record | None = None  # before this work's demand
    leased: bool = False
    lost: str | None = None  # why the record could not be read before this work took the lease
    told: bool = False  # what other records say is pending here is on this host's own record


@dataclass
class _Now:
    """The node that is restarting."""

    restart: Restart
    generation: int = 0
    started: Node | None = None  # as it was just after its start
    started_at: float = 0.0
    standby: bool = False
    killed: bool = False  # it did not stop by itself, so health may not know yet that it was away
    is_proven: bool = True  # that it restarted was seen, or the backend tells


class Work:
    """The work on one cluster. Each public method is a step; what goes wrong ends the work but for the cleaning up."""

    def __init__(
        self,
        context: Context,
        check_mode: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.context = context
        self.check_mode = check_mode
        self.failure: str | None = None
        self.restarted: list[str] = []
        self._again: list[str] = []  # what was restarted because an earlier run had left it stopped
        self.warnings: list[str] = []
        self._clock = clock
        self._sleep = sleep
        seconds = float(context.values["restart_stop_timeout"]) + context.health_timeout + _LEASE_SLACK
        self._lease = new_lease(seconds)
        self._members = {member.host: _Member(member) for member in context.members}
        self._health = read_client_health(context.health)
        self.wanted = context.wanted
        self._settings = context.settings
        self._unverified = context.unverified
        self._version = context.client_version
        self._peeked: Record | None = None
        self._differs = bool(context.wanted)
        self._fresh = False  # whether the health was asked for just now
        self._targets: Targets | None = None
        self._decision: Decision | None = None  # what the begin or the end of a campaign does
        self._written: Result | None = None
        self._provided: list[str] = []  # what has changed of the media providers
        self._waited = False
        self._restarts: list[Restart] | None = None
        self._expected: int | None = None
        self._regained: str | None = None  # what is missing while a node is to come back
        self._now: _Now | None = None
        self._warned: set[str] = set()
        self._is_recorded = False
        # What this run has restarted and nobody could see: the record until then.
        self._unproven: list[tuple[Restart, Record]] = []
        self._disproved: list[tuple[Restart, Record]] = []
        self._checked: set[tuple[Any, ...]] = set()

    # --- looking ---------------------------------------------------------------------------------------------

    @property
    def _looks(self) -> list[Look]:
        return [known.look for known in self._members.values() if known.look is not None]

    @property
    def _told(self) -> list[Look]:
        """Looks at hosts that other records need not speak of any more."""
        return [known.look for known in self._members.values() if known.look is not None and known.told]

    @property
    def _is_handed_over(self) -> bool:
        """Whether these restarts were demanded before in this run, so that what they need has been checked."""
        return bool(self.context.restarts)

    @property
    def _due(self) -> bool:
        """Whether a restart may have to be written down or done, as far as it is known."""
        if self.wanted or self._peeked is None:
            return True
        return self._peeked.is_pending and self.context.may_restart

    def already_sent(self, name: str, value: Any, version: str | None) -> bool | None:
        """What the records know of a value that the client does not report, as C(plan) asks for it."""
        records = [look.record for look in self._looks if look.record is not None]
        known = [record.sent.knows(name, value, version) for record in records if record.sent is not None]
        told = [answer for answer in known if answer is not None]
        return all(told) and len(told) == len(records) if told else None

    @property
    def _campaign(self) -> Campaign | None:
        """What the records are to say of campaigns while this work has them in hand."""
        if self._decision is not None:
            return self._decision.recorded
        return together(look.record.campaign for look in self._looks if look.record is not None)

    @property
    def _keeps(self) -> bool:
        """Whether a record may be made that has to last."""
        return bool(self.wanted) or self.context.campaign is not None

    def peek(self, port: Port, host: str) -> Result:
        """Reads a record, without taking the lease."""
        store = port.store(self._members[host].member, self.context.cluster)
        place = store.read()
        if place.misnamed:
            raise Failed(place.misnamed)
        record, lost = self._parse(place.text, host)
        # What cannot be read means that everything is pending.
        self._peeked = record if lost is None else None
        return {}

    def ask(self, port: Port, _host: str) -> Result:
        """Asks whether the settings differ, where only another host can."""
        found = port.api("wa_application_settings", self._settings or {}, check_mode=True)
        if found.get("failed"):
            raise Unwritten(found)
        self._unverified = tuple(found["unverified_settings"])
        self._version = found["client_version"]
        self.wanted = replace(self.wanted, settings=tuple(found["restart_settings"]))
        self._differs = bool(found["changed_settings"] or found["changed"] or self.wanted)
        if not self._differs:
            self._settings = None
        return {}

    def providers(self, port: Port, _host: str) -> Result:
        """Brings the media providers to what is declared. Nothing has to restart for them."""
        call = partial(port.api, check_mode=self.check_mode)
        found = keep_by_modules(call, self.context.providers or ())
        self._provided = list(found.get("changed_settings", ()))
        if found.get("failed"):
            raise Unwritten(found)
        return found

    def look(self, port: Port, host: str) -> Result:
        """Finds the nodes of one host, takes the lease, and reads the record.

        In this order: what has started between the two has started after the demand was meant.
        """
        known = self._members[host]
        if not self._due:
            return {}
        member = known.member
        try:
            if member.inside and self.context.may_restart and not self._is_handed_over:
                self._check(port.host, member)
            nodes = self._nodes(port, known)
            record, lost = self._take_lease(port, known)
            if self._waited:
                nodes = self._nodes(port, known)
        except Problem as problem:
            self._give_back(port, known)
            known.look = Look(host, member.inside, problem=str(problem), away=isinstance(problem, Unreachable))
            return {}
        known.look = Look(
            host,
            member.inside,
            nodes=nodes,
            record=record,
            lost=lost,
            names_given=bool(member.containers),
            tells_starts=BACKENDS[member.backend].tells_starts,
            assumed=member.assumed,
        )
        known.before = record
        if lost is not None:
            self._warn(f"the record of pending restarts cannot be read, so every restart is pending: {lost}")
        return {}

    def _check(self, host: Host, member: Member) -> None:
        """Lets the backend see that a restart would begin, once for all hosts that commands reach in the same way."""
        what = (member.backend, member.command) if member.host in self.context.here else (member.host,)
        if what not in self._checked:
            BACKENDS[member.backend].check(host, member)
            self._checked.add(what)

    def _nodes(self, port: Port, known: _Member) -> tuple[Node, ...]:
        """The nodes of a host as they are now. Raises Problem."""
        return as_health_says(BACKENDS[known.member.backend].look(port.host, known.member), self._health)

    def _take_lease(self, port: Port, known: _Member) -> tuple[Record, str | None]:
        store = port.store(known.member, self.context.cluster)
        place = store.read() if self.check_mode else self._acquire(port, store, known)
        if place.unusable is not None and not (self.check_mode and not self._keeps and place.text is not None):
            raise Problem(place.unusable)
        if place.volatile and self._keeps and not self.context.values["volatile_state"]:
            raise Problem(
                f"wa_settings_state_dir {known.member.state_dir} is on a container's own root file system, where the "
                "record of a pending restart is lost with the container; give a directory on a volume or on a host, or "
                "set wa_settings_volatile_state if that is meant"
            )
        known.place, known.stored = place, place.text
        record, lost = self._parse(place.text, known.member.host)
        lost = lost or known.lost
        # A cluster may be reached at another address than before, as a client of its own may not.
        if len(self._members) == 1 and record.is_of_another(known.member.client):
            raise Problem(others_record(store.name, record))
        return record, lost

    def _give_back(self, port: Port, known: _Member) -> None:
        """Gives the lease back of a host that cannot be worked on after all."""
        if not known.leased:
            return
        known.leased = False
        record = replace(self._parse(known.stored, known.member.host)[0], lease=None)
        store = port.store(known.member, self.context.cluster)
        with suppress(Problem):
            store.swap(known.stored, None if record.is_empty else render(record))

    def _parse(self, text: str | None, host: str) -> tuple[Record, str | None]:
        """A record, and why it cannot be read; then everything is pending by it."""
        if text is None:
            return Record(self.context.cluster, host), None
        try:
            return parse(text, self.context.cluster, host), None
        except Misplaced as problem:
            # Nobody has demanded anything of this cluster by it.
            raise Problem(f"the record of pending restarts cannot be used: {problem}; remove it") from None
        except Unreadable as problem:
            return unknown(self.context.cluster, host), f"{host}: {problem}"

    def _acquire(self, port: Port, store: Store, known: _Member) -> Place:
        """Takes the lease of one host, and waits for who holds it. Raises Failed at the end of the time."""
        volatile = bool(self.context.values["volatile_state"])
        limit, start = float(self.context.values["lock_timeout"]), self._clock()
        seen: tuple[Lease | None, float] = (None, start)
        said_at: float | None = None
        old: str | None = None
        while True:
            record, lost = self._parse(old, known.member.host)
            known.lost = known.lost or lost
            if lost is not None and self.context.campaign is not None:
                # A new record in its place would take the campaigns for ended.
                raise Problem(f"the record of pending restarts cannot be read: {lost}")
            moment = self._clock()
            if record.lease != seen[0]:
                seen = (record.lease, moment)
            gone = record.lease is not None and is_gone(record.lease)
            if may_take(record.lease, self._lease.token, gone, moment - seen[1]):
                new = render(replace(record, lease=self._lease))
                place = store.swap(old, new, volatile or not self._keeps)
                if place.unusable is not None or (place.volatile and self._keeps and not volatile):
                    return place
                if place.text is not None and place.text.strip() == new.strip():
                    known.leased, known.stored = True, place.text
                    return place
                if place.text == old:
                    raise Problem(f"{store.name} was not written by a run and cannot be replaced; remove it")
                old = place.text
                continue
            self._waited = True
            mine = record.lease is not None and record.lease.run == RUN
            waited = moment - start
            if not mine and waited > limit:
                raise Failed(
                    f"cluster {self.context.cluster}: {record.lease} is working on it, and "
                    f"wa_settings_lock_timeout ({limit:g} s) is over. Nothing was changed by this run; its lease on "
                    f"{known.member.host} is in {store.name}"
                )
            if not mine and (said_at is None or moment - said_at >= 15):
                port.say(f"waiting for {record.lease} on cluster {self.context.cluster}, {waited:.0f} s of {limit:g} s")
                said_at = moment
            self._sleep(min(1.0, max(_POLL, waited / 10)))
            old = store.read().text

    def _update(self, port: Port, host: str, change: Change) -> None:
        """Changes a record that this work holds the lease of. Raises Failed where it cannot."""
        known = self._members[host]
        if known.look is None or known.look.record is None:
            return
        if self.check_mode:
            known.look = replace(known.look, record=change(known.look.record))
            return
        in_hand = known.look.record
        store = port.store(known.member, self.context.cluster)
        for _attempt in range(3):
            present, lost = self._parse(known.stored, host)
            if lost is not None:
                present = replace(in_hand or present, lease=self._lease)
            if present.lease is None or present.lease.token != self._lease.token:
                known.leased = False
                raise Failed(
                    f"cluster {self.context.cluster}: the lease on {host} was taken over by "
                    f"{present.lease or 'nobody, and the record is gone'}; nothing more is done here"
                )
            changed = change(present)
            new = None if changed.is_empty else render(changed)
            if new == known.stored:
                known.look = replace(known.look, record=changed)
                return
            try:
                place = store.swap(known.stored, new)
            except Problem as problem:
                raise Failed(f"the record of pending restarts cannot be written: {problem}") from None
            if place.unusable is not None:
                raise Failed(f"the record of pending restarts cannot be written: {place.unusable}")
            known.stored = place.text
            if (place.text or "").strip() == (new or "").strip():
                known.look = replace(known.look, record=changed, lost=None)
                return
        raise Failed(f"{store.name}: the record is changed by others all the time")

    def health(self, port: Port, _host: str) -> Result:
        """Asks for the client's health before anything is demanded."""
        context = self.context
        if context.others and not self._is_handed_over:
            ask = partial(port.api, "wa_health_info")
            require_one_client(ask, context.cluster, context.host, context.connection, context.others)
        if not self._due:
            return {}
        self._health = read_client_health(port.api("wa_health_info", {}))
        self._fresh = self._health.nodes is not None
        for known in self._members.values():
            if known.look is not None:
                known.look = replace(known.look, nodes=as_health_says(known.look.nodes, self._health))
        return {}

    # --- a campaign ------------------------------------------------------------------------------------------

    def campaign(self, port: Port, _host: str) -> Result:
        """Decides what the begin or the end of a campaign writes, now that the records of all hosts are known."""
        wish = self.context.campaign or {}
        blind = [f"{look.host}: {look.problem or look.lost}" for look in self._looks if look.problem or look.lost]
        if blind:
            raise Refused(
                f"cluster {self.context.cluster}: what is remembered of campaigns is not known on every host, so "
                f"nothing is written or restarted ({'; '.join(blind)})"
            )
        options = {**wish["options"], "settings": {}}
        found = port.api("wa_application_settings", options, check_mode=True)
        if found.get("failed"):
            raise Unwritten(found)
        decide = begin if wish["begins"] else end
        self._decision = decision = decide(self._campaign, wish["name"], found["before"], found["client_version"])
        if decision.setting is not None:
            place(options["settings"], tuple(decision.setting.split(".")), decision.value)
            self._settings = options
            self.ask(port, "")
        port.say(decision.said)
        return {"msg": decision.said}

    def _campaign_left(self, record: Record) -> Campaign | None:
        """What a record says of campaigns when this work is done with it."""
        decision = self._decision
        if decision is None or (self.failure is not None and not self._certainly_unwritten):
            return record.campaign
        return decision.done if self.failure is None else decision.known

    def collect(self, port: Port, _host: str) -> Result:
        """Starts one collection of what a campaign has left; after the restarts, which would cut it off."""
        if self._decision is not None and (not self._collects or self._restarts_of_nodes()):
            return {}
        found = port.api("wa_garbage_collection", {"targets": ["message"]}, check_mode=self.check_mode)
        if found.get("failed"):
            raise Unwritten(found)
        port.say(f"collection of messages: {found['msg']}")
        # That the client collects by itself again is what the end of a campaign is for.
        return {"changed": found["changed"], "nodes": found["nodes"]}

    # --- a demand --------------------------------------------------------------------------------------------

    def record(self, port: Port, host: str) -> Result:
        """Writes the pending restart down on one host, before the settings are written."""
        if not self._due:
            return {}
        if self._targets is None:
            self._decide(port)
        found = self._targets
        if found is None:
            return {}
        look = self._members[host].look
        if look is None or look.record is None:
            return {}
        ready = adopted(look, self._looks, now())
        campaign = self._campaign
        self._members[host].before = replace(ready, lease=None)
        nodes = found.nodes.get(host, ())
        settings = tuple(name for name in self.wanted.settings)
        client = self._members[host].member.client

        def change(present: Record) -> Record:
            after = replace(ready, lease=present.lease, client=client, campaign=campaign)
            if self.wanted:
                after = demand(
                    after,
                    nodes,
                    settings=settings,
                    recorded=now(),
                    connected_before=self._health.connected,
                    elsewhere=found.elsewhere,
                )
            if not self.wanted.settings and after.noted < after.generation:
                # Nothing is written for this demand, so what starts from now on runs with what it should.
                after = note_written(after, look.nodes)
            return after

        if ready != look.record or self.wanted or campaign != look.record.campaign:
            self._update(port, host, change)
            self._is_recorded = True
        self._members[host].told = True
        return {}

    def _decide(self, port: Port) -> None:
        if self._waited and self._settings is not None and self.context.api_here and not self.check_mode:
            # Whoever held the lease may have written the same.
            self.ask(port, "")
        self._leave_campaign_alone(port)
        self._leave_out_what_was_sent()
        self._targets = targets(
            self.context.cluster,
            self._looks,
            self.wanted,
            masters=self.context.masters,
            health=self._health,
            partial_cluster=bool(self.context.values["partial_cluster"]),
            writes=self._settings is not None or self.context.campaign is not None,
        )
        for warning in self._targets.warnings:
            self._warn(warning)

    def _leave_campaign_alone(self, port: Port) -> None:
        """Takes a campaign's setting out that the role's first task did not know of."""
        campaign = self._campaign
        if campaign is None or self._settings is None or self._decision is not None:
            return
        settings = left_alone(self._settings, campaign)
        if settings == self._settings:
            return
        self._settings = settings
        self._warn(in_words(campaign))
        if self.context.api_here:
            self.ask(port, "")
        elif settings.get("state") != "replaced":  # that one keeps it off, which may be a change
            names = tuple(name for name in self.wanted.settings if name != campaign.setting)
            self.wanted = replace(self.wanted, settings=names)

    def _leave_out_what_was_sent(self) -> None:
        """Takes settings out that the client does not report, and whose very value it is known to have accepted."""
        names = set(self._unverified) & set(self.wanted.settings)
        if self._settings is None or not names:
            return
        values = declared_values(self._settings, names)
        known = {name for name, value in values.items() if self.already_sent(name, value, self._version)}
        if known:
            self._settings = without(self._settings, known)
            self.wanted = replace(
                self.wanted, settings=tuple(name for name in self.wanted.settings if name not in known)
            )

    def write(self, port: Port, _host: str) -> Result:
        """Writes the settings and reads them back."""
        if self._settings is None or not (self._due or self._differs):
            return {}
        self._written = {"failed": True}  # until the answer is there, nobody knows
        result = port.api("wa_application_settings", self._settings, check_mode=self.check_mode)
        self._written = result
        health = read_client_health(result.pop("health", None))
        if health.nodes is not None:
            self._health = health
        if result.get("failed"):
            raise Unwritten(result)
        return result

    @property
    def _certainly_unwritten(self) -> bool:
        """Whether nothing of this work has reached the client: never tried, refused, or there was nothing to change."""
        return self._written is None or self._written.get("changed") is False

    def note(self, port: Port, host: str) -> Result:
        """Notes on one host that the settings are written, and gives the lease back."""
        known = self._members[host]
        look, before = known.look, known.before
        if look is None or look.record is None:
            return {}
        nodes: tuple[Node, ...] = look.nodes
        writes = self._settings is not None and bool(self.wanted.settings)
        if writes and not self._certainly_unwritten:
            try:
                nodes = self._nodes(port, known)
            except Problem as problem:
                # Then every node stays pending until a run can tell.
                self._warn(f"{host} cannot be looked at after the writing ({problem})")
                return self._release(port, host, lambda one: replace(one, campaign=self._campaign_left(one)))

        def change(record: Record) -> Record:
            if writes and before is not None and record.noted < record.generation:
                if self._certainly_unwritten:
                    record = withdraw(record, before)
                else:
                    record = note_written(record, nodes, self._health.connected)
            record = without_seen(replace(record, campaign=self._campaign_left(record)), self._told)
            return self._learned(record)

        known.look = replace(look, nodes=nodes)
        return self._release(port, host, change)

    def _learned(self, record: Record) -> Record:
        """The record with what the client accepted and does not report."""
        written, settings = self._written, self._settings
        if written is None or settings is None or written.get("failed"):
            return record
        if settings.get("state") == "absent":
            return replace(record, sent=None)
        unverified = set(written.get("unverified_settings", ())) & set(written.get("restart_settings", ()))
        if not unverified:
            return record
        version = written.get("client_version")
        sent = record.sent
        if sent is None or sent.version != version:
            sent = Sent(salt=self._lease.token, version=version)
        return replace(record, sent=sent.learn(declared_values(settings, unverified)))

    def _release(self, port: Port, host: str, change: Change | None = None) -> Result:
        if self._members[host].leased or self.check_mode:
            self._update(port, host, lambda record: replace(change(record) if change else record, lease=None))
            self._members[host].leased = False
        return {}

    # --- restarts --------------------------------------------------------------------------------------------

    def in_order(self) -> list[Restart]:
        """What has to restart by this run, in order, as far as it was looked at."""
        return in_order(self._looks, self._health, self.context.masters)

    def restarts(self) -> list[Step]:
        """The steps of the restart that is to follow; none where there is nothing to restart or to see healthy."""
        if self.failure is not None:
            return []
        steps = self._restarts_of_nodes()
        return [*steps, Step("collect")] if steps and self._collects else steps

    @property
    def _collects(self) -> bool:
        """Whether the last campaign ends, and a collection was asked for."""
        return self._decision is not None and self._decision.is_over and bool((self.context.campaign or {})["collect"])

    def _restarts_of_nodes(self) -> list[Step]:
        if not self.context.may_restart:
            return []
        turns = [(restart.host, restart.node.name) for restart in self.in_order()]
        if not turns and not any(look.inside and look.record and look.record.waits for look in self._looks):
            return []
        return restart_steps([member.host for member in self.context.members], turns, self.check_mode)

    def regain(self, port: Port, _host: str) -> Result:
        """Waits until the client is as healthy as before, if a node is still to come back from an earlier restart."""
        targets(self.context.cluster, self._looks, Wanted(), masters=None, health=self._health)
        given = self.context.values["expect_connected"]
        self._expected = expected_connected(self._looks, self._health, given)
        self._adopt()
        self._restarts = self.in_order()
        for look in self._looks:
            down = stopped_since(look)
            if down:
                self._warn(
                    f"{look.host} of cluster {self.context.cluster}: {', '.join(down)} had a pending restart and is "
                    "stopped. It is not started; once you start it, it runs with the settings that are stored"
                )
        returning = [name for look in self._looks for name in _returning(look)]
        if not returning or self.check_mode:
            return {}
        port.say(f"Waiting for {', '.join(returning)}: not seen healthy since the last restart")
        # A run that died may have left the node stopped; then its host's turn comes early enough to start it again.
        patience = None
        if self.context.api_here and any(look.record and look.record.returning for look in self._looks):
            patience = self.context.health_timeout / 2
        end = self._clock() + (patience or self.context.health_timeout)
        missing = self._await_health(port, end, self._to_be_listed)
        if missing is not None and patience is None:
            raise Failed(self._not_returned(returning, missing))
        self._regained = missing
        return {}

    def _adopt(self) -> None:
        for known in self._members.values():
            if known.look is not None and known.look.record is not None:
                known.look = replace(known.look, record=adopted(known.look, self._looks, now()))

    def _not_returned(self, names: Sequence[str], missing: str) -> str:
        return (
            f"{', '.join(names)} is not back since its restart: {missing}. Nothing else of cluster "
            f"{self.context.cluster} is restarted until it is; {self._left()}{self._unnamed}"
        )

    @property
    def _unnamed(self) -> str:
        """What to say of a node that is to come back, and that nobody names any more."""
        names = [
            f"{look.record.returning.name} on {look.host}"
            for look in self._looks
            if look.record and look.record.returning and not look.tells_starts
            if not any(is_same(look.record.returning, node) for node in look.nodes)
        ]
        if not names:
            return ""
        return (
            f". wa_settings_restart_containers does not name {', '.join(names)} any more: name it, or remove the "
            "host's record if it is gone for good"
        )

    def recover(self, port: Port, host: str) -> Result:
        """Sees on one host that what is to come back runs, and takes off the record what needs no restart any more."""
        known = self._members[host]
        look = known.look
        if look is None or look.record is None or self.check_mode:
            return {}
        adopted_record, returning = look.record, look.record.returning
        again = returning is not None and self._restart_again(port, known, returning)
        if returning is not None and (again or self._regained is not None):
            missing = self._await_health(port, self._clock() + self.context.health_timeout, self._to_be_listed)
            if missing is not None:
                raise Failed(self._not_returned(_returning(look), missing))
        if _returning(look):
            missing = self._await_node(port, known, returning, self._clock() + self.context.health_timeout)
            if missing is not None:
                raise Failed(self._not_returned(_returning(look), missing))
            look = known.look or look
        gone = settled_otherwise(look, self.context.masters)

        def change(record: Record) -> Record:
            record = replace(adopted_record, lease=record.lease)
            for entry in gone:
                record = settle(record, entry, record.generation)
            if again and returning is not None:
                # A restart after the writing, and seen healthy: what was written by then needs no other.
                record = settle(record, returning, record.noted)
            return tidy(replace(record, returning=None))

        self._update(port, host, change)
        known.told = True
        if again and returning is not None:
            self._again.append(f"{returning.name} on {host}")
        return self._counts if again else {}

    def _restart_again(self, port: Port, known: _Member, returning: Pending) -> bool:
        """Restarts the node that a run stopped, if it was left like that; whether it did.

        One that runs is left alone: another node may be what is missing, and a further restart would not help this one.
        """
        backend = BACKENDS[known.member.backend]
        if not backend.tells_starts and self._regained is None:
            return False
        label = f"{returning.name} on {known.member.host}"
        try:
            node = next((node for node in self._nodes(port, known) if is_same(returning, node)), None)
            if node is None or (node.running and (backend.tells_starts or leads(node, self._health))):
                return False
            port.say(f"Restarting {label} again, which an earlier run stopped and which did not come back")
            stop_timeout = int(self.context.values["restart_stop_timeout"])
            backend.restart(port.host, known.member, node, stop_timeout, self.context.health_timeout)
        except Problem as problem:
            raise Failed(self._not_returned([label], str(problem))) from None
        return True

    def _await_node(self, port: Port, known: _Member, returning: Pending | None, end: float) -> str | None:
        """Waits until the engine says that a host's nodes with a restart behind them run; what is wrong, or None."""
        since, latest = self._clock(), end
        seen: str | None = None
        while True:
            try:
                nodes = self._nodes(port, known)
            except Problem as problem:
                return str(problem)
            if known.look is not None:
                known.look = replace(known.look, nodes=nodes)
            watched = self._watched(known, returning)
            state = " ".join(node.incarnation for node in watched)
            if seen is None:
                # A look may take longer than the whole wait, and a node has to be seen twice to have run for a while.
                latest = max(end, self._clock() + 2 * self._steady(known))
            if state != seen:
                seen, since = state, self._clock()
            wrong = next((node for node in watched if not node.running or not node.steady), None)
            if wrong is None and (watched or returning is None) and self._clock() - since >= self._steady(known):
                return None
            if self._clock() >= (end if wrong is not None or not watched else latest):
                if wrong is None and not watched:
                    names_only = not BACKENDS[known.member.backend].tells_starts
                    return "wa_settings_restart_containers names it no more" if names_only else "its container is gone"
                if wrong is None:
                    return "it starts over and over"
                return f"{wrong.name} {_trouble(wrong)}"
            self._sleep(BACKENDS[known.member.backend].poll)

    def _steady(self, known: _Member) -> float:
        return _STEADY if BACKENDS[known.member.backend].tells_starts else 0.0

    @staticmethod
    def _watched(known: _Member, returning: Pending | None) -> list[Node]:
        look = known.look
        if look is None:
            return []
        watched = unproven(look)
        if returning is not None:
            same = [node for node in look.nodes if is_same(returning, node)]
            same = same or [node for node in look.nodes if returning.unit and node.unit == returning.unit]
            watched += [node for node in same if node not in watched]
        return watched

    def gate(self, port: Port, host: str, name: str) -> Result:
        """Sees before a node is stopped that its restart is still due, and that the cluster is as healthy as before."""
        self._now = None
        item = next((r for r in self._restarts or () if (r.host, r.node.name) == (host, name)), None)
        known = self._members[host]
        if item is None or known.look is None or known.look.record is None:
            return {}
        node = only(known.look.nodes, item.node)
        if node is None or not is_pending(known.look.record, node, self.context.masters):
            return {"skipped": True}
        if self.check_mode:
            self._now = None if item.label in self.restarted else _Now(item)
            return {} if self._now else {"skipped": True}
        missing = None
        if not self._is_known_healthy():
            missing = self._await_health(port, self._clock() + self.context.health_timeout)
        if missing is not None:
            raise Failed(
                f"cluster {self.context.cluster} is not as healthy as before the first restart: {missing}. "
                f"{item.label} was not stopped; {self._left()}. If this state is meant, say so with "
                "wa_settings_expect_connected"
            )
        if self._comes_later(item):
            return {"skipped": True}
        serves = node.kind == MASTER or leads(node, self._health)
        self._now = _Now(item, standby=bool(self._health.clustered) and not serves)
        return {}

    def _is_known_healthy(self) -> bool:
        """Whether the answer that was asked for just before the first restart is enough."""
        fresh, self._fresh = self._fresh, False
        expected = 1 if self._expected is None else self._expected
        states = [node.gateway_status for node in self._health.nodes or () if node.role == COREAPP]
        return fresh and "uninitialized" not in states and states.count(CONNECTED) >= expected

    def _comes_later(self, item: Restart) -> bool:
        """Whether a stand-by has to go first: who is connected may have changed since the order was fixed."""
        if not leads(item.node, self._health):
            return False
        others = [r for r in self._restarts or () if r.node.kind == item.node.kind and r.label not in self._done]
        return any(not leads(other.node, self._health) for other in others if other is not item)

    def restart(self, port: Port, host: str, _name: str) -> Result:
        """Notes that the node is about to be stopped, then stops and starts it."""
        at = self._now
        if at is None:
            return {}
        known, item = self._members[host], at.restart
        if self.check_mode:
            self.restarted.append(item.label)
            return self._counts
        port.say(f"Restarting {item.title}: {item.label}")
        backend = BACKENDS[known.member.backend]
        try:
            node = only(self._nodes(port, known), item.node) or item.node
        except Problem as problem:
            raise Failed(f"{item.title}, {item.label}, cannot be looked at: {problem}; {self._left()}") from None

        def change(record: Record) -> Record:
            at.generation = record.generation
            lease = record.lease
            renewed = None if lease is None else replace(lease, renewal=lease.renewal + 1)
            before = highest(record.connected_before, self._expected)
            return begin_restart(replace(record, lease=renewed, connected_before=before), node, self._listed(node))

        self._update(port, host, change)
        conversation = port.watch() if not backend.tells_starts else None
        watch = Watch(conversation, node) if conversation is not None else None
        patience = min(_SIGN_AFTER, self.context.health_timeout)
        try:
            if watch is not None:
                watch.start()
            stop_timeout = int(self.context.values["restart_stop_timeout"])
            begun = self._clock()
            backend.restart(port.host, known.member, node, stop_timeout, self.context.health_timeout)
            at.killed = bool(backend.tells_starts and node.id and self._clock() - begun >= stop_timeout)
        except Problem as problem:
            patience = 0.0  # it does not count, whatever is seen
            raise Failed(f"{item.title}, {item.label}, could not be restarted: {problem}; {self._left()}") from None
        finally:
            if watch is not None:
                watch.stop(patience)
        at.started_at = self._clock()
        at.is_proven = backend.tells_starts or (watch is not None and watch.is_proof)
        if watch is not None and (unseen := watch.unseen):
            raise Failed(
                f"{item.title}, {item.label}: wa_settings_restart_command ended well, but {unseen}, so its restart "
                f"does not count{self._disprove()}; {self._left()}"
            )
        return self._counts

    def _disprove(self) -> str:
        """Takes back what this run has restarted with the same command and nobody could see; the words for that."""
        self._disproved = self._unproven
        labels = [restart.label for restart, _before in self._disproved]
        self.restarted = [label for label in self.restarted if label not in labels]
        if not labels:
            return ""
        return f". Neither do those of {', '.join(labels)}: not connected before, so nothing could be seen of them"

    @property
    def _counts(self) -> Result:
        """The result of a restart, which is counted once."""
        return {"changed": not self.context.counted}

    def wait(self, port: Port, _host: str, _name: str) -> Result:
        """Waits until the client is as healthy as before, and lists the node again."""
        at = self._now
        if at is None or self.check_mode:
            return {}
        item = at.restart
        listed = self._listed(item.node)
        if at.killed and listed:
            port.say(f"{item.label} had to be killed: health may list it as it was for up to {_UNHEALTHY:g} s")
            self._sleep(_UNHEALTHY)
            at.started_at = self._clock()
        end = at.started_at + self.context.health_timeout
        missing = self._await_health(port, end, [(listed, _kind_of(item.node))])
        if missing is not None:
            raise Failed(self._not_back(item, missing))
        return {}

    def _listed(self, node: Node) -> str:
        """The name in health by which a node that restarts is seen to be back; empty if there is none."""
        if node.unit:
            # What is made anew under another name has another one in health as well.
            return ""
        entry = self._health.find(node)
        if entry is not None and entry.name:
            return entry.name.rpartition(":")[0] or entry.name
        if not self._health.clustered or node.kind == MASTER:
            return ""
        # A Coreapp that is not listed now, since its last sign of life is old, is to be listed once it is back.
        return node.hostname.partition(" ")[0] or (node.name if self._has_names_of_health else "")

    @property
    def _has_names_of_health(self) -> bool:
        """Whether nodes of which only the name is known have the names that health gives them."""
        nodes = [node for look in self._looks for node in look.nodes if node.kind != MASTER and not node.id]
        return any(self._health.find(node) for node in nodes)

    @property
    def _to_be_listed(self) -> list[tuple[str, str]]:
        """The same, and the kind, of all nodes that are to come back from an earlier restart."""
        returning = [look.record.returning for look in self._looks if look.record is not None]
        return [(node.listed, _kind_of(node)) for node in returning if node is not None]

    def settle(self, port: Port, host: str, _name: str) -> Result:
        """Sees that the node itself runs, and takes it off the record."""
        at = self._now
        if at is None or self.check_mode:
            return {}
        known, item = self._members[host], at.restart
        missing = self._await_steady(port, known, at)
        if missing is not None:
            raise Failed(self._not_back(item, missing))
        is_last = all(other.label in {item.label, *self._done} for other in self._restarts or ())

        def change(record: Record) -> Record:
            record = settle(record, item.node, at.generation)
            return replace(self._closing(record, item), lease=None) if is_last else record

        if not at.is_proven and known.look is not None and known.look.record is not None:
            self._unproven.append((item, known.look.record))
        self._update(port, host, change)
        known.leased = known.leased and not is_last
        self.restarted.append(item.label)
        return {}

    def _await_steady(self, port: Port, known: _Member, at: _Now) -> str | None:
        """What is wrong with a node that has just started; None if it runs, and has for a while if it is a stand-by."""
        backend = BACKENDS[known.member.backend]
        if not backend.tells_starts:
            return None
        end, item = at.started_at + self.context.health_timeout, at.restart
        needed = _STEADY if at.standby else 0.0
        first: Node | None = None
        since, latest = self._clock(), 0.0
        while True:
            try:
                nodes = self._nodes(port, known)
            except Problem as problem:
                return str(problem)
            node = only(nodes, item.node)
            if node is None and item.node.unit:
                node = next(
                    (n for n in nodes if n.unit == item.node.unit and n.incarnation != item.node.incarnation), None
                )
            if first is None or node is None or node.incarnation != first.incarnation:
                first, since = node, self._clock()
            latest = latest or max(end, self._clock() + 2 * needed)  # as in _await_node
            fine = node is not None and node.running and node.steady
            if fine and self._clock() - since >= needed:
                if known.look is not None:
                    known.look = replace(known.look, nodes=nodes)
                return None
            if self._clock() >= (latest if fine else end):
                return f"its container {_trouble(node) if node is not None else 'is gone'}"
            self._sleep(backend.poll)

    def _await_health(self, port: Port, end: float, listed: Sequence[tuple[str, str]] = ()) -> str | None:
        """Waits for health; what is missing at the end, or None. A first question is always asked.

        listed: names that health has to list, if not empty, each with the kind of the node if it is known.
        """
        listed = sorted((name, kind) for name, kind in listed if name)
        is_told = False
        while True:
            problem = self._ask_and_wait(port, end, [name for name, _kind in listed])
            missing = next((name for name, kind in listed if not self._health.lists(name, kind)), None)
            if problem or missing is None:
                return problem
            if self._clock() >= end:
                return f"{missing} is not back yet"
            if not is_told:
                port.say(f"Waiting for {missing}: another node of this name is back, and not this one")
            is_told = True
            self._sleep(_POLL)

    def _ask_and_wait(self, port: Port, end: float, names: Sequence[str]) -> str | None:
        arguments: dict[str, Any] = {
            "wait": True,
            "wait_timeout": max(0.1, end - self._clock()),
            "wait_interval": _POLL,
            "expect_connected": 1 if self._expected is None else self._expected,
        }
        if names:
            arguments["expect_nodes"] = names
        self._fresh = False
        result = port.api("wa_health_info", arguments)
        health = read_client_health(result)
        if health.nodes is not None:
            self._health = replace(health, shards=health.shards or self._health.shards)
        return str(result.get("msg") or "the client is not healthy") if result.get("failed") else None

    def _not_back(self, item: Restart, missing: str) -> str:
        return (
            f"{item.title}, {item.label}, did not come back: {missing}. The other nodes of cluster "
            f"{self.context.cluster} were left as they are; {self._left()}"
        )

    def _left(self) -> str:
        names = [item.label for item in self._restarts or () if item.label not in self._done]
        return f"pending restarts, done by a later run: {', '.join(names) or 'none'}"

    def release(self, port: Port, host: str) -> Result:
        """Gives the lease of one host back."""
        return self._release(port, host, self._closing)

    def _closing(self, record: Record, last: Restart | None = None) -> Record:
        """A record as it is left behind. Hosts of the inventory that are one machine list the same containers."""
        for item in self._restarts or ():
            done = item is last or item.label in self.restarted
            if done and item.node.id and any(entry.id == item.node.id for entry in record.nodes):
                record = settle(record, item.node, record.generation)
        for item, before in self._disproved:
            if item.host == record.host:
                record = pending_again(record, before, item.node)
        return without_seen(record, self._told)

    # --- what people see -------------------------------------------------------------------------------------

    @property
    def secrets(self) -> set[str]:
        """What no message may show."""
        others = (secrets_of(connection) for connection in self.context.others.values())
        return secrets_of({**self.context.connection, **(self.context.settings or {})}).union(*others)

    @property
    def is_lost(self) -> bool:
        """Whether a failure now loses a restart that a task of a user has asked for, and no later run asks for."""
        is_asked_for = self.context.notified and self.context.wanted.everything
        return is_asked_for and not (self._is_recorded or self._is_handed_over or self.check_mode)

    @property
    def has_changed(self) -> bool:
        """Whether the demand has changed something, or would."""
        return bool(self._provided or (self._written or {}).get("changed"))

    @property
    def changed_settings(self) -> list[str]:
        """What this run has changed, or would change."""
        written = self._written or {}
        names = () if written.get("changed") is False else written.get("changed_settings", ())
        return sorted({*self.context.changes, *self._provided, *names})

    def summary(self) -> Result:
        """What the role says of this run for one client or cluster."""
        return {
            "changed_settings": self.changed_settings,
            "restarted": self._done,
            "pending": self.still_pending(),
        }

    def line(self, is_end: bool) -> str | None:
        """The summary for the person who watches, if this is the end of it."""
        summary = self.summary()
        if not is_end or self.failure is not None or not any(summary.values()):
            return None
        return summary_line(self.context.cluster, summary, self.check_mode, self.context.may_restart)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.warnings.append(text)

    @property
    def _done(self) -> list[str]:
        """Labels of all that this run has restarted."""
        return [*self._again, *self.restarted]

    def still_pending(self) -> list[str]:
        """Labels of what has a pending restart, on all hosts that were looked at, in order."""
        names = [item.label for item in in_order([replace(look, inside=True) for look in self._looks], self._health)]
        names += [f"all Coreapps on {host}" for look in self._looks if look.record for host in look.record.elsewhere]
        if self.failure is not None:
            failed = [known for known in self._members.values() if known.look is not None and known.look.problem]
            names += [name for known in failed for name in self._may_be_pending(known)]
        return list(dict.fromkeys(names))

    def _may_be_pending(self, known: _Member) -> list[str]:
        """The same of a host that could not be looked at: what its record says, or everything."""
        with suppress(Problem):
            if known.stored is not None:
                return self._parse(known.stored, known.member.host)[0].labels()
        return [f"all Coreapps on {known.member.host}"]


def _kind_of(node: Node | Pending) -> str:
    """The kind of a node; empty if only its name is known, since what health does not list may be either."""
    return node.kind if node.id else ""


def _trouble(node: Node) -> str:
    """What is wrong with a node that is not steady."""
    return "starts over and over or is not ready" if node.running else "is stopped"


def _returning(look: Look) -> list[str]:
    """Nodes of a host that have started since, or were stopped by a run, and are to be seen healthy."""
    if look.record is None:
        return []
    returning = look.record.returning
    names = [returning.name] if returning is not None else []
    names += [node.name for node in unproven(look) if node.name not in names]
    return [f"{name} on {look.host}" for name in names]


class Unwritten(Failed):
    """The module that writes has failed; its result is the step's."""

    def __init__(self, result: Result) -> None:
        super().__init__(str(result.get("msg")))
        self.result = result


def without(settings: Mapping[str, Any], names: set[str]) -> dict[str, Any] | None:
    """The module's arguments without some settings; None where no setting is left."""
    kept = {option: _without(settings.get(option) or {}, names, ()) for option in ("settings", "extra_settings")}
    if not any(kept.values()):
        return None
    return {**settings, **{option: value or None for option, value in kept.items()}}


def _without(settings: Mapping[str, Any], names: set[str], above: tuple[str, ...]) -> dict[str, Any]:
    kept = {}
    for name, value in settings.items():
        path = (*above, name)
        if dotted(path) not in names:
            below = _without(value, names, path) if isinstance(value, Mapping) else value
            if below != {} or value == {}:
                kept[name] = below
    return kept


def declared_values(settings: Mapping[str, Any], names: set[str] | frozenset[str]) -> dict[str, Any]:
    """Canonical declared values of some settings, by dotted name."""
    declared = read_declaration(settings.get("settings"), settings.get("extra_settings")).leaves()
    return {dotted(path): value for path, value in declared.items() if dotted(path) in names}
