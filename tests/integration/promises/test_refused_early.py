# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be checked is checked for each host, in the first task, in check mode too, before anything is sent."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.commands import ROOT, AnsibleCommands, CommandRun
from support.deployments import SETTINGS, Deployment, NewDeployment
from support.plays import ROLE, words

VALUES = {"log_level": "warning"}
COMMON = {"ansible_python_interpreter": sys.executable, "wa_settings_values": VALUES}
FIRST_TASKS = 2


@dataclass(frozen=True)
class Fault:
    """Variables that make no sense, and a word that the message has to have."""

    variables: dict[str, Any]
    word: str


FAULTS = {
    # A program of this name would run, if the node's name were the whole command.
    "true": Fault({"wa_settings_restart_command": []}, "wa_settings_restart_command"),
    "blank": Fault({"wa_settings_restart_command": [""]}, "wa_settings_restart_command"),
    "relative": Fault({"wa_settings_state_dir": "state"}, "wa_settings_state_dir"),
    "home": Fault({"wa_settings_state_dir": "~/state"}, "wa_settings_state_dir"),
    "nothing": Fault({"wa_settings_values": {}}, "wa_settings_values"),
    "nulls": Fault({"wa_settings_values": {"log_level": None, "webhooks": {"url": None}}}, "wa_settings_values"),
    "overridden": Fault({"wa_settings_host_values": {"log_level": None}}, "wa_settings_values"),
    "restart": Fault({"wa_settings_restart": "sometimes"}, "wa_settings_restart"),
    "backend": Fault({"wa_settings_restart_backend": "cri-o"}, "wa_settings_restart_backend"),
    "masters": Fault({"wa_settings_restart_masters": "perhaps"}, "wa_settings_restart_masters"),
    "pattern": Fault({"wa_settings_restart_image_pattern": "coreapp("}, "wa_settings_restart_image_pattern"),
    "timeout": Fault({"wa_settings_health_timeout": -1}, "wa_settings_health_timeout"),
    "expect": Fault({"wa_settings_expect_connected": -1}, "wa_settings_expect_connected"),
    "setting": Fault({"wa_settings_values": {"log_levle": "warning"}}, "log_levle"),
    "extra": Fault(
        {"wa_settings_group_values": {"webhooks": {"max_concurrent_requests": 7}}}, "max_concurrent_requests"
    ),
    "type": Fault({"wa_settings_host_values": ["log_level"]}, "wa_settings_host_values"),
    "both": Fault({"wa_settings_password": "secret-of-both"}, "password"),
    "url": Fault({"wa_settings_api_url": "ftp://192.0.2.1"}, "wa_settings_api_url"),
    "provider": Fault({"wa_settings_media_providers": [{"name": "cdn"}]}, "wa_settings_media_providers: cdn: basic or"),
    "provider name": Fault(
        {"wa_settings_media_providers": [{"name": "../..", "bearer": "secret-of-both"}]},
        "wa_settings_media_providers: ../..: name",
    ),
    "provider type": Fault(
        {"wa_settings_media_providers": [{"name": "cdn", "basic": ["secret-of-both"]}]}, "wa_settings_media_providers"
    ),
    "provider option": Fault(
        {"wa_settings_media_providers": [{"name": "cdn", "token": "secret-of-both"}]}, "wa_settings_media_providers"
    ),
    "providers": Fault({"wa_settings_media_providers": {"cdn": "secret-of-both"}}, "wa_settings_media_providers"),
    "misspelt": Fault({"wa_settings_value": {"log_level": "error"}, "wa_settings_values": {}}, "wa_settings_values"),
}


@pytest.fixture
def good(new_single: NewDeployment) -> Deployment:
    """A client of the same play that nothing is wrong with."""
    return new_single("good")


def _run(
    ansible: AnsibleCommands, deployments: list[Deployment], *arguments: str, environment: dict[str, str] | None = None
) -> CommandRun:
    for deployment in deployments:
        deployment.forget()
    hosts = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    book = {"hosts": "all", "roles": [ROLE]}
    return ansible.playbook([book], hosts, *arguments, variables=COMMON, environment=environment)


@pytest.mark.parametrize("mode", ["check", "run"])
def test_faulty_host_is_refused_in_its_first_task_and_keeps_no_other(
    ansible: AnsibleCommands, new_single: NewDeployment, good: Deployment, mode: str
) -> None:
    faulty = {name: new_single(name, **fault.variables) for name, fault in FAULTS.items()}
    run = _run(ansible, [good, *faulty.values()], *(["--check"] if mode == "check" else []))
    problems = []
    for name, single in faulty.items():
        failures = [r for r in run.records if r["event"] == "failed" and r["host"] == name]
        if len(failures) != 1:
            problems.append(f"{name}: {len(failures)} failures")
            continue
        if FAULTS[name].word not in str(failures[0]["result"].get("msg")):
            problems.append(f"{name}: {failures[0]['result'].get('msg')}")
        tasks = [r for r in run.records if r.get("host") == name and r["event"] in ("ok", "failed")]
        if len(tasks) > FIRST_TASKS:
            problems.append(f"{name}: found out in task {len(tasks)}")
        if single.client.verbs() or single.starts():
            problems.append(f"{name}: {single.client.verbs()}")
    assert not problems, "\n".join(problems)
    assert run.stats()["good"]["failures"] == 0, run.output
    assert good.starts() == (["wacore"] if mode == "run" else [])
    assert "secret-of-both" not in run.output
    assert not (ansible.inputs / "state").exists()
    assert not (ansible.home / "state").exists()


@pytest.mark.parametrize("mode", ["check", "run"])
def test_missing_collection_of_the_backend_is_found_before_anything_is_written(
    ansible: AnsibleCommands, new_single: NewDeployment, good: Deployment, tmp_path: Path, mode: str
) -> None:
    """And it fails for the host that needs it, not for all."""
    collections = tmp_path / "collections" / "ansible_collections" / "wabiz"
    collections.mkdir(parents=True)
    (collections / "onprem").symlink_to(ROOT)
    single = new_single("cubes", wa_settings_restart_backend="kubernetes", wa_settings_restart_containers=[])
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}
    run = _run(ansible, [good, single], *(["--check"] if mode == "check" else []), environment=environment)
    assert run.stats()["cubes"]["failures"] == 1, run.output
    assert "kubernetes.core" in words(run)
    assert (single.writes(), run.stats()["good"]["failures"]) == ([], 0), run.output
    assert good.starts() == (["wacore"] if mode == "run" else [])


@pytest.mark.parametrize("engine", ["docker", "podman"])
@pytest.mark.parametrize("mode", ["check", "run"])
def test_engine_that_is_not_there_is_found_before_anything_is_written(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, engine: str, mode: str
) -> None:
    single = new_single(wa_settings_restart_backend=engine)
    # A host on which there is no such command: all that Python and the shell need, but no engine.
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("sh", "env", "uname", "id", "mkdir", "chmod", "rm", "cat", "sleep"):
        (bare / tool).symlink_to(Path("/bin") / tool if (Path("/bin") / tool).exists() else Path("/usr/bin") / tool)
    book = {"hosts": "all", "roles": [ROLE], "environment": {"PATH": str(bare)}}
    single.forget()
    arguments = ["--check"] if mode == "check" else []
    run = ansible.playbook([book], single.inventory(), *arguments, variables=COMMON)
    assert run.rc != 0, run.output
    assert engine in words(run)
    assert (single.writes(), single.leftovers()) == ([], [])


@pytest.mark.parametrize("mode", ["check", "run"])
def test_restart_command_that_is_not_there_is_found_before_anything_is_written(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "not-executable").write_text("#!/bin/sh\n", encoding="utf-8")
    commands = {
        "nowhere": "restart-coreapp-nowhere",
        "nofile": str(tmp_path / "nofile"),
        "plain": str(tmp_path / "not-executable"),
        "folder": str(tmp_path),
        "sentence": "systemctl restart",
    }
    faulty = {name: new_single(name, wa_settings_restart_command=[word]) for name, word in commands.items()}
    trio = new_cluster("trio", wa_settings_restart_command=["restart-coreapp-nowhere"])
    run = _run(ansible, [*faulty.values(), trio], *(["--check"] if mode == "check" else []))
    said = words(run)
    for name, word in commands.items():
        assert f"wa_settings_restart_command: {word} is not found on {name}, or cannot be run there" in said, said
    for deployment in (*faulty.values(), trio):
        assert (deployment.writes(), deployment.starts()) == ([], []), deployment.name
        assert deployment.leftovers() == [], deployment.name
    assert all(f"restart-coreapp-nowhere is not found on {host}" in said for host in trio.hosts), said


def test_restart_command_is_looked_for_where_and_how_it_would_run(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    """By the name alone, on the PATH that the play sets; what a shell word says is not known, and nothing that a run
    will not start is looked for."""
    named = new_single("named")
    script = tmp_path / "bin" / "restart-coreapp"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(named.node_control("restart"))} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    named.extra["wa_settings_restart_command"] = ["restart-coreapp"]
    shell = new_single("shell")
    shell.extra["wa_settings_restart_command"] = ["sh", "-c", f'{shlex.join(shell.node_control("restart"))} "$0"']
    never = new_single("never", wa_settings_restart="never", wa_settings_restart_command=["restart-coreapp-nowhere"])
    deployments = [named, shell, never]
    for deployment in deployments:
        deployment.forget()
    hosts = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    book = {"hosts": "all", "roles": [ROLE], "environment": {"PATH": f"{script.parent}:/usr/bin:/bin"}}
    run = ansible.playbook([book], hosts, variables=COMMON)
    assert run.rc == 0, run.output
    assert [one.starts() for one in deployments] == [["wacore"], ["wacore"], []]
    assert never.pending() == ["wacore"]


def test_only_a_change_without_restart_needs_no_engine(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_restart_backend="docker")
    single.forget()
    book = {"hosts": "all", "roles": [ROLE], "environment": {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}}
    common = {**COMMON, "wa_settings_values": {"show_security_notifications": True}}
    run = ansible.playbook([book], single.inventory(), variables=common)
    assert run.rc == 0, run.output
    assert single.writes() == [f"PATCH {SETTINGS}"]
