# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.wabiz.onprem.plugins.plugin_utils._connected import ConnectedHost
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Problem


class Action:
    """The parts of an action that a connected host uses: a shell on this machine, and modules that note their mode."""

    def __init__(self, check_mode: bool = False) -> None:
        self._task = SimpleNamespace(check_mode=check_mode)
        self.modules: list[tuple[str, dict[str, Any], bool]] = []
        self.fails = False

    def _low_level_execute_command(self, command: str, executable: str) -> dict[str, Any]:
        if self.fails:
            raise AnsibleConnectionFailure("no\nroute")
        done = subprocess.run([executable, "-c", command], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout.replace("\n", "\r\n"), "stderr": done.stderr}

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self.modules.append((module_name, module_args, self._task.check_mode))
        if self.fails:
            raise AnsibleConnectionFailure("no route")
        return {"changed": True}


def connected(action: Any, environment: dict[str, str] | None = None) -> ConnectedHost:
    return ConnectedHost(action, environment or {}, {})


def test_a_command_gets_the_environment_and_its_output_comes_back() -> None:
    host = connected(Action(), {"CANARY": "a 'quoted' $value\nof two lines"})
    assert host.run('printf "%s\\n" "$CANARY"; echo to-stderr >&2') == "a 'quoted' $value\nof two lines\nto-stderr\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo first; echo second >&2; exit 3", "first second"),
        ("exit 3", "exit code 3"),
        ("echo begin; yes word | head -n 1000; exit 3", ("word " * 100).strip()),
    ],
)
def test_a_command_that_fails_is_a_problem_in_one_line(command: str, said: str) -> None:
    with pytest.raises(Problem) as problem:
        connected(Action()).run(command)
    assert str(problem.value).strip() == said


def test_a_host_that_cannot_be_reached() -> None:
    action = Action()
    action.fails = True
    with pytest.raises(Problem, match=r"^unreachable: no route$"):
        connected(action).run("true")


@pytest.mark.parametrize(("task", "asked", "runs"), [(False, False, False), (False, True, True), (True, False, True)])
@pytest.mark.parametrize("fails", [False, True])
def test_a_module_runs_in_check_mode_where_either_asks_for_it(task: bool, asked: bool, runs: bool, fails: bool) -> None:
    action = Action(task)
    action.fails = fails
    host = connected(action)
    if fails:
        with pytest.raises(AnsibleConnectionFailure):
            host.module("a.b.c", {"x": 1}, check_mode=asked)
    else:
        assert host.module("a.b.c", {"x": 1}, check_mode=asked) == {"changed": True}
    assert action.modules == [("a.b.c", {"x": 1}, runs)]
    assert action._task.check_mode is task, "the task itself is as it was"
