# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real engines: which containers belong to a client, which start is which, and how the engine is reached."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.by_hand import ByHand, by_hand, limits
from support.commands import AnsibleCommands, CommandRun, mostly
from support.containers import IMAGES, PORT
from support.deployments import SETTINGS, apply
from support.engine_clock import clock_set_back
from support.engines import ContainerHost, Engine
from support.engines import run as run_command
from support.plays import SHOW, changed, nodes_in, on_record, required, summary, words

pytestmark = pytest.mark.containers

VALUES = {"log_level": "warning"}
NEVER = {"wa_settings_restart": "never"}
COMPOSE = {"com.docker.compose.project": "somebody", "com.docker.compose.service": "wacore"}
OTHER = {**COMPOSE, "com.docker.compose.project": "other"}
Kind = Callable[..., ByHand]


@pytest.fixture
def on_machine(engine: Engine, tmp_path: Path) -> Iterator[Kind]:
    """Clients on this machine's engine, which others use as well: their containers are named."""
    with ExitStack() as stack:
        yield lambda name, hosts, **more: stack.enter_context(by_hand(engine, tmp_path, name, hosts, **more))


@pytest.fixture
def on_host(hosts: list[ContainerHost], engine: Engine, tmp_path: Path) -> Iterator[Kind]:
    """Clients on an engine of their own, whose containers the role has to find; `podman=True`: podman's."""
    ports = iter(range(PORT + 20, PORT + 60))
    with ExitStack() as stack:

        def new(name: str, nodes: list[str], *, podman: bool = False, **more: Any) -> ByHand:
            own = hosts[0].engine
            if podman:
                own = Engine("podman", (), own.within)
                more["extra"] = {"wa_settings_restart_backend": "podman", **more.get("extra", {})}
            more.setdefault("named", False)
            return stack.enter_context(by_hand(own, tmp_path, name, {name: nodes}, hosts[0], next(ports), **more))

        yield new


@pytest.fixture(scope="session")
def _podman_images(hosts: list[ContainerHost], engine: Engine) -> None:
    """Give the host's podman the images of this machine's engine."""
    pipe = [shlex.join([engine.docker, "save", *IMAGES]), shlex.join([*hosts[0].engine.within, "podman", "load", "-q"])]
    run_command(["sh", "-c", " | ".join(pipe)])


def _restarted(client: ByHand, before: dict[str, str]) -> set[str]:
    return {node for node, start in client.started().items() if start != before[node]}


def _refused(ansible: AnsibleCommands, clients: list[ByHand], apply_to: ByHand, *said: str) -> None:
    """Neither written nor restarted, in check mode and for real, and nobody else's container either."""
    before = [client.started() for client in clients]
    for arguments in (["--check"], []):
        run = apply(ansible, [apply_to], VALUES, *arguments)
        assert run.rc != 0, run.output
        for word in said:
            assert word in words(run)
    assert [client.started() for client in clients] == before
    assert apply_to.writes() == []


@pytest.mark.parametrize(
    "labels", mostly(({}, {}), (COMPOSE, {}), rest=[(COMPOSE, OTHER)]), ids=["none", "one", "both"]
)
def test_two_clients_on_one_engine_without_names_are_refused(
    ansible: AnsibleCommands, on_host: Kind, labels: tuple[dict[str, str], dict[str, str]]
) -> None:
    left, right = (on_host(name, ["wacore"], labels=own) for name, own in zip(("left", "right"), labels, strict=True))
    _refused(
        ansible,
        [left, right],
        left,
        "wa_settings_restart_containers",
        left.container("wacore"),
        right.container("wacore"),
    )
    names = {"wa_settings_restart_containers": [left.container("wacore")]}
    before = right.started()
    run = apply(ansible, [left], VALUES, variables=names)
    assert run.rc == 0, run.output
    assert (left.starts(), left.running("log_level")) == (["wacore"], {"warning"})
    assert right.started() == before


def test_cluster_and_a_client_beside_it_without_names_are_refused(ansible: AnsibleCommands, on_host: Kind) -> None:
    """A cluster may have many Coreapps, but not those of another volume."""
    pair, other = on_host("pair", ["wacore1", "wacore2"]), on_host("other", ["wacore"])
    _refused(ansible, [pair, other], pair, "wa_settings_restart_containers")


def test_podman_clients_without_names_are_refused(
    ansible: AnsibleCommands, on_host: Kind, _podman_images: None
) -> None:
    left, right = (on_host(name, ["wacore"], podman=True) for name in ("left", "right"))
    _refused(ansible, [left, right], left, "wa_settings_restart_containers")


@pytest.mark.parametrize("podman", mostly(False, rest=[True]), ids=["docker", "podman"])
def test_restart_by_somebody_else_is_as_good_as_ours(
    ansible: AnsibleCommands, on_host: Kind, podman: bool, request: pytest.FixtureRequest
) -> None:
    if podman:
        request.getfixturevalue("_podman_images")
    pair = on_host("pair", ["wacore1", "wacore2"], podman=podman)
    never = apply(ansible, [pair], VALUES, variables=NEVER, play={"post_tasks": [SHOW]})
    assert never.rc == 0, never.output
    assert sorted(nodes_in(summary(never, "pair")["pending"])) == ["wacore1", "wacore2"]
    # One by hand, and the other made anew, under another id.
    pair.engine.call("restart", "--time=5", pair.container("wacore1"))
    pair.remove("wacore2")
    pair.start("wacore2")
    pair.await_health()
    before = pair.started()
    run = apply(ansible, [pair], VALUES, play={"post_tasks": [SHOW]})
    assert run.rc == 0, run.output
    assert _restarted(pair, before) == set()
    assert required(run, "pair") is False
    assert pair.running("log_level") == {"warning"}
    assert changed(apply(ansible, [pair], VALUES)) == 0


@pytest.mark.parametrize("podman", [False, True], ids=["docker", "podman"])
def test_cluster_without_labels_is_found_whole_and_its_upgrade_job_is_left_alone(
    ansible: AnsibleCommands, on_host: Kind, podman: bool, request: pytest.FixtureRequest
) -> None:
    if podman:
        request.getfixturevalue("_podman_images")
    pair = on_host("pair", ["wacore1", "wacore2", "master1"], podman=podman)
    job = f"{pair.prefix}-dbupgrade"
    pair.engine.call(
        "run", "--detach", f"--name={job}", "--env=WA_DB_UPGRADE=1", f"--volume={pair.volume}:/usr/local/wamedia",
        *limits(pair.engine), IMAGES[1], "sleep", "infinity",
    )  # fmt: skip
    before = pair.started()
    run = apply(ansible, [pair], VALUES)
    assert run.rc == 0, run.output
    assert _restarted(pair, before) == {"wacore1", "wacore2"}
    # The connected one was the older one.
    assert pair.starts() == ["wacore2", "wacore1"]
    assert pair.engine.call("inspect", "--format", "{{.RestartCount}} {{.State.Running}}", job).split() == ["0", "true"]
    assert changed(apply(ansible, [pair], VALUES)) == 0


def test_image_pattern_that_matches_nothing_finds_nothing(ansible: AnsibleCommands, on_host: Kind) -> None:
    extra = {"wa_settings_restart_image_pattern": "registry.example.com/coreapp"}
    client = on_host("narrow", ["wacore"], labels=COMPOSE, extra=extra)
    _refused(ansible, [client], client, "wa_settings_restart_image_pattern")


def test_masters_without_a_coreapp_are_refused(ansible: AnsibleCommands, on_host: Kind) -> None:
    client = on_host("lone", ["wacore1", "master1"])
    client.engine.call("rm", "--force", client.container("wacore1"))
    before = client.engine.call("inspect", "--format", "{{.State.StartedAt}}", client.container("master1"))
    client.forget()
    for arguments in (["--check"], []):
        run = apply(ansible, [client], VALUES, *arguments)
        assert run.rc != 0, run.output
        assert "Coreapp" in words(run)
    assert client.writes() == []
    assert client.engine.call("inspect", "--format", "{{.State.StartedAt}}", client.container("master1")) == before


def test_name_that_begins_like_a_master_is_no_master(ansible: AnsibleCommands, on_host: Kind) -> None:
    client = on_host("mastercard", ["wacore"], labels={"com.docker.compose.service": "mastercard-coreapp"})
    run = apply(ansible, [client], VALUES)
    assert run.rc == 0, run.output
    assert (client.starts(), client.running("log_level")) == (["wacore"], {"warning"})


def test_two_inventory_hosts_of_one_machine_do_not_strike_out_each_others_nodes(
    ansible: AnsibleCommands, on_machine: Kind, tmp_path: Path
) -> None:
    pair = on_machine("pair", {"first": ["wacore1"], "second": ["wacore2"]})
    pair.extra["wa_settings_state_dir"] = str(tmp_path / "shared")
    assert apply(ansible, [pair], VALUES, variables=NEVER).rc == 0
    again = apply(ansible, [pair], VALUES, variables=NEVER, play={"post_tasks": [SHOW]})
    assert again.rc == 0, again.output
    assert required(again, "first") is True
    before = pair.started()
    run = apply(ansible, [pair], VALUES)
    assert run.rc == 0, run.output
    assert _restarted(pair, before) == {"wacore1", "wacore2"}
    assert pair.starts() == ["wacore2", "wacore1"]


def test_clock_set_back_after_the_start_of_a_container_forgets_nothing(
    ansible: AnsibleCommands, on_machine: Kind, tmp_path: Path
) -> None:
    """To every clock that is left to ask, the containers have started in the future."""
    pair = on_machine("pair", {"pair": ["wacore1", "wacore2"]})
    socket = pair.engine.call("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    before = pair.started()
    with clock_set_back(socket.removeprefix("unix://"), tmp_path) as address:
        play: dict[str, Any] = {"environment": {"DOCKER_HOST": address}, "post_tasks": [SHOW]}
        run = apply(ansible, [pair], VALUES, play=play)
        assert run.rc == 0, run.output
        assert _restarted(pair, before) == {"wacore1", "wacore2"}
        assert required(run, "pair") is False
        again = apply(ansible, [pair], VALUES, play=play)
    assert (changed(again), len(pair.starts())) == (0, 2), again.output


def test_crash_looping_node_is_not_healthy_because_it_is_listed(ansible: AnsibleCommands, on_machine: Kind) -> None:
    """Where health lists the dead as disconnected, they look like stand-bys."""
    pair = on_machine("pair", {"pair": ["wacore1", "wacore2"]})
    pair.client.control.switch(gone_nodes="disconnected", heartbeat_timeout=2)
    pair.extra["wa_settings_health_timeout"] = 10
    connected = pair.started()["wacore1"]
    pair.break_node("wacore2")
    for _attempt in range(2):
        run = apply(ansible, [pair], VALUES)
        assert run.rc != 0, run.output
        assert pair.container("wacore2") in words(run)
    assert pair.started()["wacore1"] == connected
    assert on_record(pair) >= {"wacore1", "wacore2"}
    pair.break_node("wacore2", broken=False)
    pair.await_health()
    rest = apply(ansible, [pair], VALUES)
    assert rest.rc == 0, rest.output
    assert pair.running("log_level") == {"warning"}


def test_command_that_makes_containers_anew_is_waited_for_under_their_new_ids(
    ansible: AnsibleCommands, on_machine: Kind, tmp_path: Path
) -> None:
    pair = on_machine("pair", {"pair": ["wacore1", "wacore2"]})
    cases = "".join(
        f"{node}) {shlex.join([pair.engine.docker, 'rm', '-f', pair.container(node)])}; "
        f"{shlex.join([pair.engine.docker, *pair.run_command(node)])};;\n"
        for node in pair.nodes
    )
    script = tmp_path / "recreate.sh"
    script.write_text(f'set -e\ncase "$1" in\n{cases}*) exit 9;; esac\n')
    pair.extra.update(
        wa_settings_restart_backend="command",
        wa_settings_restart_command=["sh", str(script)],
        wa_settings_restart_containers=pair.nodes,
    )
    before = pair.started()
    began = time.monotonic()
    run = apply(ansible, [pair], VALUES)
    assert run.rc == 0, run.output
    assert time.monotonic() - began < 50, "the time was up before anything was believed"
    assert _restarted(pair, before) == {"wacore1", "wacore2"}
    assert pair.running("log_level") == {"warning"}
    assert changed(apply(ansible, [pair], VALUES)) == 0


def test_engine_that_does_not_answer_is_found_before_anything_is_written(
    ansible: AnsibleCommands, on_machine: Kind
) -> None:
    client = on_machine("away", {"away": ["wacore"]})
    runs: list[CommandRun] = []
    for arguments in (["--check"], []):
        play = {"environment": {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}}
        runs.append(apply(ansible, [client], VALUES, *arguments, play=play))
    for run in runs:
        assert run.rc != 0, run.output
        assert "/nonexistent/docker.sock" in words(run)
    assert (client.writes(), client.starts()) == ([], [])


def test_named_container_that_is_not_there_is_found_before_anything_is_written(
    ansible: AnsibleCommands, on_machine: Kind
) -> None:
    client = on_machine("typo", {"typo": ["wacore"]})
    names = {"wa_settings_restart_containers": [client.container("wacore"), "wabiz-no-such-container"]}
    client.extra.update(names)
    _refused(ansible, [client], client, "wabiz-no-such-container")


def test_stopped_container_stays_stopped_and_costs_no_other(ansible: AnsibleCommands, on_machine: Kind) -> None:
    pair = on_machine("pair", {"pair": ["wacore1", "wacore2"]})
    pair.engine.call("stop", "--time=5", pair.container("wacore2"))
    pair.forget()
    run = apply(ansible, [pair], VALUES)
    assert run.rc == 0, run.output
    assert (pair.writes(), pair.starts()) == ([f"PATCH {SETTINGS}"], ["wacore1"])
