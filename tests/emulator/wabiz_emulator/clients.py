# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from wabiz_emulator import health, logs, node
from wabiz_emulator.store import FileStore, MemoryStore, State, Store
from wabiz_emulator.webapp import Webapp


@dataclasses.dataclass
class Client:
    """One emulated client: its Webapp, its store, its logs, and its nodes where they live in this process."""

    name: str
    store: Store
    webapp: Webapp
    request_log: logs.JsonLines
    node_log: logs.JsonLines
    simulation: Simulation | None = None
    callback_log: logs.JsonLines = dataclasses.field(default_factory=logs.JsonLines)
    web_log: logs.JsonLines | None = None

    def node_records(self) -> dict[str, health.NodeRecord]:
        """Node name → record, as of now."""
        if self.simulation:
            self.simulation.tick()
        return self.store.node_records()


class Simulation:
    """Coreapps and masters in the Webapp's process, for many clients at once; they look around when somebody asks."""

    def __init__(
        self,
        client: str,
        store: MemoryStore,
        log: logs.JsonLines,
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self._client = client
        self._store = store
        self._log = log
        self._call_later = call_later
        self._nodes: dict[str, node.Node] = {}

    def add(self, hostname: str, kind: str, clustered: bool) -> str:
        """Start a node that was not there before; its name. ValueError for an unknown kind."""
        if kind not in ("coreapp", "master"):
            raise ValueError("kind: coreapp or master expected")
        record = node.registered(self._store, hostname, kind, clustered, None)
        if record.name in self._nodes and self._store.reachable(record.name):
            raise ValueError(f"{record.name} runs already")
        self._nodes[record.name] = node.Node(self._client, self._store, self._log, record)
        self.act(record.name, "start")
        return record.name

    def act(self, name: str, action: str) -> None:
        """start, stop, kill or restart a node; KeyError for an unknown node, ValueError for what it cannot do now."""
        subject = self._nodes[name]
        running = self._store.node_records().get(name)
        if action == "start" and running is not None and self._store.reachable(name):
            raise ValueError(f"{name} runs already")
        if action in ("stop", "restart"):
            subject.stop()
        elif action == "kill":
            subject.kill()
        elif action != "start":
            raise ValueError("start, stop, kill or restart expected")
        if action in ("start", "restart"):
            subject.start(simulated=True)
            switches = self._store.read().switches
            self._call_later(switches.uninitialized_seconds + switches.connect_seconds + 0.001, self.tick)
        self.tick()

    def tick(self) -> None:
        for name, subject in self._nodes.items():
            if self._store.reachable(name):
                subject.tick(beat=False)


def in_memory(
    name: str,
    state: State,
    request_log: logs.JsonLines,
    node_log: logs.JsonLines,
    call_later: Callable[[float, Callable[[], None]], Any],
    api_key: str | None = None,
    wacore_hostname: str = "wacore",
    nodes: Sequence[str] = ("wacore",),
) -> Client:
    """A client whose state and nodes live in this process; the accounts of `state` are where it starts from.

    Nodes whose name begins with `master` are masters; more than one node makes a cluster.
    """
    own = dataclasses.replace(
        state,
        settings=copy.deepcopy(state.settings),
        users=dict(state.users),
        switches=state.switches.changed({}),
        faults=[],
        providers=[],
        revoked={},
    )
    store = MemoryStore(own)
    simulation = Simulation(name, store, node_log, call_later)
    for hostname in nodes:
        simulation.add(hostname, "master" if hostname.startswith("master") else "coreapp", len(nodes) > 1)
    return Client(name, store, Webapp(store, api_key, wacore_hostname), request_log, node_log, simulation)


def on_disk(
    name: str,
    store: FileStore,
    request_log: logs.JsonLines | None = None,
    node_log: logs.JsonLines | None = None,
    api_key: str | None = None,
    wacore_hostname: str = "wacore",
) -> Client:
    """A client around a shared directory; its nodes are processes or containers of their own."""
    return Client(
        name,
        store,
        Webapp(store, api_key, wacore_hostname),
        request_log or logs.JsonLines(str(store.directory / "requests.jsonl")),
        node_log or logs.JsonLines(str(store.directory / "nodes.jsonl")),
        callback_log=logs.callback_log(store.directory),
    )
