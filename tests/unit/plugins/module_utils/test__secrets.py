# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _secrets


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
