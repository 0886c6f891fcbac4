# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A business's webhook, for tests and labs: what Coreapps post to."""

from __future__ import annotations

import dataclasses
import http.server
import json
import ssl
import threading
import time
from typing import Any


@dataclasses.dataclass(frozen=True)
class Post:
    """One request; `time` in seconds of the monotonic clock, `body` as parsed from JSON."""

    time: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Receiver:
    """Takes posts over HTTPS on one address, with a certificate of its own CA, until it is closed.

    `url` and `authority` (PEM) are for the settings of a client. `status` is what it answers, after `delay` seconds.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        import trustme

        self.status = 200
        self.delay = 0.0
        self.posts: list[Post] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes().decode()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(host).configure_cert(context)
        self._server = _Server((host, 0), _handler(self))
        # The handshake is the handler's: a caller that has no trust must not end the loop that accepts.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://{host}:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ids(self) -> list[str]:
        """Of the messages whose statuses came, in the order in which they came."""
        return [post.body["statuses"][0]["id"] for post in list(self.posts) if "statuses" in post.body]

    def _take(self, post: Post) -> int:
        with self._lock:
            self.posts.append(post)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.delay)
        with self._lock:
            self._at_once -= 1
        return self.status


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller without trust, or one that hangs up, is no news."""


def _handler(receiver: Receiver) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(receiver._take(Post(time.monotonic(), self.path, dict(self.headers), body)))
            self.send_header("Location", receiver.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *details: object) -> None:  # noqa: A002 - the name is the base class's
            pass

    return Handler
