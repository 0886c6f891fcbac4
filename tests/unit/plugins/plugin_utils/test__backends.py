# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Backend, Member, Problem, only, within
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.engine import (
    IMAGE_PATTERN,
    TEMPLATE,
    Docker,
    Podman,
    read_inspection,
    select,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import COREAPP, MASTER, Node

COREAPP_IMAGE = "docker.whatsapp.biz/coreapp:v2.57.2"


class Host:
    """Answers commands in turn: texts, or problems."""

    is_here = False

    def __init__(self, *answers: str | Problem) -> None:
        self.commands: list[str] = []
        self._answers = list(answers)

    def run(self, command: str) -> str:
        self.commands.append(command)
        answer = self._answers.pop(0)
        if isinstance(answer, Problem):
            raise answer
        return answer

    def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        raise AssertionError(name)


def member(**facts: Any) -> Member:
    return Member(
        **{
            "host": "h",
            "inside": True,
            "backend": "docker",
            "containers": (),
            "image_pattern": IMAGE_PATTERN,
            "command": (),
            "state_dir": "/state",
            **facts,
        }
    )


def container(name: str = "wacore1", **facts: Any) -> dict[str, Any]:
    return {
        "id": f"{name:0<12}".encode().hex(),
        "name": f"/{name}",
        "image": COREAPP_IMAGE,
        "state": "running",
        "started": "2026-01-01T00:00:00Z",
        "pid": 7,
        "hostname": name,
        "service": "",
        "owners": [""],
        "networks": [""],
        "volumes": [""],
        "flags": [""],
        **facts,
    }


def chosen(*found: dict[str, Any], names: tuple[str, ...] = (), pattern: str = IMAGE_PATTERN) -> list[str]:
    return [node.name for node in select(found, names, pattern)]


# --- all of them -------------------------------------------------------------------------------------------------


def test_every_backend_can_do_what_a_backend_does() -> None:
    for name, backend in BACKENDS.items():
        for method in ("refusal", "look", "restart"):
            assert getattr(backend, method).__func__ is not getattr(Backend, method).__func__, (name, method)


def test_a_record_lies_in_the_directory_of_its_host() -> None:
    assert Docker.store(Host(), member(), "c").name == "/state/c@h.json"


@pytest.mark.parametrize(
    ("node", "found"),
    [(Node("b", "1"), "a"), (Node("b", "9"), "b"), (Node("b", ""), "b"), (Node("x", ""), None), (Node("x", "9"), None)],
)
def test_a_node_is_found_again_by_id_or_name(node: Node, found: str | None) -> None:
    now = only([Node("a", "1"), Node("b", "2"), Node("c", "")], node)
    assert (now.name if now else None) == found


# --- Docker and Podman -------------------------------------------------------------------------------------------


def test_what_a_container_says_of_itself() -> None:
    (node,) = select([container(hostname="box")], (), IMAGE_PATTERN)
    assert node == Node("wacore1", container()["id"], COREAPP, True, True, "2026-01-01T00:00:00Z 7", "box")


@pytest.mark.parametrize(
    ("state", "running", "steady"),
    [
        ("running", True, True),
        ("restarting", True, False),
        ("paused", True, True),
        ("exited", False, True),
        ("created", False, True),
        ("dead", False, True),
    ],
)
def test_states(state: str, running: bool, steady: bool) -> None:
    (node,) = select([container(state=state)], (), IMAGE_PATTERN)
    assert (node.running, node.steady) == (running, steady)


@pytest.mark.parametrize(("changed", "value"), [("started", "later"), ("pid", 8)])
def test_each_start_is_another_incarnation(changed: str, value: Any) -> None:
    (before,) = select([container()], (), IMAGE_PATTERN)
    (after,) = select([container(**{changed: value})], (), IMAGE_PATTERN)
    assert before.incarnation != after.incarnation


def test_masters_are_told_by_their_environment_and_upgrades_left_out() -> None:
    nodes = select(
        [
            container("b", flags=["master", ""], owners=["p"]),
            container("a", owners=["p"]),
            container("c", flags=["upgrade", ""], owners=["q"]),
        ],
        (),
        IMAGE_PATTERN,
    )
    assert [(node.name, node.kind) for node in nodes] == [("a", COREAPP), ("b", MASTER)]


@pytest.mark.parametrize(
    ("found", "pattern", "is_ours"),
    [
        (container(), IMAGE_PATTERN, True),
        (container(image="whatsapp-biz/coreapp"), IMAGE_PATTERN, False),
        (container(image="registry/own:1", service="wacore"), IMAGE_PATTERN, True),
        (container(image="registry/own:1", service="wacore12"), IMAGE_PATTERN, True),
        (container(image="registry/own:1", service="wacoreapp"), IMAGE_PATTERN, False),
        (container(image="registry/own:1", service="wacore"), "other", False),
        (container(image="registry/own:1"), "own", True),
        (container(image="registry/own:1", service=None), "nothing", False),
    ],
)
def test_which_containers_are_the_clients(found: dict[str, Any], pattern: str, is_ours: bool) -> None:
    assert bool(chosen(found, pattern=pattern)) is is_ours


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("p_wacore_1", "p-wacore-1"),
        ("p-wacore-1", "p-wacore-1"),
        (container("p-wacore-1")["id"][:12], "p-wacore-1"),
        (container("p-wacore-1")["id"], "p-wacore-1"),
    ],
)
def test_names_in_either_spelling_and_ids(name: str, found: str) -> None:
    assert chosen(container("p-wacore-1", image="x"), container("other"), names=(name, found)) == [found]


def test_the_exact_name_counts_before_the_other_spelling() -> None:
    assert chosen(container("a_1"), container("a-1"), names=("a-1",)) == ["a-1"]


def test_names_that_nobody_has() -> None:
    with pytest.raises(Problem, match=r"^no such container: x, y$"):
        chosen(container(), names=("wacore1", "x", "y"))
    with pytest.raises(Problem, match="no such container"):
        chosen(container(), names=(container()["id"][:11],))


def test_named_containers_may_belong_to_whom_they_like() -> None:
    assert chosen(container("a", owners=["p"]), container("b", owners=["q"]), names=("b", "a")) == ["a", "b"]


OWNED: list[tuple[list[dict[str, Any]], int]] = [
    ([{"owners": ["p", ""]}, {"owners": ["p", ""]}], 1),
    ([{"owners": ["p", ""]}, {"owners": ["q", ""]}], 2),
    ([{"owners": ["p", ""]}, {"owners": [""]}], 2),
    ([{"owners": ["p", ""], "networks": ["n"]}, {"owners": ["q", ""], "networks": ["n"]}], 2),
    ([{"networks": ["n", ""]}, {"networks": ["n", ""]}], 1),
    ([{"networks": ["n", ""]}, {"networks": ["m", ""]}], 2),
    ([{"networks": ["bridge", ""]}, {"networks": ["bridge", ""]}], 2),
    ([{"networks": ["host", ""]}, {"networks": ["host", ""]}], 2),
    ([{"networks": ["podman", ""]}, {"networks": ["podman", ""]}], 2),
    ([{"volumes": ["v", ""]}, {"volumes": ["v", ""]}], 1),
    ([{"volumes": ["v", ""]}, {"networks": ["v", ""]}], 2),
    ([{"networks": ["n"]}, {"networks": ["m"]}, {"networks": ["n", "m"]}], 1),
    ([{}, {}], 2),
    ([{}], 1),
    ([{}, {"image": "postgres"}], 1),
]


@pytest.mark.parametrize(("facts", "owners"), OWNED)
def test_containers_of_several_owners_are_refused(facts: list[dict[str, Any]], owners: int) -> None:
    found = [container(f"w{at}", **fact) for at, fact in enumerate(facts)]
    if owners == 1:
        assert chosen(*found)
    else:
        with pytest.raises(Problem, match=r"several clients.*wa_settings_restart_containers") as refused:
            chosen(*found)
        assert all(re.search(f"w{at}", str(refused.value)) for at in range(len(found)))


def test_an_inspection_is_read_line_by_line() -> None:
    assert read_inspection('{"id":"a"}\n\n{"id":"b"}\n') == [{"id": "a"}, {"id": "b"}]
    for output in ("[]", "Error", "{"):
        with pytest.raises(ValueError):
            read_inspection(output)


@pytest.mark.parametrize(("backend", "program"), [(Docker, "docker"), (Podman, "podman")])
def test_the_engine_is_asked_by_its_own_command_line(backend: type[Docker], program: str) -> None:
    host = Host(json.dumps(container()))
    assert [node.name for node in backend.look(host, member())] == ["wacore1"]
    assert host.commands[0].startswith(f"ids=$({program} ps --all --quiet --no-trunc) || exit; ")
    assert f"{program} inspect --type container --format {shlex.quote(TEMPLATE)} $ids" in host.commands[0]
    assert subprocess.run(["sh", "-n", "-c", host.commands[0]], check=False).returncode == 0
    assert backend.look(Host(""), member()) == []


def test_no_environment_but_the_two_flags_is_asked_for() -> None:
    assert TEMPLATE.count(".Config.Env") == 1
    assert re.findall(r"eq \. \"([^\"]*)\"", TEMPLATE) == ["WA_MASTER_NODE=1", "WA_DB_UPGRADE=1"]


def test_a_container_that_goes_between_list_and_inspection_is_no_problem() -> None:
    gone = Problem("Error: No such object: 123")
    host = Host(gone, gone, json.dumps(container()))
    assert len(Docker.look(host, member())) == 1
    with pytest.raises(Problem, match=r"^docker: Error: No such object"):
        Docker.look(Host(gone, gone, gone), member())


def test_other_problems_are_told_at_once() -> None:
    host = Host(Problem("permission denied"))
    with pytest.raises(Problem, match=r"^docker: permission denied$"):
        Docker.look(host, member())
    with pytest.raises(Problem, match="docker: the answer to inspect cannot be read"):
        Docker.look(Host("<html>"), member())
    host = Host(json.dumps(container()))
    with pytest.raises(Problem, match="no such container: x"):
        Docker.look(host, member(containers=("x",)))
    assert len(host.commands) == 1


def test_a_restart_is_the_engines_own() -> None:
    host = Host("", "")
    Docker.restart(host, member(), Node("a b", "123"), 60, 300.0)
    Podman.restart(host, member(), Node("a b"), 0, 300.0)
    commands = ["docker restart -t 60 123 >/dev/null", "podman restart -t 0 'a b' >/dev/null"]
    assert host.commands == [within(360, commands[0]), within(300, commands[1])]
    with pytest.raises(Problem, match=r"^podman: boom"):
        Podman.restart(Host(Problem("boom")), member(), Node("a"), 60, 300.0)


@pytest.mark.parametrize(("pattern", "refused"), [("a(", True), ("a", False)])
def test_a_pattern_that_is_none_is_refused(pattern: str, refused: bool) -> None:
    said = Docker.refusal(member(image_pattern=pattern))
    assert (said is not None) is refused
    assert said is None or said.startswith("wa_settings_restart_image_pattern: a( is not a regular expression")


# --- a command ---------------------------------------------------------------------------------------------------

COMMAND = BACKENDS["command"]


@pytest.mark.parametrize("command", [(), ("",), (" ", "restart"), ("\t",)])
def test_an_empty_command_is_refused(command: tuple[str, ...]) -> None:
    said = COMMAND.refusal(member(command=command))
    assert said is not None and said.startswith("wa_settings_restart_command: is empty")


def test_a_command_gets_the_nodes_name() -> None:
    made = member(command=("systemctl", "re start", "$x"), containers=("one", "two", "one"))
    assert COMMAND.refusal(made) is None
    assert COMMAND.look(Host(), made) == [Node("one"), Node("two")]
    assert COMMAND.look(Host(), member(command=("x",))) == [Node("h")]
    host = Host("")
    COMMAND.restart(host, made, Node("it's"), 60, 300.0)
    assert host.commands == [within(360, shlex.join(["systemctl", "re start", "$x", "it's"]))]
    assert not COMMAND.tells_starts
    assert Docker.tells_starts


@pytest.mark.parametrize("without_timeout", [False, True])
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ('echo "it\'s"; test -n "$HOME"', 0, "it's\n"),
        ("echo no >&2; exit 3", 3, "no\n"),
        ("kill -9 $$", None, ""),
    ],
)
def test_a_command_within_its_time_ends_as_it_would(
    tmp_path: Path, command: str, code: int | None, said: str, without_timeout: bool
) -> None:
    if without_timeout:
        (tmp_path / "timeout").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "timeout").chmod(0o755)
    found = _run(within(30, command), tmp_path)
    assert code is None or (found.returncode, found.stdout) == (code, said)
    assert (found.returncode == 0) == (code == 0)


def test_a_command_that_takes_too_long_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    began = time.monotonic()
    found = _run(within(1, "sleep 321.5 & sleep 321.5"), tmp_path)
    assert (found.returncode, found.stdout) == (1, "it has not ended within 1 s, and was stopped\n")
    assert time.monotonic() - began < 20
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"321.5" in _bytes(path)]


def test_what_a_command_leaves_in_the_background_holds_nothing_up(tmp_path: Path) -> None:
    began = time.monotonic()
    found = _run(within(60, "sleep 20.25 & echo done"), tmp_path)
    assert (found.returncode, found.stdout) == (0, "done\n")
    assert time.monotonic() - began < 10
    assert list(tmp_path.glob("tmp.*")) == []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # gone meanwhile


def _run(script: str, first_on_path: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{first_on_path}:{os.environ['PATH']}", "TMPDIR": str(first_on_path)}
    command = ["/bin/sh", "-c", f"exec 2>&1\n{script}"]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("sh", True),
        ("cd", True),
        ("/bin/sh", True),
        ("nowhere-at-all", False),
        ("-x", False),
        ("", False),
        ("it's", False),
        ("sh -c", False),
        ("/etc/passwd", False),
        ("/etc", False),
        ("/nowhere/at/all", False),
    ],
)
def test_a_command_is_found_before_it_is_needed(shell: str, word: str, found: bool) -> None:
    class Local(Host):
        def run(self, command: str) -> str:
            return subprocess.run([shell, "-c", command], capture_output=True, text=True, check=True).stdout

    made = member(command=(word, "restart"))
    if found:
        COMMAND.check(Local(), made)
    else:
        with pytest.raises(Problem, match=r"wa_settings_restart_command: .* is not found on h, or cannot be run"):
            COMMAND.check(Local(), made)
