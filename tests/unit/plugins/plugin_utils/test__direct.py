# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _settings
from ansible_collections.wabiz.onprem.plugins.plugin_utils import _direct


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that somebody wanted to reach; nobody does."""
    asked: list[Any] = []

    def connect(_self: socket.socket, address: Any) -> None:
        asked.append(address)
        raise OSError("offline")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return asked


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9"], ids=["no proxy", "proxy"])
def test_the_rehearsal_plays_to_its_end_and_reaches_nobody(
    proxy: str | None, offline: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
    results: list[Any] = []
    run_here = _direct.run_here

    def recorded(*arguments: Any) -> Any:
        results.append(run_here(*arguments))
        return results[-1]

    monkeypatch.setattr(_direct, "run_here", recorded)
    _direct.DirectFlow(_settings.application_settings_spec(), _settings.application_settings)
    _direct.DirectFlow(_settings.application_settings_info_spec(), _settings.application_settings_info)
    changing, reading = results
    assert changing["changed_settings"] == ["log_level"]
    assert reading["settings"]["log_level"] == "error"
    assert offline == []


def test_a_rehearsal_that_fails_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*_arguments: Any) -> Any:
        raise AttributeError("_new_conn")

    monkeypatch.setattr(_direct, "PretendedClient", breaking)
    _direct.DirectFlow(_settings.application_settings_spec(), _settings.application_settings)
