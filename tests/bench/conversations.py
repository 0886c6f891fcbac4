# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bare conversations without Ansible: login, GET, PATCH and GET where something differs, logout; in threads.

As a program: conversations.py INVENTORY CREDENTIALS THREADS, with the inventory and the credentials of the bench.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

SETTINGS = "/v1/settings/application"
TIMEOUT_SECONDS = 30.0


def converse(url: str, ca_path: str, password: str, wanted: Mapping[str, Any]) -> bool:
    """Bring the wanted settings about on one client and return whether something changed."""
    with requests.Session() as session:
        session.trust_env = False

        def call(method: str, path: str, **arguments: Any) -> Any:
            answer = session.request(method, url + path, verify=ca_path, timeout=TIMEOUT_SECONDS, **arguments)
            answer.raise_for_status()
            return answer.json()

        token = call("POST", "/v1/users/login", auth=("admin", password))["users"][0]["token"]
        session.headers["Authorization"] = f"Bearer {token}"
        try:
            current = call("GET", SETTINGS)["settings"]["application"]
            patch = _patch(current, wanted)
            if patch:
                call("PATCH", SETTINGS, json=patch)
                if _patch(call("GET", SETTINGS)["settings"]["application"], wanted):
                    raise RuntimeError(f"{url} did not take the settings over")
        finally:
            call("POST", "/v1/users/logout")
    return bool(patch)


def _patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    target = {
        key: {**current.get(key, {}), **value} if isinstance(value, dict) else value for key, value in wanted.items()
    }
    return {key: value for key, value in target.items() if current.get(key) != value}


def main(inventory: str, credentials: str, threads: str) -> None:
    """Converse with every client of an inventory."""
    clients = json.loads(Path(inventory).read_text())["clients"]
    known = clients["vars"]
    password = json.loads(Path(credentials).read_text())["password"]

    def one(name: str) -> bool:
        url = known["api_url"].replace("{{ inventory_hostname }}", name)
        return converse(url, known["ca_path"], password, known["wanted"])

    with ThreadPoolExecutor(int(threads)) as pool:
        print(f"{sum(pool.map(one, clients['hosts']))} of {len(clients['hosts'])} changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
