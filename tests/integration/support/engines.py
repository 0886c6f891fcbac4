# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container engines as the tests drive them: the machine's own, and those of hosts in namespaces of their own."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1
CALL_SECONDS = 180.0
# For tests of network gear (RFC 2544): in use on no real network.
ADDRESSES = ipaddress.IPv4Network("198.18.0.0/15")
# Several networks of one run of the tests may be up at once.
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Engine:
    """A Docker engine. `within` are the words that lead into the host on which it runs."""

    docker: str
    compose: tuple[str, ...]
    within: tuple[str, ...] = ()

    def call(self, *arguments: str, stdin: int | None = subprocess.DEVNULL) -> str:
        """Run the engine's client; its output."""
        return run([*self.within, self.docker, *arguments], stdin=stdin)

    def call_compose(self, *arguments: str, variables: Mapping[str, str]) -> str:
        """Run Compose; its output."""
        return run([*self.within, *self.compose, *arguments], environment={**os.environ, **variables})


@dataclass(frozen=True)
class ContainerHost:
    """A host of containers: namespaces of its own for mounts, network and name, with an engine at the usual places.

    Ansible reaches it by the connection `community.docker.nsenter`. `libraries` is what it has for /var/lib.
    """

    name: str
    address: str
    gateway: str
    pid: int
    libraries: Path
    engine: Engine

    def connection(self) -> dict[str, str | int]:
        """The inventory variables that lead there."""
        return {
            "ansible_connection": "community.docker.nsenter",
            "ansible_nsenter_pid": self.pid,
            "ansible_host": self.address,
        }


def run(
    command: Sequence[str], stdin: int | None = subprocess.DEVNULL, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command that has to succeed; its output."""
    answer = subprocess.run(
        command, stdin=stdin, capture_output=True, text=True, check=False, timeout=CALL_SECONDS, env=environment
    )
    assert answer.returncode == 0, f"{' '.join(command)}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def machine_engine() -> Engine:
    """The engine of this machine, as the set-up found it or as it is on the PATH."""
    docker = os.environ.get("WABIZ_DOCKER") or shutil.which("docker")
    compose = os.environ.get("WABIZ_COMPOSE") or shutil.which("docker-compose")
    assert docker, "no Docker client"
    assert compose, "no Compose"
    return Engine(docker, tuple(compose.split()))


@contextmanager
def container_hosts(
    names: Sequence[str], place: Path, machine: Engine, images: Iterable[str]
) -> Iterator[list[ContainerHost]]:
    """Hosts on one network with this machine, each with an engine that holds the images. Needs root."""
    number = next(_NUMBERS)
    network = list(ADDRESSES.subnets(new_prefix=28))[(os.getpid() + number) % 2**13]
    gateway, *addresses = network.hosts()
    bridge = f"wabiz{os.getpid() % 10**6}{'abcdefghij'[number]}"
    with ExitStack() as stack:
        run(["ip", "link", "add", bridge, "type", "bridge"])
        stack.callback(run, ["ip", "link", "delete", bridge])
        run(["ip", "address", "add", f"{gateway}/{network.prefixlen}", "dev", bridge])
        run(["ip", "link", "set", bridge, "up"])
        hosts = []
        for at, name in enumerate(names):
            address = ipaddress.IPv4Interface((addresses[at], network.prefixlen))
            host = stack.enter_context(_container_host(name, place / name, machine, address, str(gateway)))
            _plug_in(host, address, bridge, at)
            hosts.append(host)
        _copy_images(machine, hosts, images)
        yield hosts


@contextmanager
def _container_host(
    name: str, place: Path, machine: Engine, address: ipaddress.IPv4Interface, gateway: str
) -> Iterator[ContainerHost]:
    libraries = place / "lib"
    libraries.mkdir(parents=True)
    places = ["mount -t tmpfs run /run", f"mount --bind {libraries} /var/lib"]
    set_up = " && ".join([f"hostname {name}", "ip link set lo up", *places, "exec dockerd"])
    with (place / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "--propagation", "private", "sh", "-c", set_up],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")},
            start_new_session=True,
        )
    within = ("nsenter", f"--target={daemon.pid}", "--mount", "--net", "--uts", "--")
    engine = Engine(machine.docker, machine.compose, within)
    try:
        _await_engine(daemon, name, engine, place / "dockerd.log")
        yield ContainerHost(name, str(address.ip), gateway, daemon.pid, libraries, engine)
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        # Hundreds of megabytes that nobody looks at; the mounts in it went with the host.
        shutil.rmtree(libraries, ignore_errors=True)


def _await_engine(daemon: subprocess.Popen[bytes], name: str, engine: Engine, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while daemon.poll() is None and time.monotonic() < end:
        with contextlib.suppress(AssertionError):
            # Until the host has its own /run, it is this machine's engine that answers.
            if engine.call("info", "--format", "{{.Name}}").strip() == name:
                return
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"dockerd did not start:\n{log.read_text()[-2000:]}")


def _plug_in(host: ContainerHost, address: ipaddress.IPv4Interface, bridge: str, number: int) -> None:
    """Connect the host with the bridge; its end of the cable goes with it."""
    cable = f"{bridge}-{number}"
    run(["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid)])
    run(["ip", "link", "set", cable, "master", bridge, "up"])
    run([*host.engine.within, "ip", "address", "add", str(address), "dev", "eth0"])
    run([*host.engine.within, "ip", "link", "set", "eth0", "up"])


def _copy_images(machine: Engine, hosts: Sequence[ContainerHost], images: Iterable[str]) -> None:
    for host in hosts:
        with subprocess.Popen([machine.docker, "save", *images], stdout=subprocess.PIPE) as saved:
            assert saved.stdout is not None
            host.engine.call("load", "--quiet", stdin=saved.stdout.fileno())
        assert saved.returncode == 0
