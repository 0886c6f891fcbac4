# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of the modules: when they run in this process, and when the module runs instead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from acting import Play, trusted

OPTIONS = {"api_url": "https://127.0.0.1:1", "token": "t", "retries": 0, "timeout": 1}
MODULES = {
    "wa_application_settings": {"settings": {"log_level": "error"}},
    "wa_application_settings_info": {},
    "wa_garbage_collection": {},
    "wa_health_info": {"wait": True, "wait_timeout": 0.1},
    "wa_media_provider": {"name": "cdn", "bearer": "b"},
    "wa_media_provider_info": {},
}


def host(**variables: Any) -> Play:
    return Play({"one": {"ansible_python_interpreter": sys.executable, **variables}})


@pytest.mark.parametrize("name", MODULES)
def test_every_module_runs_in_this_process(name: str) -> None:
    play = host()
    result = play.run(name, "one", **OPTIONS, **MODULES[name])
    assert play.modules == []
    assert result["failed"] is True
    assert "127.0.0.1:1/v1/" in result["msg"] or "not healthy after" in result["msg"], result["msg"]


@pytest.mark.parametrize(
    ("variables", "keywords", "here"),
    [
        ({}, {}, True),
        ({"ansible_python_interpreter": "auto_silent"}, {}, True),
        ({"ansible_python_interpreter": "{{ ansible_playbook_python }}"}, {}, True),
        ({"ansible_python_interpreter": "{{ mine }}", "mine": sys.executable}, {}, True),
        ({"ansible_python_interpreter": "{{ mine }}", "mine": "/usr/bin/other"}, {}, False),
        ({"ansible_python_interpreter": "/usr/bin/other"}, {}, False),
        ({"wabiz_direct_execution": False}, {}, False),
        ({"wabiz_direct_execution": "no"}, {}, False),
        ({"wabiz_direct_execution": "yes"}, {}, True),
        ({}, {"async_val": 5}, False),
        ({}, {"environment": [{"A": "b"}]}, False),
        ({"ansible_delegated_vars": {"two": {"ansible_python_interpreter": "/x"}}}, {"delegate_to": "two"}, False),
        ({"ansible_delegated_vars": {"two": {}}}, {"delegate_to": "two"}, True),
    ],
)
def test_when_a_module_runs_in_this_process(variables: dict[str, Any], keywords: dict[str, Any], here: bool) -> None:
    play = host(**variables)
    play.keywords = keywords
    result = play.run("wa_application_settings_info", "one", **OPTIONS)
    assert (len(play.modules) == 0) is here
    assert ("cannot be reached" in result.get("msg", "")) is here


@pytest.mark.parametrize(
    ("variables", "args", "said"),
    [
        ({"wabiz_direct_execution": "maybe"}, {}, "wabiz_direct_execution: must be true or false"),
        ({}, {"extra_settings": {"x": b"canary"}}, "extra_settings.x: a value of type bytes cannot be given"),
        ({}, {"settings": {"a": {"\ud800": "canary"}}}, "settings.a: a key holds characters that are no text"),
        ({}, {"settings": {"a": "canary\ud800"}}, "settings.a: holds characters that are no text"),
        ({}, {"settings": {"a": 10**5000}}, "settings.a: this number is too long"),
    ],
)
def test_what_neither_can_take(variables: dict[str, Any], args: dict[str, Any], said: str) -> None:
    play = host(**variables)
    result = play.run("wa_application_settings", "one", **OPTIONS, **args)
    assert result["msg"].startswith(said)
    assert play.modules == []
    assert "canary" not in str(result)


def test_a_line_for_the_person_who_watches(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    play = host()
    action = play.action("wa_health_info", "one", **OPTIONS)
    action._run_of_task(play.variables("one")).progress("waiting\x1b[31m\nok: [forged]")
    assert capsys.readouterr().out == "[one] waiting [31m ok: [forged]\n"
    play.keywords = {"no_log": True}
    play.action("wa_health_info", "one", **OPTIONS)._run_of_task(play.variables("one")).progress("canary")
    assert "canary" not in capsys.readouterr().out


def test_templates_of_variables_are_rendered() -> None:
    play = host(wabiz_direct_execution="{{ off }}", off=False)
    play.run("wa_application_settings_info", "one", **trusted(OPTIONS))
    assert len(play.modules) == 1
