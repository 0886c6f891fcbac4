# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import COREAPP, MASTER, Container
from ansible_collections.wabiz.onprem.plugins.module_utils._debt import Debt, Owed, unreadable
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node
from ansible_collections.wabiz.onprem.plugins.module_utils._rolling import (
    MASTERS_TOO,
    CannotRestart,
    Look,
    RollingPlan,
    Wish,
    plan_restarts,
)

PAY = Wish()
LOG_LEVEL = Wish(("log_level",))
EVERYTHING = Wish(everything=True)


def container(name: str, started: float | None = 50.0, alive: bool = True) -> Container:
    kind = MASTER if name.startswith("master") else COREAPP
    state = "running" if alive else "exited"
    return {
        "name": name,
        "id": f"{name}-id".ljust(64, "0"),
        "kind": kind,
        "state": state,
        "alive": alive,
        "started": started,
    }


def owed(known: Container) -> Owed:
    return {"name": known["name"], "id": known["id"], "kind": known["kind"]}


def debt(*containers: Container, written: float | None = 100.0, settings: tuple[str, ...] = ("log_level",)) -> Debt:
    return Debt("c", "then", tuple(owed(known) for known in containers), settings, written, None)


def node(known: Container, role: str = COREAPP, status: str = "connected") -> Node:
    return Node(f"{known['name']}:{known['id'][:12]}", role, status)


def plan(
    looks: list[Look], wish: Wish = PAY, masters: bool | None = None, health: Any = None, **more: Any
) -> RollingPlan:
    return plan_restarts("c", looks, wish, masters=masters, health=health, **more)


def names(result: RollingPlan) -> list[str]:
    return [node["name"] for node in result.nodes]


ONE, TWO, M1, M2 = container("wacore1"), container("wacore2"), container("master1"), container("master2")


def test_a_demand_writes_everything_down_and_restarts_it_in_order() -> None:
    result = plan([Look("a", containers=(TWO, ONE)), Look("b", containers=(container("wacore3"),))], LOG_LEVEL)
    assert [(write["host"], write["state"], write["written"]) for write in result.writes] == [
        ("a", "recorded", False),
        ("b", "recorded", False),
    ]
    assert [known["name"] for known in result.writes[0]["containers"]] == ["wacore1", "wacore2"]
    assert [(node["title"], node["label"]) for node in result.nodes] == [
        ("Coreapp 1 of 3", "wacore2 on a"),
        ("Coreapp 2 of 3", "wacore1 on a"),
        ("Coreapp 3 of 3", "wacore3 on b"),
    ]


def test_a_restart_of_everything_is_due_at_once() -> None:
    result = plan([Look("a", containers=(ONE,))], EVERYTHING)
    assert (result.writes[0]["written"], names(result)) == (True, ["wacore1"])


def test_paying_restarts_what_owes_and_strikes_out_what_does_not() -> None:
    since = container("wacore2", started=200.0)
    gone = container("wacore3")
    result = plan([Look("a", containers=(ONE, since), debt=debt(ONE, since, gone))])
    assert names(result) == ["wacore1"]
    assert result.writes == [{"host": "a", "state": "paid", "containers": [owed(since), owed(gone)]}]


def test_paying_notes_the_moment_where_it_is_not_known() -> None:
    result = plan([Look("a", containers=(container("wacore1", started=200.0),), debt=debt(ONE, written=None))])
    assert ({"host": "a", "state": "written"} in result.writes, names(result)) == (True, ["wacore1"])


def test_nothing_owed_is_nothing_to_do() -> None:
    result = plan([Look("a", containers=(ONE,))])
    assert (result.writes, result.nodes, result.warnings) == ([], [], [])


def test_stopped_containers_are_neither_written_down_nor_restarted() -> None:
    stopped = container("wacore2", alive=False)
    result = plan([Look("a", containers=(ONE, stopped))], LOG_LEVEL)
    assert names(result) == ["wacore1"]
    assert [known["name"] for known in result.writes[0]["containers"]] == ["wacore1"]


def test_a_container_that_owes_and_is_stopped_is_let_off_and_named() -> None:
    stopped = container("wacore2", alive=False)
    result = plan([Look("a", containers=(ONE, stopped), debt=debt(ONE, stopped))])
    assert names(result) == ["wacore1"]
    assert result.writes == [{"host": "a", "state": "paid", "containers": [owed(stopped)]}]
    (warning,) = result.warnings
    assert "wacore2 owed a restart and is stopped" in warning


def test_a_record_that_cannot_be_read_is_replaced_and_everything_restarts() -> None:
    result = plan([Look("a", containers=(ONE, M1), debt=unreadable("c"))])
    assert names(result) == ["wacore1", "master1"]
    assert [(write["state"], write["written"]) for write in result.writes] == [("recorded", True)]


@pytest.mark.parametrize(
    ("masters", "settings", "expected"),
    [
        (None, ("log_level",), ["wacore1"]),
        (None, ("log_level", MASTERS_TOO), ["wacore1", "master1"]),
        (True, ("log_level",), ["wacore1", "master1"]),
        (False, (MASTERS_TOO,), ["wacore1"]),
    ],
)
def test_masters_restart_where_told(masters: bool | None, settings: tuple[str, ...], expected: list[str]) -> None:
    assert names(plan([Look("a", containers=(M1, ONE))], Wish(settings), masters)) == expected


def test_masters_on_record_are_let_off_where_they_are_to_be_left_alone() -> None:
    result = plan([Look("a", containers=(M1, ONE), debt=debt(M1, ONE))], masters=False)
    assert names(result) == ["wacore1"]
    assert result.writes == [{"host": "a", "state": "paid", "containers": [owed(M1)]}]


def test_the_primary_master_comes_last() -> None:
    health = [node(M1, "primary_master"), node(M2, "secondary_master", "disconnected"), node(ONE)]
    result = plan([Look("a", containers=(M1, M2, ONE))], Wish((MASTERS_TOO,)), health=health)
    assert [(n["name"], n["title"]) for n in result.nodes] == [
        ("wacore1", "Coreapp 1 of 1"),
        ("master2", "master 1 of 2"),
        ("master1", "master 2 of 2"),
    ]


def test_hosts_outside_the_play_are_written_down_and_left_alone() -> None:
    result = plan([Look("a", containers=(ONE,)), Look("b", inside=False, containers=(TWO,))], LOG_LEVEL)
    assert [write["host"] for write in result.writes] == ["a", "b"]
    assert names(result) == ["wacore1"]
    assert result.warnings == ["b of cluster c is outside this play: wacore2 on it still owes a restart"]


def test_hosts_outside_the_play_that_do_not_answer_are_a_warning() -> None:
    result = plan([Look("a", containers=(ONE,)), Look("b", inside=False, problem="no route")], LOG_LEVEL)
    assert names(result) == ["wacore1"]
    assert "b of cluster c is outside this play and cannot be asked (no route)" in result.warnings[0]


def test_hosts_of_the_play_that_do_not_answer_stop_everything() -> None:
    with pytest.raises(CannotRestart, match=r"b \(no route\) cannot be asked"):
        plan([Look("a", containers=(ONE,)), Look("b", problem="no route")], LOG_LEVEL)


@pytest.mark.parametrize("wish", [LOG_LEVEL, EVERYTHING])
def test_a_restart_of_nobody_knows_whom_is_refused(wish: Wish) -> None:
    with pytest.raises(CannotRestart, match="no Coreapp container found on a, b"):
        plan([Look("a"), Look("b")], wish)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["connected", "connected"], 2),
        (["connected", "connecting"], 2),
        (["connected", "disconnected"], 1),
        (["uninitialized", "uninitialized"], 1),
        (["disconnected", "disconnected"], 0),
        (["unregistered", "unregistered"], 0),
    ],
)
def test_as_healthy_as_before(states: list[str], expected: int) -> None:
    health = [node(known, status=state) for known, state in zip((ONE, TWO), states, strict=True)]
    assert plan([Look("a", containers=(ONE, TWO))], LOG_LEVEL, health=health).expect_connected == expected


def test_what_was_written_down_of_the_health_counts_after_a_run_that_was_cut_off() -> None:
    before = Debt("c", "then", (owed(ONE), owed(TWO)), (), 100.0, connected_before=2)
    looks = [Look("a", containers=(ONE, TWO), debt=before)]
    assert plan(looks, health=[node(ONE)]).expect_connected == 2
    assert plan(looks, health=None).expect_connected == 2
    assert plan(looks, health=[node(ONE), node(TWO)], shards=1).expect_connected == 1
    assert plan([Look("a", containers=(ONE,), debt=before)], health=[node(ONE)]).expect_connected == 1
    assert plan(looks, health=[node(ONE, status="unregistered")]).expect_connected == 0


def test_where_nobody_tells_the_health_nobody_expects_a_number() -> None:
    assert plan([Look("a", containers=(ONE,))], LOG_LEVEL, health=None).expect_connected is None


def test_nodes_are_known_in_the_health_by_their_id() -> None:
    result = plan([Look("a", containers=(ONE, TWO))], LOG_LEVEL, health=[node(ONE)])
    assert [n["health_name"] for n in result.nodes] == [node(ONE).name, None]


@pytest.mark.parametrize("name", ["wacore1", "wacore1:0123456789ab"])
def test_nodes_without_an_id_are_known_in_the_health_by_their_name(name: str) -> None:
    nameless: Container = {**container(name), "id": ""}
    health = [Node("wacore1:0123456789ab", COREAPP, "connected"), Node("wacore11:0123456789ac", COREAPP, "connected")]
    result = plan([Look("a", containers=(nameless,))], LOG_LEVEL, health=health)
    assert result.nodes[0]["health_name"] == "wacore1:0123456789ab"


def test_the_only_node_of_a_single_client_has_no_name() -> None:
    result = plan([Look("a", containers=(ONE,))], LOG_LEVEL, health=[Node(None, COREAPP, "connected")])
    assert (result.nodes[0]["health_name"], result.expect_connected) == (None, 1)
