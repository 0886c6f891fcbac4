# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of the role, in this process, against an emulated client: what they refuse, write and hand over."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from acting import Play, Result, play

from support.deployments import Deployment
from support.emulator import Emulator


def begin(deployment: Deployment, values: dict[str, Any] | None = None, host: str = "", **more: Any) -> Result:
    return play(deployment, values, **more).run("wa_settings_begin", host or next(iter(deployment.hosts)))


# --- what needs no restart ---------------------------------------------------------------------------------------


def test_what_needs_no_restart_is_written_at_once(single: Deployment) -> None:
    found = begin(single, {"heartbeat_interval": 7})
    assert (found["changed"], found["changed_settings"], found["steps"]) == (True, ["heartbeat_interval"], [])
    assert (found["goes_on"], found["wa_settings_restart_required"]) == (False, False)
    assert single.client.control.effective()["heartbeat_interval"] == 7
    again = begin(single, {"heartbeat_interval": 7})
    assert (again["changed"], "before" in again, "after" in again) == (False, False, False)
    assert single.writes() == ["PATCH /v1/settings/application"]


def test_check_mode_writes_nothing(single: Deployment) -> None:
    found = begin(single, {"heartbeat_interval": 7}, check_mode=True)
    assert (found["changed"], single.writes()) == (True, [])


def test_a_layer_is_laid_over_another(single: Deployment) -> None:
    begin(single, {"heartbeat_interval": 7}, wa_settings_host_values={"heartbeat_interval": 8}, wa_settings_report=True)
    assert single.client.control.effective()["heartbeat_interval"] == 8


@pytest.mark.parametrize(
    ("values", "variables", "said"),
    [
        ({}, {}, "wa_settings_values: nothing is declared"),
        ({"log_level": "loud"}, {}, "log_level"),
        ({"heartbeat_interval": 7}, {"wa_settings_restart": "later"}, "wa_settings_restart"),
        ({"heartbeat_interval": 7}, {"wa_settings_timeout": -1}, "wa_settings_timeout"),
        ({"heartbeat_interval": 7}, {"wa_settings_restart_command": []}, "wa_settings_restart_command"),
        ({"heartbeat_interval": 7}, {"wa_settings_api_url": "ftp://canary"}, "wa_settings_api_url"),
        ({"heartbeat_interval": 7}, {"wabiz_direct_execution": "maybe"}, "wabiz_direct_execution"),
    ],
)
def test_what_is_refused_is_named_as_the_role_names_it(
    single: Deployment, values: dict[str, Any], variables: dict[str, Any], said: str
) -> None:
    fleet = play(single, values)
    # Where the host and the play say something, the host's own wins in a play; here it is the play's.
    fleet.hosts["one"].update(variables)
    found = fleet.run("wa_settings_begin", "one")
    assert found["failed"] is True
    assert said in found["msg"]
    assert single.client.verbs() == []


@pytest.mark.parametrize(
    ("tags", "skip_tags", "compares"),
    [
        (("all",), (), True),
        (("settings",), (), True),
        (("restart",), (), False),
        (("other",), (), False),
        (("all",), ("settings",), False),
        (("all",), ("settings", "restart"), False),
        (("tagged",), (), True),
    ],
)
def test_tags(single: Deployment, tags: tuple[str, ...], skip_tags: tuple[str, ...], compares: bool) -> None:
    found = begin(single, {"heartbeat_interval": 7}, tags=tags, skip_tags=skip_tags)
    assert not found.get("failed"), found
    assert bool(single.client.verbs()) == compares
    assert found["changed"] == compares


def test_a_reset_by_the_playbook_takes_back_what_is_declared(single: Deployment) -> None:
    single.client.control.store({"heartbeat_interval": 9})
    found = play(single, {"heartbeat_interval": 7}).run("wa_settings_begin", "one", resets=True)
    assert found["changed_settings"] == ["heartbeat_interval"]
    assert single.writes() == ["DELETE /v1/settings/application"]


def test_media_providers_alone_are_a_declaration(single: Deployment) -> None:
    found = begin(single, wa_settings_media_providers=[{"name": "cdn", "bearer": "canary-provider"}])
    assert (found["changed"], found.get("failed", False)) == (True, False)
    assert [provider["name"] for provider in single.client.control.providers()] == ["cdn"]
    assert "canary-provider" not in str(found)
    refused = begin(single, wa_settings_media_providers=[{"name": "cdn"}])
    assert refused["failed"] is True


# --- where the API is called -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {"wabiz_direct_execution": False},
        {"wa_settings_api_delegate": "one", "ansible_python_interpreter": "/usr/bin/other-python"},
        {"wa_settings_api_delegate": "elsewhere"},
    ],
)
def test_a_process_of_its_own_calls_the_api(single: Deployment, variables: dict[str, Any]) -> None:
    fleet = play(single, {"heartbeat_interval": 7}, **variables)
    found = fleet.run("wa_settings_begin", "one")
    assert single.client.verbs() == [], "this process has called the API"
    if variables.get("wa_settings_api_delegate") == "one":
        # The host itself: its module compares first, in this very task.
        assert [name for name, _args, _check in fleet.modules] == ["wabiz.onprem.wa_application_settings"]
    else:
        assert found["steps"], "another host calls it, in a step of its own"


def test_a_module_of_the_host_writes_what_needs_no_restart(single: Deployment) -> None:
    fleet = play(single, {"heartbeat_interval": 7}, wa_settings_api_delegate="one", wabiz_direct_execution=False)
    fleet.answers = [{"changed": True, "restart_settings": []}, {"changed": True, "changed_settings": ["x"]}]
    assert fleet.run("wa_settings_begin", "one")["changed_settings"] == ["x"]
    assert len(fleet.modules) == 2
    fleet.answers = [{"changed": True, "restart_settings": ["log_level"], "changed_settings": ["log_level"]}]
    held = fleet.run("wa_settings_begin", "one")
    assert (held["changed"], bool(held["steps"])) == (False, True)


def test_the_playbook_calls_the_api_from_no_other_host(single: Deployment) -> None:
    fleet = play(single, {"heartbeat_interval": 7}, wa_settings_api_delegate="elsewhere")
    found = fleet.run("wa_settings_begin", "one", later=True)
    assert found["failed"] is True
    assert found["msg"].startswith("wa_settings_api_delegate: this playbook calls the API from the controller")


# --- restarts ----------------------------------------------------------------------------------------------------


def test_a_single_client_restarts_and_has_nothing_pending(single: Deployment) -> None:
    results = play(single, {"log_level": "error"}).role("one")
    assert [result.get("msg") for result in results if result.get("failed")] == []
    assert single.running("log_level") == {"error"}
    assert results[-1]["wa_settings_summary"] == {
        "changed_settings": ["log_level"],
        "restarted": ["wacore on one"],
        "pending": [],
    }
    assert single.pending() == []
    single.forget()
    assert begin(single, {"log_level": "error"})["goes_on"] is False
    assert (single.writes(), single.starts()) == ([], [])


def test_without_restarts_it_stays_on_record_until_a_run_with_them(single: Deployment) -> None:
    results = play(single, {"log_level": "error"}, wa_settings_restart="never").role("one")
    assert results[-1]["wa_settings_restart_required"] is True
    assert (single.pending(), single.starts()) == (["wacore"], [])
    told = begin(single, {"log_level": "error"}, wa_settings_restart="never")
    assert told["wa_settings_summary"]["pending"] == ["wacore on one"]
    play(single, {"log_level": "error"}, tags=("restart",)).role("one")
    assert (single.pending(), single.starts()) == ([], ["wacore"])


def test_check_mode_predicts_the_restart(single: Deployment) -> None:
    results = play(single, {"log_level": "error"}, check_mode=True).role("one")
    assert results[-1]["wa_settings_summary"]["restarted"] == ["wacore on one"]
    assert (single.writes(), single.starts(), single.leftovers()) == ([], [], [])


def test_a_cluster_is_written_once_and_restarted_on_all_hosts(pair: Deployment) -> None:
    fleet = play(pair, {"log_level": "error"})
    first, second = fleet.role("a"), fleet.role("b")
    assert [result.get("msg") for result in first if result.get("failed")] == []
    assert pair.writes() == ["PATCH /v1/settings/application"]
    assert sorted(pair.starts()) == ["wacore1", "wacore2"]
    assert pair.running("log_level") == {"error"}
    assert len(second) == 1, "the first host has done it"


def test_a_host_of_a_cluster_waits_for_the_one_that_acts(pair: Deployment) -> None:
    fleet = play(pair, {"log_level": "error"})
    assert fleet.run("wa_settings_begin", "a")["steps"]
    other = fleet.run("wa_settings_begin", "b")
    assert (other["msg"], other["steps"]) == ("a does this for cluster duo", [])


def test_check_mode_tells_the_change_of_a_cluster_once(pair: Deployment) -> None:
    fleet = play(pair, {"heartbeat_interval": 7}, check_mode=True)
    assert [fleet.run("wa_settings_begin", host)["changed"] for host in ("a", "b")] == [True, False]


def test_a_rolling_restart_by_itself(pair: Deployment) -> None:
    fleet = play(pair)
    begun = fleet.run("wa_settings_begin", "a", entry="restart")
    assert begun["steps"]
    other = fleet.run("wa_settings_begin", "b", entry="restart")
    assert (other["steps"], other["restarts"]) == ([], [])
    assert other["msg"] == "another host does this for cluster duo"
    done = [fleet.run("wa_settings_step", item.get("delegate_to", "a"), step=item) for item in begun["steps"]]
    for item in [item for one in done for item in one.get("restarts", ())]:
        fleet.run("wa_settings_step", item.get("delegate_to", "a"), step=item)
    assert sorted(pair.starts()) == ["wacore1", "wacore2"]
    assert pair.writes() == []


def test_a_single_client_restarts_by_itself_in_one_task(single: Deployment) -> None:
    found = play(single).run("wa_settings_begin", "one", entry="restart")
    assert (found["failed"], found["goes_on"], single.starts()) == (False, False, ["wacore"])


def test_the_handler_restarts_what_the_variables_say_where_the_role_has_not_run(single: Deployment) -> None:
    found = play(single).run("wa_settings_begin", "one", entry="handler")
    assert (found.get("failed", False), found.get("msg"), single.starts()) == (False, None, ["wacore"])


def test_the_handler_of_the_user_and_that_of_the_role_after_a_change(single: Deployment) -> None:
    fleet = play(single, {"log_level": "error"})
    begun = fleet.run("wa_settings_begin", "one")
    for item in begun["steps"]:
        fleet.run("wa_settings_step", "one", step=item)
    done = fleet.run("wa_settings_begin", "one", entry="handler")
    assert (done.get("failed", False), single.starts()) == (False, ["wacore"])
    left = fleet.run("wa_settings_begin", "one", entry="pending")
    assert (left["steps"], left["restarts"]) == ([], [])


def test_a_step_of_a_run_that_nobody_knows(single: Deployment) -> None:
    with pytest.raises(Exception, match="what was to be done is not known any more; run again"):
        play(single).run("wa_settings_step", "one", step={"context": "none", "host": "one", "phase": "demand", "at": 0})


def test_a_coreapp_that_does_not_come_back(single: Deployment) -> None:
    single.extra["wa_settings_restart_command"] = single.node_control("stop")
    single.extra["wa_settings_health_timeout"] = 1
    results = play(single, {"log_level": "error"}).role("one")
    failed = [result for result in results if result.get("failed")]
    assert len(failed) == 1
    assert "wacore" in failed[0]["msg"]
    assert single.pending() == ["wacore"]
    assert results[-1]["wa_settings_restart_required"] is True


def test_settings_that_are_refused_leave_nothing_pending(single: Deployment) -> None:
    single.client.control.fault("error", method="PATCH", status=400, code=1009, times=None)
    results = play(single, {"log_level": "error"}).role("one")
    assert [("1009" in result["msg"]) for result in results if result.get("failed")] == [True]
    assert (single.pending(), single.starts()) == ([], [])


# --- campaigns, and what is left for later -----------------------------------------------------------------------


def test_a_campaign_there_and_back(single: Deployment) -> None:
    fleet = play(single, {"heartbeat_interval": 7}, wa_campaign_name="summer")
    begun = fleet.run("wa_settings_begin", "one", entry="campaign_begin")
    assert (begun.get("failed", False), begun["changed"], begun["goes_on"]) == (False, True, False)
    assert single.client.control.effective()["garbagecollector_enable"]["messages"] is False
    told = fleet.run("wa_settings_begin", "one")
    assert "summer" in str(told["warnings"])
    assert single.client.control.effective()["heartbeat_interval"] == 7
    ended = fleet.run("wa_settings_begin", "one", entry="campaign_end")
    assert (ended.get("failed", False), ended["changed"]) == (False, True)
    assert single.client.control.effective()["garbagecollector_enable"]["messages"] is True


def test_a_campaign_of_a_cluster_is_begun_by_the_first_of_its_hosts(pair: Deployment) -> None:
    fleet = play(pair, wa_campaign_name="summer")
    assert fleet.run("wa_settings_begin", "a", entry="campaign_begin")["steps"]
    other = fleet.run("wa_settings_begin", "b", entry="campaign_begin")
    assert (other["steps"], other["msg"]) == ([], "another host does this for cluster duo")


@pytest.mark.parametrize("tags", [("other",), ("tagged",)])
def test_a_campaign_needs_a_name_and_a_tag_of_the_role(single: Deployment, tags: tuple[str, ...]) -> None:
    found = play(single, wa_campaign_name=["summer"], tags=tags).run("wa_settings_begin", "one", entry="campaign_begin")
    assert found.get("failed", False) == (tags == ("tagged",))
    assert ("wa_campaign_name" in str(found.get("msg"))) == (tags == ("tagged",))
    assert single.client.verbs() == []


def test_the_playbook_writes_for_a_single_client_and_leaves_the_restart_to_its_handler(single: Deployment) -> None:
    fleet = play(single, {"log_level": "error"})
    found = fleet.run("wa_settings_begin", "one", later=True)
    assert (found["changed"], found["steps"], found["is_done"]) == (True, [], False)
    assert (len(single.writes()), single.pending(), single.starts()) == (1, ["wacore"], [])
    done = fleet.run("wa_settings_begin", "one", entry="pending")
    assert (done["failed"], done["goes_on"], single.pending(), single.starts()) == (False, False, [], ["wacore"])


def test_the_playbook_is_done_with_what_needs_no_restart(single: Deployment) -> None:
    found = play(single, {"heartbeat_interval": 7}).run("wa_settings_begin", "one", later=True)
    assert (found["changed"], found["is_done"], found["goes_on"]) == (True, True, False)


def test_the_playbook_leaves_a_cluster_to_its_handler(pair: Deployment) -> None:
    fleet = play(pair, {"log_level": "error"})
    found = fleet.run("wa_settings_begin", "a", later=True)
    assert (found["changed"], found["is_done"], pair.writes(), pair.starts()) == (True, False, [], [])
    left = fleet.run("wa_settings_begin", "a", entry="pending")
    assert left["steps"], "the handler has nothing to do"
    for item in left["steps"]:
        fleet.run("wa_settings_step", item.get("delegate_to", "a"), step=item)
    assert pair.writes() == ["PATCH /v1/settings/application"]


LOCAL = {"connection": "local"}


def test_one_task_does_the_steps_of_all_hosts_that_are_this_machine(pair: Deployment) -> None:
    fleet = play(pair, {"log_level": "error"}, keywords=LOCAL)
    found = fleet.run("wa_settings_begin", "a", later=True)
    assert (found["changed"], found["steps"], pair.writes()) == (True, [], ["PATCH /v1/settings/application"])
    assert pair.pending() == ["wacore1", "wacore2"]
    assert fleet.run("wa_settings_begin", "b", later=True)["msg"] == "a does this for cluster duo"
    restarted = fleet.run("wa_settings_begin", "a", entry="pending")
    assert (restarted["changed"], restarted["goes_on"], sorted(pair.starts())) == (True, False, ["wacore1", "wacore2"])
    assert fleet.run("wa_settings_begin", "b", entry="pending")["changed"] is False
    assert (pair.running("log_level"), pair.leftovers()) == ({"error"}, [])


@pytest.mark.parametrize(
    ("keywords", "variables"),
    [
        ({}, {}),
        ({**LOCAL, "environment": [{"WABIZ_SOMETHING": "set"}]}, {}),
        (LOCAL, {"wabiz_direct_execution": False}),
        (LOCAL, {"ansible_become": True}),
        (LOCAL, {"ansible_connection": "ssh"}),
    ],
    ids=str,
)
def test_hosts_that_may_be_other_machines_get_tasks_of_their_own(
    pair: Deployment, keywords: dict[str, Any], variables: dict[str, Any]
) -> None:
    fleet = play(pair, {"log_level": "error"}, keywords=keywords, **variables)
    fleet.answers.append({"changed": True, "changed_settings": ["log_level"], "restart_settings": ["log_level"]})
    steps = fleet.run("wa_settings_begin", "a")["steps"]
    assert "b" in {item.get("delegate_to") for item in steps}


def test_restart_always_restarts_what_has_not_changed(single: Deployment) -> None:
    single.client.control.store({"log_level": "error"})
    results = play(single, {"log_level": "error"}, wa_settings_restart="always").role("one")
    assert results[-1]["wa_settings_summary"]["restarted"] == ["wacore on one"]
    assert single.writes() == []


def test_the_environment_of_the_task_is_that_of_the_request(
    single: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "NO_PROXY": ""})
    # A port on which nobody listens, for an address that is nobody's.
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:9"}
    more = {"wa_settings_api_url": "https://192.0.2.1", "wa_settings_retries": 0}
    fleet = play(single, {"heartbeat_interval": 7}, keywords={"environment": [proxy]})
    fleet.hosts["one"].update(more)
    found = fleet.run("wa_settings_begin", "one")
    assert (found["failed"], "proxy" in found["msg"].lower()) == (True, True), found["msg"]


# --- addresses ---------------------------------------------------------------------------------------------------

SILENT = "https://127.0.0.1:9"


def with_addresses(deployment: Deployment, **addresses: str) -> Play:
    """A play in which these hosts have addresses of their own."""
    fleet = play(deployment, {"log_level": "error"}, keywords=LOCAL)
    return replace(
        fleet, hosts={host: {**facts, "wa_settings_api_url": addresses[host]} for host, facts in fleet.hosts.items()}
    )


def test_another_address_of_the_cluster_stands_in_for_one_that_is_silent(pair: Deployment) -> None:
    fleet = with_addresses(pair, a=SILENT, b=pair.client.api_url)
    found = fleet.run("wa_settings_begin", "a", later=True)
    assert found["warnings"] == [
        f"cluster duo: {SILENT} does not answer, so the address of b is used, {pair.client.api_url}"
    ]
    assert (found["changed"], pair.writes()) == (True, ["PATCH /v1/settings/application"])
    # The other host does not ask again.
    pair.client.control.clear_requests()
    assert fleet.run("wa_settings_begin", "b", later=True)["msg"] == "a does this for cluster duo"
    assert pair.client.verbs() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"wa_settings_token": "wrong"}, "401"),
        ({"wa_settings_ca_path": "/no/such/file"}, "wa_settings_ca_path"),
        ({"wa_settings_api_url": "https://admin:canary@127.0.0.1:9"}, "wa_settings_api_url"),
        ({"wa_settings_timeout": -1}, "wa_settings_timeout"),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_own_connection_is_no_silence(
    pair: Deployment, wrong: dict[str, Any], said: str
) -> None:
    other = pair.client.api_url.replace("127.0.0.1", "localhost")
    fleet = with_addresses(pair, a=pair.client.api_url, b=other)
    fleet = replace(fleet, hosts={**fleet.hosts, "a": {**fleet.hosts["a"], **wrong}})
    found = fleet.run("wa_settings_begin", "a", later=True)
    assert found["failed"]
    assert said in found["msg"]
    assert "canary" not in str(found)
    assert pair.writes() == []


def test_an_address_that_only_its_own_host_knows_is_compared_when_its_turn_comes(
    pair: Deployment, clusters: Emulator
) -> None:
    stranger = clusters.new_client()
    first = play(pair, {"log_level": "error"}, keywords=LOCAL)
    assert first.run("wa_settings_begin", "a", later=True)["changed"]
    # As a loop says it: the same for all hosts, whichever is asked.
    second = replace(first, task={**first.task, "wa_settings_api_url": stranger.api_url})
    refused = second.run("wa_settings_begin", "b", later=True)
    assert refused["failed"]
    assert "b and a are hosts of cluster duo" in refused["msg"]
    assert refused["msg"].endswith("Nothing is written for b; a came first in this run")
    assert "PATCH /v1/settings/application" not in stranger.verbs()
    again = replace(first, task={**first.task, "wa_settings_api_url": f"{pair.client.api_url}/"})
    assert not again.run("wa_settings_begin", "b", later=True).get("failed")
