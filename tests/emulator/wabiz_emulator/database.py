# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable

NO_NAMES = (
    "on an engine's default bridge (network_mode: bridge) containers have no names: see the README, or set "
    "WA_DB_HOSTNAME to an address"
)


def wait(hostname: str, port: int, timeout: float, say: Callable[[str], None]) -> None:
    """Return when a database accepts connections; TimeoutError after `timeout` seconds.

    What is in the way is told at once, and again when it changes.
    """
    give_up = time.monotonic() + timeout
    told = None
    while True:
        obstacle = _obstacle(hostname, port)
        if obstacle is None:
            return
        if obstacle != told:
            say(f"waiting for the database: {obstacle}")
            told = obstacle
        if time.monotonic() > give_up:
            raise TimeoutError(f"no database after {timeout:g} seconds: {obstacle}")
        time.sleep(0.2)


def _obstacle(hostname: str, port: int) -> str | None:
    """What is in the way of a connection; None if it comes about."""
    try:
        with socket.create_connection((hostname, port), timeout=1):
            return None
    except socket.gaierror:
        return f"the name {hostname} does not resolve; {NO_NAMES}"
    except OSError as error:
        return f"{hostname} resolves, but port {port} does not answer ({error.strerror or error})"


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
