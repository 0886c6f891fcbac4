# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`wabiz.onprem.awx_setup` creates the shipped objects with the modules of `awx.awx`, and a second run changes nothing.

AWX is a stand-in that keeps objects and refuses what AWX refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shipped_objects import FOLDER, load
from support.awx_api import Awx, running_awx
from support.commands import AnsibleCommands, CommandRun

OBJECTS = load()
KINDS = {
    "credential_types": "controller_credential_types",
    "projects": "controller_projects",
    "job_templates": "controller_templates",
    "workflow_job_templates": "controller_workflows",
    "schedules": "controller_schedules",
}
KNOWN = {"wa_awx_inventory": "Clients", "wa_awx_project_url": "https://git.example.com/wa.git"}


@pytest.fixture
def awx() -> Iterator[Awx]:
    with running_awx({path.name for path in (FOLDER / "project").glob("*.yml")}) as running:
        yield running


def setup(ansible: AnsibleCommands, awx: Awx, *arguments: str, **variables: Any) -> CommandRun:
    command = ["ansible-playbook", "wabiz.onprem.awx_setup", "-e", json.dumps({**KNOWN, **variables}), *arguments]
    return ansible.run(command, {"CONTROLLER_HOST": awx.url, "CONTROLLER_OAUTH_TOKEN": "token"})


def snapshot(awx: Awx) -> str:
    return json.dumps([awx.objects, awx.surveys, awx.links])


def test_it_creates_what_is_shipped_once(ansible: AnsibleCommands, awx: Awx) -> None:
    credential = awx.add("credentials", name="Fleet")
    environment = awx.add("execution_environments", name="EE")
    run = setup(ansible, awx, wa_awx_credentials=["Fleet"], wa_awx_execution_environment="EE")
    assert run.rc == 0, run.output
    for kind, variable in KINDS.items():
        assert [one["name"] for one in awx.objects[kind]] == [one["name"] for one in OBJECTS[variable]]
    for credential_type in OBJECTS["controller_credential_types"]:
        found = awx.named("credential_types", credential_type["name"])
        # The templates that AWX renders have come through unrendered.
        assert {name: found[name] for name in credential_type} == credential_type
    (inventory,) = awx.objects["inventories"]
    for template in OBJECTS["controller_templates"]:
        found = awx.named("job_templates", template["name"])
        assert awx.survey(found) == template["survey_spec"]
        assert json.loads(found["extra_vars"]) == template["extra_vars"]
        assert awx.linked(found, "credentials") == [credential["id"]]
        assert (found["inventory"], found["execution_environment"]) == (inventory["id"], environment["id"])
        assert (found["ask_limit_on_launch"], found["ask_job_type_on_launch"], found["diff_mode"]) == (True,) * 3
        assert (found["job_slice_count"], found["allow_simultaneous"]) == (1, False)
        assert (found["job_type"], found["playbook"]) == (template["job_type"], template["playbook"])
    workflow = awx.named("workflow_job_templates", "WhatsApp check and apply")
    assert awx.survey(workflow) == OBJECTS["wa_awx_settings_survey"]
    check, approval, apply = (awx.named("workflow_job_template_nodes", name) for name in ("check", "approval", "apply"))
    assert check["unified_job_template"] == awx.named("job_templates", "WhatsApp check")["id"]
    assert apply["unified_job_template"] == awx.named("job_templates", "WhatsApp apply")["id"]
    (asked,) = awx.objects["workflow_approval_templates"]
    assert approval["unified_job_template"] == asked["id"]
    assert awx.linked(check, "success_nodes") == [approval["id"]]
    assert awx.linked(approval, "success_nodes") == [apply["id"]]

    # What the variables do not name stays as somebody has set it in AWX; what they name is put right.
    before = snapshot(awx)
    template = awx.named("job_templates", "WhatsApp apply")
    template["job_slice_count"] = 4
    awx.writes.clear()
    predicted = setup(ansible, awx, "--check")
    assert predicted.rc == 0, predicted.output
    assert awx.writes == []
    again = setup(ansible, awx)
    assert again.rc == 0, again.output
    (changed,) = [item for item in again.results(task="Job templates", items=True) if item["changed"]]
    assert changed["item"]["name"] == "WhatsApp apply"
    assert again.stats()["localhost"]["changed"] == 1, again.output
    assert snapshot(awx) == before


@pytest.mark.parametrize("missing", list(KNOWN))
def test_what_only_the_user_knows_is_asked_for(ansible: AnsibleCommands, awx: Awx, missing: str) -> None:
    variables = json.dumps({name: value for name, value in KNOWN.items() if name != missing})
    run = ansible.run(["ansible-playbook", "wabiz.onprem.awx_setup", "-e", variables], {"CONTROLLER_HOST": awx.url})
    assert run.rc != 0
    assert missing in run.result("Require what only you can know")["msg"]
    assert awx.writes == []
