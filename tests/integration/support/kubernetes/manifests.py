# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients as people deploy them: the objects of Meta's templates, and those of a public Helm chart.

Shapes: `src/azure` of Meta's deployment templates (everything in config maps, the host name from a command line),
Meta's older Kubernetes manifests (`whatsapp-coreapp-deployment`, everything in a secret), and a chart whose objects are
called `<release>-whatsapp-coreapp`. Strategies are what the tests ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from support.kubernetes.api import Object

# Stands in the environment of every Coreapp; nothing may show it.
CANARY = "hunter2-database-password"
COREAPP_IMAGE = "docker.whatsapp.biz/coreapp:v2.57.2"
WEB_IMAGE = "docker.whatsapp.biz/web:v2.57.2"
RECREATE: Mapping[str, Any] = MappingProxyType({"type": "Recreate"})
# What Meta's templates have.
SURGE: Mapping[str, Any] = MappingProxyType(
    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
)
# What is often taken for "first stop, then start".
NO_SURGE: Mapping[str, Any] = MappingProxyType(
    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
)
# What the API server makes of a Deployment without a strategy is a rolling update with a surge of 25 %.
NO_STRATEGY: Mapping[str, Any] = MappingProxyType({})
POD_IP = {"name": "COREAPP_HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@dataclass(frozen=True)
class Manifests:
    """The objects of one client. `database` is the host name by which all of its nodes know their store."""

    database: str
    objects: tuple[Object, ...]


def deployment(
    name: str,
    labels: Mapping[str, str],
    container: Mapping[str, Any],
    replicas: int = 1,
    strategy: Mapping[str, Any] = RECREATE,
    *,
    readiness: bool = False,
    grace: int | None = None,
    deadline: int | None = None,
) -> Object:
    """A Deployment. grace, deadline: seconds, `terminationGracePeriodSeconds` and `progressDeadlineSeconds`."""
    probe = {"readinessProbe": {"tcpSocket": {"port": 6253}}} if readiness else {}
    pod = {"containers": [{"ports": [{"containerPort": 6253}], **container, **probe}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(labels)},
            **({"strategy": dict(strategy)} if strategy else {}),
            **({"progressDeadlineSeconds": deadline} if deadline else {}),
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {**pod, **({} if grace is None else {"terminationGracePeriodSeconds": grace})},
            },
        },
    }


def meta(
    coreapps: int = 3,
    masters: int = 2,
    strategy: Mapping[str, Any] = SURGE,
    *,
    clustered: bool = True,
    coreapp_name: str = "coreapp",
    **options: Any,
) -> Manifests:
    """A cluster as in Meta's templates for Azure and GCP."""
    environment = {"WA_DB_HOSTNAME": "db", "WA_APP_MULTICONNECT": "1" if clustered else "0", "WA_CONFIG_ON_DB": "1"}
    command = "export WA_DB_SSL_CA= && cd /opt/whatsapp/bin && IP=$(hostname -I) && export COREAPP_HOSTNAME=$IP"
    common = {"command": ["/bin/sh", "-c"], "args": [f"{command} && ./launch_within_docker.sh"]}
    sources = [{"configMapRef": {"name": "config-env"}}, {"secretRef": {"name": "secret-env"}}]
    objects = [_config("config-env", environment), _config("config-master", {"WA_MASTER_NODE": "1"})]
    objects += [_secret("secret-env", {"WA_DB_PASSWORD": CANARY})]
    for name, count, image, more in (
        (coreapp_name, coreapps, COREAPP_IMAGE, []),
        ("masterapp", masters, COREAPP_IMAGE, [{"configMapRef": {"name": "config-master"}}]),
        ("webapp", 2, WEB_IMAGE, []),
    ):
        if count:
            container = {"name": name, "image": image, "envFrom": [*sources, *more], **common}
            of_coreapps = options if image == COREAPP_IMAGE else {}
            objects.append(deployment(name, {"type": name}, container, count, strategy, **of_coreapps))
    return Manifests("db", tuple(objects))


def meta_single(strategy: Mapping[str, Any] = RECREATE, **options: Any) -> Manifests:
    """One Coreapp, outside a cluster, in the shape of Meta's templates."""
    return meta(1, 0, strategy, clustered=False, **options)


def old_meta(
    coreapps: int = 2, masters: int = 2, strategy: Mapping[str, Any] = NO_STRATEGY, **options: Any
) -> Manifests:
    """A cluster as in Meta's older manifests: long names, the database in a secret."""
    objects = [_secret("whatsapp-config", {"wa-db-hostname": "mysql", "wa-db-password": CANARY})]
    for kind, count, flags in (("coreapp", coreapps, {}), ("master", masters, {"WA_MASTER_NODE": "1"})):
        environment = [
            _from_secret("WA_DB_HOSTNAME", "whatsapp-config", "wa-db-hostname"),
            _from_secret("WA_DB_PASSWORD", "whatsapp-config", "wa-db-password"),
            *_literal({"WA_APP_MULTICONNECT": "1", **flags}),
            POD_IP,
        ]
        name = f"whatsapp-{kind}"
        container = {"name": name, "image": COREAPP_IMAGE, "env": environment}
        objects.append(deployment(f"{name}-deployment", {"name": name}, container, count, strategy, **options))
    return Manifests("mysql", tuple(objects))


def helm(
    release: str,
    coreapps: int = 1,
    masters: int = 0,
    strategy: Mapping[str, Any] = RECREATE,
    *,
    clustered: bool = False,
    image: str = COREAPP_IMAGE,
    **options: Any,
) -> Manifests:
    """A release of a chart, as Helm installs it: its name and labels on everything. Several fit into one namespace."""
    full = f"{release}-whatsapp"
    managed = {"app.kubernetes.io/instance": release, "app.kubernetes.io/managed-by": "Helm"}
    notes = {"meta.helm.sh/release-name": release}
    objects = [_secret(full, {"WA_DB_PASSWORD": CANARY})]
    for kind, count, flags in (("coreapp", coreapps, {}), ("master", masters, {"WA_MASTER_NODE": "1"})):
        if not count:
            continue
        multiconnect = {"WA_APP_MULTICONNECT": "1" if clustered else "0"}
        literals = {"WA_DB_HOSTNAME": f"{full}-db", **multiconnect, **flags}
        environment = [*_literal(literals), _from_secret("WA_DB_PASSWORD", full, "WA_DB_PASSWORD"), POD_IP]
        labels = {"name": f"{full}-{kind}", "release": full}
        container = {"name": f"whatsapp-{kind}", "image": image, "env": environment}
        made = deployment(f"{full}-{kind}", labels, container, count, strategy, **options)
        made["metadata"] |= {"labels": {**labels, **managed}, "annotations": dict(notes)}
        objects.append(made)
    return Manifests(f"{full}-db", tuple(objects))


def _literal(variables: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def _from_secret(variable: str, secret: str, key: str) -> Object:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _config(name: str, data: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(data)}


def _secret(name: str, data: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(data)}
