# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Kubernetes with its users and our kubelet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.kubernetes.api import KubernetesApi
from support.kubernetes.control_plane import running_control_plane
from support.kubernetes.kubelet import Kubelet

ADMIN, OPERATOR = "admin", "operator"


@dataclass(frozen=True)
class Cluster:
    """Tokens of `admin`, who may do all, and of `operator`, who may do what Role objects say (`Release.grant`)."""

    url: str
    ca_path: str
    admin: str
    operator: str

    def api(self) -> KubernetesApi:
        """Access with all rights."""
        return KubernetesApi(self.url, self.ca_path, self.admin)


@contextmanager
def running_cluster(place: Path) -> Iterator[tuple[Cluster, Kubelet]]:
    """A Kubernetes and the kubelet for its pods, until the block ends."""
    admin, operator = secrets.token_hex(16), secrets.token_hex(16)
    with running_control_plane(place, {admin: ADMIN, operator: OPERATOR}, ADMIN) as (url, ca_path):
        cluster = Cluster(url, ca_path, admin, operator)
        kubelet = Kubelet(cluster.api())
        kubelet.start()
        try:
            yield cluster, kubelet
        finally:
            kubelet.stop()
