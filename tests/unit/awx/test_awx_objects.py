# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped AWX objects: AWX takes them, they fit each other, the role and the catalogue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import settings_survey
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, Kind
from ansible_collections.wabiz.onprem.plugins.module_utils._options import CONNECTION
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import NAMES
from awx_rules import credential_type_refused, injected, schedule_refused, survey_refused, survey_unwise
from shipped_objects import FOLDER, Unsafe, load

OBJECTS = load()
TEMPLATES: dict[str, dict[str, Any]] = {one["name"]: one for one in OBJECTS["controller_templates"]}
(WORKFLOW,) = OBJECTS["controller_workflows"]
SURVEY = OBJECTS["wa_awx_settings_survey"]
TYPES: dict[str, dict[str, Any]] = {one["name"]: one for one in OBJECTS["controller_credential_types"]}
OF_MODULES, OF_ROLE = TYPES.values()


def by_name(objects: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(one, id=one["name"]) for one in objects]


@pytest.mark.parametrize("credential_type", by_name(OBJECTS["controller_credential_types"]))
def test_awx_takes_the_credential_type(credential_type: dict[str, Any]) -> None:
    assert credential_type_refused(credential_type) == []


@pytest.mark.parametrize("template", by_name([*TEMPLATES.values(), WORKFLOW]))
def test_awx_takes_the_survey(template: dict[str, Any]) -> None:
    assert template["survey_enabled"] is True
    assert survey_refused(template["survey_spec"]) == []
    assert survey_unwise(template["survey_spec"]) == []


@pytest.mark.parametrize("schedule", by_name(OBJECTS["controller_schedules"]))
def test_awx_takes_the_schedule(schedule: dict[str, Any]) -> None:
    assert schedule_refused(schedule) == []
    assert schedule["unified_job_template"] in TEMPLATES


def test_what_awx_renders_ansible_does_not() -> None:
    """And the other way round: what is not marked names our own variables only."""
    fields = {field["id"] for one in TYPES.values() for field in one["inputs"]["fields"]}

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for member in value.values() for text in texts(member)]
        if isinstance(value, list):
            return [text for member in value for text in texts(member)]
        return [value] if isinstance(value, str) and "{{" in value else []

    for text in texts(OBJECTS):
        (name,) = re.findall(r"\{\{ (?:'\w+' if |tower\.filename if )?(\w+)", text)
        if isinstance(text, Unsafe):
            assert name in fields or name.startswith("wa_survey_"), text
        else:
            assert name.startswith("wa_awx_"), text


@pytest.mark.parametrize("template", by_name(list(TEMPLATES.values())))
def test_every_template_prompts_and_takes_clusters_whole(template: dict[str, Any]) -> None:
    assert template["ask_limit_on_launch"] is True
    assert template["ask_job_type_on_launch"] is True
    assert template["diff_mode"] is True
    assert template["job_slice_count"] == 1
    assert template["allow_simultaneous"] is False
    assert template["job_type"] == ("check" if template["name"] == "WhatsApp check" else "run")


def test_templates_and_project_have_the_same_playbooks() -> None:
    project = {path.name for path in (FOLDER / "project").glob("*.yml")}
    assert {template["playbook"] for template in TEMPLATES.values()} == project
    assert len(TEMPLATES) == 8
    assert TEMPLATES["WhatsApp check"]["playbook"] == TEMPLATES["WhatsApp apply"]["playbook"]


@pytest.mark.parametrize("path", sorted((FOLDER / "project").glob("*.yml")), ids=lambda path: path.name)
def test_awx_finds_the_playbook(path: Path) -> None:
    """AWX lists a file as a playbook only if a line of it looks like one."""
    line = r"\s*?-?\s*?(?:hosts|(ansible\.builtin\.)?include|(ansible\.builtin\.)?import_playbook):\s*?.*?"
    text = path.read_text(encoding="utf-8")
    assert any(re.fullmatch(line, one) for one in text.splitlines())
    (play,) = yaml.safe_load(text)
    # No playbook of the collection restarts only; the role does.
    imported = None if path.stem == "restart" else f"wabiz.onprem.{path.stem}"
    assert play.get("ansible.builtin.import_playbook") == imported


def test_what_may_not_run_on_a_whole_inventory_asks_for_a_target() -> None:
    asking = {
        name
        for name, template in TEMPLATES.items()
        if any(q["variable"] == "target" and q["required"] for q in template["survey_spec"]["spec"])
    }
    assert asking == {
        "WhatsApp reset",
        "WhatsApp restart",
        "WhatsApp campaign begin",
        "WhatsApp campaign end",
    }


def test_workflow_checks_then_asks_then_applies() -> None:
    nodes = {node["identifier"]: node for node in WORKFLOW["workflow_nodes"]}
    followed, node = [], "check"
    while node:
        template = nodes[node]["unified_job_template"]
        followed.append((template["type"], template["name"]))
        following = nodes[node].get("related", {})
        assert set(following) <= {"success_nodes"}, "nothing goes on after a failure"
        node = next((one["identifier"] for one in following.get("success_nodes", [])), "")
    assert [kind for kind, _name in followed] == ["job_template", "workflow_approval", "job_template"]
    assert (followed[0][1], followed[2][1]) == ("WhatsApp check", "WhatsApp apply")
    # AWX hands an answer on only to a template that asks for it.
    for name in ("WhatsApp check", "WhatsApp apply"):
        assert TEMPLATES[name]["survey_spec"] == WORKFLOW["survey_spec"] == SURVEY
    assert WORKFLOW["ask_limit_on_launch"] is True
    assert WORKFLOW["allow_simultaneous"] is False


# --- credential types --------------------------------------------------------------------------------------------


def fallbacks() -> set[str]:
    """The environment variables that the modules read."""
    fragment = (FOLDER.parents[1] / "plugins" / "doc_fragments" / "api.py").read_text(encoding="utf-8")
    return set(re.findall(r"E\((WABIZ_\w+)\)", fragment))


def test_credential_for_modules_says_all_that_they_read_from_the_environment() -> None:
    assert set(OF_MODULES["injectors"]["env"]) == fallbacks()


def test_credential_for_the_role_says_variables_of_the_role() -> None:
    names = set(OF_ROLE["injectors"]["extra_vars"])
    assert names <= set(NAMES)
    assert {name.removeprefix("wa_settings_") for name in names} <= set(CONNECTION)


@pytest.mark.parametrize("credential_type", TYPES.values(), ids=["modules", "role"])
def test_secrets_of_credentials_are_marked(credential_type: dict[str, Any]) -> None:
    secret = {field["id"] for field in credential_type["inputs"]["fields"] if field.get("secret")}
    assert secret == {"password", "token"}


def test_empty_fields_say_nothing_and_certificates_are_checked() -> None:
    nothing = injected(OF_ROLE, {"password": "x"}, "/runner/env/ca")["extra_vars"]
    assert nothing == {
        "wa_settings_username": "",
        "wa_settings_password": "x",
        "wa_settings_token": "",
        "wa_settings_ca_path": "",
        "wa_settings_validate_certs": "true",
    }
    everything = injected(
        OF_MODULES, {"api_url": "https://a", "token": "t", "ca": "PEM", "insecure": True}, "/runner/env/ca"
    )
    assert everything["file"] == {"template": "PEM"}
    assert everything["env"] == {
        "WABIZ_API_URL": "https://a",
        "WABIZ_USERNAME": "",
        "WABIZ_PASSWORD": "",
        "WABIZ_TOKEN": "t",
        "WABIZ_CA_PATH": "/runner/env/ca",
        "WABIZ_VALIDATE_CERTS": "false",
    }


# --- the survey of the settings ----------------------------------------------------------------------------------


def test_survey_is_up_to_date() -> None:
    hint = "run: PYTHONPATH=.cache/collections python3 tests/awx/settings_survey.py"
    assert settings_survey.TARGET.read_text(encoding="utf-8") == settings_survey.content(), hint


def leaves(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found


def test_every_question_feeds_its_setting() -> None:
    questions = {question["question_name"]: question for question in SURVEY["spec"]}
    fed = leaves(OBJECTS["wa_awx_settings_overrides"])
    assert set(questions) == set(fed)
    assert {re.findall(r"wa_survey_\w+", text)[0] for text in fed.values()} == {q["variable"] for q in SURVEY["spec"]}
    for name, question in questions.items():
        assert question["variable"] in fed[name]
    # What is not asked for cannot be set on today's clients, or has a successor.
    for name in set(KEYS) - set(questions):
        assert KEYS[name].deprecated or KEYS[name].fixed_since, name


@pytest.mark.parametrize("question", [pytest.param(q, id=q["question_name"]) for q in SURVEY["spec"]])
def test_question_fits_its_key(question: dict[str, Any]) -> None:
    key = KEYS[question["question_name"]]
    assert ("restarts the Coreapps" in question["question_description"]) is key.restart_bound
    assert question["required"] is False
    assert "default" not in question, "what nobody answers stays as it is declared"
    if key.kind is Kind.BOOLEAN:
        assert question["choices"] == ["true", "false"]
    elif key.choices:
        assert question["choices"] == [str(choice) for choice in key.choices]
        assert question["type"] == ("multiselect" if key.kind is Kind.TEXT_SET else "multiplechoice")
    elif key.kind in (Kind.COUNT, Kind.MILLISECONDS):
        assert (question["type"], question["min"], question["max"]) == ("integer", 1, 2**31 - 1)
    assert (question["type"] == "password") is key.secret
