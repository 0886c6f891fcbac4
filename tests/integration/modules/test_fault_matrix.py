# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault over both paths: never a false ok, never a lost change; and the table of what happens in docs/faults.md.

`WABIZ_UPDATE_DOCS=1 make integration ARGS="-k fault_matrix"` writes the table; without it the table has to be as it is
in the run.
"""

from __future__ import annotations

import datetime
import gzip
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.batch import FIRST, Case, Outcome, leaf, run_batch
from support.commands import MOSTLY_IN_PROCESS, ROOT, AnsibleCommands
from support.emulator import EmulatedClient, Emulator
from support.front import (
    Rule,
    Talk,
    answering,
    half,
    hang_up,
    hang_up_at_once,
    http_answer,
    one_byte_a_time,
    reset,
    running_fronts,
    silence,
)
from wabiz_emulator.control import Control

TABLE = ROOT / "docs" / "faults.md"
SETTINGS, PROVIDER = "wa_application_settings", "wa_media_provider"
OLD_HOOK, OTHER_HOOK = "https://old.example.com/", "https://other.example.com/"
BEFORE: dict[str, Any] = {"webhooks": {"url": OLD_HOOK, "max_concurrent_requests": 12}}
CHANGE: dict[str, Any] = {
    "settings": {"log_level": "error", "heartbeat_interval": 9, "webhooks": {"max_concurrent_requests": 18}}
}
RESET: dict[str, Any] = {"state": "absent"}
NEW_PROVIDER: dict[str, Any] = {"name": "cdn", "bearer": "canary-provider"}
OLD_PROVIDERS = [{"name": "cdn", "type": "www", "config": {"bearer": "canary-old-provider"}}]
NO_PROVIDER: dict[str, Any] = {"name": "cdn", "state": "absent"}
# What waits for a time-out waits for the short one; nothing else shall ever come near one.
PATIENT, SHORT = {"retries": 1, "timeout": 60}, {"retries": 1, "timeout": 4}
# So that those who wait do not keep the others waiting.
FORKS = "40"

# log_level, heartbeat_interval, webhooks.max_concurrent_requests, webhooks.url, and the table's word for it.
STATES = {
    ("info", 5, 12, OLD_HOOK): "before",
    ("error", 9, 18, OLD_HOOK): "after",
    ("error", 9, 18, OTHER_HOOK): "after, and what the other wrote",
    ("info", 5, 6, ""): "after",  # a reset
    ("info", 9, 18, OLD_HOOK): "after, but for log_level",
}

INTRODUCTION = """# What happens when something goes wrong

A test runs every line of this table twice, inside the controller process and as a module of its own, and fails if
they do not say the same, or if they say something else than the table. The task changes three settings, resets all
(DELETE), or sets or removes a media provider, with `retries: 1`. In a clone of the repository,
`WABIZ_UPDATE_DOCS=1 make integration ARGS="-k fault_matrix"` writes the table again.

- *Strikes*: which request is spoilt; *everything* is the connection itself.
- *Done*: whether the client did what was asked all the same: `yes`, `no`, or `later`: when the task has ended.
- *Arrived*: how many requests of that kind, or connections, arrived at the server, or at the proxy at fault.
- *Result*: if nobody can know what has become of a write, it contains `outcome_unknown: true`, with `changed: true` and
  the restart that may be needed.
- *State*: what the client has in the end.

| fault | strikes | how often | done | arrived | result | state | message or warning |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One line of the table: a fault, what it strikes, how often, and what becomes of the request at the client."""

    fault: str
    talk: Talk
    strikes: str
    times: int | None = None
    done: str = "no"
    onwards: bool = False
    at: str = "request"
    way: str = "front"
    certificate: str = ""
    task: Mapping[str, Any] = field(default_factory=lambda: CHANGE)
    options: Mapping[str, Any] = field(default_factory=lambda: PATIENT)
    connection: str = "token"
    switches: Mapping[str, Any] = field(default_factory=dict)
    other_writer: bool = False

    @property
    def module(self) -> str:
        return PROVIDER if "name" in self.task else SETTINGS

    @property
    def words(self) -> tuple[str, str, str, str]:
        """The first cells of the line; no other row has the same."""
        kind = "media provider: " if self.module == PROVIDER else ""
        often = {None: "always", 1: "once"}[self.times]
        onwards = " and all after it" if self.onwards else ""
        return (self.fault, kind + self.strikes.rpartition("/")[2] + onwards, often, self.done)


def api_error(status: int, code: int, details: str = "") -> Talk:
    error = {"code": code, "title": "Emulated fault", **({"details": details} if details else {})}
    return http_answer(status, json.dumps({"errors": [error]}).encode())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
PAGE = b"<html><body><h1>Bad gateway</h1></body></html>"
NO_WACORE = "Connection timed out. Please check if wacore is running: wacore:6252"
NESTED = b'{"a":' * 900 + b"1" + b"}" * 900

# Faults that strike anything. Those that may pass by themselves are tried again.
PASSING: dict[str, Talk] = {
    "connection reset": reset,
    "connection closed": hang_up,
    "HTTP 429": http_answer(429),
    "HTTP 429 with Retry-After": http_answer(429, b"", "Retry-After: 1"),
    "HTTP 500, error 1014, no Coreapp": api_error(500, 1014, NO_WACORE),
    "HTTP 500, error 1017": api_error(500, 1017),
    "HTTP 200, error 1016": api_error(200, 1016),
    "HTTP 502 with a page": http_answer(502, PAGE, kind="text/html"),
    "HTTP 503": http_answer(503),
    "HTTP 504": http_answer(504),
}
LASTING: dict[str, Talk] = {
    "HTTP 302": http_answer(302, b"", "Location: https://elsewhere.example.com/?key=canary-location"),
    "HTTP 400, error 1009": api_error(400, 1009),
    "HTTP 400, error 1010": api_error(400, 1010),
    "HTTP 401": http_answer(401),
    "HTTP 403, error 1005": api_error(403, 1005),
    "HTTP 404, error 1006": api_error(404, 1006),
    "HTTP 408": http_answer(408),
    "HTTP 500": http_answer(500),
    "HTTP 500, error 1000": api_error(500, 1000),
    "HTTP 500, error 1014, another reason": api_error(500, 1014, "database is locked"),
}
# Answers that would mean success, if they were what a client says.
SUCCESSES: dict[str, Talk] = {
    "HTTP 200, empty": http_answer(200),
    "HTTP 201": http_answer(201),
    "HTTP 202": http_answer(202),
    "HTTP 204": answering(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    "agrees to everything": http_answer(200, b'{"status": "ok"}'),
}
ODD_ANSWERS: dict[str, Talk] = {
    "HTTP 200 with a page": http_answer(200, PAGE, kind="text/html"),
    "HTTP 200, plain text": http_answer(200, b"done", kind="text/plain"),
    "half an object": http_answer(200, b'{"settings": {"application": {'),
    "cut off": half,
    "settings are a text": http_answer(200, b'{"settings": {"application": "done"}}'),
    "a list": http_answer(200, b"[]"),
    "infinity in JSON": http_answer(200, b'{"settings": {"application": {"heartbeat_interval": 1e999}}}'),
    "nested 900 deep": http_answer(200, NESTED),
    "5 MB of blanks": http_answer(200, b" " * 5_000_000),
    "30 MB packed in 30 kB": http_answer(200, gzip.compress(b" " * 30_000_000), "Content-Encoding: gzip"),
    "an encoding that was not asked for": http_answer(200, b"{}", "Content-Encoding: br"),
    "another protocol": answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
}
SLOW: dict[str, Talk] = {
    "no answer": silence,
    "one byte at a time": one_byte_a_time,
    "100 Continue without end": answering(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200, pause=0.1),
    "headers without end": answering(HEAD, *[b"X-Header: 1\r\n"] * 90, pause=0.1),
}


def _rows() -> Iterator[Row]:
    for words, talk in SLOW.items():
        if talk is not one_byte_a_time:
            yield Row(words, talk, "PATCH", done="later", options=SHORT)
        yield Row(words, talk, "PATCH", 1, "yes", options=SHORT)
        yield Row(words, talk, "GET", options=SHORT)
    yield Row("accepts and says nothing", silence, "everything", None, at="tcp", way="own", options=SHORT)
    yield Row("says nothing in TLS", silence, "everything", None, at="tls", way="own", options=SHORT)
    yield Row("the proxy says nothing", silence, "everything", None, at="connect", way="proxy", options=SHORT)
    for words in ("connection reset", "connection closed", "HTTP 502 with a page", "HTTP 503", "HTTP 504"):
        yield Row(words, PASSING[words], "PATCH", done="later")
        yield Row(words, PASSING[words], "PATCH", None, "yes", onwards=True)
    yield Row("connection reset", reset, "DELETE", done="later", task=RESET)
    yield Row("HTTP 504", PASSING["HTTP 504"], "DELETE", done="later", task=RESET)
    yield Row("through a proxy: connection reset", reset, "PATCH", done="later", way="proxy")
    yield Row("through a proxy: connection reset", reset, "PATCH", None, "yes", onwards=True, way="proxy")
    yield Row("HTTP 202", SUCCESSES["HTTP 202"], "PATCH", done="later")
    yield Row("HTTP 408", LASTING["HTTP 408"], "PATCH", done="later")
    for words, talk in PASSING.items():
        if words in ("connection reset", "HTTP 429 with Retry-After", "HTTP 503"):
            yield Row(words, talk, "GET", 1)
        yield Row(words, talk, "GET")
        yield Row(words, talk, "PATCH", 1)
        yield Row(words, talk, "PATCH")
        if talk is not hang_up and not words.startswith("HTTP 429 "):
            yield Row(words, talk, "PATCH", 1, "yes")
    for words, talk in LASTING.items():
        if "1009" not in words and "1010" not in words and "1014" not in words:
            yield Row(words, talk, "GET")
        yield Row(words, talk, "PATCH")
        if words.startswith(("HTTP 408", "HTTP 5")):
            yield Row(words, talk, "PATCH", 1, "yes")
    for words, talk in SUCCESSES.items():
        yield Row(words, talk, "GET")
        yield Row(words, talk, "PATCH")
        yield Row(words, talk, "PATCH", 1, "yes")
    for words, talk in ODD_ANSWERS.items():
        yield Row(words, talk, "GET", done="yes")
        if not words.startswith(("settings", "infinity", "5 MB")):
            yield Row(words, talk, "PATCH", 1, "yes")
        if words in ("HTTP 200 with a page", "half an object", "a list", "another protocol"):
            yield Row(words, talk, "PATCH", 1)
    for words in ("connection reset", "HTTP 500, error 1014, no Coreapp"):
        yield Row(words, PASSING[words], "DELETE", 1, "yes", task=RESET)
    yield Row("HTTP 503", PASSING["HTTP 503"], "DELETE", 1, task=RESET)
    yield Row("HTTP 204", SUCCESSES["HTTP 204"], "DELETE", 1, "yes", task=RESET)
    yield from _rows_of_logins()
    yield from _rows_before_requests()
    yield from _rows_of_clients()
    yield from _rows_of_providers()


def _rows_of_logins() -> Iterator[Row]:
    login, logout = "/users/login", "/users/logout"
    yield Row("connection reset", reset, login, 1, connection="password")
    yield Row("connection reset", reset, login, connection="password")
    yield Row("HTTP 503", PASSING["HTTP 503"], login, connection="password")
    yield Row("HTTP 401", http_answer(401), login, connection="password")
    yield Row("HTTP 404, error 1006", LASTING["HTTP 404, error 1006"], login, connection="password")
    yield Row("no token in the answer", http_answer(200, b'{"users": [{"token": 7}]}'), login, connection="password")
    yield Row("HTTP 401, after a login", http_answer(401), "PATCH", 1, connection="password")
    yield Row("HTTP 401, after a login", http_answer(401), "PATCH", connection="password")
    yield Row("HTTP 500", http_answer(500), logout, connection="password")
    yield Row("connection reset", reset, logout, connection="password")


def _rows_before_requests() -> Iterator[Row]:
    """Faults of connections, of TLS and of proxies."""
    everything = "everything"
    yield Row("closes before TLS", hang_up_at_once, everything, 1, at="tcp", way="own")
    yield Row("closes before TLS", hang_up_at_once, everything, at="tcp", way="own")
    yield Row("closes in TLS", hang_up, everything, at="tls", way="own")
    yield Row("resets before TLS", reset, everything, at="tcp", way="own")
    yield Row("speaks plain HTTP", http_answer(400), everything, at="tls", way="own")
    yield Row("speaks SSH", answering(b"SSH-2.0-OpenSSH_9.2\r\n"), everything, at="tls", way="own")
    for certificate in ("expired", "for another name", "of another authority"):
        yield Row(f"certificate {certificate}", hang_up, everything, way="own", at="never", certificate=certificate)
    yield Row("nobody listens", hang_up, everything, way="closed")
    yield Row("the proxy answers HTTP 502", http_answer(502), everything, 1, at="connect", way="proxy")
    for status in (403, 407, 502, 503):
        yield Row(f"the proxy answers HTTP {status}", http_answer(status), everything, at="connect", way="proxy")
    yield Row("the proxy closes", hang_up, everything, at="connect", way="proxy")
    yield Row("the proxy resets", reset, everything, at="connect", way="proxy")
    yield Row("through a proxy: connection reset", reset, "PATCH", 1, "yes", way="proxy")


def _rows_of_clients() -> Iterator[Row]:
    """The client itself does not do as it is told, or somebody else writes as well."""
    never = "never"
    yield Row("drops log_level, says ok", hang_up, "PATCH", at=never, switches={"dropped_keys": ["log_level"]})
    yield Row(
        "puts members that are not named at their defaults", hang_up, "PATCH", at=never, switches={"nested": "replace"}
    )
    yield Row("takes delays as numbers only", hang_up, "PATCH", at=never, switches={"delays_on_write": "integer"})
    yield Row("somebody else writes; HTTP 503", http_answer(503), "PATCH", 1, other_writer=True)
    yield Row(
        "somebody else writes; connection reset", reset, "PATCH", 1, other_writer=True, switches={"nested": "replace"}
    )


def _rows_of_providers() -> Iterator[Row]:
    for words, talk in (
        ("connection reset", reset),
        ("HTTP 200 with a page", ODD_ANSWERS["HTTP 200 with a page"]),
        ("HTTP 503", PASSING["HTTP 503"]),
    ):
        yield Row(words, talk, "POST", 1, "yes", task=NEW_PROVIDER)
        yield Row(words, talk, "DELETE", 1, "yes", task=NO_PROVIDER)
    yield Row("HTTP 503", PASSING["HTTP 503"], "POST", 1, task=NEW_PROVIDER)
    yield Row("connection reset", reset, "POST", done="later", task=NEW_PROVIDER)
    yield Row("HTTP 504", http_answer(504), "DELETE", done="later", task=NO_PROVIDER)


ROWS = list(_rows())


@dataclass(frozen=True)
class Line:
    """What became of a row over one path."""

    row: Row
    outcome: Outcome
    seen: list[tuple[str, str]]
    tries: int
    state: str

    @property
    def told(self) -> str:
        result = self.outcome.only_result()
        if result.get("outcome_unknown"):
            return "failed, outcome unknown" if self.outcome.failures and result["changed"] else "a false word"
        return ("failed" if self.outcome.failures else "ok") + (", changed" if result["changed"] else ", not changed")

    @property
    def message(self) -> str:
        """What is said, without addresses, and without the words of libraries, which are others tomorrow."""
        result = self.outcome.only_result()
        said = str(result.get("msg") or " ".join(result.get("warnings", ())))
        said = re.sub(r"https?://\S*?(/v1/)", r"\1", said)
        return re.sub(r" \((?!invalid|error)[^()]*\)", "", said) if "certificate" in said or "reach" in said else said

    @property
    def cells(self) -> tuple[str, ...]:
        return (*self.row.words, str(self.tries), self.told, self.state, self.message)


class Matrix:
    """All rows, or one of so many, run over a path once."""

    def __init__(self, emulator: Emulator, place: Path) -> None:
        self._emulator, self._place = emulator, place
        self._known: dict[tuple[str, int], list[Line]] = {}

    def lines(self, path: str, stride: int = 1) -> list[Line]:
        if (path, stride) not in self._known:
            self._known[path, stride] = self._run(path, ROWS[::stride])
        return self._known[path, stride]

    def _run(self, path: str, chosen: Sequence[Row]) -> list[Line]:
        authority = trustme.CA()
        ca_path = self._place / f"{path}.pem"
        authority.cert_pem.write_to_path(str(ca_path))
        names = ("127.0.0.1", "*.example.com")
        long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
        contexts = {
            "": _context(authority.issue_cert(*names)),
            "expired": _context(authority.issue_cert(*names, not_before=long_ago, not_after=long_ago)),
            "for another name": _context(authority.issue_cert("127.0.0.2")),
            "of another authority": _context(trustme.CA().issue_cert(*names)),
        }
        with running_fronts(contexts[""], str(self._emulator.ca_path)) as fronts, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            rules, cases = [], []
            for number, row in enumerate(chosen):
                rules.append(
                    Rule(
                        row.talk,
                        "" if row.strikes == "everything" else row.strikes,
                        row.at,
                        row.times,
                        row.onwards,
                        row.done,
                        self._write_as_another if row.other_writer else None,
                    )
                )
                address = fronts.add(f"row-{number}", rules[-1], contexts[row.certificate], row.way)
                if row.way == "closed":
                    address = f"https://127.0.0.1:{closed.getsockname()[1]}/"
                cases.append(_case(f"row-{number}", row, {"api_url": address + "{address}", "ca_path": str(ca_path)}))
            # Loopback addresses never go through a proxy, the others have to.
            proxy = {"HTTPS_PROXY": f"http://127.0.0.1:{fronts.proxy_port}"}
            commands = AnsibleCommands(self._place / path)
            batch = run_batch(commands, self._emulator, path, cases, "--forks", FORKS, one_task=True, environment=proxy)
            fronts.finish()
        outcomes = [batch.outcomes[case.name] for case in cases]
        return [
            Line(row, outcome, rule.seen, _tries(row, rule), _state(row, outcome.client))
            for row, rule, outcome in zip(chosen, rules, outcomes, strict=True)
        ]

    def _write_as_another(self, api_url: str) -> None:
        changed = {"url": OTHER_HOOK, "max_concurrent_requests": 12}
        Control(api_url, str(self._emulator.ca_path)).store({"webhooks": changed})


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _case(name: str, row: Row, reached: Mapping[str, Any]) -> Case:
    provider = row.module == PROVIDER
    return Case(
        name,
        {**row.options, **row.task, **reached},
        row.module,
        row.connection,
        stored={} if provider else BEFORE,
        providers=OLD_PROVIDERS if provider else (),
        switches=row.switches,
        steps=(FIRST,),
    )


def _tries(row: Row, rule: Rule) -> int:
    """How many of what is struck arrived; where no request gets through, how many connections."""
    place = {"tcp": "connection", "tls": "connection", "connect": "CONNECT"}.get(row.at, row.strikes)
    place = "connection" if row.certificate else place
    return sum(place == method or path.endswith(place) for method, path in rule.seen)


def _state(row: Row, client: EmulatedClient) -> str:
    """What the client has in the end; a combination that has no name is none that may be."""
    if row.module == PROVIDER:
        tokens = [provider["config"]["bearer"] for provider in client.control.providers()]
        wanted = [NEW_PROVIDER["bearer"]] if "bearer" in row.task else []
        return "after" if tokens == wanted else {("canary-old-provider",): "before"}.get(tuple(tokens), str(tokens))
    names = ("log_level", "heartbeat_interval", "webhooks.max_concurrent_requests", "webhooks.url")
    effective = client.control.effective()
    found = tuple(leaf(effective, name) for name in names)
    return STATES.get(found, f"half a change: {found}")


@pytest.fixture(scope="module")
def matrix(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return Matrix(emulator, tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("path", MOSTLY_IN_PROCESS)
def test_no_false_ok_and_no_lost_change(path: str, matrix: Matrix) -> None:
    wrong = [f"{line.row.words}: {problem}" for line in matrix.lines(path) for problem in _problems(line)]
    assert wrong == []


def _problems(line: Line) -> Iterator[str]:
    result, told, state = line.outcome.only_result(), line.told, line.state
    taken = state.startswith("after")
    if told.startswith("ok") and not (told == "ok, changed" and taken and "but" not in state):
        yield f"a false ok: {state}"
    if taken and not result["changed"]:
        yield "a lost change"
    if taken and line.row.module == SETTINGS and not result.get("restart_settings"):
        yield "a lost restart"
    if told == "failed, changed" and state == "before":
        yield "a change that was none"
    if state.startswith("half"):
        yield state
    if "but for" in state and state.rpartition(" ")[2] not in line.message:
        yield "what is missing is not named"
    if told.startswith("failed") and not line.message:
        yield "nothing is said"
    if "Traceback" in str(result) or "fault of wabiz" in line.message or not line.message.isprintable():
        yield f"not one line, or not foreseen: {line.message}"
    writes = sum(method in ("PATCH", "POST", "DELETE") for method, path in line.seen if "/users/" not in path)
    if writes > 1 + line.row.options["retries"]:
        yield f"{writes} writes"
    if "canary" in str(result):
        yield "a secret"


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.thorough)])
def test_both_paths_say_the_same(stride: int, matrix: Matrix) -> None:
    inside, module = matrix.lines("in-process")[::stride], matrix.lines("module", stride)
    differences = [(a.cells, b.cells) for a, b in zip(inside, module, strict=True) if a.cells != b.cells]
    assert differences == []


def test_the_table_in_the_docs(matrix: Matrix) -> None:
    rows = [line.cells for line in matrix.lines("in-process")]
    assert len({cells[0] for cells in rows}) >= 60
    assert len({cells[:4] for cells in rows}) == len(rows), "two rows look the same"
    text = INTRODUCTION + "".join("| " + " | ".join(cells) + " |\n" for cells in rows)
    if os.environ.get("WABIZ_UPDATE_DOCS"):
        TABLE.write_text(text, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == text
