# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes every task result to a file of JSON lines, with the time at which it was known."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record_results
type: notification
short_description: Writes task results as JSON lines
description:
  - Writes each task result to the file that the environment variable WABIZ_RECORD names.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record_results"

    def _record(self, **entry: Any) -> None:
        with Path(os.environ["WABIZ_RECORD"]).open("a", encoding="utf-8") as file:
            json.dump({"time": time.time(), **entry}, file, default=str)
            file.write("\n")

    def _record_result(self, event: str, known: Any) -> None:
        # Releases before 2.19 have the private name only.
        result = known.result if hasattr(known, "result") else known._result
        task = known.task if hasattr(known, "task") else known._task
        host = known.host if hasattr(known, "host") else known._host
        self._record(event=event, host=host.get_name(), task=task.get_name(), result=dict(result))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record_result("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record_result("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record_result("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record_result("unreachable", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._record_result("item_ok", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._record_result("item_failed", result)

    def v2_runner_retry(self, result: Any) -> None:
        self._record_result("retry", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        hosts = {host: stats.summarize(host) for host in stats.processed}
        self._record(event="stats", hosts=hosts)
