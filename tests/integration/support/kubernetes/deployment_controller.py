# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Deployment controller of the stand-in: brings pods to what a Deployment wants, by the rules of its strategy."""

from __future__ import annotations

import math
from typing import Any

from support.kubernetes.objects import Object, Objects, template_hash

HASH = "pod-template-hash"


def reconcile(objects: Objects) -> None:
    """Take one step for every Deployment."""
    for deployment in objects.of("deployments"):
        _Rollout(objects, deployment).step()


def _resolved(value: Any, replicas: int, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * replicas / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


class _Rollout:
    def __init__(self, objects: Objects, deployment: Object) -> None:
        self._objects, self._deployment = objects, deployment
        self._namespace, self._name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        self._replicas: int = deployment["spec"]["replicas"]
        self._hash = template_hash(deployment)
        wanted = deployment["spec"]["selector"]["matchLabels"].items()
        every = [
            pod
            for pod in objects.of("pods", self._namespace)
            if all(pod["metadata"].get("labels", {}).get(name) == value for name, value in wanted)
        ]
        self._ending = [pod for pod in every if "deletionTimestamp" in pod["metadata"]]
        self._pods = [pod for pod in every if pod not in self._ending]
        self._new = [pod for pod in self._pods if pod["metadata"]["labels"].get(HASH) == self._hash]
        self._old = [pod for pod in self._pods if pod not in self._new]

    def step(self) -> None:
        # First the status, then the deed: so there is a moment when the controller has seen the new template and all
        # of the old pods are still there and available, as with the real one.
        self._tell()
        if self._deployment["spec"].get("paused"):
            return
        if self._deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate()
        else:
            self._roll()
        self._scale_down(self._new, len(self._new) - self._replicas)

    def _recreate(self) -> None:
        self._scale_down(self._old, len(self._old))
        if not self._old and not self._ending:
            self._create(self._replicas - len(self._new))

    def _roll(self) -> None:
        limits = self._deployment["spec"]["strategy"]["rollingUpdate"]
        surge = _resolved(limits["maxSurge"], self._replicas, up=True)
        unavailable = _resolved(limits["maxUnavailable"], self._replicas, up=False)
        if surge == unavailable == 0:
            unavailable = 1
        self._create(min(self._replicas - len(self._new), self._replicas + surge - len(self._pods)))
        needed = self._replicas - unavailable
        broken = [pod for pod in self._old if not _ready(pod)]
        self._scale_down(broken, len(broken))
        spare = sum(map(_ready, self._pods)) - needed
        self._scale_down([pod for pod in self._old if _ready(pod)], spare)

    def _create(self, count: int) -> None:
        template = self._deployment["spec"]["template"]
        metadata = template.get("metadata") or {}
        for _ in range(count):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    **metadata,
                    "generateName": f"{self._name}-{self._hash}-",
                    "labels": {**metadata.get("labels", {}), HASH: self._hash},
                },
                "spec": template["spec"],
            }
            self._objects.create("pods", self._namespace, pod)

    def _scale_down(self, pods: list[Object], count: int) -> None:
        for pod in pods[: max(count, 0)]:
            grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
            self._objects.delete("pods", self._namespace, pod["metadata"]["name"], grace)

    def _tell(self) -> None:
        ready = sum(map(_ready, self._pods))
        status = {
            "observedGeneration": self._deployment["metadata"]["generation"],
            "replicas": len(self._pods) or None,
            "updatedReplicas": len(self._new) or None,
            "readyReplicas": ready or None,
            "availableReplicas": ready or None,
            "unavailableReplicas": max(self._replicas, len(self._pods)) - ready or None,
        }
        self._objects.patch(
            "deployments", self._namespace, self._name, {"status": status}, strategic=False, part="status"
        )


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
