# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend `podman` on the real engine."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import AnsibleCommands
from support.containers import IMAGES, ContainerDeployment, connect, webapp_overlay
from support.deployments import apply
from support.engines import ContainerHost, Engine, run

# The engine asks for more than a machine may give it.
LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
MOST = 1024
PORT = 9091


class Podman:
    """podman on a container host."""

    def __init__(self, host: ContainerHost) -> None:
        self._within = host.engine.within

    def call(self, *arguments: str) -> str:
        return run([*self._within, "podman", *arguments])

    def load(self, machine: Engine) -> None:
        """Take the images from this machine's engine."""
        with subprocess.Popen([machine.docker, "save", *IMAGES], stdout=subprocess.PIPE) as saved:
            assert saved.stdout is not None
            run([*self._within, "podman", "load", "--quiet"], stdin=saved.stdout.fileno())
        assert saved.returncode == 0

    def start(self, name: str, image: str, *options: str, **environment: str) -> None:
        limits = [f"--ulimit={name}={most}:{most}" for name, most in _limits().items()]
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        command = ["/opt/whatsapp/bin/wait_on_mysql.sh", "/opt/whatsapp/bin/launch_within_docker.sh"]
        volume = "--volume=whatsappMedia:/usr/local/wamedia"
        self.call("run", "--detach", f"--name={name}", volume, *limits, *variables, *options, image, *command)

    def started(self) -> dict[str, str]:
        """Container → when the engine started it."""
        names = self.call("ps", "--all", "--format", "{{.Names}}").split()
        lines = self.call("inspect", "--type", "container", "--format", "{{.Name}} {{.State.StartedAt}}", *names)
        return dict(line.split(" ", 1) for line in lines.splitlines())


def _limits() -> dict[str, int]:
    hard = {name: resource.getrlimit(kind)[1] for name, kind in LIMITS.items()}
    return {name: MOST if limit == resource.RLIM_INFINITY else min(MOST, limit) for name, limit in hard.items()}


@pytest.fixture
def podman(hosts: list[ContainerHost], engine: Engine) -> Iterator[Podman]:
    """podman with a Coreapp, a Webapp and an upgrade job that still runs."""
    podman, web = Podman(hosts[0]), webapp_overlay([hosts[0].address], {"connect_seconds": 0.5})["environment"]
    podman.load(engine)
    try:
        podman.start("wacore", IMAGES[1])
        podman.start("waweb", IMAGES[0], f"--publish={PORT}:443", **web)
        podman.start("dbupgrade", IMAGES[1], WA_DB_UPGRADE="1", WA_DB_HOSTNAME="192.0.2.1")
        yield podman
    finally:
        podman.call("rm", "--all", "--force", "--volumes", "--time=1")
        podman.call("volume", "rm", "--all", "--force")


def test_podman_restarts_the_coreapp_and_nothing_else(
    ansible: AnsibleCommands, podman: Podman, hosts: list[ContainerHost], tmp_path: Path
) -> None:
    client = connect(f"{hosts[0].address}:{PORT}", tmp_path)
    extra = {"wa_settings_restart_backend": "podman"}
    deployment = ContainerDeployment(
        "pod", client, {"pod": ["wacore"]}, tmp_path, extra, machines={"pod": hosts[0]}, port=PORT
    )
    deployment.await_health()
    deployment.forget()
    before, values = podman.started(), deployment.new_values()
    first = apply(ansible, [deployment], values)
    assert first.rc == 0, first.output
    after = podman.started()
    assert {name for name, time in after.items() if time != before[name]} == {"wacore"}
    assert len(deployment.coreapp_starts()) == 1
    assert deployment.in_force(values)
    assert deployment.leftovers() == []
    again = apply(ansible, [deployment], values)
    assert again.stats()["pod"]["changed"] == 0, again.output
