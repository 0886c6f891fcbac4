# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plot of the measurements, as PNG and as SVG."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Run
from subjects import SUBJECTS, Cell

FORKS = 20
DOTS_PER_INCH = 150
GREY, BLUE, ORANGE = "#8a8f98", "#1f6feb", "#d9822b"
OURS = ("token", "password", "role", "apply", "ad-hoc", "module", "module-ssh")


def draw(run: Run, path: Path) -> None:
    """Write `path`.png and `path`.svg: seconds for each way at one size, and how they grow with the fleet."""
    # The same figures make the same file.
    mpl.rcParams["svg.hashsalt"] = "wabiz"
    mpl.rcParams["font.size"] = 9
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    forks = sorted({cell.forks for cell in run.cells()}, key=lambda number: abs(number - FORKS))[0]
    sizes = sorted({cell.clients for cell in run.cells() if cell.forks == forks})
    _draw_ways(left, run, min(sizes, key=lambda size: abs(size - 100)), forks)
    _draw_growth(right, run, sizes, forks)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=DOTS_PER_INCH)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _plain(title: str) -> str:
    return title.replace("`", "")


def _draw_ways(axes: Axes, run: Run, clients: int, forks: int) -> None:
    cells = [Cell(clients, forks, "converged", name) for name in SUBJECTS]
    cells = [cell for cell in cells if cell in run.cells()]
    cells.sort(key=run.median, reverse=True)
    seconds = [run.median(cell) for cell in cells]
    colours = [BLUE if cell.subject in OURS else ORANGE if cell.subject == "uri" else GREY for cell in cells]
    bars = axes.barh([_plain(SUBJECTS[cell.subject].title) for cell in cells], seconds, color=colours)
    axes.bar_label(bars, [f"{number:.1f} s" for number in seconds], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=max(seconds) * 2)
    axes.set_xlabel("seconds, logarithmic")
    axes.set_title(f"{clients} converged clients, {forks} forks")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_growth(axes: Axes, run: Run, sizes: list[int], forks: int) -> None:
    styles = {
        "uri": (ORANGE, "o"),
        "module": (BLUE, "s"),
        "password": (BLUE, "o"),
        "token": (BLUE, "^"),
        "debug": (GREY, "o"),
        "threads": (GREY, "^"),
    }
    for name, (colour, marker) in styles.items():
        points = [(size, Cell(size, forks, "converged", name)) for size in sizes]
        measured = [(size, run.median(cell)) for size, cell in points if cell in run.cells()]
        if measured:
            axes.plot(*zip(*measured, strict=True), color=colour, marker=marker, label=_plain(SUBJECTS[name].title))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("clients")
    axes.set_ylabel("seconds")
    axes.set_title(f"converged, {forks} forks")
    # Below: within the axes it would lie on a line.
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
