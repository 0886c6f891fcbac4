# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is made of a write whose answer is lost, odd, or late; and what the settings flow tells of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from running_flows import run

from ansible_collections.wabiz.onprem.plugins.module_utils import _run
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_spec,
)

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted

CHANGE: dict[str, Any] = {"settings": {"log_level": "error", "heartbeat_interval": 7}}
LOST: list[dict[str, Any]] = [
    {"action": "reset"},
    {"action": "cut"},
    {"action": "status", "status": 500},
    {"action": "status", "status": 502},
    {"action": "status", "status": 503},
    {"action": "status", "status": 504},
    {"action": "error", "code": 1016, "status": 503},
    {"action": "error", "code": 1014, "status": 500},
    {"action": "error", "code": 1014, "details": "Please check if wacore is running: wacore:6252"},
    {"action": "error", "code": 1016, "status": 200},
    {"action": "html", "status": 200},
    {"action": "html", "status": 502},
    {"action": "status", "status": 408},
]
SUCCESSES: list[dict[str, Any]] = [{"action": "status", "status": status} for status in (201, 202, 204)]


def apply(server: Emulated | Scripted, retries: int = 0, check: bool = False, **params: Any) -> dict[str, Any]:
    task = _run.Run(check_mode=check)
    return run(application_settings, application_settings_spec(), server, task, retries=retries, **params)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    defaults = list(_run.Client.__init__.__defaults__ or ())
    monkeypatch.setattr(_run.Client.__init__, "__defaults__", (defaults[0], lambda _seconds: None, *defaults[2:]))


@pytest.mark.parametrize("fault", [*LOST, *SUCCESSES], ids=str)
@pytest.mark.parametrize("retries", [0, 2])
def test_what_was_taken_over_is_told(emulated: Emulated, fault: dict[str, Any], retries: int) -> None:
    emulated.fault(**fault, method="PATCH", applied=True, times=None)
    result = apply(emulated, retries, **CHANGE)
    assert (result.get("failed"), result["changed"]) == (None, True)
    assert result["changed_settings"] == ["heartbeat_interval", "log_level"]
    assert (result["restart_required"], result["restart_settings"]) == (True, ["log_level"])
    assert emulated.verbs.count("PATCH") == 1
    assert bool(result.get("warnings")) == (fault in LOST)
    assert apply(emulated, **CHANGE)["changed"] is False


@pytest.mark.parametrize("fault", [*LOST, *SUCCESSES], ids=str)
def test_a_reset_that_was_done_is_told(emulated: Emulated, fault: dict[str, Any]) -> None:
    emulated.set({"log_level": "error", "heartbeat_interval": 7})
    emulated.fault(**fault, method="DELETE", applied=True, times=None)
    result = apply(emulated, state="absent")
    assert (result.get("failed"), result["changed"]) == (None, True)
    assert result["changed_settings"] == ["heartbeat_interval", "log_level"]
    assert result["restart_settings"] == ["log_level"]


@pytest.mark.parametrize("fault", [fault for fault in LOST if fault["action"] != "cut"], ids=str)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_was_not_taken_over_is_a_failure_and_no_change(
    emulated: Emulated, fault: dict[str, Any], method: str
) -> None:
    emulated.set({"webhooks": {"max_concurrent_requests": 12}})
    emulated.fault(**fault, method=method, times=None)
    result = apply(emulated, 1, **(CHANGE if method == "PATCH" else {"state": "absent"}))
    assert result["failed"] is True
    assert emulated.effective["log_level"] == "info"
    from_a_proxy = fault.get("status") in (502, 503) and fault["action"] != "error"
    given_up = fault.get("status") in (408, 504) or "wacore" in fault.get("details", "") or fault["action"] == "reset"
    if from_a_proxy or given_up:
        assert (result["changed"], result["outcome_unknown"]) == (True, True)
        assert "may still take effect" in result["msg"]
    else:
        assert (result["changed"], result.get("outcome_unknown")) == (False, None)


@pytest.mark.parametrize("fault", [*LOST, {"action": "status", "status": 429}], ids=str)
@pytest.mark.parametrize("applied", [True, False])
def test_a_retry_looks_first_what_the_last_attempt_did(
    emulated: Emulated, fault: dict[str, Any], applied: bool
) -> None:
    emulated.fault(**fault, method="PATCH", applied=applied)
    result = apply(emulated, 3, **CHANGE)
    if result.get("failed"):  # not a passing fault
        assert fault.get("status") in (500, 200, 408)
        return
    assert result["changed_settings"] == ["heartbeat_interval", "log_level"]
    writes = emulated.verbs.count("PATCH")
    assert writes == (1 if applied or fault["action"] == "cut" or fault.get("status") == 408 else 2)
    assert emulated.verbs[: 1 + 2 * writes + 1] == ["login", *["GET", "PATCH"] * writes, "GET"]


def test_a_retry_puts_back_nobody_elses_change(emulated: Emulated) -> None:
    emulated.switch(nested="replace")
    emulated.fault("status", method="PATCH", status=503)

    class Other(_run.Client):
        """Between the attempts somebody else changes a member of the same group."""

        def pause(self, error: Any, attempt: int) -> None:
            emulated.set({"webhooks": {"url": "https://other.example.com/"}})

    task = _run.Run(connect=Other)
    params: dict[str, Any] = {"retries": 2, "settings": {"webhooks": {"max_concurrent_requests": 12}}}
    result = run(application_settings, application_settings_spec(), emulated, task, **params)
    assert result["changed_settings"] == ["webhooks.max_concurrent_requests"]
    assert emulated.effective["webhooks"]["url"] == "https://other.example.com/"
    assert emulated.effective["webhooks"]["max_concurrent_requests"] == 12


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_needs_no_reading(emulated: Emulated, status: int) -> None:
    emulated.fault("status", method="PATCH", status=status, times=None)
    result = apply(emulated, **CHANGE)
    assert (result["failed"], result["changed"]) == (True, False)
    assert emulated.verbs[-2:] == ["PATCH", "logout"]


def test_a_refusal_after_a_lost_answer_is_read_back(emulated: Emulated) -> None:
    emulated.fault("reset", method="PATCH", applied=True)
    emulated.fault("status", method="GET", skip=1, status=403)
    result = apply(emulated, 2, **CHANGE)
    assert (result["failed"], result["changed"], result["outcome_unknown"]) == (True, True, True)
    assert result["restart_settings"] == ["log_level"]
    assert "it may have been written nevertheless" in result["msg"]


def test_what_is_not_reported_leaves_a_lost_answer_open(emulated: Emulated) -> None:
    emulated.fault("reset", method="PATCH", applied=True, times=None)
    result = apply(emulated, settings={"axolotl_context_striping_disabled": True})
    assert (result["failed"], result["changed"], result["outcome_unknown"]) == (True, True, True)
    assert result["restart_settings"] == ["axolotl_context_striping_disabled"]


def test_whatever_else_goes_wrong_after_a_write_is_told_with_it(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> None:
        raise KeyError("canary-value")

    monkeypatch.setattr("ansible_collections.wabiz.onprem.plugins.module_utils._settings.not_taken_over", broken)
    result = apply(emulated, **CHANGE)
    assert (result["failed"], result["changed"], result["outcome_unknown"]) == (True, True, True)
    assert result["msg"].startswith("unexpected KeyError in _settings, line ")
    assert "please report it: https://" in result["msg"]


# --- what passes for settings ------------------------------------------------------------------------------------

NOBODY = json.dumps({"status": "ok"})


@pytest.mark.parametrize(
    "params",
    [
        CHANGE,
        {"settings": {}, "state": "replaced"},
        {"state": "absent"},
        {"extra_settings": {"other": 1}},
        {"settings": {}},
    ],
    ids=str,
)
@pytest.mark.parametrize("body", [NOBODY, json.dumps({"settings": {"status": "ok"}})])
def test_somebody_who_agrees_to_everything_is_no_client(scripted: Scripted, body: str, params: dict[str, Any]) -> None:
    scripted.answer(200, body)
    result = apply(scripted, **params)
    assert (result["failed"], result["changed"]) == (True, False)
    assert "the answer holds no settings" in result["msg"]


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"settings": {"application": {}}}, {"settings": {"axolotl_context_striping_disabled": False}}),
        ({"webhooks": {"url": ""}}, {"settings": {"webhooks": {"url": ""}}}),
        ({"settings": {"wa_id": ""}}, {"settings": {}}),
        ({"status": "ok"}, {"extra_settings": {"status": "ok"}}),
    ],
)
def test_what_is_a_settings_object(scripted: Scripted, body: Any, params: dict[str, Any]) -> None:
    scripted.answer(200, json.dumps(body))
    assert apply(scripted, **params)["changed"] is False


# --- a reset -----------------------------------------------------------------------------------------------------


def test_a_reset_settles_on_a_client_with_other_defaults(emulated: Emulated) -> None:
    emulated.switch(default_overrides={"heartbeat_interval": 7})
    predicted = apply(emulated, check=True, state="absent")
    result = apply(emulated, state="absent")
    assert predicted["changed"] is True
    assert (result["changed"], result["changed_settings"], result["restart_required"]) == (False, [], False)
    assert result["before"] == result["after"]
    assert "reports other values than the documented defaults for: heartbeat_interval" in result["warnings"][0]
    assert "what the reset makes of notify_user_change_number" in predicted["warnings"][0]


# --- words that are due ------------------------------------------------------------------------------------------


def test_names_in_restart_bound_that_nobody_knows(emulated: Emulated) -> None:
    emulated.switch(unknown_keys="keep")
    bound = ["loglevel", "webhooks", "new.key", "other.key"]
    result = apply(emulated, settings={}, extra_settings={"new": {"key": 1}}, restart_bound=bound)
    assert [warning for warning in result["warnings"] if warning.startswith("restart_bound")] == [
        "restart_bound: loglevel is neither a known nor a declared setting; did you mean log_level?",
        "restart_bound: other.key is neither a known nor a declared setting",
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"extra_settings": {"new": float("nan")}}, "new: nan is not a number that JSON can hold"),
        ({"extra_settings": {"new": [{"x": float("-inf")}]}}, "new.x: -inf is not a number"),
        ({"settings": {"webhooks": {"url": "https://h/?********"}}}, "webhooks.url: is masked, as results show it"),
        ({"extra_settings": {"new": {"list": ["https://********@h/"]}}}, "new.list: is masked"),
        ({"extra_settings": {"new_token": "********"}}, "new_token: is masked"),
        ({"settings": {"heartbeat_interval": 2**31}}, "heartbeat_interval: expected a positive whole number up to"),
        ({"settings": {"webhooks": {"url": "https://h/\x01x"}}}, "webhooks.url: is not a usable"),
        ({"settings": {"webhooks": {"url": "https://h/\x1b[31m"}}}, "webhooks.url: is not a usable"),
        ({"settings": {"webhooks": {"uri": "https://h/"}}}, "settings.webhooks: unsupported parameters: uri"),
        ({"settings": {"webhooks": {"message.read": True}}}, "settings.webhooks: unsupported parameters"),
        ({"client_version": "1." + "9" * 5000, "settings": {}}, "client_version: must be a client version"),
    ],
)
def test_what_cannot_be_meant(emulated: Emulated, params: dict[str, Any], message: str) -> None:
    result = apply(emulated, **params)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith(message)
    assert emulated.verbs == []


@pytest.mark.parametrize("reported", [7.0, "7", 7])
def test_other_numbers_for_the_same_value(scripted: Scripted, reported: Any) -> None:
    scripted.answer(200, json.dumps({"settings": {"application": {"heartbeat_interval": reported, "new": 5.0}}}))
    result = apply(scripted, settings={"heartbeat_interval": 7}, extra_settings={"new": 5})
    assert (result["changed"], result["before"]["heartbeat_interval"]) == (False, 7)


def test_lone_surrogates_of_a_server_do_no_harm(scripted: Scripted) -> None:
    body = '{"settings": {"application": {"log_level": "info", "new": "\\ud800x", "new\\udfff": 1}}}'
    scripted.answer(200, body)
    result = apply(scripted, settings={"log_level": "info"})
    assert (result["before"]["new"], result["changed"]) == ("\ufffdx", False)
    json.dumps(result, ensure_ascii=False).encode()
