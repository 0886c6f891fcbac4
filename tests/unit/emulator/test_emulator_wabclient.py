# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""praekelt's wabclient, unmodified, against the emulator: each result as it should be, or explained."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest
from emulated import PASSWORD, Pki, running

WEBHOOK = "https://example.com/hook"


def calls(url: str, ca: str, *wanted: tuple[Any, ...]) -> list[Any]:
    """The results of calls, the first of which is the login."""
    python = os.environ.get("WABIZ_OTHER_CLIENTS")
    assert python, "WABIZ_OTHER_CLIENTS names a Python with wabclient: `make unit` sets it up"
    order = {"url": url, "ca": ca, "calls": [("login", "admin", PASSWORD), *wanted]}
    script = pathlib.Path(__file__).with_name("wabclient_calls.py")
    answer = subprocess.run([python, script], input=json.dumps(order), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    login, *results = json.loads(answer.stdout)
    assert login[0].count(".") == 2
    return results


def test_what_it_does_on_any_version(pki: Pki) -> None:
    with running("webapp", *pki.tls, "--password", PASSWORD, "--nodes", "master1,wacore1,wacore2") as (_process, urls):
        settings, created, changed, shards, health = calls(
            urls[0],
            pki.ca,
            ("get_settings",),
            ("create_user", "wadebug", "Secret-debugger-1"),
            ("set_password", "wadebug", "Secret-debugger-2"),
            ("setup_shards", "+49301234567", 2),
            ("healthcheck",),
        )
    assert settings["webhooks"]["max_concurrent_requests"] == 6
    assert created["users"] == changed["users"] == [{"username": "wadebug"}]
    assert "errors" not in shards
    assert {node["role"] for node in health["health"].values()} == {"primary_master", "coreapp"}


def test_it_writes_every_key_of_the_oldest_edition(pki: Pki) -> None:
    with running("webapp", *pki.tls, "--password", PASSWORD, "--switch", "client_version=2.21.4") as (_process, urls):
        written, settings = calls(urls[0], pki.ca, ("set_settings", "4930123", WEBHOOK), ("get_settings",))
    assert written is None
    assert settings["webhooks"]["url"] == WEBHOOK
    assert (settings["on_call_pager"], settings["tcp_listen_address"]) == ("4930123", "any")
    assert settings["callback_backoff_delay_ms"] == 3000


@pytest.mark.parametrize("unknown_keys", ["reject", "drop"])
def test_a_later_client_refuses_two_of_these_keys(pki: Pki, unknown_keys: str) -> None:
    """Explained: it always sends them all, and later clients do not know them; a lab can let them pass."""
    with running("webapp", *pki.tls, "--password", PASSWORD, "--switch", f"unknown_keys={unknown_keys}") as (
        _process,
        urls,
    ):
        written, settings = calls(urls[0], pki.ca, ("set_settings", "4930123", WEBHOOK), ("get_settings",))
    if unknown_keys == "drop":
        assert (written, settings["webhooks"]["url"]) == (None, WEBHOOK)
        return
    assert written["status"] == 400
    errors = json.loads(written["body"])["errors"]
    assert [(error["code"], error["details"].split("'")[1]) for error in errors] == [
        (1010, "on_call_pager"),
        (1010, "tcp_listen_address"),
    ]


def test_what_the_emulator_lacks_is_not_found(pki: Pki) -> None:
    """Explained: no registration, no profiles; see the table in the README."""
    with running("webapp", *pki.tls, "--password", PASSWORD) as (_process, urls):
        results = calls(
            urls[0], pki.ca, ("get_about",), ("get_business_profile",), ("request_code", "+4930123", "name")
        )
    assert [result["status"] for result in results] == [404] * 3
