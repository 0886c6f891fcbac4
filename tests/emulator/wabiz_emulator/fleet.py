# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import pathlib
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from wabiz_emulator import certificates, processes, store

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_PATIENCE = 10.0


@dataclasses.dataclass
class Member:
    """One client of a fleet: a Webapp process and a Coreapp process around one store."""

    name: str
    url: str
    port: int
    store: str
    node: str
    pids: dict[str, int | None]


def run(directory: pathlib.Path, count: int, switches: Sequence[str], password: str | None) -> None:
    """Run single clients as local processes until SIGTERM or SIGINT.

    `directory` gets fleet.json, the stores and the certificates.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    authority, certificate, key = certificates.write_pki(directory / "pki")
    # Every process of the fleet watches this lock, so that none outlives a fleet that was killed.
    lifeline = directory / "fleet.lock"
    store.hold_lock(lifeline, STOP_PATIENCE)
    webapps: list[subprocess.Popen[str]] = []
    stores: list[store.FileStore] = []
    try:
        for number in range(1, count + 1):
            place = directory / f"c{number:04}"
            arguments = ["webapp", "--client", place.name, "--store", str(place), "--port", "0"]
            arguments += ["--tls-cert", str(certificate), "--tls-key", str(key), "--lifeline", str(lifeline)]
            for switch in switches:
                arguments += ["--switch", switch]
            secrets = {"WA_EMULATOR_PASSWORD": password} if password else None
            webapps.append(processes.launch(arguments, subprocess.PIPE, secrets))
        members = []
        for number, webapp in enumerate(webapps, 1):
            place = directory / f"c{number:04}"
            assert webapp.stdout is not None
            ready = webapp.stdout.readline().split()
            if ready[:1] != ["ready"]:
                raise OSError(f"the Webapp of {place.name} did not start")
            shared = store.FileStore(place)
            stores.append(shared)
            processes.start_node(
                shared,
                [
                    "node",
                    "--client",
                    place.name,
                    "--store",
                    str(place),
                    "--name",
                    "wacore",
                    "--lifeline",
                    str(lifeline),
                ],
            )
            record = processes.node_named(shared, "wacore")
            port = int(ready[1].rpartition(":")[2])
            members.append(
                Member(
                    place.name, ready[1], port, str(place), record.name, {"webapp": webapp.pid, "coreapp": record.pid}
                )
            )
        description: dict[str, Any] = {
            "ca_path": str(authority),
            "username": "admin",
            "clients": [dataclasses.asdict(member) for member in members],
        }
        (directory / "fleet.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        print(f"ready {directory / 'fleet.json'}", flush=True)
        signal.sigwait(SIGNALS)
    finally:
        for shared in stores:
            for record in shared.node_records().values():
                processes.stop_node(shared, record, STOP_PATIENCE)
        for webapp in webapps:
            webapp.terminate()
        for webapp in webapps:
            webapp.wait(STOP_PATIENCE)
