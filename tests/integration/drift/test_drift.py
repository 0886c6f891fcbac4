# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `drift`: what it says of a fleet, in each of its forms, and that it writes to none of it."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import Deployment, NewDeployment, apply
from support.drifts import UNREACHABLE, clients_of, report_of, run_drift
from support.emulator import PASSWORD
from support.plays import words

VALUES = {"log_level": "warning", "webhooks": {"max_concurrent_requests": 12}}
HEADER = "client,cluster,state,setting,current,wanted,restart_bound,error"
NEVER = {"wa_settings_restart": "never"}
STATES = ("converged", "drifted", "pending", "failed")


def drift(ansible: AnsibleCommands, deployments: Sequence[Deployment], *arguments: str, **more: Any) -> CommandRun:
    return run_drift(ansible, deployments, VALUES, *arguments, **more)


def rows_of(ansible: AnsibleCommands) -> list[dict[str, str]]:
    text = (ansible.inputs / "wa-drift" / "drift.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def converge(ansible: AnsibleCommands, *deployments: Deployment) -> None:
    for deployment in deployments:
        deployment.client.control.store(VALUES)
        deployment.forget()


def untouched(*deployments: Deployment) -> bool:
    """Whether nothing but reading and logging in arrived, nothing was started and nothing written down."""
    verbs = {
        verb.split()[0] + (" login" if "/users/" in verb else "") for one in deployments for verb in one.client.verbs()
    }
    starts = [start for one in deployments for start in one.starts()]
    return verbs <= {"GET", "POST login"} and not starts


def test_mixed_fleet_is_told_in_every_form(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    names = ("calm", "off", "waits", "silent", "gone", "nothing")
    calm, off, waits, silent, gone, nothing = fleet = [new_single(name) for name in names]
    assert apply(ansible, [waits], VALUES, variables=NEVER).rc == 0
    converge(ansible, calm, off, silent, gone, nothing)
    off.client.control.store({"log_level": "error", "webhooks": {"max_concurrent_requests": 12}})
    silent.client.control.fault("status", status=403, times=None)
    waits.forget()
    hosts: dict[str, dict[str, Any]] = {
        "off": {
            "wa_settings_host_values": {"callback_persist": False},
            "wa_settings_group_values": {"log_level": "info"},
        },
        "gone": UNREACHABLE,
        "nothing": {"wa_settings_ca_path": "{{ no_such_variable }}"},
    }
    before = [path.read_bytes() for path in waits.leftovers()]
    run = drift(ansible, fleet, hosts=hosts)
    assert run.rc == 0, run.output
    assert untouched(calm, off, waits, gone, nothing)
    assert [path.read_bytes() for path in waits.leftovers()] == before
    assert [path for one in (calm, off, silent, gone, nothing) for path in one.leftovers()] == []
    assert all(host["changed"] == 0 for host in run.stats().values())

    report = report_of(ansible)
    assert list(report) == ["schema", "generated", "summary", "clients"]
    assert report["schema"] == 1
    age = datetime.now(timezone.utc) - datetime.fromisoformat(report["generated"].replace("Z", "+00:00"))
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert report["summary"] == {"clients": 6, "converged": 1, "drifted": 1, "pending": 1, "failed": 3}
    assert [client["name"] for client in report["clients"]] == list(names)
    clients = clients_of(ansible)
    states = {name: client["state"] for name, client in clients.items()}
    assert states == {
        "calm": "converged", "off": "drifted", "waits": "pending", "silent": "failed", "gone": "failed",
        "nothing": "failed",
    }  # fmt: skip

    for name, client in clients.items():
        assert set(client) == {
            "name", "cluster", "api_url", "client_version", "state", "error", "pending_restart", "differences",
            "settings",
        }  # fmt: skip
        assert client["cluster"] == name
    assert clients["calm"]["api_url"] == calm.client.api_url
    assert re.fullmatch(r"2\.\d+\.\d+", clients["calm"]["client_version"])
    assert clients["calm"]["settings"]["webhooks.max_concurrent_requests"] == 12
    assert (clients["calm"]["error"], clients["calm"]["pending_restart"], clients["calm"]["differences"]) == (
        None,
        None,
        [],
    )

    assert clients["off"]["differences"] == [
        {
            "setting": "callback_persist", "current": True, "wanted": False, "layer": "wa_settings_host_values",
            "restart_bound": True, "secret_changed": False,
        },
        {
            "setting": "log_level", "current": "error", "wanted": "info", "layer": "wa_settings_group_values",
            "restart_bound": True, "secret_changed": False,
        },
    ]  # fmt: skip
    pending = clients["waits"]["pending_restart"]
    assert (pending["settings"], pending["containers"]) == (
        ["log_level", "webhooks.max_concurrent_requests"],
        ["wacore"],
    )
    assert datetime.fromisoformat(pending["since"])
    assert "403" in clients["silent"]["error"]
    # The API answers, but what is pending is on a host that does not.
    assert "unreachable" in clients["gone"]["error"]
    assert clients["gone"]["pending_restart"] is None
    assert clients["gone"]["settings"]["log_level"] == "warning"
    assert "no_such_variable" in clients["nothing"]["error"]

    text = (ansible.inputs / "wa-drift" / "drift.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    rows = rows_of(ansible)
    assert [(row["client"], row["setting"]) for row in rows] == [
        ("calm", ""), ("off", "callback_persist"), ("off", "log_level"), ("waits", ""), ("silent", ""), ("gone", ""),
        ("nothing", ""),
    ]  # fmt: skip
    assert rows[1] == {
        "client": "off", "cluster": "off", "state": "drifted", "setting": "callback_persist", "current": "true",
        "wanted": "false", "restart_bound": "true", "error": "",
    }  # fmt: skip
    assert "403" in rows[4]["error"]

    told = run.stdout.splitlines()
    for name, state in states.items():
        lines = [line for line in told if re.match(rf"{name} +{state} ", line)]
        assert len(lines) == (0 if state == "converged" else 1), run.stdout
    (line,) = [line for line in told if re.match("off +drifted ", line)]
    assert all(word in line for word in ("log_level", "error", "info", "wa_settings_group_values"))
    assert "6 clients: 1 converged, 1 drifted, 1 pending, 3 failed" in told

    page = (ansible.inputs / "wa-drift" / "drift.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)


def test_after_apply_nothing_drifts_and_a_change_by_hand_is_all_that_does(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment
) -> None:
    single, trio = new_single(), new_cluster()
    assert apply(ansible, [single, trio], VALUES).rc == 0
    assert drift(ansible, [single, trio], "-e", "wa_drift_fail=true").rc == 0
    assert report_of(ansible)["summary"] == {"clients": 4, "converged": 4, "drifted": 0, "pending": 0, "failed": 0}
    trio.client.control.store({**VALUES, "show_security_notifications": True, "log_level": "error"})
    for deployment in (single, trio):
        deployment.forget()
    run = drift(ansible, [single, trio])
    assert run.rc == 0, run.output
    clients = clients_of(ansible)
    assert clients["one"]["state"] == "converged"
    for host in trio.hosts:
        assert (clients[host]["cluster"], clients[host]["state"]) == ("trio", "drifted")
        # What is not declared is nobody's business.
        assert [difference["setting"] for difference in clients[host]["differences"]] == ["log_level"]
    assert untouched(single, trio)


@pytest.mark.parametrize(
    ("layers", "layer", "wanted"),
    [
        ({"group_values": "error", "host_values": "fatal"}, "wa_settings_host_values", "fatal"),
        ({"host_values": "fatal", "overrides": "error"}, "wa_settings_overrides", "error"),
        *(
            pytest.param(*layers, marks=pytest.mark.thorough)
            for layers in (
                ({}, "wa_settings_values", "warning"),
                ({"group_values": "error"}, "wa_settings_group_values", "error"),
                ({"host_values": "fatal", "overrides": ""}, "wa_settings_host_values", "fatal"),
            )
        ),
    ],
    ids=str,
)
def test_layer_that_says_what_is_wanted(
    ansible: AnsibleCommands, new_single: NewDeployment, layers: dict[str, str], layer: str, wanted: str
) -> None:
    single = new_single()
    converge(ansible, single)
    single.client.control.store({"webhooks": {"max_concurrent_requests": 12}})
    said = {f"wa_settings_{name}": {"log_level": value} for name, value in layers.items()}
    assert drift(ansible, [single], variables=said).rc == 0
    (difference,) = clients_of(ansible)["one"]["differences"]
    assert (difference["layer"], difference["current"], difference["wanted"]) == (layer, "info", wanted)


def test_state_says_what_no_layer_does(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    replaced, absent = new_single("replaced"), new_single("absent")
    for one in (replaced, absent):
        one.client.control.store({**VALUES, "heartbeat_interval": 9})
    hosts = {"replaced": {"wa_settings_state": "replaced"}, "absent": {"wa_settings_state": "absent"}}
    assert drift(ansible, [replaced, absent], hosts=hosts).rc == 0
    clients = clients_of(ansible)
    assert [(d["setting"], d["current"], d["wanted"], d["layer"]) for d in clients["replaced"]["differences"]] == [
        ("heartbeat_interval", 9, 5, "wa_settings_state")
    ]
    told = {d["setting"]: (d["wanted"], d["layer"]) for d in clients["absent"]["differences"]}
    assert told["log_level"] == ("info", "wa_settings_state")


def test_settings_that_the_client_does_not_report(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """What was sent before is known from the record; what was not differs from nothing that is known."""
    single = new_single()
    single.client.control.switch(unreported=["verbose_logging"])
    values = {"verbose_logging": True}
    variables = {"wa_settings_values": values}
    assert drift(ansible, [single], variables=variables).rc == 0
    (difference,) = clients_of(ansible)["one"]["differences"]
    assert (difference["setting"], difference["current"], difference["wanted"]) == ("verbose_logging", None, True)
    assert difference["secret_changed"] is False
    assert apply(ansible, [single], values).rc == 0
    for path in ({}, {"wa_settings_api_delegate": "{{ inventory_hostname }}", "wabiz_direct_execution": False}):
        assert drift(ansible, [single], variables={**variables, **path}).rc == 0
        assert clients_of(ansible)["one"]["state"] == "converged"


@pytest.mark.parametrize("path", mostly({}, rest=[{"wabiz_direct_execution": False}]), ids=["in-process", "module"])
def test_media_providers_are_part_of_the_declaration(
    ansible: AnsibleCommands, new_single: NewDeployment, path: dict[str, Any]
) -> None:
    def provider(name: str, password: str) -> dict[str, Any]:
        return {"name": name, "type": "www", "config": {"basic": {"username": "me", "password": password}}}

    single = new_single()
    converge(ansible, single)
    there = [provider("same", "canary-1"), provider("secret", "canary-2"), provider("more", "canary-3")]
    single.client.control.store_providers(there)
    declared = [
        {"name": name, "basic": {"username": "me", "password": password}}
        for name, password in (("same", "canary-1"), ("secret", "canary-4"), ("less", "canary-5"))
    ]
    run = drift(ansible, [single], "-vvv", variables={"wa_settings_media_providers": declared, **path})
    assert run.rc == 0, run.output
    client = clients_of(ansible)["one"]
    assert client["state"] == "drifted"
    told = {one["setting"]: one for one in client["differences"]}
    assert sorted(told) == ["media.providers.less", "media.providers.more", "media.providers.secret"]
    assert {one["layer"] for one in told.values()} == {"wa_settings_media_providers"}
    assert [told[f"media.providers.{name}"]["secret_changed"] for name in ("less", "more", "secret")] == [
        False,
        False,
        True,
    ]
    assert told["media.providers.less"]["current"] is None
    assert told["media.providers.more"]["wanted"] is None
    assert told["media.providers.secret"]["current"]["config"]["basic"] == {"username": "me", "password": "********"}
    assert single.client.control.providers() == there
    assert untouched(single)
    assert "canary" not in run.output + (ansible.inputs / "wa-drift" / "drift.html").read_text(encoding="utf-8")
    alone = {"wa_settings_values": {}, "wa_settings_media_providers": [], **path}
    assert drift(ansible, [single], variables=alone).rc == 0
    assert len(clients_of(ansible)["one"]["differences"]) == 3


@pytest.mark.parametrize(
    "where", mostly("another host", "another host that is gone", rest=["the host itself", "the controller by modules"])
)
def test_api_that_only_another_host_reaches(ansible: AnsibleCommands, new_single: NewDeployment, where: str) -> None:
    calm, off = new_single("calm"), new_single("off")
    assert apply(ansible, [off], {**VALUES, "log_level": "error"}, variables=NEVER).rc == 0
    converge(ansible, calm)
    off.forget()
    variables: dict[str, Any] = {"wabiz_direct_execution": False}
    hosts: dict[str, dict[str, Any]] = {}
    if where == "the host itself":
        variables["wa_settings_api_delegate"] = "{{ inventory_hostname }}"
    elif where.startswith("another host"):
        variables["wa_settings_api_delegate"] = "jump"
        hosts["jump"] = UNREACHABLE if where.endswith("gone") else {}
    run = drift(ansible, [calm, off], "-e", "target=all:!jump", variables=variables, hosts=hosts)
    assert run.rc == 0, run.output
    clients = clients_of(ansible)
    # The record lies on the container host, whoever calls the API.
    assert clients["off"]["pending_restart"]["containers"] == ["wacore"]
    if where.endswith("gone"):
        assert {client["state"] for client in clients.values()} == {"failed"}
        assert all("unreachable" in client["error"] for client in clients.values())
    else:
        assert {name: client["state"] for name, client in clients.items()} == {"calm": "converged", "off": "drifted"}
        assert [d["setting"] for d in clients["off"]["differences"]] == ["log_level"]
    assert untouched(calm, off)


def test_first_and_only_hosts_that_break_are_in_the_report(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """Whatever breaks before the client is asked, wherever in the order."""
    ways: dict[str, dict[str, Any]] = {
        "a-host": {"ansible_host": "{{ no_such_variable }}"},
        "b-connection": {"ansible_connection": "{{ no_such_variable }}"},
        "c-plugin": {"ansible_connection": "no.such.connection"},
        "d-become": {"ansible_become": True, "ansible_become_method": "no.such.become"},
        "e-type": {"wa_settings_values": "not-a-dictionary"},
        "f-empty": {"wa_settings_values": {}},
        "g-user": {"ansible_user": "{{ no_such_variable }}", "ansible_become_password": "{{ no_such_variable }}"},
        "h-value": {"wa_settings_values": {"log_level": "loud"}},
        "i-dir": {"wa_settings_state_dir": "relative"},
    }
    singles = [new_single(name) for name in ways]
    for one in singles:
        one.forget()
    run = drift(ansible, singles, hosts=ways, environment={"ANSIBLE_ANY_ERRORS_FATAL": "1", "ANSIBLE_STRATEGY": "free"})
    assert run.rc == 0, run.output
    clients = clients_of(ansible)
    assert list(clients) == list(ways)
    for name, client in clients.items():
        if name != "g-user":  # which nothing needs here
            assert client["state"] == "failed", name
            assert client["error"], name
    assert "log_level" in clients["h-value"]["error"]
    assert "wa_settings_state_dir" in clients["i-dir"]["error"]
    only = drift(ansible, singles, "--limit", "b-connection", "-e", "wa_drift_fail=yes", hosts=ways)
    assert only.rc != 0
    assert list(clients_of(ansible)) == ["b-connection"]


def test_record_that_tells_nothing(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    broken, others, hidden = (new_single(name) for name in ("broken", "others", "hidden"))
    for one in (broken, others):
        assert apply(ansible, [one], VALUES, variables=NEVER).rc == 0
    converge(ansible, hidden)
    (path,) = broken.leftovers()
    path.write_text("{")
    (path,) = others.leftovers()
    path.write_text(path.read_text().replace(others.client.api_url, "https://elsewhere.example.com"))
    hidden.state_dir("hidden").parent.mkdir(parents=True)
    hidden.state_dir("hidden").write_text("")
    assert drift(ansible, [broken, others]).rc == 0
    clients = clients_of(ansible)
    assert clients["broken"]["state"] == "failed"
    assert "cannot be read" in clients["broken"]["error"]
    # As the next apply takes it.
    assert clients["broken"]["pending_restart"]["containers"] == ["all coreapps", "all masters"]
    assert "elsewhere.example.com" in clients["others"]["error"]
    assert clients["others"]["pending_restart"] is None


def test_what_is_pending_under_another_name_is_not_lost(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single(wa_settings_cluster="former")
    assert apply(ansible, [single], VALUES, variables=NEVER).rc == 0
    single.extra.clear()
    assert drift(ansible, [single]).rc == 0
    client = clients_of(ansible)["one"]
    assert (client["state"], client["differences"]) == ("failed", [])
    assert "former" in client["error"]


def test_different_clients_under_one_name_are_told_as_apply_would_refuse_them(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    both = [new_single(name, wa_settings_cluster="prod") for name in ("one", "two")]
    assert drift(ansible, both).rc == 0
    clients = clients_of(ansible)
    assert {name: client["state"] for name, client in clients.items()} == {"one": "failed", "two": "failed"}
    for client in clients.values():
        assert "give each client a wa_settings_cluster of its own" in client["error"]


def test_target_and_limit_choose_the_clients(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one, two = new_single("one"), new_single("two")
    converge(ansible, one, two)
    assert drift(ansible, [one, two], "-e", "target=two", hosts={"localhost": {}}).rc == 0
    assert list(clients_of(ansible)) == ["two"]
    assert one.client.verbs() == []
    assert drift(ansible, [one, two], "--limit", "one", hosts={"localhost": {}}).rc == 0
    assert list(clients_of(ansible)) == ["one"]
    assert drift(ansible, [one, two], hosts={"localhost": {}}).rc == 0
    assert list(clients_of(ansible)) == ["one", "two"]


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ('{"wa_drift_formats": ["json"]}', ["drift.json"]),
        ("wa_drift_formats=csv,html", ["drift.csv", "drift.html"]),
        ('{"wa_drift_formats": []}', []),
        ("wa_drift_formats= wa_drift_fail=", ["drift.csv", "drift.html", "drift.json"]),
    ],
)
def test_formats_and_directory(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, given: str, files: list[str]
) -> None:
    single = new_single()
    converge(ansible, single)
    place = tmp_path / "some where" / "reports"
    run = drift(ansible, [single], "-e", given, "-e", json.dumps({"wa_drift_dir": str(place)}))
    assert run.rc == 0, run.output
    assert sorted(path.name for path in place.iterdir()) == files if place.exists() else files == []
    assert not (ansible.inputs / "wa-drift").exists()
    assert "1 client: 1 converged, 0 drifted, 0 pending, 0 failed" in run.stdout


@pytest.mark.parametrize("where", mostly("both", rest=["import", "host"]))
def test_variables_of_the_report_are_a_plays_or_a_hosts(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, where: str
) -> None:
    """The play that imports the playbook has the last word, as everywhere."""
    place = tmp_path / "reports"
    imported = {"wa_drift_dir": str(place), "wa_drift_formats": ["json"]}
    declared = {**imported, "wa_drift_formats": ["csv"]} if where == "both" else imported
    single = new_single(**(declared if where != "import" else {}))
    converge(ansible, single)
    book = [{"import_playbook": "wabiz.onprem.drift", **({"vars": imported} if where != "host" else {})}]
    hosts = ansible.inventory(single.inventory(), {"wa_settings_values": VALUES})
    run = ansible.run(["ansible-playbook", "-i", str(hosts), str(ansible.write("book.json", book))])
    assert run.rc == 0, run.output
    assert sorted(path.name for path in place.iterdir()) == ["drift.json"]


def test_refusals_say_what_is_meant(ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path) -> None:
    single = new_single()
    converge(ansible, single)
    unknown = drift(ansible, [single], "-e", "wa_drift_formats=xml")
    assert unknown.rc != 0
    assert "wa_drift_formats" in words(unknown)
    (tmp_path / "file").touch()
    occupied = drift(ansible, [single], "-e", f"wa_drift_dir={tmp_path / 'file'}")
    assert occupied.rc != 0
    assert re.search(r"wa_drift_dir: \S+/file: ", words(occupied))
    # The table does not depend on it.
    assert "1 client: 1 converged" in occupied.stdout
    # It is no failure of the client's.
    failures = {host: stats["failures"] for host, stats in occupied.stats().items()}
    assert failures == {"localhost": 1, "one": 0}, occupied.output
    crossed = drift(ansible, [single], "-e", f"wa_drift_dir={tmp_path / 'file'}", "-e", "target=all:&one")
    assert {host: stats["failures"] for host, stats in crossed.stats().items()} == failures, crossed.output
    limited = drift(ansible, [single], "-e", f"wa_drift_dir={tmp_path / 'file'}", "--limit", "one")
    assert limited.stats()["one"]["failures"] == 1, limited.output


def test_variables_of_the_report_may_lie_in_the_inventory(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """Those of the first host count."""
    first, second = new_single(wa_drift_dir="elsewhere", wa_drift_formats=["csv"]), new_single("two")
    converge(ansible, first, second)
    run = drift(ansible, [first, second], "-e", "target=one,two")
    assert run.rc == 0, run.output
    assert [path.name for path in (ansible.inputs / "elsewhere").iterdir()] == ["drift.csv"]


def _bring_to(single: Deployment, state: str, ansible: AnsibleCommands) -> None:
    """Make a converged client one that is `drifted`, has something `pending`, or has `failed`."""
    if state == "drifted":
        single.client.control.store({})
    elif state == "pending":
        single.client.control.store({})
        assert apply(ansible, [single], VALUES, variables=NEVER).rc == 0
    elif state == "failed":
        single.client.control.fault("status", status=403, times=None)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("arguments", mostly(("-e", '{"wa_drift_fail": true}'), rest=[()]))
def test_exit_code_is_chosen(
    ansible: AnsibleCommands, new_single: NewDeployment, state: str, arguments: tuple[str, ...]
) -> None:
    single, calm = new_single(), new_single("calm")
    converge(ansible, single, calm)
    _bring_to(single, state, ansible)
    run = drift(ansible, [single, calm], *arguments)
    assert (run.rc != 0) is (bool(arguments) and state != "converged"), run.output
    assert clients_of(ansible)["one"]["state"] == state
    for form in ("csv", "html"):
        assert (ansible.inputs / "wa-drift" / f"drift.{form}").exists()


def test_exit_code_is_0_whatever_is_found(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    fleet = {state: new_single(state) for state in STATES}
    converge(ansible, *fleet.values())
    for state, single in fleet.items():
        _bring_to(single, state, ansible)
    run = drift(ansible, list(fleet.values()), "-e", '{"wa_drift_fail": false}')
    assert run.rc == 0, run.output
    assert {name: client["state"] for name, client in clients_of(ansible).items()} == {state: state for state in STATES}


def test_check_mode_and_diff_say_the_same(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    assert drift(ansible, [single]).rc == 0
    plain = report_of(ansible)
    run = drift(ansible, [single], "--check", "--diff", "-vvv")
    assert run.rc == 0, run.output
    assert report_of(ansible)["clients"] == plain["clients"]
    assert untouched(single)


def test_old_report_stays_whole_where_the_new_one_cannot_be_written(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    converge(ansible, single)
    place = ansible.inputs / "wa-drift"
    (place / "drift.csv").mkdir(parents=True)
    (place / "drift.csv" / "in the way").touch()
    (place / "drift.json").write_text("old")
    run = drift(ansible, [single])
    assert run.rc != 0
    assert sorted(path.name for path in place.iterdir()) in (["drift.csv", "drift.json"],)


SECRET = "s3cr3t kaese&<\"'%/+="  # no two encodings write it alike
BASIC = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
REPEATED = [
    PASSWORD,
    BASIC,
    SECRET,
    quote(SECRET),
    quote(SECRET, safe=""),
    html.escape(SECRET),
    json.dumps(SECRET),
    repr(SECRET),
]


def test_secrets_are_nowhere(ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path) -> None:
    """In a webhook that differs in its secret only, in an error that repeats it, in credentials, in extra settings."""
    url = "https://me:canary-user@hooks.example.com/wa?auth="
    extra = {"vendor": {"api_key": "canary-extra-new", "note": "see https://x.example.com/?k=canary-note"}}
    off = new_single("off", wa_settings_password=PASSWORD, wa_settings_token="")
    off.client.control.switch(unknown_keys="keep")
    off.client.control.store(
        {**VALUES, "webhooks": {"url": f"{url}canary-old"}, "vendor": {"api_key": "canary-extra-old"}}
    )
    echo = new_single(
        "echo", wa_settings_token="", wa_settings_headers={"X-Key": SECRET}, wa_settings_password=PASSWORD
    )
    echo.client.control.fault("error", status=400, times=None, details=" and ".join(REPEATED))
    broken = new_single(
        "broken", wa_settings_password="canary-broken", wa_settings_token="", wa_settings_timeout="canary-broken"
    )
    values = {**VALUES, "webhooks": {"url": f"{url}canary-new"}}
    variables = {"wa_settings_values": values, "wa_settings_extra_values": extra}
    run = drift(ansible, [off, echo, broken], "-vvv", "--diff", variables=variables)
    assert run.rc == 0, run.output
    told = {difference["setting"]: difference for difference in clients_of(ansible)["off"]["differences"]}
    assert (told["webhooks.url"]["secret_changed"], told["webhooks.url"]["layer"]) == (True, "wa_settings_values")
    assert told["webhooks.url"]["current"] == told["webhooks.url"]["wanted"]
    assert told["vendor.api_key"]["secret_changed"] is True
    assert "secret" in next(line for line in run.stdout.splitlines() if re.match("off +drifted ", line))
    assert clients_of(ansible)["echo"]["error"]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != ansible.inputs]
    assert {"drift.json", "drift.csv", "drift.html"} <= {path.name for path in files}
    for canary in (PASSWORD, BASIC.rstrip("="), "canary-", "s3cr3t"):
        assert canary not in run.output
        assert [path for path in files if canary.encode() in path.read_bytes()] == []
