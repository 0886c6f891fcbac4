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
import requests
import urllib3

from ansible_collections.wabiz.onprem.plugins.module_utils import _client
from ansible_collections.wabiz.onprem.plugins.module_utils._client import LOGOUT, ApiError, Client, Connection
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
    with Client(emulated.connection) as client, pytest.raises(ApiError, match="there was no time left for it") as late:
        client.get(SETTINGS, 0, seconds=0.0)
    assert late.value.passing
    assert time.monotonic() - start < 4


def test_a_logout_has_its_time_after_a_wait_that_has_used_up_its_own(scripted: Scripted) -> None:
    scripted.answer(200, '{"users": [{"token": "canary"}]}')
    scripted.answer()
    with Client(replace(scripted.connection, token=None, password="canary")) as client:
        client.get(SETTINGS)
        client._until = 0.0
    assert [request.path for request in scripted.requests][-1] == LOGOUT


def test_an_exchange_has_its_time_and_its_own_request() -> None:
    exchange = _client._Exchange()
    assert exchange.sent is False
    exchange.sent = True
    exchange.begin(60.0)
    assert 50 < exchange.left() <= 60
    assert exchange.sent is False
    exchange.begin(0.0)
    with pytest.raises(socket.timeout, match=r"^timed out$"):
        exchange.left()


@pytest.mark.parametrize("tunnel", [True, False])
def test_a_bounded_socket_sends_and_reads_within_its_time(tunnel: bool) -> None:
    exchange = _client._Exchange()
    near, far = socket.socketpair()
    with near, far:
        bounded = _client._BoundedSocket(near, exchange, tunnel)
        exchange.begin(60.0)
        bounded.sendall(b"x")
        assert exchange.sent is not tunnel, "what opens a tunnel is no request"
        assert 50 < bounded.gettimeout() <= 60
        far.sendall(b"ab\n")
        with bounded.makefile("rb") as file:
            assert file.readline() == b"ab\n"
            assert file.raw.readable()
            near.settimeout(None)
            exchange.begin(0.0)
            with pytest.raises(socket.timeout):
                file.read(1)
            with pytest.raises(socket.timeout):
                bounded.sendall(b"y")
        assert file.raw.closed
    assert not tunnel or exchange.sent is False


def test_a_file_keeps_the_socket_open_until_it_is_closed() -> None:
    near, far = socket.socketpair()
    with far:
        exchange = _client._Exchange()
        exchange.begin(5.0)
        file = _client._BoundedSocket(near, exchange).makefile()
        near.close()
        far.sendall(b"a")
        assert file.read(1) == b"a"
        file.close()
        with pytest.raises(OSError):
            near.getsockname()


class Way:
    """The addresses of a name, and what becomes of each connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str, problem: Exception | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.sockets: list[socket.socket] = []
        self.seen: list[tuple[Any, ...]] = []

        def resolve(*arguments: Any) -> list[Any]:
            self.asked.append(arguments)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 9090)) for address in addresses]

        def connect(sock: socket.socket, address: Any) -> None:
            self.sockets.append(sock)
            self.seen.append((address[0], sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), sock.gettimeout()))
            raise problem or ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.mark.parametrize(
    ("base", "allow_http", "tried"),
    [
        ("https://wa1.example.com:9090", False, ["192.0.2.1", "127.0.0.1"]),
        ("http://wa1.example.com:9090", True, ["192.0.2.1", "127.0.0.1"]),
        ("http://wa1.localhost:9090", True, ["192.0.2.1", "127.0.0.1"]),
        ("http://wa1.localhost:9090", False, ["127.0.0.1"]),
    ],
)
def test_each_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, base: str, allow_http: bool, tried: list[str]
) -> None:
    way = Way(monkeypatch, "192.0.2.1", "127.0.0.1")
    error = error_of(Connection(base, token="t", timeout=30, allow_http=allow_http), "PATCH")
    assert str(error) == f"PATCH {base}{SETTINGS}: cannot be reached (Connection refused)"
    assert (error.passing, error.maybe_done, error.maybe_pending) == (True, False, False)
    assert [address for address, _no_delay, _timeout in way.seen] == tried
    assert all(no_delay and 20 < timeout <= 30 for _address, no_delay, timeout in way.seen)
    assert {sock.fileno() for sock in way.sockets} == {-1}
    assert way.asked == [(base.split("/")[2].partition(":")[0], 9090, 0, socket.SOCK_STREAM)]


@pytest.mark.parametrize(
    ("base", "problem", "said", "passing"),
    [
        ("https://[2001:db8::1]", TimeoutError("timed out"), "no answer within 3 s", True),
        ("https://wa1.example.com", OSError(101, "Network is unreachable"), "cannot be reached (Network is", True),
        ("https://wa1.example.com", None, "cannot be reached (its name has no address)", True),
    ],
)
def test_what_is_said_of_a_way_that_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, base: str, problem: Exception | None, said: str, passing: bool
) -> None:
    way = Way(monkeypatch, *(["192.0.2.1"] if problem else []), problem=problem)
    error = error_of(Connection(base, token="t", timeout=3), "PATCH")
    assert said in str(error)
    assert (error.passing, error.maybe_done, error.maybe_pending) == (passing, False, False)
    assert way.asked[0][0] in ("2001:db8::1", "wa1.example.com")


def test_a_name_that_can_be_none() -> None:
    error = error_of(Connection(f"https://{'a' * 70}.example.com", token="t", timeout=3))
    assert "cannot be reached (" in str(error)
    assert not error.passing


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


@pytest.mark.parametrize(
    ("body", "encoding", "said", "passing"),
    [
        (gzip.compress(b"{}", mtime=0)[:-9], "gzip", "the answer was cut off", True),
        (b"canary", "gzip", "the answer cannot be unpacked", False),
        (b"canary", "br", "the answer is in an encoding that was not asked for", False),
        (b" " * 4_194_305, "", "the answer is longer than 4194304 bytes", False),
    ],
)
def test_a_write_whose_answer_is_of_no_use_may_be_done(
    scripted: Scripted, body: bytes, encoding: str, said: str, passing: bool
) -> None:
    scripted.answer(200, body, **({"Content_Encoding": encoding} if encoding else {}))
    error = error_of(scripted.connection, "PATCH")
    assert str(error) == f"PATCH {scripted.connection.api_url}{SETTINGS}: {said}"
    assert (error.passing, error.maybe_done, error.maybe_pending) == (passing, True, False)


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


class Failing(Client):
    """A client whose library raises what a test tells it to, before or after the request was sent."""

    def __init__(self, error: BaseException, sent: bool, **facts: Any) -> None:
        super().__init__(
            Connection(**{"api_url": "https://wa1.example.com", "token": "t", "timeout": 3, **facts}), environ={}
        )
        self._session.request = self._fail
        self._failure, self._is_sent = error, sent

    def _fail(self, *_arguments: Any, **_options: Any) -> Any:
        self._exchange.sent = self._is_sent
        raise self._failure


ABORTED = requests.exceptions.ConnectionError(
    urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset by peer"))
)
INCOMPLETE = urllib3.exceptions.IncompleteRead(1, 2)
RESET, REFUSED = "cannot be reached (Connection reset by peer)", ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("error", "said", "before", "after"),
    [
        (ABORTED, RESET, (True, False, False), (True, True, True)),
        (
            urllib3.exceptions.ProtocolError("x", ConnectionResetError(104, "Connection reset by peer")),
            RESET,
            (True, False, False),
            (True, True, True),
        ),
        (
            requests.exceptions.ConnectionError(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")),
            "cannot be reached (Temporary failure)",
            (True, False, False),
            None,
        ),
        (
            requests.exceptions.ConnectionError(socket.gaierror(socket.EAI_NONAME, "Name not known")),
            "cannot be reached (Name not known)",
            (False, False, False),
            None,
        ),
        (
            requests.exceptions.ConnectionError(UnicodeError("label too long")),
            "cannot be reached (label too long)",
            (False, False, False),
            None,
        ),
        (requests.exceptions.ReadTimeout("x"), "no answer within 3 s", (True, False, False), (True, True, True)),
        (
            urllib3.exceptions.ReadTimeoutError(None, "", "x"),  # type: ignore[arg-type]
            "no answer within 3 s",
            (True, False, False),
            (True, True, True),
        ),
        (
            requests.exceptions.ConnectionError(TimeoutError("timed out")),
            "no answer within 3 s",
            (True, False, False),
            (True, True, True),
        ),
        (INCOMPLETE, "the answer was cut off", None, (True, True, False)),
        (requests.exceptions.ChunkedEncodingError("x"), "the answer was cut off", None, (True, True, False)),
        (
            requests.exceptions.ChunkedEncodingError("x"),
            "ChunkedEncodingError (x)",
            (False, False, False),
            None,
        ),
        (requests.exceptions.InvalidURL("odd"), "InvalidURL (odd)", (False, False, False), (False, True, True)),
        (ValueError("odd"), "ValueError: odd", (False, False, False), (False, True, True)),
        (OSError(5, "odd"), "OSError: [Errno 5] odd", (False, False, False), (False, True, True)),
        (
            requests.exceptions.InvalidProxyURL("x"),
            "the proxy of the environment is not a usable address",
            (False, False, False),
            (False, False, False),
        ),
        (
            requests.exceptions.ProxyError(REFUSED),
            "the proxy could not be used (Connection refused)",
            (True, False, False),
            None,
        ),
        (
            urllib3.exceptions.ProxyError("x", socket.gaierror(socket.EAI_NONAME, "Name not known")),
            "the proxy could not be used (Name not known)",
            (False, False, False),
            None,
        ),
        (requests.exceptions.ProxyError(REFUSED), "cannot be reached (Connection refused)", None, (True, True, True)),
        (
            requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred")),
            "the connection was closed while TLS was agreed on",
            (True, False, False),
            (True, True, True),
        ),
        (
            requests.exceptions.SSLError("odd"),
            "TLS could not be agreed on (odd)",
            (True, False, False),
            (True, True, True),
        ),
        (
            urllib3.exceptions.SSLError("odd"),
            "TLS could not be agreed on (odd)",
            (True, False, False),
            (True, True, True),
        ),
        (
            requests.exceptions.SSLError(ssl.SSLCertVerificationError(1, "self-signed")),
            "the certificate was not accepted (self-signed)",
            (False, False, False),
            (False, False, False),
        ),
        # urllib3 before 2.0 compares names itself.
        (
            requests.exceptions.SSLError(_client._OTHER_NAME("it is for b")),
            "the certificate is for another name (it is for b)",
            (False, False, False),
            (False, False, False),
        ),
    ],
)
def test_what_is_known_of_a_write_that_was_lost(
    error: Exception,
    said: str,
    before: tuple[bool, bool, bool] | None,
    after: tuple[bool, bool, bool] | None,
) -> None:
    for sent, expected in ((False, before), (True, after)):
        if expected is not None:
            with Failing(error, sent) as client:
                with pytest.raises(ApiError) as failure:
                    client.patch(SETTINGS, {})
                told = failure.value
                assert str(told) == f"PATCH https://wa1.example.com{SETTINGS}: {said}"
                assert (told.passing, told.maybe_done, told.maybe_pending) == expected
                with pytest.raises(ApiError) as failure:
                    client.get(SETTINGS, 0)
                assert (failure.value.maybe_done, failure.value.maybe_pending) == (False, False)


@pytest.mark.parametrize(
    ("base", "sent", "hint"),
    [("http://localhost", True, True), ("http://localhost", False, False), ("https://wa1.example.com", True, False)],
)
def test_a_lost_connection_may_mean_that_the_port_speaks_tls(base: str, sent: bool, hint: bool) -> None:
    with Failing(ABORTED, sent, api_url=base) as client, pytest.raises(ApiError) as failure:
        client.patch(SETTINGS, {})
    assert str(failure.value).endswith(RESET + ("; if the port speaks TLS, use https://" if hint else ""))


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (9, "not yet", "the certificate is not valid yet; is the clock right? (not yet)"),
        (10, "expired", "the certificate, or the authority's, has expired (expired)"),
        (62, "name", "the certificate is for another name (name)"),
        (64, "address", "the certificate is for another address (address)"),
        *(
            (
                code,
                "who?",
                "the certificate was not accepted (who?); give the CA that signed the client's certificate as ca_path",
            )
            for code in (2, 18, 19, 20, 21, 24, 27)
        ),
        (23, "revoked", "the certificate was not accepted (revoked)"),
        (None, "", "the certificate was not accepted (x)"),
    ],
)
def test_what_is_wrong_with_a_certificate(code: int | None, message: str, said: str) -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    if code is not None:
        error.verify_code, error.verify_message = code, message
    assert _client._certificate_fault(error) == said


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "x")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        *(
            (tls_error(reason), "the port does not speak TLS; is it for plain http://?")
            for reason in (
                "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG",
                "RECORD_LAYER_FAILURE",
            )
        ),
        (ssl.SSLZeroReturnError(6, "x"), "the connection was closed while TLS was agreed on"),
        (ssl.SSLEOFError(8, "x"), "the connection was closed while TLS was agreed on"),
        (tls_error("UNEXPECTED_EOF_WHILE_READING"), "the connection was closed while TLS was agreed on"),
        (requests.exceptions.SSLError("EOF occurred"), "the connection was closed while TLS was agreed on"),
        (tls_error("HANDSHAKE_FAILURE"), "TLS could not be agreed on (HANDSHAKE_FAILURE)"),
        (requests.exceptions.SSLError("odd"), "TLS could not be agreed on (odd)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_tls(error: Exception, said: str) -> None:
    assert _client._tls_fault(error) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(111, "Connection refused"), "Connection refused"),
        (ValueError("a: b"), "a: b"),
        (ValueError("<x object at 0x7f>: failed: no route"), "no route"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_words_of_a_library(error: Exception, said: str) -> None:
    assert _client._reason(error) == said


def test_what_is_at_the_bottom_of_an_error() -> None:
    bottom, cause, context = OSError("bottom"), OSError("cause"), OSError("context")
    middle = urllib3.exceptions.HTTPError("x", bottom)
    top = requests.exceptions.ConnectionError(middle)
    top.__cause__, top.__context__ = cause, ApiError("not part of it")
    bottom.__context__ = context
    context.__context__ = top
    with_reason = ValueError("reason")
    middle.reason = with_reason  # type: ignore[attr-defined]
    assert list(_client._causes(top)) == [top, middle, cause, with_reason, bottom, context]
    chain: BaseException = OSError(0)
    for _level in range(100):
        chain = OSError(chain)
    assert 50 <= len(list(_client._causes(chain))) <= 51


@pytest.mark.parametrize(
    ("status", "hint", "passing"),
    [
        (407, "; it asks for a user name and a password", False),
        (403, "", False),
        *((status, "", True) for status in (429, 502, 503, 504)),
    ],
)
def test_the_words_for_what_a_proxy_answers(status: int, hint: str, passing: bool) -> None:
    causes: list[BaseException] = [ValueError("x"), OSError(f"Tunnel connection failed: {status} No")]
    assert _client._proxy_fault(causes, "x", False) == (f"the proxy answered HTTP {status}{hint}", {"passing": passing})


def test_a_folder_of_authorities_is_left_to_openssl(emulated: Emulated, tmp_path: Path) -> None:
    error = error_of(replace(emulated.connection, ca_path=str(tmp_path)))
    assert "the certificate was not accepted (" in str(error)
    assert not error.passing


def test_which_setting_names_a_ca_file_that_cannot_serve(emulated: Emulated, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    for connection, name in (
        (replace(emulated.connection, ca_path=str(path)), "ca_path"),
        (replace(emulated.connection, ca_path=None), "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"),
    ):
        error = error_of(connection, environ={"CURL_CA_BUNDLE": str(path)})
        assert str(error).endswith(f": {name}: {path} holds no certificates in PEM form")


@pytest.mark.parametrize("path", ["/x" * 5000, "/a\0b"])
def test_a_ca_file_that_can_be_no_path(emulated: Emulated, path: str) -> None:
    said = str(error_of(replace(emulated.connection, ca_path=path)))
    assert said.startswith("ca_path: cannot be read (")
    assert len(said) <= 300


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
        # Older releases of urllib3 take this for the proxy's fault.
        (b"", "(Remote end closed connection without response)", True),
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


def test_plain_http_through_a_proxy_is_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    def proxy(peer: socket.socket) -> None:
        heard.append(peer.recv(65536))
        peer.sendall(OK + b"Content-Length: 2\r\n\r\n{")
        time.sleep(30)

    with listening(proxy) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        start = time.monotonic()
        error = error_of(Connection("http://wa1.example.com", token="t", timeout=0.2, allow_http=True), "PATCH")
        assert time.monotonic() - start < 4
    assert heard[0].startswith(b"PATCH http://wa1.example.com/v1/settings/")
    assert "no answer within 0.2 s" in str(error)
    assert (error.passing, error.maybe_done, error.maybe_pending) == (True, True, True)


@pytest.mark.parametrize("base", ["http://wa1.example.com", "https://wa1.example.com"])
def test_a_proxy_is_passed_by_on_request(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy:1")
    for use_proxy, asked in ((True, "proxy"), (False, "wa1.example.com")):
        way = Way(monkeypatch)
        error_of(Connection(base, token="t", timeout=3, allow_http=True, use_proxy=use_proxy))
        assert {arguments[0] for arguments in way.asked} == {asked}


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
