# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers of Docker and Podman, by the engine's own command line on the container host.

So DOCKER_HOST, contexts and rootless engines work in one way for all that is asked and done. Facts from the API notes,
section 5.2.

This module is private to the collection.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import (
    Backend,
    Host,
    Member,
    Problem,
    within,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import COREAPP, MASTER, Node

IMAGE_PATTERN = r"whatsapp\.biz/coreapp"

_UPGRADE = "upgrade"
# Who a container belongs to, as Compose, Swarm, Amazon ECS and a kubelet write it.
_OWNER_LABELS = (
    "com.docker.compose.project",
    "io.podman.compose.project",
    "com.docker.stack.namespace",
    "com.amazonaws.ecs.cluster",
    "io.kubernetes.pod.namespace",
)
_OWNERS = "".join(
    "{{with .Config.Labels}}{{json (index . " + json.dumps(label) + ')}}{{else}}""{{end}},' for label in _OWNER_LABELS
)
# Only this much is asked for: the whole inspection shows the database password.
TEMPLATE = (
    '{"id":{{json .ID}},"name":{{json .Name}},"image":{{json .Config.Image}},"state":{{json .State.Status}},'
    '"started":{{json .State.StartedAt}},"pid":{{json .State.Pid}},"hostname":{{json .Config.Hostname}},'
    '"service":{{with .Config.Labels}}{{json (index . "com.docker.compose.service")}}{{else}}""{{end}},'
    f'"owners":[{_OWNERS}""],'
    '"networks":[{{range $name, $_ := .NetworkSettings.Networks}}{{json $name}},{{end}}""],'
    '"volumes":[{{range .Mounts}}{{if eq .Type "volume"}}{{json .Name}},{{end}}{{end}}""],'
    '"flags":[{{range .Config.Env}}'
    '{{if eq . "WA_MASTER_NODE=1"}}"master",{{end}}{{if eq . "WA_DB_UPGRADE=1"}}"upgrade",{{end}}'
    '{{end}}""]}'
)
_RUNNING = frozenset({"running", "restarting", "paused"})
# Every container is on one of these, so they tell nothing.
_COMMON_NETWORKS = frozenset({"bridge", "host", "none", "podman", "default", ""})
_COREAPP_SERVICE = re.compile(r"wacore\d*")
_ATTEMPTS = 3


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


def _kind(flags: Iterable[str]) -> str:
    return _UPGRADE if "upgrade" in flags else MASTER if "master" in flags else COREAPP


def _node(found: Mapping[str, Any]) -> Node:
    state = str(found.get("state", ""))
    return Node(
        name=str(found.get("name", "")).lstrip("/"),
        id=str(found.get("id", "")),
        kind=_kind(found.get("flags", ())),
        running=state in _RUNNING,
        steady=state != "restarting",
        incarnation=f"{found.get('started', '')} {found.get('pid', '')}",
        hostname=str(found.get("hostname", "")),
    )


def _compose(name: str) -> str:
    """A name as Compose 2 writes it; Compose 1 has underscores between project, service and number."""
    return name.replace("_", "-")


def _named(name: str, nodes: Sequence[Node]) -> Node | None:
    for spelling in (str, _compose):
        for node in nodes:
            if spelling(node.name) == spelling(name):
                return node
    return next((node for node in nodes if node.id.startswith(name) and len(name) >= 12), None)


def select(found: Iterable[Mapping[str, Any]], names: Sequence[str], image_pattern: str) -> list[Node]:
    """The client's Coreapps and masters among all containers, by name, stopped ones included. Raises Problem.

    names: exactly these, in either Compose's spelling, or by id. Without names: those whose image matches the pattern;
    if that is the default one, also those of Meta's Compose services, whose image may come from another registry.
    One-shot upgrade jobs use the same image and are left out.
    """
    everything = [(_node(container), container) for container in found]
    if names:
        by_name = {name: _named(name, [node for node, _raw in everything]) for name in names}
        missing = [name for name, node in by_name.items() if node is None]
        if missing:
            raise Problem(f"no such container: {', '.join(missing)}")
        chosen = [node for node in by_name.values() if node is not None and node.kind != _UPGRADE]
    else:
        image = re.compile(image_pattern)
        ours = [
            (node, raw)
            for node, raw in everything
            if node.kind != _UPGRADE
            and (
                image.search(str(raw.get("image", "")))
                or (image_pattern == IMAGE_PATTERN and _COREAPP_SERVICE.fullmatch(str(raw.get("service") or "")))
            )
        ]
        owners = _owners([raw for node, raw in ours])
        if len(owners) > 1:
            # A restart of another client's Coreapps would be an outage that nobody asked for.
            raise Problem(
                f"containers of several clients are on this host ({'; '.join(owners)}); name those of this client in "
                "wa_settings_restart_containers"
            )
        chosen = [node for node, _raw in ours]
    unique = {node.id: node for node in chosen}
    return sorted(unique.values(), key=lambda node: node.name)


def _owners(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Groups of containers that belong together, in words: by label, else by what they share.

    Containers without a label do not belong to the owner of labelled ones. Without any label they belong together if
    they share a network of their own or a volume.
    """
    groups: list[tuple[set[str], list[str]]] = []
    for container in found:
        label = next((str(owner) for owner in container.get("owners", ()) if owner), "")
        shared = {f"network {name}" for name in container.get("networks", ()) if name not in _COMMON_NETWORKS}
        shared |= {f"volume {name}" for name in container.get("volumes", ()) if name}
        name = str(container.get("name", "")).lstrip("/")
        signs = {f"project {label}"} if label else shared or {f"container {name}"}
        names = [name]
        for group in [group for group in groups if group[0] & signs]:
            groups.remove(group)
            signs |= group[0]
            names = [*group[1], *names]
        groups.append((signs, names))
    return [
        f"{', '.join(sorted(sign for sign in signs if not sign.startswith('container')))} {', '.join(names)}".strip()
        for signs, names in groups
    ]


class _Engine(Backend):
    program = ""

    @classmethod
    def _run(cls, host: Host, command: str) -> str:
        try:
            return host.run(command)
        except Problem as problem:
            raise problem.of(cls.program) from None

    @classmethod
    def refusal(cls, member: Member) -> str | None:
        return cls.refused_pattern(member)

    @classmethod
    def look(cls, host: Host, member: Member) -> list[Node]:
        command = (
            f"ids=$({cls.program} ps --all --quiet --no-trunc) || exit; "
            f'test -z "$ids" || {cls.program} inspect --type container --format {shlex.quote(TEMPLATE)} $ids'
        )
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                return select(read_inspection(cls._run(host, command)), member.containers, member.image_pattern)
            except ValueError:
                raise Problem(f"{cls.program}: the answer to inspect cannot be read") from None
            except Problem as problem:
                # Between the list and the inspection a container may go.
                if "o such" not in str(problem) or "no such container: " in str(problem) or not attempts_left:
                    raise
        raise AssertionError("unreachable")

    @classmethod
    def restart(cls, host: Host, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        command = f"{cls.program} restart -t {stop_timeout:d} {shlex.quote(node.id or node.name)} >/dev/null"
        cls._run(host, within(stop_timeout + patience, command))


class Docker(_Engine):
    program = "docker"


class Podman(_Engine):
    program = "podman"
