# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node as HealthNode
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import (
    MASTERS_TOO,
    ClientHealth,
    Look,
    Refused,
    Targets,
    Wanted,
    adopted,
    as_health_says,
    expected_connected,
    in_order,
    is_pending,
    leads,
    refuse_other_clients,
    settled_otherwise,
    stopped_since,
    targets,
    unproven,
    without_seen,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    COREAPP,
    MASTER,
    Node,
    Record,
    begin_restart,
    demand,
    note_written,
)

SETTINGS = Wanted(("axolotl",))


def coreapp(name: str, **facts: Any) -> Node:
    return Node(name, **{"id": f"{name}{'0' * 12}", "incarnation": "1", "hostname": name, **facts})


def master(name: str, **facts: Any) -> Node:
    return coreapp(name, **{"kind": MASTER, **facts})


def health(**states: str) -> ClientHealth:
    """Names to states; a master's state is its role."""
    nodes = tuple(
        HealthNode(f"{name}:{name}{'0' * 4}", state if state.endswith("master") else COREAPP, state)
        for name, state in states.items()
    )
    return ClientHealth(nodes, clustered=True)


def look(host: str, *nodes: Node, **facts: Any) -> Look:
    return Look(host, **{"nodes": nodes, "record": Record("c", host), **facts})


def pending(host: str, *nodes: Node, now: tuple[Node, ...] | None = None, **facts: Any) -> Look:
    record = demand(Record("c", host), nodes, settings=["axolotl"], recorded="now", connected_before=None)
    return look(host, *(nodes if now is None else now), record=replace(note_written(record, nodes), **facts))


def demanded(*looks: Look, wanted: Wanted = SETTINGS, masters: bool | None = None, **facts: Any) -> Targets:
    return targets("c", looks, wanted, **{"masters": masters, "health": health(a="connected"), **facts})


# --- health ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "count"),
    [
        ({"a": "connected", "b": "connecting", "m": "primary_master"}, 2),
        ({"a": "disconnected"}, 0),
        ({"a": "uninitialized", "b": "uninitialized"}, 1),
        ({"a": "uninitialized", "b": "connected"}, 1),
    ],
)
def test_how_many_are_connected(states: dict[str, str], count: int) -> None:
    assert health(**states).connected == count
    assert ClientHealth().connected is None


def test_who_is_not_registered() -> None:
    assert health(a="unregistered").unregistered
    assert not health(a="connected").unregistered
    assert not ClientHealth().unregistered


@pytest.mark.parametrize(
    ("node", "found"),
    [
        (coreapp("a"), "a"),
        (coreapp("a", id="else", hostname="a"), "a"),
        (coreapp("x", id=f"a{'0' * 12}"), "a"),
        (coreapp("x", id="else", hostname="10.0.0.1 b"), "b"),
        (Node("b"), "b"),
        (Node("b:b0000"), "b"),
        (coreapp("x"), None),
        (coreapp("a", id="else", hostname="other"), None),
    ],
)
def test_a_node_in_health(node: Node, found: str | None) -> None:
    entry = health(a="connected", b="connected").find(node)
    assert (entry.name or "").partition(":")[0] == (found or "") if entry else found is None


def test_the_id_counts_before_the_name() -> None:
    entry = health(a="connected", b="disconnected").find(coreapp("b", hostname="a"))
    assert entry is not None and entry.gateway_status == "disconnected"


def test_a_named_node_is_what_health_says_of_it() -> None:
    said = health(a="connected", m="secondary_master")
    nodes = as_health_says([Node("a"), Node("m"), Node("x"), coreapp("m")], said)
    assert [node.kind for node in nodes] == [COREAPP, MASTER, COREAPP, COREAPP]


# --- a demand ----------------------------------------------------------------------------------------------------


def test_a_demand_is_about_all_coreapps_stopped_ones_included() -> None:
    a, b, m = coreapp("a"), coreapp("b", running=False), master("m")
    found = demanded(
        look("h", a, m), look("i", b), look("j"), health=health(a="connected", b="disconnected", m="primary_master")
    )
    assert found == Targets({"h": (a,), "i": (b,), "j": ()})


@pytest.mark.parametrize(
    ("settings", "masters", "both"),
    [("axolotl", None, False), (MASTERS_TOO, None, True), (MASTERS_TOO, False, False), ("axolotl", True, True)],
)
def test_when_masters_restart_too(settings: str, masters: bool | None, both: bool) -> None:
    said = health(a="connected", m="primary_master")
    found = demanded(look("h", coreapp("a"), master("m")), wanted=Wanted((settings,)), masters=masters, health=said)
    assert len(found.nodes["h"]) == 1 + both


def test_nothing_is_demanded_where_nothing_is_wanted() -> None:
    assert demanded(look("h"), wanted=Wanted()) == Targets()
    assert not Wanted()
    assert Wanted(everything=True)


def test_a_host_outside_the_play_that_is_away_is_written_down() -> None:
    away = Look("i", inside=False, problem="unreachable")
    found = demanded(look("h", coreapp("a")), away)
    assert found.elsewhere == ("i",)
    assert "i of cluster c cannot be looked at (unreachable)" in found.warnings[0]
    assert "i" not in found.nodes
    assert demanded(look("h"), away, wanted=Wanted()).warnings == found.warnings


def test_a_restart_alone_waits_for_a_host_of_the_play_that_is_away() -> None:
    away = Look("i", problem="unreachable", away=True)
    found = demanded(look("h", coreapp("a")), away, wanted=Wanted(everything=True), writes=False)
    assert (found.elsewhere, list(found.nodes)) == (("i",), ["h"])


REFUSED: list[tuple[str, list[Look], dict[str, Any]]] = [
    (
        "cannot be done on i \\(unreachable\\), so nothing is written",
        [look("h", coreapp("a")), Look("i", problem="unreachable", away=True)],
        {},
    ),
    (
        "cannot be done on i \\(no rights\\), so nothing is written",
        [look("h", coreapp("a")), Look("i", problem="no rights")],
        {"wanted": Wanted(everything=True), "writes": False},
    ),
    (
        "cannot be done on i \\(unreachable\\), so nothing is written",
        [Look("i", problem="unreachable", away=True)],
        {"wanted": Wanted(everything=True), "writes": False},
    ),
    (
        "so nothing is restarted and all of it stays pending",
        [look("h", coreapp("a")), Look("i", problem="unreachable", away=True)],
        {"wanted": Wanted(), "writes": False},
    ),
    ("cannot be done on i \\(unreachable\\), so", [look("h", coreapp("a")), Look("i", problem="unreachable")], {}),
    ("cannot be done on i \\(unreachable\\), so", [Look("i", problem="unreachable")], {"wanted": Wanted()}),
    ("no Coreapp container found on h, i \\(none was", [look("h"), look("i")], {}),
    ("no Coreapp container found on h \\(only masters were", [look("h", master("m"))], {}),
    ("is not a cluster and has one Coreapp, but a, b", [look("h", coreapp("a"), coreapp("b"))], {"clustered": False}),
    ("c is not a cluster: only Recreate", [look("h", coreapp("a", alone="only Recreate"))], {"clustered": False}),
    ("x on h is not in the health of this client", [look("h", coreapp("a"), coreapp("x"))], {}),
    (
        "health names b:b0000, which no host",
        [look("h", Node("a"), Node("bb"))],
        {"health": health(a="connected", b="connected")},
    ),
    (
        "x on i may belong to another client",
        [look("h", coreapp("a")), look("i", coreapp("x"), assumed=True, names_given=True)],
        {},
    ),
    (
        "x on i may belong to another client",
        [look("h", Node("a")), look("i", Node("x"), assumed=True, names_given=True)],
        {},
    ),
    (
        "a on i may belong to another client",
        [look("h", Node("a"), names_given=True), look("i", Node("a"), assumed=True, names_given=True)],
        {"clustered": False},
    ),
    (
        "health names b:b0000, which no host",
        [look("h", coreapp("a"))],
        {"health": health(a="connected", b="connected")},
    ),
]


@pytest.mark.parametrize(("message", "looks", "facts"), REFUSED)
def test_what_is_refused(message: str, looks: list[Look], facts: dict[str, Any]) -> None:
    if "clustered" in facts:
        facts = {"health": ClientHealth((HealthNode(None, COREAPP, "connected"),), clustered=False)}
    with pytest.raises(Refused, match=message):
        demanded(*looks, **facts)


SINGLE = ClientHealth((HealthNode(None, COREAPP, "connected"),), clustered=False)
ACCEPTED: list[tuple[list[Look], dict[str, Any]]] = [
    ([look("h", coreapp("a"), coreapp("b"), names_given=True)], {"health": SINGLE}),
    ([look("h", coreapp("a"), coreapp("b", running=False))], {"health": SINGLE}),
    # Two hosts of the inventory that are one machine.
    ([look("h", coreapp("a")), look("i", coreapp("a"))], {"health": SINGLE}),
    ([look("h", coreapp("a"), coreapp("x"), names_given=True)], {}),
    ([look("h", coreapp("a"), coreapp("x", running=False))], {}),
    ([look("h", Node("named otherwise"))], {}),
    ([look("h", Node("named otherwise")), look("i", Node("that too"), assumed=True)], {}),
    (
        [look("h", coreapp("a")), look("i", coreapp("b"), assumed=True)],
        {"health": health(a="connected", b="connected")},
    ),
    ([look("h", coreapp("a")), look("i", coreapp("x", running=False), assumed=True)], {}),
    ([look("h", coreapp("a")), look("i", coreapp("a"), assumed=True)], {"health": SINGLE}),
    ([look("h", coreapp("a")), replace(pending("i", coreapp("x")), assumed=True)], {}),
    ([look("h", coreapp("a", alone="only Recreate"))], {}),
    ([look("h", coreapp("a"), coreapp("x"))], {"health": ClientHealth()}),
    ([pending("h", coreapp("a"), coreapp("x"))], {}),
    (
        [look("h", coreapp("a")), Look("i", inside=False, problem="away")],
        {"health": health(a="connected", b="connected")},
    ),
    ([look("h", coreapp("a"))], {"health": health(a="connected", m="primary_master")}),
]


@pytest.mark.parametrize(("looks", "facts"), ACCEPTED)
def test_what_is_not_refused(looks: list[Look], facts: dict[str, Any]) -> None:
    assert demanded(*looks, **facts).nodes["h"]


def test_a_part_of_a_cluster_is_taken_where_the_operator_says_so() -> None:
    found = demanded(look("h", coreapp("a")), health=health(a="connected", b="connected"), partial_cluster=True)
    assert found.nodes["h"]
    assert "b:b0000" in found.warnings[0]


# --- records together --------------------------------------------------------------------------------------------


def test_an_unreadable_record_means_that_everything_is_pending() -> None:
    a, m, down = coreapp("a"), master("m"), coreapp("down", running=False)
    record = adopted(look("h", a, m, down, lost="h: it is no JSON"), [], "now")
    assert [entry.name for entry in record.nodes] == ["a", "m"]
    assert (record.generation, record.noted, record.recorded) == (1, 1, "now")


@pytest.mark.parametrize(("setting", "names"), [("axolotl", ["a"]), (MASTERS_TOO, ["a", "m"])])
def test_what_other_records_say_is_taken_over(setting: str, names: list[str]) -> None:
    away = look("h", coreapp("a"), master("m"))
    teller = look("i", record=Record("c", "i", elsewhere=("h", "z"), settings=(setting,), connected_before=3))
    record = adopted(away, [away, teller], "now")
    assert [entry.name for entry in record.nodes] == names
    assert (record.settings, record.connected_before) == ((setting,), 3)
    assert adopted(teller, [away, teller], "now") == teller.record


def test_a_demand_that_was_not_noted_is_noted_when_nobody_writes() -> None:
    record = demand(Record("c", "h"), [coreapp("a")], settings=["x"], recorded="now", connected_before=1)
    found = adopted(look("h", coreapp("a", incarnation="2"), record=record), [], "now")
    assert (found.noted, found.nodes[0].incarnation) == (1, "2")


def test_only_what_was_looked_at_can_be_adopted() -> None:
    with pytest.raises(ValueError, match="h has not been looked at"):
        adopted(Look("h", problem="away"), [], "now")


def test_hosts_that_were_seen_are_elsewhere_no_more() -> None:
    record = Record("c", "h", elsewhere=("i", "j"), settings=("x",))
    looks = [look("i"), Look("j", inside=False, problem="away")]
    assert without_seen(record, looks).elsewhere == ("j",)
    assert without_seen(record, [*looks, look("j")]) == Record("c", "h")


@pytest.mark.parametrize(
    ("before", "now", "shards", "given", "expected"),
    [
        ([None], {"a": "connected"}, None, None, 1),
        ([3, 2], {"a": "connected"}, None, None, 3),
        ([3], {"a": "connected"}, 2, None, 2),
        ([3], {"a": "connected"}, None, 1, 1),
        ([3], {"a": "connected"}, None, 0, 0),
        ([3], {"a": "unregistered"}, None, None, 0),
        ([3], None, None, None, 3),
        ([None], None, None, None, None),
    ],
)
def test_how_many_have_to_be_connected(
    before: list[int | None], now: dict[str, str] | None, shards: int | None, given: int | None, expected: int | None
) -> None:
    said = ClientHealth() if now is None else health(**now)
    looks = [look(f"h{at}", record=Record("c", "h", connected_before=count)) for at, count in enumerate(before)]
    assert expected_connected([*looks, Look("away", problem="away")], replace(said, shards=shards), given) == expected


# --- what restarts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "masters", "pending_now"),
    [
        (coreapp("a"), None, True),
        (coreapp("a", id="new"), None, True),
        (coreapp("renamed", id=coreapp("a").id), None, True),
        (coreapp("a", incarnation="2"), None, False),
        (coreapp("a", running=False), None, False),
        (coreapp("b"), None, False),
        (coreapp("a"), False, True),
        (master("m"), None, True),
        (master("m"), True, True),
        (master("m"), False, False),
    ],
)
def test_what_has_to_restart(now: Node, masters: bool | None, pending_now: bool) -> None:
    record = pending("h", coreapp("a"), master("m")).record
    assert record is not None
    assert is_pending(record, now, masters) is pending_now


def test_entries_that_need_no_restart() -> None:
    nodes = coreapp("back"), coreapp("down"), coreapp("gone"), coreapp("left")
    found = pending(
        "h", *nodes, now=(coreapp("back", incarnation="2"), coreapp("down", running=False), coreapp("left"))
    )
    assert [entry.name for entry in settled_otherwise(found)] == ["back", "down", "gone"]
    assert [node.name for node in unproven(found)] == ["back"]
    assert stopped_since(found) == ["down"]
    assert found.record is not None
    ours = replace(found, record=begin_restart(found.record, coreapp("down")))
    assert stopped_since(ours) == []
    away = Look("h", problem="away")
    assert (settled_otherwise(away), unproven(away), stopped_since(away)) == ([], [], [])


def test_the_order_of_restarts() -> None:
    said = health(
        lead="connected", one="disconnected", two="disconnected", prime="primary_master", second="secondary_master"
    )
    looks = [
        pending("h", coreapp("lead"), coreapp("one"), master("prime")),
        pending("i", master("second"), coreapp("two")),
        replace(pending("j", coreapp("outside")), inside=False),
    ]
    found = in_order(looks, said)
    assert [(restart.title, restart.label) for restart in found] == [
        ("Coreapp 1 of 3", "one on h"),
        ("Coreapp 2 of 3", "two on i"),
        ("Coreapp 3 of 3", "lead on h"),
        ("master 1 of 2", "second on i"),
        ("master 2 of 2", "prime on h"),
    ]
    assert [restart.node.name for restart in in_order(looks, said, masters=False)] == ["one", "two", "lead"]


def test_two_hosts_that_are_one_machine_restart_a_node_once() -> None:
    assert len(in_order([pending("h", coreapp("a")), pending("i", coreapp("a"))], health(a="connected"))) == 1
    named = [pending("h", Node("a")), pending("i", Node("a"))]
    assert [restart.label for restart in in_order(named, health(a="connected"))] == ["a on h", "a on i"]


@pytest.mark.parametrize(
    ("node", "state", "serves"),
    [
        (coreapp("a"), "connected", True),
        (coreapp("a"), "disconnected", False),
        (coreapp("x"), "connected", False),
        (master("a"), "primary_master", True),
        (master("a"), "secondary_master", False),
    ],
)
def test_who_serves(node: Node, state: str, serves: bool) -> None:
    assert leads(node, health(a=state)) is serves


# --- other clients -----------------------------------------------------------------------------------------------


def _says(*names: str | None, clustered: bool = True) -> ClientHealth:
    return ClientHealth(tuple(HealthNode(name, COREAPP, "connected") for name in names), clustered)


SINGLE = _says(None, clustered=False)


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        (_says("a:1", "b:2"), False),
        (_says("b:2", "c:4"), False),  # a container was made anew between the two answers
        (_says("a:7", "b:8"), True),
        (SINGLE, True),
        (ClientHealth(), False),
    ],
)
def test_hosts_of_other_clients_are_refused(other: ClientHealth, refused: bool) -> None:
    if not refused:
        refuse_other_clients("c", "h", _says("a:1", "b:2"), {"i": other})
        return
    with pytest.raises(Refused, match=r"h and i are hosts of cluster c.*give each client a wa_settings_cluster of its"):
        refuse_other_clients("c", "h", _says("a:1", "b:2"), {"j": ClientHealth(), "i": other})


def test_a_refusal_says_what_was_done() -> None:
    with pytest.raises(Refused, match=r"Nothing is written or restarted$"):
        refuse_other_clients("c", "h", SINGLE, {"i": SINGLE})
    with pytest.raises(Refused, match=r"if it is one client\. i was first$"):
        refuse_other_clients("c", "h", SINGLE, {"i": SINGLE}, "i was first")


def test_a_client_outside_a_cluster_has_one_address() -> None:
    with pytest.raises(Refused, match="h and i, j are"):
        refuse_other_clients("c", "h", SINGLE, {"i": SINGLE, "j": SINGLE})
    refuse_other_clients("c", "h", ClientHealth(), {"i": SINGLE})
