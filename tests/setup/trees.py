# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection where Ansible looks for it: a link for running it, a copy for the checkers that insist on one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from locations import COLLECTION_PATH, COLLECTIONS, COPIES, ROOT
from progress import SetupFailed


def link_collection() -> Path:
    """Link the checkout into the collections directory and return the link."""
    link = COLLECTIONS / COLLECTION_PATH
    target = os.path.relpath(ROOT, link.parent)
    if not link.is_symlink() or str(link.readlink()) != target:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return link


def collection_files() -> list[Path]:
    """Return the relative paths of the files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupFailed(f"this needs a git checkout: {answer.stderr.strip()}")
    return [Path(name) for name in answer.stdout.split("\0") if name and (ROOT / name).exists()]


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
