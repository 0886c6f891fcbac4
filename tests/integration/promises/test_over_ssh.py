# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Over real SSH with a terminal, as hosts with sudo and without pipelining have it: errors keep their words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import find_server, private_connections, running_ssh_server

from support.commands import AnsibleCommands, CommandRun, need_root
from support.deployments import SETTINGS, Deployment, NewDeployment, apply
from support.exports import exported, run_book, vault_password
from support.plays import SHOW, changed, required, restart_by, words

VALUES = {"log_level": "warning"}
# What is left of a message where a terminal mixes it with SSH's own.
LOST = "Shared connection to"


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The variables that lead over SSH to this machine."""
    need_root("an SSH server gives nobody a terminal unless it runs as root")
    server = find_server()
    assert server, "OpenSSH's server or client is missing"
    place = tmp_path_factory.mktemp("ssh")
    place.chmod(0o700)
    with running_ssh_server(server, place) as variables:
        yield json.loads(variables.read_text())


@pytest.fixture
def connections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Without pipelining Ansible asks for a terminal. A control socket's path may not be long."""
    place = tmp_path_factory.mktemp("c")
    with private_connections(place) as environment:
        yield {
            **environment,
            "ANSIBLE_PIPELINING": "0",
            "ANSIBLE_SSH_USETTY": "1",
            "ANSIBLE_REMOTE_TEMP": str(place / "tmp"),
        }


def _apply(
    ansible: AnsibleCommands,
    deployments: list[Deployment],
    ssh: dict[str, Any],
    connections: dict[str, str],
    **more: Any,
) -> CommandRun:
    for deployment in deployments:
        deployment.extra.update(ssh)
    return apply(ansible, deployments, VALUES, environment=connections, **more)


def _errors(run: CommandRun) -> str:
    """The messages of all failures; a run in which there is none has not shown what was asked."""
    failed = [record["result"] for record in run.records if record["event"] in ("failed", "item_failed")]
    assert failed, run.output
    return " ".join(str(result.get("msg")) for result in failed)


def test_role_does_its_work(
    ansible: AnsibleCommands, new_cluster: NewDeployment, ssh: dict[str, Any], connections: dict[str, str]
) -> None:
    cluster = new_cluster()
    cluster.forget()
    run = _apply(ansible, [cluster], ssh, connections, play={"post_tasks": [SHOW]})
    assert run.rc == 0, run.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], ["wacore1", "wacore2", "wacore3"])
    assert required(run, next(iter(cluster.hosts))) is False
    assert changed(_apply(ansible, [cluster], ssh, connections)) == 0


def test_record_that_cannot_be_written_says_so(
    ansible: AnsibleCommands, new_single: NewDeployment, ssh: dict[str, Any], connections: dict[str, str]
) -> None:
    single = new_single()
    blocked = single.state_dir("one")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the directory should be")
    single.forget()
    run = _apply(ansible, [single], ssh, connections)
    assert str(blocked) in _errors(run)
    assert LOST not in _errors(run)
    assert (single.writes(), single.starts()) == ([], [])


def test_engine_that_does_not_answer_says_so(
    ansible: AnsibleCommands, new_single: NewDeployment, ssh: dict[str, Any], connections: dict[str, str]
) -> None:
    single = new_single(wa_settings_restart_backend="docker")
    single.forget()
    environment = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    run = _apply(ansible, [single], ssh, connections, play={"environment": environment})
    assert "/nonexistent/docker.sock" in _errors(run)
    assert LOST not in _errors(run)
    assert single.writes() == []


def test_restart_command_that_fails_keeps_its_words(
    ansible: AnsibleCommands,
    new_single: NewDeployment,
    ssh: dict[str, Any],
    connections: dict[str, str],
    tmp_path: Path,
) -> None:
    single = new_single()
    restart_by(single, tmp_path, 'echo "the unit is masked" >&2; exit 4')
    single.forget()
    run = _apply(ansible, [single], ssh, connections)
    assert "the unit is masked" in words(run)
    assert LOST not in _errors(run)
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], [])


def test_host_that_is_lost_in_the_middle_stays_on_record(
    ansible: AnsibleCommands, new_cluster: NewDeployment, ssh: dict[str, Any], connections: dict[str, str]
) -> None:
    """Its SSH server is gone in the next run; the others know what is pending there."""
    cluster = new_cluster()
    cluster.forget()
    assert _apply(ansible, [cluster], ssh, connections, variables={"wa_settings_restart": "never"}).rc == 0
    # Not over the connection that the run before has left open.
    lost = {**ssh, "ansible_port": 1, "ansible_control_path": "%(directory)s/lost"}
    hosts = {host: {**facts, **(lost if host == "trio-b" else ssh)} for host, facts in cluster.inventory().items()}
    book = {"hosts": "all", "roles": ["wabiz.onprem.wa_settings"]}
    run = ansible.playbook(
        [book],
        hosts,
        variables={"ansible_python_interpreter": sys.executable, "wa_settings_values": VALUES},
        environment=connections,
    )
    assert run.rc != 0, run.output
    assert "trio-b" in words(run)
    assert "wacore2" not in cluster.starts()
    rest = _apply(ansible, [cluster], ssh, connections)
    assert rest.rc == 0, rest.output
    assert sorted(cluster.starts()) == ["wacore1", "wacore2", "wacore3"]


def test_export_shows_nothing_of_what_a_module_reads(
    ansible: AnsibleCommands, new_single: NewDeployment, ssh: dict[str, Any], connections: dict[str, str]
) -> None:
    """Where the client is asked from its host, its secrets come over a connection that shows at -vvv what it gets."""
    single = new_single(wa_settings_api_delegate="{{ inventory_hostname }}", **ssh)
    url = "https://hooks.example.com/?auth=canary-query"
    single.client.control.store({"webhooks": {"url": url}})
    password: dict[str, Any] = {"wa_export_vault_password_file": vault_password(ansible)}
    run = run_book(ansible, "export", [single], "-vvvv", environment=connections, **password)
    assert run.rc == 0, run.output
    assert len(exported(ansible.inputs / "wa-export")) == 2
    assert "censored due to no log" in run.output
    # Base64 of the beginning of what is read.
    for secret in ("canary-query", "eyJzZXR0aW5ncyI6"):
        assert secret not in run.output
        assert secret not in "".join(exported(ansible.outputs).values())
