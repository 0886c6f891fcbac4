# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see: facts, summary, headings, counts, what check mode predicts, and what tags choose."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import APART, SETTINGS, Deployment, NewDeployment, apply
from support.plays import (
    FLUSH,
    ROLE,
    SHOW,
    changed,
    headings,
    include,
    nodes_in,
    on_record,
    required,
    restart_by,
    summary,
    tasks_done,
    words,
)

VALUES = {"log_level": "warning"}
NODES = ["wacore1", "wacore2", "wacore3"]
SHOWN = {"post_tasks": [SHOW]}
NEVER = {"wa_settings_restart": "never"}


def _book(
    ansible: AnsibleCommands, name: str, deployments: list[Deployment], *arguments: str, **variables: Any
) -> CommandRun:
    """Run a playbook of the collection."""
    hosts = {host: facts for deployment in deployments for host, facts in deployment.inventory().items()}
    common = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", **variables}
    inventory = ansible.inventory(hosts, common)
    return ansible.run(["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.{name}", *arguments])


def test_never_says_each_time_that_a_restart_is_required(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    for _attempt in range(2):
        run = apply(ansible, [single], VALUES, play=SHOWN, variables=NEVER)
        assert run.rc == 0, run.output
        assert required(run, "one") is True
        assert nodes_in(summary(run, "one")["pending"]) == ["wacore"]
        # Without -v.
        assert re.search(r"pending", run.stdout), run.output
    assert single.starts() == []
    check = apply(ansible, [single], VALUES, "--check", play=SHOWN)
    assert required(check, "one") is True
    done = apply(ansible, [single], VALUES, play=SHOWN)
    assert (required(done, "one"), single.starts()) == (False, ["wacore"])
    assert nodes_in(summary(done, "one")["restarted"]) == ["wacore"]
    assert summary(done, "one")["changed_settings"] == []
    settled = apply(ansible, [single], VALUES, play=SHOWN)
    assert required(settled, "one") is False
    assert summary(settled, "one") == {"changed_settings": [], "restarted": [], "pending": []}


def test_facts_are_set_on_every_host_that_acted(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    singles[1].extra.update(NEVER)
    play = {"roles": [], "tasks": [include(), FLUSH, SHOW]}
    for _attempt in range(2):
        run = apply(ansible, singles, VALUES, play=play)
        assert run.rc == 0, run.output
        assert (required(run, "one"), required(run, "two")) == (False, True)


def test_report_of_all_hosts_for_workflows(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    singles[1].extra.update(NEVER)
    environment = {"ANSIBLE_SHOW_CUSTOM_STATS": "1"}
    silent = apply(ansible, singles, {"show_security_notifications": True}, environment=environment)
    assert silent.rc == 0, silent.output
    assert "wa_settings_report" not in silent.stdout
    run = apply(ansible, singles, VALUES, variables={"wa_settings_report": True}, environment=environment)
    assert run.rc == 0, run.output
    text = run.stdout[run.stdout.index("wa_settings_report") :]
    assert re.search(r"CUSTOM STATS", run.stdout)
    for single in singles:
        assert single.name in text
    assert "log_level" in text
    assert run.stdout.count("CUSTOM STATS") == 1


def test_converged_client_is_one_task(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    assert _book(ansible, "apply", [single], wa_settings_values=VALUES).rc == 0
    single.forget()
    run = _book(ansible, "apply", [single], wa_settings_values=VALUES)
    assert run.rc == 0, run.output
    stats = run.stats()["one"]
    assert (stats["ok"], stats["changed"], stats["skipped"]) == (1, 0, 0), run.output
    assert len(headings(run)) == 1, run.output
    assert single.client.verbs() == [f"GET {SETTINGS}"]


def test_converged_cluster_is_one_task_for_each_host_and_one_request(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    assert _book(ansible, "apply", [cluster], wa_settings_values=VALUES).rc == 0
    cluster.forget()
    run = _book(ansible, "apply", [cluster], wa_settings_values=VALUES)
    assert run.rc == 0, run.output
    assert [(stats["ok"], stats["changed"]) for stats in run.stats().values()] == [(1, 0)] * 3, run.output
    assert len(headings(run)) == 1, run.output
    assert cluster.client.verbs() == [f"GET {SETTINGS}"]


def test_one_change_with_one_restart_is_a_short_story(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    run = _book(ansible, "apply", [single], wa_settings_values=VALUES)
    assert run.rc == 0, run.output
    assert single.starts() == ["wacore"]
    assert tasks_done(run, "one") <= 12, run.output
    assert len(headings(run)) <= 20, run.output
    # The setting, and the restart.
    assert run.stats()["one"]["changed"] == 2, run.output
    found = words(run)
    assert not re.search(r"\b(owes?|owed|debts?|pa(ys?|id)|stru?[iu]ck|strike) ", found), found
    titles = headings(run)
    assert len(titles) == len({*titles}), "two tasks with one name"


def test_check_mode_names_the_nodes_of_the_real_run_once_and_in_order(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    check = apply(ansible, [cluster], VALUES, "--check", "--diff", play=SHOWN)
    assert check.rc == 0, check.output
    assert (cluster.writes(), cluster.starts(), cluster.leftovers()) == ([], [], [])
    assert len(re.findall(r"would (?:be )?restart", check.output, re.IGNORECASE)) == 1, check.output
    real = apply(ansible, [cluster], VALUES, play=SHOWN)
    assert real.rc == 0, real.output
    # Whichever host came first has acted for all.
    assert cluster.starts() in [nodes_in(summary(check, host)["pending"]) for host in cluster.hosts]
    assert cluster.starts() in [nodes_in(summary(real, host)["restarted"]) for host in cluster.hosts]
    printed = check.output[re.search(r"would (?:be )?restart", check.output, re.IGNORECASE).start() :]  # type: ignore[union-attr]
    assert nodes_in(printed)[:3] == cluster.starts()
    assert changed(check) >= 1


def test_check_mode_shows_what_an_earlier_run_left_and_leaves_it(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    assert apply(ansible, [cluster], VALUES, variables=NEVER).rc == 0
    cluster.forget()
    before = [path.read_text() for path in cluster.leftovers()]
    check = apply(ansible, [cluster], VALUES, "--check", play=SHOWN)
    assert check.rc == 0, check.output
    assert len(re.findall(r"would (?:be )?restart", check.output, re.IGNORECASE)) == 1
    assert NODES in [sorted(nodes_in(summary(check, host)["pending"])) for host in cluster.hosts]
    assert ([path.read_text() for path in cluster.leftovers()], cluster.starts()) == (before, [])


def test_tag_settings_writes_and_leaves_the_restart_for_the_tag_restart(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    cluster.forget()
    settings = apply(ansible, [cluster], VALUES, "--tags", "settings")
    assert settings.rc == 0, settings.output
    assert (cluster.writes(), cluster.starts()) == ([f"PATCH {SETTINGS}"], [])
    assert on_record(cluster) >= set(NODES)
    restart = apply(ansible, [cluster], VALUES, "--tags", "restart")
    assert restart.rc == 0, restart.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], NODES)
    again = apply(ansible, [cluster], VALUES)
    assert (changed(again), len(cluster.starts())) == (0, 3), again.output


@pytest.mark.parametrize("way", ["apply", "role"])
@pytest.mark.parametrize("arguments", mostly(("--tags", "restart"), rest=[("--check",)]))
def test_pending_restart_counts_once(
    ansible: AnsibleCommands,
    new_single: NewDeployment,
    new_cluster: NewDeployment,
    arguments: tuple[str, ...],
    way: str,
) -> None:
    """What changed are the settings and the restarts."""
    single, cluster = new_single(), new_cluster()
    assert apply(ansible, [single, cluster], VALUES, variables=NEVER).rc == 0

    def changes(values: dict[str, Any], *more: str) -> list[int]:
        for one in (single, cluster):
            one.forget()
        if way == "apply":
            run = _book(ansible, "apply", [single, cluster], *more, wa_settings_values=values)
        else:
            run = apply(ansible, [single, cluster], values, *more)
        assert run.rc == 0, run.output
        counts = {host: stats["changed"] for host, stats in run.stats().items()}
        return [counts.pop("one"), sum(counts.values())]

    assert changes(VALUES, *arguments) == [1, 1]
    if "--check" in arguments:
        assert (single.starts(), cluster.starts()) == ([], [])
        assert changes({**VALUES, "show_security_notifications": True}) == [2, 2]
    assert (single.starts(), len(cluster.starts())) == (["wacore"], 3)


def test_tag_restart_writes_no_settings(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    run = apply(ansible, [single], VALUES, "--tags", "restart")
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts()) == ([], [])


def test_skipped_tag_restart_is_as_never(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    run = apply(ansible, [single], VALUES, "--skip-tags", "restart")
    assert run.rc == 0, run.output
    assert (single.writes(), single.starts(), on_record(single)) == ([f"PATCH {SETTINGS}"], [], {"wacore"})


def test_record_is_readable_and_private(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    url = "https://hooks.example.com/in?auth=canary-hook"
    values = {**VALUES, "webhooks": {"url": url, "max_concurrent_requests": 18}}
    run = apply(ansible, [single], values, "-vvv", "--diff", variables=NEVER)
    assert run.rc == 0, run.output
    (path,) = [path for path in single.leftovers() if "wacore" in path.read_text()]
    record = json.loads(path.read_text())
    assert "one" in str(record)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    token = single.inventory()["one"]["wa_settings_token"]
    for secret in ("canary-hook", token):
        assert secret not in path.read_text()
        assert secret not in run.output


def test_reset_asks_for_a_target(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.client.control.store(VALUES)
    single.forget()
    run = _book(ansible, "reset", [single])
    assert run.rc != 0, run.output
    assert "target" in words(run)
    assert single.client.verbs() == []


@pytest.mark.parametrize(
    ("behaviour", "more"), [("replace", {}), ("merge", {}), ("replace", {"wa_settings_state": "present"})], ids=str
)
def test_reset_resets_with_the_variables_of_apply(
    ansible: AnsibleCommands, new_single: NewDeployment, behaviour: str, more: dict[str, str]
) -> None:
    """With the file that apply was given, and with variables of the inventory, however hashes are combined."""
    single, spared = new_single("one"), new_single("two")
    variables = {
        "wa_settings_values": {**VALUES, "webhooks": {"max_concurrent_requests": 12}},
        "wa_settings_group_values": {"callback_persist": False},
        "wa_settings_overrides": {"show_security_notifications": True},
        "wa_settings_extra_values": {},
        **more,
    }
    ansible.write("ansible.cfg", f"[defaults]\nhash_behaviour = {behaviour}\n")
    given = ("-e", f"@{ansible.write('vars.json', variables)}")
    applied = _book(ansible, "apply", [single, spared], *given)
    assert applied.rc == 0, applied.output
    for one in (single, spared):
        one.forget()
    reset = _book(ansible, "reset", [single, spared], *given, "-e", "target=one", wa_settings_values=VALUES)
    assert reset.rc == 0, reset.output
    assert single.writes() == [f"DELETE {SETTINGS}"]
    assert (single.client.control.stored(), single.starts()) == ({}, ["wacore"])
    assert spared.client.verbs() == []


def test_apply_leaves_localhost_alone(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    inventory = ansible.inventory(
        {**single.inventory(), "localhost": {}},
        {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "wa_settings_values": VALUES},
    )
    run = ansible.run(["ansible-playbook", "-i", str(inventory), "wabiz.onprem.apply"])
    assert run.rc == 0, run.output
    assert set(run.stats()) == {"one"}
    assert single.starts() == ["wacore"]


def test_each_client_has_a_line_that_says_what_changed_and_restarted(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    """Without -v and without --diff, for a person who looks at the end of the output."""
    singles = [new_single(name) for name in ("one", "two")]
    run = apply(ansible, singles, VALUES, play={"roles": [ROLE]})
    assert run.rc == 0, run.output
    told = [line for line in run.stdout.splitlines() if "log_level" in line and "wacore" in line]
    assert len(told) >= len(singles), run.stdout


@pytest.mark.parametrize("facts", [APART, {}], ids=["apart", "here"])
def test_rescue_finds_what_has_restarted_and_what_is_pending(
    ansible: AnsibleCommands, new_cluster: NewDeployment, tmp_path: Path, facts: dict[str, Any]
) -> None:
    cluster = new_cluster(**facts)
    # Fails after the second restart.
    restart_by(cluster, tmp_path, 'restart "$1"; mkdir "$0.first" || mkdir "$0.second" && test ! -e "$0.second"')
    cluster.forget()
    failed = "(ansible_failed_result.results | default([ansible_failed_result]) | last).wa_settings_summary"
    go_on = {
        "name": "Go on",
        "ansible.builtin.debug": {"msg": f"{{{{ {failed} if ansible_failed_result is defined else {{}} }}}}"},
    }
    look = include(wa_settings_restart="never")
    show = {"name": "Show", "ansible.builtin.debug": {"var": "wa_settings_summary.pending"}}
    rescued = {"block": [include(), FLUSH], "rescue": [go_on, look, show]}
    run = apply(ansible, [cluster], VALUES, play={"roles": [], "tasks": [rescued]})
    assert run.rc == 0, run.output
    told = run.result("Go on")["msg"]
    tells_of_handlers = Version(metadata.version("ansible-core")) >= Version("2.19")
    assert bool(told) is tells_of_handlers
    if tells_of_handlers:
        assert told["changed_settings"] == ["log_level"]
        assert len(told["restarted"]) == 1
        assert set(nodes_in(told["pending"])) == on_record(cluster) == {*NODES} - set(nodes_in(told["restarted"]))
    # On every release, what the run knows of all hosts.
    pending = run.result("Show")["wa_settings_summary.pending"]
    assert set(nodes_in(pending)) == on_record(cluster) != set()


def test_refused_restart_says_what_is_pending(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    assert apply(ansible, [single], VALUES, variables=NEVER).rc == 0
    restart = {"import_role": {"name": ROLE, "tasks_from": "restart"}}
    told = {"name": "Told", "debug": {"msg": "{{ ansible_failed_result.wa_settings_summary.pending }}"}}
    missing = json.dumps({"wa_settings_restart_command": ["no-such-program"]})
    play = {"roles": [], "tasks": [{"block": [restart], "rescue": [told]}]}
    run = apply(ansible, [single], {}, "-e", missing, play=play)
    assert nodes_in(run.result("Told")["msg"]) == ["wacore"], run.output


def test_host_of_a_cluster_speaks_of_its_own_record_only(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    limit = ("--limit", "trio-a,trio-b")
    first = apply(ansible, [cluster], VALUES, *limit)
    assert "pending restarts: wacore3 on trio-c" in words(first), first.output
    second = apply(ansible, [cluster], {**VALUES, "callback_backoff_delay_ms": 5000}, *limit)
    assert second.rc == 0, second.output
    assert "pending restarts: none" not in words(second)
    assert re.search(r"pending restarts on trio-[ab]: none", words(second)), second.output
    check = apply(ansible, [cluster], {"callback_persist": False}, "--check", *limit)
    assert "would stay pending: wacore3 on trio-c" in words(check), check.output
