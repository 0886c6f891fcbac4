# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

from ansible_collections.wabiz.onprem.plugins.module_utils import _run
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import application_settings_spec

URL = "https://me:canary-user@h.example.com/wa?auth=canary-auth"


def test_the_invocation_is_masked() -> None:
    params = {
        "api_url": "https://me:canary@h.example.com",
        "password": "canary",
        "token": None,
        "settings": {"webhooks": {"url": URL}, "log_level": "info"},
        "extra_settings": {"x_token": "canary"},
    }
    given = copy.deepcopy(params)
    assert _run.show_invocation(params) == {
        "module_args": {
            "api_url": "https://********@h.example.com",
            "password": _run.NO_LOG,
            "token": None,
            "settings": {"webhooks": {"url": "https://********@h.example.com/wa?********"}, "log_level": "info"},
            "extra_settings": {"x_token": "********"},
        }
    }
    assert params == given


def test_the_values_behind_no_log() -> None:
    spec = application_settings_spec()
    params = {"password": "pw", "token": "", "settings": {"webhooks": {"url": URL, "message": None}}}
    assert _run.no_log_values(spec, params) == {"pw", URL}
    assert _run.no_log_values(spec, {"settings": "no mapping", "token": "t"}) == {"t"}


def test_credentials_are_hidden_wherever_a_server_puts_them() -> None:
    params = {"password": "canary-password", "headers": {"X-Key": "canary-key"}, "username": "me"}
    echo = {"new": ["canary-key", {"x": "is canary-password here"}], "msg": "Basic bWU6Y2FuYXJ5LXBhc3N3b3Jk"}
    result = _run.complete(lambda _params, _run: dict(echo), params, _run.Run())
    assert result["new"] == ["********", {"x": "is ******** here"}]
    assert result["msg"] == "Basic ********"
    assert result["invocation"]["module_args"]["headers"] == {"X-Key": _run.NO_LOG}


def test_short_credentials_hide_no_value_of_a_result() -> None:
    result = _run.complete(lambda _params, _run: {"level": "info", "n": 5}, {"headers": {"X-Mode": "info"}}, _run.Run())
    assert (result["level"], result["n"]) == ("info", 5)


def test_progress_is_one_line_each() -> None:
    lines: list[str] = []
    _run.Run(progress=lines.append).progress("[wa1] \x1b[2J\r\nok: [host]\x07")
    assert lines == ["[wa1] [2J ok: [host]"]
    _run.Run().progress("nobody watches")
