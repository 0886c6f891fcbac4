# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of each host leads to its own engine, whichever host acts for the cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment
from support.plays import ROLE, changed


def test_docker_host_of_each_host_of_a_cluster(
    ansible: AnsibleCommands, spread: ContainerDeployment, tmp_path: Path
) -> None:
    """One machine with two engines: every connection is local, `DOCKER_HOST` makes the difference."""
    spread.forget()
    before, values = spread.started(), spread.new_values()
    inventory: dict[str, dict[str, Any]] = {}
    for host, facts in spread.inventory().items():
        machine = spread.machines[host]
        local = {
            "ansible_connection": "local",
            "engine_socket": f"unix:///proc/{machine.pid}/root/run/docker.sock",
            "wa_settings_state_dir": str(tmp_path / host),
        }
        inventory[host] = {**facts, **local}
    book = {"hosts": "all", "roles": [ROLE], "environment": {"DOCKER_HOST": "{{ engine_socket }}"}}
    common = {"ansible_python_interpreter": sys.executable, "wa_settings_values": values}
    run = ansible.playbook([book], inventory, variables=common)
    assert run.rc == 0, run.output
    assert spread.restarted_since(before) == spread.coreapps()
    assert spread.in_force(values)
    again = ansible.playbook([book], inventory, variables=common)
    assert (again.rc, changed(again)) == (0, 0), again.output
