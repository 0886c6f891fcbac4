# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_flows import run

from ansible_collections.wabiz.onprem.plugins.module_utils import _run
from ansible_collections.wabiz.onprem.plugins.module_utils._collection import (
    garbage_collection,
    garbage_collection_spec,
    read_started,
    remarks_before,
)

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted

HOOK = {"url": "https://h.example.com/wa?auth=canary-auth"}
SETTINGS = json.dumps({"settings": {"application": {"webhooks": HOOK}}, "meta": {"version": "v2.57.2"}})
GC = {"gc": {"status": "processing"}}
STARTED = [
    {"name": None, "target": "message", "status": "processing"},
    {"name": None, "target": "media", "status": "processing"},
]


def collect(server: Emulated | Scripted, check: bool = False, **params: Any) -> dict[str, Any]:
    task = _run.Run(check_mode=check)
    return run(garbage_collection, garbage_collection_spec(), server, task, **params)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = list(_run.Client.__init__.__defaults__ or ())
    monkeypatch.setattr(_run.Client.__init__, "__defaults__", (defaults[0], lambda _seconds: None, *defaults[2:]))


# --- what an answer says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "nodes"),
    [
        ({"services": {"message": GC}, "meta": {}}, [(None, "processing")]),
        ({"message": GC}, [(None, "processing")]),
        (GC, [(None, "processing")]),
        (
            {"services": {"message": {"gc": {"b:2": {"status": "failed"}, "a:1": {"status": "processing"}}}}},
            [("a:1", "processing"), ("b:2", "failed")],
        ),
        ({"services": {"message": {"gc": {"a:1": {}}}}}, [("a:1", "unknown")]),
        ({"services": {"message": {"gc": {"status": {"status": "processing"}}}}}, [("status", "processing")]),
        *(
            (body, None)
            for body in (
                None, [], "x", {}, {"meta": {}}, {"services": {"media": GC}}, {"services": {"message": {}}},
                {"services": {"message": {"gc": {}}}}, {"services": {"message": {"gc": "processing"}}},
                {"services": {"message": {"gc": {"a:1": "processing"}}}},
            )
        ),
    ],
)  # fmt: skip
def test_read_started(body: Any, nodes: list[tuple[str | None, str]] | None) -> None:
    expected = nodes and [{"name": name, "target": "message", "status": status} for name, status in nodes]
    assert read_started(body, "message") == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["services", "message", "gc", "status", "a:1"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_read_or_refused(body: Any) -> None:
    for node in read_started(body, "message") or ():
        assert set(node) == {"name", "target", "status"}
        assert isinstance(node["status"], str)


# --- what a user may not know --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "version", "targets", "said"),
    [
        ({"webhooks": HOOK}, (2, 57, 2), ["message", "media"], []),
        ({"webhooks": HOOK}, None, ["message", "media"], []),
        ({}, (2, 57, 2), ["message"], []),
        ({"webhooks": {"url": ""}}, (2, 57, 2), ["message"], ["no webhook is set"]),
        ({"webhooks": {"url": None}}, (2, 57, 2), ["message"], ["no webhook is set"]),
        ({"garbagecollector_enable": {"messages": True, "media": False}}, (2, 57, 2), ["message", "media"],
         ["garbagecollector_enable.messages is on"]),
        ({"garbagecollector_enable": {"messages": True, "media": False}}, (2, 57, 2), ["media"], []),
        ({"garbagecollector_enable": {"messages": True, "media": True}}, (2, 57, 2), ["message", "media"],
         ["garbagecollector_enable.messages, garbagecollector_enable.media is on"]),
        ({"db_garbagecollector_enable": True}, (2, 57, 2), ["message"], []),
        ({}, (2, 48, 9), ["message"], ["this client is 2.48.9; before 2.49"]),
        ({"db_garbagecollector_enable": True}, (2, 45), ["media"],
         ["this client is 2.45; before 2.49", "db_garbagecollector_enable is on"]),
        ({}, (2, 49), ["message"], []),
    ],
)  # fmt: skip
def test_remarks(
    settings: dict[str, Any], version: tuple[int, ...] | None, targets: list[str], said: list[str]
) -> None:
    remarks = remarks_before(settings, version, targets)
    assert len(remarks) == len(said), remarks
    for remark, words in zip(remarks, said, strict=True):
        assert words in remark


# --- the flow ------------------------------------------------------------------------------------------------------


def test_both_are_started(emulated: Emulated) -> None:
    emulated.set({"webhooks": HOOK, "garbagecollector_enable": {"messages": False}})
    result = collect(emulated)
    assert (result["changed"], result["nodes"]) == (True, STARTED)
    assert "webhook only" in result["msg"]
    assert "warnings" not in result
    assert emulated.requests[1:-1] == [
        ("GET", "/settings/application", 200),
        ("PUT", "/services/message/gc", 200),
        ("PUT", "/services/media/gc", 200),
    ]


def test_check_mode_reads_only(emulated: Emulated) -> None:
    result = collect(emulated, check=True)
    assert (result["changed"], result["nodes"]) == (True, [])
    assert len(result["warnings"]) == 2
    assert emulated.verbs == ["login", "GET", "logout"]


def test_each_once(emulated: Emulated) -> None:
    assert collect(emulated, targets=["media", "media"])["nodes"] == STARTED[1:]
    assert emulated.verbs == ["login", "GET", "PUT", "logout"]
    refused = collect(emulated, targets=[])
    assert (refused["failed"], refused["msg"]) == (True, "targets: name at least one of message and media")


def test_an_account_that_may_not_read_settings(emulated: Emulated) -> None:
    emulated.add_user("user", "Canary-Passw0rd-2", "ROLE_USER")
    result = collect(emulated, username="user", password="Canary-Passw0rd-2")
    assert result["nodes"] == STARTED
    assert "whether the client collects by itself cannot be read" in result["warnings"][0]


def test_a_client_that_cannot_be_read_is_not_asked_to_start(emulated: Emulated) -> None:
    emulated.fault("status", method="GET", times=None)
    result = collect(emulated)
    assert (result["failed"], result["changed"]) == (True, False)
    assert "PUT" not in emulated.verbs


@pytest.mark.parametrize(
    ("fault", "changed", "unknown", "puts"),
    [
        # The API says that it has not begun.
        ({"action": "error", "code": 1014, "details": "no disk"}, False, False, 1),
        ({"action": "error", "code": 1006, "status": 404}, False, False, 1),
        ({"action": "error", "code": 1016, "status": 503}, False, False, 3),
        ({"action": "error", "code": 1017}, False, False, 3),
        ({"action": "status", "status": 429}, False, False, 3),
        # Nobody can say.
        ({"action": "error", "code": 1014, "details": "Please check if wacore is running: wacore:6252"}, True, True, 3),
        ({"action": "reset"}, True, True, 1),
        ({"action": "cut"}, True, True, 1),
        ({"action": "status", "status": 500}, True, True, 1),
        ({"action": "status", "status": 504}, True, True, 1),
        ({"action": "html", "status": 200}, True, True, 1),
        ({"action": "empty"}, True, True, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["message", "media"])
def test_a_start_that_fails(
    emulated: Emulated, target: str, fault: dict[str, Any], changed: bool, unknown: bool, puts: int
) -> None:
    emulated.fault(**fault, method="PUT", path=f"/v1/services/{target}", times=None)
    result = collect(emulated, retries=2)
    assert result["failed"] is True
    assert result["nodes"] == ([] if target == "message" else STARTED[:1])
    assert result["changed"] is (changed or target == "media")
    assert result.get("outcome_unknown", False) is unknown
    paths = [path for method, path, _status in emulated.requests if method == "PUT"]
    assert paths.count(f"/services/{target}/gc") == puts
    assert ("/services/media/gc" in paths) is (target == "media")


def test_a_fault_that_passes(emulated: Emulated) -> None:
    emulated.fault("error", code=1011, method="PUT")
    assert collect(emulated, retries=1)["nodes"] == STARTED


def test_nodes_of_a_cluster(scripted: Scripted) -> None:
    scripted.answer(body=SETTINGS)
    nodes = {"wacore2:9d": {"status": "failed"}, "wacore1:8c": {"status": "processing"}}
    scripted.answer(body=json.dumps({"services": {"message": {"gc": nodes}}}))
    result = collect(scripted, targets=["message"])
    assert [(node["name"], node["status"]) for node in result["nodes"]] == [
        ("wacore1:8c", "processing"),
        ("wacore2:9d", "failed"),
    ]
    assert (result["failed"], result["msg"]) == (True, "not started: message on wacore2:9d")
