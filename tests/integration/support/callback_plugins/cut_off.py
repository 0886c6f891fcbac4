# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills ansible-playbook at a chosen task, as a lost session or a machine that goes down would."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: cut_off
type: notification
short_description: Kills the run at a chosen task
description:
  - WABIZ_CUT is C(COUNT SECONDS NAME). At the COUNT-th start of a task with this name the process kills itself and all
    that it started, that many seconds later. With 0 seconds the task does not run any more.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "cut_off"

    def __init__(self) -> None:
        super().__init__()
        count, seconds, self._name = os.environ.get("WABIZ_CUT", "0 0 -").split(" ", 2)
        self._left, self._seconds = int(count), float(seconds)

    def _starts(self, task: Any) -> None:
        if task.get_name().endswith(self._name):
            self._left -= 1
            if self._left == 0:
                if not self._seconds:
                    _kill()
                threading.Timer(self._seconds, _kill).start()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._starts(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._starts(task)


def _kill() -> None:
    # Workers and what they started have sessions of their own in newer releases, and would go on.
    for process in [*_below(os.getpid()), os.getpid()]:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _below(process: int) -> list[int]:
    """All processes that this one started, and theirs."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            found += [child, *_below(child)]
    return found
