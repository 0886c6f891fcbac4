# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._debt import thaw
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node
from ansible_collections.wabiz.onprem.plugins.module_utils._rolling import CannotRestart, Look, Wish, plan_restarts

_SPEC: dict[str, Any] = {
    "cluster": {"type": "str", "required": True},
    "looks": {"type": "list", "elements": "dict", "required": True},
    "settings": {"type": "list", "elements": "str", "default": []},
    "everything": {"type": "bool", "default": False},
    "masters": {"type": "str", "default": "auto"},
    "health": {"type": "dict", "default": {}},
}


def _look(found: dict[str, Any]) -> Look:
    member, seen = found["member"], found["look"]
    problem = None if "containers" in seen else str(seen.get("msg") or "no answer")
    return Look(
        host=member["host"],
        inside=member["inside"],
        problem=problem,
        containers=tuple(seen.get("containers", ())),
        debt=thaw(seen.get("debt")),
    )


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        health = params["health"]
        nodes = [Node(node["name"], node["role"], node["gateway_status"]) for node in health.get("nodes") or ()]
        try:
            plan = plan_restarts(
                cluster=params["cluster"],
                looks=[_look(found) for found in params["looks"]],
                wish=Wish(tuple(params["settings"]), params["everything"]),
                masters=None if params["masters"] == "auto" else boolean(params["masters"]),
                health=nodes or None,
                shards=health.get("shards"),
                clustered=bool(health["clustered"]) if nodes else None,
            )
        except CannotRestart as problem:
            raise AnsibleActionFail(str(problem)) from None
        if plan.warnings:
            result["warnings"] = plan.warnings
        return {
            **result,
            "writes": plan.writes,
            "nodes": plan.nodes,
            "connected": plan.connected,
            "expect_connected": plan.expect_connected,
        }
