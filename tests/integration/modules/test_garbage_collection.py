# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The garbage collection: what is started on single clients and on clusters, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.batch import CHECK, FIRST, Case, RunCases, assert_same_over_both_paths, run_batch
from support.commands import AnsibleCommands
from support.emulator import Emulator, running_emulator

MODULE = "wa_garbage_collection"
GET = "GET /v1/settings/application"
MESSAGE, MEDIA = "PUT /v1/services/message/gc", "PUT /v1/services/media/gc"
QUIET = {"webhooks": {"url": "https://h.example.com/?auth=canary"}, "garbagecollector_enable": {"messages": False}}
STEPS = (CHECK, FIRST)


def _fault(**members: Any) -> list[dict[str, Any]]:
    return [{"method": "PUT", "times": None, **members}]


CASES = [
    Case("both", {}, MODULE, stored=QUIET, steps=STEPS),
    Case("messages", {"targets": ["message"]}, MODULE, stored=QUIET, steps=STEPS),
    Case("media", {"targets": "media"}, MODULE, stored=QUIET, steps=STEPS),
    Case("at the defaults", {}, MODULE, steps=STEPS),
    Case("an old client", {}, MODULE, stored={"webhooks": QUIET["webhooks"]},
         switches={"client_version": "2.45.1", "report_all": True}, steps=STEPS),
    Case("a gateway", {}, MODULE, stored=QUIET, switches={"flat_get": True, "meta": "none", "login": False},
         steps=STEPS),
    Case("not started", {"retries": 0}, MODULE, stored=QUIET, faults=_fault(action="error", code=1014), steps=(FIRST,)),
    Case("half started", {"retries": 0}, MODULE, stored=QUIET,
         faults=_fault(action="error", code=1014, path="/v1/services/media"), steps=(FIRST,)),
    Case("lost", {"retries": 3}, MODULE, stored=QUIET, faults=_fault(action="reset", applied=True), steps=(FIRST,)),
    Case("nothing to start", {"targets": []}, MODULE, steps=(FIRST,)),
    Case("something else", {"targets": ["messages"]}, MODULE, steps=(FIRST,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "puts"), [("both", [MESSAGE, MEDIA]), ("messages", [MESSAGE]), ("media", [MEDIA])])
def test_what_is_started(name: str, puts: list[str], path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, CASES).outcomes[name]
    assert (outcome.verbs(CHECK), outcome.verbs(FIRST)) == ([GET], [GET, *puts])
    targets = [put.split("/")[3] for put in puts]
    result = outcome.results[FIRST]
    assert result["nodes"] == [{"name": None, "target": target, "status": "processing"} for target in targets]
    assert "webhook only" in result["msg"]
    assert (result["changed"], outcome.results[CHECK]["changed"], outcome.results[CHECK]["nodes"]) == (True, True, [])
    assert "warnings" not in result


def test_what_is_told(path: str, run_cases: RunCases) -> None:
    outcomes = run_cases(path, CASES).outcomes
    for step in STEPS:
        automatic, nobody = outcomes["at the defaults"].results[step]["warnings"]
        assert "garbagecollector_enable.messages is on" in automatic
        assert "no webhook is set" in nobody
        old, own = outcomes["an old client"].results[step]["warnings"]
        assert "2.45.1" in old
        assert "db_garbagecollector_enable is on" in own
        assert "warnings" not in outcomes["a gateway"].results[step]
    for name in ("at the defaults", "an old client", "a gateway"):
        assert outcomes[name].verbs(FIRST) == [GET, MESSAGE, MEDIA]


def test_what_fails(path: str, run_cases: RunCases) -> None:
    outcomes = run_cases(path, CASES).outcomes
    for name, verbs, changed, unknown in (
        ("not started", [GET, MESSAGE], False, False),
        ("half started", [GET, MESSAGE, MEDIA], True, False),
        ("lost", [GET, MESSAGE], True, True),
        ("nothing to start", [], False, False),
        ("something else", [], False, False),
    ):
        outcome = outcomes[name]
        result = outcome.results[FIRST]
        assert (outcome.failures, outcome.verbs(FIRST)) == (1, verbs), name
        assert (result.get("changed", False), result.get("outcome_unknown", False)) == (changed, unknown), name
    assert "error 1014" in outcomes["not started"].results[FIRST]["msg"]
    assert [node["target"] for node in outcomes["half started"].results[FIRST]["nodes"]] == ["message"]


def test_both_paths_give_the_same_results(run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, CASES)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("clusters"), 4, "master1,wacore1,wacore2") as running:
        yield running


def test_a_cluster_has_a_node_for_each_coreapp(path: str, clusters: Emulator, ansible: AnsibleCommands) -> None:
    case = Case("cluster", {}, MODULE, stored=QUIET, steps=(FIRST,))
    result = run_batch(ansible, clusters, path, [case]).outcomes["cluster"].results[FIRST]
    found = [((node["name"] or "").partition(":")[0], node["target"], node["status"]) for node in result["nodes"]]
    assert found == [
        ("wacore1", "message", "processing"),
        ("wacore2", "message", "processing"),
        ("", "media", "processing"),
    ]
