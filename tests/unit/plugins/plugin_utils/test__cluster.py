# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail

from ansible_collections.wabiz.onprem.plugins.plugin_utils._cluster import Inventory, as_plain, is_single, play_of
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import append
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import InvalidVariables

VARIABLE = "wa_settings_cluster"


@pytest.fixture(autouse=True)
def run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


def render(value: Any, variables: Mapping[str, Any]) -> Any:
    """As much of a template as is needed here: names in braces, and an error for an unknown one."""
    if isinstance(value, dict):
        return {name: render(member, variables) for name, member in value.items()}
    if not isinstance(value, str):
        return value
    return re.sub(r"\{\{ (\w+) \}\}", lambda name: str(variables[name[1]]), value)


class HostVars(dict[str, dict[str, Any]]):
    def raw_get(self, host: str) -> dict[str, Any]:
        return {"inventory_hostname": host, **self[host]}


def inventory(own: str, hosts: dict[str, dict[str, Any]], play: list[str] | None = None, **task: Any) -> Inventory:
    """The inventory as a task on `own` sees it; `task` is what the play and the role set."""
    hostvars = HostVars(hosts)
    task_vars = {
        **hostvars.raw_get(own),
        **task,
        "hostvars": hostvars,
        "groups": {"all": list(hosts)},
        "ansible_play_hosts_all": play or list(hosts),
        "ansible_play_hosts": play or list(hosts),
        "ansible_play_batch": play or list(hosts),
        "omit": "__omit__",
    }
    return Inventory(task_vars, render)


@pytest.mark.parametrize(
    ("variables", "single"),
    [({}, True), ({VARIABLE: "{{ inventory_hostname }}"}, True), ({VARIABLE: "trio"}, False), ({VARIABLE: ""}, False)],
)
def test_a_host_that_says_nothing_of_a_cluster_is_single(variables: dict[str, Any], single: bool) -> None:
    assert is_single(variables) is single


def test_the_hosts_of_a_cluster_in_the_order_of_the_inventory() -> None:
    hosts: dict[str, dict[str, Any]] = {
        "c": {VARIABLE: "trio"},
        "a": {VARIABLE: "trio"},
        "x": {},
        "b": {"site": "trio", VARIABLE: "{{ site }}"},
        "broken": {VARIABLE: "{{ nowhere }}"},
        "omitted": {VARIABLE: "__omit__"},
        "empty": {VARIABLE: ""},
    }
    assert inventory("a", hosts, play=["a"]).hosts_of("trio") == ["c", "a", "b"]
    for alone in ("x", "broken", "omitted", "empty"):
        assert inventory(alone, hosts).hosts_of(alone) == [alone]


def test_a_cluster_of_the_play_has_the_hosts_of_the_play() -> None:
    hosts: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}}
    assert inventory("a", hosts, play=["a", "c"], **{VARIABLE: "trio"}).hosts_of("trio") == ["a", "c"]


def test_a_cluster_called_like_a_host_that_is_of_it() -> None:
    assert inventory("a", {"a": {VARIABLE: "b"}, "b": {VARIABLE: "b"}}).hosts_of("b") == ["a", "b"]


def test_a_cluster_is_not_called_like_a_host_that_is_none_of_it() -> None:
    hosts: dict[str, dict[str, Any]] = {"a": {VARIABLE: "b"}, "b": {VARIABLE: "another"}}
    with pytest.raises(AnsibleActionFail, match="wa_settings_cluster of a is b, the name of a host that does not"):
        inventory("a", hosts).hosts_of("b")


def test_what_the_play_sets_holds_for_all_and_what_a_host_says_is_its_own() -> None:
    hosts = {
        "a": {"wa_settings_state_dir": "/a", "wa_settings_restart_backend": "podman"},
        "b": {"wa_settings_state_dir": "/{{ inventory_hostname }}"},
    }
    seen = inventory("a", hosts, play=["a"], wa_settings_restart_containers=["one"])
    (other, own) = seen.member("b"), seen.member("a")
    assert (other.host, other.inside, other.backend, other.state_dir) == ("b", False, "docker", "/b")
    assert (own.host, own.inside, own.backend, own.state_dir) == ("a", True, "podman", "/a")
    assert other.containers == own.containers == ("one",)


def test_a_variable_of_another_host_that_is_not_valid() -> None:
    with pytest.raises(InvalidVariables, match="wa_settings_restart_backend"):
        inventory("a", {"a": {}, "b": {"wa_settings_restart_backend": "systemd"}}).member("b")


@pytest.mark.parametrize(
    ("variables", "keyword", "is_local"),
    [
        ({}, "local", True),
        ({}, "ssh", False),
        ({"ansible_connection": "local"}, "ssh", True),
        ({"ansible_connection": "ssh"}, "local", False),
        ({"ansible_connection": "{{ way }}", "way": "local"}, "ssh", True),
        ({"ansible_connection": "__omit__", "omit": "__omit__"}, "local", True),
        ({"ansible_connection": "{{ nobody }}"}, "local", False),
        ({"ansible_become": "no"}, "local", True),
        ({"ansible_become": True}, "local", False),
        ({"ansible_become": "{{ account }}", "account": "yes"}, "local", False),
        ({"ansible_become": "maybe"}, "local", False),
    ],
)
def test_a_host_whose_commands_run_on_this_machine(variables: dict[str, Any], keyword: str, is_local: bool) -> None:
    assert inventory("a", {"a": {}, "b": variables}).is_local("b", keyword) is is_local


def test_what_the_play_says_of_the_connection_holds_for_all() -> None:
    assert inventory("a", {"a": {}, "b": {}}, ansible_connection="local").is_local("b", "ssh")
    assert not inventory("a", {"a": {}, "b": {}}, ansible_become=True).is_local("b", "local")


def test_the_address_that_ansible_makes_of_a_name_is_no_other_host_s() -> None:
    hosts: dict[str, dict[str, Any]] = {"a": {}, "b": {"ansible_host": "192.0.2.2"}, "c": {}}
    known = inventory("a", hosts, ansible_host="a")
    assert [known.variables(host).get("ansible_host") for host in hosts] == ["a", "192.0.2.2", None]
    said = inventory("a", hosts, ansible_host="gateway.example.com")
    assert said.variables("c")["ansible_host"] == "gateway.example.com"


def test_clusters_are_looked_for_once_whichever_host_asks() -> None:
    rendered: list[str] = []

    def count(value: Any, variables: Mapping[str, Any]) -> Any:
        rendered.append(variables["inventory_hostname"])
        return render(value, variables)

    hosts = {host: {VARIABLE: "{{ name }}", "name": f"c{number // 3}"} for number, host in enumerate("abcdef")}
    for own in hosts:
        asked = inventory(own, hosts, ansible_host=own)
        asked._render = count
        assert own in asked.hosts_of(hosts[own]["name"])
    assert sorted(rendered) == list("abcdef")


def test_rendered_variables_are_plain() -> None:
    assert as_plain({"day": datetime.date(2026, 11, 26), "other": [Path("/x"), 1, None]}) == {
        "day": "2026-11-26",
        "other": ["/x", 1, None],
    }


@pytest.mark.parametrize(
    ("uses", "mine", "failed", "within"),
    [
        ({"a": 1}, 0, (), {"a": True, "b": True, "c": False}),  # a's batch is over, c's is to come
        ({"a": 2, "c": 1}, 2, (), {"a": True, "b": True, "c": False}),  # two plays that nothing tells apart
        ({"a": 1}, 1, ("a",), {"a": False, "b": True, "c": False}),
        ({}, 1, (), {"a": False, "b": True, "c": False}),
    ],
)
def test_nodes_of_which_hosts_may_restart_now(
    uses: dict[str, int], mine: int, failed: tuple[str, ...], within: dict[str, bool]
) -> None:
    """The present batch is b's."""
    facts = {**inventory("b", {"a": {}, "b": {}, "c": {}})._task_vars, "ansible_play_batch": ["b"]}
    facts["ansible_play_hosts"] = [host for host in "abc" if host not in failed]
    facts["ansible_play_name"] = repr((uses, mine, failed))
    for host, count in {**uses, "b": mine}.items():
        for _use in range(count):
            append("contexts", host, [play_of(facts), "id"])
    hosts = Inventory(facts, render)
    assert {host: hosts.member(host).inside for host in within} == within


def test_uses_in_other_plays_do_not_count() -> None:
    facts = {**inventory("b", {"a": {}, "b": {}})._task_vars, "ansible_play_batch": ["b"], "ansible_play_name": "other"}
    append("contexts", "a", [play_of({**facts, "ansible_play_name": "one"}), "id"])
    assert Inventory(facts, render).member("a").inside is False
