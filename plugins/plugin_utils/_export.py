# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an export writes of what was read: which settings, in which layer, and as which text. Pure.

A setting is a leaf here, and its value is JSON text, so that 1, 1.0 and true are three values. A leaf is its kind and
its path: C(("values", "webhooks", "url")), C(("extra", "vendor", "limit")) or C(("media_providers",)).

What a file of a group says is true of every host of the group, whichever file wins on it. So a host of several groups
may get less from them than is true of it, but nothing that is not; and what it does not get is in its own file.

This module is private to the collection.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, READ_ONLY, Certainty
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import (
    canonical_settings,
    dotted,
    flatten,
    lookup,
    non_default,
    parse_version,
    place,
    plan,
    read_declaration,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import Provider, read_provider
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import find_secrets, mask, one_line, scrub
from ansible_collections.wabiz.onprem.plugins.plugin_utils._files import OF_EXPORT

Leaf = tuple[str, ...]
Leaves = dict[Leaf, str]
Place = tuple[str, str]  # C(group_vars) or C(host_vars), and the name of the group or the host
Parts = dict[Place, dict[str, Leaves]]  # what each place says, by variable

PROVIDERS: Leaf = ("media_providers",)
# Each kind in the variables of its layers: of groups that no other group holds, of groups in those, and of hosts.
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "values": ("wa_settings_values", "wa_settings_group_values", "wa_settings_host_values"),
    "extra": ("wa_settings_extra_values", "wa_settings_extra_group_values", "wa_settings_extra_host_values"),
    "media_providers": ("wa_settings_media_providers",) * 3,
}

_KNOWN = {tuple(name.split(".")): key for name, key in KEYS.items()}
# What Ansible may take for a template.
_TEMPLATE = re.compile(r"\{\{|\{%|\{#|^#jinja2:")
_HEADER = "# Written by the playbook wabiz.onprem.export: {}.\n---\n"


# --- one client ----------------------------------------------------------------------------------------------------


def exportable(
    settings: Mapping[str, Any],
    providers: Sequence[Provider] | None,
    version: str | None,
    *,
    everything: bool = False,
    secrets: bool = True,
) -> tuple[Leaves, dict[str, str]]:
    """What is to be declared of a client, and what cannot be, by its name, with the reason.

    settings, providers: as the client reports them; None where it knows no media providers. everything: what has its
    certain default as well. secrets: whether secrets can be written.
    """
    leaves: Leaves = {}
    left_out: dict[str, str] = {}
    hidden = find_secrets(settings)
    differing = non_default(settings)
    for path, value in flatten(canonical_settings(settings)):
        key = _KNOWN.get(path)
        certain = key is not None and key.certainty is Certainty.CERTAIN
        if path[0] in READ_ONLY or value is None or (certain and not everything and path not in differing):
            continue  # a null in a declaration means that nothing is declared
        leaf = ("extra" if key is None else "values", *path)
        problem = _problem(settings, path, value, version)
        if problem is None and not secrets and _is_secret(leaf, value):
            problem = _needs_vault([path])
        if problem is None:
            leaves[leaf] = json.dumps(value, sort_keys=True)
        elif problem:
            left_out[dotted(path)] = scrub(problem, hidden)
    if providers or (providers is not None and (everything or not leaves)):
        try:
            options = [_as_options(one) for one in sorted(providers, key=lambda one: str(one["name"]))]
        except (InvalidOptions, UnicodeError) as error:
            left_out["media.providers"] = (
                "holds characters that are no text" if isinstance(error, UnicodeError) else str(error)
            )
        else:
            if options and not secrets:
                left_out["media.providers"] = _needs_vault(key for one in options for key in _credentials(one))
            else:
                leaves[PROVIDERS] = json.dumps(options, sort_keys=True)
    return leaves, left_out


def _needs_vault(keys: Iterable[Leaf]) -> str:
    variables = ", ".join(variable_names(keys).values())
    return f"is a secret, which becomes {variables} with wa_export_vault_password_file"


def _problem(settings: Mapping[str, Any], path: Leaf, value: Any, version: str | None) -> str | None:
    """Why a reported value cannot be declared as it is; empty where it says nothing."""
    declared: dict[str, Any] = {}
    place(declared, path, value)
    try:
        json.dumps(declared, ensure_ascii=False).encode()
        declaration = read_declaration(*((declared, None) if path in _KNOWN else (None, declared)))
        if not declaration.leaves():
            return ""
        if plan(settings, declaration, version=parse_version(version)).sent:
            return "would be a change if it were declared"
    except UnicodeError:
        return "holds characters that are no text"
    except InvalidOptions as problem:
        return str(problem)
    return None


def _as_options(provider: Provider) -> dict[str, Any]:
    """A provider as options of C(wa_media_provider). Raises InvalidOptions and UnicodeError."""
    json.dumps(provider, ensure_ascii=False).encode()
    config = provider["config"]
    options = {"name": provider["name"], **config}
    basic = config.get("basic")
    fits = basic is None or (isinstance(basic, Mapping) and set(basic) == {"username", "password"})
    texts = [*basic.values()] if fits and basic is not None else [config.get("bearer")]
    name = mask(one_line(provider["name"]))
    if not fits or len(config) != 1 or not all(isinstance(text, str) for text in texts) or provider["type"] != "www":
        raise InvalidOptions(f"{name}: its configuration is none that wa_media_provider knows")
    try:
        read_provider(options)
    except InvalidOptions as problem:
        raise InvalidOptions(f"{name}: {problem}") from None
    return options


def _is_secret(leaf: Leaf, value: Any) -> bool:
    """Whether a value must not be read: by its name, or for an address in it."""
    holder: dict[str, Any] = {}
    place(holder, leaf[1:], value)
    return bool(lookup(mask(holder), leaf[1:]) != value)


# --- the layers ----------------------------------------------------------------------------------------------------


def layers(hosts: Mapping[str, Leaves], groups: Mapping[str, Iterable[str]]) -> Parts:
    """Where to say what, so that Ansible makes of it for each host what was read of the host.

    groups: those of which every host is known, in the order in which Ansible lets the later win; a group comes after
    all that hold it. Ansible replaces a variable of one group by that of another, so each host has
    C(wa_settings_values) from one group and C(wa_settings_group_values) from one other.
    """
    shared = {
        group: frozenset(hosts) for group, hosts in groups.items() if len(set(hosts)) > 1 and group != "ungrouped"
    }
    last = {mine: group for group, mine in shared.items()}  # a child of the same hosts speaks for its parent
    members = {group: mine for group, mine in shared.items() if last[mine] == group}
    outer = {group: mine for group, mine in members.items() if not any(mine < other for other in members.values())}
    inner = {group: mine for group, mine in members.items() if group not in outer}
    parts: Parts = {}
    for kind, variables in VARIABLES.items():
        rest = {host: {leaf: text for leaf, text in said.items() if leaf[0] == kind} for host, said in hosts.items()}
        for variable, layer in zip(variables, (outer, inner)):
            for group, common in _take_common(rest, layer).items():
                parts.setdefault(("group_vars", group), {})[variable] = common
        for host, said in rest.items():
            if said:
                parts.setdefault(("host_vars", host), {})[variables[2]] = said
    return parts


def _take_common(rest: dict[str, Leaves], groups: Mapping[str, frozenset[str]]) -> dict[str, Leaves]:
    """What each group says of all of its hosts, taken out of what is left to say of them."""
    given: dict[str, Leaves] = {}
    found: dict[str, Leaves] = {}
    for group, hosts in groups.items():
        common: Leaves | None = None
        for host in hosts:
            said = rest[host]
            common = {
                leaf: text for leaf, text in (said if common is None else common).items() if said.get(leaf) == text
            }
        # The file replaces what another group has said of these hosts, which is then for their own files to say.
        if common and sum(len(common) - len(given.get(host, ())) for host in hosts) > 0:
            found[group] = common
            given.update(dict.fromkeys(hosts, common))
    for host, common in given.items():
        rest[host] = {leaf: text for leaf, text in rest[host].items() if leaf not in common}
    in_force = {id(common) for common in given.values()}
    return {group: common for group, common in found.items() if id(common) in in_force}


# --- the files -----------------------------------------------------------------------------------------------------


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
            for key, (holder, name) in _credentials(one).items():
                holder[name] = aside(key, holder[name])
        return listed
    tree: dict[str, Any] = {}
    for leaf, text in leaves.items():
        value = json.loads(text)
        place(tree, leaf[1:], aside(leaf[1:], value) if _is_secret(leaf, value) else _safe(value))
    return tree


def _credentials(options: dict[str, Any]) -> dict[Leaf, tuple[dict[str, Any], str]]:
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
