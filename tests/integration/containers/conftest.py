# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients in real containers: they start once and serve all tests, which declare new values each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.containers import (
    DATABASE_IMAGE,
    LOOPBACK_ONLY,
    MOUNTED_FILE,
    PORT,
    ComposeProject,
    ContainerDeployment,
    NewContainers,
    connect,
    secret_overlay,
    unique,
    webapp_overlay,
)
from support.engines import ContainerHost, Engine

# The tests share the machine with others: a pause of a node is no death.
SWITCHES = {"connect_seconds": 0.5, "heartbeat_timeout": 20}
SHARDS = 2
MULTICONNECT_NODES = ["wacore1", "wacore2", "wacore3"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("containers")


@pytest.fixture(scope="session")
def new_multiconnect(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewContainers]:
    """Meta's multiconnect topology on one engine: two masters, three Coreapps, Webapp, database, and an upgrade job."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(_multiconnect(engine, name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def shared_multiconnect(new_multiconnect: NewContainers) -> ContainerDeployment:
    """The cluster on one engine that all tests share."""
    return new_multiconnect("multi")


@pytest.fixture
def multiconnect(shared_multiconnect: ContainerDeployment) -> Iterator[ContainerDeployment]:
    """The cluster on one engine, in good health."""
    yield shared_multiconnect
    shared_multiconnect.settle()


@pytest.fixture(scope="session")
def new_single(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewContainers]:
    """Meta's single instance: Coreapp, Webapp, database, and an upgrade job."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(_single(engine, name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def single(new_single: NewContainers) -> ContainerDeployment:
    """The single client that most tests share."""
    return new_single("single")


@pytest.fixture(scope="session")
def shared_spread(
    hosts: list[ContainerHost], engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerDeployment]:
    """Meta's production form over two hosts: one Webapp, master and Coreapp on each, the database elsewhere."""
    with _spread(engine, hosts, tmp_path_factory.mktemp("spread")) as deployment:
        yield deployment


@pytest.fixture
def spread(shared_spread: ContainerDeployment) -> Iterator[ContainerDeployment]:
    """The cluster over two hosts, in good health."""
    yield shared_spread
    shared_spread.settle()


@contextmanager
def _multiconnect(engine: Engine, name: str, place: Path) -> Iterator[ContainerDeployment]:
    nodes = ["master1", "master2", *MULTICONNECT_NODES]
    services = secret_overlay(nodes)
    services["waweb"] = webapp_overlay(["127.0.0.1"], {**SWITCHES, "shards": SHARDS})
    services["dbupgrade"] = _upgrade_job()
    # A start of this one can be made to fail: by taking the file away.
    (place / MOUNTED_FILE).touch()
    services["wacore2"]["volumes"] = [f"{place / MOUNTED_FILE}:/etc/wabiz-emulator:ro"]
    files = ["multiconnect-compose.yml", "dbupgrade-compose.yml"]
    project = ComposeProject(engine, unique(name), place, files, {"services": services, "networks": LOOPBACK_ONLY})
    try:
        project.compose("up", "--detach")
        client = connect(project.published("waweb", 443), place)
        hosts = {name: MULTICONNECT_NODES}
        # The primary master is connected as well.
        healthy = (len(nodes), SHARDS + 1)
        deployment = ContainerDeployment(name, client, hosts, place, projects={name: project}, healthy=healthy)
        deployment.await_health()
        yield deployment
    finally:
        project.down()


@contextmanager
def _single(engine: Engine, name: str, place: Path) -> Iterator[ContainerDeployment]:
    services = secret_overlay(["wacore"])
    services["waweb"] = webapp_overlay(["127.0.0.1"], SWITCHES)
    services["dbupgrade"] = _upgrade_job()
    files = ["docker-compose.yml", "dbupgrade-compose.yml"]
    project = ComposeProject(engine, unique(name), place, files, {"services": services, "networks": LOOPBACK_ONLY})
    try:
        project.compose("up", "--detach")
        client = connect(project.published("waweb", 443), place)
        deployment = ContainerDeployment(name, client, {name: ["wacore"]}, place, projects={name: project})
        deployment.await_health()
        yield deployment
    finally:
        project.down()


@contextmanager
def _spread(engine: Engine, hosts: list[ContainerHost], place: Path) -> Iterator[ContainerDeployment]:
    store = place / "wamedia"
    store.mkdir()
    database, database_port = unique("database"), 3306
    projects: dict[str, ComposeProject] = {}
    with ExitStack() as stack:
        engine.call(
            "run", "--detach", "--name", database, "--publish", f"{hosts[0].gateway}::{database_port}", DATABASE_IMAGE
        )
        stack.callback(engine.call, "rm", "--force", "--volumes", database)
        elsewhere = engine.call("port", database, f"{database_port}/tcp").split()[0].rpartition(":")
        for host in hosts:
            services = secret_overlay(["wacore", "master", "waweb"])
            web = webapp_overlay([host.address for host in hosts], SWITCHES)
            services["waweb"]["environment"] |= web["environment"]
            for service in services.values():
                service["environment"] |= {"WA_DB_HOSTNAME": elsewhere[0], "WA_DB_PORT": elsewhere[2]}
            services["dbupgrade"] = {**_upgrade_job(), "command": ["sleep", "infinity"]}
            shared = {"driver_opts": {"type": "none", "o": "bind", "device": str(store)}}
            over = {"services": services, "volumes": {"whatsappMedia": shared}}
            files = ["prod-multiconnect-compose.yml", "dbupgrade-compose.yml"]
            project = ComposeProject(host.engine, unique("spread"), place / host.name, files, over)
            project.variables |= {"EXTERNAL_HOSTNAME": host.name, "EXTERNAL_WEBAPP_PORT": str(PORT)}
            stack.callback(project.down)
            project.compose("up", "--detach")
            projects[host.name] = project
        client = connect(f"{hosts[0].address}:{PORT}", place)
        nodes = {host.name: [host.name] for host in hosts}
        machines = {host.name: host for host in hosts}
        deployment = ContainerDeployment(
            "spread", client, nodes, place, projects=projects, machines=machines, healthy=(2 * len(hosts), 1)
        )
        deployment.await_health()
        yield deployment


def _upgrade_job() -> dict[str, object]:
    # Its file gives it no network on which the database has a name.
    return {"environment": {"WA_EMULATOR_SKIP_DB_WAIT": "1"}}
