# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import traceback
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from http.client import responses
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets

from wabiz_emulator import control_api, faults, logs
from wabiz_emulator.clients import Client
from wabiz_emulator.errors import entry
from wabiz_emulator.webapp import PROVIDERS, Caller, Request, Response

# A request's address → the clients meant, and the path without their prefix.
Locate = Callable[[str], "tuple[Sequence[Client], str]"]

CUT_OFF = 64

_pending: set[asyncio.Future[None]] = set()


def one_client(client: Client) -> Locate:
    """The whole port belongs to one client."""
    alone = [client]
    return lambda path: (alone, path)


def by_prefix(clients: Mapping[str, Client]) -> Locate:
    """Many clients on one port: `/c0001/v1/...`; the root's control API is for all of them."""
    every = list(clients.values())

    def locate(path: str) -> tuple[Sequence[Client], str]:
        name, separator, rest = path[1:].partition("/")
        client = clients.get(name)
        if client is not None:
            return [client], separator + rest or "/"
        return (every if path.startswith(control_api.PREFIX) else []), path

    return locate


def listen(locate: Locate, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[HTTPServer, int]:
    """Serve on one address; the server and the port (which the system chooses for 0)."""

    def take(request: HTTPServerRequest) -> None:
        pending = asyncio.ensure_future(_serve(locate, request))
        # The loop itself keeps weak references only.
        _pending.add(pending)
        pending.add_done_callback(_pending.discard)

    server = HTTPServer(take, ssl_options=tls)
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
        _send(incoming, Response(500))


async def _answer(locate: Locate, incoming: HTTPServerRequest) -> None:
    found, path = locate(incoming.path)
    request = Request(incoming.method or "", path, incoming.headers, incoming.body)
    if path.startswith(control_api.PREFIX) and found:
        _send(incoming, control_api.answer(request, found))
        return
    if not found:
        _send(incoming, Response(404))
        return
    client = found[0]
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
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        # Whatever cannot be taken apart cannot be masked either.
        return {"unreadable_bytes": len(request.body)}
    if request.path == PROVIDERS and isinstance(body, list):
        return [{**item, "config": logs.MASK} if isinstance(item, dict) else logs.MASK for item in body]
    return logs.masked(body)


def _head(response: Response, length: int) -> tuple[ResponseStartLine, HTTPHeaders]:
    headers = HTTPHeaders({"Content-Length": str(length), "Date": formatdate(usegmt=True)})
    if response.body:
        headers["Content-Type"] = response.content_type
    for name, value in response.headers.items():
        headers[name] = value
    return ResponseStartLine("HTTP/1.1", response.status, responses.get(response.status, "Unknown")), headers


def _send(incoming: HTTPServerRequest, response: Response) -> None:
    assert incoming.connection is not None
    start, headers = _head(response, len(response.body))
    incoming.connection.write_headers(start, headers, b"" if incoming.method == "HEAD" else response.body)
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
    lines = [f"{start.version} {start.code} {start.reason}", *(f"{name}: {value}" for name, value in headers.get_all())]
    half = response.body[: len(response.body) // 2]
    await stream.write("\r\n".join([*lines, "", ""]).encode() + half)
    stream.close()
