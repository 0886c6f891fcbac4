# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX 24.6 refuses in surveys, credential types and schedules, and what it accepts and we refuse ourselves.

Seen on a running AWX 24.6.1, and read in its source: `awx/main/fields.py` (`CredentialTypeInputField`,
`CredentialTypeInjectorField`), `awx/api/views/__init__.py` (`JobTemplateSurveySpec`), `awx/api/serializers.py`
(`SchedulePreviewSerializer`). Each function returns what is wrong, in words; nothing where all is well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FILE = re.compile(rf"template(\.{_NAME.pattern})?")
_DEFAULTS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "textarea": (str,),
    "password": (str,),
    "multiplechoice": (str,),
    "multiselect": (str, list),
    "integer": (int,),
    "float": (int, float),
}
_CHOICES = ("multiplechoice", "multiselect")
_FIELD_KEYS = {
    "id",
    "label",
    "type",
    "format",
    "choices",
    "help_text",
    "multiline",
    "secret",
    "ask_at_runtime",
    "default",
}
_TEXT_ONLY = ("choices", "multiline", "format", "secret")
_FORMATS = ("ssh_private_key", "url")
_BLOCKED_ENVIRONMENT = {
    "VIRTUAL_ENV", "PATH", "PYTHONPATH", "JOB_ID", "INVENTORY_ID", "INVENTORY_SOURCE_ID", "INVENTORY_UPDATE_ID",
    "AD_HOC_COMMAND_ID", "REST_API_URL", "REST_API_TOKEN", "MAX_EVENT_RES", "CALLBACK_QUEUE", "CALLBACK_CONNECTION",
    "CACHE", "JOB_CALLBACK_DEBUG", "INVENTORY_HOSTVARS", "AWX_HOST", "PROJECT_REVISION", "SUPERVISOR_CONFIG_PATH",
}  # fmt: skip


def lines(value: Any) -> list[str]:
    """Choices or defaults, given as a list or as lines of a text."""
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else list(value)


# --- surveys -----------------------------------------------------------------------------------------------------


def survey_refused(survey: Mapping[str, Any]) -> list[str]:
    """What AWX refuses in a survey."""
    found = [f"survey: no {key}" for key in ("name", "description", "spec") if key not in survey]
    questions = survey.get("spec", [])
    if not questions:
        found.append("survey: no question")
    seen: set[str] = set()
    for question in questions:
        name = question.get("variable", "?")
        if name in seen:
            found.append(f"{name}: the variable is used twice")
        seen.add(name)
        found += [f"{name}: {problem}" for problem in _question_refused(question)]
    return found


def _question_refused(question: Mapping[str, Any]) -> Iterator[str]:
    for key in ("type", "question_name", "question_description", "variable"):
        if not isinstance(question.get(key), str):
            yield f"{key} is missing, or no text"
    if not isinstance(question.get("required"), bool):
        yield "required is missing, or neither true nor false"
    kind, default = question.get("type"), question.get("default", "")
    if kind not in _DEFAULTS:
        if isinstance(kind, str):
            yield f"{kind} is no type of a question"
        return
    if default != "" and (not isinstance(default, _DEFAULTS[kind]) or isinstance(default, bool)):
        yield f"the default is no {kind}"
        return
    for bound in ("min", "max"):
        value = question.get(bound)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            yield f"{bound} is no integer"
    if kind in _CHOICES:
        choices = lines(question.get("choices", []))
        if not choices:
            yield "no choices"
        elif not set(lines(default)) <= set(choices):
            yield "the default is none of the choices"
        if kind == "multiplechoice" and len(lines(default)) > 1:
            yield "more than one default"
    if kind != "password" and isinstance(default, str) and default.startswith("$encrypted$"):
        yield "$encrypted$ is for passwords only"


def survey_unwise(survey: Mapping[str, Any]) -> list[str]:
    """What AWX accepts in a survey, and does not work in a job."""
    found = []
    for question in survey.get("spec", []):
        name, default = question.get("variable", ""), question.get("default", "")
        if not _NAME.fullmatch(name):
            found.append(f"{name}: no name of a variable")
        if question.get("type") in ("integer", "float") and isinstance(default, (int, float)):
            least, most = question.get("min"), question.get("max")
            if (least is not None and default < least) or (most is not None and default > most):
                found.append(f"{name}: the default is out of bounds")
    return found


# --- credential types --------------------------------------------------------------------------------------------


def credential_type_refused(credential_type: Mapping[str, Any]) -> list[str]:
    """What AWX refuses in a credential type."""
    inputs, injectors = credential_type.get("inputs", {}), credential_type.get("injectors", {})
    found = [] if credential_type.get("kind") in ("cloud", "net") else ["kind is neither cloud nor net"]
    found += [f"inputs: {key} is unknown" for key in sorted(set(inputs) - {"fields", "required"})]
    found += [f"injectors: {key} is unknown" for key in sorted(set(injectors) - {"file", "env", "extra_vars"})]
    fields = inputs.get("fields", [])
    names = [field.get("id") for field in fields]
    found += [f"{name}: the id is used twice" for name in sorted({n for n in names if n and names.count(n) > 1})]
    for field in fields:
        found += [f"{field.get('id')}: {problem}" for problem in _field_refused(field)]
    for kind, injector in injectors.items():
        for name, template in injector.items():
            found += [f"{kind} {name}: {problem}" for problem in _injector_refused(kind, name, template)]
    return found or [*_templates_refused(names, injectors)]


def _field_refused(field: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(set(field) - _FIELD_KEYS):
        yield f"{key} is unknown"
    if field.get("id") == "tower" or not _NAME.fullmatch(str(field.get("id", ""))):
        yield "no id that AWX takes"
    if not isinstance(field.get("label"), str):
        yield "no label"
    kind = field.get("type", "string")
    if kind not in ("string", "boolean"):
        yield f"{kind} is neither string nor boolean"
    elif "default" in field and not isinstance(field["default"], {"string": str, "boolean": bool}[kind]):
        yield f"the default is no {kind}"
    if kind == "boolean":
        for key in _TEXT_ONLY:
            if key in field:
                yield f"{key} does not go with a boolean"
    if field.get("format", _FORMATS[0]) not in _FORMATS:
        yield f"{field['format']} is no format"


def _injector_refused(kind: str, name: str, template: Any) -> Iterator[str]:
    if not (_FILE if kind == "file" else _NAME).fullmatch(name):
        yield "no name that AWX takes"
    if not isinstance(template, str):
        yield "no text"
    elif kind == "env" and not template.isascii():
        yield "no ASCII text"
    if kind == "env" and (name.startswith("ANSIBLE_") or name in _BLOCKED_ENVIRONMENT):
        yield "not allowed in the environment"


def _templates_refused(names: list[str], injectors: Mapping[str, Any]) -> Iterator[str]:
    files = injectors.get("file", {})
    if "template" in files and len(files) > 1:
        yield "file: template does not go with template.x"
        return
    # One file is `tower.filename`; of several each has a name below it.
    several = {name.partition(".")[2]: "EXAMPLE_FILENAME" for name in files}
    filename = "EXAMPLE_FILENAME" if "template" in files else several
    known = {**dict.fromkeys(names, "EXAMPLE"), "tower": {"filename": filename} if files else {}}
    for kind, injector in injectors.items():
        for name, template in injector.items():
            try:
                _render(template, known, StrictUndefined)
            except TemplateError as error:
                yield f"{kind} {name}: {error}"


def _render(template: str, known: Mapping[str, Any], undefined: type[Undefined]) -> str:
    return ImmutableSandboxedEnvironment(undefined=undefined).from_string(template).render(known)


def injected(credential_type: Mapping[str, Any], inputs: Mapping[str, Any], filename: str) -> dict[str, dict[str, str]]:
    """What a job gets from a credential: the contents of the file, the environment and the extra variables.

    AWX takes a boolean that is not given for false, and every other field for empty. filename: where its one file lies.
    """
    fields = credential_type["inputs"]["fields"]
    known: dict[str, Any] = {field["id"]: False for field in fields if field.get("type") == "boolean"}
    known = {**known, **inputs, "tower": {"filename": filename}}
    return {
        kind: {name: _render(template, known, Undefined) for name, template in injector.items()}
        for kind, injector in credential_type["injectors"].items()
    }


# --- schedules ---------------------------------------------------------------------------------------------------


def schedule_refused(schedule: Mapping[str, Any]) -> list[str]:
    """What AWX refuses in a schedule."""
    rule = str(schedule.get("rrule", ""))
    found = []
    if not re.search(r"DTSTART(;TZID=[^:;\s]+:\d{8}T\d{6}|:\d{8}T\d{6}Z)(?!\S)", rule):
        found.append("rrule: no DTSTART with a time zone")
    if "RRULE:" not in rule:
        found.append("rrule: no RRULE")
    elif not re.search(r"INTERVAL=[1-9]", rule):
        found.append("rrule: no INTERVAL")
    if "FREQ=SECONDLY" in rule:
        found.append("rrule: SECONDLY is not supported")
    return found
