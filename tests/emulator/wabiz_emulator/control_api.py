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

from wabiz_emulator import accounts, bodies, callbacks, faults, health, settings, webapp
from wabiz_emulator.clients import Client, Simulation
from wabiz_emulator.processes import unambiguous
from wabiz_emulator.settings import is_host
from wabiz_emulator.switches import MOST_SECONDS

PREFIX = "/_emulator/"
_NODE = "nodes/"
# Of all clients at once these are one list, each member with its client: the name of the list, and what sorts it.
_LISTS = {
    ("GET", "requests"): ("requests", "time"),
    ("GET", "node-log"): ("events", "time"),
    ("GET", "callbacks"): ("callbacks", "time"),
    ("GET", "nodes"): ("nodes", "client"),
}

_Handler = Callable[[Client, Any], dict[str, Any]]


def answer(request: webapp.Request, clients: Sequence[Client], everyone: bool = False) -> webapp.Response:
    """The answer of the control API for one client, or for all clients of a server (`everyone`)."""
    # The server leaves the body of the answer out.
    method = "GET" if request.method == "HEAD" else request.method
    route = request.path[len(PREFIX) :].rstrip("/")
    if (method, route) == ("GET", "clients"):
        return _json({"clients": [client.name for client in clients]})
    try:
        handlers = _handlers(method, route, clients)
        if handlers is None:
            return _json({"error": _no_route(method, route)}, 404)
        body = bodies.parsed(request.body) if request.body else None
        # What is stored unchecked may be anything.
        broken = bodies.broken_text(body) if method != "PUT" else None
        if broken is not None:
            raise ValueError(f"{broken}: Unicode text expected")
        if everyone and (method, route) == ("POST", "tokens"):
            return _json(_token_for_all(clients, body))
        answers = {client.name: handlers[client.name](client, body) for client in clients}
    except ValueError as error:
        return _json({"error": str(error)}, 400)
    if not everyone:
        return _json(answers[clients[0].name])
    if (method, route) in _LISTS:
        name, order = _LISTS[method, route]
        every = [{"client": client, **member} for client, single in answers.items() for member in single[name]]
        return _json({name: sorted(every, key=lambda member: member[order])})
    return _json({"by_client": answers} if any(answers.values()) else {})


def _handlers(method: str, route: str, clients: Sequence[Client]) -> dict[str, _Handler] | None:
    """Client name → what answers; None where there is no such route. ValueError before anything has happened."""
    if method == "POST" and route.startswith(_NODE):
        name, _slash, action = unquote(route[len(_NODE) :]).rpartition("/")
        return {client.name: _action_on_node(client, name, action) for client in clients}
    handler = _ROUTES.get((method, route))
    return None if handler is None else {client.name: handler for client in clients}


def _no_route(method: str, route: str) -> str:
    verbs = [known for known, path in ROUTES if path == route]
    if verbs:
        return f"no such route: {method} {route}; it has {', '.join(verbs)}"
    return f"no such route: {route}; known: {', '.join(dict.fromkeys(path for _method, path in ROUTES))}"


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


def _simulation(client: Client) -> Simulation:
    if client.simulation is None:
        raise ValueError(f"the nodes of {client.name} are processes of their own: start-node, stop-node, restart-node")
    return client.simulation


def _add_node(client: Client, body: Any) -> dict[str, Any]:
    types: dict[str, tuple[type, ...]] = {"hostname": (str,), "kind": (str,), "clustered": (bool,)}
    node = bodies.members(body, "a node", types, ["hostname"])
    if not is_host(node["hostname"]):
        raise ValueError("hostname: a host name or an address expected; the node's name is made of it and an id")
    name = _simulation(client).add(node["hostname"], node.get("kind", "coreapp"), node.get("clustered", False))
    return {"name": name}


def _action_on_node(client: Client, name: str, action: str) -> _Handler:
    simulation = _simulation(client)
    try:
        full = unambiguous({known: record.hostname for known, record in client.node_records().items()}, name)
    except ValueError as error:
        raise ValueError(f"{client.name}: {error}") from None

    def act(client: Client, body: Any) -> dict[str, Any]:
        simulation.act(full, action)
        return {"name": full}

    return act


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
    bodies.members(body, "a callback", dict.fromkeys(("status", "id", "recipient_id"), (str,)), ["status"])
    if body["status"] not in callbacks.STATUSES:
        raise ValueError(f"status: one of {', '.join(callbacks.STATUSES)} expected")
    about = {"id": secrets.token_hex(11), "recipient_id": "49301234568", "timestamp": str(int(time.time()))}
    event = {**about, **body}
    if not client.store.emit(event):
        raise ValueError("simulated nodes deliver no callbacks: use --store and nodes that are processes")
    return {"id": event["id"]}


def _post_user(client: Client, body: Any) -> dict[str, Any]:
    types: dict[str, tuple[type, ...]] = {
        "username": (str,),
        "password": (str,),
        "role": (str,),
        "owes_change": (bool,),
    }
    bodies.members(body, "a user", types, ["username", "password"])
    role = body.get("role", accounts.ADMIN)
    if role not in (accounts.ADMIN, accounts.USER):
        raise ValueError(f"role: {accounts.ADMIN} or {accounts.USER} expected")
    with client.store.change() as state:
        state.users[body["username"]] = accounts.user(body["password"], role, body.get("owes_change", False))
    return {}


def _post_token(client: Client, body: Any) -> dict[str, Any]:
    bodies.members(body, "a token", {"username": (str,), "expires_in": (float,)}, ["username"])
    state = client.store.read()
    if body["username"] not in state.users:
        raise ValueError(f"{client.name} has no user {body['username']}")
    life = body.get("expires_in", state.switches.token_seconds)
    if not -MOST_SECONDS <= life <= MOST_SECONDS:
        raise ValueError(f"expires_in: {-MOST_SECONDS:.0f} to {MOST_SECONDS:.0f} seconds expected")
    return {"token": accounts.issue(body["username"], state.token_key, life)[0]}


def _token_for_all(clients: Sequence[Client], body: Any) -> dict[str, Any]:
    if len({client.store.read().token_key for client in clients}) > 1:
        raise ValueError("these clients sign with keys of their own: ask at the address of one client")
    # Each has to know the user.
    *_others, answer = [_post_token(client, body) for client in clients]
    return answer


_ROUTES: dict[tuple[str, str], _Handler] = {
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
ROUTES = (*_ROUTES, ("GET", "clients"), ("POST", f"{_NODE}NAME/ACTION"))


def _json(values: dict[str, Any], status: int = 200) -> webapp.Response:
    return webapp.Response(status, json.dumps(values).encode())
