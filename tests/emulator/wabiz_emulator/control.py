# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

TIMEOUT = 10.0


class Control:
    """What tests ask of an emulated client: its control API under `/_emulator/` (see the README beside this package).

    `api_url` is the address of one client; the root address of a server with many clients reaches all of them. What
    they would answer one by one (switches, faults, settings, providers, a new node, a message) is to be asked of one:
    ValueError. `ca_path` is a PEM file, None for http.
    """

    def __init__(self, api_url: str, ca_path: str | None = None) -> None:
        self._root = f"{api_url.rstrip('/')}/_emulator"
        self._ca_path = ca_path
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def clients(self) -> list[str]:
        """Names of the clients behind this address."""
        return list(self._call("GET", "clients")["clients"])

    def requests(self) -> list[dict[str, Any]]:
        """The request log, oldest first: time, client, method, path, status, authorization, user, body, fault."""
        return list(self._call("GET", "requests")["requests"])

    def clear_requests(self) -> None:
        self._call("DELETE", "requests")

    def node_events(self) -> list[dict[str, Any]]:
        """The node log, oldest first: time, client, node, role, event, starts, running values."""
        return list(self._call("GET", "node-log")["events"])

    def clear_node_events(self) -> None:
        self._call("DELETE", "node-log")

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Node name → its record: gateway_status, role, running (dotted name → value), starts, started, alive, ..."""
        return {node["name"]: node for node in self._call("GET", "nodes")["nodes"]}

    def running(self) -> dict[str, dict[str, Any]]:
        """Node name → the restart-bound values it runs with, of the nodes that run."""
        return {name: node["running"] for name, node in self.nodes().items() if node["reachable"]}

    def add_node(self, hostname: str, kind: str = "coreapp", clustered: bool = False) -> str:
        """Start a new simulated node; its name."""
        body = {"hostname": hostname, "kind": kind, "clustered": clustered}
        return str(self._member("name", "POST", "nodes", body))

    def act_on_node(self, name: str, action: str) -> None:
        """start, stop, kill or restart a simulated node, by its full name or an unambiguous host name."""
        self._call("POST", f"nodes/{quote(name, safe='')}/{action}")

    def switches(self) -> dict[str, Any]:
        return _of_one(self._call("GET", "switches"))

    def switch(self, **changes: Any) -> None:
        """Set switches of the client, by name."""
        self._call("PATCH", "switches", changes)

    def reset_switches(self) -> None:
        self._call("DELETE", "switches")

    def faults(self) -> list[dict[str, Any]]:
        """The faults that are still to strike."""
        return list(self._member("faults", "GET", "faults"))

    def fault(self, action: str, **members: Any) -> None:
        """Add a fault: method, path, times (None: always), skip, delay, status, code, details, location, applied."""
        self._call("POST", "faults", {"action": action, **members})

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def stored(self) -> dict[str, Any]:
        """The explicitly stored settings, not masked."""
        return dict(self._member("stored", "GET", "settings"))

    def effective(self) -> dict[str, Any]:
        """Every setting in force in the store, reported or not, not masked."""
        return dict(self._member("effective", "GET", "settings"))

    def store(self, settings: dict[str, Any]) -> None:
        """Replace the stored settings, unchecked."""
        self._call("PUT", "settings", settings)

    def providers(self) -> list[dict[str, Any]]:
        """The media providers, not masked."""
        return list(self._member("providers", "GET", "providers"))

    def store_providers(self, providers: list[dict[str, Any]]) -> None:
        """Replace the media providers, unchecked."""
        self._call("PUT", "providers", providers)

    def message(self, status: str, **members: str) -> str:
        """Let a message be sent, delivered, read or failed, for a callback; its id. Members: id, recipient_id."""
        return str(self._member("id", "POST", "callbacks", {"status": status, **members}))

    def callbacks(self) -> list[dict[str, Any]]:
        """The log of callbacks, oldest first: node, event (delivered, failed, dropped, lost), id, status, delay, ..."""
        return list(self._call("GET", "callbacks")["callbacks"])

    def clear_callbacks(self) -> None:
        self._call("DELETE", "callbacks")

    def add_user(self, username: str, password: str, role: str = "ROLE_ADMIN", owes_change: bool = False) -> None:
        self._call(
            "POST", "users", {"username": username, "password": password, "role": role, "owes_change": owes_change}
        )

    def token(self, username: str = "admin", expires_in: float | None = None) -> str:
        """A ready token; `expires_in` in seconds, negative for one that has expired."""
        members = {} if expires_in is None else {"expires_in": expires_in}
        return str(self._call("POST", "tokens", {"username": username, **members})["token"])

    def _member(self, name: str, method: str, route: str, body: Any = None) -> Any:
        return _of_one(self._call(method, route, body))[name]

    def _call(self, method: str, route: str, body: Any = None) -> dict[str, Any]:
        answer = self._session.request(
            method, f"{self._root}/{route}", json=body, timeout=TIMEOUT, verify=self._ca_path if self._ca_path else True
        )
        result: dict[str, Any] = answer.json()
        if answer.status_code >= 400:
            raise ValueError(f"{method} {route}: {result.get('error', result)}")
        return result


def _of_one(answer: dict[str, Any]) -> dict[str, Any]:
    if "by_client" in answer:
        raise ValueError("many clients answer here: ask at the address of one client")
    return answer
