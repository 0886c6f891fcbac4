# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs in an execution environment that `ansible-builder` makes of the collection, with the network cut."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import yaml

from support.awx_jobs import HOOK, QUERY, Job, assert_clean, credential, run_job
from support.commands import ROOT, AnsibleCommands
from support.deployments import SETTINGS, Deployment, NewDeployment
from support.engines import Engine
from support.execution_environments import ADDRESS, PORT, ExecutionEnvironment
from support.exports import exported

COLLECTIONS = "/usr/share/ansible/collections/ansible_collections"
PLAYBOOKS = {"apply.yml", "drift.yml", "export.yml"}
DECLARED = {"wa_settings_values": {"log_level": "warning", "webhooks": {"url": HOOK}}}
# Prints those of the places, each an address with a port, that accept a connection.
CONNECT = """
import contextlib, socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    with contextlib.suppress(OSError):
        socket.create_connection((host, int(port)), 2).close()
        print(place)
"""


def job_in(
    environment: ExecutionEnvironment,
    ansible: AnsibleCommands,
    template: str,
    *deployments: Deployment,
    succeeds: bool = True,
    **more: Any,
) -> Job:
    """A job that is over: it ended as expected, showed no secret, and ran the collection of the image."""
    for deployment in deployments:
        deployment.forget()
    job = run_job(ansible, template, deployments, credential(deployments[0]), within=environment.within, **more)
    assert job.status == ("successful" if succeeds else "failed"), job.said()
    assert_clean(job, ansible)
    paths = {event["event_data"]["task_path"] for event in job.events("playbook_on_task_start")}
    assert paths
    assert {path for path in paths if not path.startswith(f"{COLLECTIONS}/wabiz/onprem/")} == set()
    return job


def test_collection_is_in_the_image_and_the_checkout_is_not(environment: ExecutionEnvironment) -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    listed = json.loads(environment.run("ansible-galaxy", "collection", "list", "--format", "json"))
    # ansible-core may have collections of its own.
    there = {place: names for place, names in listed.items() if "wabiz.onprem" in names}
    assert there == {COLLECTIONS: {"wabiz.onprem": {"version": version}}}
    found = environment.run("sh", "-c", f"ls -d {ROOT} {COLLECTIONS}/wabiz/onprem 2>/dev/null || true").split()
    assert found == [f"{COLLECTIONS}/wabiz/onprem"]
    assert environment.run("id", "--user").strip() != "0"


def test_network_leads_to_the_clients_and_nowhere_else(
    engine: Engine, environment: ExecutionEnvironment, network: str, emulator_container: str
) -> None:
    template = '{{(index .NetworkSettings.Networks "bridge").%s}}'
    machine, outside = (
        engine.call("inspect", "--format", template % member, emulator_container).strip()
        for member in ("Gateway", "IPAddress")
    )
    own = engine.call("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network).strip()
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        places = [f"{ADDRESS}:{PORT}", f"{outside}:{PORT}", f"{machine}:{port}", f"{own}:{port}"]
        # From where there is a way out, this machine and other containers do answer.
        elsewhere = engine.call("exec", emulator_container, "python3", "-c", CONNECT, *places).split()
        assert {*places[1:3]} <= {*elsewhere}
        assert environment.run("python3", "-c", CONNECT, *places).split() == places[:1]


def test_check_then_apply_then_nothing_left_to_do(
    environment: ExecutionEnvironment, ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    check = job_in(environment, ansible, "WhatsApp check", single, variables=DECLARED)
    assert (single.writes(), single.starts()) == ([], [])
    (predicted,) = [result for result in check.results("one") if result.get("changed_settings")]

    apply = job_in(environment, ansible, "WhatsApp apply", single, variables=DECLARED)
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], ["wacore"])
    assert single.running("log_level") == {"warning"}
    assert single.client.control.stored()["webhooks"]["url"] == HOOK
    changed = {name for result in apply.results("one") for name in result.get("changed_settings", [])}
    assert changed == set(predicted["changed_settings"])
    assert single.pending() == []

    again = job_in(environment, ansible, "WhatsApp apply", single, variables=DECLARED)
    assert (single.writes(), single.starts()) == ([], [])
    (stats,) = again.events("playbook_on_stats")
    assert stats["event_data"]["changed"] == {}


def test_drift_and_export_leave_their_files_in_the_exposed_path(
    environment: ExecutionEnvironment, ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    for single, level in zip(singles, ("warning", "error"), strict=True):
        single.client.control.store({"log_level": level, "webhooks": {"url": HOOK}})
    reports, files = environment.exposed / "reports", environment.exposed / "export"
    answers = {"wa_drift_dir": str(reports), "wa_drift_fail": "false"}
    job_in(environment, ansible, "WhatsApp drift", *singles, answers=answers, variables=DECLARED)
    told = {client["name"]: client["state"] for client in json.loads((reports / "drift.json").read_text())["clients"]}
    assert told == {"one": "converged", "two": "drifted"}
    assert [single.writes() for single in singles] == [[], []]

    job_in(environment, ansible, "WhatsApp export", *singles, answers={"wa_export_dir": str(files)})
    written = exported(files)
    levels = {
        name: yaml.safe_load(written[f"host_vars/{name}/wa_settings.yml"])["wa_settings_host_values"]["log_level"]
        for name in ("one", "two")
    }
    assert levels == {"one": "warning", "two": "error"}
    assert {name for name, text in exported(environment.exposed).items() if QUERY in text} == set()
    assert [single.writes() for single in singles] == [[], []]


@pytest.mark.parametrize("template", ["WhatsApp check", "WhatsApp apply"])
def test_record_that_the_job_would_take_along_is_refused(
    environment: ExecutionEnvironment, ansible: AnsibleCommands, new_single: NewDeployment, template: str
) -> None:
    single = new_single(wa_settings_state_dir="/runner/records")
    job = job_in(environment, ansible, template, single, variables=DECLARED, succeeds=False)
    (message,) = [event["event_data"]["res"]["msg"] for event in job.events("runner_on_failed")]
    # The cure is in the message.
    assert "wa_settings_state_dir" in message
    assert "wa_settings_volatile_state" in message
    assert (single.writes(), single.starts()) == ([], [])
