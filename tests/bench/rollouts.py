# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a first roll-out costs: every client changes a restart-bound setting, and each of its Coreapps restarts once.

The restart command starts a program for each node, which is not ours to save. It is measured beside, without Ansible,
and taken off.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import Fleet, running_fleet
from measure import CommandFailed, Cost, measure

HERE = Path(__file__).resolve().parent
NODE_CONTROL = HERE.parent / "integration" / "support" / "node_control.py"
PLAYBOOKS = HERE / "playbooks"
VALUES = {"log_level": "warning"}
FORKS = 20
RUN_TIMEOUT_SECONDS = 1800.0
SINGLE = ("wacore",)
CLUSTER = ("wacore1", "wacore2", "wacore3")
# Each client or cluster gets these, whatever its number of nodes: one before the change, and one before and after the
# PATCH, which is the only one.
EXPECTED = {"GET": 3, "PATCH": 1}

WAYS = {
    "debug": "`debug` task",
    "command": "no Ansible: the restart command in threads",
    "apply": "playbook `apply`",
    "role": "role `wa_settings` by `roles:`",
}

RUNS = ("apply", "role")


@dataclass(frozen=True)
class Shape:
    """So many clients with these nodes; a cluster's are on one host, or with `spread` on a host each."""

    clients: int
    nodes: tuple[str, ...] = SINGLE
    spread: bool = False
    rounds: int = 5
    ways: tuple[str, ...] = tuple(WAYS)

    @property
    def name(self) -> str:
        nodes = f"{len(self.nodes)} Coreapp{'s' if len(self.nodes) > 1 else ''}"
        return f"{self.clients:,} clients, {nodes}{' on a host each' if self.spread else ''}"


SHAPES = (
    # Before and after the thousand that it is compared with: the speed of a machine drifts within minutes.
    Shape(100),
    Shape(1000, rounds=2, ways=("debug", "command", "apply")),
    Shape(100),
    Shape(100, CLUSTER, ways=("command", "apply")),
    Shape(100, CLUSTER, spread=True, ways=("command", "apply")),
)
QUICK_SHAPES = (
    Shape(2, rounds=1),
    Shape(2, CLUSTER, rounds=1, ways=("command", "apply")),
    Shape(2, CLUSTER, spread=True, rounds=1, ways=("command", "apply")),
)


@dataclass(frozen=True)
class Rollout:
    """One measurement: which way, for how many clients of how many nodes, in which round (from 0), at what cost."""

    way: str
    clients: int
    nodes: int
    spread: bool
    round: int
    seconds: float
    cpu_seconds: float


def take_rollouts(shapes: Sequence[Shape]) -> list[Rollout]:
    """Measure the shapes side by side in rounds; raise CommandFailed where a way did not do its work."""
    found: list[Rollout] = []
    with tempfile.TemporaryDirectory(prefix="wabiz-rollouts-") as directory:
        place = Path(directory)
        for number in range(max(shape.rounds for shape in shapes)):
            for shape in shapes:
                if number < shape.rounds:
                    found += _take_round(shape, number, place)
    return found


def _take_round(shape: Shape, number: int, place: Path) -> list[Rollout]:
    """Each way once, on a fleet of its own: nodes of the others would cost time, and the same values change nothing."""
    found = []
    for way in shape.ways:
        with tempfile.TemporaryDirectory(dir=place) as directory:
            own = Path(directory)
            # A master takes part in no roll-out, but a cluster has one.
            nodes = ("master1", *shape.nodes) if len(shape.nodes) > 1 else shape.nodes
            # Twenty commands at once keep two cores busy: a node that is back at once would not be seen away.
            switches = ("connect_seconds=0.5", f"shards={len(shape.nodes)}")
            with running_fleet(own, shape.clients, nodes, switches) as fleet:
                cost = _take_one(fleet, shape, way, own)
        found.append(
            Rollout(way, shape.clients, len(shape.nodes), shape.spread, number, cost.seconds, cost.cpu_seconds)
        )
        print(f"roll-outs, round {number + 1}, {shape.name}, {way}: {cost.seconds:.2f} s", flush=True)
    return found


def _take_one(fleet: Fleet, shape: Shape, way: str, place: Path) -> Cost:
    inventory = place / "rollout.json"
    inventory.write_text(json.dumps(_inventory(fleet, shape, place)))
    fleet.settle(len(shape.nodes))
    cost = measure(_command(way, fleet, inventory), _environment(place), place / "output.log", RUN_TIMEOUT_SECONDS)
    started = dict.fromkeys(fleet.names(), 0) | fleet.starts()
    expected = 0 if way == "debug" else len(shape.nodes)
    wrong = [f"{name}: {count} starts" for name, count in started.items() if count != expected]
    if way in RUNS:
        asked = fleet.requests()
        wrong += [f"{name}: {asked.get(name)}" for name in fleet.names() if asked.get(name) != EXPECTED]
    if wrong:
        raise CommandFailed(f"roll-out of {shape.name}, {way}: {len(wrong)} clients, such as {', '.join(wrong[:3])}")
    return cost


def _inventory(fleet: Fleet, shape: Shape, place: Path) -> dict[str, Any]:
    hosts: dict[str, dict[str, Any]] = {}
    for name in fleet.names():
        url = f"{fleet.url}/{name}"
        common = {"wa_settings_api_url": url, "api_url": url, "wa_settings_cluster": name}
        parts = [(f"{name}-{node}", [node]) for node in shape.nodes] if shape.spread else [(name, list(shape.nodes))]
        for host, nodes in parts:
            hosts[host] = {**common, "wa_settings_restart_containers": nodes}
            if len(shape.nodes) == 1:
                del hosts[host]["wa_settings_cluster"]
    return {
        "clients": {
            "hosts": hosts,
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "wa_settings_token": "{{ token }}",
                "wa_settings_ca_path": str(fleet.ca_path),
                "wa_settings_values": VALUES,
                "wa_settings_state_dir": str(place / "state"),
                "wa_settings_restart_backend": "command",
                "wa_settings_restart_command": [
                    sys.executable,
                    str(NODE_CONTROL),
                    "{{ wa_settings_api_url }}",
                    str(fleet.ca_path),
                    "restart",
                ],
            },
        }
    }


def _command(way: str, fleet: Fleet, inventory: Path) -> list[str | Path]:
    if way == "command":
        return [sys.executable, HERE / "restart_commands.py", inventory, str(FORKS)]
    book: str | Path = "wabiz.onprem.apply" if way == "apply" else PLAYBOOKS / f"{way}.yml"
    program = Path(sys.executable).parent / "ansible-playbook"
    forks, credentials = str(FORKS), f"@{fleet.token_file}"
    return [program, book, "--inventory", inventory, "--forks", forks, "--extra-vars", credentials]


def _environment(place: Path) -> dict[str, str]:
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return variables | {
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(place / "local"),
        "ANSIBLE_REMOTE_TMP": str(place / "remote"),
        "NO_PROXY": "127.0.0.1",
    }
