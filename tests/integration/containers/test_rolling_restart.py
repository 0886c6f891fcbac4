# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling restart on real containers is no outage, and touches nothing that need not restart."""

from __future__ import annotations

import pytest

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment
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
    assert probes.fewest_up == len(cluster.coreapps()) - 1
    assert probes.rate > RATE / 2
    assert cluster.restarted_since(before) == cluster.coreapps()
    assert len(set(cluster.coreapp_starts())) == len(cluster.coreapp_starts()) == len(cluster.coreapps())
    assert cluster.in_force(values)
    assert cluster.leftovers() == []
    again = apply(ansible, [cluster], values)
    assert all(host["changed"] == 0 for host in again.stats().values()), again.output
