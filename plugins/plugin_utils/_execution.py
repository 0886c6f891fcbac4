# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out the steps of an item in a task: over its connection, in its process, with a result to show.

This module is private to the collection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client, Connection
from ansible_collections.wabiz.onprem.plugins.module_utils._collection import (
    garbage_collection,
    garbage_collection_spec,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node as HealthNode
from ansible_collections.wabiz.onprem.plugins.module_utils._health import (
    ask_health,
    health_info,
    health_info_spec,
    shows_absence,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._options import read_connection
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import scrub
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_spec,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Member, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._cluster import whose_record
from ansible_collections.wabiz.onprem.plugins.plugin_utils._connected import ConnectedHost
from ansible_collections.wabiz.onprem.plugins.plugin_utils._context import context_from_json
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectFlow, run_here
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import append, is_orphan, keep, recall, set_claim
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Refused
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import Store
from ansible_collections.wabiz.onprem.plugins.plugin_utils._summary import LOST, client_of, of_all_clients, report
from ansible_collections.wabiz.onprem.plugins.plugin_utils._watch import Ask
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import PATIENCE, Failed, Unwritten, Work

Result = dict[str, Any]

CLEANING = frozenset({"note", "release"})
# An item of these alone was skipped if its node is not to restart, or later.
_OF_NODE = frozenset({"gate", "restart", "wait", "settle"})
FLOWS = {
    "wa_application_settings": DirectFlow(application_settings_spec(), application_settings),
    "wa_health_info": DirectFlow(health_info_spec(), health_info),
    "wa_garbage_collection": DirectFlow(garbage_collection_spec(), garbage_collection),
}
_clients: dict[tuple[str, str, bool], Client] = {}

display = Display()


class TaskPort:
    """What a step may use of the present task."""

    def __init__(self, action: ActionBase, work: Work, host: str, task_vars: dict[str, Any]) -> None:
        self._action = action
        self._work = work
        self._task_vars = task_vars
        self._context = context = work.context
        environment = context.environment
        if context.api_here:
            # This process is a worker of its own, so the task's environment can be its own, too.
            os.environ.update(environment)
        if environment and host != context.host:
            environment = recall("environment", host) or environment
        self.host = ConnectedHost(action, environment, task_vars)
        self._stores: dict[tuple[str, str], Store] = {}

    def store(self, member: Member, cluster: str) -> Store:
        key = (member.host, cluster)
        if key not in self._stores:
            client = member.client or str(self._context.connection["api_url"])
            whose = whose_record(self._task_vars, {**self._context.values, "api_url": client}, cluster, member.host)
            self._stores[key] = BACKENDS[member.backend].store(self.host, member, cluster, whose)
        return self._stores[key]

    def api(self, module: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> Result:
        given = {**({} if "api_url" in arguments else self._context.connection), **arguments}
        task = self._action._task
        if self._context.api_here:
            run = Run(
                check_mode=check_mode,
                diff_mode=bool(task.diff),
                invocation=False,
                progress=self.say,
                connect=self._connect,
            )
            flow = FLOWS[module]
            if module == "wa_application_settings":
                writing = partial(application_settings, with_health=True, already_sent=self._work.already_sent)
                flow = flow.with_flow(writing)
            elif module == "wa_health_info" and given.get("wait"):
                # How many have to be connected is known by now.
                flow = flow.with_flow(partial(health_info, with_shards=False))
            return run_here(f"wabiz.onprem.{module}", flow, given, run)
        return self.host.module(f"wabiz.onprem.{module}", given, check_mode=check_mode)

    def watch(self) -> AbstractContextManager[Ask] | None:
        return self._conversation() if self._context.api_here else None

    @contextmanager
    def _conversation(self) -> Iterator[Ask]:
        given = FLOWS["wa_health_info"].validator.validate(self._context.connection).validated_parameters
        connection = read_connection(given)
        with self._connect(connection, True) as client:

            def ask() -> Sequence[HealthNode] | None:
                try:
                    return ask_health(client, retries=0).nodes
                except ApiError as error:
                    return () if shows_absence(error) else None

            yield ask

    def _connect(self, connection: Connection, read_only: bool) -> AbstractContextManager[Client]:
        """One client for all steps of this process: each would take a TLS handshake, and a login and a logout."""
        key = (self._context.id, connection.api_url, read_only)
        if key not in _clients:
            _clients[key] = Client(connection, read_only)
        return nullcontext(_clients[key])

    def hang_up(self) -> None:
        """Ends the conversations of this work."""
        for key in [key for key in _clients if key[0] == self._context.id]:
            _clients.pop(key).close()

    def say(self, line: str) -> None:
        if not is_orphan():
            display.display(f"[{self._context.host}] {line}")


def is_silent(options: Mapping[str, Any]) -> bool:
    """Whether nobody answers at an address within a few seconds. What is wrong with the options is no silence."""
    validated = FLOWS["wa_health_info"].validator.validate(dict(options))
    if validated.error_messages:
        return False
    try:
        connection = read_connection(validated.validated_parameters)
        with Client(replace(connection, timeout=min(connection.timeout, PATIENCE)), True) as client:
            ask_health(client, retries=0)
    except InvalidOptions:
        return False
    except ApiError as error:
        return error.status is None and error.passing
    return False


def work_of(context: str, check_mode: bool) -> Work:
    """The work on what was kept under this id. Raises AnsibleActionFail if nothing was."""
    found = recall("context", context)
    if found is None:
        raise AnsibleActionFail("what was to be done is not known any more; run again, pending restarts are on record")
    return Work(context_from_json(found), check_mode)


def carry_out(action: ActionBase, work: Work, item: Mapping[str, Any], task_vars: dict[str, Any]) -> Result:
    """Takes the steps of an item; the result of the task, or of this turn of its loop."""
    result: Result = {}
    port = TaskPort(action, work, str(item["host"]), task_vars)
    phase = str(item["phase"])
    doing = recall("doing", work.context.id, phase)[item["at"]]
    did = False
    for name, host, node in doing:
        if work.failure is not None and name not in CLEANING:
            continue
        did = True
        result.update(take_step(work, port, str(name), str(host), str(node)))
        if is_orphan():
            # Nobody reads what a worker sends once its run was killed, so it would wait for ever and keep its lease.
            # The next run sees that it is gone, and goes on from the record.
            os._exit(1)
    if not did:
        result.update(skipped=True, msg="left out after the failure before")
    elif {str(step[0]) for step in doing} - _OF_NODE:
        result.pop("skipped", None)
    if work.warnings:
        result["warnings"] = [*result.get("warnings", ()), *work.warnings]
        work.warnings = []
    if item.get("last"):
        result.update(_conclusion(work, port, phase))
        port.hang_up()
    return result


def take_step(work: Work, port: TaskPort, name: str, host: str, node: str) -> Result:
    step = getattr(work, name)
    try:
        found: Result = step(port, host, node) if node else step(port, host)
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
        if work.is_lost:
            text = f"{text}. {LOST}"
        work.failure = text
        return {"failed": True, "msg": text}
    except BaseException:
        work.failure = work.failure or "broken off"
        raise


def _conclusion(work: Work, port: TaskPort, phase: str) -> Result:
    """What the task leaves behind: for the role's facts, for the handler, and for the person who watches."""
    context = work.context
    client = client_of(context.cluster, context.connection)
    summary = of_all_clients(context.host, client, work.summary(), check_mode=work.check_mode)
    found: Result = {"wa_settings_summary": summary, "wa_settings_restart_required": bool(summary["pending"])}
    if phase == "demand":
        found.update(_hand_over(work))
    if context.values["report"]:
        found["ansible_stats"] = report(context.host, summary)
    line = work.line(phase == "restart" or not found.get("restarts"))
    if line:
        port.say(line)
    return found


def _hand_over(work: Work) -> Result:
    """Keeps for the handler what has to restart."""
    context = work.context
    set_claim(context.cluster, context.host, "failed" if work.failure is not None else "done")
    items = context.items(work.restarts(), "restart")
    known = recall("context", context.id)
    carried = {**known, "wanted": asdict(work.wanted), "changes": work.changed_settings, "restarts": items}
    if not context.by_itself:
        carried["counted"] = not (context.tells_change or work.has_changed)
    keep(carried, "context", context.id)
    if not items or context.by_itself:
        return {"restarts": items}
    append("demands", context.host, context.id)
    if work.wanted.settings:
        # All Coreapps of the cluster restart for it, so nobody else has to see to a handler that is notified as well.
        keep(context.host, "awaited", context.cluster)
    # A handler is told by a change only.
    return {"restarts": items, "changed": True}
