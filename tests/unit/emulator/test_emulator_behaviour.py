# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import pathlib
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from emulated import PASSWORD, Api, error_codes, eventually

SETTINGS = "/v1/settings/application"


@pytest.mark.parametrize(("kind", "body"), [("null", b"null"), ("object", b"{}"), ("empty", b""), ("meta", None)])
def test_switch_write_answer(api: Api, kind: str, body: bytes | None) -> None:
    api.control.switch(write_answer=kind)
    for answer in (api.patch({"callback_persist": False}), api.call("DELETE", SETTINGS)):
        assert answer.status_code == 200
        if body is None:
            assert answer.json() == {"meta": {"version": "v2.57.2", "api_status": "stable"}}
        else:
            assert answer.content == body


@pytest.mark.parametrize(
    ("kind", "meta"),
    [
        ("version", {"version": "v2.50.1", "api_status": "stable"}),
        ("bare", {"version": "2.50.1", "api_status": "stable"}),
        ("placeholder", {"version": "3.0.1", "api_status": "stable"}),
        ("unversioned", {"api_status": "stable"}),
        ("none", None),
    ],
)
def test_switches_meta_and_client_version(api: Api, kind: str, meta: Any) -> None:
    api.control.switch(meta=kind, client_version="2.50.1")
    assert api.call("GET", SETTINGS).json().get("meta") == meta
    assert "garbagecollector_enable" in api.settings()
    assert "log_level" not in api.settings()
    assert error_codes(api.patch({"log_level": "error"})) == [1010]


def test_switch_flat_get(api: Api) -> None:
    api.control.switch(flat_get=True)
    assert api.call("GET", SETTINGS).json()["callback_backoff_delay_ms"] == 3000


def test_switches_of_reporting(api: Api) -> None:
    api.control.switch(report_all=True, delays_in_get="string", default_overrides={"log_level": "fatal"}, wa_id="1")
    shown = api.settings()
    assert (shown["pass_through"], shown["callback_backoff_delay_ms"], shown["wa_id"]) == (False, "3000", "1")
    assert shown["log_level"] == "fatal"
    api.control.switch(report_all=False, unreported=["webhooks.url"])
    assert "url" not in api.settings()["webhooks"]
    assert "pass_through" in api.settings()
    api.control.reset_switches()
    assert api.control.switches()["unreported"] != ["webhooks.url"]


def test_switches_of_writing(api: Api) -> None:
    api.control.switch(unknown_keys="keep", delays_on_write="string", dropped_keys=["log_level"], nested="replace")
    assert api.patch({"odd": 1, "callback_backoff_delay_ms": "1", "log_level": "error"}).status_code == 200
    assert api.control.stored() == {"odd": 1, "callback_backoff_delay_ms": 1}
    assert error_codes(api.patch({"callback_backoff_delay_ms": 1})) == [1009]
    api.control.switch(unknown_keys="drop", wrong_types="drop")
    assert api.patch({"other": 1, "callback_persist": "no"}).status_code == 200
    api.patch({"webhooks": {"max_concurrent_requests": 12}})
    api.patch({"webhooks": {"url": "https://h"}})
    assert api.settings()["webhooks"]["max_concurrent_requests"] == 6
    api.control.switch(nested="merge")
    api.patch({"webhooks": {"max_concurrent_requests": 12}})
    assert api.settings()["webhooks"]["url"] == "https://h"


def test_switch_login_and_unauthorized_body(api: Api) -> None:
    api.control.switch(login=False)
    assert api.login("admin", PASSWORD).status_code == 404
    assert api.call("POST", "/v1/users/logout").status_code == 404
    assert api.call("GET", SETTINGS).status_code == 200
    api.control.switch(unauthorized_body="errors")
    refused = api.call("GET", SETTINGS, headers={})
    assert (refused.status_code, error_codes(refused)) == (401, [1005])


def test_switch_form_login(api: Api) -> None:
    """A public chart's job sends the first login's new password like this."""
    api.control.add_user("fresh", "secret", owes_change=True)
    changed = {"new_password": "Changed+&1"}
    api.control.switch(form_login=False)
    assert error_codes(api.login("fresh", "secret", data=changed)) == [1025]
    api.control.switch(form_login=True)
    assert error_codes(api.login("fresh", "secret", data={"new_password": "weak"})) == [1009]
    assert api.login("fresh", "secret", data=changed).status_code == 200
    assert api.login("fresh", "Changed+&1").status_code == 200
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    in_json = api.session.post(
        f"{api.url}/v1/users/login",
        data='{"new_password": "Changed-2"}',
        headers=form,
        auth=("fresh", "Changed+&1"),
        verify=api.ca_path,
        timeout=10,
    )
    assert (in_json.status_code, api.login("fresh", "Changed-2").status_code) == (200, 200)


def test_switch_www_authenticate(api: Api) -> None:
    """Clients that wait for a challenge before they send a password get one."""
    refused = api.call("GET", SETTINGS, headers={})
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="Secured"')
    assert api.login("admin", "wrong").headers["WWW-Authenticate"] == 'Basic realm="Secured"'
    api.control.switch(www_authenticate="", unauthorized_body="errors")
    assert "WWW-Authenticate" not in api.call("GET", SETTINGS, headers={}).headers
    assert "WWW-Authenticate" not in api.call("GET", SETTINGS).headers


def test_switch_http_webhooks(api: Api) -> None:
    plain = {"webhooks": {"url": "http://example.com/hook"}}
    assert error_codes(api.patch(plain)) == [1009]
    api.control.switch(http_webhooks="accept")
    assert api.patch(plain).status_code == 200
    assert api.settings()["webhooks"]["url"] == "http://example.com/hook"


def test_switch_absent_certificate(api: Api) -> None:
    for path in ("/v1/certificates/webhooks/ca", "/v1/certificates/external/ca"):
        api.control.switch(absent_certificate="errors")
        answer = api.call("GET", path)
        assert (answer.status_code, error_codes(answer)) == (404, [1006])
        assert answer.json()["errors"][0]["details"]
        api.control.switch(absent_certificate="empty")
        answer = api.call("GET", path)
        assert (answer.status_code, answer.content) == (404, b"")


def test_a_gateway_that_asks_for_a_key_beside_the_token(api: Api) -> None:
    api.control.switch(demanded_headers={"D360-API-KEY": "key-1"})
    with_key = {**api.headers, "d360-api-key": "key-1"}
    assert api.call("GET", SETTINGS, headers=with_key).status_code == 200
    assert api.call("GET", SETTINGS, headers={"D360-API-KEY": "key-1"}).status_code == 401
    for headers in (api.headers, {**api.headers, "D360-API-KEY": "other"}):
        for method, path in (("GET", SETTINGS), ("GET", "/v1/health"), ("POST", "/v1/users/login"), ("GET", "/v1/no")):
            assert api.call(method, path, headers=headers).status_code == 401
    api.control.switch(demanded_headers_status=403)
    refused = api.call("GET", SETTINGS)
    assert (refused.status_code, error_codes(refused)) == (403, [1005])


def test_a_gateway_whose_key_is_enough(api: Api) -> None:
    api.control.switch(demanded_headers={"D360-API-KEY": "key-1"}, demanded_headers_suffice=True, login=False)
    api.control.clear_requests()
    key = {"D360-API-KEY": "key-1"}
    assert api.call("PATCH", SETTINGS, headers=key, json={"callback_persist": False}).status_code == 200
    assert api.call("GET", "/v1/health", headers={**key, "Authorization": "Bearer nonsense"}).status_code == 200
    assert api.call("GET", SETTINGS).status_code == 401
    assert api.control.stored() == {"callback_persist": False}
    entries = api.control.requests()
    assert [(entry["status"], entry["authorization"], entry["user"]) for entry in entries] == [
        (200, "none", None),
        (200, "bearer", None),
        (401, "bearer", None),
    ]
    assert "key-1" not in json.dumps(entries)


def test_switch_token_seconds(api: Api) -> None:
    api.control.switch(token_seconds=-1)
    token = api.login("admin", PASSWORD).json()["users"][0]["token"]
    assert api.call("GET", SETTINGS, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_faults_that_answer(api: Api) -> None:
    api.control.fault("status", status=503)
    answer = api.call("GET", SETTINGS)
    assert (answer.status_code, answer.content) == (503, b"")
    api.control.fault("error", status=429, code=1015, details="slow down")
    answer = api.call("GET", SETTINGS)
    assert (answer.status_code, answer.json()["errors"][0]["details"]) == (429, "slow down")
    assert error_codes(answer) == [1015]
    api.control.fault("html")
    answer = api.call("GET", SETTINGS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    api.control.fault("empty")
    assert api.call("GET", SETTINGS).content == b""
    api.control.fault("redirect", location="https://127.0.0.1:1/")
    answer = api.call("GET", SETTINGS)
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://127.0.0.1:1/")
    assert api.control.faults() == []
    assert api.call("GET", SETTINGS).status_code == 200


def test_fault_delay(api: Api) -> None:
    api.control.fault("proceed", delay=0.3)
    started = time.monotonic()
    assert api.call("GET", SETTINGS).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_fault_expired_token_costs_the_token(api: Api) -> None:
    api.control.fault("expired_token")
    assert api.call("GET", SETTINGS).status_code == 401
    assert api.call("GET", SETTINGS).status_code == 401
    fresh = {"Authorization": f"Bearer {api.control.token()}"}
    assert api.call("GET", SETTINGS, headers=fresh).status_code == 200


def test_fault_cut(api: Api) -> None:
    api.control.fault("cut")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        api.call("GET", SETTINGS)
    assert api.call("GET", SETTINGS).status_code == 200


def test_fault_reset_is_a_reset_on_the_wire(api: Api) -> None:
    api.control.fault("reset")
    address = urlsplit(api.url)
    context = ssl.create_default_context(cafile=api.ca_path)
    plain = socket.create_connection((address.hostname, address.port), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname=address.hostname) as connection:
        connection.sendall(f"GET {address.path}/v1/health HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        # The kernel's own word: Python's TLS layer makes an end of file of a reset.
        eventually(lambda: connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET, "no reset")
    assert api.call("GET", SETTINGS).status_code == 200


@pytest.mark.parametrize("action", ["error", "cut", "reset", "html"])
def test_a_spoilt_answer_may_have_taken_effect(api: Api, action: str) -> None:
    api.control.fault(action, method="PATCH", path=SETTINGS, applied=True)
    try:
        api.patch({"callback_persist": False})
    except requests.exceptions.ConnectionError:
        assert action == "reset"
    except requests.exceptions.ChunkedEncodingError:
        assert action == "cut"
    assert api.control.stored() == {"callback_persist": False}


def test_a_fault_without_effect(api: Api) -> None:
    api.control.fault("error", method="PATCH")
    assert api.patch({"callback_persist": False}).status_code == 500
    assert api.control.stored() == {}


def test_faults_are_matched_counted_and_cleared(api: Api) -> None:
    api.control.fault("status", method="GET", path="/v1/health", times=None, skip=1)
    assert api.call("GET", SETTINGS).status_code == 200
    assert [api.call("GET", "/v1/health").status_code for _attempt in range(4)] == [200, 500, 500, 500]
    api.control.clear_faults()
    assert api.call("GET", "/v1/health").status_code == 200


def test_request_log_shows_everything_but_secrets(api: Api, request_log: pathlib.Path) -> None:
    canary = "Canary-4711"
    api.control.clear_requests()
    api.control.add_user("canary-user", canary)
    token = api.login("canary-user", canary, json={"new_password": f"{canary}-new"}).json()["users"][0]["token"]
    body = {
        "callback_backoff_delay_ms": "3000",
        "max_callback_backoff_delay_ms": 3000,
        "callback_persist": True,
        "media": {"auto_download": ["voice", "audio"]},
        "webhooks": {
            "url": f"https://{canary}:{canary}@example.com/hook?auth={canary}#{canary}",
            "message": {"read": False},
        },
    }
    headers = {"Authorization": f"Bearer {token}"}
    api.call("PATCH", f"{SETTINGS}?x={canary}", json=body, headers=headers)
    provider = [{"name": "p", "type": "www", "config": {"basic": {"username": canary, "password": canary}}}]
    api.call("POST", f"{SETTINGS}/media/providers", json=provider)
    api.call("PATCH", SETTINGS, data=f'{{"webhooks": "{canary}'.encode())
    entries = api.control.requests()
    assert [(entry["method"], entry["path"], entry["status"]) for entry in entries] == [
        ("POST", "/v1/users/login", 200),
        ("PATCH", SETTINGS, 200),
        ("POST", f"{SETTINGS}/media/providers", 200),
        ("PATCH", SETTINGS, 400),
    ]
    assert [(entry["authorization"], entry["user"]) for entry in entries[:2]] == [
        ("basic", "canary-user"),
        ("bearer", "canary-user"),
    ]
    webhooks = {"url": "https://***@example.com/hook?***", "message": {"read": False}}
    assert entries[1]["body"] == {**body, "webhooks": webhooks}
    assert entries[0]["body"] == {"new_password": "***"}
    assert entries[2]["body"][0]["name"] == "p"
    written = request_log.read_text(encoding="utf-8")
    own = [line for line in written.splitlines() if json.loads(line)["client"] == entries[0]["client"]]
    assert len(own) == 4
    for text in (json.dumps(entries), written):
        assert canary not in text
        assert token not in text


def test_the_control_api_is_not_logged(api: Api) -> None:
    api.control.clear_requests()
    api.control.switches()
    api.call("GET", "/v1/health")
    assert [entry["path"] for entry in api.control.requests()] == ["/v1/health"]


def test_faults_are_logged(api: Api) -> None:
    api.control.clear_requests()
    api.control.fault("reset")
    with pytest.raises(requests.exceptions.ConnectionError):
        api.call("GET", SETTINGS)
    assert [(entry["status"], entry["fault"]) for entry in api.control.requests()] == [(None, "reset")]
