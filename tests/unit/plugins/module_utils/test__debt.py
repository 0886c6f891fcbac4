# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import Container
from ansible_collections.wabiz.onprem.plugins.module_utils._debt import (
    Debt,
    Owed,
    Unreadable,
    demand,
    file_name,
    owes,
    parse,
    render,
    stamp,
    strike,
    thaw,
    unreadable,
)

names = st.sampled_from(["wacore1", "wacore2", "wacore3", "master1"])


def owed(name: str) -> Owed:
    return {"name": name, "id": f"id of {name}", "kind": "master" if name.startswith("master") else "coreapp"}


def container(name: str, started: float | None = None, **more: Any) -> Container:
    known: Container = {**owed(name), "state": "running", "alive": True, "started": started}
    known.update(more)  # type: ignore[typeddict-item]
    return known


debts = st.builds(
    Debt,
    cluster=st.text(),
    recorded=st.text(),
    containers=st.lists(names, unique=True, min_size=1).map(
        lambda chosen: tuple(owed(name) for name in sorted(chosen))
    ),
    settings=st.lists(st.text(), unique=True).map(lambda chosen: tuple(sorted(chosen))),
    written=st.none() | st.floats(0, 1e10),
    connected_before=st.none() | st.integers(0, 32),
)
DEBT = Debt("c", "2026-01-02", (owed("wacore1"), owed("wacore2")), ("log_level",), 100.0, 2)


@given(debts)
def test_a_record_survives_the_file_and_the_way_between_tasks(debt: Debt) -> None:
    assert parse(render(debt)) == debt
    assert thaw(json.loads(json.dumps(asdict(debt)))) == debt
    assert "\n" not in render(debt)[:-1]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"cluster": 1},
        {"containers": None},
        {"containers": ["wacore1"]},
        {"containers": [{"name": "wacore1"}]},
        {"settings": "log_level"},
        {"written": "yesterday"},
        {"written": True},
        {"connected_before": "2"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        parse(json.dumps({**json.loads(render(DEBT)), **change}))


@pytest.mark.parametrize("name", sorted(json.loads(render(DEBT))))
def test_a_record_with_a_member_missing_is_refused(name: str) -> None:
    found = json.loads(render(DEBT))
    del found[name]
    with pytest.raises(Unreadable):
        parse(json.dumps(found))


@given(st.text())
def test_any_text_is_a_record_or_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


@pytest.mark.parametrize(
    ("written", "started", "expected"),
    [
        (None, 50.0, True),
        (None, None, True),
        (100.0, 50.0, True),
        (100.0, 100.0, True),
        (100.0, 100.1, False),
        (100.0, None, True),
    ],
)
def test_who_started_after_the_writing_owes_nothing(
    written: float | None, started: float | None, expected: bool
) -> None:
    assert owes(replace(DEBT, written=written), container("wacore1", started)) is expected


def test_who_is_not_written_down_or_does_not_run_owes_nothing() -> None:
    assert not owes(DEBT, container("wacore3", 50.0))
    assert not owes(DEBT, container("wacore1", 50.0, alive=False))
    assert not owes(None, container("wacore1", 50.0))


def test_a_container_is_known_by_name_or_id() -> None:
    assert owes(DEBT, container("wacore1", 50.0, id="another"))
    assert owes(DEBT, container("renamed", 50.0, id="id of wacore1"))
    assert not owes(Debt("c", "", ({"name": "x", "id": "", "kind": "coreapp"},), ()), container("y", id=""))


def test_everything_owes_under_a_record_that_cannot_be_read() -> None:
    assert owes(unreadable("c"), container("anything", 50.0))


@given(debts, st.lists(names, unique=True), st.none() | st.integers(0, 32))
def test_a_new_demand_loses_nothing_and_forgets_the_moment(
    debt: Debt, chosen: list[str], connected: int | None
) -> None:
    after = demand(
        debt,
        debt.cluster,
        [owed(name) for name in chosen],
        settings=["log_level"],
        recorded="later",
        connected_before=connected,
    )
    assert after.written is None
    assert {c["name"] for c in after.containers or ()} == set(chosen) | {c["name"] for c in debt.containers or ()}
    assert set(after.settings or ()) == {"log_level", *(debt.settings or ())}
    assert after.connected_before == max((n for n in (debt.connected_before, connected) if n is not None), default=None)
    assert after == demand(
        after,
        debt.cluster,
        [owed(name) for name in chosen],
        settings=["log_level"],
        recorded="x",
        connected_before=connected,
    )


def test_a_new_demand_knows_a_container_that_was_made_anew() -> None:
    anew: Owed = {"name": "wacore1", "id": "new", "kind": "coreapp"}
    assert demand(DEBT, "c", [anew], settings=[], recorded="", connected_before=None).containers == (
        anew,
        owed("wacore2"),
    )


def test_the_moment_of_writing_is_noted_once() -> None:
    unwritten = replace(DEBT, written=None)
    assert stamp(unwritten, 200.0).written == 200.0
    assert stamp(DEBT, 200.0) == DEBT


@given(debts, st.lists(names, unique=True))
def test_striking_out_takes_away_what_was_paid_and_the_record_with_the_last(debt: Debt, paid: list[str]) -> None:
    after = strike(debt, [owed(name) for name in paid])
    left = {c["name"] for c in debt.containers or ()} - set(paid)
    assert {c["name"] for c in (after.containers or ()) if after} == left if after else not left


def test_an_unreadable_record_cannot_be_paid_as_it_is() -> None:
    with pytest.raises(ValueError, match="has to be replaced"):
        strike(unreadable("c"), [owed("wacore1")])


def test_no_record_holds_a_value() -> None:
    assert set(json.loads(render(DEBT))) == {
        "version", "cluster", "recorded", "written", "settings", "containers", "connected_before",
    }  # fmt: skip


@pytest.mark.parametrize("cluster", ["wa1", "../../etc/passwd", "a b/c", "..", "ü", "x" * 5000])
def test_any_cluster_has_a_safe_file_name(cluster: str) -> None:
    name = file_name(cluster)
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name) < 255


@given(st.text(max_size=60), st.text(max_size=60))
def test_different_clusters_have_different_files(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
