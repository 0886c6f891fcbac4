# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clients of which some fail in every way, and many clients that refuse every other request."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.commands import AnsibleCommands, CommandRun
from support.deployments import Deployment, start_apply
from support.emulator import running_emulator
from support.front import (
    Fronts,
    Rule,
    Talk,
    answering,
    hang_up_at_once,
    http_answer,
    one_byte_a_time,
    reset,
    running_fronts,
    silence,
)
from wabiz_emulator.control import Control

FORKS = 20
WANTED = {"heartbeat_interval": 9}
# What a failing client may cost: two attempts of three seconds, the pause between them, and a slow machine.
PATIENCE: dict[str, Any] = {"wa_settings_retries": 1, "wa_settings_timeout": 3}
SECONDS_OF_A_FAILURE = 15.0
# Faults of the emulator, then what stands before a client: where it goes wrong, and how.
FAULTS: list[dict[str, Any]] = [
    {"action": "proceed", "delay": 30.0},
    {"action": "reset"},
    {"action": "status", "status": 500},
    {"action": "error", "status": 400, "code": 1009, "method": "PATCH"},
    {"action": "error", "status": 500, "code": 1014},
    {"action": "status", "status": 401},
    {"action": "error", "status": 403, "code": 1005, "method": "PATCH"},
    {"action": "html", "status": 502},
    {"action": "html", "status": 200},
    {"action": "status", "status": 429},
    {"action": "empty"},
    {"action": "redirect", "location": "https://elsewhere.example.com/"},
    {"action": "reset", "method": "PATCH"},
    {"action": "cut", "method": "GET"},
]
BEFORE_CLIENTS: list[tuple[str, Talk]] = [
    ("tcp", silence),
    ("tcp", hang_up_at_once),
    ("tcp", reset),
    ("tls", answering(b"SSH-2.0-OpenSSH_9.2\r\n")),
    ("request", one_byte_a_time),
    ("request", http_answer(200, b'{"status": "ok"}')),
    ("request", http_answer(200, b" " * 5_000_000)),
    ("another certificate", hang_up_at_once),
]
WAYS = len(FAULTS) + len(BEFORE_CLIENTS)


def _fail(fronts: Fronts, number: int, failing: Deployment) -> None:
    """Let a client fail in one of the ways."""
    way = number % WAYS
    if way < len(FAULTS):
        failing.client.control.fault(**{"method": "", "path": "/v1/settings", "times": None, **FAULTS[way]})
        return
    place, talk = BEFORE_CLIENTS[way - len(FAULTS)]
    context = None
    if place == "another certificate":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    address = fronts.add(failing.name, Rule(talk, at=place), context, "own")
    failing.extra["wa_settings_api_url"] = address + failing.client.api_url.removeprefix("https://")


def _timed(run: Callable[[], CommandRun]) -> tuple[CommandRun, float]:
    start = time.monotonic()
    return run(), time.monotonic() - start


def _apply(place: Path, deployments: Sequence[Deployment], wanted: Mapping[str, Any]) -> CommandRun:
    started = start_apply(AnsibleCommands(place), deployments, wanted, "--forks", str(FORKS), variables=PATIENCE)
    return started.finish(60.0 + 4.0 * len(deployments))


@pytest.mark.parametrize(
    ("clients", "failures"),
    [pytest.param(2 * WAYS, WAYS, id="each-way-once"), pytest.param(1000, 50, id="1000", marks=pytest.mark.thorough)],
)
def test_some_fail_in_every_way(clients: int, failures: int, tmp_path: Path) -> None:
    with running_emulator(tmp_path / "emulator", clients) as emulator:
        certificate = tmp_path / "emulator" / "pki"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        with running_fronts(context, str(emulator.ca_path)) as fronts:
            every = [
                Deployment(f"n{n}", emulator.new_client(), {f"n{n}": ["wacore"]}, tmp_path) for n in range(clients)
            ]
            bad = every[:: clients // failures]
            good = [one for one in every if one not in bad]
            assert len(bad) == failures
            bound = math.inf
            # Few clients take too little time to compare on a machine that has other work as well.
            if clients >= 1000:
                alone, seconds_alone = _timed(lambda: _apply(tmp_path / "alone", good, {"heartbeat_interval": 7}))
                assert alone.rc == 0, alone.output[-3000:]
                bound = 1.5 * seconds_alone + math.ceil(failures / FORKS) * SECONDS_OF_A_FAILURE
            for number, one in enumerate(bad):
                _fail(fronts, number, one)
            run, seconds = _timed(lambda: _apply(tmp_path / "all", every, WANTED))
            stats = run.stats()
            assert [one.name for one in good if stats[one.name]["failures"]] == []
            assert [one.name for one in good if one.client.control.effective()["heartbeat_interval"] != 9] == []
            for one in bad:
                assert stats[one.name]["failures"] == 1, one.name
                # A failure has no other host's name in it, and tells what to look at.
                (failed,) = (r for r in run.records if r.get("host") == one.name and r["event"] == "failed")
                assert failed["result"]["msg"].isprintable(), one.name
                assert one.client.api_url.rpartition("/")[2] in failed["result"]["msg"], failed["result"]["msg"]
                assert f"fatal: [{one.name}]: FAILED!" in run.stdout
    assert seconds < bound, f"{seconds:.1f} s, more than {bound:.1f} s"


@pytest.mark.parametrize("clients", [40, pytest.param(1000, marks=pytest.mark.thorough)])
def test_half_of_the_requests_are_refused(clients: int, tmp_path: Path) -> None:
    with running_emulator(tmp_path / "emulator", clients) as emulator:
        every = [Deployment(f"n{n}", emulator.new_client(), {f"n{n}": ["wacore"]}, tmp_path) for n in range(clients)]
        # Each lets pass what those before it have left: of either method the first is refused, the third, the fifth.
        root = Control(emulator.root_url, str(emulator.ca_path))
        for number in range(5):
            for method in ("GET", "PATCH"):
                root.fault("status", status=429, method=method, path="/v1/", skip=number)
        run = _apply(tmp_path / "run", every, WANTED)
        assert run.rc == 0, run.output[-3000:]
        for one in every:
            statuses = [request["status"] for request in one.client.control.requests()]
            assert sorted(statuses) == [200] * 4 + [429] * 4, one.name
            assert one.client.control.effective()["heartbeat_interval"] == 9
