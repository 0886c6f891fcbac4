# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that run on Kubernetes: Deployments in the shape of Meta's templates, in a namespace of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiClient, AppsV1Api, CoreV1Api

from support.commands import AnsibleCommands, CommandRun
from support.deployments import Deployment, apply
from support.kubernetes.cluster import Cluster
from support.kubernetes.kubelet import NODE

ANNOTATION = "wabiz.onprem/restart-owed"
# Stands in the environment of every pod; nothing may show it.
CANARY = "hunter2-database-password"
READY_SECONDS = 30.0
SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
RECREATE = {"type": "Recreate"}


def manifest(
    name: str,
    replicas: int = 1,
    strategy: dict[str, Any] | None = None,
    *,
    clustered: bool = False,
    image: str = "docker.whatsapp.biz/coreapp:v2.57.2",
    readiness: bool = False,
) -> dict[str, Any]:
    """A Deployment as Meta's templates have it, with a password in the environment."""
    labels = {"type": name}
    environment = [{"name": "WA_DB_PASSWORD", "value": CANARY}]
    environment += [{"name": "WA_APP_MULTICONNECT", "value": "1"}] if clustered else []
    container: dict[str, Any] = {"name": name, "image": image, "env": environment}
    if readiness:
        container["readinessProbe"] = {"tcpSocket": {"port": 6253}}
    pod = {"nodeName": NODE, "terminationGracePeriodSeconds": 5, "containers": [container]}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **({"strategy": strategy} if strategy else {}),
        },
    }


@dataclass(frozen=True)
class Release(Deployment):
    """A client whose Coreapps are pods of the namespace `name`."""

    cluster: Cluster | None = None
    api: ApiClient | None = None

    # The client's models call everything optional, and dictionaries no bodies: hence Any.
    @property
    def _apps(self) -> Any:
        return AppsV1Api(self.api)

    @property
    def _core(self) -> Any:
        return CoreV1Api(self.api)

    def inventory(self, token: bool = True) -> dict[str, dict[str, Any]]:
        variables = super().inventory(token)
        for facts in variables.values():
            facts.pop("wa_settings_restart_command")
            facts |= {"wa_settings_restart_backend": "kubernetes", **self.extra}
        return variables

    def deploy(self, *manifests: dict[str, Any]) -> None:
        """Create Deployments and wait until all of their pods run."""
        for deployment in manifests:
            self._apps.create_namespaced_deployment(self.name, deployment)
        self._wait()

    def _wait(self) -> None:
        """Until all that was asked for is there and nothing else is, by the rules of `kubectl rollout status`."""
        end = time.monotonic() + READY_SECONDS
        while not all(map(_complete, self.deployments().values())):
            assert time.monotonic() < end, "the roll-out did not end"
            time.sleep(0.1)

    def deployments(self) -> dict[str, Any]:
        """Name → Deployment, of this namespace."""
        found = self._apps.list_namespaced_deployment(self.name).items
        return {deployment.metadata.name: deployment for deployment in found}

    def pods(self) -> set[str]:
        """The names of the pods that are not about to end."""
        found = self._core.list_namespaced_pod(self.name).items
        return {pod.metadata.name for pod in found if pod.metadata.deletion_timestamp is None}

    def annotate(self, name: str, text: str) -> None:
        """Put this text in the place of a record."""
        body = {"metadata": {"annotations": {ANNOTATION: text}}}
        self._apps.patch_namespaced_deployment(name, self.name, body)

    def restart(self, name: str) -> None:
        """Restart a Deployment by hand and wait until it is done."""
        template = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": str(time.time())}}}
        self._apps.patch_namespaced_deployment(name, self.name, {"spec": {"template": template}})
        self._wait()

    def records(self) -> dict[str, dict[str, Any]]:
        """Deployment → its record."""
        found = {name: each.metadata.annotations or {} for name, each in self.deployments().items()}
        return {name: json.loads(notes[ANNOTATION]) for name, notes in found.items() if ANNOTATION in notes}

    def restarted(self) -> dict[str, int]:
        """Deployment → pods of it that started since the log was cleared."""
        starts = [name.rsplit("-", 2)[0] for name in self.starts()]
        return {name: starts.count(name) for name in sorted(set(starts))}

    def duplicates(self) -> int:
        """How often a second Coreapp ran for one number, since the log was cleared."""
        return sum(event["event"] == "duplicate" for event in self.client.control.node_events())


def _complete(deployment: Any) -> bool:
    status, wanted = deployment.status, deployment.spec.replicas
    seen = (status.observed_generation or 0) >= deployment.metadata.generation
    return bool(seen and status.updated_replicas == status.replicas == status.available_replicas == wanted)


NewRelease = Callable[..., Release]


WEBAPP = manifest("webapp", 2, SURGE, image="docker.whatsapp.biz/web:v2.57.2")


def new_cluster_release(new_release: NewRelease, name: str) -> Release:
    """A cluster as in Meta's templates for Azure and GCP, with readiness probes."""
    common: dict[str, Any] = {"strategy": SURGE, "clustered": True, "readiness": True}
    return new_release(name, manifest("coreapp", 3, **common), manifest("masterapp", 2, **common), WEBAPP)


def apply_on_kubernetes(
    ansible: AnsibleCommands,
    releases: Sequence[Release],
    values: dict[str, Any],
    *arguments: str,
    namespace: str | None = None,
    token: str | None = None,
    **keywords: Any,
) -> CommandRun:
    """Run the role; the rights come from the environment, the namespace from module_defaults, as users give them."""
    cluster = releases[0].cluster
    assert cluster is not None
    environment = {
        "K8S_AUTH_HOST": cluster.url,
        "K8S_AUTH_API_KEY": token or cluster.admin,
        "K8S_AUTH_SSL_CA_CERT": cluster.ca_path,
        "NO_PROXY": "127.0.0.1",
        **keywords.pop("environment", {}),
    }
    play = dict(keywords.pop("play", {}))
    if namespace:
        play["module_defaults"] = {"group/kubernetes.core.k8s": {"namespace": namespace}}
    return apply(ansible, releases, values, *arguments, environment=environment, play=play, **keywords)
