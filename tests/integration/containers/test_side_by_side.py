# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several clients in one play: in each cluster one after the other, the clusters side by side."""

from __future__ import annotations

import pytest

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment, NewContainers, crash_loop
from support.deployments import apply

PATIENCE_SECONDS = 20


def _stops_and_starts(deployment: ContainerDeployment) -> list[tuple[str, float]]:
    events = deployment.client.control.node_events()
    return [(e["event"], e["time"]) for e in events if e["role"] == "coreapp" and e["event"] in ("stop", "start")]


# With emulated clients the role's tests show it each time.
@pytest.mark.thorough
def test_clusters_go_side_by_side_and_a_broken_one_keeps_nobody(
    ansible: AnsibleCommands,
    multiconnect: ContainerDeployment,
    spread: ContainerDeployment,
    single: ContainerDeployment,
    new_single: NewContainers,
) -> None:
    singles = [single, new_single("second"), new_single("third")]
    everyone = [multiconnect, spread, *singles]
    # One value that is new to all of them.
    values = {"webhooks": {"max_concurrent_requests": 6}}
    for deployment in everyone:
        deployment.client.control.store({"webhooks": {"max_concurrent_requests": 24}})
        deployment.forget()
    before = {deployment.name: deployment.started() for deployment in everyone}
    with crash_loop(multiconnect, "wacore3"):
        run = apply(ansible, everyone, values, "--extra-vars", f"wa_settings_health_timeout={PATIENCE_SECONDS}")
        assert run.rc != 0
        assert {host for host, stats in run.stats().items() if stats["failures"]} == {"multi"}, run.output
        assert multiconnect.container_names()["wacore3"] in multiconnect.pending()
        for deployment in [spread, *singles]:
            assert deployment.in_force(values)
            assert deployment.leftovers() == []
            assert len(deployment.await_starts()) == len(deployment.coreapps()), run.output
            assert deployment.restarted_since(before[deployment.name]) == deployment.coreapps()
        for cluster in (multiconnect, spread):
            events = [event for event, _time in _stops_and_starts(cluster)]
            assert events == ["stop", "start"] * (len(events) // 2) or events[-1] == "stop"
        # What takes one host goes first; clusters over several hosts follow, side by side as well. Nobody waits until
        # the broken node is given up.
        broken, *others = (
            [time for _event, time in _stops_and_starts(deployment)] for deployment in [multiconnect, *singles]
        )
        assert max(times[0] for times in others) < broken[-1] + PATIENCE_SECONDS
    multiconnect.await_health()
    rest = apply(ansible, everyone, values)
    assert rest.rc == 0, rest.output
    assert multiconnect.in_force(values)
    assert multiconnect.leftovers() == []
