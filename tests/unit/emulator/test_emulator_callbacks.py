# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callbacks: a Coreapp's process posts to a receiver over HTTPS, as the settings in force say."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from emulated import PASSWORD, Api, Pki, error_codes, eventually, run_command, running

from wabiz_emulator import callbacks, settings
from wabiz_emulator.receiver import Receiver
from wabiz_emulator.switches import Switches

WEBHOOK_CA = "/v1/certificates/webhooks/ca"
# Silence is noticed only where a test asks for it: a busy machine must not look like a dead node.
SWITCHES = ["--switch", "connect_seconds=0", "--switch", "heartbeat_timeout=600"]
VALUES = settings.effective({}, Switches())


class Lab:
    """One client on disk and a receiver; the test starts the nodes."""

    def __init__(self, place: pathlib.Path, pki: Pki, stack: contextlib.ExitStack) -> None:
        self.store, self._stack = str(place / "client"), stack
        environment = {"WA_EMULATOR_PASSWORD": PASSWORD}
        _process, urls = stack.enter_context(
            running("webapp", "--store", self.store, *pki.tls, *SWITCHES, environment=environment)
        )
        self.api = Api(urls[0], pki.ca)
        stack.callback(self.api.close)
        self.receiver = Receiver()
        stack.callback(self.receiver.close)

    def start(self, hostname: str = "wacore", **environment: str) -> None:
        environment = {"COREAPP_HOSTNAME": hostname, "SSL_CERT_FILE": "/dev/null", **environment}
        self._stack.enter_context(running("node", "--store", self.store, environment=environment))

    def start_cluster(self, *hostnames: str) -> None:
        for hostname in hostnames:
            master = {"WA_MASTER_NODE": "1"} if hostname.startswith("master") else {}
            self.start(hostname, WA_APP_MULTICONNECT="1", **master)

    def restart(self, hostname: str = "wacore") -> None:
        self.act("restart", hostname)

    def act(self, action: str, hostname: str = "wacore") -> None:
        assert run_command(f"{action}-node", "--store", self.store, hostname).returncode == 0
        if action != "stop":
            # What was started like this is no process of the test's that would end with it.
            self._stack.callback(run_command, "stop-node", "--store", self.store, hostname)

    def declare(self, url: str | None = None, **values: Any) -> None:
        """Settings as they are stored, before or after a start."""
        webhooks = {"url": self.receiver.url if url is None else url, **values.pop("webhooks", {})}
        self.api.control.store({"callback_backoff_delay_ms": 20, "webhooks": webhooks, **values})

    def trust(self) -> None:
        """Upload the receiver's CA: in use from the next start on."""
        assert self.api.call("POST", WEBHOOK_CA, data=self.receiver.authority).status_code == 200

    def log(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.api.control.callbacks() if entry["event"] == event]

    def await_ids(self, ids: list[str]) -> None:
        eventually(lambda: set(ids) <= set(self.receiver.ids()), "not every callback came")


@pytest.fixture()
def lab(tmp_path: pathlib.Path, pki: Pki) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(tmp_path, pki, stack)


def test_a_status_is_posted_and_acknowledged(lab: Lab) -> None:
    lab.declare(url=lab.receiver.url.replace("//", "//user:pass%21@") + "?auth=canary-secret")
    lab.trust()
    lab.start()
    known = lab.api.control.message("delivered", id="message-1", recipient_id="491")
    assert known == "message-1"
    lab.await_ids(["message-1"])
    eventually(lambda: lab.log("delivered"), "not acknowledged")
    (post,) = lab.receiver.posts
    assert post.path == "/hook?auth=canary-secret"
    assert post.headers["Authorization"] == "Basic dXNlcjpwYXNzIQ=="
    assert post.headers["Content-Type"] == "application/json"
    (status,) = post.body["statuses"]
    assert (status["id"], status["recipient_id"], status["status"]) == ("message-1", "491", "delivered")
    assert abs(int(status["timestamp"]) - time.time()) < 60
    (entry,) = lab.api.control.callbacks()
    assert (entry["event"], entry["id"], entry["status"]) == ("delivered", "message-1", "delivered")
    assert "canary" not in json.dumps(entry)
    assert not list(pathlib.Path(lab.store).glob("callbacks/*/*"))


def test_the_uploaded_ca_is_in_use_after_a_restart(lab: Lab) -> None:
    lab.declare()
    lab.start()
    lab.trust()
    known = lab.api.control.message("read")
    failed = eventually(lambda: lab.log("failed"), "the receiver was trusted")
    assert failed[0]["outcome"] == "SSLCertVerificationError"
    assert lab.receiver.posts == []
    lab.restart()
    lab.await_ids([known])


def test_the_delay_grows_by_the_same_step_up_to_the_maximum(lab: Lab) -> None:
    lab.declare(callback_backoff_delay_ms=150, max_callback_backoff_delay_ms=400)
    lab.trust()
    lab.start()
    lab.receiver.status = 500
    lab.api.control.message("read", id="tried")
    eventually(lambda: len(lab.receiver.posts) >= 5, "it gave up")
    failed = lab.log("failed")[:4]
    assert [(entry["outcome"], entry["failures"], entry["delay"]) for entry in failed] == [
        (500, 1, 0.15), (500, 2, 0.3), (500, 3, 0.4), (500, 4, 0.4),
    ]  # fmt: skip
    times = [post.time for post in lab.receiver.posts]
    for earlier, later, delay in zip(times, times[1:], (0.15, 0.3, 0.4, 0.4), strict=False):
        assert later - earlier >= delay - 0.01
    # Both delays are read for each try, without a restart; a redirect is a failure.
    lab.declare(callback_backoff_delay_ms=1)
    lab.receiver.status = 302
    eventually(
        lambda: any(entry["outcome"] == 302 and entry["delay"] < 0.1 for entry in lab.log("failed")), "still slow"
    )
    lab.receiver.status = 200
    eventually(lambda: lab.log("delivered"), "never acknowledged")
    before = len(lab.receiver.posts)
    time.sleep(0.3)
    assert len(lab.receiver.posts) == before


def test_as_many_requests_at_once_as_were_in_force_at_the_start(lab: Lab) -> None:
    lab.declare(webhooks={"max_concurrent_requests": 6})
    lab.trust()
    lab.start()
    lab.receiver.delay = 0.3

    def deliver(count: int) -> int:
        lab.receiver.most_at_once = 0
        lab.await_ids([lab.api.control.message("read") for _message in range(count)])
        return lab.receiver.most_at_once

    assert deliver(20) == 6
    lab.declare(webhooks={"max_concurrent_requests": 12})
    assert deliver(20) == 6
    lab.restart()
    # Long enough for a busy machine to begin as many before the first is done.
    lab.receiver.delay = 1.0
    assert deliver(24) == 12


@pytest.mark.parametrize("end", ["restart", "kill"])
@pytest.mark.parametrize("persist", [True, False])
def test_what_callback_persist_keeps(lab: Lab, persist: bool, end: str) -> None:
    lab.declare(callback_persist=persist)
    lab.trust()
    lab.start()
    lab.receiver.status = 503
    known = [lab.api.control.message("read") for _message in range(5)]
    lab.await_ids(known)
    if end == "kill":
        name, node = next(iter(lab.api.control.nodes().items()))
        os.kill(node["pid"], signal.SIGKILL)
        eventually(lambda: not lab.api.control.nodes()[name]["reachable"], "still there")
    else:
        lab.act("stop")
    lab.receiver.posts.clear()
    lab.receiver.status = 200
    lab.act("start")
    marker = lab.api.control.message("read", id="marker")
    lab.await_ids([*known, marker] if persist else [marker])
    eventually(lambda: len(lab.log("delivered")) == (6 if persist else 1), "not acknowledged")
    assert set(lab.receiver.ids()) == ({*known, marker} if persist else {marker})
    assert len(lab.log("lost")) == (5 if not persist and end == "restart" else 0)


def test_callback_persist_is_in_force_from_the_start_on(lab: Lab) -> None:
    lab.declare(callback_persist=False)
    lab.trust()
    lab.start()
    lab.declare(callback_persist=True)
    lab.receiver.status = 503
    known = lab.api.control.message("read")
    lab.await_ids([known])
    lab.restart()
    assert [entry["id"] for entry in lab.log("lost")] == [known]


def test_a_rolling_restart_loses_no_callback(lab: Lab) -> None:
    """Callbacks go on while one Coreapp after the other restarts, and while the receiver refuses every third."""
    lab.declare(callback_persist=True)
    lab.trust()
    lab.start_cluster("master1", "wacore1", "wacore2", "wacore3")
    lab.api.control.switch(shards=2)
    known: list[str] = []
    stop = threading.Event()

    def traffic() -> None:
        while not stop.wait(0.02):
            lab.receiver.status = 503 if len(known) % 3 == 0 else 200
            known.append(lab.api.control.message("delivered"))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for hostname in ("wacore1", "wacore2", "wacore3"):
            eventually(lambda: len(lab.api.health()) == 4, "a node is missing")
            lab.restart(hostname)
    finally:
        stop.set()
        thread.join()
        lab.receiver.status = 200
    assert len(known) > 20
    lab.await_ids(known)
    assert lab.log("lost") == []
    assert not [entry for entry in lab.log("failed") if entry["id"] not in known]


def test_another_coreapp_takes_over_what_a_lost_one_kept(lab: Lab) -> None:
    lab.declare(callback_persist=True)
    lab.trust()
    lab.start_cluster("master1", "wacore1", "wacore2")
    lab.receiver.status = 503
    known = lab.api.control.message("read")
    lab.await_ids([known])
    lab.act("stop", "wacore1")
    lab.receiver.status = 200
    (delivered,) = eventually(lambda: lab.log("delivered"), "nobody took it over")
    assert (delivered["id"], delivered["node"].partition(":")[0]) == (known, "wacore2")


def test_events_wait_for_a_connected_coreapp(lab: Lab) -> None:
    lab.declare()
    lab.trust()
    known = lab.api.control.message("read")
    lab.api.control.switch(connect_seconds=600)
    lab.start()
    time.sleep(0.5)
    assert lab.api.control.callbacks() == []
    lab.api.control.switch(connect_seconds=0)
    lab.await_ids([known])


def test_the_address_and_the_choices_take_effect_without_a_restart(lab: Lab) -> None:
    lab.declare(url="")
    lab.trust()
    lab.start()
    dropped = lab.api.control.message("read", id="without an address")
    eventually(lambda: [entry["id"] for entry in lab.log("dropped")] == [dropped], "not dropped")
    lab.declare(webhooks={"message": {"sent": False, "read": False}})
    for status in callbacks.STATUSES:
        lab.api.control.message(status, id=status)
    lab.await_ids(["delivered", "failed"])
    eventually(lambda: len(lab.log("dropped")) == 3, "not dropped")
    assert sorted(lab.receiver.ids()) == ["delivered", "failed"]
    lab.declare(url=lab.receiver.url.replace("https", "http"))
    lab.api.control.message("read")
    failed = eventually(lambda: lab.log("failed"), "plain HTTP works")
    assert failed[0]["outcome"] == "ValueError"


def test_garbage_collection_says_when_it_is_done(lab: Lab) -> None:
    lab.declare()
    lab.trust()
    lab.start()
    for kind, counter in (("message", "messages_deleted"), ("media", "items_deleted")):
        eventually(lambda: lab.api.call("GET", "/v1/health").status_code == 200, "no Coreapp")
        assert lab.api.call("PUT", f"/v1/services/{kind}/gc").status_code == 200
        notice = {"services": {kind: {"gc": {"status": "complete", counter: 0}}}}
        eventually(lambda notice=notice: notice in [post.body for post in lab.receiver.posts], "no notice")


def test_what_the_control_call_refuses(lab: Lab, api: Api) -> None:
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: lab.api.control.message("eaten"), "sent, delivered, read, failed"),
        (lambda: lab.api.control.message("read", text="hello"), "text"),
        (lambda: api.control.message("read"), "simulated"),
    ]
    for call, why in refused:
        with pytest.raises(ValueError, match=why):
            call()
    assert error_codes(lab.api.call("GET", "/v1/health")) == [1014]


@pytest.mark.parametrize(
    ("failures", "step", "most", "expected"),
    [
        (1, 3000, 900000, 3.0),
        (2, 3000, 900000, 6.0),
        (300, 3000, 900000, 900.0),
        (301, 3000, 900000, 900.0),
        (1, 9, 4, 0.004),
    ],
)
def test_back_off(failures: int, step: int, most: int, expected: float) -> None:
    values = {"callback_backoff_delay_ms": step, "max_callback_backoff_delay_ms": most}
    assert callbacks.delay_seconds(failures, values) == expected


EVENT = {"id": "1", "recipient_id": "2", "status": "sent", "timestamp": "3"}


def test_old_clients_have_sent_status_only() -> None:
    for version, sent in (("2.41.1", False), ("2.41.2", True)):
        values = settings.effective({}, Switches(client_version=version))
        assert (callbacks.payload(EVENT, values) is not None) is sent
        assert callbacks.payload({**EVENT, "status": "read"}, values) is not None
    old = settings.effective({"sent_status": True}, Switches(client_version="2.41.1"))
    assert callbacks.payload(EVENT, old) is not None


def test_conversation_and_pricing_can_be_left_out() -> None:
    with_them = callbacks.payload(EVENT, VALUES)
    without = callbacks.payload(EVENT, {**VALUES, "webhook_payload_conversation_pricingmodel_disabled": True})
    assert with_them and without
    assert without == {"statuses": [EVENT]}
    assert set(with_them["statuses"][0]) - set(EVENT) == {"conversation", "pricing"}


@pytest.mark.parametrize(
    "stored",
    [
        {"callback_persist": "yes", "callback_backoff_delay_ms": "soon", "max_callback_backoff_delay_ms": -5},
        {"callback_backoff_delay_ms": 10**19 - 1, "max_callback_backoff_delay_ms": 10**19 - 1},
        {"webhooks": 5},
        {"webhooks": {"url": 5, "max_concurrent_requests": 10**9, "message": []}},
        {"webhooks": {"url": "https://[::1", "max_concurrent_requests": "six"}},
        {"webhooks": {"url": "https://\ud800/"}, "webhook_payload_conversation_pricingmodel_disabled": None},
    ],
)
def test_a_coreapp_survives_what_it_cannot_use(lab: Lab, stored: dict[str, Any]) -> None:
    """Whatever was stored unchecked: it works with the default in its place, and with the next good value."""
    lab.api.control.store(stored)
    lab.trust()
    lab.start()
    known = lab.api.control.message("read")
    first = eventually(lab.api.control.callbacks, "no try")[0]
    assert first["event"] in ("dropped", "failed")
    lab.declare()
    later = lab.api.control.message("read")
    lab.await_ids([later])
    assert known not in lab.receiver.ids() or first["event"] == "failed"
