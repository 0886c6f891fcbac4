# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One emulator process with many independent clients behind one HTTPS port: each case gets a fresh one."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from support import canaries
from support.commands import ROOT
from wabiz_emulator import certificates
from wabiz_emulator.control import Control

PASSWORD = "Correct-horse-1"
READY_SECONDS = 30.0


@dataclass
class EmulatedClient:
    """One client that nobody else uses. `api_url` carries a path prefix."""

    api_url: str
    ca_path: str
    control: Control = field(repr=False)

    def with_token(self) -> dict[str, Any]:
        """Connection options with a ready token."""
        return {"api_url": self.api_url, "ca_path": self.ca_path, "token": self.control.token()}

    def with_password(self) -> dict[str, Any]:
        """Connection options with the password of admin."""
        return {"api_url": self.api_url, "ca_path": self.ca_path, "password": PASSWORD}

    def upload_webhook_ca(self, authority: str | None) -> None:
        """Upload a CA (PEM) for the webhook, or with None take it away; Coreapps trust it from their next start on."""
        answer = requests.request(
            "DELETE" if authority is None else "POST",
            f"{self.api_url}/v1/certificates/webhooks/ca",
            data=authority,
            headers={"Authorization": f"Bearer {self.control.token()}"},
            verify=self.ca_path,
            timeout=10,
        )
        assert answer.status_code == 200

    def verbs(self) -> list[str]:
        """What arrived on the wire, such as `GET /v1/settings/application`."""
        return [verb(request) for request in self.control.requests()]

    def take_verbs(self) -> list[str]:
        """What arrived on the wire since the last time."""
        found = self.verbs()
        self.control.clear_requests()
        return found


def verb(request: dict[str, Any]) -> str:
    """A request of the log as method and path."""
    return f"{request['method']} {request['path']}"


class Emulator:
    """A running emulator. `logs` is the directory of its log files."""

    def __init__(self, root_url: str, ca_path: Path, logs: Path) -> None:
        self.root_url, self.ca_path, self.logs = root_url, ca_path, logs
        self._unused = iter(Control(root_url, str(ca_path)).clients())

    def new_client(self, stored: dict[str, Any] | None = None, **switches: Any) -> EmulatedClient:
        """A client that has seen no request yet, with explicitly stored settings and switches of the emulator."""
        url = f"{self.root_url}/{next(self._unused)}"
        control = Control(url, str(self.ca_path))
        if switches:
            control.switch(**switches)
        if stored:
            control.store(stored)
        return EmulatedClient(url, str(self.ca_path), control)


def webapp(clients: int, certificate: Path, key: Path) -> list[str]:
    """The arguments of a Python that serves so many clients on one port, each with a path prefix."""
    tls = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    command = ["-m", "wabiz_emulator", "webapp", "--clients", str(clients), "--prefix", *tls]
    return [*command, "--password", PASSWORD, "--switch", "connect_seconds=0.2"]


@contextmanager
def running_emulator(place: Path, clients: int = 2000, nodes: str = "wacore", *arguments: str) -> Iterator[Emulator]:
    """An emulator below `place`, with a CA of its own, until the block ends."""
    ca_path, certificate, key = certificates.write_pki(place / "pki")
    command = [sys.executable, *webapp(clients, certificate, key), "--nodes", nodes]
    command += ["--request-log", str(place / "requests.jsonl"), "--node-log", str(place / "nodes.jsonl"), *arguments]
    with (place / "emulator.stderr").open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT / "tests" / "emulator", stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield Emulator(_root_url(process), ca_path, place)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
    logs = [path for path in place.iterdir() if path.is_file()]
    found = canaries.hunt_in_files(logs, canaries.seen)
    assert not found, found


def _root_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if select.select([process.stdout], [], [], 0.2)[0]:
            word, _space, url = process.stdout.readline().strip().partition(" ")
            if word == "ready":
                return url
    raise AssertionError("the emulator did not become ready")
