# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.plugin_utils._clusters import Claim, members

_SPEC: dict[str, Any] = {
    "cluster": {"type": "str", "required": True},
    "claim": {"type": "str", "default": ""},
    "release": {"type": "bool", "default": False},
    "backend": {"type": "str", "required": True},
    "containers": {"type": "list", "elements": "str", "required": True},
    "image_pattern": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "required": True},
    "state_dir": {"type": "str", "required": True},
}
_PREFIX = "wa_settings_restart_"
_VARIABLES = {
    "backend": f"{_PREFIX}backend",
    "image_pattern": f"{_PREFIX}image_pattern",
    "command": f"{_PREFIX}command",
    "state_dir": "wa_settings_state_dir",
}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        cluster, own = params["cluster"], str(task_vars["inventory_hostname"])
        claim = Claim(cluster, params["claim"], task_vars)
        if params["release"]:
            claim.release()
            return result
        result["leader"] = claim.leader() if params["claim"] else own
        result["leads"] = result["leader"] == own
        if not result["leads"]:
            result["msg"] = f"{result['leader']} does this for cluster {cluster}"
            return result
        hosts = members(cluster, task_vars, self._templar)
        result["members"] = [self._member(host, own, params, task_vars) for host in hosts]
        return result

    def _member(self, host: str, own: str, params: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """What the inventory says about this host; what it leaves open is as for the host that does the work."""
        said = {} if host == own else task_vars["hostvars"][host]
        member = {name: said.get(variable, params[name]) for name, variable in _VARIABLES.items()}
        # A list of names belongs to the host that it was given for.
        variable = f"{_PREFIX}containers"
        inherited = params["containers"] if host == own or variable not in task_vars["hostvars"][own] else []
        member["containers"] = said.get(variable, inherited)
        if member["backend"] == "command" and not member["containers"]:
            member["containers"] = [host]
        return {**member, "host": host, "inside": host in task_vars["ansible_play_hosts_all"]}
