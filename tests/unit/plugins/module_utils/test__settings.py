# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from running_flows import run

from ansible_collections.wabiz.onprem.plugins.module_utils import _run
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import AlreadySent
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_info,
    application_settings_info_spec,
    application_settings_spec,
)

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted

URL = "https://me:canary-user@h.example.com/wa?auth=canary-auth"
ALL_REPORTED = {"report_all": True}
CHANGES: list[dict[str, Any]] = [
    {"settings": {"log_level": "error", "callback_backoff_delay_ms": "4000"}},
    {"settings": {"webhooks": {"url": URL, "message": {"read": False}}}},
    {"settings": {"media": {"auto_download": ["voice", "audio"]}, "garbagecollector_enable": {"media": True}}},
    {"settings": {"heartbeat_interval": 9}, "state": "replaced"},
    {"settings": {}, "state": "replaced"},
    {"extra_settings": {"new_key": {"deep": 1}, "webhooks": {"new_member": True}}},
    {"state": "absent"},
]


def apply(
    server: Emulated | Scripted,
    check: bool = False,
    diff: bool = False,
    hold: bool = False,
    already_sent: AlreadySent | None = None,
    **params: Any,
) -> dict[str, Any]:
    more = {} if already_sent is None else {"already_sent": already_sent}
    flow = partial(application_settings, hold_restart_bound=hold, **more)
    return run(flow, application_settings_spec(), server, _run.Run(check_mode=check, diff_mode=diff), **params)


# --- wa_application_settings -------------------------------------------------------------------------------------


def test_a_change_is_written_and_read_back_and_the_second_run_rests(emulated: Emulated) -> None:
    params: dict[str, Any] = {"settings": {"log_level": "error", "webhooks": {"url": URL}}}
    result = apply(emulated, diff=True, **params)
    assert result["changed"] is True
    assert result["changed_settings"] == ["log_level", "webhooks.url"]
    assert (result["restart_required"], result["restart_settings"]) == (True, ["log_level"])
    assert result["unverified_settings"] == []
    assert result["client_version"] == "2.57.2"
    assert (result["before"]["log_level"], result["after"]["log_level"]) == ("info", "error")
    assert result["after"]["webhooks"]["url"] == "https://********@h.example.com/wa?********"
    assert result["diff"]["after"]["log_level"] == "error"
    assert emulated.effective["webhooks"]["url"] == URL
    assert emulated.verbs == ["login", "GET", "PATCH", "GET", "logout"]
    again = apply(emulated, diff=True, **params)
    assert (again["changed"], again["changed_settings"], again["restart_required"]) == (False, [], False)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert emulated.verbs[5:] == ["login", "GET", "logout"]


def test_what_looks_like_a_part_of_a_secret_stays_readable_elsewhere(emulated: Emulated) -> None:
    url = "https://h.example.com/wa?tenant=9000&kind=webhooks"
    result = apply(emulated, diff=True, settings={"webhooks": {"url": url}})
    assert result["changed_settings"] == ["webhooks.url"]
    assert result["after"]["max_callback_backoff_delay_ms"] == 900000
    assert result["after"]["webhooks"]["url"] == "https://h.example.com/wa?********"


@pytest.mark.parametrize("nested", ["merge", "replace"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("params", CHANGES)
def test_check_mode_predicts_what_the_real_run_does(
    emulated: Emulated, nested: str, flat: bool, params: dict[str, Any]
) -> None:
    emulated.switch(nested=nested, flat_get=flat, unknown_keys="keep", report_all=True)
    stored = {"unhealthy_interval": 99, "webhooks": {"url": "https://old.example.com/?canary", "new_member": False}}
    emulated.set({**stored, "new_key": {"deep": 0, "deeper": 2}})
    predicted = apply(emulated, check=True, diff=True, **params)
    assert emulated.verbs == ["login", "GET", "logout"]
    real = apply(emulated, diff=True, **params)
    assert real["changed"] is True
    if params.get("state") == "absent":
        # What becomes of keys that nobody knows is the client's affair.
        for result in (predicted, real):
            for shown in (result["after"], result["diff"]["after"]):
                shown.pop("new_key", None)
                shown["webhooks"].pop("new_member", None)
            names = result["changed_settings"]
            result["changed_settings"] = [name for name in names if "new_" not in name]
        assert "notify_user_change_number" in predicted.pop("warnings")[0]
    assert predicted == real
    assert apply(emulated, **params)["changed"] is False


@pytest.mark.parametrize("name", KEYS)
def test_every_key_on_the_wire(emulated: Emulated, name: str) -> None:
    emulated.switch(report_all=True, client_version="2.34.9" if name == "pass_through" else "2.57.2")
    value: Any = {"webhooks.url": URL, "media.auto_download": ["video"], "log_level": "fatal"}.get(name)
    if value is None:
        current: Any = emulated.effective
        for part in name.split("."):
            current = current[part]
        value = 24 if KEYS[name].choices else not current if isinstance(current, bool) else 77
    settings: dict[str, Any] = {}
    level = settings
    *groups, leaf = name.split(".")
    for group in groups:
        level = level.setdefault(group, {})
    level[leaf] = value
    result = apply(emulated, settings=settings)
    assert (result["changed"], result["changed_settings"]) == (True, [name])
    assert result["restart_settings"] == ([name] if KEYS[name].restart_bound else [])
    in_force: Any = emulated.effective
    for part in name.split("."):
        in_force = in_force[part]
    assert in_force == value
    assert len(emulated.bodies) == 1
    assert list(emulated.bodies[0]) == [name.split(".", maxsplit=1)[0]]
    assert apply(emulated, settings=settings)["changed"] is False
    assert len(emulated.bodies) == 1


def test_what_the_client_drops_is_an_error_that_names_it(emulated: Emulated) -> None:
    emulated.switch(dropped_keys=["log_level", "webhooks.url"])
    result = apply(emulated, settings={"log_level": "error", "heartbeat_interval": 7, "webhooks": {"url": URL}})
    assert result["failed"] is True
    assert result["msg"].endswith("reports other values afterwards for: log_level, webhooks.url")
    assert result["changed"] is True
    assert (result["after"]["heartbeat_interval"], result["after"]["log_level"]) == (7, "info")


def test_what_the_client_does_not_report_is_sent_and_named(emulated: Emulated) -> None:
    params: dict[str, Any] = {"settings": {"skip_referral_media_download": True, "log_level": "error"}}
    result = apply(emulated, diff=True, **params)
    assert result["changed_settings"] == ["log_level", "skip_referral_media_download"]
    assert result["unverified_settings"] == ["skip_referral_media_download"]
    assert result["diff"]["before"]["skip_referral_media_download"] == "(not reported by the client)"
    assert result["diff"]["after"]["skip_referral_media_download"] is True
    assert "skip_referral_media_download" not in result["after"]
    assert any("is sent without knowing" in warning for warning in result["warnings"])
    assert apply(emulated, **params)["changed"] is True
    skipped = apply(emulated, unreported="skip", **params)
    assert (skipped["changed"], skipped["unverified_settings"]) == (False, [])
    assert any("was skipped" in warning for warning in skipped["warnings"])
    assert apply(emulated, settings={"skip_referral_media_download": False})["changed"] is False


@pytest.mark.parametrize(
    ("accepted", "bodies"),
    [
        ("both", [{"callback_backoff_delay_ms": "4000"}]),
        ("string", [{"callback_backoff_delay_ms": "4000"}]),
        ("integer", [{"callback_backoff_delay_ms": "4000"}, {"callback_backoff_delay_ms": 4000}]),
    ],
)
@pytest.mark.parametrize("reported", ["integer", "string"])
def test_delays_in_the_form_that_the_client_takes(
    emulated: Emulated, accepted: str, reported: str, bodies: list[Any]
) -> None:
    emulated.switch(delays_on_write=accepted, delays_in_get=reported)
    result = apply(emulated, settings={"callback_backoff_delay_ms": "4000"})
    assert emulated.bodies == bodies
    assert (result["before"]["callback_backoff_delay_ms"], result["after"]["callback_backoff_delay_ms"]) == (3000, 4000)
    assert apply(emulated, settings={"callback_backoff_delay_ms": 4000})["changed"] is False


def test_a_value_that_the_client_refuses_is_not_sent_in_another_form(emulated: Emulated) -> None:
    emulated.fault("error", method="PATCH", code=1009, status=400, details="no such level", times=None)
    result = apply(emulated, settings={"log_level": "error"})
    assert result["failed"] is True
    assert "error 1009: Parameter value is not valid: no such level" in result["msg"]
    assert emulated.verbs == ["login", "GET", "PATCH", "logout"]


def test_a_write_that_cannot_be_read_back_says_so(emulated: Emulated) -> None:
    emulated.fault("status", method="GET", status=500, skip=1, times=None)
    result = apply(emulated, settings={"log_level": "error"})
    assert (result["failed"], result["changed"]) == (True, True)
    assert result["msg"].startswith("written, but not read back: GET ")
    assert result["restart_settings"] == ["log_level"]
    assert emulated.verbs == ["login", "GET", "PATCH", "GET", "logout"]


@pytest.mark.parametrize("kind", ["null", "object", "empty", "meta"])
def test_every_answer_to_a_write_will_do(emulated: Emulated, kind: str) -> None:
    emulated.switch(write_answer=kind)
    assert apply(emulated, settings={"log_level": "error"})["after"]["log_level"] == "error"
    assert apply(emulated, state="absent")["after"]["log_level"] == "info"
    assert "DELETE" in emulated.verbs
    assert apply(emulated, state="absent")["changed"] is False


def test_a_client_with_other_defaults_than_documented(emulated: Emulated) -> None:
    emulated.switch(default_overrides={"heartbeat_interval": 7})
    emulated.set({"log_level": "error"})
    result = apply(emulated, state="absent")
    assert (result["changed"], result["changed_settings"]) == (True, ["log_level"])
    assert result["after"]["heartbeat_interval"] == 7
    assert [warning.rpartition(": ")[2] for warning in result["warnings"]] == ["heartbeat_interval"]


def test_a_restart_bound_change_can_be_held(emulated: Emulated) -> None:
    held = apply(emulated, hold=True, settings={"log_level": "error", "heartbeat_interval": 7})
    assert (held["held"], held["changed"], held["restart_settings"]) == (True, True, ["log_level"])
    assert held["health"] == {
        "changed": False,
        "nodes": [{"name": None, "role": "coreapp", "gateway_status": "connected"}],
        "connected_coreapps": 1,
        "clustered": False,
        "shards": None,
        "healthy": True,
    }
    assert [path for _method, path, _status in emulated.requests] == [
        "/users/login",
        "/settings/application",
        "/health",
        "/users/logout",
    ]
    written = apply(emulated, hold=True, settings={"heartbeat_interval": 7})
    assert not {"held", "health"} & set(written)
    assert emulated.effective["heartbeat_interval"] == 7
    assert "held" not in apply(emulated, hold=True, settings={"heartbeat_interval": 7})


def test_held_without_health_where_it_cannot_be_read(emulated: Emulated) -> None:
    emulated.fault("status", path="/v1/health", status=403, times=None)
    held = apply(emulated, hold=True, settings={"log_level": "error"})
    assert (held["held"], held["health"], held.get("failed")) == (True, None, None)


def test_what_the_caller_remembers_of_unreported_settings(emulated: Emulated) -> None:
    params = {"settings": {"axolotl_context_striping_disabled": True, "skip_referral_media_download": True}}
    asked: list[tuple[str, Any, str | None]] = []

    def remembered(name: str, value: Any, version: str | None) -> bool | None:
        asked.append((name, value, version))
        return True

    result = apply(emulated, already_sent=remembered, **params)
    assert asked == [("axolotl_context_striping_disabled", True, "2.57.2")]
    assert result["changed_settings"] == result["unverified_settings"] == ["skip_referral_media_download"]
    assert (result["restart_required"], emulated.bodies) == (False, [{"skip_referral_media_download": True}])
    again = apply(emulated, already_sent=lambda *_value: False, **params)
    assert again["restart_settings"] == ["axolotl_context_striping_disabled"]
    # What was sent last was another value: then the documented default is no reason not to send.
    default = {"settings": {"axolotl_context_striping_disabled": False}}
    assert apply(emulated, already_sent=lambda *_value: None, **default)["changed"] is False
    assert apply(emulated, already_sent=lambda *_value: False, **default)["changed"] is True
    emulated.switch(report_all=True)
    assert apply(emulated, already_sent=lambda *_value: True, settings={"log_level": "error"})["changed"] is True


@pytest.mark.parametrize(
    ("params", "switches", "message"),
    [
        ({}, {}, "state present needs settings or extra_settings"),
        ({"state": "replaced"}, {}, "state replaced needs settings or extra_settings"),
        ({"state": "absent", "settings": {"log_level": "info"}}, {}, "state absent resets everything"),
        ({"state": "absent", "extra_settings": {"new": 1}}, {}, "state absent resets everything"),
        ({"settings": {}, "client_version": "newest"}, {}, "client_version: must be a client version such as"),
        ({"settings": {"heartbeat_interval": 0}}, {}, "heartbeat_interval: expected a positive whole number"),
        ({"settings": {"webhooks": {"url": "http://h/?canary"}}}, {}, "webhooks.url: must begin with https://"),
        ({"extra_settings": {"wa_id": "4930"}}, {}, "wa_id: is read-only"),
        (
            {"settings": {"log_level": "error"}},
            {"client_version": "2.51.0"},
            "log_level: needs client version 2.51.1 or newer, this client is 2.51.0",
        ),
        (
            {"settings": {"log_level": "error"}, "client_version": "2.50.3"},
            {"meta": "placeholder"},
            "log_level: needs client version 2.51.1 or newer, this client is 2.50.3",
        ),
        ({"settings": {"pass_through": True}}, {}, "pass_through: cannot be set to true from client version 2.35 on"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    emulated: Emulated, params: dict[str, Any], switches: dict[str, Any], message: str
) -> None:
    emulated.switch(**switches)
    result = apply(emulated, **params)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith(message)
    assert result["msg"].isprintable()
    assert not {"PATCH", "DELETE"} & set(emulated.verbs)


@pytest.mark.parametrize(
    ("meta", "option", "version"),
    [
        ("version", None, "2.57.2"),
        ("bare", "2.1.1", "2.57.2"),
        ("placeholder", None, None),
        ("placeholder", "v2.55.1", "2.55.1"),
        ("unversioned", None, None),
        ("none", "2.55", "2.55"),
    ],
)
def test_the_version_of_the_client(emulated: Emulated, meta: str, option: str | None, version: str | None) -> None:
    emulated.switch(meta=meta)
    result = apply(emulated, settings={"log_level": "error"}, client_version=option)
    assert (result["changed"], result["client_version"]) == (True, version)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"meta": {"version": "v2.1.1"}}',
        '{"settings": null}',
        '{"settings": {"application": []}}',
    ],
)
def test_an_answer_without_settings(scripted: Scripted, body: str) -> None:
    scripted.answer(200, body)
    result = apply(scripted, settings={"log_level": "error"})
    assert (result["failed"], result["changed"]) == (True, False)
    where = f"GET {scripted.connection.api_url}/v1/settings/application: "
    assert result["msg"].startswith(f"{where}the answer holds no settings; is api_url the address")
    assert [request.method for request in scripted.requests] == ["GET"]


def test_a_key_that_was_not_named_may_have_any_shape(scripted: Scripted) -> None:
    strange: dict[str, Any] = {
        "log_level": 5,
        "webhooks": None,
        "media": [],
        "callback_persist": {"a": {}},
        "heartbeat_interval": "5",
    }
    scripted.answer(200, json.dumps({"settings": {"application": strange}}))
    result = apply(scripted, settings={"heartbeat_interval": 5})
    assert result["changed"] is False
    assert result["before"] == {**strange, "heartbeat_interval": 5}


# --- wa_application_settings_info --------------------------------------------------------------------------------


def test_info(emulated: Emulated) -> None:
    emulated.set({"webhooks": {"url": URL, "max_concurrent_requests": 24}, "notify_user_change_number": True})
    result = run(application_settings_info, application_settings_info_spec(), emulated, _run.Run())
    assert result["changed"] is False
    assert result["settings"]["webhooks"]["url"] == "https://********@h.example.com/wa?********"
    assert result["non_default_settings"] == {"webhooks.max_concurrent_requests": 24}
    assert (result["client_version"], result["api_status"]) == ("2.57.2", "stable")
    assert emulated.verbs == ["login", "GET", "logout"]
