# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explores what runs, crashes and other people can do to a cluster, and checks the promises of restarts in each state.

1. No silent debt: when all runs are over, every running Coreapp has the stored values, or a record says that it has to
   restart. One more run in peace then leaves all with the stored values and nothing pending.
2. Never two down by us, and no node stopped with fewer connected than before the first restart.
3. No node restarts more often than there are changes, or doubts about one.

WABIZ_EXPLORE=10 explores ten times as many states of what is not explored in whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from exploring import Budget, Planned, Scenario, explore

FACTOR = int(os.environ.get("WABIZ_EXPLORE", "1"))

_ONE_HOST = {"a": ("a1", "a2")}
_TWO_HOSTS = {"a": ("a1",), "b": ("b1",)}
_THREE = {"a": ("a1", "a2"), "b": ("b1",)}
_SAME = (Planned(1), Planned(1))
_OTHER = (Planned(1), Planned(2))
_DELEGATED = (Planned(1, delegated=True), Planned(2, delegated=True))
_PART = (Planned(1, outside=("b",)), Planned(1))
_PARTS = (Planned(1, outside=("b",)), Planned(2, outside=("b",)))

# Each scenario with how many states at most, and how many at least: what is less has been explored in whole.
SCENARIOS = [
    (Scenario("one run in peace", _THREE, (Planned(1),), Budget()), 1_000, 30),
    (Scenario("one run and everything", _ONE_HOST, (Planned(1),), Budget(crashes=1, foreign=1, stuck=1)), 6_000, 2_000),
    (Scenario("a host that goes away", _TWO_HOSTS, (Planned(1),), Budget(away=1, crashes=1)), 6_000, 300),
    (Scenario("other hands twice", _TWO_HOSTS, (Planned(1),), Budget(foreign=2, crashes=1)), 5_000, 5_000),
    # One run after the other.
    (Scenario("a second try", _ONE_HOST, _OTHER, Budget(crashes=2, stuck=1), one_by_one=True), 6_000, 1_500),
    (
        Scenario("a second try with other hands", _ONE_HOST, _SAME, Budget(crashes=1, foreign=1), one_by_one=True),
        20_000,
        12_000,
    ),
    (Scenario("a second try in vain", _ONE_HOST, _SAME, Budget(stuck=1), one_by_one=True), 6_000, 100),
    (Scenario("a second try on two hosts", _THREE, _OTHER, Budget(crashes=1, stuck=1), one_by_one=True), 6_000, 3_000),
    (
        Scenario(
            "a node that stood still",
            _ONE_HOST,
            _SAME,
            Budget(crashes=1, foreign=1, stuck=1),
            down=("a2",),
            one_by_one=True,
        ),
        20_000,
        10_000,
    ),
    (
        Scenario("a host that nobody reaches", _TWO_HOSTS, _PARTS, Budget(crashes=1), away=("b",), one_by_one=True),
        6_000,
        300,
    ),
    # Two runs at once.
    (Scenario("two runs at once", _TWO_HOSTS, _OTHER, Budget()), 20_000, 12_000),
    (Scenario("two runs of one mind", _ONE_HOST, _SAME, Budget(crashes=1)), 5_000, 5_000),
    (Scenario("two runs of two minds", _TWO_HOSTS, _OTHER, Budget(crashes=1)), 50_000, 30_000),
    (Scenario("a node that does not come back", _TWO_HOSTS, _SAME, Budget(crashes=1, stuck=1)), 5_000, 5_000),
    (Scenario("other hands", _TWO_HOSTS, _OTHER, Budget(foreign=1)), 5_000, 5_000),
    (Scenario("no answer", _TWO_HOSTS, _OTHER, Budget(unknown=1)), 5_000, 5_000),
    (Scenario("a host that is away", _TWO_HOSTS, _PART, Budget(crashes=1), away=("b",)), 5_000, 5_000),
    (Scenario("a lease runs out", _TWO_HOSTS, _OTHER, Budget(expired=1)), 8_000, 8_000),
    (Scenario("unseen deaths", _TWO_HOSTS, _OTHER, Budget(crashes=1, expired=1), deaths_seen=False), 5_000, 5_000),
    (Scenario("high availability", _ONE_HOST, _OTHER, Budget(crashes=1, stuck=1), ha=True), 5_000, 5_000),
    (
        Scenario("restart always", _TWO_HOSTS, (Planned(1, everything=True), Planned(0)), Budget(crashes=1)),
        5_000,
        5_000,
    ),
    (Scenario("API elsewhere", _TWO_HOSTS, _DELEGATED, Budget(crashes=1)), 5_000, 5_000),
    (Scenario("three nodes", _THREE, _OTHER, Budget(crashes=1)), 5_000, 5_000),
]


@pytest.mark.parametrize(
    ("scenario", "limit", "least"), SCENARIOS, ids=[scenario.name for scenario, *_rest in SCENARIOS]
)
def test_the_promises_hold_in_every_state(
    scenario: Scenario, limit: int, least: int, record_property: Callable[[str, object], None]
) -> None:
    found = explore(scenario, limit * FACTOR, depth_first=True)
    whole = "all" if found.complete else "the first"
    bounds = (
        ", ".join(f"{name} {value}" for name, value in scenario.budget._asdict().items() if value) or "nothing happens"
    )
    said = (
        f"{scenario.name}: {len(scenario.nodes)} hosts, {sum(map(len, scenario.nodes.values()))} nodes, "
        f"{len(scenario.runs)} runs, {bounds}: {whole} {found.states} states, {found.moves} moves, {found.ends} ends"
    )
    print(said)
    record_property("explored", said)
    assert found.violation is None, "\n".join([found.violation or "", *found.trace])
    assert found.states >= least
    assert found.ends > 0
