# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the stand-in for Kubernetes, with a kubelet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernetes.client import ApiClient, Configuration

from support.kubernetes.api_server import ApiServer
from support.kubernetes.kubelet import Kubelet
from wabiz_emulator import certificates


@dataclass(frozen=True)
class Cluster:
    """A running Kubernetes. `admin` and `viewer` are tokens: of one who may do all, and of one who may only read."""

    url: str
    ca_path: str
    admin: str
    viewer: str

    def api(self) -> ApiClient:
        """The real Python client, with all rights."""
        configuration = Configuration(host=self.url)
        configuration.ssl_ca_cert = self.ca_path
        configuration.api_key = {"authorization": f"Bearer {self.admin}"}
        configuration.no_proxy = "127.0.0.1"
        return ApiClient(configuration)


@contextmanager
def running_cluster(place: Path) -> Iterator[tuple[Cluster, Kubelet]]:
    """A Kubernetes and the kubelet for its pods, until the block ends."""
    ca_path, certificate, key = certificates.write_pki(place / "pki")
    admin, viewer = secrets.token_hex(16), secrets.token_hex(16)
    with ExitStack() as stack:
        server = ApiServer(str(certificate), str(key), {admin: True, viewer: False})
        server.start()
        stack.callback(server.stop)
        cluster = Cluster(f"https://127.0.0.1:{server.port}", str(ca_path), admin, viewer)
        kubelet = Kubelet(stack.enter_context(cluster.api()))
        kubelet.start()
        stack.callback(kubelet.stop)
        yield cluster, kubelet
