# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.module_utils._plan import plan, read_declaration
from ansible_collections.wabiz.onprem.plugins.plugin_utils._campaign import (
    Decision,
    begin,
    end,
    in_words,
    left_alone,
    read_variables,
    together,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Refused
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Campaign
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import InvalidVariables

MESSAGES, OLDER = "garbagecollector_enable.messages", "db_garbagecollector_enable"
ON = {"garbagecollector_enable": {"messages": True, "media": False}, OLDER: True}
OFF = {"garbagecollector_enable": {"messages": False, "media": False}, OLDER: False}
SPRING = Campaign(MESSAGES, True, ("spring",))
BOTH = Campaign(MESSAGES, True, ("easter", "spring"))
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("version", "setting"),
    [("2.57.2", MESSAGES), ("v2.49.1", MESSAGES), ("2.49.0", OLDER), ("2.49", OLDER), ("2.33.4", OLDER)],
)
def test_the_key_that_the_version_knows(version: str, setting: str) -> None:
    began = begin(None, "spring", ON, version)
    assert (began.setting, began.value, began.recorded) == (setting, False, Campaign(setting, True, ("spring",)))


@pytest.mark.parametrize("version", [None, "", "3.0.1", "unknown"])
def test_a_version_that_is_not_known_is_refused(version: str | None) -> None:
    for known in (None, SPRING):
        with pytest.raises(Refused, match="wa_settings_client_version"):
            begin(known, "spring", ON, version)
    with pytest.raises(Refused, match="wa_settings_client_version"):
        end(SPRING, "spring", OFF, version)
    # What changes nothing needs no version.
    assert end(None, "spring", OFF, version).setting is None
    assert end(BOTH, "spring", OFF, version).setting is None


@pytest.mark.parametrize(
    "settings", [{}, {"garbagecollector_enable": {}}, {"garbagecollector_enable": {"messages": 1}}]
)
def test_what_is_not_reported_is_refused(settings: dict[str, Any]) -> None:
    for decide in (begin, end):
        with pytest.raises(Refused, match=f"does not report {MESSAGES}"):
            decide(SPRING, "spring", settings, "2.57.2")


@pytest.mark.parametrize(
    ("known", "settings", "recorded", "said"),
    [
        (None, ON, SPRING, f"campaign spring begins: {MESSAGES} was on"),
        (None, OFF, Campaign(MESSAGES, False, ("spring",)), f"campaign spring begins: {MESSAGES} was off"),
        (SPRING, OFF, SPRING, "campaign spring is on record already"),
        (SPRING, ON, SPRING, "campaign spring is on record already"),  # killed before it was written
        (Campaign(MESSAGES, True, ("easter",)), OFF, BOTH, f"campaign spring begins: {MESSAGES} was on before easter"),
        (Campaign(OLDER, True, ("spring",)), ON, SPRING, "campaign spring is on record"),  # upgraded meanwhile
    ],
)  # fmt: skip
def test_begin(known: Campaign | None, settings: dict[str, Any], recorded: Campaign, said: str) -> None:
    found = begin(known, "spring", settings, "2.57.2")
    assert (found.known, found.recorded, found.done) == (known, recorded, recorded)
    assert (found.setting, found.value, found.is_over) == (MESSAGES, False, False)
    assert said in found.said


@pytest.mark.parametrize(
    ("known", "done", "write", "said"),
    [
        (None, None, None, "campaign spring is not on record, so"),
        (Campaign(MESSAGES, True, ("easter",)), "known", None, "campaign spring is not on record (on record: easter)"),
        (BOTH, Campaign(MESSAGES, True, ("easter",)), None, f"{MESSAGES} stays off for easter"),
        (SPRING, None, (MESSAGES, True), f"{MESSAGES} is on, as before"),
        (Campaign(MESSAGES, False, ("spring",)), None, (MESSAGES, False), f"{MESSAGES} is off, as before"),
        (Campaign(OLDER, True, ("spring",)), None, (MESSAGES, True), f"{MESSAGES} is on, as before"),
    ],
)
def test_end(known: Campaign | None, done: Any, write: tuple[str, bool] | None, said: str) -> None:
    found = end(known, "spring", OFF, "2.57.2")
    assert (found.known, found.recorded) == (known, known)
    assert found.done == (known if done == "known" else done)
    assert (found.setting and (found.setting, found.value)) == write
    assert found.is_over is (known is not None and write is not None)
    assert said in found.said


@given(st.booleans(), st.lists(st.tuples(st.booleans(), st.sampled_from(NAMES)), max_size=12))
def test_however_campaigns_overlap_the_last_end_puts_back_what_was_there(
    before: bool, events: list[tuple[bool, str]]
) -> None:
    """A model: the names that have begun and not ended say whether the collection is off."""
    known: Campaign | None = None
    value, running = before, set[str]()
    for begins, name in events:
        settings = {"garbagecollector_enable": {"messages": value}}
        found: Decision = (begin if begins else end)(known, name, settings, "2.57.2")
        known = found.done
        value = found.value if found.setting is not None else value
        running = running | {name} if begins else running - {name}
        assert value is (before and not running)
        assert set(known.names if known else ()) == running
        assert known is None or (known.before, known.setting) == (before, MESSAGES)


def test_hosts_that_know_different_things_are_taken_together() -> None:
    assert together([None, None]) is None
    assert together([None, SPRING]) == SPRING
    assert together([Campaign(MESSAGES, True, ("easter",)), SPRING]) == BOTH


# --- what others leave alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"settings": {"garbagecollector_enable": {"messages": True}}}, {}),
        ({"settings": {"garbagecollector_enable": {"messages": True, "media": True}}},
         {"garbagecollector_enable": {"messages": False, "media": True}}),
        ({"settings": {"log_level": "error"}}, {"log_level": "error"}),
        ({"extra_settings": {"vendor": 1}}, {"vendor": 1}),
        ({"settings": {"garbagecollector_enable": {"messages": True}}, "state": "replaced"}, {}),
        ({"settings": {"log_level": "error"}, "state": "replaced"}, {"log_level": "error"}),
    ],
)  # fmt: skip
def test_a_declaration_without_a_say_about_the_setting(options: dict[str, Any], sent: dict[str, Any]) -> None:
    given_before = repr(options)
    left = left_alone(options, SPRING)
    assert repr(options) == given_before
    assert left_alone(left, SPRING) == left
    declaration = read_declaration(left["settings"], left.get("extra_settings"))
    current = {**OFF, "log_level": "info"}
    assert plan(current, declaration, left.get("state", "present"), version=(2, 57, 2)).patch == sent


def test_a_reset_is_refused() -> None:
    with pytest.raises(Refused, match="campaign easter, spring is on record"):
        left_alone({"state": "absent"}, BOTH)


def test_a_wrong_declaration_stays_wrong() -> None:
    options = {"settings": {"garbagecollector_enable": "on"}}
    assert left_alone(options, SPRING) == options


def test_the_setting_and_the_campaigns_are_named() -> None:
    assert in_words(BOTH).startswith(f"{MESSAGES} is left alone: campaign easter, spring is on record")


# --- the variables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "found"),
    [
        ({}, ("campaign", False)),
        ({"wa_campaign_name": None, "wa_campaign_collect": ""}, ("campaign", False)),
        ({"wa_campaign_name": 2026, "wa_campaign_collect": "yes"}, ("2026", True)),
        ({"wa_campaign_name": "x" * 100}, ("x" * 100, False)),
    ],
)
def test_variables(given_: dict[str, Any], found: tuple[str, bool]) -> None:
    assert tuple(read_variables(given_).values()) == found


@pytest.mark.parametrize("name", ["x" * 101, "a\nb", " ", "\u202ea", ["a"], {"a": 1}])
def test_a_name_that_cannot_be_shown_is_refused(name: Any) -> None:
    with pytest.raises(InvalidVariables, match="wa_campaign_name") as refused:
        read_variables({"wa_campaign_name": name})
    assert "\n" not in str(refused.value)
