# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's rolling restart costs for each node, over the bare `docker restart` and the node's own connecting.

Both restart the same cluster of containers in turn, and each time as long as it takes until the cluster is as healthy
as before. The figure is the time from the start of one node to the start of the next, by the nodes' own log. Needs an
engine with the emulator's images, named by WABIZ_DOCKER; says so and measures nothing where there is none.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from measure import CommandFailed, measure

from wabiz_emulator.control import Control

PLAYBOOK = Path(__file__).resolve().parent / "playbooks" / "restart.yml"
VERSION = "2.57.2"
LAUNCH = "/opt/whatsapp/bin/launch_within_docker.sh"
STORE = "/usr/local/wamedia"
CERTIFICATE = f"{STORE}/emulator/tls/cert.pem"
MASTERS = ("master1", "master2")
COREAPPS = ("wacore1", "wacore2", "wacore3")
STOP_SECONDS = 60
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05
RUN_TIMEOUT_SECONDS = 300.0

Restarts = dict[str, list[float]]


class Cluster:
    """Two masters, three Coreapps and a Webapp in containers, reached at an address of this machine."""

    def __init__(self, docker: str, prefix: str, url: str, ca_path: Path, password: str) -> None:
        self.url = url
        self.ca_path = ca_path
        self.password = password
        self.coreapps = [f"{prefix}-{name}" for name in COREAPPS]
        self.control = Control(url, str(ca_path))
        self._docker = docker

    def health(self) -> Mapping[str, str]:
        """Return node → gateway status; empty while the cluster gives no health."""
        answer = requests.get(
            f"{self.url}/v1/health",
            headers={"Authorization": f"Bearer {self.control.token()}"},
            verify=str(self.ca_path),
            timeout=PATIENCE_SECONDS,
        )
        nodes = answer.json().get("health", {}) if answer.status_code == 200 else {}
        return {name: str(node["gateway_status"]) for name, node in nodes.items()}

    def restart_bare(self) -> None:
        """Restart one Coreapp after the other as a person at the shell would."""
        before = self.health()
        for name in self.coreapps:
            run([self._docker, "restart", "--time", str(STOP_SECONDS), name])
            wait_for(lambda: sorted(self.health().values()) == sorted(before.values()))

    def cycles(self, since: int) -> list[float]:
        """Return the seconds between the starts of the Coreapps, of the events from number `since` on."""
        events = self.control.node_events()[since:]
        starts = [event["time"] for event in events if event["event"] == "start" and event["role"] == "coreapp"]
        if len(starts) != len(COREAPPS):
            raise CommandFailed(f"{len(starts)} Coreapps started, {len(COREAPPS)} should have")
        return [later - earlier for earlier, later in itertools.pairwise(starts)]


def take_restarts(rounds: int) -> Restarts | None:
    """Measure in turn, bare and by the role; None without an engine."""
    docker = os.environ.get("WABIZ_DOCKER")
    if not docker:
        return None
    figures: Restarts = {"bare": [], "role": []}
    with tempfile.TemporaryDirectory(prefix="wabiz-restarts-") as directory:
        place = Path(directory)
        with running_cluster(docker, place) as cluster:
            ways = {"bare": cluster.restart_bare, "role": role_restart(cluster, place)}
            for number, (way, restart) in itertools.product(range(rounds), ways.items()):
                since = len(cluster.control.node_events())
                restart()
                figures[way] += cluster.cycles(since)
                seconds = ", ".join(f"{cycle:.2f} s" for cycle in figures[way][1 - len(COREAPPS) :])
                print(f"restarts, round {number + 1} of {rounds}, {way}: {seconds} from node to node", flush=True)
    return figures


def role_restart(cluster: Cluster, place: Path) -> Callable[[], None]:
    """Return what restarts the cluster by the role's entry point."""
    inventory = {
        "clients": {
            "hosts": {"cluster": {}},
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "wa_settings_api_url": cluster.url,
                "wa_settings_ca_path": str(cluster.ca_path),
                # By name: the engine may carry other clusters.
                "wa_settings_restart_containers": cluster.coreapps,
                "wa_settings_restart_stop_timeout": STOP_SECONDS,
                "wa_settings_state_dir": str(place / "state"),
            },
        }
    }
    path = place / "inventory.json"
    path.write_text(json.dumps(inventory))
    command: list[str | Path] = [Path(sys.executable).parent / "ansible-playbook", "--inventory", path, PLAYBOOK]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"ANSIBLE_CONFIG": str(PLAYBOOK.parent / "ansible.cfg"), "NO_PROXY": "127.0.0.1"}
    env |= {"WABIZ_PASSWORD": cluster.password}

    def restart() -> None:
        measure(command, env, place / "output.log", RUN_TIMEOUT_SECONDS)

    return restart


@contextlib.contextmanager
def running_cluster(docker: str, place: Path) -> Iterator[Cluster]:
    """Run the containers; all of them, and their volume, are gone afterwards."""
    prefix, password = f"wabiz-bench-{os.getpid()}", f"Aa1!{secrets.token_urlsafe(12)}"
    names = [f"{prefix}-{name}" for name in ("waweb", *MASTERS, *COREAPPS)]

    def start(name: str, image: str, *options: str) -> None:
        arguments = ["--name", f"{prefix}-{name}", "--volume", f"{prefix}:{STORE}", *options]
        arguments += ["--env", "WA_APP_MULTICONNECT=1", f"docker.whatsapp.biz/{image}:v{VERSION}", LAUNCH]
        run([docker, "run", "--detach", *arguments], WA_EMULATOR_PASSWORD=password)

    try:
        names_in_certificate = ("--env", "WA_EMULATOR_TLS_NAMES=127.0.0.1")
        start("waweb", "web", "--publish", "127.0.0.1::443", "--env", "WA_EMULATOR_PASSWORD", *names_in_certificate)
        for name in MASTERS:
            start(name, "coreapp", "--env", "WA_MASTER_NODE=1", "--env", f"COREAPP_HOSTNAME={name}")
        for name in COREAPPS:
            start(name, "coreapp", "--env", f"COREAPP_HOSTNAME={name}")
        ca_path = place / "ca.pem"
        wait_for(lambda: succeeds([docker, "cp", f"{prefix}-waweb:{CERTIFICATE}", str(ca_path)]))
        port = run([docker, "port", f"{prefix}-waweb", "443"]).split(":")[-1].strip()
        cluster = Cluster(docker, prefix, f"https://127.0.0.1:{port}", ca_path, password)
        wait_for(
            lambda: len(cluster.health()) == len((*MASTERS, *COREAPPS)) and "connected" in cluster.health().values()
        )
        yield cluster
    finally:
        succeeds([docker, "rm", "--force", "--volumes", *names])
        succeeds([docker, "volume", "rm", "--force", prefix])


def run(command: Sequence[str], **secret_variables: str) -> str:
    """Run a command that has to succeed and return its output."""
    answer = subprocess.run(
        command,
        env=os.environ | secret_variables,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if answer.returncode != 0:
        raise CommandFailed(f"{' '.join(command[:3])}: {answer.stderr.strip()}")
    return answer.stdout


def succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0


def wait_for(condition: Callable[[], Any]) -> None:
    """Poll until the condition holds; an address that does not answer yet is a condition that does not."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(requests.RequestException):
            if condition():
                return
        if time.monotonic() > give_up:
            raise CommandFailed(f"the cluster was not ready after {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description="What a rolling restart costs for each node.")
    parser.add_argument("--rounds", type=int, default=5, help="how often (default: %(default)s)")
    options = parser.parse_args(arguments)
    # SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        figures = take_restarts(options.rounds)
    except CommandFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if figures is None:
        print("restarts: not measured, no container engine (WABIZ_DOCKER names the client of one)")
        return 0
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
