# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example in the documentation runs, against an emulated cluster in the place of the client that it names."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import PATHS, ROOT, AnsibleCommands
from support.deployments import NODE_CONTROL
from support.emulator import PASSWORD, EmulatedClient, Emulator, running_emulator

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
NODES = ["wacore1", "wacore2", "wacore3"]
# Another step of the tests runs these: the build installs the collection, and each make target is a step itself.
ELSEWHERE = ("make", "ansible-galaxy", "ansible-doc")


def examples_of_roles() -> list[Any]:
    """The examples in the argument specs, with the entry point that they belong to."""
    return [
        pytest.param(spec["examples"], id=f"{specs.parents[1].name}-{name}")
        for specs in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))
        for name, spec in yaml.safe_load(specs.read_text(encoding="utf-8"))["argument_specs"].items()
    ]


def blocks(language: str) -> list[Any]:
    """Each fenced block of a language, with the page that it is on."""
    return [
        pytest.param(textwrap.dedent(text), id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, text in enumerate(
            re.findall(rf"```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.M | re.S), 1
        )
    ]


def modules_for_users() -> list[str]:
    """Those of the action group; the others are parts of the role, and run wherever the role runs."""
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    names: list[str] = runtime["action_groups"]["api"]
    return names


def examples(module: str) -> list[dict[str, Any]]:
    text = importlib.import_module(f"ansible_collections.wabiz.onprem.plugins.modules.{module}").EXAMPLES
    tasks: list[dict[str, Any]] = yaml.safe_load(text) or []
    return tasks


def handlers() -> list[dict[str, Any]]:
    """What tasks may notify: the names that the role's handlers listen to, with a task that does nothing."""
    text = (ROOT / "roles" / "wa_settings" / "handlers" / "main.yml").read_text(encoding="utf-8")
    names = dict.fromkeys(handler["listen"] for handler in yaml.safe_load(text))
    return [{"name": name, "ansible.builtin.debug": {"msg": "notified"}} for name in names]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    nodes = ",".join(["master1", *NODES])
    with running_emulator(tmp_path_factory.mktemp("docs"), 80, nodes, "--switch", "shards=2") as running:
        yield running


@pytest.fixture
def client(cluster: Emulator) -> EmulatedClient:
    return cluster.new_client()


def addressed(text: str, client: EmulatedClient) -> str:
    """The text with the emulated client in the place of the one that the documentation names."""
    text = re.sub(r"https://(wa1\.example\.com|\{\{ inventory_hostname \}\}):9090", client.api_url, text)
    text = text.replace("https://{{ inventory_hostname }}:{{ whatsapp_client.port }}", "{{ whatsapp_client.api_url }}")
    return re.sub(r"/etc/ssl/\S+\.pem", client.ca_path, text)


def reader_variables(client: EmulatedClient, place: Path) -> dict[str, Any]:
    """What the reader of an example is expected to have in vaults, groups and on hosts."""
    url = f"{{{{ whatsapp_client.api_url | default('{client.api_url}') }}}}"
    return {
        **PATHS["in-process"],
        "ansible_become": False,  # whoever runs these tests may write the records without it
        "wabiz_password": PASSWORD,
        "wabiz_token": client.control.token(),
        "vault_wabiz_password": PASSWORD,
        "vault_wabiz_token": client.control.token(),
        **dict.fromkeys(
            (
                *("vault_webhook_secret", "vault_archive_password", "vault_cdn_token", "vault_gateway_key"),
                *("archive_password", "cdn_token"),
            ),
            "not-a-real-secret",
        ),
        "wa_settings_api_url": client.api_url,
        "wa_settings_ca_path": client.ca_path,
        "wa_settings_password": PASSWORD,
        "wa_settings_restart_backend": "command",
        "wa_settings_restart_command": [sys.executable, str(NODE_CONTROL), url, client.ca_path, "restart"],
        "wa_settings_restart_containers": NODES,
        "wa_settings_state_dir": str(place / "state"),
        "wa_settings_values": {"log_level": "warning"},
    }


def inventory(client: EmulatedClient, place: Path, declared: dict[str, Any] | None = None) -> dict[str, Any]:
    variables = {"ansible_connection": "local", **reader_variables(client, place), **(declared or {})}
    if "wa_settings_token" in variables:
        del variables["wa_settings_password"]
    return {"all": {"vars": variables, "children": {"whatsapp": {"hosts": {"wa1": {}}}}}}


def test_everything_comes_from_one_place(ansible: AnsibleCommands) -> None:
    """From the folder that the caller names, which holds what was built if the step `build` calls."""
    place = ansible.environment()["ANSIBLE_COLLECTIONS_PATH"]
    run = ansible.run(["ansible-doc", "--list_files", "wabiz.onprem"])
    files = [line.split()[-1] for line in run.stdout.splitlines() if line.startswith("wabiz.onprem.")]
    assert files, run.output
    assert [file for file in files if not file.startswith(place)] == []


@pytest.mark.parametrize("module", modules_for_users())
def test_examples_of_modules(module: str, client: EmulatedClient, ansible: AnsibleCommands, tmp_path: Path) -> None:
    tasks = yaml.safe_load(addressed(yaml.safe_dump(examples(module)), client))
    for task in tasks:
        options = task.get(f"wabiz.onprem.{module}")
        if isinstance(options, dict) and "ca_path" not in options:
            options["ca_path"] = client.ca_path
    client.control.switch(unknown_keys="keep")
    run = ansible.playbook(
        [{"hosts": "all", "tasks": tasks, "handlers": handlers()}],
        {"wa1": {}},
        variables=reader_variables(client, tmp_path),
    )
    assert run.rc == 0, run.output


@pytest.mark.parametrize("text", [*blocks("yaml"), *examples_of_roles()])
def test_yaml_on_pages(
    text: str, client: EmulatedClient, cluster: Emulator, ansible: AnsibleCommands, tmp_path: Path
) -> None:
    content = yaml.safe_load(addressed(text, client))
    kind = text.partition("\n")[0]
    if kind == "# requirements.yml":
        # The collections that the tests use have to be what it asks for: there is nothing left to install.
        wanted = ansible.write("requirements.json", content)
        run = ansible.run(["ansible-galaxy", "collection", "install", "--offline", "-r", str(wanted)])
        assert (run.rc, "already installed" in run.stdout) == (0, True), run.output
        return
    runs: list[list[str]] = [["--check", "--diff"], []]
    declared: dict[str, Any] | None = None
    pair: list[EmulatedClient] = []
    if kind in ("# playbook", "# playbook for Kubernetes", "# playbook for two clients on each host"):
        book = ansible.write("book.json", content)
    elif kind == "# tasks":
        book = ansible.write("book.json", [{"hosts": "all", "gather_facts": False, "tasks": content}])
    else:
        assert kind == "# group_vars", "an example says in its first line what it is"
        book, declared = Path("wabiz.onprem.apply"), content
    if kind == "# playbook for two clients on each host":
        pair = [client, cluster.new_client()]
        known = [{"name": f"n{n}", "api_url": one.api_url, "containers": NODES} for n, one in enumerate(pair)]
        declared = {"whatsapp_clients": known}
    hosts = ansible.write("hosts.json", inventory(client, tmp_path, declared))
    if kind == "# playbook for Kubernetes":
        runs = [["--syntax-check"]]  # the tests of that backend run the like of it, against their own API server
    for arguments in runs:
        run = ansible.run(["ansible-playbook", "-i", str(hosts), str(book), *arguments])
        assert run.rc == 0, run.output
    for one in pair:
        coreapps = [node for node in one.control.nodes().values() if node["kind"] == "coreapp"]
        assert [node["running"]["log_level"] for node in coreapps] == ["warning"] * len(NODES)


@pytest.mark.parametrize("text", blocks("shell"))
def test_commands_on_pages(text: str, client: EmulatedClient, ansible: AnsibleCommands, tmp_path: Path) -> None:
    ansible.write("inventory", inventory(client, tmp_path))
    (ansible.home / ".vault-password").write_text("a password")
    environment = {
        "WABIZ_API_URL": client.api_url,
        "WABIZ_PASSWORD": PASSWORD,
        "WABIZ_CA_PATH": client.ca_path,
    }
    for line in addressed(text, client).strip().splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] in ELSEWHERE:
            target = re.match(r"make (\w+)", line)
            assert target is None or re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.M)
            continue
        run = ansible.run(words, environment)
        assert run.rc == 0, run.output
