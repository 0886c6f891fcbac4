# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs steps, shows how they go, and sums up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from locations import LOGS, ROOT
from progress import logged, say, tail

# What takes too long for `make test` runs in `make thorough`.
THOROUGH = os.environ.get("WABIZ_THOROUGH") == "1"
STEP_TIMEOUT_SECONDS = 4 * 3600.0 if THOROUGH else 2700.0
# More than there are cores: much of the time of a test is spent waiting for something to start, stop or answer.
SIDE_BY_SIDE = 3


class StepFailed(Exception):
    """A step did not pass; the text says why."""


class StepSkipped(Exception):
    """A step could not be run on this machine; the text says why."""


class Session:
    """What a step runs its commands through: all their output goes to the step's own log."""

    def __init__(self, name: str, *, stream: bool) -> None:
        self.name = name
        self.log = LOGS / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self._stream = stream

    def attempt(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> int:
        """Run a command and return its exit code."""
        return logged(
            command, self.log, env=env, cwd=cwd, timeout=STEP_TIMEOUT_SECONDS, stream=self._stream, label=self.name
        )

    def run(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        """Run a command that has to succeed."""
        code = self.attempt(command, env=env, cwd=cwd)
        if code != 0:
            words = " ".join(str(word) for word in command[:3])
            raise StepFailed(f"exit code {code} from {words} …")


@dataclass(frozen=True)
class Step:
    """One line of the summary. What `action` returns is a remark for it.

    Steps that name the same thing as `claims` never run side by side.
    """

    name: str
    group: str
    action: Callable[[Session], str | None]
    claims: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a step went: `passed`, `failed` or `skipped`."""

    step: Step
    result: str
    seconds: float
    remark: str = ""


def run_steps(steps: Sequence[Step]) -> list[Outcome]:
    """Run the steps, some side by side, each begun in its turn, and return their outcomes in the order of the steps."""
    outcomes: dict[str, Outcome] = {}
    waiting, claimed = list(steps), set[str]()
    turn = threading.Condition()

    def take() -> Step | None:
        with turn:
            while waiting:
                for step in waiting:
                    if step.claims not in claimed:
                        waiting.remove(step)
                        claimed.update({step.claims} - {""})
                        return step
                turn.wait()
        return None

    def work() -> None:
        while step := take():
            outcomes[step.name] = _run_step(step, stream=len(steps) == 1)
            with turn:
                claimed.discard(step.claims)
                turn.notify_all()

    threads = [threading.Thread(target=work, daemon=True) for _core in range(SIDE_BY_SIDE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[step.name] for step in steps]


def _run_step(step: Step, *, stream: bool) -> Outcome:
    say(f"==> {step.name}")
    session = Session(step.name, stream=stream)
    started = time.monotonic()
    result, remark = "passed", ""
    try:
        remark = step.action(session) or ""
    except StepSkipped as reason:
        result, remark = "skipped", str(reason)
    except StepFailed as reason:
        result, remark = "failed", str(reason)
    except Exception as error:  # noqa: BLE001 - a step that breaks must not take the others with it
        result, remark = "failed", f"{type(error).__name__}: {error}"
    outcome = Outcome(step, result, time.monotonic() - started, remark)
    if result == "failed" and not stream:
        say(f"--- {step.name} failed: {remark}. The end of {session.log}:\n{tail(session.log)}")
    say(f"<== {step.name}: {result}, {outcome.seconds:.1f} s" + (f" ({remark})" if remark else ""))
    return outcome


def summarize(outcomes: Sequence[Outcome], seconds: float) -> bool:
    """Print the table and the counts; return whether nothing failed."""
    width = max(len(outcome.step.name) for outcome in outcomes)
    say(f"\n{'step':<{width}}  {'result':<8} {'seconds':>8}")
    for outcome in outcomes:
        line = f"{outcome.step.name:<{width}}  {outcome.result:<8} {outcome.seconds:>8.1f}  {outcome.remark}"
        say(line.rstrip())
    counts = {
        result: sum(outcome.result == result for outcome in outcomes) for result in ("passed", "failed", "skipped")
    }
    say(f"\nlogs in {LOGS}; {seconds:.0f} s in all")
    say(", ".join(f"{count} {result}" for result, count in counts.items()))
    return counts["failed"] == 0
