# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of an export as text: YAML in which references to the vault stand for secrets. Pure.

A setting is a leaf here, and its value is JSON text, so that 1, 1.0 and true are three values. A leaf is its kind and
its path: C(("values", "webhooks", "url")), C(("extra", "vendor", "limit")) or C(("media_providers",)).

This module is private to the collection.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from ansible_collections.wabiz.onprem.plugins.module_utils._plan import lookup, place
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import mask, one_line
from ansible_collections.wabiz.onprem.plugins.plugin_utils._files import OF_EXPORT

Leaf = tuple[str, ...]
Leaves = dict[Leaf, str]
Place = tuple[str, str]  # C(group_vars) or C(host_vars), and the name of the group or the host
Parts = dict[Place, dict[str, Leaves]]  # what each place says, by variable

PROVIDERS: Leaf = ("media_providers",)

# What Ansible may take for a template.
_TEMPLATE = re.compile(r"\{\{|\{%|\{#|^#jinja2:")
_HEADER = "# Written by the playbook wabiz.onprem.export: {}.\n---\n"


def is_secret(leaf: Leaf, value: Any) -> bool:
    """Whether a value must not be read: by its name, or for an address in it."""
    holder: dict[str, Any] = {}
    place(holder, leaf[1:], value)
    return bool(lookup(mask(holder), leaf[1:]) != value)


class _Template(str):
    """Text that Ansible must not take for a template."""


@dataclass
class _Secret:
    """A value that a variable of the vault holds; the variable's name is given when all of them are known."""

    key: Leaf
    value: Any
    variable: str = ""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)  # as ansible-lint wants lists

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_secret(dumper: _Dumper, secret: _Secret) -> Any:
    convertible = isinstance(secret.value, str) and _is_python(secret.value)
    name = f"{secret.variable} | string" if convertible else secret.variable
    return dumper.represent_scalar("tag:yaml.org,2002:str", f"{{{{ {name} }}}}", style='"')


def _represent_text(dumper: _Dumper, text: str) -> Any:
    # Double quotes escape; within others, PyYAML reads some line breaks as blanks.
    tag, style = ("!unsafe", "'") if isinstance(text, _Template) else ("tag:yaml.org,2002:str", None)
    return dumper.represent_scalar(tag, str(text), style=style if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(_Template, _represent_text)
_Dumper.add_representer(_Secret, _represent_secret)


def _is_python(text: str) -> bool:
    """Whether Ansible before 2.19, or its native Jinja, may make another type of a rendered text."""
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.startswith(("{", "["))
    return True


def names_a_folder(name: str) -> bool:
    """Whether files in a folder of this name are read for the host or group of this name, and for no other."""
    try:
        short = 0 < len(name.encode()) <= 255
    except UnicodeError:
        return False
    return short and name not in (".", "..") and not re.search(r"[/\0]|\.(?:yml|yaml|json)$", name)


def render(parts: Parts) -> tuple[dict[PurePosixPath, str], dict[PurePosixPath, str]]:
    """The files in clear, and those that are to be encrypted: text by path."""
    secrets: list[_Secret] = []
    clear: dict[PurePosixPath, Any] = {}
    vaults: dict[PurePosixPath, list[_Secret]] = {}
    for where, variables in sorted(parts.items()):
        before = len(secrets)
        clear[PurePosixPath(*where, OF_EXPORT[0])] = {
            variable: _tree(leaves, secrets) for variable, leaves in variables.items()
        }
        if secrets[before:]:
            vaults[PurePosixPath(*where, OF_EXPORT[1])] = secrets[before:]
    names = variable_names(secret.key for secret in secrets)
    for secret in secrets:
        secret.variable = names[secret.key]
    clear_texts = {path: _as_yaml(path, "settings", content) for path, content in clear.items()}
    vault_texts = {
        path: _as_yaml(path, "secrets", {secret.variable: _safe(secret.value) for secret in content})
        for path, content in vaults.items()
    }
    return clear_texts, vault_texts


def _tree(leaves: Leaves, secrets: list[_Secret]) -> Any:
    """The value of a variable, with its secrets put aside."""

    def aside(key: Leaf, value: Any) -> _Secret:
        secrets.append(_Secret(key, value))
        return secrets[-1]

    if PROVIDERS in leaves:
        listed = _safe(json.loads(leaves[PROVIDERS]))
        for one in listed:
            for key, (holder, name) in credentials(one).items():
                holder[name] = aside(key, holder[name])
        return listed
    tree: dict[str, Any] = {}
    for leaf, text in leaves.items():
        value = json.loads(text)
        place(tree, leaf[1:], aside(leaf[1:], value) if is_secret(leaf, value) else _safe(value))
    return tree


def credentials(options: dict[str, Any]) -> dict[Leaf, tuple[dict[str, Any], str]]:
    """The secrets in options of C(wa_media_provider), and where they are."""
    holder, name = (options["basic"], "password") if "basic" in options else (options, "bearer")
    return {("media", "provider", str(options["name"]), name): (holder, name)}


def variable_names(keys: Iterable[Leaf]) -> dict[Leaf, str]:
    """The variable of the vault for each setting; no two share one."""
    names: dict[Leaf, str] = {}
    for key in sorted(set(keys)):
        name = stem = "vault_wa_settings_" + (re.sub("[^0-9a-z]+", "_", "_".join(key).lower()).strip("_") or "value")
        number = 1
        while name in names.values():
            number += 1
            name = f"{stem}_{number}"
        names[key] = name
    return names


def _safe(value: Any) -> Any:
    """The value with every text marked that Ansible would render."""
    if isinstance(value, dict):
        return {name: _safe(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_safe(member) for member in value]
    return _Template(value) if isinstance(value, str) and _TEMPLATE.search(value) else value


def _as_yaml(path: PurePosixPath, what: str, content: Any) -> str:
    kind, name = path.parts[0], one_line(path.parts[1])
    whose = f"the {what} that the hosts of {name} have in common" if kind == "group_vars" else f"{what} of {name}"
    text = yaml.dump(content, Dumper=_Dumper, allow_unicode=True, width=10**9, default_flow_style=False)
    return _HEADER.format(whose) + str(text)
