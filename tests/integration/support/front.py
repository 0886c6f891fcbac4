# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands before clients and goes wrong: an HTTPS server that passes requests on and spoils some, and a proxy."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 30.0

Honest = Callable[[], bytes]
# What the other side gets: it may write what it likes, and ask for what the client itself answers.
Talk = Callable[[socket.socket, Honest], None]


def answering(*pieces: bytes, pause: float = 0.0) -> Talk:
    """These bytes, one piece after the other, with a pause in seconds between them."""

    def talk(peer: socket.socket, _honest: Honest) -> None:
        for piece in pieces:
            peer.sendall(piece)
            time.sleep(pause)

    return talk


def http_answer(status: int, body: bytes = b"", *headers: str, kind: str = "application/json") -> Talk:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}", f"Content-Type: {kind}", *headers]
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return answering("\r\n".join([*lines, "", ""]).encode() + body)


def reset(peer: socket.socket, _honest: Honest) -> None:
    """Close so that the other side sees a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # A close behind TLS would say goodbye first.
    socket.socket(fileno=peer.detach()).close()


def hang_up(_peer: socket.socket, _honest: Honest) -> None:
    """Close without a word."""


def hang_up_at_once(peer: socket.socket, _honest: Honest) -> None:
    """Close before anything was said; whoever closes with something unread resets instead."""
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(65536):
        pass


def silence(peer: socket.socket, _honest: Honest) -> None:
    """Say nothing until the other side is gone."""
    peer.settimeout(PATIENCE)
    with suppress(OSError):
        while peer.recv(65536):
            pass


def half(peer: socket.socket, honest: Honest) -> None:
    """Half of what the client answers."""
    answer = honest()
    peer.sendall(answer[: len(answer) - 8])


def one_byte_a_time(peer: socket.socket, honest: Honest) -> None:
    """What the client answers, so slowly that it takes minutes."""
    for octet in honest():
        peer.sendall(bytes([octet]))
        time.sleep(0.4)


@dataclass
class Rule:
    """What becomes of the requests of one row.

    strikes: a method, the end of a path, or "" for all. at: `request`, or before it `tcp` or `tls`, or `connect` at
    the proxy. times: how many, None for all. onwards: once it has struck, whatever comes after that. done: whether the
    client gets the request nevertheless: `no`, `yes`, or `later`, when all is over. before: is told
    the client's address before the rule strikes.
    """

    talk: Talk
    strikes: str = ""
    at: str = "request"
    times: int | None = None
    onwards: bool = False
    done: str = "no"
    before: Callable[[str], None] | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)

    def take(self, place: str, method: str = "", path: str = "") -> bool:
        """Whether the rule strikes here; counts it."""
        if place != self.at or not (self.strikes == method or path.endswith(self.strikes)) or self.times == 0:
            return False
        if self.onwards:
            self.strikes = ""
        if self.times is not None:
            self.times -= 1
        return True


class Fronts:
    """Servers before clients. A client is reached at `url(row)`, which goes on with the client's own address."""

    def __init__(self, context: ssl.SSLContext, ca_of_clients: str) -> None:
        self._context = context
        self._trust = ssl.create_default_context(cafile=ca_of_clients)
        self._rules: dict[str, Rule] = {}
        self._servers: list[socket.socket] = []
        self._late: list[Honest] = []
        self.port = self._listen(lambda peer: self._tls(peer, None))
        self.proxy_port = self._listen(self._proxy)

    def add(self, row: str, rule: Rule, context: ssl.SSLContext | None = None, way: str = "front") -> str:
        """The address at which the rule holds, to be followed by the client's. way: `front`, `own`, `proxy`."""
        self._rules[row] = rule
        if way == "proxy":
            return f"https://{row}.example.com:{self.port}/{row}/"
        port = self.port if way == "front" else self._listen(lambda peer: self._tcp(peer, row, context))
        return f"https://127.0.0.1:{port}/{row}/"

    def finish(self) -> None:
        """Let arrive what is late."""
        while self._late:
            self._late.pop()()

    def close(self) -> None:
        for server in self._servers:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()

    def _listen(self, serve: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._servers.append(server)

        def one(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                peer.settimeout(PATIENCE)
                serve(peer)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        port: int = server.getsockname()[1]
        return port

    def _tcp(self, peer: socket.socket, row: str, context: ssl.SSLContext | None) -> None:
        rule = self._rules[row]
        rule.seen.append(("connection", ""))
        if rule.take("tcp"):
            rule.talk(peer, lambda: b"")
        elif rule.take("tls"):
            peer.recv(65536)
            rule.talk(peer, lambda: b"")
        else:
            self._tls(peer, context)

    def _tls(self, peer: socket.socket, context: ssl.SSLContext | None) -> None:
        with (context or self._context).wrap_socket(peer, server_side=True) as secure:
            self._request(secure)

    def _request(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as file:
            method, address, _version = file.readline().decode().split(" ")
            headers = http.client.parse_headers(file)
            body = file.read(int(headers.get("Content-Length") or 0))
        row, target, path = address[1:].split("/", 2)
        rule = self._rules[row]
        rule.seen.append((method, path))
        answers: list[bytes] = []

        def honest() -> bytes:
            if not answers:
                answers.append(self._pass_on(target, method, f"/{path}", dict(headers.items()), body))
            return answers[0]

        if not rule.take("request", method, path):
            peer.sendall(honest())
            return
        if rule.before is not None:
            rule.before(f"https://{target}/{path.partition('/')[0]}")
        if rule.done == "yes":
            honest()
        elif rule.done == "later":
            self._late.append(honest)
        rule.talk(peer, honest)

    def _pass_on(self, target: str, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        connection = http.client.HTTPSConnection(target, timeout=PATIENCE, context=self._trust)
        connection.request(method, path, body or None, {**headers, "Host": target, "Connection": "close"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        lines += [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() != "connection"]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content

    def _proxy(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as file:
            _connect, address, _version = file.readline().decode().split(" ")
            http.client.parse_headers(file)
        rule = self._rules[address.partition(".")[0]]
        rule.seen.append(("CONNECT", ""))
        if rule.take("connect"):
            rule.talk(peer, lambda: b"")
            return
        with socket.create_connection(("127.0.0.1", self.port)) as other:
            peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(other, peer), daemon=True)
            back.start()
            _copy(peer, other)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def running_fronts(*arguments: Any) -> Iterator[Fronts]:
    """Fronts until the block ends."""
    fronts = Fronts(*arguments)
    try:
        yield fronts
    finally:
        fronts.close()
