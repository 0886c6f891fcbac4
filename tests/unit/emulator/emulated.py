# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from wabiz_emulator import commands, control

PASSWORD = "Preset-Passw0rd"
API_KEY = "an-api-key-of-24-letters"
PATIENCE = 20.0
PACKAGE_PARENT = pathlib.Path(commands.__file__).resolve().parent.parent


@dataclasses.dataclass
class Pki:
    """Path of the CA, and the options that give a server its certificate."""

    ca: str
    tls: list[str]


class Api:
    """The HTTP API of one emulated client, as admin with a ready token unless told otherwise."""

    def __init__(self, url: str, ca_path: str | None) -> None:
        self.url = url
        self.ca_path = ca_path
        self.control = control.Control(url, ca_path)
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = {"Authorization": f"Bearer {self.control.token()}"}

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("headers", self.headers)
        options.setdefault("allow_redirects", False)
        return self.session.request(method, self.url + path, verify=self.ca_path, timeout=10, **options)

    def login(self, username: str, password: str, **options: Any) -> requests.Response:
        return self.call("POST", "/v1/users/login", headers={}, auth=(username, password), **options)

    def settings(self) -> dict[str, Any]:
        return dict(self.call("GET", "/v1/settings/application").json()["settings"]["application"])

    def patch(self, body: Any) -> requests.Response:
        return self.call("PATCH", "/v1/settings/application", json=body)

    def health(self) -> dict[str, Any]:
        return dict(self.call("GET", "/v1/health").json()["health"])

    def close(self) -> None:
        self.session.close()
        self.control.__exit__()


def error_codes(response: requests.Response) -> list[int]:
    return [error["code"] for error in response.json()["errors"]]


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition` within the patience of the tests."""
    give_up = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < give_up, what
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A command of the emulator while the block runs, and the words after `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wabiz_emulator", *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], f"{arguments[0]} did not start"
        yield process, words[1:]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        process.stdout.close()


def run_command(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wabiz_emulator", *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
