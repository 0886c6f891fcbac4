# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed at random moments: whatever was going on, nothing is forgotten and never are two nodes down.

A kill finds each client of the run at another moment of its work, so each counts: without WABIZ_KILLS, which says how
many rounds there are, it is 90 times an emulated client and 10 times one in containers. WABIZ_KILL_SEED begins the same
moments again. `make kills` does many.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.by_hand import ByHand, by_hand
from support.commands import AnsibleCommands, StartedCommand
from support.deployments import APART, SETTINGS, Deployment, NewDeployment, apply, start_apply
from support.engines import Engine
from support.plays import changed, most_down, on_record, restart_slowly, stopped

ROUNDS = int(os.environ.get("WABIZ_KILLS", "3"))
ROUNDS_ON_CONTAINERS = max(2, ROUNDS // 4)
SEED = int(os.environ.get("WABIZ_KILL_SEED", str(random.SystemRandom().randrange(10**6))))
HOSTS = {"a": ["wacore1", "wacore2"], "b": ["wacore3"]}
LEVELS = ["warning", "error", "fatal", "info"]
DOWN_SECONDS = 0.4
# A run that finds a node stopped waits half of this for whoever has stopped it: first single clients, then clusters.
PATIENCE = {"wa_settings_health_timeout": 60}
CLUSTERS = 10
SINGLES = 20
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


def _problems(deployment: Deployment, level: str) -> list[str]:
    """What is wrong with a client after a run that was killed, and a whole one."""
    starts = Counter(node for node in deployment.starts() if node.startswith("wacore"))
    nodes = [node for names in deployment.hosts.values() for node in names]
    stored = deployment.client.control.effective()["log_level"]
    wrong = {
        f"stored {stored}, running {deployment.running('log_level')}, wanted {level}": deployment.running("log_level")
        != {level},
        f"starts {dict(starts)}": set(starts) != set(nodes) or starts.total() > len(nodes) + 1,
        f"{most_down(deployment)} down at once": most_down(deployment) > 1,
        f"writes {deployment.writes()}": deployment.writes() != [f"PATCH {SETTINGS}"],
    }
    return [f"{deployment.name}: {problem}" for problem, found in wrong.items() if found]


def _seconds_of_a_whole_run(everyone: list[Deployment], place: Path) -> float:
    began = time.monotonic()
    run = apply(AnsibleCommands(place / "whole"), everyone, {"log_level": LEVELS[-2]})
    assert run.rc == 0, run.output
    return time.monotonic() - began


def _rounds(everyone: list[Deployment], place: Path, rounds: int) -> list[str]:
    """Kill, run again, and run once more, with new settings each time; what was wrong."""
    moments = random.Random(SEED)  # noqa: S311 - not a secret
    whole = _seconds_of_a_whole_run(everyone, place)
    problems = []
    for number in range(rounds):
        level, how = LEVELS[number % len(LEVELS)], ("main", "group")[number % 2]
        moment = moments.uniform(0.15, 1) * whole
        label = f"seed {SEED}, round {number} ({how} after {moment:.2f} of {whole:.2f} s)"
        for deployment in everyone:
            deployment.forget()
        values = {"log_level": level}
        running = start_apply(AnsibleCommands(place / f"{number}k"), everyone, values)
        try:
            running.process.wait(moment)
        except subprocess.TimeoutExpired:
            _kill(running, how)
        silent = {deployment.name: _silent(deployment, level) for deployment in everyone}
        problems += [f"{label}: {name}: forgotten: {nodes}" for name, nodes in silent.items() if nodes]
        second = apply(AnsibleCommands(place / f"{number}r"), everyone, values, variables=PATIENCE)
        _close(running)
        if second.rc != 0:
            problems.append(f"{label}: the run after it failed:\n{second.output}")
        problems += [f"{label}: {problem}" for deployment in everyone for problem in _problems(deployment, level)]
        before = [deployment.starts() for deployment in everyone]
        third = apply(AnsibleCommands(place / f"{number}n"), everyone, values)
        if (third.rc, changed(third)) != (0, 0) or [deployment.starts() for deployment in everyone] != before:
            problems.append(f"{label}: the run after that changed something:\n{third.output}")
    return problems


def test_nothing_is_forgotten_whenever_a_run_is_killed(
    fleet: list[Deployment], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Ansible keeps a socket in its temporary directory, and a socket's path may not be long.
    problems = _rounds(fleet, tmp_path_factory.mktemp("k"), ROUNDS)
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
    for deployment in in_containers:
        deployment.client.control.switch(gone_nodes="disconnected")
    problems = _rounds(list(in_containers), tmp_path_factory.mktemp("k"), ROUNDS_ON_CONTAINERS)
    assert not problems, "\n".join(problems)


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
