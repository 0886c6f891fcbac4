# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import ssl
import struct
import traceback
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from http.client import responses
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets

from wabiz_emulator import bodies, control_api, faults, logs
from wabiz_emulator.clients import Client
from wabiz_emulator.errors import entry
from wabiz_emulator.webapp import PROVIDERS, Caller, Request, Response

CUT_OFF = 64
# Octets: addresses and headers that no client sends still get an answer.
MOST_HEADERS = 1 << 20
# How Tornado refuses what is no HTTP.
BARE_REFUSAL = b"HTTP/1.1 400 Bad Request\r\n\r\n"
# Answers with these have no body, whatever was meant: their readers take it for the next answer.
BODILESS = (204, 304)

_pending: set[asyncio.Future[None]] = set()


@dataclasses.dataclass(frozen=True)
class Target:
    """What a request's address means: clients, the path without their prefix; `everyone`: all at the root."""

    clients: Sequence[Client]
    path: str
    everyone: bool = False


Locate = Callable[[str], Target]


def one_client(client: Client) -> Locate:
    """The whole port belongs to one client."""
    alone = [client]
    return lambda path: Target(alone, path)


def by_prefix(clients: Mapping[str, Client]) -> Locate:
    """Many clients on one port: `/c0001/v1/...`; the root's control API is for all of them."""
    every = list(clients.values())

    def locate(path: str) -> Target:
        name, separator, rest = path[1:].partition("/")
        client = clients.get(name)
        if client is not None:
            return Target([client], separator + rest or "/")
        return Target(every if path.startswith(control_api.PREFIX) else [], path, everyone=True)

    return locate


def listen(locate: Locate, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[HTTPServer, int]:
    """Serve on one address; the server and the port (which the system chooses for 0)."""

    def take(request: HTTPServerRequest) -> None:
        pending = asyncio.ensure_future(_serve(locate, request))
        # The loop itself keeps weak references only.
        _pending.add(pending)
        pending.add_done_callback(_pending.discard)

    server = _Server(take, ssl_options=tls, max_header_size=MOST_HEADERS)
    sockets = bind_sockets(port, host, family=socket.AF_INET)
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


async def _serve(locate: Locate, incoming: HTTPServerRequest) -> None:
    try:
        await _answer(locate, incoming)
    except StreamClosedError:
        # The peer left before its answer.
        return
    except Exception:  # noqa: BLE001 - whatever breaks, the peer gets an answer and the reader of the log a reason
        traceback.print_exc()
        _send(incoming, _failure(500, 1000, "The emulator failed; its standard error has the reason"))


async def _answer(locate: Locate, incoming: HTTPServerRequest) -> None:
    target = locate(incoming.path)
    request = Request(incoming.method or "", target.path, incoming.headers, incoming.body)
    if not target.clients:
        details = f"No client at {target.path}: a client's name comes first, {control_api.PREFIX}clients has them"
        _send(incoming, _failure(404, 1006, details))
        return
    if target.path.startswith(control_api.PREFIX):
        _send(incoming, control_api.answer(request, target.clients, target.everyone))
        return
    client = target.clients[0]
    if client.simulation:
        client.simulation.tick()
    caller = client.webapp.caller(request)
    fault = _fault(client, request)
    if fault is None:
        response = client.webapp.answer(request, caller)
        _log(client, request, caller, response.status, None)
        _send(incoming, response)
        return
    if fault.delay:
        await asyncio.sleep(fault.delay)
    takes_effect = fault.applied or fault.action in ("proceed", "cut")
    response = client.webapp.answer(request, caller) if takes_effect else Response(200)
    response = _spoilt(client, caller, fault, response)
    sent = None if fault.action == "reset" else response.status
    _log(client, request, caller, sent, fault.action)
    if fault.action == "reset":
        _reset(incoming)
    elif fault.action == "cut":
        await _cut(incoming, response)
    else:
        _send(incoming, response)


def _fault(client: Client, request: Request) -> faults.Fault | None:
    if not any(fault.matches(request.method, request.path) for fault in client.store.read().faults):
        return None
    with client.store.change() as state:
        return faults.take(state.faults, request.method, request.path)


def _spoilt(client: Client, caller: Caller, fault: faults.Fault, response: Response) -> Response:
    status = fault.answer_status
    if fault.action == "status":
        return Response(status)
    if fault.action == "error":
        return client.webapp.failure(status, [entry(fault.code, fault.details)])
    if fault.action == "expired_token":
        if caller.token is not None:
            client.webapp.revoke(caller.token)
        return client.webapp.unauthorized("Token has expired")
    if fault.action == "html":
        return Response(status, b"<html><body><h1>Bad gateway</h1></body></html>", "text/html")
    if fault.action == "empty":
        return Response(status)
    if fault.action == "redirect":
        return Response(status, headers={"Location": fault.location})
    return response


def _log(client: Client, request: Request, caller: Caller, status: int | None, fault: str | None) -> None:
    logged = {
        "client": client.name,
        "method": request.method,
        "path": request.path,
        "status": status,
        "authorization": caller.kind,
        "user": caller.user or None,
        "body": _logged_body(request),
        **({"fault": fault} if fault else {}),
    }
    for log in (client.request_log, client.web_log):
        if log is not None:
            log.append(logged)


def _logged_body(request: Request) -> Any:
    if not request.body:
        return None
    try:
        body = bodies.parsed(request.body)
    except ValueError:
        # Whatever cannot be taken apart cannot be masked either.
        return {"unreadable_bytes": len(request.body)}
    if request.path == PROVIDERS and isinstance(body, list):
        return [{**item, "config": logs.MASK} if isinstance(item, dict) else logs.MASK for item in body]
    return logs.masked(body)


def _failure(status: int, code: int, details: str) -> Response:
    """In the API's form, where no client is there to say more."""
    return Response(status, json.dumps({"errors": [entry(code, details)]}).encode())


def _head(response: Response, length: int) -> tuple[ResponseStartLine, HTTPHeaders]:
    headers = HTTPHeaders({"Date": formatdate(usegmt=True)})
    if response.status not in BODILESS:
        headers["Content-Length"] = str(length)
    if response.body and response.status not in BODILESS:
        headers["Content-Type"] = response.content_type
    for name, value in response.headers.items():
        headers[name] = value
    return ResponseStartLine("HTTP/1.1", response.status, responses.get(response.status, "Unknown")), headers


def _send(incoming: HTTPServerRequest, response: Response) -> None:
    assert incoming.connection is not None
    start, headers = _head(response, len(response.body))
    bodiless = incoming.method == "HEAD" or response.status in BODILESS
    incoming.connection.write_headers(start, headers, b"" if bodiless else response.body)
    incoming.connection.finish()


def _reset(incoming: HTTPServerRequest) -> None:
    """Close so that the peer sees a reset: without lingering, unsent and unread data are thrown away."""
    assert isinstance(incoming.connection, HTTP1Connection)
    stream = incoming.connection.detach()
    assert isinstance(stream, IOStream)
    if stream.closed():
        raise StreamClosedError
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


async def _cut(incoming: HTTPServerRequest, response: Response) -> None:
    """Promise more than is sent, then close."""
    assert isinstance(incoming.connection, HTTP1Connection)
    stream = incoming.connection.detach()
    start, headers = _head(response, len(response.body) + CUT_OFF)
    await stream.write(_raw(start, headers) + response.body[: len(response.body) // 2])
    stream.close()


def _raw(start: ResponseStartLine, headers: HTTPHeaders) -> bytes:
    lines = [f"{start.version} {start.code} {start.reason}", *(f"{name}: {value}" for name, value in headers.get_all())]
    return "\r\n".join([*lines, "", ""]).encode()


class _Server(HTTPServer):
    """Refuses what is no HTTP, such as a Content-Length that is no number, in the API's form."""

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        write = stream.write

        def reworded(data: bytes | memoryview) -> Future[None]:
            return write(_refusal() if data == BARE_REFUSAL else data)

        # Tornado has no other place for it: it writes this answer without a call to anything of ours.
        stream.write = reworded  # type: ignore[method-assign]
        super().handle_stream(stream, address)


def _refusal() -> bytes:
    response = _failure(400, 1025, "The request is not valid HTTP")
    start, headers = _head(response, len(response.body))
    headers["Connection"] = "close"
    return _raw(start, headers) + response.body
