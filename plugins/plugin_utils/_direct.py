# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a flow inside the controller process.

A module costs Ansible about half a second in building and starting a payload, whatever it does. Where the work would
happen on the controller anyway, it is done right here. What all workers need is made ready when the strategy loads the
action's class, before it forks: C(requests) is imported, and a first template is rendered.

This module is private to the collection.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from copy import copy
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
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


from ansible_collections.wabiz.onprem.plugins.module_utils._checks import DEEPEST, InvalidOptions, is_nested_deeper
from ansible_collections.wabiz.onprem.plugins.module_utils._client import HAS_REQUESTS
from ansible_collections.wabiz.onprem.plugins.module_utils._options import check_shapes
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Flow, Run, complete, refuse, unexpected

display = Display()

# The first template of a process compiles the patterns of Jinja's lexer, and the first filter and the first test load
# all of Ansible's; C(default(omit)) in a task would have every worker pay for that again.
Templar(loader=DataLoader(), variables={}).template(trust_as_template("{{ '' | default('') is defined }}"))

Result = dict[str, Any]
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TOO_LONG_NUMBER = 10**1000  # Python refuses to write much longer ones


class DirectFlow:
    """A module's argument spec and flow, for use in this process.

    Made when the action's file is loaded, before the strategy forks: making the validator costs more than validating.
    """

    def __init__(self, spec: dict[str, Any], flow: Flow) -> None:
        self.spec = spec
        self.flow = flow
        self.validator = ArgumentSpecValidator(spec)

    def with_flow(self, flow: Flow) -> DirectFlow:
        """The same spec over another flow."""
        other = copy(self)
        other.flow = flow
        return other


def as_a_module_gets_it(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in the plain types of JSON: no tags, no vaulted text, no dates. Raises InvalidOptions."""
    if is_nested_deeper(args, 2 * DEEPEST):
        raise InvalidOptions("the arguments of the task are nested too deeply")
    problem = next(_never_in_json(args), None)
    if problem is not None:
        raise InvalidOptions(problem)
    plain: dict[str, Any] = json.loads(json.dumps(args, default=_as_text))
    return plain


def _never_in_json(value: Any, place: str = "") -> Iterator[str]:
    """What of the arguments a module could not get, by the name of the option."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, (str, int, float, type(None))):
                yield f"{place or 'the task'}: a {type(name).__name__} cannot be a key; put it in quotes"
            elif _LONE_SURROGATE.search(str(name)):
                yield f"{place or 'the task'}: a key holds characters that are no text"
            else:
                yield from _never_in_json(member, f"{place}.{name}" if place else str(name))
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _never_in_json(member, place)
    elif isinstance(value, str) and _LONE_SURROGATE.search(value):
        yield f"{place}: holds characters that are no text"
    elif isinstance(value, int) and abs(value) >= _TOO_LONG_NUMBER:
        yield f"{place}: this number is too long"
    elif isinstance(value, (bytes, bytearray, set, frozenset)):
        yield f"{place}: a value of type {type(value).__name__} cannot be given; use text, a number or a list"


def _as_text(value: Any) -> str:
    return str(value.isoformat() if isinstance(value, date) else value)


def run_here(name: str, direct: DirectFlow, args: Mapping[str, Any], run: Run) -> Result:
    """Validates the arguments as the module of that name would, and runs the flow. The result is the module's.

    args: in plain types, as C(as_a_module_gets_it) makes them.
    """
    try:
        check_shapes(direct.spec, args)
        validated = direct.validator.validate(args)
    except InvalidOptions as error:
        return refuse(direct.spec, args, str(error), run.invocation)
    except Exception as error:  # noqa: BLE001 - a traceback would show values
        return refuse(direct.spec, args, unexpected(error), run.invocation)
    if validated.error_messages:
        first = validated.errors[0]
        message = first.args[0] if first.args else str(first)
        if isinstance(first, UnsupportedError):
            message = f"Unsupported parameters for ({name}) module: {message}"
        return refuse(direct.spec, validated.validated_parameters, message, run.invocation)
    return complete(direct.flow, validated.validated_parameters, run)


class DirectAction(ActionBase):
    """An action plugin over a flow; a subclass says which. Where another process is asked for, the module runs."""

    _supports_check_mode = True
    _supports_async = True

    direct: DirectFlow

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Result:
        task_vars = task_vars or {}
        result: Result = super().run(tmp, task_vars)
        try:
            args = as_a_module_gets_it(self._task.args)
            check_shapes(self.direct.spec, args)
            runs_here = self._runs_here(task_vars)
        except InvalidOptions as error:
            return {**result, "failed": True, "msg": str(error)}
        if not runs_here:
            return {**result, **self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)}
        result.update(run_here(self._task.action, self.direct, args, self._run_of_task(task_vars)))
        return result

    def _run_of_task(self, task_vars: Mapping[str, Any]) -> Run:
        return Run(
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
            invocation=self._shows_invocation(task_vars),
            progress=None if self._task.no_log else partial(self._show, task_vars),
        )

    def _show(self, task_vars: Mapping[str, Any], line: str) -> None:
        display.display(f"[{self._host_name(task_vars)}] {line}")

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
        said = task_vars.get("ansible_python_interpreter", "auto")
        interpreter = str(said)
        if "{" in interpreter:
            if interpreter.replace(" ", "") == "{{ansible_playbook_python}}":
                return True  # by far the most common template; rendering it costs a tenth of the whole task
            # The value itself: its text alone is no template any more.
            interpreter = str(self._templar.template(said))
        return interpreter.startswith("auto") or Path(interpreter).absolute() == Path(sys.executable).absolute()

    def _switched_on(self, task_vars: Mapping[str, Any]) -> bool:
        value = task_vars.get("wabiz_direct_execution", True)
        if isinstance(value, bool):
            return value
        try:
            return bool(boolean(self._templar.template(value)))
        except TypeError:
            raise InvalidOptions("wabiz_direct_execution: must be true or false") from None
