# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play without its strategy: the real actions, with a real task, connection and templar, in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader
from ansible.template import Templar

from support.deployments import Deployment

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19

    def trust_as_template(value: str) -> str:
        return value


Result = dict[str, Any]


class HostVars(dict[str, dict[str, Any]]):
    """As Ansible's own, of which the actions use this only."""

    def raw_get(self, host: str) -> dict[str, Any]:
        return {"inventory_hostname": host, **self[host]}


def trusted(value: Any) -> Any:
    """With templates that are rendered, as those of a playbook are."""
    if isinstance(value, Mapping):
        return {name: trusted(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [trusted(member) for member in value]
    return trust_as_template(value) if isinstance(value, str) else value


@dataclass
class Play:
    """Hosts with their variables, and what all tasks of a run have in common. `task` is what the play sets."""

    hosts: Mapping[str, dict[str, Any]]
    task: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ("all",)
    skip_tags: tuple[str, ...] = ()
    check_mode: bool = False
    batch: tuple[str, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    # Modules that a task has run as a process of its own, and what they answer.
    modules: list[tuple[str, dict[str, Any], bool]] = field(default_factory=list)
    answers: list[Result] = field(default_factory=list)

    def variables(self, host: str) -> dict[str, Any]:
        everybody = HostVars({name: trusted(facts) for name, facts in self.hosts.items()})
        return {
            **everybody.raw_get(host),
            **trusted(self.task),
            "hostvars": everybody,
            "groups": {"all": list(self.hosts)},
            "ansible_play_hosts_all": list(self.hosts),
            "ansible_play_hosts": list(self.hosts),
            "ansible_play_batch": list(self.batch or self.hosts),
            "ansible_run_tags": list(self.tags),
            "ansible_skip_tags": list(self.skip_tags),
            "omit": "__omit_place_holder__",
        }

    def action(self, name: str, host: str, /, **args: Any) -> Any:
        """An action of this collection for a task on a host."""
        variables = self.variables(host)
        task = Task()
        task.args = args
        task.action = f"wabiz.onprem.{name}"
        task.check_mode = self.check_mode
        task.diff = False
        for keyword, value in self.keywords.items():
            setattr(task, keyword, value)
        loader = DataLoader()
        context = PlayContext(play=None)
        connection = connection_loader.get("local", context)
        templar = Templar(loader=loader, variables=variables)
        module = importlib.import_module(f"ansible_collections.wabiz.onprem.plugins.action.{name}")
        action = module.ActionModule(task, connection, context, loader, templar, None)

        def execute(module_name: str = "", module_args: Mapping[str, Any] | None = None, **_more: Any) -> Result:
            self.modules.append((module_name, dict(module_args or {}), bool(task.check_mode)))
            return self.answers.pop(0) if self.answers else {"changed": False}

        action._execute_module = execute
        return action

    def run(self, name: str, host: str, /, **args: Any) -> Result:
        found: Result = self.action(name, host, **args).run(task_vars=self.variables(host))
        return found

    def role(self, host: str) -> list[Result]:
        """What the role's tasks do on a host of a cluster, up to the restarts: the results, one after the other."""
        begun = self.run("wa_settings_begin", host)
        results = [begun]
        for item in begun["steps"]:
            results.append(self.run("wa_settings_step", item.get("delegate_to", host), step=item))
        restarts = begun["restarts"] + [item for one in results[1:] for item in one.get("restarts", ())]
        results += [self.run("wa_settings_step", item.get("delegate_to", host), step=item) for item in restarts]
        return results


def play(deployment: Deployment, values: dict[str, Any] | None = None, **more: Any) -> Play:
    """A play with the role on the hosts of a deployment; `more` are fields of the play, or variables of the role."""
    fields = {name: more.pop(name) for name in ("tags", "skip_tags", "check_mode", "batch", "keywords") if name in more}
    task = {"wa_settings_values": values if values is not None else {}, "ansible_python_interpreter": sys.executable}
    return Play(deployment.inventory(), {**task, **more}, **fields)
