# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests that run the real Ansible commands against emulated clients."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.batch import Batch, Case, RunCases, run_batch
from support.commands import PATHS, ROOT, AnsibleCommands
from support.containers import IMAGES
from support.deployments import Deployment, NewDeployment
from support.emulator import EmulatedClient, Emulator, running_emulator
from support.engines import ContainerHost, Engine, container_hosts, machine_engine

CLUSTER = {"a": ["wacore1"], "b": ["wacore2"], "c": ["wacore3"]}


@pytest.fixture(scope="session", autouse=True)
def _collection_tree() -> None:
    """Make the checkout a collection that Ansible finds, where no set-up has done it yet."""
    link = ROOT / ".cache" / "collections" / "ansible_collections" / "wabiz" / "onprem"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Many independent clients over HTTPS; a test takes `new_client()`."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture
def client(emulator: Emulator) -> EmulatedClient:
    """A fresh client with default settings."""
    return emulator.new_client()


@pytest.fixture
def ansible(tmp_path: Path) -> AnsibleCommands:
    """The Ansible commands, with a home, temporary directory and configuration of this test's own."""
    return AnsibleCommands(tmp_path / "ansible")


@pytest.fixture(params=list(PATHS))
def path(request: pytest.FixtureRequest) -> str:
    """Each way in which a module runs: inside the controller process, or as a module."""
    return str(request.param)


@pytest.fixture(scope="session")
def run_cases(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> RunCases:
    """Run a list of cases over a path; the same list is run once only, whoever asks."""
    known: dict[tuple[str, int], Batch] = {}

    def run(path: str, cases: Sequence[Case]) -> Batch:
        key = (path, id(cases))
        if key not in known:
            known[key] = run_batch(AnsibleCommands(tmp_path_factory.mktemp(f"batch-{path}")), emulator, path, cases)
        return known[key]

    return run


@pytest.fixture(scope="session")
def cluster_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Clusters in the shape of Meta's multiconnect file: two masters, three Coreapps, two shards."""
    nodes = "master1,master2,wacore1,wacore2,wacore3"
    with running_emulator(tmp_path_factory.mktemp("clusters"), 200, nodes, "--switch", "shards=2") as running:
        yield running


@pytest.fixture
def new_single(emulator: Emulator, tmp_path: Path) -> NewDeployment:
    """A single client: a host with one Coreapp."""

    def new(name: str = "one", **extra: Any) -> Deployment:
        return Deployment(name, emulator.new_client(), {name: ["wacore"]}, tmp_path, extra)

    return new


@pytest.fixture
def new_cluster(cluster_emulator: Emulator, tmp_path: Path) -> NewDeployment:
    """A cluster of three hosts with one Coreapp each, or as `hosts` says."""

    def new(name: str = "trio", hosts: Mapping[str, Sequence[str]] | None = None, **extra: Any) -> Deployment:
        named = {f"{name}-{host}": nodes for host, nodes in (hosts or CLUSTER).items()}
        return Deployment(name, cluster_emulator.new_client(), named, tmp_path, extra)

    return new


@pytest.fixture(scope="session")
def engine() -> Engine:
    """This machine's engine."""
    return machine_engine()


@pytest.fixture(scope="session")
def hosts(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ContainerHost]]:
    """Two container hosts, each with an engine of its own where the role looks for it by itself."""
    assert os.geteuid() == 0, "hosts in namespaces of their own need root"
    with container_hosts(["spread-a", "spread-b"], tmp_path_factory.mktemp("hosts"), engine, IMAGES) as found:
        yield found
