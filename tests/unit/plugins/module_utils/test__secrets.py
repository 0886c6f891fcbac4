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
        ("https://h.example.com/a?1", "https://h.example.com/a?********"),
        ("https://h.example.com/a#?1", "https://h.example.com/a#********"),
        ("https://h.example.com/a?to=https://canary.example.com/", "https://h.example.com/a?********"),
        ("https://h.example.com/a?x?y#z", "https://h.example.com/a?********"),
        ("https://me:1?canary@x@h.example.com", "https://********@?********"),
        ("?canary", "?********"),
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
        (
            {"first": "https://h/?one1", "url": "h/?two2", "more": ["see https://h/?three and https://h/?four"]},
            {"one1", "two2", "three", "four"},
        ),
        (
            {"a_token": "one1", "url": "h/?two2", "username": "me", "password": "canary"},
            {"one1", "two2", "canary", "bWU6Y2FuYXJ5"},
        ),
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
        ("so canary-longer and canary", ["canary", "canary-longer"], "so ******** and ********"),
        ("so zanary-longer and zanary", ["zanary-longer", "zanary"], "so ******** and ********"),
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


# What servers, proxies and libraries make of one letter of a secret.
ENCODED = {
    "/": (
        *("/", r"\/", r"\\\/", "%2F", "%2f", "%252F", "%2525252F", r"\u002f", r"\u002F", r"\\u002f", r"\x2f", r"\\x2F"),
        *("&#47;", "&#0047;", "&amp;#47;", "&amp;amp;#47;", "&#x2f;", "&#X2F;", "&#x002f;", "&amp;#x2F;"),
    ),
    '"': ('"', r"\"", "%22", "&quot;", "&amp;quot;", "&#34;", "&#x22;", r"\x22", r"\u0022"),
    "'": ("'", r"\'", "%27", "&apos;", "&amp;apos;", "&#39;", "&#x27;"),
    "&": ("&", "&amp;", "&amp;amp;", "%26", "&#38;", r"\u0026"),
    "<": ("<", "&lt;", "%3C", "%3c", r"\u003c", r"\u003C"),
    " ": (" ", "  ", "+", "%20", r"\u0020", "&#32;", r"\x20"),
    "\n": (" ", "\n", r"\n", r"\\n", "%0A", "%0a", r"\u000a", "&#10;", r"\x0a"),
    "\r": (r"\r", "%0D", r"\x0d"),
    "\t": ("\t", r"\t", "%09", r"\x09"),
    "\\": ("\\", r"\\", "%5C", "%5c", "%255C", "&#92;", "&#x5c;", "&#X5C;", "&amp;#92;"),
    "\xe9": (
        *("\xe9", "%C3%A9", "%c3%a9", "%25C3%25A9", r"\u00e9", r"\u00E9", r"\xe9", r"\xc3\xa9", r"\\xC3\\xA9"),
        *("\xc3\xa9", "&eacute;", "&amp;eacute;", "&#233;", "&#xe9;", "&#XE9;"),
    ),
    "\x80": (r"\x80", r"\xc2\x80", "%C2%80", r"\u0080"),
    "\x7f": (r"\x7f", "%7F", r"\u007f"),
    "\xff": (r"\xff", r"\xc3\xbf", "&yuml;", "&#255;"),
    "\u0100": ("\u0100", r"\u0100", r"\xc4\x80", "%C4%80", "&#256;", "&#x100;"),
    "\U0001f600": (r"\ud83d\ude00", r"\uD83D\uDE00", "%F0%9F%98%80", r"\xf0\x9f\x98\x80", "&#128512;", "&#x1f600;"),
    "\udc80": (r"\udc80", r"\uDC80", "%ED%B2%80"),
}


@pytest.mark.parametrize("letter", ENCODED, ids=lambda letter: f"{ord(letter):x}")
def test_a_secret_in_every_encoding(letter: str) -> None:
    secret = f"canary{letter}yranac"
    for encoded in ENCODED[letter]:
        assert _secrets.scrub(f"echo of canary{encoded}yranac, it was", [secret]) == "echo of ********, it was", encoded
    # Another letter makes it another text.
    for other in ("", "z", "%2E", "&#46;", r"\u002e", r"\x2e", "&period;"):
        assert "canary" in _secrets.scrub(f"echo of canary{other}yranac, it was", [secret]), other


@pytest.mark.parametrize(
    ("text", "secret", "line"),
    [
        ("canary%2F%3Fend", "canary/?end", "********"),
        ("so canary \t\n end", "canary \t\n end", "so ********"),
        (r"so canary\\\\end", r"canary\\end", "so ********"),
        ("so canary", "  canary  ", "so ********"),
        ("abc abcd abcde", "abc", "abc abcd abcde"),
        ("abc abcd abcde", "abcd", "abc ******** abcde"),
        ("1234567 12345678 x1234567", "1234567", "******** 12345678 x1234567"),
        ("12345678x", "12345678", "********x"),
        ("abcdefg abcdefgx", "abcdefg", "******** abcdefgx"),
        ("xabcdefghx", "abcdefgh", "x********x"),
        ("a" * 128 + "tail", "a" * 128, "********tail"),
        ("so " + "a" * 128 + "b" * 9 + " end", "a" * 129, "so ******** end"),
    ],
)
def test_scrub_at_the_edges(text: str, secret: str, line: str) -> None:
    assert _secrets.scrub(text, [secret]) == line


def test_of_a_very_long_text_the_end_may_be_half_a_secret() -> None:
    whole = "x" * 16_377 + " canary"
    assert _secrets.scrub(whole, ["canaries"]) == whole
    assert _secrets.scrub(f"{whole}ies", ["canaries"]) == whole[:-64]
    assert _secrets.scrub("x" * 16_385, []) == "x" * 16_384
    assert _secrets.scrub("x" * 16_385, ["y" * 4000]) == ""


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("abc", set()),
        ("abcd", {"abcd"}),
        (123, set()),
        (1234, {"1234"}),
        (12.5, {"12.5"}),
        (True, set()),
        (None, set()),
        ({"abcde": "fghi"}, {"fghi"}),
        (["abcd", ("efgh", {"x": [5678]})], {"abcd", "efgh", "5678"}),
        ([], set()),
    ],
)
def test_texts_in(value: Any, texts: set[str]) -> None:
    assert _secrets.texts_in(value) == texts


@pytest.mark.parametrize(
    ("username", "password", "secrets"),
    [
        ("me", "canary", {"canary", "bWU6Y2FuYXJ5"}),
        ("me", "canary1", {"canary1", "bWU6Y2FuYXJ5MQ"}),
        ("me", "c\xe9??>>~", {"c\xe9??>>~", "bWU6Y8OpPz8+Pn4", "bWU6Y8OpPz8-Pn4"}),
        ("me", "canary\udcff", {"canary\udcff", "bWU6Y2FuYXJ5/w", "bWU6Y2FuYXJ5_w"}),
        ("me", "canary\ud800", {"canary\ud800"}),
    ],
)
def test_basic_credentials(username: str, password: str, secrets: set[str]) -> None:
    assert _secrets.basic_credentials(username, password) == secrets
    settings = {"username": username, "password": password}
    assert _secrets.find_secrets([settings]) == {text for text in secrets if len(text) >= 4}
    assert _secrets.find_secrets({**settings, "username": 5}) == {password}


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("https://me:canary@h/", {"me:canary", "canary"}),
        ("https://user:canary@h/", {"user:canary", "user", "canary"}),
        ("https://user@h/", {"user"}),
        ("https://user:ca:nary@h/", {"user:ca:nary", "user", "ca:nary"}),
        ("https://h/?a=one1&b=two2;c=three&four", {"a=one1&b=two2;c=three&four", "one1", "two2", "three", "four"}),
        ("https://h/?a=b=cdef", {"a=b=cdef", "b=cdef"}),
        ("https://h/?a=can+ary", {"a=can+ary", "a=can ary", "can+ary", "can ary"}),
        ("https://h/?query#frag#ment", {"query#frag#ment", "query", "frag#ment"}),
        ("https://h/#frag?ment", {"frag?ment"}),
        ("user:canary@h/?more", {"user:canary", "user", "canary", "more"}),
        ("https://me:1?can@ary@h", {"me:1?can@ary", "1?can@ary", "can@ary@h"}),
        ("https://me:1?canary@h", {"me:1?canary", "1?canary", "canary@h"}),
        ("https://h/?abc", set()),
        ("https://h/a", set()),
    ],
)
def test_url_secrets(url: str, secrets: set[str]) -> None:
    assert _secrets.url_secrets(url) == secrets


def test_of_a_query_with_very_many_parts_the_rest_is_one_secret() -> None:
    found = _secrets.url_secrets("https://h/?" + "&".join(f"a=v{number:04}" for number in range(110)))
    assert {"v0000", "v0099"} <= found
    assert "v0100" not in found
    assert any(text.startswith("v0100&a=v0101&") for text in found)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (" https://h/?canary and more ", " https://h/?********"),
        ("see https://h/?canary and more", "see https://h/?******** and more"),
        ("x%://h/?canary'no-blank", "x%://h/?********"),
        ("nothing?canary", "nothing?canary"),
    ],
)
def test_a_text_that_is_a_url_or_holds_one(text: str, masked: str) -> None:
    assert _secrets.mask(text) == masked
    assert ("canary" in "".join(_secrets.find_secrets(text))) == (text != masked)
