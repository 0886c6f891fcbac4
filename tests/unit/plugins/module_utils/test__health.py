# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _health
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Health, Node


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
