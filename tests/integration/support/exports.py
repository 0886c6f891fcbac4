# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `export`, and what it wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.commands import AnsibleCommands, CommandRun
from support.deployments import Deployment

VAULT_PASSWORD = "canary-vault-password"


def run_book(
    ansible: AnsibleCommands,
    book: str,
    deployments: Sequence[Deployment],
    *arguments: str,
    groups: Mapping[str, Any] | None = None,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    **extra: Any,
) -> CommandRun:
    """Run a playbook of the collection on all hosts of the deployments; `extra` is given with `-e`.

    The inventory declares no settings: what there is of them lies in files beside it.
    """
    known = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    for host, facts in (hosts or {}).items():
        known[host] = {**known.get(host, {}), **facts}
    common = {"ansible_python_interpreter": sys.executable, **(variables or {})}
    inventory = ansible.inventory(known, common, groups)
    command = ["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.{book}", "-e", json.dumps(extra), *arguments]
    return ansible.run(command, environment)


def vault_password(ansible: AnsibleCommands) -> str:
    """A file with the password of the vault."""
    return str(ansible.write("vault-password", VAULT_PASSWORD))


def exported(place: Path) -> dict[str, str]:
    """Text by path of all that lies below a directory."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_text(encoding="utf-8") for path in files}


def untouched(*deployments: Deployment) -> bool:
    """Whether nothing but reading, logging in and logging out arrived."""
    verbs = {verb for one in deployments for verb in one.client.verbs()}
    return all(verb.startswith("GET ") or verb in ("POST /v1/users/login", "POST /v1/users/logout") for verb in verbs)
