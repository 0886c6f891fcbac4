# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record on a container's own file system goes with the container: refused, unless somebody says that it is meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun
from support.containers import IMAGES, unique
from support.deployments import NODE_CONTROL, SETTINGS, Deployment, NewDeployment
from support.engines import Engine
from support.plays import ROLE, words

pytestmark = pytest.mark.containers

VOLUME = "/srv/records"


@pytest.fixture
def job(engine: Engine, emulator: Any, tmp_path: Path) -> Iterator[str]:
    """A container that runs Ansible's part of a host, as an execution environment with a local connection does."""
    name = unique("job")
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    ca = Path(emulator.ca_path).parent
    engine.call(
        "run", "--detach", "--init", f"--name={name}", "--network=host", f"--volume={ca}:{ca}:ro",
        f"--volume={kept}:{VOLUME}", IMAGES[0], "sleep", "infinity",
    )  # fmt: skip
    try:
        yield name
    finally:
        engine.call("rm", "--force", name)


def _in_job(
    ansible: AnsibleCommands, single: Deployment, job: str, values: dict[str, Any], *arguments: str, **more: Any
) -> CommandRun:
    within = ["python3", "-c", NODE_CONTROL.read_text(), single.client.api_url, single.client.ca_path, "restart"]
    connection = {
        "ansible_connection": "community.docker.docker",
        "ansible_docker_host": job,
        "ansible_host": job,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_remote_tmp": "/root/.ansible/tmp",
        "wa_settings_restart_command": within,
        "wa_settings_values": values,
    }
    (facts,) = single.inventory().values()
    facts.pop("wa_settings_state_dir")
    single.forget()
    return ansible.playbook([{"hosts": "all", "roles": [ROLE]}], {"one": {**facts, **connection, **more}}, *arguments)


@pytest.mark.parametrize("mode", ["check", "run"])
def test_own_file_system_is_refused_where_something_would_have_to_be_recorded(
    ansible: AnsibleCommands, new_single: NewDeployment, job: str, mode: str
) -> None:
    single = new_single()
    run = _in_job(ansible, single, job, {"log_level": "warning"}, *(["--check"] if mode == "check" else []))
    assert run.rc != 0, run.output
    # The cure is in the message.
    assert "wa_settings_volatile_state" in words(run)
    assert "wa_settings_state_dir" in words(run)
    assert (single.writes(), single.starts()) == ([], [])


def test_own_file_system_is_good_enough_where_nothing_is_recorded(
    ansible: AnsibleCommands, new_single: NewDeployment, job: str
) -> None:
    single = new_single()
    harmless = _in_job(ansible, single, job, {"show_security_notifications": True})
    assert harmless.rc == 0, harmless.output
    assert single.writes() == [f"PATCH {SETTINGS}"]
    converged = _in_job(ansible, single, job, {"log_level": "info"})
    assert converged.rc == 0, converged.output


@pytest.mark.parametrize(
    "variables", [{"wa_settings_volatile_state": True}, {"wa_settings_state_dir": f"{VOLUME}/state"}], ids=json.dumps
)
def test_volume_or_consent_is_accepted(
    ansible: AnsibleCommands, new_single: NewDeployment, job: str, variables: dict[str, Any]
) -> None:
    single = new_single()
    run = _in_job(ansible, single, job, {"log_level": "warning"}, **variables)
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], ["wacore"])
