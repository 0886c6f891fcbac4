# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A part of the playbook drift: each of its tasks, by C(entry).

C(ask) compares a client with its declaration, C(left) names the clients that only another host can ask, C(from) asks
one of those from there, and C(report) shows all of them. None of them writes to a client or a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.utils.display import Display

from ansible_collections.wabiz.onprem.plugins.module_utils._plan import nothing_sent
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import read_providers, show_provider
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import mask_url
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import application_settings
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Problem, member_from_json
from ansible_collections.wabiz.onprem.plugins.plugin_utils._campaign import in_words as campaign_in_words
from ansible_collections.wabiz.onprem.plugins.plugin_utils._connected import ConnectedHost
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import (
    run_here,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._drift import (
    FORMATS,
    RENDERERS,
    Entry,
    add_comparison,
    add_providers,
    add_record,
    as_report,
    as_table,
    finish,
    in_words,
    new_entry,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._execution import FLOWS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._files import write_files
from ansible_collections.wabiz.onprem.plugins.plugin_utils._fleet import FleetAction, add_error
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import alone, keep, recall
from ansible_collections.wabiz.onprem.plugins.plugin_utils._lease import now
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Refused
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    Record,
    Unreadable,
    others_record,
    parse,
    render,
    unknown,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._role import in_words_of_the_role
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import (
    PREFIX,
)

Result = dict[str, Any]

_MODULE = "wabiz.onprem.wa_application_settings"
_REPORT = ArgumentSpecValidator(
    {
        "wa_drift_dir": {"type": "path", "default": "wa-drift"},
        "wa_drift_formats": {"type": "list", "elements": "str", "default": list(FORMATS), "choices": list(FORMATS)},
        "wa_drift_fail": {"type": "bool", "default": False},
    }
)

display = Display()


class ActionModule(FleetAction):
    """What is found out of a client is kept for the report, whatever becomes of the task that found it out."""

    direct = FLOWS["wa_application_settings"]
    kind, registered = "drift", "__wa_drift_asked"

    def _new_entry(self, host: str) -> Entry:
        return new_entry(host)

    # --- one client ------------------------------------------------------------------------------------------

    def _ask(self) -> Result:
        self._own = str(self._vars["inventory_hostname"])
        entry, left = new_entry(self._own), None
        with self._telling(entry):
            self._read()
            entry.update(cluster=self._cluster, api_url=mask_url(str(self._values["api_url"])))
            self._refuse_as_apply_would()
            options, origins = self._declared()
            if self._asks_here():
                record = self._look(entry)
                self._compare(entry, options, origins, record, None if self._api is None else self._host())
            else:
                # Where the API is called from elsewhere, the container host may still be reached from here only.
                on_api_host = BACKENDS[self._member.backend].on_api_host
                known = None if on_api_host else self._look(entry)
                left = {
                    "where": self._api or "localhost",
                    "values": self._values,
                    "options": options,
                    "origins": origins,
                    "member": asdict(self._member) if on_api_host else None,
                    "record": None if known is None else render(known),
                }
        return self._keep(entry, left)

    def _refuse_as_apply_would(self) -> None:
        """Sees once for each cluster that one client answers for all its hosts. Raises Problem."""
        if self._single or self._api is not None:
            return
        with alone("one client", self._cluster):
            refusal = recall("one client", self._cluster)
            if refusal is None:
                others, refusal = self._others(), ""
                try:
                    if others:
                        self._require_one_client(others)
                except Refused as problem:
                    refusal = str(problem)
                keep(refusal, "one client", self._cluster)
        if refusal:
            raise Problem(refusal)

    def _asks_here(self) -> bool:
        """Whether all that there is to ask is reached from this task."""
        if self._api not in (None, self._own):
            return False
        return not BACKENDS[self._member.backend].on_api_host or self._api == self._own or self._host().is_here

    def _ask_from(self) -> Result:
        """The rest of C(ask), from the host that this task is delegated to."""
        self._own = str(self._task.args["client"])
        carried = recall("drift", self._own)
        entry, left = carried["entry"], carried["left"]
        self._cluster, self._values = entry["cluster"], left["values"]
        with self._telling(entry):
            host = ConnectedHost(self, {}, self._vars)
            if left["member"] is not None:
                self._member = member_from_json(left["member"])
                record = self._look(entry)
            else:
                record = parse(left["record"], self._cluster, self._own)
            self._compare(entry, left["options"], left["origins"], record, host)
        return self._keep(entry, None)

    def _keep(self, entry: Entry, left: Mapping[str, Any] | None) -> Result:
        done = finish(entry)
        keep({"entry": entry if left else done, "left": left}, "drift", self._own)
        shown: Result = {"state": done["state"]} if left is None else {}
        if self._warnings:
            shown["warnings"] = self._warnings
        return {**shown, "msg": done["error"]} if done["error"] else shown

    def _look(self, entry: Entry) -> Record:
        """Reads the record of pending restarts, without taking its lease; an empty one where it cannot be read."""
        record = Record(self._cluster, self._own)
        with self._telling(entry):
            store = self._store()
            try:
                record = self._record_in(store)
            except Unreadable as problem:
                record = unknown(self._cluster, self._own)  # as apply takes it
                add_error(entry, f"{store.name}: the record of pending restarts cannot be read: {problem}")
            if self._single and record.is_of_another(str(self._values["api_url"])):
                raise Problem(others_record(store.name, record))
            add_record(entry, record)
            if record.campaign is not None:
                self._warnings.append(campaign_in_words(record.campaign))
        return record

    def _compare(
        self,
        entry: Entry,
        options: Mapping[str, Any],
        origins: Mapping[str, str],
        record: Record,
        host: ConnectedHost | None,
    ) -> None:
        """Asks the client; host: where a module does it, None for this process."""
        args = {**self._connection_options(), **options}
        with self._telling(entry):
            if host is not None:
                found = host.module(_MODULE, args, check_mode=True)
            else:
                already_sent = record.sent.knows if record.sent is not None else nothing_sent
                direct = self.direct.with_flow(partial(application_settings, already_sent=already_sent))
                found = run_here(_MODULE, direct, args, Run(check_mode=True, invocation=False))
            if found.get("failed"):
                raise Problem(in_words_of_the_role(str(found.get("msg"))))
            add_comparison(entry, found, options, origins, PREFIX + "state", record)
            providers = self._values["media_providers"]
            if providers is not None and options.get("state") != "absent":
                found = self._keep_providers(providers, Run(check_mode=True, invocation=False), host)
                if found.get("failed"):
                    raise Problem(in_words_of_the_role(str(found.get("msg"))))
                wanted = {name: show_provider(one) for name, one in read_providers(providers).items()}
                names = found["changed_settings"]
                add_providers(entry, names, found["before"], wanted, PREFIX + "media_providers")

    # --- all of them -----------------------------------------------------------------------------------------

    def _report(self) -> Result:
        validated = _REPORT.validate(self._arguments("wa_drift_"))
        options = validated.validated_parameters
        report = as_report([finish(self._entry_of(host)) for host in self._hosts()], now())
        totals = in_words(report["summary"])
        display.display("\n".join(as_table(report)))
        result: Result = {"summary": report["summary"], "files": [], "msg": totals}
        if validated.error_messages:
            return {**result, "failed": True, "msg": validated.error_messages[0]}
        files = {f"drift.{form}": RENDERERS[form](report) for form in options["wa_drift_formats"]}
        try:
            result["files"] = write_files(Path(options["wa_drift_dir"]), files)
        except OSError as error:
            return {**result, "failed": True, "msg": f"wa_drift_dir: {error.filename}: {error.strerror}"}
        if options["wa_drift_fail"] and report["summary"]["converged"] != report["summary"]["clients"]:
            result.update(failed=True, msg=f"not every client is as declared ({totals})")
        return result
