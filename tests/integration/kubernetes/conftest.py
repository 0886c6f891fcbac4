# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Kubernetes, and clients on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import CoreV1Api

from support.emulator import Emulator
from support.kubernetes.cluster import Cluster, running_cluster
from support.kubernetes.kubelet import Kubelet
from support.kubernetes.releases import NewRelease, Release


@pytest.fixture(scope="session")
def kubernetes(
    emulator: Emulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, Kubelet]]:
    """The stand-in and its kubelet."""
    with running_cluster(tmp_path_factory.mktemp("kubernetes")) as (cluster, kubelet):
        yield cluster, kubelet
        assert not kubelet.faults, kubelet.faults


@pytest.fixture
def kubelet(kubernetes: tuple[Cluster, Kubelet]) -> Kubelet:
    """What runs the pods."""
    return kubernetes[1]


@pytest.fixture
def new_release(kubernetes: tuple[Cluster, Kubelet], emulator: Emulator, tmp_path: Path) -> NewRelease:
    """A client in a namespace of its own, without Deployments yet."""
    cluster, kubelet = kubernetes
    api = cluster.api()

    def new(name: str, *manifests: dict[str, Any], **extra: Any) -> Release:
        CoreV1Api(api).create_namespace({"metadata": {"name": name}})
        client = emulator.new_client()
        for node in client.control.nodes():
            client.control.act_on_node(node, "stop")
        kubelet.clients[name] = client.control
        release = Release(name, client, {name: []}, tmp_path, extra, cluster, api)
        release.deploy(*manifests)
        release.forget()
        return release

    return new
