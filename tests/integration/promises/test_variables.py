# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's variables behave as the arguments of a task do: layers, omit, vaults, what the environment says."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun
from support.deployments import SETTINGS, Deployment, NewDeployment, apply
from support.emulator import PASSWORD
from support.plays import ROLE, changed, include, words

VALUES = {"log_level": "warning"}
COMMON = {"ansible_python_interpreter": sys.executable}

# Every variable that may be left out; those of the deployment are not among them.
OPTIONAL = [
    "username", "password", "headers", "validate_certs", "timeout", "retries", "use_proxy", "allow_http",
    "group_values", "host_values", "overrides", "extra_values", "extra_group_values", "extra_host_values",
    "media_providers", "state", "unreported", "restart_bound", "client_version", "cluster", "api_delegate", "restart",
    "restart_masters", "restart_image_pattern", "restart_stop_timeout", "expect_connected", "lock_timeout",
    "volatile_state", "partial_cluster", "report",
]  # fmt: skip


def _body(single: Deployment) -> dict[str, Any]:
    """What the one PATCH of a run said."""
    bodies = [r["body"] for r in single.client.control.requests() if r["method"] == "PATCH" and r["path"] == SETTINGS]
    assert len(bodies) == 1, bodies
    found = bodies[0]
    assert isinstance(found, dict)
    return found


def _play(
    ansible: AnsibleCommands, single: Deployment, play: Mapping[str, Any], *arguments: str, **more: Any
) -> CommandRun:
    """Run a play on a client's host, whose inventory says all but the settings."""
    single.forget()
    return ansible.playbook([{"hosts": "all", **play}], single.inventory(), *arguments, variables={**COMMON, **more})


@pytest.mark.parametrize("how", ["roles", "include_role", "inventory"])
def test_omit_in_every_variable_is_as_if_it_was_not_given(
    ansible: AnsibleCommands, new_single: NewDeployment, how: str
) -> None:
    single = new_single()
    omitted = {f"wa_settings_{name}": "{{ undefined_name | default(omit) }}" for name in OPTIONAL}
    variables = {
        **omitted,
        "wa_settings_values": {**VALUES, "callback_persist": "{{ undefined_name | default(omit) }}"},
    }
    if how == "roles":
        run = _play(ansible, single, {"roles": [{"role": ROLE, **variables}]})
    elif how == "include_role":
        run = _play(ansible, single, {"tasks": [include(**variables)]})
    else:
        run = _play(ansible, single, {"roles": [ROLE]}, **variables)
    assert run.rc == 0, run.output
    assert _body(single) == VALUES
    assert single.starts() == ["wacore"]


@pytest.mark.parametrize("how", ["roles", "include_role"])
def test_vaulted_password(ansible: AnsibleCommands, new_single: NewDeployment, how: str) -> None:
    single = new_single()
    secret = ansible.write("vault-password", "open sesame\n")
    encrypt = ["ansible-vault", "encrypt_string", "--vault-password-file", str(secret), PASSWORD]
    vaulted = ansible.run([*encrypt, "--name", "wa_settings_password"]).stdout
    facts = {**single.inventory()["one"], **COMMON}
    facts.pop("wa_settings_token")
    inventory = ansible.inventory({"one": facts})
    indented = "".join(f"      {line}\n" for line in vaulted.splitlines() if line.strip())
    values = "      wa_settings_values: {log_level: warning}\n"
    if how == "roles":
        body = f"  roles:\n  - role: {ROLE}\n    vars:\n{indented}{values}"
    else:
        body = f"  tasks:\n  - ansible.builtin.include_role: {{name: {ROLE}}}\n    vars:\n{indented}{values}"
    book = ansible.write("vaulted.yml", f"- hosts: all\n  gather_facts: false\n{body}")
    single.forget()
    run = ansible.run(
        ["ansible-playbook", "-i", str(inventory), str(book), "--vault-password-file", str(secret), "-vvv"]
    )
    assert run.rc == 0, run.output
    assert single.starts() == ["wacore"]
    # The restart is another part of the run, and may need the password again.
    assert PASSWORD not in run.output
    written = [path.read_text(errors="replace") for path in ansible.outputs.rglob("*") if path.is_file()]
    assert not [text for text in written if PASSWORD in text]


def test_localhost_in_the_inventory_has_its_variables_rendered_for_itself_only(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    singles = [new_single(name) for name in ("one", "two", "three")]
    looked_up = tmp_path / "lookups"
    count = f"{{{{ lookup('ansible.builtin.pipe', 'echo x >> {looked_up}; echo value') }}}}"
    localhost = {
        "broken": "{{ no_such_variable }}",
        "ansible_host": "127.0.0.1",
        "slow": count,
        "other": "{{ broken }}",
    }
    hosts = {host: facts for single in singles for host, facts in single.inventory().items()}
    hosts["localhost"] = localhost
    for single in singles:
        single.forget()
    book = {"hosts": "all:!localhost", "roles": [ROLE]}
    run = ansible.playbook([book], hosts, variables={**COMMON, "wa_settings_values": VALUES})
    assert run.rc == 0, run.output
    assert [single.starts() for single in singles] == [["wacore"]] * 3
    assert not looked_up.exists(), "a variable that nobody used was rendered"


def test_layers_are_laid_over_each_other(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    layers = {
        "wa_settings_values": {
            "log_level": "warning",
            "callback_persist": False,
            "media": {"auto_download": ["image", "audio"]},
            "webhooks": {"max_concurrent_requests": 12, "message": {"sent": False, "read": False}},
        },
        "wa_settings_group_values": {
            "webhooks": {"max_concurrent_requests": 18},
            "media": {"auto_download": ["video"]},
            "heartbeat_interval": 7,
        },
        "wa_settings_host_values": {
            "callback_persist": None,
            "webhooks": {"message": {"read": None}},
            "heartbeat_interval": 8,
        },
        "wa_settings_overrides": {
            "log_level": "error",
            "heartbeat_interval": "",
            "unhealthy_interval": None,
            "callback_backoff_delay_ms": "{{ undefined_name | default(omit) }}",
        },
    }
    run = _play(ansible, single, {"roles": [ROLE]}, **layers)
    assert run.rc == 0, run.output
    stored = single.client.control.stored()
    assert stored["webhooks"]["max_concurrent_requests"] == 18
    assert stored["webhooks"]["message"]["sent"] is False
    assert stored["webhooks"]["message"].get("read", True) is True
    assert (stored["media"]["auto_download"], stored["heartbeat_interval"]) == (["video"], 8)
    assert stored["log_level"] == "error"
    assert not {"callback_persist", "unhealthy_interval", "callback_backoff_delay_ms"} & stored.keys()


def test_layers_of_the_inventory_and_a_survey(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """As a fleet has them: one file for all, one for the group, one for the host, and what somebody typed just now."""
    one, two = new_single("one"), new_single("two")
    hosts = {**one.inventory(), **two.inventory()}
    hosts["two"]["wa_settings_host_values"] = {"callback_backoff_delay_ms": 9000}
    groups = {"labs": {"hosts": {"one": {}, "two": {}}, "vars": {"wa_settings_group_values": {"log_level": "error"}}}}
    common = {**COMMON, "wa_settings_values": {"callback_backoff_delay_ms": 4000, "log_level": "warning"}}
    survey = ("-e", json.dumps({"wa_settings_overrides": {"show_security_notifications": True, "log_level": ""}}))
    run = ansible.playbook([{"hosts": "labs", "roles": [ROLE]}], hosts, *survey, variables=common, groups=groups)
    assert run.rc == 0, run.output
    stored = [single.client.control.stored() for single in (one, two)]
    assert [int(found["callback_backoff_delay_ms"]) for found in stored] == [4000, 9000]
    assert [(found["log_level"], found["show_security_notifications"]) for found in stored] == [("error", True)] * 2


def test_extra_values_have_the_same_layers(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.client.control.switch(unknown_keys="keep")
    layers = {
        "wa_settings_extra_values": {"vendor": {"a": 1, "b": 1, "c": 1}},
        "wa_settings_extra_group_values": {"vendor": {"b": 2}},
        "wa_settings_extra_host_values": {"vendor": {"c": None}},
    }
    run = _play(ansible, single, {"roles": [ROLE]}, **layers)
    assert run.rc == 0, run.output
    assert single.client.control.stored()["vendor"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("unreported", ["send", "skip"])
def test_unreported_and_restart_bound_reach_the_module(
    ansible: AnsibleCommands, new_single: NewDeployment, unreported: str
) -> None:
    single = new_single()
    variables = {
        "wa_settings_unreported": unreported,
        "wa_settings_restart_bound": ["show_security_notifications"],
        "wa_settings_values": {"show_security_notifications": True, "skip_referral_media_download": True, **VALUES},
    }
    run = _play(ansible, single, {"roles": [ROLE]}, **variables)
    assert run.rc == 0, run.output
    assert ("skip_referral_media_download" in _body(single)) is (unreported == "send")
    assert single.starts() == ["wacore"]
    single.forget()
    narrowed = _play(ansible, single, {"roles": [ROLE]}, **{**variables, "wa_settings_values": {"log_level": "error"}})
    assert narrowed.rc == 0, narrowed.output
    assert (single.writes(), single.starts()) == ([f"PATCH {SETTINGS}"], [])


def test_client_version_reaches_the_module(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.client.control.switch(meta="none", client_version="2.45.0")
    refused = _play(ansible, single, {"roles": [ROLE]}, wa_settings_values=VALUES, wa_settings_client_version="2.45.0")
    assert refused.rc != 0
    assert "log_level" in refused.output
    assert single.writes() == []


def test_retries_and_headers_reach_the_wire(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_retries=0, wa_settings_headers={"X-Gateway-Key": "canary-gateway"})
    single.client.control.fault("status", method="GET", path=SETTINGS, status=503, times=1)
    none = _play(ansible, single, {"roles": [ROLE]}, "-vvv", wa_settings_values=VALUES)
    assert none.rc != 0
    assert "canary-gateway" not in none.output
    single.client.control.clear_faults()
    single.extra["wa_settings_retries"] = 2
    single.client.control.fault("status", method="GET", path=SETTINGS, status=503, times=1)
    some = _play(ansible, single, {"roles": [ROLE]}, "-vvv", wa_settings_values=VALUES)
    assert some.rc == 0, some.output
    assert "canary-gateway" not in some.output


@pytest.mark.parametrize("allowed", [False, True])
def test_plain_http_is_refused_unless_allowed(
    ansible: AnsibleCommands, new_single: NewDeployment, allowed: bool
) -> None:
    # Nobody listens there (RFC 5737); refused at once is not the same as unreachable.
    single = new_single(wa_settings_api_url="http://192.0.2.1:9", wa_settings_timeout=1, wa_settings_retries=0)
    run = _play(ansible, single, {"roles": [ROLE]}, wa_settings_values=VALUES, wa_settings_allow_http=allowed)
    assert run.rc != 0
    assert ("allow_http" in run.output) is not allowed


@pytest.mark.parametrize("used", [True, False])
def test_proxy_of_the_environment(ansible: AnsibleCommands, new_single: NewDeployment, used: bool) -> None:
    single = new_single(wa_settings_api_url="https://192.0.2.1:9", wa_settings_timeout=1, wa_settings_retries=0)
    single.forget()
    variables = {"wa_settings_use_proxy": used}
    # Port 1: nobody is there, and the error says who was asked.
    environment = {"HTTPS_PROXY": "http://127.0.0.1:1"}
    run = apply(ansible, [single], VALUES, variables=variables, environment=environment)
    assert run.rc != 0
    assert ("proxy" in run.output.lower().replace("use_proxy", "")) is used, run.output


def test_environment_stands_in_for_the_connection(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    facts = single.inventory()["one"]
    facts.pop("wa_settings_token"), facts.pop("wa_settings_ca_path")
    single.forget()
    book = {"hosts": "all", "roles": [ROLE]}
    common = {**COMMON, "wa_settings_values": VALUES}
    environment = {"WABIZ_PASSWORD": PASSWORD, "WABIZ_VALIDATE_CERTS": "false", "WABIZ_USERNAME": "admin"}
    unchecked = ansible.playbook([book], {"one": facts}, variables=common, environment=environment)
    assert unchecked.rc == 0, unchecked.output
    assert single.starts() == ["wacore"]
    environment = {"WABIZ_TOKEN": single.client.control.token(), "WABIZ_CA_PATH": single.client.ca_path}
    checked = ansible.playbook([book], {"one": facts}, variables=common, environment=environment)
    assert (checked.rc, changed(checked)) == (0, 0), checked.output


def test_api_url_of_the_environment_is_never_meant(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_timeout=1, wa_settings_retries=0)
    facts = {**single.inventory()["one"], "ansible_host": "192.0.2.1"}
    facts.pop("wa_settings_api_url")
    single.forget()
    book = {"hosts": "all", "roles": [ROLE]}
    common = {**COMMON, "wa_settings_values": VALUES}
    run = ansible.playbook(
        [book], {"one": facts}, variables=common, environment={"WABIZ_API_URL": single.client.api_url}
    )
    assert run.rc != 0
    assert "192.0.2.1" in words(run)
    assert single.client.verbs() == []
