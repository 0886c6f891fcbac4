# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tasks of a playbook that asks a whole fleet have in common.

Each of them is one action, by C(entry): C(ask) asks a client, C(left) names the clients that only another host can ask,
C(from) asks one of those from there, and C(report) tells of all of them. What is found out goes from one to the next
over C(_handover).

This module is private to the collection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._run import secrets_of, unexpected
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import scrub
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectAction, as_a_module_gets_it
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import keep, recall
from ansible_collections.wabiz.onprem.plugins.plugin_utils._role import RoleAction, in_words_of_the_role
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import NAMES, PREFIX, InvalidVariables

Result = dict[str, Any]
Entry = dict[str, Any]  # what is known of a client; C(error) says what could not be found out


def add_error(entry: Entry, message: str) -> None:
    """Says what could not be found out."""
    entry["error"] = f"{entry['error']}; {message}" if entry["error"] else message


class FleetAction(RoleAction):
    """What is found out of a client is kept, with C(keep), as C(entry) and what is C(left) to ask from elsewhere."""

    kind: str  # of what is kept
    registered: str  # what the playbook registers the result of C(ask) as

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Result:
        self._vars = task_vars or {}
        self._warnings: list[str] = []
        # Not DirectAction's own: there is no module behind this action.
        result: Result = super(DirectAction, self).run(tmp, self._vars)
        entry = self._entries().get(str(self._task.args.get("entry")))
        if entry is None:
            return {
                **result,
                "failed": True,
                "msg": f"{self._task.action} is a part of a playbook, and of no use by itself",
            }
        return {**result, "changed": False, **entry()}

    def _entries(self) -> dict[str, Callable[[], Result]]:
        return {"ask": self._ask, "left": self._left, "from": self._ask_from, "report": self._report}

    def _new_entry(self, host: str) -> Entry:
        raise NotImplementedError

    def _ask(self) -> Result:
        raise NotImplementedError

    def _ask_from(self) -> Result:
        raise NotImplementedError

    def _report(self) -> Result:
        raise NotImplementedError

    def _arguments(self, prefix: str) -> Result:
        """The task's own arguments as variables of the playbook. An empty text counts as not given."""
        args = as_a_module_gets_it({name: value for name, value in self._task.args.items() if name != "entry"})
        return {f"{prefix}{name}": value for name, value in args.items() if value not in (None, "")}

    def _hosts(self) -> list[str]:
        """The hosts of the play that has asked the clients; of this one, if they were asked in it."""
        known = recall("hosts", self.kind)
        return [str(host) for host in (self._vars["ansible_play_hosts_all"] if known is None else known)]

    def _left(self) -> Result:
        """The clients that only another host can ask."""
        keep([str(host) for host in self._vars["ansible_play_hosts_all"]], "hosts", self.kind)
        known = {host: recall(self.kind, host) for host in self._hosts()}
        left = [{"client": host, "where": one["left"]["where"]} for host, one in known.items() if one and one["left"]]
        return {"left": left}

    def _entry_of(self, host: str) -> Entry:
        """What is known of a client in the end."""
        carried = recall(self.kind, host)
        if carried is not None and carried["left"] is None:
            return dict(carried["entry"])
        # The task broke down before this action could say anything, or on the way to the host that was to ask.
        entry: Entry = carried["entry"] if carried is not None else self._new_entry(host)
        variables = self._vars["hostvars"].raw_get(host)
        said = variables.get(self.registered) or {}
        reason = (
            str(said.get("msg") or "") if carried is None else f"could not be asked from {carried['left']['where']}"
        )
        prefix = "unreachable: " if said.get("unreachable") and not reason.startswith("unreachable") else ""
        text = f"{prefix}{reason or 'the task on this host was broken off'}"
        add_error(entry, scrub(text, _secrets_in(_unread(variables))))
        return entry

    @contextlib.contextmanager
    def _telling(self, entry: Entry) -> Iterator[None]:
        """Whatever goes wrong is said in the report, and keeps no other client out of it."""
        try:
            yield
        except (InvalidVariables, InvalidOptions, Problem) as problem:
            text = in_words_of_the_role(str(problem))
        except AnsibleConnectionFailure as error:
            text = f"unreachable: {error}"
        except AnsibleError as error:
            text = str(error)
        except Exception as error:  # noqa: BLE001 - a traceback would show values
            text = unexpected(error)
        else:
            return
        add_error(entry, scrub(text, _secrets_in(getattr(self, "_values", None) or _unread(self._vars))))


def _unread(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The role's variables as they are, where they could not be rendered."""
    return {name[len(PREFIX) :]: variables.get(name) for name in NAMES}


def _secrets_in(values: Mapping[str, Any]) -> set[str]:
    """What of the role's variables must not be seen."""
    found: set[str] = set()
    for part in (values, *({name: value} for name, value in values.items())):
        with contextlib.suppress(Exception):  # a vaulted text that cannot be opened gives nothing away
            found |= secrets_of(part)
    return found
