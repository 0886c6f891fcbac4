# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import (
    NAMES,
    PREFIX,
    InvalidVariables,
    declaration,
    declares_anything,
    read_variables,
    without_blanks,
    without_omitted,
)

NOTHING = read_variables({})


def layers(**given_layers: Any) -> dict[str, Any]:
    return {**NOTHING, **given_layers}


def test_what_is_not_given() -> None:
    assert (NOTHING["restart"], NOTHING["restart_backend"], NOTHING["restart_stop_timeout"]) == ("auto", "docker", 60)
    assert (NOTHING["health_timeout"], NOTHING["lock_timeout"], NOTHING["expect_connected"]) == (300.0, 900.0, None)
    assert NOTHING["validate_certs"] is None
    assert {PREFIX + name for name in NOTHING} == set(NAMES)


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_text_count_as_not_given(nothing: Any) -> None:
    assert read_variables(dict.fromkeys(NAMES, nothing)) == NOTHING


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("cluster", 12, "12"),
        ("restart_stop_timeout", "7", 7),
        ("health_timeout", "1.5", 1.5),
        ("expect_connected", 0, 0),
        ("volatile_state", "yes", True),
        ("report", 1, True),
        ("restart_command", "a,b", ["a", "b"]),
        ("restart_masters", True, "True"),
        ("validate_certs", "no", False),
        ("state_dir", "/x", "/x"),
        ("values", '{"a": 1}', {"a": 1}),
        ("media_providers", [], []),
        (
            "media_providers",
            [{"name": 7, "bearer": "t"}],
            [{"name": "7", "type": "www", "basic": None, "bearer": "t", "state": "present"}],
        ),
    ],
)
def test_variables_in_their_types(name: str, value: Any, typed: Any) -> None:
    assert read_variables({PREFIX + name: value, "other": 1})[name] == typed


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("restart", "sometimes", "wa_settings_restart"),
        ("restart_backend", "lxc", "wa_settings_restart_backend"),
        ("restart_stop_timeout", -1, "wa_settings_restart_stop_timeout: must be a number from 0 to 2147483647"),
        ("health_timeout", float("inf"), "wa_settings_health_timeout: must be a number"),
        ("health_timeout", float("nan"), "wa_settings_health_timeout: must be a number"),
        ("lock_timeout", -0.5, "wa_settings_lock_timeout: must be a number"),
        ("expect_connected", 2**31, "wa_settings_expect_connected: must be a number"),
        ("expect_connected", "x", "wa_settings_expect_connected"),
        ("state_dir", "records", "wa_settings_state_dir: records is not an absolute path"),
        ("state_dir", "~/x", "wa_settings_state_dir: ~/x is not an absolute path"),
        ("values", [1], "wa_settings_values"),
        # As an inventory in the INI format gives it.
        ("restart_command", '["/opt/restart"]', "wa_settings_restart_command: is the text of a list, not a list"),
        ("media_providers", 7, "wa_settings_media_providers"),
        ("media_providers", {"name": "x", "bearer": "canary"}, "wa_settings_media_providers"),
        ("media_providers", ["canary"], "wa_settings_media_providers"),
        ("media_providers", [{"bearer": "canary"}], "name found in wa_settings_media_providers"),
        ("media_providers", [{"name": "x"}], "wa_settings_media_providers: x: basic or bearer"),
        ("media_providers", [{"name": "x", "bearer": "canary canary"}], "wa_settings_media_providers: x: bearer"),
        ("media_providers", [{"name": "x", "basic": ["canary"]}], "wa_settings_media_providers: basic"),
        ("media_providers", [{"name": "x", "basic": {"username": "u"}}], "wa_settings_media_providers"),
        ("media_providers", [{"name": "x", "token": "canary"}], "wa_settings_media_providers"),
        ("media_providers", [{"name": "x", "type": "canary", "bearer": "canary"}], "wa_settings_media_providers"),
        ("media_providers", [{"name": "..", "bearer": "canary"}], "wa_settings_media_providers: ..: name"),
        ("media_providers", [{"name": "x", "bearer": "canary"}] * 2, "wa_settings_media_providers: x: is there twice"),
    ],
)
def test_what_cannot_be_meant_names_the_variable(name: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidVariables, match=said):
        read_variables({PREFIX + name: value})


@pytest.mark.parametrize("name", ["restart_stop_timeout", "health_timeout", "lock_timeout", "expect_connected"])
def test_the_largest_number_is_taken(name: str) -> None:
    assert read_variables({PREFIX + name: 2**31 - 1})[name] == 2**31 - 1
    assert read_variables({PREFIX + name: 0})[name] == 0


def test_layers_lie_over_one_another() -> None:
    settings, extra, origins = declaration(
        layers(
            values={
                "webhooks": {"url": "https://a", "max_concurrent_requests": 6},
                "log_level": "debug",
                "media": {"a": 1},
            },
            group_values={"webhooks": {"url": "https://b"}, "media": None},
            host_values={"log_level": "info", "heartbeat_interval": 5},
            overrides={"heartbeat_interval": 9},
            extra_values={"axolotl": [1, 2]},
            extra_host_values={"axolotl": [3]},
        )
    )
    assert settings == {
        "webhooks": {"url": "https://b", "max_concurrent_requests": 6},
        "log_level": "info",
        "heartbeat_interval": 9,
    }
    assert extra == {"axolotl": [3]}
    assert origins == {
        "webhooks.url": "wa_settings_group_values",
        "webhooks.max_concurrent_requests": "wa_settings_values",
        "log_level": "wa_settings_host_values",
        "heartbeat_interval": "wa_settings_overrides",
        "axolotl": "wa_settings_extra_host_values",
    }


def test_a_null_takes_out_and_a_later_layer_puts_back() -> None:
    settings, _extra, _origins = declaration(
        layers(values={"a": {"b": 1}, "c": 2}, group_values={"a": {"b": None}, "c": None}, host_values={"c": 3})
    )
    assert settings == {"a": {}, "c": 3}
    replaced, _extra, _origins = declaration(
        layers(values={"a": 1, "b": {"x": 1}}, host_values={"a": {"x": 2}, "b": 1})
    )
    assert replaced == {"a": {"x": 2}, "b": 1}


def test_an_unanswered_question_of_a_survey_overrides_nothing() -> None:
    assert without_blanks(
        {"a": "", "b": None, "c": {"d": ""}, "e": 0, "f": False, "g": {"h": 1, "i": ""}, "j": []}
    ) == {
        "e": 0,
        "f": False,
        "g": {"h": 1},
        "j": [],
    }
    assert without_blanks(None) == {}


@pytest.mark.parametrize(
    ("settings", "extra", "anything"),
    [
        ({}, {}, False),
        ({"a": {}}, {}, False),
        ({"a": {"b": {}}}, {}, False),
        ({"a": 0}, {}, True),
        ({}, {"a": {}}, True),
    ],
)
def test_whether_there_is_a_declaration(settings: dict[str, Any], extra: dict[str, Any], anything: bool) -> None:
    assert declares_anything(settings, extra) is anything


VALUES = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
def test_one_layer_alone_is_what_it_says(values: dict[str, Any]) -> None:
    for name in ("values", "group_values", "host_values"):
        assert declaration(layers(**{name: values}))[0] == values


@given(VALUES)
def test_without_omit_nothing_is_left_out(value: Any) -> None:
    assert without_omitted(value, "__omit_place_holder__1") == value


@pytest.mark.parametrize("omitted", ["__omit_place_holder__1", object()])
def test_what_is_omitted_is_not_given(omitted: Any) -> None:
    assert without_omitted(omitted, omitted) is None
    assert without_omitted({"a": omitted, "b": [1, omitted], "c": {"d": omitted}}, omitted) == {"b": [1], "c": {}}
    assert without_omitted((1, omitted), omitted) == [1]
