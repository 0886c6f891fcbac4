# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The media providers: the specs and the flows of C(wa_media_provider) and C(wa_media_provider_info), and the flow that
brings all providers of a client to a list of them.

Facts from the API notes, section 7. GET returns the credentials in clear, so a provider is masked wherever it is shown.

This module is private to the collection.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Answer, ApiError, Client, is_token
from ansible_collections.wabiz.onprem.plugins.module_utils._options import CONNECTION, Spec, read_connection
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import sign_changes
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Failure, Params, Result, Run
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import holds_mask, mask, mask_all, one_line
from ansible_collections.wabiz.onprem.plugins.module_utils._write import NotDone, OutcomeUnknown, write_and_read_back

PROVIDERS = "/v1/settings/application/media/providers"

Provider = dict[str, Any]
"""C(name), C(type) and C(config), as the API has them; members that are empty left out of C(config)."""

PROVIDER_OPTIONS: Spec = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "default": "www", "choices": ["www"]},
    "basic": {
        "type": "dict",
        "options": {
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
        },
    },
    "bearer": {"type": "str", "no_log": True},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
}

# What servers and libraries take for a step in the path may lead a DELETE to all settings.
_STEP = re.compile(r"(?:^|[/\\])\.\.?(?:$|[/\\])")


def media_provider_spec() -> Spec:
    return {**CONNECTION, **PROVIDER_OPTIONS}


def media_provider_info_spec() -> Spec:
    return dict(CONNECTION)


# --- one provider --------------------------------------------------------------------------------------------------


def read_provider(options: Mapping[str, Any]) -> Provider | None:
    """The wanted provider of the module's options; None for C(state=absent). Raises InvalidOptions.

    No message repeats a value.
    """
    problem = _problem_with_name(options["name"])
    if problem is not None:
        raise InvalidOptions(f"name: {problem}")
    if options.get("state") == "absent":
        return None
    basic, bearer = options.get("basic"), options.get("bearer")
    if basic is not None and bearer:
        raise InvalidOptions("basic and bearer exclude each other; give one of them")
    if basic is None and not bearer:
        raise InvalidOptions("basic or bearer: one of them is needed")
    given = {"bearer": bearer} if basic is None else {f"basic.{member}": text for member, text in basic.items()}
    for name, text in given.items():
        if not text:
            raise InvalidOptions(f"{name}: must not be empty")
        if holds_mask(text):
            raise InvalidOptions(f"{name}: is masked, as results show it; give the value itself")
    if basic is None and not is_token(bearer):
        raise InvalidOptions("bearer: must be printable ASCII without blanks")
    if basic is not None and ":" in basic["username"]:
        raise InvalidOptions("basic.username: must not hold a colon")
    config = {"bearer": bearer} if basic is None else {"basic": dict(basic)}
    return {"name": options["name"], "type": options.get("type") or "www", "config": config}


def read_providers(options: Iterable[Mapping[str, Any]]) -> dict[str, Provider]:
    """Wanted providers by name, of a list of the module's options. Raises InvalidOptions."""
    found: dict[str, Provider | None] = {}
    for one in options:
        name = one["name"]
        try:
            provider = read_provider(one)
        except InvalidOptions as problem:
            raise InvalidOptions(f"{mask(one_line(name))}: {problem}") from None
        if name in found:
            raise InvalidOptions(f"{name}: is there twice")
        found[name] = provider
    return {name: provider for name, provider in found.items() if provider is not None}


def _problem_with_name(name: str) -> str | None:
    """Why a name cannot be addressed safely in a path, or None."""
    if not name or not name.isprintable():
        return "must be printable text, and not empty"
    if mask(name) != name or holds_mask(name):
        # Results could not show it, so nobody could name it to the module.
        return "must not be an address with a user, a query or a fragment"
    return "must not hold . or .. as a step of a path" if _STEP.search(name) else None


def show_provider(provider: Provider | None) -> Provider:
    """What may be seen of a provider; all of its configuration but the user name is secret. Empty for None."""
    if provider is None:
        return {}
    config = mask_all(provider["config"])
    user = _user_name(provider["config"])
    if user is not None:
        config["basic"]["username"] = mask(user)
    return {"name": mask(provider["name"]), "type": mask(provider["type"]), "config": config}


def _user_name(config: Mapping[str, Any]) -> str | None:
    basic = config.get("basic")
    user = basic.get("username") if isinstance(basic, Mapping) else None
    return user if isinstance(user, str) else None


def _keep_secret(client: Client, providers: Iterable[Provider | None]) -> None:
    for provider in providers:
        config = provider["config"] if provider is not None else {}
        client.keep_secret(config)
        if _user_name(config) is not None:
            config = {**config, "basic": {name: one for name, one in config["basic"].items() if name != "username"}}
        client.keep_secret({"credentials": config})


# --- all that a client has -----------------------------------------------------------------------------------------


def read_answer(body: Any) -> dict[str, Provider] | None:
    """The providers in an answer to GET, by name, in its order; None where it is no such answer.

    Gateways leave wrappers out (API notes, 2.1), and what is empty may be left out by anybody. So an object without
    anything but its wrappers means that there are none.
    """
    found, wrapped = body, False
    for name in ("settings", "application", "media"):
        if isinstance(found, Mapping) and name in found:
            found, wrapped = found[name], wrapped or name == "application"
    if not isinstance(found, Mapping):
        return None
    if "providers" not in found and (found or not wrapped):
        return None
    listed = found.get("providers") or []
    if not isinstance(listed, list):
        return None
    providers: dict[str, Provider] = {}
    for one in listed:
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            return None
        config = one.get("config") or {}
        if not isinstance(config, Mapping):
            return None
        providers[one["name"]] = {
            "name": one["name"],
            "type": str(one.get("type") or "www"),
            "config": _without_blanks(config),
        }
    return providers


def _without_blanks(members: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: _without_blanks(one) if isinstance(one, Mapping) else one for name, one in members.items()}
    return {name: one for name, one in kept.items() if one not in (None, "", {})}


def ask_providers(client: Client) -> dict[str, Provider]:
    found = read_answer(client.get(PROVIDERS).body)
    if found is None:
        raise ApiError(
            f"{client.where('GET', PROVIDERS)}: the answer holds no media providers; is api_url the address of a "
            "WhatsApp Business client?"
        )
    _keep_secret(client, found.values())
    return found


def _with(providers: Mapping[str, Provider], name: str, provider: Provider | None) -> dict[str, Provider]:
    others = {known: one for known, one in providers.items() if known != name or provider is not None}
    return others if provider is None else {**others, name: provider}


class _Results:
    """The result of a flow from what was there before and what is there after, as predicted or as seen."""

    def __init__(self, before: Mapping[str, Provider], names: Iterable[str], diff_mode: bool, only: str | None) -> None:
        self._before = before
        self._names = tuple(names)
        self._diff_mode = diff_mode
        self._only = only

    def result(self, after: Mapping[str, Provider]) -> Result:
        changed = [name for name in self._names if self._before.get(name) != after.get(name)]
        result: Result = {"changed": bool(changed)}
        if self._only is None:
            result["changed_settings"] = sorted(f"media.providers.{one_line(name)}" for name in changed)
            old, new = ({n: one[n] for n in self._names if n in one} for one in (self._before, after))
            shown = [{name: show_provider(one) for name, one in side.items()} for side in (old, new)]
            result["before"] = shown[0]
        else:
            old, new = ({**side.get(self._only, {})} for side in (self._before, after))
            shown = [show_provider(side.get(self._only)) for side in (self._before, after)]
            result.update(before=shown[0], after=shown[1])
        if self._diff_mode:
            signed = copy.deepcopy(shown[1])
            sign_changes(old, new, shown[0], signed)
            result["diff"] = {"before": shown[0], "after": signed}
        return result


def _keep(
    client: Client, run: Run, wanted: Mapping[str, Provider | None], *, others: bool, only: str | None = None
) -> Result:
    """Brings providers to what is wanted of them, None for absent, one request for each.

    others: whether those that are not named stay. only: the provider that the result is about; all of them otherwise.
    """
    _keep_secret(client, wanted.values())
    before = ask_providers(client)
    wanted = {**wanted, **({} if others else {name: None for name in before if name not in wanted})}
    names = [name for name, provider in wanted.items() if before.get(name) != provider]
    for name in names:
        problem = _problem_with_name(name)
        if problem is not None:
            raise ApiError(f"media provider {one_line(name)} of the client cannot be removed: its name {problem}")
    results = _Results(before, names, run.diff_mode, only)
    after: Mapping[str, Provider] = before
    if run.check_mode:
        for name in names:
            after = _with(after, name, wanted[name])
        return results.result(after)
    warnings: list[str] = []
    for name in names:
        run.at_least = {**results.result(_with(after, name, wanted[name])), "outcome_unknown": True}
        after, said = _write(client, after, name, wanted[name], results, run.at_least)
        warnings += said
    return {**results.result(after), **({"warnings": warnings} if warnings else {})}


def _write(
    client: Client,
    current: Mapping[str, Provider],
    name: str,
    provider: Provider | None,
    results: _Results,
    unknown: Result,
) -> tuple[Mapping[str, Provider], list[str]]:
    """Sets or removes one provider; what is there afterwards, and warnings. Raises Failure where it was not done."""

    def send(_state: Mapping[str, Provider]) -> Answer:
        if provider is not None:
            # A list by its form; one provider can be set for each call.
            return client.post(PROVIDERS, [provider])
        try:
            return client.delete(f"{PROVIDERS}/{quote(name, safe='')}")
        except ApiError as error:
            # It is gone already where somebody else was quicker, or a proxy that sent it twice.
            error.maybe_done = error.maybe_done or error.status == 404
            raise

    def is_done(state: Mapping[str, Provider]) -> bool:
        return state.get(name) == provider

    try:
        written = write_and_read_back(client, current, send, lambda: ask_providers(client), is_done)
    except OutcomeUnknown as problem:
        raise Failure(str(problem), unknown) from None
    except NotDone as problem:
        raise Failure(str(problem), results.result(current if problem.state is None else problem.state)) from None
    if not is_done(written.state):
        raise Failure(
            f"the client answered that it took over media provider {name}, but reports it otherwise afterwards",
            results.result(written.state),
        )
    return written.state, written.warnings


# --- the flows -----------------------------------------------------------------------------------------------------


def media_provider(params: Params, run: Run) -> Result:
    """The module C(wa_media_provider)."""
    connection, name = read_connection(params), params["name"]
    wanted = {name: read_provider(params)}
    with run.connect(connection, run.check_mode) as client:
        return _keep(client, run, wanted, others=True, only=name)


def media_providers(params: Params, run: Run, wanted: Mapping[str, Provider]) -> Result:
    """These providers and no others; the result names what has changed as C(media.providers.<name>).

    C(before) in it is what was there, by name and masked, of those that differ.

    params: the options of a connection.
    """
    with run.connect(read_connection(params), run.check_mode) as client:
        return _keep(client, run, wanted, others=False)


def media_provider_info(params: Params, run: Run) -> Result:
    """The module C(wa_media_provider_info)."""
    with run.connect(read_connection(params), True) as client:
        return {"changed": False, "providers": [show_provider(one) for one in ask_providers(client).values()]}
