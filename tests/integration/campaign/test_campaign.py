# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Campaigns: the collection of messages goes off and comes back as it was, whatever happens in between."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml

from support.campaigns import MESSAGES, OFF, OLDER, ON, campaign, collects, named, on_record, start_campaign
from support.commands import PATHS, AnsibleCommands, CommandRun, mostly
from support.deployments import SETTINGS, Deployment, NewDeployment, apply
from support.drifts import clients_of, run_drift
from support.plays import ROLE, SHOW, changed, connect_all, most_down, required, restart_slowly, summary, words

PATCH = f"PATCH {SETTINGS}"
COLLECT = "PUT /v1/services/message/gc"
DECLARED = {"garbagecollector_enable": {"messages": True}}
NEVER = {"wa_settings_restart": "never"}
PAIR = {"a": ["wacore1", "wacore2"], "b": ["wacore3"]}
NODES = ["wacore1", "wacore2", "wacore3"]
# That the paths do the same is shown by one test here, and by the others in `make thorough`.
MODULE = pytest.param("module", marks=pytest.mark.thorough)
ROUNDS = int(os.environ.get("WABIZ_KILLS", "2"))
SEED = int(os.environ.get("WABIZ_KILL_SEED", str(random.SystemRandom().randrange(10**6))))


def test_off_for_the_campaign_and_back_after_it(ansible: AnsibleCommands, new_single: NewDeployment, path: str) -> None:
    one = new_single()
    one.forget()
    began = campaign(ansible, "begin", [one], variables=PATHS[path])
    assert began.rc == 0, began.output
    assert (collects(one), one.writes(), one.starts()) == (OFF, [PATCH], ["wacore"])
    assert on_record(one) == [["campaign"]]
    assert f"changed: {MESSAGES}; restarted: wacore on one; pending restarts: none" in words(began)
    # The value that was written is read back.
    log = [request for request in one.client.control.requests() if request["path"] == SETTINGS]
    assert log[-1]["method"] == "GET"

    one.forget()
    again = campaign(ansible, "begin", [one], variables=PATHS[path])
    assert (again.rc, changed(again), one.writes(), one.starts()) == (0, 0, [], []), again.output
    assert "campaign campaign is on record already" in words(again)

    ended = campaign(ansible, "end", [one], variables=PATHS[path])
    assert ended.rc == 0, ended.output
    assert (collects(one), one.writes(), one.starts(), one.leftovers()) == (ON, [PATCH], ["wacore"], [])

    one.forget()
    over = campaign(ansible, "end", [one], variables=PATHS[path])
    assert (over.rc, changed(over), one.writes(), one.starts(), one.leftovers()) == (0, 0, [], [], []), over.output
    assert "campaign campaign is not on record, so no setting is changed" in words(over)


def test_the_other_members_of_the_setting_stay(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.client.control.store({"garbagecollector_enable": {"media": True}})
    one.client.control.switch(nested="replace")
    assert campaign(ansible, "begin", [one]).rc == 0
    assert one.client.control.effective()["garbagecollector_enable"] == {"messages": False, "media": True}
    assert campaign(ansible, "end", [one]).rc == 0
    assert one.client.control.effective()["garbagecollector_enable"] == {"messages": True, "media": True}


def test_off_before_stays_off_after_and_nothing_restarts(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.client.control.store({"garbagecollector_enable": {"messages": False}})
    one.forget()
    began = campaign(ansible, "begin", [one])
    assert (began.rc, changed(began), on_record(one)) == (0, 0, [["campaign"]]), began.output
    ended = campaign(ansible, "end", [one])
    assert (ended.rc, changed(ended), on_record(one)) == (0, 0, [None]), ended.output
    assert (one.writes(), one.starts(), one.leftovers()) == ([], [], [])
    assert one.client.control.effective()["garbagecollector_enable"]["messages"] is False


def test_overlapping_campaigns_end_with_the_last_one(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    assert campaign(ansible, "begin", [one], *named("spring")).rc == 0
    one.forget()
    second = campaign(ansible, "begin", [one], *named("easter"))
    assert (second.rc, changed(second), on_record(one)) == (0, 0, [["easter", "spring"]]), second.output
    unknown = campaign(ansible, "end", [one], *named("winter"))
    assert (unknown.rc, changed(unknown)) == (0, 0), unknown.output
    assert "campaign winter is not on record (on record: easter, spring)" in words(unknown)
    first = campaign(ansible, "end", [one], *named("spring"))
    assert (first.rc, changed(first), on_record(one)) == (0, 0, [["easter"]]), first.output
    assert f"{MESSAGES} stays off for easter" in words(first)
    assert (one.writes(), one.starts(), collects(one)) == ([], [], OFF)
    assert campaign(ansible, "end", [one], *named("easter")).rc == 0
    assert (collects(one), one.writes(), one.starts(), one.leftovers()) == (ON, [PATCH], ["wacore"], [])


def _in_batches(ansible: AnsibleCommands, pair: Deployment, *entries: str) -> CommandRun:
    pair.forget()
    tasks = [{"include_role": {"name": ROLE, "tasks_from": entry}} for entry in entries]
    play = {"hosts": "all", "serial": 1, "tasks": tasks}
    return ansible.playbook([play], pair.inventory(), variables=PATHS["in-process"])


def test_plays_with_serial(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    """Each batch restarts the nodes of its own hosts; what that means for a campaign is said where it begins."""
    pair = new_cluster("pair", PAIR)
    restart_slowly(pair, 0.5)
    connect_all(pair)
    warning = "pair-b is of a later batch (serial), so its Coreapps go on collecting until then"
    began = _in_batches(ansible, pair, "campaign_begin")
    assert began.rc == 0, began.output
    assert (collects(pair), pair.writes(), sorted(pair.starts()), most_down(pair)) == (OFF, [PATCH], NODES, 1)
    assert words(began).count(warning) == 1, began.output
    ended = _in_batches(ansible, pair, "campaign_end")
    assert ended.rc == 0, ended.output
    assert (collects(pair), pair.writes(), sorted(pair.starts()), most_down(pair)) == (ON, [PATCH], NODES, 1)
    assert (pair.leftovers(), warning in words(ended)) == ([], False)
    both = _in_batches(ansible, pair, "campaign_begin", "campaign_end")
    assert both.rc == 0, both.output
    assert words(both).count(warning) == 1, both.output
    assert (collects(pair), pair.leftovers(), most_down(pair)) == (ON, [], 1)


def test_key_of_an_older_client(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.client.control.switch(client_version="2.48.9")
    began = campaign(ansible, "begin", [one])
    assert began.rc == 0, began.output
    assert collects(one, OLDER) == OFF
    sent = [request["body"] for request in one.client.control.requests() if request["method"] == "PATCH"]
    assert sent == [{OLDER: False}]
    assert campaign(ansible, "end", [one]).rc == 0
    assert (collects(one, OLDER), one.leftovers()) == (ON, [])


def test_client_that_does_not_tell_its_version(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.client.control.switch(meta="none")
    one.forget()
    refused = campaign(ansible, "begin", [one])
    assert refused.rc != 0
    assert "say the version with wa_settings_client_version" in words(refused)
    assert (one.writes(), one.starts(), one.leftovers()) == ([], [], [])
    told = {"wa_settings_client_version": "2.57.2"}
    assert campaign(ansible, "begin", [one], variables=told).rc == 0
    assert collects(one) == OFF
    assert campaign(ansible, "end", [one]).rc != 0
    assert on_record(one) == [["campaign"]]
    assert campaign(ansible, "end", [one], variables=told).rc == 0
    assert (collects(one), one.leftovers()) == (ON, [])


def test_client_that_does_not_report_the_key_is_refused(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.client.control.switch(unreported=[MESSAGES])
    one.forget()
    refused = campaign(ansible, "begin", [one])
    assert refused.rc != 0
    assert f"the client does not report {MESSAGES}" in words(refused)
    assert (one.writes(), one.starts(), one.leftovers()) == ([], [], [])


def test_client_that_drops_the_value_has_not_begun(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.client.control.fault("error", method="PATCH", code=1009, times=None)
    one.forget()
    refused = campaign(ansible, "begin", [one])
    assert refused.rc != 0
    assert (one.starts(), one.leftovers(), collects(one)) == ([], [], ON)
    one.client.control.clear_faults()
    assert campaign(ansible, "begin", [one]).rc == 0
    # The end fails: the campaign stays on record, and the next end ends it.
    one.client.control.fault("error", method="PATCH", code=1009, times=None)
    assert campaign(ansible, "end", [one]).rc != 0
    assert (on_record(one), collects(one)) == ([["campaign"]], OFF)
    one.client.control.clear_faults()
    assert campaign(ansible, "end", [one]).rc == 0
    assert (one.leftovers(), collects(one)) == ([], ON)


@pytest.mark.parametrize("which", ["begin", "end"])
def test_playbooks_want_a_target(ansible: AnsibleCommands, new_single: NewDeployment, which: str) -> None:
    one = new_single()
    one.forget()
    inventory = ansible.inventory(one.inventory(), {"ansible_python_interpreter": sys.executable})
    run = ansible.run(["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.campaign_{which}"])
    assert run.rc != 0
    assert "target: say which hosts the campaign is for" in words(run)
    assert one.client.verbs() == []


def test_restart_never_leaves_it_pending(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    one.forget()
    began = campaign(ansible, "begin", [one], variables=NEVER)
    assert began.rc == 0, began.output
    assert (collects(one), one.starts(), one.pending()) == ((False, {True}), [], ["wacore"])
    later = apply(ansible, [one], {"log_level": "info"})
    assert (later.rc, one.starts(), collects(one)) == (0, ["wacore"], OFF), later.output
    assert on_record(one) == [["campaign"]]


@pytest.mark.parametrize("tags", mostly(("--tags", "settings"), rest=[("--skip-tags", "restart")]))
def test_tags_leave_it_pending(ansible: AnsibleCommands, new_single: NewDeployment, tags: tuple[str, str]) -> None:
    one = new_single()
    one.forget()
    assert campaign(ansible, "begin", [one], *tags).rc == 0
    assert (collects(one), one.starts(), one.pending()) == ((False, {True}), [], ["wacore"])
    assert campaign(ansible, "end", [one], "--tags", "restart").rc == 0
    assert (collects(one), one.starts(), on_record(one)) == (OFF, ["wacore"], [["campaign"]])


@pytest.mark.parametrize("which", ["begin", "end"])
@pytest.mark.parametrize("path", ["in-process", MODULE])
def test_check_mode_tells_the_truth(
    ansible: AnsibleCommands, new_cluster: NewDeployment, which: str, path: str
) -> None:
    pair = new_cluster("pair", PAIR)
    connect_all(pair)
    if which == "end":
        assert campaign(ansible, "begin", [pair]).rc == 0
        connect_all(pair)
    pair.forget()
    before = [file.read_bytes() for file in pair.leftovers()]
    check = campaign(ansible, which, [pair], "--check", "--diff", variables=PATHS[path])
    assert check.rc == 0, check.output
    assert (pair.writes(), pair.starts(), [file.read_bytes() for file in pair.leftovers()]) == ([], [], before)
    run = campaign(ansible, which, [pair], "--diff", variables=PATHS[path])
    assert run.rc == 0, run.output
    assert pair.writes() == [PATCH]
    (predicted,) = [line for line in check.output.splitlines() if "would restart" in line]
    (done,) = [line for line in run.output.splitlines() if "restarted:" in line]
    assert predicted.partition("would restart: ")[2] == done.partition("restarted: ")[2].partition(";")[0]
    assert "would change: " + MESSAGES in predicted
    diffs = [[r["diff"] for r in one.results(items=True) + one.results() if r.get("diff")] for one in (check, run)]
    assert diffs[0] == diffs[1] != []


@pytest.mark.parametrize("path", ["in-process", MODULE])
def test_cluster_of_two_hosts(ansible: AnsibleCommands, new_cluster: NewDeployment, path: str) -> None:
    pair = new_cluster("pair", PAIR)
    connect_all(pair)
    pair.forget()
    began = campaign(ansible, "begin", [pair], variables=PATHS[path])
    assert began.rc == 0, began.output
    assert (pair.writes(), sorted(pair.starts()), most_down(pair)) == ([PATCH], NODES, 1)
    assert (collects(pair), on_record(pair)) == (OFF, [["campaign"], ["campaign"]])
    pair.forget()
    # Whichever host acts knows of it.
    for host in ("pair-b", "pair-a"):
        run = apply(ansible, [pair], DECLARED, "--limit", host, variables=PATHS[path])
        assert (run.rc, changed(run), pair.writes(), pair.starts()) == (0, 0, [], []), run.output
        assert f"{MESSAGES} is left alone: campaign campaign is on record" in words(run)
    connect_all(pair)
    ended = campaign(ansible, "end", [pair], "--limit", "pair-b", variables=PATHS[path])
    assert ended.rc == 0, ended.output
    # The other host's restart is pending, its campaign is over.
    assert (pair.writes(), pair.starts(), pair.pending()) == ([PATCH], ["wacore3"], ["wacore1", "wacore2"])
    assert on_record(pair) == [None, None]
    rest = campaign(ansible, "end", [pair], variables=PATHS[path])
    assert (rest.rc, collects(pair), pair.leftovers()) == (0, ON, []), rest.output


def test_host_that_lost_its_record_learns_of_the_campaign_again(
    ansible: AnsibleCommands, new_cluster: NewDeployment
) -> None:
    pair = new_cluster("pair", PAIR)
    assert campaign(ansible, "begin", [pair]).rc == 0
    (first, _second) = sorted(pair.leftovers())
    first.unlink()
    pair.forget()
    # Of both hosts the one with a record may be the one that acts, and it needs nobody else to leave the setting alone.
    run = apply(ansible, [pair], DECLARED, "--limit", "pair-a")
    assert (run.rc, pair.writes(), pair.starts(), collects(pair)) == (0, [], [], OFF), run.output
    assert f"{MESSAGES} is left alone: campaign campaign is on record" in words(run)
    assert on_record(pair) == [["campaign"], ["campaign"]]


def test_host_that_cannot_be_asked_refuses_the_campaign(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    pair = new_cluster("pair", PAIR)
    blocked = pair.state_dir("pair-b")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the directory should be")
    pair.forget()
    for arguments in ([], ["--limit", "pair-a"]):
        run = campaign(ansible, "begin", [pair], *arguments)
        assert run.rc != 0
        assert str(blocked) in words(run)
    assert (pair.writes(), pair.starts(), on_record(pair)[0]) == ([], [], None)


def test_record_that_cannot_be_read(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    assert campaign(ansible, "begin", [one]).rc == 0
    (record,) = one.leftovers()
    record.write_text("{")
    one.forget()
    for which, arguments in (("begin", ["--check"]), ("begin", []), ("end", [])):
        run = campaign(ansible, which, [one], *arguments)
        assert run.rc != 0, run.output
        assert "what is remembered of campaigns is not known" in words(run)
    assert (one.writes(), one.starts(), record.read_text()) == ([], [], "{")
    # The role says what it makes of it: everything is pending, and the declaration counts again.
    run = apply(ansible, [one], DECLARED)
    assert (run.rc, collects(one), one.leftovers()) == (0, ON, []), run.output
    assert "the record of pending restarts cannot be read" in words(run)


# --- others during a campaign ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", mostly("replaced", rest=["present"]))
@pytest.mark.parametrize("path", ["in-process", MODULE])
def test_apply_leaves_the_key_alone_and_says_so(
    ansible: AnsibleCommands, new_single: NewDeployment, path: str, state: str
) -> None:
    one = new_single()
    variables = {**PATHS[path], "wa_settings_state": state}
    assert campaign(ansible, "begin", [one], *named("spring"), variables=variables).rc == 0
    one.forget()
    for arguments in (["--check", "--diff"], []):
        run = apply(ansible, [one], DECLARED, *arguments, variables=variables, play={"post_tasks": [SHOW]})
        assert (run.rc, changed(run)) == (0, 0), run.output
        assert f"{MESSAGES} is left alone: campaign spring is on record" in words(run)
        assert (required(run, "one"), summary(run, "one")["changed_settings"]) == (False, [])
    assert (one.writes(), one.starts(), collects(one)) == ([], [], OFF)
    # Everything else is applied as ever.
    run = apply(ansible, [one], {**DECLARED, "log_level": "warning"}, variables=variables)
    assert (run.rc, one.starts(), one.running("log_level")) == (0, ["wacore"], {"warning"}), run.output
    assert (collects(one), on_record(one)) == (OFF, [["spring"]])
    assert campaign(ansible, "end", [one], *named("spring"), variables=variables).rc == 0
    one.forget()
    run = apply(ansible, [one], {**DECLARED, "log_level": "warning"}, variables=variables)
    assert (run.rc, changed(run), collects(one)) == (0, 0, ON), run.output


def test_what_was_declared_meanwhile_is_for_the_first_run_after_the_end(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    one = new_single()
    off = {"garbagecollector_enable": {"messages": False}}
    assert campaign(ansible, "begin", [one]).rc == 0
    assert changed(apply(ansible, [one], off)) == 0
    assert campaign(ansible, "end", [one]).rc == 0
    assert collects(one) == ON
    assert apply(ansible, [one], off).rc == 0
    assert collects(one) == OFF


@pytest.mark.parametrize("playbook", ["reset", "absent"])
def test_reset_is_refused_during_a_campaign(ansible: AnsibleCommands, new_single: NewDeployment, playbook: str) -> None:
    one = new_single()
    assert campaign(ansible, "begin", [one], *named("spring")).rc == 0
    one.forget()
    if playbook == "reset":
        inventory = ansible.inventory(one.inventory(), {"ansible_python_interpreter": sys.executable})
        run = ansible.run(["ansible-playbook", "-i", str(inventory), "wabiz.onprem.reset", "-e", "target=one"])
    else:
        run = apply(ansible, [one], {}, "--check", variables={"wa_settings_state": "absent"})
    assert run.rc != 0, run.output
    assert "campaign spring is on record" in words(run)
    assert (one.writes(), one.starts(), collects(one), on_record(one)) == ([], [], OFF, [["spring"]])


def test_drift_does_not_show_the_key(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    one = new_single()
    assert campaign(ansible, "begin", [one]).rc == 0
    run = run_drift(ansible, [one], {**DECLARED, "log_level": "warning"})
    assert run.rc == 0, run.output
    (client,) = clients_of(ansible).values()
    assert [difference["setting"] for difference in client["differences"]] == ["log_level"]
    assert client["settings"][MESSAGES] is False
    assert f"{MESSAGES} is left alone: campaign campaign is on record" in words(run)


def test_campaign_in_one_play_is_in_force_between_begin_and_end(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    one = new_single()
    one.forget()
    nodes = f"{one.client.api_url}/_emulator/nodes"
    tasks: list[dict[str, Any]] = [
        {"name": "Begin", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "campaign_begin"}},
        {"name": "Send", "ansible.builtin.uri": {"url": nodes, "return_content": True, "ca_path": one.client.ca_path}},
        {"name": "End", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "campaign_end"}},
    ]
    run = apply(ansible, [one], {}, play={"roles": [], "tasks": tasks})
    assert run.rc == 0, run.output
    (node,) = run.result("Send", "one")["json"]["nodes"]
    assert node["running"][MESSAGES] is False
    assert (collects(one), one.starts(), one.leftovers()) == (ON, ["wacore", "wacore"], [])


# --- the collection at the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["in-process", MODULE])
def test_collects_once_at_the_end_after_the_restart(
    ansible: AnsibleCommands, new_single: NewDeployment, path: str
) -> None:
    one = new_single()
    variables = {**PATHS[path], "wa_campaign_collect": True}
    assert campaign(ansible, "begin", [one]).rc == 0
    one.forget()
    check = campaign(ansible, "end", [one], "--check", variables=variables)
    assert (check.rc, COLLECT in one.client.verbs()) == (0, False), check.output
    ended = campaign(ansible, "end", [one], variables=variables)
    assert ended.rc == 0, ended.output
    (collected,) = [r for r in one.client.control.requests() if f"{r['method']} {r['path']}" == COLLECT]
    (started,) = [event for event in one.client.control.node_events() if event["event"] == "start"]
    assert collected["time"] > started["time"]


def test_collection_that_is_not_started_fails_and_the_campaign_is_over(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    one = new_single()
    assert campaign(ansible, "begin", [one]).rc == 0
    one.client.control.fault("error", method="PUT", code=1014, times=None)
    ended = campaign(ansible, "end", [one], variables={"wa_campaign_collect": True, "wa_settings_retries": 0})
    assert ended.rc != 0
    assert "1014" in words(ended)
    assert (collects(one), one.leftovers()) == (ON, [])


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"wa_campaign_name": "a\nb"}, "wa_campaign_name: "), ({"wa_campaign_collect": "perhaps"}, "wa_campaign_collect")],
)
def test_what_cannot_be_meant_is_refused(
    ansible: AnsibleCommands, new_single: NewDeployment, variables: dict[str, Any], said: str
) -> None:
    one = new_single()
    one.forget()
    run = campaign(ansible, "end", [one], variables=variables)
    assert run.rc != 0, run.output
    message = run.results("one")[-1]["msg"]
    assert said in message
    assert "\n" not in message
    assert one.client.verbs() == []


# --- killed ------------------------------------------------------------------------------------------------------


# Ends the run before its n-th step: a request to the API, or a command on a host.
KILL_BEFORE_A_STEP = """
import http.client, os, signal, subprocess, sys

MAIN = os.getpid()

def counted(real):
    def call(self, *words, **more):
        # Programs that a step starts find this file, too.
        if sys.argv[0].endswith("ansible-playbook"):
            with open(os.environ["STEPS"], "a") as steps:
                steps.write(".")
            if os.stat(os.environ["STEPS"]).st_size == int(os.environ["KILL_AT"]):
                os.kill(MAIN, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *words, **more)
    return call

http.client.HTTPConnection.putrequest = counted(http.client.HTTPConnection.putrequest)
subprocess.Popen.__init__ = counted(subprocess.Popen.__init__)
"""


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("which", ["begin", "end"])
def test_killed_before_each_step_and_repeated(
    ansible: AnsibleCommands, new_single: NewDeployment, which: str, stride: int
) -> None:
    client = new_single()
    # Whether messages are collected, and the campaigns on record.
    states = {"begin": (OFF, [["campaign"]]), "end": (ON, [None])}
    other = "end" if which == "begin" else "begin"
    killing = str(ansible.write("killing/sitecustomize.py", KILL_BEFORE_A_STEP).parent)
    if which == "end":
        assert campaign(ansible, other, [client]).rc == 0
    steps = 0
    for step in range(1 + SEED % stride, 1000, stride):
        steps_taken = ansible.inputs / f"steps-{step}"
        environment = {"PYTHONPATH": killing, "STEPS": str(steps_taken), "KILL_AT": str(step)}
        killed = campaign(ansible, which, [client], environment=environment)
        if killed.rc == 0:
            steps = steps_taken.stat().st_size
            break
        label = f"killed before step {step}"
        assert killed.rc == -signal.SIGKILL, f"{label}\n{killed.output}"
        # Whenever it is off somebody remembers why.
        assert collects(client)[0] is True or any(on_record(client)), label
        again = campaign(ansible, which, [client])
        assert again.rc == 0, f"{label}\n{again.output}"
        assert (collects(client), on_record(client), client.pending()) == (*states[which], []), label
        assert campaign(ansible, other, [client]).rc == 0, label
        assert (collects(client), on_record(client), client.pending()) == (*states[other], []), label
    # It has not ended early: at least the settings are read and written, and the record before and after.
    assert steps > 8


@pytest.mark.thorough
@pytest.mark.parametrize("shape", ["single", "pair"])
def test_killed_at_any_moment_and_repeated(
    new_single: NewDeployment, new_cluster: NewDeployment, tmp_path_factory: pytest.TempPathFactory, shape: str
) -> None:
    place = tmp_path_factory.mktemp("k")
    dice = random.Random(SEED)  # noqa: S311
    client = new_single() if shape == "single" else new_cluster("pair", PAIR)
    restart_slowly(client, 0.4)
    wanted = {"begin": OFF, "end": ON}
    whole = {}
    for which in wanted:
        began = time.monotonic()
        assert campaign(AnsibleCommands(place / which), which, [client]).rc == 0
        whole[which] = time.monotonic() - began
    for number in range(ROUNDS):
        for which, state in wanted.items():
            moment = dice.uniform(0.2, 1) * whole[which]
            label = f"seed {SEED}, round {number}: {which} killed after {moment:.2f} of {whole[which]:.2f} s"
            running = start_campaign(AnsibleCommands(place / f"{number}{which}k"), which, [client])
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.communicate(timeout=moment)
            if running.process.poll() is None:
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.communicate()
            # Whenever it is off somebody remembers why.
            assert collects(client)[0] is True or any(on_record(client)), label
            patience = {"wa_settings_health_timeout": 60}
            again = campaign(AnsibleCommands(place / f"{number}{which}r"), which, [client], variables=patience)
            assert again.rc == 0, f"{label}\n{again.output}"
            names = ["campaign"] if which == "begin" else None
            assert (collects(client), on_record(client)) == (state, [names for _host in client.hosts]), label
            assert client.pending() == [], label


def _by_name(ansible: AnsibleCommands, hosts: dict[str, Any], playbook: str, *arguments: str) -> CommandRun:
    inventory = ansible.inventory(hosts, {"ansible_python_interpreter": sys.executable})
    return ansible.run(["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.{playbook}", *arguments])


@pytest.mark.parametrize("playbook", mostly("reset", "drift", rest=["campaign_begin", "campaign_end", "export"]))
def test_target_that_matches_no_host_is_refused(
    ansible: AnsibleCommands, new_single: NewDeployment, playbook: str
) -> None:
    """Whoever goes on if it succeeds would go on with nothing done."""
    one = new_single()
    one.forget()
    run = _by_name(ansible, one.inventory(), playbook, "-e", "target=singels")
    assert run.rc != 0, run.output
    assert "no host matches singels" in words(run)
    # Also where --limit leaves localhost out.
    run = _by_name(ansible, {**one.inventory(), "two": {}}, playbook, "--limit", "one", "-e", "target=two")
    assert run.rc != 0, run.output
    assert "no host matches two within --limit one" in words(run)
    assert one.client.verbs() == []


@pytest.mark.parametrize("playbook", mostly("reset", rest=["campaign_begin"]))
def test_no_target_is_refused_with_limit_and_tags_and_if_it_is_empty(
    ansible: AnsibleCommands, new_single: NewDeployment, playbook: str
) -> None:
    one = new_single()
    one.forget()
    for arguments in ([], ["-e", "target="], ["--limit", "one", "--tags", "settings"]):
        run = _by_name(ansible, one.inventory(), playbook, *arguments)
        assert run.rc != 0, run.output
        assert "target: say which hosts" in words(run)
    assert one.client.verbs() == []


@pytest.mark.parametrize("playbook", ["drift", "export"])
def test_empty_target_is_refused_in_words(ansible: AnsibleCommands, new_single: NewDeployment, playbook: str) -> None:
    for target in ("", " "):
        run = _by_name(ansible, new_single().inventory(), playbook, "-e", json.dumps({"target": target}))
        assert run.rc != 0, run.output
        assert "target: it is empty" in words(run)


@pytest.mark.parametrize("playbook", mostly("apply", "export", rest=["campaign_begin", "drift", "reset"]))
def test_target_may_be_a_list_and_may_be_omitted(
    ansible: AnsibleCommands, new_single: NewDeployment, playbook: str
) -> None:
    """As `hosts` of a play, and as an argument of a task; a wrapper passes on what it was given."""
    one, two = new_single("one"), new_single("two")
    hosts = {**one.inventory(), **two.inventory()}
    declared = {"ansible_python_interpreter": sys.executable, "wa_settings_values": {"log_level": "error"}}
    wrapper = ansible.inputs / "wrapper.yml"
    play: dict[str, Any] = {"ansible.builtin.import_playbook": f"wabiz.onprem.{playbook}"}
    by_themselves = playbook not in ("campaign_begin", "reset")
    asked_with = ((["one", "nobody"], [True, False]), ("{{ mine | default(omit) }}", [by_themselves] * 2))
    for target, asked in asked_with:
        for client in (one, two):
            client.forget()
        wrapper.write_text(json.dumps([play | {"vars": {"target": target}}]))
        run = ansible.run(["ansible-playbook", "-i", str(ansible.inventory(hosts, declared)), str(wrapper), "--check"])
        assert any(asked) or "target: say which hosts" in words(run)
        assert [bool(client.client.verbs()) for client in (one, two)] == asked, run.output


@pytest.mark.parametrize("playbook", mostly("export", rest=["drift"]))
def test_tags_that_apply_knows_leave_no_task_out(
    ansible: AnsibleCommands, new_single: NewDeployment, playbook: str
) -> None:
    one = new_single()
    inventory = ansible.inventory(one.inventory(), {"ansible_python_interpreter": sys.executable})
    command = ["ansible-playbook", "-i", str(inventory), f"wabiz.onprem.{playbook}", "--tags", "settings"]
    run = ansible.run(
        [*command, "-e", json.dumps({"wa_settings_values": {"log_level": "error"}, "wa_drift_fail": True})]
    )
    assert (ansible.inputs / f"wa-{playbook}").is_dir(), run.output
    assert (run.rc == 0) is (playbook == "export")


def test_export_during_a_campaign_says_what_was_there_before(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    fleet = [new_single("one"), new_single("two")]
    fleet[1].client.control.store({"garbagecollector_enable": {"messages": False}})
    assert campaign(ansible, "begin", fleet).rc == 0
    inventory = ansible.inventory(
        {host: facts for one in fleet for host, facts in one.inventory().items()},
        {"ansible_python_interpreter": sys.executable},
    )
    run = ansible.run(["ansible-playbook", "-i", str(inventory), "wabiz.onprem.export", "-e", "wa_export_all=true"])
    assert run.rc == 0, run.output
    assert f"one: campaign campaign is on record, so {MESSAGES} is exported as it was before" in words(run)
    found = {}
    for host in ("one", "two"):
        text = (ansible.inputs / "wa-export" / "host_vars" / host / "wa_settings.yml").read_text(encoding="utf-8")
        found[host] = yaml.safe_load(text)["wa_settings_host_values"]["garbagecollector_enable"]["messages"]
    assert found == {"one": True, "two": False}
