# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a flow inside the controller process.

A module costs Ansible about half a second in building and starting a payload, whatever it does. Where the work would
happen on the controller anyway, it is done right here. What all workers need is made ready when the strategy loads the
action's class, before it forks: C(requests) is imported, a first template is rendered, and the flow is rehearsed.

This module is private to the collection.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from copy import copy
from datetime import date
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.display import Display

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19, which trusts every text

    def trust_as_template(value: str) -> str:
        return value


from ansible_collections.wabiz.onprem.plugins.module_utils._client import HAS_REQUESTS, prepare_tls_context
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Flow, Run, complete, refused_values
from ansible_collections.wabiz.onprem.plugins.plugin_utils._pretended_client import API_URL, PretendedClient

display = Display()

# The first template of a process compiles the patterns of Jinja's lexer, and the first filter and the first test load
# all of Ansible's; C(default(omit)) in a task would have every worker pay for that again.
Templar(loader=DataLoader(), variables={}).template(trust_as_template("{{ '' | default('') is defined }}"))

Result = dict[str, Any]


class DirectFlow:
    """A module's argument spec and flow, for use in this process.

    Made when the action's file is loaded, before the strategy forks: making the validator costs more than validating.
    """

    def __init__(self, spec: dict[str, Any], flow: Flow) -> None:
        self.spec = spec
        self.flow = flow
        self.validator = ArgumentSpecValidator(spec)
        if HAS_REQUESTS:
            self._rehearse()

    def with_flow(self, flow: Flow) -> DirectFlow:
        """The same spec over another flow."""
        other = copy(self)
        other.flow = flow
        return other

    def _rehearse(self) -> None:
        """Runs the flow once against a client in memory, and prepares a TLS context.

        Whatever a process does first costs more than the second time, since modules are imported and Python adapts its
        code; this way no worker pays for it.
        """
        args: dict[str, Any] = {"api_url": API_URL, "token": "x", "retries": 0, "use_proxy": False}
        if "settings" in self.spec:
            args["settings"] = {"log_level": "info", "webhooks": {"url": "https://localhost/?a=b"}}
        # What is only there to save time must not be what fails.
        with contextlib.suppress(Exception):
            run_here("rehearsal", self, args, Run(check_mode=True, diff_mode=True, connect=PretendedClient))
        prepare_tls_context()


def as_a_module_gets_it(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in the plain types of JSON: no tags, no vaulted text, no dates."""
    plain: dict[str, Any] = json.loads(json.dumps(args, default=_as_text))
    return plain


def _as_text(value: Any) -> str:
    return str(value.isoformat() if isinstance(value, date) else value)


def run_here(name: str, direct: DirectFlow, args: Mapping[str, Any], run: Run) -> Result:
    """Validates the arguments as the module of that name would, and runs the flow. The result is the module's.

    args: in plain types, as C(as_a_module_gets_it) makes them.
    """
    validated = direct.validator.validate(args)
    if validated.error_messages:
        error = validated.errors[0]
        message = error.args[0] if error.args else str(error)
        if isinstance(error, UnsupportedError):
            message = f"Unsupported parameters for ({name}) module: {message}"
        result: Result = {"failed": True, "msg": message}
        if run.invocation:
            result["invocation"] = {"module_args": validated.validated_parameters}
        # A module's own results are scrubbed by AnsibleModule; nothing does it for an action.
        scrubbed: Result = remove_values(result, refused_values(direct.spec, validated.validated_parameters))
        return scrubbed
    return complete(direct.flow, validated.validated_parameters, run)


class DirectAction(ActionBase):
    """An action plugin over a flow; a subclass says which. Where another process is asked for, the module runs."""

    _supports_check_mode = True
    _supports_async = True

    direct: DirectFlow

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Result:
        task_vars = task_vars or {}
        result: Result = super().run(tmp, task_vars)
        if not self._runs_here(task_vars):
            return {**result, **self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)}
        args = as_a_module_gets_it(self._task.args)
        result.update(run_here(self._task.action, self.direct, args, self._run_of_task(task_vars)))
        return result

    def _run_of_task(self, task_vars: Mapping[str, Any]) -> Run:
        return Run(
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
            invocation=self._shows_invocation(task_vars),
            progress=lambda line: display.display(f"[{self._host_name(task_vars)}] {line}"),
        )

    def _shows_invocation(self, task_vars: Mapping[str, Any]) -> bool:
        """Whether a result names the parameters: a choice from ansible-core 2.21 on, always before."""
        if not hasattr(constants, "INJECT_INVOCATION"):
            return True
        return bool(constants.config.get_config_value("INJECT_INVOCATION", variables=task_vars))

    def _host_name(self, task_vars: Mapping[str, Any]) -> str:
        return str(task_vars.get("inventory_hostname", "localhost"))

    def _runs_here(self, task_vars: Mapping[str, Any]) -> bool:
        """Whether nothing asks for another process, another account, another host or another Python."""
        return (
            HAS_REQUESTS
            and self._connection.transport == "local"
            and self._connection.become is None
            and not self._task.async_val
            and not any(self._task.environment or ())
            and self._same_python(task_vars)
            and self._switched_on(task_vars)
        )

    def _same_python(self, task_vars: Mapping[str, Any]) -> bool:
        if self._task.delegate_to:
            task_vars = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, {})
        interpreter = str(task_vars.get("ansible_python_interpreter", "auto"))
        if "{" in interpreter:
            if interpreter.replace(" ", "") == "{{ansible_playbook_python}}":
                return True  # by far the most common template; rendering it costs a tenth of the whole task
            interpreter = str(self._templar.template(interpreter))
        return interpreter.startswith("auto") or Path(interpreter).absolute() == Path(sys.executable).absolute()

    def _switched_on(self, task_vars: Mapping[str, Any]) -> bool:
        value = task_vars.get("wabiz_direct_execution", True)
        return value if isinstance(value, bool) else bool(boolean(self._templar.template(value)))
