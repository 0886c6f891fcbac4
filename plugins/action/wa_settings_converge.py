# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.wabiz.onprem.plugins.module_utils._client import HAS_REQUESTS
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_spec,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._clusters import Claim, is_single
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import (
    DirectAction,
    DirectFlow,
    as_a_module_gets_it,
    run_here,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._records import Records

_SETTINGS = application_settings_spec()
# The role's variables by the name of the option that they are for. They are read here and not handed over by the task:
# Ansible would compile a template for each of them on each host, and that costs more than all the rest.
_VARIABLES = {
    **{name: f"wa_settings_{name}" for name in ("api_url", "username", "password", "token", "validate_certs")},
    **{name: f"wa_settings_{name}" for name in ("ca_path", "timeout", "state", "cluster", "api_delegate", "state_dir")},
    "settings": "wa_settings_values",
    "extra_settings": "wa_settings_extra_values",
    "restart": "wa_settings_restart",
    "backend": "wa_settings_restart_backend",
}
# The role's own argument spec, for plays that leave Ansible's validation of it out: that is a task of its own on every
# host. What goes to the settings flow is validated there.
_ROLE = Path(__file__).parents[2] / "roles" / "wa_settings" / "meta" / "argument_specs.yml"
_OTHERS = {
    name: option
    for name, option in yaml_load(_ROLE.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"].items()
    if name not in {variable for option, variable in _VARIABLES.items() if option in _SETTINGS}
}
_OTHERS_VALIDATOR = ArgumentSpecValidator(_OTHERS)
_CONTROLLER = ("localhost", "127.0.0.1", "::1")


class ActionModule(DirectAction):
    """The one task of a converged host. Every host of a fleet pays for it, so it does no more than it must."""

    direct = DirectFlow(_SETTINGS, partial(application_settings, hold_restart_bound=True))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        # Not DirectAction's own: there is no module behind this action.
        result: dict[str, Any] = super(DirectAction, self).run(tmp, task_vars)
        missing = [variable for variable in _VARIABLES.values() if variable not in task_vars]
        if missing:
            raise AnsibleActionFail(f"this is a part of the role wa_settings; without it {missing[0]} is not defined")
        single, own = is_single(task_vars), str(task_vars["inventory_hostname"])
        said = {name: task_vars[name] for name in (*_VARIABLES.values(), *_OTHERS) if name in task_vars}
        if single:
            said[_VARIABLES["cluster"]] = own  # what the role's default says: a template less to compile
        values = as_a_module_gets_it(self._templar.template(said))
        validated = _OTHERS_VALIDATOR.validate({name: values[name] for name in _OTHERS if name in values})
        if validated.error_messages:
            return {**result, "failed": True, "msg": validated.error_messages[0]}
        args = {name: values[variable] for name, variable in _VARIABLES.items()}
        leader = own if single else Claim(args["cluster"], "settings", task_vars).leader()
        result.update(
            changed=False, leads=leader == own, leader=leader, pending=False, held=False, owed=False, undecided=False
        )
        if not result["leads"]:
            result["msg"] = f"{leader} does this for cluster {args['cluster']}"
            return result
        if self._api_is_here(args["api_delegate"], task_vars):
            result.update(self._settings(args, task_vars))
            if result.get("failed"):
                return result
        else:
            result["undecided"] = True
        # The records of other hosts and of Kubernetes are not within reach of this task's connection.
        readable = single and args["backend"] != "kubernetes"
        if readable:
            debt, problem = Records(self, args["state_dir"], args["cluster"]).read()
            result["owed"] = debt is not None
            if problem is not None and args["restart"] == "never":
                result.setdefault("warnings", []).append(f"the record of owed restarts cannot be read: {problem}")
        to_pay = result["owed"] and args["restart"] != "never"
        result["pending"] = bool(
            result["held"] or result["undecided"] or to_pay or not readable or args["restart"] == "always"
        )
        if result["owed"] and not result["pending"]:
            result["msg"] = f"cluster {args['cluster']} owes a restart; wa_settings_restart is never"
        return result

    def _settings(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Writes the settings, unless Coreapps have to restart for it: then nothing is written yet."""
        params = {name: value for name, value in args.items() if name in _SETTINGS}
        if params.get("state") == "absent":
            # For the role nothing declared is an empty dictionary, for the module it is no dictionary.
            params = {name: value for name, value in params.items() if value != {}}
        run = self._run_of_task(task_vars)
        result = run_here("wabiz.onprem.wa_application_settings", self.direct, params, run)
        if result.get("held"):
            result["changed"] = False
            result.pop("diff", None)
        elif not result.get("changed"):
            # Every host of a converged fleet sends its result through two processes; twice the same is not news.
            result.pop("before", None)
            result.pop("after", None)
        return result

    def _api_is_here(self, delegate: str, task_vars: dict[str, Any]) -> bool:
        """Whether the API is called from the controller, and nothing asks for a process of its own there.

        API calls never need become, whatever the play says for the containers' sake.
        """
        if not HAS_REQUESTS or any(self._task.environment or ()) or not self._switched_on(task_vars):
            return False
        if delegate == task_vars["inventory_hostname"]:
            return self._connection.transport == "local" and self._same_python(task_vars)
        if delegate in _CONTROLLER and delegate not in task_vars["groups"]["all"]:
            return True
        hostvars = task_vars["hostvars"]
        if delegate not in hostvars:
            return False
        facts = hostvars[delegate]
        return bool(facts.get("ansible_connection") == "local") and self._same_python(dict(facts))
