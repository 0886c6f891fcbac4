# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments: one for each tested release of ansible-core, one for the linters, one for the documentation."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from locations import CACHE, COLLECTIONS, EMULATOR, LOGS, REQUIREMENTS, ROOT, VENVS
from progress import SetupFailed, require, say
from pythons import find_python

MODULE_REQUIREMENTS = ROOT / "meta" / "ee-requirements.txt"
TEST_REQUIREMENTS = (MODULE_REQUIREMENTS, REQUIREMENTS / "tests.txt", EMULATOR / "requirements.txt")


@dataclass(frozen=True)
class Environment:
    """What an environment holds; `pythons` are the versions that may carry it, the preferred one first.

    `core` is the ansible-core in it, empty for none.
    """

    name: str
    pythons: tuple[str, ...]
    core: str
    requirements: tuple[Path, ...] = TEST_REQUIREMENTS

    @property
    def directory(self) -> Path:
        return VENVS / self.name

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    def interpreter(self) -> Path | None:
        """Return the interpreter to build on, or None where this machine has none that fits."""
        return next((path for path in map(find_python, self.pythons) if path is not None), None)

    def python_version(self) -> str:
        """Return the version of the interpreter inside a ready environment, as `3.12`."""
        return next(path.name.removeprefix("python") for path in (self.directory / "lib").glob("python3.*"))

    def variables(self) -> dict[str, str]:
        """Return the environment variables for commands: this environment first, no Ansible settings of the user."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTEST_"))}
        variables.pop("PYTHONPATH", None)
        variables.update(
            PATH=f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
            VIRTUAL_ENV=str(self.directory),
            ANSIBLE_HOME=str(CACHE / "ansible"),
            ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
            PY_COLORS="0",
        )
        return variables


CORES = (
    Environment("core-2.16", ("3.10", "3.11", "3.12"), "ansible-core~=2.16.0"),
    Environment("core-2.17", ("3.10", "3.11", "3.12"), "ansible-core~=2.17.0"),
    # The last patch release in which a play that ends early costs tasks on every host.
    Environment("core-2.18", ("3.11", "3.12", "3.13"), "ansible-core==2.18.1"),
    Environment("core-2.19", ("3.11", "3.12", "3.13"), "ansible-core~=2.19.0"),
    Environment("core-2.20", ("3.12", "3.13", "3.14"), "ansible-core~=2.20.0"),
    Environment("core-newest", ("3.13", "3.12", "3.14"), "ansible-core>=2.21"),
)
LINT = Environment(
    "lint", ("3.12", "3.13", "3.14", "3.11"), "ansible-core", (*TEST_REQUIREMENTS, REQUIREMENTS / "lint.txt")
)
# What builds the documentation site, and drives a browser through it and through the drift report.
DOCS = Environment(
    "docs", ("3.12", "3.13", "3.14", "3.11"), "ansible-core", (*TEST_REQUIREMENTS, REQUIREMENTS / "docs.txt")
)

BENCH = Environment(
    "bench",
    ("3.12", "3.13", "3.14", "3.11", "3.10"),
    "ansible-core",
    (*TEST_REQUIREMENTS, ROOT / "tests" / "bench" / "requirements.txt"),
)

# What tells which lines of the shipped code the tests run.
COVERAGE = Environment(
    "coverage", ("3.12", "3.13", "3.14", "3.11"), "ansible-core", (*TEST_REQUIREMENTS, REQUIREMENTS / "coverage.txt")
)

# What changes the shipped code to see whether a test notices.
MUTANTS = Environment(
    "mutants", ("3.12", "3.13", "3.14", "3.11"), "ansible-core", (*TEST_REQUIREMENTS, REQUIREMENTS / "mutants.txt")
)

# Clients of the API that others wrote: what they need must not end up beside the code under test.
OTHER_CLIENTS = Environment(
    "other-clients", ("3.12", "3.13", "3.14", "3.11", "3.10"), "", (REQUIREMENTS / "other-clients.txt",)
)


def newest_core() -> Environment:
    """Return the environment of the newest ansible-core that this machine's interpreters can carry."""
    for environment in reversed(CORES):
        if environment.interpreter() is not None:
            return environment
    raise SetupFailed("no Python from 3.10 to 3.14 was found on the PATH or in pyenv")


def ensure_environment(environment: Environment) -> bool:
    """Build an environment unless it is there; return False where no interpreter of this machine can carry it.

    What was installed stays until the requirements change or `make clean` is called.
    """
    interpreter = environment.interpreter()
    if interpreter is None:
        return False
    requirements = [path for path in environment.requirements if path.exists()]
    wanted = json.dumps(
        {
            "interpreter": str(interpreter),
            "core": environment.core,
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in requirements},
            "place": str(environment.directory),
        }
    )
    stamp = environment.directory / "set-up.json"
    if stamp.exists() and stamp.read_text() == wanted:
        return True
    what = environment.core or "no ansible-core"
    say(f"  environment {environment.name}: {what} and {len(requirements)} requirement files")
    log = LOGS / f"venv-{environment.name}.log"
    pip = ensure_pip()
    shutil.rmtree(environment.directory, ignore_errors=True)
    require([interpreter, "-m", "venv", "--without-pip", environment.directory], log, what="create the environment")
    arguments: list[str | Path] = [pip, "--python", environment.python, "install", "--quiet"]
    arguments += [environment.core] if environment.core else []
    for path in requirements:
        arguments += ["-r", path]
    require(arguments, log, what=f"install into {environment.name}")
    stamp.write_text(wanted)
    return True


def core_version(environment: Environment) -> str:
    """Return the versions of ansible-core, if it is there, and of Python in a ready environment."""
    if not environment.core:
        return f"Python {environment.python_version()}"
    question = "import importlib.metadata as m, platform; print(m.version('ansible-core'), platform.python_version())"
    answer = subprocess.run([environment.python, "-c", question], capture_output=True, text=True, check=True)
    return "ansible-core {}, Python {}".format(*answer.stdout.split())


def ensure_pip() -> Path:
    """Return one pip that serves all environments: installing it into each would cost seconds every time."""
    directory = VENVS / "pip"
    pip = directory / "bin" / "pip"
    stamp = directory / "set-up.json"
    if stamp.exists() and stamp.read_text() == str(directory):
        return pip
    say("  pip")
    log = LOGS / "venv-pip.log"
    shutil.rmtree(directory, ignore_errors=True)
    require([sys.executable, "-m", "venv", directory], log, what="create an environment (needs python3-venv)")
    require([pip, "install", "--quiet", "--upgrade", "pip>=24"], log, what="upgrade pip")
    stamp.write_text(str(directory))
    return pip
