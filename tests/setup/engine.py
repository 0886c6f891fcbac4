# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container engine: one that runs, or Docker from the distribution's packages; and images with the emulator in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import CACHE, EMULATOR, LOGS, PIP, Missing, SetupFailed, can_install, install_packages, require, say

PACKAGES = {"docker.io": "dockerd", "docker-compose": "docker-compose", "mmdebstrap": "mmdebstrap", "podman": "podman"}
ANSWER_SECONDS = 20.0
START_SECONDS = 60.0
POLL_SECONDS = 0.25
PID_FILE = CACHE / "dockerd.pid"

# The tag changes with the packages: an image of this name that is there is taken as it is.
BASE_IMAGE = "wabiz-test-base:2"
PUBLIC_BASE = "python:3-slim"
PULL_SECONDS = "120"
DEBIAN_RELEASE = "bookworm"
DEBIAN_PACKAGES = "python3,ca-certificates,curl,netcat-openbsd"
BUILD_SCRIPT = EMULATOR / "containers" / "build-images"
# What the script makes, under the names by which the Compose files ask for the real images.
CLIENT_VERSION = "2.57.2"
IMAGES = (
    f"docker.whatsapp.biz/web:v{CLIENT_VERSION}",
    f"docker.whatsapp.biz/coreapp:v{CLIENT_VERSION}",
    "mysql:8.0.33",
    "postgres:13.8",
)
STAMP = CACHE / "images.json"


@dataclass(frozen=True)
class Engine:
    """A running Docker engine: the client that reaches it, and the Compose command that goes with it."""

    docker: Path
    compose: tuple[str, ...]

    def variables(self) -> dict[str, str]:
        """Return what tests and scenarios need to know of the engine."""
        return {"WABIZ_DOCKER": str(self.docker), "WABIZ_COMPOSE": " ".join(self.compose)}


def running_engine() -> Engine | None:
    """Return an engine that answers as it is; nothing is installed or started for it."""
    docker = _answering_client()
    compose = _compose(docker) if docker is not None else None
    return Engine(docker, compose) if docker is not None and compose is not None else None


def ensure_engine() -> Engine:
    """Return a running engine; install and start one if that is possible (root, Debian or Ubuntu)."""
    if (engine := running_engine()) is None:
        if not can_install():
            raise Missing("no Docker engine with Compose answers; only root on Debian or Ubuntu can install it here")
        install_packages(PACKAGES)
        if _answering_client() is None:
            _start_daemon()
        engine = running_engine()
    if engine is None:
        raise Missing("the Docker daemon runs, but no Docker client on the PATH, or no Compose, can talk to it")
    return engine


def stop_engine() -> None:
    """Stop the daemon that the set-up started, if it did and it still runs."""
    if PID_FILE.exists():
        pid = PID_FILE.read_text()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
                say(f"  stopping dockerd ({pid})")
                os.kill(int(pid), signal.SIGTERM)
        PID_FILE.unlink()


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
    standalone = shutil.which("docker-compose")
    return (standalone,) if standalone else None


def _succeeds(command: list[str]) -> bool:
    try:
        answer = subprocess.run(command, capture_output=True, check=False, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _start_daemon() -> None:
    log = LOGS / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    daemon = shutil.which("dockerd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if daemon is None:
        raise Missing("the packages brought no dockerd")
    say(f"  dockerd, log in {log}")
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [daemon], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd="/", start_new_session=True
        )
    PID_FILE.write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while _answering_client() is None:
        if process.poll() is not None:
            raise Missing(f"dockerd ended with code {process.returncode}. See {log}")
        if time.monotonic() > deadline:
            raise Missing(f"dockerd did not answer within {START_SECONDS:.0f} s; see {log}")
        time.sleep(POLL_SECONDS)
    # The daemon outlives this process on purpose: the tests need it, and the next run finds it ready.
    process.returncode = 0


def ensure_images(engine: Engine) -> None:
    """Build the base image and all images of the emulator, unless they are there in their present form."""
    if not _identity(engine, BASE_IMAGE):
        _make_base(engine)
    if STAMP.exists() and STAMP.read_text() == _state(engine):
        return
    say("  images: " + ", ".join(IMAGES))
    env = os.environ | {"BASE_IMAGE": BASE_IMAGE, "PIP": " ".join(PIP), "DOCKER": str(engine.docker)}
    require([BUILD_SCRIPT, CLIENT_VERSION], what="build the images", env=env)
    STAMP.write_text(_state(engine))


def _state(engine: Engine) -> str:
    """Return what tells images apart from those that were built before: their sources, and what the engine has."""
    digest = hashlib.sha256()
    for path in sorted((EMULATOR / "containers").rglob("*")) + sorted((EMULATOR / "wabiz_emulator").rglob("*.py")):
        if path.is_file():
            digest.update(str(path.relative_to(EMULATOR)).encode() + b"\0" + path.read_bytes())
    return json.dumps({"sources": digest.hexdigest(), **{name: _identity(engine, name) for name in IMAGES}})


def _make_base(engine: Engine) -> None:
    say(f"  base image: pulling {PUBLIC_BASE}")
    try:
        require(["timeout", PULL_SECONDS, engine.docker, "pull", PUBLIC_BASE], what=f"docker pull {PUBLIC_BASE}")
        require([engine.docker, "tag", PUBLIC_BASE, BASE_IMAGE], what="docker tag")
    except SetupFailed as fault:
        bootstrap = shutil.which("mmdebstrap")
        if bootstrap is None:
            raise SetupFailed(f"{fault}\nmmdebstrap, which could make a base image, is not there") from fault
    else:
        return
    say(f"  base image: no registry answers, making one from Debian {DEBIAN_RELEASE} (half a minute)")
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        archive = Path(directory) / "base.tar"
        command = [bootstrap, "--variant=minbase", f"--include={DEBIAN_PACKAGES}", DEBIAN_RELEASE, str(archive)]
        require(command, what="mmdebstrap")
        require([engine.docker, "import", archive, BASE_IMAGE], what="docker import")


def _identity(engine: Engine, image: str) -> str:
    """Return the engine's id of an image, empty where there is no such image."""
    command = [str(engine.docker), "image", "inspect", "--format", "{{ .Id }}", image]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
