# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers and networks that do what they should not: bounded time and space, words that fit, nothing leaked."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError, Client, Connection
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import SETTINGS

if TYPE_CHECKING:
    from .conftest import Emulated, Pki, Scripted

Talk = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def listening(talk: Talk) -> Iterator[int]:
    """A server that lets `talk` do as it likes with every connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _address = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(peer,), daemon=True).start()

        def one(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                talk(peer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def over_tls(context: ssl.SSLContext, talk: Talk) -> Talk:
    def talk_securely(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as secure:
            talk(secure)

    return talk_securely


def answering(*pieces: bytes, pause: float = 0.0) -> Talk:
    def talk(peer: socket.socket) -> None:
        peer.recv(65536)
        for piece in pieces:
            peer.sendall(piece)
            time.sleep(pause)

    return talk


def error_of(connection: Connection, method: str = "GET", **options: Any) -> ApiError:
    with pytest.raises(ApiError) as failure, Client(replace(connection, retries=0), **options) as client:
        client.get(SETTINGS) if method == "GET" else client.patch(SETTINGS, {"log_level": "error"})
    line = str(failure.value)
    assert line.isprintable()
    assert "anary" not in line
    return failure.value


# --- time and space ----------------------------------------------------------------------------------------------


def drip(head: bytes) -> Talk:
    def talk(peer: socket.socket) -> None:
        peer.recv(65536)
        for octet in head + b"x" * 1000:
            peer.sendall(bytes([octet]))
            time.sleep(0.05)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        drip(OK),
        drip(OK + b"Content-Length: 5000\r\n\r\n"),
        drip(OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        answering(OK + b"Content-Length: 5000\r\n\r\n", *[b" "] * 200, pause=0.05),
        answering(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200, pause=0.05),
        answering(OK, *[b"X-Header: 1\r\n"] * 90, pause=0.05),
        answering(b"", pause=30),
    ],
    ids=["drip in the head", "drip in the body", "drip in chunks", "blanks", "continue", "headers", "silence"],
)
@pytest.mark.parametrize("tls", [True, False])
def test_a_timeout_is_for_the_whole_request(pki: Pki, tls: bool, talk: Talk) -> None:
    with listening(over_tls(pki.context, talk) if tls else talk) as port:
        address = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        start = time.monotonic()
        error = error_of(Connection(address, token="canary", ca_path=pki.ca, timeout=0.7), "PATCH")
        assert time.monotonic() - start < 4
    assert str(error).endswith("no answer within 0.7 s") or str(error).endswith("there was no time left for it")
    assert (error.passing, error.maybe_done, error.maybe_pending) == (True, True, True)


def test_a_handshake_that_never_ends(pki: Pki) -> None:
    with listening(lambda _peer: time.sleep(30)) as port:
        start = time.monotonic()
        error = error_of(Connection(f"https://127.0.0.1:{port}", token="t", ca_path=pki.ca, timeout=0.5), "PATCH")
    assert time.monotonic() - start < 4
    assert (error.passing, error.maybe_done) == (True, False)


def test_all_addresses_of_a_name_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    one = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 9090))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: [one] * 50)
    monkeypatch.setattr(socket.socket, "connect", lambda _self, _address: time.sleep(0.1) or _refuse())
    start = time.monotonic()
    error = error_of(Connection("https://wa1.example.com", token="t", timeout=0.5))
    assert time.monotonic() - start < 3
    assert error.passing


def _refuse() -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_time_for_a_whole_call(emulated: Emulated) -> None:
    emulated.fault("proceed", delay=5.0, times=None)
    start = time.monotonic()
    with Client(emulated.connection) as client, pytest.raises(ApiError) as failure:
        client.get(SETTINGS, 0, seconds=0.5)
    assert failure.value.passing
    with Client(emulated.connection) as client, pytest.raises(ApiError, match="there was no time left for it"):
        client.get(SETTINGS, 0, seconds=0.0)
    assert time.monotonic() - start < 4


BOMB = gzip.compress(b" " * 30_000_000)


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b" " * 5_000_000, "", "the answer is longer than 4194304 bytes"),
        (BOMB, "gzip", "the answer is longer than 4194304 bytes"),
        (zlib.compress(b" " * 30_000_000), "deflate", "the answer is longer than 4194304 bytes"),
        (gzip.compress(BOMB), "gzip, gzip", "the answer is in an encoding that was not asked for"),
        (b"canary", "br", "the answer is in an encoding that was not asked for"),
        (b"canary", "gzip", "the answer cannot be unpacked"),
        (gzip.compress(b"{}")[:-9], "gzip", "the answer was cut off"),
        (b"[" * 10_000 + b"]" * 10_000, "", "the answer is nested too deeply"),
        (b"[" * 200_000 + b"]" * 200_000, "", "the answer is nested too deeply"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "", "the answer is nested too deeply"),
        (b'{"settings": NaN}', "", "the answer is not JSON"),
        (b'{"settings": 1e999}', "", "the answer is not JSON"),
        (b"\xff\xfe\x00", "", "the answer is not JSON"),
    ],
)
def test_an_answer_that_no_client_gives(scripted: Scripted, body: bytes, encoding: str, said: str) -> None:
    scripted.answer(200, body, **({"Content_Encoding": encoding} if encoding else {}))
    tracemalloc.start()
    error = error_of(scripted.connection)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said in str(error)
    assert peak < 40_000_000
    assert [request.headers["Accept-Encoding"] for request in scripted.requests] == ["identity"]


def test_a_redirect_is_not_read(pki: Pki) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: https://h/?canary\r\nContent-Length: 100000000\r\n\r\n"
    with listening(over_tls(pki.context, answering(head, *[b" " * 65536] * 100))) as port:
        error = error_of(Connection(f"https://127.0.0.1:{port}", token="t", ca_path=pki.ca, timeout=5))
    assert "the answer is longer than" in str(error) or "redirects to https://h/?********" in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "identity"])
def test_what_is_packed_once_is_unpacked(scripted: Scripted, encoding: str) -> None:
    plain = b'{"a": 1}'
    packed = {"identity": plain, "deflate": zlib.compress(plain)}.get(encoding) or gzip.compress(plain)
    scripted.answer(200, packed, Content_Encoding=encoding)
    with Client(scripted.connection) as client:
        assert client.get(SETTINGS).body == {"a": 1}


def test_an_absurd_length(pki: Pki) -> None:
    talk = answering(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}")
    with listening(over_tls(pki.context, talk)) as port:
        connection = Connection(f"https://127.0.0.1:{port}", token="t", ca_path=pki.ca, timeout=2, retries=0)
        with Client(connection) as client:
            try:
                assert client.get(SETTINGS).body == {}
            except ApiError as error:
                assert str(error).isprintable()


# --- the right words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (lambda _peer: None, "the connection was closed while TLS was agreed on"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "the port does not speak TLS"),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "the port does not speak TLS"),
    ],
    ids=["closes", "plain http", "ssh"],
)
def test_only_a_failed_verification_is_final(pki: Pki, talk: Talk, said: str) -> None:
    with listening(talk) as port:
        error = error_of(Connection(f"https://127.0.0.1:{port}", token="t", ca_path=pki.ca, timeout=5), "PATCH")
    assert said in str(error) or "Connection reset by peer" in str(error)
    assert (error.passing, error.maybe_done) == (True, False)
    assert "ca_path" not in str(error)


def test_plain_http_to_a_port_with_tls(emulated: Emulated) -> None:
    error = error_of(replace(emulated.connection, api_url=emulated.connection.api_url.replace("https", "http")))
    assert "if the port speaks TLS, use https://" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no certificate", "ca_path: {path} holds no certificates in PEM form"),
        (None, "ca_path: there is no file {path}"),
    ],
)
def test_a_ca_file_that_cannot_serve(emulated: Emulated, tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    error = error_of(replace(emulated.connection, ca_path=str(path)))
    assert said.format(path=path) in str(error)
    assert not error.passing


@pytest.mark.parametrize("path", ["/x" * 5000, "/a\0b"])
def test_a_ca_file_that_can_be_no_path(emulated: Emulated, path: str) -> None:
    assert str(error_of(replace(emulated.connection, ca_path=path))).startswith("ca_path: ")


def test_an_expired_certificate(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 10, "certificate has expired"
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", lambda *_a, **_k: _raise(error))
    with listening(lambda _peer: None) as port:
        failure = error_of(Connection(f"https://127.0.0.1:{port}", token="t", ca_path=pki.ca))
    assert "has expired (certificate has expired)" in str(failure)
    assert "ca_path" not in str(failure)
    assert not failure.passing


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("answer", "said", "passing"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy answered HTTP 502", True),
        (b"HTTP/1.1 503 canary-proxy\r\n\r\n", "the proxy answered HTTP 503", True),
        (b"HTTP/1.1 407 Auth\r\n\r\n", "the proxy answered HTTP 407; it asks for a user name", False),
        (b"HTTP/1.1 403 No\r\n\r\n", "the proxy answered HTTP 403", False),
        (b"", "cannot be reached", True),
    ],
)
def test_what_a_proxy_answers(answer: bytes, said: str, passing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(answering(answer)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://canary-user:canary%40pw@127.0.0.1:{port}")
        error = error_of(Connection("https://wa1.example.com", token="t", timeout=5), "PATCH")
    assert said in str(error)
    assert (error.passing, error.maybe_done) == (passing, False)


def test_an_answer_that_is_lost_behind_a_proxy(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        over_tls(pki.context, lambda secure: secure.recv(65536))(peer)

    with listening(talk) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        error = error_of(Connection("https://wa1.example.com", token="t", validate_certs=False, timeout=5), "PATCH")
    assert "cannot be reached" in str(error)
    assert (error.passing, error.maybe_done, error.maybe_pending) == (True, True, True)


@pytest.mark.parametrize("proxy", ["http://", "http://canary:canary@", "http://[::1", "http://canary:pw@h:port"])
def test_a_proxy_that_is_no_address(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "the proxy of the environment is not a usable address" in str(
        error_of(Connection("https://wa1.example.com", token="t"))
    )


# --- the way taken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::1]:{port}"])
def test_a_loopback_address_never_goes_through_a_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    def eavesdrop(peer: socket.socket) -> None:
        heard.append(peer.recv(65536))

    with listening(eavesdrop) as proxy, listening(answering(OK + b"Content-Length: 2\r\n\r\n{}")) as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        try:
            with Client(Connection(address.format(port=port), token="canary", retries=0, timeout=2)) as client:
                client.get(SETTINGS)
        except ApiError as error:
            assert "[::1]" in address  # nobody listens there
            assert "canary" not in str(error)
    assert heard == []


def test_a_local_name_that_leads_elsewhere_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: [elsewhere])
    error = error_of(Connection("http://wa1.localhost", token="t", timeout=1))
    assert "its name leads to another machine, which needs https:// or allow_http" in str(error)


# --- nothing leaks -----------------------------------------------------------------------------------------------

PASSWORD = "canary \"p&w%d<1>'/\\ü"
ECHOES = {
    "raw": PASSWORD,
    "basic": "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode(),
    "percent": quote(PASSWORD, safe=""),
    "percent, lower": quote(PASSWORD, safe="").lower(),
    "percent twice": quote(quote(PASSWORD, safe=""), safe=""),
    "json": json.dumps(PASSWORD),
    "json twice": json.dumps(json.dumps(PASSWORD)),
    "html": PASSWORD.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#x27;").replace("<", "&lt;"),
    "python": repr(PASSWORD.encode()),
    "latin-1": PASSWORD.encode().decode("latin-1"),
    "far behind": "x " * 140 + PASSWORD,
    "cut in two": "x" * 16_380 + PASSWORD,
}


@pytest.mark.parametrize("echo", ECHOES)
def test_an_echo_shows_no_password_in_any_encoding(scripted: Scripted, echo: str) -> None:
    details = f"you sent {ECHOES[echo]}, is that right?"
    scripted.answer(400, json.dumps({"errors": [{"code": 1009, "title": "no", "details": details}]}))
    line = str(error_of(replace(scripted.connection, token=None, password=PASSWORD)))
    assert "error 1009" in line
    for piece in ("Y2FuYXJ5", "p%26w", "p&w", "p\\u0026w", "<1>", "%3c1%3e"):
        assert piece not in line


def test_the_same_remark_is_made_once(scripted: Scripted) -> None:
    errors = [{"code": 1009, "title": "no"}, {"code": 1009, "title": "no"}, {"code": 1009, "title": "no"}]
    scripted.answer(400, json.dumps({"errors": errors}))
    assert str(error_of(scripted.connection)).count("a value is not valid for this client") == 1


def test_a_latin_1_password_of_the_environment_is_sent_as_it_is(scripted: Scripted) -> None:
    scripted.answer(401, b"")
    error_of(replace(scripted.connection, token=None, password="canary\udcfc"))
    sent = scripted.requests[0].headers["Authorization"].partition(" ")[2]
    assert base64.b64decode(sent) == b"admin:canary\xfc"


def test_the_pause_after_thousands_of_attempts() -> None:
    pauses: list[float] = []
    client = Client(Connection("https://127.0.0.1", token="t"), sleep=pauses.append)
    for attempt in (1, 2, 8, 5000):
        client.pause(ApiError("x", passing=True), attempt)
    assert pauses == [0.5, 1.0, 60.0, 60.0]
