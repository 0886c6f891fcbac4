# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An execution environment as AWX starts it, on a network with emulated clients and nothing else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from support.containers import IMAGES, POLL_SECONDS, READY_SECONDS, unique
from support.deployments import NODE_CONTROL, Deployment, NewDeployment
from support.emulator import Emulator, webapp
from support.engines import Engine
from support.execution_environments import ADDRESS, PORT, ExecutionEnvironment
from wabiz_emulator import certificates

CLIENTS = 50


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("containers")


@pytest.fixture(scope="session")
def network(engine: Engine) -> Iterator[str]:
    """A network that leads nowhere, not even to this machine."""
    name = unique("jobs")
    engine.call("network", "create", "--internal", "--opt=com.docker.network.bridge.inhibit_ipv4=true", name)
    try:
        yield name
    finally:
        # A test that broke off may have left a job.
        if left := engine.call("ps", "--all", "--quiet", "--filter", f"network={name}").split():
            engine.call("rm", "--force", *left)
        engine.call("network", "rm", name)


@pytest.fixture(scope="session")
def emulator_container() -> str:
    """The name of the container that the emulator runs in."""
    return unique("emulator")


@pytest.fixture(scope="session")
def emulator(
    engine: Engine, network: str, emulator_container: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulator]:
    """Many independent clients in a container, which the tests reach by a published port."""
    place = tmp_path_factory.mktemp("emulator")
    ca_path, certificate, key = certificates.write_pki(place / "pki", [ADDRESS])
    command = ["python3", *webapp(CLIENTS, certificate, key), "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104
    try:
        engine.call(
            "run", "--detach", "--init", f"--name={emulator_container}", f"--publish=127.0.0.1::{PORT}",
            f"--volume={place}:{place}:ro", IMAGES[0], *command,
        )  # fmt: skip
        engine.call("network", "connect", f"--alias={ADDRESS}", network, emulator_container)
        published = engine.call("port", emulator_container, f"{PORT}/tcp").split()[0]
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                running = Emulator(f"https://{published}", ca_path, place)
                break
            except requests.RequestException:
                assert time.monotonic() < end, engine.call("logs", emulator_container)
                time.sleep(POLL_SECONDS)
        yield running
    finally:
        engine.call("rm", "--force", emulator_container)


@pytest.fixture
def environment(engine: Engine, network: str, emulator: Emulator, tmp_path: Path) -> ExecutionEnvironment:
    """The execution environment; for restarts, the emulator's CA lies in the exposed path."""
    exposed = tmp_path / "exposed"
    exposed.mkdir()
    shutil.copy(emulator.ca_path, exposed)
    return ExecutionEnvironment(engine, os.environ["WABIZ_EXECUTION_ENVIRONMENT"], network, exposed)


@pytest.fixture
def new_single(emulator: Emulator, environment: ExecutionEnvironment) -> NewDeployment:
    """A single client under its address on that network, restarted by a command; its record is in the exposed path."""

    def new(name: str = "one", **extra: Any) -> Deployment:
        client = emulator.new_client()
        url = f"https://{ADDRESS}:{PORT}/{client.api_url.rpartition('/')[2]}"
        authority = str(environment.exposed / emulator.ca_path.name)
        restart = ["python3", "-c", NODE_CONTROL.read_text(), url, authority, "restart"]
        there = {"wa_settings_api_url": url, "wa_settings_restart_command": restart, **extra}
        return Deployment(name, client, {name: ["wacore"]}, environment.exposed, there)

    return new
