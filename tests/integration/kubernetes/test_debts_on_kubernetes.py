# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts that are owed on Kubernetes: annotated before the settings are written, kept until paid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.commands import AnsibleCommands
from support.deployments import SETTINGS
from support.kubernetes.kubelet import Kubelet
from support.kubernetes.releases import RECREATE, NewRelease, apply_on_kubernetes, manifest, new_cluster_release

VALUES: dict[str, Any] = {"log_level": "warning"}
NEVER = {"wa_settings_restart": "never"}


def test_debt_is_an_annotation_until_it_is_paid(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_cluster_release(new_release, "owing")
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="owing", variables=NEVER)
    assert run.rc == 0, run.output
    assert "Owed and left, because wa_settings_restart is never: owing/coreapp on owing" in run.output
    (record,) = release.records().values()
    assert (record["settings"], [owed["name"] for owed in record["containers"]]) == (["log_level"], ["owing/coreapp"])
    assert record["written"] is not None
    assert "warning" not in json.dumps(record)
    assert (release.restarted(), release.writes()) == ({}, [f"PATCH {SETTINGS}"])

    checked = apply_on_kubernetes(ansible, [release], VALUES, "--check", namespace="owing")
    assert checked.rc == 0, checked.output
    assert "Would restart: owing/coreapp on owing" in checked.output
    assert (release.records(), release.restarted()) == ({"coreapp": record}, {})

    paid = apply_on_kubernetes(ansible, [release], VALUES, namespace="owing")
    assert paid.rc == 0, paid.output
    assert (release.records(), release.restarted()) == ({}, {"coreapp": 3})


def test_restart_by_hand_pays_the_debt(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("byhand", manifest("coreapp", 1, RECREATE))
    assert apply_on_kubernetes(ansible, [release], VALUES, namespace="byhand", variables=NEVER).rc == 0
    release.restart("coreapp")
    release.forget()
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="byhand")
    assert run.rc == 0, run.output
    assert (release.records(), release.restarted(), release.running("log_level")) == ({}, {}, {"warning"})


def test_unreadable_annotation_means_that_everything_is_owed(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_cluster_release(new_release, "unreadable")
    release.annotate("coreapp", "{")
    run = apply_on_kubernetes(ansible, [release], {}, namespace="unreadable")
    assert run.rc == 0, run.output
    assert "cannot be read, so everything is owed" in " ".join(run.output.split())
    assert (release.restarted(), release.records()) == ({"coreapp": 3, "masterapp": 2}, {})


def test_record_that_cannot_be_written_stops_the_run_before_the_settings(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("viewed", manifest("coreapp", 1, RECREATE))
    assert release.cluster is not None
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="viewed", token=release.cluster.viewer)
    assert run.rc != 0
    assert "The record of owed restarts cannot be written on Deployment viewed/coreapp" in run.output
    assert "may only read" in run.output
    assert (release.writes(), release.restarted()) == ([], {})


def test_api_that_refuses_to_answer_stops_the_run(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("refused", manifest("coreapp", 1, RECREATE))
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="refused", token="nobody")
    assert run.rc != 0
    assert "Unauthorized" in run.output, run.output
    assert (release.writes(), release.restarted()) == ([], {})


def test_pod_that_does_not_start_leaves_the_debt_to_the_next_run(
    ansible: AnsibleCommands, new_release: NewRelease, kubelet: Kubelet
) -> None:
    release = new_release("broken", manifest("coreapp", 1, RECREATE), wa_settings_health_timeout=4)
    kubelet.broken.add("broken")
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="broken")
    assert run.rc != 0
    words = " ".join(run.output.split())
    assert "Coreapp 1 of 1, broken/coreapp on broken, could not be restarted" in words
    assert "Still owed, and paid by the next run: broken/coreapp on broken" in words
    assert list(release.records()) == ["coreapp"]

    kubelet.broken.clear()
    repaired = apply_on_kubernetes(ansible, [release], VALUES, namespace="broken")
    assert repaired.rc == 0, repaired.output
    assert (release.records(), release.running("log_level")) == ({}, {"warning"})


def test_restart_by_itself(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_cluster_release(new_release, "itself")
    restart = {"import_role": {"name": "wabiz.onprem.wa_settings", "tasks_from": "restart"}}
    play = {"roles": [], "tasks": [restart]}
    run = apply_on_kubernetes(ansible, [release], {}, namespace="itself", play=play)
    assert run.rc == 0, run.output
    assert (release.restarted(), release.writes(), release.records()) == ({"coreapp": 3}, [], {})


@pytest.mark.parametrize(
    "cut",
    [
        "1 0 Write the settings",
        "2 0 Annotate the Deployments",
        "1 0 Strike it out of the record",
    ],
)
def test_nothing_is_forgotten_wherever_the_play_is_killed(
    ansible: AnsibleCommands, new_release: NewRelease, cut: str
) -> None:
    name = "cut-" + cut.split(" ", 2)[2].lower().replace(" ", "-")
    release = new_release(name, manifest("coreapp", 1, RECREATE))
    first = apply_on_kubernetes(ansible, [release], VALUES, namespace=name, environment={"WABIZ_CUT": cut})
    assert first.rc == -9, first.output
    second = apply_on_kubernetes(ansible, [release], VALUES, namespace=name)
    assert second.rc == 0, second.output
    assert (release.records(), release.running("log_level")) == ({}, {"warning"})
    assert (release.restarted(), release.duplicates()) == ({"coreapp": 1}, 0)
