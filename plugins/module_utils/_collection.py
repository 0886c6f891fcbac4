# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The garbage collection: what its answers say, and the spec and the flow of C(wa_garbage_collection).

Facts from the API notes, section 6.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client
from ansible_collections.wabiz.onprem.plugins.module_utils._options import CONNECTION, Spec, read_connection
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import (
    Declaration,
    Version,
    lookup,
    parse_version,
    show_version,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Failure, Params, Result, Run
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import ask_settings

MESSAGE, MEDIA = "message", "media"
# The first client version with the services of the collection (API notes, section 6).
_WITH_SERVICES = (2, 49)
_AUTOMATIC = {MESSAGE: "garbagecollector_enable.messages", MEDIA: "garbagecollector_enable.media"}
_BEFORE = "db_garbagecollector_enable"
_SAID = "the client tells the end of a collection to its webhook only"


def garbage_collection_spec() -> Spec:
    return {
        **CONNECTION,
        "targets": {"type": "list", "elements": "str", "choices": [MESSAGE, MEDIA], "default": [MESSAGE, MEDIA]},
    }


def automatic_collection(version: Version | None, target: str) -> str:
    """The setting that has a client collect by itself (settings reference, "Campaigns")."""
    name = _AUTOMATIC[target]
    since = KEYS[name].since
    return _BEFORE if version is not None and since is not None and version < since else name


def read_started(body: Any, target: str) -> list[Result] | None:
    """The nodes in the answer to a start: one without a name, or those of a cluster. None where it is no such answer.

    Each as C(name), C(target) and C(status). Gateways may leave the wrappers out.
    """
    found = body
    for name in ("services", target):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
    found = found.get("gc") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        return None
    if "status" in found and not isinstance(found["status"], Mapping):
        return [_node(None, target, found)]
    if not all(isinstance(facts, Mapping) for facts in found.values()):
        return None
    return [_node(str(name), target, facts) for name, facts in sorted(found.items())]


def _node(name: str | None, target: str, facts: Mapping[str, Any]) -> Result:
    return {"name": name, "target": target, "status": str(facts.get("status") or "unknown")}


def remarks_before(settings: Mapping[str, Any], version: Version | None, targets: Iterable[str]) -> list[str]:
    """What a user may not know who starts a collection: warnings, from the settings and the version of the client."""
    remarks, old = [], version is not None and version < _WITH_SERVICES
    if old:
        remarks.append(
            f"this client is {show_version(version)}; before 2.49 it may not know the services of the garbage "
            f"collection, and collects messages by itself if {_BEFORE} is on"
        )
    automatic = [automatic_collection(version, target) for target in targets]
    on = [name for name in dict.fromkeys(automatic) if lookup(settings, tuple(name.split("."))) is True]
    if on:
        remarks.append(f"the client collects by itself as well: {', '.join(on)} is on")
    if lookup(settings, ("webhooks", "url")) in ("", None):
        remarks.append(f"no webhook is set, and {_SAID}, so nobody will learn of it")
    return remarks


def garbage_collection(params: Params, run: Run) -> Result:
    """The module C(wa_garbage_collection)."""
    connection, targets = read_connection(params), list(dict.fromkeys(params["targets"]))
    if not targets:
        raise InvalidOptions("targets: name at least one of message and media")
    with run.connect(connection, run.check_mode) as client:
        remarks = _remarks(client, targets)
        beside: Result = {"warnings": remarks} if remarks else {}
        if run.check_mode:
            return {"changed": True, "nodes": [], "msg": f"would be started; {_SAID}", **beside}
        nodes: list[Result] = []
        for target in targets:
            run.at_least = {"changed": True, "nodes": nodes, "outcome_unknown": True}
            try:
                nodes += _start(client, target)
            except ApiError as error:
                # Where the API has an error of its own to tell, it has not begun; unless the Coreapp did not answer it.
                doubt = error.maybe_pending or (error.maybe_done and not error.codes)
                known: Result = {"outcome_unknown": True} if doubt else {}
                raise Failure(
                    str(error), {"changed": bool(nodes) or doubt, "nodes": nodes, **known, **beside}
                ) from None
    failed = [f"{node['target']} on {node['name'] or 'the client'}" for node in nodes if node["status"] == "failed"]
    if failed:
        raise Failure(f"not started: {', '.join(failed)}", {"changed": True, "nodes": nodes, **beside})
    return {"changed": True, "nodes": nodes, "msg": f"started; {_SAID}", **beside}


def _remarks(client: Client, targets: Iterable[str]) -> list[str]:
    try:
        settings, answer = ask_settings(client, Declaration())
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        # Accounts without the admin role, and gateways, may start a collection without reading settings.
        return [f"whether the client collects by itself cannot be read: {error}"]
    return remarks_before(settings, parse_version(answer.version), targets)


def _start(client: Client, target: str) -> list[Result]:
    """Starts one service. Raises ApiError."""
    path = f"/v1/services/{target}/gc"
    for attempt in range(1, 2 + client.retries):
        try:
            answer = client.put(path)
        except ApiError as error:
            # A start that got lost cannot be read back, so it is repeated only where the API says that it may be.
            if not error.passing or attempt > client.retries or (error.maybe_done and not error.codes):
                raise
            client.pause(error, attempt)
            continue
        nodes = read_started(answer.body, target)
        if nodes is None:
            raise ApiError(
                f"{client.where('PUT', path)}: the answer does not say whether the collection has begun",
                maybe_done=True,
            )
        return nodes
    raise AssertionError("unreachable")
