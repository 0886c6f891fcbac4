# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A part of the playbook export: each of its tasks, by C(entry).

C(check) looks at the playbook's variables, C(ask) reads a client, C(left) names the clients that only another host can
ask, C(from) asks one of those from there, and C(report) writes the files. Nothing is written to a client or a host.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.inventory.helpers import sort_groups
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.vault import VaultLib, get_file_vault_secret
from ansible.utils.display import Display

from ansible_collections.wabiz.onprem.plugins.module_utils._plan import place
from ansible_collections.wabiz.onprem.plugins.module_utils._reading import open_reading, read_all, reading_spec
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import one_line
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._connected import ConnectedHost
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectFlow, run_here
from ansible_collections.wabiz.onprem.plugins.plugin_utils._export import exportable, layers
from ansible_collections.wabiz.onprem.plugins.plugin_utils._export_files import Leaves, names_a_folder, render
from ansible_collections.wabiz.onprem.plugins.plugin_utils._files import (
    InTheWay,
    differs,
    encrypted,
    in_the_way,
    write_files,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._fleet import Entry, FleetAction, add_error
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import keep, recall
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Unreadable
from ansible_collections.wabiz.onprem.plugins.plugin_utils._role import in_words_of_the_role

Result = dict[str, Any]

_MODULE = "wabiz.onprem.wa_settings_export"
_VARIABLES = ArgumentSpecValidator(
    {
        "wa_export_dir": {"type": "path", "default": "wa-export"},
        "wa_export_all": {"type": "bool", "default": False},
        "wa_export_vault_password_file": {"type": "path"},
        "wa_export_force": {"type": "bool", "default": False},
    }
)
_MOST_NAMED = 5  # hosts in one line

display = Display()


class ActionModule(FleetAction):
    """What was read of a client lies encrypted until the files are written."""

    direct = DirectFlow(reading_spec(), read_all)
    kind, registered = "export", "__wa_export_asked"

    def _entries(self) -> dict[str, Callable[[], Result]]:
        return {**super()._entries(), "check": self._check}

    def _new_entry(self, host: str) -> Entry:
        return {"name": host, "cluster": host, "error": None, "reading": None, "campaign": None, "remark": None}

    # --- one client ------------------------------------------------------------------------------------------

    def _ask(self) -> Result:
        self._own = str(self._vars["inventory_hostname"])
        entry, left = self._new_entry(self._own), None
        with self._telling(entry):
            self._read()
            entry["cluster"] = self._cluster
            self._look_for_campaigns(entry)
            if self._api in (None, self._own):
                self._look(entry, None if self._api is None else self._host())
            else:
                left = {"where": self._api, "values": self._values}
        return self._keep(entry, left)

    def _ask_from(self) -> Result:
        """The same, from the host that this task is delegated to."""
        self._own = str(self._task.args["client"])
        carried = recall(self.kind, self._own)
        entry, self._values = carried["entry"], carried["left"]["values"]
        with self._telling(entry):
            self._look(entry, ConnectedHost(self, {}, self._vars))
        return self._keep(entry, None)

    def _look_for_campaigns(self, entry: Entry) -> None:
        """What a campaign has switched is not what the client is to have. A record that cannot be read is no reason to
        export nothing."""
        if BACKENDS[self._member.backend].on_api_host and not self._host().is_here:
            entry["remark"] = "its record is not read, so a campaign that is on record would be exported as it is now"
            return
        try:
            campaign = self._record_in(self._store()).campaign
        except (Problem, Unreadable) as problem:
            entry["remark"] = f"whether a campaign is on record is not known: {problem}"
            return
        if campaign is not None:
            entry["campaign"] = {"setting": campaign.setting, "before": campaign.before}
            names = ", ".join(campaign.names)
            entry["remark"] = f"campaign {names} is on record, so {campaign.setting} is exported as it was before"

    def _look(self, entry: Entry, host: ConnectedHost | None) -> None:
        """Asks the client; host: where a module does it, None for this process."""
        args = self._connection_options()
        if host is not None:
            found = host.module(_MODULE, args)
        else:
            found = run_here(_MODULE, self.direct, args, Run(check_mode=True, invocation=False))
        if found.get("failed"):
            raise Problem(in_words_of_the_role(str(found.get("msg"))))
        reading = open_reading(found["reading"])
        campaign = entry["campaign"]
        if campaign is not None:
            place(reading["settings"], tuple(campaign["setting"].split(".")), campaign["before"])
        entry["reading"] = {**reading, "declared_version": self._values["client_version"]}

    def _keep(self, entry: Entry, left: Mapping[str, Any] | None) -> Result:
        keep({"entry": entry, "left": left}, self.kind, self._own)
        return {"msg": entry["error"]} if entry["error"] else {}

    # --- all of them -----------------------------------------------------------------------------------------

    def _check(self) -> Result:
        """Refuses what would only turn up after all clients have been asked."""
        options = self._options()
        self._vault(options)
        place = Path(options["wa_export_dir"])
        if place.exists() and not place.is_dir():
            raise AnsibleActionFail(f"wa_export_dir: {place} is no directory")
        return {}

    def _options(self) -> Result:
        validated = _VARIABLES.validate(self._arguments("wa_export_"))
        if validated.error_messages:
            raise AnsibleActionFail(validated.error_messages[0])
        return dict(validated.validated_parameters)

    def _vault(self, options: Mapping[str, Any]) -> VaultLib | None:
        """What encrypts, or None where no password file is given."""
        path = options["wa_export_vault_password_file"]
        if path is None:
            return None
        try:
            secret = get_file_vault_secret(filename=path, loader=self._loader)
            secret.load()
        except (AnsibleError, OSError) as error:
            raise AnsibleActionFail(f"wa_export_vault_password_file: {one_line(str(error))}") from None
        return VaultLib([("default", secret)])

    def _report(self) -> Result:
        options = self._options()
        vault = self._vault(options)
        entries = [self._entry_of(host) for host in self._hosts()]
        said, left_out = _declarations(entries, options["wa_export_all"], vault is not None)
        groups = self._groups(said)
        clear, secret = render(layers(said, {name: hosts for name, hosts in groups.items() if hosts <= set(said)}))
        place = Path(options["wa_export_dir"]).absolute()
        failed = [f"{one['name']}: {one['error']}" for one in entries if one["error"]]
        remarks = [f"{one['name']}: {one['remark']}" for one in entries if one["remark"]]
        lines = [f"left out: {one['setting']}: {one['reason']}: {_named(one['hosts'])}" for one in left_out]
        display.display("\n".join([*lines, *remarks, *(f"failed: {line}" for line in failed)]))
        result: Result = {"left_out": left_out, "failed_hosts": [one["name"] for one in entries if one["error"]]}
        try:
            stale = in_the_way(place, {*clear, *secret}, groups, said, options["wa_export_force"])
            files: dict[PurePosixPath, str | bytes] = {}
            if vault is not None:
                # First, so that they are there before anything refers to them.
                files.update({path: encrypted(vault, place / path, text) for path, text in secret.items()})
            files.update(clear)
            new = {str(path): content for path, content in files.items() if differs(place / path, content)}
            if not self._task.check_mode:
                write_files(place, new)
                for path in stale:
                    path.unlink()
        except (InTheWay, OSError) as problem:
            why = f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) else str(problem)
            return {**result, "failed": True, "msg": f"wa_export_dir: {why}"}
        would = "would be " if self._task.check_mode else ""
        told = f"settings of {len(said)} of {len(entries)} hosts {would}in {len(files)} files below {place}"
        display.display(told)
        result.update(
            changed=bool(new or stale),
            files=sorted(str(place / path) for path in files),
            removed=sorted(map(str, stale)),
            msg="; ".join([told, *failed]),
        )
        return {**result, "failed": True} if failed else result

    def _groups(self, said: Mapping[str, Leaves]) -> dict[str, set[str]]:
        """The groups of the hosts that were read, with their hosts, in the order in which Ansible lets the later win.

        What a group has is known of the run, and which one wins of its inventory; a group of which the two differ, made
        in the run, is none that files are read for in the next one.
        """
        no_client = {"localhost"} - set(said)
        present = {str(name): set(map(str, hosts)) - no_client for name, hosts in self._vars["groups"].items()}
        inventory = InventoryManager(loader=self._loader, sources=self._vars.get("ansible_inventory_sources"))
        ordered = [str(group.name) for group in sort_groups(inventory.groups.values())]
        return {
            name: present[name] for name in ordered if present.get(name, set()) & set(said) and names_a_folder(name)
        }


def _declarations(
    entries: list[Entry], everything: bool, secrets: bool
) -> tuple[dict[str, Leaves], list[dict[str, Any]]]:
    """What to declare of each host that was read, and what cannot be declared, with its hosts.

    Hosts of one cluster have one settings store, so whichever of them answered tells of all.
    """
    said: dict[str, Leaves] = {}
    problems: dict[tuple[str, str], list[str]] = defaultdict(list)
    clusters: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if names_a_folder(entry["name"]):
            clusters[entry["cluster"]].append(entry)
        else:
            add_error(entry, "its name can be none of a folder in host_vars")
    for cluster, members in clusters.items():
        read = [one for one in members if one["reading"] is not None]
        found = [_exportable(one["reading"], everything, secrets) for one in read]
        other = next((at for at, one in enumerate(found) if one != found[0]), None)
        if other is not None:
            names = f"{read[0]['name']} and {read[other]['name']}"
            for entry in members:
                add_error(entry, f"{names} are of the cluster {cluster}, but report different settings")
        elif found:
            said.update({one["name"]: found[0][0] for one in members})
            for setting, reason in found[0][1].items():
                problems[setting, reason] += [one["name"] for one in members]
    left_out = [{"setting": name, "reason": why, "hosts": hosts} for (name, why), hosts in sorted(problems.items())]
    return said, left_out


def _exportable(reading: Mapping[str, Any], everything: bool, secrets: bool) -> tuple[Leaves, dict[str, str]]:
    version = reading["version"] or reading["declared_version"]
    return exportable(reading["settings"], reading["providers"], version, everything=everything, secrets=secrets)


def _named(hosts: list[str]) -> str:
    more = len(hosts) - _MOST_NAMED
    return ", ".join(hosts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
