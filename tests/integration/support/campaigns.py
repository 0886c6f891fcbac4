# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks `campaign_begin` and `campaign_end`, and what a campaign is on record as."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from support.commands import AnsibleCommands, CommandRun, StartedCommand
from support.deployments import Deployment

MESSAGES = "garbagecollector_enable.messages"
OLDER = "db_garbagecollector_enable"


def start_campaign(
    ansible: AnsibleCommands,
    which: str,
    deployments: Sequence[Deployment],
    *arguments: str,
    variables: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> StartedCommand:
    """Start `campaign_begin` or `campaign_end` on all hosts of the deployments."""
    hosts = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    inventory = ansible.inventory(hosts, {"ansible_python_interpreter": sys.executable, **(variables or {})})
    command = ["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.campaign_{which}", "-e", "target=all"]
    return ansible.start([*command, *arguments], environment)


def campaign(
    ansible: AnsibleCommands, which: str, deployments: Sequence[Deployment], *arguments: str, **more: Any
) -> CommandRun:
    """The same, to its end."""
    return start_campaign(ansible, which, deployments, *arguments, **more).finish()


def named(name: str) -> tuple[str, str]:
    """The arguments that name a campaign."""
    return ("-e", f"wa_campaign_name={name}")


def on_record(deployment: Deployment) -> list[list[str] | None]:
    """The names of the campaigns on each host's record."""
    records = [deployment.record(host) for host in deployment.hosts]
    return [record["campaign"]["names"] if record and record["campaign"] else None for record in records]


def collects(deployment: Deployment, setting: str = MESSAGES) -> tuple[Any, set[Any]]:
    """Whether the collection is on: as stored, and as the Coreapps run."""
    value: Any = deployment.client.control.effective()
    for name in setting.split("."):
        value = value[name]
    return value, deployment.running(setting)


ON: tuple[bool, set[bool]] = (True, {True})
OFF: tuple[bool, set[bool]] = (False, {False})
