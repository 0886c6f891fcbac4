# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client that answers from memory: for the first conversation of a process, which costs more than the next.

This module is private to the collection.
"""

from __future__ import annotations

import socket
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._client import Client, Connection

try:
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool
    from urllib3.connection import HTTPConnection
except ImportError:
    _HTTPConnection: Any = object
    _HTTPConnectionPool: Any = object
else:
    _HTTPConnection = HTTPConnection
    _HTTPConnectionPool = HTTPConnectionPool

API_URL = "http://localhost"
_BODY = b'{"settings": {"application": {"log_level": "error", "webhooks": {"url": "https://localhost/?a=b"}}}}'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


class _ConnectionInMemory(_HTTPConnection):
    _there: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        here, there = socket.socketpair()
        there.sendall(_HEAD % len(_BODY) + _BODY)
        self._there = there
        return here

    def close(self) -> None:
        super().close()
        if self._there is not None:
            self._there.close()


class _Pool(_HTTPConnectionPool):
    ConnectionCls = _ConnectionInMemory


class PretendedClient(Client):
    """Whatever is asked, the answer is the same settings object. Nothing leaves the process."""

    def __init__(self, connection: Connection, read_only: bool) -> None:
        super().__init__(connection, read_only)
        adapter = HTTPAdapter()
        adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool}
        self._session.mount(API_URL, adapter)
