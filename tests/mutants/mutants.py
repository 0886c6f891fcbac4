# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation testing: small changes of the code that decides, each of which a unit test has to notice."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "setup"))

from common import CACHE, COLLECTION_PATH, ROOT, SetupFailed, say
from dependencies import collection_files

UTILS = "tests/unit/plugins"
# Module → the tests that have to notice: those of the module, and of what is a thin shell around it.
MUTATED: dict[str, tuple[str, ...]] = {
    "module_utils/_plan": (
        "module_utils/test__plan.py",
        "module_utils/test__plan_properties.py",
        "module_utils/test__settings.py",
        "module_utils/test__catalogue.py",
    ),
    "module_utils/_secrets": ("module_utils/test__secrets.py", "module_utils/test__run.py"),
    "module_utils/_client": (
        "module_utils/test__client.py",
        "module_utils/test__client_hostile.py",
        "module_utils/test__options.py",
    ),
    "plugin_utils/_record": ("plugin_utils/test__record.py", "plugin_utils/test__work.py"),
    # Not the exploration: it would notice most of it, after minutes each time.
    "plugin_utils/_protocol": ("plugin_utils/test__protocol.py", "plugin_utils/test__work.py"),
    "plugin_utils/_context": ("plugin_utils/test__work.py",),
    "plugin_utils/_summary": ("plugin_utils/test__summary.py", "plugin_utils/test__work.py"),
    "plugin_utils/_watch": ("plugin_utils/test__watch.py", "plugin_utils/test__work.py"),
    "plugin_utils/_work": ("plugin_utils/test__work.py", "plugin_utils/test__steps.py"),
}
LEAST_KILLED = 90.0
# Codes of mutmut: a test failed, pytest broke, no end was seen. Not asked for, or not a fair question: skipped.
KILLED = {1, 3, 24, -24, 36, 152, 255}
SKIPPED = {34, 37}


@dataclass(frozen=True)
class Outcome:
    """What became of the mutants of one module."""

    module: str
    killed: int
    survivors: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Killed mutants in percent."""
        return 100.0 * self.killed / max(1, self.killed + len(self.survivors))


def measure(modules: Sequence[str], sample: int) -> int:
    """Run the tests against mutants of these modules (all with none): `sample` of each drawn by lot, or 0 for all."""
    unknown = sorted(set(modules) - {name.rpartition("/")[2] for name in MUTATED})
    if unknown:
        raise SetupFailed(f"no mutants are made of {', '.join(unknown)}")
    wanted = [name for name in MUTATED if not modules or name.rpartition("/")[2] in modules]
    outcomes = [_measure(name, sample) for name in wanted]
    for outcome in outcomes:
        say(f"{outcome.module}: {outcome.killed} killed, {len(outcome.survivors)} survived, {outcome.rate:.1f} %")
    return int(any(outcome.rate < LEAST_KILLED for outcome in outcomes))


def _measure(name: str, sample: int) -> Outcome:
    place = _copy(name)
    results = place / "mutants" / COLLECTION_PATH / "plugins" / f"{name}.py.meta"
    log = place / "mutmut.log"
    say(f"  mutants of {name}; see {log}")
    # It makes them all, and finds out which test reaches what, before it sees that none has this name.
    _mutmut(place, log, "none")
    names = sorted(json.loads(results.read_text())["exit_code_by_key"], key=_lot)
    chosen = names[: sample or len(names)]
    _mutmut(place, log, *chosen)
    codes = json.loads(results.read_text())["exit_code_by_key"]
    if any(codes[mutant] is None for mutant in chosen):
        raise SetupFailed(f"mutmut has not come to its end, see {log}")
    asked = [mutant for mutant in chosen if codes[mutant] not in SKIPPED]
    survivors = tuple(mutant for mutant in asked if codes[mutant] not in KILLED)
    for mutant in survivors:
        subprocess.run(["mutmut", "show", mutant], cwd=place, check=False)
    return Outcome(name, len(asked) - len(survivors), survivors)


def _lot(mutant: str) -> str:
    """The same order each time, which has nothing to do with where in the file a mutant is."""
    return hashlib.sha256(mutant.encode()).hexdigest()


def _mutmut(place: Path, log: Path, *mutants: str) -> None:
    """Run it, one test run at a time: those of the client measure time."""
    command = ["mutmut", "run", "--max-children", "1", *mutants]
    with log.open("a") as file:
        subprocess.run(command, cwd=place, check=False, stdout=file, stderr=file)


def _copy(name: str) -> Path:
    """Copy the checkout to where mutmut calls its modules as Ansible does."""
    place = CACHE / "mutants" / name.rpartition("/")[2]
    shutil.rmtree(place, ignore_errors=True)
    for relative in collection_files():
        target = place / COLLECTION_PATH / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / relative, target, follow_symlinks=False)
    tests = [f"{COLLECTION_PATH / UTILS / test}" for test in MUTATED[name]]
    lines = [
        "[mutmut]",
        "use_git_change_detection = false",
        "use_setproctitle = false",
        "source_paths =",
        f"    {COLLECTION_PATH}/plugins",
        f"only_mutate = {COLLECTION_PATH}/plugins/{name}.py",
        "also_copy =",
        *(f"    {COLLECTION_PATH / part}" for part in ("tests", "meta", "roles", "pyproject.toml", "galaxy.yml")),
        "pytest_add_cli_args =",
        "    -c",
        f"    {COLLECTION_PATH}/pyproject.toml",
        "pytest_add_cli_args_test_selection =",
        *(f"    {test}" for test in tests),
    ]
    (place / "setup.cfg").write_text("\n".join(lines) + "\n")
    return place


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, default=0, metavar="NUMBER", help="mutants of each module, 0 for all")
    parser.add_argument("modules", nargs="*", help="such as _plan; all by default")
    options = parser.parse_args()
    sys.exit(measure(options.modules, options.sample))
