# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of a server with many clients: the control API for all of them at once."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from emulated import PASSWORD, Api, Pki, eventually, running

from wabiz_emulator import control_api
from wabiz_emulator.control import Control

NAMES = ["c0001", "c0002", "c0003"]
SETTINGS = "/v1/settings/application"


class Many:
    """Three clients behind one address."""

    def __init__(self, url: str, pki: Pki) -> None:
        self.url, self.ca_path = url, pki.ca
        self.control = Control(url, pki.ca)
        self.apis = {name: Api(f"{url}/{name}", pki.ca) for name in self.control.clients()}

    def call(self, method: str, route: str, body: Any = None) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.url}/_emulator/{route}"
            return session.request(method, url, json=body, verify=self.ca_path, timeout=10)

    def ask(self, method: str, route: str, body: Any = None) -> Any:
        answer = self.call(method, route, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture()
def many(pki: Pki) -> Iterator[Many]:
    arguments = ["webapp", "--clients", "3", "--prefix", *pki.tls, "--switch", "connect_seconds=0"]
    with running(*arguments, environment={"WA_EMULATOR_PASSWORD": PASSWORD}) as (_process, urls):
        found = Many(urls[0], pki)
        yield found
        for api in found.apis.values():
            api.close()


def test_switches_are_answered_client_by_client(many: Many) -> None:
    """Lists of the switches stay as they are for one client."""
    changed = many.ask("PATCH", "switches", {"client_version": "2.40.0", "dropped_keys": ["log_level"]})
    assert list(changed) == ["by_client"]
    assert list(changed["by_client"]) == NAMES
    for name, api in many.apis.items():
        assert changed["by_client"][name] == api.control.switches()
        assert api.control.switches()["dropped_keys"] == ["log_level"]
        assert len(api.control.switches()["unreported"]) == 6
    many.apis["c0002"].control.switch(nested="replace")
    assert [one["nested"] for one in many.ask("GET", "switches")["by_client"].values()] == ["merge", "replace", "merge"]
    assert many.ask("DELETE", "switches")["by_client"]["c0002"]["nested"] == "merge"


def test_logs_are_one_list_by_time(many: Many) -> None:
    for name in ("c0003", "c0001", "c0002"):
        many.apis[name].settings()
    entries = many.ask("GET", "requests")["requests"]
    assert [entry["client"] for entry in entries] == ["c0003", "c0001", "c0002"]
    events = many.ask("GET", "node-log")["events"]
    assert {entry["client"] for entry in events} == set(NAMES)
    assert [entry["time"] for entry in events] == sorted(entry["time"] for entry in events)
    for route, log in (("requests", "requests"), ("node-log", "events"), ("callbacks", "callbacks")):
        assert many.ask("DELETE", route) == {}
        assert many.ask("GET", route) == {log: []}


def test_nodes_are_one_list_and_can_all_be_restarted(many: Many) -> None:
    nodes = many.ask("GET", "nodes")["nodes"]
    assert [(node["client"], node["hostname"]) for node in nodes] == [(name, "wacore") for name in NAMES]
    many.control.store({"log_level": "error"})
    names = {node["client"]: node["name"] for node in nodes}
    assert many.ask("POST", "nodes/wacore/restart")["by_client"] == {
        client: {"name": name} for client, name in names.items()
    }
    assert [values["log_level"] for values in many.control.running().values()] == ["error"] * 3
    # A full name is one client's: nobody is restarted.
    refused = many.call("POST", f"nodes/{names['c0002']}/restart")
    assert (refused.status_code, refused.json()["error"].startswith("c0001: ")) == (400, True)
    assert [node["starts"] for node in many.control.nodes().values()] == [2, 2, 2]
    added = many.ask("POST", "nodes", {"hostname": "second"})["by_client"]
    assert {name.partition(":")[0] for name in (answer["name"] for answer in added.values())} == {"second"}


def test_settings_providers_faults_users_and_tokens(many: Many) -> None:
    provider = {"name": "cdn", "type": "www", "config": {"bearer": "b"}}
    assert many.ask("PUT", "settings", {"log_level": "error"}) == {}
    assert many.ask("PUT", "providers", [provider]) == {}
    assert many.ask("POST", "users", {"username": "second", "password": "Second-Passw0rd"}) == {}
    assert many.ask("POST", "faults", {"action": "status", "status": 503}) == {}
    token = many.ask("POST", "tokens", {"username": "second"})["token"]
    for name, api in many.apis.items():
        assert many.ask("GET", "settings")["by_client"][name]["stored"] == {"log_level": "error"}
        assert many.ask("GET", "providers")["by_client"][name] == {"providers": [provider]}
        assert [fault["status"] for fault in many.ask("GET", "faults")["by_client"][name]["faults"]] == [503]
        opened = {"Authorization": f"Bearer {token}"}
        assert [api.call("GET", SETTINGS, headers=opened).status_code for _attempt in range(2)] == [503, 200]
    many.control.fault("status")
    assert many.ask("DELETE", "faults") == {}
    assert many.apis["c0001"].call("GET", SETTINGS).status_code == 200
    many.apis["c0001"].control.add_user("only-here", "Only-here-1")
    refused = many.call("POST", "tokens", {"username": "only-here"})
    assert (refused.status_code, refused.json()["error"]) == (400, "c0002 has no user only-here")


def test_callbacks_of_clients_on_disk(pki: Pki, tmp_path: pathlib.Path) -> None:
    arguments = ["webapp", "--clients", "2", "--prefix", "--store", str(tmp_path), *pki.tls]
    with running(*arguments) as (_process, urls):
        root = Many(urls[0], pki)
        sent = root.ask("POST", "callbacks", {"status": "read", "id": "1"})
        assert sent == {"by_client": {"c0001": {"id": "1"}, "c0002": {"id": "1"}}}
        # Without an address a Coreapp drops them, and says so.
        with (
            running("node", "--store", str(tmp_path / "c0001"), "--client", "c0001"),
            running("node", "--store", str(tmp_path / "c0002"), "--client", "c0002"),
        ):
            eventually(lambda: len(root.control.callbacks()) == 2, "no events")
        assert {(entry["client"], entry["event"]) for entry in root.control.callbacks()} == {
            ("c0001", "dropped"),
            ("c0002", "dropped"),
        }
        assert root.control.token()


def test_a_server_with_one_client_answers_in_the_same_form(pki: Pki) -> None:
    with running("webapp", "--clients", "1", "--prefix", *pki.tls) as (_process, urls):
        root = Many(urls[0], pki)
        assert list(root.ask("GET", "switches")["by_client"]) == ["c0001"]
        assert [node["client"] for node in root.ask("GET", "nodes")["nodes"]] == ["c0001"]


def test_the_python_client_says_what_is_to_be_asked_of_one(many: Many) -> None:
    control = many.control
    for ask in (control.switches, control.stored, control.effective, control.providers, control.faults):
        with pytest.raises(ValueError, match="one client"):
            ask()
    assert control.clients() == NAMES


@pytest.mark.parametrize(
    ("method", "route", "words"),
    [
        ("PUT", "switches", ["GET", "PATCH", "DELETE"]),
        ("POST", "clients", ["GET"]),
        ("GET", "no-such", ["no-such", "switches", "nodes/NAME/ACTION"]),
        ("GET", "", ["clients"]),
        ("GET", "nodes/wacore/restart", ["nodes/wacore/restart"]),
    ],
)
@pytest.mark.parametrize("place", ["", "/c0001"])
def test_other_routes_are_not_found_and_say_what_there_is(
    many: Many, place: str, method: str, route: str, words: list[str]
) -> None:
    answer = requests.request(method, f"{many.url}{place}/_emulator/{route}", verify=many.ca_path, timeout=10)
    assert answer.status_code == 404
    for word in words:
        assert word in answer.json()["error"]


@pytest.mark.parametrize("path", ["", "/", "/v1/health", "/c0004/v1/health", "/_emulatorx", "/%2e"])
def test_an_address_outside_of_any_client_is_an_error_of_the_api(many: Many, path: str) -> None:
    answer = requests.get(many.url + path, verify=many.ca_path, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")
    (error,) = answer.json()["errors"]
    assert (error["code"], error["title"]) == (1006, "Resource not found")
    assert "_emulator/clients" in error["details"]


def test_the_readme_lists_every_route() -> None:
    readme = (pathlib.Path(control_api.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("| route | verbs |") : readme.index("## Switches")]
    listed = set()
    for routes, verbs in re.findall(r"^\| (`.*?`) \| ([A-Z, ]+) \|", table, re.MULTILINE):
        listed |= {(verb, route) for route in re.findall(r"`(.*?)`", routes) for verb in verbs.split(", ")}
    assert listed == set(control_api.ROUTES)
