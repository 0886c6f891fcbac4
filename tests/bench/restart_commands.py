# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bare restart commands without Ansible, in threads: restart_commands.py INVENTORY THREADS.

The inventory is one of the roll-outs. Nodes of one host restart one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def main(inventory: str, threads: str) -> None:
    """Restart every node of an inventory, those of one client one after the other."""
    clients = json.loads(Path(inventory).read_text())["clients"]
    command = clients["vars"]["wa_settings_restart_command"]

    def restart(host: dict[str, Any]) -> None:
        for node in host["wa_settings_restart_containers"]:
            words = [word.replace("{{ wa_settings_api_url }}", host["wa_settings_api_url"]) for word in command]
            subprocess.run([*words, node], check=True, stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(restart, clients["hosts"].values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
