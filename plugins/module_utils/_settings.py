# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The application settings: the specs and the flows of C(wa_application_settings) and C(wa_application_settings_info).

This module is private to the collection.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, RESTART_BOUND, Key, Kind
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Answer, ApiError, Client
from ansible_collections.wabiz.onprem.plugins.module_utils._health import health_or_none
from ansible_collections.wabiz.onprem.plugins.module_utils._options import (
    CONNECTION,
    Spec,
    check_shapes,
    explain_refusal,
    read_connection,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import (
    AlreadySent,
    Declaration,
    Plan,
    Settings,
    build_patch,
    canonical_settings,
    differences,
    dotted,
    is_restart_bound,
    is_settings,
    non_default,
    not_taken_over,
    nothing_sent,
    parse_version,
    plan,
    read_declaration,
    reports,
    show_diff,
    show_version,
    unknown_names,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Failure, Params, Result, Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import mask
from ansible_collections.wabiz.onprem.plugins.module_utils._write import NotDone, OutcomeUnknown, write_and_read_back

SETTINGS = "/v1/settings/application"


def _option(key: Key) -> Spec:
    if key.kind is Kind.BOOLEAN:
        return {"type": "bool"}
    if key.kind is Kind.TEXT_SET:
        return {"type": "list", "elements": "str", "choices": list(key.choices)}
    option: Spec = {"type": "int" if key.kind in (Kind.COUNT, Kind.MILLISECONDS) else "str"}
    if key.choices:
        option["choices"] = list(key.choices)
    if key.secret:
        option["no_log"] = True
    return option


def _options_of_settings() -> Spec:
    """The catalogue as nested suboptions."""
    options: Spec = {}
    for name, key in KEYS.items():
        *groups, leaf = name.split(".")
        level = options
        for group in groups:
            level = level.setdefault(group, {"type": "dict", "options": {}})["options"]
        level[leaf] = _option(key)
    return options


SETTINGS_OPTIONS = _options_of_settings()
# ansible-test takes no argument that is called "message", at whatever depth. The group that has one is a plain dict in
# the module's spec, wholly secret so that the address in it stays out of the system log, and read_settings checks it.
_WEBHOOKS_OPTIONS: Spec = SETTINGS_OPTIONS.pop("webhooks")["options"]
_WEBHOOKS = ArgumentSpecValidator(_WEBHOOKS_OPTIONS)
SETTINGS_OPTIONS["webhooks"] = {"type": "dict", "no_log": True}


def application_settings_spec() -> Spec:
    return {
        **CONNECTION,
        "settings": {"type": "dict", "options": SETTINGS_OPTIONS},
        "extra_settings": {"type": "dict"},
        "state": {"type": "str", "default": "present", "choices": ["present", "replaced", "absent"]},
        "unreported": {"type": "str", "default": "send", "choices": ["send", "skip"]},
        "restart_bound": {"type": "list", "elements": "str", "default": list(RESTART_BOUND)},
        "client_version": {"type": "str"},
    }


def application_settings_info_spec() -> Spec:
    return dict(CONNECTION)


def read_settings(settings: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The option C(settings), C(webhooks) validated as Ansible validates the others. Raises InvalidOptions."""
    webhooks = (settings or {}).get("webhooks")
    if settings is None or webhooks is None:
        return settings
    check_shapes(_WEBHOOKS_OPTIONS, webhooks, "settings.webhooks.")
    validated = _WEBHOOKS.validate(dict(webhooks))
    if validated.error_messages:
        error = validated.errors[0]
        problem = "unsupported parameters: " if isinstance(error, UnsupportedError) else ""
        hint = explain_refusal(_WEBHOOKS_OPTIONS, webhooks, "settings.webhooks.")
        raise InvalidOptions(f"settings.webhooks: {problem}{error.msg}" + (f" ({hint})" if hint else ""))
    return {**settings, "webhooks": validated.validated_parameters}


# --- wa_application_settings -------------------------------------------------------------------------------------


def application_settings(
    params: Params,
    run: Run,
    hold_restart_bound: bool = False,
    with_health: bool = False,
    already_sent: AlreadySent = nothing_sent,
) -> Result:
    """The module C(wa_application_settings).

    hold_restart_bound: write nothing when a restart-bound setting would change, and say so with C(held) in the result,
    with the C(health) of the client beside it (as wa_health_info returns it, None where it cannot be read); for callers
    that have to write down the pending restart first. with_health: C(health) just before the writing, likewise.
    already_sent: see C(plan).
    """
    connection = read_connection(params)
    state = params["state"]
    if state == "absent" and (params["settings"] or params["extra_settings"]):
        raise InvalidOptions("state absent resets everything; it does not go with settings or extra_settings")
    if state != "absent" and params["settings"] is None and params["extra_settings"] is None:
        raise InvalidOptions(f"state {state} needs settings or extra_settings")
    declaration = read_declaration(read_settings(params["settings"]), params["extra_settings"])
    option_version = params["client_version"]
    if option_version and parse_version(option_version) is None:
        raise InvalidOptions("client_version: must be a client version such as 2.57.2")
    with run.connect(connection, run.check_mode) as client:
        client.keep_secret(declaration.leaves())
        current, answer = ask_settings(client, declaration)
        version = parse_version(answer.version) or parse_version(option_version)
        planned = plan(
            current,
            declaration,
            state,
            params["unreported"],
            restart_bound=params["restart_bound"],
            version=version,
            already_sent=already_sent,
        )
        unknown = unknown_names(params["restart_bound"], declaration)
        results = _Results(planned, show_version(version), params["restart_bound"], run.diff_mode, _remarks(unknown))
        if hold_restart_bound and planned.restart:
            return {**results.predicted(), "held": True, "health": health_or_none(client)}
        if run.check_mode or not planned.writes:
            return results.predicted()
        beside: Result = {"health": health_or_none(client)} if with_health else {}
        run.at_least = results.unknown()
        return {**_write(client, current, planned, results), **beside}


def _remarks(unknown_restart_bound: list[str]) -> list[str]:
    remarks = []
    for name in unknown_restart_bound:
        alike = difflib.get_close_matches(name[:100], KEYS, 1)
        hint = f"; did you mean {alike[0]}?" if alike else ""
        remarks.append(f"restart_bound: {name} is neither a known nor a declared setting{hint}")
    return remarks


def ask_settings(client: Client, declaration: Declaration) -> tuple[Settings, Answer]:
    """The settings object of a GET: wrapped in C(application), or flat as some gateways give it (API notes, 2.1)."""
    answer = client.get(SETTINGS)
    body: Any = answer.body
    found: Any = None
    if isinstance(body, Mapping):
        inner = body.get("settings", body)
        if isinstance(inner, Mapping) and "application" in inner:
            found = inner["application"] if isinstance(inner["application"], Mapping) else None
        elif isinstance(inner, Mapping):
            # Anybody can answer with some object; without the wrapper it takes more to be settings.
            flat = {name: value for name, value in inner.items() if inner is not body or name not in ("meta", "errors")}
            found = flat if is_settings(flat, declaration) else None
    if found is None:
        raise ApiError(
            f"{client.where('GET', SETTINGS)}: the answer holds no settings; is api_url the address of a "
            "WhatsApp Business client?"
        )
    client.keep_secret(found)
    return dict(found), answer


def _write(client: Client, current: Settings, planned: Plan, results: _Results) -> Result:
    """Writes, reads back, and tells what has become of it. Raises Failure where that is not what was asked for."""

    def send(state: Settings) -> Answer:
        if planned.delete:
            return client.delete(SETTINGS)
        body = build_patch(state, planned.sent)
        try:
            return client.patch(SETTINGS, body)
        except ApiError as error:
            # Which form of the delays a client insists on is not known (API notes, 2.4): the documented one goes first.
            numbers = build_patch(state, planned.sent, delays_as_strings=False)
            if 1009 not in error.codes or numbers == body:
                raise
            return client.patch(SETTINGS, numbers)

    def read() -> Settings:
        return ask_settings(client, planned.declaration)[0]

    try:
        written = write_and_read_back(client, current, send, read, planned.taken_over)
    except OutcomeUnknown as error:
        raise Failure(str(error), results.unknown()) from None
    except NotDone as error:
        seen = {"changed": False} if error.state is None else results.seen(error.state)
        raise Failure(str(error), seen if seen["changed"] else {"changed": False}) from None
    result = results.seen(written.state, done=True)
    if written.warnings:
        result["warnings"] = [*result.get("warnings", ()), *written.warnings]
    dropped = [] if planned.delete else not_taken_over(planned.sent, canonical_settings(written.state))
    if dropped:
        names = ", ".join(sorted(dotted(path) for path in dropped))
        raise Failure(
            "the client answered that it took the settings over, but reports other values afterwards for: " + names,
            result,
        )
    return result


class _Results:
    """The result of a plan: as predicted, and as it was seen afterwards, in one shape."""

    def __init__(
        self, planned: Plan, version: str | None, restart_bound: list[str], diff_mode: bool, remarks: list[str]
    ) -> None:
        self._planned = planned
        self._version = version
        self._restart_bound = restart_bound
        self._diff_mode = diff_mode
        self._remarks = remarks

    def predicted(self) -> Result:
        """What is to be expected; the result of check mode."""
        planned = self._planned
        warnings = [*planned.warnings, *planned.uncertainties]
        return self._result(
            planned.after, planned.writes, planned.changed, planned.restart, planned.unverified, warnings
        )

    def unknown(self) -> Result:
        """When nobody can say what has been written: a restart that is not needed does less harm than one left out."""
        return {**self.predicted(), "outcome_unknown": True}

    def seen(self, reported: Settings, done: bool = False) -> Result:
        """What a GET after the writing shows. done: whether the client took over what it was sent."""
        planned, after, warnings = self._planned, canonical_settings(reported), list(self._planned.warnings)
        paths, unverified = differences(planned.before, after), []
        if planned.delete:
            stubborn = sorted(dotted(path) for path in non_default(reported))
            if stubborn:
                warnings.append(
                    "after the reset the client reports other values than the documented defaults for: "
                    + ", ".join(stubborn)
                )
        else:
            unverified = [path for path in planned.sent if done and not reports(after, path)]
            paths = [path for path in paths if path in planned.sent and reports(after, path)] + unverified
        return self._result(
            after,
            bool(paths),
            tuple(sorted(dotted(path) for path in paths)),
            tuple(sorted(dotted(path) for path in paths if is_restart_bound(path, self._restart_bound))),
            tuple(sorted(dotted(path) for path in unverified)),
            warnings,
        )

    def _result(
        self,
        after: Settings,
        changed: bool,
        names: tuple[str, ...],
        restart: tuple[str, ...],
        unverified: tuple[str, ...],
        warnings: list[str],
    ) -> Result:
        result: Result = {
            "changed": changed,
            "before": mask(self._planned.before),
            "after": mask(after),
            "changed_settings": list(names),
            "restart_required": bool(restart),
            "restart_settings": list(restart),
            "unverified_settings": list(unverified),
            "client_version": self._version,
        }
        if warnings or self._remarks:
            result["warnings"] = [*self._remarks, *warnings]
        if self._diff_mode:
            sent_blind = {path: value for path, value in self._planned.sent.items() if dotted(path) in unverified}
            result["diff"] = show_diff(self._planned.before, after, sent_blind)
        return result


# --- wa_application_settings_info --------------------------------------------------------------------------------


def application_settings_info(params: Params, run: Run) -> Result:
    """The module C(wa_application_settings_info)."""
    with run.connect(read_connection(params), True) as client:
        current, answer = ask_settings(client, Declaration())
    return {
        "changed": False,
        "settings": mask(canonical_settings(current)),
        "client_version": show_version(parse_version(answer.version)),
        "api_status": answer.api_status,
        "non_default_settings": mask({dotted(path): value for path, value in sorted(non_default(current).items())}),
    }
