# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The application settings: the specs and the flows of C(wa_application_settings) and C(wa_application_settings_info).

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, RESTART_BOUND, Key, Kind
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Answer, ApiError, Client
from ansible_collections.wabiz.onprem.plugins.module_utils._errors import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._health import health_or_none
from ansible_collections.wabiz.onprem.plugins.module_utils._options import CONNECTION, Spec, read_connection
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import (
    AlreadySent,
    Plan,
    Settings,
    build_patch,
    canonical_settings,
    differences,
    dotted,
    is_restart_bound,
    non_default,
    not_taken_over,
    nothing_sent,
    parse_version,
    plan,
    read_declaration,
    reports,
    show_diff,
    show_version,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Failure, Params, Result, Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import mask

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
_WEBHOOKS = ArgumentSpecValidator(SETTINGS_OPTIONS.pop("webhooks")["options"])
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
    validated = _WEBHOOKS.validate(dict(webhooks))
    if validated.error_messages:
        error = validated.errors[0]
        problem = "unsupported parameters: " if isinstance(error, UnsupportedError) else ""
        raise InvalidOptions(f"settings.webhooks: {problem}{error.msg}")
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
        current, answer = _read_settings(client)
        version = parse_version(answer.version) or parse_version(option_version)
        intent = plan(
            current,
            declaration,
            state,
            params["unreported"],
            restart_bound=params["restart_bound"],
            version=version,
            already_sent=already_sent,
        )
        shown = _Shown(intent, show_version(version), params["restart_bound"], run.diff_mode)
        held = hold_restart_bound and bool(intent.restart)
        if held:
            return {**shown.predicted(), "held": True, "health": health_or_none(client)}
        if run.check_mode or not intent.writes:
            return shown.predicted()
        beside: Result = {"health": health_or_none(client)} if with_health else {}
        _write(client, current, intent)
        try:
            reported, _answer = _read_settings(client)
        except ApiError as error:
            raise Failure(f"written, but not read back: {error}", shown.predicted()) from None
        return {**shown.done(reported), **beside}


def _read_settings(client: Client) -> tuple[Settings, Answer]:
    """The settings object of a GET: wrapped in C(application), or flat as some gateways give it (API notes, 2.1)."""
    answer = client.get(SETTINGS)
    body = answer.body
    found: Any = None
    if isinstance(body, Mapping):
        found = body.get("settings", body)
        if isinstance(found, Mapping):
            found = found.get("application", found)
        if found is body:
            found = {name: value for name, value in body.items() if name not in ("meta", "errors")} or None
    if not isinstance(found, Mapping):
        raise ApiError(
            f"GET {SETTINGS}: the answer holds no settings; is api_url the address of a WhatsApp Business client?"
        )
    client.keep_secret(found)
    return dict(found), answer


def _write(client: Client, current: Settings, intent: Plan) -> None:
    if intent.delete:
        client.delete(SETTINGS)
        return
    try:
        client.patch(SETTINGS, intent.patch)
    except ApiError as error:
        # Which form of the delays a client insists on is not known (API notes, 2.4): the documented one goes first.
        numbers = build_patch(current, intent.sent, delays_as_strings=False)
        if 1009 not in error.codes or numbers == intent.patch:
            raise
        client.patch(SETTINGS, numbers)


class _Shown:
    """The result of a plan, before and after it was carried out, in one shape."""

    def __init__(self, intent: Plan, version: str | None, restart_bound: list[str], diff_mode: bool) -> None:
        self._intent = intent
        self._version = version
        self._restart_bound = restart_bound
        self._diff_mode = diff_mode

    def predicted(self) -> Result:
        intent = self._intent
        return self._result(intent.after, intent.changed, intent.restart, intent.unverified, intent.warnings)

    def done(self, reported: Settings) -> Result:
        """What a GET after the writing reports. Raises Failure where the client did not take over what was sent."""
        intent, after, warnings = self._intent, canonical_settings(reported), list(self._intent.warnings)
        if intent.delete:
            changed = differences(intent.before, after)
            names = tuple(sorted(dotted(path) for path in changed))
            restart = tuple(sorted(dotted(path) for path in changed if is_restart_bound(path, self._restart_bound)))
            stubborn = sorted(dotted(path) for path in non_default(reported))
            if stubborn:
                warnings.append(
                    "after the reset the client reports other values than the documented defaults for: "
                    + ", ".join(stubborn)
                )
            return self._result(after, names, restart, (), tuple(warnings))
        unverified = tuple(sorted(dotted(path) for path in intent.sent if not reports(after, path)))
        result = self._result(after, intent.changed, intent.restart, unverified, tuple(warnings))
        dropped = not_taken_over(intent.sent, after)
        if dropped:
            raise Failure(
                "the client answered that it took the settings over, but reports other values afterwards for: "
                + ", ".join(sorted(dotted(path) for path in dropped)),
                result,
            )
        return result

    def _result(
        self,
        after: Settings,
        changed: tuple[str, ...],
        restart: tuple[str, ...],
        unverified: tuple[str, ...],
        warnings: tuple[str, ...],
    ) -> Result:
        result: Result = {
            "changed": self._intent.writes,
            "before": mask(self._intent.before),
            "after": mask(after),
            "changed_settings": list(changed),
            "restart_required": bool(restart),
            "restart_settings": list(restart),
            "unverified_settings": list(unverified),
            "client_version": self._version,
        }
        if warnings:
            result["warnings"] = list(warnings)
        if self._diff_mode:
            sent_blind = {path: value for path, value in self._intent.sent.items() if dotted(path) in unverified}
            result["diff"] = show_diff(self._intent.before, after, sent_blind)
        return result


# --- wa_application_settings_info --------------------------------------------------------------------------------


def application_settings_info(params: Params, run: Run) -> Result:
    """The module C(wa_application_settings_info)."""
    with run.connect(read_connection(params), True) as client:
        current, answer = _read_settings(client)
    return {
        "changed": False,
        "settings": mask(canonical_settings(current)),
        "client_version": show_version(parse_version(answer.version)),
        "api_status": answer.api_status,
        "non_default_settings": mask({dotted(path): value for path, value in sorted(non_default(current).items())}),
    }
