# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of a cluster and of everybody who touches it, around the real C(Work).

The steps of a run are those of the collection: C(Work), its order from C(_steps), and what the action does between
them. Only what they touch is a model: records, the engine, the client. Each touch is one effect. A step is played from
its beginning with the answers that it got so far, up to the next effect, so that a run can be cut off, or overtaken by
another one, before and after each effect. What a step does between two effects depends on nothing else, and is
remembered.

Assumed, since no lease can give it: an effect that is under way (the PATCH, a stop, a start) is over before the lease
of who asked for it has run out. C(restart) renews the lease just before a stop.

A worker that outlives its run finishes its task and no other follows. That is a crash between two tasks, with the next
run beside it, so it is not modelled a second time.
"""

from __future__ import annotations

import json
import pickle
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

from ansible_collections.wabiz.onprem.plugins.module_utils import _health
from ansible_collections.wabiz.onprem.plugins.plugin_utils import _work
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Backend, Member, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._context import Context
from ansible_collections.wabiz.onprem.plugins.plugin_utils._execution import CLEANING, take_step
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Wanted
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    Lease,
    Node,
    Record,
    Unreadable,
    has_started_since,
    parse,
    render,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._steps import Step, demand_steps
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Place
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import Work

CLUSTER = "c"
SETTING = "callback_persist"
BACKEND = "explored"
HEALTH_TIMEOUT = 300.0
LEASE = 420.0
EXPIRED = LEASE + 1

UP, STARTING, STUCK, DOWN = "up", "starting", "stuck", "down"


# --- the world ---------------------------------------------------------------------------------------------------


class Coreapp(NamedTuple):
    """A Coreapp of the model.

    made: how often it was made anew. starts: its incarnation. loaded: the value it runs with. ours: we stopped it and
    it has not been up since. restarts: by us.
    """

    host: str
    name: str
    made: int = 0
    starts: int = 0
    state: str = UP
    loaded: int = 0
    ours: bool = False
    restarts: int = 0

    @property
    def id(self) -> str:
        return f"{self.name}-{self.made:012d}"


class Budget(NamedTuple):
    """How often things may happen that nobody asked for.

    crashes: of a run, between two effects. foreign: a node restarted, made anew or stopped by somebody else. stuck: a
    node does not get healthy after its start. expired: a lease runs out while its holder lives. unknown: the PATCH
    fails, and may have been carried out. away: a host that cannot be reached for a while.
    """

    crashes: int = 0
    foreign: int = 0
    stuck: int = 0
    expired: int = 0
    unknown: int = 0
    away: int = 0


class World(NamedTuple):
    """All that can be touched, and how far each run is (a number of its Machine's).

    leader: the connected node in high availability. patches: writings that changed the value. before: connected
    Coreapps at the first gate since something is pending. fine: nodes that were up when a wait for the return of one
    was in vain.
    """

    stored: int
    nodes: tuple[Coreapp, ...]
    records: tuple[str | None, ...]
    away: tuple[bool, ...]
    runs: tuple[int, ...]
    budget: Budget
    leader: str = ""
    patches: int = 0
    doubts: int = 0
    before: int | None = None
    fine: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One run. value: what it declares. everything: it restarts all. outside: hosts that are not in the play."""

    value: int
    everything: bool = False
    outside: tuple[str, ...] = ()
    delegated: bool = False
    gives_up: bool = False


@dataclass(frozen=True)
class Scenario:
    """What is explored.

    nodes: host to its Coreapps. deaths_seen: runs share a machine, so the death of one can be seen. away, down: hosts
    and nodes, at the start. one_by_one: a run begins when the one before is over.
    """

    name: str
    nodes: Mapping[str, Sequence[str]]
    runs: tuple[Planned, ...]
    budget: Budget
    ha: bool = False
    deaths_seen: bool = True
    away: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    one_by_one: bool = False

    @property
    def hosts(self) -> list[str]:
        return list(self.nodes)

    def start(self) -> World:
        nodes = tuple(
            Coreapp(host, name, state=DOWN if name in self.down else UP)
            for host, names in self.nodes.items()
            for name in names
        )
        return World(
            stored=0,
            nodes=nodes,
            records=tuple(None for _host in self.nodes),
            away=tuple(host in self.away for host in self.nodes),
            runs=tuple(0 for _run in self.runs),
            budget=self.budget,
            leader=nodes[0].name if self.ha else "",
        )


class Violation(Exception):
    """An invariant does not hold."""


# --- one run -----------------------------------------------------------------------------------------------------

Answer = Any
Request = tuple[Any, ...]


class Pause(BaseException):
    """The step has come to an effect that has no answer yet."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class At(NamedTuple):
    """How far a run is.

    phase: begin, demand, restart or end. turn: the host that begins, or the step. work: a number of the Machine's, for
    the state of C(Work) before the step. answers: what the step was told so far.
    """

    phase: str
    turn: int = 0
    context: tuple[Any, ...] = ()
    steps: tuple[Step, ...] = ()
    work: int = -1
    answers: tuple[Answer, ...] = ()
    outcome: str = ""


class _Host:
    is_here = False

    def __init__(self, port: _Port) -> None:
        self.port = port

    def run(self, command: str) -> str:
        raise AssertionError(command)

    def module(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        raise AssertionError((name, arguments))


class _Store:
    def __init__(self, port: _Port, host: str) -> None:
        self.name = f"record of {host}"
        self._port = port
        self._host = host

    def read(self) -> Place:
        return self._place(("read", self._host))

    def swap(self, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        return self._place(("swap", self._host, _stripped(old), _stripped(new)))

    def _place(self, request: Request) -> Place:
        text, self._port.holder_is_gone = self._port.effect(request)
        self._port.seen_text = text
        return Place(None if text is None else text + "\n")


def _stripped(text: str | None) -> str | None:
    return (text or "").strip() or None


class _Port:
    """What a step may touch; an effect without an answer ends the play of the step."""

    def __init__(self, planned: Planned, answers: Sequence[Answer]) -> None:
        self.host = _Host(self)
        self.now = 0.0
        self.holder_is_gone = False
        self.seen_text: str | None = None
        self.seen_nodes: list[tuple[Node, ...]] = []
        self.seen_host = ""
        self._planned = planned
        self._answers = list(answers)
        self.at = 0

    def effect(self, request: Request) -> Answer:
        if self.at == len(self._answers):
            raise Pause(request)
        answer = self._answers[self.at]
        self.at += 1
        if isinstance(answer, tuple) and answer and answer[0] == "problem":
            raise Problem(answer[1])
        return answer

    def store(self, member: Member, cluster: str) -> _Store:
        return _Store(self, member.host)

    def api(self, module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        if module == "wa_health_info":
            if not arguments.get("wait"):
                return _shown(self.effect(("health",)))
            names = tuple(arguments.get("expect_nodes", ()))
            nodes, missing = self.effect(("await", arguments["expect_connected"], names))
            return {**_shown(nodes), **({"failed": True, "msg": missing} if missing else {})}
        if check_mode:
            return _written(self.effect(("get", self._planned.value)))
        return _written(self.effect(("write", self._planned.value)))

    def watch(self) -> None:
        return None

    def say(self, line: str) -> None:
        pass

    def clock(self) -> float:
        return self.now

    def sleep(self, step: str) -> None:
        if step == "look":
            self.now += self.effect(("wait for the lease", self.seen_host, self.seen_text))
        else:
            same = len(self.seen_nodes) > 1 and self.seen_nodes[-1] == self.seen_nodes[-2]
            self.now += self.effect(("wait for nodes", self.seen_host, self.seen_nodes[-1], same))


class Explored(Backend):
    """The engine of the model."""

    @classmethod
    def refusal(cls, member: Member) -> str | None:
        return None

    @classmethod
    def look(cls, host: Any, member: Member) -> list[Node]:
        port: _Port = host.port
        nodes = port.effect(("look", member.host))
        port.seen_nodes.append(nodes)
        port.seen_host = member.host
        return list(nodes)

    @classmethod
    def restart(cls, host: Any, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        port: _Port = host.port
        port.effect(("stop", node.name, node.id))
        port.effect(("start", node.name, node.id))


def _shown(nodes: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    shown = [{"name": name, "role": "coreapp", "gateway_status": status} for name, status in nodes]
    return {"changed": False, "nodes": shown, "clustered": True, "shards": None}


def _written(answer: tuple[bool, bool]) -> dict[str, Any]:
    changed, failed = answer
    names = [SETTING] if changed else []
    result = {
        "changed": changed,
        "changed_settings": names,
        "restart_settings": names,
        "unverified_settings": [],
        "client_version": "v2.57.2",
    }
    if failed:
        result.update(failed=True, msg="no answer")
    return result


class Machine:
    """All states that one planned run can be in, and what it does in each."""

    def __init__(self, scenario: Scenario, number: int) -> None:
        self._scenario = scenario
        self._planned = scenario.runs[number]
        self._name = f"{scenario.name} {number}"
        self.states: list[At] = []
        self._known: dict[At, int] = {}
        self._requests: dict[int, Request | None] = {}
        self._told: dict[tuple[int, Answer], int] = {}
        self._works: list[bytes] = []
        self._known_works: dict[str, int] = {}
        self._contexts: dict[tuple[Any, ...], Context] = {}
        self.reach(At("begin"))

    def reach(self, state: At) -> int:
        """Plays the state up to its next effect; the number of the state where that is."""
        while True:
            number = self._known.get(state)
            if number is not None:
                return number
            followed = self._play(state)
            if isinstance(followed, At):
                state = followed
                continue
            self.states.append(state)
            number = self._known[state] = len(self.states) - 1
            self._requests[number] = followed
            return number

    def request(self, number: int) -> Request | None:
        """The effect that comes next; None where the run is over."""
        return self._requests[number]

    def describe(self, number: int) -> str:
        state, request = self.states[number], self._requests[number] or ()
        step = f" {state.steps[state.turn].name}" if state.steps else ""
        said = [_short(part) if isinstance(part, str) and part.startswith("{") else str(part) for part in request]
        return f"{state.phase}{step}: {' '.join(said)[:240]}"

    def tell(self, number: int, answer: Answer) -> int:
        known = self._told.get((number, answer))
        if known is None:
            state = self.states[number]
            known = self._told[number, answer] = self.reach(state._replace(answers=(*state.answers, answer)))
        return known

    def crashed(self) -> int:
        return self.reach(At("end", outcome="crashed"))

    def token(self, number: int) -> str:
        """Whose lease the run holds or takes in this state."""
        return f"{self._name} {self.states[number].phase}"

    def holds(self, number: int, lease: Lease) -> bool:
        return lease.token == self.token(number)

    # --- what it does ----------------------------------------------------------------------------------------

    def _play(self, state: At) -> At | Request | None:
        if state.phase == "end":
            return None
        return self._begin(state) if state.phase == "begin" else self._step(state)

    def _begin(self, state: At) -> At | Request:
        """What C(wa_settings_begin) does on one host after the other, until one has something to do."""
        if state.turn == len(self._inside):
            return At("end", outcome="ok")
        host = self._inside[state.turn]
        if not state.answers:
            return ("read", host)
        read = state.answers[0]
        if read[0] == "problem":
            return At("end", outcome="failed")
        record = _parsed(read[0], host)
        differs, health = False, None
        if not self._planned.delegated:
            if len(state.answers) == 1:
                return ("compare", self._planned.value)
            differs, health = state.answers[1]
        resumes = record is None or record.is_pending
        if not (differs or resumes or self._planned.everything or self._planned.delegated):
            return At("begin", state.turn + 1)
        writes = differs or self._planned.delegated
        context = (host, differs, writes, health if differs else None)
        steps = demand_steps(
            self._scenario.hosts,
            health=not differs,
            writes=writes,
            ask=self._planned.delegated,
            peek=host if self._planned.delegated or record is None else None,
        )
        return self._phase("demand", context, tuple(steps))

    @property
    def _inside(self) -> list[str]:
        return [host for host in self._scenario.hosts if host not in self._planned.outside]

    def _phase(self, phase: str, context: tuple[Any, ...], steps: tuple[Step, ...]) -> At:
        work = Work(self._context(context), False)
        work._lease = Lease(
            token=f"{self._name} {phase}",
            run=self._name,
            controller="controller",
            machine="machine",
            process=f"1/{self._name}",
            since="now",
            seconds=LEASE,
        )
        return At(phase, 0, context, steps, self._keep(work))

    def _context(self, key: tuple[Any, ...]) -> Context:
        if key not in self._contexts:
            host, differs, writes, health = key
            self._contexts[key] = Context(
                id="context",
                host=host,
                cluster=CLUSTER,
                members=tuple(
                    Member(name, name in self._inside, BACKEND, (), "", (), "/") for name in self._scenario.hosts
                ),
                environment={},
                connection={"api_url": "https://client:9090"},
                settings={"settings": {SETTING: self._planned.value}} if writes else None,
                wanted=Wanted((SETTING,) if differs else (), self._planned.everything),
                unverified=(),
                changes=(),
                client_version=None,
                values={
                    "restart_stop_timeout": 60,
                    "health_timeout": HEALTH_TIMEOUT,
                    "lock_timeout": 100.0 if self._planned.gives_up else 1e9,
                    "volatile_state": False,
                    "expect_connected": None,
                    "partial_cluster": False,
                    "restart_masters": "auto",
                },
                api="api" if self._planned.delegated else None,
                may_restart=True,
                by_itself=False,
                health=None if health is None else _shown(health),
            )
        return self._contexts[key]

    def _keep(self, work: Work) -> int:
        fields = {name: value for name, value in vars(work).items() if name not in _LEFT_OUT}
        if fields["failure"] is not None:
            fields["failure"] = "failed"
        key = repr(fields)
        if key not in self._known_works:
            self._works.append(pickle.dumps(fields))
            self._known_works[key] = len(self._works) - 1
        return self._known_works[key]

    def _recall(self, state: At) -> Work:
        work = Work.__new__(Work)
        work.context = self._context(state.context)
        work.warnings, work._warned = [], set()
        vars(work).update(pickle.loads(self._works[state.work]))  # noqa: S301
        return work

    def _step(self, state: At) -> At | Request:
        work = self._recall(state)
        if state.turn == len(state.steps):
            return self._phase_over(state, work)
        step = state.steps[state.turn]
        if work.failure is not None and step.name not in CLEANING:
            return state._replace(turn=state.turn + 1, answers=())
        port = _Port(self._planned, state.answers)
        port.seen_host = step.host or ""
        work._clock = port.clock
        work._sleep = lambda _seconds: port.sleep(step.name)
        shown: Any = port
        with _Patched(port, self._name):
            try:
                arguments = (step.name, step.about or step.host or "", step.node or "")
                take_step(work, shown, *arguments)
            except Pause as pause:
                return pause.request
        assert port.at == len(state.answers)
        return state._replace(turn=state.turn + 1, work=self._keep(work), answers=())

    def _phase_over(self, state: At, work: Work) -> At:
        if work.failure is not None:
            return At("end", outcome="failed")
        steps = work.restarts() if state.phase == "demand" else []
        if not steps:
            return At("end", outcome="ok")
        return self._phase("restart", state.context, tuple(steps))


_LEFT_OUT = frozenset({"context", "_clock", "_sleep", "warnings", "_warned"})


class _Patched:
    """What C(Work) would ask this machine for."""

    def __init__(self, port: _Port, run: str) -> None:
        self._port = port
        self._run = run

    def __enter__(self) -> None:
        module: Any = _work
        BACKENDS[BACKEND] = Explored
        self._kept = {name: getattr(module, name) for name in ("is_gone", "now", "RUN", "parse", "render")}
        module.parse, module.render = _parse, _render
        module.is_gone = lambda _lease: self._port.holder_is_gone
        module.now = lambda: "now"
        module.RUN = self._run

    def __exit__(self, *_error: object) -> None:
        for name, value in self._kept.items():
            setattr(_work, name, value)
        del BACKENDS[BACKEND]


def _short(text: str) -> str:
    """What matters of a record, for a trace."""
    found = json.loads(text)
    nodes = {entry["name"]: (entry["generation"], entry["incarnation"]) for entry in found["nodes"]}
    returning, lease = found["returning"] or {}, found["lease"] or {}
    return (
        f"[{found['noted']}/{found['generation']} {nodes} returning {returning.get('name')} "
        f"of {found['connected_before']} elsewhere {found['elsewhere']} lease {lease.get('token')}]"
    )


_parse = lru_cache(maxsize=None)(parse)
_render = lru_cache(maxsize=None)(render)


@cache
def _parsed(text: str | None, host: str) -> Record | None:
    """A record; None where it cannot be read."""
    if text is None:
        return Record(CLUSTER, host)
    try:
        return parse(text, CLUSTER, host)
    except Unreadable:
        return None


# --- what happens to the world -----------------------------------------------------------------------------------

Move = tuple[str, World]


@dataclass
class Model:
    """The scenario's moves, and what must hold."""

    scenario: Scenario
    machines: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machines = [Machine(self.scenario, number) for number in range(len(self.scenario.runs))]
        self._hosts = self.scenario.hosts

    # --- moves -----------------------------------------------------------------------------------------------

    def moves(self, world: World) -> Iterator[Move]:
        for number, machine in enumerate(self.machines):
            at = world.runs[number]
            request = machine.request(at)
            if request is None:
                continue
            if self.scenario.one_by_one and not self.is_quiet(world, number):
                break
            for note, answer, after in self._effects(world, number, request):
                label = f"run {number}: {machine.describe(at)}{note}"
                yield label, self._settled(_with_run(after, number, machine.tell(at, answer)))
            if world.budget.crashes and at:
                crashed = world.budget._replace(crashes=world.budget.crashes - 1)
                yield (
                    f"run {number} dies before {request[0]}",
                    _with_run(world._replace(budget=crashed, doubts=world.doubts + 1), number, machine.crashed()),
                )
        yield from self._others(world)

    def _settled(self, world: World) -> World:
        """The world with what is known without looking: who leads, and whether something is still pending."""
        if self.scenario.ha:
            up = [node.name for node in world.nodes if node.state == UP]
            if world.leader not in up:
                world = world._replace(leader=up[0] if up else "")
        if world.before is not None and not any(self._is_pending(world, host) for host in range(len(self._hosts))):
            world = world._replace(before=None)
        return world

    def _is_pending(self, world: World, at: int) -> bool:
        record = _parsed(world.records[at], self._hosts[at])
        return record is None or record.is_pending

    def _others(self, world: World) -> Iterator[Move]:
        """What nobody asked for."""
        budget = world.budget
        for at, node in enumerate(world.nodes):
            if node.state == STARTING:
                yield f"{node.name} gets healthy", self._settled(_with_node(world, at, _up(node)))
            elif node.state == STUCK:
                yield f"{node.name} gets healthy after all", self._settled(_with_node(world, at, _up(node)))
            if not budget.foreign:
                continue
            spent = world._replace(budget=budget._replace(foreign=budget.foreign - 1))
            anew = self._started(world, node)
            yield f"somebody restarts {node.name}", self._settled(_with_node(spent, at, anew))
            recreated = anew._replace(made=node.made + 1)
            yield f"somebody makes {node.name} anew", self._settled(_with_node(spent, at, recreated))
            if node.state != DOWN:
                yield f"somebody stops {node.name}", self._settled(_with_node(spent, at, node._replace(state=DOWN)))
        for at, away in enumerate(world.away):
            if away:
                yield f"{self._hosts[at]} can be reached again", world._replace(away=_put(world.away, at, False))
            elif budget.away:
                spent = world._replace(budget=budget._replace(away=budget.away - 1))
                yield f"{self._hosts[at]} cannot be reached", spent._replace(away=_put(world.away, at, True))

    def _started(self, world: World, node: Coreapp) -> Coreapp:
        started = node._replace(starts=node.starts + 1, loaded=world.stored, state=STARTING)
        # A stand-by's health says nothing of its start, so that is no state of its own.
        return _up(started) if self.scenario.ha else started

    def _effects(self, world: World, number: int, request: Request) -> Iterator[tuple[str, Answer, World]]:
        """What an effect may do: a note for the trace, the answer, and the world afterwards."""
        kind = request[0]
        if kind in ("read", "swap", "look") and world.away[self._hosts.index(request[1])]:
            yield " (unreachable)", ("problem", "unreachable"), world
            return
        yield from getattr(self, f"_{kind.replace(' ', '_')}")(world, number, *request[1:])

    def _place(self, world: World, host: str) -> tuple[str | None, bool]:
        text = world.records[self._hosts.index(host)]
        record = _parsed(text, host)
        lease = record.lease if record is not None else None
        gone = lease is not None and self.scenario.deaths_seen and not self._lives(world, lease)
        return text, gone

    def _lives(self, world: World, lease: Lease) -> bool:
        return any(machine.holds(at, lease) for machine, at in zip(self.machines, world.runs, strict=True))

    def _read(self, world: World, _number: int, host: str) -> Iterator[tuple[str, Answer, World]]:
        yield "", self._place(world, host), world

    def _swap(
        self, world: World, _number: int, host: str, old: str | None, new: str | None
    ) -> Iterator[tuple[str, Answer, World]]:
        at = self._hosts.index(host)
        if world.records[at] == old:
            world = world._replace(records=_put(world.records, at, new))
            yield " (done)", self._place(world, host), world
        else:
            yield " (refused)", self._place(world, host), world

    def _look(self, world: World, _number: int, host: str) -> Iterator[tuple[str, Answer, World]]:
        yield "", self._seen(world, host), world

    def _seen(self, world: World, host: str) -> tuple[Node, ...]:
        return tuple(
            Node(
                name=node.name,
                id=node.id,
                running=node.state != DOWN,
                steady=not (self.scenario.ha and node.state == STUCK),
                incarnation=f"start {node.starts}",
                hostname=node.name,
            )
            for node in world.nodes
            if node.host == host
        )

    def _health_nodes(self, world: World) -> tuple[tuple[str, str], ...]:
        states = {STARTING: "connecting", STUCK: "disconnected", DOWN: "disconnected"}
        return tuple(
            (
                f"{node.name}:{node.id[:16]}",
                states.get(node.state) or ("connected" if world.leader in ("", node.name) else "disconnected"),
            )
            for node in world.nodes
        )

    def _health(self, world: World, _number: int) -> Iterator[tuple[str, Answer, World]]:
        yield "", self._health_nodes(world), world

    def _compare(self, world: World, _number: int, value: int) -> Iterator[tuple[str, Answer, World]]:
        differs = world.stored != value
        yield f" (differs: {differs})", (differs, self._health_nodes(world) if differs else None), world

    def _get(self, world: World, _number: int, value: int) -> Iterator[tuple[str, Answer, World]]:
        yield "", (world.stored != value, False), world

    def _write(self, world: World, _number: int, value: int) -> Iterator[tuple[str, Answer, World]]:
        if world.stored == value:
            yield " (the same)", (False, False), world
            return
        written = world._replace(stored=value, patches=world.patches + 1)
        yield " (written)", (True, False), written
        if world.budget.unknown:
            spent = world.budget._replace(unknown=world.budget.unknown - 1)
            doubts = world.doubts + 1
            yield " (refused)", (False, True), world._replace(budget=spent)
            yield " (written, without an answer)", (True, True), written._replace(budget=spent, doubts=doubts)
            yield " (lost, without an answer)", (True, True), world._replace(budget=spent, doubts=doubts)

    def _await(
        self, world: World, number: int, expected: int, names: tuple[str, ...]
    ) -> Iterator[tuple[str, Answer, World]]:
        nodes = self._health_nodes(world)
        health = _health.Health(tuple(_health.Node(name, "coreapp", state) for name, state in nodes), clustered=True)
        missing = _health.still_missing(health, expected, names)
        if missing is None:
            yield " (healthy)", (nodes, None), self._gated(world, number)
        elif not self._something_comes(world):
            fine = (
                tuple(node.name for node in world.nodes if node.state == UP)
                if self._step(world, number) == "regain"
                else ()
            )
            yield " (in vain)", (nodes, missing), world._replace(fine=fine)

    def _step(self, world: World, number: int) -> str:
        state = self.machines[number].states[world.runs[number]]
        return state.steps[state.turn].name

    def _gated(self, world: World, number: int) -> World:
        """A look at the health that allows a stop must have seen as many connected as at the first one."""
        if self._step(world, number) != "gate":
            return world
        up = sum(node.state == UP for node in world.nodes)
        connected = min(up, 1) if self.scenario.ha else up
        if world.before is not None and connected < world.before:
            raise Violation(f"a node may be stopped with {connected} of {world.before} connected")
        return world._replace(before=connected if world.before is None else world.before)

    def _something_comes(self, world: World) -> bool:
        requests = (machine.request(at) for machine, at in zip(self.machines, world.runs, strict=True))
        return any(node.state == STARTING for node in world.nodes) or any(
            request is not None and request[0] == "start" for request in requests
        )

    def _find(self, world: World, name: str, node_id: str) -> int | None:
        # An engine restarts by id; a node that was made anew is another one.
        return next((at for at, node in enumerate(world.nodes) if (node.name, node.id) == (name, node_id)), None)

    def _stop(self, world: World, number: int, name: str, node_id: str) -> Iterator[tuple[str, Answer, World]]:
        at = self._find(world, name, node_id)
        if at is None:
            yield " (gone)", ("problem", "no such container"), world
            return
        down = [node.name for node in world.nodes if node.ours and node.name != name]
        if down:
            raise Violation(f"{name} is stopped while {', '.join(down)}, stopped by us, is not back")
        node = world.nodes[at]
        if name in world.fine and self._step(world, number) == "recover":
            raise Violation(f"{name} is restarted again, though it was back")
        # What is stopped already is only started.
        stopped = node._replace(state=DOWN, ours=True, restarts=node.restarts + (node.state != DOWN))
        yield "", "stopped", self._settled(_with_node(world, at, stopped))

    def _start(self, world: World, _number: int, name: str, node_id: str) -> Iterator[tuple[str, Answer, World]]:
        at = self._find(world, name, node_id)
        if at is None or world.nodes[at].state != DOWN:
            yield " (nothing to do)", "started", world
            return
        node = world.nodes[at]
        yield "", "started", self._settled(_with_node(world, at, self._started(world, node)))
        if world.budget.stuck:
            spent = world._replace(budget=world.budget._replace(stuck=world.budget.stuck - 1))
            stuck = node._replace(starts=node.starts + 1, loaded=world.stored, state=STUCK)
            yield " (stuck)", "started", self._settled(_with_node(spent, at, stuck))

    def _wait_for_the_lease(
        self, world: World, number: int, host: str, seen: str | None
    ) -> Iterator[tuple[str, Answer, World]]:
        text, gone = self._place(world, host)
        if text != seen or gone:
            yield " (wakes up)", 1.0, world
            return
        record = _parsed(text, host)
        assert record is not None and record.lease is not None
        holder = next((n for n, m in enumerate(self.machines) if m.holds(world.runs[n], record.lease)), None)
        if holder is None:
            yield " (of a dead run, runs out)", EXPIRED, world
            return
        if self.scenario.runs[number].gives_up:
            yield " (gives up)", 101.0, world
        under_way = self.machines[holder].request(world.runs[holder])
        if world.budget.expired and under_way is not None and under_way[0] not in ("write", "stop", "start"):
            spent = world.budget._replace(expired=world.budget.expired - 1)
            yield " (runs out)", EXPIRED, world._replace(budget=spent, doubts=world.doubts + 1)

    def _wait_for_nodes(
        self, world: World, _number: int, host: str, seen: tuple[Node, ...], same: bool
    ) -> Iterator[tuple[str, Answer, World]]:
        if self._seen(world, host) != seen or not same:
            yield "", 3.0, world
        elif not self._something_comes(world):
            yield " (in vain)", 2 * HEALTH_TIMEOUT, world

    # --- what must hold --------------------------------------------------------------------------------------

    def is_quiet(self, world: World, first: int | None = None) -> bool:
        """Whether all runs are over, or the first so many."""
        return all(
            machine.request(at) is None for machine, at in list(zip(self.machines, world.runs, strict=True))[:first]
        )

    def check(self, world: World) -> None:
        """The invariants of a state. Raises Violation."""
        for node in world.nodes:
            allowed = world.patches + world.doubts + sum(run.everything for run in self.scenario.runs)
            if node.restarts > allowed:
                raise Violation(f"{node.name} was restarted {node.restarts} times by us, for {allowed} reasons")
        if self.is_quiet(world):
            for node in world.nodes:
                if node.state != DOWN and node.loaded != world.stored and not self._is_recorded(world, node):
                    raise Violation(
                        f"{node.name} runs with {node.loaded} instead of {world.stored}, and no record says so"
                    )

    def _is_recorded(self, world: World, node: Coreapp) -> bool:
        """Whether the next run would restart it."""
        records = [_parsed(text, host) for text, host in zip(world.records, self._hosts, strict=True)]
        if any(record is not None and node.host in record.elsewhere for record in records):
            return True
        record = records[self._hosts.index(node.host)]
        if record is None or (record.is_pending and record.noted < record.generation):
            return True
        seen = next(seen for seen in self._seen(world, node.host) if seen.name == node.name)
        entry = record.find(seen)
        return entry is not None and not has_started_since(entry, seen)


def _with_run(world: World, number: int, at: int) -> World:
    return world._replace(runs=_put(world.runs, number, at))


def _with_node(world: World, at: int, node: Coreapp) -> World:
    return world._replace(nodes=_put(world.nodes, at, node))


def _up(node: Coreapp) -> Coreapp:
    return node._replace(state=UP, ours=False)


def _put(values: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    return (*values[:at], value, *values[at + 1 :])


# --- the exploration ---------------------------------------------------------------------------------------------


@dataclass
class Exploration:
    """What was found. violation: with the shortest trace to it."""

    states: int = 0
    ends: int = 0
    moves: int = 0
    complete: bool = True
    violation: str | None = None
    trace: list[str] = field(default_factory=list)


def explore(scenario: Scenario, limit: int, depth_first: bool = False) -> Exploration:
    """Every state that can be reached, up to so many: breadth first for short traces, or depth first for ends."""
    model = Model(scenario)
    found = Exploration()
    start = scenario.start()
    came: dict[World, tuple[World, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        world = waiting.pop() if depth_first else waiting.popleft()
        last: list[str] = []
        try:
            model.check(world)
            if model.is_quiet(world):
                found.ends += 1
                last = ["then a run that nothing disturbs"]
                afterwards(scenario, world)
                last = []
            for label, after in model.moves(world):
                found.moves += 1
                if after not in came:
                    came[after] = (world, label)
                    waiting.append(after)
        except Violation as problem:
            found.violation, found.trace = str(problem), [*_trace(came, world), *last]
            break
        if len(came) > limit:
            found.complete = False
            break
    found.states = len(came)
    return found


def _trace(came: Mapping[World, tuple[World, str] | None], world: World) -> list[str]:
    lines: list[str] = []
    at = came[world]
    while at is not None:
        lines.insert(0, at[1])
        at = came[at[0]]
    return lines


_CALM: dict[tuple[Any, ...], Model] = {}
_CALMED: set[tuple[tuple[Any, ...], World]] = set()


def afterwards(scenario: Scenario, world: World) -> None:
    """One more run, in peace and with nothing changed, has to leave every node with the stored value and no record.

    Raises Violation.
    """
    key = (tuple((host, tuple(names)) for host, names in scenario.nodes.items()), scenario.ha, world.stored)
    if key not in _CALM:
        calm = replace(scenario, name="calm", runs=(Planned(world.stored),), deaths_seen=True, budget=Budget())
        _CALM[key] = Model(calm)
    model = _CALM[key]
    world = World(
        stored=world.stored,
        # Whoever looks after the cluster starts what is down and repairs what does not come up.
        nodes=tuple(
            _up(node if node.state != DOWN else node._replace(starts=node.starts + 1, loaded=world.stored))._replace(
                restarts=0
            )
            for node in world.nodes
        ),
        records=world.records,
        away=tuple(False for _host in world.away),
        runs=(0,),
        budget=Budget(),
        leader=world.leader,
    )
    if (key, world) in _CALMED:
        return
    _CALMED.add((key, world))
    owed = {node.name for node in world.nodes if node.loaded != world.stored}
    recorded = any(model._is_pending(world, at) for at in range(len(world.records)))
    world = model._settled(world)
    for _move in range(1000):
        if model.is_quiet(world):
            break
        choices = list(model.moves(world))
        if not choices:
            raise Violation("the run is stuck")
        _label, world = choices[0]
    at = world.runs[0]
    outcome = model.machines[0].states[at].outcome
    if outcome != "ok":
        raise Violation(f"the run ends as {outcome}")
    stale = [node.name for node in world.nodes if node.loaded != world.stored]
    if stale:
        raise Violation(f"{', '.join(stale)} still runs with an older value; owed {sorted(owed)}")
    left = [text for at, text in enumerate(world.records) if model._is_pending(world, at)]
    if left:
        raise Violation(f"something is still pending: {[json.loads(text or '') for text in left]}")
    if not recorded and any(node.restarts for node in world.nodes):
        raise Violation("a converged cluster was restarted")
