# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a restart where Deployments are the nodes: several Coreapps in one, and strategies of their own."""

from __future__ import annotations

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import COREAPP, MASTER, Container
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node
from ansible_collections.wabiz.onprem.plugins.module_utils._rolling import (
    CannotRestart,
    Look,
    RollingPlan,
    Wish,
    plan_restarts,
)

LOG_LEVEL = Wish(("log_level",))
CONNECTED = [Node(f"pod{number}:{number:012d}", COREAPP, "connected") for number in range(3)]


def _deployment(name: str, replicas: int = 1, *, surges: bool = False, paused: bool = False) -> Container:
    return {
        "name": f"wa/{name}",
        "id": f"uid-{name}",
        "kind": MASTER if "master" in name else COREAPP,
        "state": f"{replicas} of {replicas} available",
        "alive": replicas > 0,
        "started": 50.0,
        "replicas": replicas,
        "surges": surges,
        "paused": paused,
    }


def _plan(
    *containers: Container,
    clustered: bool | None = None,
    health: list[Node] | None = None,
    wish: Wish = LOG_LEVEL,
    hosts: int = 1,
) -> RollingPlan:
    looks = [Look(f"h{number}", containers=containers) for number in range(hosts)]
    return plan_restarts("c", looks, wish, masters=None, health=health, clustered=clustered)


@pytest.mark.parametrize("clustered", [False, None])
def test_surge_outside_a_cluster_is_refused(clustered: bool | None) -> None:
    with pytest.raises(CannotRestart, match="can get the number banned"):
        _plan(_deployment("coreapp", surges=True), clustered=clustered)


def test_surge_is_refused_of_several_where_the_client_says_that_it_is_no_cluster() -> None:
    with pytest.raises(CannotRestart, match="can get the number banned"):
        _plan(_deployment("coreapp", 3, surges=True), clustered=False)


@pytest.mark.parametrize("clustered", [True, None])
def test_surge_in_a_cluster_is_for_its_operator_to_choose(clustered: bool | None) -> None:
    assert len(_plan(_deployment("coreapp", 3, surges=True), clustered=clustered).nodes) == 1


def test_surge_does_not_matter_where_nothing_is_owed() -> None:
    assert _plan(_deployment("coreapp", surges=True), clustered=False, wish=Wish()).nodes == []


def test_without_surge_a_single_client_restarts() -> None:
    assert len(_plan(_deployment("coreapp"), clustered=False).nodes) == 1


def test_paused_deployment_is_refused() -> None:
    with pytest.raises(CannotRestart, match="wa/coreapp is paused"):
        _plan(_deployment("coreapp", paused=True))


def test_each_replica_counts_as_a_coreapp() -> None:
    result = _plan(_deployment("coreapp", 3), _deployment("masterapp", 2), clustered=True, health=CONNECTED)
    assert result.expect_connected == 3
    assert [node["title"] for node in result.nodes] == ["Coreapp 1 of 1"]


def test_fewer_replicas_than_were_connected_are_enough() -> None:
    assert _plan(_deployment("coreapp", 2), clustered=True, health=CONNECTED).expect_connected == 2


def test_two_hosts_that_find_the_same_deployment_restart_it_once() -> None:
    result = _plan(_deployment("coreapp", 2), clustered=True, health=CONNECTED, hosts=2)
    assert [(node["host"], node["name"]) for node in result.nodes] == [("h0", "wa/coreapp")]
    assert result.expect_connected == 2
