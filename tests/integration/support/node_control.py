# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops and starts an emulated node: URL CA-FILE VERB [SECONDS] NAME, with `stop`, `start` or `restart`.

With SECONDS a node is down for so long when it restarts. It does without libraries, for containers that have none, and
starts fast, since each restart of a test starts it.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.request
from typing import Any
from urllib.parse import quote


def main(url: str, authority: str, verb: str, *rest: str) -> None:
    """Do what the command line says; urllib's errors otherwise."""
    *seconds, hostname = rest
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)),
    )

    def ask(route: str, body: bytes | None = None) -> Any:
        with opener.open(urllib.request.Request(f"{url}/_emulator/{route}", body)) as answer:
            return json.load(answer)

    name = next(node["name"] for node in ask("nodes")["nodes"] if node["hostname"] == hostname.partition(":")[0])
    if not seconds:
        ask(f"nodes/{quote(name)}/{verb}", b"")
        return
    ask(f"nodes/{quote(name)}/stop", b"")
    time.sleep(float(seconds[0]))
    ask(f"nodes/{quote(name)}/start", b"")


if __name__ == "__main__":
    main(*sys.argv[1:])
