# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two runs at once on one cluster: one after the other touches its nodes, and neither forgets what the other wanted."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, StartedCommand, mostly
from support.deployments import APART, Deployment, NewDeployment, apply, start_apply
from support.plays import NOTIFY, changed, connect_all, include, most_down, restart_by, restart_slowly, words

NODES = ["wacore1", "wacore2", "wacore3"]
# Long enough for two runs to meet, whichever starts first.
DOWN_SECONDS = 2
# Of a user, who changes something that only a restart takes up.
_UPLOAD = {
    "name": "Upload a certificate",
    "ansible.builtin.debug": {"msg": "uploaded"},
    "changed_when": True,
    "notify": NOTIFY,
}


@pytest.fixture
def trio(new_cluster: NewDeployment) -> Deployment:
    """A cluster whose three Coreapps are all connected, and that takes its time to restart them."""
    return _slow(new_cluster(**APART))


def _slow(cluster: Deployment) -> Deployment:
    restart_slowly(cluster, DOWN_SECONDS)
    connect_all(cluster)
    cluster.forget()
    return cluster


def _await_stop(cluster: Deployment, running: StartedCommand) -> None:
    """Wait until a run has stopped a node."""
    end = time.monotonic() + 120
    while not any(event["event"] == "stop" for event in cluster.client.control.node_events()):
        assert running.process.poll() is None, running.finish().output
        assert time.monotonic() < end, "no node was stopped"
        time.sleep(0.05)


def test_runs_with_different_settings_never_take_two_nodes_down(trio: Deployment, tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [{"log_level": "warning"}, {"webhooks": {"max_concurrent_requests": 12}}]
    runs = [start_apply(AnsibleCommands(tmp_path / str(n)), [trio], wanted) for n, wanted in enumerate(values)]
    finished = [run.finish() for run in runs]
    assert [run.rc for run in finished] == [0, 0], "\n".join(run.output for run in finished)
    assert most_down(trio) == 1
    assert trio.running("log_level") == {"warning"}
    assert trio.running("webhooks.max_concurrent_requests") == {12}
    assert max(Counter(trio.starts()).values()) <= 2
    again = apply(AnsibleCommands(tmp_path / "again"), [trio], {**values[0], **values[1]})
    assert (again.rc, changed(again)) == (0, 0), again.output


def test_demand_of_a_second_run_in_the_middle_of_a_rolling_restart_is_not_forgotten(
    trio: Deployment, tmp_path: Path
) -> None:
    first = start_apply(AnsibleCommands(tmp_path / "1"), [trio], {"log_level": "warning"})
    _await_stop(trio, first)
    second = start_apply(AnsibleCommands(tmp_path / "2"), [trio], {"callback_persist": False})
    finished = [first.finish(), second.finish()]
    assert [run.rc for run in finished] == [0, 0], "\n".join(run.output for run in finished)
    assert (trio.running("log_level"), trio.running("callback_persist")) == ({"warning"}, {False})
    assert most_down(trio) == 1


def test_second_run_that_wants_nothing_new_restarts_nothing_more(trio: Deployment, tmp_path: Path) -> None:
    """The same job started twice, as an impatient person or two slices of a job do."""
    values = {"log_level": "warning"}
    first = start_apply(AnsibleCommands(tmp_path / "1"), [trio], values)
    _await_stop(trio, first)
    second = start_apply(AnsibleCommands(tmp_path / "2"), [trio], values)
    finished = [first.finish(), second.finish()]
    assert [run.rc for run in finished] == [0, 0], "\n".join(run.output for run in finished)
    assert sorted(trio.starts()) == NODES
    assert most_down(trio) == 1
    assert changed(finished[1]) == 0, finished[1].output


def test_two_restarts_by_themselves_go_one_after_the_other(trio: Deployment, tmp_path: Path) -> None:
    restart = {"ansible.builtin.import_role": {"name": "wabiz.onprem.wa_settings", "tasks_from": "restart"}}
    play = {"roles": [], "tasks": [{"name": "Restart", **restart}]}
    runs = [start_apply(AnsibleCommands(tmp_path / str(n)), [trio], {}, play=play) for n in range(2)]
    finished = [run.finish() for run in runs]
    assert [run.rc for run in finished] == [0, 0], "\n".join(run.output for run in finished)
    assert most_down(trio) == 1
    # Each asked for all: that both are done by one restart is no harm, that one is forgotten is.
    assert set(Counter(trio.starts()).values()) <= {1, 2}
    assert set(trio.starts()) == set(NODES)


def test_run_that_waits_says_for_whom_and_gives_up_at_its_limit(trio: Deployment, tmp_path: Path) -> None:
    restart_slowly(trio, 12)
    first = start_apply(AnsibleCommands(tmp_path / "1"), [trio], {"log_level": "warning"})
    _await_stop(trio, first)
    limit = ("-e", json.dumps({"wa_settings_lock_timeout": 1}))
    second = apply(AnsibleCommands(tmp_path / "2"), [trio], {"callback_persist": False}, *limit)
    assert second.rc != 0, second.output
    assert trio.client.control.effective()["callback_persist"] is True
    said = words(second)
    assert trio.name in said
    assert "another run" in said or "held by" in said, second.output
    assert first.finish().rc == 0
    assert trio.running("log_level") == {"warning"}


def test_demands_of_runs_that_record_at_the_same_moment_are_all_kept(new_single: NewDeployment, tmp_path: Path) -> None:
    """Many runs that each want one thing, all started at the same moment."""
    single = new_single()
    single.forget()
    wanted: list[dict[str, Any]] = [
        {"log_level": "error"},
        {"callback_persist": False},
        {"webhooks": {"max_concurrent_requests": 18}},
    ]
    never = {"wa_settings_restart": "never"}
    barrier = threading.Barrier(len(wanted))
    results = []

    def run(number: int) -> None:
        barrier.wait()
        commands = AnsibleCommands(tmp_path / f"n{number}")
        results.append(apply(commands, [single], wanted[number], variables=never))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.rc for run in results] == [0] * len(wanted), "\n".join(run.output for run in results)
    assert single.starts() == []
    rest = apply(AnsibleCommands(tmp_path / "rest"), [single], {"log_level": "error"})
    assert (rest.rc, single.starts()) == (0, ["wacore"]), rest.output
    assert single.running("webhooks.max_concurrent_requests") == {18}
    end = apply(AnsibleCommands(tmp_path / "end"), [single], wanted[0])
    assert (end.rc, changed(end), single.starts()) == (0, 0, ["wacore"]), end.output


def test_record_follows_no_link_that_somebody_left_for_its_draft(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    single = new_single()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    never = {"wa_settings_restart": "never"}
    assert apply(ansible, [single], {"log_level": "warning"}, variables=never).rc == 0
    for record in single.leftovers():
        for suffix in (".tmp", ".new", ".draft", "~", ".part"):
            for name in (f"{record.name}{suffix}", f".{record.name}{suffix}", f"{record.stem}{suffix}"):
                link = record.with_name(name)
                if not link.exists():
                    link.symlink_to(precious)
    run = apply(ansible, [single], {"callback_persist": False}, variables=never)
    assert run.rc == 0, run.output
    assert precious.read_text() == "mine"


def test_directory_that_others_may_write_to_is_refused(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.state_dir("one").mkdir(parents=True)
    single.state_dir("one").chmod(0o777)
    single.forget()
    run = apply(ansible, [single], {"log_level": "warning"})
    assert run.rc != 0, run.output
    assert str(single.state_dir("one")) in words(run)
    assert (single.writes(), single.starts()) == ([], [])


@pytest.mark.parametrize("section", ["tasks", "pre_tasks"])
@pytest.mark.parametrize("serial", mostly(1, rest=[3]))
def test_notify_of_a_user_restarts_each_node_once_whatever_the_batches(
    ansible: AnsibleCommands, trio: Deployment, serial: int, section: str
) -> None:
    values = {"callback_backoff_delay_ms": 5000}
    assert apply(ansible, [trio], values).rc == 0
    trio.forget()
    run = apply(ansible, [trio], values, play={"serial": serial, section: [_UPLOAD]})
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == NODES, run.output
    assert most_down(trio) == 1


@pytest.mark.parametrize("serial", mostly(1, rest=[2]))
@pytest.mark.parametrize("notifies", mostly("last", rest=["first"]))
def test_notify_of_one_batch_restarts_the_nodes_of_all(
    ansible: AnsibleCommands, new_cluster: NewDeployment, notifies: str, serial: int
) -> None:
    """Whichever batch it is, nothing stays pending."""
    trio = new_cluster(**APART)
    connect_all(trio)
    values = {"callback_backoff_delay_ms": 5000}
    assert apply(ansible, [trio], values).rc == 0
    trio.forget()
    host = list(trio.hosts)[0 if notifies == "first" else -1]
    upload = {**_UPLOAD, "when": f"inventory_hostname == '{host}'"}
    run = apply(ansible, [trio], values, play={"serial": serial, "tasks": [upload]})
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == NODES, run.output
    assert most_down(trio) == 1
    assert trio.leftovers() == []


def test_notify_of_a_host_that_left_the_role_to_another_restarts_the_cluster(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """The role runs on one host of the cluster only, and another one notifies."""
    trio = new_cluster(**APART)
    connect_all(trio)
    trio.forget()
    first, *_others, last = trio.hosts
    role = {**include(), "when": f"inventory_hostname == '{first}'"}
    upload = {**_UPLOAD, "when": f"inventory_hostname == '{last}'"}
    values = {"callback_backoff_delay_ms": 5000}
    run = apply(ansible, [trio], values, play={"roles": [], "tasks": [role, upload]})
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == NODES, run.output
    assert (most_down(trio), trio.leftovers()) == (1, [])


@pytest.mark.parametrize("play", mostly({"serial": 1}, rest=[{"serial": 2}, {"strategy": "free"}, {}]), ids=str)
def test_restart_in_any_case_restarts_each_node_once(
    ansible: AnsibleCommands, new_cluster: NewDeployment, play: dict[str, Any]
) -> None:
    trio = new_cluster(**APART)
    connect_all(trio)
    trio.forget()
    always = {"wa_settings_restart": "always"}
    for _run in ("with a change", "without"):
        run = apply(ansible, [trio], {"log_level": "warning"}, play=play, variables=always)
        assert run.rc == 0, run.output
        assert sorted(trio.starts()) == NODES, run.output
        assert (most_down(trio), trio.running("log_level"), trio.leftovers()) == (1, {"warning"}, [])
        trio.forget()


@pytest.mark.parametrize("facts", [APART, {}], ids=["apart", "here"])
def test_change_and_notify_together_restart_each_node_once(
    ansible: AnsibleCommands, new_cluster: NewDeployment, facts: dict[str, Any]
) -> None:
    trio = _slow(new_cluster(**facts))
    run = apply(ansible, [trio], {"log_level": "warning"}, play={"tasks": [_UPLOAD]})
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == NODES
    assert trio.running("log_level") == {"warning"}


@pytest.mark.parametrize("forks", mostly("1", rest=["5"]))
@pytest.mark.parametrize("facts", mostly({}, rest=[APART]))
def test_hosts_that_notify_one_after_the_other_each_have_their_restart(
    ansible: AnsibleCommands, new_cluster: NewDeployment, facts: dict[str, Any], forks: str
) -> None:
    """What the second host has changed came after the restart that the first one asked for."""
    trio = new_cluster(**facts)
    connect_all(trio)
    first, *_others, last = trio.hosts
    flush = {"ansible.builtin.meta": "flush_handlers"}
    tasks = [{**_UPLOAD, "when": f"inventory_hostname == '{host}'"} for host in (first, last)]
    values: dict[str, Any] = {"callback_backoff_delay_ms": 5000}
    assert apply(ansible, [trio], values).rc == 0
    trio.forget()
    run = apply(ansible, [trio], values, "--forks", forks, play={"tasks": [tasks[0], flush, tasks[1]]})
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == sorted(2 * NODES)
    trio.forget()
    # A host that notifies beside a change of the role's, which another host of the cluster acts for.
    changes = {"log_level": "warning"}
    middle = {**_UPLOAD, "when": f"inventory_hostname == '{list(trio.hosts)[1]}'"}
    beside = apply(ansible, [trio], changes, "--forks", forks, play={"tasks": [middle, flush, tasks[1]]})
    assert beside.rc == 0, beside.output
    assert sorted(trio.starts()) == sorted(2 * NODES), beside.output
    values = changes
    trio.forget()
    both = apply(ansible, [trio], values, "--forks", forks, play={"tasks": [tasks[0], flush, _UPLOAD]})
    assert both.rc == 0, both.output
    assert sorted(trio.starts()) == sorted(2 * NODES)


def test_host_that_is_left_behind_with_the_strategy_free_has_its_restart(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    trio = new_cluster()
    connect_all(trio)
    trio.forget()
    *_others, last = trio.hosts
    # The first hosts are through with their handlers by then.
    wait = {"ansible.builtin.wait_for": {"timeout": 10}, "when": f"inventory_hostname == '{last}'"}
    play = {"strategy": "free", "tasks": [wait, _UPLOAD]}
    run = apply(ansible, [trio], {"callback_backoff_delay_ms": 5000}, play=play)
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == sorted(2 * NODES)


def test_hosts_that_restart_one_after_the_other_each_have_their_restart(
    ansible: AnsibleCommands, trio: Deployment
) -> None:
    restart = {"import_role": {"name": "wabiz.onprem.wa_settings", "tasks_from": "restart"}}
    first, *_others, last = trio.hosts
    tasks = [{**restart, "when": f"inventory_hostname == '{host}'"} for host in (first, last)]
    run = apply(ansible, [trio], {}, play={"roles": [], "tasks": tasks})
    assert run.rc == 0, run.output
    assert sorted(trio.starts()) == sorted(2 * NODES)
    assert most_down(trio) == 1


@pytest.mark.parametrize("facts", [{}, APART], ids=["here", "apart"])
def test_restart_by_itself_with_restarts_pending_restarts_each_node_once(
    ansible: AnsibleCommands, new_cluster: NewDeployment, facts: dict[str, Any]
) -> None:
    cluster = new_cluster(**facts)
    connect_all(cluster)
    cluster.forget()
    assert apply(ansible, [cluster], {"log_level": "warning"}, variables={"wa_settings_restart": "never"}).rc == 0
    restart = {"import_role": {"name": "wabiz.onprem.wa_settings", "tasks_from": "restart"}}
    facts_of_all = {"debug": {"msg": "{{ wa_settings_restart_required }} {{ wa_settings_summary.pending | length }}"}}
    run = apply(ansible, [cluster], {}, play={"roles": [], "tasks": [restart, facts_of_all]})
    assert run.rc == 0, run.output
    assert sorted(cluster.starts()) == NODES, run.output
    assert cluster.running("log_level") == {"warning"}


def test_change_with_serial_restarts_each_node_in_its_own_batch(ansible: AnsibleCommands, trio: Deployment) -> None:
    marks = {"name": "Mark", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }}"}}
    run = apply(ansible, [trio], {"log_level": "warning"}, play={"serial": 1, "post_tasks": [marks]})
    assert run.rc == 0, run.output
    assert (len(trio.writes()), trio.starts()) == (1, NODES)
    starts = [event["time"] for event in trio.client.control.node_events() if event["event"] == "start"]
    ends = [record["time"] for record in run.records if record.get("task") == "Mark"]
    # A node starts before the end of its own batch, and not before the end of the batch before.
    assert len(ends) == len(starts) == len(NODES)
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))


def test_lease_of_a_run_that_was_killed_is_taken_over_at_once(trio: Deployment, tmp_path: Path) -> None:
    first = start_apply(AnsibleCommands(tmp_path / "1"), [trio], {"log_level": "warning"})
    _await_stop(trio, first)
    first.process.kill()
    first.finish()
    began = time.monotonic()
    second = apply(AnsibleCommands(tmp_path / "2"), [trio], {"log_level": "warning"})
    assert second.rc == 0, second.output
    # Far below any time that a lease might be given.
    assert time.monotonic() - began < 90
    assert trio.running("log_level") == {"warning"}
    assert most_down(trio) == 1
    assert len(trio.starts()) <= len(NODES) + 1


def test_command_that_fails_now_and_then_is_repeated_by_the_next_run_only(
    ansible: AnsibleCommands, new_cluster: NewDeployment, tmp_path: Path
) -> None:
    cluster = new_cluster()
    once = tmp_path / "failed"
    restart_by(
        cluster, tmp_path, f'if [ "$1" = wacore2 ] && [ ! -e {once} ]; then touch {once}; exit 7; fi; restart "$1"'
    )
    cluster.forget()
    first = apply(ansible, [cluster], {"log_level": "warning"})
    assert first.rc != 0
    assert "wacore2" in first.output
    second = apply(ansible, [cluster], {"log_level": "warning"})
    assert second.rc == 0, second.output
    assert Counter(cluster.starts()) == dict.fromkeys(NODES, 1)
    assert cluster.running("log_level") == {"warning"}
