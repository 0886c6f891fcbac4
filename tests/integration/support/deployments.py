# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated clients and clusters as the role sees them: inventory hosts with Coreapps, restarted by a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.commands import AnsibleCommands, CommandRun, StartedCommand
from support.emulator import EmulatedClient, verb

NODE_CONTROL = Path(__file__).with_name("node_control.py")
SETTINGS = "/v1/settings/application"
# Of hosts that say `local` the host that acts does all steps itself, since they are this machine. If the connection is
# called by its full name, each gets tasks of its own, as hosts that are machines of their own do.
APART = {"ansible_connection": "ansible.builtin.local"}


@dataclass(frozen=True)
class Deployment:
    """One client, single or clustered, on `hosts`: host → node names. `place` gets a state directory for each host."""

    name: str
    client: EmulatedClient
    hosts: Mapping[str, Sequence[str]]
    place: Path
    extra: dict[str, Any] = field(default_factory=dict)

    def node_control(self, *verb: str) -> list[str]:
        """What acts on the node whose name is appended: see support/node_control.py."""
        return [sys.executable, str(NODE_CONTROL), self.client.api_url, self.client.ca_path, *verb]

    def inventory(self, token: bool = True) -> dict[str, dict[str, Any]]:
        """Host → variables."""
        connection = self.client.with_token() if token else self.client.with_password()
        common = {f"wa_settings_{option}": value for option, value in connection.items()}
        common |= {
            "wa_settings_restart_backend": "command",
            "wa_settings_restart_command": self.node_control("restart"),
            "wa_settings_health_timeout": 20,
        }
        if len(self.hosts) > 1:
            common["wa_settings_cluster"] = self.name
        return {
            host: {
                **common,
                "wa_settings_restart_containers": list(nodes),
                "wa_settings_state_dir": str(self.state_dir(host)),
                **self.extra,
            }
            for host, nodes in self.hosts.items()
        }

    def state_dir(self, host: str) -> Path:
        return self.place / self.name / host / "state"

    def record(self, host: str) -> dict[str, Any] | None:
        """The record of what is pending on the host, or None."""
        path = self.state_dir(host) / f"{self.name}@{host}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def pending(self) -> list[str]:
        """Names of the nodes with a pending restart on record, of all hosts."""
        return [node["name"] for host in self.hosts for node in (self.record(host) or {"nodes": []})["nodes"]]

    def leftovers(self) -> list[Path]:
        """Files in the state directories."""
        return [path for host in self.hosts if self.state_dir(host).exists() for path in self.state_dir(host).iterdir()]

    def starts(self) -> list[str]:
        """Host names of the nodes that started since the log was cleared, in order."""
        return [e["node"].split(":")[0] for e in self.client.control.node_events() if e["event"] == "start"]

    def running(self, setting: str) -> set[Any]:
        """The values of a restart-bound setting with which the Coreapps run."""
        nodes = self.client.control.nodes().values()
        return {node["running"][setting] for node in nodes if node["kind"] == "coreapp" and node["reachable"]}

    def writes(self) -> list[str]:
        """What changed settings on the wire."""
        log = self.client.control.requests()
        return [verb(entry) for entry in log if entry["path"] == SETTINGS and entry["method"] != "GET"]

    def forget(self) -> None:
        """Clear the logs of the emulator."""
        self.client.control.clear_requests()
        self.client.control.clear_node_events()


NewDeployment = Callable[..., Deployment]


def apply(
    ansible: AnsibleCommands,
    deployments: Sequence[Deployment],
    values: Mapping[str, Any],
    *arguments: str,
    play: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> CommandRun:
    """Run the role with these settings on all hosts of the deployments."""
    return start_apply(ansible, deployments, values, *arguments, play=play, variables=variables, **keywords).finish()


def start_apply(
    ansible: AnsibleCommands,
    deployments: Sequence[Deployment],
    values: Mapping[str, Any],
    *arguments: str,
    play: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> StartedCommand:
    """The same, without waiting for it."""
    book = {"hosts": "all", "roles": ["wabiz.onprem.wa_settings"], **(play or {})}
    hosts = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    common = {"ansible_python_interpreter": sys.executable, "wa_settings_values": dict(values), **(variables or {})}
    return ansible.start_playbook([book], hosts, *arguments, variables=common, **keywords)
