# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small kubelet and scheduler: each pod of a client becomes a Coreapp or master of the emulator, until it ends."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from support.kubernetes.api import MERGE, PODS, KubernetesApi, Object, Refused, path_of
from wabiz_emulator.control import Control

NODE = "node1"
STEP_SECONDS = 0.1
SETTLED = ("connected", "disconnected", "unregistered")
DATABASE = "WA_DB_HOSTNAME"
CONFLICTS = (404, 409)


@dataclass
class Hosting:
    """How the pods of one client live. Changes hold from now on, for pods that run as well."""

    control: Control
    stop_seconds: float = 0.2
    """How long a node takes to stop; what is longer than the pod's grace period ends in a kill."""
    report_seconds: float = 0.0
    """How late the API hears of a change. The times in the report are the true ones."""
    crash_seconds: float | None = None
    """How long after its start a node crashes; it is started again after `back_off_seconds`."""
    back_off_seconds: float = 1.0
    starts: bool = True
    """False: the image cannot be pulled."""
    passes_probes: bool = True
    """False: a readiness probe fails; a pod without one is ready as soon as it runs, as everywhere."""


@dataclass
class _Pod:
    """What the kubelet knows of a pod. Times of `monotonic`, None where something has not come about."""

    ip: str
    hosting: Hosting | None = None
    running: bool = False
    node: str | None = None
    container: str = ""
    started: float = 0.0
    started_at: str = ""
    restarts: int = 0
    start_again: float = 0.0
    last_state: Object = field(default_factory=dict)
    ready: bool = False
    killed: bool = False
    stopping: float | None = None
    told: Object = field(default_factory=dict)
    news: float | None = None
    since: dict[str, tuple[str, str]] = field(default_factory=dict)


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    """Works for all namespaces. `clients` says by namespace and host name of the database whose a pod is.

    Pods of an image that is no Coreapp's run as well; no node of an emulated client comes of them.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self.clients: dict[tuple[str, str], Hosting] = {}
        self.names: dict[str, str] = {}  # host name of an emulated node → name of its pod
        self.faults: list[BaseException] = []
        self._api = api
        self._pods: dict[str, _Pod] = {}
        self._count = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Join the cluster as its only node."""
        status = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}
        self._api.create("/api/v1/nodes", {"metadata": {"name": NODE}, "status": status})
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(20)

    def crash(self, name: str) -> None:
        """Let the container of this pod crash once; the kubelet starts it again."""
        (pod,) = (pod for pod in list(self._pods.values()) if self.names.get(pod.ip) == name)
        pod.killed = True

    def _run(self) -> None:
        while not self._end.wait(STEP_SECONDS):
            try:
                self._step()
            except Exception as fault:  # noqa: BLE001 - the tests look at it; a thread has nobody else to tell
                self.faults.append(fault)

    def _step(self) -> None:
        found = {pod["metadata"]["uid"]: pod for pod in self._api.items(PODS)}
        for uid, pod in found.items():
            # Somebody else may change or delete a pod between the look and the deed.
            try:
                self._care_for(uid, pod)
            except Refused as refusal:
                if refusal.code not in CONFLICTS:
                    raise
        for uid in [uid for uid in self._pods if uid not in found]:
            self._end_process(self._pods.pop(uid), "kill")

    def _care_for(self, uid: str, pod: Object) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            self._api.create(
                f"{path_of(namespace, 'pods', name)}/binding", {"metadata": {"name": name}, "target": target}
            )
            return
        known = self._pods.get(uid)
        if known is None:
            self._count += 1
            known = self._pods[uid] = _Pod(f"10.244.{self._count // 250}.{self._count % 250 + 1}")
        if "deletionTimestamp" in pod["metadata"]:
            self._stop(uid, pod, known)
            return
        self._run_container(pod, known)
        self._report(pod, known)

    def _run_container(self, pod: Object, known: _Pod) -> None:
        moment = time.monotonic()
        if not known.running:
            hosting = known.hosting
            if moment >= known.start_again and (hosting is None or hosting.starts):
                self._start_container(pod, known)
        elif known.killed or _crashes(known, moment):
            self._end_process(known, "kill")
            end = {"exitCode": 1, "reason": "Error", "startedAt": known.started_at, "finishedAt": now()}
            known.last_state = {"terminated": {**end, "containerID": known.container}}
            known.restarts += 1
            known.start_again = moment + (known.hosting.back_off_seconds if known.hosting else 0)
            known.killed = known.ready = False
        if known.running and not known.ready:
            known.ready = self._passes_probe(pod, known)

    def _start_container(self, pod: Object, known: _Pod) -> None:
        container = pod["spec"]["containers"][0]
        if "/coreapp" in container["image"]:
            environment = self._environment(pod, known)
            known.hosting = hosting = self.clients[pod["metadata"]["namespace"], environment[DATABASE]]
            if not hosting.starts:
                return
            # Meta's template for Azure takes the address in a command line, others by a field reference.
            by_address = "hostname -I" in " ".join(container.get("args") or ())
            host = known.ip if by_address else environment.get("COREAPP_HOSTNAME", pod["metadata"]["name"])
            self.names[host] = self.names[known.ip] = pod["metadata"]["name"]
            kind = "master" if environment.get("WA_MASTER_NODE") == "1" else "coreapp"
            known.node = hosting.control.add_node(host, kind, environment.get("WA_APP_MULTICONNECT") == "1")
        known.running, known.started, known.started_at = True, time.monotonic(), now()
        known.container = f"containerd://{secrets.token_hex(32)}"

    def _environment(self, pod: Object, known: _Pod) -> dict[str, str]:
        container, namespace = pod["spec"]["containers"][0], pod["metadata"]["namespace"]
        fields = {"status.podIP": known.ip, "metadata.name": pod["metadata"]["name"]}
        environment: dict[str, str] = {}
        for source in container.get("envFrom") or ():
            environment |= self._data(namespace, source.get("configMapRef"), source.get("secretRef"))
        for variable in container.get("env") or ():
            origin = variable.get("valueFrom")
            if origin is None:
                environment[variable["name"]] = variable.get("value", "")
            elif "fieldRef" in origin:
                environment[variable["name"]] = fields[origin["fieldRef"]["fieldPath"]]
            else:
                reference = origin.get("configMapKeyRef"), origin.get("secretKeyRef")
                key = next(part["key"] for part in reference if part)
                environment[variable["name"]] = self._data(namespace, *reference)[key]
        return environment

    def _data(self, namespace: str, config: Object | None, secret: Object | None) -> dict[str, str]:
        """What a config map or a secret holds."""
        if config is not None:
            return dict(self._api.get(path_of(namespace, "configmaps", config["name"])).get("data") or {})
        assert secret is not None
        data = self._api.get(path_of(namespace, "secrets", secret["name"])).get("data") or {}
        return {name: base64.b64decode(value).decode() for name, value in data.items()}

    def _passes_probe(self, pod: Object, known: _Pod) -> bool:
        if "readinessProbe" not in pod["spec"]["containers"][0] or known.hosting is None or known.node is None:
            return True
        settled = known.hosting.control.nodes()[known.node]["gateway_status"] in SETTLED
        return known.hosting.passes_probes and settled

    def _stop(self, uid: str, pod: Object, known: _Pod) -> None:
        moment = time.monotonic()
        known.stopping = moment if known.stopping is None else known.stopping
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
        needed = known.hosting.stop_seconds if known.hosting and known.running else 0.0
        if moment - known.stopping < min(needed, grace):
            return
        self._end_process(known, "stop" if needed <= grace else "kill")
        self._api.delete(path_of(pod["metadata"]["namespace"], "pods", pod["metadata"]["name"]), grace=0, uid=uid)
        self._pods.pop(uid)

    def _end_process(self, known: _Pod, action: str) -> None:
        if known.running and known.node is not None and known.hosting is not None:
            known.hosting.control.act_on_node(known.node, action)
        known.running = False

    def _report(self, pod: Object, known: _Pod) -> None:
        status = self._status(pod, known)
        if status == known.told:
            known.news = None
            return
        known.news = time.monotonic() if known.news is None else known.news
        if time.monotonic() - known.news < (known.hosting.report_seconds if known.hosting else 0.0):
            return
        path = path_of(pod["metadata"]["namespace"], "pods", pod["metadata"]["name"])
        self._api.patch(f"{path}/status", {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}, MERGE)
        known.told, known.news = status, None

    def _status(self, pod: Object, known: _Pod) -> Object:
        container = pod["spec"]["containers"][0]
        state: Object = {"running": {"startedAt": known.started_at}}
        if not known.running:
            waits = "CrashLoopBackOff" if known.restarts else "ImagePullBackOff"
            state = {"waiting": {"reason": waits, "message": f"{waits} of {container['image']}"}}
        ready = known.running and known.ready
        conditions = [
            self._condition(known, kind, holds)
            for kind, holds in (
                ("Initialized", True),
                ("Ready", ready),
                ("ContainersReady", ready),
                ("PodScheduled", True),
            )
        ]
        of_container = {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"{container['image']}@sha256:{'0' * 64}",
            "containerID": known.container,
            "ready": ready,
            "started": known.running,
            "restartCount": known.restarts,
            "state": state,
            "lastState": known.last_state,
        }
        return {
            "phase": "Running" if known.running or known.restarts else "Pending",
            "hostIP": "127.0.0.1",
            "podIP": known.ip,
            "podIPs": [{"ip": known.ip}],
            "startTime": pod["metadata"]["creationTimestamp"],
            "conditions": conditions,
            "containerStatuses": [of_container],
        }

    def _condition(self, known: _Pod, kind: str, holds: bool) -> dict[str, Any]:
        status = str(holds)
        if known.since.get(kind, ("", ""))[0] != status:
            known.since[kind] = status, now()
        reason = {} if holds else {"reason": "ContainersNotReady"}
        return {"type": kind, "status": status, "lastTransitionTime": known.since[kind][1], **reason}


def _crashes(known: _Pod, moment: float) -> bool:
    limit = known.hosting.crash_seconds if known.hosting else None
    return limit is not None and moment - known.started >= limit
