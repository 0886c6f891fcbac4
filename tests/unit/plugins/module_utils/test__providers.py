# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_flows import run

from ansible_collections.wabiz.onprem.plugins.module_utils import _run
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Answer
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import (
    PROVIDERS,
    media_provider,
    media_provider_info,
    media_provider_info_spec,
    media_provider_spec,
    media_providers,
    read_answer,
    read_provider,
    read_providers,
    show_provider,
)

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted

HIDDEN = "********"
BASIC = {"username": "media", "password": "canary-pass"}
CDN = {"name": "cdn", "type": "www", "config": {"basic": BASIC}}
TOKEN = {"name": "token", "type": "www", "config": {"bearer": "canary-token"}}
WANTED = {"name": "cdn", "basic": {**BASIC, "password": "canary-new"}}
NEW = {**CDN, "config": {"basic": WANTED["basic"]}}


def keep(server: Emulated | Scripted, check: bool = False, **params: Any) -> dict[str, Any]:
    return run(media_provider, media_provider_spec(), server, _run.Run(check_mode=check, diff_mode=True), **params)


def keep_all(
    server: Emulated | Scripted, wanted: Mapping[str, dict[str, Any]], check: bool = False, **params: Any
) -> dict[str, Any]:
    flow = partial(media_providers, wanted=wanted)
    return run(flow, media_provider_info_spec(), server, _run.Run(check_mode=check, diff_mode=True), **params)


def has(server: Emulated, *providers: dict[str, Any]) -> None:
    with server.client.store.change() as state:
        state.providers = list(providers)


def of(server: Emulated) -> list[dict[str, Any]]:
    return server.client.store.read().providers


# --- what an answer says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"settings": {"application": {"media": {"providers": [CDN, TOKEN]}}}, "meta": {}}, [CDN, TOKEN]),
        ({"media": {"providers": [CDN]}, "meta": {}}, [CDN]),
        ({"providers": [CDN]}, [CDN]),
        ({"settings": {"application": {"media": {"providers": []}}}}, []),
        ({"settings": {"application": {"media": {"providers": None}}}}, []),
        ({"settings": {"application": {"media": {}}}}, []),
        ({"settings": {"application": {}}}, []),
        ({"providers": [{**CDN, "config": {"basic": BASIC, "bearer": ""}, "id": 7}]}, [CDN]),
        ({"providers": [{"name": "x"}]}, [{"name": "x", "type": "www", "config": {}}]),
        # No answer to that question.
        (None, None),
        ([], None),
        ([CDN], None),
        ({}, None),
        ({"meta": {}}, None),
        ({"media": {}}, None),
        ({"settings": {"application": {"media": {"auto_download": []}}}}, None),
        ({"settings": {"application": {"log_level": "info"}}}, None),
        ({"settings": "x"}, None),
        ({"providers": [7]}, None),
        ({"providers": [{"type": "www"}]}, None),
        ({"providers": [{"name": 7}]}, None),
        ({"providers": [{"name": "x", "config": ["canary"]}]}, None),
        ({"providers": "canary"}, None),
        ({"providers": 7}, None),
    ],
)
def test_read_answer(body: Any, found: Any) -> None:
    read = read_answer(body)
    assert (read if read is None else list(read.values())) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["settings", "application", "media", "providers", "name", "type", "config", "basic", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_read_or_refused(body: Any) -> None:
    for name, provider in (read_answer(body) or {}).items():
        assert set(provider) == {"name", "type", "config"}
        assert provider["name"] == name
        show_provider(provider)


# --- what is shown -------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from(["basic", "bearer", "oauth", "username"]),
        JSON | st.just("canary") | st.dictionaries(st.sampled_from(["username", "password"]), JSON),
        max_size=3,
    )
)
def test_nothing_but_the_user_name_is_shown(config: dict[str, Any]) -> None:
    shown = show_provider({"name": "n", "type": "www", "config": config})["config"]
    basic = shown.get("basic")
    if isinstance(basic, dict) and isinstance(config["basic"].get("username"), str):
        assert basic.pop("username") == config["basic"]["username"]
    assert {text for text in _leaves(shown) if not isinstance(text, bool)} <= {HIDDEN, "", None}


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for one in value for leaf in _leaves(one)] if isinstance(value, list) else [value]


def test_nothing_is_shown_of_none() -> None:
    assert show_provider(None) == {}


# --- what is wanted ------------------------------------------------------------------------------------------------


def test_read_provider() -> None:
    assert read_provider(WANTED) == NEW
    assert read_provider({"name": "token", "bearer": "canary-token", "basic": None, "type": "www"}) == TOKEN
    assert read_provider({**WANTED, "state": "absent"}) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "name: must be printable"),
        ({"name": "a\u0000"}, "name: must be printable"),
        *(({"name": name}, "name: must not hold") for name in (".", "..", "a/..", "../b", "a/./b", "a\\..", "..\\a/b")),
        ({"name": "https://canary@h/x"}, "name: must not be an address"),
        ({"name": "https://h/x?canary"}, "name: must not be an address"),
        ({"name": f"https://h/x?{HIDDEN}"}, "name: must not be an address"),
        ({"name": "x"}, "one of them is needed"),
        ({"name": "x", "bearer": ""}, "one of them is needed"),
        ({"name": "x", "bearer": "canary", "basic": BASIC}, "exclude each other"),
        ({"name": "x", "bearer": "canary canary"}, "bearer: must be printable ASCII"),
        ({"name": "x", "bearer": f"canary{HIDDEN}"}, "bearer: is masked"),
        ({"name": "x", "basic": {**BASIC, "username": ""}}, "basic.username: must not be empty"),
        ({"name": "x", "basic": {**BASIC, "username": "canary:"}}, "basic.username: must not hold a colon"),
        ({"name": "x", "basic": {**BASIC, "password": HIDDEN}}, "basic.password: is masked"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOptions, match=said) as caught:
        read_provider(options)
    assert "canary" not in str(caught.value)
    with pytest.raises(InvalidOptions, match=said) as caught:
        read_providers([options])
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["..x", "a..b", "x/...", "a.b/c", "50%2F..%2F", "ä"])
def test_names_that_can_be_addressed(name: str) -> None:
    assert read_provider({**WANTED, "name": name}) == {**NEW, "name": name}


def test_read_providers() -> None:
    gone = {"name": "gone", "bearer": "canary", "state": "absent"}
    assert read_providers([WANTED, gone]) == {"cdn": NEW}
    assert read_providers([]) == {}
    for twice in ([WANTED, WANTED], [gone, gone]):
        with pytest.raises(InvalidOptions, match=": is there twice"):
            read_providers(twice)


# --- one provider --------------------------------------------------------------------------------------------------


def test_set_and_removed(emulated: Emulated) -> None:
    has(emulated, TOKEN, CDN)
    predicted = keep(emulated, check=True, **WANTED)
    assert (emulated.verbs, of(emulated)) == (["login", "GET", "logout"], [TOKEN, CDN])
    result = keep(emulated, **WANTED)
    assert (result, of(emulated)) == (predicted, [TOKEN, NEW])
    shown = {**CDN, "config": {"basic": {"username": "media", "password": HIDDEN}}}
    assert (result["changed"], result["before"], result["after"]) == (True, shown, shown)
    assert result["diff"]["after"]["config"]["basic"] == {"username": "media", "password": f"{HIDDEN} (changed)"}
    assert keep(emulated, **WANTED)["changed"] is False
    removed = keep(emulated, name="cdn", state="absent")
    assert (removed["changed"], removed["before"], removed["after"], of(emulated)) == (True, shown, {}, [TOKEN])
    assert keep(emulated, name="cdn", state="absent")["changed"] is False


@pytest.mark.parametrize("name", ["a/b", "ä ?#%2F", "https://cdn.example.com/x"])
def test_names_are_quoted(emulated: Emulated, name: str) -> None:
    has(emulated, {**CDN, "name": name}, TOKEN)
    assert keep(emulated, name=name, state="absent")["changed"] is True
    assert of(emulated) == [TOKEN]
    path = next(path for method, path, _status in emulated.requests if method == "DELETE")
    assert "/" not in path.removeprefix(f"{PROVIDERS.removeprefix('/v1')}/")


def test_a_path_prefix_stays(scripted: Scripted) -> None:
    scripted.answer(body=json.dumps({"providers": [CDN]}))
    scripted.answer()
    scripted.answer(body=json.dumps({"providers": []}))
    prefixed = f"{scripted.connection.api_url}/gateway/wa%201"
    assert keep(scripted, name="cdn", state="absent", api_url=prefixed)["changed"] is True
    uris = [request.uri for request in scripted.requests]
    assert uris == [f"/gateway/wa%201{PROVIDERS}", f"/gateway/wa%201{PROVIDERS}/cdn", f"/gateway/wa%201{PROVIDERS}"]


@pytest.mark.parametrize(
    "body",
    ["", "null", "{}", "[]", '{"meta": {}}', "canary", '"canary"', '{"settings": {"application": {"log_level": "x"}}}',
     '{"providers": [["canary"]]}', "<html>canary</html>", '{"providers": [{"name": "x", "config": "canary"}]}'],
)  # fmt: skip
def test_garbage_is_no_list_of_providers(scripted: Scripted, body: str) -> None:
    scripted.answer(body=body)
    result = keep(scripted, **WANTED)
    assert (result["failed"], result["changed"]) == (True, False)
    assert [request.method for request in scripted.requests] == ["GET"]


def test_what_the_client_drops_is_an_error(scripted: Scripted) -> None:
    scripted.answer(body=json.dumps({"providers": [CDN]}))
    result = keep(scripted, **WANTED)
    assert (
        result["msg"] == "the client answered that it took over media provider cdn, but reports it otherwise afterwards"
    )
    assert (result["failed"], result["changed"], result["before"]) == (True, False, result["after"])


def test_what_cannot_be_read_back_is_unknown(scripted: Scripted) -> None:
    scripted.answer(body=json.dumps({"providers": [CDN]}))
    scripted.answer()
    scripted.answer(500)
    result = keep(scripted, **WANTED)
    assert "written, but not read back" in result["msg"]
    assert (result["failed"], result["changed"], result["outcome_unknown"]) == (True, True, True)
    assert result["diff"]["after"]["config"]["basic"]["password"] == f"{HIDDEN} (changed)"


def test_what_was_written_is_told_when_it_breaks(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.answer(body=json.dumps({"providers": []}))

    def broken(*_arguments: Any) -> None:
        raise KeyError("canary")

    monkeypatch.setattr(f"{media_provider.__module__}.write_and_read_back", broken)
    result = keep(scripted, **WANTED)
    assert "unexpected KeyError" in result["msg"]
    assert (result["changed"], result["outcome_unknown"]) == (True, True)


def test_reading(emulated: Emulated) -> None:
    has(emulated, TOKEN, CDN)
    result = run(media_provider_info, media_provider_info_spec(), emulated, _run.Run())
    assert [one["name"] for one in result["providers"]] == ["token", "cdn"]
    assert result["providers"][0]["config"] == {"bearer": HIDDEN}


# --- these and no others -------------------------------------------------------------------------------------------


def test_these_and_no_others(emulated: Emulated) -> None:
    has(emulated, TOKEN, CDN)
    wanted = read_providers([WANTED, {"name": "more", "bearer": "canary-more"}])
    predicted = keep_all(emulated, wanted, check=True)
    assert of(emulated) == [TOKEN, CDN]
    result = keep_all(emulated, wanted)
    assert result == predicted
    assert result["changed_settings"] == ["media.providers.cdn", "media.providers.more", "media.providers.token"]
    assert {one["name"]: one for one in of(emulated)} == wanted
    assert result["diff"]["before"].keys() == {"cdn", "token"}
    assert result["diff"]["after"]["cdn"]["config"]["basic"]["password"] == f"{HIDDEN} (changed)"
    verbs = ["login", "GET", "POST", "GET", "POST", "GET", "DELETE", "GET", "logout"]
    assert emulated.verbs == ["login", "GET", "logout", *verbs]
    again = keep_all(emulated, wanted)
    assert (again["changed"], again["changed_settings"]) == (False, [])
    assert emulated.verbs[-3:] == ["login", "GET", "logout"]


def test_none_at_all(emulated: Emulated) -> None:
    has(emulated, TOKEN, CDN)
    assert keep_all(emulated, {})["changed_settings"] == ["media.providers.cdn", "media.providers.token"]
    assert of(emulated) == []


def test_a_failure_in_the_middle_tells_what_was_done(emulated: Emulated) -> None:
    has(emulated, TOKEN)
    emulated.fault("error", method="DELETE", status=400, code=1009)
    result = keep_all(emulated, {"cdn": NEW})
    assert (result["failed"], result["changed"], result["changed_settings"]) == (True, True, ["media.providers.cdn"])
    assert of(emulated) == [TOKEN, NEW]


def test_a_name_that_leads_elsewhere_is_not_removed(emulated: Emulated) -> None:
    has(emulated, {**TOKEN, "name": "../.."}, CDN)
    result = keep_all(emulated, {"cdn": NEW})
    assert "media provider ../.. of the client cannot be removed" in result["msg"]
    assert (result["changed"], emulated.verbs) == (False, ["login", "GET", "logout"])


NAMES = st.sampled_from(["a", "b/c", "d e", "f"])
PROVIDER = st.one_of(
    st.builds(lambda token: {"bearer": token}, st.sampled_from(["canary1", "canary2"])),
    st.builds(lambda word: {"basic": {"username": "u", "password": word}}, st.sampled_from(["canary3", "canary4"])),
)
MANY = st.dictionaries(NAMES, PROVIDER, max_size=4)


@given(MANY, MANY)
def test_any_list_is_reached_and_predicted(before: dict[str, Any], wanted: dict[str, Any]) -> None:
    client = _Client({name: {"name": name, "type": "www", "config": one} for name, one in before.items()})
    declared = read_providers([{"name": name, **one} for name, one in wanted.items()])
    params = {**dict.fromkeys(media_provider_info_spec()), "api_url": "https://h", "token": "t", "retries": 0}
    params |= {"timeout": 1.0, "validate_certs": True, "allow_http": False, "use_proxy": False}

    def kept(check: bool) -> dict[str, Any]:
        task = _run.Run(check_mode=check, diff_mode=True, connect=lambda *_arguments: client)  # type: ignore[arg-type, return-value]
        return media_providers(params, task, wanted=declared)

    predicted = kept(True)
    assert client.writes == 0
    assert kept(False) == predicted
    assert client.providers == declared
    changed = {name for name in {**before, **wanted} if before.get(name) != wanted.get(name)}
    assert client.writes == len(changed)
    assert predicted["changed_settings"] == sorted(f"media.providers.{name}" for name in changed)
    assert "canary" not in json.dumps(predicted)
    # What changes is to be seen, even if only a secret does.
    assert (predicted["diff"]["before"] == predicted["diff"]["after"]) is (not changed)
    assert kept(False)["changed"] is False


class _Client:
    """A client that keeps its word."""

    retries = 0

    def __init__(self, providers: dict[str, Any]) -> None:
        self.providers = providers
        self.writes = 0

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def keep_secret(self, _value: Any) -> None:
        pass

    def get(self, path: str) -> Any:
        assert path == PROVIDERS
        return Answer({"providers": list(self.providers.values())}, None, None)

    def post(self, path: str, body: Any) -> Any:
        (provider,) = body
        self.writes += 1
        self.providers = {**self.providers, provider["name"]: provider}
        return Answer(None, None, None)

    def delete(self, path: str) -> Any:
        self.writes += 1
        quoted = path.removeprefix(f"{PROVIDERS}/")
        name = {"b%2Fc": "b/c", "d%20e": "d e"}.get(quoted, quoted)
        self.providers = {known: one for known, one in self.providers.items() if known != name}
        return Answer(None, None, None)
