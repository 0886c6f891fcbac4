# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import email.utils
import re
import time
from typing import Any

import pytest
from emulated import API_KEY, PASSWORD, Api, error_codes

SETTINGS = "/v1/settings/application"
PROVIDERS = f"{SETTINGS}/media/providers"
WEBHOOK_CA = "/v1/certificates/webhooks/ca"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
META = {"version": "v2.57.2", "api_status": "stable"}


def test_login_logout_and_the_life_of_a_token(api: Api) -> None:
    answers = [api.login("admin", PASSWORD) for _attempt in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    body = answers[0].json()
    assert body["meta"] == META
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", body["users"][0]["expires_after"])
    expiry = time.mktime(time.strptime(body["users"][0]["expires_after"][:19], "%Y-%m-%d %H:%M:%S")) - time.timezone
    assert abs(expiry - time.time() - 7 * 86400) < 60
    first, second = ({"Authorization": f"Bearer {answer.json()['users'][0]['token']}"} for answer in answers)
    assert api.call("GET", SETTINGS, headers=first).status_code == 200
    assert api.call("POST", "/v1/users/logout", headers=first).json() == {"meta": META}
    assert api.call("GET", SETTINGS, headers=first).status_code == 401
    assert api.call("POST", "/v1/users/logout", headers=first).status_code == 401
    assert api.call("GET", SETTINGS, headers=second).status_code == 200


@pytest.mark.parametrize(("username", "password"), [("admin", "wrong"), ("nobody", PASSWORD), ("admin", ""), ("", "")])
def test_wrong_credentials(api: Api, username: str, password: str) -> None:
    answer = api.login(username, password)
    assert (answer.status_code, answer.content) == (401, b"")


def test_login_without_basic_and_with_a_bad_body(api: Api) -> None:
    assert api.call("POST", "/v1/users/login", headers={}).status_code == 401
    assert (
        api.call("POST", "/v1/users/login", headers={"Authorization": "Basic ä".encode("latin-1")}).status_code == 401
    )
    for body in (b"{", b"[]", b"\xff"):
        answer = api.login("admin", PASSWORD, data=body)
        assert (answer.status_code, error_codes(answer)) == (400, [1025])


def test_the_first_password_has_to_be_changed(api: Api) -> None:
    api.control.add_user("fresh", "secret", owes_change=True)
    owed = api.login("fresh", "secret")
    assert (owed.status_code, error_codes(owed)) == (401, [1024])
    for weak in ("secret", "Secret-", "x" * 65, 5):
        refused = api.login("fresh", "secret", json={"new_password": weak})
        assert (refused.status_code, error_codes(refused)) == (400, [1009])
    assert api.login("fresh", "secret", json={"new_password": "Changed-1"}).status_code == 200
    assert api.login("fresh", "secret").status_code == 401
    assert api.login("fresh", "Changed-1").status_code == 200


def test_settings_belong_to_admins(api: Api) -> None:
    api.control.add_user("reader", "Reader-123", role="ROLE_USER")
    headers = {"Authorization": f"Bearer {api.control.token('reader')}"}
    for method, path in [
        ("GET", SETTINGS),
        ("PATCH", SETTINGS),
        ("DELETE", SETTINGS),
        ("GET", PROVIDERS),
        ("GET", WEBHOOK_CA),
    ]:
        answer = api.call(method, path, headers=headers, json={})
        assert (answer.status_code, error_codes(answer)) == (403, [1005])
    assert api.call("GET", "/v1/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer nonsense", "Bearer a.b.c", "Bearer ", "Apikey " + API_KEY, "Basic YTpi", "", "Odd x"]
)
def test_settings_want_a_valid_token(api: Api, header: str) -> None:
    answer = api.call("GET", SETTINGS, headers={"Authorization": header})
    assert (answer.status_code, answer.content) == (401, b"")


def test_an_expired_token(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.control.token(expires_in=-1)}"}
    assert api.call("GET", SETTINGS, headers=headers).status_code == 401


def test_the_api_key_opens_health_only(api: Api) -> None:
    assert api.call("GET", "/v1/health", headers={"Authorization": f"Apikey {API_KEY}"}).status_code == 200
    assert api.call("GET", "/v1/health", headers={"Authorization": "Apikey wrong"}).status_code == 401
    assert api.call("GET", "/v1/support", headers={"Authorization": f"Apikey {API_KEY}"}).status_code == 401


def test_settings_round_trip(api: Api) -> None:
    answer = api.call("GET", SETTINGS)
    assert answer.json()["meta"] == META
    before = api.settings()
    assert before["callback_backoff_delay_ms"] == 3000
    assert before["wa_id"]
    written = api.patch({"callback_backoff_delay_ms": "4000", "webhooks": {"max_concurrent_requests": 12}})
    assert (written.status_code, written.content) == (200, b"null")
    expected = {
        **before,
        "callback_backoff_delay_ms": 4000,
        "webhooks": {**before["webhooks"], "max_concurrent_requests": 12},
    }
    assert api.settings() == expected
    assert api.call("DELETE", SETTINGS).content == b"null"
    assert api.settings() == before


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        ({"no_such_key": 1}, 1010, "no_such_key"),
        ({"webhooks": {"no_such_key": 1}}, 1010, "webhooks.no_such_key"),
        ({"wa_id": "49"}, 1010, "wa_id"),
        ({"callback_persist": "true"}, 1009, "callback_persist"),
        ({"media": {}}, 1008, "media.auto_download"),
        ([], 1025, ""),
    ],
)
def test_invalid_patches_change_nothing(api: Api, body: Any, code: int, name: str) -> None:
    answer = api.patch(body)
    assert (answer.status_code, error_codes(answer)) == (400, [code])
    assert name in answer.json()["errors"][0]["details"]
    assert answer.json()["errors"][0]["title"]
    assert api.control.stored() == {}


def test_a_patch_that_is_no_json(api: Api) -> None:
    for body in (b"", b"{,}"):
        assert error_codes(api.call("PATCH", SETTINGS, data=body)) == [1025]


def test_stored_settings_can_be_set_up(api: Api) -> None:
    api.control.store({"log_level": "error"})
    assert api.settings()["log_level"] == "error"
    assert api.control.effective()["log_level"] == "error"


def test_media_providers_by_the_control_api(api: Api) -> None:
    provider = {"name": "media", "type": "www", "config": {"bearer": "secret"}}
    api.control.store_providers([provider])
    assert api.control.providers() == [provider]
    api.control.switch(flat_get=True)
    assert api.call("GET", PROVIDERS).json()["media"] == {"providers": [provider]}


def test_media_providers(api: Api) -> None:
    basic = {"name": "shop", "type": "www", "config": {"basic": {"username": "u", "password": "p"}}}
    bearer = {"name": "cdn", "type": "www", "config": {"bearer": "b"}}

    def present() -> Any:
        return api.call("GET", PROVIDERS).json()["settings"]["application"]["media"]["providers"]

    assert present() == []
    assert api.call("POST", PROVIDERS, json=[basic]).status_code == 200
    assert api.call("POST", PROVIDERS, json=[bearer]).content == b"null"
    assert present() == [basic, bearer]
    changed = {**basic, "config": {"bearer": "c"}}
    assert api.call("POST", PROVIDERS, json=[changed]).status_code == 200
    assert present() == [bearer, changed]
    assert api.call("DELETE", f"{PROVIDERS}/shop").status_code == 200
    missing = api.call("DELETE", f"{PROVIDERS}/shop")
    assert (missing.status_code, error_codes(missing)) == (404, [1006])
    assert present() == [bearer]
    odd = {**basic, "name": "a b/c%d"}
    assert api.call("POST", PROVIDERS, json=[odd]).status_code == 200
    assert api.call("DELETE", f"{PROVIDERS}/a%20b%2Fc%25d").status_code == 200
    assert present() == [bearer]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 1009),
        ([], 1009),
        ([{"name": "a", "type": "www", "config": {"bearer": "x"}}] * 2, 1009),
        ([{"name": "a", "type": "www"}], 1008),
        ([{"name": "a", "type": "ftp", "config": {"bearer": "x"}}], 1009),
        ([{"name": "", "type": "www", "config": {"bearer": "x"}}], 1009),
        ([{"name": "a", "type": "www", "config": {}}], 1009),
        ([{"name": "a", "type": "www", "config": {"bearer": "x", "basic": {}}}], 1009),
        ([{"name": "a", "type": "www", "config": {"basic": {"username": "x"}}}], 1009),
        ([{"name": "a", "type": "www", "config": {"bearer": "x"}, "more": 1}], 1010),
    ],
)
def test_wrong_media_providers(api: Api, body: Any, code: int) -> None:
    answer = api.call("POST", PROVIDERS, json=body)
    assert (answer.status_code, error_codes(answer)) == (400, [code])


def test_garbage_collection(api: Api) -> None:
    for kind in ("message", "media"):
        answer = api.call("PUT", f"/v1/services/{kind}/gc")
        assert answer.json() == {"services": {kind: {"gc": {"status": "processing"}}}, "meta": META}


def test_webhook_certificate(api: Api) -> None:
    absent = api.call("GET", WEBHOOK_CA)
    assert (absent.status_code, error_codes(absent)) == (404, [1006])
    assert error_codes(api.call("POST", WEBHOOK_CA, data="no pem")) == [1009]
    assert api.call("POST", WEBHOOK_CA, data=PEM).content == b"null"
    stored = api.call("GET", WEBHOOK_CA)
    assert (stored.text, stored.headers["Content-Type"]) == (PEM, "text/plain")
    assert api.call("DELETE", WEBHOOK_CA).status_code == 200
    assert api.call("GET", WEBHOOK_CA).status_code == 404


def test_a_webhook_certificate_needs_a_restart(api: Api) -> None:
    api.call("POST", WEBHOOK_CA, data=PEM)
    (name, record) = next(iter(api.control.nodes().items()))
    assert record["webhook_ca"] is None
    api.control.act_on_node(name, "restart")
    assert len(api.control.nodes()[name]["webhook_ca"]) == 64


def test_shards_support_and_the_rest(api: Api) -> None:
    assert api.call("GET", "/v1/account/shards").json() == {"account": {"shards": 1}, "meta": META}
    refused = api.call("POST", "/v1/account/shards", json={"shards": 2})
    assert (refused.status_code, error_codes(refused)) == (400, [1000])
    assert api.call("GET", "/v1/account/shards").json()["account"] == {"shards": 1}
    support = api.call("GET", "/v1/support").json()["support"]
    assert (support["description"], support["debug_info"]) == ("v2.57.2", api.settings()["wa_id"])
    assert 179 * 86400 < support["expire_timestamp"] - time.time() <= 180 * 86400
    assert api.call("GET", "/", headers={}).status_code == 200
    assert api.call("GET", "/v1/certificates/external/ca").status_code == 404
    assert error_codes(api.call("GET", "/v1/nothing")) == [1006]
    assert error_codes(api.call("PUT", SETTINGS)) == [1006]


def test_an_unregistered_client_has_no_number(api: Api) -> None:
    api.control.switch(unregistered=True)
    assert (api.settings()["wa_id"], api.call("GET", "/v1/support").json()["support"]["debug_info"]) == ("", "")


@pytest.mark.parametrize("path", ["/", "/v1/health", SETTINGS, "/v1/nothing", WEBHOOK_CA])
def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    api.control.clear_requests()
    got, head = api.call("GET", path), api.call("HEAD", path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("Content-Length", "Content-Type"):
        assert head.headers[name] == got.headers[name]
    # On the same connection: nothing of the answer was left in it.
    assert api.call("GET", path).content == got.content
    assert [entry["method"] for entry in api.control.requests()] == ["GET", "HEAD", "GET"]


def test_answers_are_dated(api: Api) -> None:
    for method, path in (("GET", "/v1/health"), ("HEAD", "/"), ("GET", "/v1/nothing")):
        date = email.utils.parsedate_to_datetime(api.call(method, path).headers["Date"])
        assert abs(date.timestamp() - time.time()) < 60


def test_control_api_says_what_is_wrong(api: Api) -> None:
    for call in (
        lambda: api.control.switch(no_such=1),
        lambda: api.control.fault("explode"),
        lambda: api.control.add_user("x", "Passw0rd-x", role="KING"),
        lambda: api.control.token("nobody"),
        lambda: api.control.act_on_node("nobody", "restart"),
    ):
        with pytest.raises(ValueError, match=r"POST|PATCH"):
            call()


def test_an_owed_change_is_a_challenge_too(api: Api) -> None:
    api.control.add_user("fresh", "secret", owes_change=True)
    assert api.login("fresh", "secret").headers["WWW-Authenticate"] == 'Basic realm="Secured"'


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"callback_backoff_delay_ms": "' + "9" * 6000 + '"}'], ids=["deep", "long"]
)
def test_bodies_that_break_parsers_are_refused(api: Api, body: str) -> None:
    answer = api.call("PATCH", SETTINGS, data=body)
    assert answer.status_code == 400
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "switches", [[1], {"client_version": "two"}, {"expires_on": "tomorrow"}, {"www_authenticate": "a\r\nX-Inj: 1"}]
)
def test_switches_that_would_break_later_are_refused(api: Api, switches: Any) -> None:
    answer = api.call("PATCH", "/_emulator/switches", json=switches)
    assert answer.status_code == 400
    assert answer.json()["error"]
