# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from wabiz_emulator import health, store

PACKAGE_PARENT = pathlib.Path(__file__).resolve().parent.parent
START_PATIENCE = 30.0


def launch(
    arguments: list[str], output: pathlib.Path | int, secrets: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `wabiz_emulator` detached; `secrets` go into its environment, where other users cannot read them."""
    environment = {**os.environ, **(secrets or {}), "PYTHONPATH": str(PACKAGE_PARENT)}
    command = [sys.executable, "-m", "wabiz_emulator", *arguments]
    with contextlib.nullcontext(output) if isinstance(output, int) else output.open("ab") as sink:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=None if isinstance(output, int) else sink,
            start_new_session=True,
            text=True,
        )


def node_named(shared: store.FileStore, name: str) -> health.NodeRecord:
    """The node by its name or, where that is enough, its host name; ValueError otherwise."""
    records = shared.node_records()
    return records[unambiguous({known: record.hostname for known, record in records.items()}, name)]


def unambiguous(hostnames: Mapping[str, str], name: str) -> str:
    """The full name of the one node that is meant; `hostnames` by full name. ValueError if there is none or more."""
    found = [known for known, hostname in hostnames.items() if name in (known, hostname)]
    if len(found) != 1:
        known = ", ".join(hostnames) or "none"
        raise ValueError(f"{name} is not one node (a full name, or a host name that only one has); known: {known}")
    return found[0]


def start_node(shared: store.FileStore, arguments: list[str], record: health.NodeRecord | None = None) -> None:
    """Start a node's process detached and wait until it has registered; TimeoutError if it does not."""
    if record is not None and shared.reachable(record.name):
        raise ValueError(f"{record.name} runs already")
    before = {name: known.starts for name, known in shared.node_records().items()}
    process = launch(arguments, shared.directory / "nodes.out")
    give_up = time.monotonic() + START_PATIENCE
    while not any(
        known.pid == process.pid and known.starts > before.get(name, 0) for name, known in shared.node_records().items()
    ):
        if process.poll() is not None or time.monotonic() > give_up:
            raise TimeoutError(f"the node did not start; see {shared.directory / 'nodes.out'}")
        time.sleep(0.02)


def stop_node(shared: store.FileStore, record: health.NodeRecord, timeout: float) -> None:
    """Stop a node's process as an engine does: SIGTERM, `timeout` seconds, SIGKILL. No error if it is down."""
    for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, START_PATIENCE)):
        if record.pid is None or not shared.reachable(record.name):
            return
        os.kill(record.pid, number)
        give_up = time.monotonic() + patience
        while shared.reachable(record.name) and time.monotonic() < give_up:
            time.sleep(0.02)
