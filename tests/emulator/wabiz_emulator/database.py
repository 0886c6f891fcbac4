# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time


def wait(hostname: str, port: int, timeout: float) -> None:
    """Return when a database accepts connections; TimeoutError after `timeout` seconds."""
    give_up = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError), socket.create_connection((hostname, port), timeout=1):
            return
        if time.monotonic() > give_up:
            raise TimeoutError(f"no database at {hostname}:{port} after {timeout:g} seconds")
        time.sleep(0.2)


async def stand_in(host: str, port: int) -> None:
    """Accept connections in the place of a database, until SIGTERM or SIGINT; nobody asks it anything."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(take, host, port)
    print(f"ready {host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()
