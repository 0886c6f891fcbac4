# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Coreapps that do not come back: the others stay up, the run says what is owed, the next one pays it."""

from __future__ import annotations

from support.commands import AnsibleCommands, CommandRun
from support.containers import ContainerDeployment, crash_loop, failing_start
from support.deployments import apply


def _last_words(run: CommandRun) -> str:
    """The one message that names what is still owed."""
    (message,) = [str(result["msg"]) for result in run.results() if "Still owed" in str(result.get("msg"))]
    return message


def _assert_second_coreapp_failed(run: CommandRun, cluster: ContainerDeployment, reason: str) -> None:
    names = cluster.container_names()
    message = _last_words(run)
    assert run.rc != 0
    assert message.startswith(f"Coreapp 2 of 3, {names['wacore2']} on multi, {reason}: ")
    assert message.endswith(
        f"Still owed, and paid by the next run: {names['wacore2']} on multi, {names['wacore3']} on multi"
    )
    assert cluster.owed() == [names["wacore2"], names["wacore3"]]
    assert [node.split(":")[0] for node in cluster.coreapp_starts()] == ["wacore1"]


def test_crash_loop(ansible: AnsibleCommands, multiconnect: ContainerDeployment) -> None:
    multiconnect.forget()
    before, values = multiconnect.started(), multiconnect.new_values()
    with crash_loop(multiconnect, "wacore2"):
        run = apply(ansible, [multiconnect], values, "--extra-vars", "wa_settings_health_timeout=8")
        _assert_second_coreapp_failed(run, multiconnect, "did not come back")
        assert "not healthy after 8 s: wacore2:" in _last_words(run)
        assert "is not back yet" in _last_words(run)
        assert multiconnect.restarted_since(before) <= {"multi/wacore1", "multi/wacore2"}
    multiconnect.await_health()
    before = multiconnect.started()
    rest = apply(ansible, [multiconnect], values)
    assert rest.rc == 0, rest.output
    assert multiconnect.restarted_since(before) == {"multi/wacore3"}
    assert multiconnect.in_force(values)
    assert multiconnect.leftovers() == []


def test_container_that_cannot_start(ansible: AnsibleCommands, multiconnect: ContainerDeployment) -> None:
    multiconnect.forget()
    values = multiconnect.new_values()
    with failing_start(multiconnect):
        run = apply(ansible, [multiconnect], values)
        _assert_second_coreapp_failed(run, multiconnect, "could not be restarted")
    # Nobody has started it yet: the rest is paid all the same, and it is not forgotten silently.
    before = multiconnect.started()
    rest = apply(ansible, [multiconnect], values)
    assert rest.rc == 0, rest.output
    stopped = multiconnect.container_names()["wacore2"]
    assert f"{stopped} owed a restart and is stopped. It is not started" in " ".join(rest.output.split())
    assert multiconnect.restarted_since(before) == {"multi/wacore3"}
    assert multiconnect.leftovers() == []
    multiconnect.projects["multi"].engine.call("start", stopped)
    multiconnect.await_health()
    assert multiconnect.in_force(values)
