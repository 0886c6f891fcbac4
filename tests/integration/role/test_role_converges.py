# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's main job: settings as declared, restarts where they are needed and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import AnsibleCommands, mostly, need_root
from support.deployments import APART, SETTINGS, NewDeployment, apply
from support.emulator import PASSWORD
from support.plays import changed, nodes_in, words

RESTART_BOUND = {"log_level": "warning"}
HARMLESS = {"show_security_notifications": True}
NODES = ["wacore1", "wacore2", "wacore3"]

# Ways to the API: in the controller process; by a module on the host itself; with the container work under another
# account, which must not concern the API calls.
WAYS: dict[str, dict[str, Any]] = {
    "controller": {},
    "host": {"wa_settings_api_delegate": "{{ inventory_hostname }}", "wabiz_direct_execution": False},
    "become": {"ansible_become": True, "ansible_become_method": "su"},
}
WAYS_OF_CLUSTERS = {**WAYS, "apart": APART}


def facts(way: str) -> dict[str, Any]:
    """The variables of a way."""
    if way == "become":
        need_root("su asks everybody but root for a password")
    return WAYS_OF_CLUSTERS[way]


@pytest.mark.parametrize("way", mostly("controller", "host", rest=["become"]))
def test_single_client_converges_with_one_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, way: str
) -> None:
    single = new_single(**facts(way))
    single.forget()
    first = apply(ansible, [single], RESTART_BOUND)
    assert first.rc == 0, first.output
    assert "Restarting Coreapp 1 of 1: wacore on one" in first.output
    assert "one: changed: log_level; restarted: wacore on one; pending restarts: none" in words(first)
    assert single.starts() == ["wacore"]
    assert single.running("log_level") == {"warning"}
    assert single.leftovers() == []
    single.forget()
    second = apply(ansible, [single], RESTART_BOUND)
    assert second.rc == 0, second.output
    assert changed(second) == 0
    assert (single.starts(), single.writes()) == ([], [])


@pytest.mark.parametrize("way", mostly("host", "become", "apart", rest=["controller"]))
def test_cluster_is_written_once_and_restarts_everywhere(
    ansible: AnsibleCommands, new_cluster: NewDeployment, way: str
) -> None:
    cluster = new_cluster(**facts(way))
    cluster.forget()
    first = apply(ansible, [cluster], RESTART_BOUND)
    assert first.rc == 0, first.output
    assert cluster.writes() == [f"PATCH {SETTINGS}"]
    assert sorted(cluster.starts()) == NODES
    assert cluster.running("log_level") == {"warning"}
    assert cluster.leftovers() == []
    cluster.forget()
    second = apply(ansible, [cluster], RESTART_BOUND)
    assert changed(second) == 0, second.output
    assert (cluster.starts(), cluster.writes()) == ([], [])
    assert cluster.client.verbs() == [f"GET {SETTINGS}"]


def test_requests_and_tasks_of_a_converged_client(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_token="", wa_settings_password=PASSWORD)
    assert apply(ansible, [single], HARMLESS).rc == 0
    single.forget()
    run = apply(ansible, [single], HARMLESS)
    assert single.client.verbs() == ["POST /v1/users/login", f"GET {SETTINGS}", "POST /v1/users/logout"]
    assert not single.state_dir("one").exists()
    assert run.stats()["one"]["ok"] <= 3, run.output


def test_other_changes_restart_nothing(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    run = apply(ansible, [single], HARMLESS)
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], [])
    assert changed(run) == 1
    assert not single.state_dir("one").exists()


@pytest.mark.parametrize("way", mostly("host", "apart", rest=["become", "controller"]))
def test_check_mode_predicts_and_touches_nothing(
    ansible: AnsibleCommands, new_cluster: NewDeployment, way: str
) -> None:
    cluster = new_cluster(**facts(way))
    cluster.forget()
    run = apply(ansible, [cluster], RESTART_BOUND, "--check", "--diff")
    assert run.rc == 0, run.output
    (predicted,) = [line for line in run.output.splitlines() if "would restart" in line]
    assert (sorted(nodes_in(predicted)), "would change: log_level" in predicted) == (NODES, True)
    assert (cluster.writes(), cluster.starts(), cluster.leftovers()) == ([], [], [])
    assert not any(cluster.state_dir(host).exists() for host in cluster.hosts)


def test_always_restarts_without_a_difference(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_restart="always")
    assert apply(ansible, [single], RESTART_BOUND).rc == 0
    single.forget()
    run = apply(ansible, [single], RESTART_BOUND)
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts(), single.leftovers()) == ([], ["wacore"], [])


def test_reset_restarts_what_it_has_to_and_finds_nothing_to_do_the_second_time(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    assert apply(ansible, [single], {**RESTART_BOUND, **HARMLESS}).rc == 0
    single.forget()
    inventory = ansible.inventory(single.inventory(), {"ansible_python_interpreter": "{{ ansible_playbook_python }}"})
    command = ["ansible-playbook", "-i", str(inventory), "wabiz.onprem.reset", "-e", "target=one"]
    reset = ansible.run(command)
    assert reset.rc == 0, reset.output
    assert (single.writes(), single.starts()) == ([f"DELETE {SETTINGS}"], ["wacore"])
    assert single.running("log_level") == {"info"}
    single.forget()
    again = ansible.run(command)
    assert (again.rc, changed(again)) == (0, 0), again.output
    assert (single.writes(), single.starts()) == ([], [])


def test_what_a_reset_does_is_unknown_before_only(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    """A real run knows it afterwards."""
    cluster = new_cluster()
    assert apply(ansible, [cluster], RESTART_BOUND).rc == 0
    inventory = ansible.inventory(cluster.inventory(), {"ansible_python_interpreter": "{{ ansible_playbook_python }}"})
    command = ["ansible-playbook", "-i", str(inventory), "wabiz.onprem.reset", "-e", "target=all"]
    unsure = "what the reset makes of"
    assert unsure in ansible.run([*command, "--check"]).output
    reset = ansible.run(command)
    assert reset.rc == 0, reset.output
    assert unsure not in reset.output
    assert cluster.running("log_level") == {"info"}
