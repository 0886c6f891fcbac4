# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes control plane with a kubelet of ours, and clients on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.emulator import Emulator
from support.kubernetes.cluster import Cluster, running_cluster
from support.kubernetes.kubelet import Hosting, Kubelet
from support.kubernetes.manifests import Manifests
from support.kubernetes.releases import NewRelease, Release, ensure_namespace


@pytest.fixture(scope="session")
def kubernetes(
    emulator: Emulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, Kubelet]]:
    """The control plane and the kubelet."""
    with running_cluster(tmp_path_factory.mktemp("kubernetes")) as (cluster, kubelet):
        yield cluster, kubelet
        assert not kubelet.faults, kubelet.faults


@pytest.fixture
def kubelet(kubernetes: tuple[Cluster, Kubelet]) -> Kubelet:
    """What runs the pods."""
    return kubernetes[1]


@pytest.fixture
def new_release(kubernetes: tuple[Cluster, Kubelet], emulator: Emulator, tmp_path: Path) -> Iterator[NewRelease]:
    """Deploy a client and wait until its pods run: in a namespace of its own, unless one is named."""
    cluster, kubelet = kubernetes
    api = cluster.api()
    namespaces: set[str] = set()

    def new(name: str, manifests: Manifests, namespace: str = "", **extra: Any) -> Release:
        place = namespace or name
        ensure_namespace(api, place)
        namespaces.add(place)
        client = emulator.new_client()
        for node in client.control.nodes():
            client.control.act_on_node(node, "stop")
        hosting = kubelet.clients[place, manifests.database] = Hosting(client.control)
        release = Release(
            name,
            client,
            {name: []},
            tmp_path,
            extra,
            namespace=place,
            cluster=cluster,
            api=api,
            kubelet=kubelet,
            hosting=hosting,
        )
        release.deploy(manifests)
        release.forget()
        return release

    yield new
    for namespace in namespaces:
        api.delete(f"/api/v1/namespaces/{namespace}")
