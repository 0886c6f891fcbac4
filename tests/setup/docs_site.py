# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site: README and guides as they are, and a reference that antsibull-docs writes."""

from __future__ import annotations

import shutil
from pathlib import Path

from locations import CACHE, COLLECTION_PATH, LOGS, ROOT
from progress import require
from venvs import Environment

LOG = LOGS / "docs.log"
SITE = CACHE / "docs" / "html"
PAGES = ("docs", "roles/wa_settings/README.md", "CHANGELOG.md", "LICENSE")


def build_site(environment: Environment) -> Path:
    """Build the site with a ready environment, and return its first page. What Sphinx warns of fails."""
    env = environment.variables()
    shutil.rmtree(SITE.parent, ignore_errors=True)
    source = SITE.parent / "source"
    reference = source / "reference"
    reference.mkdir(parents=True)
    for page in PAGES:
        # Where they lie in the repository, so that the links between them hold.
        target = source / page
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / page).is_dir() else shutil.copy)(ROOT / page, target)
    docsite = ROOT / "tests" / "docsite"
    shutil.rmtree(source / "docs" / "docsite")  # for antsibull-docs
    (source / "index.md").write_text((ROOT / "README.md").read_text() + (docsite / "contents.md").read_text())
    collection = ".".join(COLLECTION_PATH.parts[1:])
    check = [
        "antsibull-docs",
        "lint-collection-docs",
        "--plugin-docs",
        "--skip-rstcheck",
        "--validate-collection-refs",
        "all",
    ]
    require([*check, "--disallow-unknown-collection-refs", ROOT], LOG, what="antsibull-docs", env=env)
    generate = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    require([*generate, "--dest-dir", reference, collection], LOG, what="antsibull-docs", env=env)
    require(["sphinx-build", "-q", "-W", "--keep-going", "-c", docsite, source, SITE], LOG, what="Sphinx", env=env)
    return SITE / "index.html"
