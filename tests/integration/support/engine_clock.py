# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine whose host had its clock set back after its containers started, as its API shows it."""

from __future__ import annotations

import datetime
import http.client
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SET_BACK = datetime.timedelta(hours=1)
_STARTED = re.compile(rb'"StartedAt":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')
_FORM = "%Y-%m-%dT%H:%M:%S"
# A container that was never started has a time long before.
_FIRST = datetime.datetime(2000, 1, 1)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def clock_set_back(engine_socket: str, place: Path) -> Iterator[str]:
    """The address (DOCKER_HOST) of the engine behind `engine_socket`, until the block ends.

    What has started before now started an hour later than it did, by the clock that the host has had since. The
    machine's own clock is left alone: others use it.
    """
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)

    def shifted(found: re.Match[bytes]) -> bytes:
        started = datetime.datetime.strptime(found[1].decode(), _FORM)
        later = started + SET_BACK if _FIRST < started < now else started
        return b'"StartedAt":"' + later.strftime(_FORM).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            connection = _Connection(engine_socket)
            try:
                connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
                answer = connection.getresponse()
                body = _STARTED.sub(shifted, answer.read())
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if self.command != "HEAD" else b"")
            finally:
                connection.close()

        do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = handle_any  # noqa: N815 - the names are the base class's

        def log_message(self, *_arguments: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    path = place / "engine.sock"
    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()
