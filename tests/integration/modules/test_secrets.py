# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Canary secrets: in no output, no result, no log, no system log, no file left behind."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.commands import PATHS, AnsibleCommands, CommandRun
from support.emulator import EmulatedClient, Emulator

CANARIES = {
    "password": "Canary-password-1",
    "user": "canary-user-info",
    "user password": "canary-user-password",
    "query": "canary-query-value",
    "old query": "canary-old-query",
    "extra": "canary-extra-secret",
    "wrong": "Canary-wrong-1",
}
OLD_HOOK = f"https://hooks.example.com/old?auth={CANARIES['old query']}"
HOOK = f"https://{CANARIES['user']}:{CANARIES['user password']}@hooks.example.com/wa?auth={CANARIES['query']}"
# Reports to a file what Python's syslog would have sent to the system log, and is the controller's Python otherwise.
SYSLOG_SPY = """\
import os, syslog
def _spy(*words):
    with open(os.environ["WABIZ_SYSLOG"], "a") as file:
        print(*words, file=file)
syslog.syslog = _spy
"""
# Whatever is sent ends in an error that nobody has foreseen, and that tells all.
CRASH = """\
import http.client
def _crash(self, *words, **more):
    raise RuntimeError(f"canary {words} {more}")
http.client.HTTPConnection.putheader = _crash
"""


def _spying_python(ansible: AnsibleCommands) -> str:
    spy = ansible.inputs / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(SYSLOG_SPY)
    variables = f'export PYTHONPATH="{spy}" WABIZ_SYSLOG="{ansible.outputs}/syslog"'
    return str(ansible.script("spying-python", f'{variables}\nexec "{sys.executable}" "$@"'))


def _plays(client: EmulatedClient) -> list[dict[str, Any]]:
    """A change, a repetition, a reset, readings and failures of every kind, with a password and with a token."""
    common = {"api_url": client.api_url, "ca_path": client.ca_path}
    password, token = {"password": CANARIES["password"], **common}, {"token": "{{ token }}", **common}
    settings = {"webhooks": {"url": HOOK}, "log_level": "error"}
    extra = {"new_token": CANARIES["extra"]}

    def task(name: str, module: str, **options: Any) -> dict[str, Any]:
        return {"name": name, f"wabiz.onprem.{module}": options, "ignore_errors": name.startswith("fail")}

    main = "wa_application_settings"
    tasks = [
        {**task("predict", main, **password, settings=settings, extra_settings=extra), "check_mode": True},
        task("change", main, **password, settings=settings, extra_settings=extra),
        task("repeat", main, **token, settings=settings),
        task("read", "wa_application_settings_info", **token),
        task("health", "wa_health_info", **password),
        task("fail: wrong password", main, **{**password, "password": CANARIES["wrong"]}, settings=settings),
        task("fail: both", main, **{**password, **token}, settings=settings),
        task("fail: http webhook", main, **token, settings={"webhooks": {"url": HOOK.replace("https", "http")}}),
        task("fail: no address", main, **token, settings={"webhooks": {"url": f"{HOOK} x"}}),
        task("fail: not a dictionary", main, **token, settings=f"{{{HOOK}"),
        task("fail: a list", main, **token, settings={"webhooks": [HOOK]}),
        task("fail: unknown key", main, **token, settings={"webhooks": {"uri": HOOK}}),
        task("fail: the client echoes it", main, **token, extra_settings={"other_token": CANARIES["extra"]}),
        task(
            "fail: user info", main, **{**token, "api_url": f"https://a:{CANARIES['wrong']}@127.0.0.1:1"}, settings={}
        ),
        task("absent", main, **token, state="absent"),
    ]
    return [{"hosts": "all", "tasks": tasks}]


Watched = tuple[AnsibleCommands, CommandRun, str]


@pytest.fixture(scope="module", params=list(PATHS))
def watched(request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run with `-vvvv --diff` that handled every canary; and the token of it."""
    ansible = AnsibleCommands(tmp_path_factory.mktemp("watched"))
    client = emulator.new_client({"webhooks": {"url": OLD_HOOK}}, unknown_keys="keep")
    client.control.add_user("admin", CANARIES["password"])
    echo = f"Parameter 'other_token' cannot be {CANARIES['extra']}"
    client.control.fault("error", method="PATCH", skip=1, status=400, code=1009, details=echo)
    token = client.control.token()
    variables = {**PATHS[request.param], "token": token}
    if request.param == "module":
        variables["ansible_python_interpreter"] = _spying_python(ansible)
    run = ansible.playbook(_plays(client), {"client": {}}, "-vvvv", "--diff", variables=variables)
    return ansible, run, token


def test_no_secret_gets_out(watched: Watched, emulator: Emulator) -> None:
    ansible, run, token = watched
    assert run.rc == 0, run.output
    results = run.results()
    assert len(results) == 15
    assert run.result("change")["changed_settings"] == ["log_level", "new_token", "webhooks.url"]
    assert "Parameter 'other_token' cannot be ********" in run.result("fail: the client echoes it")["msg"]
    assert "hooks.example.com/wa" in run.stdout
    secrets = [*CANARIES.values(), token]
    for name, text in {"stdout": run.stdout, "stderr": run.stderr, "results": str(run.records)}.items():
        assert _found(text, secrets) == [], name
    places = {ansible.home, ansible.tmp, ansible.outputs, emulator.logs}
    seen = 0
    for place in places:
        for file in (path for path in place.rglob("*") if path.is_file() and "pki" not in path.parts):
            seen += 1
            assert _found(file.read_text(errors="replace"), secrets) == [], str(file)
    assert seen >= 4


def test_the_system_log_was_watched(watched: Watched) -> None:
    ansible, run, _token = watched
    log = ansible.outputs / "syslog"
    module_ran = "spying-python" in run.output
    assert log.exists() == module_ran
    if module_ran:
        assert log.read_text().count("Invoked with") >= 10


def _found(text: str, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if secret in text]


def test_the_canaries_are_found_where_they_are(watched: Watched) -> None:
    """The search itself works: the inputs of the run hold every one."""
    ansible, _run, token = watched
    text = "".join(path.read_text() for path in ansible.inputs.glob("*.json"))
    assert _found(text, [*CANARIES.values(), token]) == [
        secret for secret in [*CANARIES.values(), token] if secret != CANARIES["old query"]
    ]
    assert list(ansible.tmp.iterdir()) == []


def test_a_masked_change_is_visible_in_the_diff(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client = emulator.new_client({"webhooks": {"url": "https://hooks.example.com/wa?auth=old-value"}})
    task = {
        "name": "change",
        "wabiz.onprem.wa_application_settings": {
            **client.with_token(),
            "settings": {"webhooks": {"url": "https://hooks.example.com/wa?auth=new-value"}},
        },
    }
    run = ansible.playbook([{"hosts": "all", "tasks": [task]}], {"client": {}}, "--diff", variables=PATHS[path])
    diff = run.result("change")["diff"]
    assert diff["before"]["webhooks"]["url"] == "https://hooks.example.com/wa?********"
    assert diff["after"]["webhooks"]["url"] == "https://hooks.example.com/wa?******** (changed)"
    assert "(changed)" in run.stdout


def test_a_crash_shows_no_secret(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client = emulator.new_client()
    ansible.write("crash/sitecustomize.py", CRASH)
    options = {"headers": {"X-Gateway-Key": "canary-gateway"}, "settings": {"webhooks": {"url": HOOK}}}
    tasks = [
        {"name": name, "wabiz.onprem.wa_application_settings": {**options, **connection}, "ignore_errors": True}
        for name, connection in {"a token": client.with_token(), "a password": client.with_password()}.items()
    ]
    run = ansible.playbook(
        [{"hosts": "all", "tasks": tasks}],
        {"client": {}},
        "-vvvv",
        variables=PATHS[path],
        environment={"PYTHONPATH": str(ansible.inputs / "crash")},
    )
    # The commands hunt for what they were given; here it is enough that it went wrong as it should.
    for name in ("a token", "a password"):
        assert run.result(name)["msg"].startswith("unexpected RuntimeError in _client, line ")
    assert "canary" not in run.output + str(run.records)
    assert "Traceback" not in run.output


def test_no_secret_in_a_process_list(emulator: Emulator, ansible: AnsibleCommands, path: str) -> None:
    client = emulator.new_client()
    client.control.add_user("operator", CANARIES["password"])
    client.control.fault("proceed", method="GET", delay=1.0, times=None)
    token = client.control.token()
    options = {"headers": {"X-Gateway-Key": "canary-gateway"}, "settings": {"webhooks": {"url": HOOK}}}
    reached = {"api_url": client.api_url, "ca_path": client.ca_path}
    tasks = [
        {"name": name, "wabiz.onprem.wa_application_settings": {**options, **reached, **connection}}
        for name, connection in {
            "a token": {"token": token},
            "a password": {"username": "operator", "password": CANARIES["password"]},
        }.items()
    ]
    running = ansible.start_playbook([{"hosts": "all", "tasks": tasks}], {"client": {}}, variables=PATHS[path])
    lines: set[str] = set()
    while running.process.poll() is None:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                lines.add((process / "cmdline").read_text(errors="replace"))
        time.sleep(0.01)
    run = running.finish()
    assert run.rc == 0, run.output
    assert run.result("a token")["changed"] is True
    assert [line for line in lines if str(ansible.inputs) in line], "the command itself was not seen"
    assert [line for line in lines if _found(line, [*CANARIES.values(), "canary-gateway", token])] == []
