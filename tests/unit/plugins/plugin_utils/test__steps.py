# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils._steps import (
    Step,
    as_items,
    demand_steps,
    label,
    restart_steps,
)


def names(steps: list[Step]) -> list[str]:
    return [
        " ".join(filter(None, (step.name, step.host, step.node, step.about and f"({step.about})"))) for step in steps
    ]


def test_a_demand_is_on_every_host_before_the_settings_are_written() -> None:
    assert names(demand_steps(["a", "b"], health=True, writes=True, ask=True, peek="b")) == [
        "peek b",
        "ask",
        "look a",
        "look b",
        "health",
        "record b",
        "record a",
        "write",
        "note a",
        "note b",
    ]


def test_media_providers_wait_until_the_settings_are_known_to_be_valid() -> None:
    steps = demand_steps(["a"], health=False, writes=True, ask=True, providers=True)
    assert names(steps) == ["ask", "providers", "look a", "record a", "write", "note a"]
    assert label(as_items("c", steps, "a", "api", "demand", {})[0]) == "api: set the media providers"


def test_a_campaign_is_decided_when_all_records_are_known() -> None:
    steps = demand_steps(["a", "b"], health=True, campaign=True)
    assert names(steps) == [
        "look a", "look b", "health", "campaign", "record b", "record a", "write", "note a", "note b",
        "collect",
    ]  # fmt: skip


def test_what_is_known_is_not_asked_again() -> None:
    assert names(demand_steps(["a"], health=False)) == ["look a", "record a", "note a"]


def test_nodes_restart_one_after_the_other_and_get_a_second_turn() -> None:
    turn = ["gate one (a)", "restart a one", "wait one (a)", "settle a one"]
    other = ["gate two (b)", "restart b two", "wait two (b)", "settle b two"]
    begin = ["look a", "look b", "health", "regain", "recover b", "recover a"]
    assert names(restart_steps(["a", "b"], [("a", "one"), ("b", "two")], False)) == [
        *begin,
        *turn,
        *other,
        *turn,
        *other,
        "release b",
        "release a",
    ]
    assert names(restart_steps(["a", "b"], [("a", "one")], False)) == [*begin, *turn, "release a", "release b"]
    assert names(restart_steps(["a", "b"], [], False)) == [*begin, "release a", "release b"]


@pytest.mark.parametrize(
    ("order", "recovers", "releases"),
    [("abc", "cba", "cab"), ("cab", "bac", "bac"), ("bca", "cab", "abc"), ("", "cba", "abc")],
)
def test_hosts_come_in_the_order_that_takes_the_fewest_items(order: str, recovers: str, releases: str) -> None:
    steps = restart_steps(list("abc"), [(host, "node") for host in order], False)
    assert [step.host for step in steps if step.name == "recover"] == list(recovers)
    assert [step.host for step in steps if step.name == "release"] == list(releases)


def test_check_mode_makes_the_demand_once_more() -> None:
    assert names(restart_steps(["a", "b"], [], True))[:5] == ["look a", "look b", "health", "record a", "record b"]


def test_steps_of_one_host_are_one_item_where_the_controller_calls_the_api() -> None:
    steps = demand_steps(["a", "b"], health=True, writes=True)
    items = as_items("id", steps, "a", None, "demand", {})
    assert [(item["host"], item["api"], [step for step, _host, _node in item["do"]]) for item in items] == [
        ("a", False, ["look"]),
        ("b", False, ["look", "health", "record"]),
        ("a", False, ["record", "write", "note"]),
        ("b", False, ["note"]),
    ]
    assert [item.get("delegate_to") for item in items] == [None, "b", None, "b"]
    assert [item.get("last", False) for item in items] == [False] * 3 + [True]
    assert [(item["at"], item["phase"], item["context"]) for item in items] == [(at, "demand", "id") for at in range(4)]


def test_hosts_that_are_reached_from_here_need_no_task_of_their_own() -> None:
    steps = demand_steps(["a", "b"], health=True, writes=True)
    (item,) = as_items("id", steps, "a", None, "demand", {}, ["a", "b"])
    assert (item["host"], item.get("delegate_to"), item["alone"]) == ("a", None, True)
    assert item["do"] == [[step.name, step.host or "", ""] for step in steps]
    others = as_items("id", demand_steps(["a", "b", "c"], health=True), "a", None, "demand", {}, ["a", "b"])
    assert [(item["host"], item.get("delegate_to")) for item in others] == [
        ("a", None),
        ("c", "c"),
        ("a", None),
        ("c", "c"),
    ]


def test_the_api_of_another_host_is_an_item_of_its_own() -> None:
    items = as_items("id", demand_steps(["a"], health=True, writes=True), "a", "api", "demand", {})
    assert [(item["host"], item["api"], item.get("delegate_to")) for item in items] == [
        ("a", False, None),
        ("api", True, "api"),
        ("a", False, None),
        ("api", True, "api"),
        ("a", False, None),
    ]
    own = as_items("id", [Step("look", "a"), Step("health")], "a", "a", "demand", {})
    assert [(item["host"], item["api"], item.get("delegate_to")) for item in own] == [
        ("a", False, None),
        ("a", True, "a"),
    ]


def test_a_host_that_is_asked_from_another_one() -> None:
    (item,) = as_items("id", [Step("look", "a")], "a", None, "demand", {"a": "localhost"})
    assert (item["delegate_to"], item["api"]) == ("localhost", True)


def test_what_the_host_s_own_task_can_do_needs_no_loop() -> None:
    def alone(hosts: list[str], own: str, api: str | None, asked_from: dict[str, str]) -> list[bool]:
        items = as_items("id", demand_steps(hosts, health=True, writes=True), own, api, "demand", asked_from)
        return [item.get("alone", False) for item in items]

    assert alone(["a"], "a", None, {}) == [True]
    assert alone(["b"], "a", None, {}) == [False]
    assert alone(["a"], "a", None, {"a": "localhost"}) == [False]
    assert set(alone(["a"], "a", "a", {})) == set(alone(["a", "b"], "a", None, {})) == {False}


def test_a_first_step_on_the_api_is_done_by_the_own_host() -> None:
    (item,) = as_items("id", [Step("ask")], "a", None, "demand", {})
    assert (item["host"], item["do"]) == ("a", [["ask", "", ""]])
    assert as_items("id", [], "a", None, "demand", {}) == []


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ([["look", "a", ""]], "a: look"),
        ([["record", "a", ""], ["write", "", ""]], "a: write the restart down, write the settings"),
        ([["restart", "a", "one"], ["wait", "a", "one"]], "a: restart one"),
        ([["record", "a", ""], ["record", "a", ""]], "a: write the restart down"),
    ],
)
def test_what_an_item_is_called(do: list[list[str]], said: str) -> None:
    assert label({"host": "a", "do": do}) == said
