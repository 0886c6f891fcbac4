# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media providers: present, absent, predicted, refused, after a lost answer; and their credentials nowhere in sight."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from support.batch import (
    AGAIN,
    CHECK,
    FIRST,
    Case,
    Outcome,
    RunCases,
    assert_prediction,
    assert_same_over_both_paths,
)
from support.commands import PATHS, AnsibleCommands, mostly_in_process
from support.emulator import EmulatedClient, Emulator
from wabiz_emulator import logs

path = mostly_in_process

PROVIDERS = "/v1/settings/application/media/providers"
GET, POST = f"GET {PROVIDERS}", f"POST {PROVIDERS}"
LOGIN, LOGOUT = "POST /v1/users/login", "POST /v1/users/logout"
MODULE, INFO = "wa_media_provider", "wa_media_provider_info"
HIDDEN = "********"
OLD_PASS, OLD_TOKEN = "canary-old-pass", "canary-old-token"

Stored = dict[str, Any]


def basic(name: str, password: str = OLD_PASS, username: str = "media") -> Stored:
    """A provider as the API has it."""
    return {"name": name, "type": "www", "config": {"basic": {"username": username, "password": password}}}


def bearer(name: str, token: str = OLD_TOKEN) -> Stored:
    return {"name": name, "type": "www", "config": {"bearer": token}}


def masked(provider: Mapping[str, Any]) -> Stored:
    """A provider as results show it."""
    config = provider["config"]
    shown = {"bearer": HIDDEN} if "bearer" in config else {"basic": {**config["basic"], "password": HIDDEN}}
    return {**provider, "config": shown}


def options(provider: Stored) -> dict[str, Any]:
    """The module's options for a provider."""
    return {"name": provider["name"], **provider["config"]}


@dataclass(frozen=True)
class Change:
    """A case that writes: what the client has afterwards, and the one write that leads there."""

    case: Case
    after: Sequence[Stored]
    write: str = POST


def _change(
    name: str,
    wanted: Mapping[str, Any],
    after: Sequence[Stored],
    write: str = POST,
    before: Sequence[Stored] = (),
    connection: str = "token",
    **switches: Any,
) -> Change:
    return Change(Case(name, wanted, MODULE, connection, providers=before, switches=switches), after, write)


OLD, OTHER, NEW = basic("cdn"), bearer("other"), basic("cdn", "canary-new-pass")
BASIC_OLD = OLD["config"]["basic"]
ODD_NAMES = {
    "blank": "a b",
    "slash": "a/b",
    "marks": "ä?#%",
    "quoted": "50%2F",
    "signs": "a+b&c=d;",
    "dots": "..x",
    "url": "https://cdn.example.com/x",
}
CHANGES = [
    _change("a first one", options(NEW), [NEW]),
    _change("one more", options(bearer("cdn", "canary-new")), [OTHER, bearer("cdn", "canary-new")], before=[OTHER]),
    _change("another password", options(NEW), [OTHER, NEW], before=[OLD, OTHER]),
    _change("another token", options(bearer("other", "canary-new")), [OLD, bearer("other", "canary-new")],
            before=[OLD, OTHER]),
    _change("another user", options(basic("cdn", username="files")), [basic("cdn", username="files")], before=[OLD]),
    _change("from a password to a token", options(bearer("cdn")), [bearer("cdn")], before=[OLD]),
    _change("gone", {"name": "cdn", "state": "absent"}, [OTHER], f"DELETE {PROVIDERS}/cdn", [OLD, OTHER]),
    _change("gone, with its credentials", {**options(OLD), "state": "absent"}, [], f"DELETE {PROVIDERS}/cdn", [OLD]),
    _change("with a password", options(NEW), [NEW], before=[OLD], connection="password"),
    _change("no wrapper", options(NEW), [NEW], before=[OLD], flat_get=True),
    _change("a gateway", options(NEW), [OTHER, NEW], before=[OTHER], flat_get=True, meta="none", login=False),
    *(_change(f"answers {kind}", options(NEW), [NEW], write_answer=kind) for kind in ("object", "empty", "meta")),
    *(
        _change(f"set {label}", options(basic(name)), [OTHER, basic(name)], before=[OTHER])
        for label, name in ODD_NAMES.items()
    ),
    *(
        _change(f"remove {label}", {"name": name, "state": "absent"}, [OTHER],
                f"DELETE {PROVIDERS}/{quote(name, safe='')}", [basic(name), OTHER])
        for label, name in ODD_NAMES.items()
    ),
]  # fmt: skip
CHANGE_CASES = [change.case for change in CHANGES]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.case.name)
def test_a_change(change: Change, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, CHANGE_CASES).outcomes[change.case.name]
    assert list(outcome.client.control.providers()) == list(change.after)
    login, logout = ([LOGIN], [LOGOUT]) if change.case.connection == "password" else ([], [])
    assert outcome.verbs(FIRST) == [*login, GET, change.write, GET, *logout]
    assert outcome.verbs(CHECK) == outcome.verbs(AGAIN) == [*login, GET, *logout]
    (write,) = outcome.writes(FIRST)
    name = change.case.options["name"]
    if change.write == POST:
        # A list of one: the emulator's log hides what is in it, and its store shows it above.
        assert write["body"] == [{"name": name, "type": "www", "config": logs.MASK}]
    assert_prediction(outcome)
    result, again = outcome.results[FIRST], outcome.results[AGAIN]
    before, after = (next((one for one in many if one["name"] == name), None)
                     for many in (change.case.providers, change.after))  # fmt: skip
    assert result["changed"] is True
    assert result["before"] == (masked(before) if before else {})
    assert result["after"] == (masked(after) if after else {})
    assert result["diff"]["before"] != result["diff"]["after"], "a change that nobody sees"
    assert (again["changed"], again["before"], again["diff"]["before"]) == (False, again["after"], again["after"])
    assert "canary" not in json.dumps(outcome.results)


def test_only_a_secret_changes(path: str, run_cases: RunCases) -> None:
    outcomes = run_cases(path, CHANGE_CASES).outcomes
    for name, place in {"another password": ("basic", "password"), "another token": ("bearer",)}.items():
        for step in (CHECK, FIRST):
            diff: Any = outcomes[name].results[step]["diff"]
            old, new = diff["before"]["config"], diff["after"]["config"]
            for member in place:
                old, new = old[member], new[member]
            assert (old, new) == (HIDDEN, f"{HIDDEN} (changed)")


RESTS = [
    Case("as wanted", options(OLD), MODULE, providers=[OTHER, OLD], steps=(CHECK, FIRST)),
    Case("as wanted, a token", options(OTHER), MODULE, providers=[OTHER, OLD], steps=(CHECK, FIRST)),
    Case("absent", {"name": "cdn", "state": "absent"}, MODULE, providers=[OTHER], steps=(CHECK, FIRST)),
    Case("none", {"name": "cdn", "state": "absent"}, MODULE, steps=(CHECK, FIRST)),
    Case("an empty token", {**options(OLD), "bearer": ""}, MODULE, providers=[OLD], steps=(CHECK, FIRST)),
]


@pytest.mark.parametrize("case", RESTS, ids=str)
def test_nothing_to_do(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, RESTS).outcomes[case.name]
    for step in (CHECK, FIRST):
        result = outcome.results[step]
        assert (result["changed"], result["before"]) == (False, result["after"])
        assert result["diff"]["before"] == result["diff"]["after"]
        assert outcome.verbs(step) == [GET]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"bearer": "canary"}, "missing required arguments: name"),
    "an empty name": ({"name": "", "bearer": "canary"}, "name: must be"),
    "all settings": ({"name": "../..", "state": "absent"}, "name: must not hold . or .."),
    "the providers": ({"name": ".", "state": "absent"}, "name: must not hold . or .."),
    "backslashes": ({"name": "a\\..\\..", "state": "absent"}, "name: must not hold . or .."),
    "a line break": ({"name": "a\nb", "state": "absent"}, "name: must be printable"),
    "nothing": ({"name": "cdn"}, "basic or bearer: one of them is needed"),
    "both": ({**options(OLD), "bearer": "canary"}, "basic and bearer exclude each other"),
    "no password": ({"name": "cdn", "basic": {"username": "u"}}, "password"),
    "an empty password": ({"name": "cdn", "basic": {"username": "u", "password": ""}}, "basic.password: must not be"),
    "a colon": ({"name": "cdn", "basic": {"username": "u:x", "password": "canary"}}, "basic.username: must not"),
    "masked": ({"name": "cdn", "basic": {"username": "u", "password": HIDDEN}}, "basic.password: is masked"),
    "a masked token": ({"name": "cdn", "bearer": HIDDEN}, "bearer: is masked"),
    "blanks": ({"name": "cdn", "bearer": "canary canary"}, "bearer: must be printable ASCII"),
    "another type": ({**options(OLD), "type": "ftp"}, "type"),
    "misspelt": ({"name": "cdn", "basic": {**BASIC_OLD, "passwort": "canary"}}, "passwort"),
    "a list": ({"name": "cdn", "basic": ["canary"]}, "basic has to be a dictionary"),
    "a text": ({"name": "cdn", "basic": "canary"}, "basic"),
    "as the API has it": ({"name": "cdn", "config": {"bearer": "canary"}}, "config"),
}
REFUSED_CASES = [Case(name, given, MODULE, providers=[OLD], steps=(FIRST,)) for name, (given, _said) in REFUSED.items()]


@pytest.mark.parametrize("case", REFUSED_CASES, ids=str)
def test_what_cannot_be_meant_is_refused(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, REFUSED_CASES).outcomes[case.name]
    assert (outcome.failures, outcome.verbs(FIRST)) == (1, [])
    assert REFUSED[case.name][1] in outcome.results[FIRST]["msg"]
    assert "canary" not in json.dumps(outcome.results)


ABSENT = {"name": "cdn", "state": "absent"}
LOST: list[Mapping[str, Any]] = [
    {"action": "reset"},
    {"action": "cut"},
    {"action": "status", "status": 500},
    {"action": "status", "status": 504},
    {"action": "html", "status": 200},
    {"action": "error", "code": 1014, "details": "Please check if wacore is running: wacore:6252"},
]
# Each of them with and without effect on the client.
LOST_CASES = [
    Case(
        f"{fault['action']} {fault.get('status', '')} {method} {'applied' if applied else 'lost'}",
        {**(options(NEW) if method == "POST" else ABSENT), "retries": 0},
        MODULE,
        providers=[OLD, OTHER],
        faults=[{"method": method, "path": PROVIDERS, "applied": applied, "times": None, **fault}],
        steps=(FIRST,),
    )
    for fault in LOST
    for method in ("POST", "DELETE")
    for applied in (True, False)
    if not (fault["action"] == "cut" and not applied)
]


@pytest.mark.parametrize("case", LOST_CASES, ids=str)
def test_an_answer_that_gets_lost(case: Case, path: str, run_cases: RunCases) -> None:
    outcome = run_cases(path, LOST_CASES).outcomes[case.name]
    result, (fault,) = outcome.results[FIRST], case.faults
    assert "canary" not in json.dumps(result)
    left = {one["name"]: one for one in outcome.client.control.providers()}
    done = left.get("cdn") == (NEW if fault["method"] == "POST" else None)
    assert (done, left["other"]) == (fault["applied"], OTHER)
    assert outcome.failures == (0 if done else 1)
    assert [verb.partition(" ")[0] for verb in outcome.verbs(FIRST)] == ["GET", fault["method"], "GET"]
    if done:
        assert result["changed"] is True
        assert any("was done nevertheless" in warning for warning in result["warnings"])
        return
    # It may still be at work, and nobody has said that it is not.
    unknown = fault["action"] in ("reset", "error") or fault.get("status") == 504
    assert bool(result.get("outcome_unknown")) is unknown
    assert result["changed"] is unknown
    if not unknown:
        assert result["before"] == result["after"]


FAULTY = {
    "gone in between": Case(
        "gone in between",
        ABSENT,
        MODULE,
        providers=[OLD],
        faults=[{"action": "error", "method": "DELETE", "status": 404, "code": 1006, "applied": True}],
        steps=(FIRST,),
    ),
    "passing faults": Case(
        "passing faults",
        options(NEW),
        MODULE,
        faults=[{"action": "error", "method": method, "status": 503, "code": 1016} for method in ("GET", "POST")],
        steps=(FIRST,),
    ),
    "an old client": Case(
        "an old client",
        options(NEW),
        MODULE,
        faults=[{"action": "error", "path": PROVIDERS, "status": 404, "code": 1006}],
        steps=(FIRST,),
    ),
    "not admin": Case(
        "not admin",
        {**options(NEW), "username": "user", "password": "Canary-user-1"},
        MODULE,
        connection="password",
        users=[{"username": "user", "password": "Canary-user-1", "role": "ROLE_USER"}],
        steps=(FIRST,),
    ),
    "nothing in the answer": Case(
        "nothing in the answer",
        options(NEW),
        MODULE,
        faults=[{"action": "empty", "method": "GET", "path": PROVIDERS, "times": None}],
        steps=(FIRST,),
    ),
    "the client echoes it": Case(
        "the client echoes it",
        options(NEW),
        MODULE,
        providers=[OLD],
        faults=[
            {
                "action": "error",
                "method": "POST",
                "status": 400,
                "code": 1009,
                "details": "canary-new-pass canary%2Dnew%2Dpass was canary-old-pass "
                + base64.b64encode(b"media:canary-new-pass").decode(),
            }
        ],
        steps=(FIRST,),
    ),
}
FAULTY_CASES = list(FAULTY.values())


def _faulty(name: str, path: str, run_cases: RunCases) -> Outcome:
    return run_cases(path, FAULTY_CASES).outcomes[name]


def test_somebody_else_was_quicker(path: str, run_cases: RunCases) -> None:
    outcome = _faulty("gone in between", path, run_cases)
    assert (outcome.failures, outcome.client.control.providers()) == (0, [])
    assert outcome.results[FIRST]["after"] == {}


def test_passing_faults_pass(path: str, run_cases: RunCases) -> None:
    outcome = _faulty("passing faults", path, run_cases)
    assert (outcome.failures, outcome.client.control.providers()) == (0, [NEW])
    # Looked at again before it was written again.
    assert outcome.verbs(FIRST) == [GET, GET, POST, GET, POST, GET]


@pytest.mark.parametrize("name", ["an old client", "not admin", "nothing in the answer"])
def test_a_client_that_does_not_tell_is_not_written_to(name: str, path: str, run_cases: RunCases) -> None:
    outcome = _faulty(name, path, run_cases)
    assert (outcome.failures, outcome.writes(FIRST)) == (1, [])
    assert outcome.results[FIRST]["changed"] is False
    assert PROVIDERS in outcome.results[FIRST]["msg"]


def test_what_the_client_echoes_is_hidden(path: str, run_cases: RunCases) -> None:
    outcome = _faulty("the client echoes it", path, run_cases)
    assert outcome.failures == 1
    assert outcome.results[FIRST]["msg"].endswith(f"{HIDDEN} {HIDDEN} was {HIDDEN} {HIDDEN} (a value is not valid for "
                                                  "this client)")  # fmt: skip
    assert outcome.client.control.providers() == [OLD]


INFO_CASES = [
    Case("two", {}, INFO, providers=[OTHER, OLD], steps=(FIRST,)),
    Case("none at all", {}, INFO, steps=(FIRST,)),
    Case("two, no wrapper", {}, INFO, providers=[OTHER, OLD], switches={"flat_get": True}, steps=(FIRST,)),
    Case(
        "of a kind that nobody knows",
        {},
        INFO,
        providers=[{"name": "x", "type": "s3", "config": {"keys": {"id": "canary-id", "zone": ["canary-zone"]}}}],
        steps=(FIRST,),
    ),
]


def test_reading(path: str, run_cases: RunCases) -> None:
    outcomes = run_cases(path, INFO_CASES).outcomes
    for name, found in {"two": [OTHER, OLD], "none at all": [], "two, no wrapper": [OTHER, OLD]}.items():
        assert outcomes[name].results[FIRST]["providers"] == [masked(one) for one in found]
        assert outcomes[name].results[FIRST]["changed"] is False
        assert outcomes[name].verbs(FIRST) == [GET]
    strange = outcomes["of a kind that nobody knows"].results[FIRST]["providers"]
    assert strange == [{"name": "x", "type": "s3", "config": {"keys": {"id": HIDDEN, "zone": [HIDDEN]}}}]
    assert "canary" not in json.dumps([outcome.results for outcome in outcomes.values()])


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(CHANGE_CASES, id="changes", marks=pytest.mark.thorough),
        pytest.param(RESTS, id="rests", marks=pytest.mark.thorough),
        pytest.param(REFUSED_CASES, id="refused"),
        pytest.param(LOST_CASES, id="lost", marks=pytest.mark.thorough),
        pytest.param(FAULTY_CASES, id="faulty"),
        pytest.param(INFO_CASES, id="info"),
    ],
)
def test_both_paths_give_the_same_results(cases: list[Case], run_cases: RunCases) -> None:
    assert_same_over_both_paths(run_cases, cases)


def test_defaults_of_the_action_group(client: EmulatedClient, ansible: AnsibleCommands, path: str) -> None:
    play = {
        "hosts": "all",
        "module_defaults": {"group/wabiz.onprem.api": client.with_token()},
        "tasks": [
            {"name": "set", f"wabiz.onprem.{MODULE}": options(NEW)},
            {"name": "read", f"wabiz.onprem.{INFO}": {}},
            {"name": "collect", "wabiz.onprem.wa_garbage_collection": {}},
        ],
    }
    run = ansible.playbook([play], {"client": {}}, variables=PATHS[path])
    assert run.rc == 0, run.output
    assert run.result("read")["providers"] == [masked(NEW)]


@pytest.mark.parametrize("path", PATHS)
def test_no_secret_gets_out(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client = emulator.new_client()
    client.control.store_providers([OLD, bearer("other", "canary-other-token")])
    client.control.fault("cut", method="POST", path=PROVIDERS)
    client.control.fault("error", method="POST", path=PROVIDERS, status=400, code=1009, details="not canary-third-pass")
    common = client.with_token()
    third = basic("third", "canary-third-pass")

    def task(title: str, /, **given: Any) -> dict[str, Any]:
        return {"name": title, f"wabiz.onprem.{MODULE}": {**common, **given}, "ignore_errors": title.startswith("fail")}

    tasks = [
        {**task("predict", **options(NEW)), "check_mode": True},
        task("lost and found", **options(NEW)),
        task("fail: refused by the client", **options(third)),
        task("set", **options(third)),
        task("fail: refused here", **{**options(third), "basic": {"username": "u", "pasword": "canary-misspelt"}}),
        task("fail: a text", **{**options(third), "basic": "{canary-text"}),
        task("fail: a dictionary", name="x", bearer={"canary-key": "canary-value"}),
        task("remove", name="other", state="absent"),
        {"name": "read", f"wabiz.onprem.{INFO}": common},
    ]
    run = ansible.playbook([{"hosts": "all", "tasks": tasks}], {"client": {}}, "-vvv", "--diff", variables=PATHS[path])
    assert run.rc == 0, run.output
    assert len(run.results()) == len(tasks)
    assert [one["name"] for one in client.control.providers()] == ["cdn", "third"]
    tokens = [base64.b64encode(f"media:{word}".encode()).decode() for word in ("canary-new-pass", "canary-third-pass")]
    log = (ansible.outputs / "ansible.log").read_text(encoding="utf-8")
    for text in (run.output, json.dumps(run.records), log):
        assert "canary" not in text
        assert not [token for token in tokens if token in text]
    assert "(changed)" in run.stdout
