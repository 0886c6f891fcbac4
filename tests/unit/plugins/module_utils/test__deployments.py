# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Deployments are a client's, and what is written down on them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import NotFound
from ansible_collections.wabiz.onprem.plugins.module_utils._debt import owes
from ansible_collections.wabiz.onprem.plugins.module_utils._deployments import (
    ANNOTATION,
    Ambiguous,
    as_containers,
    changed_annotations,
    choose,
    joint_debt,
    surges,
)

PATTERN = r"whatsapp\.biz/coreapp"
IMAGE = "docker.whatsapp.biz/coreapp:v2.57.2"
RECORDED = "2025-01-01T00:00:00+00:00"
CHANGE: dict[str, Any] = {
    "cluster": "wa1",
    "state": "recorded",
    "containers": [],
    "settings": ["log_level"],
    "connected_before": 2,
    "written": False,
}


def _deployment(name: str = "coreapp", namespace: str = "wa", image: str = IMAGE, **spec: Any) -> dict[str, Any]:
    env = spec.pop("env", [])
    labels = spec.pop("labels", {"type": name})
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"type": name}},
            "template": {"spec": {"containers": [{"name": name, "image": image, "env": env}]}},
            **spec,
        },
    }


def _pod(name: str, started: str | None, namespace: str = "wa", **labels: str) -> dict[str, Any]:
    state = {"running": {"startedAt": started}} if started else {"waiting": {"reason": "ContainerCreating"}}
    return {
        "kind": "Pod",
        "metadata": {"namespace": namespace, "labels": {"type": name, **labels}},
        "status": {"containerStatuses": [{"state": state}]},
    }


def _owed(*deployments: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": c["name"], "id": c["id"], "kind": c["kind"]} for c in as_containers(deployments, [])]


def _annotated(deployment: dict[str, Any], text: str | None) -> dict[str, Any]:
    metadata = {**deployment["metadata"], "annotations": {} if text is None else {ANNOTATION: text}}
    return {**deployment, "metadata": metadata}


def _names(deployments: list[Any]) -> list[str]:
    return [container["name"] for container in as_containers(deployments, [])]


def test_metas_templates_are_found_and_told_apart() -> None:
    every = [
        _deployment("coreapp"),
        _deployment("masterapp"),
        _deployment("webapp", image="docker.whatsapp.biz/web:v2.57.2"),
        _deployment("monitor", image="prom/mysqld-exporter:v0.10.0"),
    ]
    found = as_containers(choose(every, [], PATTERN), [])
    assert [(c["name"], c["kind"]) for c in found] == [("wa/coreapp", "coreapp"), ("wa/masterapp", "master")]


@pytest.mark.parametrize(
    ("deployment", "kind"),
    [
        (_deployment("whatsapp-master-deployment", image="mirror/a:1", labels={"name": "whatsapp-master"}), "master"),
        (_deployment("whatsapp-coreapp-deployment", image="mirror/a:1", labels={}), "coreapp"),
        (_deployment("wa1-master", labels={}), "master"),
        (_deployment("webmaster-coreapp", labels={}), "coreapp"),
        (_deployment("node", env=[{"name": "WA_MASTER_NODE", "value": "1"}]), "master"),
        (_deployment("node", env=[{"name": "WA_MASTER_NODE", "value": "0"}]), "coreapp"),
        (_deployment("node", env=[{"name": "WA_MASTER_NODE", "valueFrom": {}}]), "coreapp"),
    ],
)
def test_kind(deployment: dict[str, Any], kind: str) -> None:
    (container,) = as_containers(choose([deployment], [], PATTERN), [])
    assert container["kind"] == kind


def test_upgrade_jobs_are_left_out() -> None:
    upgrade = _deployment("upgrade", env=[{"name": "WA_DB_UPGRADE", "value": "1"}])
    assert choose([upgrade], [], PATTERN) == []


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["coreapp"], ["wa/coreapp"]),
        (["wa/coreapp", "wa/masterapp"], ["wa/coreapp", "wa/masterapp"]),
        (["type=masterapp"], ["wa/masterapp"]),
        (["type==masterapp"], ["wa/masterapp"]),
        (["coreapp", "type=coreapp"], ["wa/coreapp"]),
    ],
)
def test_names(names: list[str], found: list[str]) -> None:
    assert _names(choose([_deployment("coreapp"), _deployment("masterapp")], names, PATTERN)) == found


@pytest.mark.parametrize("name", ["nowhere", "other/coreapp", "type=nothing", "type=coreapp,tier=gold"])
def test_name_that_means_nothing(name: str) -> None:
    with pytest.raises(NotFound, match="no such Deployment"):
        choose([_deployment("coreapp")], [name], PATTERN)


@pytest.mark.parametrize("names", [[], ["coreapp"], ["type=coreapp"], ["one/coreapp", "coreapp"]])
def test_several_namespaces_are_refused(names: list[str]) -> None:
    every = [_deployment(namespace=namespace) for namespace in ("one", "two", "three")]
    with pytest.raises(Ambiguous, match="more than one namespace"):
        choose(every, names, PATTERN)


def test_several_namespaces_can_be_named() -> None:
    every = [_deployment(namespace=namespace) for namespace in ("one", "two", "three")]
    assert _names(choose(every, ["one/coreapp", "two/coreapp"], PATTERN)) == ["one/coreapp", "two/coreapp"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (None, True),
        ({"type": "Recreate"}, False),
        ({"type": "RollingUpdate"}, True),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}, False),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "0%"}}, False),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "1%"}}, True),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, True),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%"}}, True),
    ],
)
def test_surge(strategy: dict[str, Any] | None, expected: bool) -> None:
    assert surges(_deployment(**({"strategy": strategy} if strategy else {}))) is expected


def test_started_is_the_oldest_of_its_own_pods() -> None:
    pods = [
        _pod("coreapp", "1970-01-01T00:05:00Z"),
        _pod("coreapp", "1970-01-01T00:02:00Z"),
        _pod("coreapp", None),
        _pod("masterapp", "1970-01-01T00:00:01Z"),
        _pod("coreapp", "1970-01-01T00:00:02Z", namespace="elsewhere"),
    ]
    (container,) = as_containers([_deployment(replicas=3)], pods)
    assert (container["started"], container["replicas"]) == (120.0, 3)


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ({"key": "tier", "operator": "In", "values": ["gold", "tin"]}, True),
        ({"key": "tier", "operator": "In", "values": ["tin"]}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["tin"]}, True),
        ({"key": "tier", "operator": "Exists"}, True),
        ({"key": "tier", "operator": "DoesNotExist"}, False),
    ],
)
def test_pods_are_chosen_by_expressions_too(expression: dict[str, Any], chosen: bool) -> None:
    deployment = _deployment(selector={"matchExpressions": [expression]})
    (container,) = as_containers([deployment], [_pod("any", "1970-01-01T00:00:09Z", tier="gold")])
    assert container["started"] == (9.0 if chosen else None)


def test_scaled_to_nothing_owes_nothing_and_no_replicas_means_one() -> None:
    none, default = as_containers([_deployment(replicas=0), _deployment()], [])
    assert (none["alive"], default["alive"], default["replicas"]) == (False, True, 1)


def test_record_goes_round_by_way_of_the_annotations() -> None:
    coreapp, masterapp = _deployment("coreapp"), _deployment("masterapp")
    change = {**CHANGE, "containers": _owed(coreapp, masterapp)}
    texts = changed_annotations([coreapp, masterapp], [], change, RECORDED)
    assert [owed["name"] for owed in json.loads(str(texts["wa/coreapp"]))["containers"]] == ["wa/coreapp"]
    noted = [_annotated(coreapp, texts["wa/coreapp"]), _annotated(masterapp, texts["wa/masterapp"])]
    debt, problems = joint_debt(noted, "wa1")
    assert debt is not None
    assert problems == []
    assert [owed["name"] for owed in debt.containers or ()] == ["wa/coreapp", "wa/masterapp"]
    assert (debt.settings, debt.written, debt.connected_before) == (("log_level",), None, 2)
    assert changed_annotations(noted, [], change, "later") == {}


def test_moment_of_writing_is_the_latest_start_so_that_only_later_ones_owe_nothing() -> None:
    coreapp = _deployment(replicas=2)
    old = [_pod("coreapp", "1970-01-01T00:01:00Z"), _pod("coreapp", "1970-01-01T00:02:00Z")]
    text = changed_annotations([coreapp], old, {**CHANGE, "containers": _owed(coreapp)}, RECORDED)["wa/coreapp"]
    written = changed_annotations([_annotated(coreapp, text)], old, {**CHANGE, "state": "written"}, RECORDED)[
        "wa/coreapp"
    ]
    debt, _problems = joint_debt([_annotated(coreapp, written)], "wa1")
    assert debt is not None
    assert debt.written == 120.0
    new = [_pod("coreapp", "1970-01-01T00:02:01Z"), _pod("coreapp", "1970-01-01T00:02:02Z")]
    for pods, owing in ((old, True), ([*new, old[1]], True), (new, False), ([], True)):
        (container,) = as_containers([coreapp], pods)
        assert owes(debt, container) is owing


def test_written_asks_nothing_of_deployments_without_a_record() -> None:
    assert changed_annotations([_deployment()], [], {**CHANGE, "state": "written"}, RECORDED) == {}


def test_paid_takes_the_annotation_away_whatever_it_was() -> None:
    change = {**CHANGE, "state": "paid", "containers": _owed(_deployment())}
    assert changed_annotations([], [], change, RECORDED) == {"wa/coreapp": None}


def test_unreadable_record_makes_everything_owed_and_is_replaced() -> None:
    coreapp, masterapp = _annotated(_deployment(), "{"), _deployment("masterapp")
    debt, problems = joint_debt([coreapp, masterapp], "wa1")
    assert debt is not None
    assert debt.containers is None
    assert problems == [f"annotation {ANNOTATION} of Deployment wa/coreapp: it is no JSON"]
    change = {**CHANGE, "containers": _owed(coreapp), "settings": []}
    assert json.loads(str(changed_annotations([coreapp], [], change, RECORDED)["wa/coreapp"]))["settings"] == []


def test_written_is_known_only_when_it_is_for_all_of_them() -> None:
    coreapp, masterapp = _deployment("coreapp"), _deployment("masterapp")
    change = {**CHANGE, "containers": _owed(coreapp, masterapp)}
    texts = changed_annotations([coreapp, masterapp], [], change, RECORDED)
    known = json.dumps({**json.loads(str(texts["wa/coreapp"])), "written": 5})
    debt, _problems = joint_debt([_annotated(coreapp, known), _annotated(masterapp, texts["wa/masterapp"])], "wa1")
    assert debt is not None
    assert debt.written is None
