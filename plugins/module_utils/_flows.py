# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read, plan, write, read back: one function a module, from its parameters to its result.

A result is what the module returns, masked; a failure is a result with C(failed) and C(msg). The module and the action
plugin of the same name are shells around these functions.

This module is private to the collection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ansible.module_utils.common.parameters import remove_values

from ansible_collections.wabiz.onprem.plugins.module_utils._argspec import (
    InvalidOptions,
    read_connection,
    read_settings,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._client import (
    HEALTH,
    SETTINGS,
    SHARDS,
    Answer,
    ApiError,
    Client,
    Connection,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._health import (
    Health,
    read_health,
    read_shards,
    still_missing,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import (
    InvalidSettings,
    Plan,
    Settings,
    build_patch,
    canonical_settings,
    differences,
    dotted,
    is_restart_bound,
    non_default,
    not_taken_over,
    parse_version,
    plan,
    read_wish,
    reports,
    show_diff,
    show_version,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import find_secrets, mask, scrub

Params = Mapping[str, Any]
Result = dict[str, Any]
Connect = Callable[[Connection, bool], AbstractContextManager[Client]]

NO_LOG = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class Run:
    """What a task gives to a flow besides the module's parameters.

    invocation tells whether the result names the parameters; progress takes a line for the person who watches; connect
    makes a client, C(connect(connection, read_only)).
    """

    def __init__(
        self,
        *,
        check_mode: bool = False,
        diff_mode: bool = False,
        invocation: bool = True,
        progress: Callable[[str], None] | None = None,
        connect: Connect = Client,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.check_mode = check_mode
        self.diff_mode = diff_mode
        self.invocation = invocation
        self.progress = progress or (lambda _line: None)
        self.connect = connect
        self.clock = clock
        self.sleep = sleep


class _Failure(Exception):
    """A failure after something has been found out that the user should see: the result goes with it."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


Flow = Callable[[Params, Run], Result]


def credentials_of(params: Params) -> set[str]:
    """What the task logs in with."""
    return {secret for secret in (params.get("password"), params.get("token")) if secret}


def secrets_of(params: Params) -> set[str]:
    """All secrets that came in as parameters, those inside of addresses included."""
    settings = find_secrets(params.get("settings") or {}) | find_secrets(params.get("extra_settings") or {})
    return credentials_of(params) | settings


def no_log_values(spec: Mapping[str, Any], params: Any) -> set[str]:
    """The texts in all options that the spec marks with C(no_log), as AnsibleModule finds them."""
    found: set[str] = set()
    for name, option in spec.items():
        value = params.get(name) if isinstance(params, Mapping) else None
        if option.get("no_log"):
            found |= _texts(value)
        found |= no_log_values(option.get("options", {}), value)
    return found


def _texts(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return set().union(*(_texts(member) for member in value.values()), set())
    if isinstance(value, (list, tuple)):
        return set().union(*(_texts(member) for member in value), set())
    return {str(value)} if value and not isinstance(value, bool) else set()


def refused_values(spec: Mapping[str, Any], params: Any) -> set[str]:
    """What a result must not show of parameters that are not valid, whatever is wrong with them."""
    return no_log_values(spec, params) | secrets_of(params)


def show_invocation(params: Params) -> dict[str, Any]:
    """The parameters for C(-vvv), masked."""
    shown = mask({name: value for name, value in params.items() if name not in ("password", "token")})
    shown.update({name: NO_LOG if params[name] else params[name] for name in ("password", "token") if name in params})
    return {"module_args": shown}


def complete(flow: Flow, params: Params, run: Run) -> Result:
    """Runs a flow and turns what goes wrong in an expected way into a failed result. The whole result is masked."""
    try:
        result = flow(params, run)
    except _Failure as failure:
        result = {"failed": True, "msg": str(failure), **failure.result}
    except (ApiError, InvalidOptions, InvalidSettings) as error:
        result = {"failed": True, "msg": str(error), "changed": False}
    # Settings are masked by their place. Blotting out whatever looks like a part of a webhook's query would hit numbers
    # and names that have nothing to do with it, so that is for sentences only.
    secrets = secrets_of(params)
    if "msg" in result:
        result["msg"] = scrub(result["msg"], secrets)
    if "warnings" in result:
        result["warnings"] = [scrub(warning, secrets) for warning in result["warnings"]]
    shown: Result = remove_values(result, credentials_of(params))
    if run.invocation:
        shown["invocation"] = show_invocation(params)
    return shown


# --- wa_application_settings -------------------------------------------------------------------------------------


def application_settings(params: Params, run: Run, hold_restart_bound: bool = False) -> Result:
    """The module C(wa_application_settings).

    hold_restart_bound: write nothing when a restart-bound setting would change, and say so with C(held) in the result;
    for callers that have to write down the owed restart first.
    """
    connection = read_connection(params)
    state = params["state"]
    if state == "absent" and (params["settings"] or params["extra_settings"]):
        raise InvalidOptions("state absent resets everything; it does not go with settings or extra_settings")
    if state != "absent" and params["settings"] is None and params["extra_settings"] is None:
        raise InvalidOptions(f"state {state} needs settings or extra_settings")
    wish = read_wish(read_settings(params["settings"]), params["extra_settings"])
    option_version = params["client_version"]
    if option_version and parse_version(option_version) is None:
        raise InvalidOptions("client_version: must be a client version such as 2.57.2")
    with run.connect(connection, run.check_mode) as client:
        client.keep_secret(wish.leaves())
        current, answer = _read_settings(client)
        version = parse_version(answer.version) or parse_version(option_version)
        intent = plan(
            current,
            wish,
            state,
            params["unreported"],
            restart_bound=params["restart_bound"],
            version=version,
        )
        shown = _Shown(intent, show_version(version), params["restart_bound"], run.diff_mode)
        held = hold_restart_bound and bool(intent.restart)
        if held or run.check_mode or not intent.writes:
            return {**shown.predicted(), **({"held": True} if held else {})}
        _write(client, current, intent)
        try:
            reported, _answer = _read_settings(client)
        except ApiError as error:
            raise _Failure(f"written, but not read back: {error}", shown.predicted()) from None
        return shown.done(reported)


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
        """What a GET after the writing reports. Raises _Failure where the client did not take over what was sent."""
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
            raise _Failure(
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


# --- wa_health_info ----------------------------------------------------------------------------------------------


_PROGRESS_EVERY = 5.0  # seconds between two lines that say the same


def health_info(params: Params, run: Run) -> Result:
    """The module C(wa_health_info)."""
    connection = read_connection(params)
    for option in ("wait_timeout", "wait_interval"):
        if params[option] <= 0:
            raise InvalidOptions(f"{option}: must be more than 0 seconds")
    expected = 1 if params["expect_connected"] is None else params["expect_connected"]
    if expected < 0:
        raise InvalidOptions("expect_connected: must not be negative")
    with run.connect(connection, True) as client:
        if params["wait"]:
            health = _wait_for_health(client, connection.api_url, params, expected, run)
            warnings: list[str] = []
        else:
            health, warnings = _health_now(client)
        shards = _shards(client) if health.clustered else None
    result = _show_health(health, shards, still_missing(health, expected, params["expect_nodes"]) is None)
    return {**result, **({"warnings": warnings} if warnings else {})}


def _show_health(health: Health, shards: int | None, healthy: bool) -> Result:
    return {
        "changed": False,
        "nodes": [
            {"name": node.name, "role": node.role, "gateway_status": node.gateway_status} for node in health.nodes
        ],
        "connected_coreapps": health.connected_coreapps,
        "clustered": health.clustered,
        "shards": shards,
        "healthy": healthy,
    }


def _ask_health(client: Client, retries: int | None = None) -> Health:
    health = read_health(client.get(HEALTH, retries).body)
    if health is None:
        raise ApiError(f"GET {HEALTH}: the answer holds no health", passing=True)
    return health


def _health_now(client: Client) -> tuple[Health, list[str]]:
    try:
        return _ask_health(client), []
    except ApiError as error:
        if not error.codes or not error.passing:
            raise
        # The Webapp answers and says that the Coreapp does not: that is a state of health, not a failure to ask.
        return Health((), clustered=False), [str(error)]


def _shards(client: Client) -> int | None:
    try:
        return read_shards(client.get(SHARDS, 0).body)
    except ApiError:
        return None  # single clients, gateways and old clients do not tell


def _wait_for_health(client: Client, address: str, params: Params, expected: int, run: Run) -> Health:
    """Polls until nothing is missing. Raises _Failure at the end of the time, or where waiting cannot help."""
    start, timeout, last_line, said_at = run.clock(), params["wait_timeout"], "", 0.0
    while True:
        health = Health((), clustered=False)
        try:
            health = _ask_health(client, retries=0)
            missing = still_missing(health, expected, params["expect_nodes"])
        except ApiError as error:
            if not error.passing:
                raise
            missing = str(error)
        if missing is None:
            return health
        waited = run.clock() - start
        if health.unregistered and health.connected_coreapps < expected:
            message = f"{address}: no phone number is registered ({missing}); waiting does not change that"
            raise _Failure(message, _show_health(health, None, False))
        if waited + params["wait_interval"] > timeout:
            raise _Failure(f"{address}: not healthy after {timeout:g} s: {missing}", _show_health(health, None, False))
        if missing != last_line or waited - said_at >= _PROGRESS_EVERY:
            run.progress(f"{address}: waiting for health, {waited:.0f} s of {timeout:g} s: {missing}")
            last_line, said_at = missing, waited
        run.sleep(params["wait_interval"])
