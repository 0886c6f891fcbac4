# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The media providers of a client as the role's variable says: these and no others, without a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from support.commands import AnsibleCommands, CommandRun, mostly
from support.deployments import SETTINGS, Deployment, NewDeployment, apply
from support.plays import ROLE, SHOW, changed, summary, tasks_done, words

PROVIDERS = f"{SETTINGS}/media/providers"
GET, POST, DELETE = f"GET {PROVIDERS}", f"POST {PROVIDERS}", f"DELETE {PROVIDERS}"
CDN = {"name": "cdn", "type": "www", "config": {"basic": {"username": "media", "password": "canary-old"}}}
GONE = {"name": "gone/b", "type": "www", "config": {"bearer": "canary-gone"}}
KEPT = {"name": "kept", "type": "www", "config": {"bearer": "canary-kept"}}
WANTED: list[dict[str, Any]] = [
    {"name": "cdn", "basic": {"username": "media", "password": "canary-new"}},
    {"name": "kept", "bearer": "canary-kept", "basic": "{{ undefined_name | default(omit) }}"},
    {"name": "new", "bearer": "canary-token"},
    {"name": "gone/b", "bearer": "canary-gone", "state": "absent"},
]
AFTER = {
    "cdn": {"basic": {"username": "media", "password": "canary-new"}},
    "kept": {"bearer": "canary-kept"},
    "new": {"bearer": "canary-token"},
}
CHANGED = ["media.providers.cdn", "media.providers.gone/b", "media.providers.new"]
RESTART_BOUND = {"log_level": "warning"}
SHOWING = {"roles": [ROLE], "post_tasks": [SHOW]}

# Ways to the API: in the controller process; by modules on the host itself; by modules on another host.
WAYS: dict[str, dict[str, Any]] = {
    "controller": {},
    "host": {"wa_settings_api_delegate": "{{ inventory_hostname }}", "wabiz_direct_execution": False},
    "delegate": {"wabiz_direct_execution": False},
}
# What all ways have in common is shown for each; what the role makes of it for one.
FIRST_WAYS = mostly("controller", "host", rest=["delegate"])
MOST_WAYS = mostly("controller", rest=["host", "delegate"])


def _with(deployment: Deployment, *providers: Mapping[str, Any]) -> Deployment:
    deployment.client.control.store_providers([dict(one) for one in providers])
    deployment.forget()
    return deployment


def _found(deployment: Deployment) -> dict[str, Any]:
    return {one["name"]: one["config"] for one in deployment.client.control.providers()}


def _run(
    ansible: AnsibleCommands,
    deployments: Sequence[Deployment],
    wanted: Sequence[Mapping[str, Any]] | None,
    *arguments: str,
    values: Mapping[str, Any] | None = None,
    **variables: Any,
) -> CommandRun:
    more = {"wa_settings_media_providers": wanted, **variables}
    run = apply(ansible, deployments, values or {}, *arguments, play=SHOWING, variables=more)
    assert "canary" not in run.output
    assert "canary" not in json.dumps(run.records)
    return run


def _writes(deployment: Deployment) -> list[str]:
    return [verb for verb in deployment.client.verbs() if not verb.startswith("GET") and PROVIDERS in verb]


@pytest.mark.parametrize("way", FIRST_WAYS)
def test_these_and_no_others(ansible: AnsibleCommands, new_single: NewDeployment, way: str) -> None:
    single = _with(new_single(**WAYS[way]), CDN, KEPT, GONE)
    predicted = _run(ansible, [single], WANTED, "--check", "--diff")
    assert predicted.rc == 0, predicted.output
    assert (_writes(single), changed(predicted)) == ([], 1)
    assert summary(predicted, "one")["changed_settings"] == CHANGED
    assert "(changed)" in predicted.stdout
    assert f"one: would change: {', '.join(CHANGED)}" in words(predicted)
    single.forget()
    first = _run(ansible, [single], WANTED, "-vvv", "--diff")
    assert first.rc == 0, first.output
    assert _found(single) == AFTER
    assert sorted(_writes(single)) == [f"{DELETE}/gone%2Fb", POST, POST]
    assert (summary(first, "one"), changed(first)) == (
        {"changed_settings": CHANGED, "restarted": [], "pending": []},
        1,
    )
    assert (single.starts(), single.writes(), single.leftovers()) == ([], [], [])
    single.forget()
    second = _run(ansible, [single], WANTED, "-vvv", "--diff")
    assert (second.rc, changed(second)) == (0, 0), second.output
    assert _writes(single) == []
    assert summary(second, "one")["changed_settings"] == []


def test_a_converged_client_is_one_task_and_two_requests(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = _with(new_single(), KEPT)
    inventory = ansible.inventory(
        single.inventory(),
        {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "wa_settings_media_providers": WANTED[1:2]},
    )
    run = ansible.run(["ansible-playbook", "-i", str(inventory), "wabiz.onprem.apply", "-e", "target=one"])
    assert (run.rc, changed(run)) == (0, 0), run.output
    assert single.client.verbs() == [f"GET {SETTINGS}", GET]
    assert tasks_done(run, "one") == 1


@pytest.mark.parametrize("way", MOST_WAYS)
def test_beside_settings_that_need_a_restart(ansible: AnsibleCommands, new_single: NewDeployment, way: str) -> None:
    single = _with(new_single(**WAYS[way]), GONE)
    predicted = _run(ansible, [single], WANTED[:1], "--check", "--diff", values=RESTART_BOUND)
    assert predicted.rc == 0, predicted.output
    assert (_writes(single), single.writes()) == ([], [])
    names = ["log_level", "media.providers.cdn", "media.providers.gone/b"]
    assert summary(predicted, "one")["changed_settings"] == names
    single.forget()
    run = _run(ansible, [single], WANTED[:1], "--diff", values=RESTART_BOUND)
    assert run.rc == 0, run.output
    assert (set(_found(single)), single.writes()) == ({"cdn"}, [f"PATCH {SETTINGS}"])
    assert single.starts() == ["wacore"]
    assert summary(run, "one")["changed_settings"] == names
    assert f"one: changed: {', '.join(names)}; restarted: wacore on one" in words(run)


def test_what_counts_as_a_declaration(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    """None at all may be wanted; what is not given, and what is reset, is left alone."""
    cases: dict[str, tuple[dict[str, Any], int]] = {
        "none": ({"wa_settings_media_providers": []}, 0),
        "open": ({"wa_settings_media_providers": None, "wa_settings_values": {"heartbeat_interval": 7}}, 2),
        "omitted": (
            {
                "wa_settings_media_providers": "{{ undefined_name | default(omit) }}",
                "wa_settings_values": {"heartbeat_interval": 7},
            },
            2,
        ),
        "reset": ({"wa_settings_media_providers": [], "wa_settings_state": "absent"}, 2),
        "tagged": ({"wa_settings_media_providers": [], "wa_settings_values": {"heartbeat_interval": 7}}, 2),
    }
    singles = {name: _with(new_single(name, **facts), CDN, KEPT) for name, (facts, _left) in cases.items()}
    tagged = [singles.pop("tagged")]
    for deployments, arguments in ((list(singles.values()), []), (tagged, ["--tags", "restart"])):
        run = apply(ansible, deployments, {}, *arguments, play=SHOWING)
        assert run.rc == 0, run.output
    for name, (_facts, left) in cases.items():
        single = {**singles, "tagged": tagged[0]}[name]
        assert len(_found(single)) == left, name
        assert (GET in single.client.verbs()) is (name == "none"), name


def test_a_cluster_gets_them_once(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = _with(new_cluster(), CDN)
    predicted = _run(ansible, [cluster], WANTED[:1], "--check")
    assert (predicted.rc, changed(predicted)) == (0, 1), predicted.output
    cluster.forget()
    run = _run(ansible, [cluster], WANTED[:1])
    assert (run.rc, changed(run)) == (0, 1), run.output
    assert _writes(cluster) == [POST]
    assert _found(cluster) == {"cdn": AFTER["cdn"]}


@pytest.mark.parametrize("way", MOST_WAYS)
def test_a_failure_tells_what_was_done(ansible: AnsibleCommands, new_single: NewDeployment, way: str) -> None:
    single = _with(new_single(wa_settings_retries=0, **WAYS[way]), GONE)
    details = "not canary-token"
    single.client.control.fault("error", method="POST", path=PROVIDERS, skip=1, status=400, code=1009, details=details)
    values = {"heartbeat_interval": 7}
    run = _run(ansible, [single], [WANTED[0], WANTED[2]], "-vvv", values=values)
    assert run.stats()["one"]["failures"] == 1, run.output
    assert "not ********" in run.output
    assert _found(single).keys() == {"gone/b", "cdn"}
    failed = [r["result"] for r in run.records if r["event"] in ("failed", "item_failed")]
    assert failed[0]["changed"] is True
    assert "media.providers.cdn" in failed[0]["changed_settings"]
    again = _run(ansible, [single], [WANTED[0], WANTED[2]], values=values)
    assert again.rc == 0, again.output
    assert _found(single).keys() == {"cdn", "new"}
    assert single.client.control.stored()["heartbeat_interval"] == 7
