# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods of Deployments, through the modules of C(kubernetes.core). Facts from the API notes, section 5.3.

A node is a pod, so that a cluster's Coreapps go one at a time with a look at the client's health between them. Its
incarnation is the pod's uid. Its restart count would not do: the kubelet may report a crash from before the writing
after it.

This module is private to the collection.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from ansible.plugins.loader import module_loader

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Backend, Host, Member, Problem, Store
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import COREAPP, MASTER, Node, Whose
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Place

Resource = Mapping[str, Any]

_UPGRADE = "upgrade"
# Meta's Deployments, by name or label, for images that were renamed in a registry of one's own.
_METAS = re.compile(r"coreapp|masterapp|whatsapp-(coreapp|master)(-deployment)?")
_META_MASTERS = re.compile(r"masterapp|whatsapp-master(-deployment)?|.+-master")
_LABELS = ("type", "name", "app.kubernetes.io/name", "app.kubernetes.io/component")
# Who a Deployment belongs to, as Helm writes it.
_RELEASES = ("app.kubernetes.io/instance", "release")
# Seconds between two looks at a roll-out. Each is a module that takes a second or two of processor time to ask, and no
# pod has ended and started before the first.
_POLL = 3.0
_LOOKS_AT_PODS = 2  # so many for one at the Deployment, which says when it gives up
# Seconds for which a Deployment is taken to be as it was last seen. What starts and ends are its pods.
_AS_SEEN = 30.0
# By host and member: when its Deployments were seen, and what they were.
_seen: WeakKeyDictionary[Host, dict[str, tuple[float, list[Resource]]]] = WeakKeyDictionary()


def _metadata(resource: Resource) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = resource.get("metadata") or {}
    return metadata


def _labels(resource: Resource) -> Mapping[str, str]:
    return _metadata(resource).get("labels") or {}


def _namespace(resource: Resource) -> str:
    return str(_metadata(resource).get("namespace", ""))


def full_name(resource: Resource) -> str:
    """C(namespace/name): how a Deployment is called everywhere in the role."""
    return f"{_namespace(resource)}/{_metadata(resource).get('name', '')}"


def _pod_containers(deployment: Resource) -> list[Mapping[str, Any]]:
    return list(deployment["spec"]["template"]["spec"].get("containers") or ())


def _own_names(deployment: Resource) -> list[str]:
    labels = _labels(deployment)
    return [str(_metadata(deployment).get("name", "")), *(str(labels[name]) for name in _LABELS if name in labels)]


def kind_of(deployment: Resource) -> str:
    """What a Deployment runs: by the variables that Meta's image reads; by name only if those say nothing."""
    flags: dict[str, str] = {}
    for container in _pod_containers(deployment):
        flags.update({str(v.get("name")): str(v.get("value")) for v in container.get("env") or () if "value" in v})
    if flags.get("WA_DB_UPGRADE") == "1":
        return _UPGRADE
    if "WA_MASTER_NODE" in flags:
        return MASTER if flags["WA_MASTER_NODE"] == "1" else COREAPP
    # Meta's templates give masters away by a config map, which is not to be seen from the Deployment.
    return MASTER if any(_META_MASTERS.fullmatch(name) for name in _own_names(deployment)) else COREAPP


def _replicas(deployment: Resource) -> int:
    replicas = deployment["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _recreates(deployment: Resource) -> bool:
    return (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"


def _rolls_out(deployment: Resource) -> bool:
    """Whether a roll-out restarts its one pod, which then starts only after the old one has ended."""
    return _recreates(deployment) and _replicas(deployment) == 1


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, as Deployments have it, chooses something with these labels."""
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        name, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
        met = {
            "In": labels.get(name) in values,
            "NotIn": labels.get(name) not in values,
            "Exists": name in labels,
            "DoesNotExist": name not in labels,
        }
        if not met[operator]:
            return False
    return True


def _means(wanted: str, deployment: Resource) -> bool:
    """Whether an entry of the user's list means this Deployment: C(name), C(namespace/name) or C(label=value,…)."""
    if "=" in wanted:
        terms = dict(re.split("==?", term, maxsplit=1) for term in wanted.split(",") if "=" in term)
        labels = _labels(deployment)
        return all(labels.get(name.strip()) == value.strip() for name, value in terms.items())
    return wanted in (_metadata(deployment).get("name"), full_name(deployment))


def choose(deployments: Sequence[Resource], names: Sequence[str], image_pattern: str) -> list[Resource]:
    """The Deployments of the client. Raises Problem.

    names: entries as C(_means) reads them. Without names: those with an image that matches the pattern, or with a name
    or label of Meta's templates; they have to belong to one namespace and one release.
    """
    if names:
        missing = [name for name in names if not any(_means(name, deployment) for deployment in deployments)]
        if missing:
            raise Problem(f"no such Deployment: {', '.join(missing)}")
        chosen = [deployment for deployment in deployments if any(_means(name, deployment) for name in names)]
    else:
        image = re.compile(image_pattern)
        chosen = [
            deployment
            for deployment in deployments
            if any(image.search(str(container.get("image", ""))) for container in _pod_containers(deployment))
            or any(_METAS.fullmatch(name) for name in _own_names(deployment))
        ]
    unique = {full_name(deployment): deployment for deployment in chosen if kind_of(deployment) != _UPGRADE}
    chosen = [unique[name] for name in sorted(unique)]
    namespaces = {_namespace(deployment) for deployment in chosen}
    if len(namespaces) > 1:
        raise Problem(
            f"there are Deployments in more than one namespace ({', '.join(sorted(namespaces))}); write namespace/name "
            "into wa_settings_restart_containers, or give the namespace by module_defaults for the group "
            "kubernetes.core.k8s"
        )
    if not names and len({owner for owner in map(_owner, chosen) if owner}) > 1:
        raise Problem(
            f"Deployments of several clients are in this namespace ({', '.join(sorted(map(full_name, chosen)))}); name "
            "those of this client in wa_settings_restart_containers"
        )
    return chosen


def _owner(deployment: Resource) -> str:
    """The release that a Deployment belongs to: by label, else by the name that charts put before Meta's."""
    labels = _labels(deployment)
    label = next((str(labels[name]) for name in _RELEASES if labels.get(name)), "")
    match = re.fullmatch(r"(.+)-(coreapp|master|masterapp)", str(_metadata(deployment).get("name", "")))
    return label or (match[1] if match and match[1] != "whatsapp" else "")


def as_nodes(deployments: Iterable[Resource], pods: Sequence[Resource]) -> list[Node]:
    """The pods of Deployments as nodes. Pods that are going are none any more."""
    nodes: list[Node] = []
    for deployment in deployments:
        if _replicas(deployment) == 0:
            continue
        found = [pod for pod in pods if _belongs(pod, deployment) and not _metadata(pod).get("deletionTimestamp")]
        nodes += [_node(deployment, pod) for pod in found]
        if not found:
            unit = full_name(deployment)
            nodes.append(Node(unit, kind=kind_of(deployment), running=False, unit=unit, alone=_alone(deployment)))
    return nodes


def _belongs(pod: Resource, deployment: Resource) -> bool:
    return _namespace(pod) == _namespace(deployment) and selects(deployment["spec"].get("selector") or {}, _labels(pod))


def _statuses(pod: Resource) -> list[Mapping[str, Any]]:
    return list((pod.get("status") or {}).get("containerStatuses") or ())


def _trouble(pod: Resource) -> str:
    """Why a pod does not run, in Kubernetes' own word; empty if it does, or is about to."""
    for status in _statuses(pod):
        reason = str(((status.get("state") or {}).get("waiting") or {}).get("reason") or "")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return reason
    return ""


def is_ready(pod: Resource) -> bool:
    """Whether the kubelet says that a pod is ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)


def _node(deployment: Resource, pod: Resource) -> Node:
    uid = str(_metadata(pod).get("uid", ""))
    name = str(_metadata(pod).get("name", ""))
    status = pod.get("status") or {}
    return Node(
        name=f"{full_name(deployment)}/{name}",
        id=uid,
        kind=kind_of(deployment),
        running=status.get("phase") not in ("Succeeded", "Failed"),
        steady=is_ready(pod) and not _trouble(pod),
        incarnation=uid,
        # Meta's templates give the pod's address as its host name.
        hostname=" ".join(filter(None, ((pod.get("spec") or {}).get("hostname") or name, status.get("podIP")))),
        unit=full_name(deployment),
        alone=_alone(deployment),
    )


def _alone(deployment: Resource) -> str:
    """Why a Deployment must not restart outside a cluster."""
    if _recreates(deployment):
        return ""
    return (
        f"Deployment {full_name(deployment)} starts a new Coreapp before the old one has ended, and two Coreapps for "
        "one number can get the number banned; give it the strategy Recreate (maxSurge 0 is not enough, since pods "
        "that are being deleted do not count)"
    )


def reason_of(result: Mapping[str, Any]) -> str:
    """Why a module of C(kubernetes.core) failed, without the traceback where it broke down."""
    lines = str(result.get("module_stderr") or result.get("msg") or "no answer").splitlines()
    telling = [line for line in lines if re.match(r"\S+(Error|Exception): |Reason: |HTTP response body: ", line)]
    return " ".join(" ".join(telling or lines).split())[-500:]


class Kubernetes(Backend):
    """Coreapps in Deployments. What is asked is asked from the host that calls the client's API."""

    on_api_host = True
    poll = _POLL
    module_defaults = "group/kubernetes.core.k8s"

    @classmethod
    def refusal(cls, member: Member) -> str | None:
        if not module_loader.has_plugin("kubernetes.core.k8s_info"):
            return (
                "wa_settings_restart_backend: kubernetes needs the collection kubernetes.core on the controller; "
                "install it with ansible-galaxy collection install kubernetes.core"
            )
        return cls.refused_pattern(member)

    @classmethod
    def store(cls, host: Host, member: Member, cluster: str, whose: Whose | None = None) -> Store:
        return _ConfigMapStore(host, member, cluster, whose)

    @classmethod
    def look(cls, host: Host, member: Member) -> list[Node]:
        deployments = cls.deployments(host, member)
        paused = [full_name(deployment) for deployment in deployments if deployment["spec"].get("paused")]
        if paused:
            raise Problem(
                f"Deployment {', '.join(paused)} is paused, so a restart would wait for ever; resume it with kubectl "
                "rollout resume"
            )
        return as_nodes(deployments, cls._pods(host, member, deployments))

    @classmethod
    def restart(cls, host: Host, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        namespace, name, *_pod = node.unit.split("/") if node.unit else node.name.split("/")
        deployment = cls._named(cls.deployments(host, member), f"{namespace}/{name}")
        if _rolls_out(deployment):
            annotation = {"kubectl.kubernetes.io/restartedAt": datetime.now(timezone.utc).isoformat(timespec="seconds")}
            cls.call(
                host,
                member,
                "k8s",
                state="patched",
                api_version="apps/v1",
                kind="Deployment",
                namespace=namespace,
                name=name,
                definition={"spec": {"template": {"metadata": {"annotations": annotation}}}},
            )
        else:
            pod = node.name.rpartition("/")[2]
            cls.call(host, member, "k8s", state="absent", api_version="v1", kind="Pod", namespace=namespace, name=pod)
        cls._await_successor(host, member, deployment, node, patience)

    @classmethod
    def _await_successor(cls, host: Host, member: Member, deployment: Resource, node: Node, patience: float) -> None:
        """Waits until the pod is gone and as many as there should be are ready. Raises Problem, with the reason."""
        end = time.monotonic() + patience
        for number in count(1):
            time.sleep(max(0.0, min(cls.poll, end - time.monotonic())))
            pods = [pod for pod in cls._pods(host, member, [deployment]) if _belongs(pod, deployment)]
            new = [pod for pod in pods if _metadata(pod).get("uid") != node.id]
            ready = [pod for pod in new if is_ready(pod) and not _metadata(pod).get("deletionTimestamp")]
            if len(new) == len(pods) and len(ready) >= _replicas(deployment):
                return
            is_over = time.monotonic() >= end
            if not is_over and number % _LOOKS_AT_PODS:
                continue
            now = cls._named(cls.deployments(host, member, anew=True), full_name(deployment))
            stuck = _stuck(now)
            if stuck or is_over:
                trouble = next((f"{_metadata(pod).get('name')}: {_trouble(pod)}" for pod in new if _trouble(pod)), "")
                counted = f"{len(ready)} of {_replicas(deployment)} pods are ready"
                raise Problem("; ".join(part for part in (stuck, trouble, counted) if part))

    @staticmethod
    def _named(deployments: Sequence[Resource], name: str) -> Resource:
        found = next((deployment for deployment in deployments if full_name(deployment) == name), None)
        if found is None:
            raise Problem(f"Deployment {name} is gone")
        return found

    @classmethod
    def deployments(cls, host: Host, member: Member, *, anew: bool = False) -> list[Resource]:
        """The client's Deployments, as they were seen a moment ago unless they are asked for anew. Raises Problem."""
        seen = _seen.setdefault(host, {})
        moment, found = seen.get(member.host, (0.0, []))
        if anew or not found or time.monotonic() - moment >= _AS_SEEN:
            found = cls._list_deployments(host, member)
            seen[member.host] = (time.monotonic(), found)
        return choose(found, member.containers, member.image_pattern)

    @classmethod
    def _list_deployments(cls, host: Host, member: Member) -> list[Resource]:
        namespaces = {name.split("/")[0] for name in member.containers if "/" in name and "=" not in name}
        unnamed = not member.containers or any("/" not in name or "=" in name for name in member.containers)
        found: list[Resource] = []
        for namespace in [*([None] if unnamed else []), *sorted(namespaces)]:
            options = {} if namespace is None else {"namespace": namespace}
            found += cls.resources(host, member, "Deployment", "apps/v1", **options)
        return found

    @classmethod
    def _pods(cls, host: Host, member: Member, deployments: Sequence[Resource]) -> list[Resource]:
        return [
            pod
            for namespace in sorted({_namespace(deployment) for deployment in deployments})
            for pod in cls.resources(host, member, "Pod", "v1", namespace=namespace)
        ]

    @classmethod
    def resources(cls, host: Host, member: Member, kind: str, api_version: str, **options: Any) -> list[Resource]:
        """Objects of a kind. Raises Problem."""
        answer = cls.call(host, member, "k8s_info", kind=kind, api_version=api_version, **options)
        if "resources" not in answer or answer.get("api_found") is False:
            why = "the API server did not answer, or did not accept the credentials"
            raise Problem(f"kubernetes: {reason_of(answer) if answer.get('msg') else why}")
        return list(answer["resources"])

    @classmethod
    def call(cls, host: Host, member: Member, module: str, **options: Any) -> dict[str, Any]:
        """Runs a module of C(kubernetes.core) with the defaults that the play gives it. Raises Problem."""
        result = host.module(f"kubernetes.core.{module}", {**member.options, **options})
        if result.get("failed"):
            raise Problem(f"kubernetes: {reason_of(result)}")
        return result


def _stuck(deployment: Resource) -> str:
    """Why a Deployment gave up, at once when it does."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("reason") == "ProgressDeadlineExceeded":
            return f"ProgressDeadlineExceeded: {condition.get('message', '')}".rstrip(": ")
    return ""


class _ConfigMapStore:
    """A record in a ConfigMap of the client's namespace; C(resourceVersion) keeps two writers apart."""

    def __init__(self, host: Host, member: Member, cluster: str, whose: Whose | None) -> None:
        self._host = host
        self._whose = whose
        self._member = member
        digest = hashlib.sha256(f"{cluster}\n{member.host}".encode()).hexdigest()
        self._object = f"wabiz-onprem-{digest[:20]}"
        self._labels = {"app.kubernetes.io/managed-by": "wabiz.onprem"}
        self._seen: list[Resource | None] = []  # the ConfigMap as it was last seen; empty before the first look
        self.name = f"ConfigMap {self._object}"

    @cached_property
    def _namespace(self) -> str:
        named = [name.split("/")[0] for name in self._member.containers if "/" in name and "=" not in name]
        given = named[0] if named else str(self._member.options.get("namespace") or "")
        if given:
            return given
        found = Kubernetes.deployments(self._host, self._member)
        return _namespace(found[0]) if found else "default"

    def _look(self) -> list[Resource]:
        """Sees the ConfigMap of the record; those of all other records there."""
        labels = [f"{name}={value}" for name, value in self._labels.items()]
        options = {"namespace": self._namespace, "label_selectors": labels}
        found = Kubernetes.resources(self._host, self._member, "ConfigMap", "v1", **options)
        own = next((one for one in found if _metadata(one).get("name") == self._object), None)
        self._seen = [own]
        return [one for one in found if one is not own]

    def _text(self) -> str | None:
        return self._record(self._seen[0])

    @staticmethod
    def _record(found: Resource | None) -> str | None:
        return None if found is None else str((found.get("data") or {}).get("record", "")) or None

    def read(self) -> Place:
        others = self._look()
        if self._whose is None:
            return Place(self._text())
        marks = self._whose.marks
        texts = ((f"ConfigMap {_metadata(other).get('name')}", self._record(other) or "") for other in others)
        found = ((name, text) for name, text in texts if any(mark in text for mark in marks))
        return Place(self._text(), misnamed=self._whose.misnamed(found))

    def swap(self, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        # What was seen before will do: the API server compares the version. But it may not be what is known of it here.
        if not self._seen or not _same(self._text(), old):
            self._look()
        if not _same(self._text(), old):
            return Place(self._text())
        try:
            if new is not None:
                return Place(self._write(new))
            self._remove()
        except Problem as problem:
            # Somebody else was faster: they changed it, or took it away.
            if not re.search("onflict|resourceVersion", str(problem)):
                raise
            return self.read()
        return Place()

    def _write(self, text: str) -> str | None:
        """Replaces what was seen; the record that is there now."""
        if self._seen[0] is None:
            # What is not there has no version to compare, so that each of two writers could create it with its text.
            self._put({})
            if self._text() is not None:
                return self._text()
        self._put({"data": {"record": text}}, resourceVersion=_metadata(self._seen[0] or {}).get("resourceVersion"))
        return text

    def _put(self, content: Mapping[str, Any], **version: Any) -> None:
        metadata = {"name": self._object, "namespace": self._namespace, "labels": self._labels, **version}
        definition = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content}
        answer = Kubernetes.call(self._host, self._member, "k8s", state="present", definition=definition)
        self._seen = [answer["result"]]

    def _remove(self) -> None:
        if self._seen[0] is not None:
            version = {"resourceVersion": _metadata(self._seen[0]).get("resourceVersion")}
            target = {"name": self._object, "namespace": self._namespace, "api_version": "v1", "kind": "ConfigMap"}
            delete = {"preconditions": version}
            Kubernetes.call(self._host, self._member, "k8s", state="absent", delete_options=delete, **target)
            self._seen = [None]


def _same(one: str | None, other: str | None) -> bool:
    return (one or "").strip() == (other or "").strip()
