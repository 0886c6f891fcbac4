# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in keeps the rules of Kubernetes that the tests of the role rest on."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client import AppsV1Api
from kubernetes.client.exceptions import ApiException

from support.kubernetes.deployment_controller import reconcile
from support.kubernetes.objects import Objects, Refused
from support.kubernetes.releases import RECREATE, NewRelease, manifest

RESTART = {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}}


class _Pods:
    """Deployments of a namespace without a server; pods become ready, and end, when the test says so."""

    def __init__(self, replicas: int, strategy: dict[str, Any]) -> None:
        self.objects = Objects()
        self.objects.create("deployments", "n", manifest("coreapp", replicas, strategy))
        self.settle()

    def names(self, ending: bool | None = None) -> set[str]:
        return {
            pod["metadata"]["name"]
            for pod in self.objects.of("pods", "n")
            if ending in (None, "deletionTimestamp" in pod["metadata"])
        }

    def make_ready(self) -> None:
        status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        for name in self.names(ending=False):
            self.objects.patch("pods", "n", name, status, strategic=True, part="status")

    def end(self) -> None:
        for name in self.names(ending=True):
            self.objects.delete("pods", "n", name, grace=0)

    def settle(self) -> None:
        for _ in range(20):
            reconcile(self.objects)
            self.make_ready()
            self.end()

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.objects.get("deployments", "n", "coreapp")["status"]
        return status

    def restart(self) -> None:
        self.objects.patch("deployments", "n", "coreapp", RESTART, strategic=True)


def test_recreate_starts_nothing_before_the_last_old_pod_has_ended() -> None:
    pods = _Pods(2, RECREATE)
    old = pods.names()
    pods.restart()
    for _ in range(5):
        reconcile(pods.objects)
        assert pods.names() == old
    pods.settle()
    assert len(pods.names()) == 2
    assert not pods.names() & old


def test_first_look_at_a_new_template_still_counts_the_old_pods() -> None:
    pods = _Pods(2, RECREATE)
    pods.restart()
    reconcile(pods.objects)
    assert (pods.status["observedGeneration"], pods.status["replicas"], pods.status["availableReplicas"]) == (2, 2, 2)
    assert "updatedReplicas" not in pods.status


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [(1, 1, 5, 3), (0, 1, 4, 3), (1, 0, 5, 4), ("25%", "25%", 5, 3), (0, 0, 4, 3), (0, "50%", 4, 2)],
)
def test_rolling_update_keeps_its_limits(surge: int | str, unavailable: int | str, most: int, least: int) -> None:
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    pods = _Pods(4, {"type": "RollingUpdate", "rollingUpdate": limits})
    old = pods.names()
    pods.restart()
    seen = []
    for _ in range(60):
        reconcile(pods.objects)
        reconcile(pods.objects)
        seen.append((len(pods.names(ending=False)), pods.status.get("availableReplicas", 0)))
        pods.end()
        pods.make_ready()
    assert not pods.names() & old
    assert (max(count for count, _ready in seen), min(ready for _count, ready in seen)) == (most, least)


def test_patches_merge_and_delete() -> None:
    pods = _Pods(1, RECREATE)
    before = pods.objects.get("deployments", "n", "coreapp")
    container = {"name": "coreapp", "env": [{"name": "MORE", "value": "1"}]}
    body = {
        "metadata": {"annotations": {"a": "1"}},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    after = pods.objects.patch("deployments", "n", "coreapp", body, strategic=True)
    found = after["spec"]["template"]["spec"]["containers"][0]
    assert (found["image"], [v["name"] for v in found["env"]]) == (
        "docker.whatsapp.biz/coreapp:v2.57.2",
        ["WA_DB_PASSWORD", "MORE"],
    )
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    gone = pods.objects.patch(
        "deployments", "n", "coreapp", {"metadata": {"annotations": {"a": None}}}, strategic=False
    )
    assert gone["metadata"]["annotations"] == {}
    assert gone["metadata"]["generation"] == after["metadata"]["generation"]


def test_status_and_spec_are_patched_apart() -> None:
    pods = _Pods(1, RECREATE)
    both = {"spec": {"replicas": 7}, "status": {"replicas": 7}}
    assert pods.objects.patch("deployments", "n", "coreapp", both, strategic=False)["status"]["replicas"] == 1
    changed = pods.objects.patch("deployments", "n", "coreapp", both, strategic=False, part="status")
    assert (changed["spec"]["replicas"], changed["status"]["replicas"]) == (7, 7)


def test_stale_version_is_a_conflict_and_a_dry_run_leaves_no_trace() -> None:
    pods = _Pods(1, RECREATE)
    before = pods.objects.get("deployments", "n", "coreapp")
    pods.objects.patch("deployments", "n", "coreapp", RESTART, strategic=True, dry_run=True)
    assert pods.objects.get("deployments", "n", "coreapp") == before
    pods.restart()
    stale = {"metadata": {"resourceVersion": before["metadata"]["resourceVersion"]}}
    with pytest.raises(Refused, match="has been modified"):
        pods.objects.patch("deployments", "n", "coreapp", stale, strategic=True)


def test_real_python_client_rolls_a_deployment_over_https(new_release: NewRelease) -> None:
    release = new_release("client", manifest("coreapp", 1, RECREATE))
    before = release.pods()
    release.restart("coreapp")
    assert len(release.pods()) == 1
    assert not release.pods() & before
    assert release.restarted() == {"coreapp": 1}
    with pytest.raises(ApiException, match="NotFound"):
        AppsV1Api(release.api).read_namespaced_deployment("nothing", "client")
