# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CONTRIBUTING.md: its map names every file, and its recipes and commands name what is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAPPED = ("plugins", "roles", "playbooks", "tests/setup", "tests/emulator/wabiz_emulator")
# A part of a path: a file of this repository, or a folder.
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)`")
# What a recipe makes.
NEW = re.compile(r"NAME")


def mapped(text: str) -> list[str]:
    """The files that the map names, by their paths from the root: lines below a heading that is a folder."""
    folder, found = "", []
    for line in text.splitlines():
        if heading := re.match(r"#+ (?:`(.*/)`)?", line):
            folder = heading[1] or ""
        elif folder and (entry := re.match(r"- `([^`]+)`: \S", line)):
            found.append(folder + entry[1])
    return found


def present() -> list[str]:
    """The files in the folders that the map is about, without what Python leaves behind."""
    return [
        path.relative_to(ROOT).as_posix()
        for folder in MAPPED
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]


def test_the_map_is_read_as_it_is_meant() -> None:
    lines = ["## Map", "- `no.py`: x", "### `a/b/`", "Words.", "- `c.py`: does", "- `d/e.yml`: that", "- `f.py`:"]
    assert mapped("\n".join([*lines, "### Other", "- `g.py`: x"])) == ["a/b/c.py", "a/b/d/e.yml"]


def test_the_map_has_one_line_for_each_file() -> None:
    named, there = mapped(TEXT), present()
    missing = [name for name in there if name not in named]
    assert not missing, (
        "CONTRIBUTING.md has no line for these files. Add one under the heading of their folder, in the form\n"
        "- `file.py`: what it is for\n" + "\n".join(missing)
    )
    gone = [name for name in named if name not in there]
    assert not gone, "CONTRIBUTING.md names files that are not there. Change or remove their lines:\n" + "\n".join(gone)
    twice = [name for name, count in Counter(named).items() if count > 1]
    assert not twice, "CONTRIBUTING.md has several lines for:\n" + "\n".join(twice)


def test_every_path_in_the_text_exists() -> None:
    # In the map's own folders a short path stands below its heading; the test above has checked those.
    paths = set(PATH.findall(re.sub(r"(?m)^- `[^`]+`:", "-", TEXT)))
    wrong = sorted(path for path in paths if not NEW.search(path) and not (ROOT / path).exists())
    assert not wrong, f"CONTRIBUTING.md names what is not there: {', '.join(wrong)}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", TEXT))))
def test_every_make_target_exists(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    groups = re.findall(r"^GROUPS = (.*)$", makefile, re.M)[0].split()
    assert target in groups or re.search(rf"^{target}:", makefile, re.M), f"the Makefile has no target {target}"


def test_recipes_name_what_the_code_has() -> None:
    recipes = TEXT.partition("## Recipes")[2].partition("\n## ")[0]
    sources = [path for folder in ("plugins", "tests") for path in (ROOT / folder).rglob("*.py")]
    known = {word for path in sources for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    named = set(re.findall(r"`(_?[A-Za-z]+(?:_[A-Za-z]+)+|_?[A-Z]\w+)`", recipes))
    assert len(named) > 20
    unknown = sorted(named - known)
    assert not unknown, f"a recipe names what no code has: {', '.join(unknown)}"
