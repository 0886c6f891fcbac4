# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._debt import next_debt
from ansible_collections.wabiz.onprem.plugins.plugin_utils._records import CHANGE_SPEC, Records

_SPEC: dict[str, Any] = {
    "state_dir": {"type": "str", "required": True},
    "cluster": {"type": "str", "required": True},
    **CHANGE_SPEC,
}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        records = Records(self, params["state_dir"], params["cluster"])
        before, problem = records.read()
        recorded = datetime.now(timezone.utc).isoformat(timespec="seconds")
        after = next_debt(before, params, recorded, records.now)
        result["changed"] = problem is not None or after != before
        if result["changed"] and not self._task.check_mode:
            if after is None:
                records.remove()
            else:
                records.write(after)
        result["debt"] = None if after is None else asdict(after)
        return result
