# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from emulated import PACKAGE_PARENT, PASSWORD, Api, Pki, error_codes, eventually, run_command, running

from wabiz_emulator import store

SETTINGS = "/v1/settings/application"
# Silence is noticed only where a test asks for it: a busy machine must not look like a dead node.
SWITCHES = ["--switch", "connect_seconds=0.1", "--switch", "heartbeat_timeout=600"]


class Cluster:
    """One client on disk: a Webapp process, and node processes that the test starts and ends."""

    def __init__(self, directory: pathlib.Path, pki: Pki, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        arguments = ["webapp", "--store", str(directory), *pki.tls, *SWITCHES]
        _process, urls = stack.enter_context(running(*arguments, environment={"WA_EMULATOR_PASSWORD": PASSWORD}))
        self.api = Api(urls[0], pki.ca)
        stack.callback(self.api.close)

    def start(self, hostname: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        """A node by the environment of Meta's images: its process and its name."""
        process, words = self._stack.enter_context(
            running("node", "--store", str(self.directory), environment={"COREAPP_HOSTNAME": hostname, **environment})
        )
        return process, words[0]

    def start_in_cluster(self, hostname: str) -> tuple[subprocess.Popen[str], str]:
        master = {"WA_MASTER_NODE": "1"} if hostname.startswith("master") else {}
        return self.start(hostname, WA_APP_MULTICONNECT="1", **master)

    def statuses(self) -> dict[str, tuple[str, str]]:
        return {
            name.partition(":")[0]: (node["role"], node["gateway_status"]) for name, node in self.api.health().items()
        }

    def connected(self) -> list[str]:
        return sorted(name for name, (_kind, status) in self.statuses().items() if status == "connected")

    def events(self, event: str) -> list[str]:
        return [entry["node"].partition(":")[0] for entry in self.api.control.node_events() if entry["event"] == event]


@pytest.fixture()
def cluster(tmp_path: pathlib.Path, pki: Pki) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path / "client", pki, stack)


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(10)


def test_a_single_client_needs_its_coreapp(cluster: Cluster) -> None:
    def refusals() -> list[Any]:
        return [
            cluster.api.call(*call, json={}) for call in (("GET", "/v1/health"), ("GET", SETTINGS), ("PATCH", SETTINGS))
        ]

    for answer in refusals():
        assert (answer.status_code, error_codes(answer)) == (500, [1014])
        assert answer.json()["errors"][0]["details"].endswith("Please check if wacore is running: wacore:6252")
    cluster.api.control.switch(connect_seconds=600)
    process, name = cluster.start("wacore")
    assert cluster.api.health() == {"gateway_status": "connecting"}
    cluster.api.control.switch(connect_seconds=0)
    eventually(lambda: cluster.api.health() == {"gateway_status": "connected"}, "never connected")
    assert end(process) == 0
    assert [error_codes(answer) for answer in refusals()] == [[1014]] * 3
    again, same_name = cluster.start("wacore")
    assert same_name == name
    assert cluster.api.control.nodes()[name]["starts"] == 2
    end(again, signal.SIGKILL)
    assert [error_codes(answer) for answer in refusals()] == [[1014]] * 3
    for kind in ("message", "media"):
        assert error_codes(cluster.api.call("PUT", f"/v1/services/{kind}/gc")) == [1014]
    assert cluster.events("stop") == ["wacore"]
    assert cluster.events("start") == ["wacore", "wacore"]
    assert cluster.events("duplicate") == []


def test_restart_bound_values_take_effect_at_a_start_only(cluster: Cluster) -> None:
    process, name = cluster.start("wacore")
    assert cluster.api.patch({"log_level": "error", "heartbeat_interval": 9}).status_code == 200
    eventually(lambda: cluster.api.health()["gateway_status"] == "connected", "never connected")
    assert cluster.api.settings()["log_level"] == "error"
    assert cluster.api.control.running()[name]["log_level"] == "info"
    end(process)
    assert cluster.api.control.running() == {}
    cluster.start("wacore")
    assert cluster.api.control.running()[name]["log_level"] == "error"
    starts = [entry for entry in cluster.api.control.node_events() if entry["event"] == "start"]
    assert [entry["running"]["log_level"] for entry in starts] == ["info", "error"]


def test_two_single_coreapps_are_recorded(cluster: Cluster) -> None:
    cluster.start("wacore")
    cluster.start("second")
    assert cluster.events("duplicate") == ["second"]


def test_a_node_in_place_of_a_killed_one_is_no_duplicate(cluster: Cluster) -> None:
    process, _name = cluster.start("wacore")
    end(process, signal.SIGKILL)
    cluster.start("re-created")
    assert cluster.events("duplicate") == []


def test_high_availability(cluster: Cluster) -> None:
    nodes = {name: cluster.start_in_cluster(name) for name in ("master1", "master2", "wacore1", "wacore2")}
    assert all(name.startswith(f"{hostname}:") for hostname, (_process, name) in nodes.items())
    eventually(lambda: cluster.connected() == ["wacore1"], "not one Coreapp connected")
    assert cluster.statuses() == {
        "master1": ("primary_master", "disconnected"),
        "master2": ("secondary_master", "disconnected"),
        "wacore1": ("coreapp", "connected"),
        "wacore2": ("coreapp", "disconnected"),
    }
    assert cluster.api.patch({"log_level": "error"}).status_code == 200
    end(nodes["wacore1"][0])
    eventually(lambda: cluster.connected() == ["wacore2"], "no fail-over after a stop")
    cluster.start_in_cluster("wacore1")
    assert cluster.statuses()["wacore1"] == ("coreapp", "disconnected")
    end(nodes["wacore2"][0], signal.SIGKILL)
    assert cluster.statuses()["wacore2"] == ("coreapp", "connected")
    cluster.api.control.switch(heartbeat_timeout=2)
    eventually(lambda: cluster.connected() == ["wacore1"], "no fail-over after a kill")
    assert "wacore2" not in cluster.statuses()
    cluster.api.control.switch(gone_nodes="disconnected")
    assert cluster.statuses()["wacore2"] == ("coreapp", "disconnected")
    gc = cluster.api.call("PUT", "/v1/services/message/gc").json()["services"]["message"]["gc"]
    assert gc == {nodes["wacore1"][1]: {"status": "processing"}}
    # The media are the leader's work: one answer.
    media = cluster.api.call("PUT", "/v1/services/media/gc").json()["services"]["media"]["gc"]
    assert media == {"status": "processing"}


def test_multiconnect_connects_the_primary_master_too(cluster: Cluster) -> None:
    for name in ("master1", "master2", "wacore1", "wacore2", "wacore3"):
        cluster.start_in_cluster(name)
    shards = "/v1/account/shards"
    assert error_codes(cluster.api.call("POST", shards, json={"shards": 3})) == [1009]
    assert error_codes(cluster.api.call("POST", shards, json={})) == [1008]
    assert cluster.api.call("POST", shards, json={"shards": 2}).status_code == 201
    assert cluster.api.call("GET", shards).json()["account"] == {"shards": 2}
    eventually(lambda: cluster.connected() == ["master1", "wacore1", "wacore2"], "not two shards and a master")
    assert cluster.api.call("GET", "/v1/support").json()["support"].keys() == cluster.api.health().keys()


def test_settings_go_through_the_primary_master(cluster: Cluster) -> None:
    cluster.start_in_cluster("wacore1")
    assert error_codes(cluster.api.call("GET", SETTINGS)) == [1014]
    first, _name = cluster.start_in_cluster("master1")
    second, _name = cluster.start_in_cluster("master2")
    assert cluster.api.call("GET", SETTINGS).status_code == 200
    end(first, signal.SIGKILL)
    lost = cluster.api.call("GET", SETTINGS)
    assert error_codes(lost) == [1014]
    assert "master1:6252" in lost.json()["errors"][0]["details"]
    cluster.api.control.switch(heartbeat_timeout=2)
    eventually(lambda: cluster.api.call("GET", SETTINGS).status_code == 200, "no other primary master")
    assert cluster.statuses()["master2"][0] == "primary_master"
    end(second)
    assert error_codes(cluster.api.call("GET", SETTINGS)) == [1014]
    assert error_codes(cluster.api.call("PUT", "/v1/services/media/gc")) == [1014]
    assert cluster.api.call("GET", "/v1/health").status_code == 200


def test_no_primary_master_yet(cluster: Cluster) -> None:
    """Both masters are alive, and the one that has to take over has not noticed yet."""
    first, _name = cluster.start_in_cluster("master1")
    second, name = cluster.start_in_cluster("master2")
    second.send_signal(signal.SIGSTOP)
    end(first)
    assert error_codes(cluster.api.call("GET", SETTINGS)) == [1017]
    second.send_signal(signal.SIGCONT)
    eventually(lambda: cluster.api.call("GET", SETTINGS).status_code == 200, "no other primary master")
    assert cluster.api.health()[name]["role"] == "primary_master"


def test_a_hanging_coreapp_is_noticed_by_its_silence(cluster: Cluster) -> None:
    process, _name = cluster.start("wacore")
    process.send_signal(signal.SIGSTOP)
    assert cluster.api.call("GET", "/v1/health").status_code == 200
    cluster.api.control.switch(heartbeat_timeout=2)
    eventually(lambda: cluster.api.call("GET", "/v1/health").status_code == 500, "the silence was not noticed")
    process.send_signal(signal.SIGCONT)
    eventually(lambda: cluster.api.call("GET", "/v1/health").status_code == 200, "it did not come back")


def test_unregistered_and_uninitialized(cluster: Cluster) -> None:
    cluster.api.control.switch(uninitialized_seconds=600)
    cluster.start("wacore")
    assert cluster.api.health() == {"gateway_status": "uninitialized"}
    cluster.api.control.switch(uninitialized_seconds=0)
    eventually(lambda: cluster.api.health()["gateway_status"] == "connected", "never connected")
    cluster.api.control.switch(unregistered=True)
    eventually(lambda: cluster.api.health()["gateway_status"] == "unregistered", "still registered")


def test_ids_survive_restarts_and_change_with_new_nodes(cluster: Cluster) -> None:
    process, name = cluster.start("wacore")
    restarted = run_command("restart-node", "--store", str(cluster.directory), "wacore")
    assert (restarted.returncode, restarted.stdout) == (0, f"restart {name}\n")
    assert process.wait(10) == 0
    assert cluster.api.control.nodes()[name]["starts"] == 2
    stopped = run_command("stop-node", "--store", str(cluster.directory), name)
    assert stopped.returncode == 0
    assert run_command("stop-node", "--store", str(cluster.directory), name).returncode == 0
    with running("node", "--store", str(cluster.directory), "--name", "wacore", "--id", "0123456789ab") as (
        _process,
        words,
    ):
        assert words == ["wacore:0123456789ab"]
        ambiguous = run_command("start-node", "--store", str(cluster.directory), "wacore")
        assert (ambiguous.returncode, "not one node" in ambiguous.stderr) == (1, True)
        running_already = run_command("start-node", "--store", str(cluster.directory), "wacore:0123456789ab")
        assert (running_already.returncode, "runs already" in running_already.stderr) == (1, True)


def test_a_second_process_of_the_same_node_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    _process, name = cluster.start("wacore")
    shared = store.FileStore(cluster.directory)
    assert shared.reachable(name)
    with pytest.raises(TimeoutError):
        store.hold_lock(shared.node_lock_path(name), 0.1)


def test_database_upgrade_is_a_one_shot_job(tmp_path: pathlib.Path) -> None:
    result = run_command("node", "--store", str(tmp_path / "s"), environment={"WA_DB_UPGRADE": "1"})
    assert (result.returncode, result.stdout) == (0, "database schema is up to date\n")


def test_database_stand_in_and_the_wait_for_it(tmp_path: pathlib.Path) -> None:
    with running("database", "--port", "0") as (_process, words):
        port = words[0].rpartition(":")[2]
        there = {"WA_DB_HOSTNAME": "127.0.0.1", "WA_DB_PORT": port}
        assert run_command("wait-for-database", environment=there).returncode == 0
    gone = run_command("wait-for-database", "--timeout", "0.3", environment=there)
    assert gone.returncode == 1
    told, gave_up = gone.stderr.splitlines()
    assert told == f"waiting for the database: 127.0.0.1 resolves, but port {port} does not answer (Connection refused)"
    assert gave_up.startswith("no database after 0.3 seconds: 127.0.0.1 resolves")
    skipped = run_command("wait-for-database", environment={**there, "WA_EMULATOR_SKIP_DB_WAIT": "1"})
    assert skipped.returncode == 0


def test_a_database_name_that_does_not_resolve_is_told_at_once() -> None:
    nameless = {"WA_DB_HOSTNAME": "no-such-name.invalid"}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "wabiz_emulator", "wait-for-database", "--timeout", "60"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **nameless},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    with waiting.stderr:
        told = waiting.stderr.readline()
        assert told.startswith("waiting for the database: the name no-such-name.invalid does not resolve; ")
        assert "network_mode: bridge" in told
        # It goes on: the database may come yet.
        assert waiting.poll() is None
        waiting.kill()
        waiting.wait(10)


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_fleet_leaves_no_orphans(tmp_path: pathlib.Path, number: int) -> None:
    arguments = ["fleet", "--clients", "2", "--dir", str(tmp_path), "--switch", "connect_seconds=0"]
    with running(*arguments, environment={"WA_EMULATOR_PASSWORD": PASSWORD}) as (process, words):
        description = json.loads(pathlib.Path(words[0]).read_text(encoding="utf-8"))
        assert PASSWORD not in pathlib.Path(words[0]).read_text(encoding="utf-8")
        first, second = description["clients"]
        for member in (first, second):
            api = Api(member["url"], description["ca_path"])
            assert api.login("admin", PASSWORD).status_code == 200
            assert api.health() == {"gateway_status": "connected"}
            api.close()
        assert run_command("restart-node", "--store", first["store"], first["node"]).returncode == 0
        restarted = store.FileStore(first["store"]).node_records()[first["node"]]
        assert restarted.pid not in (None, first["pids"]["coreapp"])
        pids = [first["pids"]["webapp"], restarted.pid, *second["pids"].values()]
        assert all(alive(pid) for pid in pids)
        os.kill(process.pid, number)
        process.wait(10)
        eventually(lambda: not any(alive(pid) for pid in pids), "orphans")
