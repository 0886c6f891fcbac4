# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the work runs: inside the controller process where nothing asks for another one, else as a module.

What tells the two apart is the module's payload: with ANSIBLE_KEEP_REMOTE_FILES it stays in the remote temporary
directory, which each host has of its own here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun
from support.emulator import EmulatedClient, Emulator

SET = "wabiz.onprem.wa_application_settings"
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "wa.invalid"}


@dataclass(frozen=True)
class Way:
    """What a task, its play and its host say, and whether the module has to run for it."""

    module: bool
    task: Mapping[str, Any] = field(default_factory=dict)
    play: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)


# `other-python` and `stand-in-for-sudo` are scripts beside the playbook, made in `ways`.
WAYS: dict[str, Way] = {
    "plain": Way(False),
    "the same Python": Way(False, host={"ansible_python_interpreter": sys.executable}),
    "the same Python as a template": Way(False, host={"ansible_python_interpreter": "{{ ansible_playbook_python }}"}),
    "an interpreter to be found": Way(False, host={"ansible_python_interpreter": "auto_silent"}),
    "asked for by a template": Way(False, host={"wabiz_direct_execution": "{{ 1 == 1 }}"}),
    "delegated to localhost": Way(False, {"delegate_to": "localhost"}, host=UNREACHABLE),
    "the play becomes, the task does not": Way(
        False, {"become": False}, {"become": True}, {"ansible_become_exe": "{{ stand_in }}"}
    ),
    "no environment": Way(False, {"environment": {}}),
    "switched off": Way(True, host={"wabiz_direct_execution": False}),
    "switched off in words": Way(True, host={"wabiz_direct_execution": "no"}),
    "switched off by a template": Way(True, host={"wabiz_direct_execution": "{{ 1 == 2 }}"}),
    "another Python": Way(True, host={"ansible_python_interpreter": "{{ other_python }}"}),
    "an environment": Way(True, {"environment": {"SOME_VARIABLE": "1"}}),
    "an environment of the play": Way(True, play={"environment": {"SOME_VARIABLE": "1"}}),
    "become": Way(True, {"become": True}, host={"ansible_become_exe": "{{ stand_in }}"}),
    "become in the play": Way(True, play={"become": True}, host={"ansible_become_exe": "{{ stand_in }}"}),
    "async": Way(True, {"async": 60, "poll": 1}),
}


@dataclass(frozen=True)
class Taken:
    """All ways, taken in one run."""

    ansible: AnsibleCommands
    run: CommandRun
    clients: Mapping[str, EmulatedClient]


@pytest.fixture(scope="module")
def ways(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Taken:
    ansible = AnsibleCommands(tmp_path_factory.mktemp("ways"))
    other_python = ansible.script("other-python", f'exec "{sys.executable}" "$@"')
    # The become plugin's own options end with the user's name.
    stand_in = ansible.script(
        "stand-in-for-sudo",
        f'echo called >> "{ansible.outputs}/become"\nwhile [ "$1" != -u ]; do shift; done\nshift 2\nexec "$@"',
    )
    clients = {name: emulator.new_client() for name in WAYS}
    plays, hosts = [], {}
    for name, way in WAYS.items():
        task = {"name": name, SET: {**clients[name].with_token(), "settings": {"log_level": "error"}}, **way.task}
        plays.append({"hosts": _host(name), "tasks": [task], **way.play})
        hosts[_host(name)] = {"ansible_remote_tmp": str(ansible.tmp / _host(name)), **way.host}
    variables = {"other_python": str(other_python), "stand_in": str(stand_in), "ansible_become_user": "root"}
    # Without a named interpreter Ansible would look for one, and not find the one that has requests.
    environment = {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    environment |= {"ANSIBLE_BECOME_ALLOW_SAME_USER": "1"}  # root becomes root through the stand-in as well
    run = ansible.playbook(plays, hosts, variables=variables, environment=environment)
    return Taken(ansible, run, clients)


def _host(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


@pytest.mark.parametrize("name", WAYS)
def test_the_way_taken(name: str, ways: Taken) -> None:
    way = WAYS[name]
    assert ways.run.rc == 0, ways.run.output
    assert ways.run.result(name)["changed_settings"] == ["log_level"]
    assert "PATCH /v1/settings/application" in ways.clients[name].verbs()
    payloads = list((ways.ansible.tmp / _host(name)).rglob("AnsiballZ_wa_application_settings.py"))
    assert bool(payloads) == way.module, payloads


def test_become_came_through_the_become_plugin(ways: Taken) -> None:
    assert (ways.ansible.outputs / "become").read_text().count("called") >= 2


def test_a_task_environment_reaches_the_module(client: EmulatedClient, ansible: AnsibleCommands) -> None:
    environment = {
        "WABIZ_API_URL": client.api_url,
        "WABIZ_TOKEN": client.control.token(),
        "WABIZ_CA_PATH": client.ca_path,
    }
    task = {"name": "read", "wabiz.onprem.wa_application_settings_info": {}, "environment": environment}
    variables = {"ansible_python_interpreter": sys.executable}
    run = ansible.playbook([{"hosts": "all", "tasks": [task]}], {"client": {}}, variables=variables)
    assert run.result("read")["client_version"] == "2.57.2", run.output


# What the strategy does before it forks, and then what a worker does with the arguments of a task.
WORKER = """
import json, sys
from ansible.plugins.loader import action_loader, init_plugin_loader
init_plugin_loader()
action = action_loader.get("wabiz.onprem.wa_application_settings", class_only=True)
before = set(sys.modules)
from ansible.parsing.dataloader import DataLoader
try:
    from ansible.template import Templar, trust_as_template as template
except ImportError:
    from ansible.template import Templar
    template = str
assert "requests" in before
text = Templar(DataLoader(), {"token": "x"}).template(template("{{ token | default(omit) | to_json is defined }}"))
assert text in (True, "True"), text
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_what_workers_need_is_loaded_before_the_fork() -> None:
    answer = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout.splitlines()[-1]) == []


def test_async_without_waiting(client: EmulatedClient, ansible: AnsibleCommands) -> None:
    tasks = [
        {
            "name": "start",
            SET: {**client.with_token(), "settings": {"log_level": "error"}},
            "async": 60,
            "poll": 0,
            "register": "job",
        },
        {
            "name": "end",
            "ansible.builtin.async_status": {"jid": "{{ job.ansible_job_id }}"},
            "register": "job_result",
            "until": "job_result.finished | int == 1",
            "retries": 60,
            "delay": 0.5,
        },
    ]
    variables = {"ansible_python_interpreter": sys.executable}
    run = ansible.playbook([{"hosts": "all", "tasks": tasks}], {"client": {}}, variables=variables)
    assert run.rc == 0, run.output
    assert run.result("end")["changed_settings"] == ["log_level"]


def test_a_python_without_requests_says_so(client: EmulatedClient, ansible: AnsibleCommands) -> None:
    bare = ansible.script("bare-python", f'exec "{sys.executable}" -S "$@"')
    task = {"name": "read", "wabiz.onprem.wa_application_settings_info": client.with_token()}
    variables = {"ansible_python_interpreter": str(bare)}
    run = ansible.playbook([{"hosts": "all", "tasks": [task]}], {"client": {}}, variables=variables)
    assert run.rc == 2
    assert "Failed to import the required Python library (requests)" in run.result("read")["msg"]
    assert client.verbs() == []


@pytest.mark.parametrize("direct", [True, False], ids=["in-process", "module"])
def test_the_invocation_is_shown_where_ansible_shows_it(
    direct: bool, client: EmulatedClient, ansible: AnsibleCommands
) -> None:
    """With Ansible's own settings; a module of ansible-core itself says what it does."""
    tasks = [
        {"name": "read", "wabiz.onprem.wa_application_settings_info": client.with_token()},
        {"name": "reference", "ansible.builtin.ping": {}},
    ]
    variables = {"ansible_python_interpreter": sys.executable, "wabiz_direct_execution": direct}
    plays = [{"hosts": "all", "tasks": tasks}]
    run = ansible.playbook(plays, {"client": {}}, variables=variables, environment={"ANSIBLE_INJECT_INVOCATION": "0"})
    assert ("invocation" in run.result("read")) == ("invocation" in run.result("reference"))


def test_a_job_of_ansible_runner(emulator: Emulator, ansible: AnsibleCommands) -> None:
    """As AWX runs it: no warning, no deprecation, every event in its place, secrets in none of them."""
    client = emulator.new_client()
    client.control.add_user("admin", "Canary-password-1")
    job = ansible.inputs / "job"
    common = {"api_url": client.api_url, "ca_path": client.ca_path}
    tasks = [
        {"name": "set", SET: {**common, "settings": {"log_level": "error"}}},
        {
            "name": "set as a module",
            SET: {**common, "settings": {"log_level": "error"}},
            "vars": {"wabiz_direct_execution": False},
        },
        {"name": "read", "wabiz.onprem.wa_application_settings_info": common},
        {"name": "health", "wabiz.onprem.wa_health_info": {**common, "wait": True}},
    ]
    ansible.write("job/project/site.json", [{"hosts": "all", "gather_facts": False, "tasks": tasks}])
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    ansible.write("job/inventory/hosts.json", {"all": {"hosts": {"wa1": host}}})
    ansible.write("job/env/envvars", {"WABIZ_PASSWORD": "Canary-password-1", "ANSIBLE_INJECT_INVOCATION": "1"})
    ansible.write("job/env/cmdline", "--diff -vvv")
    run = ansible.run(["ansible-runner", "run", str(job), "-p", "site.json", "--ident", "1"])
    assert run.rc == 0, run.output
    artifacts = job / "artifacts" / "1"
    events = [json.loads(path.read_text()) for path in sorted(artifacts.glob("job_events/*.json"), key=_number)]
    results = {e["event_data"]["task"]: e["event_data"]["res"] for e in events if e["event"] == "runner_on_ok"}
    assert [results[name]["changed"] for name in ("set", "set as a module", "read", "health")] == [
        True,
        False,
        False,
        False,
    ]
    assert {event["event"] for event in events} <= {
        "playbook_on_start",
        "playbook_on_play_start",
        "playbook_on_task_start",
        "runner_on_start",
        "runner_on_ok",
        "runner_on_file_diff",
        "playbook_on_stats",
        "verbose",
    }
    said = "".join(event["stdout"] for event in events)
    assert "WARNING" not in said
    assert "DEPRECATION" not in said
    left = [
        path
        for path in (*artifacts.rglob("*"), *ansible.home.rglob("*"), *ansible.outputs.rglob("*"))
        if path.is_file()
    ]
    assert len(left) > len(events)
    # The runner itself writes the environment that it was given.
    leaks = [
        path for path in left if "Canary-password-1" in path.read_text(errors="replace") and path.name != "command"
    ]
    assert leaks == []


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])
