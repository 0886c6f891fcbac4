# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collections that the role and its tests need: from Galaxy, or where it cannot be reached from PyPI."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

from locations import CACHE, COLLECTIONS, LOGS
from progress import SetupFailed, logged, require, say
from venvs import Environment, ensure_pip

# Each range, and the package, holds releases that run on ansible-core 2.16 as well as on the newest.
NEEDED = {
    "awx.awx": ">=24.6.0,<25.0.0",
    "community.docker": ">=4.0.0,<5.0.0",
    "community.library_inventory_filtering_v1": ">=1.0.0",
    "kubernetes.core": ">=6.0.0,<7.0.0",
}
PACKAGE = "ansible==12.*"
PACKAGE_PYTHON = "3.12"
GALAXY_TIMEOUT_SECONDS = 8
INSTALL_TIMEOUT_SECONDS = 180.0


def ensure_dependencies(environment: Environment) -> None:
    """Install the needed collections with the ansible-galaxy of a ready environment, unless they are there."""
    stamp = COLLECTIONS / "set-up.json"
    wanted = json.dumps(NEEDED)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("  collections: " + ", ".join(NEEDED))
    log = LOGS / "collections.log"
    galaxy: list[str | Path] = [environment.directory / "bin" / "ansible-galaxy", "collection", "install"]
    galaxy += ["--timeout", str(GALAXY_TIMEOUT_SECONDS), "--collections-path", COLLECTIONS, "--force"]
    galaxy += [f"{name}:{versions}" for name, versions in NEEDED.items()]
    code = logged(
        galaxy, log, env=environment.variables(), timeout=INSTALL_TIMEOUT_SECONDS, label="ansible-galaxy install"
    )
    if code != 0:
        say(f"  Galaxy did not answer (see {log}); taking them from the package {PACKAGE}")
        _unpack_package(log)
    stamp.write_text(wanted)


def _unpack_package(log: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        download: list[str | Path] = [ensure_pip(), "download", "--quiet", "--no-deps", "--no-cache-dir"]
        download += ["--only-binary=:all:", "--python-version", PACKAGE_PYTHON, "--dest", directory, PACKAGE]
        require(download, log, what=f"download {PACKAGE}")
        (wheel,) = Path(directory).glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            for collection in NEEDED:
                folder = "ansible_collections/" + collection.replace(".", "/") + "/"
                members = [name for name in names if name.startswith(folder)]
                if not members:
                    raise SetupFailed(f"{wheel.name} does not hold {collection}")
                shutil.rmtree(COLLECTIONS / folder, ignore_errors=True)
                archive.extractall(COLLECTIONS, members)
