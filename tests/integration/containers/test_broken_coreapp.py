# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that the engine cannot start: the others stay up, and each run says so until somebody repairs it."""

from __future__ import annotations

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment, failing_start
from support.deployments import apply
from support.plays import words


def test_container_that_cannot_start(ansible: AnsibleCommands, multiconnect: ContainerDeployment) -> None:
    multiconnect.forget()
    before, values = multiconnect.started(), multiconnect.new_values()
    broken = multiconnect.container_names()["wacore2"]
    with failing_start(multiconnect):
        run = apply(ansible, [multiconnect], values)
        assert run.rc != 0
        assert f"{broken} on multi, could not be restarted: " in words(run)
        restarted = multiconnect.restarted_since(before)
        record = multiconnect.record("multi")
        assert record is not None
        assert record["returning"]["name"] == broken
        assert f"{broken} on multi" in words(run).partition("pending restarts, done by a later run: ")[2]
        # Nobody has repaired it: it is waited for, and nothing else is touched.
        again = apply(ansible, [multiconnect], values, "--extra-vars", "wa_settings_health_timeout=6")
        assert again.rc != 0
        assert f"{broken} on multi is not back since its restart" in words(again)
        assert multiconnect.restarted_since(before) == restarted
    rest = apply(ansible, [multiconnect], values)
    assert rest.rc == 0, rest.output
    assert multiconnect.restarted_since(before) == multiconnect.coreapps()
    assert len(multiconnect.coreapp_starts()) == len(multiconnect.coreapps())
    assert multiconnect.in_force(values)
    assert multiconnect.leftovers() == []
