# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of the reference, one case each: predicted, set, seen on the server, and left alone the second time."""

from __future__ import annotations

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
from support.commands import mostly_in_process

path = mostly_in_process

# Dotted name → (stored before, wanted, seen on the server afterwards). Deprecated keys are here as well: they work.
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "callback_backoff_delay_ms": (3000, 5000, 5000),
    "max_callback_backoff_delay_ms": (900000, 60000, 60000),
    "callback_persist": (True, False, False),
    "heartbeat_interval": (5, 7, 7),
    "unhealthy_interval": (30, 40, 40),
    "media.auto_download": (["audio"], ["voice", "image", "voice"], ["image", "voice"]),
    "webhooks.url": ("", "https://hooks.example.com/wa", "https://hooks.example.com/wa"),
    "webhooks.max_concurrent_requests": (6, 24, 24),
    "webhooks.message.sent": (True, False, False),
    "webhooks.message.delivered": (True, False, False),
    "webhooks.message.read": (True, False, False),
    "notify_user_change_number": (False, True, True),
    "show_security_notifications": (False, True, True),
    "axolotl_context_striping_disabled": (False, True, True),
    "skip_referral_media_download": (False, True, True),
    "garbagecollector_enable.messages": (True, False, False),
    "garbagecollector_enable.media": (False, True, True),
    "db_garbagecollector_enable": (True, False, False),
    "verbose_logging": (False, True, True),
    "log_level": ("info", "warning", "warning"),
    "pass_through": (True, False, False),
    "sent_status": (False, True, True),
    "webhook_payload_conversation_pricingmodel_disabled": (False, True, True),
}
RESTART_BOUND = {
    "axolotl_context_striping_disabled",
    "callback_persist",
    "db_garbagecollector_enable",
    "garbagecollector_enable.media",
    "garbagecollector_enable.messages",
    "log_level",
    "pass_through",
    "verbose_logging",
    "webhooks.max_concurrent_requests",
}


def nested(name: str, value: Any) -> dict[str, Any]:
    """A settings object with one value at a dotted name."""
    for part in reversed(name.split(".")):
        value = {part: value}
    result: dict[str, Any] = value
    return result


CASES = [
    # Nested objects that are replaced are the harder half; both halves are in test_settings_writing.py.
    Case(
        name,
        {"settings": nested(name, wanted)},
        stored=nested(name, stored),
        switches={"report_all": True, "nested": "replace"},
    )
    for name, (stored, wanted, _seen) in VALUES.items()
]

SPELLINGS: dict[str, tuple[Any, Any, Any]] = {
    "callback_backoff_delay_ms: text": ("callback_backoff_delay_ms", 3000, "3000"),
    "callback_backoff_delay_ms: number": ("callback_backoff_delay_ms", 3000, 3000),
    "max_callback_backoff_delay_ms: text": ("max_callback_backoff_delay_ms", 900000, "900000"),
    "heartbeat_interval: text": ("heartbeat_interval", 5, "5"),
    "max_concurrent_requests: text": ("webhooks.max_concurrent_requests", 12, "12"),
    "callback_persist: yes": ("callback_persist", True, "yes"),
    "callback_persist: True": ("callback_persist", True, "True"),
    "callback_persist: 1": ("callback_persist", True, 1),
    "verbose_logging: no": ("verbose_logging", False, "no"),
    "message.sent: off": ("webhooks.message.sent", False, "off"),
    "auto_download: order": ("media.auto_download", ["audio", "voice"], ["voice", "audio"]),
    "auto_download: repeats": ("media.auto_download", ["audio", "voice"], ["voice", "audio", "voice"]),
    "auto_download: comma": ("media.auto_download", ["audio", "voice"], "voice,audio"),
    "auto_download: none": ("media.auto_download", [], []),
    "log_level: same": ("log_level", "warning", "warning"),
}
SAME_VALUE = [
    Case(
        f"{label} {delays}",
        {"settings": nested(name, wanted)},
        stored=nested(name, stored),
        switches={"delays_in_get": delays},
        steps=(CHECK, FIRST),
    )
    for label, (name, stored, wanted) in SPELLINGS.items()
    for delays in (("integer", "string") if "delay_ms" in label else ("integer",))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_key_is_set_once(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, CASES).outcomes[case.name]
    name = case.name
    _stored, _wanted, seen = VALUES[name]
    first = outcome.results[FIRST]
    assert first["changed"] is True
    assert first["changed_settings"] == [name]
    assert leaf(first["after"], name) == seen
    assert first["unverified_settings"] == []
    assert (first["restart_required"], first["restart_settings"]) == (
        name in RESTART_BOUND,
        [name] if name in RESTART_BOUND else [],
    )
    assert leaf(outcome.client.control.effective(), name) == seen
    assert outcome.verbs(FIRST) == [
        "GET /v1/settings/application",
        "PATCH /v1/settings/application",
        "GET /v1/settings/application",
    ]
    assert_converged(outcome)
    assert outcome.verbs(AGAIN) == ["GET /v1/settings/application"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_check_mode_predicts_the_key(case: Case, path: str, run_cases: RunCases) -> None:
    assert_prediction(run_cases(path, CASES).outcomes[case.name])


@pytest.mark.parametrize("case", SAME_VALUE, ids=str)
def test_another_spelling_of_the_same_value_is_no_change(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, SAME_VALUE).outcomes[case.name]
    for step in (CHECK, FIRST):
        assert outcome.results[step]["changed"] is False
        assert outcome.verbs(step) == ["GET /v1/settings/application"]


@pytest.mark.parametrize(
    "cases", [pytest.param(CASES, id="set", marks=pytest.mark.thorough), pytest.param(SAME_VALUE, id="same value")]
)
def test_both_paths_give_the_same_results(cases: list[Case], run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, cases)
