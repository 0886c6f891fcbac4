# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated fleet that is measured against, and what tells Ansible about it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wabiz_emulator import certificates, processes, store
from wabiz_emulator.control import Control

WANTED: dict[str, Any] = {
    "callback_backoff_delay_ms": 4000,
    "max_callback_backoff_delay_ms": 600000,
    "show_security_notifications": True,
    "log_level": "warning",
    "webhooks": {"url": "https://hooks.example.com/wa", "max_concurrent_requests": 12},
}
STATES = ("converged", "changing")
STOP_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
# What somebody asks who waits.
WAITING = ("/v1/health", "/v1/account/shards")


class Fleet:
    """Emulated clients in one process, on one port by path prefix, over HTTPS with a CA of their own."""

    def __init__(self, place: Path, url: str, password: str) -> None:
        self._place = place
        self.url = url
        self.ca_path = place / "ca.pem"
        self._control = Control(url, str(self.ca_path))
        self.token_file = self._write("token.json", {"token": (place / "token").read_text().strip()})
        self.password_file = self._write("password.json", {"password": password})
        self.ssh_file: Path | None = None
        """Variables that lead Ansible over SSH, where a server runs."""

    def inventory(self, clients: int) -> Path:
        """Return an inventory of the first clients, group `clients`, without credentials."""
        api_url = self.url + "/{{ inventory_hostname }}"
        return self._write(f"inventory-{clients}.json", {
            "clients": {
                "hosts": {f"c{number:04}": {} for number in range(1, clients + 1)},
                "vars": {
                    "ansible_connection": "local",
                    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                    "api_url": api_url,
                    "ca_path": str(self.ca_path),
                    "wanted": WANTED,
                    "wa_settings_api_url": api_url,
                    "wa_settings_token": "{{ token }}",
                    "wa_settings_ca_path": str(self.ca_path),
                    "wa_settings_values": WANTED,
                    # The record of pending restarts on the container host; here each host is the controller itself.
                    "wa_settings_state_dir": str(self._place / "state"),
                    "wa_drift_dir": str(self._place / "drift"),
                    "wa_settings_restart_backend": "command",
                    # Nothing restarts here, but a command has to be declared.
                    "wa_settings_restart_command": ["false"],
                },
            }
        })  # fmt: skip

    def bring_into(self, state: str) -> None:
        """Give every client the wanted settings (`converged`) or the defaults (`changing`), and forget all requests."""
        self._control.store(WANTED if state == "converged" else {})
        self._control.clear_requests()

    def requests(self) -> dict[str, Counter[str]]:
        """Return client → method → how often, of the requests that arrived since the state was set.

        How often somebody asks while he waits says nothing.
        """
        counts: dict[str, Counter[str]] = {}
        for entry in self._control.requests():
            if entry["path"] not in WAITING:
                counts.setdefault(entry["client"], Counter())[entry["method"]] += 1
        return counts

    def names(self) -> list[str]:
        """Return the names of all clients."""
        return self._control.clients()

    def settle(self, connected: int) -> None:
        """Wait until so many Coreapps of each client are connected, and forget what was logged."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        for name in self.names():
            with Control(f"{self.url}/{name}", str(self.ca_path)) as control:
                while True:
                    nodes = [node for node in control.nodes().values() if node["kind"] == "coreapp"]
                    if [node["gateway_status"] for node in nodes].count("connected") == connected:
                        break
                    if time.monotonic() > give_up:
                        raise RuntimeError(f"{name} did not become healthy")
                    time.sleep(0.05)
        self._control.clear_requests()
        self._control.clear_node_events()

    def starts(self) -> Counter[str]:
        """Return client → how many nodes have started since then."""
        return Counter(event["client"] for event in self._control.node_events() if event["event"] == "start")

    def _write(self, name: str, content: Any) -> Path:
        path = self._place / name
        path.write_text(json.dumps(content))
        return path


@contextlib.contextmanager
def running_fleet(
    place: Path, clients: int, nodes: Sequence[str] = ("wacore",), switches: Sequence[str] = ()
) -> Iterator[Fleet]:
    """Run that many clients; everything lies in `place`, which has to be private."""
    _authority, certificate, key = certificates.write_pki(place)
    password = f"Aa1!{secrets.token_urlsafe(12)}"
    lifeline = place / "lifeline"
    descriptor = store.hold_lock(lifeline, 0)
    arguments = ["webapp", "--clients", str(clients), "--prefix", "--token", str(place / "token")]
    arguments += ["--tls-cert", str(certificate), "--tls-key", str(key), "--lifeline", str(lifeline)]
    arguments += ["--nodes", ",".join(nodes), *(word for switch in switches for word in ("--switch", switch))]
    process = processes.launch(arguments, subprocess.PIPE, {"WA_EMULATOR_PASSWORD": password})
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise RuntimeError("the emulator did not start")
        yield Fleet(place, words[1], password)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        os.close(descriptor)
