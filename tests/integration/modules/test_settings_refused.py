# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be refused: one clear line, a failed host, nothing written on the wire, no traceback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import certifi
import pytest

from support.batch import FIRST, Case, RunCases, assert_same_over_both_paths
from support.commands import AnsibleCommands, mostly, mostly_in_process
from support.emulator import PASSWORD, EmulatedClient

path = mostly_in_process

GET = "GET /v1/settings/application"
USER = {"username": "reader", "password": "Only-reads-1", "role": "ROLE_USER"}
FRESH = {"username": "fresh", "password": "Still-first-1", "owes_change": True}
OK: dict[str, Any] = {"settings": {"log_level": "error"}}


@dataclass(frozen=True)
class Refusal:
    """A case, what its message has to hold, and what may arrive on the wire."""

    case: Case
    message: tuple[str, ...]
    wire: tuple[str, ...] = ()


def _refused(
    name: str,
    options: Mapping[str, Any],
    *message: str,
    wire: tuple[str, ...] = (),
    connection: str = "token",
    **case: Any,
) -> Refusal:
    return Refusal(Case(name, options, connection=connection, steps=(FIRST,), **case), message, wire)


def _bad_setting(name: str, settings: Mapping[str, Any], *message: str) -> Refusal:
    return _refused(name, {"settings": settings}, *message)


def _bad_option(name: str, options: Mapping[str, Any], *message: str) -> Refusal:
    return _refused(name, {**OK, **options}, *message)


REFUSALS = [
    _bad_setting("unknown key", {"log_levle": "info"}, "log_levle", "settings"),
    _bad_setting("unknown key below", {"webhooks": {"uri": "https://h.example.com"}}, "webhooks", "uri"),
    _bad_setting("read-only key", {"wa_id": "1"}, "wa_id"),
    _bad_setting("not a boolean", {"callback_persist": "maybe"}, "callback_persist", "maybe"),
    _bad_setting("a delay with a fraction", {"callback_backoff_delay_ms": 3.5}, "callback_backoff_delay_ms"),
    _bad_setting("a negative delay", {"callback_backoff_delay_ms": -1}, "callback_backoff_delay_ms", "positive"),
    _bad_setting("a delay of zero", {"max_callback_backoff_delay_ms": 0}, "max_callback_backoff_delay_ms", "positive"),
    _bad_setting("a delay in words", {"callback_backoff_delay_ms": "3 s"}, "callback_backoff_delay_ms"),
    _bad_setting("an interval of zero", {"heartbeat_interval": 0}, "heartbeat_interval", "positive"),
    _bad_setting(
        "a value outside the choices", {"webhooks": {"max_concurrent_requests": 7}}, "max_concurrent_requests", "24"
    ),
    _bad_setting("a log level outside the choices", {"log_level": "debug"}, "log_level", "warning"),
    _bad_setting("null for a choice", {"log_level": None}, "log_level"),
    _bad_setting("a kind of media outside the choices", {"media": {"auto_download": ["gif"]}}, "auto_download", "gif"),
    _bad_setting("a dictionary where a text belongs", {"log_level": {"a": 1}}, "log_level"),
    _bad_setting("a list where a group belongs", {"webhooks": ["https://h.example.com/?Canary-7"]}, "webhooks", "list"),
    # AnsibleModule gives up before it has collected what is secret, the token included.
    _bad_setting("a list where a checked group belongs", {"media": ["audio"]}, "dictionary"),
    _bad_setting("an http webhook", {"webhooks": {"url": "http://h.example.com/x"}}, "webhooks.url", "https://"),
    _bad_setting("a webhook without a host", {"webhooks": {"url": "https:///x"}}, "webhooks.url"),
    _bad_setting("a webhook of words", {"webhooks": {"url": "none"}}, "webhooks.url", "https://"),
    _bad_option("unknown option", {"colour": "red"}, "colour"),
    _bad_option("unknown state", {"state": "gone"}, "state", "gone"),
    _bad_option("both token and password", {"password": PASSWORD}, "password", "token", "exclude"),
    _refused("neither token nor password", {**OK, "api_url": "{api_url}"}, "password", "token", connection="none"),
    _refused("no api_url", {**OK, "token": "abc"}, "api_url", connection="none"),
    _bad_option("empty api_url", {"api_url": ""}, "api_url"),
    _bad_option("user info in api_url", {"api_url": "https://admin:Canary-7@{address}"}, "api_url", "user info"),
    _bad_option("a query in api_url", {"api_url": "{api_url}?x=Canary-7"}, "api_url", "query"),
    _bad_option("no scheme in api_url", {"api_url": "{address}"}, "api_url"),
    _bad_option("http to another host", {"api_url": "http://wa1.example.com:9090"}, "api_url", "allow_http"),
    _bad_option("timeout of zero", {"timeout": 0}, "timeout"),
    _bad_option("timeout in words", {"timeout": "soon"}, "timeout"),
    _bad_option("negative retries", {"retries": -1}, "retries"),
    _bad_option("a version that is none", {"client_version": "new"}, "client_version"),
    _bad_option("no CA file", {"ca_path": "/nonexistent/ca.pem"}, "ca_path", "/nonexistent/ca.pem"),
    _bad_option("a CA file of other authorities", {"ca_path": certifi.where()}, "certificate"),
    _bad_option("no CA file named", {"ca_path": ""}, "certificate"),
    _bad_option("nobody listens", {"api_url": "https://127.0.0.1:1", "retries": 0}, "cannot be reached"),
    _bad_option(
        "unknown host",
        {"api_url": "https://wa.invalid:9090", "retries": 0, "timeout": 5},
        "wa.invalid",
        "cannot be reached",
    ),
    _refused("state present alone", {}, "present", "settings"),
    _refused("absent with settings", {"state": "absent", **OK}, "absent", "settings"),
    _refused("a known key among the unknown", {"extra_settings": {"log_level": "x"}}, "log_level", "extra_settings"),
    _refused("a read-only key among the unknown", {"extra_settings": {"wa_id": "1"}}, "wa_id"),
    _refused(
        "wrong password",
        {**OK, "password": "Wrong-horse-1"},
        "username or password",
        wire=("POST /v1/users/login",),
        connection="password",
    ),
    _refused(
        "unknown user",
        {**OK, "username": "nobody"},
        "username or password",
        wire=("POST /v1/users/login",),
        connection="password",
    ),
    _refused(
        "first login still owed",
        {**OK, "username": FRESH["username"], "password": FRESH["password"]},
        "first password",
        "new_password",
        wire=("POST /v1/users/login",),
        connection="password",
        users=[FRESH],
    ),
    _refused(
        "user without the admin role",
        {**OK, "username": USER["username"], "password": USER["password"]},
        "admin role",
        wire=("POST /v1/users/login", GET, "POST /v1/users/logout"),
        connection="password",
        users=[USER],
    ),
    _refused("a token that is none", {**OK, "token": "not-a-token"}, "token", wire=(GET,)),
    _refused(
        "a wrong path prefix",
        {**OK, "api_url": "{api_url}/elsewhere"},
        "HTTP 404",
        wire=("GET /elsewhere/v1/settings/application",),
    ),
    _refused("an HTML page", OK, "HTML", wire=(GET,), faults=[{"action": "html", "status": 200}]),
    _refused(
        "a redirect", OK, "redirect", wire=(GET,), faults=[{"action": "redirect", "location": "https://x.example.com/"}]
    ),
    _refused(
        "a setting that the client refuses",
        {"extra_settings": {"new_switch": True}},
        "new_switch",
        "1010",
        wire=(GET, "PATCH /v1/settings/application"),
    ),
    # Version gating.
    _refused(
        "a key newer than the client",
        OK,
        "log_level",
        "2.51.1",
        "2.49.1",
        wire=(GET,),
        switches={"client_version": "2.49.1"},
    ),
    _refused(
        "a group newer than the client",
        {"settings": {"garbagecollector_enable": {"media": True}}},
        "garbagecollector_enable.media",
        "2.49.1",
        "2.47.3",
        wire=(GET,),
        switches={"client_version": "2.47.3"},
    ),
    _refused(
        "a key newer than the named version",
        {**OK, "client_version": "v2.45.1"},
        "log_level",
        "2.51.1",
        "2.45.1",
        wire=(GET,),
        switches={"meta": "placeholder"},
    ),
    _refused(
        "pass_through switched on",
        {"settings": {"pass_through": True}},
        "pass_through",
        "2.35",
        "2.57.2",
        wire=(GET,),
    ),
]
CASES = [refusal.case for refusal in REFUSALS]
# The client itself says no; everything else is refused before anything is written.
REFUSED_BY_THE_CLIENT = "a setting that the client refuses"


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case.name)
def test_a_refusal(refusal: Refusal, path: str, run_cases: RunCases) -> None:
    batch = run_cases(path, CASES)
    outcome = batch.outcomes[refusal.case.name]
    result = outcome.only_result()
    assert batch.run.rc == 2
    assert outcome.failures == 1
    assert result.get("changed", False) is False
    message = result["msg"]
    for part in refusal.message:
        assert part in message
    assert "\n" not in message
    for secret in ("Canary", PASSWORD, "-horse-1", "eyJ"):  # a token begins with the last
        assert secret not in str(result)
    assert outcome.verbs(FIRST) == list(refusal.wire)
    assert outcome.client.control.stored() == {}
    if refusal.case.name != REFUSED_BY_THE_CLIENT:
        assert outcome.writes(FIRST) == []


def test_no_traceback(path: str, run_cases: RunCases) -> None:
    assert "Traceback" not in run_cases(path, CASES).run.output


@pytest.mark.parametrize("cases", mostly(CASES[::4], rest=[CASES]), ids=len)
def test_both_paths_give_the_same_errors(cases: list[Case], run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, cases)


def test_the_exit_code_of_a_single_refusal(client: EmulatedClient, path: str, ansible: AnsibleCommands) -> None:
    task = {"wabiz.onprem.wa_application_settings": {**client.with_token(), "settings": {"log_level": "debug"}}}
    run = ansible.playbook(
        [{"hosts": "all", "tasks": [task]}], {"client": {"wabiz_direct_execution": path != "module"}}
    )
    assert run.rc == 2
    assert client.verbs() == []


WARNED = {
    "db_garbagecollector_enable": ("2.49", "garbagecollector_enable.messages"),
    "sent_status": ("deprecated", "webhooks.message.sent"),
    "webhook_payload_conversation_pricingmodel_disabled": ("2.39", "no successor"),
}
DEPRECATED = [Case(name, {"settings": {name: True}}, switches={"report_all": True}, steps=(FIRST,)) for name in WARNED]
BEFORE_THE_DEPRECATION = [
    Case(
        "db_garbagecollector_enable before its deprecation",
        {"settings": {"db_garbagecollector_enable": False}},
        switches={"report_all": True, "client_version": "2.47.3"},
        steps=(FIRST,),
    )
]
UNKNOWN_VERSION = [
    Case(
        f"no version: {meta}",
        {"settings": {"log_level": "error"}},
        # An old client that does not say so: what it does not know is its own to refuse, ours not to block.
        switches={"meta": meta, "client_version": "2.57.2"},
        steps=(FIRST,),
    )
    for meta in ("placeholder", "unversioned", "none")
]


@pytest.mark.parametrize("case", DEPRECATED, ids=str)
def test_a_deprecated_key_works_with_a_warning(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, DEPRECATED).outcomes[case.name]
    assert outcome.client.control.effective()[case.name] is True
    (warning,) = outcome.results[FIRST]["warnings"]
    for part in (case.name, *WARNED[case.name]):
        assert part in warning


def test_no_warning_before_the_deprecation(path: str, run_cases: RunCases) -> None:
    (outcome,) = run_cases(path, BEFORE_THE_DEPRECATION).outcomes.values()
    assert outcome.results[FIRST]["changed"] is True
    assert "warnings" not in outcome.results[FIRST]


@pytest.mark.parametrize("case", UNKNOWN_VERSION, ids=str)
def test_an_unknown_version_never_blocks(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, UNKNOWN_VERSION).outcomes[case.name]
    assert outcome.results[FIRST]["changed"] is True
    assert outcome.results[FIRST]["client_version"] is None


@pytest.mark.parametrize(
    "cases",
    mostly(DEPRECATED, rest=[BEFORE_THE_DEPRECATION, UNKNOWN_VERSION]),
    ids=lambda cases: cases[0].name,
)
def test_both_paths_gate_alike(cases: list[Case], run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, cases)
