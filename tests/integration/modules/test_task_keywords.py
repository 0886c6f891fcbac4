# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ansible task can carry besides its module: keywords, variables of every origin, strategies, ad-hoc calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.batch import leaf
from support.commands import PATHS, AnsibleCommands, mostly
from support.emulator import EmulatedClient, Emulator

GET, PATCH = "GET /v1/settings/application", "PATCH /v1/settings/application"
SET = "wabiz.onprem.wa_application_settings"
HEALTH = "wabiz.onprem.wa_health_info"


def test_loop(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    task = {
        "name": "loop",
        SET: {**client.with_token(), "settings": {"log_level": "{{ item }}"}},
        "loop": ["error", "error", "fatal"],
    }
    run = ansible.playbook([{"hosts": "all", "tasks": [task]}], {"client": {}}, variables=PATHS[path])
    assert [item["changed"] for item in run.results(items=True)] == [True, False, True]
    assert client.verbs() == [GET, PATCH, GET, GET, GET, PATCH, GET]
    assert client.control.stored() == {"log_level": "fatal"}


def test_no_log(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    tasks = [
        {"name": "hidden", SET: {**client.with_token(), "settings": {"heartbeat_interval": 4711}}, "no_log": True},
        {
            "name": "refused",
            SET: {**client.with_token(), "settings": {"x": 4711}},
            "no_log": True,
            "ignore_errors": True,
        },
    ]
    run = ansible.playbook([{"hosts": "all", "tasks": tasks}], {"client": {}}, "-vvv", "--diff", variables=PATHS[path])
    assert "censored" in run.result("hidden")
    assert run.result("hidden")["changed"] is True
    assert "4711" not in run.output
    assert client.control.stored() == {"heartbeat_interval": 4711}


def test_check_mode_and_diff_of_the_task(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    options = {**client.with_token(), "settings": {"log_level": "error"}}
    tasks = [
        {"name": "predicted", SET: options, "check_mode": True},
        {"name": "shown", SET: options, "check_mode": True, "diff": True},
        {"name": "done in spite of --check", SET: options, "check_mode": False, "diff": False},
        {"name": "predicted by --check", SET: {**options, "state": "absent", "settings": "{{ omit }}"}},
    ]
    plays = [{"hosts": "all", "tasks": tasks}]
    run = ansible.playbook(plays, {"client": {}}, "--check", "--diff", variables=PATHS[path])
    assert run.rc == 0, run.output
    assert run.result("shown")["diff"]["after"]["log_level"] == "error"
    assert "diff" in run.result("predicted")
    assert "diff" not in run.result("done in spite of --check")
    assert run.result("predicted by --check")["changed_settings"] == ["log_level"]
    assert client.verbs() == [GET, GET, GET, PATCH, GET, GET]


def test_retries_until(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client = emulator.new_client(connect_seconds=0.05)
    client.control.fault("error", path="/v1/health", code=1011, times=2)
    task = {
        "name": "poll",
        HEALTH: {**client.with_token(), "retries": 0},
        "register": "health",
        "until": "health.healthy | default(false)",
        "retries": 5,
        "delay": 0,
    }
    run = ansible.playbook([{"hosts": "all", "tasks": [task]}], {"client": {}}, variables=PATHS[path])
    assert run.rc == 0, run.output
    assert run.result("poll")["attempts"] == 3
    assert client.verbs() == ["GET /v1/health"] * 3


def test_retries_of_the_module(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    client.control.fault("status", status=503, method="GET", times=1)
    task = {"name": "patient", SET: {**client.with_token(), "settings": {"log_level": "error"}}}
    run = ansible.playbook([{"hosts": "all", "tasks": [task]}], {"client": {}}, variables=PATHS[path])
    assert run.rc == 0, run.output
    assert client.verbs() == [GET, GET, PATCH, GET]


def test_run_once_and_delegation(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    """The hosts themselves could not be reached: nothing but the delegate is asked."""
    options = {**client.with_token(), "settings": {"log_level": "error"}}
    tasks = [
        {"name": "once", SET: options, "run_once": True, "delegate_to": "localhost"},
        {"name": "each", SET: options, "delegate_to": "runner"},
    ]
    hosts = {name: {"ansible_connection": "ssh", "ansible_host": "wa.invalid"} for name in ("wa1", "wa2")}
    run = ansible.playbook(
        [{"hosts": "wa*", "tasks": tasks}],
        {**hosts, "runner": {}, "localhost": {}},
        variables=PATHS[path],
    )
    assert run.rc == 0, run.output
    assert len(run.results(task="once")) == 1
    assert [result["changed"] for result in run.results(task="each")] == [False, False]
    assert client.verbs() == [GET, PATCH, GET, GET, GET]


def test_variables_of_every_origin(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    """From a vaulted file, a vaulted value, group and host variables, `set_fact`, `-e`, templates and lookups."""
    client = emulator.new_client({"since": ""}, unknown_keys="keep")
    secret = ansible.write("vault-password", "vault-secret\n")
    book = f"""
- hosts: clients
  gather_facts: false
  vars_files: [secrets.yml]
  vars:
    levels: [info, error]
  tasks:
    - ansible.builtin.set_fact:
        interval: 7
        more: "{{{{ {{'unhealthy_interval': 40}} }}}}"
    - name: set
      {SET}:
        api_url: "{{{{ url }}}}"
        ca_path: "{{{{ lookup('ansible.builtin.env', 'CA_OF_THE_TEST') }}}}"
        password: "{{{{ vaulted_password }}}}"
        settings: "{{{{ declared | combine(more) | combine({{'heartbeat_interval': interval}}) | combine(extra) }}}}"
        extra_settings:
          since: 2026-01-31
      register: done
    - name: use what came back
      ansible.builtin.debug:
        msg: "{{{{ done.changed_settings | join(',') }}}} {{{{ done.after.log_level }}}}"
    - name: again, piece by piece
      {SET}:
        api_url: "{{{{ url }}}}"
        ca_path: "{{{{ lookup('ansible.builtin.env', 'CA_OF_THE_TEST') }}}}"
        password: "{{{{ vaulted_password }}}}"
        settings:
          log_level: "{{{{ levels | last }}}}"
          heartbeat_interval: "{{{{ interval }}}}"
          callback_backoff_delay_ms: "{{{{ extra.callback_backoff_delay_ms }}}}"
          callback_persist: "{{{{ interval > 8 }}}}"
          webhooks:
            url: "{{{{ omit }}}}"
"""
    ansible.write("group_vars/clients.yml", "declared:\n  log_level: error\n  callback_persist: no\n")
    ansible.write("host_vars/wa1.yml", f"url: {client.api_url}\n")
    secrets = ansible.write("secrets.yml", "vaulted_password: Correct-horse-1\n")
    vault = [
        str(Path(sys.executable).parent / "ansible-vault"),
        "encrypt",
        "--vault-password-file",
        str(secret),
        str(secrets),
    ]
    subprocess.run(vault, env=ansible.environment(), check=True, capture_output=True)
    inventory = ansible.inventory({}, PATHS[path], {"clients": {"hosts": {"wa1": {}}}})
    command = ["ansible-playbook", "-i", str(inventory), str(ansible.write("book.yml", book))]
    command += ["--vault-password-file", str(secret), "-e", '{"extra": {"callback_backoff_delay_ms": "4500"}}']
    run = ansible.run(command, {"CA_OF_THE_TEST": client.ca_path})
    assert run.rc == 0, run.output
    assert run.result("set")["changed_settings"] == [
        "callback_backoff_delay_ms",
        "callback_persist",
        "heartbeat_interval",
        "log_level",
        "since",
        "unhealthy_interval",
    ]
    assert run.result("use what came back")["msg"].endswith(",since,unhealthy_interval error")
    assert run.result("again, piece by piece")["changed"] is False
    assert leaf(client.control.stored(), "since") == "2026-01-31"
    assert "Correct-horse-1" not in run.output + str(run.records)


@pytest.mark.parametrize("strategy", mostly("free", rest=["linear", "host_pinned"]))
def test_strategies(strategy: str, emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    clients = {f"wa{number}": emulator.new_client() for number in range(4)}
    hosts = {name: {"url": client.api_url, "token": client.control.token()} for name, client in clients.items()}
    options = {"api_url": "{{ url }}", "token": "{{ token }}", "ca_path": clients["wa0"].ca_path}
    tasks = [{"name": name, SET: {**options, "settings": {"log_level": "error"}}} for name in ("first", "again")]
    run = ansible.playbook([{"hosts": "all", "strategy": strategy, "tasks": tasks}], hosts, variables=PATHS[path])
    assert run.rc == 0, run.output
    for name, client in clients.items():
        assert [run.result(task, name)["changed"] for task in ("first", "again")] == [True, False]
        assert client.verbs() == [GET, PATCH, GET, GET]


def test_adhoc(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    options = {**client.with_token(), "settings": {"log_level": "error"}}
    hosts: dict[str, dict[str, Any]] = {"wa1": {}}
    predicted = ansible.adhoc("wa_application_settings", options, hosts, "--check", "--diff", variables=PATHS[path])
    assert (predicted.rc, predicted.results()[0]["changed"]) == (0, True)
    assert '+            "log_level": "error",' in predicted.stdout or '"log_level": "error"' in predicted.stdout
    assert client.take_verbs() == [GET]
    done = ansible.adhoc("wa_application_settings", options, hosts, variables=PATHS[path])
    assert done.results()[0]["changed_settings"] == ["log_level"]
    assert client.take_verbs() == [GET, PATCH, GET]
    read = ansible.adhoc("wa_health_info", client.with_token(), hosts, variables=PATHS[path])
    assert read.results()[0]["healthy"] is True
    refused = ansible.adhoc("wa_application_settings", {**options, "settings": {"x": 1}}, hosts, variables=PATHS[path])
    assert refused.rc == 2
    assert "Traceback" not in refused.output
    assert client.control.stored() == {"log_level": "error"}
