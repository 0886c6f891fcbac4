# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend `kubernetes`, through kubernetes.core and the real Python client, against the stand-in of an API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.commands import AnsibleCommands
from support.deployments import SETTINGS
from support.kubernetes.kubelet import Kubelet
from support.kubernetes.releases import (
    CANARY,
    RECREATE,
    SURGE,
    NewRelease,
    Release,
    apply_on_kubernetes,
    manifest,
)

VALUES: dict[str, Any] = {"log_level": "warning"}
NEVER = {"wa_settings_restart": "never"}
WEB = manifest("webapp", 2, SURGE, image="docker.whatsapp.biz/web:v2.57.2")


def _cluster(new_release: NewRelease, name: str, **extra: Any) -> Release:
    """Meta's template for Azure and GCP, with readiness probes."""
    nodes = {"strategy": SURGE, "clustered": True, "readiness": True}
    return new_release(name, manifest("coreapp", 3, **nodes), manifest("masterapp", 2, **nodes), WEB, **extra)


def test_single_client_restarts_once_and_never_runs_twice(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("single", manifest("coreapp", 1, RECREATE), WEB)
    run = apply_on_kubernetes(ansible, [release], VALUES, "-vvv", "--diff", namespace="single")
    assert run.rc == 0, run.output
    assert (release.restarted(), release.duplicates()) == ({"coreapp": 1}, 0)
    assert (release.running("log_level"), release.records()) == ({"warning"}, {})
    assert CANARY not in run.output
    assert CANARY not in json.dumps(run.records)

    release.forget()
    again = apply_on_kubernetes(ansible, [release], VALUES, namespace="single")
    assert again.rc == 0, again.output
    assert {stats["changed"] for stats in again.stats().values()} == {0}
    assert (release.restarted(), release.writes()) == ({}, [])


def test_single_client_with_surge_is_refused_before_anything_is_written(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("surging", manifest("coreapp"))
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="surging")
    assert run.rc != 0
    assert "starts a new Coreapp before it stops the old one" in " ".join(run.output.split())
    assert (release.writes(), release.restarted(), release.records()) == ([], {}, {})


def test_cluster_restarts_its_coreapps_and_nothing_else(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    neighbour = _cluster(new_release, "neighbour")
    release = _cluster(new_release, "azure")
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="azure")
    assert run.rc == 0, run.output
    assert release.restarted() == {"coreapp": 3}
    assert (release.running("log_level"), release.records(), neighbour.restarted()) == ({"warning"}, {}, {})

    release.forget()
    media = {**VALUES, "garbagecollector_enable": {"media": True}}
    masters_too = apply_on_kubernetes(ansible, [release], media, namespace="azure")
    assert masters_too.rc == 0, masters_too.output
    assert release.restarted() == {"coreapp": 3, "masterapp": 2}
    assert [name.rsplit("-", 2)[0] for name in release.starts()] == ["coreapp"] * 3 + ["masterapp"] * 2


def test_clients_in_several_namespaces_are_not_mixed_up(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    one = new_release("one", manifest("coreapp", 1, RECREATE))
    other = new_release("other", manifest("coreapp", 1, RECREATE))
    unclear = apply_on_kubernetes(ansible, [one, other], VALUES)
    assert unclear.rc != 0
    assert "more than one namespace" in unclear.output
    assert (one.writes(), other.writes()) == ([], [])

    for release in (one, other):
        release.extra["wa_settings_restart_containers"] = [f"{release.name}/coreapp"]
    clear = apply_on_kubernetes(ansible, [one, other], VALUES)
    assert clear.rc == 0, clear.output
    assert (one.restarted(), other.restarted()) == ({"coreapp": 1}, {"coreapp": 1})


def test_deployments_by_label(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("labelled", manifest("gateway", 1, RECREATE, image="example.com/renamed:1"))
    release.extra["wa_settings_restart_containers"] = ["type=gateway"]
    run = apply_on_kubernetes(ansible, [release], VALUES, namespace="labelled")
    assert run.rc == 0, run.output
    assert release.restarted() == {"gateway": 1}


def test_debt_is_an_annotation_until_it_is_paid(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = _cluster(new_release, "owing")
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
    release = _cluster(new_release, "unreadable")
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
    assert "cannot be asked for its containers" in run.output or "kubernetes: " in run.output
    assert "Unauthorized" in run.output
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
    release = _cluster(new_release, "itself")
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
        "1 0 Wait for the roll-out",
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
