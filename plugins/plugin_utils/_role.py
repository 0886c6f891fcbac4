# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What actions that read the role's variables have in common.

This module is private to the collection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._client import HAS_REQUESTS
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import (
    media_provider_info_spec,
    media_providers,
    read_providers,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Run
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._cluster import (
    Inventory,
    as_plain,
    default_address,
    is_single,
    member_of,
    whose_record,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._connected import ConnectedHost
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectAction, DirectFlow, run_here
from ansible_collections.wabiz.onprem.plugins.plugin_utils._execution import FLOWS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import keep
from ansible_collections.wabiz.onprem.plugins.plugin_utils._media import keep_by_modules
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Record, parse
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import FileStore, Store
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import (
    CONNECTION,
    NAMES,
    OF_MODULE,
    PREFIX,
    InvalidVariables,
    declaration,
    declares_anything,
    read_variables,
    without_omitted,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import require_one_client

Result = dict[str, Any]

_CONTROLLER = ("localhost", "127.0.0.1", "::1")


def in_words_of_the_role(message: str) -> str:
    """A message of the module, whose options are variables of the role."""
    option, colon, rest = message.partition(": ")
    return f"{PREFIX}{option}: {rest}" if colon and PREFIX + option in NAMES else message


def with_origin(message: str, origins: Mapping[str, str]) -> str:
    """A message with the variable of the role that says the setting it names.

    origins: dotted name of a setting to variable, as C(declaration) gives them.
    """
    # What is supported is no part of what is wrong.
    words = set(re.findall(r"[\w.]+\w", message.partition("Supported parameters")[0]))
    named = [name for name in origins if words & {name, f"settings.{name}", f"extra_settings.{name}"}]
    said = sorted({origins[name] for name in named})
    return f"{message} (declared in {' and '.join(said)})" if said else message


class RoleAction(DirectAction):
    """An action for which the variables of the role say what is meant; C(_vars) are the task's."""

    _vars: dict[str, Any]

    @cached_property
    def _inventory(self) -> Inventory:
        return Inventory(self._vars, self._render)

    providers = DirectFlow(media_provider_info_spec(), partial(media_providers, wanted={}))

    def _read(self) -> None:
        """Reads the role's variables. Raises InvalidVariables and Problem."""
        self._own = str(self._vars["inventory_hostname"])
        said = {name: self._vars[name] for name in NAMES if name in self._vars}
        single = is_single(self._vars)
        if single:
            said.pop(PREFIX + "cluster", None)  # what the role's default says: a template less to render
        rendered = self._templar.template(said)
        self._values = read_variables(as_plain(without_omitted(rendered, self._vars.get("omit"))))
        self._cluster = str(self._values["cluster"] or self._own)
        if self._values["api_url"] is None:
            self._values["api_url"] = default_address(
                lambda value, _variables: self._templar.template(value), self._own, self._vars
            )
        self._single = single or self._cluster == self._own
        self._member = replace(
            member_of(self._own, self._values, True),
            options=self._module_defaults(self._values["restart_backend"], self._vars),
        )
        self._api = self._where_the_api_is_called()
        refusal = BACKENDS[self._member.backend].refusal(self._member)
        if refusal is not None:
            raise Problem(refusal)
        if not self._single and any(self._task.environment or ()):
            # Another host of the cluster may act, and Ansible has rendered this for the present host only.
            keep(self._own_environment(), "environment", self._own)

    def _connection_options(self) -> dict[str, Any]:
        return {name: self._values[name] for name in CONNECTION if self._values[name] is not None}

    def _others(self) -> dict[str, dict[str, Any]]:
        """The connections of the cluster's hosts that have another address than this one."""
        if self._api == self._own:
            return {}  # what is an address of this host's own means nothing for others
        found = {}
        known = {str(self._values["api_url"]).rstrip("/")}
        for host in self._inventory.hosts_of(self._cluster):
            connection = self._inventory.connection(host) if host != self._own else None
            address = str(connection["api_url"]).rstrip("/") if connection is not None else ""
            if connection is not None and address not in known:
                known.add(address)
                found[host] = connection
        return found

    def _require_one_client(self, others: Mapping[str, Mapping[str, Any]], **words: str) -> str | None:
        """What C(require_one_client) says, asked from this process."""
        run = Run(check_mode=True, invocation=False)
        ask = partial(run_here, "wabiz.onprem.wa_health_info", FLOWS["wa_health_info"], run=run)
        return require_one_client(ask, self._cluster, self._own, self._connection_options(), others, **words)

    def _declared(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The declaration as arguments of the module, without the connection's, and which variable says each setting.

        Raises InvalidVariables.
        """
        options = {name: self._values[name] for name in OF_MODULE if self._values[name] is not None}
        if self._task.args.get("resets") or options.get("state") == "absent":
            return {**options, "state": "absent"}, {}  # whatever the inventory declares
        settings, extra, origins = declaration(self._values)
        if not declares_anything(settings, extra) and self._values["media_providers"] is None:
            raise InvalidVariables(
                f"{PREFIX}values: nothing is declared; declare settings in it or in another layer, or set "
                f"{PREFIX}state to absent to reset them"
            )
        # The module insists on one of the two, and media providers alone are a declaration as well.
        options.update(
            {"extra_settings": extra} if extra else {}, **({"settings": settings} if settings or not extra else {})
        )
        return options, origins

    def _store(self) -> Store:
        """Where the record of the present host lies, as this task may reach it."""
        whose = whose_record(self._vars, self._values, self._cluster, self._own)
        return BACKENDS[self._member.backend].store(self._host(), self._member, self._cluster, whose)

    def _record_in(self, store: Store) -> Record:
        """The record of the present host. Raises Problem and Unreadable."""
        place = store.read_here() if isinstance(store, FileStore) and self._host().is_here else store.read()
        if place.hidden or place.misnamed:
            raise Problem(place.misnamed or str(place.unusable))
        return Record(self._cluster, self._own) if place.text is None else parse(place.text, self._cluster, self._own)

    def _keep_providers(self, wanted: list[dict[str, Any]], run: Run, host: ConnectedHost | None) -> Result:
        """Brings the media providers to what is declared. Nothing has to restart for them.

        host: where modules do it, None for this process.
        """
        if host is None:
            direct = self.providers.with_flow(partial(media_providers, wanted=read_providers(wanted)))
            return run_here("wabiz.onprem.wa_media_provider", direct, self._connection_options(), run)

        def call(module: str, options: Mapping[str, Any]) -> Result:
            arguments = {**self._connection_options(), **options}
            return host.module(f"wabiz.onprem.{module}", arguments, check_mode=run.check_mode)

        return keep_by_modules(call, wanted)

    def _host(self) -> ConnectedHost:
        return ConnectedHost(self, self._own_environment(), self._vars)

    def _own_environment(self) -> dict[str, str]:
        together: dict[str, str] = {}
        for layer in self._task.environment or ():
            together.update({str(name): str(value) for name, value in (self._templar.template(layer) or {}).items()})
        return together

    def _module_defaults(self, backend: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the play gives to the modules that a backend uses."""
        group = BACKENDS[backend].module_defaults
        together: dict[str, Any] = {}
        for layer in (self._task.module_defaults or ()) if group else ():
            together.update(self._render(layer.get(group) or {}, variables))
        return dict(as_plain(together))

    def _render(self, value: Any, variables: Mapping[str, Any]) -> Any:
        return self._templar.copy_with_new_env(available_variables=variables).template(value)

    def _where_the_api_is_called(self) -> str | None:
        """The host that calls the API; None where that is the controller, and nothing asks for a process of its own.

        API calls never need become, whatever the play says for the containers' sake.
        """
        delegate = str(self._values["api_delegate"])
        here = HAS_REQUESTS and self._switched_on(self._vars)
        if delegate == self._own:
            here = here and self._connection.transport == "local" and self._same_python(self._vars)
        elif delegate in self._vars["groups"]["all"]:
            # Not through hostvars, which would render every variable of that host.
            facts = self._vars["hostvars"].raw_get(delegate)
            here = here and facts.get("ansible_connection") == "local" and self._same_python(facts)
        else:
            here = here and delegate in _CONTROLLER
        return None if here else delegate
