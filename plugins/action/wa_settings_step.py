# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A part of the role wa_settings: the steps of a change or a restart that concern one host, as an item of a loop."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.plugin_utils._execution import carry_out, work_of
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import Work

_works: dict[str, Work] = {}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        item = self._task.args["step"]
        context = str(item["context"])
        if context not in _works:
            _works[context] = work_of(context, bool(self._task.check_mode))
        return {**result, **carry_out(self, _works[context], item, task_vars or {})}
