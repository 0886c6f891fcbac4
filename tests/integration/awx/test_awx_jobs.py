# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs from the shipped templates, run by ansible-runner as AWX does: credentials, answers, limits, slices, cancel."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from support.awx_jobs import HOOK, OF_MODULES, assert_clean, credential, launch, run_job
from support.campaigns import OFF, ON, collects, on_record
from support.commands import AnsibleCommands
from support.deployments import SETTINGS, Deployment, NewDeployment
from support.exports import exported
from support.plays import nodes_in, restart_slowly

DECLARED = {"wa_settings_values": {"heartbeat_interval": 7, "log_level": "info"}}

# As people answer, and as a launch over the API may: what arrives is text, or a number or truth value.
ANSWERED: dict[str, dict[str, Any]] = {
    "text": {
        "wa_survey_callback_backoff_delay_ms": "5000",
        "wa_survey_unhealthy_interval": "31",
        "wa_survey_webhooks_max_concurrent_requests": "12",
        "wa_survey_callback_persist": "false",
        "wa_survey_log_level": "warning",
        "wa_survey_media_auto_download": ["image", "audio"],
        "wa_survey_webhooks_url": HOOK,
    },
    "typed": {
        "wa_survey_callback_backoff_delay_ms": 5000,
        "wa_survey_unhealthy_interval": 31,
        "wa_survey_webhooks_max_concurrent_requests": 12,
        "wa_survey_callback_persist": False,
        "wa_survey_log_level": "warning",
        "wa_survey_media_auto_download": ["image", "audio"],
        "wa_survey_webhooks_url": HOOK,
    },
}
# A question that nobody has answered.
UNANSWERED: dict[str, dict[str, Any]] = {
    "text": {"wa_survey_heartbeat_interval": "", "wa_survey_verbose_logging": ""},
    "typed": {"wa_survey_heartbeat_interval": None, "wa_survey_verbose_logging": None},
}
WRITTEN = {
    "callback_backoff_delay_ms": "5000",
    "unhealthy_interval": 31,
    "heartbeat_interval": 7,
    "callback_persist": False,
    "log_level": "warning",
    "media": {"auto_download": ["audio", "image"]},
    # With its members that nobody changes: a top-level key is sent complete.
    "webhooks": {"max_concurrent_requests": 12, "message": {"sent": True, "delivered": True, "read": True}},
}


def written(deployment: Deployment) -> dict[str, Any]:
    """All settings that were sent, of several requests together."""
    log = deployment.client.control.requests()
    sent: dict[str, Any] = {}
    for request in log:
        if request["method"] == "PATCH" and request["path"] == SETTINGS:
            for name, value in request["body"].items():
                sent[name] = {**sent.get(name, {}), **value} if isinstance(value, dict) else value
    return sent


def assert_answered(single: Deployment) -> None:
    """The answers arrived, with what is declared where nobody answered."""
    sent = written(single)
    # The log of the emulator masks the address; what is stored is what arrived.
    assert sent["webhooks"].pop("url").startswith("https://hooks.example.com/wa")
    assert single.client.control.stored()["webhooks"]["url"] == HOOK
    assert sent == WRITTEN
    assert single.starts() == ["wacore"]


def test_check_and_run_with_answers(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    given = {"answers": {**ANSWERED["text"], **UNANSWERED["text"]}, "variables": DECLARED}
    # The modules' credential serves the role as well, which takes all but the address from the environment.
    typed = credential(single, api_url="https://unused.example.com:9090")
    check = run_job(ansible, "WhatsApp check", [single], typed, credential_type=OF_MODULES, **given)
    assert check.status == "successful", check.said()
    assert single.writes() == []
    assert_clean(check, ansible)
    (predicted,) = [result for result in check.results("one") if result.get("changed_settings")]

    job = run_job(ansible, "WhatsApp apply", [single], credential(single), **given)
    assert job.status == "successful", job.said()
    assert_clean(job, ansible)
    assert_answered(single)
    changed = {name for result in job.results("one") for name in result.get("changed_settings", [])}
    assert changed == set(predicted["changed_settings"])
    assert job.events("runner_on_file_diff"), "diff is on"

    again = run_job(ansible, "WhatsApp apply", [single], credential(single), **given)
    assert again.status == "successful", again.said()
    (stats,) = again.events("playbook_on_stats")
    assert stats["event_data"]["changed"] == {}


def test_answers_as_numbers_and_truth_values(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    single = new_single()
    single.forget()
    answers = {**ANSWERED["typed"], **UNANSWERED["typed"]}
    job = run_job(ansible, "WhatsApp apply", [single], credential(single), answers=answers, variables=DECLARED)
    assert job.status == "successful", job.said()
    assert_clean(job, ansible)
    assert_answered(single)


def test_prompted_job_type_and_limit(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    for single in singles:
        single.forget()
    given: dict[str, Any] = {"variables": {"wa_settings_values": {"log_level": "error"}}, "limit": "two"}
    check = run_job(ansible, "WhatsApp apply", singles, credential(singles[0]), job_type="check", **given)
    assert check.status == "successful", check.said()
    assert [single.writes() for single in singles] == [[], []]
    job = run_job(ansible, "WhatsApp apply", singles, credential(singles[0]), **given)
    assert job.status == "successful", job.said()
    assert [single.starts() for single in singles] == [[], ["wacore"]]
    assert_clean(job, ansible)


def test_sliced_fleet_is_applied_and_sliced_cluster_is_refused(
    ansible: AnsibleCommands, new_single: NewDeployment, new_cluster: NewDeployment
) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    variables = {"wa_settings_values": {"log_level": "error"}}
    for number in (1, 2):
        job = run_job(
            ansible, "WhatsApp apply", singles, credential(singles[0]), variables=variables, slices=(number, 2)
        )
        assert job.status == "successful", job.said()
        assert [bool(single.running("log_level") == {"error"}) for single in singles] == [True, number == 2]
    cluster = new_cluster()
    cluster.forget()
    job = run_job(ansible, "WhatsApp apply", [cluster], credential(cluster), variables=variables, slices=(1, 2))
    assert job.status == "failed", job.said()
    assert cluster.writes() == []
    assert cluster.starts() == []
    assert nodes_in(job.said()) == ["wacore2"], job.said()
    assert_clean(job, ansible)


@pytest.mark.parametrize(
    ("template", "writes", "starts"),
    [("WhatsApp restart", [], ["wacore"]), ("WhatsApp reset", [f"DELETE {SETTINGS}"], [])],
)
def test_target_is_what_the_survey_says(
    ansible: AnsibleCommands, new_single: NewDeployment, template: str, writes: list[str], starts: list[str]
) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    for single in singles:
        single.client.control.store({"heartbeat_interval": 9})
        single.forget()
    job = run_job(ansible, template, singles, credential(singles[0]), answers={"target": "two"})
    assert job.status == "successful", job.said()
    assert [single.writes() for single in singles] == [[], writes]
    assert [single.starts() for single in singles] == [[], starts]
    assert_clean(job, ansible)


def test_fleet_is_compared_and_exported_by_jobs(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    for single, seconds in zip(singles, (7, 9), strict=True):
        single.client.control.store({"heartbeat_interval": seconds, "webhooks": {"url": HOOK}})
        single.forget()
    reports, files = ansible.outputs / "reports", ansible.outputs / "export"
    declared = {"wa_settings_values": {"heartbeat_interval": 7, "webhooks": {"url": HOOK}}}
    answers = {"wa_drift_dir": str(reports), "wa_drift_fail": "false"}
    drift = run_job(ansible, "WhatsApp drift", singles, credential(singles[0]), answers=answers, variables=declared)
    assert drift.status == "successful", drift.said()
    assert_clean(drift, ansible)
    told = {client["name"]: client["state"] for client in json.loads((reports / "drift.json").read_text())["clients"]}
    assert told == {"one": "converged", "two": "drifted"}
    failing = run_job(
        ansible,
        "WhatsApp drift",
        singles,
        credential(singles[0]),
        answers={**answers, "wa_drift_fail": "true"},
        variables=declared,
    )
    assert failing.status == "failed", failing.said()

    export = run_job(ansible, "WhatsApp export", singles, credential(singles[0]), answers={"wa_export_dir": str(files)})
    assert export.status == "successful", export.said()
    assert_clean(export, ansible)
    assert {name for name in exported(files) if name.startswith("host_vars/")} == {
        f"host_vars/{name}/wa_settings.yml" for name in ("one", "two")
    }
    assert [single.writes() for single in singles] == [[], []]


def test_campaign_begins_and_ends_by_jobs(ansible: AnsibleCommands, new_single: NewDeployment) -> None:
    singles = [new_single(name) for name in ("one", "two")]
    answers = {"target": "two", "wa_campaign_name": "spring"}
    for which, state, starts in (("begin", OFF, ["wacore"]), ("end", ON, ["wacore"])):
        for single in singles:
            single.forget()
        more = {"wa_campaign_collect": "true"} if which == "end" else {}
        job = run_job(
            ansible, f"WhatsApp campaign {which}", singles, credential(singles[0]), answers={**answers, **more}
        )
        assert job.status == "successful", job.said()
        assert_clean(job, ansible)
        assert [collects(single) for single in singles] == [ON, state]
        assert [single.starts() for single in singles] == [[], starts]
    assert on_record(singles[1]) == [None]


def test_next_job_does_what_a_cancelled_one_left(ansible: AnsibleCommands, new_cluster: NewDeployment) -> None:
    cluster = new_cluster()
    restart_slowly(cluster, 2)
    cluster.forget()
    variables = {"wa_settings_values": {"log_level": "error"}}
    job = launch(ansible, "WhatsApp apply", [cluster], credential(cluster), variables=variables)
    end = time.monotonic() + 120
    while not any(event["event"] == "stop" for event in cluster.client.control.node_events()):
        assert time.monotonic() < end, job.said()
        time.sleep(0.1)
    job.command.process.send_signal(signal.SIGTERM)
    job.finish()
    assert job.status == "canceled"
    assert_clean(job, ansible)
    assert cluster.pending() != []
    following = run_job(ansible, "WhatsApp apply", [cluster], credential(cluster), variables=variables)
    assert following.status == "successful", following.said()
    assert cluster.running("log_level") == {"error"}
    assert cluster.pending() == []
    assert_clean(following, ansible)
