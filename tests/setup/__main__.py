# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the set-up: `python3 tests/setup --help`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from dependencies import ensure_dependencies
from docs_site import build_site
from engine import Engine, running_engine, stop_engine
from images import ensure_images
from locations import CACHE, EMULATOR, LOGS, ROOT
from mutants import measure as measure_mutants
from progress import SetupFailed, fail, say, stop_running
from runner import SIDE_BY_SIDE, run_steps, summarize
from steps import all_steps, engine_or_fault, environments_of, needs_engine
from trees import link_collection
from venvs import (
    BENCH,
    COVERAGE,
    DOCS,
    LINT,
    MUTANTS,
    Environment,
    core_version,
    ensure_environment,
    ensure_pip,
    newest_core,
)

# What runs the shipped code inside Ansible's processes adds what no unit test reaches.
COVERED_BY = (
    "tests/unit/plugins",
    *(f"tests/integration/{folder}" for folder in ("role", "drift", "export", "campaign")),
)

LEAST_COVERED = 97  # percent of lines and branches


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests/setup", description="Sets up what a command needs, then runs it.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run test steps and sum up")
    run.add_argument("steps", nargs="*", metavar="STEP", help="a step or a group of steps; all when left out")
    run.add_argument("--pytest", default="", metavar="ARGUMENTS", help="further arguments for pytest, in one word")
    commands.add_parser("list", help="list steps and groups")
    script = commands.add_parser("exec", help="run a Python script on the newest ansible-core that is possible here")
    script.add_argument("--bench", action="store_true", help="in the environment of the measurements")
    script.add_argument("script", help="path from the root of the repository")
    script.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser("docs", help="build the documentation site")
    coverage = commands.add_parser("coverage", help="run tests and tell which of the shipped code they leave out")
    coverage.add_argument("--pytest", default="", metavar="ARGUMENTS", help="other tests, or arguments for pytest")
    mutants = commands.add_parser("mutants", help="change the shipped code and see whether the unit tests notice")
    mutants.add_argument("--sample", type=int, default=0, metavar="NUMBER", help="mutants of each module, 0 for all")
    mutants.add_argument("modules", nargs="*", help="such as _plan; all by default")
    commands.add_parser("format", help="bring the Python files into their form")
    commands.add_parser("clean", help="remove all that the set-up made")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "run":
                return run_tests(options.steps, tuple(options.pytest.split()))
            case "list":
                return list_steps()
            case "exec":
                return execute([options.script, *options.arguments], bench=options.bench)
            case "docs":
                return build_docs()
            case "coverage":
                return measure_coverage(options.pytest.split())
            case "mutants":
                prepare([MUTANTS])
                return measure_mutants(options.modules, options.sample)
            case "format":
                return format_code()
            case _:
                return clean()
    except SetupFailed as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130
    finally:
        stop_running()


def run_tests(names: Sequence[str], pytest_arguments: tuple[str, ...]) -> int:
    """Set up and run the named steps and groups, or all."""
    started = time.monotonic()
    steps = all_steps(pytest_arguments)
    unknown = set(names) - {step.name for step in steps} - {step.group for step in steps}
    if unknown:
        raise SetupFailed(f"no such step: {', '.join(sorted(unknown))}; `list` shows them")
    if names:
        steps = [step for step in steps if step.name in names or step.group in names]
    prepare(dict.fromkeys(environment for step in steps for environment in environments_of(step)))
    if any(needs_engine(step) for step in steps):
        found = engine_or_fault()
        say(f"  engine: {found}" if isinstance(found, Engine) else f"  containers: NOT READY, {found}")
    say(f"set-up done after {time.monotonic() - started:.1f} s")
    outcomes = run_steps(steps)
    return 0 if summarize(outcomes, time.monotonic() - started) else 1


def prepare(environments: Iterable[Environment]) -> None:
    """Make the environments, the dependencies and the collection tree ready; say what is not possible here."""
    say("set-up")
    link_collection()
    environments = list(environments)
    ensure_pip()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        are_ready = list(pool.map(ensure_environment, environments))
    ready = [environment for environment, is_ready in zip(environments, are_ready, strict=True) if is_ready]
    for environment in environments:
        if environment in ready:
            say(f"  {environment.name}: {core_version(environment)}")
        else:
            say(f"  {environment.name}: NOT RUN, no Python {' or '.join(environment.pythons)} on this machine")
    with_ansible = [environment for environment in ready if environment.core]
    if with_ansible:
        ensure_dependencies(with_ansible[-1])


def execute(command: Sequence[str], *, bench: bool) -> NoReturn:
    """Become a Python script of the repository, which may import the emulator.

    Not a process of its own below this one: it has things to clean up when it is told to stop. The measurements use an
    engine where one runs anyway.
    """
    environment = BENCH if bench else newest_core()
    prepare([environment])
    variables = environment.variables() | {"PYTHONPATH": str(EMULATOR)}
    if bench and (engine := running_engine()) is not None:
        ensure_images(engine)
        variables |= engine.variables()
    os.chdir(ROOT)
    os.execve(environment.python, [str(environment.python), *command], variables)  # noqa: S606 - no shell on purpose


def list_steps() -> int:
    """Print the steps by group."""
    for step in all_steps():
        print(f"{step.group:<12} {step.name}")
    return 0


def build_docs() -> int:
    """Check the documentation, and build the site."""
    prepare([DOCS])
    say(f"  site in {build_site(DOCS)}")
    return 0


def measure_coverage(arguments: Sequence[str]) -> int:
    """Run the unit tests of what is shipped, and what runs it inside Ansible's processes; tell what was left out."""
    prepare([COVERAGE])
    env, python = COVERAGE.variables(), COVERAGE.python
    (CACHE / "coverage").mkdir(parents=True, exist_ok=True)
    tests = arguments or COVERED_BY
    commands = (
        ["erase"],
        ["run", "-m", "pytest", "-q", "-m", "not containers and not thorough", *tests],
        ["combine", "--quiet"],
        ["report", "--show-missing", "--skip-covered", *([] if arguments else [f"--fail-under={LEAST_COVERED}"])],
    )
    codes = [
        subprocess.run([python, "-m", "coverage", *command], cwd=ROOT, env=env, check=False).returncode
        for command in commands
    ]
    return max(codes)


def format_code() -> int:
    """Let ruff mend and format the Python files."""
    prepare([LINT])
    ruff = LINT.directory / "bin" / "ruff"
    subprocess.run([ruff, "check", "--fix", "--quiet", "."], cwd=ROOT, check=False)
    return subprocess.run([ruff, "format", "."], cwd=ROOT, check=False).returncode


def clean() -> int:
    """Stop the engine if the set-up started it, and remove the cache."""
    stop_engine()
    shutil.rmtree(CACHE, ignore_errors=True)
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    LOGS.mkdir(parents=True, exist_ok=True)
    sys.exit(main())
