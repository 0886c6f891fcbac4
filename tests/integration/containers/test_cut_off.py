# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The play is killed at every step; a plain second run finishes the work on real containers."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment
from support.deployments import SETTINGS, apply

# What support/callback_plugins/cut_off.py understands: which start of the task, how many seconds after it, the task.
CUTS = {
    "before the record": "1 0 Write the record of owed restarts",
    "after the record": "1 0 Write the settings",
    "after the write": "2 0 Write the record of owed restarts",
    "before the first container": "1 0 Stop and start the container",
    "in the restart of a container": "2 0.7 Stop and start the container",
    "between two containers": "2 0 Stop and start the container",
    "in a wait": "2 0.2 Wait until the cluster is healthy again",
    "before a container is struck out": "2 0 Strike it out of the record",
    "before the last container is struck out": "3 0 Strike it out of the record",
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_nothing_is_forgotten(ansible: AnsibleCommands, multiconnect: ContainerDeployment, cut: str) -> None:
    multiconnect.forget()
    before, values = multiconnect.started(), multiconnect.new_values()
    first = apply(ansible, [multiconnect], values, environment={"WABIZ_CUT": cut})
    assert first.rc == -signal.SIGKILL, first.output
    second = apply(ansible, [multiconnect], values)
    assert second.rc == 0, second.output
    assert multiconnect.in_force(values), second.output
    assert multiconnect.restarted_since(before) == multiconnect.coreapps()
    starts = Counter(multiconnect.coreapp_starts())
    assert max(starts.values()) <= 2
    assert starts.total() <= len(multiconnect.coreapps()) + 1, second.output
    assert multiconnect.writes() == [f"PATCH {SETTINGS}"]
    assert multiconnect.leftovers() == []
