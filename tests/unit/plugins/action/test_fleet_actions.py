# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of the playbooks drift and export, in this process, against emulated clients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from acting import Play, Result, play
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from support.deployments import Deployment
from support.emulator import Emulator

HOOK = "https://hooks.example.com/wa?auth=canary-query"
PROVIDER = [{"name": "cdn", "bearer": "canary-bearer"}]


def drift(fleet: Play, host: str = "one", **report: Any) -> tuple[Result, Result]:
    """What the playbook finds on a host, and its report; clients that another host asks are asked from there."""
    return _playbook(fleet, "wa_settings_drift", host), fleet.run("wa_settings_drift", host, entry="report", **report)


def export(fleet: Play, place: Path, host: str = "one", **variables: Any) -> Result:
    variables = {"dir": str(place), **variables}
    fleet.run("wa_settings_export", host, entry="check", **variables)
    _playbook(fleet, "wa_settings_export", host)
    return fleet.run("wa_settings_export", host, entry="report", **variables)


def _playbook(fleet: Play, name: str, host: str) -> Result:
    found = fleet.run(name, host, entry="ask")
    for item in fleet.run(name, host, entry="left")["left"]:
        found = {**fleet.run(name, host, entry="from", client=item["client"]), "where": item["where"]}
    return found


def _told(place: Path) -> dict[str, Any]:
    (client,) = json.loads((place / "drift.json").read_text())["clients"]
    return dict(client)


@pytest.mark.parametrize("name", ["wa_settings_drift", "wa_settings_export"])
def test_a_part_of_a_playbook_is_of_no_use_by_itself(single: Deployment, name: str) -> None:
    found = play(single).run(name, "one")
    assert (found["failed"], "is a part of a playbook" in found["msg"]) == (True, True)


# --- drift -------------------------------------------------------------------------------------------------------


def test_drift_is_told_with_the_variable_that_says_otherwise(single: Deployment, tmp_path: Path) -> None:
    single.client.control.store({"heartbeat_interval": 9})
    fleet = play(single, {"heartbeat_interval": 7}, wa_settings_media_providers=PROVIDER)
    found, report = drift(fleet, dir=str(tmp_path), formats=["json", "csv"])
    assert found["state"] == "drifted"
    assert (report["summary"]["drifted"], report["summary"]["clients"]) == (1, 1)
    assert sorted(path.name for path in tmp_path.glob("drift.*")) == ["drift.csv", "drift.json"]
    text = (tmp_path / "drift.json").read_text()
    assert "canary" not in text + (tmp_path / "drift.csv").read_text()
    differences = [tuple(row[part] for part in ("setting", "layer")) for row in _told(tmp_path)["differences"]]
    assert differences == [
        ("heartbeat_interval", "wa_settings_values"),
        ("media.providers.cdn", "wa_settings_media_providers"),
    ]
    first = _told(tmp_path)["differences"][0]
    assert (first["current"], first["wanted"]) == (9, 7)
    assert single.writes() == []


def test_no_drift(single: Deployment, tmp_path: Path) -> None:
    single.client.control.store({"heartbeat_interval": 7})
    found, report = drift(play(single, {"heartbeat_interval": 7}), dir=str(tmp_path), fail=True)
    assert (found["state"], report.get("failed", False)) == ("converged", False)


def test_what_apply_refuses_is_no_drift_and_is_asked_once(pair: Deployment, clusters: Emulator) -> None:
    addresses = {"a": pair.client.api_url, "b": clusters.new_client().api_url}
    fleet = play(pair, {"heartbeat_interval": 7})
    hosts = {host: {**facts, "wa_settings_api_url": addresses[host]} for host, facts in fleet.hosts.items()}
    fleet = replace(fleet, hosts=hosts)
    for _time in range(2):
        found = fleet.run("wa_settings_drift", "a", entry="ask")
        assert found["state"] == "failed"
        assert "a and b are hosts of cluster duo, but different clients answer" in found["msg"]
    assert pair.client.verbs().count("GET /v1/health") == 1


def test_what_is_pending_is_told_and_may_fail_the_run(single: Deployment, tmp_path: Path) -> None:
    fleet = play(single, {"log_level": "error"}, wa_settings_restart="never")
    fleet.role("one")
    found, report = drift(fleet, dir=str(tmp_path), fail=True)
    assert found["state"] == "pending"
    assert (report["failed"], report["msg"].startswith("not every client is as declared (")) == (True, True)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"wa_settings_values": {}}, "wa_settings_values: nothing is declared"),
        ({"wa_settings_values": {"log_level": "loud"}}, "log_level"),
        ({"wa_settings_api_url": "https://127.0.0.1:1", "wa_settings_retries": 0}, "127.0.0.1"),
        ({"wa_settings_values": "{{ none_such }}"}, "none_such"),
        ({"wa_settings_media_providers": [{"name": "cdn"}]}, "wa_settings_media_providers"),
    ],
)
def test_what_goes_wrong_is_in_the_report(
    single: Deployment, tmp_path: Path, variables: dict[str, Any], said: str
) -> None:
    fleet = play(single, {"heartbeat_interval": 7})
    fleet.hosts["one"].update(variables)
    fleet.task = {name: value for name, value in fleet.task.items() if name not in variables}
    found, report = drift(fleet, dir=str(tmp_path), formats=["json"])
    assert found["state"] == "failed"
    assert said in found["msg"]
    assert (report["summary"]["failed"], said in _told(tmp_path)["error"]) == (1, True)


def test_a_token_in_an_error_is_hidden(single: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = play(single, {"heartbeat_interval": 7})
    token = fleet.hosts["one"]["wa_settings_token"]
    for error, said in (
        (AnsibleConnectionFailure(f"no way with {token}"), "unreachable: no way with ********"),
        (RuntimeError(token), "unexpected RuntimeError"),
    ):
        action = fleet.action("wa_settings_drift", "one", entry="ask")
        monkeypatch.setattr(action, "_look", _raises(error))
        assert action.run(task_vars=fleet.variables("one"))["msg"].startswith(said)
        fleet.run("wa_settings_drift", "one", entry="report", dir=str(tmp_path))
        assert token not in (tmp_path / "drift.json").read_text()


def _raises(error: Exception) -> Any:
    def fails(*_words: Any) -> Any:
        raise error

    return fails


def test_a_host_whose_task_has_said_nothing_is_in_the_report(single: Deployment, tmp_path: Path) -> None:
    fleet = play(single, {"heartbeat_interval": 7})
    fleet.hosts["one"]["__wa_drift_asked"] = {"unreachable": True, "msg": "no route"}
    fleet.run("wa_settings_drift", "one", entry="report", dir=str(tmp_path))
    assert _told(tmp_path)["error"] == "unreachable: no route"
    del fleet.hosts["one"]["__wa_drift_asked"]
    fleet.run("wa_settings_drift", "one", entry="report", dir=str(tmp_path))
    assert _told(tmp_path)["error"] == "the task on this host was broken off"


def test_a_client_that_another_host_reaches(single: Deployment, tmp_path: Path) -> None:
    fleet = play(single, {"heartbeat_interval": 7}, wa_settings_api_delegate="elsewhere")
    compared = {"before": {"heartbeat_interval": 1}, "after": {"heartbeat_interval": 7}}
    names: dict[str, list[str]] = {"restart_settings": [], "unverified_settings": []}
    fleet.answers = [{**compared, **names, "changed_settings": ["heartbeat_interval"], "client_version": None}]
    found, _report = drift(fleet, dir=str(tmp_path))
    assert (found["where"], found["state"]) == ("elsewhere", "drifted")
    assert [(name, check) for name, _args, check in fleet.modules] == [("wabiz.onprem.wa_application_settings", True)]
    assert single.client.verbs() == []


def test_a_client_that_the_other_host_could_not_ask(single: Deployment, tmp_path: Path) -> None:
    fleet = play(single, {"heartbeat_interval": 7}, wa_settings_api_delegate="elsewhere")
    fleet.run("wa_settings_drift", "one", entry="ask")
    fleet.run("wa_settings_drift", "one", entry="report", dir=str(tmp_path))
    assert _told(tmp_path)["error"] == "could not be asked from elsewhere"
    fleet.answers = [{"failed": True, "msg": "timeout: told by the module"}]
    found, _report = drift(fleet, dir=str(tmp_path))
    assert (found["state"], found["msg"]) == ("failed", "wa_settings_timeout: told by the module")


@pytest.mark.parametrize(
    ("report", "said"),
    [({"formats": ["pdf"]}, "wa_drift_formats"), ({"dir": "/proc/none"}, "wa_drift_dir: /proc/none")],
)
def test_a_report_that_cannot_be_written(single: Deployment, report: dict[str, Any], said: str) -> None:
    _found, told = drift(play(single, {"heartbeat_interval": 7}), **report)
    assert (told["failed"], said in told["msg"]) == (True, True)


def test_a_record_that_tells_nothing(single: Deployment, tmp_path: Path) -> None:
    play(single, {"log_level": "error"}, wa_settings_restart="never").role("one")
    (record,) = (path for path in single.leftovers() if path.suffix == ".json")
    record.write_text("{")
    found, _report = drift(play(single, {"log_level": "error"}), dir=str(tmp_path))
    assert "the record of pending restarts cannot be read" in found["msg"]


# --- export ------------------------------------------------------------------------------------------------------


def test_settings_are_written_and_not_twice(single: Deployment, tmp_path: Path) -> None:
    single.client.control.store({"heartbeat_interval": 9, "webhooks": {"url": HOOK}})
    place = tmp_path / "export"
    assert export(play(single, check_mode=True), place)["changed"] is True
    assert not place.exists()
    told = export(play(single), place)
    assert (told["changed"], told.get("failed", False)) == (True, False)
    files = {path.name: path.read_text() for path in place.rglob("*.yml")}
    assert any(yaml.safe_load(text)["wa_settings_host_values"]["heartbeat_interval"] == 9 for text in files.values())
    assert "canary" not in str(files) + str(told)
    assert [one["setting"] for one in told["left_out"]] == ["webhooks.url"]
    assert export(play(single), place)["changed"] is False
    assert single.writes() == []


def test_secrets_go_to_the_vault(single: Deployment, tmp_path: Path) -> None:
    single.client.control.store({"webhooks": {"url": HOOK}})
    password = tmp_path / "password"
    password.write_text("a password of the vault")
    told = export(play(single), tmp_path / "export", vault_password_file=str(password))
    assert told["left_out"] == []
    texts = [path.read_text() for path in (tmp_path / "export").rglob("*.yml")]
    assert [text.startswith("$ANSIBLE_VAULT;") for text in sorted(texts)].count(True) == 1
    assert "canary" not in str(texts)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"all": "maybe"}, "wa_export_all"),
        ({"vault_password_file": "/none/such"}, "wa_export_vault_password_file"),
        ({"dir": "/etc/hostname"}, "wa_export_dir: /etc/hostname is no directory"),
    ],
)
def test_what_is_refused_before_a_client_is_asked(
    single: Deployment, tmp_path: Path, variables: dict[str, Any], said: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=said):
        export(play(single), tmp_path / "export", **variables)
    assert single.client.verbs() == []


def test_a_host_that_cannot_be_read_is_named_and_fails_the_run(single: Deployment, tmp_path: Path) -> None:
    single.client.control.fault("error", method="GET", status=400, code=1009, times=None)
    told = export(play(single), tmp_path / "export")
    assert (told["failed"], told["failed_hosts"]) == (True, ["one"])
    assert "one: " in told["msg"]


def test_what_another_host_reads(single: Deployment, tmp_path: Path) -> None:
    fleet = play(single, wa_settings_api_delegate="elsewhere")
    fleet.answers = [{"failed": True, "msg": "told by the module"}]
    told = export(fleet, tmp_path / "export")
    assert [name for name, _args, _check in fleet.modules] == ["wabiz.onprem.wa_settings_export"]
    assert "one: told by the module" in told["msg"]


def test_hosts_of_one_cluster_are_exported_as_one(pair: Deployment, tmp_path: Path) -> None:
    pair.client.control.store({"heartbeat_interval": 9})
    fleet = play(pair)
    for host in ("a", "b"):
        fleet.run("wa_settings_export", host, entry="ask")
    told = fleet.run("wa_settings_export", "a", entry="report", dir=str(tmp_path / "export"))
    assert told["msg"].startswith("settings of 2 of 2 hosts")


def test_a_campaign_is_not_what_the_client_is_to_have(single: Deployment, tmp_path: Path) -> None:
    begun = play(single, wa_campaign_name="summer").run("wa_settings_begin", "one", entry="campaign_begin")
    assert (begun.get("failed", False), begun["changed"]) == (False, True)
    found, _report = drift(play(single, {"garbagecollector_enable": {"messages": True}}), dir=str(tmp_path))
    assert ("summer" in str(found["warnings"]), found["state"]) == (True, "converged")
    told = export(play(single), tmp_path / "export", all=True)
    text = "".join(path.read_text() for path in (tmp_path / "export").rglob("*.yml"))
    assert told.get("failed", False) is False
    assert yaml.safe_load(text)["wa_settings_host_values"]["garbagecollector_enable"]["messages"] is True
    assert single.client.control.effective()["garbagecollector_enable"]["messages"] is False
