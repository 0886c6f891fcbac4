# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend `kubernetes`, through kubernetes.core and the real Python client, against a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.commands import AnsibleCommands
from support.kubernetes.manifests import CANARY, NO_STRATEGY, helm, meta, meta_single, old_meta
from support.kubernetes.releases import NewRelease, apply_on_kubernetes

pytestmark = pytest.mark.thorough

VALUES: dict[str, Any] = {"log_level": "warning"}


def test_single_client_restarts_once_and_never_runs_twice(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("single", meta_single())
    run = apply_on_kubernetes(ansible, [release], VALUES, "-vvv", "--diff")
    assert run.rc == 0, run.output
    assert (release.restarted(), release.duplicates()) == ({"coreapp": 1}, 0)
    assert release.running("log_level") == {"warning"}
    assert CANARY not in run.output
    assert CANARY not in json.dumps(run.records)

    release.forget()
    again = apply_on_kubernetes(ansible, [release], VALUES)
    assert again.rc == 0, again.output
    assert {stats["changed"] for stats in again.stats().values()} == {0}
    assert "skipped_reason" not in again.output
    assert (release.restarted(), release.writes()) == ({}, [])


def test_single_client_with_surge_is_refused_before_anything_is_written(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("surging", meta_single(NO_STRATEGY))
    run = apply_on_kubernetes(ansible, [release], VALUES)
    assert run.rc != 0
    assert "Recreate" in run.output
    assert (release.writes(), release.restarted()) == ([], {})


def test_cluster_restarts_its_coreapps_and_nothing_else(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    neighbour = new_release("neighbour", meta(readiness=True))
    release = new_release("azure", meta(readiness=True))
    run = apply_on_kubernetes(ansible, [release], VALUES)
    assert run.rc == 0, run.output
    assert release.restarted() == {"coreapp": 3}
    assert (release.running("log_level"), neighbour.restarted()) == ({"warning"}, {})

    release.forget()
    media = {**VALUES, "garbagecollector_enable": {"media": True}}
    masters_too = apply_on_kubernetes(ansible, [release], media)
    assert masters_too.rc == 0, masters_too.output
    assert release.restarted() == {"coreapp": 3, "masterapp": 2}
    assert [name.rsplit("-", 2)[0] for name in release.starts()] == ["coreapp"] * 3 + ["masterapp"] * 2


def test_names_and_labels_of_other_templates_are_found(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    old = new_release("older", old_meta(readiness=True))
    chart = new_release("chart", helm("chart", 2, 2, clustered=True, readiness=True))
    media = {"garbagecollector_enable": {"media": True}}
    run = apply_on_kubernetes(ansible, [old, chart], media)
    assert run.rc == 0, run.output
    assert old.restarted() == {"whatsapp-coreapp-deployment": 2, "whatsapp-master-deployment": 2}
    assert chart.restarted() == {"chart-whatsapp-coreapp": 2, "chart-whatsapp-master": 2}


def test_clients_in_several_namespaces_are_not_mixed_up(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    one, other = new_release("one", meta_single()), new_release("other", meta_single())
    unclear = apply_on_kubernetes(ansible, [one, other], VALUES, namespace=None)
    assert unclear.rc != 0
    assert "more than one namespace" in unclear.output
    assert (one.writes(), other.writes()) == ([], [])

    for release in (one, other):
        release.extra["wa_settings_restart_containers"] = [f"{release.name}/coreapp"]
    clear = apply_on_kubernetes(ansible, [one, other], VALUES, namespace=None)
    assert clear.rc == 0, clear.output
    assert (one.restarted(), other.restarted()) == ({"coreapp": 1}, {"coreapp": 1})
