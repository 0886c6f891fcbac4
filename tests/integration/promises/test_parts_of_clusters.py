# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a cluster: hosts outside the play, out of reach, or in no inventory. What is unknown is not forgotten."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import SETTINGS, Deployment, NewDeployment, apply
from support.plays import NOTIFY, SHOW, changed, nodes_in, on_record, summary, words

VALUES = {"log_level": "warning"}
LOCAL = {"ansible_python_interpreter": sys.executable}
NODES = ["wacore1", "wacore2", "wacore3"]
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
PARTIAL = ("-e", json.dumps({"wa_settings_partial_cluster": True}))
IN_PART = {"a": ["wacore1"], "b": ["wacore2"]}


def _apply_without(
    ansible: AnsibleCommands, cluster: Deployment, away: str, *arguments: str, **play: Any
) -> CommandRun:
    """Run with one host of the cluster out of reach."""
    book = {"hosts": "all", "roles": ["wabiz.onprem.wa_settings"], "post_tasks": [SHOW], **play}
    hosts = {host: {**facts, **(UNREACHABLE if host == away else {})} for host, facts in cluster.inventory().items()}
    return ansible.playbook([book], hosts, *arguments, variables={**LOCAL, "wa_settings_values": VALUES})


def test_unreachable_host_outside_the_play_stays_on_record_until_a_run_reaches_it(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    run = _apply_without(ansible, cluster, "trio-c", "--limit", "trio-a,trio-b")
    assert run.rc == 0, run.output
    assert "trio-c" in words(run)
    assert sorted(cluster.starts()) == ["wacore1", "wacore2"]
    # With every member that could be reached lies what nobody could tell of the other.
    for host in ("trio-a", "trio-b"):
        texts = [path.read_text() for path in cluster.state_dir(host).iterdir()]
        assert any("elsewhere" in text and "trio-c" in text for text in texts), texts
    still = _apply_without(ansible, cluster, "trio-c", "--limit", "trio-a")
    assert still.rc == 0, still.output
    assert "trio-c" in words(still)
    assert "trio-c" in str(summary(still, "trio-a")["pending"])
    cluster.forget()
    whole = apply(ansible, [cluster], VALUES)
    assert whole.rc == 0, whole.output
    assert cluster.starts() == ["wacore3"]
    assert cluster.running("log_level") == {"warning"}
    cluster.forget()
    again = apply(ansible, [cluster], VALUES)
    assert (changed(again), cluster.starts(), cluster.leftovers()) == (0, [], [])


def test_one_host_at_a_time_by_limit_restarts_each_once(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    for host in cluster.hosts:
        run = apply(ansible, [cluster], VALUES, "--limit", host)
        assert run.rc == 0, run.output
    assert (cluster.writes(), cluster.starts()) == ([f"PATCH {SETTINGS}"], NODES)
    assert cluster.leftovers() == []


def test_unreachable_host_of_the_play_lets_nothing_be_written(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    run = _apply_without(ansible, cluster, "trio-c")
    assert run.rc != 0
    # In Ansible's own way.
    assert (run.stats()["trio-c"]["unreachable"], run.stats()["trio-c"]["failures"]) == (1, 0), run.output
    (said,) = [r["result"]["msg"] for r in run.records if r["event"] == "unreachable"]
    assert said.startswith("Failed to connect to the host via ssh"), said
    assert (cluster.writes(), cluster.starts(), cluster.leftovers()) == ([], [], [])


def test_notify_while_a_host_of_the_play_is_away_is_on_record_for_the_next_run(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """What the user's task has done is done, and it will not notify again."""
    cluster = new_cluster()
    assert apply(ansible, [cluster], VALUES).rc == 0
    cluster.forget()
    upload = {"name": "Upload", "ansible.builtin.debug": {}, "changed_when": True, "notify": NOTIFY}
    run = _apply_without(ansible, cluster, "trio-c", tasks=[upload])
    assert run.rc != 0
    assert cluster.starts() == []
    assert "so nothing is restarted and all of it stays pending" in words(run)
    assert sorted(cluster.pending()) == ["wacore1", "wacore2"]
    again = apply(ansible, [cluster], VALUES)
    assert again.rc == 0, again.output
    assert (sorted(cluster.starts()), cluster.leftovers()) == (NODES, [])


@pytest.mark.parametrize("kind", mostly("part", rest=["command"]))
def test_notify_that_is_refused_is_said_to_be_lost(
    ansible: AnsibleCommands, new_cluster: NewDeployment, new_single: NewDeployment, kind: str
) -> None:
    """No record can say it of a node that no host accounts for, so the user has to ask again."""
    client = new_cluster(hosts=IN_PART) if kind == "part" else new_single()
    client.extra["wa_settings_restart_command"] = ["/nonexistent"] if kind == "command" else ["true"]
    client.forget()
    upload = {"name": "Upload", "ansible.builtin.debug": {}, "changed_when": True, "notify": NOTIFY}
    run = apply(ansible, [client], {"show_security_notifications": True}, play={"tasks": [upload]})
    assert run.rc != 0, run.output
    assert ("wa_settings_partial_cluster" if kind == "part" else "/nonexistent") in words(run)
    assert "The restart that was asked for is not on record, so ask for it again" in words(run)
    assert (client.starts(), client.leftovers()) == ([], [])


def test_unreachable_single_host_is_no_failure_of_its_own(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    gone, good = new_single("gone"), new_single("good")
    for single in (gone, good):
        single.forget()
    hosts = {"gone": {**gone.inventory()["gone"], **UNREACHABLE}, **good.inventory()}
    book = {"hosts": "all", "roles": ["wabiz.onprem.wa_settings"]}
    run = ansible.playbook([book], hosts, variables={**LOCAL, "wa_settings_values": VALUES})
    assert (run.stats()["gone"]["unreachable"], run.stats()["gone"]["failures"]) == (1, 0), run.output
    assert (gone.writes(), gone.starts(), good.starts()) == ([], [], ["wacore"])


def test_inventory_that_holds_a_part_of_the_cluster_writes_nothing_restart_bound(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster(hosts=IN_PART)
    cluster.forget()
    check = apply(ansible, [cluster], VALUES, "--check")
    assert check.rc != 0, check.output
    run = apply(ansible, [cluster], VALUES)
    assert run.rc != 0, run.output
    for refused in (check, run):
        assert "wacore3" in words(refused)
        assert "wa_settings_partial_cluster" in words(refused)
    assert (cluster.writes(), cluster.starts(), cluster.leftovers()) == ([], [], [])


def test_part_of_a_cluster_is_good_enough_for_what_needs_no_restart(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster(hosts=IN_PART)
    cluster.forget()
    run = apply(ansible, [cluster], {"callback_backoff_delay_ms": 5000})
    assert run.rc == 0, run.output
    assert (cluster.writes(), cluster.starts()) == ([f"PATCH {SETTINGS}"], [])
    cluster.forget()
    converged = apply(ansible, [cluster], {"log_level": "info"})
    assert (converged.rc, changed(converged)) == (0, 0), converged.output
    assert cluster.client.verbs() == [f"GET {SETTINGS}"]


def test_partial_cluster_on_demand_names_who_is_missing(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster(hosts=IN_PART)
    cluster.forget()
    run = apply(ansible, [cluster], VALUES, *PARTIAL)
    assert run.rc == 0, run.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], ["wacore1", "wacore2"])
    assert "wacore3" in words(run)


def test_single_host_that_forgot_its_cluster_is_a_part_of_one(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """The address of a cluster, declared on one host without `wa_settings_cluster`."""
    cluster = new_cluster(hosts={"a": ["wacore1"]})
    cluster.forget()
    run = apply(ansible, [cluster], VALUES)
    assert run.rc != 0, run.output
    assert {"wacore2", "wacore3"} <= set(nodes_in(words(run)))
    assert (cluster.writes(), cluster.starts()) == ([], [])


@pytest.mark.parametrize("restart", mostly("auto", rest=["never"]))
def test_two_inventory_hosts_of_one_machine_share_a_directory(
    ansible: AnsibleCommands, new_cluster: NewDeployment, restart: str
) -> None:
    cluster = new_cluster()
    shared = str(cluster.place / "shared")
    cluster.extra["wa_settings_state_dir"] = shared
    cluster.forget()
    if restart == "never":
        never = apply(
            ansible, [cluster], VALUES, variables={"wa_settings_restart": "never"}, play={"post_tasks": [SHOW]}
        )
        assert never.rc == 0, never.output
        assert cluster.starts() == []
    run = apply(ansible, [cluster], VALUES)
    assert run.rc == 0, run.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], NODES)
    again = apply(ansible, [cluster], VALUES)
    assert (changed(again), len(cluster.starts())) == (0, 3), again.output


def test_shared_directory_and_one_host_at_a_time(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.extra["wa_settings_state_dir"] = str(cluster.place / "shared")
    cluster.forget()
    for host in cluster.hosts:
        run = apply(ansible, [cluster], VALUES, "--limit", host)
        assert run.rc == 0, run.output
    assert cluster.starts() == NODES


def test_record_of_another_cluster_is_not_taken_for_ones_own(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    """A name that says the same to a file system, and a record that was copied."""
    one, other = new_single("one"), new_single("other")
    never = {"wa_settings_restart": "never"}
    assert apply(ansible, [one], VALUES, variables=never).rc == 0
    (record,) = one.leftovers()
    other.state_dir("other").mkdir(parents=True, mode=0o700)
    copy = other.state_dir("other") / record.name.replace("one", "other")
    copy.write_text(record.read_text())
    copy.chmod(0o600)
    other.forget()
    run = apply(ansible, [other], {"callback_backoff_delay_ms": 5000})
    # It is either seen for what it is, and left or reported, but it pays for nobody.
    assert other.starts() == [] or run.rc != 0, run.output
    rest = apply(ansible, [one], VALUES)
    assert (rest.rc, one.starts()[-1:]) == (0, ["wacore"]), rest.output
    assert on_record(one) == set()


def test_host_outside_the_limit_with_variables_that_cannot_be_rendered_is_named(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    hosts = cluster.inventory()
    hosts["trio-c"]["wa_settings_restart_containers"] = "{{ no_such_variable }}"
    book = {"hosts": "all", "roles": ["wabiz.onprem.wa_settings"]}
    run = ansible.playbook([book], hosts, "--limit", "trio-a", variables={**LOCAL, "wa_settings_values": VALUES})
    assert run.rc != 0
    assert "trio-c, which belongs to cluster trio as well: " in words(run), run.output
    assert "no_such_variable" in words(run)
    assert (cluster.writes(), cluster.starts()) == ([], [])
