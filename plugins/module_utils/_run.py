# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module runs in: the task around a flow, and the shell that masks its result.

A flow is the function of one module, from its parameters to its result. A result is what the module returns; a failure
is a result with C(failed) and C(msg). The module and the action plugin of the same name are shells around a flow.

This module is private to the collection.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client, Connection
from ansible_collections.wabiz.onprem.plugins.module_utils._options import explain_refusal
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import (
    MASK,
    basic_credentials,
    find_secrets,
    mask,
    one_line,
    scrub,
    texts_in,
    url_secrets,
)

Params = Mapping[str, Any]
Result = dict[str, Any]
Connect = Callable[[Connection, bool], AbstractContextManager[Client]]

NO_LOG = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_CREDENTIALS = ("password", "token", "headers")
_ISSUES = "https://github.com/wabiz/wabiz.onprem/issues"
# Credentials that are shorter than this hide nothing in results: they would hit numbers and names that have nothing to
# do with them.
_SHORTEST_IN_RESULTS = 6
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


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
        self._progress = progress
        self.connect = connect
        self.clock = clock
        self.sleep = sleep
        # What the result has to say at least, whatever happens from here on.
        self.at_least: Result = {"changed": False}

    def progress(self, line: str) -> None:
        """Shows a line to the person who watches; what a server puts into it cannot forge another one."""
        if self._progress is not None:
            self._progress(one_line(line))


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
    given = (params.get("password"), params.get("token"), *values)
    # Whether they are used or not, they are nobody else's business.
    fallback = (os.environ.get("WABIZ_PASSWORD"), os.environ.get("WABIZ_TOKEN"))
    return {str(secret) for secret in (*given, *fallback) if secret}


def secrets_of(params: Params) -> set[str]:
    """All secrets that came in as parameters, those inside of addresses included."""
    found = credentials_of(params) | find_secrets(params) | url_secrets(str(params.get("api_url") or ""))
    if params.get("password"):
        found |= basic_credentials(str(params.get("username") or "admin"), str(params["password"]))
    return found


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
    found = no_log_values(spec, params) | secrets_of(params)
    for name, option in spec.items():
        if option.get("type") == "dict" and not isinstance(params.get(name), Mapping):
            found |= texts_in(params.get(name))
    return found


def refuse(spec: Mapping[str, Any], params: Params, message: str, invocation: bool = True) -> Result:
    """The result for parameters that do not fit the spec: C(message), and a hint where one can help."""
    secrets = refused_values(spec, params)
    hint = explain_refusal(dict(spec), params)
    result: Result = {
        "failed": True,
        "msg": scrub(f"{message} ({hint})" if hint and hint not in message else message, secrets),
    }
    if invocation:
        hidden = sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True)
        result["invocation"] = _shown(show_invocation(_known_only(spec, params)), hidden)
    return result


def _known_only(spec: Mapping[str, Any], params: Params) -> Result:
    """The parameters without what an unknown name or a wrong type holds; a misspelt C(password) is one as well."""
    known: Result = {}
    for name, value in params.items():
        option = spec.get(name, {})
        if option.get("type") == "dict" and isinstance(value, Mapping):
            known[name] = _known_only(option["options"], value) if "options" in option else value
        else:
            fits = value is None or (name in spec and option.get("type") != "dict")
            known[name] = value if fits else NO_LOG
    return known


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
    """Runs a flow and turns whatever goes wrong into a failed result. The whole result is masked."""
    try:
        result = flow(params, run)
    except Failure as failure:
        result = {"failed": True, "msg": str(failure), **failure.result}
    except (ApiError, InvalidOptions) as error:
        result = {**run.at_least, "failed": True, "msg": str(error)}
    except Exception as error:  # noqa: BLE001 - a traceback would show values, and what has been written would be lost
        result = {**run.at_least, "failed": True, "msg": unexpected(error)}
    # Settings are masked by their place. Blotting out whatever looks like a part of a webhook's query would hit numbers
    # and names that have nothing to do with it, so that is for sentences only.
    if "msg" in result or "warnings" in result:
        secrets = secrets_of(params)
        if "msg" in result:
            result["msg"] = scrub(result["msg"], secrets)
        if "warnings" in result:
            result["warnings"] = [scrub(warning, secrets) for warning in result["warnings"]]
    hidden = sorted((one for one in credentials_of(params) if len(one) >= _SHORTEST_IN_RESULTS), key=len, reverse=True)
    shown: Result = _shown(result, hidden)
    if run.invocation:
        shown["invocation"] = _shown(show_invocation(params), hidden)
    return shown


def unexpected(error: Exception) -> str:
    """One line about an error that nobody has foreseen: what kind, and where; no values, they may be secret."""
    place, trace, plugins = "", error.__traceback__, Path(__file__).parents[1]
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if plugins in file.parents:
            place = f" in {file.stem}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"unexpected {type(error).__name__}{place}; this is a fault of wabiz.onprem, please report it: {_ISSUES}"


def _shown(value: Any, hidden: list[str]) -> Any:
    """A copy without credentials, in texts and numbers that JSON can hold: no lone surrogate, no infinity."""
    if isinstance(value, Mapping):
        return {_shown(name, []): _shown(member, hidden) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(member, hidden) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str):
        return value
    for secret in hidden:
        if secret in value:
            value = value.replace(secret, MASK)
    return _LONE_SURROGATE.sub("\ufffd", value)
