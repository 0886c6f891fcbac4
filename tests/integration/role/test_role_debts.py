# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts that are owed: written down before the settings, kept until paid, paid by the next run."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun
from support.deployments import SETTINGS, Deployment, NewDeployment, apply

VALUES = {"log_level": "warning"}
FAILING_AFTERWARDS: dict[str, Any] = {"post_tasks": [{"name": "Break", "ansible.builtin.fail": {"msg": "broken"}}]}


def _owe(ansible: AnsibleCommands, deployment: Deployment) -> CommandRun:
    """Leave a debt behind: the settings written, the restart not done."""
    run = apply(ansible, [deployment], VALUES, variables={"wa_settings_restart": "never"})
    assert run.rc == 0, run.output
    return run


def test_never_leaves_a_record_that_a_later_run_pays(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    run = _owe(ansible, cluster)
    assert "Owed and left, because wa_settings_restart is never: wacore1 on trio-a" in run.output
    assert (cluster.writes(), cluster.starts()) == ([f"PATCH {SETTINGS}"], [])
    assert cluster.owed() == ["wacore1", "wacore2", "wacore3"]
    record = cluster.record("trio-b")
    assert record is not None
    assert record["settings"] == ["log_level"]
    assert "warning" not in str(record)
    assert record["written"] is not None
    assert stat.S_IMODE(cluster.state_dir("trio-b").stat().st_mode) == 0o700
    assert stat.S_IMODE((cluster.state_dir("trio-b") / "trio.json").stat().st_mode) == 0o600

    still_never = _owe(ansible, cluster)
    assert (cluster.starts(), len(cluster.owed())) == ([], 3), still_never.output
    cluster.forget()
    paid = apply(ansible, [cluster], VALUES)
    assert paid.rc == 0, paid.output
    assert "To restart: wacore1 on trio-a, wacore2 on trio-b, wacore3 on trio-c" in paid.output
    assert (cluster.writes(), cluster.starts()) == ([], ["wacore1", "wacore2", "wacore3"])
    assert cluster.leftovers() == []


def test_never_says_that_a_single_client_owes(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    _owe(ansible, single)
    run = _owe(ansible, single)
    assert run.result("wabiz.onprem.wa_settings : Bring the settings to their declared values")["owed"] is True
    assert single.owed() == ["wacore"]


def test_check_mode_shows_a_debt_and_leaves_it(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    _owe(ansible, single)
    single.forget()
    before = single.record("one")
    run = apply(ansible, [single], VALUES, "--check")
    assert run.rc == 0, run.output
    assert run.output.count("Would restart: wacore on one") == 2
    assert (single.starts(), single.record("one")) == ([], before)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', '{"version": 1, "cluster": 1}'])
def test_unreadable_record_means_that_everything_is_owed(
    ansible: AnsibleCommands, new_cluster: NewDeployment, content: str
) -> None:
    cluster = new_cluster()
    _owe(ansible, cluster)
    for host in cluster.hosts:
        (cluster.state_dir(host) / "trio.json").write_text(content)
    cluster.forget()
    run = apply(ansible, [cluster], VALUES)
    assert run.rc == 0, run.output
    assert "the record of owed restarts cannot be read, so everything is owed" in " ".join(run.output.split())
    assert cluster.starts() == ["wacore1", "wacore2", "wacore3"]
    assert cluster.leftovers() == []


def test_record_that_cannot_be_written_stops_the_run_before_the_settings(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    blocked = cluster.state_dir("trio-b")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the directory should be")
    cluster.forget()
    run = apply(ansible, [cluster], VALUES)
    assert run.rc != 0
    assert "the record of owed restarts cannot be" in run.output
    assert (cluster.writes(), cluster.starts()) == ([], [])
    assert cluster.client.control.effective()["log_level"] == "info"


def test_failing_task_after_the_role_loses_nothing(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    # The handlers of roles run after post_tasks only if those come in tasks: there the failure strikes first.
    play = {
        "roles": [],
        "tasks": [{"import_role": {"name": "wabiz.onprem.wa_settings"}}, *FAILING_AFTERWARDS["post_tasks"]],
    }
    failed = apply(ansible, [single], VALUES, play=play)
    assert failed.rc != 0
    assert (single.writes(), single.starts(), single.owed()) == ([f"PATCH {SETTINGS}"], [], ["wacore"])
    paid = apply(ansible, [single], VALUES)
    assert paid.rc == 0, paid.output
    assert (single.starts(), single.leftovers()) == (["wacore"], [])


def test_force_handlers_pays_in_spite_of_a_failing_task(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    play = {
        "roles": [],
        "tasks": [{"import_role": {"name": "wabiz.onprem.wa_settings"}}, *FAILING_AFTERWARDS["post_tasks"]],
    }
    failed = apply(ansible, [single], VALUES, "--force-handlers", play=play)
    assert failed.rc != 0
    assert (single.starts(), single.leftovers()) == (["wacore"], [])


def test_refused_settings_leave_the_restart_on_record(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.client.control.fault(
        "error", method="PATCH", path="/v1/settings", status=400, code=1009, details="no", times=None
    )
    single.forget()
    failed = apply(ansible, [single], VALUES)
    assert failed.rc != 0
    record = single.record("one")
    assert record is not None
    assert record["written"] is None
    single.client.control.clear_faults()
    assert apply(ansible, [single], VALUES).rc == 0
    assert (single.starts(), single.running("log_level"), single.leftovers()) == (["wacore"], {"warning"}, [])


def test_restart_that_was_made_required_is_exported(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    show = {"name": "Show", "ansible.builtin.debug": {"var": "wa_settings_restart_required"}}
    run = apply(ansible, [single], VALUES, play={"post_tasks": [show]}, variables={"wa_settings_restart": "never"})
    assert run.result("Show")["wa_settings_restart_required"] is True
