# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wabiz.onprem.plugins.module_utils import _argspec, _flows
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted

Flow = Callable[..., dict[str, Any]]

URL = "https://me:canary-user@h.example.com/wa?auth=canary-auth"
ALL_REPORTED = {"report_all": True}
CHANGES: list[dict[str, Any]] = [
    {"settings": {"log_level": "error", "callback_backoff_delay_ms": "4000"}},
    {"settings": {"webhooks": {"url": URL, "message": {"read": False}}}},
    {"settings": {"media": {"auto_download": ["voice", "audio"]}, "garbagecollector_enable": {"media": True}}},
    {"settings": {"heartbeat_interval": 9}, "state": "replaced"},
    {"settings": {}, "state": "replaced"},
    {"extra_settings": {"new_key": {"deep": 1}, "webhooks": {"new_member": True}}},
    {"state": "absent"},
]


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run(
    flow: Flow, spec: _argspec.Spec, server: Emulated | Scripted, task: _flows.Run, **params: Any
) -> dict[str, Any]:
    """A flow as a module runs it, parameters through the spec; nothing secret may be in the result."""
    connection = server.connection
    access = {"password": connection.password, "token": connection.token}
    own = {"api_url": connection.api_url, "ca_path": connection.ca_path, "retries": 0, "timeout": 5, **access}
    validated = ArgumentSpecValidator(spec).validate({**own, **params})
    assert not validated.error_messages, validated.error_messages
    result = _flows.complete(flow, validated.validated_parameters, task)
    assert "canary" not in json.dumps(result)
    assert "Canary" not in json.dumps(result)
    invocation = result.pop("invocation")["module_args"]
    assert set(invocation) == set(spec)
    return result


def apply(
    server: Emulated | Scripted, check: bool = False, diff: bool = False, hold: bool = False, **params: Any
) -> dict[str, Any]:
    def flow(given: Any, task: _flows.Run) -> dict[str, Any]:
        return _flows.application_settings(given, task, hold_restart_bound=hold)

    return run(flow, _argspec.application_settings(), server, _flows.Run(check_mode=check, diff_mode=diff), **params)


def health(
    server: Emulated | Scripted, clock: Clock | None = None, lines: list[str] | None = None, **params: Any
) -> dict[str, Any]:
    clock = clock or Clock()
    task = _flows.Run(progress=None if lines is None else lines.append, clock=clock, sleep=clock.sleep)
    return run(_flows.health_info, _argspec.health_info(), server, task, **params)


# --- wa_application_settings -------------------------------------------------------------------------------------


def test_a_change_is_written_and_read_back_and_the_second_run_rests(emulated: Emulated) -> None:
    params: dict[str, Any] = {"settings": {"log_level": "error", "webhooks": {"url": URL}}}
    result = apply(emulated, diff=True, **params)
    assert result["changed"] is True
    assert result["changed_settings"] == ["log_level", "webhooks.url"]
    assert (result["restart_required"], result["restart_settings"]) == (True, ["log_level"])
    assert result["unverified_settings"] == []
    assert result["client_version"] == "2.57.2"
    assert (result["before"]["log_level"], result["after"]["log_level"]) == ("info", "error")
    assert result["after"]["webhooks"]["url"] == "https://********@h.example.com/wa?********"
    assert result["diff"]["after"]["log_level"] == "error"
    assert emulated.effective["webhooks"]["url"] == URL
    assert emulated.verbs == ["login", "GET", "PATCH", "GET", "logout"]
    again = apply(emulated, diff=True, **params)
    assert (again["changed"], again["changed_settings"], again["restart_required"]) == (False, [], False)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert emulated.verbs[5:] == ["login", "GET", "logout"]


def test_what_looks_like_a_part_of_a_secret_stays_readable_elsewhere(emulated: Emulated) -> None:
    url = "https://h.example.com/wa?tenant=9000&kind=webhooks"
    result = apply(emulated, diff=True, settings={"webhooks": {"url": url}})
    assert result["changed_settings"] == ["webhooks.url"]
    assert result["after"]["max_callback_backoff_delay_ms"] == 900000
    assert result["after"]["webhooks"]["url"] == "https://h.example.com/wa?********"


@pytest.mark.parametrize("nested", ["merge", "replace"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("params", CHANGES)
def test_check_mode_predicts_what_the_real_run_does(
    emulated: Emulated, nested: str, flat: bool, params: dict[str, Any]
) -> None:
    emulated.switch(nested=nested, flat_get=flat, unknown_keys="keep", report_all=True)
    stored = {"unhealthy_interval": 99, "webhooks": {"url": "https://old.example.com/?canary", "new_member": False}}
    emulated.set({**stored, "new_key": {"deep": 0, "deeper": 2}})
    predicted = apply(emulated, check=True, diff=True, **params)
    assert emulated.verbs == ["login", "GET", "logout"]
    real = apply(emulated, diff=True, **params)
    assert real["changed"] is True
    if params.get("state") == "absent":
        # What becomes of keys that nobody knows is the client's affair.
        for result in (predicted, real):
            for shown in (result["after"], result["diff"]["after"]):
                shown.pop("new_key", None)
                shown["webhooks"].pop("new_member", None)
            names = result["changed_settings"]
            result["changed_settings"] = [name for name in names if "new_" not in name]
    assert predicted == real
    assert apply(emulated, **params)["changed"] is False


@pytest.mark.parametrize("name", KEYS)
def test_every_key_on_the_wire(emulated: Emulated, name: str) -> None:
    emulated.switch(report_all=True, client_version="2.34.9" if name == "pass_through" else "2.57.2")
    value: Any = {"webhooks.url": URL, "media.auto_download": ["video"], "log_level": "fatal"}.get(name)
    if value is None:
        current: Any = emulated.effective
        for part in name.split("."):
            current = current[part]
        value = 24 if KEYS[name].choices else not current if isinstance(current, bool) else 77
    settings: dict[str, Any] = {}
    level = settings
    *groups, leaf = name.split(".")
    for group in groups:
        level = level.setdefault(group, {})
    level[leaf] = value
    result = apply(emulated, settings=settings)
    assert (result["changed"], result["changed_settings"]) == (True, [name])
    assert result["restart_settings"] == ([name] if KEYS[name].restart_bound else [])
    in_force: Any = emulated.effective
    for part in name.split("."):
        in_force = in_force[part]
    assert in_force == value
    assert len(emulated.bodies) == 1
    assert list(emulated.bodies[0]) == [name.split(".", maxsplit=1)[0]]
    assert apply(emulated, settings=settings)["changed"] is False
    assert len(emulated.bodies) == 1


def test_what_the_client_drops_is_an_error_that_names_it(emulated: Emulated) -> None:
    emulated.switch(dropped_keys=["log_level", "webhooks.url"])
    result = apply(emulated, settings={"log_level": "error", "heartbeat_interval": 7, "webhooks": {"url": URL}})
    assert result["failed"] is True
    assert result["msg"].endswith("reports other values afterwards for: log_level, webhooks.url")
    assert result["changed"] is True
    assert (result["after"]["heartbeat_interval"], result["after"]["log_level"]) == (7, "info")


def test_what_the_client_does_not_report_is_sent_and_named(emulated: Emulated) -> None:
    params: dict[str, Any] = {"settings": {"skip_referral_media_download": True, "log_level": "error"}}
    result = apply(emulated, diff=True, **params)
    assert result["changed_settings"] == ["log_level", "skip_referral_media_download"]
    assert result["unverified_settings"] == ["skip_referral_media_download"]
    assert result["diff"]["before"]["skip_referral_media_download"] == "(not reported by the client)"
    assert result["diff"]["after"]["skip_referral_media_download"] is True
    assert "skip_referral_media_download" not in result["after"]
    assert any("is sent on every run" in warning for warning in result["warnings"])
    assert apply(emulated, **params)["changed"] is True
    skipped = apply(emulated, unreported="skip", **params)
    assert (skipped["changed"], skipped["unverified_settings"]) == (False, [])
    assert any("was skipped" in warning for warning in skipped["warnings"])
    assert apply(emulated, settings={"skip_referral_media_download": False})["changed"] is False


@pytest.mark.parametrize(
    ("accepted", "bodies"),
    [
        ("both", [{"callback_backoff_delay_ms": "4000"}]),
        ("string", [{"callback_backoff_delay_ms": "4000"}]),
        ("integer", [{"callback_backoff_delay_ms": "4000"}, {"callback_backoff_delay_ms": 4000}]),
    ],
)
@pytest.mark.parametrize("reported", ["integer", "string"])
def test_delays_in_the_form_that_the_client_takes(
    emulated: Emulated, accepted: str, reported: str, bodies: list[Any]
) -> None:
    emulated.switch(delays_on_write=accepted, delays_in_get=reported)
    result = apply(emulated, settings={"callback_backoff_delay_ms": "4000"})
    assert emulated.bodies == bodies
    assert (result["before"]["callback_backoff_delay_ms"], result["after"]["callback_backoff_delay_ms"]) == (3000, 4000)
    assert apply(emulated, settings={"callback_backoff_delay_ms": 4000})["changed"] is False


def test_a_value_that_the_client_refuses_is_not_sent_in_another_form(emulated: Emulated) -> None:
    emulated.fault("error", method="PATCH", code=1009, status=400, details="no such level", times=None)
    result = apply(emulated, settings={"log_level": "error"})
    assert result["failed"] is True
    assert "error 1009: Parameter value is not valid: no such level" in result["msg"]
    assert emulated.verbs == ["login", "GET", "PATCH", "logout"]


def test_a_write_that_cannot_be_read_back_says_so(emulated: Emulated) -> None:
    emulated.fault("status", method="GET", status=500, skip=1, times=None)
    result = apply(emulated, settings={"log_level": "error"})
    assert (result["failed"], result["changed"]) == (True, True)
    assert result["msg"].startswith("written, but not read back: GET ")
    assert result["restart_settings"] == ["log_level"]
    assert emulated.verbs == ["login", "GET", "PATCH", "GET", "logout"]


@pytest.mark.parametrize("kind", ["null", "object", "empty", "meta"])
def test_every_answer_to_a_write_will_do(emulated: Emulated, kind: str) -> None:
    emulated.switch(write_answer=kind)
    assert apply(emulated, settings={"log_level": "error"})["after"]["log_level"] == "error"
    assert apply(emulated, state="absent")["after"]["log_level"] == "info"
    assert "DELETE" in emulated.verbs
    assert apply(emulated, state="absent")["changed"] is False


def test_a_client_with_other_defaults_than_documented(emulated: Emulated) -> None:
    emulated.switch(default_overrides={"heartbeat_interval": 7})
    emulated.set({"log_level": "error"})
    result = apply(emulated, state="absent")
    assert (result["changed"], result["changed_settings"]) == (True, ["log_level"])
    assert result["after"]["heartbeat_interval"] == 7
    assert [warning.rpartition(": ")[2] for warning in result["warnings"]] == ["heartbeat_interval"]


def test_a_restart_bound_change_can_be_held(emulated: Emulated) -> None:
    held = apply(emulated, hold=True, settings={"log_level": "error", "heartbeat_interval": 7})
    assert (held["held"], held["changed"], held["restart_settings"]) == (True, True, ["log_level"])
    assert emulated.verbs == ["login", "GET", "logout"]
    written = apply(emulated, hold=True, settings={"heartbeat_interval": 7})
    assert "held" not in written
    assert emulated.effective["heartbeat_interval"] == 7
    assert "held" not in apply(emulated, hold=True, settings={"heartbeat_interval": 7})


@pytest.mark.parametrize(
    ("params", "switches", "message"),
    [
        ({}, {}, "state present needs settings or extra_settings"),
        ({"state": "replaced"}, {}, "state replaced needs settings or extra_settings"),
        ({"state": "absent", "settings": {"log_level": "info"}}, {}, "state absent resets everything"),
        ({"state": "absent", "extra_settings": {"new": 1}}, {}, "state absent resets everything"),
        ({"settings": {}, "client_version": "newest"}, {}, "client_version: must be a client version such as"),
        ({"settings": {"heartbeat_interval": 0}}, {}, "heartbeat_interval: expected a positive whole number"),
        ({"settings": {"webhooks": {"url": "http://h/?canary"}}}, {}, "webhooks.url: must begin with https://"),
        ({"extra_settings": {"wa_id": "4930"}}, {}, "wa_id: is read-only"),
        (
            {"settings": {"log_level": "error"}},
            {"client_version": "2.51.0"},
            "log_level: needs client version 2.51.1 or newer, this client is 2.51.0",
        ),
        (
            {"settings": {"log_level": "error"}, "client_version": "2.50.3"},
            {"meta": "placeholder"},
            "log_level: needs client version 2.51.1 or newer, this client is 2.50.3",
        ),
        ({"settings": {"pass_through": True}}, {}, "pass_through: cannot be set to true from client version 2.35 on"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    emulated: Emulated, params: dict[str, Any], switches: dict[str, Any], message: str
) -> None:
    emulated.switch(**switches)
    result = apply(emulated, **params)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith(message)
    assert result["msg"].isprintable()
    assert not {"PATCH", "DELETE"} & set(emulated.verbs)


@pytest.mark.parametrize(
    ("meta", "option", "version"),
    [
        ("version", None, "2.57.2"),
        ("bare", "2.1.1", "2.57.2"),
        ("placeholder", None, None),
        ("placeholder", "v2.55.1", "2.55.1"),
        ("unversioned", None, None),
        ("none", "2.55", "2.55"),
    ],
)
def test_the_version_of_the_client(emulated: Emulated, meta: str, option: str | None, version: str | None) -> None:
    emulated.switch(meta=meta)
    result = apply(emulated, settings={"log_level": "error"}, client_version=option)
    assert (result["changed"], result["client_version"]) == (True, version)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"meta": {"version": "v2.1.1"}}',
        '{"settings": null}',
        '{"settings": {"application": []}}',
    ],
)
def test_an_answer_without_settings(scripted: Scripted, body: str) -> None:
    scripted.answer(200, body)
    result = apply(scripted, settings={"log_level": "error"})
    assert (result["failed"], result["changed"]) == (True, False)
    assert "the answer holds no settings; is api_url the address" in result["msg"]
    assert [request.method for request in scripted.requests] == ["GET"]


def test_a_key_that_was_not_named_may_have_any_shape(scripted: Scripted) -> None:
    strange: dict[str, Any] = {
        "log_level": 5,
        "webhooks": None,
        "media": [],
        "callback_persist": {"a": {}},
        "heartbeat_interval": "5",
    }
    scripted.answer(200, json.dumps({"settings": {"application": strange}}))
    result = apply(scripted, settings={"heartbeat_interval": 5})
    assert result["changed"] is False
    assert result["before"] == {**strange, "heartbeat_interval": 5}


# --- wa_application_settings_info --------------------------------------------------------------------------------


def test_info(emulated: Emulated) -> None:
    emulated.set({"webhooks": {"url": URL, "max_concurrent_requests": 24}, "notify_user_change_number": True})
    result = run(_flows.application_settings_info, _argspec.application_settings_info(), emulated, _flows.Run())
    assert result["changed"] is False
    assert result["settings"]["webhooks"]["url"] == "https://********@h.example.com/wa?********"
    assert result["non_default_settings"] == {"webhooks.max_concurrent_requests": 24}
    assert (result["client_version"], result["api_status"]) == ("2.57.2", "stable")
    assert emulated.verbs == ["login", "GET", "logout"]


# --- wa_health_info ----------------------------------------------------------------------------------------------


def test_health_of_a_single_client(emulated: Emulated) -> None:
    assert health(emulated) == {
        "changed": False,
        "nodes": [{"name": None, "role": "coreapp", "gateway_status": "connected"}],
        "connected_coreapps": 1,
        "clustered": False,
        "shards": None,
        "healthy": True,
    }
    assert emulated.verbs == ["login", "GET", "logout"]


CLUSTER = {
    "wacore1:a": {"gateway_status": "connected", "role": "coreapp"},
    "wacore2:b": {"gateway_status": "disconnected", "role": "coreapp"},
    "master1:c": {"gateway_status": "connected", "role": "primary_master"},
}


@pytest.mark.parametrize(
    ("shards_answer", "shards"), [((200, '{"account": {"shards": 2}}'), 2), ((404, ""), None), ((200, "null"), None)]
)
def test_health_of_a_cluster(scripted: Scripted, shards_answer: tuple[int, str], shards: int | None) -> None:
    scripted.answer(200, json.dumps({"health": CLUSTER}))
    scripted.answer(*shards_answer)
    result = health(scripted, expect_connected=2)
    assert (result["connected_coreapps"], result["clustered"], result["healthy"]) == (1, True, False)
    assert [node["name"] for node in result["nodes"]] == ["master1:c", "wacore1:a", "wacore2:b"]
    assert result["shards"] == shards


def test_a_coreapp_that_does_not_answer_is_a_state_and_not_a_failure(emulated: Emulated) -> None:
    emulated.fault("error", path="/v1/health", details="Please check if wacore is running: wacore:6252", times=None)
    result = health(emulated)
    assert (result["nodes"], result["healthy"], result["connected_coreapps"]) == ([], False, 0)
    assert "wacore:6252" in result["warnings"][0]


@pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "empty"}, {"action": "html"}])
def test_no_answer_about_health_is_a_failure(emulated: Emulated, fault: dict[str, Any]) -> None:
    emulated.fault(**fault, path="/v1/health", times=None)
    assert health(emulated)["failed"] is True


def test_waiting_until_the_client_is_healthy(emulated: Emulated) -> None:
    clock = Clock()
    lines: list[str] = []
    emulated.fault("error", path="/v1/health", details="wacore:6252", times=4)
    emulated.fault("empty", path="/v1/health")
    result = health(emulated, clock, lines, wait=True, wait_interval=2, wait_timeout=60)
    assert result["healthy"] is True
    assert clock.now == 1010.0
    # Every new reason at once, the same one again after five seconds.
    assert [line.partition(": waiting for health, ")[2].partition(": ")[0] for line in lines] == [
        "0 s of 60 s",
        "6 s of 60 s",
        "8 s of 60 s",
    ]
    assert emulated.verbs == ["login", *["GET"] * 6, "logout"]


@pytest.mark.parametrize(("timeout", "polls"), [(10, 6), (9.9, 5), (1, 1)])
def test_a_wait_ends_in_time_and_says_what_is_missing(scripted: Scripted, timeout: float, polls: int) -> None:
    clock = Clock()
    scripted.answer(200, json.dumps({"health": CLUSTER}))
    result = health(scripted, clock, wait=True, wait_interval=2, wait_timeout=timeout, expect_connected=2)
    assert (result["failed"], result["healthy"], result["connected_coreapps"]) == (True, False, 1)
    assert f"not healthy after {timeout:g} s: 1 of 2 Coreapps connected" in result["msg"]
    assert "wacore2:b disconnected" in result["msg"]
    assert len(scripted.requests) == polls
    assert clock.now - 1000 <= timeout


def test_a_wait_for_an_unregistered_client_ends_at_once(emulated: Emulated) -> None:
    emulated.switch(unregistered=True)
    clock = Clock()
    result = health(emulated, clock, wait=True)
    assert result["failed"] is True
    assert "no phone number is registered" in result["msg"]
    assert (clock.now, emulated.verbs) == (1000.0, ["login", "GET", "logout"])
    assert health(emulated, clock, wait=True, expect_connected=0)["healthy"] is True


def test_a_wait_does_not_outlast_what_cannot_pass(emulated: Emulated) -> None:
    emulated.fault("status", path="/v1/health", status=403, times=None)
    clock = Clock()
    result = health(emulated, clock, wait=True)
    assert (result["failed"], clock.now) == (True, 1000.0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"wait_timeout": 0}, "wait_timeout: must be more than 0"),
        ({"wait_interval": -1}, "wait_interval: must be more than 0"),
        ({"expect_connected": -1}, "expect_connected: must not be negative"),
    ],
)
def test_health_options_that_cannot_be_meant(emulated: Emulated, params: dict[str, Any], message: str) -> None:
    result = health(emulated, **params)
    assert result["msg"].startswith(message)
    assert emulated.verbs == []


# --- what goes with every result ---------------------------------------------------------------------------------


def test_the_invocation_is_masked() -> None:
    params = {
        "api_url": "https://me:canary@h.example.com",
        "password": "canary",
        "token": None,
        "settings": {"webhooks": {"url": URL}, "log_level": "info"},
        "extra_settings": {"x_token": "canary"},
    }
    given = copy.deepcopy(params)
    assert _flows.show_invocation(params) == {
        "module_args": {
            "api_url": "https://********@h.example.com",
            "password": _flows.NO_LOG,
            "token": None,
            "settings": {"webhooks": {"url": "https://********@h.example.com/wa?********"}, "log_level": "info"},
            "extra_settings": {"x_token": "********"},
        }
    }
    assert params == given


def test_the_values_behind_no_log() -> None:
    spec = _argspec.application_settings()
    params = {"password": "pw", "token": "", "settings": {"webhooks": {"url": URL, "message": None}}}
    assert _flows.no_log_values(spec, params) == {"pw", URL}
    assert _flows.no_log_values(spec, {"settings": "no mapping", "token": "t"}) == {"t"}
