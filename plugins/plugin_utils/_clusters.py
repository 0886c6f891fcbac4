# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts of the inventory share one settings store, and which of them does the work for all.

This module is private to the collection.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail

VARIABLE = "wa_settings_cluster"
_DEFAULT = "{{ inventory_hostname }}"


def is_single(task_vars: Mapping[str, Any]) -> bool:
    """Whether the host says nothing about a cluster. Needs no look at other hosts, so it is cheap on a large fleet."""
    return bool(task_vars.get(VARIABLE, _DEFAULT) == _DEFAULT)


def members(cluster: str, task_vars: Mapping[str, Any], templar: Any) -> list[str]:
    """The hosts of the cluster, in the inventory's order, those outside the play included.

    A cluster that is not set in the inventory (but for the play or the role) holds hosts of the play only. Raises
    AnsibleActionFail where the name is that of a host which does not declare it.
    """
    own = str(task_vars["inventory_hostname"])
    if is_single(task_vars):
        return [own]
    hostvars = task_vars["hostvars"]
    if VARIABLE in hostvars[own]:
        hosts = [host for host in task_vars["groups"]["all"] if hostvars[host].get(VARIABLE) == cluster]
        found = hosts or [own]
    else:
        found = [
            host
            for host in task_vars["ansible_play_hosts_all"]
            if _as_seen_by(host, task_vars[VARIABLE], hostvars, templar) == cluster
        ]
    if cluster != own and cluster in hostvars and cluster not in found and cluster in task_vars["groups"]["all"]:
        raise AnsibleActionFail(
            f"{VARIABLE} of {own} is {cluster}, the name of a host that does not declare a cluster itself; set "
            f"{VARIABLE} on every host of the cluster, {cluster} included"
        )
    return found


def _as_seen_by(host: str, value: Any, hostvars: Any, templar: Any) -> Any:
    return templar.copy_with_new_env(available_variables=hostvars.raw_get(host)).template(value)


class Claim:
    """Who of a cluster's hosts does the work, in one run of Ansible.

    The first host that comes to it does it, whatever the strategy, the order and the conditions of the play; the
    others learn who that was, also in a later batch of C(serial), and also if it has failed meanwhile. The claim lies
    in the run's own temporary directory, which all workers share and which goes with the run.
    """

    def __init__(self, cluster: str, scope: str, task_vars: Mapping[str, Any]) -> None:
        play = "\n".join([scope, cluster, *task_vars["ansible_play_hosts_all"]])
        name = hashlib.sha256(play.encode()).hexdigest()
        self._own = str(task_vars["inventory_hostname"])
        self._path = Path(constants.DEFAULT_LOCAL_TMP) / f"wabiz-onprem-{name}"

    def leader(self) -> str:
        """The host that does the work: this one if none was first."""
        draft = self._path.with_name(f"{self._path.name}-{hashlib.sha256(self._own.encode()).hexdigest()}")
        draft.write_text(self._own, encoding="utf-8")
        try:
            # A link appears at once and complete, so nobody can read half a name.
            os.link(draft, self._path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return self._path.read_text(encoding="utf-8")

    def release(self) -> None:
        """Lets the next host that comes do the work again."""
        self._path.unlink(missing_ok=True)
