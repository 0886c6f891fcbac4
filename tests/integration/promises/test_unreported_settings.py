# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unknown is not different: settings that the client does not report are written and restarted for once."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import AnsibleCommands
from support.deployments import SETTINGS, NewDeployment, apply
from support.plays import SHOW, changed, required

# Restart-bound, and in no answer of the client.
UNREPORTED = {"db_garbagecollector_enable": False}
PASSED = {"show_security_notifications": True}


def test_unreported_setting_restarts_once_and_not_in_every_run(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    first = apply(ansible, [cluster], UNREPORTED)
    assert first.rc == 0, first.output
    assert cluster.running("db_garbagecollector_enable") == {False}
    assert len(cluster.starts()) == 3
    cluster.forget()
    for _attempt in range(2):
        again = apply(ansible, [cluster], UNREPORTED)
        assert (again.rc, changed(again)) == (0, 0), again.output
    check = apply(ansible, [cluster], UNREPORTED, "--check")
    assert (check.rc, changed(check)) == (0, 0), check.output
    assert (cluster.starts(), cluster.writes()) == ([], [])


def test_unreported_setting_with_another_value_restarts_again(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    assert apply(ansible, [single], UNREPORTED).rc == 0
    single.forget()
    run = apply(ansible, [single], {"db_garbagecollector_enable": True})
    assert run.rc == 0, run.output
    assert single.starts() == ["wacore"]
    assert single.running("db_garbagecollector_enable") == {True}


def test_reset_and_another_client_version_forget_what_was_sent(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    assert apply(ansible, [single], UNREPORTED).rc == 0
    reset = apply(ansible, [single], {}, variables={"wa_settings_state": "absent"})
    assert reset.rc == 0, reset.output
    assert apply(ansible, [single], UNREPORTED).rc == 0
    assert single.running("db_garbagecollector_enable") == {False}
    single.client.control.switch(client_version="2.59.1")
    single.forget()
    after_upgrade = apply(ansible, [single], UNREPORTED)
    assert after_upgrade.rc == 0, after_upgrade.output
    assert single.writes() == [f"PATCH {SETTINGS}"]


def test_value_of_what_was_sent_is_not_in_the_record(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    single.client.control.switch(unknown_keys="keep", unreported=["vendor_mode"])
    variables = {
        "wa_settings_extra_values": {"vendor_mode": "swordfish-7"},
        "wa_settings_restart_bound": ["vendor_mode"],
    }
    run = apply(ansible, [single], {}, variables=variables)
    assert run.rc == 0, run.output
    assert single.starts() == ["wacore"]
    texts = [path.read_text(errors="replace") for path in single.leftovers()]
    assert not [text for text in texts if "swordfish" in text]


@pytest.mark.parametrize("restart", ["never", "auto"])
def test_unreported_setting_is_pending_until_it_is_restarted_for(
    ansible: AnsibleCommands, new_single: NewDeployment, restart: str
) -> None:
    single = new_single()
    variables: dict[str, Any] = {"wa_settings_restart": restart}
    single.forget()
    runs = [
        apply(ansible, [single], {**UNREPORTED, **PASSED}, variables=variables, play={"post_tasks": [SHOW]})
        for _attempt in range(2)
    ]
    assert [run.rc for run in runs] == [0, 0], runs[-1].output
    assert [required(run, "one") for run in runs] == [restart == "never"] * 2
    assert single.starts() == ([] if restart == "never" else ["wacore"])
    assert single.writes() == [f"PATCH {SETTINGS}"]
