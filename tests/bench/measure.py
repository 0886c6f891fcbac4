# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one command and tells what it cost."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.1
LOG_TAIL_CHARACTERS = 3000


class CommandFailed(Exception):
    """The command did not do its work; the text says what and holds the end of its output."""


@dataclass(frozen=True)
class Cost:
    """`seconds` by the wall clock, `cpu_seconds` of the process and all its children, peak resident memory in MiB.

    `largest_mib` is that of the largest process of the tree, pages that are shared after a fork included; `main_mib`
    that of the process itself, up to the last tenth of a second before its end.
    """

    seconds: float
    cpu_seconds: float
    main_mib: float
    largest_mib: float


def measure(command: Sequence[str | Path], env: Mapping[str, str], log: Path, timeout: float) -> Cost:
    """Run a command with its output in `log`; raise CommandFailed where its exit code is not 0."""
    with log.open("wb") as sink:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
        main_kib, ended, timed_out = [0], threading.Event(), threading.Event()

        def watch() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                main_kib[0] = max(main_kib[0], _peak_kib(process.pid))
                if time.monotonic() - started > timeout:
                    timed_out.set()
                    _kill(process.pid)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            # wait4 tells the peak of the largest process of the tree; subprocess would throw that away.
            _pid, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
        except BaseException:
            _kill(process.pid)
            process.wait()
            raise
        finally:
            ended.set()
            watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        reason = f"not done after {timeout:.0f} s" if timed_out.is_set() else f"exit code {process.returncode}"
        words = " ".join(str(word) for word in command)
        output = log.read_text(errors="replace")
        # Of a thousand hosts the one that failed may stand far above the end.
        failed = [line[:LOG_TAIL_CHARACTERS] for line in output.splitlines() if re.match(r"fatal: |\[ERROR\]", line)]
        raise CommandFailed("\n".join([f"{words}: {reason}", *failed[:3], output[-LOG_TAIL_CHARACTERS:]]))
    # Until it starts another program, a new process counts the memory of the one that it comes from.
    own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest_kib = max(main_kib[0], usage.ru_maxrss if usage.ru_maxrss > own_kib else 0)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, main_kib[0] / 1024, largest_kib / 1024)


def _peak_kib(pid: int) -> int:
    """Return the peak resident memory of a process; 0 where it is gone, or the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
