# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: the ways to the same end and their yardsticks, and which of them at which size how often."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleet import WANTED, Fleet

HERE = Path(__file__).resolve().parent
PLAYBOOKS = HERE / "playbooks"
MODULE = "wabiz.onprem.wa_application_settings"

READ = Counter(GET=1)
WRITE = Counter(GET=2, PATCH=1)
SESSION = Counter(POST=2)


@dataclass(frozen=True)
class Subject:
    """One way to do the work, or a yardstick that does none. `command` starts with a program of the environment.

    `converged` and `changing` are the requests that each client has to get; None where the subject does not do it.
    `over_ssh`: each client is a host of its own, behind a connection of its own.
    """

    name: str
    title: str
    command: tuple[str, ...]
    credentials: str = ""
    converged: Counter[str] | None = None
    changing: Counter[str] | None = None
    over_ssh: bool = False

    def full_command(self, fleet: Fleet, clients: int, forks: int) -> list[str]:
        """Return the command line for a number of clients and of forks (or threads)."""
        program, *arguments = self.command
        inventory = str(fleet.inventory(clients))
        credentials = {"token": str(fleet.token_file), "password": str(fleet.password_file)}.get(self.credentials)
        command = [str(Path(sys.executable).parent / program), *arguments]
        if program == "python":
            return [*command, inventory, str(credentials), str(forks)]
        command += ["--inventory", inventory, "--forks", str(forks)]
        for variables in (credentials, fleet.ssh_file if self.over_ssh else None):
            command += ["--extra-vars", f"@{variables}"] if variables else []
        return command


def _play(name: str, *arguments: str) -> tuple[str, ...]:
    return ("ansible-playbook", str(PLAYBOOKS / f"{name}.yml"), *arguments)


_AD_HOC = {
    "api_url": "{{ api_url }}",
    "token": "{{ token }}",
    "ca_path": "{{ ca_path }}",
    "settings": WANTED,
}
_AS_MODULE = ("--extra-vars", json.dumps({"wabiz_direct_execution": False}))

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("debug", "`debug` task", _play("debug"), "", Counter()),
        Subject("debug-result", "`debug` task with a result like ours", _play("debug_result"), "", Counter()),
        Subject("token", "ours, token", _play("token"), "token", READ, WRITE),
        Subject("password", "ours, password", _play("password"), "password", READ + SESSION, WRITE + SESSION),
        Subject(
            "threads",
            "no Ansible: `requests` in threads",
            ("python", str(HERE / "conversations.py")),
            "password",
            READ + SESSION,
            WRITE + SESSION,
        ),
        Subject("role", "role `wa_settings` by `roles:`, token", _play("role"), "token", READ),
        Subject("apply", "playbook `apply`, token", ("ansible-playbook", "wabiz.onprem.apply"), "token", READ),
        Subject(
            "apply-check",
            "playbook `apply --check`, token",
            ("ansible-playbook", "wabiz.onprem.apply", "--check"),
            "token",
            READ,
        ),
        Subject("drift", "playbook `drift`, token", ("ansible-playbook", "wabiz.onprem.drift"), "token", READ),
        Subject(
            "ad-hoc-debug", "ad hoc: `debug`", ("ansible", "clients", "-m", "ansible.builtin.debug"), "", Counter()
        ),
        Subject(
            "ad-hoc",
            "ad hoc: ours, token",
            ("ansible", "clients", "-m", MODULE, "-a", json.dumps(_AD_HOC)),
            "token",
            READ,
            WRITE,
        ),
        Subject("ping", "`ansible.builtin.ping`", _play("ping"), "", Counter()),
        Subject(
            "module",
            "ours as a module, password",
            _play("password", *_AS_MODULE),
            "password",
            READ + SESSION,
            WRITE + SESSION,
        ),
        Subject("ping-ssh", "`ansible.builtin.ping` over SSH", _play("ping"), "", Counter(), over_ssh=True),
        Subject("module-ssh", "ours over SSH, token", _play("token"), "token", READ, over_ssh=True),
        Subject("uri", "`ansible.builtin.uri`, password", _play("uri"), "password", READ + SESSION, WRITE + SESSION),
    )
}
FAST = ("debug", "token", "password", "threads")
MORE = ("debug-result", "role", "apply", "apply-check", "drift", "ad-hoc-debug", "ad-hoc")
SLOW = ("ping", "module", "uri")
SSH = ("ping-ssh", "module-ssh")


@dataclass(frozen=True)
class Cell:
    """One figure to be had: a subject at a number of clients and forks, in a state of the fleet."""

    clients: int
    forks: int
    state: str
    subject: str

    @property
    def expected(self) -> Counter[str]:
        """The requests that each client has to get."""
        subject = SUBJECTS[self.subject]
        expected = subject.converged if self.state == "converged" else subject.changing
        assert expected is not None
        return expected


@dataclass(frozen=True)
class Block:
    """Cells of one size, and in how many rounds they are measured."""

    clients: int
    forks: tuple[int, ...]
    subjects: tuple[str, ...]
    rounds: int
    states: tuple[str, ...] = ("converged", "changing")

    def of(self, names: tuple[str, ...]) -> Block:
        """Return the block with these subjects only."""
        return replace(self, subjects=tuple(name for name in self.subjects if name in names))

    def cells(self) -> list[Cell]:
        """Return the cells, those that are compared next to each other."""
        return [
            Cell(self.clients, forks, state, name)
            for forks in self.forks
            for state in self.states
            for name in self.subjects
            if (SUBJECTS[name].converged if state == "converged" else SUBJECTS[name].changing) is not None
        ]


CONVERGED, CHANGING = ("converged",), ("changing",)
# What promises compare lies side by side, for the speed of a machine drifts within minutes: 100 clients before and
# after each measurement of 1,000.
SMALL = Block(100, (20,), ("debug", "token", "password", "role", "apply", "apply-check", "drift"), 5, CONVERGED)
LARGE = tuple(Block(1000, (20,), (name,), 5, CONVERGED) for name in ("debug", "token", "password"))
# What starts a module on 1,000 clients takes a quarter of an hour and tells nothing that 100 do not.
FULL = (
    SMALL,
    *(block for large in LARGE for block in (large, SMALL)),
    Block(100, (20,), SSH, 3, CONVERGED),
    Block(100, (20,), SLOW, 3, CONVERGED),
    Block(100, (20,), SLOW, 1, CHANGING),
    Block(100, (20,), ("threads", "debug-result", "ad-hoc-debug", "ad-hoc"), 5, CONVERGED),
    Block(100, (20,), ("token", "password", "threads", "ad-hoc"), 5, CHANGING),
    Block(100, (5, 50), FAST, 5),
    Block(10, (5, 20, 50), FAST + MORE + SLOW, 3),
    Block(1000, (20,), ("threads", "debug-result"), 2, CONVERGED),
    Block(1000, (20,), FAST, 2, CHANGING),
    Block(1000, (5, 50), FAST, 2, CONVERGED),
)
QUICK = (Block(2, (5,), FAST + MORE + SLOW + SSH, rounds=1),)


def round_of(plan: Sequence[Block], number: int) -> list[Cell]:
    """Return the cells of a round, counted from 0, some of them several times; empty after the last."""
    return [cell for block in plan if number < block.rounds for cell in block.cells()]
