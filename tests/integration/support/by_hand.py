# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients in containers that somebody started by hand: `docker run` or `podman run`, without Compose and its labels."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.containers import IMAGES, PORT, ContainerDeployment, connect, unique
from support.emulator import PASSWORD
from support.engines import ContainerHost, Engine

STORE = "/usr/local/wamedia"
_RESOURCES = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
_MOST = 1024


@dataclass(frozen=True)
class ByHand(ContainerDeployment):
    """A client on one engine. `volume` is what its containers share; `labels` and `options` go to each Coreapp.

    `named` says whether the inventory names the containers. A node ends at once while a file `broken-NODE` lies in the
    volume.
    """

    engine: Engine = field(default_factory=lambda: Engine("docker", ()))
    prefix: str = ""
    volume: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    named: bool = True

    @property
    def nodes(self) -> list[str]:
        return [node for nodes in self.hosts.values() for node in nodes]

    def container(self, node: str) -> str:
        return f"{self.prefix}-{node}"

    def run_command(self, node: str) -> list[str]:
        """The arguments with which the engine starts a node's container."""
        variables = {
            "COREAPP_HOSTNAME": node,
            "WA_APP_MULTICONNECT": str(int(len(self.nodes) > 1)),
            "WA_MASTER_NODE": str(int(node.startswith("master"))),
        }
        launch = f"[ ! -e {STORE}/broken-{node} ] || exit 1; exec /opt/whatsapp/bin/launch_within_docker.sh"
        return [
            "run", "--detach", "--restart=always", f"--name={self.container(node)}", f"--volume={self.volume}:{STORE}",
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(f"--label={name}={value}" for name, value in self.labels.items()),
            *limits(self.engine), *self.options, IMAGES[1], "sh", "-c", launch,
        ]  # fmt: skip

    def start(self, node: str) -> None:
        self.engine.call(*self.run_command(node))

    def remove(self, node: str) -> None:
        self.engine.call("rm", "--force", self.container(node))

    def break_node(self, node: str, broken: bool = True) -> None:
        """Let a node end at each start from now on, or no more."""
        self.engine.call("exec", f"{self.prefix}-waweb", *(["touch"] if broken else ["rm"]), f"{STORE}/broken-{node}")

    def started(self) -> dict[str, str]:
        """Node → which start of which container it is."""
        template = "{{.Id}} {{.State.StartedAt}} {{.State.Pid}}"
        found = {}
        for node in self.nodes:
            found[node] = self.engine.call("inspect", "--type", "container", "--format", template, self.container(node))
        return found

    def _facts(self, host: str) -> dict[str, Any]:
        names = {"wa_settings_restart_containers": [self.container(node) for node in self.hosts[host]]}
        facts: dict[str, Any] = {"wa_settings_state_dir": str(self.state_dir(host))}
        if host in self.machines:
            facts = dict(self.machines[host].connection())
        facts |= {"wa_settings_api_url": self.client.api_url}
        return facts | (names if self.named else {})


def limits(engine: Engine) -> list[str]:
    """The options without which podman would ask for more than the machine may give it."""
    if "podman" not in engine.docker:
        return []
    hard = {name: resource.getrlimit(kind)[1] for name, kind in _RESOURCES.items()}
    most = {name: _MOST if limit == resource.RLIM_INFINITY else min(_MOST, limit) for name, limit in hard.items()}
    return [f"--ulimit={name}={limit}:{limit}" for name, limit in most.items()]


@contextmanager
def by_hand(
    engine: Engine,
    place: Path,
    name: str,
    hosts: Mapping[str, Sequence[str]],
    machine: ContainerHost | None = None,
    port: int = PORT,
    shards: int = 1,
    **more: Any,
) -> Iterator[ByHand]:
    """A client whose nodes `hosts` name, and a Webapp, until the block ends.

    More than one node make a cluster; it gets a master, which settings go through, where `hosts` has none.
    With `machine` the engine is that host's, and the Webapp is published there, at `port`.
    """
    prefix = unique(name)
    volume = f"{prefix}-media"
    switches = {"connect_seconds": 0.3, "heartbeat_timeout": 20, "shards": shards}
    address = machine.address if machine else "127.0.0.1"
    environment = {
        "WA_EMULATOR_TLS_NAMES": address,
        "WA_EMULATOR_PASSWORD": PASSWORD,
        "WA_EMULATOR_SWITCHES": json.dumps(switches),
        "WACORE_HOSTNAME": "wacore",
    }
    web = f"{prefix}-waweb"
    nodes = [node for names in hosts.values() for node in names]
    try:
        engine.call(
            "run", "--detach", f"--name={web}", f"--volume={volume}:{STORE}", *limits(engine),
            *(f"--env={variable}={value}" for variable, value in environment.items()),
            f"--publish={address}:{port}:443" if machine else f"--publish={address}::443",
            IMAGES[0], "/opt/whatsapp/bin/launch_within_docker.sh",
        )  # fmt: skip
        published = f"{address}:{port}" if machine else engine.call("port", web, "443/tcp").split()[0]
        client = connect(published, place)
        coreapps = [node for node in nodes if not node.startswith("master")]
        masters = ["master1"] if nodes == coreapps and len(nodes) > 1 else []
        up = [*masters, *nodes]
        connected = min(shards, len(coreapps)) + int(len(up) > len(coreapps) and shards > 1)
        deployment = ByHand(
            name, client, hosts, place, machines=dict.fromkeys(hosts, machine) if machine else {},
            healthy=(len(up), connected), engine=engine, prefix=prefix, volume=volume, **more,
        )  # fmt: skip
        for node in up:
            deployment.start(node)
        deployment.await_health()
        deployment.forget()
        yield deployment
    finally:
        known = engine.call("ps", "--all", "--format", "{{.Names}}").split()
        mine = [container for container in known if container.startswith(f"{prefix}-")]
        if mine:
            engine.call("rm", "--force", "--volumes", *mine)
        engine.call("volume", "rm", "--force", volume)
