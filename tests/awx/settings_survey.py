# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the survey of the application settings for AWX from the catalogue, and the variables that its answers go to.

`PYTHONPATH=.cache/collections python3 tests/awx/settings_survey.py` writes `extensions/awx/settings_survey.yml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, Key, Kind
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import LARGEST_NUMBER

TARGET = Path(__file__).resolve().parents[2] / "extensions" / "awx" / "settings_survey.yml"
HEADER = """\
# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
---
# Generated from plugins/module_utils/_catalogue.py by tests/awx/settings_survey.py; do not edit.
"""
LONGEST_TEXT = 1024  # what AWX itself proposes


class Template(str):
    """Text that AWX renders, and Ansible must not."""

    __slots__ = ()


class UnsafeDumper(yaml.SafeDumper):
    """Writes as this repository does, and `Template` with its tag."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


UnsafeDumper.add_representer(Template, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def asked(key: Key) -> bool:
    """Whether a key has a question: not what today's clients have replaced, or cannot change any more."""
    return key.deprecated is None and key.fixed_since is None


def variable(name: str) -> str:
    """The variable that holds the answer for a setting."""
    return "wa_survey_" + name.replace(".", "_")


def question(name: str, key: Key) -> dict[str, Any]:
    """The question about one setting. None has a default: what nobody answers stays as it is declared."""
    words = ["Left empty, it stays as declared."]
    if key.restart_bound:
        words.append("A change restarts the Coreapps, one at a time.")
    if key.since:
        words.append(f"Known to clients from version {'.'.join(map(str, key.since))} on.")
    return {
        "variable": variable(name),
        "question_name": name,
        "question_description": " ".join(words),
        "required": False,
        **_answers(key),
    }


def _answers(key: Key) -> dict[str, Any]:
    """The type of an answer, with its choices or bounds. AWX has no boolean."""
    if key.kind is Kind.BOOLEAN:
        return {"type": "multiplechoice", "choices": ["true", "false"]}
    if key.choices:
        several = key.kind is Kind.TEXT_SET
        return {"type": "multiselect" if several else "multiplechoice", "choices": [str(c) for c in key.choices]}
    if key.kind in (Kind.COUNT, Kind.MILLISECONDS):
        return {"type": "integer", "min": 1, "max": LARGEST_NUMBER}
    # Whoever may read a job sees its answers, unless they are passwords.
    return {"type": "password" if key.secret else "text", "min": 0, "max": LONGEST_TEXT}


def overrides() -> dict[str, Any]:
    """`wa_settings_overrides` as the answers make it."""
    found: dict[str, Any] = {}
    for name, key in KEYS.items():
        if asked(key):
            *groups, leaf = name.split(".")
            level = found
            for group in groups:
                level = level.setdefault(group, {})
            # Of a list nothing chosen counts as no answer too.
            default = "default('', true)" if key.kind is Kind.TEXT_SET else "default('')"
            level[leaf] = Template(f"{{{{ {variable(name)} | {default} }}}}")
    return found


def content() -> str:
    """The text of the file."""
    survey = {
        "name": "Settings",
        "description": "Settings for this job only, laid over the declared ones",
        "spec": [question(name, key) for name, key in KEYS.items() if asked(key)],
    }
    variables = {"wa_awx_settings_survey": survey, "wa_awx_settings_overrides": overrides()}
    return HEADER + yaml.dump(variables, Dumper=UnsafeDumper, sort_keys=False, width=110)


if __name__ == "__main__":
    TARGET.write_text(content(), encoding="utf-8")
