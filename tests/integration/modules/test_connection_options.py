# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the options of a connection come from: the task, `module_defaults`, the environment, and in which order."""

from __future__ import annotations

from typing import Any

import certifi

from support.commands import PATHS, AnsibleCommands, CommandRun
from support.emulator import PASSWORD, EmulatedClient, Emulator

GET = "GET /v1/settings/application"
WITH_LOGIN = ["POST /v1/users/login", GET, "POST /v1/users/logout"]
INFO = "wa_application_settings_info"
Tasks = dict[str, dict[str, Any]]


def _run(ansible: AnsibleCommands, path: str, tasks: Tasks, environment: dict[str, str], **play: Any) -> CommandRun:
    """Run the info module once for each named set of options; failures do not end the play."""
    listed = [{"name": n, f"wabiz.onprem.{INFO}": options, "ignore_errors": True} for n, options in tasks.items()]
    plays = [{"hosts": "all", "tasks": listed, **play}]
    return ansible.playbook(plays, {"client": {}}, variables=PATHS[path], environment=environment)


def _users_in_order(client: EmulatedClient) -> list[str]:
    return [request["user"] for request in client.control.requests() if request["path"] == "/v1/users/login"]


def test_everything_from_the_environment(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client, other = emulator.new_client(), emulator.new_client()
    for one in (client, other):
        one.control.add_user("operator", "Operates-all-1")
    environment = {
        "WABIZ_API_URL": client.api_url,
        "WABIZ_USERNAME": "operator",
        "WABIZ_PASSWORD": "Operates-all-1",
        "WABIZ_CA_PATH": client.ca_path,
    }
    tasks: Tasks = {
        "nothing named": {},
        "a token wins over the password": {"token": client.control.token()},
        "user and password win": {"username": "admin", "password": PASSWORD},
        "empty counts as not given": {"username": "", "password": "", "token": "", "ca_path": ""},
        "the address wins": {"api_url": other.api_url},
        "the CA file wins": {"ca_path": certifi.where()},
    }
    run = _run(ansible, path, tasks, environment)
    for name in tasks:
        failed = name == "the CA file wins"
        assert ("certificate" in run.result(name).get("msg", "")) == failed, name
        assert ("settings" in run.result(name)) != failed, name
    assert _users_in_order(client) == ["operator", "admin", "operator"]
    assert client.verbs() == [*WITH_LOGIN, GET, *WITH_LOGIN, *WITH_LOGIN]
    assert other.verbs() == WITH_LOGIN


def test_a_token_from_the_environment(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client = emulator.new_client()
    common = {"api_url": client.api_url, "ca_path": client.ca_path}
    tasks: Tasks = {"the token": common, "a password wins over the token": {**common, "password": PASSWORD}}
    run = _run(ansible, path, tasks, {"WABIZ_TOKEN": client.control.token()})
    assert all("settings" in run.result(name) for name in tasks)
    assert client.verbs() == [GET, *WITH_LOGIN]


def test_token_and_password_from_the_environment(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    common = {"api_url": client.api_url, "ca_path": client.ca_path}
    tasks: Tasks = {"both": common, "decided": {**common, "password": PASSWORD}}
    run = _run(ansible, path, tasks, {"WABIZ_TOKEN": "x", "WABIZ_PASSWORD": PASSWORD})
    assert "WABIZ_PASSWORD and WABIZ_TOKEN exclude each other" in run.result("both")["msg"]
    assert "settings" in run.result("decided")
    assert client.verbs() == WITH_LOGIN


def test_certificates_by_the_environment(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    options = client.with_token()
    without = {name: value for name, value in options.items() if name != "ca_path"}
    tasks: Tasks = {"not verified": without, "verified all the same": {**without, "validate_certs": True}}
    run = _run(ansible, path, tasks, {"WABIZ_VALIDATE_CERTS": "false"})
    assert "settings" in run.result("not verified")
    assert "certificate" in run.result("verified all the same")["msg"]
    run = _run(ansible, path, {"the bundle": without}, {"REQUESTS_CA_BUNDLE": client.ca_path})
    assert "settings" in run.result("the bundle")


def test_a_hostile_environment(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    """Bundles of other authorities, a netrc with another account, and a proxy that is none."""
    (ansible.home / ".netrc").write_text("machine 127.0.0.1 login nobody password nothing\n")
    (ansible.home / ".netrc").chmod(0o600)
    environment = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), certifi.where())
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:1"}
    elsewhere = {**client.with_token(), "api_url": "https://wa1.invalid", "retries": 0}
    tasks: Tasks = {
        "token": {**client.with_token(), "use_proxy": False},
        "loopback": client.with_password(),
        "by the proxy": elsewhere,
        "not by the proxy": {**elsewhere, "use_proxy": False},
    }
    run = _run(ansible, path, tasks, environment)
    assert "settings" in run.result("token"), run.output
    assert "settings" in run.result("loopback")
    assert "the proxy could not be used" in run.result("by the proxy")["msg"]
    assert "cannot be reached" in run.result("not by the proxy")["msg"]
    assert client.verbs() == [GET, *WITH_LOGIN]
    assert {request["authorization"] for request in client.control.requests()} == {"bearer", "basic"}


def test_module_defaults_of_the_group(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    tasks = [
        {"name": "info", "wabiz.onprem.wa_application_settings_info": {}},
        {"name": "health", "wabiz.onprem.wa_health_info": {}},
        {"name": "set", "wabiz.onprem.wa_application_settings": {"settings": {"log_level": "error"}}},
        {
            "name": "the task wins",
            "wabiz.onprem.wa_application_settings_info": {"token": "not-a-token"},
            "ignore_errors": True,
        },
    ]
    play = {"hosts": "all", "module_defaults": {"group/wabiz.onprem.api": client.with_token()}, "tasks": tasks}
    run = ansible.playbook([play], {"client": {}}, variables=PATHS[path])
    assert run.rc == 0, run.output
    assert run.result("info")["client_version"] == "2.57.2"
    assert run.result("health")["healthy"] is True
    assert run.result("set")["changed"] is True
    assert "token" in run.result("the task wins")["msg"]


def test_an_address_with_a_slash_at_the_end(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    options = {**client.with_token(), "api_url": client.api_url + "/"}
    assert "settings" in _run(ansible, path, {"slash": options}, {}).result("slash")
    assert client.verbs() == [GET]
