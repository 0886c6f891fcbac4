# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import time
import warnings
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from ansible_collections.wabiz.onprem.plugins.module_utils import _client
from ansible_collections.wabiz.onprem.plugins.module_utils._client import (
    LOGIN,
    LOGOUT,
    Answer,
    ApiError,
    Client,
    Connection,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._health import HEALTH
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import SETTINGS

if TYPE_CHECKING:
    from .conftest import Emulated, Pki, Scripted

PAIR = ("login", "logout")


class Pauses(list[float]):
    """Takes the place of `time.sleep`."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NETRC", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def failing_get(connection: Connection, **options: Any) -> ApiError:
    """The error of a GET of the settings, in one line and without the secrets of the tests."""
    with pytest.raises(ApiError) as failure, Client(connection, sleep=Pauses(), **options) as client:
        client.get(SETTINGS)
    line = str(failure.value)
    assert line.isprintable()
    assert "anary" not in line
    assert " object at 0x" not in line
    return failure.value


# --- the conversation --------------------------------------------------------------------------------------------


def test_with_a_password_the_client_logs_in_and_out(emulated: Emulated) -> None:
    with Client(emulated.connection) as client:
        answer = client.get(SETTINGS)
        client.patch(SETTINGS, {"log_level": "error"})
        client.delete(SETTINGS)
    assert (answer.version, answer.api_status) == ("v2.57.2", "stable")
    assert answer.body["settings"]["application"]["log_level"] == "info"
    assert emulated.verbs == ["login", "GET", "PATCH", "DELETE", "logout"]
    assert {status for *_request, status in emulated.requests} == {200}
    assert len(emulated.client.store.read().revoked) == 1


def test_with_a_token_there_is_no_login_and_no_logout(emulated: Emulated) -> None:
    with Client(replace(emulated.connection, password=None, token=emulated.token())) as client:
        client.get(SETTINGS)
    assert emulated.verbs == ["GET"]
    assert not emulated.client.store.read().revoked


def test_headers_go_with_every_request(scripted: Scripted) -> None:
    scripted.answer(200, '{"users": [{"token": "canary"}]}')
    scripted.answer()
    headers = {"X-Gateway-Key": "canary-key", "accept": "text/plain"}
    with Client(replace(scripted.connection, token=None, password="canary", headers=headers)) as client:
        client.get(SETTINGS)
        client.patch(SETTINGS, {})
    assert [request.method for request in scripted.requests] == ["POST", "GET", "PATCH", "POST"]
    assert [request.headers.get_list("X-Gateway-Key") for request in scripted.requests] == [["canary-key"]] * 4
    assert [request.headers.get_list("Accept") for request in scripted.requests] == [["text/plain"]] * 4


@pytest.mark.parametrize("headers", [{"X-Gateway-Key": "canary-key"}, {"Authorization": "Apikey canary"}])
def test_with_headers_alone_nothing_else_authenticates(scripted: Scripted, headers: dict[str, str]) -> None:
    scripted.answer(401, "canary-key")
    error = failing_get(replace(scripted.connection, token=None, headers=headers))
    assert error.status == 401
    assert [request.method for request in scripted.requests] == ["GET"]
    assert scripted.requests[0].headers.get("Authorization") == headers.get("Authorization")


@pytest.mark.parametrize(
    ("method", "arguments", "body"),
    [("patch", ({"a": 1},), {"a": 1}), ("post", ([1],), [1]), ("put", (), None), ("delete", (), None)],
)
def test_what_a_write_sends(scripted: Scripted, method: str, arguments: tuple[Any, ...], body: Any) -> None:
    scripted.answer()
    with Client(scripted.connection) as client:
        getattr(client, method)(SETTINGS, *arguments)
    (request,) = scripted.requests
    assert (request.method, request.path) == (method.upper(), SETTINGS)
    assert (json.loads(request.body) if request.body else None) == body
    assert request.headers.get_list("Accept") == ["application/json"]


def test_a_login_that_was_lost_and_a_logout_change_nothing_by_themselves(scripted: Scripted) -> None:
    scripted.answer(200, '{"users": [{"token": "canary"}]}')
    scripted.answer()
    with Client(replace(scripted.connection, token=None, password="canary")) as client:
        client.patch(SETTINGS, {})
    assert [(request.method, request.path) for request in scripted.requests] == [
        ("POST", LOGIN),
        ("PATCH", SETTINGS),
        ("POST", LOGOUT),
    ]
    assert [request.headers["Authorization"].partition(" ")[0] for request in scripted.requests] == [
        "Basic",
        "Bearer",
        "Bearer",
    ]


def test_nothing_is_asked_without_need(emulated: Emulated) -> None:
    with Client(emulated.connection):
        pass
    assert emulated.verbs == []


def test_a_path_prefix_stays_and_names_are_quoted(scripted: Scripted) -> None:
    scripted.answer()
    with Client(replace(scripted.connection, api_url=f"{scripted.connection.api_url}/gateway/wa1/")) as client:
        client.delete(f"{SETTINGS}/media/providers/a b?c%2Fd")
    assert [request.uri for request in scripted.requests] == [f"/gateway/wa1{SETTINGS}/media/providers/a%20b%3Fc%2Fd"]


def test_the_logout_comes_whatever_happens_in_between(emulated: Emulated) -> None:
    with pytest.raises(KeyError), Client(emulated.connection) as client:
        client.get(SETTINGS)
        raise KeyError
    emulated.fault("status", method="GET", status=400)
    failing_get(emulated.connection)
    assert emulated.verbs == ["login", "GET", "logout"] * 2


@pytest.mark.parametrize("fault", [{"action": "reset"}, {"action": "status"}, {"action": "html"}, {"action": "cut"}])
def test_a_failed_logout_does_not_matter_and_is_not_repeated(emulated: Emulated, fault: dict[str, Any]) -> None:
    emulated.fault(**fault, path="/v1/users/logout", times=None)
    with Client(emulated.connection) as client:
        client.get(SETTINGS)
    assert emulated.verbs == ["login", "GET", "logout"]


@pytest.mark.parametrize("method", ["patch", "post", "put", "delete"])
def test_read_only_refuses_to_write(emulated: Emulated, method: str) -> None:
    with Client(emulated.connection, read_only=True) as client:
        client.get(SETTINGS)
        with pytest.raises(ApiError, match=f"^{method.upper()} {SETTINGS}: refused"):
            getattr(client, method)(SETTINGS, *([{"log_level": "error"}] if method in ("patch", "post") else []))
    assert emulated.verbs == ["login", "GET", "logout"]


# --- what passes, and what does not ------------------------------------------------------------------------------

WACORE = "Connection timed out. Please check if wacore is running: wacore:6252"
PASSING: list[tuple[dict[str, Any], str]] = [
    *(({"action": "status", "status": status}, f"HTTP {status}") for status in (429, 502, 503, 504)),
    *(({"action": "error", "code": code, "status": 500}, f"error {code}") for code in (1011, 1015, 1016, 1017, 1018)),
    ({"action": "error", "code": 1017, "status": 400}, "HTTP 400, error 1017: Not primary master"),
    ({"action": "error", "code": 1016, "status": 200}, "HTTP 200, error 1016"),
    (
        {"action": "error", "code": 1014, "details": WACORE},
        "HTTP 500, error 1014: Internal error: Connection timed out",
    ),
    ({"action": "html", "status": 502}, "HTTP 502"),
    ({"action": "reset"}, "cannot be reached"),
    ({"action": "cut"}, "the answer was cut off"),
    ({"action": "proceed", "delay": 0.4}, "no answer within 0.2 s"),
]
LASTING: list[tuple[dict[str, Any], str]] = [
    *(({"action": "status", "status": status}, f"HTTP {status}") for status in (201, 204, 400, 404, 500)),
    ({"action": "status", "status": 403}, "HTTP 403 (the account must have the admin role"),
    ({"action": "error", "code": 1014}, "HTTP 500, error 1014: Internal error: Emulated fault"),
    ({"action": "error", "code": 1000}, "error 1000: Generic error"),
    ({"action": "error", "code": 1005, "status": 403}, "(the account must have the admin role"),
    ({"action": "error", "code": 1006, "status": 404}, "(this client does not know the resource)"),
    ({"action": "error", "code": 1009, "status": 400}, "(a value is not valid for this client)"),
    ({"action": "error", "code": 1010, "status": 400}, "(this client version does not know a setting that was sent)"),
    ({"action": "error", "code": 1031, "status": 403}, "(the account is locked)"),
    ({"action": "html", "status": 200}, "answered with an HTML page, not with JSON"),
    (
        {"action": "redirect", "location": "https://me:canary@h/?canary"},
        "redirects to https://********@h/?******** (redirects are not followed; set",
    ),
]


@pytest.mark.parametrize(("fault", "said"), PASSING)
def test_a_passing_fault_is_tried_again(emulated: Emulated, pauses: Pauses, fault: dict[str, Any], said: str) -> None:
    timeout = 0.2 if "delay" in fault else 5.0
    connection = replace(emulated.connection, password=None, token=emulated.token(), timeout=timeout)
    emulated.fault(**fault, times=2)
    with Client(connection, sleep=pauses) as client:
        assert client.get(SETTINGS).body["settings"]
        assert pauses == [0.5, 1.0]
        emulated.fault(**fault, times=None)
        with pytest.raises(ApiError) as failure:
            client.get(SETTINGS)
    assert said in str(failure.value)
    assert str(failure.value).startswith(f"GET {connection.api_url}{SETTINGS}: ")
    assert failure.value.passing
    assert pauses == [0.5, 1.0, 0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("status", "errors", "passing", "done", "pending"),
    [
        (400, [], False, False, False),
        (401, [], False, False, False),
        (408, [], False, True, True),
        (429, [], True, False, False),
        (451, [], False, False, False),
        (500, [], False, True, False),
        (502, [], True, True, True),
        (502, [{"code": 1000}], True, True, False),
        (503, [], True, True, True),
        (503, [{"code": True}], True, True, True),
        (504, [{"code": 1000}], True, True, True),
        (500, [{"code": 1015}], True, True, False),
        (500, [{"code": 1014, "details": "Is wacore running?"}], True, True, True),
        (500, [{"code": 1014, "details": "x"}], False, True, False),
        (500, [{"code": 1000, "details": "wacore"}], False, True, False),
        (400, [{"code": 1009}, {"code": 1016}], True, False, False),
        (202, [{"code": 1000}], False, True, True),
        (203, [], False, True, False),
        (300, [], False, False, False),
        (308, [], False, False, False),
    ],
)
def test_what_a_status_says_of_a_write(
    scripted: Scripted, status: int, errors: list[dict[str, Any]], passing: bool, done: bool, pending: bool
) -> None:
    scripted.answer(status, json.dumps({"errors": errors}))
    with pytest.raises(ApiError) as failure, Client(scripted.connection) as client:
        client.patch(SETTINGS, {"log_level": "error"})
    error = failure.value
    assert (error.status, error.passing, error.maybe_done, error.maybe_pending) == (status, passing, done, pending)
    codes = tuple(one["code"] for one in errors if one["code"] is not True)
    assert error.codes == (() if 300 <= status < 400 else codes)
    # What is only read or asked for anew is never half done.
    error = failing_get(replace(scripted.connection, retries=0))
    assert (error.status, error.maybe_done, error.maybe_pending) == (status, False, False)


@pytest.mark.parametrize(("fault", "said"), LASTING)
def test_a_lasting_fault_is_not_tried_again(emulated: Emulated, fault: dict[str, Any], said: str) -> None:
    emulated.fault(**fault, path=SETTINGS, times=None)
    error = failing_get(emulated.connection)
    assert said in str(error)
    assert not error.passing
    assert emulated.verbs == ["login", "GET", "logout"]


@pytest.mark.parametrize("retries", [0, 1, 7])
def test_the_number_of_attempts(emulated: Emulated, pauses: Pauses, retries: int) -> None:
    emulated.fault("status", status=503, path=SETTINGS, times=None)
    with Client(replace(emulated.connection, retries=retries), sleep=pauses) as client:
        with pytest.raises(ApiError):
            client.get(SETTINGS)
        assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0][:retries]
        with pytest.raises(ApiError):
            client.get(SETTINGS, 0)
    assert emulated.verbs == ["login", *["GET"] * (retries + 2), "logout"]


@pytest.mark.parametrize("fault", [{"action": "reset"}, {"action": "status", "status": 503}, {"action": "cut"}])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_write_is_sent_once(emulated: Emulated, pauses: Pauses, method: str, fault: dict[str, Any]) -> None:
    emulated.fault(**fault, method=method, applied=True)
    with Client(emulated.connection, sleep=pauses) as client, pytest.raises(ApiError) as failure:
        if method == "PATCH":
            client.patch(SETTINGS, {"log_level": "error"})
        else:
            client.delete(SETTINGS)
    # Who has begun to answer is at work no more.
    pending = fault["action"] != "cut"
    assert (failure.value.passing, failure.value.maybe_done, failure.value.maybe_pending) == (True, True, pending)
    assert (emulated.verbs, pauses) == (["login", method, "logout"], [])


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("3600", 60.0),
        ("9" * 5000, 0.5),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 1.0),
        ("Wed, 21 Oct 2200 07:28:00 GMT", 60.0),
        ("soon", 20.0),
        ("-3", 0.5),
        ("", 0.5),
    ],
)
def test_retry_after(scripted: Scripted, pauses: Pauses, asked: str, pause: float) -> None:
    if asked == "soon":
        asked = formatdate(time.time() + 20, usegmt=True)
    scripted.answer(429, b"", Retry_After=asked)
    scripted.answer()
    with Client(scripted.connection, sleep=pauses) as client:
        client.get(HEALTH)
    assert pauses == [pytest.approx(pause, abs=2 if pause == 20 else 0)]


# --- login -------------------------------------------------------------------------------------------------------


def test_a_fresh_token_that_is_not_accepted_leads_to_one_more_login(emulated: Emulated) -> None:
    emulated.fault("expired_token", path=SETTINGS)
    with Client(emulated.connection) as client:
        client.get(SETTINGS)
        emulated.fault("expired_token", path=SETTINGS)
        client.get(SETTINGS)
    assert emulated.verbs == ["login", "GET", "login", "GET", "GET", "login", "GET", "logout"]


def test_and_to_no_more_than_one(emulated: Emulated) -> None:
    emulated.fault("expired_token", path=SETTINGS, times=None)
    error = failing_get(emulated.connection)
    assert (error.status, error.passing) == (401, False)
    assert "HTTP 401 (the token is not valid or has expired)" in str(error)
    assert emulated.verbs == ["login", "GET", "login", "GET", "logout"]


def test_also_where_something_passing_comes_in_between(emulated: Emulated) -> None:
    emulated.fault("expired_token", path=SETTINGS)
    emulated.fault("status", status=503, path=SETTINGS)
    emulated.fault("expired_token", path=SETTINGS)
    assert failing_get(emulated.connection).status == 401
    assert emulated.verbs == ["login", "GET", "login", "GET", "GET", "logout"]


def test_a_ready_token_that_is_not_accepted_is_the_end(emulated: Emulated) -> None:
    error = failing_get(replace(emulated.connection, password=None, token="canary"))
    assert "HTTP 401 (the token is not valid or has expired)" in str(error)
    assert emulated.verbs == ["GET"]


@pytest.mark.parametrize("body", ["empty", "errors"])
def test_a_wrong_password(emulated: Emulated, body: str) -> None:
    emulated.switch(unauthorized_body=body)
    error = failing_get(replace(emulated.connection, password="canary-wrong"))
    assert error.status == 401
    assert str(error).startswith(f"POST {emulated.connection.api_url}{LOGIN}: HTTP 401")
    assert "username or password is wrong" in str(error) or "error 1005" in str(error)
    assert emulated.verbs == ["login"]


def test_a_first_password_that_is_still_to_be_changed(emulated: Emulated) -> None:
    emulated.add_user("admin", "canary-secret", owes_change=True)
    error = failing_get(replace(emulated.connection, password="canary-secret"))
    assert "error 1024" in str(error)
    assert "the account still has its first password" in str(error)
    assert emulated.verbs == ["login"]


def test_an_account_without_the_admin_role(emulated: Emulated) -> None:
    emulated.add_user("user", "canary-secret", role="ROLE_USER")
    error = failing_get(replace(emulated.connection, username="user", password="canary-secret"))
    assert "HTTP 403, error 1005: Access denied: Admin role is required (the account must have the admin role" in str(
        error
    )
    assert emulated.verbs == ["login", "GET", "logout"]


def test_a_login_that_fails_for_a_while(emulated: Emulated, pauses: Pauses) -> None:
    emulated.fault("status", status=429, path=LOGIN, times=2)
    with Client(emulated.connection, sleep=pauses) as client:
        client.get(SETTINGS)
    assert emulated.verbs == ["login", "login", "login", "GET", "logout"]
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "{}",
        "[]",
        '{"users": []}',
        '{"users": [{}]}',
        '{"users": [{"token": ""}]}',
        '{"users": [{"token": "a\\nb"}]}',
    ],
)
def test_a_login_without_a_token(scripted: Scripted, body: str) -> None:
    scripted.answer(200, body)
    error = failing_get(replace(scripted.connection, token=None, password="canary"))
    assert str(error).endswith("the answer to the login holds no token")
    assert len(scripted.requests) == 1


def test_names_and_passwords_beyond_ascii(emulated: Emulated) -> None:
    emulated.add_user("bürö", "pässwörd: Ж€")
    with Client(replace(emulated.connection, username="bürö", password="pässwörd: Ж€")) as client:
        assert client.get(SETTINGS).body


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("", Answer(None, None, None)),
        (" \n", Answer(None, None, None)),
        ("null", Answer(None, None, None)),
        ("{}", Answer({}, None, None)),
        ("[]", Answer([], None, None)),
        ('{"meta": null}', Answer({"meta": None}, None, None)),
        ('{"errors": []}', Answer({"errors": []}, None, None)),
        ('{"meta": {"version": 3}}', Answer({"meta": {"version": 3}}, None, None)),
        ('{"meta": {"version": "v2.1"}}', Answer({"meta": {"version": "v2.1"}}, "v2.1", None)),
    ],
)
def test_answers_that_are_taken(scripted: Scripted, body: str, answer: Answer) -> None:
    scripted.answer(200, body)
    with Client(scripted.connection) as client:
        assert client.patch(SETTINGS, {"log_level": "error"}) == answer
    assert json.loads(scripted.requests[0].body) == {"log_level": "error"}
    assert scripted.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "headers", "said", "passing"),
    [
        ("<html>canary</html>", {}, "answered with an HTML page", False),
        ("Welcome canary", {"Content_Type": "text/html; charset=utf-8"}, "answered with an HTML page", False),
        ("Welcome canary", {"Content_Type": "text/plain"}, "the answer is not JSON", False),
        ('{"settings": {"application"', {}, "the answer was cut off", True),
        (b"\xff\xfe\x00canary", {}, "the answer is not JSON", False),
        ('{"errors": [{"code": 1009}]}', {}, "HTTP 200, error 1009 (a value is not valid", False),
        ('{"errors": [{"code": 1009, "title": "Bad\\u0007\\n", "details": null}]}', {}, "error 1009: Bad (", False),
        ('{"errors": [{"title": "No code"}, 5]}', {}, "HTTP 200, error None: No code", False),
    ],
)
def test_answers_that_are_not_taken(
    scripted: Scripted, body: bytes | str, headers: dict[str, str], said: str, passing: bool
) -> None:
    scripted.answer(200, body, **headers)
    error = failing_get(scripted.connection)
    assert said in str(error)
    assert error.passing is passing
    assert len(scripted.requests) == (5 if passing else 1)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_write_may_be_answered_in_several_ways_and_a_login_in_one(scripted: Scripted, status: int) -> None:
    body = b"" if status == 204 else b'{"users": [{"token": "canary"}]}'
    scripted.answer(status, body)
    with Client(scripted.connection) as client:
        answer = client.patch(SETTINGS, {})
    assert (answer.status, answer.body is None) == (status, status == 204)
    if status != 200:
        error = failing_get(replace(scripted.connection, token=None, password="canary"))
        assert str(error).endswith(f"{LOGIN}: HTTP {status}")


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("  <html>", "", "answered with an HTML page, not with JSON; is api_url right, or is a proxy in between?"),
        (
            "{}}",
            " Text/HTML ; x",
            "answered with an HTML page, not with JSON; is api_url right, or is a proxy in between?",
        ),
        ('["a" \n', "", "the answer was cut off"),
        (' {"a": ', "", "the answer was cut off"),
        ('{"a": }\n', "", "the answer is not JSON"),
        ("[1,] ", "", "the answer is not JSON"),
        ("a]", "", "the answer is not JSON"),
        ("Infinity", "", "the answer is not JSON"),
    ],
)
def test_an_answer_to_a_write_that_nobody_can_read(scripted: Scripted, body: str, kind: str, said: str) -> None:
    scripted.answer(200, body, **({"Content_Type": kind} if kind else {}))
    with pytest.raises(ApiError) as failure, Client(scripted.connection) as client:
        client.patch(SETTINGS, {})
    error = failure.value
    assert str(error) == f"PATCH {scripted.connection.api_url}{SETTINGS}: {said}"
    cut = said.endswith("cut off")
    assert (error.status, error.passing, error.maybe_done, error.maybe_pending) == (200, cut, True, False)


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (400, {"errors": [{"code": 1009}, {"code": 1009}, {"code": 1010}]}, {}, (
            "HTTP 400, error 1009; error 1009; error 1010 (a value is not valid for this client; this client version "
            "does not know a setting that was sent)"
        )),
        (400, {"errors": [{"code": 1, "title": "T", "details": "D"}]}, {}, "HTTP 400, error 1: T: D"),
        (400, {"errors": {"code": 1}}, {}, "HTTP 400"),
        (400, {"errors": [{"code": at} for at in range(1, 30)]}, {}, (
            "HTTP 400, " + "; ".join(f"error {at}" for at in range(1, 21))
        )),
        (400, "no JSON", {}, "HTTP 400"),
        (401, {}, {}, "HTTP 401 (the token is not valid or has expired)"),
        (401, {"errors": [{"code": 1031}]}, {}, "HTTP 401, error 1031 (the account is locked)"),
        (403, {}, {}, "HTTP 403 (the account must have the admin role; an expired client build answers the same)"),
        (403, {"errors": [{"code": 1006}]}, {}, "HTTP 403, error 1006 (this client does not know the resource)"),
        (302, {}, {}, (
            "redirects to another address (redirects are not followed; set api_url to the final address)"
        )),
    ],
)  # fmt: skip
def test_the_words_for_a_status(scripted: Scripted, status: int, body: Any, headers: dict[str, str], said: str) -> None:
    scripted.answer(status, body if isinstance(body, str) else json.dumps(body), **headers)
    assert str(failing_get(scripted.connection)) == f"GET {scripted.connection.api_url}{SETTINGS}: {said}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("000000005", 5.0), ("0000000005", None), ("", None), ("5.5", None), ("Mon, 99", None)],
)
def test_what_retry_after_asks_for(text: str, seconds: float | None) -> None:
    assert _client._asked_pause(text) == seconds


def test_an_answer_of_the_largest_size_is_taken(scripted: Scripted) -> None:
    text = "x" * (4 * 1024 * 1024 - 2)
    for body, headers in (
        (f'"{text}"'.encode(), {}),
        (gzip.compress(f'"{text}"'.encode(), 1), {"Content_Encoding": " GZIP "}),
    ):
        scripted.answers.clear()
        scripted.answer(200, body, **headers)
        with Client(scripted.connection) as client:
            assert client.get(SETTINGS).body == text
    scripted.answers.clear()
    scripted.answer(200, f'"{text}x"')
    assert "the answer is longer than 4194304 bytes" in str(failing_get(scripted.connection))


def test_what_is_empty_needs_no_unpacking(scripted: Scripted) -> None:
    scripted.answer(200, b"", Content_Encoding="br")
    with Client(scripted.connection) as client:
        assert client.get(SETTINGS).body is None


def test_an_endless_explanation_is_shortened(scripted: Scripted) -> None:
    scripted.answer(400, json.dumps({"errors": [{"code": 1009, "details": "x" * 10_000}]}))
    assert len(str(failing_get(scripted.connection))) < 500


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(scripted: Scripted, status: int) -> None:
    scripted.answer(status, b"", Location="/elsewhere?auth=canary")
    scripted.answer()
    error = failing_get(scripted.connection)
    assert "redirects to /elsewhere?******** (redirects are not followed; set" in str(error)
    assert str(error).startswith(f"GET {scripted.connection.api_url}/")
    assert (error.status, error.passing) == (status, False)
    assert len(scripted.requests) == 1


# --- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_what_a_server_echoes_of_secrets_is_not_repeated(scripted: Scripted, status: int) -> None:
    url = "https://me:canary%2Fpw@h.example.com/wa?auth=canary%20one#canary-two"
    echo = f"canary-token {url} canary/pw canary one canary%20one canary-two https://other/?canary"
    scripted.answer(status, json.dumps({"errors": [{"code": 1009, "title": echo, "details": f"{echo}\n{echo}"}]}))
    with pytest.raises(ApiError) as failure, Client(scripted.connection) as client:
        client.keep_secret({"webhooks": {"url": url}})
        client.get(SETTINGS)
    assert "canary" not in str(failure.value)
    assert "h.example.com" in str(failure.value)


def test_a_token_of_a_login_is_not_repeated(scripted: Scripted) -> None:
    scripted.answer(200, '{"users": [{"token": "canary-fresh"}]}')
    scripted.answer(400, '{"errors": [{"code": 1009, "details": "token canary-fresh, password canary-pw"}]}')
    error = failing_get(replace(scripted.connection, token=None, password="canary-pw"))
    assert "token ********, password ********" in str(error)


def test_what_a_client_knows_to_be_secret() -> None:
    connection = Connection(
        "https://wa1.example.com", password="canary-pw", token="canary-token", headers={"X-Key": "canary-key"}
    )
    with Client(connection, environ={}) as client:
        basic = base64.b64encode(b"admin:canary-pw").decode()
        shown = client.scrub(f"a canary-pw b canary-token c canary-key d {basic} e canary-proxy")
        assert shown == "a ******** b ******** c ******** d ******** e canary-proxy"
        client.keep_secret({"webhooks": {"password": "canary-late"}})
        assert client.scrub("canary-late") == "********"


@pytest.mark.parametrize(
    ("user_info", "user", "password"),
    [
        ("canary-me:canary-pw", "canary-me", "canary-pw"),
        ("canary-me:canary%40pw", "canary-me", "canary@pw"),
        ("canary-me:canary@pw", "canary-me", "canary@pw"),
        ("canary-me:canary:pw", "canary-me", "canary:pw"),
        ("canary-me:canary://pw", "canary-me", "canary://pw"),
        ("canary%20me:", "canary me", ""),
    ],
)
def test_what_is_secret_of_a_proxy(user_info: str, user: str, password: str) -> None:
    found = _client._proxy_secrets({"http": "http://proxy:1", "https": f"http://{user_info}@proxy:1"})
    basic = base64.b64encode(f"{user}:{password}".encode()).decode().rstrip("=")
    assert {user_info, user, password, basic} <= found
    assert not any("proxy" in one for one in found)


@pytest.mark.parametrize("variable", ["HOME", "NETRC"])
def test_netrc_is_not_in_the_way(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login stray password stray\ndefault login stray password stray\n")
    netrc.chmod(0o600)
    monkeypatch.setenv(variable, str(tmp_path if variable == "HOME" else netrc))
    scripted.answer()
    with Client(scripted.connection) as client:
        client.get(SETTINGS)
    assert [request.headers["Authorization"] for request in scripted.requests] == ["Bearer canary-token"]


# --- the way there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_ca_path_wins_over_the_environment(
    emulated: Emulated, pki: Pki, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, pki.other_ca)
    with Client(emulated.connection) as client:
        assert client.get(SETTINGS).body
    without = replace(emulated.connection, ca_path=None)
    assert "the certificate was not accepted" in str(failing_get(without))
    monkeypatch.setenv(variable, pki.ca)
    with Client(without) as client:
        assert client.get(SETTINGS).body
    monkeypatch.setenv(variable, pki.other_ca)
    with Client(replace(without, validate_certs=False)) as client:
        assert client.get(SETTINGS).body


@pytest.mark.parametrize("ca", ["other_ca", None])
def test_a_certificate_of_another_authority(emulated: Emulated, pki: Pki, ca: str | None) -> None:
    error = failing_get(replace(emulated.connection, ca_path=getattr(pki, ca) if ca else None))
    assert "the certificate was not accepted (" in str(error)
    assert str(error).endswith("; give the CA that signed the client's certificate as ca_path")
    assert (error.passing, emulated.verbs) == (False, [])


def test_a_certificate_for_another_name(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *rest, **options: resolve("127.0.0.1", *rest, **options))
    address = emulated.connection.api_url.replace("127.0.0.1", "wa1.example.com")
    error = failing_get(replace(emulated.connection, api_url=address))
    assert "the certificate is for another name (" in str(error)
    assert "ca_path" not in str(error)
    assert "wa1.example.com" in str(error)


def test_a_ca_file_that_is_not_there(emulated: Emulated, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    assert str(failing_get(replace(emulated.connection, ca_path=missing))) == f"ca_path: there is no file {missing}"
    error = failing_get(replace(emulated.connection, ca_path=None), environ={"REQUESTS_CA_BUNDLE": missing})
    assert str(error) == f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE: there is no file {missing}"


def test_a_ca_file_that_is_no_certificate(emulated: Emulated, tmp_path: Path) -> None:
    text = tmp_path / "ca.pem"
    text.write_text("no certificate")
    error = failing_get(replace(emulated.connection, ca_path=str(text)))
    assert not error.passing
    assert emulated.verbs == []


def test_a_port_without_a_server(emulated: Emulated, pauses: Pauses) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{reserved.getsockname()[1]}"
        with (
            pytest.raises(ApiError) as failure,
            Client(replace(emulated.connection, api_url=address), sleep=pauses) as client,
        ):
            client.get(SETTINGS)
    assert str(failure.value) == f"POST {address}{LOGIN}: cannot be reached (Connection refused)"
    assert pauses == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("environment", "base", "chosen"),
    [
        ({}, "https://wa1.example.com", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://wa1.example.com", "http://p:1"),
        ({"https_proxy": "p:1"}, "https://wa1.example.com", "p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://wa1.example.com", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://wa1.example.com", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://wa1.example.com", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "https://wa1.example.com", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://127.0.0.1:9090", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://localhost", None),
    ],
)
def test_which_proxy_is_used(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], base: str, chosen: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxies = _client._proxies_from(os.environ, base)
    assert proxies.get(base.partition(":")[0], proxies.get("all")) == chosen
    # What the task's environment does not name is not looked for elsewhere.
    assert _client._proxies_from({}, base) == {}


def test_the_words_for_a_proxy_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://")
    with pytest.raises(ApiError) as failure:
        Client(Connection("https://wa1.example.com", token="t"))
    assert str(failure.value) == (
        "the proxy of the environment is not a usable address (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)"
    )


def test_only_what_was_asked_for_is_not_warned_of() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Client(Connection("https://wa1.example.com", token="t", validate_certs=False), environ={})
        warnings.warn("another", stacklevel=1)
        warnings.warn("insecure", urllib3.exceptions.InsecureRequestWarning, stacklevel=1)
    assert [str(one.message) for one in caught] == ["another"]


def test_a_host_that_nobody_knows(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failing_get(replace(emulated.connection, api_url="https://wa1.invalid"))
    assert "cannot be reached (Name or service not known)" in str(error)
    assert not error.passing


def test_a_server_without_tls(scripted: Scripted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(5)
        address = f"https://127.0.0.1:{plain.getsockname()[1]}"
        error = failing_get(replace(scripted.connection, api_url=address, timeout=0.2, retries=0))
    assert "no answer within 0.2 s" in str(error)


def test_a_proxy_is_used_unless_told_otherwise(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:canary@127.0.0.1:{reserved.getsockname()[1]}")
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda _host, *rest, **options: resolve("127.0.0.1", *rest, **options)
        )
        elsewhere = replace(
            emulated.connection,
            api_url=emulated.connection.api_url.replace("127.0.0.1", "wa1.example.com"),
            validate_certs=False,
        )
        error = failing_get(elsewhere)
        assert str(error).endswith("the proxy could not be used (Connection refused)")
        assert error.passing
        with Client(replace(elsewhere, use_proxy=False)) as client:
            assert client.get(SETTINGS).body
        with Client(emulated.connection) as client:
            assert client.get(SETTINGS).body
        monkeypatch.setenv("NO_PROXY", "wa1.example.com")
        with Client(elsewhere) as client:
            assert client.get(SETTINGS).body


def test_an_error_says_nothing_that_is_not_known() -> None:
    error = ApiError("x")
    assert (str(error), error.status, error.codes, error.pause) == ("x", None, (), None)
    assert (error.passing, error.maybe_done, error.maybe_pending) == (False, False, False)
