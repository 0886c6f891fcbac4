# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images: a base image with Python, and the emulator in the place of the real client's images."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine import Engine
from locations import CACHE, EMULATOR, LOGS
from progress import SetupFailed, logged, require, say
from venvs import ensure_pip

# The tag changes with the packages: an image of this name that is there is taken as it is.
BASE_IMAGE = "wabiz-test-base:2"
PUBLIC_BASE = "python:3-slim"
PULL_SECONDS = 120.0
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
LOG = LOGS / "images.log"
STAMP = CACHE / "images.json"


def ensure_images(engine: Engine) -> None:
    """Build the base image and all images of the emulator, unless they are there in their present form."""
    if not _identity(engine, BASE_IMAGE):
        _make_base(engine)
    if STAMP.exists() and STAMP.read_text() == _state(engine):
        return
    say("  images: " + ", ".join(IMAGES))
    env = os.environ | {"BASE_IMAGE": BASE_IMAGE, "PIP": str(ensure_pip()), "DOCKER": str(engine.docker)}
    require([BUILD_SCRIPT, CLIENT_VERSION], LOG, what="build the images", env=env)
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
    if logged([engine.docker, "pull", PUBLIC_BASE], LOG, timeout=PULL_SECONDS, label="docker pull") == 0:
        require([engine.docker, "tag", PUBLIC_BASE, BASE_IMAGE], LOG, what="docker tag")
        return
    bootstrap = shutil.which("mmdebstrap")
    if bootstrap is None:
        raise SetupFailed(
            f"{PUBLIC_BASE} cannot be pulled, and mmdebstrap is not there to make a base image (see {LOG})"
        )
    say(f"  base image: no registry answers, making one from Debian {DEBIAN_RELEASE} (half a minute)")
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        archive = Path(directory) / "base.tar"
        command = [bootstrap, "--variant=minbase", f"--include={DEBIAN_PACKAGES}", DEBIAN_RELEASE, str(archive)]
        require(command, LOG, what="mmdebstrap")
        require([engine.docker, "import", archive, BASE_IMAGE], LOG, what="docker import")


def _identity(engine: Engine, image: str) -> str:
    """Return the engine's id of an image, empty where there is no such image."""
    command = [str(engine.docker), "image", "inspect", "--format", "{{ .Id }}", image]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
