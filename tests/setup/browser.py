# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser without a window: the Chromium that is there, or the one of the distribution's packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine import EngineMissing, install_packages

BROWSER_VARIABLE = "WABIZ_CHROMIUM"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Letters for what the report shows; a machine without a screen may have none at all.
PACKAGES = {"chromium": "chromium", "fonts-dejavu-core": "chromium"}


def ensure_browser() -> Path:
    """Return a Chromium; install one where that is possible (root, Debian or Ubuntu). Raises EngineMissing."""
    browser = _browser()
    if browser is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        install_packages(PACKAGES)
        browser = _browser()
    if browser is None:
        raise EngineMissing("no Chromium on the PATH; it can be installed from here only by root on Debian or Ubuntu")
    return browser


def _browser() -> Path | None:
    return next((Path(found) for found in map(shutil.which, PROGRAMS) if found is not None), None)
