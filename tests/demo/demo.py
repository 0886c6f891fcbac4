# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: three emulated clients, their settings declared, applied, proven to be in force, applied again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from wabiz_emulator import processes
from wabiz_emulator.control import Control

HERE = Path(__file__).resolve().parent
PLAYBOOK = HERE / "playbook.yml"
CLIENTS = 3
# Holds by hand already what needs a restart: its Coreapp is to be left alone.
SPARED = "c0002"
STOP_SECONDS = 30.0
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class DemoFailed(Exception):
    """What the demo promises did not come true; the text says what."""


class Client:
    """One emulated client, as a person at its machine sees it."""

    def __init__(self, description: Mapping[str, Any], ca_path: str) -> None:
        self.name = str(description["name"])
        self.url = str(description["url"])
        self.store = str(description["store"])
        self._node = str(description["node"])
        self.control = Control(self.url, ca_path)

    def running(self) -> dict[str, Any]:
        """Return the restart-bound values that the Coreapp really runs with, as it says itself."""
        return self.control.running()[self._node]

    def starts(self) -> int:
        return sum(event["event"] == "start" for event in self.control.node_events())


def main() -> int:
    """Show it all and return the exit code."""
    # SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="wabiz-demo-") as directory:
            show(Path(directory))
    except DemoFailed as error:
        print(f"\nThe demo FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; everything that the demo started is gone", file=sys.stderr)
        return 130
    print(f"\nAll of it is stopped and removed again. {time.monotonic() - started:.0f} seconds.")
    return 0


def show(place: Path) -> None:
    """Run the demo, all that it makes in `place`; raise DemoFailed where it does not come out as it should."""
    password = f"Aa1!{secrets.token_urlsafe(12)}"
    title("Three WhatsApp Business clients")
    tell("Emulated, on this machine, over HTTPS with a certificate authority of their own. Each has a Webapp that "
         "answers the API and a Coreapp that does the work, as processes of their own.")  # fmt: skip
    with running_clients(place / "clients", password) as (clients, ca_path):
        wanted = yaml.safe_load(PLAYBOOK.read_text())[0]["roles"][0]["vars"]["wa_settings_values"]
        prepare_spared(next(client for client in clients if client.name == SPARED), wanted)
        inventory = write_inventory(place, clients, ca_path)
        print()
        for client in clients:
            remark = "restart-bound settings set before" if client.name == SPARED else "as installed"
            print(f"  {client.name}  {client.url}  ({remark})")
        title("What we declare: playbook.yml")
        print(textwrap.indent(PLAYBOOK.read_text().partition("---\n")[2].rstrip(), "  "))

        before = {client.name: client.running() for client in clients}
        starts = {client.name: client.starts() for client in clients}
        title("First run: ansible-playbook --diff playbook.yml")
        tell("Writes what differs, and restarts those Coreapps, and only those, that have to start anew to take it "
             "over. Of Ansible's output you see what changes something.")  # fmt: skip
        changed = play(place, inventory, password)
        if not all(changed.values()):
            raise DemoFailed("the first run did not change every client")

        title("What the Coreapps really run with")
        tell("Asked from each Coreapp itself, not from the settings store: the store knows the new values long before "
             "a Coreapp does.")  # fmt: skip
        prove_in_force(clients, wanted, before, starts)

        title("Second run")
        tell("Nothing differs, so nothing may be written, and nothing restarted.")
        starts = {client.name: client.starts() for client in clients}
        for client in clients:
            client.control.clear_requests()
        changed = play(place, inventory, password)
        print()
        prove_untouched(clients, changed, starts)


@contextlib.contextmanager
def running_clients(place: Path, password: str) -> Iterator[tuple[list[Client], str]]:
    """Run the clients; give them, and the path of the CA that they are trusted by."""
    arguments = ["fleet", "--clients", str(CLIENTS), "--dir", str(place)]
    process = processes.launch(arguments, subprocess.PIPE, {"WA_EMULATOR_PASSWORD": password})
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split(maxsplit=1)
        if ready[:1] != ["ready"]:
            raise DemoFailed("the emulated clients did not start")
        fleet = json.loads(Path(ready[1].strip()).read_text())
        yield [Client(description, fleet["ca_path"]) for description in fleet["clients"]], fleet["ca_path"]
    finally:
        # A second Ctrl-C must not keep the first from cleaning up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.terminate()
        process.wait(STOP_SECONDS)


def prepare_spared(client: Client, wanted: Mapping[str, Any]) -> None:
    """Give a client the restart-bound values beforehand, its Coreapp included."""
    webhooks = {"max_concurrent_requests": wanted["webhooks"]["max_concurrent_requests"]}
    client.control.store({"log_level": wanted["log_level"], "webhooks": webhooks})
    subprocess.run([*restart_command(client), "wacore"], check=True, stdout=subprocess.DEVNULL)


def restart_command(client: Client) -> list[str]:
    """Return the command that restarts a node of a client, its name to be appended."""
    environment = ["env", f"PYTHONPATH={processes.PACKAGE_PARENT}"]
    return [*environment, sys.executable, "-m", "wabiz_emulator", "restart-node", "--store", client.store]


def write_inventory(place: Path, clients: list[Client], ca_path: str) -> Path:
    """Write an inventory of the clients. The password is not in it: it comes from the environment."""
    inventory = {
        "clients": {
            "hosts": {
                client.name: {
                    "wa_settings_api_url": client.url,
                    "wa_settings_restart_command": restart_command(client),
                }
                for client in clients
            },
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "wa_settings_ca_path": ca_path,
                "wa_settings_restart_backend": "command",
                "wa_settings_restart_containers": ["wacore"],
                "wa_settings_state_dir": str(place / "state"),
                # Nobody needs what the demo records after its end, and it may itself run in a container.
                "wa_settings_volatile_state": True,
            },
        }
    }
    path = place / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory, sort_keys=False))
    return path


def play(place: Path, inventory: Path, password: str) -> dict[str, int]:
    """Run the playbook, show what its tasks say, and return how much it changed on each client."""
    program = Path(sys.executable).parent / "ansible-playbook"
    command = [str(program), "--diff", "--inventory", str(inventory), str(PLAYBOOK)]
    variables = os.environ | {
        "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": str(sys.stdout.isatty()),
        "ANSIBLE_LOCAL_TEMP": str(place / "local"),
        "ANSIBLE_REMOTE_TMP": str(place / "remote"),
        "NO_PROXY": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        "WABIZ_PASSWORD": password,
    }
    output = []
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        # Held back until something follows: a task that says nothing is not shown.
        heading = ""
        for line in process.stdout:
            text = COLOURS.sub("", line)
            output.append(text)
            if text.startswith(("PLAY ", "TASK [", "RUNNING HANDLER [")):
                heading = f"  |\n  | {line}"
                if text.startswith("PLAY "):
                    print(heading, end="", flush=True)
                    heading = ""
            elif not text.startswith(("\n", "included:")):
                print(f"{heading}  | {line}", end="", flush=True)
                heading = ""
    recap = RECAP.findall("".join(output))
    if process.returncode != 0 or len(recap) != CLIENTS:
        raise DemoFailed(f"ansible-playbook ended with exit code {process.returncode}")
    return {name: int(changed) for name, changed, _unreachable, _failed in recap}


def prove_in_force(
    clients: list[Client], wanted: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]], starts: Mapping[str, int]
) -> None:
    """Show and check what each Coreapp runs with, and that it was restarted if and only if that was needed."""
    declared = dict(dotted(wanted))
    print(f"\n  {'client':<8} {'setting':<34} {'before':<10} {'now':<10} restarts")
    for client in clients:
        now, restarts = client.running(), client.starts() - starts[client.name]
        for name in sorted(declared.keys() & now.keys()):
            print(f"  {client.name:<8} {name:<34} {before[client.name][name]!s:<10} {now[name]!s:<10} {restarts}")
            if now[name] != declared[name]:
                raise DemoFailed(f"{client.name} runs with {name} {now[name]}, declared was {declared[name]}")
        needed = 0 if client.name == SPARED else 1
        if restarts != needed:
            raise DemoFailed(f"{client.name} was restarted {restarts} times, needed was {needed}")
    tell(f"\nEvery declared value is in force. {SPARED} had the restart-bound ones before: changed without a restart.")


def prove_untouched(clients: list[Client], changed: Mapping[str, int], starts: Mapping[str, int]) -> None:
    """Show and check that the second run changed, wrote and restarted nothing."""
    for client in clients:
        calls = [f"{entry['method']} {entry['path'].rpartition('/')[2]}" for entry in client.control.requests()]
        print(f"  {client.name}  changed={changed[client.name]}  requests: {', '.join(calls)}")
        if changed[client.name] or "GET application" not in calls or any(call.startswith("PATCH") for call in calls):
            raise DemoFailed(f"the second run did not leave {client.name} as it was")
        if client.starts() != starts[client.name]:
            raise DemoFailed(f"the second run restarted {client.name}")
    tell("\nchanged=0: logged in, read, logged out.")


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of each setting."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def title(text: str) -> None:
    print(f"\n=== {text} ===\n", flush=True)


def tell(text: str) -> None:
    print(textwrap.fill(text, 100, replace_whitespace=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
