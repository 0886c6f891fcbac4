# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several clients on one host in one play: each is written and restarted once, none is mixed up or forgotten."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import SETTINGS, Deployment, NewDeployment
from support.plays import FLUSH, NOTIFY, ROLE, SHOW, changed, declared, include, most_down, on_record, required, summary

VALUES = {"log_level": "warning"}
HOST = "box"
VARIABLES = {"ansible_python_interpreter": sys.executable}
Variables = dict[str, Any]
Play = dict[str, Any]


def _looped(ansible: AnsibleCommands, clients: list[Variables]) -> Play:
    """A loop of include_role, every variable made from the loop's."""
    # Ansible itself shows the item of a loop, in results at least, and the clients have tokens in them.
    variables = {name: f"{{{{ clients[item].{name} }}}}" for name in clients[0]}
    looped = {**include(**variables), "loop": list(range(len(clients)))}
    return {"vars": {"clients": clients}, "tasks": [looped]}


def _roles_twice(ansible: AnsibleCommands, clients: list[Variables]) -> Play:
    return {"roles": [{"role": ROLE, **client} for client in clients]}


def _roles_with_vars(ansible: AnsibleCommands, clients: list[Variables]) -> Play:
    return {"roles": [{"role": ROLE, "vars": client} for client in clients]}


def _wrapper_roles(ansible: AnsibleCommands, clients: list[Variables]) -> Play:
    for number, client in enumerate(clients):
        task = {"name": "Keep", "ansible.builtin.import_role": {"name": ROLE}, "vars": client}
        ansible.write(f"roles/number{number}/tasks/main.yml", [task])
    return {"roles": [f"number{number}" for number in range(len(clients))]}


def _made_of_other_variables(ansible: AnsibleCommands, clients: list[Variables]) -> Play:
    """The cluster's name made from variables of the play, of a block and of the task."""
    tasks = [
        {
            "name": "Client",
            "vars": {"place": client["wa_settings_cluster"]},
            "block": [
                include(**{**client, "suffix": "x", "wa_settings_cluster": "{{ prefix }}-{{ place }}-{{ suffix }}"})
            ],
        }
        for client in clients
    ]
    return {"vars": {"prefix": "line"}, "tasks": tasks}


SHAPES: dict[str, Callable[[AnsibleCommands, list[Variables]], Play]] = {
    "loop": _looped,
    "roles": _roles_twice,
    "roles-vars": _roles_with_vars,
    "wrappers": _wrapper_roles,
    "made-of-variables": _made_of_other_variables,
}


def _run(ansible: AnsibleCommands, play: Play) -> CommandRun:
    return ansible.playbook([{"hosts": HOST, **play}], {HOST: VARIABLES})


def _on_one_host(new_single: NewDeployment, place: Path, count: int = 2) -> tuple[list[Deployment], list[Variables]]:
    """Clients whose records lie in one directory, and the variables that declare each."""
    singles = [new_single(f"line{number}") for number in range(count)]
    shared = str(place / "state")
    clients = [declared(single, wa_settings_values=VALUES, wa_settings_state_dir=shared) for single in singles]
    for single in singles:
        single.forget()
    return singles, clients


def _seen(single: Deployment) -> tuple[list[str], list[str], set[Any]]:
    """What reached a client: writes, starts, and the value that its Coreapp runs with."""
    return single.writes(), single.starts(), single.running("log_level")


DONE = ([f"PATCH {SETTINGS}"], ["wacore"], {"warning"})
UNTOUCHED: tuple[list[str], list[str], set[str]] = ([], [], {"info"})


def test_loop_of_restarts_restarts_each_client(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    singles, clients = _on_one_host(new_single, tmp_path)
    variables = {name: f"{{{{ clients[item].{name} }}}}" for name in clients[0]}
    restart = {**include(**variables), "loop": list(range(len(clients)))}
    restart["ansible.builtin.include_role"] = {"name": ROLE, "tasks_from": "restart"}
    run = _run(ansible, {"vars": {"clients": clients}, "tasks": [restart]})
    assert run.rc == 0, run.output
    assert [(single.writes(), single.starts()) for single in singles] == [([], ["wacore"])] * len(singles)


UPLOAD = {"name": "Upload a certificate", "ansible.builtin.debug": {}, "changed_when": True, "notify": NOTIFY}


def test_notify_of_a_user_restarts_what_is_on_each_host(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    """Each host has a list of its own, the lists differ in length, and one is empty."""
    singles, clients = _on_one_host(new_single, tmp_path, count=3)
    hosts: dict[str, Variables] = {
        "box1": {"clients": clients[:1]},
        "box2": {"clients": []},
        "box3": {"clients": clients[1:]},
    }
    variables = {name: f"{{{{ clients[item].{name} }}}}" for name in clients[0]}
    looped = {**include(**variables), "loop": "{{ range(clients | length) | list }}"}
    uploads = [{**UPLOAD, "when": f"inventory_hostname in {named}"} for named in (["box2", "box3"], list(hosts))]
    book = {"hosts": "all", "tasks": [looped, FLUSH, uploads[0], FLUSH, uploads[1]]}
    run = ansible.playbook([book], hosts, variables=VARIABLES)
    assert run.rc == 0, run.output
    # What the role has changed restarts at the first flush.
    expected = [2 * ["wacore"], 3 * ["wacore"], 3 * ["wacore"]]
    assert [single.starts() for single in singles] == expected, run.output
    assert all(most_down(single) <= 1 for single in singles)


def test_notify_is_on_record_for_a_client_that_is_not_to_restart_now(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    singles, clients = _on_one_host(new_single, tmp_path)
    for client in clients:
        client["wa_settings_values"] = {"callback_backoff_delay_ms": 5000}
    tasks = [include(**clients[0]), include(**{**clients[1], "wa_settings_restart": "never"}), UPLOAD]
    run = _run(ansible, {"tasks": tasks, "post_tasks": [SHOW]})
    assert run.rc == 0, run.output
    assert [single.starts() for single in singles] == [["wacore"], []], run.output
    found = summary(run, HOST)
    assert required(run, HOST) is True
    assert found["changed_settings"] == ["callback_backoff_delay_ms"]
    # Both nodes have one name, on one host.
    assert (found["restarted"], found["pending"]) == (
        ["wacore on box (cluster line0)"],
        ["wacore on box (cluster line1)"],
    )
    later = _run(ansible, _looped(ansible, clients))
    assert (later.rc, [single.starts() for single in singles]) == (0, [["wacore"], ["wacore"]]), later.output


def test_notify_before_the_role_restarts_each_client_once(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    """Handlers run after `pre_tasks` too, when no use of the role has come yet."""
    singles, clients = _on_one_host(new_single, tmp_path)
    play = {"roles": [{"role": ROLE, **client} for client in clients]}
    assert _run(ansible, play).rc == 0
    for single in singles:
        single.forget()
    run = _run(ansible, {**play, "pre_tasks": [UPLOAD]})
    assert run.rc == 0, run.output
    assert [(single.writes(), single.starts()) for single in singles] == [([], ["wacore"])] * len(singles), run.output


@pytest.mark.parametrize("play", mostly({}, {"serial": 1}, rest=[{"serial": 2}, {"strategy": "free"}]), ids=str)
def test_notify_before_the_role_restarts_the_client_of_each_host(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, play: Play
) -> None:
    """The first host speaks for itself alone, and a later batch comes to it when others have used the role."""
    singles, clients = _on_one_host(new_single, tmp_path, count=4)
    hosts = {f"box{number}": client for number, client in enumerate(clients)}
    book = {"hosts": "all", **play, "pre_tasks": [UPLOAD], "roles": [ROLE]}
    run = ansible.playbook([book], hosts, variables=VARIABLES)
    assert run.rc == 0, run.output
    assert [single.running("log_level") for single in singles] == [{"warning"}] * len(singles), run.output
    for single in singles:
        single.forget()
    run = ansible.playbook([book], hosts, variables=VARIABLES)
    assert run.rc == 0, run.output
    assert [(single.writes(), single.starts()) for single in singles] == [([], ["wacore"])] * len(singles), run.output


@pytest.mark.parametrize("restart", mostly("never", rest=["auto"]))
def test_facts_and_report_cover_all_clients_of_the_host(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, restart: str
) -> None:
    """The last client of the loop is as declared: that says nothing about the first one."""
    singles, clients = _on_one_host(new_single, tmp_path)
    assert _run(ansible, _looped(ansible, clients[1:])).rc == 0
    told = [{**client, "wa_settings_restart": restart, "wa_settings_report": True} for client in clients]
    book = {"hosts": HOST, **_looped(ansible, told), "post_tasks": [SHOW]}
    run = ansible.playbook([book], {HOST: VARIABLES}, environment={"ANSIBLE_SHOW_CUSTOM_STATS": "1"})
    assert run.rc == 0, run.output
    found = summary(run, HOST)
    assert found["changed_settings"] == ["log_level"]
    assert (required(run, HOST), len(found["pending"])) == ((True, 1) if restart == "never" else (False, 0))
    assert len(found["restarted"]) == len(singles[0].starts()) == (restart == "auto")
    (stats,) = re.findall(r"RUN: (\{.*\})", run.stdout)
    assert json.loads(stats)["wa_settings_report"] == {HOST: found}


# The entries of `roles:` with `vars` are those without, in other words.
@pytest.mark.parametrize("shape", mostly(*(shape for shape in SHAPES if shape != "roles-vars"), rest=["roles-vars"]))
def test_each_client_is_written_and_restarted_once(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, shape: str
) -> None:
    singles, clients = _on_one_host(new_single, tmp_path)
    play = SHAPES[shape](ansible, clients)
    first = _run(ansible, play)
    assert first.rc == 0, first.output
    assert [_seen(single) for single in singles] == [DONE] * len(singles), first.output
    for single in singles:
        single.forget()
    second = _run(ansible, play)
    assert (second.rc, changed(second)) == (0, 0), second.output
    assert [(single.writes(), single.starts()) for single in singles] == [([], [])] * len(singles)
    # The role itself has nothing to restart now, so it is the user's task alone that asks for it.
    third = _run(ansible, {**play, "post_tasks": [UPLOAD]})
    assert third.rc == 0, third.output
    assert [(single.writes(), single.starts()) for single in singles] == [([], ["wacore"])] * len(singles)


@pytest.mark.parametrize("how", ["roles", "include_role", "import_role"])
def test_skipped_use_of_the_role_touches_nothing_and_keeps_no_other_from_its_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path, how: str
) -> None:
    singles, (used, unused) = _on_one_host(new_single, tmp_path)
    play: Play
    if how == "roles":
        play = {"roles": [{"role": ROLE, **used}, {"role": ROLE, **unused, "when": False}]}
    else:
        tasks = [
            {"name": "Keep", f"ansible.builtin.{how}": {"name": ROLE}, "vars": client} for client in (used, unused)
        ]
        play = {"tasks": [tasks[0], {**tasks[1], "when": False}]}
    run = _run(ansible, play)
    assert run.rc == 0, run.output
    assert [_seen(single) for single in singles] == [DONE, UNTOUCHED], run.output


def test_second_client_that_fails_keeps_the_first_one_on_record(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    singles, clients = _on_one_host(new_single, tmp_path)
    play = _looped(ansible, clients)
    singles[1].client.control.fault("error", method="PATCH", path="/v1/settings", status=400, code=1009, times=None)
    failed = _run(ansible, play)
    assert failed.rc != 0
    singles[1].client.control.clear_faults()
    again = _run(ansible, play)
    assert again.rc == 0, again.output
    assert [(single.running("log_level"), single.starts()) for single in singles] == [({"warning"}, ["wacore"])] * 2


def test_each_client_has_a_record_of_its_own(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    singles, clients = _on_one_host(new_single, tmp_path)
    never = [{**client, "wa_settings_restart": "never"} for client in clients]
    assert _run(ansible, _looped(ansible, never)).rc == 0
    only_first = _run(ansible, _looped(ansible, clients[:1]))
    assert only_first.rc == 0, only_first.output
    assert [single.starts() for single in singles] == [["wacore"], []]
    both = _run(ansible, _looped(ansible, clients))
    assert both.rc == 0, both.output
    assert [_seen(single) for single in singles] == [DONE] * 2


def test_default_name_for_two_clients_is_refused_or_works_but_forgets_nothing(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    singles, clients = _on_one_host(new_single, tmp_path)
    for client in clients:
        client.pop("wa_settings_cluster")
    run = _run(ansible, _roles_twice(ansible, clients))
    if run.rc == 0:
        assert [_seen(single) for single in singles] == [DONE] * 2
        return
    assert "wa_settings_cluster" in run.output
    # Refused before the second client is written; the first is either untouched too, or not forgotten.
    assert _seen(singles[1]) == UNTOUCHED
    assert _seen(singles[0]) in (UNTOUCHED, DONE) or Path(clients[0]["wa_settings_state_dir"]).exists(), run.output
    first_alone = _run(ansible, _roles_twice(ansible, clients[:1]))
    assert first_alone.rc == 0, first_alone.output
    assert _seen(singles[0]) == DONE


def test_facts_cover_what_the_host_has_used_the_role_for_so_far(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    _singles, clients = _on_one_host(new_single, tmp_path)
    shows = [{**SHOW, "name": f"Show {number}"} for number in range(3)]
    never = {**clients[1], "wa_settings_restart": "never"}
    tasks = [include(**clients[0]), FLUSH, shows[0], include(**never), shows[1], include(**clients[0]), shows[2]]
    run = _run(ansible, {"tasks": tasks})
    assert run.rc == 0, run.output
    first, second, third = (run.result(f"Show {number}")["msg"] for number in range(3))
    assert (first["required"], len(first["summary"]["restarted"]), first["summary"]["pending"]) == (False, 1, [])
    assert (second["required"], len(second["summary"]["restarted"]), len(second["summary"]["pending"])) == (True, 1, 1)
    # What was done in the run stays, and what is pending is as it is now.
    assert third["summary"] == second["summary"]


def test_facts_of_a_client_for_which_the_role_is_used_twice_keep_what_was_done(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    (single,), (client,) = _on_one_host(new_single, tmp_path, count=1)
    run = _run(
        ansible, {"roles": [{"role": ROLE, **client}, {"role": ROLE, **client, "vars": {"x": 1}}], "post_tasks": [SHOW]}
    )
    assert run.rc == 0, run.output
    found = summary(run, HOST)
    assert (found["changed_settings"], len(found["restarted"]), found["pending"]) == (["log_level"], 1, [])
    assert _seen(single) == DONE


def test_cluster_named_by_a_number_or_from_the_inventory_is_one_cluster_on_all_its_hosts(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """`wa_settings_cluster: 7`, in the play; the inventory says something else."""
    cluster = new_cluster()
    hosts = {host: {**facts, "wa_settings_cluster": "another"} for host, facts in cluster.inventory().items()}
    cluster.forget()
    book = {
        "hosts": "all",
        "roles": [{"role": ROLE, "wa_settings_cluster": 7, "wa_settings_values": VALUES}],
        "post_tasks": [SHOW],
    }
    run = ansible.playbook([book], hosts, variables={"ansible_python_interpreter": sys.executable})
    assert run.rc == 0, run.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], ["wacore1", "wacore2", "wacore3"])
    assert cluster.running("log_level") == {"warning"}


def test_cluster_of_the_play_made_from_a_variable_of_each_host(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    hosts = {host: {**facts, "site": "north"} for host, facts in cluster.inventory().items()}
    for facts in hosts.values():
        facts.pop("wa_settings_cluster")
    cluster.forget()
    book = {"hosts": "all", "tasks": [include(wa_settings_cluster="{{ site }}", wa_settings_values=VALUES)]}
    run = ansible.playbook([book], hosts, variables={"ansible_python_interpreter": sys.executable})
    assert run.rc == 0, run.output
    assert (cluster.writes(), sorted(cluster.starts())) == ([f"PATCH {SETTINGS}"], ["wacore1", "wacore2", "wacore3"])


def test_later_declaration_by_another_host_is_carried_out_or_refused(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    """Two declarations of one cluster in one play, by different hosts."""
    cluster = new_cluster()
    one, two = list(cluster.hosts)[:2]
    cluster.forget()
    tasks = [
        {**include(wa_settings_values=VALUES), "when": f"inventory_hostname == '{one}'"},
        {**include(wa_settings_values={"callback_backoff_delay_ms": 5000}), "when": f"inventory_hostname == '{two}'"},
    ]
    run = ansible.playbook(
        [{"hosts": "all", "tasks": tasks}],
        cluster.inventory(),
        variables={"ansible_python_interpreter": sys.executable},
    )
    stored = cluster.client.control.stored()
    assert stored.get("log_level") == "warning"
    if run.rc == 0:
        assert stored.get("callback_backoff_delay_ms") in (5000, "5000"), run.output
    else:
        assert cluster.name in run.output
        assert "declar" in run.output
    assert (cluster.running("log_level") == {"warning"}) or on_record(cluster)


def test_failure_of_the_first_host_in_one_play_does_not_keep_the_next_play_from_its_work(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    cluster = new_cluster()
    first = next(iter(cluster.hosts))
    cluster.forget()
    harmless = {"name": "Break", "ansible.builtin.fail": {"msg": "broken"}, "when": f"inventory_hostname == '{first}'"}
    plays = [
        {"hosts": "all", "tasks": [include(wa_settings_values={"callback_backoff_delay_ms": 5000}), harmless]},
        {"hosts": "all", "tasks": [include(wa_settings_values={"show_security_notifications": True})]},
    ]
    run = ansible.playbook(plays, cluster.inventory(), variables={"ansible_python_interpreter": sys.executable})
    assert run.rc != 0
    stored = cluster.client.control.stored()
    assert stored.get("show_security_notifications") is True, run.output


def test_summary_lists_what_a_client_changed_and_restarted(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    _singles, clients = _on_one_host(new_single, tmp_path, count=1)
    run = _run(ansible, {"roles": [{"role": ROLE, **clients[0]}], "post_tasks": [SHOW]})
    assert run.rc == 0, run.output
    found = summary(run, HOST)
    assert found["changed_settings"] == ["log_level"]
    assert (len(found["restarted"]), found["pending"]) == (1, [])
