# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements: `make bench`, or with options `make bench ARGS=--quick`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet import Fleet, running_fleet
from measure import CommandFailed, measure
from report import (
    ROLLOUTS,
    Run,
    Sample,
    replace_figures,
    show_figures,
    show_restarts,
    show_rollouts,
    show_targets,
    targets,
)
from restart_overhead import take_restarts
from rollouts import QUICK_SHAPES, SHAPES, Shape, take_rollouts
from ssh_server import find_server, private_connections, running_ssh_server
from subjects import FULL, PLAYBOOKS, QUICK, SUBJECTS, Block, Cell, round_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CACHE = ROOT / ".cache" / "bench"
FIGURES = CACHE / "figures.json"
RUN_TIMEOUT_SECONDS = 900.0
RESTART_ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two clients, one round: does the bench itself work?")
    parser.add_argument("--minutes", type=float, default=75, help="no new round after this time (default: %(default)s)")
    parser.add_argument("--only", metavar="NAMES", help=f"of {', '.join(SUBJECTS)}; separated by commas")
    parser.add_argument("--clients", metavar="NUMBERS", help="of 10, 100, 1000; separated by commas")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most so many rounds")
    parser.add_argument("--rollouts", action="store_true", help="the first roll-outs alone, for the documentation")
    parser.add_argument("--report", type=Path, metavar="FILE", help="report on the figures of a former full run")
    options = parser.parse_args(arguments)
    plan: Sequence[Block] = QUICK if options.quick else FULL
    if options.only:
        names = tuple(options.only.split(","))
        if unknown := set(names) - set(SUBJECTS):
            parser.error(f"--only: no such subject: {', '.join(sorted(unknown))}")
        plan = [block.of(names) for block in plan]
    if options.clients:
        plan = [block for block in plan if str(block.clients) in options.clients.split(",")]
    if options.rounds:
        plan = [dataclasses.replace(block, rounds=min(block.rounds, options.rounds)) for block in plan]
    if find_server() is None:
        plan = [block.of(tuple(name for name in block.subjects if not SUBJECTS[name].over_ssh)) for block in plan]
        print("nothing is measured over SSH: no server of OpenSSH here (Debian's package openssh-server)")
    if not round_of(plan, 0):
        parser.error("nothing of that is measured")
    CACHE.mkdir(parents=True, exist_ok=True)
    # SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shapes: Sequence[Shape] = QUICK_SHAPES if options.quick else SHAPES
    if options.rounds:
        shapes = tuple(dataclasses.replace(shape, rounds=min(shape.rounds, options.rounds)) for shape in shapes)
    if options.rollouts:
        run = Run([], _about(), rollouts=take_rollouts(shapes))
        save(run)
        if not options.quick:
            replace_figures(DOCS / "performance.md", run, ROLLOUTS)
        print(f"{show_rollouts(run)}\nfigures in {FIGURES}")
        return 0
    if options.report:
        run = Run.from_json(options.report.read_text())
    else:
        try:
            run = take(plan, options.minutes * 60)
            save(run)
            if not (options.only or options.clients):
                run = dataclasses.replace(run, rollouts=take_rollouts(shapes))
                save(run)
            run = dataclasses.replace(run, restarts=take_restarts(1 if options.quick else RESTART_ROUNDS))
            save(run)
        except CommandFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"interrupted; what was measured so far is in {FIGURES}", file=sys.stderr)
            return 130
    # Only what holds all subjects at all sizes goes into the documentation.
    publish = set(run.cells()) >= set(round_of(FULL, 0))
    place = DOCS if publish else CACHE
    # Not before: what a process starts seems to need as much memory as the process itself (see measure).
    from plot import draw  # noqa: PLC0415

    draw(run, place / "performance")
    if publish:
        replace_figures(DOCS / "performance.md", run)
        if run.rollouts:
            replace_figures(DOCS / "performance.md", run, ROLLOUTS)
    print(f"\n{show_figures(run)}{show_restarts(run)}\n{show_targets(targets(run))}\n{show_rollouts(run)}")
    print(f"figures in {FIGURES}, plots in {place}")
    return 0


def take(plan: Sequence[Block], limit: float) -> Run:
    """Measure in rounds, so that noise hits all alike; no new round after `limit` seconds."""
    started = time.monotonic()
    samples: list[Sample] = []
    run = Run(samples, _about())
    with (
        tempfile.TemporaryDirectory(prefix="wabiz-bench-") as directory,
        running_fleet(Path(directory), max(block.clients for block in plan)) as fleet,
        contextlib.ExitStack() as stack,
    ):
        server = find_server()
        if server and any(SUBJECTS[name].over_ssh for block in plan for name in block.subjects):
            fleet.ssh_file = stack.enter_context(running_ssh_server(server, Path(directory)))
        rounds = max(block.rounds for block in plan)
        for number in range(rounds):
            cells = round_of(plan, number)
            seconds = _expected_seconds(cells, samples)
            elapsed = time.monotonic() - started
            if samples and elapsed + seconds > limit:
                print(f"round {number + 1} would not be done within the time; ending here", flush=True)
                break
            expectation = f", about {seconds / 60:.0f} minutes" if samples else ""
            print(f"round {number + 1} of {rounds}: {len(cells)} measurements{expectation}", flush=True)
            for position, cell in enumerate(cells, 1):
                samples.append(take_one(fleet, cell, number, Path(directory)))
                save(run)
                _show_progress(samples[-1], position, len(cells), time.monotonic() - started)
    return run


def save(run: Run) -> None:
    """Keep what was measured so far: a run takes long, and is often broken off."""
    draft = FIGURES.with_suffix(".new")
    draft.write_text(run.to_json())
    draft.replace(FIGURES)


def take_one(fleet: Fleet, cell: Cell, number: int, place: Path) -> Sample:
    """Measure one cell once; raise CommandFailed where it did not do its work."""
    fleet.bring_into(cell.state)
    command = SUBJECTS[cell.subject].full_command(fleet, cell.clients, cell.forks)
    with private_connections(place) as variables:
        cost = measure(command, _environment(place) | variables, place / "output.log", RUN_TIMEOUT_SECONDS)
    _check_requests(cell, fleet.requests())
    return Sample(**dataclasses.asdict(cell), round=number, **dataclasses.asdict(cost), requests=cell.expected.total())


def _check_requests(cell: Cell, arrived: Mapping[str, Counter[str]]) -> None:
    """What did not do the same work must not be compared."""
    expected = cell.expected
    wrong = {name: dict(counts) for name, counts in arrived.items() if counts != expected}
    missing = cell.clients - len(arrived) if expected else 0
    if wrong or missing:
        some = dict(list(wrong.items())[:3])
        raise CommandFailed(f"{cell}: {dict(expected)} expected from each; none from {missing} clients; {some}")


def _environment(place: Path) -> dict[str, str]:
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return variables | {
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(place / "local"),
        "ANSIBLE_REMOTE_TMP": str(place / "remote"),
        "NO_PROXY": "127.0.0.1",
    }


def _expected_seconds(cells: Sequence[Cell], samples: Sequence[Sample]) -> float:
    last = {sample.cell: sample.seconds for sample in samples}
    return sum(last.get(cell, 0.0) for cell in cells)


def _show_progress(sample: Sample, position: int, count: int, elapsed: float) -> None:
    cell = f"{sample.clients:>5} clients  {sample.forks:>2} forks  {sample.state:<9}  {sample.subject:<12}"
    print(f"  {position:>3}/{count}  {elapsed:>5.0f} s  {cell}  {sample.seconds:>7.2f} s", flush=True)


def _about() -> dict[str, str]:
    return {
        "date": datetime.date.today().isoformat(),
        "ansible-core": importlib.metadata.version("ansible-core"),
        "Python": platform.python_version(),
        "requests": importlib.metadata.version("requests"),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


if __name__ == "__main__":
    sys.exit(main())
