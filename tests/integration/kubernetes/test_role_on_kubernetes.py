# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend `kubernetes`, through kubernetes.core and the real Python client, against the stand-in for Kubernetes."""

from __future__ import annotations

import json
from typing import Any

from support.commands import AnsibleCommands
from support.kubernetes.releases import (
    CANARY,
    RECREATE,
    WEBAPP,
    NewRelease,
    apply_on_kubernetes,
    manifest,
    new_cluster_release,
)

VALUES: dict[str, Any] = {"log_level": "warning"}


def test_single_client_restarts_once_and_never_runs_twice(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("single", manifest("coreapp", 1, RECREATE), WEBAPP)
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
    assert "skipped_reason" not in again.output
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
    neighbour = new_cluster_release(new_release, "neighbour")
    release = new_cluster_release(new_release, "azure")
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
