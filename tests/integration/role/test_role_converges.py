# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's main job: settings as declared, restarts where they are needed and nowhere else."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from support.commands import AnsibleCommands
from support.deployments import SETTINGS, Deployment, NewDeployment, apply
from support.emulator import PASSWORD

RESTART_BOUND = {"log_level": "warning"}
HARMLESS = {"show_security_notifications": True}

# Ways to the API: in the controller process; by a module on the host itself; with the container work under another
# account, which must not concern the API calls.
WAYS: dict[str, dict[str, Any]] = {
    "controller": {},
    "host": {"wa_settings_api_delegate": "{{ inventory_hostname }}", "wabiz_direct_execution": False},
    "become": {"ansible_become": True, "ansible_become_method": "su"},
}


def _changed(run: Any) -> int:
    return sum(host["changed"] for host in run.stats().values())


@pytest.mark.parametrize("way", WAYS)
def test_single_client_converges_with_one_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, way: str
) -> None:
    single = new_single(**WAYS[way])
    single.forget()
    first = apply(ansible, [single], RESTART_BOUND)
    assert first.rc == 0, first.output
    assert "To restart: wacore on one" in first.output
    assert "Restarting Coreapp 1 of 1: wacore on one" in first.output
    assert single.starts() == ["wacore"]
    assert single.running("log_level") == {"warning"}
    assert single.leftovers() == []
    single.forget()
    second = apply(ansible, [single], RESTART_BOUND)
    assert second.rc == 0, second.output
    assert _changed(second) == 0
    assert (single.starts(), single.writes()) == ([], [])


def test_cluster_is_written_once_and_restarts_everywhere(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    first = apply(ansible, [cluster], RESTART_BOUND)
    assert first.rc == 0, first.output
    assert cluster.writes() == [f"PATCH {SETTINGS}"]
    assert cluster.starts() == ["wacore1", "wacore2", "wacore3"]
    assert cluster.running("log_level") == {"warning"}
    assert cluster.leftovers() == []
    cluster.forget()
    second = apply(ansible, [cluster], RESTART_BOUND)
    assert _changed(second) == 0, second.output
    assert (cluster.starts(), cluster.writes()) == ([], [])
    assert cluster.client.verbs() == [f"GET {SETTINGS}"]


def test_requests_and_tasks_of_a_converged_client(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_token="", wa_settings_password=PASSWORD)
    assert apply(ansible, [single], HARMLESS).rc == 0
    single.forget()
    run = apply(ansible, [single], HARMLESS)
    assert single.client.verbs() == ["POST /v1/users/login", f"GET {SETTINGS}", "POST /v1/users/logout"]
    # The validation of the role's arguments, the one task, and before 2.18 the skipped rest.
    assert run.stats()["one"]["ok"] == 2, run.output


def test_other_changes_restart_nothing(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    run = apply(ansible, [single], HARMLESS)
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], [])
    assert _changed(run) == 1
    assert not single.state_dir("one").exists()


@pytest.mark.parametrize("way", WAYS)
def test_check_mode_predicts_and_touches_nothing(
    ansible: AnsibleCommands, new_cluster: NewDeployment, way: str
) -> None:
    cluster = new_cluster(**WAYS[way])
    cluster.forget()
    run = apply(ansible, [cluster], RESTART_BOUND, "--check", "--diff")
    assert run.rc == 0, run.output
    assert run.output.count("Would restart: wacore1 on trio-a, wacore2 on trio-b, wacore3 on trio-c") == 2
    assert (cluster.writes(), cluster.starts(), cluster.leftovers()) == ([], [], [])
    assert not any(cluster.state_dir(host).exists() for host in cluster.hosts)


def test_always_restarts_without_a_difference(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_restart="always")
    assert apply(ansible, [single], RESTART_BOUND).rc == 0
    single.forget()
    run = apply(ansible, [single], RESTART_BOUND)
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts(), single.leftovers()) == ([], ["wacore"], [])


def _playbook(ansible: AnsibleCommands, name: str, single: Deployment, values: dict[str, Any], *arguments: str) -> Any:
    variables = {"ansible_python_interpreter": sys.executable, "wa_settings_values": values}
    inventory = ansible.inventory(single.inventory(), variables)
    return ansible.run(["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.{name}", *arguments])


def test_playbooks_apply_and_reset(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    values = {**RESTART_BOUND, **HARMLESS}
    applied = _playbook(ansible, "apply", single, values, "-e", "target=one")
    assert applied.rc == 0, applied.output
    assert single.running("log_level") == {"warning"}
    single.forget()
    reset = _playbook(ansible, "reset", single, values)
    assert reset.rc == 0, reset.output
    assert single.writes() == [f"DELETE {SETTINGS}"]
    assert single.running("log_level") == {"info"}
    assert single.client.control.stored() == {}
    single.forget()
    again = _playbook(ansible, "reset", single, values)
    assert _changed(again) == 0, again.output
    assert (single.writes(), single.starts()) == ([], [])


def test_wrong_arguments_fail_before_anything_happens(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_restart="sometimes")
    single.forget()
    run = apply(ansible, [single], RESTART_BOUND)
    assert run.rc != 0
    assert "wa_settings_restart" in run.output
    assert single.client.verbs() == []
