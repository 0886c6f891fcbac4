# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
import signal
import time
from typing import Any

from wabiz_emulator import callbacks, health, logs, settings, store

# Seconds between two signs of life; the others notice a clean stop within this time.
BEAT = 0.2
# Seconds to wait for the former process of the same node to be gone.
HANDOVER = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Node:
    """One Coreapp or master at the shared store, whichever process it lives in."""

    def __init__(self, client: str, shared: store.Store, log: logs.JsonLines, record: health.NodeRecord) -> None:
        self.record = record
        self._client = client
        self._store = shared
        self._log = log
        self.webhook_ca: str | None = None
        # What this life works with; `running` in the record is what the store held.
        self.usable: dict[str, Any] = {}

    def start(self, simulated: bool = False) -> None:
        """Register, and read the restart-bound values, once for this life (reference, section 2.5)."""
        state = self._store.read()
        now = time.time()
        authority = self.webhook_ca = state.webhook_ca
        self.usable = settings.usable(state.settings, state.switches)
        self.record = dataclasses.replace(
            self.record,
            started=now,
            starts=self.record.starts + 1,
            beat=float("inf") if simulated else now,
            stopped=False,
            gateway_status="disconnected",
            active_since=None,
            running=settings.restart_bound(state.settings, state.switches),
            webhook_ca=hashlib.sha256(authority.encode()).hexdigest() if authority else None,
            pid=None if simulated else os.getpid(),
        )
        self._event("start")
        if self.record.kind == "coreapp" and not self.record.clustered and self._rival_runs():
            self._event("duplicate")
        self.tick(beat=not simulated)

    def tick(self, beat: bool = True) -> None:
        """Look at the peers, take up or give up a role, and publish the result."""
        now = time.time()
        if beat:
            self.record = dataclasses.replace(self.record, beat=now)
        before = self.record.gateway_status
        peers = self._store.node_records().values()
        self.record = health.assess(self.record, peers, self._store.read().switches, now)
        self._store.write_node(self.record)
        if self.record.gateway_status == "connected" != before:
            self._event("connected")

    def stop(self) -> None:
        """Leave cleanly: the others take over at once."""
        self.record = dataclasses.replace(
            self.record, stopped=True, gateway_status="disconnected", active_since=None, beat=time.time(), pid=None
        )
        self._store.write_node(self.record)
        self._event("stop")

    def kill(self) -> None:
        """Fall silent, as a process that was killed; for simulated nodes."""
        self.record = dataclasses.replace(self.record, beat=time.time())
        self._store.write_node(self.record)

    def _rival_runs(self) -> bool:
        return any(
            peer.kind == "coreapp" and not peer.clustered and name != self.record.name and self._store.reachable(name)
            for name, peer in self._store.node_records().items()
        )

    def _event(self, event: str) -> None:
        self._log.append({
            "client": self._client,
            "node": self.record.name,
            "role": self.record.kind,
            "event": event,
            "starts": self.record.starts,
            "running": logs.masked(self.record.running),
            "webhook_ca": self.record.webhook_ca,
        })  # fmt: skip


def registered(
    shared: store.Store, hostname: str, kind: str, clustered: bool, short_id: str | None
) -> health.NodeRecord:
    """The node's record: the former one if it was here before, so that its id survives a restart, else a new one."""
    records = shared.node_records().values()
    former = [record for record in records if record.hostname == hostname and record.kind == kind]
    if short_id is not None:
        former = [record for record in former if record.short_id == short_id]
    if former:
        return dataclasses.replace(former[-1], clustered=clustered)
    return health.NodeRecord(hostname, short_id or secrets.token_hex(6), kind, clustered)


def run(
    client: str,
    shared: store.FileStore,
    log: logs.JsonLines,
    callback_log: logs.JsonLines,
    record: health.NodeRecord,
    lifeline: str | None,
) -> None:
    """Be a node until SIGTERM or SIGINT, or until nobody holds the lock on the file `lifeline` any more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    store.hold_lock(shared.node_lock_path(record.name), HANDOVER)
    node = Node(client, shared, log, record)
    node.start()
    deliveries = None
    if record.kind == "coreapp":
        deliveries = callbacks.Deliveries(client, shared, record.name, callback_log, node.usable, node.webhook_ca)
    print(f"ready {node.record.name}", flush=True)
    while not _told_to_stop():
        if lifeline and not store.lock_is_held(lifeline):
            break
        node.tick()
        if deliveries:
            deliveries.fetch(node.record.gateway_status == "connected")
    if deliveries:
        deliveries.close()
    node.stop()


def _told_to_stop() -> bool:
    received = signal.sigtimedwait(SIGNALS, BEAT)
    # After a pause (SIGSTOP, SIGCONT) Python may hand out an empty answer instead of None.
    return received is not None and received.si_signo in SIGNALS
