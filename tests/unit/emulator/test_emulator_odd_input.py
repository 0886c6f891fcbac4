# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users get wrong: it is refused with words, changes nothing, and breaks nothing later."""

from __future__ import annotations

import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from emulated import PASSWORD, Api, error_codes

from wabiz_emulator import control_api

SETTINGS = "/v1/settings/application"
PROVIDERS = f"{SETTINGS}/media/providers"
USERS = "/v1/users"
SURROGATE = '"\\ud800x"'
DEEP = "[" * 5000 + "]" * 5000


def refused(api: Api, method: str, route: str, body: Any) -> str:
    answer = api.call(method, f"/_emulator/{route}", json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"])


@pytest.mark.parametrize(
    "fault",
    [
        *({"action": "status", "status": status} for status in (0, 42, 100, 199, 600, -1, True, "500", 500.0, [])),
        *({"action": "error", "code": code} for code in ("1014", 1.5, None)),
        *({"action": "proceed", "delay": delay} for delay in (-1, 1e9, "1", None, 10**400)),
        *({"action": "empty", "times": times} for times in (0, -1, "1", 1.5, False)),
        *({"action": "empty", "skip": skip} for skip in (-1, None, "1")),
        *({"action": "empty", "method": method} for method in (None, ["GET"])),
        *({"action": "empty", "path": path} for path in (None, 1)),
        *({"action": "redirect", "location": place} for place in (None, "/\r\nX-More: 1", "https://ä/", "/a b")),
        {"action": "error", "details": {}},
        {"action": "empty", "applied": "yes"},
        {"action": None},
        {"status": "no action", "kind": "empty"},
    ],
)
def test_faults_that_do_not_fit(api: Api, fault: dict[str, Any]) -> None:
    why = refused(api, "POST", "faults", fault)
    assert any(name in why for name in fault)
    assert api.control.faults() == []
    assert api.call("GET", SETTINGS).status_code == 200


@pytest.mark.parametrize("status", [200, 204, 304, 418, 599])
@pytest.mark.parametrize("action", ["status", "error", "html", "empty", "redirect", "expired_token"])
def test_any_final_status_leaves_the_connection_in_order(api: Api, action: str, status: int) -> None:
    api.control.fault(action, status=status, method="get")
    struck = api.call("GET", "/v1/health", allow_redirects=False)
    assert struck.status_code == (401 if action == "expired_token" else status)
    if status in (204, 304) and action != "expired_token":
        assert struck.content == b""
    assert api.call("GET", "/v1/health", headers={}).status_code == 401


@pytest.mark.parametrize(
    "switches",
    [
        None,
        "nested",
        *({"unreported": value} for value in ([1], [None], "log_level", {})),
        {"dropped_keys": [["log_level"]]},
        *({"demanded_headers": value} for value in ({"X": 1}, {"X": None}, ["X"])),
        *({"expires_on": value} for value in ("2023-02-30", "0000-01-01", "1969-12-31", "20230101")),
        *({"www_authenticate": value} for value in ("ä€", "a\x00b", "a\nb")),
        *({"shards": value} for value in (0, -1, 33)),
        *({"connect_seconds": value} for value in (-1, 1e300, 10**400)),
        *({"token_seconds": value} for value in (1e12, -1e12)),
        {"default_overrides": []},
    ],
)
def test_switches_that_do_not_fit(api: Api, switches: Any) -> None:
    before = api.control.switches()
    refused(api, "PATCH", "switches", switches)
    assert api.control.switches() == before
    assert api.login("admin", PASSWORD).status_code == 200


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_no_json(api: Api, number: str) -> None:
    control = api.call("PATCH", "/_emulator/switches", data=f'{{"connect_seconds": {number}}}')
    assert (control.status_code, bool(control.json()["error"])) == (400, True)
    api.control.switch(unknown_keys="keep")
    assert error_codes(api.call("PATCH", SETTINGS, data=f'{{"odd": {number}}}')) == [1025]


def test_a_leading_v_of_the_version_is_not_doubled(api: Api) -> None:
    api.control.switch(client_version="v2.50.1")
    assert api.call("GET", SETTINGS).json()["meta"]["version"] == "v2.50.1"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"name": "second"}, "hostname"),
        ({}, "needs hostname"),
        ({"hostname": "a/b"}, "hostname"),
        ({"hostname": ["second"]}, "hostname: text"),
        ({"hostname": "second", "kind": "master1"}, "kind"),
        ({"hostname": "second", "clustered": "yes"}, "clustered: true or false"),
        ({"hostname": "wacore", "clustered": True}, "runs already"),
        (None, "object"),
    ],
)
def test_nodes_that_cannot_be_added(api: Api, node: Any, words: str) -> None:
    before = api.control.nodes()
    assert words in refused(api, "POST", "nodes", node)
    after = api.control.nodes()
    assert [(name, one["clustered"]) for name, one in after.items()] == [(name, False) for name in before]


@pytest.mark.parametrize("hostname", ["10.244.0.7", "wacore2.example.com", "wa_core-2"])
def test_names_that_hosts_have(api: Api, hostname: str) -> None:
    """Among them what Meta's templates for Kubernetes give: the pod's address."""
    assert api.control.add_node(hostname, "coreapp").startswith(f"{hostname}:")


def test_a_node_by_its_host_name(api: Api) -> None:
    (name,) = api.control.nodes()
    for known in (name, "wacore"):
        answer = api.call("POST", f"/_emulator/nodes/{known}/restart")
        assert answer.json() == {"name": name}
    assert api.control.nodes()[name]["starts"] == 3
    assert "start, stop, kill or restart" in refused(api, "POST", "nodes/wacore/explode", None)
    for other in ("wacore2", "wacore:", name.upper()):
        why = refused(api, "POST", f"nodes/{other}/restart", None)
        assert "full name" in why
        assert name in why


def test_a_host_name_of_two_nodes_is_no_name(api: Api) -> None:
    names = [*api.control.nodes(), api.control.add_node("wacore", "master", clustered=True)]
    why = refused(api, "POST", "nodes/wacore/kill", None)
    assert all(name in why for name in names)
    assert api.call("POST", f"/_emulator/nodes/{names[1]}/kill").status_code == 200


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("users", {"username": "x"}, "needs password"),
        ("users", {"username": 5, "password": "x"}, "username: text"),
        ("users", {"username": "x", "password": None}, "password: text"),
        ("users", {"username": "x", "password": "x", "owes_change": 1}, "owes_change"),
        ("users", {"username": "x", "password": "x", "role": ["ROLE_ADMIN"]}, "role"),
        ("users", {"username": "x", "password": "x", "admin": True}, "unknown in a user: admin"),
        ("users", [], "object"),
        ("tokens", {}, "needs username"),
        ("tokens", {"username": ["admin"]}, "username: text"),
        ("tokens", {"username": "admin", "expires_in": "soon"}, "expires_in: a number"),
        ("tokens", {"username": "admin", "expires_in": 1e300}, "expires_in"),
        ("callbacks", {}, "needs status"),
        ("callbacks", {"status": "read", "id": 5}, "id: text"),
        ("callbacks", {"status": ["read"]}, "status: text"),
    ],
)
def test_control_bodies_that_do_not_fit(api: Api, route: str, body: Any, words: str) -> None:
    assert words in refused(api, "POST", route, body)


@pytest.mark.parametrize(
    "url",
    [
        "https://u:p@/x",
        "https://[::1",
        "https://a b/",
        "https://",
        "https:///x",
        "https://?auth=x",
        "https://:443/",
        "https://host:port/",
        "https://host:99999/",
        "https://host:0/",
        "https://host\n.example.com/",
        "https://-host/",
        "https://a..b/",
        "https://.",
        "https://a%20b/",
        "https://[abc]/",
        "https://[]/",
        "https://a[b/",
        "https://" + "a" * 64 + "/",
        "https://" + "a." * 127 + "a/",
        " https://host/",
        "https//host/",
    ],
)
def test_webhook_addresses_without_a_usable_host(api: Api, url: str) -> None:
    answer = api.patch({"webhooks": {"url": url}})
    assert (answer.status_code, error_codes(answer)) == (400, [1009])
    assert "'webhooks.url'" in answer.json()["errors"][0]["details"]
    assert api.settings()["webhooks"]["url"] == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://host",
        "https://u:p@host.example.com:8443/x?auth=y#z",
        "https://host.example.com./",
        "https://[::1]:8443/x",
        "https://[fe80::1%25eth0]/",
        "https://192.0.2.1/",
        "https://my_service/hook",
        "https://bücher.example/",
        "https://host?auth='x'",
        "https://" + "a" * 63 + "/",
    ],
)
def test_webhook_addresses_that_could_work(api: Api, url: str) -> None:
    assert api.patch({"webhooks": {"url": url}}).status_code == 200
    assert api.settings()["webhooks"]["url"] == url


@pytest.mark.parametrize(
    ("method", "path", "body", "name"),
    [
        ("POST", USERS, f'{{"username": {SURROGATE}, "password": "Created-1"}}', "username"),
        ("POST", USERS, f'{{"username": "metrics", "password": {SURROGATE}}}', "password"),
        ("PUT", f"{USERS}/admin", f'{{"password": {SURROGATE}}}', "password"),
        ("POST", "/v1/users/login", f'{{"new_password": {SURROGATE}}}', "new_password"),
        ("PATCH", SETTINGS, f'{{"webhooks": {{"url": {SURROGATE}}}}}', "webhooks.url"),
        ("PATCH", SETTINGS, f'{{"media": {{"auto_download": ["image", {SURROGATE}]}}}}', "media.auto_download.1"),
        ("PATCH", SETTINGS, f"{{{SURROGATE}: 1}}", "\ud800x"),
        ("POST", PROVIDERS, f'[{{"name": {SURROGATE}, "type": "www", "config": {{"bearer": "b"}}}}]', "0.name"),
        ("POST", "/v1/account/shards", f'{{"shards": {SURROGATE}}}', "shards"),
    ],
)
def test_text_that_is_no_unicode(api: Api, method: str, path: str, body: str, name: str) -> None:
    options: dict[str, Any] = {"data": body}
    if path.endswith("shards"):
        for hostname, kind in (("master1", "master"), ("wacore1", "coreapp")):
            api.control.add_node(hostname, kind, clustered=True)
    answer = api.login("admin", PASSWORD, **options) if path.endswith("login") else api.call(method, path, **options)
    assert (answer.status_code, error_codes(answer)) == (400, [1009])
    assert f"'{name}'" in answer.json()["errors"][0]["details"]
    assert api.login("admin", PASSWORD).status_code == 200
    assert [user["username"] for user in api.call("GET", USERS).json()["users"]] == ["admin"]


@pytest.mark.parametrize("route", ["users", "tokens"])
def test_user_names_of_the_control_api_are_unicode_too(api: Api, route: str) -> None:
    answer = api.call("POST", f"/_emulator/{route}", data=f'{{"username": {SURROGATE}, "password": "x"}}')
    assert (answer.status_code, answer.json()) == (400, {"error": "username: Unicode text expected"})


def test_a_version_shows_what_it_knows(api: Api) -> None:
    """What a newer version stored is back after the way to an older one and back."""
    api.control.switch(report_all=True)
    stored = {
        "log_level": "error",
        "garbagecollector_enable": {"media": True},
        "webhooks": {"url": "https://h", "message": {"read": False}},
        "heartbeat_interval": 9,
    }
    assert api.patch(stored).status_code == 200
    new = api.settings()
    api.control.switch(client_version="2.23.0")
    old = api.settings()
    assert {"log_level", "garbagecollector_enable", "verbose_logging"}.isdisjoint(old)
    assert old["webhooks"] == {"url": "https://h", "max_concurrent_requests": 6}
    assert (old["heartbeat_interval"], old["tcp_listen_address"]) == (9, "any")
    assert api.control.effective().keys() == old.keys() - {"wa_id"}
    assert api.patch({"on_call_pager": "491"}).status_code == 200
    assert "log_level" not in api.settings()
    api.control.switch(client_version="2.57.2")
    assert api.settings() == new
    assert "on_call_pager" not in new


def test_what_get_leaves_out_stays_stored(api: Api) -> None:
    api.control.switch(unknown_keys="keep", unreported=["odd.one"])
    api.patch({"odd": {"one": 1, "two": 2}})
    assert api.settings()["odd"] == {"two": 2}
    assert api.control.stored() == {"odd": {"one": 1, "two": 2}}


def raw(api: Api, *parts: bytes) -> tuple[str, dict[str, str], bytes]:
    """What comes back for these octets until the connection ends: status line, headers, body."""
    address = urlsplit(api.url)
    context = ssl.create_default_context(cafile=api.ca_path)
    plain = socket.create_connection((address.hostname, address.port), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname=address.hostname) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _blank_line, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    "sent",
    [
        *(
            b"PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: " + length + b"\r\n\r\n"
            for length in (b"abc", b"-1", b"", b"1.5", b"0x10", b"1, 2", b"9" * 30)
        ),
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nHost h\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_form_of_the_api(api: Api, sent: bytes) -> None:
    status, headers, body = raw(api, sent)
    assert status == "HTTP/1.1 400 Bad Request"
    assert (headers["Content-Type"], headers["Content-Length"]) == ("application/json", str(len(body)))
    assert (headers["Connection"], "Date" in headers) == ("close", True)
    (error,) = json.loads(body)["errors"]
    assert (error["code"], error["title"]) == (1025, "Request is not valid")
    assert api.call("GET", SETTINGS).status_code == 200


def test_long_addresses_and_headers_are_answered(api: Api) -> None:
    assert error_codes(api.call("GET", "/v1/" + "a" * 200_000)) == [1006]
    assert api.call("GET", "/v1/health", headers={**api.headers, "X-Long": "a" * 200_000}).status_code == 200
    assert api.call("GET", "/v1/health", headers={"Authorization": "Bearer " + "a" * 200_000}).status_code == 401


# What any JSON may be, where something else is meant.
ODD = [
    "", "null", "true", "-1", "1e308", '"text"', "[]", "[null]", "[{}]", "{}", '{"": null}', "{", "[1,",
    '{"a": {"b": [1]}}', "\x00", SURROGATE, f"[{SURROGATE}]", DEEP, '{"a":' * 300 + "1" + "}" * 300, "NaN", "9" * 5000,
    "\ufeff{}", '{"username": {}, "password": []}', '[{"name": {}, "type": [], "config": 1}]',
    '{"webhooks": 1, "media": null, "callback_persist": {}}',
    '{"shards": {}}', '{"new_password": {}}', '{"action": {}}', '{"hostname": {}}', '{"status": {}}',
]  # fmt: skip
EDGES = [
    ("POST", "/v1/users/login"), ("POST", "/v1/users/logout"), ("GET", SETTINGS), ("PATCH", SETTINGS),
    ("DELETE", SETTINGS), ("GET", PROVIDERS), ("POST", PROVIDERS), ("DELETE", f"{PROVIDERS}/%ff"),
    ("GET", "/v1/health"), ("GET", "/v1/account/shards"), ("POST", "/v1/account/shards"), ("GET", "/v1/support"),
    ("PUT", "/v1/services/message/gc"), ("PUT", "/v1/services/media/gc"), ("GET", "/v1/certificates/webhooks/ca"),
    ("POST", "/v1/certificates/webhooks/ca"), ("DELETE", "/v1/certificates/webhooks/ca"),
    ("GET", "/v1/certificates/external/ca"), ("GET", USERS), ("POST", USERS), ("GET", f"{USERS}/admin"),
    ("PUT", f"{USERS}/admin"), ("DELETE", f"{USERS}/admin"), ("PATCH", "/"), ("BREW", "/v1/%00"), ("HEAD", SETTINGS),
]  # fmt: skip


@pytest.mark.parametrize("edge", EDGES, ids=[" ".join(edge) for edge in EDGES])
def test_odd_bodies_at_every_edge(api: Api, edge: tuple[str, str]) -> None:
    """Nothing fails, no connection ends, and whatever was accepted can be read afterwards."""
    method, path = edge
    login: dict[str, Any] = {"headers": {}, "auth": ("admin", PASSWORD)}
    for text in ODD:
        # A logout has ended the former token.
        options = login if path.endswith("login") else {"headers": {"Authorization": f"Bearer {api.control.token()}"}}
        answer = api.call(method, path, data=text.encode("utf-8", "surrogatepass"), **options)
        assert answer.status_code < 500, (text[:60], answer.text)
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json()["errors"][0]["details"]
    for path in (SETTINGS, PROVIDERS, USERS, "/v1/health"):
        headers = {"Authorization": f"Bearer {api.control.token()}"}
        assert api.call("GET", path, headers=headers).status_code == 200
    assert len(api.control.requests()) == len(ODD) + 4


@pytest.mark.parametrize("route", control_api.ROUTES, ids=[" ".join(route) for route in control_api.ROUTES])
def test_odd_bodies_at_every_control_route(api: Api, route: tuple[str, str]) -> None:
    method, path = route
    path = path.replace("NAME", "wacore").replace("ACTION", "restart")
    for text in ODD:
        answer = api.call(method, f"/_emulator/{path}", data=text.encode("utf-8", "surrogatepass"))
        assert answer.status_code in (200, 400), (text[:60], answer.text)
        if answer.status_code == 400:
            assert answer.json()["error"]
        headers = {"Authorization": f"Bearer {api.control.token()}"}
        assert api.call("GET", SETTINGS, headers=headers).status_code == 200
    for read in ("settings", "switches", "nodes", "faults", "providers", "requests"):
        assert api.call("GET", f"/_emulator/{read}").status_code == 200, read


def test_many_at_once_lose_nothing(api: Api) -> None:
    """Readers and writers of all kinds at the same time: each is answered, and no write is lost."""

    def create(number: int) -> int:
        body = {"username": f"user{number:03}", "password": "Created-1"}
        with requests.Session() as session:
            session.trust_env = False
            calls = [
                ("POST", USERS, body),
                ("PATCH", SETTINGS, {"heartbeat_interval": number + 1}),
                ("GET", SETTINGS, None),
            ]
            answers = [
                session.request(
                    method, api.url + path, json=sent, headers=api.headers, verify=api.ca_path, timeout=30
                ).status_code
                for method, path, sent in calls
            ]
        return sum(status >= 400 for status in answers)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(30))) == 0
    names = [user["username"] for user in api.call("GET", USERS).json()["users"]]
    assert names == ["admin", *(f"user{number:03}" for number in range(30))]
    assert 1 <= api.settings()["heartbeat_interval"] <= 30


def test_big_bodies(api: Api) -> None:
    """Megabytes are no reason to fail: one value, and very many."""
    url = "https://h/" + "x" * 2_000_000
    assert api.patch({"webhooks": {"url": url}}).status_code == 200
    assert api.settings()["webhooks"]["url"] == url
    many = api.patch(dict.fromkeys(map(str, range(20_000)), 1))
    assert (many.status_code, len(error_codes(many))) == (400, 20_000)
