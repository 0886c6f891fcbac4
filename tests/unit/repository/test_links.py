# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The links inside the documentation lead somewhere, also from what Galaxy shows, which has the tarball only."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("roles/*/README.md"),
        *ROOT.glob("tests/emulator/README.md"),
    )
    if path.name != "CHANGELOG.md"  # written by a tool
)
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
# Files of this repository by their address, which is how to link what the tarball lacks.
BLOB = f"{GALAXY['repository']}/blob/main/"
LINK = re.compile(r"\[(?:[^][]|\[[^][]*\])*\]\((?P<target>[^()\s]+)\)")


def prose(text: str) -> str:
    """A page without its blocks and pieces of code, in which brackets mean something else."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "code", text)


def links(text: str) -> list[str]:
    """The targets of the links and images of a page."""
    return [found["target"] for found in LINK.finditer(prose(text))]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    blocks_left_out = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#+ +(.+?) *$", blocks_left_out, re.M):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number, anchor = 0, name
        while anchor in found:
            number += 1
            anchor = f"{name}-{number}"
        found.add(anchor)
    return found


def shipped(path: str) -> bool:
    """Whether a file of the repository is in the tarball, as ansible-galaxy reads build_ignore."""
    parts = path.split("/")
    starts = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return not any(fnmatch(start, pattern) for start in starts for pattern in GALAXY["build_ignore"])


def fault(page: str, target: str) -> str | None:
    """What is wrong with a link on a page; None if nothing is, or if it leaves the repository."""
    if target.startswith(BLOB):
        place, relative = target.removeprefix(BLOB), False
    elif re.match(r"[a-z]+:", target):
        return None
    else:
        place, relative = target, True
    name, _mark, anchor = place.partition("#")
    file = ROOT / page if relative and not name else ((ROOT / page).parent if relative else ROOT) / name
    file = file.resolve()
    if not file.is_relative_to(ROOT):
        return "leads out of the repository"
    if not file.exists():
        return "there is no such file"
    if anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text(encoding="utf-8"))):
        return "no heading gives this anchor"
    if relative and shipped(page) and not shipped(file.relative_to(ROOT).as_posix()):
        return f"is not in the tarball; write {BLOB}{file.relative_to(ROOT).as_posix()}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    faults = [f"{target}: {said}" for target in links(text) if (said := fault(page, target))]
    assert not faults, f"{page}:\n" + "\n".join(faults)


def test_there_are_links_to_check() -> None:
    counts = {page: len(links((ROOT / page).read_text(encoding="utf-8"))) for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/restarts.md", "roles/wa_settings/README.md"} <= set(PAGES)
    assert counts["README.md"] > 10
    assert counts["docs/drift.md"] > 5


@pytest.mark.parametrize(
    ("page", "target", "said"),
    [
        ("README.md", "docs/restarts.md", None),
        ("README.md", "docs/nowhere.md", "no such file"),
        ("README.md", "docs/restarts.md#the-record", None),
        ("README.md", "docs/restarts.md#a-record", "no heading"),
        ("README.md", "#licence", None),
        ("README.md", "#nowhere", "no heading"),
        ("README.md", "CONTRIBUTING.md", "not in the tarball"),
        ("README.md", f"{BLOB}CONTRIBUTING.md#recipes", None),
        ("README.md", f"{BLOB}CONTRIBUTED.md", "no such file"),
        ("README.md", "../elsewhere", "out of the repository"),
        ("CONTRIBUTING.md", "tests/emulator/README.md", None),
        ("docs/drift.md", "../roles/wa_settings/README.md", None),
        ("docs/drift.md", "roles/wa_settings/README.md", "no such file"),
        ("docs/drift.md", "https://example.com/nowhere", None),
    ],
)
def test_faults_of_links(page: str, target: str, said: str | None) -> None:
    found = fault(page, target)
    assert (found is None) == (said is None)
    assert said is None or said in (found or "")


def test_what_is_a_link_and_what_is_an_anchor() -> None:
    text = "# A `b_c`: d, e\n[one](x.md) ![two [2]](y.png) `[no](z)`\n```yaml\n# no\n[no](z)\n```\n## Two\n## Two\n"
    assert links(text) == ["x.md", "y.png"]
    assert anchors(text) == {"a-b_c-d-e", "two", "two-1"}
