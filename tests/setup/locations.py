# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything that the set-up makes lies: below the git-ignored directory `.cache`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
VENVS = CACHE / "venvs"
COLLECTIONS = CACHE / "collections"
COPIES = CACHE / "copies"
EMULATOR = ROOT / "tests" / "emulator"
REQUIREMENTS = ROOT / "tests" / "setup" / "requirements"

COLLECTION_PATH = Path("ansible_collections") / "wabiz" / "onprem"
