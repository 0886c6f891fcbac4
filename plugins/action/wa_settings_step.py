# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A part of the role wa_settings: the steps of a change or a restart that concern one host, as an item of a loop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node as HealthNode
from ansible_collections.wabiz.onprem.plugins.module_utils._health import ask_health, health_info, health_info_spec
from ansible_collections.wabiz.onprem.plugins.module_utils._options import read_connection
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import scrub
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_spec,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Member, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._connected import ConnectedHost
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectFlow, run_here
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import append, keep, recall, set_claim
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Refused
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Store
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import (
    Ask,
    Failed,
    Unwritten,
    Work,
    context_from_json,
    report,
)

_CLEANING = frozenset({"note", "release"})
# An item of these alone was skipped if its node is not to restart, or later.
_OF_NODE = frozenset({"gate", "restart", "wait", "settle"})
_FLOWS = {
    "wa_application_settings": DirectFlow(application_settings_spec(), partial(application_settings, with_health=True)),
    "wa_health_info": DirectFlow(health_info_spec(), health_info),
}
_works: dict[str, Work] = {}

display = Display()


class _Port:
    """What a step may use of the present task."""

    def __init__(self, action: ActionModule, work: Work, host: str, task_vars: dict[str, Any]) -> None:
        self._action = action
        self._work = work
        self._context = context = work.context
        self.host = ConnectedHost(action, context.environments.get(host, {}), task_vars)

    def store(self, member: Member, cluster: str) -> Store:
        return BACKENDS[member.backend].store(self.host, member, cluster)

    def api(self, module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        given = {**self._context.connection, **arguments}
        task = self._action._task
        if self._context.api_here:
            # This process is a worker of its own, so the task's environment can be its own, too.
            os.environ.update(self._context.environments.get(self._context.host, {}))
            run = Run(check_mode=check_mode, diff_mode=bool(task.diff), invocation=False, progress=self.say)
            flow = _FLOWS[module]
            if module == "wa_application_settings":
                writing = partial(application_settings, with_health=True, already_sent=self._work.already_sent)
                flow = flow.with_flow(writing)
            return run_here(f"wabiz.onprem.{module}", flow, given, run)
        return self.host.module(f"wabiz.onprem.{module}", given, check_mode=check_mode)

    def watch(self) -> AbstractContextManager[Ask] | None:
        return self._conversation() if self._context.api_here else None

    @contextmanager
    def _conversation(self) -> Iterator[Ask]:
        given = {**self._context.connection, "retries": 0}
        connection = read_connection(_FLOWS["wa_health_info"].validator.validate(given).validated_parameters)
        # One conversation: what changes for a moment only must not fall between two.
        with Client(connection, read_only=True) as client:

            def ask() -> Sequence[HealthNode]:
                try:
                    return ask_health(client, retries=0).nodes
                except ApiError:
                    return ()

            yield ask

    def say(self, line: str) -> None:
        display.display(f"[{self._context.host}] {line}")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        item = self._task.args["step"]
        work = self._work(str(item["context"]))
        port = _Port(self, work, str(item["host"]), task_vars or {})
        phase = str(item["phase"])
        doing = recall("doing", work.context.id, phase)[item["at"]]
        did = False
        for name, host, node in doing:
            if work.failure is not None and name not in _CLEANING:
                continue
            did = True
            result.update(self._do(work, port, str(name), str(host), str(node)))
        if not did:
            result.update(skipped=True, msg="left out after the failure before")
        elif {str(step[0]) for step in doing} - _OF_NODE:
            result.pop("skipped", None)
        if work.warnings:
            result["warnings"] = [*result.get("warnings", ()), *work.warnings]
            work.warnings = []
        if item.get("last"):
            result.update(self._conclusion(work, port, phase))
        return result

    def _work(self, context: str) -> Work:
        if context not in _works:
            found = recall("context", context)
            if found is None:
                raise AnsibleActionFail(
                    "what was to be done is not known any more; run again, pending restarts are on record"
                )
            _works[context] = Work(context_from_json(found), bool(self._task.check_mode))
        return _works[context]

    def _do(self, work: Work, port: _Port, name: str, host: str, node: str) -> dict[str, Any]:
        step = getattr(work, name)
        try:
            found: dict[str, Any] = step(port, host, node) if node else step(port, host)
            if name == "write" and work.context.steps:
                # The role's first task has told the change, and shown it.
                found = {**found, "changed": False}
                found.pop("diff", None)
            return found
        except Unwritten as problem:
            work.failure = str(problem)
            return {**problem.result, "failed": True}
        except (Failed, Refused, Problem) as problem:
            first = work.failure is None
            text = scrub(str(problem), work.secrets)
            if not first:
                return {"warnings": [text]}
            work.failure = text
            return {"failed": True, "msg": text}
        except BaseException:
            work.failure = work.failure or "broken off"
            raise

    def _conclusion(self, work: Work, port: _Port, phase: str) -> dict[str, Any]:
        """What the task leaves behind: for the role's facts, for the handler, and for the person who watches."""
        context = work.context
        pending = work.still_pending()
        found: dict[str, Any] = {
            "wa_settings_summary": work.summary(),
            "wa_settings_restart_required": bool(pending),
        }
        if phase == "demand":
            found.update(self._hand_over(work))
        if context.values["report"]:
            found["ansible_stats"] = report(context.host, work.summary())
        line = work.line(phase == "restart" or not found.get("restarts"))
        if line:
            port.say(line)
        return found

    def _hand_over(self, work: Work) -> dict[str, Any]:
        """Keeps for the handler what has to restart."""
        context = work.context
        set_claim(context.cluster, context.host, "failed" if work.failure is not None else "done")
        items = context.items(work.restarts(), "restart")
        carried = {**recall("context", context.id), "changes": work.changed_settings, "restarts": items}
        keep(carried, "context", context.id)
        if not items or context.by_itself:
            return {"restarts": items}
        append("demands", context.host, context.id)
        # A handler is told by a change only.
        return {"restarts": items, "changed": True}
