# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Kubernetes itself does, where it is not what one expects: the facts that the role's rules rest on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from support.kubernetes.api import KubernetesApi, Object, Refused, path_of
from support.kubernetes.manifests import NO_SURGE, RECREATE, SURGE, helm, meta, meta_single, old_meta
from support.kubernetes.releases import RIGHTS, NewRelease, Release

PATIENCE_SECONDS = 30.0
STOP_SECONDS = 2.0


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.1)


@pytest.mark.parametrize(("strategy", "together"), [(NO_SURGE, 1), (RECREATE, 0)], ids=["no-surge", "recreate"])
def test_only_recreate_waits_for_the_end_of_the_old_pod(
    new_release: NewRelease, strategy: Object, together: int
) -> None:
    release = new_release(f"stops-slowly-{together}", meta_single(strategy))
    release.hosting.stop_seconds = STOP_SECONDS
    begun = time.monotonic()
    release.restart("coreapp")
    assert time.monotonic() - begun >= (STOP_SECONDS if strategy is RECREATE else 0)
    assert (release.restarted(), release.duplicates()) == ({"coreapp": 1}, together)


def test_roll_out_that_cannot_get_ready_is_marked_at_its_deadline(new_release: NewRelease) -> None:
    release = new_release("deadline", meta_single(deadline=2))
    release.hosting.starts = False
    begun = time.monotonic()
    release.begin_restart("coreapp")

    def exceeded() -> bool:
        condition = release.condition("coreapp", "Progressing") or {}
        return (condition.get("status"), condition.get("reason")) == ("False", "ProgressDeadlineExceeded")

    eventually(exceeded)
    assert 1 <= time.monotonic() - begun < 10
    (pod,) = release.pods("coreapp")
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_undo_brings_back_the_annotations_of_the_former_revision(new_release: NewRelease) -> None:
    release = new_release("undone", meta_single())
    release.patch("coreapp", {"metadata": {"annotations": {"example.com/note": "old"}}})
    eventually(lambda: "old" in str(release.api.items(path_of("undone", "replicasets"))))
    release.patch("coreapp", {"metadata": {"annotations": {"example.com/note": None}}})
    release.restart("coreapp")
    assert "example.com/note" not in release.deployments()["coreapp"]["metadata"]["annotations"]
    release.undo("coreapp")
    release.wait()
    assert release.deployments()["coreapp"]["metadata"]["annotations"]["example.com/note"] == "old"


def test_late_report_tells_the_true_start(new_release: NewRelease) -> None:
    release = new_release("late", meta_single())
    release.hosting.report_seconds = 2.0
    release.begin_restart("coreapp")
    eventually(release.restarted)
    (pod,) = release.pods("coreapp")
    assert "containerStatuses" not in pod["status"]
    release.wait()
    (pod,) = release.pods("coreapp")
    status = pod["status"]["containerStatuses"][0]
    (condition,) = (found for found in pod["status"]["conditions"] if found["type"] == "Ready")
    assert status["state"]["running"]["startedAt"] <= condition["lastTransitionTime"]
    assert (status["ready"], status["restartCount"], status["containerID"][:13]) == (True, 0, "containerd://")


def test_container_that_crashes_is_started_again_in_the_same_pod(new_release: NewRelease) -> None:
    release = new_release("crashing", meta_single())
    (before,) = release.pods("coreapp")
    release.kubelet.crash(before["metadata"]["name"])

    def restarts() -> int:
        (pod,) = release.pods("coreapp")
        status = pod["status"]["containerStatuses"][0]
        assert pod["metadata"]["uid"] == before["metadata"]["uid"]
        return int(status["restartCount"]) if "running" in status["state"] else 0

    eventually(lambda: restarts() == 1)
    assert (release.restarted(), release.duplicates()) == ({"coreapp": 1}, 0)


def test_readiness_probe_holds_up_a_rolling_update(new_release: NewRelease) -> None:
    release = new_release("probed", meta(2, 1, SURGE, readiness=True))
    release.hosting.passes_probes = False
    release.begin_restart("coreapp")
    eventually(release.restarted)
    time.sleep(1)
    assert release.deployments()["coreapp"]["status"]["unavailableReplicas"] > 0
    release.hosting.passes_probes = True
    release.wait()
    assert release.restarted() == {"coreapp": 2}


def kinds(release: Release) -> list[tuple[str, str]]:
    """Deployment and kind of each node that runs, sorted."""
    nodes = [node for node in release.client.control.nodes().values() if node["reachable"]]
    return sorted((release.kubelet.names[node["hostname"]].rsplit("-", 2)[0], node["kind"]) for node in nodes)


def test_each_shape_becomes_the_nodes_that_it_says(new_release: NewRelease) -> None:
    azure, old = new_release("shape-azure", meta(2, 1)), new_release("shape-old", old_meta(1, 1))
    one = new_release("north", helm("north"), "shape-helm")
    other = new_release("south", helm("south", 2, 1, clustered=True), "shape-helm")
    assert [kinds(release) for release in (azure, old, one, other)] == [
        [("coreapp", "coreapp"), ("coreapp", "coreapp"), ("masterapp", "master")],
        [("whatsapp-coreapp-deployment", "coreapp"), ("whatsapp-master-deployment", "master")],
        [("north-whatsapp-coreapp", "coreapp")],
        [("south-whatsapp-coreapp", "coreapp")] * 2 + [("south-whatsapp-master", "master")],
    ]


def test_operator_has_the_rights_of_a_role_and_no_others(new_release: NewRelease) -> None:
    release = new_release("rights", meta_single())
    operator = KubernetesApi(release.cluster.url, release.cluster.ca_path, release.cluster.operator)
    deployments = path_of("rights", "deployments")
    with pytest.raises(Refused, match="forbidden"):
        operator.items(deployments)
    release.grant(RIGHTS)
    eventually(lambda: _allowed(operator, deployments))
    for forbidden in (path_of("rights", "secrets"), "/apis/apps/v1/deployments"):
        with pytest.raises(Refused, match="forbidden"):
            operator.items(forbidden)


def _allowed(api: KubernetesApi, path: str) -> bool:
    try:
        return len(api.items(path)) == 2
    except Refused:
        return False
