# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every backend offers, and what it is given.

This module is private to the collection.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Node, Whose, file_name
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import FileStore, Host, Problem, Store

__all__ = ["Backend", "Host", "Member", "Problem", "Store", "member_from_json", "only", "within"]


@dataclass(frozen=True)
class Member:
    """A host of a cluster, as the inventory or the play declares it.

    containers: names that the operator gave. inside: belongs to the present batch of the play, so its nodes may be
    restarted. options: for the modules of a backend, as the play's C(module_defaults) give them. client: the address
    of the API as this host's variables say it; empty if they cannot be read here. assumed: only a variable of a loop,
    which has one value for all hosts, says that this host belongs to the cluster.
    """

    host: str
    inside: bool
    backend: str
    containers: tuple[str, ...]
    image_pattern: str
    command: tuple[str, ...]
    state_dir: str
    options: Mapping[str, Any] = field(default_factory=dict)
    client: str = ""
    assumed: bool = False


def member_from_json(found: Mapping[str, Any]) -> Member:
    """A member out of what C(asdict) and JSON have made of it."""
    return Member(**{**found, "containers": tuple(found["containers"]), "command": tuple(found["command"])})


class Backend:
    """One way to run Coreapps."""

    # Whether an incarnation tells one start of a node from another.
    tells_starts = True
    # Whether it is asked from the host that calls the client's API, not from the container host.
    on_api_host = False
    # Seconds between two looks at a node that is expected soon.
    poll = 0.2
    # Whose C(module_defaults) it honours.
    module_defaults = ""

    @classmethod
    def store(cls, host: Host, member: Member, cluster: str, whose: Whose | None = None) -> Store:
        """Where the record of pending restarts lies. whose: see C(FileStore)."""
        return FileStore(host, member.state_dir, file_name(cluster, member.host), whose)

    @classmethod
    def refusal(cls, member: Member) -> str | None:
        """What is wrong with the host's variables, if anything; found out before anything is asked or sent."""
        raise NotImplementedError

    @classmethod
    def refused_pattern(cls, member: Member) -> str | None:
        """What is wrong with the image pattern, if anything."""
        try:
            re.compile(member.image_pattern)
        except re.error as error:
            return f"wa_settings_restart_image_pattern: {member.image_pattern} is not a regular expression: {error}"
        return None

    @classmethod
    def look(cls, host: Host, member: Member) -> list[Node]:
        """The client's Coreapps and masters on this host, stopped ones included. Raises Problem."""
        raise NotImplementedError

    @classmethod
    def check(cls, host: Host, member: Member) -> None:
        """Raises Problem where it can be known that a restart on this host would not even begin, beside what C(look)
        meets by itself."""

    @classmethod
    def restart(cls, host: Host, member: Member, node: Node, stop_timeout: int, patience: float) -> None:
        """Stops the node, within C(stop_timeout) seconds, and starts it again. Raises Problem.

        patience: seconds to wait for it beyond that.
        """
        raise NotImplementedError


def within(seconds: float, command: str) -> str:
    """Lines of a POSIX shell that end a command which takes longer, if the host has a C(timeout) that can.

    They run it in a shell of its own, since it may be a word of the shell.
    """
    return _WITHIN.format(seconds=f"{seconds:.0f}", command=shlex.quote(command))


_WITHIN = """\
if timeout -k 10 5 true 2>/dev/null && said=$(mktemp 2>/dev/null); then
  begun=$(date +%s)
  # What is left in the background keeps its output open, which the connection would wait for.
  timeout -k 10 {seconds} /bin/sh -c {command} >"$said" 2>&1 </dev/null
  code=$?
  test -s "$said" && cat "$said"
  rm -f "$said"
  # What takes no notice is killed, as others may have killed it.
  case $code in
    124|137) test $(($(date +%s) - begun)) -lt {seconds} ||
      {{ echo 'it has not ended within {seconds} s, and was stopped'; exit 1; }};;
  esac
  exit $code
else
  {{ eval {command}; }}
fi
"""


def only(nodes: Sequence[Node], node: Node) -> Node | None:
    """The node as it is now: under its name, or under its id where it was renamed."""
    by_id = next((found for found in nodes if node.id and found.id == node.id), None)
    return by_id or next((found for found in nodes if found.name == node.name), None)
