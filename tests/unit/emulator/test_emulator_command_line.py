# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat
from typing import Any

import pytest
import requests
from emulated import PASSWORD, Api, Pki, error_codes, eventually, run_command, running

from wabiz_emulator import certificates

SETTINGS = "/v1/settings/application"
COMMANDS = (
    "webapp",
    "node",
    "start-node",
    "stop-node",
    "restart-node",
    "pki",
    "fleet",
    "database",
    "wait-for-database",
)


def processor_seconds(pid: int) -> float:
    """What a process has used so far: tells more than the clock on a busy machine."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_help_on_every_level() -> None:
    top = run_command("--help")
    assert top.returncode == 0
    for command in COMMANDS:
        assert command in top.stdout
        assert run_command(command, "--help").stdout.startswith(f"usage: wabiz_emulator {command}")


def test_a_thousand_clients_on_one_port(pki: Pki, tmp_path: pathlib.Path) -> None:
    token_file = tmp_path / "token"
    arguments = ["webapp", "--clients", "1000", "--prefix", *pki.tls, "--token", str(token_file)]
    with running(*arguments, environment={"WA_EMULATOR_PASSWORD": PASSWORD}) as (process, urls):
        assert processor_seconds(process.pid) < 3
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        headers = {"Authorization": f"Bearer {token_file.read_text(encoding='utf-8').strip()}"}
        with requests.Session() as session:
            session.trust_env = False
            used = processor_seconds(process.pid)
            for number in range(1, 1001):
                answer = session.get(f"{urls[0]}/c{number:04}{SETTINGS}", headers=headers, verify=pki.ca, timeout=10)
                assert answer.status_code == 200
            assert (processor_seconds(process.pid) - used) / 1000 < 0.002
            patch = {"log_level": "error"}
            session.patch(f"{urls[0]}/c0500{SETTINGS}", json=patch, headers=headers, verify=pki.ca, timeout=10)
            assert (
                session.get(f"{urls[0]}/c1001{SETTINGS}", headers=headers, verify=pki.ca, timeout=10).status_code == 404
            )
        with Api(f"{urls[0]}/c0499", pki.ca).control as other, Api(f"{urls[0]}/c0500", pki.ca).control as changed:
            assert (other.stored(), changed.stored()) == ({}, {"log_level": "error"})
            assert len(other.requests()) == 1
            assert [event["event"] for event in other.node_events()][:1] == ["start"]
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        resident = int(status.split("VmRSS:")[1].split()[0])
        assert resident < 150_000, "kilobytes"


def test_a_port_each_and_http(pki: Pki) -> None:
    with running("webapp", "--clients", "2", "--http") as (_process, urls):
        assert len(set(urls)) == 2
        first, second = (Api(url, None) for url in urls)
        first.patch({"log_level": "error"})
        assert (first.settings()["log_level"], second.settings()["log_level"]) == ("error", "info")
        first.close()
        second.close()


def test_the_factory_account_and_an_owed_preset(pki: Pki) -> None:
    with running("webapp", *pki.tls) as (_process, urls):
        api = Api(urls[0], pki.ca)
        assert error_codes(api.login("admin", "secret")) == [1024]
        assert api.login("admin", "secret", json={"new_password": PASSWORD}).status_code == 200
        api.close()
    with running("webapp", *pki.tls, "--password", PASSWORD, "--owes-change", "--username", "chief") as (
        _process,
        urls,
    ):
        api = Api(urls[0], pki.ca)
        assert error_codes(api.login("chief", PASSWORD)) == [1024]
        api.close()


def test_a_simulated_cluster(pki: Pki) -> None:
    nodes = "master1,master2,wacore1,wacore2"
    with running("webapp", *pki.tls, "--nodes", nodes, "--switch", "connect_seconds=0.1") as (_process, urls):
        api = Api(urls[0], pki.ca)

        def connected() -> Any:
            return [
                name.partition(":")[0] for name, node in api.health().items() if node["gateway_status"] == "connected"
            ]

        eventually(lambda: connected() == ["wacore1"], "not one Coreapp connected")
        api.patch({"log_level": "error"})
        result = run_command("restart-node", "--api-url", urls[0], "--ca-path", pki.ca, "wacore1")
        assert result.returncode == 0
        eventually(lambda: connected() == ["wacore2"], "no fail-over")
        levels = {name.partition(":")[0]: values["log_level"] for name, values in api.control.running().items()}
        assert levels == {"master1": "info", "master2": "info", "wacore1": "error", "wacore2": "info"}
        for name, node in api.control.nodes().items():
            if node["kind"] == "master":
                api.control.act_on_node(name, "kill")
        assert error_codes(api.call("GET", SETTINGS)) == [1014]
        added = api.control.add_node("master3", "master", clustered=True)
        api.control.switch(heartbeat_timeout=0.0)
        eventually(lambda: api.call("GET", SETTINGS).status_code == 200, "no new primary master")
        assert api.control.nodes()[added]["role"] == "primary_master"
        api.close()


def test_a_webapp_that_restarts_remembers(pki: Pki, tmp_path: pathlib.Path) -> None:
    arguments = ["webapp", "--store", str(tmp_path / "client"), *pki.tls]
    with running("node", "--store", str(tmp_path / "client")):
        with running(*arguments, "--switch", "wa_id=491") as (_process, urls):
            api = Api(urls[0], pki.ca)
            api.patch({"log_level": "error"})
            headers = api.headers
            api.close()
        with running(*arguments) as (_process, urls):
            api = Api(urls[0], pki.ca)
            answer = api.call("GET", SETTINGS, headers=headers)
            assert answer.json()["settings"]["application"]["log_level"] == "error"
            assert api.settings()["wa_id"] == "491"
            assert [entry["method"] for entry in api.control.requests()] == ["PATCH", "GET", "GET"]
            api.close()


def test_a_further_log_of_requests(pki: Pki, tmp_path: pathlib.Path) -> None:
    with running("webapp", *pki.tls, "--web-log", str(tmp_path / "web.log")) as (_process, urls):
        api = Api(urls[0], pki.ca)
        api.settings()
        api.control.clear_requests()
        api.close()
    (line,) = (tmp_path / "web.log").read_text(encoding="utf-8").splitlines()
    assert (json.loads(line)["path"], json.loads(line)["status"]) == (SETTINGS, 200)


def test_a_certificate_of_its_own(tmp_path: pathlib.Path) -> None:
    arguments = ["webapp", "--store", str(tmp_path), "--self-signed", "wa1.example.com", "--self-signed", "10.0.0.1"]
    for _attempt in range(2):
        with running(*arguments) as (_process, urls):
            api = Api(urls[0], str(tmp_path / "tls" / "cert.pem"))
            assert api.call("GET", "/").status_code == 200
            api.close()
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600
    first = (tmp_path / "tls" / "cert.pem").read_bytes()
    certificates.self_signed(tmp_path / "tls")
    assert (tmp_path / "tls" / "cert.pem").read_bytes() == first


def test_pki(tmp_path: pathlib.Path) -> None:
    result = run_command("pki", str(tmp_path / "pki"), "wa1.example.com", "10.0.0.1")
    assert result.stdout.split() == [str(tmp_path / "pki" / name) for name in ("ca.pem", "cert.pem", "key.pem")]
    assert stat.S_IMODE((tmp_path / "pki" / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["webapp"], "--http"),
        (["webapp", "--http", "--switch", "no_such=1"], "no_such"),
        (["webapp", "--self-signed", "x"], "--store"),
        (["webapp", "--tls-cert", "absent.pem", "--tls-key", "absent.pem"], "No such file"),
        (["webapp", "--http", "--switch", "connect_seconds=NaN"], "connect_seconds"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], message: str) -> None:
    result = run_command(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("switches", ["[1]", "{", "null", '{"no_such": 1}', '{"unreported": [1]}'])
def test_wrong_switches_of_the_environment_are_one_line(switches: str) -> None:
    result = run_command("webapp", "--http", environment={"WA_EMULATOR_SWITCHES": switches})
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("option", "number"),
    [("--clients", "0"), ("--clients", "-1"), ("--clients", "many"), ("--port", "99999"), ("--port", "-1")],
)
def test_numbers_that_cannot_be(option: str, number: str) -> None:
    result = run_command("webapp", "--http", option, number)
    assert result.returncode == 2
    assert option in result.stderr
