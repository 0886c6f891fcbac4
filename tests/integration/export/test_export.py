# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `export`: what it writes is what the clients have, and it changes nothing else."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import Deployment, NewDeployment
from support.drifts import UNREACHABLE, clients_of
from support.emulator import PASSWORD
from support.exports import exported, run_book, untouched, vault_password
from support.plays import words

URL = "https://me:canary-user@hooks.example.com/wa?auth=canary-query"
COMMON = {"callback_persist": False, "webhooks": {"url": URL, "max_concurrent_requests": 12}}


def store(deployment: Deployment, settings: dict[str, Any], *providers: dict[str, Any]) -> None:
    deployment.client.control.switch(unknown_keys="keep")
    deployment.client.control.store(settings)
    deployment.client.control.store_providers(list(providers))
    deployment.forget()


def basic(name: str, password: str) -> dict[str, Any]:
    return {"name": name, "type": "www", "config": {"basic": {"username": "me", "password": password}}}


def bearer(name: str, token: str) -> dict[str, Any]:
    return {"name": name, "type": "www", "config": {"bearer": token}}


def round_trip(ansible: AnsibleCommands, fleet: Sequence[Deployment], *arguments: str, **more: Any) -> None:
    """Apply what was exported beside the inventory: nothing changes, and nothing but reading arrives."""
    for one in fleet:
        one.forget()
    run = run_book(ansible, "apply", fleet, *arguments, **more)
    assert run.rc == 0, run.output
    assert all(host["changed"] == 0 for host in run.stats().values()), run.output
    assert untouched(*fleet)
    assert all("GET /v1/settings/application" in one.client.verbs() for one in fleet)


def no_secrets(ansible: AnsibleCommands, run: CommandRun) -> None:
    """No canary in the output, and none in any file that the run left."""
    assert re.findall(r".*canary-(?!vault).*", run.output) == []
    assert PASSWORD not in run.output
    found = [path for path in ansible.place.rglob("*") if path.is_file() and path.parent != ansible.inputs]
    assert [path for path in found if b"canary-" in path.read_bytes()] == []


def below_vars(ansible: AnsibleCommands) -> dict[str, str]:
    """What lies beside the inventory, text by path."""
    return {name: text for name, text in exported(ansible.inputs).items() if re.match("(group|host)_vars/", name)}


def differing(ansible: AnsibleCommands) -> dict[str, list[str]]:
    """The settings that drift tells of, by host."""
    return {name: [one["setting"] for one in client["differences"]] for name, client in clients_of(ansible).items()}


@pytest.mark.parametrize("direct", mostly(True, rest=[False]), ids=["in-process", "module"])
def test_mixed_fleet_goes_there_and_back(ansible: AnsibleCommands, new_single: NewDeployment, direct: bool) -> None:
    names = ("eu1", "eu2", "us1", "us2", "lone")
    eu1, eu2, us1, us2, lone = fleet = [new_single(name) for name in names]
    groups = {
        "prod": {"children": {"eu": {"hosts": {"eu1": {}, "eu2": {}}}, "us": {"hosts": {"us1": {}, "us2": {}}}}},
        "canary": {"hosts": {"eu2": {}, "us1": {}}},
        "old": {"hosts": {"us2": {}, "lone": {}}},
    }
    odd = {
        "limit": 7,
        "note": "{{ lookup('pipe', 'id') }} {% raw %}",
        "api_key": "canary-key {{ x }}",
        "list": ["1", 1, None],
        "tokens": ["canary-1 {{ x }}", "'[2]'"],
        "{{ x }}": {"auth": "[1, 2]", "pin": 123456},
    }
    store(eu1, {**COMMON, "log_level": "warning", "vendor": odd}, basic("a", "canary-a"), bearer("b c", "canary-b"))
    store(eu2, {**COMMON, "log_level": "warning", "vendor": {**odd, "more": True}, "heartbeat_interval": 7})
    store(us1, {**COMMON, "log_level": "error", "heartbeat_interval": 7}, basic("a", "canary-c"))
    store(us2, {**COMMON, "log_level": "error"}, basic("a", "canary-c"))
    store(lone, {"callback_persist": False, "webhooks": {"url": "https://plain.example.com/in"}})
    us2.client.control.switch(client_version="2.53.2")
    lone.client.control.switch(client_version="2.47.3")
    password = vault_password(ansible)
    path: dict[str, Any] = {"wabiz_direct_execution": direct}
    if not direct:
        path["wa_settings_api_delegate"] = "{{ inventory_hostname }}"
    run = run_book(
        ansible, "export", fleet, "-vvv", groups=groups, variables=path,
        wa_export_dir=str(ansible.inputs), wa_export_vault_password_file=password,
    )  # fmt: skip
    assert run.rc == 0, run.output
    assert untouched(*fleet)
    no_secrets(ansible, run)
    files = below_vars(ansible)
    assert "callback_persist: false" in files["group_vars/all/wa_settings.yml"]
    assert "log_level: warning" in files["group_vars/eu/wa_settings.yml"]
    assert "log_level: error" in files["group_vars/us/wa_settings.yml"]
    for group in ("eu", "us"):
        # What their parent's hosts share, since the file of a child replaces that of its parent.
        assert "max_concurrent_requests: 12" in files[f"group_vars/{group}/wa_settings.yml"]
        assert files[f"group_vars/{group}/wa_settings_vault.yml"].startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    for name, text in files.items():
        assert "canary-" not in text, name
        assert "********" not in text, name
        assert not re.search(r"\bwa_id\b|NO_LOG", text), name
    again = ["--vault-password-file", password]
    round_trip(ansible, fleet, *again, groups=groups, variables=path)

    us1.client.control.store({**COMMON, "log_level": "error", "heartbeat_interval": 8})
    drift = run_book(ansible, "drift", fleet, *again, groups=groups, variables=path)
    assert drift.rc == 0, drift.output
    assert differing(ansible) == {**{name: [] for name in names}, "us1": ["heartbeat_interval"]}
    (difference,) = clients_of(ansible)["us1"]["differences"]
    assert (difference["current"], difference["wanted"]) == (8, 7)


def test_everything_that_is_reported(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    fleet = [new_single(name) for name in ("one", "two")]
    for one in fleet:
        store(one, {})
    plain = run_book(ansible, "export", fleet, wa_export_dir="plain")
    assert plain.rc == 0, plain.output
    every = run_book(ansible, "export", fleet, wa_export_all=True, wa_export_dir=str(ansible.inputs))
    assert every.rc == 0, every.output
    (few,) = exported(ansible.inputs / "plain").values()
    assert "callback_persist" not in few
    files = below_vars(ansible)
    assert list(files) == ["group_vars/all/wa_settings.yml"]
    (text,) = files.values()
    assert "callback_persist: true" in text
    assert "wa_settings_media_providers: []" in text
    assert "wa_id" not in text
    round_trip(ansible, fleet)
    fleet[1].client.control.store({"callback_persist": False})
    assert run_book(ansible, "drift", fleet).rc == 0
    assert differing(ansible) == {"one": [], "two": ["callback_persist"]}


def test_secrets_are_left_out_and_listed_without_a_vault(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one, two = fleet = [new_single("one"), new_single("two")]
    store(one, {**COMMON, "vendor": {"token": "canary-token"}}, basic("a", "canary-a"))
    store(two, COMMON)
    run = run_book(ansible, "export", fleet, "-vvv", wa_export_dir=str(ansible.inputs))
    assert run.rc == 0, run.output
    no_secrets(ansible, run)
    lines = [line for line in run.stdout.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 3
    for variable, hosts in (
        ("vault_wa_settings_webhooks_url", "one, two"),
        ("vault_wa_settings_vendor_token", "one"),
        ("vault_wa_settings_media_provider_a_password", "one"),
    ):
        assert [line for line in lines if variable in line and line.endswith(f": {hosts}")], variable
    files = below_vars(ansible)
    assert list(files) == ["group_vars/all/wa_settings.yml"]
    assert "url" not in files["group_vars/all/wa_settings.yml"]
    round_trip(ansible, fleet)


def test_hosts_that_cannot_be_read_keep_their_groups_from_speaking(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    names = ("a", "b", "c", "gone", "broken", "../../escape", "slash/ed")
    fleet = [Deployment(name, new_single().client, {name: ["wacore"]}, ansible.place / "state", {}) for name in names]
    for one in fleet:
        store(one, {"callback_persist": False})
    fleet[3].client.control.fault("status", status=403, times=None)
    groups: dict[str, Any] = {"whole": {"hosts": {"a": {}, "b": {}}}, "partial": {"hosts": {"c": {}, "gone": {}}}}
    hosts = {"broken": {"wa_settings_ca_path": "{{ no_such_variable }}"}, "jump": UNREACHABLE}
    run = run_book(ansible, "export", fleet, "-e", "target=all:!jump", groups=groups, hosts=hosts)
    assert run.rc != 0
    files = exported(ansible.inputs / "wa-export")
    assert sorted(files) == ["group_vars/whole/wa_settings.yml", "host_vars/c/wa_settings.yml"]
    assert not list(ansible.place.rglob("*escape*"))
    told = [line for line in run.stdout.splitlines() if line.startswith("failed: ")]
    assert len(told) == 4
    for name, reason in (
        ("gone", "403"),
        ("broken", "no_such_variable"),
        ("../../escape", "its name"),
        ("slash/ed", ""),
    ):
        assert [line for line in told if line.startswith(f"failed: {name}: ") and reason in line], name
    assert "settings of 3 of 7 hosts in 2 files" in words(run)


def test_cluster_is_one_store_on_each_of_its_hosts(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment
) -> None:
    single, trio = fleet = [new_single(), new_cluster()]
    store(single, {"callback_persist": False})
    store(trio, {"callback_persist": False, "log_level": "error"})
    broken = {"trio-b": {"wa_settings_api_url": "https://127.0.0.1:1", "wa_settings_retries": 0}}
    run = run_book(ansible, "export", fleet, hosts=broken, wa_export_dir=str(ansible.inputs))
    assert run.rc != 0
    files = below_vars(ansible)
    # Its store has been read from the others.
    assert "callback_persist" in files["group_vars/all/wa_settings.yml"]
    assert sorted(files)[1:] == [f"host_vars/trio-{name}/wa_settings.yml" for name in "abc"]
    round_trip(ansible, fleet)


def test_hosts_of_a_cluster_that_disagree_are_left_out(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    fleet = [new_single(name) for name in ("one", "two", "calm")]
    for number, deployment in enumerate(fleet):
        store(deployment, {"heartbeat_interval": 6 + number})
    hosts = {name: {"wa_settings_cluster": "pair"} for name in ("one", "two")}
    run = run_book(ansible, "export", fleet, hosts=hosts)
    assert run.rc != 0
    assert "one and two are of the cluster pair" in words(run)
    assert list(exported(ansible.inputs / "wa-export")) == ["host_vars/calm/wa_settings.yml"]


def test_nothing_is_overwritten_without_being_told_to(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one, two = fleet = [new_single("one"), new_single("two")]
    place = ansible.inputs / "wa-export"
    store(one, {"log_level": "error"})
    store(two, COMMON)
    password: dict[str, Any] = {"wa_export_vault_password_file": vault_password(ansible)}
    assert run_book(ansible, "export", fleet, **password).rc == 0
    before = exported(place)
    assert set(before) > {f"host_vars/{name}/wa_settings.yml" for name in ("one", "two")}
    same = run_book(ansible, "export", fleet, wa_export_force=True, **password)
    assert same.rc == 0, same.output
    assert same.stats()["localhost"]["changed"] == 0
    # What is encrypted anew would be another text.
    assert exported(place) == before
    store(two, {"log_level": "error"})
    refused = run_book(ansible, "export", fleet, **password)
    assert refused.rc != 0
    assert re.search(r"wa_export_dir: \S+/wa_settings(_vault)?\.yml: is there already", words(refused))
    assert exported(place) == before
    check = run_book(ansible, "export", fleet, "--check", wa_export_force=True, **password)
    assert check.rc == 0, check.output
    assert exported(place) == before
    assert check.stats()["localhost"]["changed"] == 1
    forced = run_book(ansible, "export", fleet, wa_export_force=True, **password)
    assert forced.rc == 0, forced.output
    # What was said of a single host would win over what the group says now.
    assert list(exported(place)) == ["group_vars/all/wa_settings.yml"]
    part = run_book(ansible, "export", fleet, "--limit", "one", wa_export_force=True, **password)
    assert part.rc != 0
    assert "holds for hosts that were not read" in words(part)
    assert list(exported(place)) == ["group_vars/all/wa_settings.yml"]


def test_file_that_the_folder_would_hide(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    fleet = [new_single()]
    store(fleet[0], COMMON)
    hidden = ansible.write("host_vars/one.yml", "{}")
    run = run_book(ansible, "export", fleet, wa_export_dir=str(ansible.inputs), wa_export_force=True)
    assert run.rc != 0
    assert "host_vars/one.yml: Ansible reads no file beside a folder of its name" in words(run)
    assert list(hidden.parent.iterdir()) == [hidden]


def test_bad_input_is_refused_before_a_client_is_asked(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    fleet = [new_single()]
    fleet[0].forget()
    for name in ("file", "empty"):
        (tmp_path / name).touch()
    refused: list[dict[str, Any]] = [
        {"wa_export_dir": str(tmp_path / "file")},
        {"wa_export_all": "perhaps"},
        {"wa_export_vault_password_file": str(tmp_path / "missing")},
        {"wa_export_vault_password_file": str(tmp_path / "empty")},
    ]
    for wrong in refused:
        (name,) = wrong
        run = run_book(ansible, "export", fleet, **wrong)
        assert run.rc != 0
        assert name in words(run), run.output
        # It is no failure of the client's.
        assert {host: stats["failures"] for host, stats in run.stats().items()} == {"localhost": 1}, run.output
    assert fleet[0].client.verbs() == []
    below = run_book(ansible, "export", fleet, wa_export_dir=str(tmp_path / "file" / "below"))
    assert below.rc != 0
    assert re.search(r"wa_export_dir: \S+/file\S*: Not a directory", words(below))
    assert {host: stats["failures"] for host, stats in below.stats().items()} == {"localhost": 1, "one": 0}
    crossed = run_book(ansible, "export", fleet, wa_export_dir=str(tmp_path / "file" / "below"), target="all:&one")
    assert {host: stats["failures"] for host, stats in crossed.stats().items()} == {"localhost": 1, "one": 0}


@pytest.mark.parametrize("where", mostly("another host", "another host that is gone", rest=["the host itself"]))
def test_api_that_only_another_host_reaches(ansible: AnsibleCommands, new_single: NewDeployment, where: str) -> None:
    fleet = [new_single()]
    store(fleet[0], COMMON)
    variables: dict[str, Any] = {
        "wabiz_direct_execution": False,
        "wa_settings_api_delegate": "{{ inventory_hostname }}",
    }
    hosts: dict[str, dict[str, Any]] = {}
    if where != "the host itself":
        variables["wa_settings_api_delegate"] = "jump"
        hosts["jump"] = UNREACHABLE if where.endswith("gone") else {}
    run = run_book(
        ansible, "export", fleet, "-vvv", "-e", "target=one", hosts=hosts, variables=variables,
        wa_export_vault_password_file=vault_password(ansible),
    )  # fmt: skip
    no_secrets(ansible, run)
    if where.endswith("gone"):
        assert run.rc != 0
        assert re.search("^failed: one: .*(unreachable|could not be asked from jump)", run.stdout, re.M)
        assert exported(ansible.inputs / "wa-export") == {}
    else:
        assert run.rc == 0, run.output
        assert len(exported(ansible.inputs / "wa-export")) == 2


# Kills the run when it is about to put its second file into its place.
KILL = """
import os, pathlib, signal

real, drafts = pathlib.Path.replace, []

def replace(self, target):
    if self.name.startswith(".wa_settings"):
        drafts.append(self)
        if len(drafts) == int(os.environ["KILL_AT"]):
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)

pathlib.Path.replace = replace
"""


def test_a_kill_leaves_each_file_old_or_new(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """At each step in which a draft takes the place of a file."""
    fleet = [new_single(name) for name in ("one", "two", "three")]
    place = ansible.inputs / "wa-export"

    def declared(seconds: int) -> None:
        for number, one in enumerate(fleet):
            store(one, {"heartbeat_interval": seconds + number})

    def read() -> dict[str, str]:
        """What Ansible reads in the folder; the drafts of a run that was killed are hidden."""
        return {name: text for name, text in exported(place).items() if "/." not in name}

    declared(6)
    assert run_book(ansible, "export", fleet).rc == 0
    old = read()
    killing = str(ansible.write("killing/sitecustomize.py", KILL).parent)
    for step in range(1, len(fleet) + 1):
        declared(6 + 10 * step)
        environment = {"PYTHONPATH": killing, "KILL_AT": str(step)}
        killed = run_book(ansible, "export", fleet, environment=environment, wa_export_force=True)
        assert killed.rc == -signal.SIGKILL
        assert len(exported(place)) > len(read())
        found = read()
        assert run_book(ansible, "export", fleet, wa_export_force=True).rc == 0
        new = read()
        assert set(found) == set(new) == set(old)
        written = sorted(found[name] == new[name] for name in new if old[name] != new[name])
        assert written == sorted([True] * (step - 1) + [False] * (len(fleet) - step + 1))
        assert all(text in (old[name], new[name]) for name, text in found.items())
        old = new


def test_check_mode_writes_nothing(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    fleet = [new_single()]
    store(fleet[0], COMMON)
    run = run_book(ansible, "export", fleet, "--check", "--diff", "-v")
    assert run.rc == 0, run.output
    assert "settings of 1 of 1 hosts would be in 1 files" in run.stdout
    assert not (ansible.inputs / "wa-export").exists()
    assert json.dumps(str(ansible.inputs / "wa-export/host_vars/one/wa_settings.yml")) in run.stdout
