# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated reference: antsibull-docs writes it from the modules and roles, Sphinx makes pages of it."""

from __future__ import annotations

import shutil

from locations import CACHE, COLLECTION_PATH, LOGS
from progress import require, say
from venvs import Environment

LOG = LOGS / "docs.log"


def build_reference(environment: Environment) -> None:
    """Build the pages in `.cache/docs/html` with a ready environment."""
    env = environment.variables()
    place = CACHE / "docs"
    shutil.rmtree(place, ignore_errors=True)
    source, pages = place / "source", place / "html"
    source.mkdir(parents=True)
    collection = ".".join(COLLECTION_PATH.parts[1:])
    init = ["antsibull-docs", "sphinx-init", "--use-current", "--squash-hierarchy", "--lenient", "--fail-on-error"]
    require([*init, "--dest-dir", source, collection], LOG, what="antsibull-docs sphinx-init", env=env)
    generate = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    require([*generate, "--dest-dir", source / "rst", collection], LOG, what="antsibull-docs collection", env=env)
    require(["sphinx-build", "-q", "-b", "html", "-c", source, source / "rst", pages], LOG, what="Sphinx", env=env)
    say(f"  reference in {pages / 'index.html'}")
