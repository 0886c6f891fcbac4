# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated clients that the actions talk to, and a place for what one task hands over to the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible import constants

from support.deployments import Deployment
from support.emulator import Emulator, running_emulator

# Long enough to be seen away, even if the machine has other work.
SLOW = ("--switch", "connect_seconds=1")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator"), 100, "wacore", *SLOW) as running:
        yield running


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    nodes = "master1,wacore1,wacore2"
    with running_emulator(tmp_path_factory.mktemp("clusters"), 40, nodes, "--switch", "shards=2", *SLOW) as running:
        yield running


@pytest.fixture(autouse=True)
def run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(place))


@pytest.fixture
def single(emulator: Emulator, tmp_path: Path) -> Deployment:
    return _unused(Deployment("one", emulator.new_client(), {"one": ["wacore"]}, tmp_path))


@pytest.fixture
def pair(clusters: Emulator, tmp_path: Path) -> Deployment:
    return _unused(Deployment("duo", clusters.new_client(), {"a": ["wacore1"], "b": ["wacore2"]}, tmp_path))


def _unused(deployment: Deployment) -> Deployment:
    """Once its nodes have started."""
    deployment.forget()
    return deployment
