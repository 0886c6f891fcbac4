# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from wabiz_emulator import accounts, callbacks, faults, health, settings, webapp
from wabiz_emulator.clients import Client

PREFIX = "/_emulator/"
# What makes sense for all clients at once, at the root of a server that has many.
FOR_ALL = {
    ("GET", "requests"), ("DELETE", "requests"), ("GET", "node-log"), ("DELETE", "node-log"), ("PATCH", "switches"),
    ("DELETE", "switches"), ("PUT", "settings"), ("POST", "faults"), ("DELETE", "faults"), ("POST", "users"),
}  # fmt: skip


def answer(request: webapp.Request, clients: Sequence[Client]) -> webapp.Response:
    """The answer of the control API for one client, or for all clients of a server."""
    route = request.path[len(PREFIX) :].rstrip("/")
    try:
        body = json.loads(request.body) if request.body else None
        if (request.method, route) == ("GET", "clients"):
            return _json({"clients": [client.name for client in clients]})
        if len(clients) != 1 and (request.method, route) not in FOR_ALL:
            return _json({"error": "not for all clients at once: ask at the address of one client"}, 404)
        handler = _ROUTES.get((request.method, route))
        if handler is None and request.method == "POST" and route.startswith("nodes/"):
            name, _, action = unquote(route[len("nodes/") :]).rpartition("/")
            return _act_on_node(clients[0], name, action)
        if handler is None:
            return _json({"error": f"no such route: {request.method} {request.path}"}, 404)
        answers = [handler(client, body) for client in clients]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return _json({"error": f"{type(error).__name__}: {error}"}, 400)
    if len(answers) == 1:
        return _json(answers[0])
    merged: dict[str, Any] = {}
    for single in answers:
        for name, value in single.items():
            merged[name] = merged.get(name, []) + value if isinstance(value, list) else value
    return _json(merged)


def _get_requests(client: Client, body: Any) -> dict[str, Any]:
    return {"requests": client.request_log.read(client.name)}


def _delete_requests(client: Client, body: Any) -> dict[str, Any]:
    client.request_log.clear(client.name)
    return {}


def _get_node_log(client: Client, body: Any) -> dict[str, Any]:
    return {"events": client.node_log.read(client.name)}


def _delete_node_log(client: Client, body: Any) -> dict[str, Any]:
    client.node_log.clear(client.name)
    return {}


def _get_nodes(client: Client, body: Any) -> dict[str, Any]:
    switches, now = client.store.read().switches, time.time()
    return {
        "nodes": [
            {
                "name": name,
                **dataclasses.asdict(record),
                "beat": min(record.beat, now),
                "alive": health.alive(record, switches, now),
                "reachable": client.store.reachable(name),
            }
            for name, record in client.node_records().items()
        ]
    }


def _add_node(client: Client, body: Any) -> dict[str, Any]:
    if client.simulation is None:
        raise ValueError("the nodes of this client are processes of their own")
    return {"name": client.simulation.add(body["hostname"], body.get("kind", "coreapp"), body.get("clustered", False))}


def _act_on_node(client: Client, name: str, action: str) -> webapp.Response:
    if client.simulation is None:
        raise ValueError("the nodes of this client are processes of their own")
    client.simulation.act(name, action)
    return _json({"name": name})


def _get_switches(client: Client, body: Any) -> dict[str, Any]:
    return dataclasses.asdict(client.store.read().switches)


def _patch_switches(client: Client, body: Any) -> dict[str, Any]:
    with client.store.change() as state:
        state.switches = state.switches.changed(body)
    return dataclasses.asdict(state.switches)


def _reset_switches(client: Client, body: Any) -> dict[str, Any]:
    with client.store.change() as state:
        state.switches = type(state.switches)()
    return dataclasses.asdict(state.switches)


def _get_faults(client: Client, body: Any) -> dict[str, Any]:
    return {"faults": [dataclasses.asdict(fault) for fault in client.store.read().faults]}


def _post_fault(client: Client, body: Any) -> dict[str, Any]:
    fault = faults.from_mapping(body)
    with client.store.change() as state:
        state.faults = [*state.faults, fault]
    return {}


def _delete_faults(client: Client, body: Any) -> dict[str, Any]:
    with client.store.change() as state:
        state.faults = []
    return {}


def _get_settings(client: Client, body: Any) -> dict[str, Any]:
    state = client.store.read()
    return {"stored": state.settings, "effective": settings.effective(state.settings, state.switches)}


def _put_settings(client: Client, body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValueError("an object of explicit settings expected")
    with client.store.change() as state:
        state.settings = body
    return {}


def _get_providers(client: Client, body: Any) -> dict[str, Any]:
    return {"providers": client.store.read().providers}


def _put_providers(client: Client, body: Any) -> dict[str, Any]:
    if not isinstance(body, list):
        raise ValueError("a list of media providers expected")
    with client.store.change() as state:
        state.providers = body
    return {}


def _get_callbacks(client: Client, body: Any) -> dict[str, Any]:
    return {"callbacks": client.callback_log.read(client.name)}


def _delete_callbacks(client: Client, body: Any) -> dict[str, Any]:
    client.callback_log.clear(client.name)
    return {}


def _post_callback(client: Client, body: Any) -> dict[str, Any]:
    unknown = set(body) - {"status", "id", "recipient_id"}
    if unknown:
        raise ValueError(f"unknown in a callback: {', '.join(sorted(unknown))}")
    if body["status"] not in callbacks.STATUSES:
        raise ValueError(f"status: one of {', '.join(callbacks.STATUSES)} expected")
    about = {"id": secrets.token_hex(11), "recipient_id": "49301234568", "timestamp": str(int(time.time()))}
    event = {**about, **body}
    if not client.store.emit(event):
        raise ValueError("simulated nodes deliver no callbacks: use --store and nodes that are processes")
    return {"id": event["id"]}


def _post_user(client: Client, body: Any) -> dict[str, Any]:
    role = body.get("role", accounts.ADMIN)
    if role not in (accounts.ADMIN, accounts.USER):
        raise ValueError(f"role: {accounts.ADMIN} or {accounts.USER} expected")
    with client.store.change() as state:
        state.users[body["username"]] = accounts.user(body["password"], role, body.get("owes_change", False))
    return {}


def _post_token(client: Client, body: Any) -> dict[str, Any]:
    state = client.store.read()
    if body["username"] not in state.users:
        raise ValueError("unknown user")
    life = body.get("expires_in", state.switches.token_seconds)
    return {"token": accounts.issue(body["username"], state.token_key, life)[0]}


_ROUTES: dict[tuple[str, str], Callable[[Client, Any], dict[str, Any]]] = {
    ("GET", "requests"): _get_requests,
    ("DELETE", "requests"): _delete_requests,
    ("GET", "node-log"): _get_node_log,
    ("DELETE", "node-log"): _delete_node_log,
    ("GET", "nodes"): _get_nodes,
    ("POST", "nodes"): _add_node,
    ("GET", "switches"): _get_switches,
    ("PATCH", "switches"): _patch_switches,
    ("DELETE", "switches"): _reset_switches,
    ("GET", "faults"): _get_faults,
    ("POST", "faults"): _post_fault,
    ("DELETE", "faults"): _delete_faults,
    ("GET", "settings"): _get_settings,
    ("PUT", "settings"): _put_settings,
    ("GET", "providers"): _get_providers,
    ("PUT", "providers"): _put_providers,
    ("GET", "callbacks"): _get_callbacks,
    ("DELETE", "callbacks"): _delete_callbacks,
    ("POST", "callbacks"): _post_callback,
    ("POST", "users"): _post_user,
    ("POST", "tokens"): _post_token,
}


def _json(values: dict[str, Any], status: int = 200) -> webapp.Response:
    return webapp.Response(status, json.dumps(values).encode())
