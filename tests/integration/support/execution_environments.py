# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of an execution environment, as AWX starts them for jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from support.engines import Engine, run

# What the clients are called on the network of the jobs.
ADDRESS = "wa.example.com"
PORT = 9090
# Root would be refused nothing, so in its place the image's own user.
USER = os.getuid() or 1000


@dataclass(frozen=True)
class ExecutionEnvironment:
    """An image, and the only network of its containers. All of them see the path `exposed` of this machine."""

    engine: Engine
    image: str
    network: str
    exposed: Path

    def within(self, *places: Path) -> list[str]:
        """The words that run a command in a new container, which sees these folders of this machine as well."""
        volumes = [*places, self.exposed]
        for path in (path for volume in volumes for path in (volume, *volume.rglob("*"))):
            if path.stat().st_uid != USER:
                os.chown(path, USER, -1)
        mounted = [f"--volume={volume}:{volume}" for volume in volumes]
        return [self.engine.docker, "run", "--rm", f"--network={self.network}", f"--user={USER}", *mounted, self.image]

    def run(self, *command: str) -> str:
        """Run a command that has to succeed; its output."""
        return run([*self.within(), *command])
