# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a run on a cluster that lives in memory. Which interleavings are safe is test_protocol_exploration's."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _health
from ansible_collections.wabiz.onprem.plugins.plugin_utils import _context, _work
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Backend, Member, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._context import Context, context_from_json, context_to_json
from ansible_collections.wabiz.onprem.plugins.plugin_utils._execution import CLEANING, take_step
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import RUN
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Wanted
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    MASTER,
    Campaign,
    Lease,
    Node,
    Pending,
    Record,
    Sent,
    begin_restart,
    demand,
    note_written,
    parse,
    render,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._steps import Step, demand_steps
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Place, Unreachable
from ansible_collections.wabiz.onprem.plugins.plugin_utils._summary import LOST
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import Work, declared_values, without

VALUES = {
    "restart_stop_timeout": 60,
    "health_timeout": 30.0,
    "lock_timeout": 100.0,
    "volatile_state": False,
    "expect_connected": None,
    "partial_cluster": False,
    "restart_masters": "auto",
    "report": False,
}
SETTINGS = {"settings": {"log_level": "error"}}
OTHER = Lease("other", "other run", "box", "machine", "1/1", "noon", 50.0)


def coreapp(name: str, **facts: Any) -> Node:
    return Node(name, **{"id": f"{name}{'0' * 12}", "incarnation": "1", "hostname": name, **facts})


@dataclass
class Cluster:
    """Hosts with nodes and records, a client, and a clock. events: what was done to them, in order."""

    nodes: dict[str, list[Node]]
    connected: set[str] = field(default_factory=set)
    records: dict[str, str] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    unable: set[str] = field(default_factory=set)
    places: dict[str, Place] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    provided: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    now: float = 0.0
    look_takes: float = 0.0
    gone: bool = False
    comes_back: Callable[[Node], Node | None] = lambda node: replace(
        node, incarnation=f"{node.incarnation}+", running=True
    )
    while_asleep: Callable[[], None] = lambda: None
    on_write: Callable[[], None] = lambda: None
    clustered: bool = True
    waits: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connected = self.connected or {
            node.name for nodes in self.nodes.values() for node in nodes if node.running
        }

    @property
    def host(self) -> Any:
        return self

    # --- port ---

    def store(self, member: Member, cluster: str) -> Store:
        assert cluster == "c"
        return Store(self, member.host)

    def api(self, module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        if module.startswith("wa_media_provider"):
            self.events.append(f"{module} {'check ' if check_mode else ''}{arguments.get('name', '')}".strip())
            return {"changed": module == "wa_media_provider", "providers": [{"name": "old"}], **self.provided}
        if module == "wa_application_settings":
            self.events.append("compare" if check_mode else f"write {json.dumps(arguments['settings'])}")
            if not check_mode:
                self.on_write()
            told = {"changed": True, "changed_settings": ["log_level"], "restart_settings": ["log_level"]}
            return {**told, "unverified_settings": [], "client_version": "v1", **self.answer}
        assert module == "wa_health_info"
        health = self.health()
        result = {
            "nodes": [vars(node) for node in health.nodes],
            "clustered": self.clustered,
            "shards": None,
        }
        if arguments.get("wait"):
            self.waits.append(dict(arguments))
            missing = _health.still_missing(health, arguments["expect_connected"], arguments.get("expect_nodes", ()))
            if missing:
                self.now += arguments["wait_timeout"]
                result.update(failed=True, msg=missing)
        return result

    def health(self) -> _health.Health:
        names = [(node.name, node) for nodes in self.nodes.values() for node in nodes]
        return _health.Health(
            tuple(
                _health.Node(
                    f"{name}:{node.id[:12]}" if self.clustered else None,
                    "primary_master" if node.kind == MASTER else "coreapp",
                    "connected" if name in self.connected else "disconnected",
                )
                for name, node in names
            ),
            self.clustered,
        )

    def watch(self) -> AbstractContextManager[Callable[[], Sequence[_health.Node]]] | None:
        return self._watched()

    @contextmanager
    def _watched(self) -> Iterator[Callable[[], Sequence[_health.Node]]]:
        yield lambda: self.health().nodes

    def say(self, line: str) -> None:
        self.lines.append(line)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.while_asleep()

    # --- what the tests ask ---

    def record(self, host: str = "h") -> Record:
        return parse(self.records[host], "c", host) if host in self.records else Record("c", host)

    def keep(self, record: Record) -> None:
        self.records[record.host] = render(record)

    def pending(self, host: str, *names: str, **facts: Any) -> None:
        """Writes a demand down that is noted."""
        nodes = [node for node in self.nodes[host] if node.name in names]
        record = demand(Record("c", host), nodes, settings=["log_level"], recorded="noon", connected_before=None)
        self.keep(replace(note_written(record, nodes), **facts))


class Store:
    def __init__(self, cluster: Cluster, host: str) -> None:
        self.name = f"/state/c@{host}.json"
        self._cluster = cluster
        self._host = host

    def _place(self) -> Place:
        if self._host in self._cluster.away:
            raise Unreachable("away")
        text = self._cluster.records.get(self._host)
        return replace(self._cluster.places.get(self._host, Place()), text=text)

    def read(self) -> Place:
        return self._place()

    def swap(self, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        place = self._place()
        if volatile is not None and (place.unusable or (place.volatile and not volatile)):
            return place
        if (place.text or "").strip() == (old or "").strip():
            self._cluster.records.pop(self._host, None)
            if new:
                self._cluster.records[self._host] = new
            self._cluster.events.append(f"swap {self._host}")
        return self._place()


class Engine(Backend):
    @classmethod
    def check(cls, host: Any, member: Member) -> None:
        if member.host in host.unable:
            raise Problem("no command")

    @classmethod
    def look(cls, host: Any, member: Member) -> list[Node]:
        if member.host in host.away:
            raise Unreachable("away")
        host.now += host.look_takes
        return list(host.nodes[member.host])

    @classmethod
    def restart(cls, host: Any, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        host.events.append(f"restart {node.name}")
        back = host.comes_back(node)
        nodes = [found for found in host.nodes[member.host] if found.name != node.name]
        host.nodes[member.host] = sorted([*nodes, *([back] if back else [])], key=lambda one: one.name)


class Named(Engine):
    tells_starts = False


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "docker", Engine)
    monkeypatch.setitem(BACKENDS, "command", Named)
    monkeypatch.setattr(_work, "now", lambda: "now")
    monkeypatch.setattr(_work, "_SIGN_AFTER", 0.2)


def made(cluster: Cluster, check_mode: bool = False, outside: Sequence[str] = (), **facts: Any) -> Work:
    values = {**VALUES, **facts.pop("values", {})}
    backend = facts.pop("backend", "docker")
    context = Context(
        **{
            "id": "id",
            "host": next(iter(cluster.nodes)),
            "cluster": "c",
            "members": tuple(
                Member(host, host not in outside, backend, (), "", (), "/state", client=f"https://{host}:9090")
                for host in cluster.nodes
            ),
            "environment": {},
            "connection": {"api_url": "https://client:9090", "password": "canary"},
            "settings": SETTINGS,
            "wanted": Wanted(("log_level",)),
            "unverified": (),
            "client_version": None,
            "changes": (),
            "values": values,
            "api": None,
            "may_restart": True,
            "by_itself": False,
            **facts,
        }
    )
    return Work(
        context_from_json(json.loads(json.dumps(context_to_json(context)))),
        check_mode,
        lambda: cluster.now,
        cluster.sleep,
    )


def play(work: Work, cluster: Any, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """As the action does."""
    results = []
    for step in steps:
        if work.failure is None or step.name in CLEANING:
            arguments = (step.name, step.about or step.host or "", step.node or "")
            results.append(take_step(work, cluster, *arguments))
    return results


def demanded(cluster: Cluster, check_mode: bool = False, **facts: Any) -> Work:
    work = made(cluster, check_mode, **facts)
    play(work, cluster, demand_steps(list(cluster.nodes), health=True, writes=work.context.settings is not None))
    return work


def resumed(cluster: Cluster, **facts: Any) -> Work:
    """A run that finds a pending restart and nothing to write."""
    return whole(cluster, settings=None, wanted=Wanted(), **facts)


def whole(cluster: Cluster, **facts: Any) -> Work:
    """The demand and what follows; the work that ended it."""
    work = demanded(cluster, **facts)
    steps = work.restarts()
    if not steps:
        return work
    again = made(cluster, **facts)
    play(again, cluster, steps)
    return again


def restarts(cluster: Cluster) -> list[str]:
    return [event.partition(" ")[2] for event in cluster.events if event.startswith("restart ")]


def asked(cluster: Cluster) -> list[tuple[str, dict[str, Any]]]:
    """What is asked of the client from now on: module and arguments."""
    calls: list[tuple[str, dict[str, Any]]] = []
    api = cluster.api

    def noted(module: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        calls.append((module, copy.deepcopy(dict(arguments))))
        return api(module, arguments, **more)

    cluster.api = noted  # type: ignore[method-assign]
    return calls


def two() -> Cluster:
    return Cluster({"h": [coreapp("a"), coreapp("b")]})


# --- a change ----------------------------------------------------------------------------------------------------


def test_the_demand_is_on_every_host_before_the_settings_are_written() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    seen: list[Record] = []
    cluster.on_write = lambda: seen.extend([cluster.record("h"), cluster.record("i")])
    work = demanded(cluster)
    assert [(record.generation, record.noted, [e.name for e in record.nodes]) for record in seen] == [
        (1, 0, ["a"]),
        (1, 0, ["b"]),
    ]
    assert all(record.lease is not None for record in seen)
    after = cluster.record("h")
    assert (after.noted, after.lease, after.settings, after.recorded) == (1, None, ("log_level",), "now")
    assert after.connected_before == 2
    assert work.still_pending() == ["a on h", "b on i"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_media_providers_are_seen_to_before_anything_is_demanded(check_mode: bool) -> None:
    cluster = two()
    work = made(cluster, check_mode, providers=({"name": "cdn", "bearer": "canary"},))
    play(work, cluster, demand_steps(["h"], health=True, writes=True, providers=True))
    say = "check " if check_mode else ""
    calls = [f"wa_media_provider_info {say}".strip(), f"wa_media_provider {say}cdn", f"wa_media_provider {say}old"]
    assert cluster.events[:3] == calls
    names = ["log_level", "media.providers.cdn", "media.providers.old"]
    assert work.summary()["changed_settings"] == names
    assert work.failure is None
    assert [event for event in cluster.events if event.startswith("wa_media_provider")] == calls


def test_media_providers_that_fail_end_the_work() -> None:
    cluster = two()
    cluster.provided = {"failed": True, "msg": "no such resource"}
    work = made(cluster, providers=({"name": "cdn", "bearer": "canary"},))
    play(work, cluster, demand_steps(["h"], health=True, writes=True, providers=True))
    assert (work.failure, cluster.events, cluster.records) == ("no such resource", ["wa_media_provider_info"], {})


def test_what_changed_before_the_steps_is_told_with_what_they_change() -> None:
    cluster = two()
    work = demanded(cluster, changes=("media.providers.x",))
    assert work.summary()["changed_settings"] == ["log_level", "media.providers.x"]


def test_all_restart_one_after_the_other_and_nothing_is_left() -> None:
    cluster = two()
    work = whole(cluster)
    assert work.failure is None
    assert restarts(cluster) == ["a", "b"]
    assert cluster.records == {}
    assert work.restarted == ["a on h", "b on h"]
    assert work.summary()["pending"] == []


def test_before_a_node_is_stopped_that_is_written_down_and_the_lease_renewed() -> None:
    cluster = two()
    seen: list[Record] = []

    def comes_back(node: Node) -> Node:
        seen.append(cluster.record())
        return replace(node, incarnation="2")

    cluster.comes_back = comes_back
    whole(cluster)
    assert [record.returning and record.returning.name for record in seen] == ["a", "b"]
    assert [record.lease and record.lease.renewal for record in seen] == [1, 2]
    assert [record.connected_before for record in seen] == [2, 2]


def test_what_starts_between_the_demand_and_the_writing_has_to_restart() -> None:
    cluster = two()

    def start() -> None:
        cluster.nodes["h"][0] = coreapp("a", incarnation="2")

    cluster.on_write = start
    demanded(cluster)
    assert [(entry.name, entry.incarnation) for entry in cluster.record().nodes] == [("a", "2"), ("b", "1")]


def test_what_somebody_restarts_after_the_writing_is_seen_healthy_and_left_alone() -> None:
    cluster = two()
    demanded(cluster)
    cluster.nodes["h"][0] = coreapp("a", incarnation="2")
    work = resumed(cluster)
    assert (work.failure, restarts(cluster), cluster.records) == (None, ["b"], {})


@pytest.mark.parametrize(
    ("answer", "pending"),
    [
        ({"failed": True, "changed": False, "msg": "refused"}, False),
        ({"changed": False}, False),
        ({"failed": True, "changed": True, "msg": "no answer"}, True),
        ({"failed": True, "msg": "no answer"}, True),
    ],
)
def test_a_demand_is_withdrawn_only_if_nothing_was_written_for_certain(answer: dict[str, Any], pending: bool) -> None:
    cluster = two()
    cluster.answer = answer if "changed" in answer else {**answer, "changed": None}
    work = demanded(cluster)
    assert cluster.record().is_pending is pending
    assert cluster.record().lease is None
    assert (work.failure is not None) is bool(answer.get("failed"))


def test_a_write_that_breaks_off_leaves_the_restart_pending() -> None:
    cluster = two()

    def dies() -> None:
        raise KeyboardInterrupt

    cluster.on_write = dies
    work = made(cluster)
    steps = demand_steps(["h"], health=True, writes=True)
    with pytest.raises(KeyboardInterrupt):
        play(work, cluster, steps)
    assert work.failure == "broken off"
    play(work, cluster, [Step("note", "h")])
    assert [entry.name for entry in cluster.record().nodes] == ["a", "b"]


def test_without_a_look_after_the_writing_every_node_stays_pending() -> None:
    cluster = two()
    cluster.on_write = lambda: cluster.nodes.update(h=Unseen())
    work = demanded(cluster)
    record = cluster.record()
    assert (record.generation, record.noted, record.lease) == (1, 0, None)
    assert "h cannot be looked at after the writing (boom)" in work.warnings[0]


class Unseen(list[Node]):
    def __iter__(self) -> Iterator[Node]:
        raise Problem("boom")


def test_two_generations_are_paid_for_one_by_one() -> None:
    cluster = two()
    demanded(cluster)
    work = made(cluster)
    steps = work_steps(cluster)
    play(work, cluster, steps[:-1])
    cluster.records["h"] = render(
        demand(cluster.record(), [coreapp("a")], settings=["x"], recorded="now", connected_before=None)
    )
    play(work, cluster, steps[-1:])
    assert "a" in [entry.name for entry in cluster.record().nodes]


def work_steps(cluster: Cluster) -> list[Step]:
    return [
        Step("look", "h"),
        Step("health"),
        Step("regain"),
        Step("recover", "h"),
        Step("gate", None, "a", "h"),
        Step("restart", "h", "a"),
        Step("wait", None, "a", "h"),
        Step("settle", "h", "a"),
    ]


def test_nothing_to_do_touches_nothing() -> None:
    cluster = two()
    work = made(cluster, settings=None, wanted=Wanted())
    play(work, cluster, demand_steps(["h"], health=True, peek="h"))
    assert cluster.events == []
    assert work.restarts() == []
    assert work.line(True) is None


def test_a_restart_that_waits_for_its_turn_says_so() -> None:
    cluster = two()
    work = demanded(cluster, may_restart=False)
    assert work.restarts() == []
    assert work.line(True) == "c: changed: log_level; pending restarts: a on h, b on h, left by this run"
    assert work.line(False) is None


def test_before_anything_is_written_every_host_tells_what_runs_there_now() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))
    seen: list[Record] = []
    cluster.on_write = lambda: seen.append(cluster.record())

    def done() -> None:
        cluster.records.clear()
        cluster.nodes["h"][0] = coreapp("a", incarnation="2")

    cluster.while_asleep = done
    assert demanded(cluster).failure is None
    assert [(entry.name, entry.incarnation) for entry in seen[0].nodes] == [("a", "2"), ("b", "1")]


@pytest.mark.parametrize(
    ("masters", "setting", "names"),
    [
        ("auto", "log_level", ["a"]),
        ("auto", "garbagecollector_enable.media", ["a", "m"]),
        ("yes", "log_level", ["a", "m"]),
        ("no", "garbagecollector_enable.media", ["a"]),
    ],
)
def test_masters_restart_where_a_setting_or_the_operator_says_so(masters: str, setting: str, names: list[str]) -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("m", kind=MASTER)]})
    work = demanded(cluster, wanted=Wanted((setting,)), values={"restart_masters": masters})
    assert (work.failure, [entry.name for entry in cluster.record().nodes]) == (None, names)


def test_masters_that_are_to_be_left_alone_are_taken_off_the_record() -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("m", kind=MASTER)]})
    cluster.pending("h", "a", "m")
    assert resumed(cluster, values={"restart_masters": "no"}).failure is None
    assert (restarts(cluster), cluster.records) == (["a"], {})


@pytest.mark.parametrize("partial", [False, True])
def test_a_node_that_no_host_accounts_for_is_refused_unless_it_is_looked_after_elsewhere(partial: bool) -> None:
    cluster = two()
    known = cluster.health().nodes
    cluster.health = lambda: _health.Health((*known, _health.Node("x:1", "coreapp", "connected")), True)  # type: ignore[method-assign]
    work = demanded(cluster, values={"partial_cluster": partial})
    assert ("cluster c: the client's health names x:1" in str(work.failure)) is not partial
    assert [line.partition(" accounts")[0] for line in work.warnings] == (
        ["cluster c: no host of this inventory"] if partial else []
    )
    assert cluster.record().is_pending is partial


def test_everything_restarts_without_a_setting_to_write() -> None:
    cluster = two()
    facts: dict[str, Any] = {"settings": None, "wanted": Wanted(everything=True)}
    demanded(cluster, **facts)
    record = cluster.record()
    assert (record.generation, record.noted, record.settings, record.lease) == (1, 1, (), None)
    assert whole(cluster, **facts).failure is None
    assert (restarts(cluster), cluster.records) == (["a", "b"], {})


@pytest.mark.parametrize("known_before", [True, False])
def test_what_is_a_master_by_its_name_in_health_is_none_of_the_coreapps(known_before: bool) -> None:
    cluster = Cluster({"h": [Node("a"), Node("m")]})
    roles = (("a:1", "coreapp"), ("m:2", "primary_master"))
    cluster.health = lambda: _health.Health(tuple(_health.Node(n, role, "connected") for n, role in roles), True)  # type: ignore[method-assign]
    health = cluster.api("wa_health_info", {}) if known_before else None
    work = made(cluster, backend="command", health=health)
    play(work, cluster, demand_steps(["h"], health=not known_before, writes=True))
    assert (work.failure, [entry.name for entry in cluster.record().nodes]) == (None, ["a"])


def test_the_health_after_the_writing_is_what_a_restart_must_not_lower() -> None:
    cluster = two()
    cluster.connected = {"a"}

    def more() -> None:
        cluster.connected = {"a", "b"}
        cluster.answer = {"health": cluster.api("wa_health_info", {})}

    cluster.on_write = more
    work = made(cluster)
    results = play(work, cluster, demand_steps(["h"], health=True, writes=True))
    assert cluster.record().connected_before == 2
    assert not any("health" in result for result in results)


# --- what has to be found out on other hosts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "due"),
    [
        (None, False),
        (render(Record("c", "h", sent=Sent("s", "v1", {}))), False),
        (render(Record("c", "h", elsewhere=("i",))), True),
        ("{", True),
    ],
)
@pytest.mark.parametrize("may_restart", [True, False])
def test_a_record_tells_whether_anything_is_due(text: str | None, due: bool, may_restart: bool) -> None:
    cluster = two()
    cluster.records.update({"h": text} if text is not None else {})
    work = made(cluster, settings=None, wanted=Wanted(), may_restart=may_restart)
    play(work, cluster, [Step("peek", "h"), Step("look", "h")])
    # What cannot be read is made good, whoever may restart.
    looked = due and (may_restart or text == "{")
    assert (work.failure, bool(work._looks), bool(cluster.events)) == (None, looked, looked)


@pytest.mark.parametrize(
    ("text", "misnamed", "said"),
    [
        (None, "old@h.json holds a pending restart", "old@h.json holds a pending restart"),
        (render(Record("other", "h")), "", "it belongs to h of cluster other; remove it"),
    ],
)
def test_a_record_that_may_be_this_clients_under_another_name_ends_the_work(
    text: str | None, misnamed: str, said: str
) -> None:
    cluster = two()
    cluster.records.update({"h": text} if text is not None else {})
    cluster.places["h"] = Place(misnamed=misnamed)
    work = made(cluster)
    play(work, cluster, [Step("peek", "h"), Step("look", "h")])
    assert said in str(work.failure)
    assert cluster.events == []


NOTHING: dict[str, Any] = {"changed": False, "changed_settings": [], "restart_settings": []}


@pytest.mark.parametrize(
    ("answer", "everything", "written", "pending"),
    [
        (NOTHING, False, False, []),
        (NOTHING, True, True, ["a on h", "b on h"]),
        ({**NOTHING, "changed": True}, False, True, []),
        ({**NOTHING, "changed_settings": ["webhooks.url"]}, False, True, []),
        ({}, False, True, ["a on h", "b on h"]),
    ],
)
def test_another_host_tells_what_differs(
    answer: dict[str, Any], everything: bool, written: bool, pending: list[str]
) -> None:
    cluster = two()
    cluster.answer = answer
    calls = asked(cluster)
    work = made(cluster, api="elsewhere", wanted=Wanted(everything=everything))
    play(work, cluster, demand_steps(["h"], health=True, writes=True, ask=True, peek="h"))
    assert calls[0] == ("wa_application_settings", SETTINGS)
    assert (work.failure, work.still_pending()) == (None, pending)
    assert bool([event for event in cluster.events if event.startswith("write")]) is written
    # What needs no restart needs no record either.
    assert any(event.startswith("swap") for event in cluster.events) is bool(pending)


def test_another_host_tells_what_is_never_reported() -> None:
    cluster = two()
    sent = Sent("s", "v1").learn({"log_level": "error"})
    cluster.keep(Record("c", "h", sent=sent))
    cluster.answer = {"unverified_settings": ["log_level"]}
    work = made(cluster, api="elsewhere", wanted=Wanted())
    play(work, cluster, demand_steps(["h"], health=True, writes=True, ask=True))
    assert (work.failure, work.still_pending()) == (None, [])
    assert not [event for event in cluster.events if event.startswith("write")]
    cluster.answer["client_version"] = "v2"
    work = made(cluster, api="elsewhere", wanted=Wanted())
    play(work, cluster, demand_steps(["h"], health=True, writes=True, ask=True))
    assert work.still_pending() == ["a on h", "b on h"]


def test_a_comparison_that_fails_ends_the_work() -> None:
    cluster = two()
    cluster.answer = {"failed": True, "msg": "refused"}
    work = made(cluster, api="elsewhere", wanted=Wanted())
    results = play(work, cluster, demand_steps(["h"], health=True, writes=True, ask=True))
    assert (work.failure, results[0]["msg"], cluster.events) == ("refused", "refused", ["compare"])


@pytest.mark.parametrize(("timeout", "patience"), [(None, 5.0), (2.0, 2.0), (30.0, 5.0)])
def test_addresses_of_one_cluster_are_asked_for_a_few_seconds_each(timeout: float | None, patience: float) -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    calls = asked(cluster)
    more = {} if timeout is None else {"timeout": timeout}
    facts: dict[str, Any] = {
        "connection": {"api_url": "https://one", **more},
        "others": {"i": {"api_url": "https://two", **more}},
    }
    assert demanded(cluster, **facts).failure is None
    assert calls[:2] == [
        ("wa_health_info", {"api_url": f"https://{name}", "timeout": patience, "retries": 0}) for name in ("one", "two")
    ]
    del calls[:]
    # The restarts are of what was looked at in this run.
    play(made(cluster, restarts=({},), **facts), cluster, [Step("health")])
    assert calls == [("wa_health_info", {})]


@pytest.mark.parametrize(
    ("theirs", "refused"),
    [
        ({}, False),
        ({"nodes": [], "clustered": False}, False),
        ({"nodes": [{"name": "a:1", "role": "coreapp", "gateway_status": "connected"}], "clustered": True}, False),
        ({"nodes": [{"name": "x:1", "role": "coreapp", "gateway_status": "connected"}], "clustered": True}, True),
        ({"nodes": [{"name": "a:1", "role": "coreapp", "gateway_status": "connected"}], "clustered": False}, True),
    ],
)
def test_addresses_of_one_cluster_have_to_be_one_clients(theirs: dict[str, Any], refused: bool) -> None:
    cluster = Cluster({"h": [coreapp("a", id="1")], "i": [coreapp("b", id="2")]})
    api = cluster.api

    def split(module: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return dict(theirs) if arguments.get("api_url") == "https://two" else api(module, arguments, **more)

    cluster.api = split  # type: ignore[method-assign]
    work = demanded(cluster, others={"i": {"api_url": "https://two"}})
    assert ("h and i are hosts of cluster c, but different clients answer" in str(work.failure)) is refused
    assert bool(work.failure) is refused


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, _work.ClientHealth()),
        ({}, _work.ClientHealth()),
        ({"nodes": [], "clustered": True, "shards": 1}, _work.ClientHealth()),
        (
            {"nodes": [{"name": None, "role": "coreapp", "gateway_status": "connected"}], "clustered": False},
            _work.ClientHealth((_health.Node(None, "coreapp", "connected"),), False, None),
        ),
        (
            {"nodes": [{"name": "a:1", "role": "coreapp", "gateway_status": "x"}], "clustered": True, "shards": 2},
            _work.ClientHealth((_health.Node("a:1", "coreapp", "x"),), True, 2),
        ),
    ],
)
def test_what_the_client_says_of_itself(result: dict[str, Any] | None, expected: _work.ClientHealth) -> None:
    assert _work.read_client_health(result) == expected


# --- the lease ---------------------------------------------------------------------------------------------------


def test_a_run_waits_for_another_one_and_says_for_whom() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))

    def renew() -> None:
        if cluster.now > 40:
            cluster.records.clear()

    cluster.while_asleep = renew
    work = demanded(cluster)
    assert work.failure is None
    assert [line for line in cluster.lines if "another run on box (process 1, since noon)" in line]
    assert 3 <= len(cluster.lines) <= 4
    assert "compare" in cluster.events, "whoever held the lease may have written the same"


def test_a_run_that_waited_demands_nothing_for_what_the_other_one_wrote() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))
    cluster.while_asleep = cluster.records.clear
    cluster.answer = {"changed": False, "changed_settings": [], "restart_settings": []}
    work = demanded(cluster)
    assert (work.failure, cluster.records) == (None, {})


def test_waiting_has_an_end_that_names_the_holder() -> None:
    cluster = two()
    before = Record("c", "h", lease=replace(OTHER, seconds=1e6))
    cluster.keep(before)
    work = demanded(cluster)
    assert work.failure is not None
    assert "another run on box (process 1, since noon)" in work.failure
    assert "wa_settings_lock_timeout (100 s) is over" in work.failure
    assert "/state/c@h.json" in work.failure
    assert 100 < cluster.now < 103
    assert (cluster.record(), cluster.events) == (before, [])


def test_a_lease_that_is_not_renewed_is_taken_over() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))
    work = demanded(cluster)
    assert work.failure is None
    assert 50 <= cluster.now < 52


def test_a_lease_that_is_renewed_is_not() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))

    def renew() -> None:
        cluster.keep(Record("c", "h", lease=replace(OTHER, renewal=int(cluster.now / 10))))

    cluster.while_asleep = renew
    assert "is over" in str(demanded(cluster).failure)


def test_the_lease_of_a_dead_process_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))
    monkeypatch.setattr(_work, "is_gone", lambda lease: lease == OTHER)
    assert demanded(cluster).failure is None
    assert cluster.now == 0


def test_hosts_of_one_run_wait_for_each_other_without_an_end() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=replace(OTHER, run=RUN, seconds=1e6)))

    def done() -> None:
        if cluster.now > 500:
            cluster.records.clear()

    cluster.while_asleep = done
    assert demanded(cluster).failure is None
    assert cluster.now > 500
    assert cluster.lines == []


def test_a_run_that_waits_looks_less_often_the_longer_it_takes() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=replace(OTHER, seconds=1e6)))
    looks: list[float] = [0.0]
    said: list[float] = []
    cluster.while_asleep = lambda: looks.append(cluster.now)
    cluster.say = lambda _line: said.append(cluster.now)  # type: ignore[method-assign]
    demanded(cluster)
    pauses = [later - at for at, later in pairwise(looks)]
    assert pauses == pytest.approx([min(1.0, max(0.2, at / 10)) for at in looks[:-1]])
    assert said[0] == 0
    assert all(15 <= later - at < 16 for at, later in pairwise(said))


def test_a_run_that_waits_says_for_how_long() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=replace(OTHER, seconds=1e6)))
    demanded(cluster, values={"lock_timeout": 3.5})
    assert cluster.lines == ["waiting for another run on box (process 1, since noon) on cluster c, 0 s of 3.5 s"]
    assert 3.5 < cluster.now < 4.5


def test_a_lease_lasts_longer_than_a_restart_and_the_wait_after_it() -> None:
    cluster = two()
    seen: list[Record] = []
    cluster.on_write = lambda: seen.append(cluster.record())
    demanded(cluster, values={"restart_stop_timeout": 70, "health_timeout": 400.0})
    assert [record.lease and record.lease.seconds for record in seen] == [530.0]


def test_a_place_that_drops_line_breaks_at_the_end_holds_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_place = Store._place

    def stripped(self: Store) -> Place:
        place = whole_place(self)
        return replace(place, text=place.text and place.text.strip())

    monkeypatch.setattr(Store, "_place", stripped)
    cluster = two()
    assert (whole(cluster).failure, restarts(cluster), cluster.records) == (None, ["a", "b"], {})


@pytest.mark.parametrize(
    ("trouble", "said", "tries"),
    [
        (Problem("disk full"), "the record of pending restarts cannot be written: disk full", 1),
        (Place(unusable="gone"), "the record of pending restarts cannot be written: gone", 1),
        (None, "/state/c@h.json: the record is changed by others all the time", 3),
    ],
)
def test_a_record_that_cannot_be_written_ends_the_work_before_the_settings_are(
    trouble: Problem | Place | None, said: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = two()
    work = made(cluster)
    play(work, cluster, [Step("look", "h"), Step("health")])
    tried: list[str | None] = []

    def swap(self: Store, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        tried.append(old)
        if isinstance(trouble, Problem):
            raise trouble
        # Somebody writes in between, and leaves the lease as it is.
        return trouble or Place(render(replace(cluster.record(), recorded=str(len(tried)))))

    monkeypatch.setattr(Store, "swap", swap)
    play(work, cluster, [Step("record", "h"), Step("write")])
    assert (said in str(work.failure), len(tried)) == (True, tries)
    assert len(set(tried)) == tries, "each attempt is on top of what the one before has found"
    assert not [event for event in cluster.events if event.startswith("write")]


def test_a_record_that_is_spoilt_meanwhile_is_written_anew() -> None:
    cluster = two()
    work = made(cluster)
    play(work, cluster, [Step("look", "h"), Step("health")])
    cluster.records["h"] = "{"
    play(work, cluster, [Step("record", "h")])
    assert (work.failure, [entry.name for entry in cluster.record().nodes]) == (None, ["a", "b"])
    assert cluster.record().lease == work._lease


def test_a_lost_lease_ends_the_work_before_the_next_stop() -> None:
    cluster = two()
    demanded(cluster)
    work = made(cluster)
    play(work, cluster, work_steps(cluster)[:5])
    taken = replace(cluster.record(), lease=OTHER)
    cluster.keep(taken)
    play(work, cluster, [*work_steps(cluster)[5:], Step("release", "h")])
    assert "the lease on h was taken over by another run on box" in str(work.failure)
    assert (restarts(cluster), cluster.record()) == ([], taken)


def test_a_record_that_is_removed_by_hand_ends_the_work() -> None:
    cluster = two()
    demanded(cluster)
    work = made(cluster)
    play(work, cluster, work_steps(cluster)[:5])
    cluster.records.clear()
    play(work, cluster, work_steps(cluster)[5:])
    assert "taken over by nobody, and the record is gone" in str(work.failure)
    assert restarts(cluster) == []


# --- places and records that are no good -------------------------------------------------------------------------


def test_nothing_is_written_where_no_record_may_lie() -> None:
    for place, said in (
        (Place(unusable="/state may be written by others"), "may be written by others"),
        (Place(volatile=True), "wa_settings_volatile_state"),
    ):
        cluster = two()
        cluster.places["h"] = place
        work = demanded(cluster)
        assert said in str(work.failure)
        assert not [event for event in cluster.events if event.startswith("write")]


def test_a_volatile_place_is_taken_where_it_is_meant_or_nothing_is_wanted() -> None:
    cluster = two()
    cluster.places["h"] = Place(volatile=True)
    assert demanded(cluster, values={"volatile_state": True}).failure is None
    cluster = two()
    cluster.places["h"] = Place(volatile=True)
    assert demanded(cluster, settings=SETTINGS, wanted=Wanted()).failure is None


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        (render(Record("c", "h")), Wanted(), None),
        (None, Wanted(), "restarts cannot be done on h (no directory)"),
        (render(Record("c", "h")), Wanted(("log_level",)), "restarts cannot be done on h (no directory)"),
    ],
)
def test_check_mode_reads_a_record_where_none_may_be_kept(text: str | None, wanted: Wanted, said: str | None) -> None:
    cluster = two()
    cluster.records.update({"h": text} if text is not None else {})
    cluster.places["h"] = Place(unusable="no directory")
    work = demanded(cluster, check_mode=True, wanted=wanted)
    assert (said in str(work.failure)) if said else (work.failure is None)


def test_check_mode_tells_of_a_volatile_place() -> None:
    cluster = two()
    cluster.places["h"] = Place(volatile=True)
    said = "wa_settings_state_dir /state is on a container's own root file system"
    assert said in str(demanded(cluster, check_mode=True).failure)
    assert demanded(cluster, check_mode=True, values={"volatile_state": True}).failure is None
    assert demanded(cluster, check_mode=True, wanted=Wanted()).failure is None


def test_a_lease_that_cannot_be_given_back_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = two()
    cluster.keep(Record("c", "h", client="https://other", elsewhere=("x",)))
    swap = Store.swap

    def once(self: Store, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        if volatile is None:
            raise Problem("disk full")
        return swap(self, old, new, volatile)

    monkeypatch.setattr(Store, "swap", once)
    assert "holds a pending restart of another client" in str(demanded(cluster).failure)


def test_no_record_is_left_of_a_host_that_cannot_be_worked_on_after_all() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", lease=OTHER))
    health = cluster.health()
    cluster.health = lambda: health  # type: ignore[method-assign]

    def done() -> None:
        cluster.records.clear()
        cluster.nodes["h"] = Unseen()

    cluster.while_asleep = done
    assert "restarts cannot be done on h (boom)" in str(demanded(cluster).failure)
    assert cluster.records == {}


@pytest.mark.parametrize("hosts", [["h"], ["h", "i"]])
def test_the_address_of_the_client_as_each_host_has_it_stands_in_its_record(hosts: list[str]) -> None:
    cluster = Cluster({host: [coreapp(f"on {host}")] for host in hosts})
    demanded(cluster)
    assert [cluster.record(host).client for host in hosts] == [f"https://{host}:9090" for host in hosts]


def test_a_record_that_cannot_be_read_means_that_everything_is_pending() -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("m", kind=MASTER)]})
    cluster.records["h"] = "{"
    work = whole(cluster, settings=None, wanted=Wanted())
    assert (work.failure, restarts(cluster), cluster.records) == (None, ["a", "m"], {})
    assert any("the record of pending restarts cannot be read" in line for line in demanded_warnings("{"))


@pytest.mark.parametrize("text", [render(Record("other", "h")), render(Record("c", "other"))])
def test_a_record_of_another_is_left_alone(text: str) -> None:
    cluster = Cluster({"h": [coreapp("a")]})
    cluster.records["h"] = text
    work = whole(cluster, settings=None, wanted=Wanted())
    assert "it belongs to " in str(work.failure)
    assert (restarts(cluster), cluster.records) == ([], {"h": text})


def test_a_run_that_dies_over_an_unreadable_record_forgets_nothing() -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("m", kind=MASTER)]})
    cluster.records["h"] = "{"
    work = made(cluster, settings=None, wanted=Wanted())
    play(work, cluster, [Step("look", "h")])
    assert cluster.record().is_pending
    cluster.keep(replace(cluster.record(), lease=None))
    assert (resumed(cluster).failure, restarts(cluster), cluster.records) == (None, ["a", "m"], {})


def test_what_no_run_can_replace_is_not_tried_for_ever() -> None:
    cluster = two()
    cluster.records["h"] = "{"
    swap = Store.swap
    with pytest.MonkeyPatch.context() as patched:
        # Bytes that are no text, or carriage returns, do not survive the way here and back.
        patched.setattr(Store, "swap", lambda self, old, new, volatile=None: swap(self, f"{old}?", new, volatile))
        work = demanded(cluster)
    assert "/state/c@h.json was not written by a run and cannot be replaced" in str(work.failure)
    assert cluster.records == {"h": "{"}


def test_a_lease_is_given_back_where_the_host_cannot_be_worked_on_after_all() -> None:
    cluster = two()
    before = replace(Record("c", "h", client="https://other", elsewhere=("x",)))
    cluster.keep(before)
    work = demanded(cluster)
    assert "holds a pending restart of another client, https://other" in str(work.failure)
    assert cluster.record() == before


def demanded_warnings(text: str) -> list[str]:
    cluster = two()
    cluster.records["h"] = text
    return demanded(cluster, settings=None, wanted=Wanted()).warnings


# --- hosts that are away -----------------------------------------------------------------------------------------


def test_the_restart_of_a_host_that_is_away_lies_with_the_others_until_it_is_reached() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    cluster.away = {"i"}
    work = whole(cluster, outside=["i"])
    assert (work.failure, restarts(cluster)) == (None, ["a"])
    assert cluster.record("h").elsewhere == ("i",)
    assert work.still_pending() == ["all Coreapps on i"]
    cluster.away = set()
    later = resumed(cluster)
    assert (later.failure, restarts(cluster), cluster.records) == (None, ["a", "b"], {})


def test_a_run_that_may_not_restart_takes_over_what_the_others_say() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    cluster.away = {"i"}
    whole(cluster, outside=["i"])
    cluster.away = set()
    demanded(cluster, settings=None, wanted=Wanted(), may_restart=False)
    assert cluster.record("h").elsewhere == ()
    assert [entry.name for entry in cluster.record("i").nodes] == ["b"]


def test_restarts_alone_take_over_what_the_others_say() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    cluster.keep(Record("c", "h", elsewhere=("i",)))
    work = made(cluster, settings=None, wanted=Wanted())
    steps = [Step(name, host) for name in ("look", "recover", "release") for host in cluster.nodes]
    play(work, cluster, [*steps[:2], Step("health"), Step("regain"), *steps[2:]])
    assert (work.failure, "h" in cluster.records, cluster.record("i").names()) == (None, False, ["b"])


def test_a_refusal_strikes_out_nothing_that_is_elsewhere() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    cluster.keep(Record("c", "h", elsewhere=("i",)))
    cluster.nodes["i"].append(coreapp("stranger"))
    strange = {**vars(cluster.health())}
    cluster.health = lambda: _health.Health(tuple(n for n in strange["nodes"] if "stranger" not in str(n.name)), True)  # type: ignore[method-assign]
    work = demanded(cluster)
    assert "stranger on i is not in the health" in str(work.failure)
    assert cluster.record("h").elsewhere == ("i",)


def test_a_host_that_cannot_restart_anything_keeps_the_settings_unwritten() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]}, unable={"h", "i"})
    work = demanded(cluster)
    assert "restarts cannot be done on h (no command), i (no command)" in str(work.failure)
    assert (cluster.records, cluster.events) == ({}, [])


@pytest.mark.parametrize("here", [["h", "i"], []])
def test_hosts_that_commands_reach_in_the_same_way_are_checked_once(here: list[str]) -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]}, unable={"i"})
    work = demanded(cluster, here=here)
    assert (work.failure is None) is bool(here)
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]}, unable={"h", "i"})
    said = str(demanded(cluster, here=here).failure)
    assert "h (no command), i (no command)" in said, "what fails is not remembered"


@pytest.mark.parametrize("facts", [{"outside": ["h", "i"]}, {"may_restart": False}])
def test_only_what_this_run_may_restart_has_to_be_able_to(facts: dict[str, Any]) -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]}, unable={"h", "i"})
    assert demanded(cluster, **facts).failure is None
    assert [name for host in cluster.nodes for name in cluster.record(host).names()] == ["a", "b"]


def test_a_host_of_the_play_that_is_away_keeps_the_settings_unwritten() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    cluster.away = {"i"}
    work = demanded(cluster)
    assert "restarts cannot be done on i (unreachable: away)" in str(work.failure)
    assert cluster.records == {}
    assert not [event for event in cluster.events if event.startswith("write")]


def test_a_restart_that_a_user_asks_for_while_a_host_is_away_is_on_record_for_the_next_run() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    cluster.away = {"i"}
    asked: dict[str, Any] = {"settings": None, "wanted": Wanted(everything=True)}
    work = whole(cluster, **asked)
    assert "cannot be done on i (unreachable: away), so nothing is restarted and all of it stays" in str(work.failure)
    assert (cluster.record().names(), restarts(cluster)) == (["a", "all Coreapps on i"], [])
    cluster.away = set()
    assert resumed(cluster).failure is None
    assert (sorted(restarts(cluster)), cluster.records) == (["a", "b"], {})


def test_what_was_checked_before_the_demand_is_not_checked_before_the_restarts() -> None:
    cluster = two()
    cluster.pending("h", "a", "b")
    cluster.unable = {"h"}
    assert "no command" in str(resumed(cluster).failure)
    assert resumed(cluster, restarts=({},)).failure is None


@pytest.mark.parametrize("named", [True, False])
def test_several_nodes_of_a_client_that_is_no_cluster_have_to_be_named(named: bool) -> None:
    cluster = two()
    cluster.clustered = False
    cluster.connected = {"a"}
    members = (Member("h", True, "docker", ("a", "b") if named else (), "", (), "/state"),)
    failure = demanded(cluster, members=members).failure
    assert (failure is None) is named
    assert ("is not a cluster and has one Coreapp" in str(failure)) is not named


# --- nodes that do not come back ---------------------------------------------------------------------------------


def test_a_node_that_does_not_come_back_stops_this_run_and_the_next() -> None:
    cluster = two()
    cluster.comes_back = lambda node: cluster.connected.discard(node.name) or replace(node, incarnation="2")  # type: ignore[func-returns-value]
    work = whole(cluster)
    assert "Coreapp 1 of 2, a on h, did not come back: 1 of 2 Coreapps connected" in str(work.failure)
    assert "pending restarts, done by a later run: a on h, b on h" in str(work.failure)
    assert cluster.record().returning is not None
    assert cluster.record().lease is None
    later = resumed(cluster)
    assert "a on h is not back since its restart" in str(later.failure)
    assert restarts(cluster) == ["a"]
    cluster.connected.add("a")
    cluster.comes_back = lambda node: replace(node, incarnation="3")
    assert (resumed(cluster).failure, restarts(cluster), cluster.records) == (None, ["a", "b"], {})


@pytest.mark.parametrize(("seconds", "killed"), [(59.0, False), (60.5, True)])
def test_a_node_that_had_to_be_killed_is_not_taken_for_back_by_what_health_said_of_its_former_life(
    seconds: float, killed: bool
) -> None:
    cluster = two()

    def slowly(node: Node) -> Node:
        cluster.now += seconds
        return replace(node, incarnation="2")

    cluster.comes_back = slowly
    asked: list[float] = []
    api = cluster.api

    def noted(module: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        asked.extend([cluster.now] if arguments.get("wait") and arguments.get("expect_nodes") else [])
        return api(module, arguments, **more)

    cluster.api = noted  # type: ignore[method-assign]
    assert (whole(cluster).failure, restarts(cluster)) == (None, ["a", "b"])
    assert asked[0] == seconds + (30 if killed else 0)
    assert any("a on h had to be killed" in line for line in cluster.lines) is killed


def test_a_node_that_crash_loops_is_not_back() -> None:
    cluster = two()
    cluster.comes_back = lambda node: replace(node, incarnation="2", steady=False)
    work = whole(cluster)
    assert "a on h, did not come back: its container starts over and over" in str(work.failure)
    assert 30 <= cluster.now < 31
    assert "a starts over and over" in str(resumed(cluster).failure)
    assert restarts(cluster) == ["a"]


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (lambda _node: None, "its container is gone"),
        (lambda node: replace(node, running=False), "its container is stopped"),
    ],
)
def test_what_is_said_of_a_node_that_is_gone_or_stopped(back: Callable[[Node], Node | None], said: str) -> None:
    cluster = two()
    cluster.comes_back = back
    # Health lags behind: it still shows who is gone.
    before = cluster.health()
    cluster.health = lambda: before  # type: ignore[method-assign]
    assert said in str(whole(cluster).failure)
    assert cluster.record().returning is not None


def test_a_returning_node_that_is_gone_is_named() -> None:
    cluster = two()
    cluster.pending("h", "b", returning=Pending("x", "gone"), connected_before=2)
    assert "x on h is not back since its restart: its container is gone" in str(resumed(cluster).failure)
    assert restarts(cluster) == []


def test_a_stand_by_has_to_run_for_a_while() -> None:
    cluster = two()
    cluster.connected = {"b"}
    seen: list[float] = []

    def crash() -> None:
        if len(seen) < 2:
            seen.append(cluster.now)
            cluster.nodes["h"][0] = replace(cluster.nodes["h"][0], incarnation=f"crash {len(seen)}")

    cluster.while_asleep = crash
    work = whole(cluster)
    assert (work.failure, restarts(cluster)) == (None, ["a", "b"])
    assert 3.0 <= cluster.now < 4.5


def test_a_stand_by_is_believed_to_run_on_however_long_a_look_at_it_takes() -> None:
    """As on Kubernetes, with an API server that is short of time."""
    cluster = two()
    cluster.connected = {"b"}
    cluster.look_takes = 40.0
    work = whole(cluster)
    assert (work.failure, restarts(cluster)) == (None, ["a", "b"])


def test_the_node_that_serves_goes_last_and_waits_for_stand_bys() -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("b"), coreapp("c")]}, connected={"a"})

    def fail_over(node: Node) -> Node:
        # b takes over as soon as anybody restarts.
        cluster.connected = {"b"}
        return replace(node, incarnation="2")

    cluster.comes_back = fail_over
    whole(cluster)
    assert restarts(cluster)[-1] != "a" or cluster.connected == {"b"}
    assert sorted(restarts(cluster)) == ["a", "b", "c"]
    assert cluster.records == {}


def test_nothing_stops_while_fewer_are_connected_than_before() -> None:
    cluster = two()
    cluster.pending("h", "a", "b", connected_before=2)
    cluster.connected = {"b"}
    work = resumed(cluster)
    assert "not as healthy as before the first restart: 1 of 2 Coreapps connected" in str(work.failure)
    assert "wa_settings_expect_connected" in str(work.failure)
    assert restarts(cluster) == []
    assert resumed(cluster, values={"expect_connected": 1}).failure is None
    assert restarts(cluster) == ["a", "b"]


def test_a_node_left_stopped_by_a_dead_run_is_started_again() -> None:
    cluster = two()
    cluster.pending("h", "a", "b", connected_before=2)
    cluster.keep(begin_restart(cluster.record(), coreapp("a")))
    cluster.nodes["h"][0] = coreapp("a", running=False)
    cluster.connected = {"b"}

    def back(node: Node) -> Node:
        cluster.connected.add(node.name)
        return replace(node, incarnation="2", running=True)

    cluster.comes_back = back
    work = resumed(cluster)
    assert (work.failure, restarts(cluster), cluster.records) == (None, ["a", "b"], {})
    assert any("Restarting a on h again" in line for line in cluster.lines)
    assert work.summary()["restarted"] == ["a on h", "b on h"]


def test_a_healthy_node_is_not_restarted_again_for_another_ones_sake() -> None:
    cluster = two()
    cluster.pending("h", "a", "b", connected_before=2)
    cluster.keep(begin_restart(cluster.record(), coreapp("a")))
    cluster.nodes["h"][1] = coreapp("b", running=False)
    cluster.connected = {"a"}
    assert "a on h is not back since its restart" in str(resumed(cluster).failure)
    assert restarts(cluster) == []


def test_what_somebody_stopped_is_told_and_not_started() -> None:
    cluster = two()
    demanded(cluster)
    cluster.nodes["h"][0] = coreapp("a", running=False)
    work = made(cluster, settings=None, wanted=Wanted(), values={"expect_connected": 1})
    play(work, cluster, work_steps(cluster)[:4])
    assert "a had a pending restart and is stopped" in work.warnings[0]
    assert [entry.name for entry in cluster.record().nodes] == ["b"]


def test_what_is_stopped_is_named_with_its_host_and_needs_no_restart() -> None:
    cluster = two()
    cluster.pending("h", "a", "b")
    cluster.nodes["h"] = [replace(node, running=False) for node in cluster.nodes["h"]]
    work = made(cluster)
    play(work, cluster, [*work_steps(cluster)[:4], Step("release", "h")])
    assert (work.failure, restarts(cluster), cluster.records) == (None, [], {})
    assert work.warnings == [
        "h of cluster c: a, b had a pending restart and is stopped. It is not started; once you start it, it runs with "
        "the settings that are stored"
    ]


def returning(cluster: Cluster, name: str = "a", **facts: Any) -> Work:
    """A run after one that has stopped a node, until it goes on with the others."""
    cluster.pending("h", *(node.name for node in cluster.nodes["h"]), connected_before=len(cluster.nodes["h"]))
    before = next((node for node in cluster.nodes["h"] if node.name == name), coreapp(name))
    cluster.keep(begin_restart(cluster.record(), before, name))
    cluster.nodes["h"] = [replace(node, incarnation="2") if node.name == name else node for node in cluster.nodes["h"]]
    work = made(cluster, settings=None, wanted=Wanted(), **facts)
    play(work, cluster, [Step("look", "h"), Step("health"), Step("regain")])
    return work


@pytest.mark.parametrize(("api", "waits"), [(None, [15.0, 30.0]), ("elsewhere", [30.0])])
def test_a_node_that_may_have_been_left_stopped_has_its_turn_early_enough(api: str | None, waits: list[float]) -> None:
    cluster = two()
    cluster.connected = {"b"}
    work = returning(cluster, api=api)
    play(work, cluster, [Step("recover", "h")])
    assert [wait["wait_timeout"] for wait in cluster.waits] == waits
    assert {(wait["wait_interval"], wait["expect_connected"], *wait["expect_nodes"]) for wait in cluster.waits} == {
        (0.2, 2, "a")
    }
    assert cluster.lines == ["Waiting for a on h: not seen healthy since the last restart"]
    assert str(work.failure).startswith("a on h is not back since its restart: 1 of 2 Coreapps connected")
    assert str(work.failure).endswith(
        "Nothing else of cluster c is restarted until it is; pending restarts, done by a later run: b on h"
    )
    assert restarts(cluster) == []


def test_check_mode_waits_for_nobody() -> None:
    cluster = two()
    cluster.connected = {"b"}
    cluster.pending("h", "a", "b", connected_before=2, returning=Pending("a", listed="a"))
    work = whole(cluster, check_mode=True, settings=None, wanted=Wanted())
    assert (work.failure, work.restarted, cluster.waits, cluster.now) == (None, ["a on h", "b on h"], [], 0)


def test_a_node_that_is_to_come_back_and_is_named_no_more_is_said_to_be() -> None:
    cluster = Cluster({"h": [Node("a"), Node("b")]})
    cluster.pending("h", "a", "b", returning=Pending("gone", listed="gone"))
    work = resumed(cluster, backend="command")
    assert (work.failure or "").endswith(
        "wa_settings_restart_containers does not name gone on h any more: name it, or remove the host's record if it "
        "is gone for good"
    )
    assert restarts(cluster) == []


def test_a_node_that_returns_is_watched_for_a_while() -> None:
    cluster = two()
    work = returning(cluster)
    crashes = [1.0, 2.0]

    def crash() -> None:
        if crashes and cluster.now >= crashes[0]:
            cluster.nodes["h"][0] = replace(cluster.nodes["h"][0], incarnation=f"crash at {crashes.pop(0)}")

    cluster.while_asleep = crash
    play(work, cluster, [Step("recover", "h")])
    assert work.failure is None
    assert 5.0 <= cluster.now < 5.5
    assert [entry.name for entry in cluster.record().nodes] == ["b"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"running": False}, "a is stopped"),
        ({"steady": False}, "a starts over and over or is not ready"),
        (None, "its container is gone"),
        ({}, "it starts over and over"),
    ],
)
def test_what_is_said_of_a_node_that_does_not_return(facts: dict[str, Any] | None, said: str) -> None:
    cluster = two()
    work = returning(cluster)

    def change() -> None:
        new = [] if facts is None else [coreapp("a", **{"incarnation": str(cluster.now), **facts})]
        cluster.nodes["h"] = [*new, coreapp("b")]

    cluster.while_asleep = change
    play(work, cluster, [Step("recover", "h")])
    assert str(work.failure).startswith(f"a on h is not back since its restart: {said}. Nothing else")
    assert 30 <= cluster.now < 30.5


def test_a_node_that_runs_has_its_time_to_show_it_however_short_the_wait() -> None:
    cluster = two()
    work = returning(cluster, values={"health_timeout": 1.0})
    play(work, cluster, [Step("recover", "h")])
    assert work.failure is None
    assert 3.0 <= cluster.now < 3.5


@pytest.mark.parametrize(("backend", "again"), [("docker", []), ("command", ["new"])])
def test_a_name_that_is_gone_is_a_restart_only_where_starts_can_be_told(backend: str, again: list[str]) -> None:
    """Whatever the engine says of the other one: a Deployment between two pods has no start to tell."""
    cluster = Cluster({"h": [coreapp("a")]})
    cluster.pending("h", "a", connected_before=1)
    cluster.nodes["h"] = [coreapp("new", incarnation="")]
    cluster.connected = {"new"}
    resumed(cluster, backend=backend)
    assert restarts(cluster) == again


@pytest.mark.parametrize("crashes", [False, True])
def test_a_node_that_runs_is_not_taken_for_one_that_crashes_since_a_look_takes_long(crashes: bool) -> None:
    cluster = two()
    work = returning(cluster)
    cluster.look_takes = 40.0

    def crash() -> None:
        cluster.look_takes = 1.0
        cluster.nodes["h"][0] = replace(cluster.nodes["h"][0], incarnation=str(cluster.now))

    if crashes:
        cluster.while_asleep = crash
    play(work, cluster, [Step("recover", "h")])
    assert ("a on h is not back since its restart: it starts over and over" in str(work.failure)) is crashes


def test_a_host_that_goes_away_while_its_node_returns_is_told() -> None:
    cluster = two()
    work = returning(cluster)
    cluster.while_asleep = lambda: cluster.away.add("h")
    play(work, cluster, [Step("recover", "h")])
    assert "a on h is not back since its restart: unreachable" in str(work.failure)


@pytest.mark.parametrize("steady", [True, False])
def test_what_takes_the_place_of_a_returning_node_has_to_run_itself(steady: bool) -> None:
    cluster = Cluster({"h": [coreapp("d-1", unit="d")]})
    cluster.pending("h", returning=Pending("d-1", "gone", unit="d"), connected_before=1)
    cluster.nodes["h"] = [coreapp("d-2", unit="d", steady=steady), coreapp("x", unit="other", steady=False)]
    cluster.connected = {"d-2"}
    failure = resumed(cluster).failure
    assert (failure is None) is steady
    assert ("d-2 starts over and over" in str(failure)) is not steady


@pytest.mark.parametrize("leads", [True, False])
def test_a_command_is_repeated_for_a_node_that_does_not_serve(leads: bool) -> None:
    cluster = Cluster({"h": [Node("h"), Node("i")]}, connected={"h"} if leads else {"i"})

    def back(node: Node) -> Node:
        cluster.connected = {"h", "i"}
        return node

    cluster.comes_back = back
    cluster.pending("h", returning=Pending("h", listed="h"), connected_before=2)
    work = made(cluster, settings=None, wanted=Wanted(), backend="command")
    results = play(work, cluster, work_steps(cluster)[:4])
    assert restarts(cluster) == ([] if leads else ["h"])
    assert (work.failure is None) is not leads
    assert results[-1].get("changed", False) is not leads
    assert str(work.failure).endswith("pending restarts, done by a later run: none") is leads
    assert cluster.now == 15.0 + (30.0 if leads else 0.0)


def test_a_command_is_not_repeated_where_nothing_is_missing() -> None:
    cluster = Cluster({"h": [Node("h")]})
    cluster.pending("h", returning=Pending("h", listed="h"), connected_before=1)
    assert resumed(cluster, backend="command").failure is None
    assert (restarts(cluster), cluster.records, cluster.now) == ([], {}, 0)


class Broken(Engine):
    @classmethod
    def restart(cls, host: Any, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        host.events.append((stop_timeout, patience))
        raise Problem("no daemon")


def test_what_is_said_of_a_restart_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "docker", Broken)
    cluster = two()
    work = whole(cluster, values={"restart_stop_timeout": "70", "health_timeout": 40.0})
    assert work.failure == (
        "Coreapp 1 of 2, a on h, could not be restarted: no daemon; pending restarts, done by a later run: a on h, b "
        "on h"
    )
    assert cluster.lines == ["Restarting Coreapp 1 of 2: a on h"]
    assert cluster.events[-2] == (70, 40.0)
    assert cluster.record().returning is not None
    cluster.nodes["h"][0] = coreapp("a", running=False)
    work = resumed(cluster, values={"restart_stop_timeout": "70", "health_timeout": 40.0})
    assert str(work.failure).startswith("a on h is not back since its restart: no daemon. Nothing else")
    assert cluster.events[-2] == (70, 40.0)


def test_a_host_that_goes_away_before_a_stop_or_after_a_start_is_told() -> None:
    cluster = two()
    demanded(cluster)
    work = made(cluster)
    play(work, cluster, work_steps(cluster)[:5])
    cluster.nodes["h"] = Unseen()
    play(work, cluster, work_steps(cluster)[5:])
    assert work.failure == (
        "Coreapp 1 of 2, a on h, cannot be looked at: boom; pending restarts, done by a later run: a on h, b on h"
    )
    cluster = two()
    demanded(cluster)
    work = made(cluster)
    play(work, cluster, work_steps(cluster)[:7])
    cluster.away = {"h"}
    play(work, cluster, work_steps(cluster)[7:])
    assert work.failure == (
        "Coreapp 1 of 2, a on h, did not come back: unreachable: away. The other nodes of cluster c were left as "
        "they are; pending restarts, done by a later run: a on h, b on h"
    )


def test_a_client_that_does_not_say_what_is_missing() -> None:
    cluster = two()
    api = cluster.api

    def silent(module: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return {"failed": True} if arguments.get("wait") else api(module, arguments, **more)

    cluster.api = silent  # type: ignore[method-assign]
    assert "a on h, did not come back: the client is not healthy." in str(whole(cluster).failure)


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (coreapp("d-2", unit="d", incarnation="2"), None),
        (coreapp("d-2", unit="d", incarnation="2", running=False), "its container is stopped"),
        (coreapp("d-2", unit="d", incarnation="2", steady=False), "its container starts over and over or is not ready"),
        (coreapp("d-1", unit="d", incarnation="2", id="other"), None),
        (coreapp("x", unit="other", incarnation="2"), "its container is gone"),
        (coreapp("d-2", unit="d", incarnation="1"), "its container is gone"),
    ],
)
def test_what_is_made_anew_is_back_under_another_name(back: Node, said: str | None) -> None:
    cluster = Cluster({"h": [coreapp("d-1", unit="d")]})
    cluster.connected.add(back.name)
    cluster.comes_back = lambda _node: back
    failure = whole(cluster).failure
    assert (failure is None) is (said is None)
    assert (said or "") in str(failure or "")
    assert not any("expect_nodes" in wait for wait in cluster.waits), "health knows it by another name as well"


def test_the_client_is_asked_before_each_stop_but_the_first_and_after_each_start() -> None:
    cluster = two()
    work = whole(cluster)
    assert (work.failure, cluster.now) == (None, 0)
    assert [wait.pop("expect_nodes", None) for wait in cluster.waits] == [["a"], None, ["b"]]
    wait = {"wait": True, "wait_timeout": 30.0, "wait_interval": 0.2, "expect_connected": 2}
    assert cluster.waits == [wait] * 3


def hide(cluster: Cluster, *names: str) -> None:
    """Let health leave these entries out from now on."""
    shown = cluster.health
    cluster.health = lambda: replace(  # type: ignore[method-assign]
        shown(), nodes=tuple(node for node in shown().nodes if node.name not in names)
    )


def test_a_node_that_health_does_not_list_at_its_turn_has_to_be_listed_before_the_next_one_stops() -> None:
    """Its last sign of life was too old. Without its name it would count as back while it starts."""
    cluster = Cluster({"h": [coreapp("a", hostname="one"), coreapp("b", hostname="two")]}, connected={"b"})
    demanded(cluster)
    hide(cluster, "a:a00000000000")
    work = made(cluster)
    play(work, cluster, work_steps(cluster))
    assert "a on h, did not come back: one is not back yet" in str(work.failure)
    assert restarts(cluster) == ["a"]
    returning = cluster.record().returning
    assert returning is not None and returning.listed == "one"


def test_a_master_under_the_same_host_name_does_not_stand_for_a_coreapp() -> None:
    """Meta's template for several hosts gives both the name of the host."""
    nodes = [coreapp("a", hostname="one"), coreapp("m", kind=MASTER, hostname="one")]
    cluster = Cluster({"h": nodes, "i": [coreapp("b", hostname="two")]}, connected={"b"})
    named = {"a": "one", "m": "one", "b": "two"}
    shown = cluster.health

    def health() -> _health.Health:
        entries = [replace(n, name=f"{named[str(n.name)[0]]}:{str(n.name)[2:]}") for n in shown().nodes]
        return _health.Health(tuple(entries), True)

    cluster.health = health  # type: ignore[method-assign]
    cluster.comes_back = lambda node: hide(cluster, "one:a00000000000") or replace(node, incarnation="2")  # type: ignore[func-returns-value]
    work = whole(cluster, values={"restart_masters": "no"})
    assert "a on h, did not come back: one is not back yet" in str(work.failure)
    assert restarts(cluster) == ["a"]
    assert cluster.lines.count("Waiting for one: another node of this name is back, and not this one") == 1
    assert "a on h is not back since its restart: one is not back yet" in str(resumed(cluster).failure)
    assert restarts(cluster) == ["a"]


def test_a_restart_that_takes_long_leaves_the_whole_time_for_the_wait() -> None:
    cluster = two()

    def slowly(node: Node) -> Node:
        cluster.now += 25.0
        return replace(node, incarnation="2")

    cluster.comes_back = slowly
    assert whole(cluster).failure is None
    assert [wait["wait_timeout"] for wait in cluster.waits] == [30.0] * 3


def test_a_late_look_still_asks_the_client() -> None:
    cluster = two()
    work = made(cluster)
    cluster.now = 100.0
    assert work._await_health(cluster, 50.0) is None  # type: ignore[arg-type]
    assert [wait["wait_timeout"] for wait in cluster.waits] == [0.1]
    assert [wait["expect_connected"] for wait in cluster.waits] == [1]


@pytest.mark.parametrize(
    ("states", "expected", "healthy"),
    [
        (["connected", "connected"], 2, True),
        (["connected", "disconnected"], 2, False),
        (["connected", "disconnected"], 1, True),
        (["connected"], None, True),
        (["disconnected"], None, False),
        (["disconnected"], 0, True),
        (["connected", "uninitialized"], 1, False),
    ],
)
def test_an_answer_is_as_good_as_what_is_expected(states: list[str], expected: int | None, healthy: bool) -> None:
    cluster = two()
    work = made(cluster)
    master = _health.Node("m", "primary_master", "uninitialized")
    nodes = [_health.Node(f"{at}", "coreapp", state) for at, state in enumerate(states)]
    work._health, work._expected, work._fresh = _work.ClientHealth((*nodes, master), True), expected, True
    assert work._is_known_healthy() is healthy
    assert work._is_known_healthy() is False


def test_one_that_has_taken_over_lets_the_others_go_first() -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("b"), coreapp("c")]}, connected={"a"})

    def fail_over(node: Node) -> Node:
        cluster.connected = {"c"}
        return replace(node, incarnation="2")

    cluster.comes_back = fail_over
    demanded(cluster)
    work = made(cluster)
    results = play(work, cluster, made_steps(cluster))
    assert (work.failure, restarts(cluster), cluster.records) == (None, ["b", "a", "c"], {})
    assert {"skipped": True} in results


def made_steps(cluster: Cluster) -> list[Step]:
    """The steps of the restarts that are on record."""
    work = made(cluster, settings=None, wanted=Wanted())
    play(work, cluster, [*(Step("look", host) for host in cluster.nodes), Step("health")])
    steps = work.restarts()
    play(work, cluster, [Step("release", host) for host in cluster.nodes])
    return steps


def test_a_master_that_does_not_lead_is_not_taken_for_a_stand_by() -> None:
    cluster = Cluster({"h": [coreapp("a"), coreapp("m", kind=MASTER), coreapp("n", kind=MASTER)]})
    primary = cluster.health

    def roles() -> _health.Health:
        nodes = [
            replace(node, role="secondary_master", gateway_status="disconnected") if str(node.name)[0] == "n" else node
            for node in primary().nodes
        ]
        return _health.Health(tuple(nodes), True)

    cluster.health = roles  # type: ignore[method-assign]
    work = whole(cluster, wanted=Wanted(("garbagecollector_enable.media",)))
    assert (work.failure, restarts(cluster), cluster.now) == (None, ["a", "n", "m"], 0)
    assert work.restarted == ["a on h", "n on h", "m on h"]


@pytest.mark.parametrize("gone", [True, False])
def test_what_is_gone_or_stopped_when_its_turn_comes_is_left_out(gone: bool) -> None:
    cluster = two()
    demanded(cluster)
    work = made(cluster)
    play(work, cluster, work_steps(cluster)[:3])
    cluster.nodes["h"] = [coreapp("b")] if gone else [coreapp("a", running=False), coreapp("b")]
    known = work._members["h"]
    assert known.look is not None
    known.look = replace(known.look, nodes=tuple(cluster.nodes["h"]))
    results = play(work, cluster, work_steps(cluster)[3:])
    assert (work.failure, results[1], restarts(cluster)) == (None, {"skipped": True}, [])


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_restart_is_a_change_unless_one_was_told_for_it(counted: bool, check_mode: bool) -> None:
    cluster = two()
    demanded(cluster)
    work = made(cluster, check_mode, counted=counted)
    results = play(work, cluster, [*work_steps(cluster), *work_steps(cluster)[4:]])
    assert [result["changed"] for result in results if "changed" in result] == [not counted]
    assert work.restarted == ["a on h"]
    assert {"skipped": True} in results


# --- a backend that cannot tell starts ---------------------------------------------------------------------------


def test_a_command_that_does_nothing_is_not_believed() -> None:
    cluster = Cluster({"h": [Node("h")]}, clustered=False)
    work = whole(cluster, backend="command")
    assert "ended well, but the node was connected each of the " in str(work.failure)
    assert " s apart, so its restart does not count; " in str(work.failure)
    assert [entry.name for entry in cluster.record().nodes] == ["h"]


def test_what_nobody_could_see_is_pending_again_when_the_command_turns_out_to_do_nothing() -> None:
    cluster = Cluster({"h": [Node("a")], "i": [Node("b")]}, connected={"b"})
    work = whole(cluster, backend="command")
    assert restarts(cluster) == ["a", "b"]
    assert "does not count. Neither do those of a on h: not connected before" in str(work.failure)
    assert str(work.failure).endswith("done by a later run: a on h, b on i")
    assert (work.restarted, work.still_pending()) == ([], ["a on h", "b on i"])
    assert [cluster.record(host).names() for host in ("h", "i")] == [["a"], ["b"]]
    assert cluster.record("h").settings == ("log_level",)
    assert all(cluster.record(host).lease is None for host in ("h", "i"))


def test_a_command_that_restarts_is_believed() -> None:
    cluster = Cluster({"h": [Node("h")]}, clustered=False)

    def back(node: Node) -> Node:
        cluster.connected = {"nobody"}
        threading.Timer(0.1, lambda: setattr(cluster, "connected", {"h"})).start()
        threading.Event().wait(0.15)
        return node

    cluster.comes_back = back
    work = whole(cluster, backend="command")
    assert (work.failure, cluster.records) == (None, {})


@pytest.mark.parametrize("fails", [False, True])
def test_a_command_that_fails_at_once_is_told_at_once(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    patience: list[float] = []
    monkeypatch.setattr(_work.Watch, "stop", lambda _watch, seconds: patience.append(seconds))
    if fails:
        monkeypatch.setitem(BACKENDS, "command", type("Failing", (Broken,), {"tells_starts": False}))
    cluster = Cluster({"h": [Node("h")]}, clustered=False)
    whole(cluster, backend="command", values={"health_timeout": 40.0})
    assert patience == [0.0 if fails else _work._SIGN_AFTER]


def test_a_command_is_believed_where_nobody_can_watch() -> None:
    cluster = Cluster({"h": [Node("h")]}, clustered=False)
    cluster.watch = lambda: None  # type: ignore[method-assign]
    assert (whole(cluster, backend="command").failure, cluster.records) == (None, {})


def test_a_command_that_takes_long_has_killed_nothing() -> None:
    cluster = Cluster({"h": [Node("h")]}, clustered=False)
    cluster.watch = lambda: None  # type: ignore[method-assign]

    def slowly(node: Node) -> Node:
        cluster.now += 100.0
        return node

    cluster.comes_back = slowly
    assert whole(cluster, backend="command").failure is None
    assert cluster.now == 100.0


# --- what a client does not report -------------------------------------------------------------------------------


def test_an_unreported_value_is_written_once() -> None:
    cluster = two()
    cluster.answer = {"unverified_settings": ["log_level"]}
    facts: dict[str, Any] = {"unverified": ("log_level",), "client_version": "v1"}
    assert whole(cluster, **facts).failure is None
    kept = cluster.record().sent
    assert kept is not None and kept.knows("log_level", "error", "v1")
    assert not cluster.record().is_pending
    cluster.events.clear()
    again = whole(cluster, **facts)
    assert (again.failure, restarts(cluster)) == (None, [])
    assert not [event for event in cluster.events if event.startswith("write")]
    cluster.events.clear()
    assert whole(cluster, **{**facts, "client_version": "v2"}).failure is None
    assert restarts(cluster) == ["a", "b"]


def test_a_reset_forgets_what_was_sent() -> None:
    cluster = two()
    cluster.keep(Record("c", "h", sent=Sent("s", "v1", {"log_level": "x"})))
    whole(cluster, settings={"settings": None, "state": "absent"})
    assert cluster.records == {}


def test_a_failed_write_learns_nothing() -> None:
    cluster = two()
    cluster.answer = {"failed": True, "msg": "x", "unverified_settings": ["log_level"]}
    demanded(cluster)
    assert cluster.record().sent is None


BOTH = {"settings": {"log_level": "error", "heartbeat_interval": 5}}


@pytest.mark.parametrize("others", [(), ("heartbeat_interval",)])
def test_only_what_was_sent_before_is_left_out(others: tuple[str, ...]) -> None:
    cluster = two()
    cluster.keep(Record("c", "h", sent=Sent("s", "v1").learn({"log_level": "error"})))
    wanted = Wanted(("log_level", *others))
    work = made(cluster, settings=BOTH, wanted=wanted, unverified=wanted.settings, client_version="v1")
    play(work, cluster, demand_steps(["h"], health=True, writes=True, peek="h"))
    assert work.failure is None
    assert [event for event in cluster.events if event.startswith("write")] == ['write {"heartbeat_interval": 5}']
    assert (work.wanted.settings, cluster.record().settings) == (others, others)


@pytest.mark.parametrize(
    ("before", "restart", "kept", "learned"),
    [
        (None, ["log_level", "heartbeat_interval"], None, {"log_level"}),
        (None, ["heartbeat_interval"], None, set()),
        (Sent("s", "v1", {"x": "y"}), ["log_level"], "s", {"log_level", "x"}),
        (Sent("s", "v0", {"x": "y"}), ["log_level"], None, {"log_level"}),
        (Sent("s", "v1", {"x": "y"}), [], "s", {"x"}),
    ],
)
def test_what_is_learned_of_a_write(
    before: Sent | None, restart: list[str], kept: str | None, learned: set[str]
) -> None:
    cluster = two()
    cluster.keep(Record("c", "h", sent=before))
    cluster.answer = {"unverified_settings": ["log_level"], "restart_settings": restart}
    work = demanded(cluster, settings=BOTH, wanted=Wanted(("log_level", "heartbeat_interval")))
    sent = cluster.record().sent
    assert (work.failure, set(sent.digests) if sent else set()) == (None, learned)
    assert sent is None or (sent.version, kept in (None, sent.salt)) == ("v1", True)
    assert sent is None or kept is not None or sent.salt != "s"


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        (("error", "error"), True),
        (("error", "info"), False),
        (("error", None), False),
        ((None, None), None),
    ],
)
def test_a_value_was_sent_where_every_host_says_so(texts: tuple[str | None, ...], known: bool | None) -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    work = made(cluster)
    for host, text in zip(cluster.nodes, texts, strict=True):
        sent = None if text is None else Sent("s", "v1").learn({"log_level": text})
        work._members[host].look = _work.Look(host, record=Record("c", host, sent=sent))
    assert work.already_sent("log_level", "error", "v1") is known
    assert work.already_sent("log_level", "error", "v2") is None
    assert work.already_sent("other", "error", "v1") is None


# --- check mode, secrets, and what people see --------------------------------------------------------------------


def test_check_mode_tells_the_same_nodes_and_changes_nothing() -> None:
    cluster = two()
    work = made(cluster, check_mode=True)
    play(work, cluster, demand_steps(["h"], health=True, writes=True))
    steps = work.restarts()
    again = made(cluster, check_mode=True)
    play(again, cluster, steps)
    assert again.restarted == ["a on h", "b on h"]
    assert cluster.records == {}
    assert set(cluster.events) == {"compare"}
    assert again.failure is None


def test_no_password_and_no_value_is_in_a_record() -> None:
    cluster = two()
    texts: list[str] = []
    cluster.on_write = lambda: texts.extend(cluster.records.values())
    work = whole(cluster)
    assert "canary" in work.secrets
    assert texts
    assert not any("canary" in text or '"error"' in text for text in texts)


def test_what_is_pending_on_hosts_outside_the_batch_is_told_as_well() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]})
    work = demanded(cluster, outside=["i"])
    assert work.still_pending() == ["a on h", "b on i"]
    assert whole(cluster, outside=["i"]).restarted == ["a on h"]


ASKED_FOR: dict[str, Any] = {
    "settings": None,
    "wanted": Wanted(everything=True),
    "by_itself": True,
    "notified": True,
}


@pytest.mark.parametrize(
    ("facts", "away", "check_mode", "is_said"),
    [
        (ASKED_FOR, ["h", "i"], False, True),
        (ASKED_FOR, ["h", "i"], True, False),
        # It is on record of the other host.
        (ASKED_FOR, ["i"], False, False),
        # A later run asks for it again.
        ({**ASKED_FOR, "notified": False}, ["h", "i"], False, False),
        # Another host of the cluster asks for it.
        ({**ASKED_FOR, "wanted": Wanted()}, ["h", "i"], False, False),
    ],
)
def test_a_restart_that_is_asked_for_and_not_on_record_is_said_to_be_lost(
    facts: dict[str, Any], away: list[str], check_mode: bool, is_said: bool
) -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]}, away=set(away))
    work = demanded(cluster, check_mode, **facts)
    if facts["wanted"] and len(away) == 2:
        assert work.failure is not None
    assert (work.failure or "").endswith(f". {LOST}") is is_said
    assert bool(cluster.records) is (len(away) == 1)


def test_a_restart_that_fails_after_it_was_asked_for_is_not_lost() -> None:
    cluster = two()
    cluster.comes_back = lambda node: None
    work = demanded(cluster, **ASKED_FOR)
    items = work.context.items(work.restarts(), "restart")
    again = made(cluster, **ASKED_FOR, restarts=items)
    play(again, cluster, work.restarts())
    assert again.failure is not None
    assert LOST not in again.failure


def test_what_cannot_be_looked_at_may_be_pending() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("b")]}, unable={"i"})
    work = demanded(cluster)
    assert work.failure is not None
    assert work.still_pending() == ["all Coreapps on i"]


def test_what_a_record_of_another_client_says_may_be_pending() -> None:
    cluster = two()
    cluster.pending("h", "a", client="https://other")
    work = demanded(cluster)
    assert "of another client" in (work.failure or "")
    assert work.still_pending() == ["a on h"]


def test_the_same_warning_is_given_once() -> None:
    cluster = two()
    cluster.records["h"] = "{"
    work = made(cluster)
    play(work, cluster, [Step("look", "h"), Step("look", "h")])
    assert work.warnings == [
        "the record of pending restarts cannot be read, so every restart is pending: h: it is not JSON"
    ]


@pytest.mark.parametrize("names_changed", [True, False])
def test_what_a_write_did_not_change_is_not_told(names_changed: bool) -> None:
    cluster = two()
    cluster.answer = {"changed": names_changed, "changed_settings": ["log_level"]}
    assert demanded(cluster).summary()["changed_settings"] == (["log_level"] if names_changed else [])


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (set(), {"settings": {"a": {"b": 1, "c": 2}, "e": {}}, "extra_settings": {"d": 3}, "state": "merged"}),
        ({"a.b"}, {"settings": {"a": {"c": 2}, "e": {}}, "extra_settings": {"d": 3}, "state": "merged"}),
        ({"a.b", "a.c"}, {"settings": {"e": {}}, "extra_settings": {"d": 3}, "state": "merged"}),
        ({"a", "e"}, {"settings": None, "extra_settings": {"d": 3}, "state": "merged"}),
        ({"a", "d", "e"}, None),
    ],
)
def test_settings_can_be_taken_out(names: set[str], left: dict[str, Any] | None) -> None:
    given = {"settings": {"a": {"b": 1, "c": 2}, "e": {}}, "extra_settings": {"d": 3}, "state": "merged"}
    assert without(given, names) == left


def test_values_are_compared_in_their_canonical_form() -> None:
    assert declared_values({"settings": {"log_level": "error", "heartbeat_interval": "5"}}, {"log_level"}) == {
        "log_level": "error"
    }


# --- campaigns ---------------------------------------------------------------------------------------------------

MESSAGES = "garbagecollector_enable.messages"


class Client(Cluster):
    """A cluster with the setting of a campaign, that may lose its run.

    dies_at: at which effect on the cluster, in order; dies_after: whether that has taken place.
    """

    def __init__(self, collects: bool = True, dies_after: bool = False) -> None:
        super().__init__({"h": [coreapp("a"), coreapp("b")], "i": [coreapp("d")]})
        self.stored = collects
        self.running = {"a": collects, "b": collects, "d": collects}
        self.version: str | None = "2.57.2"
        self.dies_at: int | None = None
        self._dies_after = dies_after
        self.comes_back = self._start

    @contextmanager
    def effect(self) -> Iterator[None]:
        dies = self.dies_at == 0
        self.dies_at = None if self.dies_at is None else self.dies_at - 1
        if dies and not self._dies_after:
            raise KeyboardInterrupt
        yield
        if dies:
            raise KeyboardInterrupt

    def _start(self, node: Node) -> Node:
        with self.effect():
            self.running[node.name] = self.stored
            return replace(node, incarnation=f"{node.incarnation}+", running=True)

    def store(self, member: Member, cluster: str) -> Store:
        assert cluster == "c"
        return MortalStore(self, member.host)

    def api(self, module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        if module == "wa_garbage_collection":
            self.events.append(f"collect {arguments['targets']}{' check' if check_mode else ''}")
            return {"changed": True, "nodes": [], "msg": "started", **self.provided}
        if module != "wa_application_settings":
            return super().api(module, arguments, check_mode=check_mode)
        before = {"garbagecollector_enable": {"messages": self.stored}}
        wanted = (arguments["settings"].get("garbagecollector_enable") or {}).get("messages")
        names = [MESSAGES] if wanted not in (None, self.stored) else []
        if names and not check_mode:
            with self.effect():
                self.events.append(f"write {wanted}")
                self.stored = bool(wanted) if not self.answer else self.stored
        told = {"changed": bool(names), "changed_settings": names, "restart_settings": names}
        return {**told, "unverified_settings": [], "client_version": self.version, "before": before, **self.answer}

    @property
    def campaigns(self) -> list[tuple[bool, tuple[str, ...]] | None]:
        found = [self.record(host).campaign for host in self.nodes]
        return [campaign and (campaign.before, campaign.names) for campaign in found]


class MortalStore(Store):
    def swap(self, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        assert isinstance(self._cluster, Client)
        with self._cluster.effect():
            return super().swap(old, new, volatile)


def campaign(client: Client, begins: bool, name: str = "spring", check_mode: bool = False, **facts: Any) -> Work:
    """The begin or the end of a campaign, as a whole."""
    wish = {"name": name, "begins": begins, "collect": False, "options": {}, **facts.pop("wish", {})}
    facts = {"settings": None, "wanted": Wanted(), "by_itself": True, "campaign": wish, **facts}
    work = made(client, check_mode, **facts)
    play(work, client, demand_steps(list(client.nodes), health=True, campaign=True))
    steps = work.restarts()
    if not steps:
        return work
    again = made(client, check_mode, **{**facts, "wanted": work.wanted})
    play(again, client, steps)
    return again


@pytest.mark.parametrize("collects", [True, False])
def test_a_campaign_is_remembered_before_it_is_written_and_forgotten_after_it_is_put_back(collects: bool) -> None:
    client = Client(collects)
    work = campaign(client, True)
    assert (work.failure, client.stored, set(client.running.values())) == (None, False, {False})
    assert client.campaigns == [(collects, ("spring",))] * 2
    first_write = next((at for at, event in enumerate(client.events) if event.startswith("write")), None)
    assert (first_write is None) is not collects
    if first_write is not None:
        # The lease and the memory, on each of both hosts.
        assert client.events[:first_write] == ["swap h", "swap i", "swap i", "swap h"]
    assert restarts(client) == (["a", "b", "d"] if collects else [])
    work = campaign(client, False)
    assert (work.failure, client.stored, set(client.running.values())) == (None, collects, {collects})
    assert client.records == {}


@pytest.mark.parametrize("dies_after", [False, True])
@pytest.mark.parametrize("begins", [True, False])
def test_a_campaign_that_dies_anywhere_is_there_when_it_is_repeated(
    begins: bool, dies_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_work, "is_gone", lambda _lease: True)
    for at in range(100):
        client = Client(dies_after=dies_after)
        if not begins:
            campaign(client, True)
        client.dies_at = at
        died = False
        try:
            campaign(client, begins)
        except KeyboardInterrupt:
            died = True
        client.dies_at = None
        # Whenever it is off, somebody remembers why, and what runs otherwise has its restart on record.
        assert client.stored or any(client.campaigns), at
        behind = {name for name, value in client.running.items() if value != client.stored}
        assert behind <= {entry.name for host in client.nodes for entry in client.record(host).nodes}, at
        work = campaign(client, begins)
        assert work.failure is None, at
        assert (client.stored, set(client.running.values())) == (not begins, {not begins}), at
        assert client.campaigns == [(True, ("spring",)) if begins else None] * 2, at
        assert not any(client.record(host).is_pending for host in client.nodes), at
        assert len(restarts(client)) <= (0 if begins else 3) + 4, at  # one may restart once more
        if not died:
            break
    assert 10 < at < 99


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_campaign_that_was_certainly_not_written_has_not_begun_or_ended(begins: bool, known: bool) -> None:
    client = Client()
    if not begins or known:
        campaign(client, True, "easter" if begins else "spring")
        client.stored = client.stored or begins
    before = client.campaigns
    client.answer = {"failed": True, "changed": False, "msg": "refused"}
    client.api = _failing(client)  # type: ignore[method-assign]
    work = campaign(client, begins)
    assert work.failure == "refused"
    assert client.campaigns == before
    assert not any(client.record(host).lease for host in client.nodes)


def _failing(client: Client) -> Callable[..., dict[str, Any]]:
    """Only what writes fails."""
    answer, api = client.answer, client.api

    def call(module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        client.answer = {} if check_mode else answer
        return api(module, arguments, check_mode=check_mode)

    return call


@pytest.mark.parametrize("begins", [True, False])
def test_a_campaign_of_which_nobody_knows_whether_it_was_written_stays_on_record(begins: bool) -> None:
    client = Client()
    if not begins:
        campaign(client, True)
    client.answer = {"failed": True, "changed": True, "msg": "no answer"}
    client.api = _failing(client)  # type: ignore[method-assign]
    assert campaign(client, begins).failure == "no answer"
    assert client.campaigns == [(True, ("spring",))] * 2


def test_a_campaign_in_check_mode_names_what_would_restart_and_writes_nothing() -> None:
    client = Client()
    work = campaign(client, True, check_mode=True)
    assert (work.failure, work.restarted) == (None, ["a on h", "b on h", "d on i"])
    assert (client.records, client.stored, restarts(client)) == ({}, True, [])
    assert any("campaign spring begins" in line for line in client.lines)


@pytest.mark.parametrize("how", ["unreadable", "unreadable in check mode", "away", "unusable", "volatile"])
def test_a_campaign_needs_the_records_of_all_hosts(how: str) -> None:
    client = Client(collects=how != "volatile")
    if how.startswith("unreadable"):
        client.records["i"] = "{"
    elif how == "away":
        client.away = {"i"}
    else:
        client.places["i"] = Place(
            volatile=how == "volatile", unusable="is no directory" if how == "unusable" else None
        )
    before = dict(client.records)
    work = campaign(client, True, check_mode="check" in how, outside=["i"])
    assert "what is remembered of campaigns is not known on every host" in str(work.failure)
    assert (client.records, client.stored) == (before, how != "volatile")


def test_a_host_that_has_lost_its_record_gets_the_campaign_back() -> None:
    client = Client()
    campaign(client, True)
    client.records.pop("h")
    work = campaign(client, True, "easter")
    assert work.failure is None
    assert client.campaigns == [(True, ("easter", "spring"))] * 2


def test_a_campaign_of_another_client_is_refused() -> None:
    cluster = Cluster({"h": [coreapp("a")]})
    cluster.keep(Record("c", "h", client="https://other", campaign=Campaign(MESSAGES, True, ("spring",))))
    before = dict(cluster.records)
    work = demanded(cluster)
    assert "/state/c@h.json holds a campaign of another client, https://other;" in str(work.failure)
    assert replace(cluster.record(), lease=None) == parse(before["h"], "c", "h")


@pytest.mark.parametrize("api", [None, "elsewhere"])
def test_a_change_leaves_a_campaign_alone_that_is_on_another_host_only(api: str | None) -> None:
    client = Client()
    campaign(client, True)
    client.records.pop("h")
    client.events.clear()
    settings = {"settings": {"garbagecollector_enable": {"messages": True}}}
    work = made(client, settings=settings, wanted=Wanted((MESSAGES,)), api=api)
    results = play(work, client, demand_steps(["h", "i"], health=True, writes=True))
    assert (work.failure, client.stored, work.restarts()) == (None, False, [])
    assert not [event for event in client.events if event.startswith("write")]
    warnings = [line for result in results for line in result.get("warnings", ())] + work.warnings
    assert [line.partition(".")[2].partition(":")[0] for line in warnings] == ["messages is left alone"]
    assert client.campaigns == [(True, ("spring",))] * 2
    # A reset has no say either.
    client.records.pop("h")
    work = made(client, settings={"state": "absent"}, wanted=Wanted((MESSAGES,)), api=api)
    play(work, client, demand_steps(["h", "i"], health=True, writes=True))
    assert "campaign spring is on record, and a reset would" in str(work.failure)
    assert client.stored is False


@pytest.mark.parametrize("may_restart", [True, False])
def test_messages_are_collected_once_after_the_last_end(may_restart: bool) -> None:
    client = Client()
    for name in ("spring", "easter"):
        campaign(client, True, name)
    wish = {"collect": True}
    campaign(client, False, "spring", wish=wish)
    assert "collect" not in str(client.events)
    work = campaign(client, False, "easter", wish=wish, may_restart=may_restart)
    assert (work.failure, bool(work.still_pending())) == (None, not may_restart)
    assert [event for event in client.events if event.startswith("collect")] == ["collect ['message']"]
    # Nothing of the cluster is touched after it.
    assert client.events[-1] == "collect ['message']"
    campaign(client, False, "easter", wish=wish)
    assert str(client.events).count("collect") == 1


@pytest.mark.parametrize("state", ["merged", "replaced"])
def test_a_campaign_s_setting_is_no_reason_to_restart_unless_it_may_have_to_be_put_back(state: str) -> None:
    client = Client()
    campaign(client, True)
    client.records.pop("h")
    settings = {"settings": {"log_level": "error", "garbagecollector_enable": {"messages": True}}, "state": state}
    work = made(client, settings=settings, wanted=Wanted(("log_level", MESSAGES)), api="elsewhere")
    play(work, client, demand_steps(["h", "i"], health=True))
    assert work.wanted.settings == (("log_level",) if state == "merged" else ("log_level", MESSAGES))


def test_a_campaign_is_asked_for_with_the_options_of_the_play_and_told() -> None:
    client = Client()
    calls = asked(client)
    wish = {"name": "spring", "begins": True, "collect": False, "options": {"client_version": "2.57"}}
    work = made(client, settings=None, wanted=Wanted(), campaign=wish)
    results = play(work, client, demand_steps(["h", "i"], health=True, campaign=True))
    off = {"client_version": "2.57", "settings": {"garbagecollector_enable": {"messages": False}}}
    assert [arguments for module, arguments in calls if module == "wa_application_settings"] == [
        {"client_version": "2.57", "settings": {}},
        off,
        off,
    ]
    said = f"campaign spring begins: {MESSAGES} was on, which is what the end of the last campaign puts back"
    assert said in client.lines
    assert {"msg": said} in results
    assert work.still_pending() == ["a on h", "b on h", "d on i"]


def test_a_campaign_s_client_that_gives_no_answer_ends_the_work() -> None:
    client = Client()
    client.answer = {"failed": True, "msg": "no answer"}
    work = campaign(client, True)
    assert (work.failure, client.stored, client.campaigns) == ("no answer", True, [None, None])


def test_check_mode_collects_nothing_and_says_what_would_be() -> None:
    client = Client(collects=False)
    campaign(client, True)
    wish = {"name": "spring", "begins": False, "collect": True, "options": {}}
    work = made(client, True, settings=None, wanted=Wanted(), campaign=wish)
    results = play(work, client, demand_steps(["h", "i"], health=True, campaign=True))
    assert client.events[-1] == "collect ['message'] check"
    assert client.lines[-1] == "collection of messages: started"
    assert results[-1] == {"changed": True, "nodes": []}


def test_a_collection_that_fails_is_told() -> None:
    client = Client(collects=False)
    campaign(client, True)
    client.provided = {"failed": True, "msg": "error 1014"}
    work = campaign(client, False, wish={"collect": True})
    assert (work.failure, client.records) == ("error 1014", {})


@pytest.mark.parametrize(
    ("on_api_host", "api", "asked_from", "doing"),
    [
        (False, None, None, [[["look", "h", ""], ["health", "", ""]]]),
        (True, None, "localhost", [[["look", "h", ""], ["health", "", ""]]]),
        (True, "box", "box", [[["look", "h", ""]], [["health", "", ""]]]),
    ],
)
def test_what_an_item_does_is_kept_apart_from_what_it_shows(
    monkeypatch: pytest.MonkeyPatch, on_api_host: bool, api: str | None, asked_from: str | None, doing: list[Any]
) -> None:
    kept: list[tuple[Any, ...]] = []
    monkeypatch.setattr(_context, "keep", lambda *arguments: kept.append(arguments))
    monkeypatch.setattr(Engine, "on_api_host", on_api_host)
    items = made(two(), api=api).context.items([Step("look", "h"), Step("health")], "demand")
    assert kept == [(doing, "doing", "id", "demand")]
    assert not any("do" in item for item in items)
    shown = {name: items[0].get(name) for name in ("context", "host", "phase", "delegate_to")}
    assert shown == {"context": "id", "host": "h", "phase": "demand", "delegate_to": asked_from}


# --- smaller parts -----------------------------------------------------------------------------------------------


def test_declared_values_are_of_the_names_that_are_asked_for() -> None:
    options = {"settings": {"log_level": "error", "heartbeat_interval": 7}, "extra_settings": {"new": {"x": [1]}}}
    assert _work.declared_values(options, {"log_level", "new.x"}) == {"log_level": "error", "new.x": [1]}
    assert _work.declared_values({}, {"log_level"}) == {}


def test_hosts_that_are_one_machine_have_each_node_restarted_once_and_nothing_left() -> None:
    cluster = Cluster({"h": [coreapp("a")], "i": [coreapp("a")]})

    def back(node: Node) -> Node:
        new = replace(node, incarnation=f"{node.incarnation}+")
        cluster.nodes["i"] = [new]
        return new

    cluster.comes_back = back
    work = whole(cluster)
    assert work.failure is None
    assert restarts(cluster) == ["a"]
    assert (cluster.record("h").nodes, cluster.record("i").nodes) == ((), ())


def test_a_node_that_is_needed_alone_is_waited_for_alone() -> None:
    cluster = Cluster({"h": [coreapp("a")]}, clustered=False)
    cluster.pending("h", "a")
    resumed(cluster)
    assert {arguments["expect_connected"] for arguments in cluster.waits} <= {1}
    assert restarts(cluster) == ["a"]


def test_the_health_asked_for_before_the_demand_counts_for_the_first_restart() -> None:
    cluster = two()
    work = made(cluster)
    play(work, cluster, demand_steps(["h"], health=True, writes=True))
    assert work._fresh is True
    assert work._is_known_healthy() is True
    assert work._is_known_healthy() is False, "an answer counts for the first restart only"
