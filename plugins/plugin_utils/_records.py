# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeping the record of an owed restart on a container host, over the connection of an action.

It takes a POSIX shell on the host and no Python; a module's payload would cost half a second each time.

This module is private to the collection.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._debt import (
    Debt,
    Unreadable,
    file_name,
    parse,
    render,
    unreadable,
)

_ABSENT, _FORBIDDEN = 3, 4

# Options of a change of a record, wherever that lies.
CHANGE_SPEC: dict[str, Any] = {
    "state": {"type": "str", "required": True, "choices": ["recorded", "written", "paid"]},
    "containers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "id": {"type": "str", "default": ""},
            "kind": {"type": "str", "default": "coreapp", "choices": ["coreapp", "master"]},
        },
    },
    "settings": {"type": "list", "elements": "str", "default": []},
    "connected_before": {"type": "int"},
    "written": {"type": "bool", "default": False},
}


class Records:
    """The record of one cluster on the host that the action is connected to."""

    def __init__(self, action: ActionBase, state_dir: str, cluster: str) -> None:
        self._action = action
        self._cluster = cluster
        self._directory = state_dir.rstrip("/") or "/"
        if self._directory.startswith("~"):
            self._directory = action._remote_expand_user(self._directory)
        self._path = f"{self._directory}/{file_name(cluster)}"

    @property
    def _local(self) -> bool:
        connection = self._action._connection
        return connection.transport == "local" and connection.become is None

    def read(self) -> tuple[Debt | None, str | None]:
        """The record, and why it could not be read where that is so. Raises AnsibleActionFail where nobody can tell."""
        text = self._read_here() if self._local else self._read_there()
        if text is None:
            return None, None
        try:
            return parse(text), None
        except Unreadable as problem:
            return unreadable(self._cluster), f"{self._path}: {problem}"

    def _read_here(self) -> str | None:
        try:
            return Path(self._path).read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._forbidden(error.strerror) from None

    def _read_there(self) -> str | None:
        directory, path = shlex.quote(self._directory), shlex.quote(self._path)
        # Without the right to search the directory every file in it would seem to be absent.
        answer = self._shell(
            f"if test -e {path}; then cat {path}; "
            f"elif test -d {directory} && ! test -x {directory}; then exit {_FORBIDDEN}; else exit {_ABSENT}; fi"
        )
        if answer["rc"] == _ABSENT:
            return None
        if answer["rc"] != 0:
            raise self._forbidden(answer["stderr"].strip() or "permission denied")
        return str(answer["stdout"])

    def _forbidden(self, reason: str | None) -> AnsibleActionFail:
        return AnsibleActionFail(
            f"{self._path}: the record of owed restarts cannot be read ({reason}); does the play need become?"
        )

    def now(self) -> float:
        """The moment by the host's clock, in whole seconds, rounded up: what starts within this second still owes."""
        if self._local:
            return float(int(time.time()) + 1)
        answer = self._shell("date +%s")
        if answer["rc"] != 0 or not answer["stdout"].strip().isdigit():
            raise AnsibleActionFail(f"the host's clock cannot be read: {answer['stderr'].strip()}")
        return float(int(answer["stdout"]) + 1)

    def write(self, debt: Debt) -> None:
        """Puts the record in place at once and complete, for its owner only. Raises AnsibleActionFail."""
        directory, path = shlex.quote(self._directory), shlex.quote(self._path)
        draft = shlex.quote(f"{self._path}.new")
        self._do(
            f"umask 077 && mkdir -p {directory} && "
            f"printf %s {shlex.quote(render(debt))} > {draft} && {{ sync {draft} || sync; }} && mv -f {draft} {path} "
            f"&& {{ sync {directory} || sync; }}"
        )

    def remove(self) -> None:
        """Takes the record away. Raises AnsibleActionFail."""
        self._do(f"rm -f {shlex.quote(self._path)}")

    def _do(self, command: str) -> None:
        answer = self._shell(command)
        if answer["rc"] != 0:
            reason = answer["stderr"].strip() or f"exit code {answer['rc']}"
            raise AnsibleActionFail(f"{self._path}: the record of owed restarts cannot be written ({reason})")

    def _shell(self, command: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._action._low_level_execute_command(command, executable="/bin/sh")
        return answer
