# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pending restarts on Kubernetes: written down before the settings are, and kept until they are made."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import AnsibleCommands
from support.deployments import SETTINGS
from support.drifts import UNREACHABLE, clients_of, run_drift
from support.kubernetes.manifests import meta, meta_single
from support.kubernetes.releases import RIGHTS, NewRelease, access, apply_on_kubernetes

pytestmark = pytest.mark.thorough

VALUES: dict[str, Any] = {"log_level": "warning"}
NEVER = {"wa_settings_restart": "never"}
READ_ONLY = [{**rule, "verbs": ["get", "list"]} for rule in RIGHTS]


def test_restart_stays_pending_until_it_is_made(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("pending", meta(readiness=True))
    run = apply_on_kubernetes(ansible, [release], VALUES, variables=NEVER)
    assert run.rc == 0, run.output
    assert (release.restarted(), release.writes()) == ({}, [f"PATCH {SETTINGS}"])
    assert "warning" not in str(release.deployments())

    before = release.deployments()
    checked = apply_on_kubernetes(ansible, [release], VALUES, "--check")
    assert checked.rc == 0, checked.output
    assert "pending/coreapp" in checked.output
    assert release.restarted() == {}
    assert release.deployments() == before

    made = apply_on_kubernetes(ansible, [release], VALUES)
    assert made.rc == 0, made.output
    assert (release.restarted(), release.running("log_level")) == ({"coreapp": 3}, {"warning"})


@pytest.mark.parametrize("connection", [{}, UNREACHABLE], ids=["local", "elsewhere"])
def test_drift_tells_what_is_pending_wherever_the_inventory_says_that_the_host_is(
    ansible: AnsibleCommands, new_release: NewRelease, connection: dict[str, Any]
) -> None:
    name = f"drift-{len(connection)}"
    release = new_release(name, meta_single(), wa_settings_restart_containers=[f"{name}/coreapp"])
    assert apply_on_kubernetes(ansible, [release], VALUES, namespace=None, variables=NEVER).rc == 0
    release.forget()
    run = run_drift(ansible, [release], VALUES, hosts={name: connection}, environment=access(release.cluster))
    assert run.rc == 0, run.output
    client = clients_of(ansible)[name]
    assert (client["state"], client["error"]) == ("pending", None)
    assert client["pending_restart"]["settings"] == ["log_level"]
    assert all(container.startswith(f"{name}/coreapp/") for container in client["pending_restart"]["containers"])
    assert (release.writes(), release.restarted()) == ([], {})


def test_restart_by_hand_counts(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("byhand", meta_single())
    assert apply_on_kubernetes(ansible, [release], VALUES, variables=NEVER).rc == 0
    release.restart("coreapp")
    release.forget()
    run = apply_on_kubernetes(ansible, [release], VALUES)
    assert run.rc == 0, run.output
    assert (release.restarted(), release.running("log_level")) == ({}, {"warning"})


def test_restart_that_cannot_be_written_down_stops_the_run_before_the_settings(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("viewed", meta_single())
    release.grant(READ_ONLY)
    run = apply_on_kubernetes(ansible, [release], VALUES, token=release.cluster.operator)
    assert run.rc != 0
    assert "viewed/coreapp" in run.output
    assert "cannot patch resource" in run.output
    assert (release.writes(), release.restarted()) == ([], {})


def test_api_that_refuses_to_answer_stops_the_run(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("refused", meta_single())
    run = apply_on_kubernetes(ansible, [release], VALUES, token="nobody")
    assert run.rc != 0
    assert "Unauthorized" in run.output, run.output
    assert (release.writes(), release.restarted()) == ([], {})


def test_pod_that_does_not_start_leaves_the_restart_to_the_next_run(
    ansible: AnsibleCommands, new_release: NewRelease
) -> None:
    release = new_release("broken", meta_single(), wa_settings_health_timeout=4)
    release.hosting.starts = False
    run = apply_on_kubernetes(ansible, [release], VALUES)
    assert run.rc != 0
    assert "broken/coreapp" in run.output

    release.hosting.starts = True
    repaired = apply_on_kubernetes(ansible, [release], VALUES)
    assert repaired.rc == 0, repaired.output
    assert release.running("log_level") == {"warning"}


def test_restart_by_itself(ansible: AnsibleCommands, new_release: NewRelease) -> None:
    release = new_release("itself", meta(readiness=True))
    restart = {"import_role": {"name": "wabiz.onprem.wa_settings", "tasks_from": "restart"}}
    run = apply_on_kubernetes(ansible, [release], {}, play={"roles": [], "tasks": [restart]})
    assert run.rc == 0, run.output
    assert (release.restarted(), release.writes()) == ({"coreapp": 3}, [])


@pytest.mark.parametrize(("task", "seconds"), [(3, 0), (5, 0.5), (8, 0), (11, 1.5)])
def test_nothing_is_forgotten_wherever_the_play_is_killed(
    ansible: AnsibleCommands, new_release: NewRelease, task: int, seconds: float
) -> None:
    release = new_release(f"cut-{task}", meta_single())
    first = apply_on_kubernetes(ansible, [release], VALUES, environment={"WABIZ_CUT": f"{task} {seconds} "})
    assert first.rc in (0, -9), first.output
    second = apply_on_kubernetes(ansible, [release], VALUES)
    assert second.rc == 0, second.output
    assert release.running("log_level") == {"warning"}
    assert release.duplicates() == 0
    assert 1 <= release.restarted()["coreapp"] <= 2
