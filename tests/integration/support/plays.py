# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays around the role as people write them, and what is seen of a run from outside."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.commands import CommandRun
from support.deployments import Deployment

ROLE = "wabiz.onprem.wa_settings"
# What a task of the user notifies.
NOTIFY = "wabiz restart coreapp"
_HEADING = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$", re.MULTILINE)
_NODE = re.compile(r"(?:wacore|master)\d*")

# Last in a play: the facts that the role sets.
SHOW: dict[str, Any] = {
    "name": "Show",
    "ansible.builtin.debug": {
        # A host that has left the work to another one of its cluster has no say.
        "msg": {
            "required": "{{ wa_settings_restart_required | default(none) }}",
            "summary": "{{ wa_settings_summary | default({}) }}",
        }
    },
}
FLUSH: dict[str, Any] = {"name": "Restart now", "ansible.builtin.meta": "flush_handlers"}


def include(**variables: Any) -> dict[str, Any]:
    """A task that runs the role with these variables."""
    return {"name": "Keep", "ansible.builtin.include_role": {"name": ROLE}, "vars": variables}


def declared(deployment: Deployment, **more: Any) -> dict[str, Any]:
    """The role's variables for the only host of a deployment, its cluster included."""
    (facts,) = deployment.inventory().values()
    return {**facts, "wa_settings_cluster": deployment.name, **more}


def required(run: CommandRun, host: str) -> bool:
    """`wa_settings_restart_required`, where SHOW is part of the play."""
    found = run.result("Show", host)["msg"]["required"]
    assert isinstance(found, bool)
    return found


def summary(run: CommandRun, host: str) -> dict[str, list[Any]]:
    """`wa_settings_summary`, where SHOW is part of the play."""
    found: dict[str, list[Any]] = run.result("Show", host)["msg"]["summary"]
    assert set(found) == {"changed_settings", "restarted", "pending"}, found
    return found


def nodes_in(entries: Any) -> list[str]:
    """The names of nodes in what a run said, in order, each once."""
    return list(dict.fromkeys(_NODE.findall(str(entries))))


def words(run: CommandRun) -> str:
    """What a run printed, with Ansible's line breaks taken out."""
    return " ".join(run.output.split())


def headings(run: CommandRun) -> list[str]:
    """The tasks and handlers that a run printed a heading for."""
    return _HEADING.findall(run.stdout)


def tasks_done(run: CommandRun, host: str) -> int:
    """How many tasks really ran on a host."""
    return sum(record.get("host") == host and record["event"] in ("ok", "failed") for record in run.records)


def changed(run: CommandRun) -> int:
    """How many tasks of a run changed something, on all hosts."""
    return sum(host["changed"] for host in run.stats().values())


def connect_all(cluster: Deployment) -> None:
    """Have all three Coreapps connected, so that each that restarts is to be so again."""
    cluster.client.control.switch(shards=3)
    end = time.monotonic() + 30
    while True:
        nodes = cluster.client.control.nodes().values()
        if all(node["gateway_status"] == "connected" for node in nodes if node["kind"] == "coreapp"):
            return
        assert time.monotonic() < end, nodes
        time.sleep(0.1)


def most_down(deployment: Deployment) -> int:
    """How many nodes were down at once: stopped, and not connected since. All have to have been connected before."""
    down: set[str] = set()
    most = 0
    for event in deployment.client.control.node_events():
        if event["event"] == "stop":
            down.add(event["node"])
        elif event["event"] == "connected":
            down.discard(event["node"])
        most = max(most, len(down))
    return most


def stopped(deployment: Deployment) -> list[str]:
    """Host names of the nodes that were stopped since the log was cleared, in order."""
    return [e["node"].split(":")[0] for e in deployment.client.control.node_events() if e["event"] == "stop"]


def restart_by(deployment: Deployment, place: Path, body: str) -> None:
    """Have a shell script restart the nodes: it finds the node's name in $1, and has `stop`, `start` and `restart`."""
    calls = {verb: shlex.join(deployment.node_control(verb)) for verb in ("stop", "start", "restart")}
    functions = "".join(f'{verb}() {{ {call} "$1"; }}\n' for verb, call in calls.items())
    script = place / f"{deployment.name}-restart.sh"
    script.write_text(f"set -e\n{functions}{body}\n", encoding="utf-8")
    deployment.extra["wa_settings_restart_command"] = ["sh", str(script)]


def restart_slowly(deployment: Deployment, seconds: float) -> None:
    """Have each node stay down for some time when it restarts."""
    deployment.extra["wa_settings_restart_command"] = deployment.node_control("restart", str(seconds))


def restart_breakably(deployment: Deployment, place: Path, node: str, health_timeout: float = 3) -> Path:
    """Have a node stay down when it restarts, as long as the returned file exists."""
    broken = place / f"{deployment.name}-broken"
    broken.touch()
    restart_by(deployment, place, f'if [ "$1" = {node} ] && [ -e {broken} ]; then stop "$1"; else restart "$1"; fi')
    deployment.extra["wa_settings_health_timeout"] = health_timeout
    return broken


def node_named(deployment: Deployment, hostname: str) -> str:
    """The full name of a node."""
    return next(name for name in deployment.client.control.nodes() if name.startswith(f"{hostname}:"))


def on_record(deployment: Deployment) -> set[str]:
    """The nodes that any file in the state directories names."""
    return {node for path in deployment.leftovers() if path.is_file() for node in nodes_in(path.read_text())}


def differs(values: Mapping[str, Any], deployment: Deployment, setting: str) -> bool:
    """Whether a Coreapp runs with another value than the one that is declared."""
    return deployment.running(setting) != {values[setting]}
