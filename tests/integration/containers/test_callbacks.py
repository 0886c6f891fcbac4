# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callbacks while the role restarts one Coreapp after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from support.commands import AnsibleCommands
from support.containers import HEALTH_SECONDS, POLL_SECONDS, ContainerDeployment
from support.deployments import apply
from wabiz_emulator.control import Control
from wabiz_emulator.receiver import Receiver

PACE_SECONDS = 0.1


@pytest.fixture
def receiver(multiconnect: ContainerDeployment) -> Iterator[Receiver]:
    """A webhook on this machine's end of the containers' network; its CA is uploaded."""
    project = multiconnect.projects["multi"]
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    address = project.engine.call("network", "inspect", f"{project.name}_default", "--format", gateway).strip()
    with Receiver(address) as found:
        multiconnect.client.upload_webhook_ca(found.authority)
        yield found
    multiconnect.client.upload_webhook_ca(None)


def test_a_rolling_restart_loses_no_callback(
    ansible: AnsibleCommands, multiconnect: ContainerDeployment, receiver: Receiver
) -> None:
    """Until its restart a Coreapp does not trust the receiver: what fails till then is kept, since it is persisted."""
    control = multiconnect.client.control
    values = multiconnect.new_values()
    control.store({"callback_persist": True, "callback_backoff_delay_ms": 200, "webhooks": {"url": receiver.url}})
    control.clear_callbacks()
    known: list[str] = []
    stop = threading.Event()

    def traffic() -> None:
        with Control(multiconnect.client.api_url, multiconnect.client.ca_path) as own:
            while not stop.wait(PACE_SECONDS):
                known.append(own.message("delivered"))

    before = multiconnect.started()
    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        run = apply(ansible, [multiconnect], values)
    finally:
        stop.set()
        thread.join()
    assert run.rc == 0, run.output
    assert multiconnect.restarted_since(before) == multiconnect.coreapps()
    assert len(known) > 20
    end = time.monotonic() + HEALTH_SECONDS
    while not set(known) <= set(receiver.ids()):
        assert time.monotonic() < end, f"missing: {set(known) - set(receiver.ids())}"
        time.sleep(POLL_SECONDS)
    assert {entry["event"] for entry in control.callbacks()} == {"delivered", "failed"}
