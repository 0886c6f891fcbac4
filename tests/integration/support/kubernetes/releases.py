# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that run on Kubernetes, as the role sees them: an inventory host each, their nodes pods of a namespace."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from support.commands import AnsibleCommands, CommandRun
from support.deployments import Deployment, apply
from support.kubernetes.api import KubernetesApi, Object, Refused, path_of
from support.kubernetes.cluster import OPERATOR, Cluster
from support.kubernetes.kubelet import Hosting, Kubelet
from support.kubernetes.manifests import Manifests

READY_SECONDS = 60.0
PLURALS = {"ConfigMap": "configmaps", "Deployment": "deployments", "Secret": "secrets"}
OF_CONTROLLER = "deployment.kubernetes.io/"
# The rights that the role's page asks for.
RIGHTS: list[Object] = [
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "patch", "delete"]},
]


@dataclass(frozen=True, kw_only=True)
class Release(Deployment):
    """A client whose Coreapps are pods of `namespace`. `hosting` says how the pods live, and may be changed."""

    namespace: str
    cluster: Cluster
    api: KubernetesApi
    kubelet: Kubelet
    hosting: Hosting

    def inventory(self, token: bool = True) -> dict[str, dict[str, Any]]:
        variables = super().inventory(token)
        for facts in variables.values():
            facts.pop("wa_settings_restart_command")
            facts |= {"wa_settings_restart_backend": "kubernetes", "whatsapp_namespace": self.namespace, **self.extra}
        return variables

    def deploy(self, manifests: Manifests) -> None:
        """Create the objects and wait until all pods run."""
        for each in manifests.objects:
            self.api.create(path_of(self.namespace, PLURALS[each["kind"]]), each)
        self.wait()

    def wait(self) -> None:
        """Until all that was asked for is there and nothing else is, by the rules of `kubectl rollout status`."""
        end = time.monotonic() + READY_SECONDS
        while not all(map(_complete, self.deployments().values())):
            assert time.monotonic() < end, f"the roll-out did not end: {self.deployments()}"
            time.sleep(0.1)

    def deployments(self) -> dict[str, Object]:
        """Name → Deployment, of this namespace."""
        found = self.api.items(path_of(self.namespace, "deployments"))
        return {deployment["metadata"]["name"]: deployment for deployment in found}

    def pods(self, of: str = "") -> list[Object]:
        """The pods that are not about to end, those of one Deployment or of the namespace; the oldest first."""
        found = self.api.items(path_of(self.namespace, "pods"))
        mine = [pod for pod in found if not of or pod["metadata"]["name"].rsplit("-", 2)[0] == of]
        alive = [pod for pod in mine if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def patch(self, name: str, body: Object) -> None:
        """Change a Deployment by a strategic merge patch, as `kubectl patch` does."""
        self.api.patch(path_of(self.namespace, "deployments", name), body)

    def begin_restart(self, name: str) -> None:
        """`kubectl rollout restart`."""
        template = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": str(time.time())}}}
        self.patch(name, {"spec": {"template": template}})

    def restart(self, name: str) -> None:
        """Restart a Deployment by hand and wait until it is done."""
        self.begin_restart(name)
        self.wait()

    def undo(self, name: str) -> None:
        """`kubectl rollout undo`: the template of the revision before, and that revision's annotations."""
        revision = f"{OF_CONTROLLER}revision"
        owned = [
            each
            for each in self.api.items(path_of(self.namespace, "replicasets"))
            if [owner["name"] for owner in each["metadata"]["ownerReferences"]] == [name]
        ]
        before = sorted(owned, key=lambda each: int(each["metadata"]["annotations"][revision]))[-2]
        template = before["spec"]["template"]
        template["metadata"]["labels"].pop("pod-template-hash")
        kept, former = self.deployments()[name]["metadata"]["annotations"], before["metadata"]["annotations"]
        annotations = {key: value for key, value in kept.items() if key.startswith(OF_CONTROLLER)}
        annotations |= {key: value for key, value in former.items() if not key.startswith(OF_CONTROLLER)}
        path = path_of(self.namespace, "deployments", name)
        body = [
            {"op": "replace", "path": "/spec/template", "value": template},
            {"op": "replace", "path": "/metadata/annotations", "value": annotations},
        ]
        self.api.call("PATCH", path, body, "application/json-patch+json")

    def condition(self, name: str, kind: str) -> Object | None:
        """A condition of a Deployment, such as Progressing."""
        conditions = self.deployments()[name]["status"].get("conditions") or []
        return next((found for found in conditions if found["type"] == kind), None)

    def grant(self, rules: list[Object], name: str = "operator") -> None:
        """Give the user `operator` these rights in the namespace, by a Role and a RoleBinding."""
        self.api.create(path_of(self.namespace, "roles"), {"metadata": {"name": name}, "rules": rules})
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": OPERATOR}],
        }
        self.api.create(path_of(self.namespace, "rolebindings"), binding)

    def starts(self) -> list[str]:
        """The names of the pods whose node started since the log was cleared, in order; one for each start."""
        return [self.kubelet.names[host] for host in super().starts()]

    def restarted(self) -> dict[str, int]:
        """Deployment → starts of its nodes since the log was cleared."""
        starts = [name.rsplit("-", 2)[0] for name in self.starts()]
        return {name: starts.count(name) for name in sorted(set(starts))}

    def duplicates(self) -> int:
        """How often a second Coreapp ran for one number, since the log was cleared."""
        return sum(event["event"] == "duplicate" for event in self.client.control.node_events())


def _complete(deployment: Object) -> bool:
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    counts = {status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")}
    return bool(seen and counts == {wanted})


def ensure_namespace(api: KubernetesApi, name: str) -> None:
    """Create a namespace unless it is there."""
    try:
        api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    except Refused as refusal:
        if refusal.code != 409:
            raise


NewRelease = Callable[..., Release]


def access(cluster: Cluster, token: str | None = None) -> dict[str, str]:
    """What lets Ansible's modules reach the cluster, as environment variables."""
    return {
        "K8S_AUTH_HOST": cluster.url,
        "K8S_AUTH_API_KEY": token or cluster.admin,
        "K8S_AUTH_SSL_CA_CERT": cluster.ca_path,
        "NO_PROXY": "127.0.0.1",
    }


def apply_on_kubernetes(
    ansible: AnsibleCommands,
    releases: Sequence[Release],
    values: dict[str, Any],
    *arguments: str,
    namespace: str | None = "{{ whatsapp_namespace }}",
    token: str | None = None,
    **keywords: Any,
) -> CommandRun:
    """Run the role; access comes from the environment, the namespace from module_defaults, as users give them."""
    environment = {**access(releases[0].cluster, token), **keywords.pop("environment", {})}
    play = dict(keywords.pop("play", {}))
    if namespace:
        play["module_defaults"] = {"group/kubernetes.core.k8s": {"namespace": namespace}}
    return apply(ansible, releases, values, *arguments, environment=environment, play=play, **keywords)
