# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by which the shipped AWX objects are judged: each refusal of AWX, and what is allowed beside it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from awx_rules import credential_type_refused, schedule_refused, survey_refused, survey_unwise

QUESTION: dict[str, Any] = {
    "variable": "level",
    "type": "text",
    "question_name": "Level",
    "question_description": "How much is logged",
    "required": False,
}
INTEGER = {"type": "integer", "min": 1, "max": 9}
CHOICE = {"type": "multiplechoice", "choices": ["info", "warning"]}
# In a case: a key that is not there.
GONE = object()


def changed(base: Mapping[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value is not GONE}


def survey(**changes: Any) -> dict[str, Any]:
    return {"name": "Settings", "description": "", "spec": [changed(QUESTION, changes)]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"default": "info"},
        {"type": "textarea", "min": 0, "max": 10},
        {**INTEGER, "default": 3},
        {**INTEGER, "default": "", "min": None},
        {"type": "float", "default": 0.5},
        {**CHOICE, "default": "info"},
        {**CHOICE, "choices": "info\n\nwarning\n", "default": ""},
        {**CHOICE, "type": "multiselect", "default": "info\nwarning"},
        {**CHOICE, "type": "multiselect", "default": ["info"]},
        {"type": "password", "default": "$encrypted$"},
    ],
)
def test_question_that_awx_takes(changes: dict[str, Any]) -> None:
    assert survey_refused(survey(**changes)) == []
    assert survey_unwise(survey(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"question_description": GONE}, "question_description is missing"),
        ({"question_name": GONE}, "question_name is missing"),
        ({"required": GONE}, "required is missing"),
        ({"required": "true"}, "required is missing, or neither"),
        ({"variable": GONE}, "variable is missing"),
        ({"type": GONE}, "type is missing"),
        ({"type": "boolean"}, "boolean is no type"),
        ({"type": "choice"}, "choice is no type"),
        ({**INTEGER, "default": "3"}, "the default is no integer"),
        ({**INTEGER, "default": True}, "the default is no integer"),
        ({**INTEGER, "min": "1"}, "min is no integer"),
        ({**INTEGER, "max": "9"}, "max is no integer"),
        ({"default": 3}, "the default is no text"),
        ({**CHOICE, "choices": GONE}, "no choices"),
        ({**CHOICE, "choices": []}, "no choices"),
        ({**CHOICE, "choices": "\n"}, "no choices"),
        ({**CHOICE, "default": "fatal"}, "none of the choices"),
        ({**CHOICE, "default": "inf"}, "none of the choices"),
        ({**CHOICE, "default": "info\nwarning"}, "more than one default"),
        ({**CHOICE, "type": "multiselect", "default": ["info", "fatal"]}, "none of the choices"),
        ({"default": "$encrypted$"}, "for passwords only"),
    ],
)
def test_question_that_awx_refuses(changes: dict[str, Any], problem: str) -> None:
    (found,) = survey_refused(survey(**changes))
    assert problem in found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": GONE}, "no name"),
        ({"description": GONE}, "no description"),
        ({"spec": []}, "no question"),
        ({"spec": [QUESTION, QUESTION]}, "used twice"),
    ],
)
def test_survey_that_awx_refuses(changes: dict[str, Any], problem: str) -> None:
    (found,) = survey_refused(changed(survey(), changes))
    assert problem in found


@pytest.mark.parametrize(
    "changes",
    [
        {"variable": "log level"},
        {"variable": "webhooks.url"},
        {"variable": "log-level"},
        {**INTEGER, "default": 0},
        {**INTEGER, "default": 10},
    ],
)
def test_question_that_awx_takes_and_we_refuse(changes: dict[str, Any]) -> None:
    assert survey_refused(survey(**changes)) == []
    assert len(survey_unwise(survey(**changes))) == 1


FIELD: Mapping[str, Any] = MappingProxyType({"id": "password", "label": "Password", "type": "string", "secret": True})
BOOLEAN: dict[str, Any] = {"id": "insecure", "label": "Insecure", "type": "boolean", "default": False}


def credential_type(**changes: Any) -> dict[str, Any]:
    base = {"kind": "cloud", "inputs": {"fields": [FIELD, BOOLEAN]}, "injectors": {}}
    return changed(base, changes)


def with_field(base: Mapping[str, Any] = FIELD, **changes: Any) -> dict[str, Any]:
    return credential_type(inputs={"fields": [changed(base, changes)]})


def with_injector(**injectors: Any) -> dict[str, Any]:
    return credential_type(injectors=injectors)


@pytest.mark.parametrize(
    "good",
    [
        credential_type(),
        credential_type(kind="net"),
        with_field(type=GONE),
        with_field(help_text="", multiline=True, format="url", choices=["a"], ask_at_runtime=True, default=""),
        with_injector(env={"WABIZ_PASSWORD": "{{ password }}"}, extra_vars={"insecure": "{{ insecure }}"}),
        with_injector(file={"template": "{{ password }}"}, env={"A": "{{ tower.filename }}"}),
        with_injector(file={"template.a": "x", "template.b": "y"}, env={"A": "{{ tower.filename.b }}"}),
    ],
)
def test_credential_type_that_awx_takes(good: dict[str, Any]) -> None:
    assert credential_type_refused(good) == []


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (credential_type(kind="vault"), "neither cloud nor net"),
        (credential_type(kind=GONE), "neither cloud nor net"),
        (credential_type(inputs={"fields": [], "metadata": []}), "metadata is unknown"),
        (credential_type(inputs={"fields": [FIELD, FIELD]}), "used twice"),
        (with_field(type="integer"), "neither string nor boolean"),
        (with_field(BOOLEAN, default="false"), "the default is no boolean"),
        (with_field(BOOLEAN, default=0), "the default is no boolean"),
        (with_field(default=1), "the default is no string"),
        (with_field(BOOLEAN, secret=True), "secret does not go with a boolean"),
        (with_field(BOOLEAN, choices=["a"]), "choices does not go with a boolean"),
        (with_field(label=GONE), "no label"),
        (with_field(id="api-password"), "no id"),
        (with_field(id="tower"), "no id"),
        (with_field(id="1st"), "no id"),
        (with_field(format="date"), "no format"),
        (with_field(required=True), "required is unknown"),
        (with_injector(environment={}), "environment is unknown"),
        (with_injector(env={"WABIZ_PASSWORD": "{{ passwort }}"}), "undefined"),
        (with_injector(env={"A": "{{ tower.filename }}"}), "filename"),
        (with_injector(file={"template.a": "x"}, env={"A": "{{ tower.filename.b }}"}), "no attribute"),
        (with_injector(env={"A": "{{ password"}), "unexpected end"),
        (with_injector(env={"A": "{{ password.__class__.mro() }}"}), "unsafe"),
        (with_injector(env={"ANSIBLE_CONFIG": "x"}), "not allowed in the environment"),
        (with_injector(env={"PATH": "x"}), "not allowed in the environment"),
        (with_injector(env={"PYTHONPATH": "x"}), "not allowed in the environment"),
        (with_injector(env={"A-B": "x"}), "no name"),
        (with_injector(env={"A": "Grüße"}), "no ASCII"),
        (with_injector(env={"A": True}), "no text"),
        (with_injector(extra_vars={"a": True}), "no text"),
        (with_injector(extra_vars={"a": 1}), "no text"),
        (with_injector(extra_vars={"a": {"b": "c"}}), "no text"),
        (with_injector(extra_vars={"a.b": "c"}), "no name"),
        (with_injector(file={"ca": "x"}), "no name"),
        (with_injector(file={"template": "x", "template.a": "y"}), "does not go with template.x"),
    ],
)
def test_credential_type_that_awx_refuses(bad: dict[str, Any], problem: str) -> None:
    (found,) = credential_type_refused(bad)
    assert problem in found


def test_extra_variables_need_no_ascii() -> None:
    assert credential_type_refused(with_injector(extra_vars={"a": "Grüße"})) == []


@pytest.mark.parametrize("start", ["DTSTART;TZID=Europe/Berlin:20250101T030000", "DTSTART:20250101T030000Z"])
def test_schedule_that_awx_takes(start: str) -> None:
    assert schedule_refused({"rrule": f"{start} RRULE:FREQ=DAILY;INTERVAL=1"}) == []


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("DTSTART:20250101T030000 RRULE:FREQ=DAILY;INTERVAL=1", "time zone"),
        ("DTSTART;TZID=:20250101T030000 RRULE:FREQ=DAILY;INTERVAL=1", "time zone"),
        ("RRULE:FREQ=DAILY;INTERVAL=1", "DTSTART"),
        ("DTSTART:20250101T030000Z RRULE:FREQ=DAILY", "INTERVAL"),
        ("DTSTART:20250101T030000Z RRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("DTSTART:20250101T030000Z", "RRULE"),
        ("DTSTART:20250101T030000Z RRULE:FREQ=SECONDLY;INTERVAL=1", "SECONDLY"),
    ],
)
def test_schedule_that_awx_refuses(rule: str, problem: str) -> None:
    (found,) = schedule_refused({"rrule": rule})
    assert problem in found
