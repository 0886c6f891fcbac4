# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._debt import Debt, demand, stamp, strike
from ansible_collections.wabiz.onprem.plugins.plugin_utils._records import Records

_SPEC: dict[str, Any] = {
    "state_dir": {"type": "str", "required": True},
    "cluster": {"type": "str", "required": True},
    "state": {"type": "str", "required": True, "choices": ["recorded", "written", "paid"]},
    "containers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "id": {"type": "str", "default": ""},
            "kind": {"type": "str", "default": "coreapp", "choices": ["coreapp", "master"]},
        },
    },
    "settings": {"type": "list", "elements": "str", "default": []},
    "connected_before": {"type": "int"},
    "written": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        records = Records(self, params["state_dir"], params["cluster"])
        before, problem = records.read()
        after = self._after(before, params, records)
        result["changed"] = problem is not None or after != before
        if result["changed"] and not self._task.check_mode:
            if after is None:
                records.remove()
            else:
                records.write(after)
        result["debt"] = None if after is None else asdict(after)
        return result

    def _after(self, before: Debt | None, params: dict[str, Any], records: Records) -> Debt | None:
        if params["state"] == "recorded":
            recorded = datetime.now(timezone.utc).isoformat(timespec="seconds")
            debt = demand(
                before,
                params["cluster"],
                params["containers"],
                settings=params["settings"],
                recorded=recorded,
                connected_before=params["connected_before"],
            )
            if not debt.containers:
                return None
            return stamp(debt, records.now()) if params["written"] else debt
        if before is None:
            return None
        if before.containers is None:
            return before
        return stamp(before, records.now()) if params["state"] == "written" else strike(before, params["containers"])
