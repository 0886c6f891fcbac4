# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Thousands of options and of answers that nobody foresaw: one line, no traceback, nothing written by half.

The cases come from a fixed seed. Options go through the real argument handling of both paths, without a process each.
"""

from __future__ import annotations

import copy
import io
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import requests.structures
from ansible.module_utils import basic

from ansible_collections.wabiz.onprem.plugins.module_utils import _module
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, MEDIA_KINDS
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Client, Connection
from ansible_collections.wabiz.onprem.plugins.module_utils._collection import (
    garbage_collection,
    garbage_collection_spec,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._health import health_info, health_info_spec
from ansible_collections.wabiz.onprem.plugins.module_utils._options import check_shapes
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import (
    media_provider,
    media_provider_info,
    media_provider_info_spec,
    media_provider_spec,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Flow, Run, complete
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import (
    application_settings,
    application_settings_info,
    application_settings_info_spec,
    application_settings_spec,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectFlow, as_a_module_gets_it, run_here

CASES = 400
PLAIN = {"api_url": "https://wa1.example.com", "password": "Canary-password-1", "retries": 1, "use_proxy": False}
MODULES: list[tuple[str, Callable[[], dict[str, Any]], Flow]] = [
    ("wa_application_settings", application_settings_spec, application_settings),
    ("wa_application_settings_info", application_settings_info_spec, application_settings_info),
    ("wa_health_info", health_info_spec, health_info),
    ("wa_media_provider", media_provider_spec, media_provider),
    ("wa_media_provider_info", media_provider_info_spec, media_provider_info),
    ("wa_garbage_collection", garbage_collection_spec, garbage_collection),
]
CREDENTIALS: list[dict[str, Any]] = [
    {"bearer": "Canary-bearer-1"},
    {"basic": {"username": "u", "password": "Canary-basic-1"}},
    {"basic": {"username": "u", "passwort": "Canary-basic-2"}},
    {"basic": ["Canary-basic-3"]},
    {"basic": "{Canary-basic-4"},
]
STORED: dict[str, Any] = {
    "heartbeat_interval": 5,
    "log_level": "info",
    "webhooks": {"url": "https://h.example.com/?auth=Canary-hook-1", "max_concurrent_requests": 6},
    "media": {"auto_download": list(MEDIA_KINDS)},
}
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 3.5, 7.0, 2**31, 2**63, 10**4000, math.nan, math.inf, -math.inf, 1e308),
    *(
        "",
        " ",
        "yes",
        "maybe",
        "0",
        "-1",
        "3.5",
        "7.0",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "9" * 5000,
        "{",
        "[]",
        "{}",
        "null",
    ),
    *(
        "a=b",
        "\0",
        "\r\nX: y",
        "\x1b[2J",
        "\ud800",
        "ü€😀",
        "\u202e",
        "٣",
        "{{ x }}",
        "%s%n",
        "../../etc/passwd",
        "~",
        "$HOME",
    ),
    *(
        "https://",
        "https://h",
        "http://h",
        "http://127.0.0.1",
        "https://u:Canary-user-1@h/?Canary-query-1#x",
        "https://[::1",
    ),
    *(
        r"http://evil.example\.localhost",
        "https://h:99999",
        "https://h/v1",
        "https://h\n",
        "********",
        "https://h/?********",
    ),
    *(
        [],
        [[]],
        [None],
        ["image"],
        ["x"] * 1000,
        {},
        {"a": {}},
        {"": ""},
        {"a.b": 1},
        {1: 2},
        {None: None},
        "x" * 100_000,
    ),
    *(
        {"webhooks": {"url": 5}},
        {"webhooks": []},
        {"media": ["image"]},
        {"wa_id": "1"},
        {"loglevel": "info"},
        {"meta": 1},
    ),
]


class Response:
    """What requests would return, out of nothing."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.headers = requests.structures.CaseInsensitiveDict(headers)
        self._body = io.BytesIO(body)
        self.raw = self

    def read(self, amount: int, decode_content: bool) -> bytes:
        return self._body.read(amount)

    def close(self) -> None:
        pass


class Wire(Client):
    """A client whose requests end in `answer`."""

    written: list[str]
    answer: Callable[[str, str, Any], Response]

    def __init__(self, connection: Connection, read_only: bool = False) -> None:
        super().__init__(connection, read_only, sleep=lambda _seconds: None, environ={})
        self._session.request = self._request

    def _request(self, method: str, url: str, **arguments: Any) -> Response:
        json.dumps(arguments["json"], allow_nan=False)
        for name, value in arguments["headers"].items():
            f"{name}: {value}".encode("latin-1")
        path = url.partition("/v1/")[2]
        if method != "GET" and not path.startswith("users/"):
            type(self).written.append(method)
        return type(self).answer(method, path, arguments["json"])


def _wire(answer: Callable[[str, str, Any], Response]) -> type[Wire]:
    return type("_Wire", (Wire,), {"written": [], "answer": staticmethod(answer)})


def _faithful() -> Callable[[str, str, Any], Response]:
    stored = copy.deepcopy(STORED)
    providers: list[Any] = []

    def answer(method: str, path: str, body: Any) -> Response:
        if method == "PATCH":
            stored.update(body)
        if path == "users/login":
            return Response(200, b'{"users": [{"token": "Canary-token-1"}]}', {})
        if path.startswith("services/"):
            return Response(200, b'{"gc": {"status": "processing"}}', {})
        if path.endswith("/media/providers"):
            providers.extend(body or ())
            return Response(200, json.dumps({"providers": providers}).encode(), {})
        if path == "health":
            return Response(200, b'{"health": {"gateway_status": "connected"}}', {})
        return Response(200, json.dumps({"settings": {"application": stored}}).encode(), {})

    return answer


def _odd(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(10)
    if kind == 0 and depth < 3:
        return {chance.choice([*KEYS, "webhooks", "new", "x_token"]): _odd(chance, depth + 1) for _member in range(3)}
    if kind == 1 and depth < 3:
        return [_odd(chance, depth + 1) for _member in range(chance.randrange(3))]
    if kind == 2:
        return chance.randbytes(chance.randrange(12)).decode("latin-1")
    return copy.deepcopy(chance.choice(ODD))


def _settings(chance: random.Random) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in chance.sample(sorted(KEYS), 2):
        *groups, leaf = name.split(".")
        level = settings
        for group in groups:
            level = level.setdefault(group, {})
        level[leaf] = _odd(chance)
    return settings


def _cases(count: int) -> Iterator[tuple[int, dict[str, Any], list[str]]]:
    """Number of the module, its arguments, and the options that are odd."""
    chance = random.Random(20)  # noqa: S311 - the same cases every time
    for number in range(count):
        module = chance.choice((0, 0, 0, 1, 2, 3, 3, 4, 5))
        spec = MODULES[module][1]()
        odd = {name: _odd(chance) for name in chance.sample(sorted(spec), chance.choice((1, 1, 2)))}
        if module == 0 and number % 2:
            odd = {"settings": _settings(chance)}
        needed: dict[int, dict[str, Any]] = {
            0: {"settings": {"log_level": "error"}},
            3: {"name": "cdn", **chance.choice(CREDENTIALS)},
        }
        given = {**PLAIN, **needed.get(module, {}), **odd}
        yield module, given, sorted({*odd, *(needed[3] if module == 3 else ())})


def _check(result: Mapping[str, Any], written: list[str], odd: list[str], args: Mapping[str, Any]) -> None:
    text = json.dumps(result, allow_nan=False)
    assert "Canary" not in text, args
    if not result.get("failed"):
        return
    message = result["msg"]
    assert message and message.isprintable() and "\n" not in message, args
    assert "Traceback" not in text and "unexpected" not in message, (message, args)
    assert written == [] or result["changed"], args
    names = {*odd, *KEYS, *(part for option in odd for part in _names_in(args[option]))}
    assert any(name and name in message for name in names) or "the arguments of the task" in message, (message, args)


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield str(name)
            yield from _names_in(member)


def test_options_inside_the_process() -> None:
    directs = [DirectFlow(spec(), flow) for _name, spec, flow in MODULES]
    refused = 0
    for module, args, odd in _cases(CASES):
        wire = _wire(_faithful())
        try:
            plain = as_a_module_gets_it(args)
            check_shapes(directs[module].spec, plain)
        except InvalidOptions as error:
            _check({"failed": True, "msg": str(error), "changed": False}, [], odd, args)
            continue
        result = run_here(MODULES[module][0], directs[module], plain, Run(connect=wire, sleep=lambda _seconds: None))
        _check(result, wire.written, odd, args)
        refused += bool(result.get("failed"))
    assert refused > CASES / 3


class _Exit(Exception):
    pass


def test_options_of_the_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda *_a, **_k: None, raising=False)
    monkeypatch.setattr("syslog.syslog", lambda *_a: None)
    wires: list[type[Wire]] = []

    def run(**options: Any) -> Run:
        return Run(connect=wires[-1], sleep=lambda _seconds: None, **options)

    monkeypatch.setattr(_module, "Run", run)
    monkeypatch.setattr(_module.gc, "freeze", lambda: None)
    for module, args, odd in _cases(CASES):
        try:
            plain = as_a_module_gets_it(args)
            check_shapes(MODULES[module][1](), plain)
        except InvalidOptions:
            continue  # the action says so before there is a module
        wires.append(_wire(_faithful()))
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": plain}).encode())
        _name, spec, flow = MODULES[module]
        with pytest.raises(SystemExit):
            _module.run_module(spec(), flow)
        result = json.loads(capsys.readouterr().out)
        result.pop("warnings", None)
        _check(result, wires[-1].written, odd, args)


def _answer(chance: random.Random) -> Response:
    status = chance.choice((200, 200, 200, 200, 201, 202, 204, 301, 400, 401, 403, 429, 500, 502, 503, 504, 999))
    headers = {}
    for name in ("Content-Length", "Content-Encoding", "Content-Type", "Retry-After", "Location"):
        if chance.random() < 0.1:
            headers[name] = str(_odd(chance))
    kind = chance.randrange(6)
    body = _odd(chance)
    if kind == 0:
        return Response(status, chance.randbytes(chance.randrange(200)), headers)
    if kind == 1:
        body = {"settings": {"application": {**STORED, chance.choice(sorted(STORED)): body}}}
    elif kind == 2:
        body = {"settings": body, "meta": _odd(chance)}
    elif kind == 3:
        body = {"errors": [{"code": _odd(chance), "title": _odd(chance), "details": _odd(chance)}, _odd(chance)]}
    elif kind == 4:
        body = {"settings": {"application": _settings(chance)}, "meta": {"version": _odd(chance)}}
    try:
        text = json.dumps(body).encode()
    except (TypeError, ValueError):
        text = b"{"
    return Response(status, text[: chance.choice((len(text), len(text), len(text), 5))], headers)


@pytest.mark.parametrize(("name", "flow"), [("settings", application_settings), ("health", health_info)])
def test_answers(name: str, flow: Flow) -> None:
    chance = random.Random(21)  # noqa: S311 - the same answers every time
    params: dict[str, Any] = {**dict.fromkeys([*application_settings_spec(), *health_info_spec()]), **PLAIN}
    params.update(token="Canary-token-1", password=None, timeout=5.0, validate_certs=True, allow_http=False)
    params.update(settings={"log_level": "error"}, state="present", unreported="send", restart_bound=["log_level"])
    params.update(wait=False, wait_timeout=1.0, wait_interval=1.0, expect_nodes=[])
    for _number in range(CASES):
        wire = _wire(lambda _method, _path, _body: _answer(chance))
        result = complete(flow, params, Run(connect=wire, sleep=lambda _seconds: None))
        text = json.dumps(result, allow_nan=False)
        text.encode()
        assert "Canary-token" not in text
        assert "unexpected" not in result.get("msg", "")
        assert result.get("msg", "").isprintable()
        if "PATCH" in wire.written and not result.get("failed"):
            assert result["after"]["log_level"] == "error"
        if result.get("failed") and name == "settings" and not wire.written:
            assert result["changed"] is False
