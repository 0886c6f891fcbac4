# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which containers of an engine are Coreapps and masters of a client. Pure. Facts from the API notes, section 5.2.

This module is private to the collection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

COREAPP = "coreapp"
MASTER = "master"
UPGRADE = "upgrade"

# What is asked of the engine, one JSON object a line: nothing else of a container leaves it, least of all the database
# password among its environment. Podman knows the id as .ID only, Docker under both names.
TEMPLATE = (
    '{"id":{{json .ID}},"name":{{json .Name}},"image":{{json .Config.Image}},"state":{{json .State.Status}},'
    '"started":{{json .State.StartedAt}},'
    '"service":{{with .Config.Labels}}{{json (index . "com.docker.compose.service")}}{{else}}""{{end}},'
    '"project":{{with .Config.Labels}}{{json (index . "com.docker.compose.project")}}{{else}}""{{end}},'
    '"flags":[{{range .Config.Env}}'
    '{{if eq . "WA_MASTER_NODE=1"}}"master",{{end}}{{if eq . "WA_DB_UPGRADE=1"}}"upgrade",{{end}}'
    '{{end}}""]}'
)

# A container in one of these still holds, or is just about to read, the values that it started with.
_ALIVE = frozenset({"running", "restarting", "paused"})
# The service of Meta's Compose files, for images that were renamed in a registry of one's own.
_COREAPP_SERVICE = re.compile(r"wacore\d*")


class _Deployment(TypedDict, total=False):
    """What only Deployments of Kubernetes have: several nodes in one, and a way of their own to replace them."""

    replicas: int
    surges: bool
    paused: bool


class Container(_Deployment):
    """A Coreapp or master; C(started) in seconds since the epoch by the host's clock, None where nobody tells."""

    name: str
    id: str
    kind: str
    state: str
    alive: bool
    started: float | None


class NotFound(LookupError):
    """Containers that were named are not there; the message says which."""


class Ambiguous(LookupError):
    """Several clients live on this engine, and nobody said whose containers are meant."""


def read_inspection(output: str) -> list[dict[str, Any]]:
    """The lines that an engine prints for TEMPLATE. Raises ValueError where they are none."""
    found = []
    for line in output.splitlines():
        if line.strip():
            container = json.loads(line)
            if not isinstance(container, dict):
                raise ValueError("a container is no object")
            found.append(container)
    return found


def read_time(text: str) -> float | None:
    """Seconds since the epoch of the time that an engine prints; None for a container that was never started."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)? ?(Z|[+-]\d\d:?\d\d)?.*", text.strip())
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    if day == "0001-01-01":
        return None
    zone = "+00:00" if zone in (None, "Z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    moment = datetime.fromisoformat(f"{day}T{clock}{zone}").timestamp()
    return moment + (float(fraction) if fraction else 0.0)


def _kind(flags: Iterable[str]) -> str:
    return UPGRADE if UPGRADE in flags else MASTER if MASTER in flags else COREAPP


def _read(found: Mapping[str, Any]) -> Container:
    state = str(found.get("state", ""))
    return {
        "name": str(found.get("name", "")).lstrip("/"),
        "id": str(found.get("id", "")),
        "kind": _kind(found.get("flags", ())),
        "state": state,
        "alive": state in _ALIVE,
        "started": read_time(str(found.get("started", ""))),
    }


def _compose(name: str) -> str:
    """A name as Compose 2 writes it; Compose 1 has underscores between project, service and number."""
    return name.replace("_", "-")


def _named(name: str, containers: Sequence[Container]) -> Container | None:
    for same in (str, _compose):
        for container in containers:
            if same(container["name"]) == same(name):
                return container
    return next((container for container in containers if container["id"].startswith(name) and len(name) >= 12), None)


def select(found: Iterable[Mapping[str, Any]], names: Sequence[str], image_pattern: str) -> list[Container]:
    """The client's Coreapps and masters among all containers, by name.

    names: exactly these, in either Compose's spelling, or by id; raises NotFound for those that are missing. Without
    names: those whose image matches the pattern, or whose Compose service is Meta's; raises Ambiguous where they belong
    to several Compose projects. One-shot upgrade jobs use the same
    image and are left out. Stopped containers are in the list, so that they can be named.
    """
    everything = [(_read(container), container) for container in found]
    if names:
        by_name = {name: _named(name, [container for container, _raw in everything]) for name in names}
        missing = [name for name, container in by_name.items() if container is None]
        if missing:
            raise NotFound(f"no such container: {', '.join(missing)}")
        chosen = [container for container in by_name.values() if container is not None]
    else:
        image = re.compile(image_pattern)
        chosen = [
            container
            for container, raw in everything
            if image.search(str(raw.get("image", ""))) or _COREAPP_SERVICE.fullmatch(str(raw.get("service") or ""))
        ]
        kept = {container["id"] for container in chosen if container["kind"] != UPGRADE}
        projects = {str(raw.get("project") or "") for container, raw in everything if container["id"] in kept} - {""}
        if len(projects) > 1:
            # A restart of another client's Coreapps would be an outage that nobody asked for.
            raise Ambiguous(f"Coreapps of several Compose projects ({', '.join(sorted(projects))}) are on this host")
    unique = {container["id"]: container for container in chosen if container["kind"] != UPGRADE}
    return sorted(unique.values(), key=lambda container: container["name"])


def by_command(names: Sequence[str]) -> list[Container]:
    """Coreapps that only a command of the user's knows: all that is known of them is their name."""
    return [
        {"name": name, "id": "", "kind": COREAPP, "state": "unknown", "alive": True, "started": None}
        for name in dict.fromkeys(names)
    ]
