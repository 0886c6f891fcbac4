# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients in containers, in the shapes of Meta's Compose files."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from support.commands import ROOT
from support.deployments import Deployment
from support.emulator import PASSWORD, EmulatedClient
from support.engines import ContainerHost, Engine
from wabiz_emulator.control import Control

COMPOSE_FILES = ROOT / "tests" / "emulator" / "compose"
VERSION = "2.57.2"
IMAGES = (f"docker.whatsapp.biz/web:v{VERSION}", f"docker.whatsapp.biz/coreapp:v{VERSION}")
DATABASE_IMAGE = "mysql:8.0.33"
PORT = 9090
READY_SECONDS = 90.0
POLL_SECONDS = 0.1
HEALTH_SECONDS = 60
# On a busy machine a node may need more than ten seconds to stop, and one that is killed tells nobody of its end.
STOP_SECONDS = 30
API_KEY = "an-api-key-of-24-letters"
# Stands for a database password: it has to stay inside the engine.
DATABASE_PASSWORD = "canary-database-password"
MOUNTED_FILE = "mounted"
RESTART_BOUND = "webhooks.max_concurrent_requests"
_CONNECTIONS = (6, 12, 18, 24)


class ComposeProject:
    """What one call of Compose runs on one engine: Meta's files, and what a test lays over them."""

    def __init__(self, engine: Engine, name: str, place: Path, files: Sequence[str], over: Mapping[str, Any]) -> None:
        self.engine, self.name = engine, name
        place.mkdir(parents=True, exist_ok=True)
        overlay = place / f"{name}.json"
        overlay.write_text(json.dumps({"version": "3", **over}), encoding="utf-8")
        paths = [*(str(COMPOSE_FILES / file) for file in files), str(overlay)]
        self._arguments = ["--project-name", name, *(word for path in paths for word in ("--file", path))]
        # In the place of a port: any free one, on the loopback interface.
        anywhere = [f"EXTERNAL_{kind}_PORT{number}" for kind in ("COREAPP", "MASTER") for number in range(4)]
        self.variables = {"WA_API_VERSION": VERSION, **dict.fromkeys([*anywhere, "EXTERNAL_WEBAPP_PORT"], "127.0.0.1:")}

    def compose(self, *arguments: str) -> str:
        return self.engine.call_compose(*self._arguments, *arguments, variables=self.variables)

    def down(self) -> None:
        """Remove the containers, networks and volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")

    def inspect(self, member: str) -> dict[str, str]:
        """Service → a member of what the engine knows of its container, as a template names it: `.State.StartedAt`."""
        ids = self.engine.call(
            "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.name}"
        ).split()
        template = '{{index .Config.Labels "com.docker.compose.service"}} {{' + member + "}}"
        lines = self.engine.call("inspect", "--type", "container", "--format", template, *ids).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def container(self, service: str) -> str:
        """The container's name."""
        return self.inspect(".Name")[service].removeprefix("/")

    def published(self, service: str, port: int) -> str:
        """The address at which a port of a service is published."""
        return self.engine.call("port", self.container(service), f"{port}/tcp").split()[0]


@dataclass(frozen=True)
class ContainerDeployment(Deployment):
    """A client in containers. `projects` is host → project; `machines` has those hosts that are not this machine.

    `healthy` says how many nodes are up and how many connected when all is well. `port` is where Webapps of `machines`
    are published.
    """

    projects: Mapping[str, ComposeProject] = field(default_factory=dict)
    machines: Mapping[str, ContainerHost] = field(default_factory=dict)
    healthy: tuple[int, int] = (1, 1)
    port: int = PORT

    def inventory(self, token: bool = True) -> dict[str, dict[str, Any]]:
        connection = self.client.with_token() if token else self.client.with_password()
        common: dict[str, Any] = {f"wa_settings_{option}": value for option, value in connection.items()}
        common |= {"wa_settings_health_timeout": HEALTH_SECONDS, "wa_settings_restart_stop_timeout": STOP_SECONDS}
        if len(self.hosts) > 1:
            common["wa_settings_cluster"] = self.name
        return {host: {**common, **self._facts(host), **self.extra} for host in self.hosts}

    def _facts(self, host: str) -> dict[str, Any]:
        if host in self.machines:
            # All else is where the role looks for it by itself.
            machine = self.machines[host]
            return {**machine.connection(), "wa_settings_api_url": f"https://{machine.address}:{self.port}"}
        # The engine of this machine may run other clients as well.
        project = self.projects[host]
        names = [
            name.removeprefix("/") for service, name in sorted(project.inspect(".Name").items()) if _runs_nodes(service)
        ]
        return {"wa_settings_restart_containers": names, "wa_settings_state_dir": str(self.state_dir(host))}

    def state_dir(self, host: str) -> Path:
        if host in self.machines:
            return self.machines[host].libraries / "wabiz-onprem"
        return super().state_dir(host)

    def started(self) -> dict[str, str]:
        """Host and service → when the engine started the container."""
        return {
            f"{host}/{service}": time_of_start
            for host, project in self.projects.items()
            for service, time_of_start in project.inspect(".State.StartedAt").items()
        }

    def restarted_since(self, before: Mapping[str, str]) -> set[str]:
        """Which of the containers the engine has started anew."""
        return {name for name, time_of_start in self.started().items() if time_of_start != before[name]}

    def coreapps(self) -> set[str]:
        """Host and service of all Coreapps."""
        return {name for name in self.started() if name.rpartition("/")[2].startswith("wacore")}

    def coreapp_starts(self) -> list[str]:
        """Full names of the Coreapps that started since the log was cleared, in order."""
        events = self.client.control.node_events()
        return [event["node"] for event in events if event["event"] == "start" and event["role"] == "coreapp"]

    def await_starts(self) -> list[str]:
        """The same, once each Coreapp that the engine has started has said so itself, or had the time for it."""
        end = time.monotonic() + READY_SECONDS
        while len(self.coreapp_starts()) < len(self.coreapps()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return self.coreapp_starts()

    def new_values(self) -> dict[str, Any]:
        """Settings that differ from the present ones and need a restart."""
        present = self.client.control.effective()["webhooks"]["max_concurrent_requests"]
        number = next(wanted for wanted in _CONNECTIONS if wanted > present % max(_CONNECTIONS))
        return {"webhooks": {"max_concurrent_requests": number}}

    def in_force(self, values: Mapping[str, Any]) -> bool:
        """Whether every Coreapp runs with what `new_values` gave."""
        return self.running(RESTART_BOUND) == {values["webhooks"]["max_concurrent_requests"]}

    def container_names(self) -> dict[str, str]:
        """Service → container name, of the only host."""
        (project,) = self.projects.values()
        return {service: name.removeprefix("/") for service, name in project.inspect(".Name").items()}

    def settle(self) -> None:
        """Take away what a test that broke off may have left: records, and Coreapps that are down."""
        for record in self.leftovers():
            record.unlink()
        for project in self.projects.values():
            states = project.inspect(".State.Status")
            down = [service for service, state in states.items() if state == "exited" and _runs_nodes(service)]
            if down:
                project.engine.call("start", *(project.container(service) for service in down))
        self.await_health()

    def await_health(self) -> None:
        """Wait until all nodes are up and as many of them connected as should be."""
        nodes, connected = self.healthy
        end = time.monotonic() + READY_SECONDS
        states: dict[str, str] = {}
        while time.monotonic() < end:
            records = self.client.control.nodes()
            states = {name: node["gateway_status"] for name, node in records.items() if node["reachable"]}
            if len(states) == nodes and list(states.values()).count("connected") == connected:
                return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"not {nodes} nodes, {connected} of them connected: {states}")


NewContainers = Callable[[str], ContainerDeployment]


def _runs_nodes(service: str) -> bool:
    return service.startswith(("wacore", "master"))


def webapp_overlay(names: Sequence[str], switches: Mapping[str, Any]) -> dict[str, Any]:
    """What an emulated Webapp needs beside Meta's file: names for its certificate, an account, switches."""
    return {
        "environment": {
            "WA_EMULATOR_TLS_NAMES": " ".join(names),
            "WA_EMULATOR_PASSWORD": PASSWORD,
            "WA_API_KEY": API_KEY,
            "WA_EMULATOR_SWITCHES": json.dumps(dict(switches)),
        }
    }


def secret_overlay(services: Sequence[str]) -> dict[str, Any]:
    """A database password that can be told from all other words."""
    return {service: {"environment": {"WA_DB_PASSWORD": DATABASE_PASSWORD}} for service in services}


# Not on every interface of the machine, whatever ports a file publishes.
LOOPBACK_ONLY = {"default": {"driver_opts": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}}


def connect(address: str, place: Path) -> EmulatedClient:
    """The client behind a published Webapp, trusted by the certificate that it made for itself."""
    url = f"https://{address}"
    host, _colon, port = address.rpartition(":")
    certificate = place / f"{address.replace(':', '-')}.pem"
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            certificate.write_text(ssl.get_server_certificate((host, int(port)), timeout=5), encoding="utf-8")
            control = Control(url, str(certificate))
            control.switches()
            return EmulatedClient(url, str(certificate), control)
        except (OSError, requests.RequestException):
            assert time.monotonic() < end, f"no Webapp at {url}"
            time.sleep(POLL_SECONDS)


@contextmanager
def crash_loop(cluster: ContainerDeployment, hostname: str) -> Iterator[None]:
    """Let a node's process end at each start from now on, until the block ends: another one holds its lock."""
    ((host, project),) = cluster.projects.items()
    node = next((name for name in cluster.client.control.nodes() if name.startswith(f"{hostname}:")), None)
    assert node is not None, f"no node on {hostname}"
    holder = unique(f"{host}-holder")
    volume = ["--volumes-from", project.container(hostname)]
    hold = ["flock", "--exclusive", f"/usr/local/wamedia/emulator/nodes/{node}.lock", "sleep", "infinity"]
    project.engine.call("run", "--detach", "--init", "--name", holder, *volume, IMAGES[1], *hold)
    try:
        yield
    finally:
        project.engine.call("rm", "--force", holder)


@contextmanager
def slow_start(cluster: ContainerDeployment, seconds: float) -> Iterator[None]:
    """Let each Coreapp take so long to start, once, since another process has its lock; less than ten seconds."""
    holders = []
    try:
        for host, project in cluster.projects.items():
            (node,) = (
                name
                for name, facts in cluster.client.control.nodes().items()
                if name.startswith(f"{host}:") and facts["kind"] == "coreapp"
            )
            holder = unique(f"{host}-slow")
            volume = ["--volumes-from", project.container("wacore")]
            hold = ["flock", "--exclusive", f"/usr/local/wamedia/emulator/nodes/{node}.lock", "sleep", str(seconds)]
            # Not the image of a Coreapp: the role would take it for another client's.
            project.engine.call("run", "--detach", "--init", "--name", holder, *volume, IMAGES[0], *hold)
            holders.append((project.engine, holder))
        yield
    finally:
        for engine, holder in holders:
            engine.call("rm", "--force", holder)


@contextmanager
def failing_start(cluster: ContainerDeployment) -> Iterator[None]:
    """Let the engine fail to start the container that MOUNTED_FILE is mounted into, until the block ends.

    Where the file is gone the engine makes a directory, which it cannot mount over a file.
    """
    mounted = cluster.place / MOUNTED_FILE
    mounted.unlink()
    try:
        yield
    finally:
        if mounted.is_dir():
            mounted.rmdir()
        mounted.touch()


def unique(name: str) -> str:
    """A project's name that no other run of the tests has."""
    return f"wabiz-{os.getpid()}-{name}"
