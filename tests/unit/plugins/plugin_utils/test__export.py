# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an export writes: what Ansible makes of the files is what was read, for any groups and any settings."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, Certainty
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import place
from ansible_collections.wabiz.onprem.plugins.plugin_utils._export import exportable, layers
from ansible_collections.wabiz.onprem.plugins.plugin_utils._export_files import (
    PROVIDERS,
    Leaves,
    Parts,
    names_a_folder,
    render,
    variable_names,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import declaration

LAYERS = ("values", "group_values", "host_values", "extra_values", "extra_group_values", "extra_host_values")
LOG = ("values", "log_level")
PERSIST = ("values", "callback_persist")


def said(**values: Any) -> Leaves:
    return {("values", name): json.dumps(value) for name, value in values.items()}


def in_force(parts: Mapping[tuple[str, str], Mapping[str, Any]], groups: Mapping[str, Sequence[str]], host: str) -> Any:
    """The variables of a host by Ansible's precedence: groups in their order, then the host."""
    variables: dict[str, Any] = {}
    for group, hosts in groups.items():
        if host in hosts:
            variables.update(parts.get(("group_vars", group), {}))
    return {**variables, **parts.get(("host_vars", host), {})}


def declared(variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What the role makes of these variables: settings, extra settings, media providers."""
    values = {name: variables.get(f"wa_settings_{name}") for name in LAYERS}
    settings, extra, _origins = declaration({**values, "overrides": None})
    return settings, extra, variables.get("wa_settings_media_providers")


def nested(leaves: Leaves, kind: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for leaf, text in leaves.items():
        if leaf[0] == kind:
            place(tree, leaf[1:], json.loads(text))
    return tree


def loaded(parts: Parts) -> dict[tuple[str, str], dict[str, Any]]:
    """What Ansible reads in the files, references to the vault resolved."""
    clear, vaults = render(parts)
    secrets = {path.parent: read(text) for path, text in vaults.items()}
    found = {}
    for path, text in clear.items():
        found[path.parts[0], path.parts[1]] = resolved(read(text), secrets.get(path.parent, {}))
    return found


class Loader(yaml.SafeLoader):
    pass


class Unsafe(str):
    pass


Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(loader.construct_scalar(node)))  # type: ignore[arg-type]


def read(text: str) -> Any:
    return yaml.load(text, Loader)  # noqa: S506 - a safe one


def resolved(value: Any, secrets: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: resolved(member, secrets) for name, member in value.items()}
    if isinstance(value, list):
        return [resolved(member, secrets) for member in value]
    if isinstance(value, Unsafe):
        return str(value)
    if isinstance(value, str) and value.startswith("{{ "):
        return resolved(secrets[value[3:-3].removesuffix(" | string")], {})
    return value


# --- the layers ----------------------------------------------------------------------------------------------------

A, B, C, D = (said(log_level=level, callback_persist=False) for level in ("info", "warning", "error", "fatal"))
ALL = {"all": ["a", "b", "c", "d"]}


@pytest.mark.parametrize(
    ("hosts", "groups", "expected"),
    [
        pytest.param({"a": A, "b": A}, {"all": ["a", "b"]}, {"all": [LOG, PERSIST]}, id="all in common"),
        pytest.param({"a": A, "b": B}, {"all": ["a", "b"]}, {"all": [PERSIST], "a": [LOG], "b": [LOG]}, id="some"),
        pytest.param({"a": A}, {"all": ["a"], "one": ["a"]}, {"a": [LOG, PERSIST]}, id="one host has nobody to share"),
        pytest.param({"a": A, "b": A}, {}, {"a": [LOG, PERSIST], "b": [LOG, PERSIST]}, id="no complete group"),
        pytest.param(
            {"a": A, "b": A, "c": B, "d": B},
            {**ALL, "eu": ["a", "b"], "us": ["c", "d"]},
            {"all": [PERSIST], "eu": [LOG], "us": [LOG]},
            id="siblings",
        ),
        pytest.param(
            {"a": A, "b": A, "c": A, "d": B},
            {**ALL, "prod": ["a", "b", "c"], "eu": ["a", "b"]},
            {"all": [PERSIST], "prod": [LOG], "d": [LOG]},
            id="a child that has nothing of its own",
        ),
        pytest.param(
            {"a": {**A, **said(x=1)}, "b": {**A, **said(x=1)}, "c": A, "d": B},
            {**ALL, "prod": ["a", "b", "c"], "eu": ["a", "b"]},
            {"all": [PERSIST], "prod": [LOG], "eu": [LOG, ("values", "x")], "d": [LOG]},
            id="a child repeats its parent, whose file it replaces",
        ),
        pytest.param(
            {"a": A, "b": A}, {"all": ["a", "b"], "ungrouped": ["a", "b"]}, {"all": [LOG, PERSIST]}, id="ungrouped"
        ),
        pytest.param(
            {"a": A, "b": A}, {"all": ["a", "b"], "wa": ["a", "b"]}, {"wa": [LOG, PERSIST]}, id="child before parent"
        ),
        pytest.param(
            {"a": {**A, **said(x=1)}, "b": {**A, **said(x=1, y=2)}, "c": {**A, **said(y=2)}},
            {"all": ["a", "b", "c"], "first": ["a", "b"], "second": ["b", "c"]},
            {"all": [LOG, PERSIST], "first": [("values", "x")], "second": [("values", "y")], "b": [("values", "x")]},
            id="a host of two siblings",
        ),
        pytest.param(
            {"a": said(x=1), "b": said(x=True), "c": said(x=1.0)},
            {"all": ["a", "b", "c"]},
            {"a": [("values", "x")], "b": [("values", "x")], "c": [("values", "x")]},
            id="types are values",
        ),
    ],
)
def test_smallest_place_that_says_it(
    hosts: dict[str, Leaves], groups: dict[str, list[str]], expected: dict[str, list[tuple[str, ...]]]
) -> None:
    parts = layers(hosts, groups)
    found = {
        name: sorted(leaf for leaves in variables.values() for leaf in leaves)
        for (_kind, name), variables in parts.items()
    }
    assert found == {name: sorted(leaves) for name, leaves in expected.items()}


names = st.sampled_from("abcdefg")
values = st.sampled_from([1, True, 1.0, "1", "x", [], ["a"], [1]])
leaf_names = st.sampled_from(
    [LOG, PERSIST, ("values", "webhooks", "url"), ("extra", "v", "a"), ("extra", "v", "b"), ("extra", "w"), PROVIDERS]
)
some_leaves = st.dictionaries(leaf_names, values.map(json.dumps), max_size=6)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[dict[str, Leaves], dict[str, list[str]]]:
    """Hosts, and a tree of groups with hosts in any number of them, children after their parents."""
    hosts = draw(st.lists(names, min_size=1, unique=True))
    kinds = draw(st.lists(some_leaves, min_size=1, max_size=3))
    leaves = {host: dict(draw(st.sampled_from(kinds))) for host in hosts}
    for host in hosts:
        if draw(st.booleans()):
            leaves[host].update(draw(some_leaves))
    groups: dict[str, list[str]] = {"all": hosts}
    for number in range(draw(st.integers(0, 6))):
        parent = groups[draw(st.sampled_from(sorted(groups)))]
        groups[f"g{number}"] = draw(st.lists(st.sampled_from(parent), unique=True)) if parent else []
    order = draw(st.permutations(sorted(groups)))
    # As Ansible has it: by depth, then by priority and name, which is any order.
    depth = {group: len(groups) - len(set(groups[group])) if group != "all" else -1 for group in groups}
    return leaves, {group: groups[group] for group in sorted(order, key=lambda group: depth[group])}


@given(fleets(), st.randoms())
def test_precedence_makes_what_was_read_of_the_layers(
    fleet: tuple[dict[str, Leaves], dict[str, list[str]]], random: Any
) -> None:
    hosts, groups = fleet
    missing = {group for group in groups if random.random() < 0.2}
    parts = layers(hosts, {group: members for group, members in groups.items() if group not in missing})
    trees = {
        where: {
            variable: json.loads(leaves[PROVIDERS]) if PROVIDERS in leaves else _tree(leaves)
            for variable, leaves in variables.items()
        }
        for where, variables in parts.items()
    }
    for host, leaves in hosts.items():
        settings, extra, providers = declared(in_force(trees, groups, host))
        # As text, since 1, 1.0 and true are equal to each other.
        assert json.dumps(settings, sort_keys=True) == json.dumps(nested(leaves, "values"), sort_keys=True)
        assert json.dumps(extra, sort_keys=True) == json.dumps(nested(leaves, "extra"), sort_keys=True)
        assert json.dumps(providers) == leaves.get(PROVIDERS, "null")


def _tree(leaves: Leaves) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for leaf, text in leaves.items():
        place(tree, leaf[1:], json.loads(text))
    return tree


@given(fleets())
def test_no_file_says_what_is_not_true_of_all_it_holds_for(
    fleet: tuple[dict[str, Leaves], dict[str, list[str]]],
) -> None:
    hosts, groups = fleet
    for (kind, name), variables in layers(hosts, groups).items():
        for leaves, host in itertools.product(variables.values(), groups[name] if kind == "group_vars" else [name]):
            assert leaves.items() <= hosts[host].items()


@given(fleets())
def test_what_a_whole_fleet_shares_is_said_once(fleet: tuple[dict[str, Leaves], dict[str, list[str]]]) -> None:
    hosts, groups = fleet
    if len(hosts) == 1:
        return
    common = set.intersection(*(set(leaves.items()) for leaves in hosts.values()))
    places = [
        where
        for where, variables in layers(hosts, groups).items()
        for leaves in variables.values()
        if common & set(leaves.items())
    ]
    assert len(set(places)) <= 1, places
    assert bool(places) is bool(common)


def test_a_group_in_a_tree_leaves_nothing_common_to_its_hosts() -> None:
    tree = {**ALL, "prod": ["a", "b", "c", "d"][:3], "eu": ["a", "b"]}
    for levels in itertools.product(["info", "error"], repeat=8):
        hosts = {host: said(x=levels[number], y=levels[number + 4]) for number, host in enumerate(("a", "b", "c", "d"))}
        parts = layers(hosts, tree)
        for group, members in tree.items():
            common = set.intersection(*(set(hosts[host].items()) for host in members))
            for host in members:
                own = parts.get(("host_vars", host), {}).get("wa_settings_host_values", {})
                assert not common & set(own.items()), (group, host, hosts)


def test_a_thousand_hosts_take_no_second() -> None:
    hosts = {f"h{n}": said(**{f"k{k}": n % 7 if k == 0 else k for k in range(25)}) for n in range(1000)}
    groups = {"all": list(hosts)} | {f"g{n}": [f"h{m}" for m in range(n, 1000, 50)] for n in range(50)}
    before = time.process_time()
    parts = layers(hosts, groups)
    assert time.process_time() - before < 1
    assert len(parts["group_vars", "all"]["wa_settings_values"]) == 24


# --- one client ----------------------------------------------------------------------------------------------------

BASE = {"log_level": "info", "callback_persist": False, "notify_user_change_number": True}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"log_level": "info", "callback_persist": False}, {PERSIST: False}),
        ({"notify_user_change_number": True}, {("values", "notify_user_change_number"): True}),  # no certain default
        ({"wa_id": "4912345", "log_level": "error"}, {LOG: "error"}),
        ({"callback_backoff_delay_ms": "4000"}, {("values", "callback_backoff_delay_ms"): 4000}),
        ({"media": {"auto_download": ["video", "audio"]}}, {("values", "media", "auto_download"): ["audio", "video"]}),
        ({"webhooks": {"url": None}}, {("values", "webhooks", "url"): ""}),
        ({"vendor": {"a": 1, "b": None, "c": {}}}, {("extra", "vendor", "a"): 1, ("extra", "vendor", "c"): {}}),
        ({"webhooks": {"new": 1}, "media": {}}, {("extra", "webhooks", "new"): 1}),
        ({"a.b": 1, "a": {"b": 2}}, {("extra", "a.b"): 1, ("extra", "a", "b"): 2}),
    ],
)
def test_what_is_declared_of_a_client(settings: dict[str, Any], expected: dict[tuple[str, ...], Any]) -> None:
    leaves, left_out = exportable(settings, None, "2.57.2")
    assert {leaf: json.loads(text) for leaf, text in leaves.items()} == expected
    assert left_out == {}


def test_everything_is_all_that_is_reported() -> None:
    leaves, _left_out = exportable({**BASE, "wa_id": "1"}, [], "2.57.2", everything=True)
    assert set(leaves) == {*(("values", name) for name in BASE), PROVIDERS}


@pytest.mark.parametrize(
    ("settings", "version", "name"),
    [
        ({"log_level": "loud"}, None, "log_level"),
        ({"log_level": "error"}, "2.40.1", "log_level"),  # reported by a version that does not have it
        ({"webhooks": {"url": "http://plain.example.com"}}, None, "webhooks.url"),
        ({"webhooks": {"url": "https://h.example.com/?auth=********"}}, None, "webhooks.url"),
        ({"vendor": {"token": "********"}}, None, "vendor.token"),
        ({"vendor": "a\ud800"}, None, "vendor"),
        ({"webhooks": "none"}, None, "webhooks"),
        ({"callback_persist": 1}, None, "callback_persist"),
        ({"log_level": {"coreapp": "info"}}, None, "log_level"),
    ],
)
def test_what_cannot_be_declared_is_left_out_with_a_reason(settings: Any, version: str | None, name: str) -> None:
    leaves, left_out = exportable({**settings, "callback_backoff_delay_ms": 1}, None, version)
    assert set(leaves) == {("values", "callback_backoff_delay_ms")}
    assert list(left_out) == [name]
    assert left_out[name]


SECRETS = {
    "webhooks": {"url": "https://me:canary-1@h.example.com/x?auth=canary-2"},
    "vendor": {"api_key": "canary-3", "pin": 12345, "notes": ["see https://x.example.com/?k=canary-4"]},
}
BASIC = {"name": "a", "type": "www", "config": {"basic": {"username": "me", "password": "canary-5"}}}
BEARER = {"name": "b c", "type": "www", "config": {"bearer": "canary-6"}}


def test_secrets_go_to_the_vault() -> None:
    leaves, left_out = exportable(SECRETS, [BEARER, BASIC], "2.57.2")
    assert left_out == {}
    parts = layers({"h": leaves}, {})
    clear, vaults = render(parts)
    assert list(clear) == [PurePosixPath("host_vars/h/wa_settings.yml")]
    assert list(vaults) == [PurePosixPath("host_vars/h/wa_settings_vault.yml")]
    (text,) = clear.values()
    assert "canary" not in text
    assert "12345" not in text
    assert '"{{ vault_wa_settings_webhooks_url }}"' in text
    settings, extra, providers = declared(loaded(parts)["host_vars", "h"])
    assert {**settings, **extra} == SECRETS
    assert providers == [
        {"name": "a", "basic": {"username": "me", "password": "canary-5"}},
        {"name": "b c", "bearer": "canary-6"},
    ]


def test_without_a_vault_secrets_are_left_out_by_the_names_of_their_variables() -> None:
    leaves, left_out = exportable({**SECRETS, "log_level": "error"}, [BEARER], "2.57.2", secrets=False)
    assert set(leaves) == {LOG}
    assert "vault_wa_settings_webhooks_url" in left_out["webhooks.url"]
    assert "vault_wa_settings_vendor_api_key" in left_out["vendor.api_key"]
    assert "vault_wa_settings_media_provider_b_c_bearer" in left_out["media.providers"]
    assert "canary" not in json.dumps(left_out)


@pytest.mark.parametrize(
    "provider",
    [
        {"name": "x", "type": "ftp", "config": {"bearer": "t"}},
        {"name": "x", "type": "www", "config": {}},
        {"name": "x", "type": "www", "config": {"bearer": "t", "basic": {"username": "a", "password": "b"}}},
        {"name": "x", "type": "www", "config": {"basic": {"username": "a"}}},
        {"name": "x", "type": "www", "config": {"bearer": "********"}},
        {"name": "..", "type": "www", "config": {"bearer": "t"}},
        {"name": "x\ud800", "type": "www", "config": {"bearer": "t"}},
        {"name": "x", "type": "www", "config": {"bearer": 7}},
    ],
)
def test_providers_that_cannot_be_declared_leave_all_of_them_out(provider: dict[str, Any]) -> None:
    leaves, left_out = exportable(BASE, [BASIC, provider], "2.57.2")
    assert PROVIDERS not in leaves
    assert list(left_out) == ["media.providers"]


def test_a_client_without_anything_to_declare_declares_that_it_has_no_providers() -> None:
    assert exportable({"log_level": "info"}, [], "2.57.2") == ({PROVIDERS: "[]"}, {})
    assert exportable(BASE, [], "2.57.2")[0].get(PROVIDERS) is None


# --- the files -----------------------------------------------------------------------------------------------------

ODD = (
    "{{ lookup('pipe', 'id') }}", "{% raw %}", "{# x #}", "#jinja2: x", "yes", "null", "~", "1e3", "0123", "12:30",
    "2020-01-01", " a ", "a\nb\n", "\x00", "\x85", "\u2028", "\ufeff", "\U0001f600", "<<", "=", "- a", "a: b", "'", '"',
    "!unsafe x", "[1]", "True", "{'a': 1}", "1234",
)  # fmt: skip
texts = st.sampled_from(ODD) | st.text(max_size=6).filter(lambda text: text.isprintable() or text < "\ud800")
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
trees = st.recursive(plain, lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3))


@given(st.dictionaries(texts, trees, max_size=4), st.sampled_from(["vendor", "auth_token"]))
def test_any_settings_come_back_from_the_files(content: dict[str, Any], above: str) -> None:
    leaves, left_out = exportable({above: content, "log_level": "error"}, None, "2.57.2")
    _settings, extra, _providers = declared(loaded(layers({"h": leaves}, {}))["host_vars", "h"])
    assert json.dumps(extra, sort_keys=True) == json.dumps(nested(leaves, "extra"), sort_keys=True)
    assert "********" not in "".join(render(layers({"h": leaves}, {}))[0].values())
    assert left_out == {} or set(left_out) <= {".".join([above, name]) for name in content} or above in str(left_out)


def test_templates_are_marked_and_references_keep_texts_texts() -> None:
    leaves, _left_out = exportable({"vendor": {"text": "{{ x }}", "api_key": "1234", "token": "abc"}}, None, None)
    clear, vaults = render(layers({"h": leaves}, {}))
    (text,) = clear.values()
    assert "text: !unsafe '{{ x }}'" in text
    assert '"{{ vault_wa_settings_vendor_api_key | string }}"' in text
    assert '"{{ vault_wa_settings_vendor_token }}"' in text
    (text,) = vaults.values()
    assert text.startswith("# Written by the playbook wabiz.onprem.export: secrets of h.\n---\n")
    assert "vault_wa_settings_vendor_api_key: '1234'" in text


def test_files_are_sorted_and_say_whose_they_are() -> None:
    parts: Parts = {("group_vars", "eu\n#x"): {"wa_settings_values": said(log_level="info", callback_persist=False)}}
    (text,) = render(parts)[0].values()
    assert text == (
        "# Written by the playbook wabiz.onprem.export: the settings that the hosts of eu #x have in common.\n---\n"
        "wa_settings_values:\n  callback_persist: false\n  log_level: info\n"
    )


def test_variables_of_the_vault_have_names_of_their_own() -> None:
    keys = [("webhooks", "url"), ("Webhooks", "url"), ("webhooks_url",), ("\u00e4",), ("webhooks_url_2",)]
    found = variable_names(keys)
    assert len(set(found.values())) == len(keys)
    assert all(name.isidentifier() and name.startswith("vault_wa_settings_") for name in found.values())
    assert found == variable_names(reversed(keys))


@pytest.mark.parametrize("name", ["wa1", "wa1.example.com", "caf\u00e9", "a b", "..a", "-x", "[::1]", "wa1:9090"])
def test_names_that_are_folders(name: str) -> None:
    assert names_a_folder(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "a/b", "a\0", "a\ud800", "x" * 256, "a.yml", "a.json"])
def test_names_that_are_none(name: str) -> None:
    assert not names_a_folder(name)


def test_certain_defaults_are_the_only_ones_left_out() -> None:
    reported: dict[str, Any] = {}
    for name, key in KEYS.items():
        place(reported, tuple(name.split(".")), key.default if key.default is not None else True)
    leaves, _left_out = exportable(reported, None, None)
    expected = {name for name, key in KEYS.items() if key.certainty is not Certainty.CERTAIN}
    assert {".".join(leaf[1:]) for leaf in leaves} == expected
