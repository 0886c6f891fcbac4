# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault over both paths: never a false ok, never a lost change, and a table of what happens in docs/faults.md.

With WABIZ_UPDATE_DOCS in the environment the table is written, otherwise it has to be as it is there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.batch import FIRST, Batch, Case, Outcome, RunCases, assert_same_over_both_paths
from support.commands import PATHS, ROOT

TABLE = ROOT / "docs" / "faults.md"
BEFORE: dict[str, Any] = {"webhooks": {"max_concurrent_requests": 12}}
CHANGE: dict[str, Any] = {"settings": {"log_level": "error", "heartbeat_interval": 9}}
RESET: dict[str, Any] = {"state": "absent"}
SHORT = {"retries": 1, "timeout": 3}
WACORE = "Connection timed out. Please check if wacore is running: wacore:6252"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

# A fault, in words, and how the emulator strikes with it.
SPOILT: dict[str, dict[str, Any]] = {
    "connection reset": {"action": "reset"},
    "answer cut off": {"action": "cut"},
    "HTTP 201": {"action": "status", "status": 201},
    "HTTP 202": {"action": "status", "status": 202},
    "HTTP 204": {"action": "status", "status": 204},
    "HTTP 302": {"action": "redirect", "location": "https://elsewhere.example.com/"},
    "HTTP 400, error 1009": {"action": "error", "status": 400, "code": 1009},
    "HTTP 400, error 1010": {"action": "error", "status": 400, "code": 1010},
    "HTTP 403, error 1005": {"action": "error", "status": 403, "code": 1005},
    "HTTP 404, error 1006": {"action": "error", "status": 404, "code": 1006},
    "HTTP 429": {"action": "status", "status": 429},
    "HTTP 500": {"action": "status", "status": 500},
    "HTTP 500, error 1000": {"action": "error", "status": 500, "code": 1000},
    "HTTP 500, error 1014, no Coreapp": {"action": "error", "status": 500, "code": 1014, "details": WACORE},
    "HTTP 500, error 1017": {"action": "error", "status": 500, "code": 1017},
    "HTTP 200, error 1016": {"action": "error", "status": 200, "code": 1016},
    "HTTP 502, a page": {"action": "html", "status": 502},
    "HTTP 503": {"action": "status", "status": 503},
    "HTTP 504": {"action": "status", "status": 504},
    "HTTP 200, a page": {"action": "html", "status": 200},
    "HTTP 200, empty": {"action": "empty", "status": 200},
    "no answer in time": {"action": "proceed", "delay": 6.0},
}
# Whether an answer of these to a write means that it was done.
SUCCESS = ("HTTP 201", "HTTP 202", "HTTP 204", "HTTP 200, empty")


@dataclass(frozen=True)
class Row:
    """One line of the table: a fault, whom it strikes, for how long, and whether the request takes effect."""

    fault: str
    strikes: str
    lasting: bool
    applied: bool = False
    reset: bool = False
    faults: tuple[Mapping[str, Any], ...] = ()
    server: Callable[[socket.socket], None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        how = ("always" if self.lasting else "once") + (", done" if self.applied else "")
        return f"{self.fault} - {self.strikes} - {how}"


def _rows() -> Iterator[Row]:
    for words, fault in SPOILT.items():
        for method in ("GET", "PATCH"):
            for lasting in (False, True):
                if method == "GET" and (not lasting and words.startswith(("HTTP 20", "HTTP 3", "HTTP 40"))):
                    continue
                strike = {**fault, "method": method, "path": "/v1/settings", "times": None if lasting else 1}
                done = method == "PATCH" and fault["action"] in ("cut", "proceed")
                yield Row(words, method, lasting, done, faults=(strike,))
        if fault["action"] not in ("cut", "proceed", "redirect") and not words.startswith("HTTP 4"):
            for method in ("PATCH", "DELETE"):
                strike = {**fault, "method": method, "times": None, "applied": True}
                yield Row(words, method, True, True, method == "DELETE", (strike,))
    for words in ("connection reset", "HTTP 503", "HTTP 500", "HTTP 404, error 1006", "HTTP 200, a page"):
        yield Row(words, "login", True, faults=({**SPOILT[words], "path": "/v1/users/login", "times": None},))
        yield Row(words, "logout", True, True, faults=({**SPOILT[words], "path": "/v1/users/logout", "times": None},))
    for words, server in SERVERS.items():
        yield Row(words, "everything", True, server=server)


def _drip(peer: socket.socket) -> None:
    peer.recv(65536)
    for octet in HEAD:
        peer.sendall(bytes([octet]))
        time.sleep(0.5)


def _answer(*pieces: bytes) -> Callable[[socket.socket], None]:
    def talk(peer: socket.socket) -> None:
        peer.recv(65536)
        for piece in pieces:
            peer.sendall(piece)

    return talk


# Servers that speak plain HTTP, reached over loopback.
SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "accepts and closes": lambda _peer: None,
    "one byte now and then": _drip,
    "says nothing": lambda _peer: time.sleep(20),
    "100 Continue without end": _answer(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 100_000),
    "an answer of 100 MB": _answer(HEAD + b"Content-Length: 100000000\r\n\r\n", *[b" " * 1_000_000] * 100),
    "nested 900 deep": _answer(HEAD + b"Connection: close\r\n\r\n" + b'{"a":' * 900 + b"1" + b"}" * 900),
    "agrees to everything": _answer(HEAD + b'Content-Length: 16\r\n\r\n{"status": "ok"}'),
    "another protocol": _answer(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "an unknown encoding": _answer(HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"),
}


@contextlib.contextmanager
def _listening(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def one(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError):
                talk(peer)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


ROWS = list(_rows())
PORTS: dict[str, int] = {}
CASES: list[Case] = []


@pytest.fixture(scope="module", autouse=True)
def cases() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for words, talk in SERVERS.items():
            PORTS[words] = stack.enter_context(_listening(talk))
        CASES.extend(_case(row) for row in ROWS)
        yield
    CASES.clear()


def _case(row: Row) -> Case:
    options = {**SHORT, **(RESET if row.reset else CHANGE), **row.options}
    connection = "password" if row.strikes in ("login", "logout") else "token"
    if row.server is not None:
        options.update(api_url=f"http://127.0.0.1:{PORTS[row.fault]}")
    return Case(row.name, options, stored=BEFORE, faults=row.faults, connection=connection, steps=(FIRST,))


def _tries(row: Row, outcome: Outcome) -> str:
    if row.server is not None:
        return ""
    log = outcome.client.control.requests()
    if row.strikes in ("login", "logout"):
        return str(sum(request["path"].endswith(row.strikes) for request in log))
    return str(sum(request["method"] == row.strikes for request in log))


def _state(outcome: Outcome) -> str:
    """What the client has in the end, once everything that is still on its way has arrived."""
    effective = outcome.client.control.effective()
    now = (effective["log_level"], effective["heartbeat_interval"], effective["webhooks"]["max_concurrent_requests"])
    return {("info", 5, 12): "before", ("error", 9, 12): "after", ("info", 5, 6): "after"}.get(now, str(now))


def _told(outcome: Outcome) -> str:
    result = outcome.only_result()
    if result.get("outcome_unknown"):
        return "failed, says that nobody knows"
    return ("failed" if result.get("failed") else "ok") + (", changed" if result["changed"] else ", not changed")


@pytest.mark.parametrize("path", list(PATHS))
def test_no_false_ok_and_no_lost_change(path: str, run_cases: RunCases) -> None:
    batch = run_cases(path, CASES)
    time.sleep(7)  # what was too late for its client has arrived by now
    wrong = [row.name + ": " + problem for row in ROWS for problem in _problems(row, batch)]
    assert wrong == []


def _problems(row: Row, batch: Batch) -> Iterator[str]:
    outcome = batch.outcomes[row.name]
    result, told, state = outcome.only_result(), _told(outcome), _state(outcome)
    if told.startswith("ok") and state != "after":
        yield "a false ok"
    if state == "after" and not result["changed"]:
        yield "a lost change"
    if state == "after" and result["restart_settings"] == []:
        yield "a lost restart"
    if told == "failed, changed" and state == "before":
        yield "a change that was none"
    if state not in ("before", "after"):
        yield f"half a change: {state}"
    if "Traceback" in str(result) or not str(result.get("msg", "")).isprintable():
        yield "not one line"


def test_both_paths_say_the_same(run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, CASES)


def test_the_table_in_the_docs(run_cases: RunCases) -> None:
    assert len(ROWS) >= 60
    batch = run_cases("in-process", CASES)
    lines = [
        "# What happens when something goes wrong",
        "",
        "Made by `tests/integration/modules/test_fault_matrix.py`, which runs every line inside the controller process",
        "and as a module. The task changes `log_level` and `heartbeat_interval`, or resets (DELETE), with `retries: 1`",
        "and `timeout: 3`. Tries are the requests of that kind that arrived; a reading after the write is one as well.",
        "State is what the client has in the end. Where nobody knows, the result holds `outcome_unknown: true` and the",
        "restart that may be needed.",
        "",
        "| fault | strikes | how long | request done | tries | result | state |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        outcome = batch.outcomes[row.name]
        how = "always" if row.lasting else "once"
        done = "yes" if row.applied else "no"
        cells = (row.fault, row.strikes, how, done, _tries(row, outcome), _told(outcome), _state(outcome))
        lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    if "WABIZ_UPDATE_DOCS" in os.environ:
        TABLE.write_text(text)
    assert TABLE.read_text() == text
