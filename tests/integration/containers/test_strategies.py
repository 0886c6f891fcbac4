# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster over two real container hosts, under the ways in which Ansible can go through hosts."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import AnsibleCommands, mostly
from support.containers import ContainerDeployment
from support.deployments import SETTINGS, apply
from support.plays import words

FAILING = {"name": "Break", "ansible.builtin.fail": {"msg": "broken"}}
ROLE = {"name": "Apply", "ansible.builtin.import_role": {"name": "wabiz.onprem.wa_settings"}}


@pytest.mark.parametrize("play", mostly({"serial": 1}, rest=[{"strategy": "free", "any_errors_fatal": True}]), ids=str)
def test_one_write_and_one_restart_each(
    ansible: AnsibleCommands, spread: ContainerDeployment, play: dict[str, Any]
) -> None:
    spread.forget()
    before, values = spread.started(), spread.new_values()
    run = apply(ansible, [spread], values, play=play)
    assert run.rc == 0, run.output
    assert spread.writes() == [f"PATCH {SETTINGS}"]
    assert spread.restarted_since(before) == spread.coreapps()
    assert len(spread.await_starts()) == len(spread.coreapps())
    assert spread.in_force(values)
    assert spread.leftovers() == []


def test_limit_to_one_host_leaves_the_other_on_record(ansible: AnsibleCommands, spread: ContainerDeployment) -> None:
    spread.forget()
    before, values = spread.started(), spread.new_values()
    limited = apply(ansible, [spread], values, "--limit", "spread-b")
    assert limited.rc == 0, limited.output
    (left,) = spread.pending()
    assert f"pending restarts: {left} on spread-a" in words(limited)
    assert spread.restarted_since(before) == {"spread-b/wacore"}
    before = spread.started()
    rest = apply(ansible, [spread], values)
    assert rest.rc == 0, rest.output
    assert spread.restarted_since(before) == {"spread-a/wacore"}
    assert spread.in_force(values)
    assert spread.leftovers() == []


@pytest.mark.thorough
def test_failing_task_after_the_role_with_and_without_forced_handlers(
    ansible: AnsibleCommands, spread: ContainerDeployment
) -> None:
    spread.forget()
    before, values, play = spread.started(), spread.new_values(), {"roles": [], "tasks": [ROLE, FAILING]}
    failed = apply(ansible, [spread], values, play=play)
    assert failed.rc != 0
    assert spread.restarted_since(before) == set()
    assert len(spread.pending()) == len(spread.coreapps())
    forced = apply(ansible, [spread], values, "--force-handlers", play=play)
    assert forced.rc != 0
    assert spread.restarted_since(before) == spread.coreapps()
    assert spread.in_force(values)
    assert spread.leftovers() == []
