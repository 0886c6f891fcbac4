# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes that only a command of the operator's can restart: all that is known of them is their name.

This module is private to the collection.
"""

from __future__ import annotations

import shlex

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import (
    Backend,
    Host,
    Member,
    Problem,
    within,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Node

# Words of the shell, such as test, count as well: it is the shell that runs the command.
_CAN_BE_RUN = """
case $word in */*) found=$word;; *) found=$(command -v -- "$word") || { echo no; exit; };; esac
case $found in */*) test -f "$found" && test -x "$found" || { echo no; exit; };; esac
echo yes
"""


class Command(Backend):
    """C(wa_settings_restart_command) with the node's name as its last argument."""

    tells_starts = False

    @classmethod
    def refusal(cls, member: Member) -> str | None:
        if not any(word.strip() for word in member.command[:1]):
            return (
                "wa_settings_restart_command: is empty; the backend command needs the command and arguments that stop "
                "and start a node"
            )
        return cls.refused_pattern(member)

    @classmethod
    def look(cls, host: Host, member: Member) -> list[Node]:
        return [Node(name) for name in dict.fromkeys(member.containers or (member.host,))]

    @classmethod
    def check(cls, host: Host, member: Member) -> None:
        word = member.command[0]
        if host.run(f"word={shlex.quote(word)}\n{_CAN_BE_RUN}").split() == ["no"]:
            raise Problem(f"wa_settings_restart_command: {word} is not found on {member.host}, or cannot be run there")

    @classmethod
    def restart(cls, host: Host, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        host.run(within(stop_timeout + patience, shlex.join([*member.command, node.name])))
