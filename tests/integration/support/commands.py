# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real `ansible-playbook` and `ansible`, with a home of their own and every result recorded."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import canaries

ROOT = Path(__file__).resolve().parents[3]
CALLBACKS = Path(__file__).parent / "callback_plugins"
TIMEOUT_SECONDS = 400.0
# The module with its arguments, for jobs that go on and where it is told to keep them; the environment of a job.
LEFT_BY_ANSIBLE = ("AnsiballZ_*.py", "artifacts/*/command")
STATE_DIR = re.compile('"wa_settings_state_dir": "([^"{]+)"')

# Each path on which a module can run, and the variables that lead there. The interpreter is the controller's own, so
# that nothing but the way differs.
PATHS: dict[str, dict[str, Any]] = {
    "in-process": {"ansible_python_interpreter": sys.executable},
    "module": {"ansible_python_interpreter": sys.executable, "wabiz_direct_execution": False},
}


def mostly(*first: Any, rest: Iterable[Any]) -> list[Any]:
    """Parameters of which `make test` takes the first ones, and `make thorough` all."""
    return [*first, *(pytest.param(value, marks=pytest.mark.thorough) for value in rest)]


def need_root(why: str) -> None:
    """Skip the test without root, with the reason in the table of gates; in CI, which has root, fail it."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("WABIZ_REQUIRE_ENGINE") == "1" else pytest.skip)(why)


# For what is the same on both, as a few tests on both show: each run as a module takes half a second.
MOSTLY_IN_PROCESS = mostly("in-process", rest=["module"])


@pytest.fixture(params=MOSTLY_IN_PROCESS)
def mostly_in_process(request: pytest.FixtureRequest) -> str:
    """The ways in which a module runs, for a file that takes it as its `path`."""
    return str(request.param)


Result = dict[str, Any]


@dataclass(frozen=True)
class CommandRun:
    """One finished command. `records` is what the callback wrote, in the order of time."""

    rc: int
    stdout: str
    stderr: str
    records: list[dict[str, Any]]

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def results(self, host: str | None = None, task: str | None = None, items: bool = False) -> list[Result]:
        """The final results of tasks (of loop items with `items`), all or those of one host or task."""
        events = ("item_ok", "item_failed") if items else ("ok", "failed", "skipped", "unreachable")
        return [
            record["result"]
            for record in self.records
            if record["event"] in events and host in (None, record["host"]) and task in (None, record["task"])
        ]

    def result(self, task: str, host: str | None = None) -> Result:
        """The one result of a task."""
        found = self.results(host, task)
        assert len(found) == 1, f"{len(found)} results of {task!r}:\n{self.output}"
        return found[0]

    def stats(self) -> dict[str, dict[str, int]]:
        """Host → ok, changed, failures, unreachable, skipped, rescued, ignored, as in the recap."""
        hosts: dict[str, dict[str, int]] = next(r["hosts"] for r in self.records if r["event"] == "stats")
        return hosts


@dataclass(frozen=True)
class StartedCommand:
    """A command that runs, the leader of a session of its own. `record` is the file that the callback writes.

    `before` are the files that were there then.
    """

    process: subprocess.Popen[str]
    record: Path
    places: frozenset[Path]
    secrets: frozenset[str]
    before: Mapping[Path, int]

    def finish(self, timeout: float = TIMEOUT_SECONDS) -> CommandRun:
        """Wait for its end, but no longer than `timeout` seconds."""
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        # A command that was killed may have left half a line.
        lines = self.record.read_text(encoding="utf-8").splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        self._hunt(stdout + stderr)
        return CommandRun(self.process.returncode, stdout, stderr, records)

    def _hunt(self, output: str) -> None:
        """No secret that the run was given may be in its output, in a result, or in a file that it left."""
        found = [f"{secret} in the output" for secret in canaries.hunt(output, self.secrets)]
        left = (f for f, changed in _files(self.places).items() if self.before.get(f) != changed)
        left = (f for f in left if not any(f.match(pattern) for pattern in LEFT_BY_ANSIBLE))
        found += canaries.hunt_in_files(left, self.secrets)
        assert not found, found


def _files(places: Iterable[Path]) -> dict[Path, int]:
    """The files below these places, with the times of their last changes in nanoseconds."""
    found = {}
    for folder, _folders, names in itertools.chain.from_iterable(map(os.walk, places)):
        for path in (Path(folder, name) for name in names):
            # What a command that was killed has left at work may take its files away.
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.lstat().st_mtime_ns
    return found


class AnsibleCommands:
    """Runs commands below `place`: in `inputs` lies what was written for them, elsewhere what they left behind."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.inputs, self.home, self.tmp, self.outputs = (place / n for n in ("inputs", "home", "tmp", "outputs"))
        for directory in (self.inputs, self.home, self.tmp, self.outputs):
            directory.mkdir(parents=True, exist_ok=True)
        # Ansible looks a thousand times a second whether a task is done, which takes a twentieth of a processor.
        (self.inputs / "ansible.cfg").write_text("[defaults]\ninternal_poll_interval = 0.01\n")
        self._count = 0
        self._secrets: set[str] = set()
        self._states: set[Path] = set()

    def playbook(
        self,
        plays: Sequence[Mapping[str, Any]],
        hosts: Mapping[str, Mapping[str, Any]],
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        groups: Mapping[str, Any] | None = None,
    ) -> CommandRun:
        """Run a playbook. `hosts` is name → variables, `groups` is further groups in the form of a YAML inventory."""
        return self.start_playbook(
            plays, hosts, *arguments, variables=variables, environment=environment, groups=groups
        ).finish()

    def start_playbook(
        self,
        plays: Sequence[Mapping[str, Any]],
        hosts: Mapping[str, Mapping[str, Any]],
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        groups: Mapping[str, Any] | None = None,
    ) -> StartedCommand:
        """The same, without waiting for it."""
        book = self.write("playbook.json", [{"gather_facts": False, **play} for play in plays])
        inventory = self.inventory(hosts, variables, groups)
        return self.start(["ansible-playbook", "-i", str(inventory), str(book), *arguments], environment)

    def adhoc(
        self,
        module: str,
        options: Mapping[str, Any],
        hosts: Mapping[str, Mapping[str, Any]],
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> CommandRun:
        """Run one module by `ansible` on all hosts."""
        inventory = self.inventory(hosts, variables)
        command = ["ansible", "all", "-i", str(inventory), "-m", f"wabiz.onprem.{module}", "-a", json.dumps(options)]
        return self.run([*command, *arguments], {"ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", **(environment or {})})

    def inventory(
        self,
        hosts: Mapping[str, Mapping[str, Any]],
        variables: Mapping[str, Any] | None = None,
        groups: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write an inventory of local hosts; the .json is YAML as well."""
        common = {"ansible_connection": "local", **(variables or {})}
        return self.write("inventory.json", {"all": {"hosts": hosts, "vars": common, "children": groups or {}}})

    def write(self, name: str, content: Any) -> Path:
        """Write text, or anything else as JSON, into `inputs`."""
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._secrets |= canaries.secrets_in(_parsed(content))
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        self._states |= {Path(directory) for directory in STATE_DIR.findall(text)}
        path.write_text(text, encoding="utf-8")
        return path

    def script(self, name: str, lines: str) -> Path:
        """Write a shell script that anybody may run into `inputs`."""
        path = self.write(name, f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return path

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> CommandRun:
        """Run a command of the environment that the tests run in."""
        return self.start(command, environment).finish()

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> StartedCommand:
        """Start a command of the environment that the tests run in."""
        self._count += 1
        record = self.outputs / f"record-{self._count}.jsonl"
        record.touch()
        self._secrets |= canaries.secrets_in([environment, [_parsed(word) for word in command]])
        places = frozenset({self.place, *self._states})
        before = _files(places)
        process = subprocess.Popen(
            command,
            cwd=self.inputs,
            env={**self.environment(), "WABIZ_RECORD": str(record), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return StartedCommand(process, record, places, frozenset(self._secrets), before)

    def environment(self) -> dict[str, str]:
        """The whole environment of a command: nothing of the user's own settings reaches it."""
        return {
            # What `make coverage` tells its children.
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.inputs / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            # With a local connection Ansible takes `~` for the user's real home here, whatever HOME says.
            "ANSIBLE_REMOTE_TEMP": str(self.home / ".ansible" / "tmp"),
            "ANSIBLE_ASYNC_DIR": str(self.home / ".ansible_async"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get(
                "ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".cache" / "collections")
            ),
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            # The form of all inventories here: the plugins for the others take their time in each of thousands of runs.
            "ANSIBLE_INVENTORY_ENABLED": "yaml",
            "ANSIBLE_LOG_PATH": str(self.outputs / "ansible.log"),
            # Always, so that it is compared; off by default from ansible-core 2.21 on.
            "ANSIBLE_INJECT_INVOCATION": "1",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "6",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
        }


def _parsed(content: Any) -> Any:
    """What a text says where it is JSON or YAML; anything else as it is."""
    if not isinstance(content, str):
        return content
    for parse in (json.loads, yaml.safe_load):  # all JSON is YAML as well, but that takes a hundred times as long
        with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
            return parse(content)
    return content
