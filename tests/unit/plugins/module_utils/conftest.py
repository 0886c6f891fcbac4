# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS servers on the loopback interface: the emulator, and one that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, TypeVar

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

from ansible_collections.wabiz.onprem.plugins.module_utils._client import Connection
from wabiz_emulator import accounts, certificates, clients, faults, logs, server, settings, store

T = TypeVar("T")

PASSWORD = "Canary-Passw0rd"
PATIENCE = 20.0


@dataclass(frozen=True)
class Pki:
    ca: str
    other_ca: str
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    authority, certificate, key = certificates.write_pki(tmp_path_factory.mktemp("pki"))
    other, _certificate, _key = certificates.write_pki(tmp_path_factory.mktemp("other-pki"))
    return Pki(str(authority), str(other), certificates.server_context(certificate, key))


class Loop:
    """An event loop in a thread of its own, for the servers."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def called() -> T:
            return await call()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(PATIENCE)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    own = Loop()
    yield own
    own.stop()


async def _close(running: HTTPServer) -> None:
    running.stop()
    await running.close_all_connections()


@dataclass
class Emulated:
    """One emulated client with a preset password, reached over HTTPS."""

    client: clients.Client
    connection: Connection

    @property
    def requests(self) -> list[tuple[str, str, int | None]]:
        """Method, path without /v1, status; in the order of arrival."""
        log = self.client.request_log.read(self.client.name)
        return [(entry["method"], entry["path"].removeprefix("/v1"), entry["status"]) for entry in log]

    @property
    def verbs(self) -> list[str]:
        """The methods of the requests, the login pair as `login` and `logout`."""
        return [path.rpartition("/")[2] if "/users/" in path else method for method, path, _status in self.requests]

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the PATCH requests, secrets masked."""
        log = self.client.request_log.read(self.client.name)
        return [entry["body"] for entry in log if entry["method"] == "PATCH"]

    def fault(self, action: str, **members: Any) -> None:
        with self.client.store.change() as state:
            state.faults.append(faults.from_mapping({"action": action, **members}))

    def switch(self, **changes: Any) -> None:
        with self.client.store.change() as state:
            state.switches = state.switches.changed(changes)

    def add_user(self, name: str, password: str, role: str = accounts.ADMIN, owes_change: bool = False) -> None:
        with self.client.store.change() as state:
            state.users[name] = accounts.user(password, role, owes_change)

    def set(self, stored: dict[str, Any]) -> None:
        with self.client.store.change() as state:
            state.settings = stored

    @property
    def effective(self) -> dict[str, Any]:
        """Every setting in force, reported or not."""
        state = self.client.store.read()
        return settings.effective(state.settings, state.switches)

    def token(self) -> str:
        return accounts.issue("admin", self.client.store.read().token_key, 600)[0]


@pytest.fixture
def emulated(loop: Loop, pki: Pki) -> Iterator[Emulated]:
    state = store.first_state()
    state.users = {"admin": accounts.user(PASSWORD)}
    state.switches = state.switches.changed({"connect_seconds": 0.0})

    async def start() -> tuple[clients.Client, HTTPServer, int]:
        log = logs.JsonLines(remember=True)
        client = clients.in_memory("client", state, log, logs.JsonLines(remember=True), loop.loop.call_later)
        return client, *server.listen(server.one_client(client), "127.0.0.1", 0, pki.context)

    client, running, port = loop.run(start)
    yield Emulated(client, Connection(f"https://127.0.0.1:{port}", password=PASSWORD, ca_path=pki.ca, timeout=5.0))
    loop.run(lambda: _close(running))


@dataclass
class Scripted:
    """A server that gives one answer after the other, whatever the request is; the last one stays."""

    connection: Connection
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[HTTPServerRequest] = field(default_factory=list)

    def answer(self, status: int = 200, body: bytes | str = b"{}", **headers: str) -> None:
        """Header names with _ for -."""
        content = body.encode() if isinstance(body, str) else body
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, content))

    def take(self, request: HTTPServerRequest) -> None:
        self.requests.append(request)
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        assert request.connection is not None
        start = ResponseStartLine("HTTP/1.1", status, responses[status])
        request.connection.write_headers(start, HTTPHeaders({"Content-Length": str(len(body)), **headers}), body)
        request.connection.finish()


@pytest.fixture
def scripted(loop: Loop, pki: Pki) -> Iterator[Scripted]:
    sockets = bind_sockets(0, "127.0.0.1")
    url = f"https://127.0.0.1:{sockets[0].getsockname()[1]}"
    script = Scripted(Connection(url, token="canary-token", ca_path=pki.ca, timeout=5.0))

    async def start() -> HTTPServer:
        running = HTTPServer(script.take, ssl_options=pki.context)
        running.add_sockets(sockets)
        return running

    running = loop.run(start)
    yield script
    loop.run(lambda: _close(running))
