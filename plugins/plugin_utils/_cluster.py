# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts share one settings store, and what the role's variables say of each of them.

This module is private to the collection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Member
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import alone, keep, recall, uses_of
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Whose
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import (
    CONNECTION,
    OF_MEMBER,
    PREFIX,
    read_variables,
    without_omitted,
)

VARIABLE = "wa_settings_cluster"
_DEFAULT = "{{ inventory_hostname }}"
_DEFAULTS: Mapping[str, Any] = yaml_load(
    (Path(__file__).parents[2] / "roles" / "wa_settings" / "defaults" / "main.yml").read_text(encoding="utf-8")
)
# Ansible's own words about a run, and what no variable of the role needs.
_LEFT_OUT = frozenset({"hostvars", "groups", "vars", "ansible_delegated_vars", "ansible_search_path", "omit"})

Render = Callable[[Any, Mapping[str, Any]], Any]


def is_single(task_vars: Mapping[str, Any]) -> bool:
    """Whether the host says nothing about a cluster. Needs no look at other hosts, so it is cheap on a large fleet."""
    return bool(task_vars.get(VARIABLE, _DEFAULT) == _DEFAULT)


def whose_record(task_vars: Mapping[str, Any], values: Mapping[str, Any], cluster: str, host: str) -> Whose:
    """How the record of a host is told. values: the role's variables, as C(read_variables) makes them."""
    hosts: frozenset[str] = frozenset()
    is_part = bool(values["partial_cluster"])

    def is_known(name: str) -> bool:
        nonlocal hosts
        # Not through hostvars, which looks for each name anew: there may be as many records as hosts.
        hosts = hosts or frozenset(task_vars["groups"]["all"])
        return is_part or name in hosts

    return Whose(str(values["api_url"]), cluster, host, is_known)


def play_of(task_vars: Mapping[str, Any]) -> str:
    """What tells a play from others of the same run, as far as Ansible says."""
    said = [task_vars.get(name) for name in ("ansible_play_name", "ansible_play_hosts_all")]
    return hashlib.sha256(repr(said).encode()).hexdigest()


class Inventory:
    """The hosts of a run as the present task sees them.

    A variable means on another host what it would mean if that host ran this very task: what the play, the role, an
    include or a loop sets holds for all, and all else is the host's own.

    render: renders a value with the given variables.
    """

    def __init__(self, task_vars: Mapping[str, Any], render: Render) -> None:
        self._task_vars = task_vars
        self._render = render
        self._own = str(task_vars["inventory_hostname"])
        self._hostvars = task_vars["hostvars"]
        self._raw_own = self._hostvars.raw_get(self._own)
        self._known: dict[str, Mapping[str, Any]] = {}
        self._asked: dict[str, dict[str, Any] | None] = {}
        self._for_all = {
            name: value
            for name, value in task_vars.items()
            if name not in _LEFT_OUT and not self._is_own(name, value) and not _is_default(name, value)
        }

    def _is_own(self, name: str, value: Any) -> bool:
        if name == "ansible_host" and value == self._own:
            return True  # Ansible sets it for every task of a host that has none
        return name in self._raw_own and bool(self._raw_own[name] == value)

    def variables(self, host: str) -> Mapping[str, Any]:
        """What the present task's variables would be on another host."""
        if host == self._own:
            return self._task_vars
        if host not in self._known:
            magic = {"hostvars": self._hostvars, "groups": self._task_vars["groups"]}
            self._known[host] = {**_DEFAULTS, **self._hostvars.raw_get(host), **self._for_all, **magic}
        return self._known[host]

    def hosts_of(self, cluster: str) -> list[str]:
        """The hosts of a cluster, in the inventory's order.

        If the inventory declares clusters, hosts outside the play are among them; otherwise the hosts of the play are
        all there is. Raises AnsibleActionFail where the name is that of a host which does not declare it.
        """
        everybody = self._task_vars["groups"]["all"]
        in_play = VARIABLE in self._for_all
        candidates = [host for host in everybody if host in self._play()] if in_play else everybody
        found = self._clusters(candidates).get(cluster, [])
        if self._own not in found:
            found = [self._own, *found]
        if cluster != self._own and cluster in everybody and cluster not in found:
            raise AnsibleActionFail(
                f"{VARIABLE} of {self._own} is {cluster}, the name of a host that does not declare a cluster itself; "
                f"set {VARIABLE} on every host of the cluster, {cluster} included"
            )
        return found

    @property
    def is_looped(self) -> bool:
        """Whether the cluster's name is that of a round of a loop, over a list that each host may have of its own."""
        return VARIABLE in self._for_all and "ansible_loop_var" in self._task_vars

    def _play(self) -> frozenset[str]:
        return frozenset(self._task_vars["ansible_play_hosts_all"])

    def _clusters(self, candidates: Iterable[str]) -> dict[str, list[str]]:
        """Cluster to hosts. Found out once in a run for the same variables: every host has to be rendered for it."""
        hosts = list(candidates)
        names = [json.dumps(hosts), repr(sorted((name, str(value)) for name, value in self._for_all.items()))]
        with alone("clusters", *names):
            known: dict[str, list[str]] | None = recall("clusters", *names)
            if known is None:
                known = {}
                for host in hosts:
                    known.setdefault(self._cluster_of(host), []).append(host)
                keep(known, "clusters", *names)
        return known

    def _cluster_of(self, host: str) -> str:
        variables = self.variables(host)
        value = variables.get(VARIABLE, _DEFAULT)
        if value == _DEFAULT:
            return host
        try:
            rendered = self._render(value, variables)
        except Exception:  # noqa: BLE001
            # Another host's variables are not this host's business; it will be told itself.
            return host
        rendered = without_omitted(rendered, variables.get("omit"))
        return host if rendered in (None, "") else str(rendered)

    def member(self, host: str) -> Member:
        """What is declared of a host's containers. Raises InvalidVariables."""
        values = {**self._values(host, OF_MEMBER), "api_url": (self._connection(host) or {}).get("api_url")}
        return replace(member_of(host, values, self.is_within(host)), assumed=self.is_looped)

    def is_within(self, host: str) -> bool:
        """Whether nodes of a host may restart now: it is of this batch, or of one before, which has come as far."""
        if host in self._task_vars["ansible_play_batch"]:
            return True
        if host not in self._task_vars["ansible_play_hosts"]:
            return False  # not of the play, or it has failed there
        play = play_of(self._task_vars)
        return len(uses_of(host, play)) >= max(1, len(uses_of(self._own, play)))

    def connection(self, host: str) -> dict[str, Any] | None:
        """The connection's options as they are for a host; None where they are not known here, or where only the host
        itself reaches its address."""
        values = self._connection(host)
        if values is None or values["api_delegate"] == host:
            return None
        return {name: values[name] for name in CONNECTION if values[name] is not None}

    def _connection(self, host: str) -> dict[str, Any] | None:
        if host not in self._asked:
            try:
                values = self._values(host, (*CONNECTION, "api_delegate"))
                address = values["api_url"] or default_address(self._render, host, self.variables(host))
                self._asked[host] = {**values, "api_url": address}
            except Exception:  # noqa: BLE001
                self._asked[host] = None  # as for the cluster's name: the host will be told itself
        return self._asked[host]

    def is_local(self, host: str, connection: str) -> bool:
        """Whether commands for a host run on this machine and under this account.

        connection: what the play says, for a host that says nothing itself.
        """
        variables = self.variables(host)
        said = {name: variables[name] for name in ("ansible_connection", "ansible_become") if name in variables}
        try:
            rendered = without_omitted(self._render(said, variables), variables.get("omit"))
            become = boolean(rendered.get("ansible_become", False))
        except Exception:  # noqa: BLE001
            return False  # the host will be told itself
        return bool(rendered.get("ansible_connection", connection) == "local" and not become)

    def _values(self, host: str, names: Iterable[str]) -> dict[str, Any]:
        """The role's variables of these names as they are for a host. Raises InvalidVariables."""
        variables = self.variables(host)
        said = {PREFIX + name: variables[PREFIX + name] for name in names if PREFIX + name in variables}
        rendered = self._render(said, variables)
        return read_variables(as_plain(without_omitted(rendered, variables.get("omit"))))


def default_address(render: Render, host: str, variables: Mapping[str, Any]) -> str:
    """The address of the API where no variable says it."""
    return f"https://{render(variables.get('ansible_host', host), variables)}:9090"


def member_of(host: str, values: Mapping[str, Any], inside: bool) -> Member:
    """A member out of the role's variables, as C(read_variables) makes them."""
    return Member(
        host=host,
        inside=inside,
        backend=values["restart_backend"],
        containers=tuple(values["restart_containers"]),
        image_pattern=values["restart_image_pattern"],
        command=tuple(values["restart_command"]),
        state_dir=values["state_dir"],
        client=str(values["api_url"] or "").rstrip("/"),
    )


def as_plain(value: Any) -> Any:
    """Rendered variables in the plain types of JSON: no tags, no vaulted text, no dates."""
    return json.loads(json.dumps(value, default=_as_text))


def _as_text(value: Any) -> str:
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _is_default(name: str, value: Any) -> bool:
    return name in _DEFAULTS and bool(_DEFAULTS[name] == value)
