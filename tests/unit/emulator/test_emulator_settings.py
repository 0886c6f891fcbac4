# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from wabiz_emulator import settings
from wabiz_emulator.errors import ApiError
from wabiz_emulator.switches import Switches

ALL = Switches(report_all=True)
DEFAULTS = {
    "callback_backoff_delay_ms": 3000,
    "max_callback_backoff_delay_ms": 900000,
    "callback_persist": True,
    "heartbeat_interval": 5,
    "unhealthy_interval": 30,
    "media": {"auto_download": ["audio", "document", "voice", "video", "image", "sticker"]},
    "webhooks": {"url": "", "max_concurrent_requests": 6, "message": {"sent": True, "delivered": True, "read": True}},
    "notify_user_change_number": False,
    "show_security_notifications": False,
    "axolotl_context_striping_disabled": False,
    "skip_referral_media_download": False,
    "garbagecollector_enable": {"messages": True, "media": False},
    "db_garbagecollector_enable": True,
    "verbose_logging": False,
    "log_level": "info",
    "pass_through": False,
    "sent_status": False,
    "webhook_payload_conversation_pricingmodel_disabled": False,
}


def codes(body: Any, switches: Switches = ALL) -> list[int]:
    with pytest.raises(ApiError) as caught:
        settings.patched({}, body, switches)
    return [error["code"] for error in caught.value.errors]


def test_defaults_are_those_of_the_reference() -> None:
    assert settings.effective({}, ALL) == DEFAULTS


def test_get_adds_the_number_and_leaves_out_what_the_samples_lack() -> None:
    reported = settings.reported({}, Switches(wa_id="491"))
    absent = {
        "axolotl_context_striping_disabled",
        "webhook_payload_conversation_pricingmodel_disabled",
        "skip_referral_media_download",
        "sent_status",
        "pass_through",
        "db_garbagecollector_enable",
    }
    assert set(DEFAULTS) - set(reported) == absent
    assert set(reported) - set(DEFAULTS) == {"wa_id"}
    assert reported["wa_id"] == "491"
    assert settings.reported({}, Switches(unregistered=True))["wa_id"] == ""


@pytest.mark.parametrize(
    "body",
    [
        {"callback_backoff_delay_ms": "4000"},
        {"callback_backoff_delay_ms": 4000},
        {"callback_persist": False},
        {"heartbeat_interval": 7},
        {"media": {"auto_download": []}},
        {"media": {"auto_download": ["image", "image", "audio"]}},
        {"webhooks": {"url": "https://example.com/hook?auth=x"}},
        {"webhooks": {"url": ""}},
        {"webhooks": {"max_concurrent_requests": 24}},
        {"webhooks": {"message": {"read": False}}},
        {"garbagecollector_enable": {"media": True}},
        {"log_level": "fatal"},
        {},
    ],
)
def test_valid_values_are_stored(body: dict[str, Any]) -> None:
    effective = settings.effective(settings.patched({}, body, ALL), ALL)
    expected = settings.merged(DEFAULTS, body)
    if "callback_backoff_delay_ms" in body:
        expected["callback_backoff_delay_ms"] = 4000
    if body.get("media") == {"auto_download": ["image", "image", "audio"]}:
        expected["media"] = {"auto_download": ["image", "audio"]}
    assert effective == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callback_backoff_delay_ms", 3.5),
        ("callback_backoff_delay_ms", "3.5"),
        ("callback_backoff_delay_ms", "0"),
        ("callback_backoff_delay_ms", -1),
        ("callback_backoff_delay_ms", True),
        ("callback_persist", "true"),
        ("callback_persist", 1),
        ("heartbeat_interval", "5"),
        ("heartbeat_interval", True),
        ("unhealthy_interval", 0),
        ("log_level", "debug"),
        ("log_level", None),
        ("media", []),
        ("pass_through", True),
        ("webhooks.url", "http://example.com"),
        ("webhooks.url", "https://"),
        ("webhooks.url", 5),
        ("webhooks.max_concurrent_requests", 7),
        ("webhooks.max_concurrent_requests", "6"),
        ("webhooks.message", True),
        ("media.auto_download", ["text"]),
        ("media.auto_download", "image"),
        ("media.auto_download", [["image"]]),
    ],
)
def test_invalid_values_are_rejected_by_name(name: str, value: Any) -> None:
    body: Any = value
    for part in reversed(name.split(".")):
        body = {part: body}
    with pytest.raises(ApiError) as caught:
        settings.patched({}, body, ALL)
    assert caught.value.status == 400
    assert [error["code"] for error in caught.value.errors] == [1009]
    assert f"'{name}'" in caught.value.errors[0]["details"]
    assert settings.effective(settings.patched({}, body, Switches(wrong_types="drop")), ALL) == DEFAULTS


def test_every_problem_is_reported() -> None:
    assert codes({"callback_persist": 1, "no_such_key": 1, "media": {}, "wa_id": "1"}) == [1009, 1010, 1008, 1010]


def test_http_webhooks_can_be_accepted() -> None:
    accept = Switches(http_webhooks="accept")
    body = {"webhooks": {"url": "http://example.com/hook"}}
    assert settings.patched({}, body, accept) == body
    assert codes({"webhooks": {"url": "ftp://example.com"}}, accept) == [1009]


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_not_a_request(body: Any) -> None:
    assert codes(body) == [1025]


def test_wrong_types_can_be_kept() -> None:
    stored = settings.patched({}, {"callback_persist": "yes"}, Switches(wrong_types="keep"))
    assert stored == {"callback_persist": "yes"}


@pytest.mark.parametrize(("form", "accepted"), [("string", "1"), ("integer", 1)])
def test_delays_can_be_accepted_in_one_form_only(form: str, accepted: Any) -> None:
    switches = Switches(delays_on_write=form)
    assert settings.patched({}, {"callback_backoff_delay_ms": accepted}, switches) == {"callback_backoff_delay_ms": 1}
    assert codes({"callback_backoff_delay_ms": "1" if accepted == 1 else 1}, switches) == [1009]


def test_nested_objects_merge_or_are_replaced() -> None:
    stored = {"webhooks": {"url": "https://a", "max_concurrent_requests": 12, "message": {"read": False}}}
    body = {"webhooks": {"url": "https://b", "message": {"sent": False}}}
    merge = settings.effective(settings.patched(stored, body, ALL), ALL)["webhooks"]
    assert merge["max_concurrent_requests"] == 12
    assert merge["message"] == {"sent": False, "delivered": True, "read": False}
    replace = Switches(nested="replace")
    replaced = settings.effective(settings.patched(stored, body, replace), replace)["webhooks"]
    assert replaced["max_concurrent_requests"] == 6
    assert replaced["message"] == {"sent": False, "delivered": True, "read": True}


@pytest.mark.parametrize("nested", ["merge", "replace"])
def test_dropped_keys_keep_their_former_value(nested: str) -> None:
    switches = Switches(nested=nested, dropped_keys=["webhooks.max_concurrent_requests", "log_level"])
    stored = {"webhooks": {"max_concurrent_requests": 12}}
    body = {"webhooks": {"url": "https://b", "max_concurrent_requests": 18}, "log_level": "error"}
    assert settings.patched(stored, body, switches) == {"webhooks": {"url": "https://b", "max_concurrent_requests": 12}}
    assert stored == {"webhooks": {"max_concurrent_requests": 12}}


@pytest.mark.parametrize(("unknown", "stored"), [("drop", {}), ("keep", {"x": {"y": 1}})])
def test_unknown_keys_can_be_dropped_or_kept(unknown: str, stored: dict[str, Any]) -> None:
    assert settings.patched({}, {"x": {"y": 1}}, Switches(unknown_keys=unknown)) == stored
    assert ("x" in settings.reported(stored, Switches())) == (unknown == "keep")


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("2.24.9", {"axolotl_context_striping_disabled": True}),
        ("2.41.1", {"webhooks": {"message": {"sent": False}}}),
        ("2.49.0", {"garbagecollector_enable": {"messages": False}}),
        ("2.50.9", {"verbose_logging": True}),
        ("2.50.9", {"log_level": "error"}),
    ],
)
def test_old_clients_do_not_know_newer_keys(version: str, newer: dict[str, Any]) -> None:
    old = Switches(client_version=version, report_all=True)
    assert codes(newer, old) == [1010]
    first = next(iter(newer))
    assert first not in settings.reported({}, old) or "message" not in settings.reported({}, old)[first]
    assert settings.patched({}, newer, ALL) == newer


@pytest.mark.parametrize(
    ("version", "hidden"),
    [
        # LOCALWAB recorded the defaults of a 2.33.4 client: it reports all four.
        ("2.33.4", set()),
        ("2.35", {"pass_through"}),
        ("2.41.2", {"pass_through", "sent_status"}),
        ("2.49.0", {"pass_through", "sent_status", "db_garbagecollector_enable"}),
        (
            "2.57.2",
            {"pass_through", "sent_status", "db_garbagecollector_enable", "skip_referral_media_download"},
        ),
    ],
)
def test_what_get_leaves_out_depends_on_the_version(version: str, hidden: set[str]) -> None:
    both = [settings.reported({}, Switches(client_version=version, report_all=all_)) for all_ in (True, False)]
    always = {"axolotl_context_striping_disabled", "webhook_payload_conversation_pricingmodel_disabled"}
    assert set(both[0]) - set(both[1]) == always | hidden


def test_the_oldest_clients_know_keys_that_later_ones_do_not() -> None:
    old = Switches(client_version="2.23.4")
    body = {"on_call_pager": "491", "tcp_listen_address": "any"}
    assert settings.patched({}, body, old) == body
    assert settings.reported(body, old).items() >= body.items()
    assert codes({"on_call_pager": 1}, old) == [1009]
    assert codes(body, Switches(client_version="2.25.0")) == [1010, 1010]
    assert set(body).isdisjoint(settings.reported({}, Switches(client_version="2.25.0")))


def test_pass_through_can_be_switched_on_before_2_35() -> None:
    assert settings.patched({}, {"pass_through": True}, Switches(client_version="2.34.9")) == {"pass_through": True}


def test_defaults_can_be_overridden_and_delays_be_strings() -> None:
    switches = Switches(default_overrides={"webhooks": {"max_concurrent_requests": 24}}, delays_in_get="string")
    reported = settings.reported({}, switches)
    assert reported["webhooks"] == {**DEFAULTS["webhooks"], "max_concurrent_requests": 24}  # type: ignore[dict-item]
    assert reported["callback_backoff_delay_ms"] == "3000"
    assert reported["max_callback_backoff_delay_ms"] == "900000"
    assert reported["heartbeat_interval"] == 5


def test_unreported_names_may_be_nested() -> None:
    assert settings.reported({}, Switches(unreported=["webhooks.url", "media"])).keys().isdisjoint({"media"})
    assert "url" not in settings.reported({}, Switches(unreported=["webhooks.url"]))["webhooks"]


def test_restart_bound_values_are_the_union_of_the_reference() -> None:
    assert settings.restart_bound({"log_level": "error"}, ALL) == {
        "callback_persist": True,
        "webhooks.max_concurrent_requests": 6,
        "axolotl_context_striping_disabled": False,
        "garbagecollector_enable.messages": True,
        "garbagecollector_enable.media": False,
        "db_garbagecollector_enable": True,
        "verbose_logging": False,
        "log_level": "error",
        "pass_through": False,
    }
