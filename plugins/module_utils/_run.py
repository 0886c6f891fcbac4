# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module runs in: the task around a flow, and the shell that masks its result.

A flow is the function of one module, from its parameters to its result. A result is what the module returns; a failure
is a result with C(failed) and C(msg). The module and the action plugin of the same name are shells around a flow.

This module is private to the collection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ansible.module_utils.common.parameters import remove_values

from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client, Connection
from ansible_collections.wabiz.onprem.plugins.module_utils._errors import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import find_secrets, mask, scrub

Params = Mapping[str, Any]
Result = dict[str, Any]
Connect = Callable[[Connection, bool], AbstractContextManager[Client]]

_CREDENTIALS = ("password", "token", "headers")
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


class Failure(Exception):
    """A failure after something has been found out that the user should see: the result goes with it."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


Flow = Callable[[Params, Run], Result]


def credentials_of(params: Params) -> set[str]:
    """What the task authenticates with."""
    headers = params.get("headers")
    values = [str(value) for value in headers.values()] if isinstance(headers, Mapping) else []
    return {str(secret) for secret in (params.get("password"), params.get("token"), *values) if secret}


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
    shown = mask({name: value for name, value in params.items() if name not in _CREDENTIALS})
    for name in _CREDENTIALS:
        if name in params:
            value = params[name]
            hidden = dict.fromkeys(value, NO_LOG) if isinstance(value, Mapping) else NO_LOG
            shown[name] = hidden if value else value
    return {"module_args": shown}


def complete(flow: Flow, params: Params, run: Run) -> Result:
    """Runs a flow and turns what goes wrong in an expected way into a failed result. The whole result is masked."""
    try:
        result = flow(params, run)
    except Failure as failure:
        result = {"failed": True, "msg": str(failure), **failure.result}
    except (ApiError, InvalidOptions) as error:
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
