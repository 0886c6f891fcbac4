# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements say: medians, ratios, targets, as tables in Markdown."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollouts import RUNS, WAYS, Rollout
from subjects import SUBJECTS, Cell

# What marks the begin and the end of what is replaced in the documentation.
FIGURES = ("<!-- begin of the figures, written by `make bench` -->", "<!-- end of the figures -->")
ROLLOUTS = ("<!-- begin of the roll-outs, written by `make bench` -->", "<!-- end of the roll-outs -->")
PICTURE = """![Seconds for 100 clients, and how they grow with the fleet](performance.svg)

The picture is also there as [PNG](performance.png).
"""
COMMANDS = {FIGURES: "make bench", ROLLOUTS: "make bench ARGS=--rollouts"}


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


def by_clock(sample: Sample | Rollout) -> float:
    return sample.seconds


def by_cpu(sample: Sample | Rollout) -> float:
    return sample.cpu_seconds


@dataclass(frozen=True)
class Run:
    """All samples of one run, and what it ran on."""

    samples: Sequence[Sample]
    about: dict[str, str]
    # Seconds from node to node, bare and by the role; None without an engine.
    restarts: dict[str, list[float]] | None = None
    rollouts: Sequence[Rollout] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Run:
        values = json.loads(text)
        rollouts = [Rollout(**rollout) for rollout in values.get("rollouts", ())]
        return Run([Sample(**sample) for sample in values["samples"]], values["about"], values["restarts"], rollouts)

    def cells(self) -> list[Cell]:
        """Return what was measured, in the order of the first round."""
        return list(dict.fromkeys(sample.cell for sample in self.samples))

    def of(self, cell: Cell) -> list[Sample]:
        return [sample for sample in self.samples if sample.cell == cell]

    def median(self, cell: Cell, figure: Callable[[Sample], float] = by_clock) -> float:
        return statistics.median(map(figure, self.of(cell)))

    def paired(
        self, cells: Sequence[Cell], compute: Callable[..., float], figure: Callable[[Sample], float] = by_clock
    ) -> float | None:
        """Return the median over the rounds of what is computed from a figure of some cells within one round.

        Where a round holds a cell several times, it is the median of these. None where no round holds all of them.
        """
        rounds = [self.by_round(cell, figure) for cell in cells]
        common = set.intersection(*map(set, rounds))
        figures = [compute(*(values[number] for values in rounds)) for number in common]
        return statistics.median(figures) if figures else None

    def by_round(self, cell: Cell, figure: Callable[[Sample], float]) -> dict[int, float]:
        """Return round → median of a figure."""
        samples = self.of(cell)
        return {
            number: statistics.median(figure(sample) for sample in samples if sample.round == number)
            for number in {sample.round for sample in samples}
        }

    def ratio(self, cell: Cell, other: str, figure: Callable[[Sample], float] = by_clock) -> float | None:
        """Return how many times another subject's seconds a cell takes; the median of the ratios within the rounds.

        Yardsticks that do no work are measured once in a round, as converged.
        """
        state = cell.state if SUBJECTS[other].changing is not None else "converged"
        beside = dataclasses.replace(cell, subject=other, state=state)
        return self.paired((cell, beside), lambda own, others: own / others, figure)

    def added_milliseconds(self, cell: Cell, figure: Callable[[Sample], float] = by_clock) -> float | None:
        """Return what a client costs beyond a `debug` task, in milliseconds."""
        debug = dataclasses.replace(cell, subject="debug", state="converged")
        return self.paired((cell, debug), lambda own, others: (own - others) / cell.clients * 1000, figure)


@dataclass(frozen=True)
class Target:
    """A promise about the run. `limit` is the largest good figure, or the smallest; `cpu` the same by CPU time."""

    text: str
    measured: float | None
    limit: float
    at_most: bool = True
    cpu: float | None = None

    def row(self) -> tuple[str, ...]:
        """Return text, limit, what was measured, by CPU time, verdict."""
        bound = f"{'at most' if self.at_most else 'at least'} {self.limit:g}"
        if self.measured is None:
            return (self.text, bound, "", "", "not measured")
        good = self.measured <= self.limit if self.at_most else self.measured >= self.limit
        cpu = "" if self.cpu is None else f"{self.cpu:.2f}"
        return (self.text, bound, f"{self.measured:.2f}", cpu, "pass" if good else "**fail**")


def targets(run: Run) -> list[Target]:
    """Return the promises with what was measured for them: 20 forks, converged. Those about roll-outs are apart."""
    result = []
    for subject, other, text, limit in (
        ("token", "debug", "100 clients, token: times the `debug` task", 1.5),
        ("password", "debug", "100 clients, password: times the `debug` task", 1.9),
        ("apply", "debug", "100 clients, the whole role by the playbook `apply`: times the `debug` task", 2.5),
        ("role", "debug", "100 clients, the whole role by `roles:`: times the `debug` task", 2.5),
        ("drift", "apply-check", "100 clients, the playbook `drift`: times `apply --check`", 1.3),
        ("module-ssh", "ping-ssh", "100 clients, as a module on remote targets: times `ping`", 1.25),
        ("module", "ping", "100 clients, as a module on the controller, password: times `ping`", 1.25),
        ("uri", "password", "100 clients, password: times faster than the `uri` playbook", 24),
    ):
        cell = _cell(100, subject)
        # Of what runs behind SSH the command's CPU time knows nothing.
        cpu = None if SUBJECTS[subject].over_ssh else run.ratio(cell, other, by_cpu)
        result.append(Target(text, run.ratio(cell, other), limit, at_most=subject != "uri", cpu=cpu))
    for subject in ("token", "password"):
        by = [_growth_of_cost(run, subject, figure) for figure in (by_clock, by_cpu)]
        text = f"{subject}: cost of a client beyond `debug`, at 1,000 by that at 100"
        result.append(Target(text, by[0], 1.1, cpu=by[1]))
    text = "token: memory that the main process grows by to 1,000 clients, by that of `debug` with such a result"
    result.append(Target(text, _growth_of_memory(run, "token"), 1))
    text = "rolling restart: seconds a node beyond `docker restart` and connecting"
    medians = {way: statistics.median(cycles) for way, cycles in (run.restarts or {}).items()}
    result.append(Target(text, medians["role"] - medians["bare"] if medians else None, 1))
    return result


def _cell(clients: int, subject: str) -> Cell:
    return Cell(clients, 20, "converged", subject)


def _growth_of_cost(run: Run, subject: str, figure: Callable[[Sample], float]) -> float | None:
    cells = [_cell(clients, name) for clients in (1000, 100) for name in (subject, "debug")]
    return run.paired(
        cells,
        # Ten times the clients.
        lambda large, large_debug, small, small_debug: _growth(large - large_debug, 10 * (small - small_debug)),
        figure,
    )


def rollout_targets(run: Run) -> list[Target]:
    """Return the promises about first roll-outs with what was measured for them: 20 forks."""
    result = []
    for clients in sorted({rollout.clients for rollout in run.rollouts if rollout.way == "debug"}):
        for way in ("apply", "role"):
            by = [_rollout(run, figure, clients, way) for figure in (by_clock, by_cpu)]
            if by[0] is not None:
                text = f"roll-out to {clients:,} clients by the {WAYS[way]}: times the `debug` task"
                result.append(Target(text, by[0], 12, cpu=by[1]))
    for spread in (False, True):
        by = [_further_node(run, figure, spread) for figure in (by_clock, by_cpu)]
        text = f"roll-out: each further node of a cluster{', on a host of its own' if spread else ''}, in `debug` tasks"
        result.append(Target(text, by[0], 3, cpu=by[1]))
    by = [_growth_of_rollout(run, figure) for figure in (by_clock, by_cpu)]
    text = "roll-out: cost of a client beyond `debug`, at 1,000 by that at 100"
    result.append(Target(text, by[0], 1.1, cpu=by[1]))
    return result


Figure = Callable[[Rollout], float]


def _of_rollouts(
    run: Run, figure: Figure, clients: int, way: str, nodes: int = 1, spread: bool = False
) -> dict[int, float]:
    """Return round → figure; the median of what a round holds several times."""
    wanted = (clients, way, nodes, spread)
    found = [r for r in run.rollouts if (r.clients, r.way, r.nodes, r.spread) == wanted]
    return {
        number: statistics.median(figure(r) for r in found if r.round == number) for number in {r.round for r in found}
    }


def _net(
    run: Run, figure: Figure, clients: int, way: str = "apply", nodes: int = 1, spread: bool = False
) -> dict[int, float]:
    """Return round → figure without the restart command's own."""
    whole = _of_rollouts(run, figure, clients, way, nodes, spread)
    command = _of_rollouts(run, figure, clients, "command", nodes, spread)
    return {number: whole[number] - command[number] for number in whole.keys() & command.keys()}


def _in_rounds(compute: Callable[..., float], *figures: dict[int, float]) -> float | None:
    """Return the median over the rounds that all figures have."""
    common = set.intersection(*map(set, figures))
    return statistics.median(compute(*(values[number] for values in figures)) for number in common) if common else None


def _rollout(run: Run, figure: Figure, clients: int, way: str) -> float | None:
    debug = _of_rollouts(run, figure, clients, "debug")
    return _in_rounds(lambda net, one: net / one, _net(run, figure, clients, way), debug)


def _further_node(run: Run, figure: Figure, spread: bool) -> float | None:
    sizes = {(r.clients, r.nodes) for r in run.rollouts if r.nodes > 1 and r.spread == spread}
    if not sizes:
        return None
    ((clients, nodes),) = sizes
    return _in_rounds(
        lambda cluster, single, debug: (cluster - single) / debug / (nodes - 1),
        _net(run, figure, clients, nodes=nodes, spread=spread),
        _net(run, figure, clients),
        _of_rollouts(run, figure, clients, "debug"),
    )


def _growth_of_rollout(run: Run, figure: Figure) -> float | None:
    return _in_rounds(
        # Ten times the clients.
        lambda large, large_debug, small, small_debug: _growth(large - large_debug, 10 * (small - small_debug)),
        *(part for size in (1000, 100) for part in (_net(run, figure, size), _of_rollouts(run, figure, size, "debug"))),
    )


def _growth_of_memory(run: Run, subject: str) -> float | None:
    cells = [_cell(clients, name) for name in (subject, "debug-result") for clients in (1000, 100)]
    return run.paired(
        cells,
        lambda large, small, other_large, other_small: _growth(large - small, other_large - other_small),
        lambda sample: sample.main_mib,
    )


def _growth(figure: float, yardstick: float) -> float:
    # A yardstick that noise took below zero shows nothing, least of all that a promise is kept.
    return figure / yardstick if yardstick > 0 else math.inf


def show_targets(found: Iterable[Target]) -> str:
    """Return the table of some targets."""
    return _table(("target (20 forks)", "wanted", "measured", "by CPU time", ""), [target.row() for target in found])


def show_figures(run: Run) -> str:
    """Return one table for each number of clients."""
    parts = []
    for clients in sorted({cell.clients for cell in run.cells()}):
        rows = [_row(run, cell) for cell in sorted(run.cells(), key=_order) if cell.clients == clients]
        head = ("", "state", "forks", "times measured", "seconds", "CPU seconds", "times `debug`",
                "ms a client over `debug`", "requests a client", "peak MiB, main", "peak MiB, largest")  # fmt: skip
        parts.append(f"### {clients:,} clients\n\n{_table(head, rows)}")
    return "\n".join(parts)


def show_restarts(run: Run) -> str:
    """Return the table of the rolling restarts; empty where there was no engine."""
    if not run.restarts:
        return ""
    titles = {"bare": "`docker restart` and waiting, in a shell loop", "role": "role, `tasks_from: restart`"}
    rows = [(titles[way], str(len(cycles)), f"{statistics.median(cycles):.2f}", f"{max(cycles):.2f}")
            for way, cycles in run.restarts.items()]  # fmt: skip
    head = ("", "nodes restarted", "seconds from node to node, median", "longest")
    return f"\n### Rolling restart of a cluster of three Coreapps\n\n{_table(head, rows)}"


def show_rollouts(run: Run) -> str:
    """Return the tables of the roll-outs; empty where none was measured."""
    if not run.rollouts:
        return ""
    rows = []
    for clients, nodes, spread, way in dict.fromkeys((r.clients, r.nodes, r.spread, r.way) for r in run.rollouts):
        by = [_of_rollouts(run, figure, clients, way, nodes, spread).values() for figure in (by_clock, by_cpu)]
        net = statistics.median(_net(run, by_clock, clients, way, nodes, spread).values()) if way in RUNS else None
        times = sum((r.clients, r.nodes, r.spread, r.way) == (clients, nodes, spread, way) for r in run.rollouts)
        rows.append((
            WAYS[way],
            f"{clients:,}",
            f"{nodes}{', each on a host' if spread else ''}",
            str(times),
            f"{statistics.median(by[0]):.2f}",
            f"{statistics.median(by[1]):.2f}",
            "" if net is None else f"{net:.2f}",
        ))  # fmt: skip
    head = ("", "clients", "Coreapps a client", "times measured", "seconds", "CPU seconds",
            "seconds without the restart command")  # fmt: skip
    return f"{show_targets(rollout_targets(run))}\n{_table(head, rows)}"


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
        f"{run.median(cell, by_cpu):.2f}",
        "" if ratio is None or yardstick else f"{ratio:.2f}",
        "" if added is None or yardstick else f"{added:.1f}",
        str(samples[0].requests),
        f"{run.median(cell, lambda sample: sample.main_mib):.0f}",
        f"{run.median(cell, lambda sample: sample.largest_mib):.0f}",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def replace_figures(document: Path, run: Run, marks: tuple[str, str] = FIGURES) -> None:
    """Put the tables between the two marks of the document."""
    text = document.read_text()
    before, begin, rest = text.partition(marks[0])
    _replaced, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"{document} lacks the marks of the figures")
    about = ", ".join(f"{name} {value}" for name, value in run.about.items())
    made = f"Made by `{COMMANDS[marks]}`: {about}."
    tables = f"{PICTURE}\n{made}\n\n{show_targets(targets(run))}\n{show_figures(run)}{show_restarts(run)}"
    if marks == ROLLOUTS:
        tables = f"{made}\n\n{show_rollouts(run)}"
    document.write_text(f"{before}{begin}\n\n{tables}\n{end}{after}")
