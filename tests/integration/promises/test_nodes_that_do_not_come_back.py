# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Started is not healthy: a node that is not back holds up its cluster, in this run and in each later one."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import APART, SETTINGS, Deployment, NewDeployment, apply
from support.plays import (
    ROLE,
    SHOW,
    changed,
    most_down,
    node_named,
    nodes_in,
    on_record,
    restart_breakably,
    restart_by,
    stopped,
    summary,
    words,
)

VALUES = {"log_level": "warning"}
NODES = ["wacore1", "wacore2", "wacore3"]


@pytest.fixture
def trio(new_cluster: NewDeployment) -> Deployment:
    """A cluster with all three Coreapps connected."""
    cluster = new_cluster(**APART)
    cluster.client.control.switch(shards=3)
    _settle(cluster)
    return cluster


def _settle(cluster: Deployment) -> None:
    """Let elections end, and forget what was logged of them."""
    time.sleep(0.3)
    cluster.client.control.nodes()
    cluster.forget()


@pytest.mark.parametrize("gone", mostly("omit", rest=["disconnected"]))
def test_node_that_is_down_keeps_every_later_run_from_the_next_node(
    ansible: AnsibleCommands, trio: Deployment, tmp_path: Path, gone: str
) -> None:
    # Some versions list dead nodes, as disconnected: as they list a stand-by.
    trio.client.control.switch(gone_nodes=gone)
    broken = restart_breakably(trio, tmp_path, "wacore1")
    for attempt in range(3):
        run = apply(ansible, [trio], VALUES)
        assert run.rc != 0, f"attempt {attempt}: {run.output}"
        assert "wacore1" in run.output
        assert set(stopped(trio)) == {"wacore1"}, f"attempt {attempt}"
    broken.unlink()
    trio.client.control.act_on_node(node_named(trio, "wacore1"), "start")
    repaired = apply(ansible, [trio], VALUES)
    assert repaired.rc == 0, repaired.output
    assert trio.running("log_level") == {"warning"}
    # It was down already, and one node at a time is down from there on.
    starts = Counter(trio.starts())
    assert (starts["wacore2"], starts["wacore3"]) == (1, 1)
    assert starts["wacore1"] <= 2
    assert most_down(trio) == 1


def test_node_that_gets_another_name_before_it_is_back_holds_nothing_up(
    ansible: AnsibleCommands, trio: Deployment, tmp_path: Path
) -> None:
    broken = restart_breakably(trio, tmp_path, "wacore2", health_timeout=5)
    assert apply(ansible, [trio], VALUES).rc != 0
    assert "wacore2" in on_record(trio)
    broken.unlink()
    renamed = replace(trio, hosts={**trio.hosts, "trio-b": [node_named(trio, "wacore2")]})
    run = apply(ansible, [renamed], VALUES)
    assert run.rc == 0, run.output
    assert trio.running("log_level") == {"warning"}
    trio.forget()
    again = apply(ansible, [renamed], VALUES)
    assert (again.rc, trio.starts(), trio.leftovers()) == (0, [], []), again.output


def test_wrong_name_of_a_node_is_refused_where_health_knows_the_others(
    ansible: AnsibleCommands, trio: Deployment
) -> None:
    wrong = replace(trio, hosts={**trio.hosts, "trio-b": ["wacore22"]})
    run = apply(ansible, [wrong], VALUES)
    assert run.rc != 0
    assert "health names wacore2" in words(run)
    assert (trio.writes(), trio.starts(), trio.leftovers()) == ([], [], []), run.output


def test_node_that_was_down_before_the_run_is_connected_before_the_next_one_stops(
    ansible: AnsibleCommands, trio: Deployment
) -> None:
    """Its client does not list it, so as many are connected as before without it."""
    trio.client.control.switch(gone_nodes="omit", connect_seconds=1)
    trio.client.control.act_on_node(node_named(trio, "wacore2"), "stop")
    trio.forget()
    run = apply(ansible, [trio], VALUES)
    assert run.rc == 0, run.output
    assert Counter(trio.starts()) == dict.fromkeys(NODES, 1), run.output
    events = [(event["node"].partition(":")[0], event["event"]) for event in trio.client.control.node_events()]
    others = [at for at, (node, event) in enumerate(events) if node != "wacore2" and event == "stop"]
    assert events.index(("wacore2", "connected")) < min(others), events


@pytest.mark.parametrize(
    "hosts",
    [pytest.param({"solo": NODES}, id="one-host", marks=pytest.mark.thorough), pytest.param(None, id="a-host-each")],
)
def test_stand_by_that_stays_down_is_not_forgotten(
    ansible: AnsibleCommands, new_cluster: NewDeployment, tmp_path: Path, hosts: dict[str, list[str]] | None
) -> None:
    """As many are connected as before without it, and its client does not list it any more."""
    cluster = new_cluster("ha", hosts) if hosts else new_cluster("ha", **APART)
    cluster.client.control.switch(shards=1)
    _settle(cluster)
    (serving,) = [
        n
        for n in cluster.client.control.nodes().values()
        if n["gateway_status"] == "connected" and n["kind"] == "coreapp"
    ]
    down = next(node for node in NODES if node != serving["hostname"])
    broken = restart_breakably(cluster, tmp_path, down)
    for _attempt in range(2):
        run = apply(ansible, [cluster], VALUES)
        assert run.rc != 0, run.output
        assert down in on_record(cluster)
        assert stopped(cluster)[-1] == down
        failed = [host for host, stats in run.stats().items() if stats["failures"]]
        assert len(failed) == 1, run.output
    broken.unlink()
    repaired = apply(ansible, [cluster], VALUES)
    assert repaired.rc == 0, repaired.output
    assert Counter(cluster.starts()) == dict.fromkeys(NODES, 1), repaired.output
    assert cluster.running("log_level") == {"warning"}
    assert cluster.leftovers() == []


def test_single_client_whose_only_coreapp_lies_stopped(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    single = new_single()
    single.forget()
    broken = restart_breakably(single, tmp_path, "wacore")
    assert apply(ansible, [single], VALUES).rc != 0
    broken.unlink()
    told = apply(ansible, [single], VALUES)
    assert told.rc != 0
    assert "wacore" in words(told)
    assert "--tags restart" in words(told)
    repaired = apply(ansible, [single], VALUES, "--tags", "restart")
    assert repaired.rc == 0, repaired.output
    assert Counter(single.starts()) == {"wacore": 1}
    assert single.running("log_level") == {"warning"}
    assert single.leftovers() == []
    again = apply(ansible, [single], VALUES)
    assert (again.rc, Counter(single.starts())) == (0, {"wacore": 1}), again.output


@pytest.mark.parametrize("kind", mostly("single", "cluster", rest=["cluster, apart"]))
def test_renamed_client_is_told_of_its_pending_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment, kind: str
) -> None:
    new = new_single if kind == "single" else new_cluster
    client = new(**(APART if "apart" in kind else {}))
    was = {} if kind == "single" else {"wa_settings_cluster": client.name}
    client.forget()
    assert apply(ansible, [client], VALUES, variables={"wa_settings_restart": "never"}).rc == 0
    # A slash at the end does not make it another address.
    address = f"{client.client.api_url}/"
    for arguments in ((), ("--check",), ("--tags", "restart"))[: 3 if kind == "single" else 1]:
        extra = {"wa_settings_cluster": "new name", "wa_settings_api_url": address}
        renamed = apply(ansible, [client], VALUES, *arguments, "-e", json.dumps(extra))
        assert renamed.rc != 0, renamed.output
        assert f"wa_settings_cluster was {was.get('wa_settings_cluster', 'one')}" in words(renamed)
        # What may be pending is not said to be done.
        assert '"wa_settings_restart_required": false' not in renamed.output
    assert client.starts() == []
    done = apply(ansible, [client], VALUES)
    assert done.rc == 0, done.output
    assert set(Counter(client.starts()).values()) == {1}
    assert client.running("log_level") == {"warning"}


@pytest.mark.parametrize("kind", mostly("single", "cluster, apart", rest=["single, apart", "cluster"]))
def test_renamed_host_is_told_of_its_pending_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment, kind: str
) -> None:
    """The inventory calls a host by another name from one run to the next."""
    new = new_single if "single" in kind else new_cluster
    client = new(**(APART if "apart" in kind else {}))
    first, *others = client.hosts
    was = client.inventory()
    renamed = {"renamed.example.com": was[first], **{host: was[host] for host in others}}
    client.forget()

    def run(hosts: dict[str, Any], *arguments: str, **variables: Any) -> CommandRun:
        book = {"hosts": "all", "roles": [ROLE]}
        common = {"ansible_python_interpreter": sys.executable, "wa_settings_values": VALUES, **variables}
        return ansible.playbook([book], hosts, *arguments, variables=common)

    assert run(was, wa_settings_restart="never").rc == 0
    for arguments in ((), ("--check",))[: 2 if "single" in kind else 1]:
        told = run(renamed, *arguments)
        assert told.rc != 0, told.output
        assert f"for the host {first}, which is not in this inventory" in words(told)
    done = run(was)
    assert done.rc == 0, done.output
    assert set(Counter(client.starts()).values()) == {1}
    assert client.running("log_level") == {"warning"}
    again = run(renamed)
    assert (again.rc, changed(again)) == (0, 0), again.output


@pytest.mark.parametrize("restart", ["never", "auto"])
def test_what_is_pending_under_a_wrong_name_is_done_under_the_right_one(
    ansible: AnsibleCommands, new_single: NewDeployment, restart: str
) -> None:
    """With C(auto) the command has failed, since there is no such node."""
    single = new_single()
    single.forget()
    wrong = {"wa_settings_restart_containers": ["wacore9"], "wa_settings_restart": restart}
    first = apply(ansible, [single], VALUES, "-e", json.dumps(wrong))
    assert (first.rc == 0) is (restart == "never"), first.output
    assert single.starts() == []
    run = apply(ansible, [single], VALUES)
    assert run.rc == 0, run.output
    assert len(single.starts()) == 1
    assert single.running("log_level") == {"warning"}
    assert changed(apply(ansible, [single], VALUES)) == 0


def test_message_names_the_node_its_state_and_what_is_pending(
    ansible: AnsibleCommands, trio: Deployment, tmp_path: Path
) -> None:
    restart_breakably(trio, tmp_path, "wacore2")
    run = apply(ansible, [trio], VALUES)
    assert run.rc != 0
    failures = [r["result"]["msg"] for r in run.records if r["event"] == "item_failed"]
    assert len(failures) == 1, "one failure is one error"
    assert nodes_in(failures[0])[0] == "wacore2"
    assert "wacore3" in failures[0]
    assert "pending" in failures[0]
    assert on_record(trio) >= {"wacore2", "wacore3"}
    again = apply(ansible, [trio], VALUES)
    assert again.rc != 0
    assert "wacore2" in words(again)
    # It lay stopped, so it was restarted again, once; nothing else was touched.
    assert stopped(trio) == ["wacore1", "wacore2", "wacore2"], again.output


def test_later_run_with_other_settings_does_not_touch_the_next_node_either(
    ansible: AnsibleCommands, trio: Deployment, tmp_path: Path
) -> None:
    restart_breakably(trio, tmp_path, "wacore1")
    assert apply(ansible, [trio], VALUES).rc != 0
    other = apply(ansible, [trio], {"callback_persist": False})
    assert other.rc != 0, other.output
    by_itself = {
        "name": "Restart",
        "ansible.builtin.import_role": {"name": "wabiz.onprem.wa_settings", "tasks_from": "restart"},
    }
    restart = apply(ansible, [trio], {}, play={"roles": [], "tasks": [by_itself]})
    assert restart.rc != 0, restart.output
    assert set(stopped(trio)) == {"wacore1"}


def test_resumed_run_counts_the_nodes_that_have_restarted_already(
    ansible: AnsibleCommands, trio: Deployment, tmp_path: Path
) -> None:
    broken = restart_breakably(trio, tmp_path, "wacore2")
    assert apply(ansible, [trio], VALUES).rc != 0
    broken.unlink()
    # The one in the middle is repaired; the first one, which is done, breaks.
    trio.client.control.act_on_node(node_named(trio, "wacore2"), "start")
    trio.client.control.act_on_node(node_named(trio, "wacore1"), "stop")
    _settle(trio)
    resumed = apply(ansible, [trio], VALUES)
    assert resumed.rc != 0, resumed.output
    assert "wacore3" not in stopped(trio)
    # Who accepts the worse state says so.
    accepted = apply(ansible, [trio], VALUES, "-e", '{"wa_settings_expect_connected": 1}')
    assert accepted.rc == 0, accepted.output
    assert "wacore3" in stopped(trio)


def test_expected_number_is_demanded_before_the_first_restart(ansible: AnsibleCommands, trio: Deployment) -> None:
    trio.client.control.act_on_node(node_named(trio, "wacore3"), "stop")
    trio.extra["wa_settings_health_timeout"] = 3
    _settle(trio)
    run = apply(ansible, [trio], VALUES, "-e", '{"wa_settings_expect_connected": 3}')
    assert run.rc != 0, run.output
    assert stopped(trio) == []


def test_client_that_was_not_connected_before_need_not_be_afterwards(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    single.client.control.switch(unregistered=True)
    single.forget()
    run = apply(ansible, [single], VALUES)
    assert run.rc == 0, run.output
    assert (single.starts(), single.running("log_level")) == (["wacore"], {"warning"})


def test_high_availability_restarts_the_connected_coreapp_last(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """One fail-over, whatever the order of the inventory."""
    cluster = new_cluster()
    cluster.client.control.switch(shards=1)
    # The middle one is to be the oldest, and so the connected one.
    for node in ("wacore1", "wacore3"):
        cluster.client.control.act_on_node(node_named(cluster, node), "restart")
    _settle(cluster)
    statuses = {name.split(":")[0]: node["gateway_status"] for name, node in cluster.client.control.nodes().items()}
    assert [name for name, status in statuses.items() if status == "connected"] == ["wacore2"]
    check = apply(ansible, [cluster], VALUES, "--check", play={"post_tasks": [SHOW]})
    assert check.rc == 0, check.output
    run = apply(ansible, [cluster], VALUES, play={"post_tasks": [SHOW]})
    assert run.rc == 0, run.output
    assert cluster.starts() == ["wacore1", "wacore3", "wacore2"]
    fail_overs = [event for event in cluster.client.control.node_events() if event["event"] == "connected"]
    assert len(fail_overs) == 1
    # Whichever host comes first acts.
    assert cluster.starts() in [nodes_in(summary(run, host)["restarted"]) for host in cluster.hosts]
    assert cluster.starts() in [nodes_in(summary(check, host)["pending"]) for host in cluster.hosts]


def test_masters_that_take_part_go_last_and_the_primary_one_at_the_end(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster("m", {"a": ["master1", "master2", "wacore1", "wacore2", "wacore3"]})
    cluster.forget()
    without = apply(ansible, [cluster], VALUES)
    assert without.rc == 0, without.output
    # A master that is named is a master all the same.
    assert sorted(cluster.starts()) == NODES
    cluster.forget()
    both = apply(ansible, [cluster], {"garbagecollector_enable": {"media": True}})
    assert both.rc == 0, both.output
    assert sorted(cluster.starts()[:3]) == NODES
    assert cluster.starts()[3:] == ["master2", "master1"]


def test_command_that_does_nothing_is_not_believed(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_restart_command=["true"], wa_settings_health_timeout=3)
    single.forget()
    run = apply(ansible, [single], VALUES, play={"post_tasks": [SHOW]})
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], [])
    # It cannot be told for certain, so a word about it is enough; silence is not.
    warnings = [text for result in run.results() for text in result.get("warnings", []) if "wacore" in text]
    assert run.rc != 0 or warnings or summary(run, "one")["pending"], run.output


def test_bad_answer_about_health_is_no_restart(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """A proxy's error and a lost answer say nothing of the node."""
    single = new_single(wa_settings_restart_command=["true"], wa_settings_health_timeout=3)
    single.forget()
    # The first few requests are made before the command runs.
    for number, action in enumerate(("html", "reset", "empty", "status", "cut")):
        single.client.control.fault(action, method="GET", path="/v1/health", skip=7 + 2 * number)
    run = apply(ansible, [single], VALUES)
    assert single.client.control.faults() == []
    assert run.rc != 0, run.output
    assert "does not count" in words(run)
    assert on_record(single) == {"wacore"}


def test_restarts_that_nobody_saw_are_taken_back_when_the_command_turns_out_to_do_nothing(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """In high availability all nodes but one are stand-bys, and health says the same of them before and after."""
    cluster = new_cluster(**APART)
    _settle(cluster)
    cluster.extra.update(wa_settings_restart_command=["true"], wa_settings_health_timeout=3)
    run = apply(ansible, [cluster], VALUES, play={"post_tasks": [SHOW]})
    assert run.rc != 0, run.output
    assert ("Neither do those of" in words(run), cluster.starts()) == (True, [])
    assert on_record(cluster) == set(NODES)
    assert "restarted: wacore" not in words(run)
    cluster.extra.update(wa_settings_restart_command=cluster.node_control("restart"))
    assert apply(ansible, [cluster], VALUES).rc == 0
    assert (sorted(cluster.starts()), cluster.leftovers()) == (NODES, [])


def test_errors_of_the_client_are_waited_out_while_a_node_comes_back(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    single.client.control.switch(connect_seconds=2)
    single.forget()
    single.client.control.fault("status", method="GET", path="/v1/health", skip=6, times=6)
    run = apply(ansible, [single], VALUES)
    assert run.rc == 0, run.output
    assert (single.client.control.faults(), single.starts(), single.leftovers()) == ([], ["wacore"], [])


def test_command_that_only_asks_for_the_restart_is_believed_when_it_comes(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    """As `systemctl --no-block restart` does, or an engine on a slow machine."""
    single = new_single()
    restart_by(single, tmp_path, '(sleep 7; restart "$1") </dev/null >/dev/null 2>&1 &')
    single.forget()
    run = apply(ansible, [single], VALUES)
    assert run.rc == 0, run.output
    assert single.starts() == ["wacore"]
    assert (single.running("log_level"), on_record(single)) == ({"warning"}, set())


def test_command_that_leaves_the_node_down_is_an_error_and_not_a_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    single = new_single(wa_settings_health_timeout=3)
    restart_by(single, tmp_path, 'stop "$1"')
    single.forget()
    run = apply(ansible, [single], VALUES)
    assert run.rc != 0, run.output
    assert on_record(single) == {"wacore"}


def test_command_that_hangs_is_ended_and_its_restart_stays_pending(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    single = new_single(wa_settings_health_timeout=2, wa_settings_restart_stop_timeout=1)
    restart_by(single, tmp_path, "sleep 1000")
    single.forget()
    run = apply(ansible, [single], VALUES)
    assert run.rc != 0, run.output
    assert "it has not ended within 3 s, and was stopped" in words(run)
    assert on_record(single) == {"wacore"}
    restart_by(single, tmp_path, 'restart "$1"')
    again = apply(ansible, [single], VALUES)
    assert again.rc == 0, again.output
    assert (single.starts(), single.running("log_level")) == (["wacore"], {"warning"})
