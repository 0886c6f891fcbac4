# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `drift`, and what it wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from support.commands import AnsibleCommands, CommandRun
from support.deployments import Deployment

# Variables of a host that cannot be reached.
UNREACHABLE: dict[str, Any] = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_ssh_common_args": "-o ConnectTimeout=2",
}


def run_drift(
    ansible: AnsibleCommands,
    deployments: Sequence[Deployment],
    values: Mapping[str, Any],
    *arguments: str,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> CommandRun:
    """Run the playbook on all hosts of the deployments; `hosts` are further hosts, or variables for those."""
    known = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    for host, facts in (hosts or {}).items():
        known[host] = {**known.get(host, {}), **facts}
    common = {"ansible_python_interpreter": sys.executable, "wa_settings_values": values, **(variables or {})}
    inventory = ansible.inventory(known, common)
    return ansible.run(["ansible-playbook", "-i", str(inventory), "wabiz.onprem.drift", *arguments], environment)


def report_of(ansible: AnsibleCommands, place: str = "wa-drift") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ansible.inputs / place / "drift.json").read_text(encoding="utf-8"))
    return found


def clients_of(ansible: AnsibleCommands, place: str = "wa-drift") -> dict[str, dict[str, Any]]:
    return {client["name"]: client for client in report_of(ansible, place)["clients"]}
