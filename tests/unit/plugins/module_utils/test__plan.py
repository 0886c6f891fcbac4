# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _plan
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, Kind
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions

Settings = dict[str, Any]

# The shape of Meta's own GET sample: nested, integers for delays, some keys not reported.
CURRENT: Settings = {
    "callback_backoff_delay_ms": 3000,
    "callback_persist": True,
    "heartbeat_interval": 5,
    "media": {"auto_download": ["image", "audio", "document"]},
    "webhooks": {
        "url": "https://hooks.example.com/wa?auth=canary-secret",
        "max_concurrent_requests": 6,
        "message": {"sent": True, "delivered": True, "read": False},
    },
    "garbagecollector_enable": {"messages": True, "media": False},
    "log_level": "info",
    "wa_id": "49301234567",
}
OTHER_VALUES: dict[str, Any] = {
    "callback_backoff_delay_ms": 5000,
    "max_callback_backoff_delay_ms": 60000,
    "heartbeat_interval": 9,
    "unhealthy_interval": 44,
    "media.auto_download": ["video"],
    "webhooks.url": "https://other.example.com/",
    "webhooks.max_concurrent_requests": 24,
    "log_level": "fatal",
    "notify_user_change_number": True,
    "sent_status": True,
}


def nested(name: str, value: Any) -> Settings:
    settings: Settings = {}
    _plan.place(settings, tuple(name.split(".")), value)
    return settings


def planned(current: Settings, wanted: Settings, extra: Settings | None = None, **options: Any) -> _plan.Plan:
    return _plan.plan(current, _plan.read_declaration(wanted, extra), **options)


def other_value(name: str) -> Any:
    return OTHER_VALUES[name] if name in OTHER_VALUES else not KEYS[name].default


# --- one value ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reported", "wanted"),
    [
        ("callback_backoff_delay_ms", 3000, "3000"),
        ("callback_backoff_delay_ms", "3000", 3000),
        ("callback_backoff_delay_ms", "03000", 3000),
        ("heartbeat_interval", "5", 5),
        ("callback_persist", "True", True),
        ("callback_persist", "false", False),
        ("media.auto_download", ["voice", "audio"], ["audio", "voice", "audio"]),
        ("media.auto_download", [], []),
        ("webhooks.url", None, ""),
        ("log_level", "info", "info"),
    ],
)
def test_what_means_the_same_is_no_change(name: str, reported: Any, wanted: Any) -> None:
    assert not planned(nested(name, reported), nested(name, wanted)).writes


@pytest.mark.parametrize(
    ("name", "reported", "wanted"),
    [
        ("callback_backoff_delay_ms", 3000, 3001),
        ("callback_backoff_delay_ms", True, 1),
        ("callback_persist", 1, True),
        ("callback_persist", None, False),
        ("callback_persist", "", False),
        ("heartbeat_interval", "five", 5),
        ("media.auto_download", ["audio"], []),
        ("media.auto_download", "audio", ["audio"]),
        ("webhooks.url", "https://h.example.com/A", "https://h.example.com/a"),
        ("webhooks.url", "https://h.example.com/a", ""),
        ("log_level", "INFO", "info"),
    ],
)
def test_what_differs_is_a_change(name: str, reported: Any, wanted: Any) -> None:
    plan = planned(nested(name, reported), nested(name, wanted))
    assert plan.changed == (name,)
    assert _plan.lookup(plan.after, tuple(name.split("."))) == wanted


@pytest.mark.parametrize("name", KEYS)
def test_every_key_can_be_changed_and_is_then_at_rest(name: str) -> None:
    key, value, path = KEYS[name], other_value(name), tuple(name.split("."))
    old = nested(name, key.default)
    plan = planned(old, nested(name, value))
    assert (plan.changed, plan.restart) == ((name,), (name,) if key.restart_bound else ())
    assert _plan.lookup(plan.patch, path) == (str(value) if key.kind is Kind.MILLISECONDS else value)
    assert plan.after == nested(name, value)
    assert not planned(plan.after, nested(name, value)).writes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callback_persist", "yes"),
        ("callback_persist", 1),
        ("callback_backoff_delay_ms", 0),
        ("callback_backoff_delay_ms", -1),
        ("callback_backoff_delay_ms", "-1"),
        ("callback_backoff_delay_ms", 3.5),
        ("callback_backoff_delay_ms", "3.5"),
        ("callback_backoff_delay_ms", True),
        ("heartbeat_interval", "soon"),
        ("heartbeat_interval", ""),
        ("media.auto_download", ["audio", "gif"]),
        ("media.auto_download", "audio"),
        ("webhooks.max_concurrent_requests", 7),
        ("webhooks.url", 5),
        ("webhooks.url", "http://hooks.example.com/?auth=canary"),
        ("webhooks.url", "hooks.example.com/?auth=canary"),
        ("webhooks.url", "https://?auth=canary"),
        ("webhooks.url", "https://hooks.example.com:port/?auth=canary"),
        ("webhooks.url", "https://hooks.example.com:0/?auth=canary"),
        ("webhooks.url", "https://hooks.example.com:99999/?auth=canary"),
        ("webhooks.url", "https://hooks.example.com/?auth=canary two"),
        ("webhooks.url", "https://hooks.example.com/\n?auth=canary"),
        ("webhooks.url", "https://[::1/?auth=canary"),
        ("webhooks.url", " https://hooks.example.com/?auth=canary"),
        ("log_level", "INFO"),
        ("log_level", 3),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name_and_without_secrets(name: str, value: Any) -> None:
    with pytest.raises(InvalidOptions, match=f"^{name}: ") as refusal:
        _plan.read_declaration(nested(name, value), None)
    assert "canary" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://h.example.com",
        "HTTPS://h.example.com:8443/p",
        "https://u:p@h.example.com/?a=1#f",
        "https://[::1]:1/",
    ],
)
def test_addresses_that_a_webhook_may_have(url: str) -> None:
    assert _plan.read_declaration(nested("webhooks.url", url), None).known == {("webhooks", "url"): url}


# --- the declaration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "extra", "message"),
    [
        ({"new_key": 1}, None, "new_key: unknown setting.*extra_settings"),
        ({"webhooks": {"new_key": 1}}, None, "webhooks.new_key: unknown setting"),
        ({"webhooks": 5}, None, "webhooks: unknown setting"),
        ({"wa_id": "4930"}, None, "wa_id: is read-only"),
        (None, {"wa_id": "4930"}, "wa_id: is read-only"),
        (None, {"wa_id": {"below": 1}}, "wa_id.below: is read-only"),
        (None, {"log_level": "info"}, "log_level: is a documented setting"),
        (None, {"log_level": {"below": 1}}, "log_level: is a documented setting"),
        (None, {"webhooks": {"url": "https://h"}}, "webhooks.url: is a documented setting"),
        (None, {"webhooks": 5}, "webhooks: is a documented setting"),
        (None, {"since": datetime.date(2025, 1, 1)}, "since: a date cannot be written as JSON"),
        (None, {"below": {"list": [datetime.date(2025, 1, 1)]}}, "below.list: a date cannot be written as JSON"),
    ],
)
def test_declarations_that_are_refused(settings: Settings | None, extra: Settings | None, message: str) -> None:
    with pytest.raises(InvalidOptions, match=message):
        _plan.read_declaration(settings, extra)


@pytest.mark.parametrize("settings", [None, {}, {"webhooks": None}, {"webhooks": {}}, {"webhooks": {"message": {}}}])
def test_what_is_null_or_empty_is_not_named(settings: Settings | None) -> None:
    assert _plan.read_declaration(settings, None).leaves() == {}
    assert _plan.read_declaration(None, {"webhooks": {}}).leaves() == {}
    assert not planned(CURRENT, settings or {}).writes


def test_null_inside_a_group_is_not_named_but_null_in_extra_settings_is() -> None:
    declaration = _plan.read_declaration(
        {"webhooks": {"url": None, "message": {"sent": False}}}, {"new": {"key": None}}
    )
    assert declaration.known == {("webhooks", "message", "sent"): False}
    assert declaration.extra == {("new", "key"): None}


# --- present -----------------------------------------------------------------------------------------------------


def test_the_patch_holds_complete_nested_objects_of_the_changed_keys_and_nothing_else() -> None:
    plan = planned(
        CURRENT, {"webhooks": {"message": {"read": True}}, "callback_backoff_delay_ms": 4000, "log_level": "info"}
    )
    assert plan.patch == {
        "webhooks": {
            "url": "https://hooks.example.com/wa?auth=canary-secret",
            "max_concurrent_requests": 6,
            "message": {"sent": True, "delivered": True, "read": True},
        },
        "callback_backoff_delay_ms": "4000",
    }
    assert plan.changed == ("callback_backoff_delay_ms", "webhooks.message.read")
    assert (plan.delete, plan.restart, plan.unverified, plan.warnings) == (False, (), (), ())


def test_planning_leaves_what_it_was_given_alone() -> None:
    current = {"webhooks": {"url": "", "message": {"sent": True}}, "new": {"list": [1]}}
    plan = planned(current, {"webhooks": {"message": {"sent": False}}}, {"new": {"list": [2]}})
    plan.patch["webhooks"]["message"]["read"] = 1
    plan.after["new"]["list"].append(3)
    assert current == {"webhooks": {"url": "", "message": {"sent": True}}, "new": {"list": [1]}}


def test_delays_go_out_as_strings_or_on_request_as_integers() -> None:
    plan = planned(CURRENT, {"callback_backoff_delay_ms": 4000})
    assert plan.patch == {"callback_backoff_delay_ms": "4000"}
    assert _plan.build_patch(CURRENT, plan.sent, delays_as_strings=False) == {"callback_backoff_delay_ms": 4000}


@pytest.mark.parametrize(
    ("reported", "wanted", "changed"),
    [
        ({"new": "5"}, {"new": 5}, ()),
        ({"new": True}, {"new": "true"}, ()),
        ({"new": {"a": 1, "b": 2}}, {"new": {"a": 1}}, ()),
        ({"new": {"a": 1}}, {"new": {}}, ()),
        ({"new": ["a", "b"]}, {"new": ["b", "a"]}, ("new",)),
        ({"new": {"a": 1, "b": 2}}, {"new": {"a": 3}}, ("new.a",)),
        ({"new": None}, {"new": "None"}, ("new",)),
        ({"new": 5}, {"new": {}}, ("new",)),
        ({"webhooks": {"new": 1, "url": ""}}, {"webhooks": {"new": 2}}, ("webhooks.new",)),
    ],
)
def test_extra_settings_are_merged_deep(reported: Settings, wanted: Settings, changed: tuple[str, ...]) -> None:
    plan = planned(reported, {}, wanted)
    assert plan.changed == changed
    for name, value in reported.items():
        if isinstance(value, dict) and changed:
            assert set(plan.patch[name]) == set(value)


def test_restart_bound_takes_names_of_settings_and_of_groups() -> None:
    wanted: Settings = {"webhooks": {"max_concurrent_requests": 12, "url": ""}, "log_level": "error"}
    wanted["garbagecollector_enable"] = {"media": True}
    all_names = ("garbagecollector_enable.media", "log_level", "webhooks.max_concurrent_requests")
    assert planned(CURRENT, wanted).restart == all_names
    assert planned(CURRENT, wanted, restart_bound=[]).restart == ()
    assert planned(CURRENT, wanted, restart_bound=["webhooks"]).restart == (
        "webhooks.max_concurrent_requests",
        "webhooks.url",
    )
    assert planned({"new": {"key": 1}}, {}, {"new": {"key": 2}}, restart_bound=["new"]).restart == ("new.key",)


# --- what the client does not report -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "extra", "unreported", "sent"),
    [
        ({"skip_referral_media_download": True}, {}, "send", True),
        ({"skip_referral_media_download": False}, {}, "send", False),
        ({"db_garbagecollector_enable": True}, {}, "send", False),
        ({"db_garbagecollector_enable": False}, {}, "send", True),
        ({"sent_status": True}, {}, "send", True),
        ({"sent_status": False}, {}, "send", True),
        ({"unhealthy_interval": 30}, {}, "send", False),
        ({}, {"new_key": 1}, "send", True),
        ({}, {"new_key": {}}, "send", False),
        ({"skip_referral_media_download": True}, {}, "skip", False),
        ({"skip_referral_media_download": False}, {}, "skip", False),
        ({}, {"new_key": 1}, "skip", False),
    ],
)
def test_a_wanted_key_that_is_not_reported(wanted: Settings, extra: Settings, unreported: str, sent: bool) -> None:
    (name,) = [*wanted, *extra]
    plan = planned(CURRENT, wanted, extra, unreported=unreported)
    assert plan.writes == sent
    assert plan.unverified == plan.changed == ((name,) if sent else ())
    assert plan.after == plan.before
    about = [warning for warning in plan.warnings if "is not reported by the client" in warning]
    assert len(about) == (sent or unreported == "skip")
    assert all(warning.startswith(name) for warning in about)


def test_an_unreported_key_goes_out_with_what_is_reported_of_its_group() -> None:
    plan = planned({"webhooks": {"url": "https://h.example.com"}}, {"webhooks": {"max_concurrent_requests": 12}})
    assert plan.patch == {"webhooks": {"url": "https://h.example.com", "max_concurrent_requests": 12}}
    assert plan.restart == plan.unverified == ("webhooks.max_concurrent_requests",)


# --- versions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v2.49.1", (2, 49, 1)),
        ("2.49.1", (2, 49, 1)),
        (" v2.53 ", (2, 53)),
        ("2.57.2.1", (2, 57, 2, 1)),
        ("v3.0.1", None),
        ("3.0.0", None),
        ("3.1.0", (3, 1, 0)),
        ("2", None),
        ("latest", None),
        ("v2.49.1-beta", None),
        ("", None),
        (None, None),
    ],
)
def test_versions(text: str | None, version: tuple[int, ...] | None) -> None:
    assert _plan.parse_version(text) == version
    if version is not None:
        assert _plan.parse_version(_plan.show_version(version)) == version


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if key.since])
def test_a_key_is_refused_before_the_version_that_brought_it_and_only_then(name: str) -> None:
    since = KEYS[name].since
    assert since is not None
    wanted = nested(name, other_value(name))
    before = (*since[:-1], since[-1] - 1)
    found, needed = _plan.show_version(before), _plan.show_version(since)
    with pytest.raises(
        InvalidOptions, match=f"^{name}: needs client version {needed} or newer, this client is {found}$"
    ):
        planned({}, wanted, version=before)
    for version in (since, (*since, 1), (99,), None):
        assert planned({}, wanted, version=version).writes


@pytest.mark.parametrize(
    ("name", "version", "warning"),
    [
        ("db_garbagecollector_enable", (2, 48, 9), None),
        (
            "db_garbagecollector_enable",
            (2, 49),
            "since client version 2.49; use garbagecollector_enable.messages instead",
        ),
        ("db_garbagecollector_enable", None, "since client version 2.49; use garbagecollector_enable.messages instead"),
        ("sent_status", (2, 1), "is deprecated; use webhooks.message.sent instead"),
        ("webhook_payload_conversation_pricingmodel_disabled", (2, 38), None),
        (
            "webhook_payload_conversation_pricingmodel_disabled",
            (2, 39, 1),
            "since client version 2.39; it has no successor",
        ),
    ],
)
def test_a_deprecated_key_works_with_a_warning(name: str, version: tuple[int, ...] | None, warning: str | None) -> None:
    plan = planned({name: False}, {name: True}, version=version)
    assert plan.patch == {name: True}
    assert [warning in text for text in plan.warnings] == ([True] if warning else [])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("current", "wanted", "version", "refused"),
    [
        (False, True, (2, 35), True),
        (False, True, (2, 57, 2), True),
        (False, True, (2, 34, 9), False),
        (False, True, None, False),
        (True, True, (2, 57, 2), False),
        (True, False, (2, 57, 2), False),
    ],
)
def test_pass_through_cannot_be_switched_on_again(
    current: bool, wanted: bool, version: tuple[int, ...] | None, refused: bool
) -> None:
    def make() -> _plan.Plan:
        return planned({"pass_through": current}, {"pass_through": wanted}, version=version)

    if refused:
        with pytest.raises(InvalidOptions, match=r"^pass_through: cannot be set to true from client version 2\.35 on"):
            make()
    else:
        assert make().changed == (("pass_through",) if current != wanted else ())


# --- replaced and absent -----------------------------------------------------------------------------------------


def test_replaced_restores_certain_defaults_and_leaves_the_rest_alone() -> None:
    current = {
        "callback_persist": False,
        "heartbeat_interval": 60,
        "log_level": "error",
        "webhooks": {"url": "https://h.example.com", "max_concurrent_requests": 24, "message": {"read": False}},
        "media": {"auto_download": []},
        "notify_user_change_number": True,
        "sent_status": True,
        "db_garbagecollector_enable": False,
        "webhook_payload_conversation_pricingmodel_disabled": True,
        "new_key": 1,
        "wa_id": "4930",
    }
    plan = planned(current, {"log_level": "warning"}, state="replaced", version=(2, 57, 2))
    assert plan.patch == {
        "callback_persist": True,
        "heartbeat_interval": 5,
        "log_level": "warning",
        "webhooks": {"url": "https://h.example.com", "max_concurrent_requests": 6, "message": {"read": True}},
    }
    assert not plan.warnings


def test_replaced_does_not_touch_what_the_version_does_not_know() -> None:
    current = {"log_level": "error", "webhooks": {"message": {"sent": False}}, "heartbeat_interval": 6}
    assert planned(current, {}, state="replaced", version=(2, 41, 1)).changed == ("heartbeat_interval",)


@pytest.mark.parametrize(
    ("current", "deletes"),
    [
        ({"callback_persist": True, "callback_backoff_delay_ms": "3000"}, False),
        ({"callback_persist": False}, True),
        ({"webhooks": {"url": ""}}, False),
        ({"webhooks": {"url": None}}, False),
        ({"webhooks": {"url": "https://h.example.com"}}, True),
        ({"media": {"auto_download": []}}, False),
        ({"notify_user_change_number": True, "sent_status": True, "new_key": 1}, False),
        ({"db_garbagecollector_enable": False}, False),
        ({"webhook_payload_conversation_pricingmodel_disabled": True}, True),
        ({}, False),
    ],
)
def test_absent_deletes_when_a_certain_default_differs_or_a_webhook_is_set(current: Settings, deletes: bool) -> None:
    plan = planned(current, {}, state="absent")
    assert (plan.delete, plan.writes, plan.patch) == (deletes, deletes, {})
    assert bool(plan.changed) == deletes


def test_absent_predicts_the_defaults() -> None:
    plan = planned({**CURRENT, "notify_user_change_number": True, "log_level": "error"}, {}, state="absent")
    assert plan.after == {
        **CURRENT,
        "notify_user_change_number": True,
        "media": {"auto_download": ["audio", "document", "image", "sticker", "video", "voice"]},
        "webhooks": {
            "url": "",
            "max_concurrent_requests": 6,
            "message": {"sent": True, "delivered": True, "read": True},
        },
    }
    assert plan.changed == ("log_level", "media.auto_download", "webhooks.message.read", "webhooks.url")
    assert plan.restart == ("log_level",)


# --- afterwards --------------------------------------------------------------------------------------------------


def test_not_taken_over_names_what_a_client_reports_otherwise() -> None:
    sent = {("callback_backoff_delay_ms",): 4000, ("log_level",): "error", ("pass_through",): False, ("new", "a"): 1}
    reported = {"callback_backoff_delay_ms": "4000", "log_level": "info", "new": {"a": 2}}
    assert _plan.not_taken_over(sent, reported) == [("log_level",), ("new", "a")]


def test_the_diff_shows_masked_values_and_a_sign_where_only_the_masked_part_changed() -> None:
    old = {"webhooks": {"url": "https://h.example.com/wa?auth=canary1", "x": 1}, "api_token": 1111, "gone": 1}
    new = {"webhooks": {"url": "https://h.example.com/wa?auth=canary2", "x": 1}, "api_token": 2222, "urls": []}
    old["urls"], new["urls"] = ["https://h.example.com/?canary1"], ["https://h.example.com/?canary2"]
    diff = _plan.show_diff(old, new, {("password",): "canary3", ("webhooks", "y"): "https://canary4@h.example.com"})
    assert diff == {
        "before": {
            "webhooks": {"url": "https://h.example.com/wa?********", "x": 1, "y": "(not reported by the client)"},
            "api_token": "********",
            "gone": 1,
            "urls": ["https://h.example.com/?********"],
            "password": "(not reported by the client)",
        },
        "after": {
            "webhooks": {
                "url": "https://h.example.com/wa?******** (changed)",
                "x": 1,
                "y": "https://********@h.example.com",
            },
            "api_token": "******** (changed)",
            "urls": ["https://h.example.com/?********", "(changed)"],
            "password": "********",
        },
    }


def test_what_did_not_change_bears_no_sign() -> None:
    same = {"webhooks": {"url": "https://h.example.com/wa?auth=canary"}}
    shown = {"webhooks": {"url": "https://h.example.com/wa?********"}}
    assert _plan.show_diff(same, same, {}) == {"before": shown, "after": shown}
