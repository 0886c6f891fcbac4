# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable under plain pytest, and registers the hypothesis profiles."""

from __future__ import annotations

import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[2]


def _importable() -> bool:
    try:
        return find_spec("ansible_collections.wabiz.onprem") is not None
    except ModuleNotFoundError:
        return False


if not _importable():
    # A plain `pytest` in a checkout that no set-up has seen yet.
    tree = ROOT / ".cache" / "collections"
    link = tree / "ansible_collections" / "wabiz" / "onprem"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT)
    sys.path.insert(0, str(tree))
    invalidate_caches()  # pytest has looked for the tree before it was there

# How many cases a property gets: on an older release, by hand, in CI, and in `make thorough`.
for name, examples in {"few": 25, "quick": 200, "ci": 500, "thorough": 5000}.items():
    settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")
