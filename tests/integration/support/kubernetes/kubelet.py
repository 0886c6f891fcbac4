# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs the pods: each becomes a Coreapp or master of an emulated client, from its start to its end."""

from __future__ import annotations

import threading
from typing import Any

from kubernetes.client import ApiClient, CoreV1Api

from support.kubernetes.objects import now
from wabiz_emulator.control import Control

NODE = "node1"
STEP_SECONDS = 0.1
SETTLED = ("connected", "disconnected", "unregistered")


class Kubelet:
    """Works for all namespaces; `clients` says whose Coreapps the pods of a namespace are."""

    def __init__(self, api: ApiClient) -> None:
        self.clients: dict[str, Control] = {}
        self.broken: set[str] = set()  # namespaces in which no pod starts
        self.faults: list[BaseException] = []
        self._api: Any = CoreV1Api(api)  # its models call everything optional, and dictionaries no bodies
        self._nodes: dict[tuple[str, str], str] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._end.wait(STEP_SECONDS):
            try:
                self._step()
            except Exception as fault:  # noqa: BLE001 - the tests look at it; a thread has nobody else to tell
                self.faults.append(fault)

    def _step(self) -> None:
        for pod in self._api.list_pod_for_all_namespaces().items:
            if pod.metadata.namespace not in self.clients or pod.spec.node_name != NODE:
                continue
            if pod.metadata.deletion_timestamp is not None:
                self._end_pod(pod)
            elif not pod.status.container_statuses:
                self._start_pod(pod)
            elif not pod.status.container_statuses[0].ready:
                self._tell(pod)

    def _start_pod(self, pod: Any) -> None:
        if pod.metadata.namespace in self.broken:
            return
        if pod.metadata.labels.get("type") == "webapp":
            # No node of the emulated client: its Webapp is the emulator's own.
            self._tell(pod)
            return
        environment = {variable.name: variable.value for variable in pod.spec.containers[0].env or ()}
        self._nodes[pod.metadata.namespace, pod.metadata.name] = self.clients[pod.metadata.namespace].add_node(
            pod.metadata.name,
            "master" if "master" in pod.metadata.name else "coreapp",
            environment.get("WA_APP_MULTICONNECT") == "1",
        )
        self._tell(pod)

    def _tell(self, pod: Any) -> None:
        container, known = pod.spec.containers[0], pod.status.container_statuses
        started = known[0].state.running.started_at if known else None
        ready = container.readiness_probe is None or self._settled(pod)
        status = {
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "ready": ready,
            "restartCount": 0,
            "state": {"running": {"startedAt": started.strftime("%Y-%m-%dT%H:%M:%SZ") if started else now()}},
        }
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now()}
        body = {"status": {"phase": "Running", "conditions": [condition], "containerStatuses": [status]}}
        self._api.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, body)

    def _settled(self, pod: Any) -> bool:
        node = self._nodes[pod.metadata.namespace, pod.metadata.name]
        return self.clients[pod.metadata.namespace].nodes()[node]["gateway_status"] in SETTLED

    def _end_pod(self, pod: Any) -> None:
        node = self._nodes.pop((pod.metadata.namespace, pod.metadata.name), None)
        if node is not None:
            self.clients[pod.metadata.namespace].act_on_node(node, "stop")
        self._api.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)
