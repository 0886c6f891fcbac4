# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling restart on real containers is no outage, and touches nothing that need not restart."""

from __future__ import annotations

import pytest

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment, slow_start
from support.deployments import apply
from support.prober import RATE, probing


@pytest.mark.parametrize("topology", ["multiconnect", "spread"])
def test_rolling_restart_is_no_outage(ansible: AnsibleCommands, request: pytest.FixtureRequest, topology: str) -> None:
    cluster: ContainerDeployment = request.getfixturevalue(topology)
    cluster.forget()
    before, values = cluster.started(), cluster.new_values()
    with probing(cluster.client) as probes:
        run = apply(ansible, [cluster], values)
    assert run.rc == 0, run.output
    assert probes.problems == []
    assert probes.fewest_up == len(cluster.coreapps()) - 1, f"{probes.worst}\n{run.output}"
    assert probes.rate > RATE / 2
    assert len(probes.seen_down) == len(cluster.coreapps()), "rounds that come too late prove nothing"
    assert cluster.restarted_since(before) == cluster.coreapps()
    starts = cluster.await_starts()
    assert len(set(starts)) == len(starts) == len(cluster.coreapps())
    assert cluster.in_force(values)
    assert cluster.leftovers() == []
    again = apply(ansible, [cluster], values)
    assert all(host["changed"] == 0 for host in again.stats().values()), again.output


def test_master_of_the_same_host_name_does_not_stand_for_a_coreapp_that_starts_slowly(
    ansible: AnsibleCommands, spread: ContainerDeployment
) -> None:
    """Meta's template for several hosts gives Coreapp and master of a host the same name in the client's health."""
    spread.forget()
    with slow_start(spread, 8), probing(spread.client) as probes:
        run = apply(ansible, [spread], spread.new_values())
    assert run.rc == 0, run.output
    assert (probes.problems, probes.fewest_up) == ([], 1), f"{probes.worst}\n{run.output}"
    assert probes.rounds[-1].connected == 1
    assert len(probes.rounds[-1].up) == 2, "the last one is waited for as well"


def test_masters_restart_last_where_told(ansible: AnsibleCommands, multiconnect: ContainerDeployment) -> None:
    nodes = multiconnect.client.control.nodes().values()
    primary = next(node["hostname"] for node in nodes if node["role"] == "primary_master")
    (secondary,) = {"master1", "master2"} - {primary}
    multiconnect.forget()
    before, values = multiconnect.started(), multiconnect.new_values()
    run = apply(ansible, [multiconnect], values, variables={"wa_settings_restart_masters": "true"})
    assert run.rc == 0, run.output
    starts = multiconnect.starts()
    assert (sorted(starts[:3]), starts[3:]) == (["wacore1", "wacore2", "wacore3"], [secondary, primary])
    masters = {"multi/master1", "multi/master2"}
    assert multiconnect.restarted_since(before) == multiconnect.coreapps() | masters
    assert multiconnect.in_force(values)
    assert multiconnect.leftovers() == []
