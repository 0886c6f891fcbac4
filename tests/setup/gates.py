# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs sessions of nox side by side, shows how they go, and makes the table of the gates."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import CACHE, LOGS, ROOT, say

# More than there are cores: much of the time of a test is spent waiting for something to start, stop or answer.
SIDE_BY_SIDE = 3
HEARTBEAT_SECONDS = 30.0
POLL_SECONDS = 0.1
STOP_SECONDS = 15.0
TAIL_LINES = 60
TABLE = CACHE / "gates.txt"
RESULTS = {"success": "passed", "skipped": "skipped"}


@dataclass
class Gate:
    """One session of nox, and how it went: `passed`, `failed` or `skipped`."""

    name: str
    what: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    seconds: float = 0.0
    result: str = "failed"
    remark: str = ""

    def __post_init__(self) -> None:
        self.log, self.report = LOGS / f"{self.name}.log", LOGS / f"{self.name}.json"

    @property
    def stays_alone(self) -> bool:
        """Whether it starts containers, or gives up when networks of containers come and go, as Chromium does."""
        return self.name.endswith(("containers", "environment", "browser"))

    def start(self, arguments: Sequence[str]) -> None:
        """Run the session, its output in a log file."""
        say(f"==> {self.name}")
        self.report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "nox", "--nocolor", "--report", str(self.report), "--session", self.name]
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--", *arguments], cwd=ROOT, stdout=log, start_new_session=True, **quiet
            )
        self.started = time.monotonic()

    def ended(self, timeout: float) -> bool:
        """Whether it has come to its end; after `timeout` seconds it is stopped. Gives a sign of life now and then."""
        assert self.process is not None
        before, self.seconds = self.seconds, time.monotonic() - self.started
        if self.process.poll() is None and self.seconds < timeout:
            if before // HEARTBEAT_SECONDS < self.seconds // HEARTBEAT_SECONDS:
                say(f"    {self.name}: {self.seconds:.0f} s  {' '.join(self.lines(1))[:100]}")
            return False
        late = self.process.poll() is None
        stop([self])
        self.remark = f"stopped after {timeout:.0f} s" if late else self.judge()
        if self.result == "failed":
            end = "\n".join(f"    {line}" for line in self.lines(TAIL_LINES))
            say(f"--- {self.name} failed. The end of {self.log}:\n{end}")
        say(f"<== {self.name}: {self.result}, {self.seconds:.1f} s" + (f" ({self.remark})" if self.remark else ""))
        return True

    def judge(self) -> str:
        """Set the result that nox reports, and return its reason for anything but success."""
        try:
            sessions = json.loads(self.report.read_text())["sessions"]
        except (OSError, ValueError):
            return "nox gave no report"
        results = {each["name"]: each["result"] for each in sessions}
        self.result = RESULTS.get(results.get(self.name, ""), "failed")
        mark = rf"nox > (?:Session {re.escape(self.name)} (?:skipped|aborted):|REMARK:)|SKIPPED \S+ \S+"
        return "; ".join(dict.fromkeys(re.findall(rf"(?m)^(?:{mark}) +(.*)$", self.log.read_text(errors="replace"))))

    def lines(self, count: int) -> list[str]:
        """The last lines of the log that are not empty."""
        lines = self.log.read_text(errors="replace").splitlines()[-3 * count :]
        return [line for line in lines if line.strip()][-count:]


def run_gates(gates: Mapping[str, str], arguments: Sequence[str], *, timeout: float) -> bool:
    """Run the sessions (name → what it proves), each begun in its turn, and return whether nothing failed."""
    started = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    everything = [Gate(name, what) for name, what in gates.items()]
    waiting, running = list(everything), list[Gate]()
    try:
        while waiting or running:
            running = [gate for gate in running if not gate.ended(timeout)]
            for gate in list(waiting):
                alone = any(other.stays_alone for other in running)
                if len(running) < SIDE_BY_SIDE and not (gate.stays_alone and alone):
                    waiting.remove(gate)
                    running.append(gate)
                    gate.start(arguments)
            time.sleep(POLL_SECONDS)
    finally:
        stop(running)
    return _summarize(everything, time.monotonic() - started)


def stop(gates: Sequence[Gate]) -> None:
    """Stop what still runs: ask first, so that it can clean up, then kill what is left."""
    processes = [gate.process for gate in gates if gate.process is not None]
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _summarize(gates: Sequence[Gate], seconds: float) -> bool:
    """Print the table and the counts, and keep them for people who were not there."""
    width = max(len(gate.name) for gate in gates)
    counts = ", ".join(f"{sum(gate.result == one for gate in gates)} {one}" for one in ("passed", "failed", "skipped"))
    lines = [f"{'gate':<{width}}  {'result':<8} {'seconds':>8}  what it proves"]
    for gate in sorted(gates, key=lambda gate: gate.result == "failed"):  # what failed stands where people look
        words = gate.what + (f" ({gate.remark})" if gate.remark else "")
        lines.append(f"{gate.name:<{width}}  {gate.result:<8} {gate.seconds:>8.1f}  {words}")
    text = "\n".join([*lines, "", f"{seconds:.0f} s in all; logs in {LOGS}", counts])
    say(f"\n{text}")
    TABLE.write_text(f"{text}\n")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        Path(summary).write_text(f"```\n{text}\n```\n")
    return not any(gate.result == "failed" for gate in gates)
