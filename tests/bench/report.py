# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements say: medians, ratios, targets, as tables in Markdown."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from subjects import SUBJECTS, Cell

FIGURES_BEGIN = "<!-- begin of the figures, written by `make bench` -->"
FIGURES_END = "<!-- end of the figures -->"
COMMAND = "make bench"


@dataclass(frozen=True)
class Sample:
    """One measurement: what, in which round (from 0), what it cost (see measure.Cost), requests for each client."""

    clients: int
    forks: int
    state: str
    subject: str
    round: int
    seconds: float
    cpu_seconds: float
    main_mib: float
    largest_mib: float
    requests: int

    @property
    def cell(self) -> Cell:
        return Cell(self.clients, self.forks, self.state, self.subject)


@dataclass(frozen=True)
class Run:
    """All samples of one run, and what it ran on."""

    samples: Sequence[Sample]
    about: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Run:
        values = json.loads(text)
        return Run([Sample(**sample) for sample in values["samples"]], values["about"])

    def cells(self) -> list[Cell]:
        """Return what was measured, in the order of the first round."""
        return list(dict.fromkeys(sample.cell for sample in self.samples))

    def of(self, cell: Cell) -> list[Sample]:
        return [sample for sample in self.samples if sample.cell == cell]

    def median(self, cell: Cell, figure: Callable[[Sample], float] = lambda sample: sample.seconds) -> float:
        return statistics.median(map(figure, self.of(cell)))

    def paired(self, cells: Sequence[Cell], compute: Callable[..., float]) -> float | None:
        """Return the median over the rounds of what is computed from the seconds of some cells within one round.

        None where no round holds all of them.
        """
        rounds = [{sample.round: sample.seconds for sample in self.of(cell)} for cell in cells]
        common = set.intersection(*map(set, rounds)) if rounds else set()
        figures = [compute(*(seconds[number] for seconds in rounds)) for number in common]
        return statistics.median(figures) if figures else None

    def ratio(self, cell: Cell, other: str) -> float | None:
        """Return how many times another subject's seconds a cell takes; the median of the ratios within the rounds.

        Yardsticks that do no work are measured once in a round, as converged.
        """
        state = cell.state if SUBJECTS[other].changing is not None else "converged"
        beside = dataclasses.replace(cell, subject=other, state=state)
        return self.paired((cell, beside), lambda own, others: own / others)

    def added_milliseconds(self, cell: Cell) -> float | None:
        """Return what a client costs beyond a `debug` task, in milliseconds of wall time."""
        debug = dataclasses.replace(cell, subject="debug", state="converged")
        return self.paired((cell, debug), lambda own, debug: (own - debug) / cell.clients * 1000)


@dataclass(frozen=True)
class Target:
    """A promise about the run, at 20 forks and converged; `limit` is the largest good figure, or the smallest."""

    text: str
    measured: float | None
    limit: float
    at_most: bool = True

    def row(self) -> tuple[str, ...]:
        if self.measured is None:
            return (self.text, f"{self.limit:g}", "", "not measured")
        good = self.measured <= self.limit if self.at_most else self.measured >= self.limit
        bound = f"{'at most' if self.at_most else 'at least'} {self.limit:g}"
        return (self.text, bound, f"{self.measured:.2f}", "pass" if good else "**fail**")


def targets(run: Run) -> list[Target]:
    """Return the promises with what was measured for them."""

    def cell(subject: str, clients: int = 100) -> Cell:
        return Cell(clients, 20, "converged", subject)

    uri_by_password = run.paired((cell("uri"), cell("password")), lambda uri, own: uri / own)
    result = [
        Target("100 clients, token: times the `debug` task", run.ratio(cell("token"), "debug"), 1.5),
        Target("100 clients, password: times the `debug` task", run.ratio(cell("password"), "debug"), 1.9),
        Target("100 clients, password: times faster than the `uri` playbook", uri_by_password, 24, at_most=False),
        Target("100 clients, as a module: times `ping`", run.ratio(cell("module"), "ping"), 1.25),
        Target("100 clients, role: times the `debug` task", run.ratio(cell("role"), "debug"), 2.5),
    ]
    for subject in ("token", "password"):
        large, small = (run.added_milliseconds(cell(subject, clients)) for clients in (1000, 100))
        growth = large / small if large is not None and small is not None and small > 0 else None
        result.append(Target(f"{subject}: cost of a client beyond `debug`, at 1,000 by that at 100", growth, 1.1))
    return result


def show_targets(run: Run) -> str:
    """Return the table of the targets."""
    return _table(("target (20 forks, converged)", "wanted", "measured", ""), [target.row() for target in targets(run)])


def show_figures(run: Run) -> str:
    """Return one table for each number of clients."""
    parts = []
    for clients in sorted({cell.clients for cell in run.cells()}):
        rows = [_row(run, cell) for cell in sorted(run.cells(), key=_order) if cell.clients == clients]
        head = ("", "state", "forks", "rounds", "seconds", "CPU seconds", "times `debug`", "ms a client over `debug`",
                "requests a client", "peak MiB, main", "peak MiB, largest")  # fmt: skip
        parts.append(f"### {clients:,} clients\n\n{_table(head, rows)}")
    return "\n".join(parts)


def _order(cell: Cell) -> tuple[int, int, int, bool]:
    return (cell.clients, list(SUBJECTS).index(cell.subject), cell.forks, cell.state == "changing")


def _row(run: Run, cell: Cell) -> tuple[str, ...]:
    samples, ratio, added = run.of(cell), run.ratio(cell, "debug"), run.added_milliseconds(cell)
    yardstick = cell.subject == "debug"
    return (
        SUBJECTS[cell.subject].title,
        cell.state if cell.expected else "",
        str(cell.forks),
        str(len(samples)),
        f"{run.median(cell):.2f}",
        f"{run.median(cell, lambda sample: sample.cpu_seconds):.2f}",
        "" if ratio is None or yardstick else f"{ratio:.2f}",
        "" if added is None or yardstick else f"{added:.1f}",
        str(samples[0].requests),
        f"{run.median(cell, lambda sample: sample.main_mib):.0f}",
        f"{run.median(cell, lambda sample: sample.largest_mib):.0f}",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def replace_figures(document: Path, run: Run) -> None:
    """Put the tables between the two marks of the document."""
    text = document.read_text()
    before, begin, rest = text.partition(FIGURES_BEGIN)
    _, end, after = rest.partition(FIGURES_END)
    if not begin or not end:
        raise ValueError(f"{document} lacks the marks of the figures")
    about = ", ".join(f"{name} {value}" for name, value in run.about.items())
    figures = f"Made by `{COMMAND}`: {about}.\n\n{show_targets(run)}\n{show_figures(run)}"
    document.write_text(f"{before}{begin}\n\n{figures}\n{end}{after}")
