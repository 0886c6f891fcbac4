# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A single client as in Meta's Compose file: only what has to restart does, and no secret leaves the engine."""

from __future__ import annotations

from support.commands import AnsibleCommands
from support.containers import DATABASE_PASSWORD, ContainerDeployment
from support.deployments import SETTINGS, apply


def test_restart_bound_change_restarts_the_coreapp_once_and_nothing_else(
    ansible: AnsibleCommands, single: ContainerDeployment
) -> None:
    single.forget()
    before, values = single.started(), single.new_values()
    first = apply(ansible, [single], values, "-vvv", "--diff")
    assert first.rc == 0, first.output
    assert single.restarted_since(before) == {"single/wacore"}
    assert len(single.coreapp_starts()) == 1
    assert single.in_force(values)
    assert single.leftovers() == []
    written = [path.read_text(errors="replace") for path in ansible.place.rglob("*") if path.is_file()]
    assert not [text for text in [first.output, *written] if DATABASE_PASSWORD in text]

    before = single.started()
    again = apply(ansible, [single], values)
    assert again.stats()["single"]["changed"] == 0, again.output
    assert single.restarted_since(before) == set()


def test_other_change_restarts_nothing(ansible: AnsibleCommands, single: ContainerDeployment) -> None:
    delay = single.client.control.effective()["callback_backoff_delay_ms"]
    single.forget()
    before = single.started()
    run = apply(ansible, [single], {"callback_backoff_delay_ms": int(delay) + 1000})
    assert run.rc == 0, run.output
    assert single.writes() == [f"PATCH {SETTINGS}"]
    assert (single.restarted_since(before), single.coreapp_starts(), single.leftovers()) == (set(), [], [])
