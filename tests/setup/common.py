# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything that is set up lies (below .cache), how commands run, and what a machine may lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
COLLECTIONS = CACHE / "collections"
COPIES = CACHE / "copies"
EMULATOR = ROOT / "tests" / "emulator"
REQUIREMENTS = ROOT / "tests" / "setup" / "requirements"

COLLECTION_PATH = Path("ansible_collections") / "wabiz" / "onprem"

PIP = (sys.executable, "-m", "pip")  # the one beside the nox that runs this
APT = ("apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=300", "--option", "Acquire::Retries=3")
TAIL_LINES = 40


class SetupFailed(Exception):
    """The set-up cannot go on; the text tells a person what to do."""


class Missing(Exception):
    """No container engine, no Kubernetes, or no browser can be had here; the text says why."""


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def require(
    command: Sequence[str | Path], *, what: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> None:
    """Run a command without showing its output; raise SetupFailed with the end of it when it fails."""
    answer = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if answer.returncode != 0:
        end = "\n".join(answer.stdout.splitlines()[-TAIL_LINES:])
        raise SetupFailed(f"{what} failed with exit code {answer.returncode}:\n{end}")


def install_packages(packages: Mapping[str, str]) -> None:
    """Install packages (name → a program that comes with it) of Debian or Ubuntu, as root, unless they are there."""
    missing = [package for package, program in packages.items() if shutil.which(program) is None]
    if not missing:
        return
    say("  packages: " + ", ".join(missing))
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    require([*APT, "update"], what="apt-get update", env=env)
    require([*APT, "install", "--yes", "--no-install-recommends", *missing], what="apt-get install", env=env)


def can_install() -> bool:
    """Return whether packages can be installed from here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None
