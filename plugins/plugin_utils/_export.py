# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an export writes of what was read: which settings, and in which layer. Pure.

What a file of a group says is true of every host of the group, whichever file wins on it. So a host of several groups
may get less from them than is true of it, but nothing that is not; and what it does not get is in its own file.

This module is private to the collection.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, READ_ONLY, Certainty
from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import (
    canonical_settings,
    dotted,
    flatten,
    non_default,
    parse_version,
    place,
    plan,
    read_declaration,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import Provider, read_provider
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import find_secrets, mask, one_line, scrub
from ansible_collections.wabiz.onprem.plugins.plugin_utils._export_files import (
    PROVIDERS,
    Leaf,
    Leaves,
    Parts,
    credentials,
    is_secret,
    variable_names,
)

# Each kind in the variables of its layers: of groups that no other group holds, of groups in those, and of hosts.
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "values": ("wa_settings_values", "wa_settings_group_values", "wa_settings_host_values"),
    "extra": ("wa_settings_extra_values", "wa_settings_extra_group_values", "wa_settings_extra_host_values"),
    "media_providers": ("wa_settings_media_providers",) * 3,
}

_KNOWN = {tuple(name.split(".")): key for name, key in KEYS.items()}
_GROUPS = {path[:depth] for path in _KNOWN for depth in range(1, len(path))}


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
    wanted = dict(_worth_declaring(settings, everything))
    fits = _problem(settings, wanted, version) is None
    for path, value in wanted.items():
        problem = None if fits else _problem(settings, {path: value}, version)
        leaf = ("values" if path in _KNOWN else "extra", *path)
        if problem is None and not secrets and is_secret(leaf, value):
            problem = _needs_vault([path])
        if problem is None:
            leaves[leaf] = json.dumps(value, sort_keys=True)
        else:
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
                left_out["media.providers"] = _needs_vault(key for one in options for key in credentials(one))
            else:
                leaves[PROVIDERS] = json.dumps(options, sort_keys=True)
    return leaves, left_out


def _needs_vault(keys: Iterable[Leaf]) -> str:
    variables = ", ".join(variable_names(keys).values())
    return f"is a secret, which becomes {variables} with wa_export_vault_password_file"


def _worth_declaring(settings: Mapping[str, Any], everything: bool) -> Iterator[tuple[Leaf, Any]]:
    differing = non_default(settings)
    for path, value in flatten(canonical_settings(settings)):
        key = _KNOWN.get(path)
        is_default = key is not None and key.certainty is Certainty.CERTAIN and path not in differing
        # A null in a declaration means that nothing is declared, and so does a group without members.
        says_nothing = value is None or (value == {} and path in _GROUPS)
        if path[0] not in READ_ONLY and not says_nothing and (everything or not is_default):
            yield path, value


def _problem(settings: Mapping[str, Any], wanted: Mapping[Leaf, Any], version: str | None) -> str | None:
    """Why reported values cannot be declared as they are."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for path, value in wanted.items():
        place(known if path in _KNOWN else extra, path, value)
    try:
        json.dumps([known, extra], ensure_ascii=False).encode()
        if plan(settings, read_declaration(known, extra), version=parse_version(version)).sent:
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
