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
