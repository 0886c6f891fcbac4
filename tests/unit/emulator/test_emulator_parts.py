# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from typing import Any

import pytest

from wabiz_emulator import accounts, builds, faults, health, logs, switches

NOW = 1000.0
SWITCHES = switches.Switches(connect_seconds=2.0, heartbeat_timeout=3.0)


def node(hostname: str, started: float, **members: Any) -> health.NodeRecord:
    values = {"kind": "coreapp", "clustered": True, "beat": NOW, **members}
    return health.NodeRecord(hostname, "0a1b", started=started, **values)


def statuses(records: list[health.NodeRecord], rules: switches.Switches, now: float) -> dict[str, tuple[str, str]]:
    assessed = [health.assess(record, records, rules, now) for record in records]
    settled = [
        health.assess(record, assessed, rules, now + rules.connect_seconds)
        for record in (dataclasses.replace(record, beat=now + rules.connect_seconds) for record in assessed)
    ]
    return {record.hostname: (record.role, record.gateway_status) for record in settled}


def test_high_availability_connects_one_coreapp() -> None:
    records = [node("m1", 1, kind="master"), node("m2", 2, kind="master"), node("a", 3), node("b", 4)]
    assert statuses(records, SWITCHES, NOW) == {
        "m1": ("primary_master", "disconnected"),
        "m2": ("secondary_master", "disconnected"),
        "a": ("coreapp", "connected"),
        "b": ("coreapp", "disconnected"),
    }


def test_multiconnect_connects_as_many_coreapps_as_shards_and_the_primary_master() -> None:
    records = [node("m1", 1, kind="master"), node("m2", 2, kind="master"), node("a", 5), node("b", 4), node("c", 3)]
    result = statuses(records, SWITCHES.changed({"shards": 2}), NOW)
    assert [name for name, (_kind, status) in result.items() if status == "connected"] == ["m1", "b", "c"]


def test_connecting_takes_its_time() -> None:
    own = health.assess(node("a", NOW), [], SWITCHES, NOW)
    assert own.gateway_status == "connecting"
    assert health.assess(own, [], SWITCHES, NOW + 1.9).gateway_status == "connecting"
    assert health.assess(own, [], SWITCHES, NOW + 2).gateway_status == "connected"


@pytest.mark.parametrize(
    ("senior", "expected"),
    [({"stopped": True}, "connected"), ({"beat": NOW - 3.1}, "connected"), ({"beat": NOW - 2.9}, "disconnected")],
)
def test_a_stand_by_takes_over_from_the_stopped_and_the_silent(senior: dict[str, Any], expected: str) -> None:
    rules = SWITCHES.changed({"connect_seconds": 0})
    assert health.assess(node("b", 2), [node("a", 1, **senior)], rules, NOW).gateway_status == expected


def test_whoever_restarts_comes_back_as_a_stand_by() -> None:
    rules = SWITCHES.changed({"connect_seconds": 0})
    assert health.assess(node("a", 3), [node("b", 2)], rules, NOW).gateway_status == "disconnected"


def test_outside_a_cluster_the_newest_kicks_out_the_others() -> None:
    rules = SWITCHES.changed({"connect_seconds": 0})
    records = [node("a", 1, clustered=False), node("b", 2, clustered=False)]
    assert [health.assess(own, records, rules, NOW).gateway_status for own in records] == ["disconnected", "connected"]


def test_uninitialized_comes_first_and_unregistered_stays() -> None:
    rules = SWITCHES.changed({"uninitialized_seconds": 5, "unregistered": True})
    own = node("a", NOW, clustered=False)
    assert health.assess(own, [], rules, NOW + 4).gateway_status == "uninitialized"
    assert health.assess(own, [], rules, NOW + 500).gateway_status == "unregistered"


def test_gone_nodes_are_left_out_or_disconnected() -> None:
    records = [node("a", 1, role="coreapp", gateway_status="connected"), node("b", 2, role="coreapp", stopped=True)]
    records.append(node("m", 1, kind="master", role="primary_master", stopped=True))
    assert list(health.cluster_health(records, SWITCHES, NOW)) == ["a:0a1b"]
    everyone = health.cluster_health(records, SWITCHES.changed({"gone_nodes": "disconnected"}), NOW)
    assert everyone["b:0a1b"] == {"gateway_status": "disconnected", "role": "coreapp"}
    assert everyone["m:0a1b"]["role"] == "secondary_master"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"new_password": "canary"}, {"new_password": "***"}),
        ({"a": {"token": "canary", "n": 3}}, {"a": {"token": "***", "n": 3}}),
        (
            {"config": {"basic": {"username": "canary", "password": "canary"}}},
            {"config": {"basic": {"username": "***", "password": "***"}}},
        ),
        ({"config": {"bearer": "canary"}}, {"config": {"bearer": "***"}}),
        ({"url": "https://h/p?auth=canary"}, {"url": "https://h/p?***"}),
        ({"url": "https://canary:canary@h:1/p#canary"}, {"url": "https://***@h:1/p?***"}),
        ({"url": "https://canary@canary@h/"}, {"url": "https://***@h/"}),
        ({"url": "h/p?canary\ncanary"}, {"url": "h/p?***"}),
        ({"elsewhere": ["https://canary@h"]}, {"elsewhere": ["https://***@h"]}),
        ({"x": "3000", "y": 3000, "z": [True, None, 1.5]}, {"x": "3000", "y": 3000, "z": [True, None, 1.5]}),
    ],
)
def test_masking(given: Any, shown: Any) -> None:
    assert logs.masked(given) == shown
    assert "canary" not in repr(logs.masked(given))


def test_faults_strike_as_often_as_told() -> None:
    pending = [faults.Fault(action="empty", method="GET", path="/v1/health", skip=1, times=2)]
    struck = [faults.take(pending, "GET", "/v1/health") is not None for _attempt in range(4)]
    assert struck == [False, True, True, False]
    assert pending == []


def test_faults_always_and_by_method_and_path() -> None:
    pending = [faults.Fault(action="empty", method="PATCH", path="/v1/settings", times=None)]
    assert faults.take(pending, "GET", "/v1/settings/application") is None
    assert faults.take(pending, "PATCH", "/v1/health") is None
    assert all(faults.take(pending, "PATCH", "/v1/settings/application") for _attempt in range(5))


@pytest.mark.parametrize("values", [{"action": "explode"}, {"action": "empty", "times": 0}, {"kind": "empty"}])
def test_wrong_faults_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        faults.from_mapping(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"nested": "both"},
        {"no_such": 1},
        {"shards": "2"},
        {"flat_get": 1},
        {"shards": True},
        {"demanded_headers_status": 500},
    ],
)
def test_wrong_switches_are_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        switches.Switches().changed(changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client_version": "2.57.2"}, 180 * 86400),
        ({"client_version": "2.56.1"}, 45 * 86400),
        ({"expires_on": "1970-01-03"}, 2 * 86400),
    ],
)
def test_builds_expire(changes: dict[str, Any], expected: int) -> None:
    assert builds.expire_timestamp(switches.Switches().changed(changes), NOW) == expected


def test_switches_as_text() -> None:
    assert switches.from_text(["client_version=2.35", "shards=2", 'dropped_keys=["log_level"]', "flat_get=true"]) == {
        "client_version": "2.35",
        "shards": 2,
        "dropped_keys": ["log_level"],
        "flat_get": True,
    }
    with pytest.raises(ValueError):
        switches.from_text(["shards"])
    with pytest.raises(ValueError, match="flat_get"):
        switches.from_text(["flat_get=yes"])


@pytest.mark.parametrize(
    ("password", "strong"),
    [
        ("Secret-1", True),
        ("Secre-1", False),
        ("secret-1", False),
        ("SECRET-1", False),
        ("Secret--", False),
        ("Secret11", False),
        ("Secret-1" * 8, True),
        ("Secret-1" * 8 + "x", False),
    ],
)
def test_password_rules(password: str, strong: bool) -> None:
    assert accounts.password_is_strong(password) is strong


def test_tokens() -> None:
    text, token = accounts.issue("admin", "key", 60)
    assert accounts.verify(text, "key") == token
    assert accounts.verify(text, "another key") is None
    assert accounts.verify(text[:-1], "key") is None
    assert accounts.verify("nonsense", "key") is None
    assert accounts.verify(accounts.issue("admin", "key", -1)[0], "key") is None


def test_the_readme_lists_every_switch() -> None:
    readme = (pathlib.Path(switches.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`|see below) \| (.*) \|$", readme, re.MULTILINE)
    listed = listed[[name for name, *_rest in listed].index("nested") :][: len(dataclasses.fields(switches.Switches))]
    defaults = dataclasses.asdict(switches.Switches())
    assert [name for name, *_rest in listed] == list(defaults)
    for field, (name, default, meaning) in zip(dataclasses.fields(switches.Switches), listed, strict=True):
        assert json.loads(default or "null") == (defaults[name] if default else None)
        assert meaning.startswith(field.metadata["meaning"])
        assert all(f"`{choice}`" in meaning for choice in field.metadata["choices"])
