# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the real etcd, kube-apiserver and kube-controller-manager, on 127.0.0.1 and with a state of their own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.kubernetes.api import KubernetesApi, Refused
from wabiz_emulator import certificates

READY_SECONDS = 90.0
STOP_SECONDS = 15.0
NO_INSECURE_PORT = 24
# What clients and their Deployments need. The garbage collector removes what belongs to a Deployment with it.
CONTROLLERS = "deployment,replicaset,garbagecollector,namespace"
ADMINISTRATORS = "system:masters"


def programs() -> Path:
    """The folder with the three programs; the set-up of the tests names it."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    assert folder, "KUBEBUILDER_ASSETS is not set: `nox -s kubernetes` sets it"
    return Path(folder)


@contextlib.contextmanager
def running_control_plane(place: Path, users: Mapping[str, str], administrator: str) -> Iterator[tuple[str, str]]:
    """The address of the API and the path of its CA, until the block ends.

    users: token → name. Who is not the `administrator` has no rights but those that roles give.
    """
    ca_path, certificate, key = certificates.write_pki(place / "pki")
    etcd_port, peer_port, api_port = _free_ports(3)
    etcd_url, peer_url = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    url = f"https://127.0.0.1:{api_port}"
    tokens = place / "tokens.csv"
    groups = {administrator: f',"{ADMINISTRATORS}"'}
    tokens.write_text("".join(f"{token},{name},{name}{groups.get(name, '')}\n" for token, name in users.items()))
    tokens.chmod(0o600)
    (token,) = (token for token, name in users.items() if name == administrator)
    etcd = ["--data-dir", str(place / "etcd"), "--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url]
    etcd += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
    etcd += ["--initial-cluster", f"default={peer_url}"]
    server = ["--etcd-servers", etcd_url, "--bind-address", "127.0.0.1", "--secure-port", str(api_port)]
    server += ["--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"]
    server += ["--tls-cert-file", str(certificate), "--tls-private-key-file", str(key), "--cert-dir", str(place)]
    server += ["--token-auth-file", str(tokens), "--authorization-mode", "RBAC", "--anonymous-auth=false"]
    server += ["--service-account-issuer", url, "--service-account-key-file", str(key)]
    server += ["--service-account-signing-key-file", str(key), "--service-cluster-ip-range", "10.0.0.0/24"]
    # The pods here talk to no API, and without this one none of them waits for a token.
    server += ["--disable-admission-plugins", "ServiceAccount"]
    manager = ["--kubeconfig", str(_kubeconfig(place, url, ca_path, token)), "--controllers", CONTROLLERS]
    manager += ["--leader-elect=false", "--secure-port=0", "--kube-api-qps=200", "--kube-api-burst=400"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running("etcd", etcd, place))
        api_server = stack.enter_context(_running("kube-apiserver", server, place))
        api = KubernetesApi(url, str(ca_path), token)
        _wait_until_ready(api, api_server, place)
        # Older managers listen on a fixed port as well; newer ones do not know the option any more.
        minor = api.get("/version")["minor"].rstrip("+")
        manager += [] if minor and int(minor) >= NO_INSECURE_PORT else ["--port=0"]
        stack.enter_context(_running("kube-controller-manager", manager, place))
        yield url, str(ca_path)


def _kubeconfig(place: Path, url: str, ca_path: Path, token: str) -> Path:
    path = place / "controllers.kubeconfig"
    named = {
        "clusters": {"cluster": {"server": url, "certificate-authority": str(ca_path)}},
        "users": {"user": {"token": token}},
        "contexts": {"context": {"cluster": "one", "user": "one"}},
    }
    parts = {plural: [{"name": "one", **content}] for plural, content in named.items()}
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "one", **parts}))
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def _running(program: str, arguments: Sequence[str], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (place / f"{program}.log").open("wb") as log:
        # The proxies of a user do not lead to 127.0.0.1.
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        command = [str(programs() / program), *arguments]
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(api: KubernetesApi, process: subprocess.Popen[bytes], place: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError, Refused):
            api.get("/readyz")
            return
        time.sleep(0.1)
    log = (place / "kube-apiserver.log").read_text(errors="replace")
    raise AssertionError(f"the API server did not become ready:\n{log[-3000:]}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _number in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
