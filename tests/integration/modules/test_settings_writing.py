# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written and what is not: bodies, requests per run, states, and clients that behave in their own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from support.batch import (
    AGAIN,
    CHECK,
    FIRST,
    Case,
    RunCases,
    assert_converged,
    assert_prediction,
    assert_same_over_both_paths,
    leaf,
)
from support.commands import mostly, mostly_in_process

path = mostly_in_process

GET, PATCH, DELETE = (f"{method} /v1/settings/application" for method in ("GET", "PATCH", "DELETE"))
LOGIN, LOGOUT = "POST /v1/users/login", "POST /v1/users/logout"

MESSAGE = {"sent": True, "delivered": True, "read": True}
HOOK = "https://hooks.example.com/wa"
# Every documented key away from its default, and two that replaced and absent have to tell apart: no certain default,
# and a webhook.
AWAY: dict[str, Any] = {
    "callback_backoff_delay_ms": 4000,
    "max_callback_backoff_delay_ms": 800000,
    "callback_persist": False,
    "heartbeat_interval": 6,
    "unhealthy_interval": 31,
    "media": {"auto_download": ["audio"]},
    "webhooks": {
        "url": HOOK,
        "max_concurrent_requests": 12,
        "message": {"sent": False, "delivered": True, "read": True},
    },
    "notify_user_change_number": True,
    "show_security_notifications": True,
    "garbagecollector_enable": {"messages": False, "media": True},
    "verbose_logging": True,
    "log_level": "error",
}
CERTAIN = [
    "callback_backoff_delay_ms",
    "callback_persist",
    "garbagecollector_enable.media",
    "garbagecollector_enable.messages",
    "heartbeat_interval",
    "log_level",
    "max_callback_backoff_delay_ms",
    "show_security_notifications",
    "unhealthy_interval",
    "verbose_logging",
    "webhooks.max_concurrent_requests",
    "webhooks.message.sent",
]


@dataclass(frozen=True)
class Change:
    """A case that changes something: what is expected of its first real run, and of the client afterwards."""

    case: Case
    changed: list[str]
    body: Mapping[str, Any] | None = None  # of the PATCH; None: DELETE
    effective: Mapping[str, Any] | None = None  # dotted name → value


def _change(
    name: str,
    options: Mapping[str, Any],
    changed: list[str],
    body: Mapping[str, Any] | None = None,
    effective: Mapping[str, Any] | None = None,
    connection: str = "token",
    stored: Mapping[str, Any] | None = None,
    **switches: Any,
) -> Change:
    case = Case(name, options, connection=connection, stored=stored or {}, switches=switches)
    return Change(case, changed, body, effective)


CHANGES = [
    _change(
        f"one nested value, {semantics}",
        {"settings": {"webhooks": {"max_concurrent_requests": 12}}},
        ["webhooks.max_concurrent_requests"],
        {"webhooks": {"url": HOOK, "max_concurrent_requests": 12, "message": MESSAGE}},
        {"webhooks.url": HOOK, "webhooks.message.read": True},
        stored={"webhooks": {"url": HOOK}},
        nested=semantics,
    )
    for semantics in ("merge", "replace")
]
CHANGES += [
    _change(
        f"two levels down, {semantics}",
        {"settings": {"webhooks": {"message": {"read": False}}, "log_level": "error", "heartbeat_interval": 5}},
        ["log_level", "webhooks.message.read"],
        {
            "webhooks": {"url": "", "max_concurrent_requests": 18, "message": {**MESSAGE, "read": False}},
            "log_level": "error",
        },
        {"webhooks.max_concurrent_requests": 18, "webhooks.message.sent": True},
        stored={"webhooks": {"max_concurrent_requests": 18}},
        nested=semantics,
    )
    for semantics in ("merge", "replace")
]
CHANGES += [
    _change(
        f"replaced, {semantics}",
        {"state": "replaced", "settings": {"log_level": "warning", "heartbeat_interval": 6}},
        [name for name in CERTAIN if name != "heartbeat_interval"],
        {
            "callback_backoff_delay_ms": "3000",
            "max_callback_backoff_delay_ms": "900000",
            "callback_persist": True,
            "unhealthy_interval": 30,
            "webhooks": {"url": HOOK, "max_concurrent_requests": 6, "message": MESSAGE},
            "show_security_notifications": False,
            "garbagecollector_enable": {"messages": True, "media": False},
            "verbose_logging": False,
            "log_level": "warning",
        },
        # No certain default, or deprecated: left alone.
        {
            "notify_user_change_number": True,
            "media.auto_download": ["audio"],
            "webhooks.url": HOOK,
            "db_garbagecollector_enable": False,
            "heartbeat_interval": 6,
        },
        stored={**AWAY, "db_garbagecollector_enable": False},
        nested=semantics,
        unreported=[],
    )
    for semantics in ("merge", "replace")
]
CHANGES += [
    _change(
        "absent",
        {"state": "absent"},
        sorted([*CERTAIN, "media.auto_download", "webhooks.url"]),
        effective={"webhooks.url": "", "log_level": "info", "heartbeat_interval": 5},
        # The one key without any default to predict keeps its value, so that the prediction can be compared.
        stored={name: value for name, value in AWAY.items() if name != "notify_user_change_number"},
    ),
    _change(
        "absent, only a webhook set",
        {"state": "absent"},
        ["webhooks.url"],
        effective={"webhooks.url": ""},
        stored={"webhooks": {"url": HOOK}},
    ),
    _change(
        "a key that the catalogue does not know",
        {"extra_settings": {"new_switch": True, "limits": {"rate": 5}}},
        ["limits.rate", "new_switch"],
        {"new_switch": True, "limits": {"burst": 9, "rate": 5}},
        {"limits.burst": 9, "new_switch": True},
        stored={"new_switch": False, "limits": {"rate": 4, "burst": 9}},
        unknown_keys="keep",
    ),
    _change(
        "with a password",
        {"settings": {"log_level": "fatal"}},
        ["log_level"],
        {"log_level": "fatal"},
        {"log_level": "fatal"},
        connection="password",
    ),
    _change(
        "the webhook is taken away",
        {"settings": {"webhooks": {"url": ""}}},
        ["webhooks.url"],
        {"webhooks": {"url": "", "max_concurrent_requests": 6, "message": MESSAGE}},
        {"webhooks.url": ""},
        stored={"webhooks": {"url": HOOK}},
    ),
    _change(
        "a deprecated key",
        {"settings": {"db_garbagecollector_enable": False}},
        ["db_garbagecollector_enable"],
        {"db_garbagecollector_enable": False},
        {"db_garbagecollector_enable": False},
        report_all=True,
    ),
    _change(
        "every key at once",
        {"settings": AWAY},
        sorted([*CERTAIN, "media.auto_download", "notify_user_change_number", "webhooks.url"]),
        {**AWAY, "callback_backoff_delay_ms": "4000", "max_callback_backoff_delay_ms": "800000"},
        {"heartbeat_interval": 6, "webhooks.message.sent": False},
        nested="replace",
    ),
]
# The same change on clients that answer in their own way.
PECULIARITIES: dict[str, dict[str, Any]] = {
    "answers an object": {"write_answer": "object"},
    "answers nothing": {"write_answer": "empty"},
    "answers meta": {"write_answer": "meta"},
    "flat GET": {"flat_get": True},
    "no meta": {"meta": "none"},
    "placeholder version": {"meta": "placeholder"},
    "bare version": {"meta": "bare"},
    "delays as text": {"delays_in_get": "string"},
    "delays only as text": {"delays_on_write": "string"},
    "ready tokens only": {"login": False},
}
CHANGES += [
    _change(
        label,
        {"settings": {"callback_backoff_delay_ms": 4500}},
        ["callback_backoff_delay_ms"],
        {"callback_backoff_delay_ms": "4500"},
        {"callback_backoff_delay_ms": 4500},
        **switches,
    )
    for label, switches in PECULIARITIES.items()
]
CHANGE_CASES = [change.case for change in CHANGES]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.case.name)
def test_a_change(change: Change, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, CHANGE_CASES).outcomes[change.case.name]
    assert outcome.results[FIRST]["changed_settings"] == change.changed
    writing = DELETE if change.body is None else PATCH
    if change.case.connection == "password":
        assert outcome.verbs(FIRST) == [LOGIN, GET, writing, GET, LOGOUT]
        assert outcome.verbs(CHECK) == outcome.verbs(AGAIN) == [LOGIN, GET, LOGOUT]
    else:
        assert outcome.verbs(FIRST) == [GET, writing, GET]
        assert outcome.verbs(CHECK) == outcome.verbs(AGAIN) == [GET]
    (write,) = outcome.writes(FIRST)
    assert write["body"] == change.body
    assert_prediction(outcome)
    assert_converged(outcome)
    effective = outcome.client.control.effective()
    for name, value in (change.effective or {}).items():
        assert leaf(effective, name) == value, name


@dataclass(frozen=True)
class Rest:
    """A case in which nothing is written."""

    case: Case
    warnings: tuple[str, ...] = ()


def _rest(
    name: str, options: Mapping[str, Any], warnings: tuple[str, ...] = (), connection: str = "token", **case: Any
) -> Rest:
    return Rest(Case(name, options, connection=connection, steps=(CHECK, FIRST), **case), warnings)


RESTS = [
    _rest("absent at the defaults", {"state": "absent"}),
    _rest("replaced at the defaults", {"state": "replaced", "settings": {"log_level": "info"}}),
    _rest("replaced without a wish", {"state": "replaced", "settings": {}}),
    _rest("present without a wish", {"settings": {}}),
    _rest("null leaves alone", {"settings": {"heartbeat_interval": None, "webhooks": {"url": None}}}, stored=AWAY),
    _rest("an empty group leaves alone", {"settings": {"webhooks": {}}}, stored=AWAY),
    _rest("everything as declared", {"settings": AWAY}, stored=AWAY),
    _rest("everything as declared, with a password", {"settings": AWAY}, connection="password", stored=AWAY),
    _rest(
        "an unreported key at its default",
        {"settings": {"skip_referral_media_download": False}},
    ),
    _rest(
        "an unreported key skipped",
        {"settings": {"skip_referral_media_download": True}, "unreported": "skip"},
        ("skip_referral_media_download is not reported by the client and was skipped (unreported: skip)",),
    ),
    _rest(
        "an unknown key, in another type",
        {"extra_settings": {"new_switch": "true", "new_limit": "5"}},
        stored={"new_switch": True, "new_limit": 5},
    ),
]
REST_CASES = [rest.case for rest in RESTS]


@pytest.mark.parametrize("rest", RESTS, ids=lambda rest: rest.case.name)
def test_nothing_to_do(rest: Rest, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, REST_CASES).outcomes[rest.case.name]
    for step in (CHECK, FIRST):
        result = outcome.results[step]
        assert (result["changed"], result["changed_settings"], result["restart_required"]) == (False, [], False)
        assert result["before"] == result["after"]
        assert tuple(result.get("warnings", ())) == rest.warnings
        expected = [LOGIN, GET, LOGOUT] if rest.case.connection == "password" else [GET]
        assert outcome.verbs(step) == expected


UNREPORTED = [
    Case(
        f"an unreported key, {semantics}",
        {"settings": {"axolotl_context_striping_disabled": True, "log_level": "error"}},
        switches={"nested": semantics},
    )
    for semantics in ("merge", "replace")
]


@pytest.mark.parametrize("case", UNREPORTED, ids=str)
def test_an_unreported_key_is_sent_every_time(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, UNREPORTED).outcomes[case.name]
    name = "axolotl_context_striping_disabled"
    assert_prediction(outcome)
    for step in (FIRST, AGAIN):
        result = outcome.results[step]
        assert result["unverified_settings"] == [name]
        assert result["restart_required"] is True
        assert any(name in line for line in result["warnings"])
        assert name not in result["after"]
        assert name in result["diff"]["after"]
        assert outcome.verbs(step) == [GET, PATCH, GET]
    assert outcome.results[FIRST]["changed_settings"] == [name, "log_level"]
    assert outcome.results[AGAIN]["changed_settings"] == [name]
    assert outcome.writes(AGAIN)[0]["body"] == {name: True}
    assert outcome.client.control.effective()[name] is True


INSISTENT = [
    Case(
        "delays only as numbers",
        {"settings": {"callback_backoff_delay_ms": "4500", "log_level": "error"}},
        switches={"delays_on_write": "integer"},
    )
]


def test_a_client_that_insists_on_numbers_gets_them(path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, INSISTENT).outcomes[INSISTENT[0].name]
    assert [(r["status"], r["body"]) for r in outcome.writes(FIRST)] == [
        (400, {"callback_backoff_delay_ms": "4500", "log_level": "error"}),
        (200, {"callback_backoff_delay_ms": 4500, "log_level": "error"}),
    ]
    assert_prediction(outcome)
    assert_converged(outcome)


DROPPED = [
    Case(
        f"dropped {name}",
        {"settings": settings},
        switches={"dropped_keys": [name]},
        steps=(FIRST,),
    )
    for name, settings in {
        "log_level": {"log_level": "error", "heartbeat_interval": 7},
        "webhooks.message.read": {"webhooks": {"message": {"read": False, "sent": False}}},
    }.items()
]


@pytest.mark.parametrize("case", DROPPED, ids=str)
def test_what_the_client_drops_is_an_error(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, DROPPED).outcomes[case.name]
    (dropped,) = case.switches["dropped_keys"]
    result = outcome.results[FIRST]
    assert outcome.failures == 1
    assert result["msg"].endswith(f"afterwards for: {dropped}")
    # The rest was written, and the result says so.
    assert result["changed"] is True
    assert leaf(result["after"], dropped) == leaf(result["before"], dropped)


@pytest.mark.parametrize(
    "cases",
    mostly(
        [*CHANGE_CASES[::5], *REST_CASES[::4], UNREPORTED[0], INSISTENT[0], DROPPED[0]],
        rest=[CHANGE_CASES, REST_CASES, UNREPORTED, INSISTENT, DROPPED],
    ),
    ids=lambda cases: cases[0].name,
)
def test_both_paths_give_the_same_results(cases: list[Case], run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, cases)
