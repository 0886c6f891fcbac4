# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wabiz.onprem.plugins.doc_fragments import api
from ansible_collections.wabiz.onprem.plugins.module_utils import _health, _options, _settings
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._client import Connection, check_address
from ansible_collections.wabiz.onprem.plugins.modules import (
    wa_application_settings,
    wa_application_settings_info,
    wa_health_info,
)

KEY = {"X-Key": "5"}
ADDRESS = "https://wa1.example.com:9090"
FRAGMENT = yaml.safe_load(api.ModuleDocFragment.DOCUMENTATION)["options"]
ENVIRONMENT = ("api_url", "username", "password", "token", "validate_certs", "ca_path")
MODULES: list[tuple[Any, Callable[[], _options.Spec]]] = [
    (wa_application_settings, _settings.application_settings_spec),
    (wa_application_settings_info, _settings.application_settings_info_spec),
    (wa_health_info, _health.health_info_spec),
]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ENVIRONMENT:
        monkeypatch.delenv(f"WABIZ_{option.upper()}", raising=False)


def read(**params: Any) -> Connection:
    """As a module reads its parameters: through the spec, with its fallbacks."""
    validated = ArgumentSpecValidator(_settings.application_settings_info_spec()).validate(params)
    assert not validated.error_messages, validated.error_messages
    return _options.read_connection(validated.validated_parameters)


def said(entry: dict[str, Any]) -> dict[str, Any]:
    """What documentation and spec both say of an option."""
    return {name: entry[name] for name in ("type", "elements", "default", "required", "choices") if name in entry}


def test_the_fragment_and_the_spec_say_the_same() -> None:
    assert {name: said(entry) for name, entry in FRAGMENT.items()} == {
        name: said(entry) for name, entry in _options.CONNECTION.items()
    }
    for name, entry in FRAGMENT.items():
        named = re.findall(
            r"E\(WABIZ_(\w+)\)",
            " ".join([entry["description"]] if isinstance(entry["description"], str) else entry["description"]),
        )
        assert named == ([name.upper()] if name in ENVIRONMENT else []), name
    assert {name for name, entry in _options.CONNECTION.items() if entry.get("no_log")} == {
        "password",
        "token",
        "headers",
    }


@pytest.mark.parametrize(("module", "spec"), MODULES)
def test_a_module_documents_its_options(module: Any, spec: Callable[[], _options.Spec]) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)
    own = {name: said(entry) for name, entry in documented.get("options", {}).items()}
    assert own == {name: said(entry) for name, entry in spec().items() if name not in _options.CONNECTION}
    assert "wabiz.onprem.api" in documented["extends_documentation_fragment"]


def test_defaults() -> None:
    assert read(api_url=f"{ADDRESS}/", password="pw") == Connection(
        api_url=ADDRESS,
        username="admin",
        password="pw",
        token=None,
        validate_certs=True,
        ca_path=None,
        timeout=30.0,
        retries=4,
        use_proxy=True,
        headers={},
        allow_http=False,
    )


@pytest.mark.parametrize(
    ("environment", "params", "expected"),
    [
        ({"API_URL": ADDRESS, "PASSWORD": "pw"}, {}, {"api_url": ADDRESS, "password": "pw", "token": None}),
        ({"API_URL": "https://other"}, {"api_url": ADDRESS, "token": "t"}, {"api_url": ADDRESS}),
        ({"API_URL": ADDRESS}, {"api_url": "", "token": "t"}, {"api_url": ADDRESS}),
        ({"USERNAME": "ops"}, {"api_url": ADDRESS, "token": "t"}, {"username": "ops"}),
        ({"USERNAME": "ops"}, {"api_url": ADDRESS, "token": "t", "username": "me"}, {"username": "me"}),
        ({"USERNAME": "ops"}, {"api_url": ADDRESS, "token": "t", "username": ""}, {"username": "ops"}),
        ({"USERNAME": ""}, {"api_url": ADDRESS, "token": "t"}, {"username": "admin"}),
        ({"TOKEN": "env"}, {"api_url": ADDRESS, "password": "pw"}, {"password": "pw", "token": None}),
        ({"PASSWORD": "env"}, {"api_url": ADDRESS, "token": "t"}, {"password": None, "token": "t"}),
        ({"PASSWORD": "env", "TOKEN": "env"}, {"api_url": ADDRESS, "token": "t"}, {"password": None, "token": "t"}),
        ({"PASSWORD": "env", "TOKEN": ""}, {"api_url": ADDRESS}, {"password": "env", "token": None}),
        ({"PASSWORD": "env"}, {"api_url": ADDRESS, "password": "", "token": ""}, {"password": "env", "token": None}),
        ({"PASSWORD": "env"}, {"api_url": ADDRESS, "headers": {"X-Key": 5}}, {"password": "env", "headers": KEY}),
        ({}, {"api_url": ADDRESS, "headers": {"X-Key": " 5\n"}}, {"password": None, "token": None, "headers": KEY}),
        (
            {"PASSWORD": "env", "TOKEN": "env"},
            {"api_url": ADDRESS, "headers": {"authorization": "Apikey 5"}},
            {"password": None, "token": None, "headers": {"authorization": "Apikey 5"}},
        ),
        ({}, {"api_url": ADDRESS, "password": "pw", "token": ""}, {"password": "pw", "token": None}),
        ({"VALIDATE_CERTS": "no"}, {"api_url": ADDRESS, "token": "t"}, {"validate_certs": False}),
        ({"VALIDATE_CERTS": ""}, {"api_url": ADDRESS, "token": "t"}, {"validate_certs": True}),
        (
            {"VALIDATE_CERTS": "no"},
            {"api_url": ADDRESS, "token": "t", "validate_certs": True},
            {"validate_certs": True},
        ),
        ({"CA_PATH": "/ca.pem"}, {"api_url": ADDRESS, "token": "t"}, {"ca_path": "/ca.pem"}),
        ({"CA_PATH": "/ca.pem"}, {"api_url": ADDRESS, "token": "t", "ca_path": "/own.pem"}, {"ca_path": "/own.pem"}),
        ({"CA_PATH": "/ca.pem"}, {"api_url": ADDRESS, "token": "t", "ca_path": ""}, {"ca_path": "/ca.pem"}),
        ({"CA_PATH": "$HOME/ca.pem", "HOME": "/h"}, {"api_url": ADDRESS, "token": "t"}, {"ca_path": "/h/ca.pem"}),
        ({"CA_PATH": "~/ca.pem", "HOME": "/h"}, {"api_url": ADDRESS, "token": "t"}, {"ca_path": "/h/ca.pem"}),
    ],
)
def test_options_and_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], params: dict[str, Any], expected: dict[str, Any]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name if name == "HOME" else f"WABIZ_{name}", value)
    connection = read(**params)
    assert {name: getattr(connection, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("environment", "params", "message"),
    [
        ({}, {"password": "canary1", "token": "canary2"}, "password and token exclude each other"),
        ({"PASSWORD": "canary1", "TOKEN": "canary2"}, {}, "WABIZ_PASSWORD and WABIZ_TOKEN exclude each other"),
        ({}, {}, "password or token: one of them is needed"),
        ({}, {"password": "", "token": ""}, "password or token: one of them is needed"),
        ({}, {"token": "t", "api_url": ""}, "api_url: is needed"),
        ({}, {"token": "t", "timeout": 0}, "timeout: must be more than 0"),
        ({}, {"token": "t", "timeout": -1}, "timeout: must be more than 0"),
        ({}, {"token": "t", "timeout": "nan"}, "timeout: must be more than 0"),
        ({}, {"token": "t", "timeout": "inf"}, "timeout: must be more than 0"),
        ({}, {"token": "t", "timeout": 1e30}, "timeout: must be more than 0"),
        ({}, {"token": "t", "retries": -1}, "retries: must not be negative"),
        ({}, {"token": "t", "retries": 2**31}, "retries: must be at most 2147483647"),
        ({}, {"token": "t", "username": "canary:me"}, "username: must not hold a colon"),
        ({}, {"password": "canary\ud800"}, "password: holds characters that cannot be sent"),
        ({}, {"token": "canary two"}, "token: must be"),
        ({}, {"headers": {}}, "password or token: one of them is needed"),
        ({}, {"token": "t", "headers": {"Authorization": "canary"}}, "headers: Authorization does not go with"),
        ({}, {"password": "t", "headers": {"AUTHORIZATION": "canary"}}, "headers: Authorization does not go with"),
        ({}, {"headers": {"Host": "canary"}}, "headers: Host cannot be chosen"),
        ({}, {"headers": {"content-type": "canary"}}, "headers: content-type cannot be chosen"),
        ({}, {"headers": {"Transfer-Encoding": "canary"}}, "headers: Transfer-Encoding cannot be chosen"),
        ({}, {"headers": {"X-Key": "canary", "x-key": "canary"}}, "headers: x-key is there twice"),
        ({}, {"headers": {"X-Key": "canary\r\nX-Other: canary"}}, "headers: X-Key must be printable ASCII"),
        ({}, {"headers": {"X-Key": "canary€"}}, "headers: X-Key must be printable ASCII"),
        ({}, {"headers": {"X-Key": ""}}, "headers: X-Key must be printable ASCII"),
        ({}, {"headers": {"X-Key": None}}, "headers: X-Key must be printable ASCII"),
        ({}, {"headers": {"X-Key": ["canary"]}}, "headers: X-Key must be printable ASCII"),
        ({}, {"headers": {"X Key: canary": "t"}}, "headers: a name must consist of"),
        ({}, {"token": "canary\ntwo"}, "token: must be"),
        ({"TOKEN": "canary\u20ac"}, {}, "token: must be"),
        ({}, {"token": "t", "api_url": "https://me:canary@wa1.example.com"}, "api_url: must not carry user info"),
    ],
)
def test_options_that_do_not_fit_together(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], params: dict[str, Any], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"WABIZ_{name}", value)
    with pytest.raises(InvalidOptions, match=message) as refusal:
        read(**{"api_url": ADDRESS, **params})
    assert "canary" not in str(refusal.value)


def test_a_token_may_end_with_a_line_break() -> None:
    assert read(api_url=ADDRESS, token="token\n").token == "token"


def test_a_connection_does_not_show_its_secrets() -> None:
    shown = repr(Connection(ADDRESS, password="canary", token="canary"))
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("https://wa1.example.com:9090", "https://wa1.example.com:9090"),
        (" https://wa1.example.com:9090/ ", "https://wa1.example.com:9090"),
        ("HTTPS://WA1.example.com/gateway/wa1/", "https://wa1.example.com/gateway/wa1"),
        ("https://[2001:db8::1]:9090", "https://[2001:db8::1]:9090"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost/x", "http://localhost/x"),
        ("http://wa1.localhost", "http://wa1.localhost"),
        ("https://wa1.example.com/a@b", "https://wa1.example.com/a@b"),
        ("https://wa1.example.com/x://y@z/", "https://wa1.example.com/x://y@z"),
        ("https://wa1.example.com/v1x", "https://wa1.example.com/v1x"),
    ],
)
def test_addresses(address: str, base: str) -> None:
    assert check_address(address, allow_http=False) == base


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("wa1.example.com:9090", "must be an address such as"),
        ("//wa1.example.com", "must be an address such as"),
        ("ftp://wa1.example.com", "must be an address such as"),
        ("https://", "must be an address such as"),
        ("https://:9090", "must be an address such as"),
        ("https://wa1.example.com:port", "must be an address such as"),
        ("https://wa1.example.com:70000", "must be an address such as"),
        ("https://wa1.example.com:0", "must be an address such as"),
        ("https://[::1", "must be an address such as"),
        ("https://wa1 example.com", "must be an address such as"),
        ("https:wa1.example.com", "must be an address such as"),
        ("", "must be an address such as https://wa1.example.com:9090$"),
        ("https://@wa1.example.com", "must not carry user info; use username and password, or token$"),
        (
            "http://h",
            "http:// to h would send the password in clear; use https://, or set allow_http if that is meant$",
        ),
        ("https://me:canary@wa1.example.com", "must not carry user info"),
        ("https://canary@wa1.example.com", "must not carry user info"),
        ("https://wa1.example.com/?auth=canary", "must not carry a query or a fragment"),
        ("https://wa1.example.com/?", "must not carry a query or a fragment"),
        ("https://wa1.example.com/#canary", "must not carry a query or a fragment"),
        ("http://wa1.example.com", "would send the password in clear"),
        ("http://192.0.2.1", "would send the password in clear"),
        ("http://localhost.example.com", "would send the password in clear"),
        ("http://127.0.0.1.example.com", "would send the password in clear"),
        ("http://evil-localhost", "would send the password in clear"),
        ("http://2130706433", "would send the password in clear"),
        (r"http://evil.example\.localhost", "must be an address such as"),
        ("https://wa1.example.com\x7f", "must be an address such as"),
        ("https://wa1.example.com/v1", "must end before /v1;"),
        ("https://wa1.example.com/gateway/v1/", "must end before /v1;"),
        ("https://wa1.example.com/v1/settings/application", "must end before /v1/settings/application"),
    ],
)
def test_addresses_that_are_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^api_url: .*{message}") as refusal:
        check_address(address, allow_http=False)
    assert "canary" not in str(refusal.value)


def test_plain_http_to_another_host_on_request() -> None:
    assert check_address("http://wa1.example.com", allow_http=True) == "http://wa1.example.com"
