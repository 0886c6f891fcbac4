# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collections that tests need, and this one where Ansible looks for it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from common import CACHE, COLLECTION_PATH, COLLECTIONS, COPIES, PIP, ROOT, SetupFailed, require, say

# Each range, and the package, holds releases that run on ansible-core 2.16 as well as on the newest.
NEEDED = {
    "awx.awx": ">=24.6.0,<25.0.0",
    "community.docker": ">=4.0.0,<5.0.0",
    "community.library_inventory_filtering_v1": ">=1.0.0",
    "kubernetes.core": ">=6.0.0,<7.0.0",
}
PACKAGE = "ansible==12.*"
INSTALL_SECONDS = "180"


def ensure_collections() -> None:
    """Link the checkout, and install what it needs, unless all is there. Sessions side by side wait for the first."""
    COLLECTIONS.mkdir(parents=True, exist_ok=True)
    stamp = COLLECTIONS / "set-up.json"
    wanted = json.dumps(NEEDED)
    with (COLLECTIONS / "set-up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _link_collection()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        say("  collections: " + ", ".join(NEEDED))
        galaxy = ["timeout", INSTALL_SECONDS, sys.executable, "-m", "ansible", "galaxy", "collection", "install"]
        galaxy += ["--timeout", "8", "--collections-path", str(COLLECTIONS), "--force"]
        try:
            require([*galaxy, *(f"{name}:{versions}" for name, versions in NEEDED.items())], what="ansible-galaxy")
        except SetupFailed:
            say(f"  Galaxy did not answer; taking them from the package {PACKAGE}")
            _unpack_package()
        stamp.write_text(wanted)


def _unpack_package() -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        download = [*PIP, "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
        require([*download, "--python-version", "3.12", "--dest", directory, PACKAGE], what=f"download {PACKAGE}")
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


def _link_collection() -> None:
    link = COLLECTIONS / COLLECTION_PATH
    target = os.path.relpath(ROOT, link.parent)
    if not link.is_symlink() or str(link.readlink()) != target:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def collection_files() -> list[Path]:
    """Return the relative paths of the files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).exists()]


def copy_collection(name: str) -> Path:
    """Make a fresh copy of the collection for the checker `name`, and return the copy's root."""
    base = COPIES / name
    root = base / COLLECTION_PATH
    shutil.rmtree(base, ignore_errors=True)
    for relative in collection_files():
        target = root / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / relative, target, follow_symlinks=False)
    # Checkers ask git for the files. Without a repository of its own the copy would be an ignored part of this one:
    # they would find nothing, and be content.
    subprocess.run(["git", "init", "--quiet", root], check=True, stdin=subprocess.DEVNULL)
    return root
