# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines, and commands whose output goes to a log file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from locations import ROOT

HEARTBEAT_SECONDS = 30.0
TAIL_LINES = 60

STOP_SECONDS = 15.0

_print_lock = threading.Lock()
_running: set[subprocess.Popen[str]] = set()


class SetupFailed(Exception):
    """The set-up cannot go on; the text tells a person what to do."""


def say(text: str) -> None:
    """Print one line at once, also from several threads."""
    with _print_lock:
        print(text, flush=True)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log file, indented."""
    if not log.exists():
        return ""
    return "\n".join("    " + line for line in log.read_text(errors="replace").splitlines()[-lines:])


def logged(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: float | None = None,
    stream: bool = False,
    label: str = "",
) -> int:
    """Run a command with its output appended to `log`, and return its exit code (124 after `timeout` seconds).

    With `stream` each line is shown as well; with a `label`, a sign of life every half minute is shown instead.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    started = time.monotonic()
    last = ""
    with log.open("a", encoding="utf-8") as sink:
        sink.write("$ " + " ".join(words) + "\n")
        sink.flush()
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        _running.add(process)
        finished = threading.Event()
        timed_out = threading.Event()

        def watch() -> None:
            while not finished.wait(HEARTBEAT_SECONDS if timeout is None else min(HEARTBEAT_SECONDS, timeout)):
                elapsed = time.monotonic() - started
                if timeout is not None and elapsed >= timeout:
                    timed_out.set()
                    _kill_group(process)
                    return
                if label and not stream:
                    say(f"    {label}: {elapsed:.0f} s  {last[:100]}")

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                sink.write(line)
                sink.flush()
                last = line.strip() or last
                if stream:
                    say(line.rstrip("\n"))
            code = process.wait()
        except BaseException:
            _kill_group(process)
            raise
        finally:
            finished.set()
            watcher.join()
            _running.discard(process)
        if timed_out.is_set():
            sink.write(f"stopped after {timeout} s\n")
            return 124
        return code


def require(
    command: Sequence[str | Path], log: Path, *, what: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> None:
    """Run a command of the set-up; raise SetupFailed with the end of its log when it fails."""
    if logged(command, log, env=env, cwd=cwd, label=what) != 0:
        raise SetupFailed(f"{what}: failed. The end of {log}:\n{tail(log, 25)}")


def stop_running() -> None:
    """Stop the commands that still run: ask them first, so that they can clean up, then kill what is left."""
    processes = [process for process in tuple(_running) if process.poll() is None]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        _kill_group(process)


def _kill_group(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def fail(error: SetupFailed) -> int:
    """Show a failed set-up and return the exit code for it."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 1
