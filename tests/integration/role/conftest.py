# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single clients and clusters for the tests of the role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.deployments import Deployment, NewDeployment
from support.emulator import Emulator, running_emulator

CLUSTER = {"a": ["wacore1"], "b": ["wacore2"], "c": ["wacore3"]}


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
