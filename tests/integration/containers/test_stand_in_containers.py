# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Meta's files, Meta's tools and public charts expect of the containers."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import pytest

from support.containers import (
    API_KEY,
    HEALTH_SECONDS,
    IMAGES,
    POLL_SECONDS,
    ComposeProject,
    ContainerDeployment,
    connect,
    unique,
    webapp_overlay,
)
from support.engines import Engine

PROBE = ["curl", "--silent", "--fail", "-k", "https://localhost:443/v1/health"]


def test_a_charts_liveness_probe_passes(single: ContainerDeployment) -> None:
    project = single.projects["single"]
    web = project.container("waweb")
    answer = project.engine.call("exec", web, *PROBE, "--header", f"Authorization: Apikey {API_KEY}")
    assert json.loads(answer)["health"] == {"gateway_status": "connected"}
    wrong = project.engine.call("exec", web, "sh", "-c", " ".join(PROBE) + "; echo $?")
    # curl's word for a status from 400 on.
    assert wrong.strip() == "22"


def test_places_tools_and_labels(single: ContainerDeployment) -> None:
    project = single.projects["single"]
    for service in ("wacore", "waweb"):
        container = project.container(service)
        project.engine.call("exec", container, "sh", "-c", "test -d /usr/local/waent/logs && nc -z -w 5 db 3306")
        closed = project.engine.call("exec", container, "sh", "-c", "nc -z -w 5 db 3307; echo $?")
        assert closed.strip() == "1"
    single.client.control.clear_requests()
    settings = "/v1/settings/application"
    single.client.control.token()
    project.engine.call("exec", project.container("waweb"), "curl", "--silent", "-k", f"https://localhost{settings}")
    lines = project.engine.call("exec", project.container("waweb"), "cat", "/var/log/whatsapp/web.log").splitlines()
    assert (json.loads(lines[-1])["path"], json.loads(lines[-1])["status"]) == (settings, 401)
    days = {
        project.engine.call("inspect", "--format", "{{.Config.Labels.EXPIRES_ON}}", image).strip() for image in IMAGES
    }
    (day,) = days
    built = project.engine.call("inspect", "--format", "{{.Created}}", IMAGES[0])[:10]
    life = datetime.date.fromisoformat(day) - datetime.date.fromisoformat(built)
    assert 179 <= life.days <= 180
    assert single.client.control.switches()["expires_on"] == day


@pytest.mark.thorough
def test_the_default_bridge_needs_links(engine: Engine, tmp_path: Path) -> None:
    """Meta's single-instance file since November 2024: without links no container there has a name."""
    bridged = {service: {"network_mode": "bridge"} for service in ("db", "wacore", "waweb")}
    web = webapp_overlay(["127.0.0.1"], {"connect_seconds": 0.5})
    over = {"services": {**bridged, "waweb": {**bridged["waweb"], **web}}}
    name = unique("bridge")
    without = ComposeProject(engine, name, tmp_path / "without", ["docker-compose.yml"], over)
    linked = ComposeProject(engine, name, tmp_path / "with", ["docker-compose.yml", "links.yml"], over)
    try:
        without.compose("up", "--detach")
        end = time.monotonic() + HEALTH_SECONDS
        for service in ("wacore", "waweb"):
            while "the name db does not resolve" not in without.compose("logs", service):
                assert time.monotonic() < end, without.compose("logs", service)
                time.sleep(POLL_SECONDS)
        linked.compose("up", "--detach")
        client = connect(linked.published("waweb", 443), tmp_path)
        end = time.monotonic() + HEALTH_SECONDS
        while "connected" not in [node["gateway_status"] for node in client.control.nodes().values()]:
            assert time.monotonic() < end, linked.compose("logs")
            time.sleep(POLL_SECONDS)
    finally:
        linked.down()
