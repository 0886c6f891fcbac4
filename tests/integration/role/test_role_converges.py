# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's main job: settings as declared, restarts where they are needed and nowhere else."""

from __future__ import annotations

from support.commands import AnsibleCommands
from support.deployments import NewDeployment, apply


def test_restart_bound_change_restarts_once_and_the_second_run_does_nothing(
    ansible: AnsibleCommands, new_single: NewDeployment
) -> None:
    single = new_single()
    single.forget()
    first = apply(ansible, [single], {"log_level": "warning"})
    assert first.rc == 0, first.output
    print(first.output)
    assert single.starts() == ["wacore"]
    assert single.running("log_level") == {"warning"}
    assert single.leftovers() == []
    single.forget()
    second = apply(ansible, [single], {"log_level": "warning"})
    assert second.stats()["one"]["changed"] == 0, second.output
    print(second.output)
    assert (single.starts(), single.writes()) == ([], [])


def test_cluster(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    cluster.forget()
    first = apply(ansible, [cluster], {"log_level": "warning"})
    print(first.output)
    assert first.rc == 0, first.output
    assert cluster.starts() == ["wacore1", "wacore2", "wacore3"]
    assert cluster.running("log_level") == {"warning"}
    assert cluster.leftovers() == []
    cluster.forget()
    second = apply(ansible, [cluster], {"log_level": "warning"})
    assert all(host["changed"] == 0 for host in second.stats().values()), second.output
    print(second.output)
