# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed at random moments: whatever was going on, nothing is forgotten and never are two nodes down.

On containers at least 100 runs are killed, each of one client. On emulated clients a round kills one run of 10 clients,
each at another moment of its work. WABIZ_KILLS says how many rounds there are; if it is above 100, it is the number of
kills on containers, too. WABIZ_KILL_SEED begins the same moments again. `make kills` does many.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.by_hand import ByHand, by_hand
from support.commands import AnsibleCommands, CommandRun, StartedCommand
from support.deployments import APART, SETTINGS, Deployment, NewDeployment, apply, start_apply
from support.engines import Engine
from support.plays import changed, most_down, on_record, restart_slowly, stopped, words

ROUNDS = int(os.environ.get("WABIZ_KILLS", "2"))
KILLS_ON_CONTAINERS = max(100, ROUNDS)
# Runs that are killed before one may end.
IN_A_ROW = 5
SEED = int(os.environ.get("WABIZ_KILL_SEED", str(random.SystemRandom().randrange(10**6))))
HOSTS = {"a": ["wacore1", "wacore2"], "b": ["wacore3"]}
HOW = ("main", "group")
LEVELS = ["warning", "error", "fatal", "info"]
DOWN_SECONDS = 0.4
# A run that finds a node stopped waits half of this for whoever has stopped it: first single clients, then clusters.
PATIENCE = {"wa_settings_health_timeout": 60}
# A container that has only just started may not stop until it is killed, and a run that was killed may have stopped it.
FAST_STOP = {"wa_settings_restart_stop_timeout": 10}
CLUSTERS = 4
SINGLES = 6
SINGLES_IN_CONTAINERS = 4


@pytest.fixture
def fleet(new_cluster: NewDeployment, new_single: NewDeployment, tmp_path: Path) -> list[Deployment]:
    """Clusters whose nodes take their time to restart, and single clients: a kill hits each in another moment."""
    everyone: list[Deployment] = []
    for number in range(CLUSTERS):
        cluster = new_cluster(f"k{number}", HOSTS, **(APART if number % 2 else {}))
        cluster.client.control.switch(shards=3)
        restart_slowly(cluster, DOWN_SECONDS)
        everyone.append(cluster)
    return everyone + [new_single(f"s{number}") for number in range(SINGLES)]


def _kill(running: StartedCommand, how: str) -> None:
    """Kill the process that a person sees, or the group that a terminal or a supervisor would kill."""
    if how == "main":
        running.process.kill()
    else:
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()


def _close(running: StartedCommand) -> None:
    for pipe in (running.process.stdout, running.process.stderr):
        if pipe is not None:
            pipe.close()


def _silent(deployment: Deployment, level: str) -> list[str]:
    """Nodes that run with another value than the stored one, and are on no record."""
    if deployment.client.control.effective()["log_level"] != level:
        return []
    recorded = on_record(deployment)
    nodes = [n for n in deployment.client.control.nodes().values() if n["kind"] == "coreapp"]
    behind = [n["hostname"] for n in nodes if not n["reachable"] or n["running"]["log_level"] != level]
    return [node for node in behind if node not in recorded]


def _problems(deployment: Deployment, level: str, kills: int = 1) -> list[str]:
    """What is wrong with a client after runs that were killed, and a whole one."""
    starts = Counter(node for node in deployment.starts() if node.startswith("wacore"))
    nodes = [node for names in deployment.hosts.values() for node in names]
    stored = deployment.client.control.effective()["log_level"]
    wrong = {
        f"stored {stored}, running {deployment.running('log_level')}, wanted {level}": deployment.running("log_level")
        != {level},
        f"starts {dict(starts)}": set(starts) != set(nodes) or starts.total() > len(nodes) + kills,
        f"{most_down(deployment)} down at once": most_down(deployment) > 1,
        f"writes {deployment.writes()}": deployment.writes() != [f"PATCH {SETTINGS}"],
    }
    return [f"{deployment.name}: {problem}" for problem, found in wrong.items() if found]


def _seconds_of_a_whole_run(everyone: list[Deployment], place: Path) -> float:
    began = time.monotonic()
    run = apply(AnsibleCommands(place / "whole"), everyone, {"log_level": LEVELS[-2]})
    assert run.rc == 0, run.output
    return time.monotonic() - began


def _is_killed(running: StartedCommand, how: str, moment: float) -> bool:
    """Kill a run after so many seconds, unless it is at its end by then."""
    try:
        running.process.wait(moment)
    except subprocess.TimeoutExpired:
        _kill(running, how)
    return running.process.returncode == -signal.SIGKILL


def _forgotten(everyone: list[Deployment], level: str) -> list[str]:
    silent = {deployment.name: _silent(deployment, level) for deployment in everyone}
    return [f"{name}: forgotten: {nodes}" for name, nodes in silent.items() if nodes]


def _problems_in_the_end(
    everyone: list[Deployment], place: Path, level: str, kills: int, last: CommandRun
) -> list[str]:
    """What is wrong after so many runs that were killed and the last one, and one more that finds nothing to do."""
    problems = [f"the run after it failed:\n{last.output}"] if last.rc != 0 else []
    problems += [problem for deployment in everyone for problem in _problems(deployment, level, kills)]
    before = [deployment.starts() for deployment in everyone]
    more = apply(AnsibleCommands(place / "n"), everyone, {"log_level": level})
    if (more.rc, changed(more)) != (0, 0) or [deployment.starts() for deployment in everyone] != before:
        problems.append(f"the run after that changed something:\n{more.output}")
    return problems


def _problems_of_kills(
    everyone: list[Deployment], place: Path, kills: int, in_a_row: int, killed: list[str]
) -> list[str]:
    """Kill runs until `killed` has so many, `in_a_row` before one may end, then with new settings; what was wrong."""
    moments = random.Random(f"{SEED} {everyone[0].name}")  # noqa: S311 - not a secret
    whole = _seconds_of_a_whole_run(everyone, place)
    problems = []
    for demand in itertools.count():
        if len(killed) >= kills:
            break
        level, place_of_demand = LEVELS[demand % len(LEVELS)], place / str(demand)
        for deployment in everyone:
            deployment.forget()
        found, history = list[str](), list[str]()
        last: CommandRun | None = None
        with ExitStack() as stack:
            while last is None:
                # What comes before that is the start of Ansible.
                how, moment = HOW[(demand + len(history)) % len(HOW)], moments.uniform(0.25, 1) * whole
                commands, began = AnsibleCommands(place_of_demand / str(len(history))), time.monotonic()
                running = start_apply(commands, everyone, {"log_level": level}, variables=PATIENCE)
                # Not earlier: what a killed run has left at work may want to say something.
                stack.callback(_close, running)
                if len(history) < in_a_row and _is_killed(running, how, moment):
                    history.append(f"{how} after {moment:.2f} s")
                    found += _forgotten(everyone, level)
                else:
                    last = running.finish()
                    whole = whole if history else time.monotonic() - began
            if "run with --tags restart" in words(last):
                # The only Coreapp of a client lies stopped, so its settings cannot be read: what people are told to do.
                again = AnsibleCommands(place_of_demand / "again")
                apply(again, everyone, {"log_level": level}, "--tags", "restart", variables=PATIENCE)
                last = apply(again, everyone, {"log_level": level}, variables=PATIENCE)
            found += _problems_in_the_end(everyone, place_of_demand, level, len(history), last)
        killed += history
        label = f"seed {SEED}, settings {demand}, killed: {', '.join(history) or 'never'}, of {whole:.2f} s"
        problems += [f"{label}: {problem}" for problem in found]
    return problems


def test_nothing_is_forgotten_whenever_a_run_is_killed(
    fleet: list[Deployment], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Ansible keeps a socket in its temporary directory, and a socket's path may not be long.
    problems = _problems_of_kills(fleet, tmp_path_factory.mktemp("k"), ROUNDS, in_a_row=1, killed=[])
    assert not problems, "\n".join(problems)


@pytest.fixture
def in_containers(engine: Engine, tmp_path: Path) -> Iterator[list[ByHand]]:
    """A cluster and single clients in containers."""
    with ExitStack() as stack:
        trio = by_hand(engine, tmp_path, "trio", {"trio": ["wacore1", "wacore2", "wacore3"]}, shards=3)
        solos = [
            by_hand(engine, tmp_path, name, {name: ["wacore"]})
            for name in (f"solo{number}" for number in range(SINGLES_IN_CONTAINERS))
        ]
        yield [stack.enter_context(client) for client in (trio, *solos)]


@pytest.mark.containers
def test_nothing_is_forgotten_on_containers(
    in_containers: list[ByHand], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A hundred runs, each of one client; at any time several of them run on one engine."""
    for deployment in in_containers:
        deployment.client.control.switch(gone_nodes="disconnected")
        deployment.extra.update(FAST_STOP)
    killed: list[str] = []
    with ThreadPoolExecutor(len(in_containers)) as pool:
        places = [tmp_path_factory.mktemp("k") for _client in in_containers]
        futures = [
            pool.submit(_problems_of_kills, [client], place, KILLS_ON_CONTAINERS, IN_A_ROW, killed)
            for client, place in zip(in_containers, places, strict=True)
        ]
    problems = [problem for future in futures for problem in future.result()]
    assert not problems, "\n".join(problems)
    assert len(killed) >= KILLS_ON_CONTAINERS


def test_run_that_is_killed_twice_in_a_row_forgets_nothing_either(
    new_cluster: NewDeployment, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As somebody does who thinks that it hangs."""
    place = tmp_path_factory.mktemp("k")
    cluster = new_cluster("twice", HOSTS, **APART)
    cluster.client.control.switch(shards=3)
    restart_slowly(cluster, DOWN_SECONDS)
    cluster.forget()
    for attempt in range(3):
        running = start_apply(AnsibleCommands(place / str(attempt)), [cluster], {"log_level": "warning"})
        # Each attempt gets a little further: until a node is down once more.
        end = time.monotonic() + 60
        while len(stopped(cluster)) <= attempt:
            assert running.process.poll() is None, running.finish().output
            assert time.monotonic() < end
            time.sleep(0.02)
        _kill(running, "main")
        assert _silent(cluster, "warning") == []
        _close(running)
    last = apply(AnsibleCommands(place / "last"), [cluster], {"log_level": "warning"})
    assert last.rc == 0, last.output
    assert cluster.running("log_level") == {"warning"}
    assert most_down(cluster) == 1
    # One more for each run that died between a restart and its note.
    assert len(cluster.starts()) <= 3 + 3
