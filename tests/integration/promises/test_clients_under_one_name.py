# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of different clients under one `wa_settings_cluster` by mistake; and one client with several addresses."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import SETTINGS, Deployment, NewDeployment
from support.plays import FLUSH, NOTIFY, ROLE, words

VALUES: dict[str, dict[str, Any]] = {
    "restart": {"log_level": "warning"},
    "no restart": {"show_security_notifications": True},
}
CURE = "give each client a wa_settings_cluster of its own"


def _run(
    ansible: AnsibleCommands,
    hosts: dict[str, dict[str, Any]],
    values: dict[str, Any],
    *arguments: str,
    play: dict[str, Any] | None = None,
    **variables: Any,
) -> CommandRun:
    common = {"ansible_python_interpreter": sys.executable, "wa_settings_values": values, **variables}
    return ansible.playbook([play or {"hosts": "all", "roles": [ROLE]}], hosts, *arguments, variables=common)


def _under_one_name(*deployments: Deployment) -> dict[str, dict[str, Any]]:
    hosts: dict[str, dict[str, Any]] = {}
    for deployment in deployments:
        deployment.forget()
        hosts |= {host: {**facts, "wa_settings_cluster": "prod"} for host, facts in deployment.inventory().items()}
    return hosts


def _assert_refused(run: CommandRun, *deployments: Deployment) -> None:
    said = words(run)
    for deployment in deployments:
        for host in deployment.hosts:
            assert run.stats()[host]["failures"] == 1, run.output
            (first, *_more) = [r["result"] for r in run.records if r["event"].endswith("failed") and r["host"] == host]
            assert host in str(first), first
        assert (deployment.writes(), deployment.starts(), deployment.leftovers()) == ([], [], []), run.output
    assert CURE in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ("restart", "check"),
        ("restart", "run"),
        ("no restart", "run"),
        pytest.param("no restart", "check", marks=pytest.mark.thorough),
    ],
)
def test_single_clients_under_one_name_are_refused_before_anything_is_written(
    ansible: AnsibleCommands, new_single: NewDeployment, values: str, mode: str
) -> None:
    singles = new_single("one"), new_single("two")
    arguments = ["--check"] if mode == "check" else []
    _assert_refused(_run(ansible, _under_one_name(*singles), VALUES[values], *arguments), *singles)


def test_they_are_refused_where_another_host_calls_the_api(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """One host acts for the cluster there, and says it of both."""
    singles = new_single("one"), new_single("two")
    hosts = {**_under_one_name(*singles), "api": {}}
    play = {"hosts": "one,two", "roles": [ROLE]}
    run = _run(
        ansible, hosts, VALUES["restart"], play=play, wa_settings_api_delegate="api", wabiz_direct_execution=False
    )
    assert run.rc != 0, run.output
    assert re.search("(one and two|two and one) are hosts of cluster prod", words(run)), run.output
    for single in singles:
        assert (single.writes(), single.starts(), single.leftovers()) == ([], [], []), run.output


def test_second_client_is_not_taken_for_done_where_the_first_is_converged(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    singles = new_single("one"), new_single("two")
    singles[0].client.control.store(VALUES["no restart"])
    _assert_refused(_run(ansible, _under_one_name(*singles), VALUES["no restart"]), *singles)


def test_clusters_under_one_name_are_refused(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    both = (
        new_cluster("here", {"a": ["wacore1", "wacore2", "wacore3"]}),
        new_cluster("there", {"b": ["wacore1", "wacore2", "wacore3"]}),
    )
    _assert_refused(_run(ansible, _under_one_name(*both), VALUES["restart"], "--limit", "here-a,there-b"), *both)


def test_nothing_of_the_other_client_restarts(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """Not with a restart by itself, and not where only one of the two is in the play."""
    singles = new_single("one"), new_single("two")
    hosts = _under_one_name(*singles)
    by_itself = {"hosts": "all", "tasks": [{"include_role": {"name": ROLE, "tasks_from": "restart"}}]}
    _assert_refused(_run(ansible, hosts, {}, play=by_itself), *singles)
    run = _run(ansible, hosts, VALUES["restart"], "--limit", "two")
    assert (run.stats()["two"]["failures"], CURE in words(run)) == (1, True), run.output
    assert [one.starts() for one in singles] == [[], []]


ENTRIES = {"main": {}, "campaign": {"tasks_from": "campaign_begin"}, "restart": {"tasks_from": "restart"}}


LOOPED = {
    "wa_settings_cluster": "{{ item.name }}",
    "wa_settings_api_url": "{{ item.url }}",
    "wa_settings_restart_backend": "command",
    "wa_settings_restart_command": "{{ item.command }}",
}


@pytest.mark.parametrize("kind", mostly("cluster", rest=["single"]))
def test_loop_over_clients_of_other_hosts_restarts_nothing_of_theirs(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment, tmp_path: Path, kind: str
) -> None:
    """Each host has a list of its own, and the name of a client counts for all hosts of the play."""
    if kind == "cluster":
        deployments = [new_cluster("one"), new_single("two")]
        # Without other names, a host is its node.
        of_hosts = [("wacore1", 0), ("wacore2", 0), ("wacore3", 0), ("other", 1)]
    else:
        deployments = [new_single("one"), new_single("two")]
        of_hosts = [("wacore", 0), ("other", 1)]
    hosts: dict[str, dict[str, Any]] = {}
    for host, number in of_hosts:
        one = deployments[number]
        facts = next(iter(one.inventory().values()))
        hosts[host] = {variable: facts[variable] for variable in ("wa_settings_token", "wa_settings_ca_path")}
        hosts[host]["clients"] = [{"name": one.name, "url": one.client.api_url, "command": one.node_control("restart")}]
        one.forget()
    loop = {
        "include_role": {"name": ROLE},
        "vars": {**LOOPED, "wa_settings_state_dir": str(tmp_path / "state")},
        "loop": "{{ clients }}",
    }
    run = _run(ansible, hosts, VALUES["restart"], play={"hosts": "all", "tasks": [loop]})
    assert run.rc != 0, run.output
    assert "other on other may belong to another client" in words(run)
    assert [(one.writes(), one.starts()) for one in deployments] == [([], [])] * 2, run.output


@pytest.mark.parametrize("entry", mostly("main", rest=["campaign", "restart"]))
def test_what_a_loop_says_of_a_second_host_is_refused_when_its_turn_comes(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, entry: str
) -> None:
    """Each machine has a list of its clients, and the names are the same: no task of one can know the other's list."""
    names = [f"{host}-{name}" for host in ("b1", "b2") for name in ("x", "y")]
    clients = {name: new_single(name) for name in names}
    hosts: dict[str, dict[str, Any]] = {"b1": {"clients": []}, "b2": {"clients": []}}
    for name, one in clients.items():
        one.forget()
        host, _dash, client = name.partition("-")
        (facts,) = one.inventory().values()
        hosts[host] |= {variable: facts[variable] for variable in ("wa_settings_token", "wa_settings_ca_path")}
        command = one.node_control("restart")
        hosts[host]["clients"].append({"name": client, "url": one.client.api_url, "command": command})
    loop = {
        "include_role": {"name": ROLE, **ENTRIES[entry]},
        "vars": {
            **LOOPED,
            "wa_settings_restart_containers": ["wacore"],
            "wa_settings_state_dir": str(tmp_path / "state"),
        },
        "loop": "{{ clients }}",
    }
    play = {"hosts": "all", "tasks": [loop]}
    run = _run(ansible, hosts, VALUES["no restart"], play=play, wa_campaign_name="spring")
    assert run.rc != 0, run.output
    said = words(run)
    assert CURE in said
    refused = re.search(r"Nothing is written for (b[12]); (b[12]) came first in this run", said)
    assert refused, run.output
    late, first = refused.groups()
    assert run.stats()[late]["failures"] >= 1
    for name in ("x", "y"):
        assert clients[f"{late}-{name}"].writes() == []
    # For want of evidence the first one is taken for the client of both hosts, but not so far as to restart anything.
    assert [one.starts() for one in clients.values()] == [[]] * 4
    if entry == "main":
        assert clients[f"{first}-x"].writes() == [f"PATCH {SETTINGS}"]


def test_hosts_of_one_client_may_have_addresses_of_their_own(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """Also one at which nobody answers: not every host of a cluster has a Webapp."""
    cluster = new_cluster()
    cluster.forget()
    hosts = cluster.inventory()
    hosts["trio-b"]["wa_settings_api_url"] = cluster.client.api_url.replace("127.0.0.1", "localhost")
    hosts["trio-c"]["wa_settings_api_url"] = "https://127.0.0.1:9"
    play = {"hosts": "all", "roles": [ROLE]}
    run = _run(ansible, hosts, VALUES["restart"], play=play)
    assert run.rc == 0, run.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], ["wacore1", "wacore2", "wacore3"])
    cluster.forget()
    again = _run(ansible, hosts, VALUES["restart"], play=play)
    assert again.rc == 0, again.output
    assert (cluster.writes(), cluster.starts()) == ([], [])
    notify = {"hosts": "all", "tasks": [{"command": "true", "notify": NOTIFY}, FLUSH], "roles": [ROLE]}
    assert _run(ansible, hosts, VALUES["restart"], play=notify).rc == 0
    assert sorted(cluster.starts()) == ["wacore1", "wacore2", "wacore3"]


@pytest.mark.parametrize("entry", mostly("main", rest=["campaign", "restart"]))
def test_silent_address_of_the_host_that_acts_is_made_up_for(
    ansible: AnsibleCommands, new_cluster: NewDeployment, entry: str
) -> None:
    """Whichever host comes first; here it is always the one without a Webapp."""
    cluster = new_cluster()
    cluster.forget()
    hosts = cluster.inventory()
    hosts["trio-a"]["wa_settings_api_url"] = "https://127.0.0.1:9"
    for host in ("trio-b", "trio-c"):
        hosts[host]["wa_settings_api_url"] = cluster.client.api_url
    include = {"include_role": {"name": ROLE, **ENTRIES[entry]}}
    play = {"hosts": "all", "tasks": [include]}
    variables = {"wa_campaign_name": "spring"}
    run = _run(ansible, hosts, VALUES["restart"], "--forks", "1", play=play, **variables)
    assert run.rc == 0, run.output
    assert "https://127.0.0.1:9 does not answer, so the address of trio-b is used" in words(run)
    if entry != "campaign":
        assert sorted(cluster.starts()) == ["wacore1", "wacore2", "wacore3"]
    if entry == "main":
        assert cluster.writes() == [f"PATCH {SETTINGS}"]
        cluster.forget()
        again = _run(ansible, hosts, VALUES["restart"], "--forks", "1", play=play)
        assert again.rc == 0, again.output
        assert (cluster.writes(), cluster.starts()) == ([], [])
