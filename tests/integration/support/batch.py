# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many cases in one run of `ansible-playbook`: a host and a client of its own for each case, a task for each step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.commands import PATHS, AnsibleCommands, CommandRun, Result
from support.emulator import EmulatedClient, Emulator, verb

CHECK, FIRST, AGAIN = "check", "first", "again"
FULL = (CHECK, FIRST, AGAIN)


@dataclass(frozen=True)
class Case:
    """A client in some state, and a task for it.

    `connection` is `token`, `password` or `none`; `options` come on top of it and win. With several `steps` the
    same task runs several times; the step CHECK runs it in check mode. `stored`, `providers`, `switches`, `faults` and
    `users` set up the client.
    """

    name: str
    options: Mapping[str, Any]
    module: str = "wa_application_settings"
    connection: str = "token"
    stored: Mapping[str, Any] = field(default_factory=dict)
    providers: Sequence[Mapping[str, Any]] = ()
    switches: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[Mapping[str, Any]] = ()
    users: Sequence[Mapping[str, Any]] = ()
    steps: tuple[str, ...] = FULL

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Outcome:
    """What a case led to: for each step the result and what arrived on the wire."""

    client: EmulatedClient
    results: Mapping[str, Result]
    requests: Mapping[str, list[dict[str, Any]]]
    failures: int

    def verbs(self, step: str) -> list[str]:
        return [verb(request) for request in self.requests[step]]

    def writes(self, step: str) -> list[dict[str, Any]]:
        """Requests that change something; the login pair does not."""
        return [r for r in self.requests[step] if r["method"] != "GET" and not r["path"].startswith("/v1/users/log")]

    def only_result(self) -> Result:
        (result,) = self.results.values()
        return result


@dataclass(frozen=True)
class Batch:
    """The outcomes of all cases, by the name of the case, and the run that they came from."""

    run: CommandRun
    outcomes: Mapping[str, Outcome]


RunCases = Callable[[str, Sequence[Case]], Batch]


def run_batch(
    commands: AnsibleCommands,
    emulator: Emulator,
    path: str,
    cases: Iterable[Case],
    *arguments: str,
    one_task: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Batch:
    """Run the cases over one of PATHS. A case ends at its first failure, as a host does in any play.

    one_task: for cases of one step only; very many of them are much faster as one task for each module, the options of
    which are variables.
    """
    cases = list(cases)
    clients: dict[str, EmulatedClient] = {}
    hosts: dict[str, dict[str, Any]] = {}
    for case in cases:
        client = clients[case.name] = emulator.new_client(dict(case.stored), **case.switches)
        if case.providers:
            client.control.store_providers([dict(provider) for provider in case.providers])
        for fault in case.faults:
            client.control.fault(**fault)
        for user in case.users:
            client.control.add_user(**user)
        connection = {"token": client.with_token, "password": client.with_password, "none": dict}[case.connection]()
        options = {**connection, **_addressed(case.options, client)}
        hosts[_host(case)] = {"options": options} if one_task else {}
        if not one_task:
            commands.write(f"cases/{_host(case)}.json", [_task(case, step, options) for step in case.steps])
    # Only this strategy runs different task files of several hosts side by side.
    include = {"include_tasks": "cases/{{ inventory_hostname }}.json"}
    plays: list[dict[str, Any]] = [{"hosts": "all", "strategy": "free", "tasks": [include]}]
    if one_task:
        modules = dict.fromkeys(case.module for case in cases)
        plays = [_one_task([case for case in cases if case.module == module], hosts) for module in modules]
    run = commands.playbook(plays, hosts, *arguments, variables=PATHS[path], environment=environment)
    stats = run.stats()
    return Batch(
        run, {case.name: _outcome(case, run, clients[case.name], stats[_host(case)]["failures"]) for case in cases}
    )


def _one_task(cases: Sequence[Case], hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A play with one task for all these cases."""
    names = [_host(case) for case in cases]
    options = {option for name in names for option in hosts[name]["options"]}
    templates = {option: f"{{{{ options.{option} | default(omit) }}}}" for option in sorted(options)}
    (step,) = {step for case in cases for step in case.steps}
    return {"hosts": names, "tasks": [_task(cases[0], step, templates)]}


def _host(case: Case) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in case.name)


def _addressed(options: Mapping[str, Any], client: EmulatedClient) -> dict[str, Any]:
    """The options with `{api_url}` and `{address}` (without `https://`) replaced by those of the case's client."""
    text = json.dumps(options).replace("{api_url}", client.api_url)
    replaced: dict[str, Any] = json.loads(text.replace("{address}", client.api_url.removeprefix("https://")))
    return replaced


def _task(case: Case, step: str, options: Mapping[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = {"name": step, f"wabiz.onprem.{case.module}": options, "diff": True}
    return {**task, "check_mode": True} if step == CHECK else task


def _outcome(case: Case, run: CommandRun, client: EmulatedClient, failures: int) -> Outcome:
    records = [r for r in run.records if r.get("host") == _host(case) and r["task"] in case.steps]
    log = client.control.requests()
    results, requests, since = {}, {}, 0.0
    for record in records:
        results[record["task"]] = record["result"]
        # A host's next task starts only after the callback has seen the end of the one before.
        requests[record["task"]] = [r for r in log if since < r["time"] <= record["time"]]
        since = record["time"]
    return Outcome(client, results, requests, failures)


def assert_prediction(outcome: Outcome) -> None:
    """Check mode read only, and said what the real run then did."""
    assert outcome.requests[CHECK], "check mode read nothing"
    assert outcome.writes(CHECK) == []
    predicted = dict(outcome.results[CHECK])
    # What nobody can know before is said in check mode only.
    sure = [warning for warning in predicted.pop("warnings", []) if not warning.startswith("what the reset makes of")]
    assert {**predicted, **({"warnings": sure} if sure else {})} == outcome.results[FIRST]


def assert_converged(outcome: Outcome) -> None:
    """The run after the change found nothing to do and wrote nothing."""
    assert outcome.results[AGAIN]["changed"] is False
    assert outcome.results[AGAIN]["changed_settings"] == []
    assert outcome.writes(AGAIN) == []


def comparable(outcome: Outcome) -> dict[str, Any]:
    """The results of all steps without what differs by chance: addresses, and the order of a set in a message."""
    text = json.dumps(dict(outcome.results)).replace(outcome.client.api_url.removeprefix("https://"), "{address}")
    text = re.sub(r"Valid booleans include: [^\"]*", "Valid booleans include: ...", text)
    result: dict[str, Any] = json.loads(text)
    return result


def changed_leaves(before: Mapping[str, Any], after: Mapping[str, Any], above: str = "") -> set[str]:
    """Dotted names of the leaves in which two settings objects differ."""
    found: set[str] = set()
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changed_leaves(old, new, f"{above}{name}.")
        elif old != new:
            found.add(f"{above}{name}")
    return found


def assert_same_over_both_paths(run_cases: RunCases, cases: Sequence[Case]) -> None:
    """Every result of every case is the same over both paths, key for key."""
    batches = {path: run_cases(path, cases) for path in PATHS}
    differences: list[str] = []
    for case in cases:
        inside, module = (comparable(batch.outcomes[case.name]) for batch in batches.values())
        for name in sorted(changed_leaves(inside, module)):
            differences.append(f"{case}: {name}: {leaf(inside, name)!r} / {leaf(module, name)!r}")
    assert not differences, " / ".join(PATHS) + "\n" + "\n".join(differences)


def leaf(settings: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name, None where there is none."""
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
