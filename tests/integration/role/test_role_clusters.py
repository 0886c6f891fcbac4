# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as the unit, under every way in which Ansible can go through hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, mostly
from support.deployments import APART, SETTINGS, NewDeployment, apply
from support.plays import (
    NOTIFY,
    ROLE,
    SHOW,
    changed,
    connect_all,
    most_down,
    nodes_in,
    restart_breakably,
    summary,
    words,
)

VALUES = {"log_level": "warning"}
VARIABLES = {"ansible_python_interpreter": sys.executable, "wa_settings_values": VALUES}
NODES = ["wacore1", "wacore2", "wacore3"]
BY_ITSELF = {"name": "Restart", "ansible.builtin.import_role": {"name": ROLE, "tasks_from": "restart"}}


@pytest.mark.parametrize(
    "play",
    mostly(
        {"strategy": "free"},
        rest=[{"strategy": "host_pinned"}, {"any_errors_fatal": True}, {"order": "reverse_sorted"}],
    ),
    ids=str,
)
def test_one_write_and_one_restart_each_however_the_play_runs(
    ansible: AnsibleCommands, new_cluster: NewDeployment, play: dict[str, Any]
) -> None:
    cluster = new_cluster(**APART)
    connect_all(cluster)
    cluster.forget()
    run = apply(ansible, [cluster], VALUES, play=play)
    assert run.rc == 0, run.output
    assert cluster.writes() == [f"PATCH {SETTINGS}"]
    assert sorted(cluster.starts()) == NODES
    assert most_down(cluster) == 1
    assert cluster.leftovers() == []


def test_limit_says_what_it_leaves_pending_on_other_hosts(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    run = apply(ansible, [cluster], VALUES, "--limit", "trio-b", play={"post_tasks": [SHOW]})
    assert run.rc == 0, run.output
    assert (cluster.starts(), cluster.pending()) == (["wacore2"], ["wacore1", "wacore3"])
    assert sorted(summary(run, "trio-b")["pending"]) == ["wacore1 on trio-a", "wacore3 on trio-c"]
    assert "pending restarts: wacore1 on trio-a, wacore3 on trio-c" in words(run)


def test_clusters_go_side_by_side_and_a_broken_one_keeps_nobody(
    ansible: AnsibleCommands, new_cluster: NewDeployment, new_single: NewDeployment, tmp_path: Path
) -> None:
    good, also_good, bad = new_cluster("good"), new_cluster("fine"), new_cluster("bad")
    singles = [new_single(name) for name in ("one", "two", "three")]
    connect_all(bad)
    restart_breakably(bad, tmp_path, "wacore1")
    everything = [good, also_good, bad, *singles]
    for deployment in everything:
        # Long enough that restarts which wait for each other could not overlap.
        deployment.client.control.switch(connect_seconds=1)
        deployment.forget()
    run = apply(ansible, everything, VALUES, environment={"ANSIBLE_FORKS": "12"})
    assert run.rc != 0
    failed = {host for host, stats in run.stats().items() if stats["failures"]}
    assert failed <= set(bad.hosts), run.output
    assert len(failed) == 1
    assert bad.pending() == NODES
    for cluster in (good, also_good):
        assert (sorted(cluster.starts()), cluster.leftovers()) == (NODES, [])
        events = [e["event"] for e in cluster.client.control.node_events() if e["event"] in ("start", "stop")]
        assert events == ["stop", "start"] * 3
    for single in singles:
        assert (single.starts(), single.leftovers()) == (["wacore"], [])
    times = [[e["time"] for e in c.client.control.node_events() if e["event"] == "start"] for c in (good, also_good)]
    assert max(t[0] for t in times) < min(t[-1] for t in times), run.output


def test_cluster_named_after_a_host_that_does_not_declare_it(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """Either that host is taken for a part of the cluster, or the run is refused."""
    cluster = new_cluster()
    inventory = cluster.inventory()
    inventory["trio-a"].pop("wa_settings_cluster")
    for host in ("trio-b", "trio-c"):
        inventory[host]["wa_settings_cluster"] = "trio-a"
    cluster.forget()
    run = ansible.playbook([{"hosts": "trio-b,trio-c", "roles": [ROLE]}], inventory, variables=VARIABLES)
    if run.rc != 0:
        assert "the name of a host that does not declare a cluster itself" in words(run)
        assert (cluster.writes(), cluster.starts()) == ([], [])
    else:
        assert "wacore1 on trio-a" in words(run)
        assert sorted(cluster.starts()) == ["wacore2", "wacore3"]


@pytest.mark.parametrize("play", mostly({}, {"serial": 1}, rest=[{"strategy": "free"}]), ids=str)
def test_restart_by_itself_restarts_every_coreapp_once(
    ansible: AnsibleCommands, new_cluster: NewDeployment, play: dict[str, Any]
) -> None:
    cluster = new_cluster()
    connect_all(cluster)
    cluster.forget()
    run = apply(ansible, [cluster], {}, play={"roles": [], "tasks": [BY_ITSELF], **play})
    assert run.rc == 0, run.output
    assert (sorted(cluster.starts()), cluster.leftovers(), cluster.writes()) == (NODES, [], [])
    assert most_down(cluster) == 1


def test_restart_by_itself_predicts_in_check_mode(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    play = {"roles": [], "tasks": [BY_ITSELF]}
    check = apply(ansible, [cluster], {}, "--check", play=play)
    assert check.rc == 0, check.output
    assert (cluster.starts(), cluster.leftovers()) == ([], [])
    (predicted,) = [line for line in check.output.splitlines() if "would restart" in line]
    assert apply(ansible, [cluster], {}, play=play).rc == 0
    assert nodes_in(predicted) == cluster.starts()


def test_handler_notified_on_one_host_restarts_every_coreapp_of_the_cluster(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    assert apply(ansible, [cluster], VALUES).rc == 0
    cluster.forget()
    upload = {
        "name": "Upload a certificate",
        "ansible.builtin.debug": {"msg": "uploaded"},
        "changed_when": True,
        "notify": NOTIFY,
        "when": "inventory_hostname == 'trio-b'",
    }
    run = apply(ansible, [cluster], VALUES, play={"tasks": [upload]})
    assert run.rc == 0, run.output
    assert (sorted(cluster.starts()), cluster.leftovers()) == (NODES, [])


def test_any_errors_fatal_ends_the_play_and_forgets_nothing(
    ansible: AnsibleCommands, new_cluster: NewDeployment, tmp_path: Path
) -> None:
    good, bad = new_cluster("good"), new_cluster("bad")
    bad.client.control.switch(shards=3)
    broken = restart_breakably(bad, tmp_path, "wacore1")
    for cluster in (good, bad):
        cluster.forget()
    play = {"any_errors_fatal": True}
    run = apply(ansible, [good, bad], VALUES, play=play)
    assert run.rc != 0
    assert bad.pending() == NODES
    # How far the other cluster came is for Ansible to say: what has not restarted is on record.
    assert {*good.starts(), *good.pending()} == set(NODES), run.output
    broken.unlink()
    again = apply(ansible, [good, bad], VALUES, play=play)
    assert again.rc == 0, again.output
    assert set(good.starts()) == set(NODES)
    assert len(good.starts()) <= len(NODES) + 1
    for cluster in (good, bad):
        assert (cluster.running("log_level"), cluster.leftovers()) == ({"warning"}, [])
    settled = apply(ansible, [good, bad], VALUES, play=play)
    assert (settled.rc, changed(settled)) == (0, 0), settled.output
