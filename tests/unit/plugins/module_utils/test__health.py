# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from running_flows import run

from ansible_collections.wabiz.onprem.plugins.module_utils import _health, _run
from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client, Connection
from ansible_collections.wabiz.onprem.plugins.module_utils._health import (
    Health,
    Node,
    ask_health,
    health_info,
    health_info_spec,
)

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted


def cluster(**states: str) -> dict[str, Any]:
    """The body of a cluster's health: name → status, the role by the beginning of the name."""
    roles = {"first": "primary_master", "second": "secondary_master"}
    return {
        "health": {
            f"{name}:9dfe": {"gateway_status": status, "role": roles.get(name, "coreapp")}
            for name, status in states.items()
        }
    }


def test_a_single_instance() -> None:
    health = _health.read_health({"health": {"gateway_status": "connected"}, "meta": {}})
    assert health == Health((Node(None, "coreapp", "connected"),), clustered=False)
    assert (health.connected_coreapps, health.unregistered) == (1, False)


def test_a_cluster_is_sorted_and_counts_coreapps_only() -> None:
    health = _health.read_health(cluster(wacore2="disconnected", wacore1="connected", first="connected"))
    assert health is not None
    assert [(node.name, node.role) for node in health.nodes] == [
        ("first:9dfe", "primary_master"),
        ("wacore1:9dfe", "coreapp"),
        ("wacore2:9dfe", "coreapp"),
    ]
    assert (health.connected_coreapps, health.clustered, health.unregistered) == (1, True, False)


@pytest.mark.parametrize(
    "body",
    [None, [], "", "connected", 5, {}, {"health": None}, {"health": {}}, {"health": []}, {"health": {"wacore1": "up"}}],
)
def test_answers_that_hold_no_health(body: Any) -> None:
    assert _health.read_health(body) is None


def test_a_node_without_its_facts_is_unknown() -> None:
    health = _health.read_health({"health": {"wacore1:9dfe": {}, "strange": 5}})
    assert health == Health((Node("wacore1:9dfe", "unknown", "unknown"),), clustered=True)


@pytest.mark.parametrize(
    ("body", "shards"),
    [
        ({"account": {"shards": 2}}, 2),
        ({"account": {"shards": 0}}, None),
        ({"account": {"shards": True}}, None),
        ({"account": {"shards": "2"}}, None),
        ({"account": {}}, None),
        ({"account": None}, None),
        (None, None),
        ([], None),
    ],
)
def test_shards(body: Any, shards: int | None) -> None:
    assert _health.read_shards(body) == shards


@pytest.mark.parametrize(
    ("body", "expected", "nodes", "missing"),
    [
        ({"health": {"gateway_status": "connected"}}, 1, [], None),
        ({"health": {"gateway_status": "unregistered"}}, 0, [], None),
        ({"health": {"gateway_status": "unregistered"}}, 1, [], "0 of 1 Coreapps connected (Coreapp unregistered)"),
        ({"health": {"gateway_status": "connecting"}}, 1, [], "0 of 1 Coreapps connected (Coreapp connecting)"),
        ({"health": {"gateway_status": "uninitialized"}}, 0, [], "Coreapp uninitialized"),
        (cluster(wacore1="connected", wacore2="disconnected"), 1, [], None),
        (
            cluster(wacore1="connected", wacore2="disconnected"),
            2,
            [],
            "1 of 2 Coreapps connected (wacore1:9dfe connected, wacore2:9dfe disconnected)",
        ),
        (cluster(first="connected", wacore1="disconnected"), 1, [], "0 of 1 Coreapps connected"),
        (cluster(wacore1="connected", wacore2="uninitialized"), 1, [], "wacore2:9dfe uninitialized"),
        (cluster(wacore1="connected", second="uninitialized"), 1, [], "second:9dfe uninitialized"),
        (cluster(wacore1="connected", wacore2="connecting"), 1, [], None),
        (cluster(wacore1="connected", wacore2="connecting"), 1, ["wacore2:9dfe"], "wacore2:9dfe connecting"),
        (cluster(wacore1="connected", wacore2="disconnected"), 1, ["wacore1:9dfe", "wacore2:9dfe"], None),
        (cluster(wacore1="connected"), 1, ["wacore2:9dfe"], "wacore2:9dfe is not back yet"),
        (cluster(wacore1="unregistered"), 0, ["wacore1:9dfe"], None),
    ],
)
def test_what_is_missing(body: Any, expected: int, nodes: list[str], missing: str | None) -> None:
    health = _health.read_health(body)
    assert health is not None
    said = _health.still_missing(health, expected, nodes)
    assert (said is None) == (missing is None)
    assert (said or "").startswith(missing or "")


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def health(
    server: Emulated | Scripted, clock: Clock | None = None, lines: list[str] | None = None, **params: Any
) -> dict[str, Any]:
    clock = clock or Clock()
    task = _run.Run(progress=None if lines is None else lines.append, clock=clock, sleep=clock.sleep)
    return run(health_info, health_info_spec(), server, task, **params)


# --- wa_health_info ----------------------------------------------------------------------------------------------


def test_health_of_a_single_client(emulated: Emulated) -> None:
    assert health(emulated) == {
        "changed": False,
        "nodes": [{"name": None, "role": "coreapp", "gateway_status": "connected"}],
        "connected_coreapps": 1,
        "clustered": False,
        "shards": None,
        "healthy": True,
    }
    assert emulated.verbs == ["login", "GET", "logout"]


CLUSTER = {
    "wacore1:a": {"gateway_status": "connected", "role": "coreapp"},
    "wacore2:b": {"gateway_status": "disconnected", "role": "coreapp"},
    "master1:c": {"gateway_status": "connected", "role": "primary_master"},
}


@pytest.mark.parametrize(
    ("shards_answer", "shards"), [((200, '{"account": {"shards": 2}}'), 2), ((404, ""), None), ((200, "null"), None)]
)
def test_health_of_a_cluster(scripted: Scripted, shards_answer: tuple[int, str], shards: int | None) -> None:
    scripted.answer(200, json.dumps({"health": CLUSTER}))
    scripted.answer(*shards_answer)
    result = health(scripted, expect_connected=2)
    assert (result["connected_coreapps"], result["clustered"], result["healthy"]) == (1, True, False)
    assert [node["name"] for node in result["nodes"]] == ["master1:c", "wacore1:a", "wacore2:b"]
    assert result["shards"] == shards


def test_the_number_of_shards_is_not_asked_for_where_nothing_goes_by_it(scripted: Scripted) -> None:
    scripted.answer(200, json.dumps({"health": CLUSTER}))
    flow = functools.partial(health_info, with_shards=False)
    result = run(flow, health_info_spec(), scripted, _run.Run())
    assert (result["connected_coreapps"], result["shards"]) == (1, None)
    assert [request.uri for request in scripted.requests] == ["/v1/health"]


def test_a_coreapp_that_does_not_answer_is_a_state_and_not_a_failure(emulated: Emulated) -> None:
    emulated.fault("error", path="/v1/health", details="Please check if wacore is running: wacore:6252", times=None)
    result = health(emulated)
    assert (result["nodes"], result["healthy"], result["connected_coreapps"]) == ([], False, 0)
    assert "wacore:6252" in result["warnings"][0]


@pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "empty"}, {"action": "html"}])
def test_no_answer_about_health_is_a_failure(emulated: Emulated, fault: dict[str, Any]) -> None:
    emulated.fault(**fault, path="/v1/health", times=None)
    assert health(emulated)["failed"] is True


def test_waiting_goes_on_while_the_server_has_a_fault_of_its_own(emulated: Emulated) -> None:
    emulated.fault("status", status=500, path="/v1/health", times=2)
    assert health(emulated, wait=True)["healthy"] is True


@pytest.mark.parametrize(
    ("facts", "absent"),
    [
        ({"passing": True, "refused": True}, True),
        ({"passing": True}, False),
        ({"status": 500, "codes": (1014,), "passing": True}, True),
        ({"status": 500, "codes": (1014,)}, False),
        ({"status": 503, "codes": (1011,), "passing": True}, True),
        ({"status": 429, "codes": (1015,), "passing": True}, False),
        ({"status": 502, "passing": True}, False),
        ({"status": 500}, False),
    ],
)
def test_what_shows_that_a_node_is_away(facts: dict[str, Any], absent: bool) -> None:
    assert _health.shows_absence(ApiError("gone", **facts)) is absent


@pytest.mark.parametrize("action", ["reset", "cut", "empty", "html", "status"])
def test_an_answer_that_is_lost_or_not_the_clients_shows_nothing_of_a_node(emulated: Emulated, action: str) -> None:
    with Client(emulated.connection, True) as client:
        ask_health(client)
        emulated.fault(action, path="/v1/health")
        with pytest.raises(ApiError) as raised:
            ask_health(client, retries=0)
        assert _health.shows_absence(raised.value) is False


def test_a_name_that_cannot_be_resolved_shows_nothing_of_a_node(emulated: Emulated) -> None:
    nowhere = replace(emulated.connection, api_url="https://nowhere.invalid")
    with Client(nowhere, True) as client, pytest.raises(ApiError) as raised:
        ask_health(client, retries=0)
    assert _health.shows_absence(raised.value) is False


def test_nobody_at_the_address_shows_that_the_node_is_away(emulated: Emulated) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = replace(emulated.connection, api_url=f"https://127.0.0.1:{free.getsockname()[1]}")
        with Client(nowhere, True) as client, pytest.raises(ApiError) as raised:
            ask_health(client, retries=0)
    assert _health.shows_absence(raised.value) is True


def test_waiting_until_the_client_is_healthy(emulated: Emulated) -> None:
    clock = Clock()
    lines: list[str] = []
    emulated.fault("error", path="/v1/health", details="wacore:6252", times=4)
    emulated.fault("empty", path="/v1/health")
    result = health(emulated, clock, lines, wait=True, wait_interval=2, wait_timeout=60)
    assert result["healthy"] is True
    assert clock.now == 1010.0
    # Every new reason at once, the same one again after five seconds.
    assert [line.partition(": waiting for health, ")[2].partition(": ")[0] for line in lines] == [
        "0 s of 60 s",
        "6 s of 60 s",
        "8 s of 60 s",
    ]
    assert emulated.verbs == ["login", *["GET"] * 6, "logout"]


@pytest.mark.parametrize(("timeout", "polls"), [(10, 6), (9.9, 5), (1, 1)])
def test_a_wait_ends_in_time_and_says_what_is_missing(scripted: Scripted, timeout: float, polls: int) -> None:
    clock = Clock()
    scripted.answer(200, json.dumps({"health": CLUSTER}))
    result = health(scripted, clock, wait=True, wait_interval=2, wait_timeout=timeout, expect_connected=2)
    assert (result["failed"], result["healthy"], result["connected_coreapps"]) == (True, False, 1)
    assert f"not healthy after {timeout:g} s: 1 of 2 Coreapps connected" in result["msg"]
    assert "wacore2:b disconnected" in result["msg"]
    assert len(scripted.requests) == polls
    assert clock.now - 1000 <= timeout


def test_a_wait_for_an_unregistered_client_ends_at_once(emulated: Emulated) -> None:
    emulated.switch(unregistered=True)
    clock = Clock()
    result = health(emulated, clock, wait=True)
    assert result["failed"] is True
    assert "no phone number is registered" in result["msg"]
    assert (clock.now, emulated.verbs) == (1000.0, ["login", "GET", "logout"])
    assert health(emulated, clock, wait=True, expect_connected=0)["healthy"] is True


def test_a_wait_does_not_outlast_what_cannot_pass(emulated: Emulated) -> None:
    emulated.fault("status", path="/v1/health", status=403, times=None)
    clock = Clock()
    result = health(emulated, clock, wait=True)
    assert (result["failed"], clock.now) == (True, 1000.0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"wait_timeout": 0}, "wait_timeout: must be more than 0"),
        ({"wait_interval": -1}, "wait_interval: must be more than 0"),
        ({"expect_connected": 2**31}, "expect_connected: must be at most 2147483647"),
        ({"expect_connected": -1}, "expect_connected: must not be negative"),
    ],
)
def test_health_options_that_cannot_be_meant(emulated: Emulated, params: dict[str, Any], message: str) -> None:
    result = health(emulated, **params)
    assert result["msg"].startswith(message)
    assert emulated.verbs == []


def test_a_poll_gets_no_more_than_what_is_left(emulated: Emulated) -> None:
    emulated.fault("proceed", path="/v1/health", delay=30.0, times=None)
    start = time.monotonic()
    result = run(
        health_info, health_info_spec(), emulated, _run.Run(), wait=True, wait_timeout=1.5, wait_interval=1, timeout=30
    )
    assert time.monotonic() - start < 8
    assert (result["failed"], result["healthy"]) == (True, False)
    assert "no answer within" in result["msg"]


@pytest.mark.parametrize("option", ["wait_timeout", "wait_interval"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e30", -1, 0])
def test_times_that_nobody_can_wait(emulated: Emulated, option: str, value: Any) -> None:
    result = health(emulated, wait=True, **{option: value})
    assert result["msg"].startswith(f"{option}: must be more than 0 and at most 86400 seconds")
    assert emulated.verbs == []


def test_a_server_forges_no_line_of_the_terminal(scripted: Scripted) -> None:
    lines: list[str] = []
    name = "wacore1:a\x1b[2K\nok: [host] => canary-token"
    scripted.answer(200, json.dumps({"health": {name: {"gateway_status": "connecting\r\nok", "role": "coreapp"}}}))
    result = health(scripted, lines=lines, wait=True, wait_timeout=10)
    assert lines
    for line in (*lines, result["msg"]):
        assert line.isprintable()
        assert "canary-token" not in line


def test_a_starting_container_is_waited_for(pki: Any) -> None:
    """A port that accepts and closes, and nothing before TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = Connection(f"https://127.0.0.1:{server.getsockname()[1]}", token="t", ca_path=pki.ca)

        def close_all() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=close_all, daemon=True).start()
        clock = Clock()
        task = _run.Run(clock=clock, sleep=clock.sleep)
        params = {"api_url": connection.api_url, "token": "t", "ca_path": pki.ca, "wait": True, "wait_timeout": 30}
        validated = ArgumentSpecValidator(health_info_spec()).validate(params)
        result = _run.complete(health_info, validated.validated_parameters, task)
        server.shutdown(socket.SHUT_RDWR)
    assert "not healthy after 30 s" in result["msg"]
    assert clock.now >= 1028
