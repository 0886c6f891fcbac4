# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of the API who asks all the while, and remembers every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from support.emulator import EmulatedClient

RATE = 10
TIMEOUT_SECONDS = 5.0
_UP = ("connected", "connecting", "disconnected")


@dataclass(frozen=True)
class Probe:
    """One round of questions. `problem`: why it failed. `up`: Coreapps that serve or stand by."""

    time: float
    problem: str | None = None
    up: tuple[str, ...] = ()
    connected: int = 0


@dataclass
class Probes:
    """What was seen while a block ran."""

    rounds: list[Probe] = field(default_factory=list)

    @property
    def problems(self) -> list[Probe]:
        return [probe for probe in self.rounds if probe.problem is not None]

    @property
    def fewest_up(self) -> int:
        return min(len(probe.up) for probe in self.rounds)

    @property
    def worst(self) -> list[Probe]:
        """The rounds around the first that saw the fewest."""
        at = next(index for index, probe in enumerate(self.rounds) if len(probe.up) == self.fewest_up)
        return self.rounds[max(0, at - 10) : at + 10]

    @property
    def fewest_connected(self) -> int:
        return min(probe.connected for probe in self.rounds)

    @property
    def rate(self) -> float:
        """Rounds for each second."""
        return (len(self.rounds) - 1) / (self.rounds[-1].time - self.rounds[0].time)

    @property
    def seen_down(self) -> set[str]:
        """Coreapps that some rounds found up, and others did not."""
        everyone = {name for probe in self.rounds for name in probe.up}
        return {name for probe in self.rounds for name in everyone.difference(probe.up)}


@contextmanager
def probing(client: EmulatedClient) -> Iterator[Probes]:
    """Ask for health and settings RATE times a second while the block runs."""
    probes, stop = Probes(), threading.Event()
    thread = threading.Thread(target=_probe, args=(client, client.control.token(), probes, stop))
    thread.start()
    try:
        yield probes
    finally:
        stop.set()
        thread.join()


def _probe(client: EmulatedClient, token: str, probes: Probes, stop: threading.Event) -> None:
    due = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {token}"
        while not stop.is_set():
            probes.rounds.append(_ask(client, session))
            due = max(due + 1 / RATE, time.monotonic())
            stop.wait(due - time.monotonic())


def _ask(client: EmulatedClient, session: requests.Session) -> Probe:
    started = time.time()
    answers = {}
    for path in ("/v1/settings/application", "/v1/health"):
        try:
            answer = session.get(client.api_url + path, timeout=TIMEOUT_SECONDS, verify=client.ca_path)
        except requests.RequestException as error:
            return Probe(started, f"{path}: {error}")
        if answer.status_code != 200:
            return Probe(started, f"{path}: {answer.status_code} {answer.text}")
        answers[path] = answer.json()
    return _seen(started, answers["/v1/health"]["health"])


def _seen(started: float, health: dict[str, Any]) -> Probe:
    coreapps = {name: node["gateway_status"] for name, node in health.items() if node["role"] == "coreapp"}
    up = tuple(name for name, status in coreapps.items() if status in _UP)
    return Probe(started, None, up, list(coreapps.values()).count("connected"))
