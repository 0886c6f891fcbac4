# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Meta's WADebug, unmodified, on a host of containers: each result as it should be, or explained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from support.containers import (
    DATABASE_IMAGE,
    IMAGES,
    PORT,
    ComposeProject,
    ContainerDeployment,
    connect,
    webapp_overlay,
)
from support.engines import ContainerHost, Engine, container_hosts, run
from wabiz_emulator.receiver import Receiver

USER, USER_PASSWORD = "wadebug", "Secret-debugger-1"
# WADebug asks the engine for everything that is there, so it gets an engine with one client.
ALONE = "wadebug"
DATABASE_PORT = 33060
# What the check of the network tries to reach.
SERVERS = [f"{name}.whatsapp.net" for name in ("g", "v", "mmg")]
SERVERS += ["graph.facebook.com", "docker.whatsapp.biz", "dt.bintray.com", "akamai.bintray.com"]


@pytest.fixture(scope="module")
def host(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerHost]:
    place = tmp_path_factory.mktemp(ALONE)
    with container_hosts([ALONE], place, engine, [*IMAGES, DATABASE_IMAGE]) as (found,):
        yield found


@pytest.fixture(scope="module")
def client(host: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerDeployment]:
    place = tmp_path_factory.mktemp("client")
    web = webapp_overlay([host.address], {"connect_seconds": 0.5})
    # Meta's file publishes the database like this. Nobody out there is asked: the Coreapp refuses by itself.
    nowhere = {"extra_hosts": [f"{name}:127.0.0.1" for name in SERVERS]}
    services = {"waweb": web, "db": {"ports": [f"{DATABASE_PORT}:3306"]}, "wacore": nowhere}
    project = ComposeProject(host.engine, "biz", place, ["docker-compose.yml"], {"services": services})
    project.variables["EXTERNAL_WEBAPP_PORT"] = str(PORT)
    try:
        project.compose("up", "--detach")
        found = connect(f"{host.address}:{PORT}", place)
        deployment = ContainerDeployment(ALONE, found, {ALONE: ["wacore"]}, place, projects={ALONE: project})
        deployment.await_health()
        # An admin, as the tool wants one.
        found.control.add_user(USER, USER_PASSWORD)
        yield deployment
    finally:
        project.down()


def wadebug(host: ContainerHost, place: Path, *arguments: str) -> str:
    """Run the tool on the host; its output."""
    python = os.environ.get("WABIZ_OTHER_CLIENTS")
    assert python, "WABIZ_OTHER_CLIENTS names a Python with wadebug: `make containers` sets it up"
    configuration = {
        "webapp": {"baseUrl": f"https://{host.address}:{PORT}", "user": USER, "password": USER_PASSWORD},
        "db": {"host": host.address, "port": DATABASE_PORT, "user": "root", "password": "example"},
    }
    # JSON is YAML.
    (place / "wadebug.conf.yml").write_text(json.dumps(configuration), encoding="utf-8")
    command = [*host.engine.within, "env", "-u", "DOCKER_HOST", "-C", str(place), "OUTDATED_IGNORE=1"]
    return run([*command, str(Path(python).with_name("wadebug")), *arguments])


def checks(host: ContainerHost, place: Path, *names: str) -> dict[str, dict[str, Any]]:
    which = ["partial", *names] if names else ["full"]
    output = wadebug(host, place, *which, "--json", "--do-not-send-usage")
    return dict(json.loads(output.splitlines()[-1]))


def test_every_check(host: ContainerHost, client: ContainerDeployment, tmp_path: Path) -> None:
    client.client.control.store({})
    found = checks(host, tmp_path)
    assert {name: result["result"] for name, result in found.items()} == {
        "containers_status": "OK",
        "check_db_settings_exist": "OK",
        "check_mysql_password": "OK",
        "check_webapp_port": "OK",
        # No address has been set, and a missing CA is no fault.
        "check_webhook": "warning",
        # Explained: Meta's servers are not to be reached from the container.
        "check_network": "problem",
        # Explained: the tool reads EXPIRES_ON of images that came from a registry, and these were built here.
        "check_software_version": "problem",
        # Explained: the database is a listener that speaks no MySQL.
        "check_mysql_connection": "problem",
        "check_mysql_permissions": "problem",
        "check_mysql_version": "problem",
    }
    assert found["check_webhook"]["details"] == "Webhook has not been set"


def test_the_webhook(host: ContainerHost, client: ContainerDeployment, tmp_path: Path) -> None:
    """From inside the Coreapp's container: with curl, and with the uploaded CA in /usr/local/waent."""
    control = client.client.control

    def check() -> dict[str, Any]:
        return checks(host, tmp_path, "check_webhook")["check_webhook"]

    with Receiver(host.gateway) as receiver:
        control.store({"webhooks": {"url": receiver.url}})
        untrusted = check()
        assert (untrusted["result"], untrusted["message"]) == ("problem", "SSL verification error")
        client.client.upload_webhook_ca(receiver.authority)
        assert check()["result"] == "OK"
        assert {"wadebug_webhook_test": "test"} in [post.body for post in receiver.posts]
        client.client.upload_webhook_ca(None)
    control.switch(http_webhooks="accept")
    control.store({"webhooks": {"url": "http://example.com/hook"}})
    assert check()["message"] == "Webhook not secure"


def test_logs(host: ContainerHost, client: ContainerDeployment, tmp_path: Path) -> None:
    api = client.client.with_token()
    assert requests.get(f"{api['api_url']}/v1/health", verify=api["ca_path"], timeout=10).status_code == 401
    wadebug(host, tmp_path, "logs", "--do-not-send-usage")
    logs = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "wadebug_logs").iterdir()}
    services = {service: client.projects[ALONE].container(service) for service in ("db", "wacore", "waweb")}
    # Explained: it asks for a folder in the place of lighttpd's error.log, and so leaves that log out.
    assert set(logs) == {
        *(f"{name}-{kind}.log" for name in services.values() for kind in ("container", "inspect")),
        f"{services['wacore']}-coredump.log",
        f"{services['waweb']}-web.log",
        "support-info.log",
    }
    assert "ready" in logs[f"{services['wacore']}-container.log"]
    assert '"path": "/v1/health"' in logs[f"{services['waweb']}-web.log"]
    support = json.loads(logs["support-info.log"])["support"]
    assert (support["description"], support["debug_info"]) == ("v2.57.2", "49301234567")
