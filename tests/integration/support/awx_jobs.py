# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX hands them to ansible-runner: a private data directory with project, inventory and credential."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from awx_rules import injected
from settings_survey import Template, UnsafeDumper
from shipped_objects import FOLDER, load
from support.commands import AnsibleCommands, CommandRun, StartedCommand
from support.deployments import Deployment
from support.emulator import PASSWORD

_OBJECTS = load()
TEMPLATES: dict[str, dict[str, Any]] = {one["name"]: one for one in _OBJECTS["controller_templates"]}
OF_MODULES, OF_ROLE = _OBJECTS["controller_credential_types"]
QUERY = "canary-query-value"
HOOK = f"https://hooks.example.com/wa?auth={QUERY}"


@dataclass(frozen=True)
class Job:
    """A job that is over, or runs."""

    place: Path
    command: StartedCommand

    def finish(self) -> CommandRun:
        return self.command.finish()

    @property
    def artifacts(self) -> Path:
        return self.place / "artifacts" / "1"

    @property
    def status(self) -> str:
        return (self.artifacts / "status").read_text()

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The job events in their order, all or those of one kind."""
        paths = sorted((self.artifacts / "job_events").glob("*.json"), key=lambda path: int(path.name.split("-")[0]))
        events = [json.loads(path.read_text()) for path in paths]
        return [event for event in events if kind in (None, event["event"])]

    def results(self, host: str) -> list[dict[str, Any]]:
        """What the tasks of a host gave, the failed ones included."""
        kinds = ("runner_on_ok", "runner_on_failed")
        found = [event["event_data"] for event in self.events() if event["event"] in kinds]
        return [data["res"] for data in found if data["host"] == host]

    def said(self) -> str:
        """What AWX shows as the output."""
        return "".join(event["stdout"] for event in self.events())


def credential(deployment: Deployment, **more: Any) -> dict[str, Any]:
    """What somebody typed into the credential."""
    return {"password": PASSWORD, "ca": Path(deployment.client.ca_path).read_text(), **more}


def assert_clean(job: Job, ansible: AnsibleCommands) -> None:
    """No warning and no deprecation, and no secret in what AWX keeps of a job, or in what the job left behind."""
    said = job.said()
    kinds = {event["event"] for event in job.events()}
    assert not kinds & {"warning", "deprecated", "error"}, said
    for word in ("WARNING", "DEPRECATION"):
        assert word not in said
    # Of the artifacts `command` alone holds the environment; AWX censors it.
    left = [path for path in (*job.artifacts.rglob("*"), *ansible.outputs.rglob("*")) if path.is_file()]
    assert len(left) > len(job.events()) > 0
    for secret in (PASSWORD, QUERY):
        leaks = [path for path in left if path.name != "command" and secret in path.read_text(errors="replace")]
        assert leaks == []


def launch(
    ansible: AnsibleCommands,
    template: str,
    deployments: Sequence[Deployment],
    credential: Mapping[str, Any],
    *,
    answers: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    limit: str = "",
    job_type: str = "",
    slices: tuple[int, int] = (1, 1),
    credential_type: Mapping[str, Any] = OF_ROLE,
    within: Callable[[Path], Sequence[str]] = lambda place: (),
) -> Job:
    """Start a job from a shipped template.

    variables: of the inventory. slices: which slice of how many; AWX gives a slice every so many-th host, and no other.
    within: the words that lead to where the job runs, for its private data directory.
    """
    shipped = TEMPLATES[template]
    place = ansible.inputs / f"job-{len(list(ansible.inputs.glob('job-*'))) + 1}"
    shutil.copytree(FOLDER / "project", place / "project")
    hosts = {
        host: {
            # What the credential says is not in the inventory.
            name: value
            for name, value in facts.items()
            if name not in ("wa_settings_token", "wa_settings_password", "wa_settings_ca_path")
        }
        for deployment in deployments
        for host, facts in deployment.inventory().items()
    }
    number, count = slices
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        **(variables or {}),
    }
    sliced = dict(list(hosts.items())[number - 1 :: count])
    _write(place / "inventory" / "hosts.json", json.dumps({"all": {"hosts": sliced, "vars": common}}))

    of_credential = injected(credential_type, credential, str(place / "env" / "file"))
    for content in of_credential.get("file", {}).values():
        _write(place / "env" / "file", content)
    _write(place / "env" / "envvars", json.dumps({**of_credential.get("env", {}), "ANSIBLE_FORCE_COLOR": "false"}))
    # Only what the template itself says is a template for Ansible as well.
    given = {**(answers or {}), **of_credential.get("extra_vars", {})}
    extra = {**shipped["extra_vars"], **{name: _unsafe(value) for name, value in given.items()}}
    _write(place / "env" / "variables.yml", yaml.dump(_plain(extra), Dumper=UnsafeDumper))

    words = [f"-e @{place / 'env' / 'variables.yml'}"]
    words += ["--diff"] if shipped["diff_mode"] else []
    words += ["--check"] if (job_type or shipped["job_type"]) == "check" else []
    words += [f"--limit {limit}"] if limit else []
    _write(place / "env" / "cmdline", " ".join(words))
    command = [*within(place), "ansible-runner", "run", str(place), "-p", shipped["playbook"], "--ident", "1"]
    return Job(place, ansible.start(command))


def run_job(*arguments: Any, **keywords: Any) -> Job:
    """The same, until it is over."""
    job = launch(*arguments, **keywords)
    job.finish()
    return job


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _unsafe(value: Any) -> Any:
    if isinstance(value, list):
        return [_unsafe(member) for member in value]
    return Template(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Without the marks of the shipped file, which kept Ansible from rendering on the way to AWX."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return str(value) if isinstance(value, str) and not isinstance(value, Template) else value
