# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "emulator"))

import emulated
from emulated import Pki

from wabiz_emulator import certificates


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    authority, certificate, key = certificates.write_pki(tmp_path_factory.mktemp("pki"))
    return Pki(str(authority), ["--tls-cert", str(certificate), "--tls-key", str(key)])


@pytest.fixture(scope="session")
def request_log(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("logs") / "requests.jsonl"


@pytest.fixture(scope="session")
def fresh_urls(pki: Pki, request_log: pathlib.Path) -> Iterator[Iterator[str]]:
    """Addresses of clients that no test has touched yet, all in one process."""
    arguments = ["webapp", "--clients", "600", "--prefix", *pki.tls, "--api-key", emulated.API_KEY]
    arguments += ["--switch", "connect_seconds=0", "--request-log", str(request_log)]
    with emulated.running(*arguments, environment={"WA_EMULATOR_PASSWORD": emulated.PASSWORD}) as (_process, urls):
        yield (f"{urls[0]}/c{number:04}" for number in itertools.count(1))


@pytest.fixture()
def api(fresh_urls: Iterator[str], pki: Pki) -> Iterator[emulated.Api]:
    url = next(fresh_urls, None)
    assert url is not None
    client = emulated.Api(url, pki.ca)
    yield client
    client.close()
