# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Deployments of Kubernetes run the Coreapps and masters of a client, and what is written down on them. Pure.

A Deployment is to the restart what a container is on an engine. Facts from the API notes, section 5.3.

This module is private to the collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import (
    COREAPP,
    MASTER,
    UPGRADE,
    Container,
    NotFound,
    read_time,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._debt import (
    Debt,
    Unreadable,
    next_debt,
    parse,
    render,
    unreadable,
)

# Where the record of an owed restart lies: on each Deployment its own.
ANNOTATION = "wabiz.onprem/restart-owed"

# Meta's Deployments, by name or label, for images that were renamed in a registry of one's own.
_METAS = re.compile(r"coreapp|masterapp|whatsapp-(coreapp|master)(-deployment)?")
# Meta gives masters away by a config map, which is not to be seen from the Deployment.
_MASTERS = re.compile(r"(^|[-.])master")
_LABELS = ("type", "name", "app.kubernetes.io/name", "app.kubernetes.io/component")
_FLAGS = {"WA_MASTER_NODE": MASTER, "WA_DB_UPGRADE": UPGRADE}

Resource = Mapping[str, Any]


class Ambiguous(LookupError):
    """It is not clear which Deployments are meant; the message says what to do."""


def _metadata(resource: Resource) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = resource.get("metadata") or {}
    return metadata


def _labels(resource: Resource) -> Mapping[str, str]:
    return _metadata(resource).get("labels") or {}


def _namespace(resource: Resource) -> str:
    return str(_metadata(resource).get("namespace", ""))


def full_name(resource: Resource) -> str:
    """C(namespace/name) of a Deployment: how it is called everywhere in the role."""
    return f"{_namespace(resource)}/{_metadata(resource).get('name', '')}"


def _pod_containers(deployment: Resource) -> list[Mapping[str, Any]]:
    return list(deployment["spec"]["template"]["spec"].get("containers") or ())


def _kind(deployment: Resource) -> str:
    for container in _pod_containers(deployment):
        for variable in container.get("env") or ():
            if variable.get("name") in _FLAGS and variable.get("value") == "1":
                return _FLAGS[variable["name"]]
    return MASTER if any(_MASTERS.search(name) for name in _own_names(deployment)) else COREAPP


def _own_names(deployment: Resource) -> list[str]:
    labels = _labels(deployment)
    return [str(_metadata(deployment).get("name", "")), *(str(labels[name]) for name in _LABELS if name in labels)]


def _replicas(deployment: Resource) -> int:
    replicas = deployment["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def surges(deployment: Resource) -> bool:
    """Whether a roll-out starts new pods before it has stopped the old ones."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return False
    surge = str((strategy.get("rollingUpdate") or {}).get("maxSurge", "25%"))
    return surge.rstrip("%") != "0"


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
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


def _starts(deployment: Resource, pods: Iterable[Resource]) -> list[float]:
    """When the containers that run now were started, by the clocks of their nodes."""
    selector = deployment["spec"].get("selector") or {}
    moments = []
    for pod in pods:
        if _namespace(pod) != _namespace(deployment) or not _selects(selector, _labels(pod)):
            continue
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            running = (status.get("state") or {}).get("running") or {}
            moment = read_time(str(running.get("startedAt", "")))
            if moment is not None:
                moments.append(moment)
    return moments


def _read(deployment: Resource, pods: Sequence[Resource]) -> Container:
    replicas = _replicas(deployment)
    available = int((deployment.get("status") or {}).get("availableReplicas") or 0)
    return {
        "name": full_name(deployment),
        "id": str(_metadata(deployment).get("uid", "")),
        "kind": _kind(deployment),
        "state": f"{available} of {replicas} available",
        "alive": replicas > 0,
        # One pod that has not started since is enough to owe.
        "started": min(_starts(deployment, pods), default=None),
        "replicas": replicas,
        "surges": surges(deployment),
        "paused": bool(deployment["spec"].get("paused")),
    }


def _means(wanted: str, deployment: Resource) -> bool:
    """Whether an entry of the user's list means this Deployment: C(name), C(namespace/name) or C(label=value,…)."""
    if "=" in wanted:
        terms = dict(re.split("==?", term, maxsplit=1) for term in wanted.split(",") if "=" in term)
        labels = _labels(deployment)
        return all(labels.get(name.strip()) == value.strip() for name, value in terms.items())
    return wanted in (_metadata(deployment).get("name"), full_name(deployment))


def choose(deployments: Sequence[Resource], names: Sequence[str], image_pattern: str) -> list[Resource]:
    """The Deployments of the client.

    names: entries as C(_means) reads them; raises NotFound for those that mean nothing. Without names: those with an
    image that matches the pattern, or with a name or label of Meta's templates. What is not named with its namespace
    has to be in one namespace, or it is Ambiguous: another client's Coreapps are not for this one to restart.
    """
    if names:
        missing = [name for name in names if not any(_means(name, deployment) for deployment in deployments)]
        if missing:
            raise NotFound(f"no such Deployment: {', '.join(missing)}")
        chosen = [deployment for deployment in deployments if any(_means(name, deployment) for name in names)]
    else:
        image = re.compile(image_pattern)
        chosen = [
            deployment
            for deployment in deployments
            if any(image.search(str(container.get("image", ""))) for container in _pod_containers(deployment))
            or any(_METAS.fullmatch(name) for name in _own_names(deployment))
        ]
    unnamed = {_namespace(deployment) for deployment in chosen if full_name(deployment) not in names}
    if len(unnamed) > 1:
        raise Ambiguous(
            f"there are Deployments in more than one namespace ({', '.join(sorted(unnamed))}): write namespace/name "
            "into wa_settings_restart_containers, or give the namespace by module_defaults for the group "
            "kubernetes.core.k8s"
        )
    unique = {full_name(deployment): deployment for deployment in chosen if _kind(deployment) != UPGRADE}
    return [unique[name] for name in sorted(unique)]


def as_containers(deployments: Iterable[Resource], pods: Sequence[Resource]) -> list[Container]:
    """The Deployments as the plan of a restart sees them."""
    return [_read(deployment, pods) for deployment in deployments]


def read_debt(deployment: Resource, cluster: str) -> tuple[Debt | None, str | None]:
    """The record on one Deployment, and why it makes no sense where that is so."""
    text = (_metadata(deployment).get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None, None
    try:
        return parse(str(text)), None
    except Unreadable as problem:
        return unreadable(cluster), f"annotation {ANNOTATION} of Deployment {full_name(deployment)}: {problem}"


def joint_debt(deployments: Iterable[Resource], cluster: str) -> tuple[Debt | None, list[str]]:
    """What all of them owe together, and what could not be read of it."""
    found = [read_debt(deployment, cluster) for deployment in deployments]
    debts = [debt for debt, _problem in found if debt is not None]
    problems = [problem for _debt, problem in found if problem is not None]
    if not debts:
        return None, problems
    if problems:
        return unreadable(cluster), problems
    moments = [debt.written for debt in debts]
    counts = [debt.connected_before for debt in debts if debt.connected_before is not None]
    return (
        Debt(
            cluster,
            recorded=min(debt.recorded for debt in debts),
            containers=tuple(owed for debt in debts for owed in debt.containers or ()),
            settings=tuple(sorted({name for debt in debts for name in debt.settings or ()})),
            # The latest of them: rather one restart too many than one too few.
            written=None if None in moments else max(moment for moment in moments if moment is not None),
            connected_before=max(counts, default=None),
        ),
        problems,
    )


def changed_annotations(
    deployments: Iterable[Resource],
    pods: Sequence[Resource],
    change: Mapping[str, Any],
    recorded: str,
) -> dict[str, str | None]:
    """The annotations to write, by full name of the Deployment; None for one that has to go. Others stay as they are.

    change: options of M(wabiz.onprem.wa_restart_debt). What is paid goes, whatever it was. The moment of writing is the
    latest start that can be seen on the Deployment's own pods: whatever starts afterwards is later by the same clocks,
    and no other clock is needed.
    """
    if change["state"] == "paid":
        return {owed["name"]: None for owed in change["containers"]}
    changed: dict[str, str | None] = {}
    for deployment in deployments:
        name = full_name(deployment)
        demanded = [owed for owed in change["containers"] if owed["name"] == name]
        before, problem = read_debt(deployment, change["cluster"])
        if change["state"] != "written" and not demanded:
            continue
        after = next_debt(before, {**change, "containers": demanded}, recorded, _last_start(deployment, pods))
        if after != before or problem is not None:
            changed[name] = None if after is None else render(after).rstrip()
    return changed


def _last_start(deployment: Resource, pods: Sequence[Resource]) -> Callable[[], float]:
    return lambda: max(_starts(deployment, pods), default=0.0)
