# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._run import NO_LOG, Run
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_spec,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectFlow, as_a_module_gets_it, run_here

DIRECT = DirectFlow(application_settings_spec(), application_settings)
MODULE = "wabiz.onprem.wa_application_settings"


class Tagged(str):
    """As ansible-core 2.19 hands over texts."""


def test_arguments_become_what_a_module_gets() -> None:
    args = {"settings": {"a": Tagged("b"), 5: None}, "list": (1, 2.5, True), "day": datetime.date(2026, 11, 25)}
    plain = as_a_module_gets_it(args)
    assert plain == {"settings": {"a": "b", "5": None}, "list": [1, 2.5, True], "day": "2026-11-25"}
    assert plain["settings"]["a"].__class__ is str


def _nested(levels: int) -> Any:
    value: Any = 1
    for _level in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"settings": {"webhooks": {"url": b"canary"}}},
            "settings.webhooks.url: a value of type bytes cannot be given",
        ),
        ({"extra_settings": {"list": [{"x": {1, 2}}]}}, "extra_settings.list.x: a value of type set cannot be given"),
        ({"settings": {datetime.date(2026, 11, 25): 1}}, "settings: a date cannot be a key; put it in quotes"),
        ({"settings": {b"canary": 1}}, "settings: a bytes cannot be a key"),
        ({"extra_settings": _nested(5000)}, "the arguments of the task are nested too deeply"),
    ],
)
def test_what_no_module_can_get_is_refused_by_name(args: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptions, match=message) as refusal:
        as_a_module_gets_it(args)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"pasword": "canary-1"}, f"Unsupported parameters for \\({MODULE}\\) module: pasword.*did you mean password"),
        ({"settings": {"loglevel": "canary-1"}}, "settings.loglevel.*did you mean settings.log_level\\?"),
        ({"settings": {"wa_id": "canary-1"}}, "settings.wa_id is read-only and cannot be declared"),
        ({"settings": {"webhooks.url": "https://h/?canary-1"}}, "nest it, url below settings.webhooks"),
        ({"settings": {"media": ["image"]}}, "the list belongs into settings.media.auto_download"),
        ({"timeout": "soon"}, "timeout"),
        ({"settings": "{canary-1"}, "settings"),
        ({"extra_settings": "canary-1"}, "extra_settings"),
        ({"headers": "canary-1"}, "headers"),
    ],
)
def test_options_that_do_not_fit_are_explained_without_their_values(args: dict[str, Any], message: str) -> None:
    own = {"api_url": "https://me:canary-2@h/?canary-3", "password": "canary-4", "headers": {"X-Key": "canary-5"}}
    result = run_here(MODULE, DIRECT, {**own, **args}, Run())
    assert result["failed"] is True
    assert "canary" not in str(result)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(result["msg"])
    shown = result["invocation"]["module_args"]
    assert (shown["password"], shown["api_url"]) == (NO_LOG, "https://********@h/?********")
