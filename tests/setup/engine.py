# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container engine: the one that runs already, or Docker from the distribution's packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from locations import CACHE, LOGS
from progress import SetupFailed, require, say, tail

REQUIRE_VARIABLE = "WABIZ_REQUIRE_ENGINE"
PACKAGES = {"docker.io": "dockerd", "docker-compose": "docker-compose", "mmdebstrap": "mmdebstrap", "podman": "podman"}
ANSWER_SECONDS = 20.0
START_SECONDS = 60.0
POLL_SECONDS = 0.25
PID_FILE = CACHE / "dockerd.pid"

# Steps that run side by side may both need some.
_PACKAGES = threading.Lock()


class EngineMissing(Exception):
    """No container engine, no Kubernetes, or no browser can be had here; the text says why."""


@dataclass(frozen=True)
class Engine:
    """A running Docker engine: the client that reaches it, and the Compose command that goes with it."""

    docker: Path
    compose: tuple[str, ...]

    def variables(self) -> dict[str, str]:
        """Return what tests and scenarios need to know of the engine."""
        return {"WABIZ_DOCKER": str(self.docker), "WABIZ_COMPOSE": " ".join(self.compose)}


def engine_required() -> bool:
    """Return whether a missing engine is a failure rather than a reason to leave container tests out."""
    return os.environ.get(REQUIRE_VARIABLE) == "1"


def running_engine() -> Engine | None:
    """Return an engine that answers as it is; nothing is installed or started for it."""
    docker = _answering_client()
    return _engine(docker) if docker is not None and _compose(docker) is not None else None


def ensure_engine() -> Engine:
    """Return a running engine; install and start one where that is possible (root, Debian or Ubuntu)."""
    engine = running_engine()
    if engine is not None:
        return engine
    docker = _answering_client()
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        what = "no Docker engine answers" if docker is None else "neither `docker compose` nor docker-compose is there"
        raise EngineMissing(f"{what}; it can be installed from here only by root on Debian or Ubuntu")
    install_packages(PACKAGES)
    if docker is None:
        docker = _answering_client()
    if docker is None:
        _start_daemon()
        docker = _answering_client()
    if docker is None:
        raise EngineMissing("the Docker daemon runs, but no Docker client on the PATH can talk to it")
    return _engine(docker)


def stop_engine() -> None:
    """Stop the daemon that the set-up started, if it did and it still runs."""
    if not PID_FILE.exists():
        return
    pid = int(PID_FILE.read_text())
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
            say(f"  stopping dockerd ({pid})")
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + START_SECONDS
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
    except (FileNotFoundError, ProcessLookupError):
        pass
    PID_FILE.unlink()


def _engine(docker: Path) -> Engine:
    compose = _compose(docker)
    if compose is None:
        raise EngineMissing("neither `docker compose` nor docker-compose is there")
    return Engine(docker, compose)


def _answering_client() -> Path | None:
    # The first client on the PATH may be too new or too old for the engine, or set up for one that is elsewhere.
    for directory in os.get_exec_path():
        client = Path(directory) / "docker"
        if client.is_file() and os.access(client, os.X_OK) and _succeeds([str(client), "info"]):
            return client
    return None


def _compose(docker: Path) -> tuple[str, ...] | None:
    if _succeeds([str(docker), "compose", "version"]):
        return (str(docker), "compose")
    if standalone := shutil.which("docker-compose"):
        return (standalone,)
    return None


def _succeeds(command: list[str]) -> bool:
    try:
        answer = subprocess.run(command, capture_output=True, check=False, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def install_packages(packages: Mapping[str, str]) -> None:
    """Install packages (name → a program that comes with it) of Debian or Ubuntu, as root, unless they are there."""
    missing = [package for package, program in packages.items() if shutil.which(program) is None]
    if not missing:
        return
    say("  packages: " + ", ".join(missing))
    log = LOGS / "packages.log"
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *missing]
    with _PACKAGES:
        require(["apt-get", "update", "--quiet"], log, what="apt-get update", env=env)
        require(install, log, what="apt-get install", env=env)


def _start_daemon() -> None:
    log = LOGS / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    daemon = shutil.which("dockerd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if daemon is None:
        raise EngineMissing("the packages brought no dockerd")
    say(f"  dockerd, log in {log}")
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [daemon], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd="/", start_new_session=True
        )
    PID_FILE.write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while _answering_client() is None:
        if process.poll() is not None:
            raise EngineMissing(f"dockerd ended with code {process.returncode}. The end of {log}:\n{tail(log, 15)}")
        if time.monotonic() > deadline:
            raise EngineMissing(f"dockerd did not answer within {START_SECONDS:.0f} s; see {log}")
        time.sleep(POLL_SECONDS)
    # The daemon outlives this process on purpose: the tests need it, and the next run finds it ready.
    process.returncode = 0


def main() -> int:
    """Set the engine up and print what was found."""
    try:
        print(ensure_engine())
    except (EngineMissing, SetupFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
