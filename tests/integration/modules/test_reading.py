# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that only read: settings and health, and waiting for health."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.batch import FIRST, Case, RunCases, assert_same_over_both_paths, run_batch
from support.commands import PATHS, AnsibleCommands
from support.emulator import Emulator, running_emulator

GET = "GET /v1/settings/application"
HEALTH = "GET /v1/health"

INFO = [
    Case(
        "settings",
        {},
        "wa_application_settings_info",
        stored={
            "log_level": "error",
            "media": {"auto_download": ["voice", "audio"]},
            "webhooks": {"url": "https://u:canary-1@h.example.com/x?auth=canary-2", "max_concurrent_requests": 12},
        },
        switches={"delays_in_get": "string"},
        steps=(FIRST,),
    ),
    Case("defaults, with a password", {}, "wa_application_settings_info", connection="password", steps=(FIRST,)),
    Case(
        "a gateway",
        {},
        "wa_application_settings_info",
        switches={"flat_get": True, "meta": "none", "login": False},
        steps=(FIRST,),
    ),
]
HEALTH_CASES = [
    Case("single", {}, "wa_health_info", steps=(FIRST,)),
    Case("single, waited for", {"wait": True, "wait_interval": 0.1}, "wa_health_info", steps=(FIRST,)),
    Case("unregistered", {}, "wa_health_info", switches={"unregistered": True}, steps=(FIRST,)),
    Case(
        "unregistered is healthy when none is expected",
        {"wait": True, "expect_connected": 0},
        "wa_health_info",
        switches={"unregistered": True},
        steps=(FIRST,),
    ),
    Case(
        "unregistered, waited for",
        {"wait": True, "wait_timeout": 120, "wait_interval": 1},
        "wa_health_info",
        switches={"unregistered": True},
        steps=(FIRST,),
    ),
    Case(
        "never enough",
        {"wait": True, "wait_timeout": 0.5, "wait_interval": 0.2, "expect_connected": 2},
        "wa_health_info",
        steps=(FIRST,),
    ),
    Case(
        "back after two faults",
        {"wait": True, "wait_timeout": 30, "wait_interval": 0.1},
        "wa_health_info",
        faults=[{"action": "error", "path": "/v1/health", "code": 1011, "times": 2}],
        steps=(FIRST,),
    ),
    Case("no time to wait", {"wait": True, "wait_timeout": 0}, "wa_health_info", steps=(FIRST,)),
    Case("a negative expectation", {"expect_connected": -1}, "wa_health_info", steps=(FIRST,)),
]


def test_the_settings_are_read(path: str, run_cases: RunCases) -> None:
    result = run_cases(path, INFO).outcomes["settings"].results[FIRST]
    assert result["changed"] is False
    assert result["settings"]["callback_backoff_delay_ms"] == 3000
    assert result["settings"]["media"]["auto_download"] == ["audio", "voice"]
    assert result["settings"]["webhooks"]["url"] == "https://********@h.example.com/x?********"
    assert result["non_default_settings"] == {"log_level": "error", "webhooks.max_concurrent_requests": 12}
    assert (result["client_version"], result["api_status"]) == ("2.57.2", "stable")
    assert "canary" not in str(result)


def test_the_defaults_are_read_with_a_password(path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, INFO).outcomes["defaults, with a password"]
    assert outcome.results[FIRST]["non_default_settings"] == {}
    assert outcome.verbs(FIRST) == ["POST /v1/users/login", GET, "POST /v1/users/logout"]


def test_a_gateway_is_read(path: str, run_cases: RunCases) -> None:
    result = run_cases(path, INFO).outcomes["a gateway"].results[FIRST]
    assert (result["client_version"], result["api_status"]) == (None, None)
    assert result["settings"]["heartbeat_interval"] == 5


def test_health_of_a_single_client(path: str, run_cases: RunCases) -> None:
    outcomes = run_cases(path, HEALTH_CASES).outcomes
    for name in ("single", "single, waited for", "back after two faults"):
        result = outcomes[name].results[FIRST]
        assert result["nodes"] == [{"name": None, "role": "coreapp", "gateway_status": "connected"}]
        assert (result["connected_coreapps"], result["clustered"], result["healthy"]) == (1, False, True)
        assert result["changed"] is False
    assert outcomes["single"].verbs(FIRST) == [HEALTH]
    assert outcomes["back after two faults"].verbs(FIRST) == [HEALTH] * 3


def test_an_unregistered_client(path: str, run_cases: RunCases) -> None:
    outcomes = run_cases(path, HEALTH_CASES).outcomes
    read = outcomes["unregistered"].results[FIRST]
    assert (read["healthy"], read["nodes"][0]["gateway_status"]) == (False, "unregistered")
    assert outcomes["unregistered is healthy when none is expected"].results[FIRST]["healthy"] is True
    waited = outcomes["unregistered, waited for"]
    assert waited.failures == 1
    assert "waiting does not change that" in waited.results[FIRST]["msg"]
    assert waited.verbs(FIRST) == [HEALTH], "it waited all the same"


def test_a_wait_that_is_given_up(path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, HEALTH_CASES).outcomes["never enough"]
    assert outcome.failures == 1
    result = outcome.results[FIRST]
    assert "not healthy after 0.5 s: 1 of 2 Coreapps connected" in result["msg"]
    assert (result["connected_coreapps"], result["healthy"]) == (1, False)
    assert 2 <= len(outcome.verbs(FIRST)) <= 4


@pytest.mark.parametrize("name", ["no time to wait", "a negative expectation"])
def test_a_wait_that_cannot_be(name: str, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, HEALTH_CASES).outcomes[name]
    assert outcome.failures == 1
    assert outcome.verbs(FIRST) == []


@pytest.mark.parametrize("cases", [INFO, HEALTH_CASES], ids=["settings", "health"])
def test_both_paths_give_the_same_results(cases: list[Case], run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, cases)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Clients of one master and two Coreapps each."""
    with running_emulator(tmp_path_factory.mktemp("clusters"), 20, "master1,wacore1,wacore2") as running:
        yield running


CLUSTERS = [
    Case(
        "high availability", {"wait": True, "wait_timeout": 20, "wait_interval": 0.1}, "wa_health_info", steps=(FIRST,)
    ),
    Case(
        "multiconnect",
        {"wait": True, "expect_connected": 2, "wait_timeout": 20, "wait_interval": 0.1},
        "wa_health_info",
        switches={"shards": 2},
        steps=(FIRST,),
    ),
]


def test_health_of_a_cluster(path: str, clusters: Emulator, ansible: AnsibleCommands) -> None:
    outcomes = run_batch(ansible, clusters, path, CLUSTERS).outcomes
    for name, connected in {"high availability": 1, "multiconnect": 2}.items():
        result = outcomes[name].results[FIRST]
        assert (result["clustered"], result["connected_coreapps"], result["healthy"]) == (True, connected, True), name
        roles = sorted((node["name"].partition(":")[0], node["role"]) for node in result["nodes"])
        assert roles == [("master1", "primary_master"), ("wacore1", "coreapp"), ("wacore2", "coreapp")]


def test_waiting_sees_a_coreapp_come_back(path: str, emulator: Emulator, ansible: AnsibleCommands) -> None:
    client = emulator.new_client(connect_seconds=1.5)
    (node,) = client.control.nodes()
    client.control.act_on_node(node, "restart")
    options = {**client.with_token(), "wait": True, "wait_timeout": 60, "wait_interval": 0.2}
    tasks = [{"name": "wait", "wabiz.onprem.wa_health_info": options}]
    started = time.monotonic()
    run = ansible.playbook([{"hosts": "all", "tasks": tasks}], {"client": {}}, variables=PATHS[path])
    assert run.rc == 0, run.output
    assert run.result("wait")["healthy"] is True
    assert time.monotonic() - started < 60
    # Progress can be shown only from inside the controller process.
    asked = [request["status"] for request in client.control.requests()]
    if path == "in-process" and len(asked) > 1:
        assert f"[client] {client.api_url}: waiting for health" in run.stdout


def test_a_coreapp_that_is_down(path: str, emulator: Emulator, ansible: AnsibleCommands) -> None:
    client = emulator.new_client()
    (node,) = client.control.nodes()
    client.control.act_on_node(node, "stop")
    tasks = [
        {"name": "read", "wabiz.onprem.wa_health_info": {**client.with_token(), "retries": 0}},
        {
            "name": "settings",
            "wabiz.onprem.wa_application_settings_info": {**client.with_token(), "retries": 0},
            "ignore_errors": True,
        },
    ]
    run = ansible.playbook([{"hosts": "all", "tasks": tasks}], {"client": {}}, variables=PATHS[path])
    read = run.result("read")
    assert (read["nodes"], read["healthy"]) == ([], False)
    assert "wacore" in read["warnings"][0]
    assert "wacore" in run.result("settings")["msg"]
