# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _secrets
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("", ""),
        ("https://h.example.com", "https://h.example.com"),
        ("https://h.example.com:9090/a/b", "https://h.example.com:9090/a/b"),
        ("https://h.example.com/a?auth=canary", "https://h.example.com/a?********"),
        ("https://h.example.com?canary", "https://h.example.com?********"),
        ("https://h.example.com/a#canary", "https://h.example.com/a#********"),
        ("https://h.example.com/a?x#canary", "https://h.example.com/a?********"),
        ("https://h.example.com/a?", "https://h.example.com/a?"),
        ("https://canary@h.example.com/a", "https://********@h.example.com/a"),
        ("https://me:canary@h.example.com/a?canary", "https://********@h.example.com/a?********"),
        ("https://me:can/ary@h.example.com/a", "https://********@h.example.com/a"),
        ("https://me:can@ary@h.example.com/a", "https://********@h.example.com/a"),
        ("https://me:can?ary@h.example.com/a", "https://********@?********"),
        ("https://me:@canary#@h.example.com/a", "https://********@#********"),
        ("https://me:1#canary@h.example.com/a", "https://********@#********"),
        ("https://h.example.com/a?mail=me@example.com", "https://h.example.com/a?********"),
        ("me:canary@h.example.com/a?canary", "********@h.example.com/a?********"),
        ("ftp://me:canary@[::1]:21/a", "ftp://********@[::1]:21/a"),
    ],
)
def test_mask_url(url: str, masked: str) -> None:
    assert _secrets.mask_url(url) == masked
    assert _secrets.mask_url(masked).count("canary") == 0


def test_mask_keeps_structure_and_everything_that_is_no_secret() -> None:
    value: Any = {
        "webhooks": {"url": "h.example.com/?canary", "message": {"sent": True}},
        "callback": "https://h.example.com/?auth=canary with a blank",
        "note": 'see "https://h.example.com/?canary" and https://me:canary@h.example.com/',
        "providers": [{"name": "n", "basic": {"username": "me", "password": "canary"}}, {"bearer": "canary"}],
        "api_key": 123456,
        "tokens": ["canary", {"a": "canary", "b": None, "c": True, "d": ""}],
        "token": "",
        "number": 5,
        "nothing": None,
        "list": ("a", 1),
    }
    assert _secrets.mask(value) == {
        "webhooks": {"url": "h.example.com/?********", "message": {"sent": True}},
        "callback": "https://h.example.com/?********",
        "note": 'see "https://h.example.com/?********" and https://********@h.example.com/',
        "providers": [{"name": "n", "basic": {"username": "me", "password": "********"}}, {"bearer": "********"}],
        "api_key": "********",
        "tokens": ["********", {"a": "********", "b": None, "c": True, "d": ""}],
        "token": "",
        "number": 5,
        "nothing": None,
        "list": ["a", 1],
    }


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("https://h.example.com/a", set()),
        ("https://h.example.com/?auth=canary", {"auth=canary", "canary"}),
        (
            "https://h.example.com/?a=can%2Fary&canary",
            {"a=can%2Fary&canary", "a=can/ary&canary", "can%2Fary", "can/ary", "canary"},
        ),
        ("https://h.example.com/#canary", {"canary"}),
        ("https://me:can%40ary@h", {"me:can%40ary", "me:can@ary", "can%40ary", "can@ary"}),
        ("https://h.example.com/?x=abc", {"x=abc"}),
        (
            {"password": "canary", "pass": "canary2", "tokens": ["canary3", {"x": "canary4"}]},
            {"canary", "canary2", "canary3", "canary4"},
        ),
        ({("webhooks", "url"): "https://h/?canary"}, {"canary"}),
        ({"url": "h/?canary"}, {"canary"}),
        (["prose with https://h/?canary inside", 5, None], {"canary"}),
        ('https://h/?a="quoted canary"', {'a="quoted canary"', '"quoted canary"'}),
    ],
)
def test_find_secrets(value: Any, found: set[str]) -> None:
    assert _secrets.find_secrets(value) == found


@pytest.mark.parametrize(
    ("text", "secrets", "line"),
    [
        ("two\r\nlines\x1b[31m", [], "two lines [31m"),
        ("password is canary, again canary", ["canary"], "password is ********, again ********"),
        ("the longer canary first", ["canary", "longer canary"], "the ******** first"),
        ("echo of can\nary", ["can\nary"], "echo of ********"),
        ("echo of can  ary", ["can  ary"], "echo of ********"),
        ("an unknown https://me:canary@h/?canary here", [""], "an unknown https://********@h/?******** here"),
        ("line end only", ["\n"], "line end only"),
    ],
)
def test_scrub(text: str, secrets: list[str], line: str) -> None:
    assert _secrets.scrub(text, secrets) == line


SECRET_NAMES = (
    *("authorization", "auth", "api-key", "apiKey", "APIKEY", "X-Api-Key", "access_key", "accessKey", "client_key"),
    *(
        "shared_key",
        "shared-access-key",
        "private_key",
        "pwd",
        "db_pwd",
        "passcode",
        "pin",
        "user_pin",
        "otp",
        "cookie",
    ),
    *("Set-Cookie", "signature", "hmac", "jwt", "id_jwt", "sas", "sasToken", "password", "db_password", "passphrase"),
    *(
        "otp",
        "pass",
        "db_pass",
        "token",
        "secret",
        "bearer",
        "credential",
        "credentials",
        "client_secret",
        "signing_key",
    ),
    *(
        "signing_key",
        "encryption_key",
        "account_key",
        "webhook_key",
        "oauth",
        "oauth2",
        "totp",
        "sessionid",
        "session_id",
    ),
    *("D360-API-KEY", "authenticationCode", "proxy-authorization"),
)
PLAIN_NAMES = (
    *("new_key", "keyboard", "author", "shipping", "spinner", "pass_through_all", "compass_mode", "tanker", "opinion"),
    *("assignment", "on_call_pager", "tcp_listen_address", *KEYS, *(part for name in KEYS for part in name.split("."))),
)
LONG_TEXTS = {
    "letters": "a" * 400_000,
    "letters before a separator": "a" * 200_000 + "://h/?canary",
    "separators": "://" * 100_000,
    "pairs": "https://h/?" + "a=canary&" * 40_000,
    "quotes": '"' * 400_000,
    "quoted": "https://h/'" * 40_000,
    "backslashes": "\\" * 400_000,
    "percent": "%25" * 100_000,
    "html": "&amp;" * 100_000,
    "blanks": " +" * 100_000,
}


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_that_tell_of_a_secret(name: str) -> None:
    assert _secrets.is_secret_name(name)
    assert _secrets.mask({name: "canary", "deep": [{name: {"x": "canary"}}]}) == {
        name: "********",
        "deep": [{name: {"x": "********"}}],
    }
    assert _secrets.find_secrets({name: "canary"}) == {"canary"}
    assert _secrets.find_secrets({name: 123456}) == {"123456"}


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_that_tell_of_none(name: str) -> None:
    assert not _secrets.is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "secret", "line"),
    [
        ("the latest test", "test", "the latest ********"),
        ("in 1234 s, not 12345", "1234", "in ******** s, not 12345"),
        ("abc and ab", "ab", "abc and ab"),
        ("a longer one: xcorrect-horsex", "correct-horse", "a longer one: x********x"),
    ],
)
def test_a_short_secret_blots_out_nothing_else(text: str, secret: str, line: str) -> None:
    assert _secrets.scrub(text, [secret]) == line


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_masking_takes_linear_time(name: str) -> None:
    text = LONG_TEXTS[name]
    start = time.process_time()
    masked = str(_secrets.mask({"new": text, "prose": f"see {text} there", "callback_url": text}))
    found = _secrets.find_secrets({"new": text, "token": text[:100]})
    line = _secrets.scrub(text, {*found, "\\%& canary", text[:100], text[:1000]})
    assert time.process_time() - start < 20
    assert "canary" not in masked + line


def test_quotes_do_not_end_a_query() -> None:
    masked = _secrets.mask("send to https://h.example.com/?auth='canary' or https://h/?a=\"canary\"&b, or not")
    assert masked == "send to https://h.example.com/?********' or https://h/?******** or not"


def test_what_holds_a_mask() -> None:
    masked = _secrets.mask({"a": [{"url": "https://h/?canary"}], "n": 5})
    assert _secrets.holds_mask(masked)
    assert not _secrets.holds_mask({"a": ["*******", 5, None], "********": 1})
