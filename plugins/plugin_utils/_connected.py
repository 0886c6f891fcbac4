# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host that an action's task is connected to.

This module is private to the collection.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Problem, Unreachable


class ConnectedHost:
    """Commands and modules over the connection of a task. environment: the task's, as it is for this host."""

    def __init__(self, action: ActionBase, environment: Mapping[str, str], task_vars: dict[str, Any]) -> None:
        self._action = action
        self._environment = environment
        self._task_vars = task_vars

    @property
    def is_here(self) -> bool:
        """Whether commands run on this machine and under this account."""
        connection = self._action._connection
        return bool(connection.transport == "local" and connection.become is None)

    def run(self, command: str) -> str:
        # Where the connection has a terminal, errors come as output and whatever else is said comes as errors.
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self._environment.items())
        script = f"exec 2>&1\n{exports}{command}"
        try:
            answer = self._action._low_level_execute_command(f"/bin/sh -c {shlex.quote(script)}", executable="/bin/sh")
        except AnsibleConnectionFailure as error:
            raise Unreachable(" ".join(str(error).split())) from None
        output = str(answer["stdout"]).replace("\r\n", "\n")
        if answer["rc"] != 0:
            said = " ".join((output.strip() or str(answer["stderr"]).strip()).split())
            raise Problem(said[-500:] or f"exit code {answer['rc']}")
        return output

    def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        task = self._action._task
        before = task.check_mode
        task.check_mode = before or check_mode
        try:
            result: dict[str, Any] = self._action._execute_module(
                module_name=name, module_args=dict(arguments), task_vars=self._task_vars
            )
        finally:
            task.check_mode = before
        return result
