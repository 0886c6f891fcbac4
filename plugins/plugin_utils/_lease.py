# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who holds a lease: this process, and whether another one can be seen to be gone.

This module is private to the collection.
"""

from __future__ import annotations

import os
import platform
import secrets
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import RUN
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Lease

_PROC = Path("/proc")


def now() -> str:
    """This moment, for people."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def new_lease(seconds: float) -> Lease:
    """A lease of this process, which lasts so many seconds without a renewal."""
    return Lease(
        token=secrets.token_hex(8),
        run=RUN,
        controller=platform.node(),
        machine=_machine(),
        process=_process(os.getpid()) or f"{os.getpid()}/",
        since=now(),
        seconds=seconds,
    )


def is_gone(lease: Lease) -> bool:
    """Whether the holder ran on this machine and does not any more. In doubt it lives."""
    pid, _slash, started = lease.process.partition("/")
    if not started or lease.machine != _machine():
        return False
    return _process(int(pid) if pid.isdigit() else 0) != lease.process


def _machine() -> str:
    """One boot of one machine, and one space of process ids on it; empty where nobody tells."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(pid: int) -> str | None:
    """A process as its id and the moment of its start, since ids are given out again; None where there is none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{pid}/{rest[18]}"
