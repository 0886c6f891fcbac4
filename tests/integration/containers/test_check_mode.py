# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode names the containers that the real run restarts, and touches neither them nor any file."""

from __future__ import annotations

from support.commands import AnsibleCommands, CommandRun
from support.containers import ContainerDeployment
from support.deployments import apply
from support.plays import nodes_in


def _predicted(run: CommandRun) -> list[str]:
    """The nodes that a run in check mode would restart, in order."""
    assert run.rc == 0, run.output
    (line,) = [line for line in run.output.splitlines() if "would restart" in line]
    return nodes_in(line.partition("would restart")[2])


def test_check_mode_predicts_restarts_and_shows_what_is_pending(
    ansible: AnsibleCommands, multiconnect: ContainerDeployment
) -> None:
    multiconnect.forget()
    before, values = multiconnect.started(), multiconnect.new_values()

    predicted = _predicted(apply(ansible, [multiconnect], values, "--check", "--diff"))
    assert sorted(predicted) == ["wacore1", "wacore2", "wacore3"]
    assert (multiconnect.leftovers(), multiconnect.writes()) == ([], [])
    assert multiconnect.restarted_since(before) == set()

    left = apply(ansible, [multiconnect], values, variables={"wa_settings_restart": "never"})
    assert left.rc == 0, left.output
    record = multiconnect.record("multi")
    assert record is not None
    assert _predicted(apply(ansible, [multiconnect], values, "--check")) == predicted
    assert multiconnect.record("multi") == record
    assert multiconnect.restarted_since(before) == set()

    done = apply(ansible, [multiconnect], values)
    assert done.rc == 0, done.output
    assert multiconnect.starts() == predicted
    assert multiconnect.restarted_since(before) == multiconnect.coreapps()
    assert multiconnect.in_force(values)
    assert multiconnect.leftovers() == []
