# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pending restarts: written down before the settings, kept whatever happens to the run, done by the next one."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import AnsibleCommands, mostly
from support.deployments import SETTINGS, NewDeployment, apply
from support.plays import words

VALUES = {"log_level": "warning"}
NODES = ["wacore1", "wacore2", "wacore3"]
NEVER = {"wa_settings_restart": "never"}
# The handlers of roles run after post_tasks only if those come in tasks: there the failure comes first.
FAILING_AFTERWARDS: dict[str, Any] = {
    "roles": [],
    "tasks": [
        {"name": "Keep", "ansible.builtin.import_role": {"name": "wabiz.onprem.wa_settings"}},
        {"name": "Break", "ansible.builtin.fail": {"msg": "broken"}},
    ],
}


def test_record_says_what_is_pending_and_for_which_settings(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    left = apply(ansible, [cluster], VALUES, variables=NEVER)
    assert left.rc == 0, left.output
    assert (cluster.writes(), cluster.starts(), cluster.pending()) == ([f"PATCH {SETTINGS}"], [], NODES)
    for host, nodes in cluster.hosts.items():
        record = cluster.record(host)
        assert record is not None
        assert (record["cluster"], record["host"], record["settings"]) == ("trio", host, ["log_level"])
        assert [node["name"] for node in record["nodes"]] == nodes
        # The settings were written, nothing was stopped, and nobody works on the cluster any more.
        assert (record["noted"], record["returning"], record["lease"]) == (record["generation"], None, None)
        assert "warning" not in str(record)
    cluster.forget()
    done = apply(ansible, [cluster], VALUES)
    assert done.rc == 0, done.output
    assert (cluster.writes(), sorted(cluster.starts()), cluster.leftovers()) == ([], NODES, [])


@pytest.mark.parametrize(
    "content",
    [
        *mostly("{", rest=["", "[]", '{"format": 99}', '{"format": 2, "cluster": 1}']),
    ],
)
def test_record_that_makes_no_sense_means_that_everything_is_pending(
    ansible: AnsibleCommands, new_cluster: NewDeployment, content: str
) -> None:
    cluster = new_cluster()
    assert apply(ansible, [cluster], VALUES, variables=NEVER).rc == 0
    for path in cluster.leftovers():
        path.write_text(content)
    cluster.forget()
    run = apply(ansible, [cluster], VALUES)
    assert run.rc == 0, run.output
    assert "the record of pending restarts cannot be read, so every restart is pending" in words(run)
    assert sorted(cluster.starts()) == NODES
    assert cluster.leftovers() == []


@pytest.mark.parametrize("mode", ["check", "run"])
def test_record_that_cannot_be_written_stops_the_run_before_the_settings(
    ansible: AnsibleCommands, new_cluster: NewDeployment, mode: str
) -> None:
    cluster = new_cluster()
    blocked = cluster.state_dir("trio-b")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the directory should be")
    cluster.forget()
    run = apply(ansible, [cluster], VALUES, *(["--check"] if mode == "check" else []))
    assert run.rc != 0
    assert str(blocked) in words(run)
    assert (cluster.writes(), cluster.starts(), cluster.pending()) == ([], [], [])
    assert cluster.client.control.effective()["log_level"] == "info"


def test_host_outside_the_play_whose_record_cannot_be_written_is_on_the_records_of_the_others(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    blocked = cluster.state_dir("trio-c")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the directory should be")
    cluster.forget()
    run = apply(ansible, [cluster], VALUES, "--limit", "trio-a,trio-b")
    assert run.rc == 0, run.output
    assert "trio-c" in words(run)
    assert sorted(cluster.starts()) == ["wacore1", "wacore2"]
    for host in ("trio-a", "trio-b"):
        record = cluster.record(host)
        assert record is not None
        assert record["elsewhere"] == ["trio-c"]
    blocked.unlink()
    rest = apply(ansible, [cluster], VALUES)
    assert rest.rc == 0, rest.output
    assert cluster.starts()[2:] == ["wacore3"]
    assert cluster.leftovers() == []


def test_failing_task_after_the_role_loses_nothing(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    failed = apply(ansible, [single], VALUES, play=FAILING_AFTERWARDS)
    assert failed.rc != 0
    assert (single.writes(), single.starts(), single.pending()) == ([f"PATCH {SETTINGS}"], [], ["wacore"])
    rest = apply(ansible, [single], VALUES)
    assert rest.rc == 0, rest.output
    assert (single.starts(), single.leftovers()) == (["wacore"], [])


def test_force_handlers_restarts_in_spite_of_a_failing_task(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    single.forget()
    failed = apply(ansible, [single], VALUES, "--force-handlers", play=FAILING_AFTERWARDS)
    assert failed.rc != 0
    assert (single.starts(), single.leftovers()) == (["wacore"], [])


def test_settings_that_are_refused_leave_nothing_undone(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.client.control.fault(
        "error", method="PATCH", path="/v1/settings", status=400, code=1009, details="no", times=None
    )
    single.forget()
    failed = apply(ansible, [single], VALUES)
    assert failed.rc != 0
    assert (single.starts(), single.running("log_level")) == ([], {"info"})
    single.client.control.clear_faults()
    assert apply(ansible, [single], VALUES).rc == 0
    assert (single.starts(), single.running("log_level"), single.leftovers()) == (["wacore"], {"warning"}, [])
