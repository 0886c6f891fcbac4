# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images: a base image with Python, and the emulator in the place of the real client's images."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine import Engine
from locations import CACHE, EMULATOR, LOGS
from progress import SetupFailed, logged, require, say
from venvs import ensure_pip

BASE_IMAGE = "wabiz-test-base:latest"
PUBLIC_BASE = "python:3-slim"
PULL_SECONDS = 120.0
DEBIAN_RELEASE = "bookworm"
DEBIAN_PACKAGES = "python3,ca-certificates"
DIGEST_LABEL = "wabiz.onprem.digest"
LOG = LOGS / "images.log"

# The names under which the Compose files ask for the real images.
IMAGES = {
    "Dockerfile.web": "docker.whatsapp.biz/web:v2.57.2",
    "Dockerfile.coreapp": "docker.whatsapp.biz/coreapp:v2.57.2",
    "Dockerfile.db": "mysql:8.0.33",
}


def ensure_images(engine: Engine) -> None:
    """Build the base image and all images of the emulator, each unless it is there in its present form."""
    if not _exists(engine, BASE_IMAGE):
        _make_base(engine)
    digest = _digest(engine)
    for dockerfile, image in IMAGES.items():
        if not _exists(engine, image, digest):
            say(f"  image {image}")
            _build(engine, image, dockerfile, digest)


def _build(engine: Engine, image: str, dockerfile: str, digest: str) -> None:
    command: list[str | Path] = [engine.docker, "build", "--file", EMULATOR / "containers" / dockerfile]
    command += ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--label", f"{DIGEST_LABEL}={digest}", "--tag", image]
    require([*command, _context(engine, digest)], LOG, what=f"docker build {image}")


def _context(engine: Engine, digest: str) -> Path:
    """Return the build context: the emulator, and beside it in `dependencies` the packages that it imports."""
    context = CACHE / "image-context"
    stamp = context / "set-up.json"
    if stamp.exists() and stamp.read_text() == digest:
        return context
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(EMULATOR, context, ignore=shutil.ignore_patterns("__pycache__"))
    install: list[str | Path] = [ensure_pip(), "install", "--quiet", "--target", context / "dependencies"]
    install += ["--only-binary=:all:", "--python-version", _python_of_base(engine)]
    require([*install, "-r", EMULATOR / "requirements.txt"], LOG, what="install what the emulator imports")
    stamp.write_text(digest)
    return context


def _python_of_base(engine: Engine) -> str:
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [str(engine.docker), "run", "--rm", "--network", "none", BASE_IMAGE, "python3", "-c", question]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupFailed(f"the base image does not run: {answer.stderr.strip()}")
    return answer.stdout.strip()


def _digest(engine: Engine) -> str:
    """Return a digest of all that the images are made of."""
    digest = hashlib.sha256(_inspect(engine, BASE_IMAGE, "{{ .Id }}").encode())
    for path in sorted(path for path in EMULATOR.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(str(path.relative_to(EMULATOR)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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


def _exists(engine: Engine, image: str, digest: str = "") -> bool:
    if not digest:
        return _inspect(engine, image, "{{ .Id }}") != ""
    return _inspect(engine, image, f'{{{{ index .Config.Labels "{DIGEST_LABEL}" }}}}') == digest


def _inspect(engine: Engine, image: str, template: str) -> str:
    """Return what a template says of an image, empty where there is no such image."""
    command = [str(engine.docker), "image", "inspect", "--format", template, image]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
