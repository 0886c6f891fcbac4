# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTP conversation with one client: TLS, login, retries, errors. The only file that reaches a network.

The other end may be anything: a gateway, a balancer without a backend, a machine that somebody else has taken over. So
a request takes a bounded time and an answer a bounded space, whatever arrives.

This module is private to the collection.
"""

from __future__ import annotations

import io
import ipaddress
import json
import math
import os
import re
import socket
import ssl
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import is_nested_deeper
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import (
    basic_credentials,
    find_secrets,
    mask_url,
    scrub,
)

try:
    import requests
    import requests.adapters
    import requests.auth
    import requests.utils
    import urllib3
    import urllib3.connection
    import urllib3.exceptions
    from urllib3.util import parse_url
except ImportError:
    HAS_REQUESTS = False
    REQUESTS_IMPORT_ERROR: str | None = traceback.format_exc()
    _AuthBase: Any = object
    _HTTPAdapter: Any = object
    _HTTPSession: Any = object
else:
    HAS_REQUESTS = True
    REQUESTS_IMPORT_ERROR = None
    _AuthBase = requests.auth.AuthBase
    _HTTPAdapter = requests.adapters.HTTPAdapter
    _HTTPSession = requests.Session
    # urllib3 before 2.0 compares the name in a certificate itself, and not OpenSSL.
    _OTHER_NAME: type[Exception] = vars(urllib3.connection).get("CertificateError", ssl.CertificateError)

LOGIN = "/v1/users/login"
LOGOUT = "/v1/users/logout"

# Passing faults by the API's own codes (API notes, section 3). 1014 only when it says that the Coreapp does not answer.
_PASSING_CODES = frozenset({1011, 1015, 1016, 1017, 1018})
_PASSING_STATUSES = frozenset({429, 502, 503, 504})
# A refusal: what was asked for has not been done. 408 and 429 are none, they speak of something before that.
_REFUSING_STATUSES = frozenset(range(300, 500)) - {408}
# The client may still be at work: it says so, or a proxy in between has given up waiting. 502 and 503 come from a proxy
# that has lost the client, unless there is an error of the client's own in them.
_PENDING_STATUSES = frozenset({202, 408, 504})
_LOST_STATUSES = frozenset({502, 503})
_WRITTEN_STATUSES = frozenset({200, 201, 202, 204})
_FIRST_PAUSE = 0.5  # seconds, doubled with each attempt
_LONGEST_PAUSE = 60.0  # seconds, also for what a server asks for in Retry-After
_LARGEST_ANSWER = 4 * 1024 * 1024  # bytes, decoded; settings are a few kB
_CHUNK = 64 * 1024
_LOGOUT_SECONDS = 5.0  # for the logout after a wait that has used up its time
_TOKEN = re.compile(r"[!-~]+")
_LONGEST_TEXT = 300  # characters of a server's own words in an error
# The parsers of addresses differ on these, so none of them is to decide where a backslash leads.
_NEVER_IN_ADDRESS = re.compile(r"[\s\\\x00-\x20\x7f]")
_RESOURCE = re.compile(r"/v1(?:/(?:account|certificates|health|services|settings|support|users)(?:/.*)?)?$")
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")

_HINTS = {
    1005: "the account must have the admin role; an expired client build answers the same",
    1006: "this client does not know the resource",
    1009: "a value is not valid for this client",
    1010: "this client version does not know a setting that was sent",
    1024: "the account still has its first password: log in once with a new_password, then use that one",
    1031: "the account is locked",
}
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
_USE_HTTPS = "; if the port speaks TLS, use https://"
# What OpenSSL finds wrong with a certificate, where the authority is not the matter.
_CERTIFICATE_FAULTS = {
    9: "the certificate is not valid yet; is the clock right?",
    10: "the certificate, or the authority's, has expired",
    62: "the certificate is for another name",
    64: "the certificate is for another address",
}
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 24, 27})


class ApiError(Exception):
    """What went wrong in the conversation: one line, without secrets.

    status: the HTTP status, or None without an answer. codes: the API's error codes. passing: whether it may pass by
    itself. pause: the seconds that the server asks to wait, or None. maybe_done: whether the server may have done what
    it was asked for nevertheless. maybe_pending: whether it may still be doing it. refused: whether nothing
    listens at the address.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        codes: tuple[int, ...] = (),
        passing: bool = False,
        pause: float | None = None,
        maybe_done: bool = False,
        maybe_pending: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes
        self.passing = passing
        self.pause = pause
        self.maybe_done = maybe_done
        self.maybe_pending = maybe_pending
        self.refused = refused


@dataclass(frozen=True)
class Connection:
    """How a client is reached. C(timeout) in seconds for one request, C(retries) counts the extra attempts."""

    api_url: str
    username: str = "admin"
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    validate_certs: bool = True
    ca_path: str | None = None
    timeout: float = 30.0
    retries: int = 4
    use_proxy: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_http: bool = False


# --- where it goes -------------------------------------------------------------------------------------------------


def check_address(api_url: str, allow_http: bool) -> str:
    """The base address without a trailing slash. Raises ValueError, in words for the user, without secrets.

    It is put together from the parts that urllib3 sees, which opens the connection: no other parser has a say.
    """
    address = api_url.strip()
    try:
        parts = parse_url(address)
    except ValueError:  # urllib3's LocationParseError is one
        parts = None
    if parts is not None and (parts.auth is not None or "@" in address.partition("://")[2].partition("/")[0]):
        raise ValueError("api_url: must not carry user info; use username and password, or token")
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or "://" not in address
        or not parts.host
        or parts.port == 0
        or _NEVER_IN_ADDRESS.search(address)
    ):
        raise ValueError("api_url: must be an address such as https://wa1.example.com:9090")
    if "?" in address or "#" in address:
        raise ValueError("api_url: must not carry a query or a fragment")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.host):
        raise ValueError(
            f"api_url: http:// to {parts.host} would send the password in clear; "
            "use https://, or set allow_http if that is meant"
        )
    path = (parts.path or "").rstrip("/")
    resource = _RESOURCE.search(path)
    if resource is not None:
        raise ValueError(f"api_url: must end before {resource[0]}; it is the address that every resource begins with")
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.host}{port}{path}"


def is_token(text: Any) -> bool:
    """Whether this can be sent as a bearer token; errors about headers that cannot be sent repeat them."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxies_from(environ: Mapping[str, str], base: str) -> dict[str, str]:
    """The proxies that the environment names for an address, checked. Never any for a loopback address."""
    if _is_loopback(parse_url(base).host or "") or not any(name.lower().endswith("_proxy") for name in environ):
        return {}
    proxies: dict[str, str] = requests.utils.get_environ_proxies(base, no_proxy=None)
    chosen = requests.utils.select_proxy(base, proxies)
    if not chosen:
        return {}
    try:
        usable = bool(parse_url(chosen if "://" in chosen else f"http://{chosen}").host)
    except ValueError:
        usable = False
    if not usable:
        raise ApiError("the proxy of the environment is not a usable address (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)")
    return proxies


def _proxy_secrets(proxies: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for proxy in proxies.values():
        user_info, at_sign, _host = proxy.partition("://")[2].rpartition("@")
        if at_sign:
            user, _colon, password = user_info.partition(":")
            found |= {user_info, user, password, unquote(user), unquote(password)}
            found |= basic_credentials(unquote(user), unquote(password))
    return found


# --- how long it takes ---------------------------------------------------------------------------------------------


class _Exchange:
    """The time that one request may take, and whether it has been sent."""

    def __init__(self) -> None:
        self._end = 0.0
        self.sent = False

    def begin(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.sent = False

    def left(self) -> float:
        """Seconds until the end. Raises socket.timeout behind it."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise socket.timeout("timed out")
        return seconds


class _BoundedFile(io.RawIOBase):
    """What arrives on a socket, until the end of the exchange: a time-out of the socket begins anew with each byte."""

    def __init__(self, sock: Any, exchange: _Exchange) -> None:
        self._sock = sock
        self._exchange = exchange
        # Its own file keeps the socket open until the answer has been read.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.left())
        count: int | None = self._file.readinto(buffer)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedSocket:
    def __init__(self, sock: Any, exchange: _Exchange, tunnel: bool = False) -> None:
        self._sock = sock
        self._exchange = exchange
        self._tunnel = tunnel

    def makefile(self, *_arguments: Any, **_options: Any) -> io.BufferedReader:
        return io.BufferedReader(_BoundedFile(self._sock, self._exchange))

    def sendall(self, data: Any) -> None:
        self._exchange.sent = self._exchange.sent or not self._tunnel
        self._sock.settimeout(self._exchange.left())
        self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _BoundedConnection:
    """To be mixed into a connection of urllib3; a subclass says which exchange it belongs to."""

    exchange: _Exchange
    loopback_only: bool
    host: str
    port: int
    sock: Any
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        host, this = self.host.strip("[]"), cast(Any, self)
        try:
            found = socket.getaddrinfo(host, self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise urllib3.exceptions.NewConnectionError(this, f"its name is not known ({_reason(error)})") from error
        problem: Exception = OSError("its name has no address")
        for family, kind, protocol, _name, address in found:
            # A name is only a name; what counts is where it leads.
            if self.loopback_only and not _is_loopback(str(address[0])):
                problem = OSError("its name leads to another machine, which needs https:// or allow_http")
                continue
            try:
                sock = socket.socket(family, kind, protocol)
                try:
                    sock.settimeout(self.exchange.left())
                    for option in self.socket_options or ():
                        sock.setsockopt(*option)
                    sock.connect(address)
                    sock.settimeout(self.exchange.left())
                except BaseException:
                    sock.close()
                    raise
            except OSError as error:
                problem = error
            else:
                return sock
        if isinstance(problem, socket.timeout):
            raise urllib3.exceptions.ConnectTimeoutError(this, "timed out") from problem
        raise urllib3.exceptions.NewConnectionError(this, _reason(problem)) from problem

    def _tunnel(self) -> None:
        plain = self.sock
        self.sock = _BoundedSocket(plain, self.exchange, tunnel=True)
        super()._tunnel()  # type: ignore[misc]
        plain.settimeout(self.exchange.left())
        self.sock = plain

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock = _BoundedSocket(self.sock, self.exchange)


class _Adapter(_HTTPAdapter):  # type: ignore[misc]
    """Makes bounded connections."""

    def __init__(self, exchange: _Exchange, loopback_only: bool) -> None:
        facts = {"exchange": exchange, "loopback_only": loopback_only}
        self._pools = {}
        for scheme, pool, connection in (
            ("http", urllib3.HTTPConnectionPool, urllib3.connection.HTTPConnection),
            ("https", urllib3.HTTPSConnectionPool, urllib3.connection.HTTPSConnection),
        ):
            bounded = type("_Connection", (_BoundedConnection, connection), facts)
            self._pools[scheme] = type("_Pool", (pool,), {"ConnectionCls": bounded})
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


class _Session(_HTTPSession):  # type: ignore[misc]
    """Follows no redirect and does not look at where one leads, for which it would read all that comes with it."""

    def get_redirect_target(self, _response: Any) -> None:
        return None


class _Bearer(_AuthBase):  # type: ignore[misc]
    """As an auth object, since a header would lose against an entry in ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = "Bearer " + self._token
        return request


# --- the conversation ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """An answer that means success: the parsed body (None when empty), and the C(meta) of it if there is one."""

    body: Any
    version: str | None
    api_status: str | None
    status: int = 200


class Client:
    """Use as a context manager: a login, if one was needed, is followed by a logout.

    Raises ApiError for everything that goes wrong on the way.

    read_only: refuse every verb but GET and the login pair, whatever the caller asks for: in check mode nothing may be
    written.
    """

    def __init__(
        self,
        connection: Connection,
        read_only: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connection
        self._base = check_address(connection.api_url, connection.allow_http)
        environ = os.environ if environ is None else environ
        self._read_only = read_only
        self._sleep = sleep
        self._token = connection.token
        self._logged_in = False
        self._until = math.inf
        self._secrets = set(connection.headers.values()) | ({connection.token} if connection.token else set())
        if connection.password:
            self._secrets |= basic_credentials(connection.username, connection.password)
        # Environment settings are read here, once and in the open: a session that trusts the environment lets
        # REQUESTS_CA_BUNDLE win over ca_path and ~/.netrc over the token.
        self._proxies = _proxies_from(environ, self._base) if connection.use_proxy else {}
        self._secrets |= _proxy_secrets(self._proxies)
        self._bundle: str | None = None
        if connection.validate_certs:
            self._bundle = connection.ca_path or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
            if self._bundle:
                self._check_bundle(self._bundle)
        else:
            # It was asked for; nobody wants to read of it with every request.
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        self._exchange = _Exchange()
        self._session = _Session()
        self._session.trust_env = False
        adapter = _Adapter(self._exchange, self._base.startswith("http://") and not connection.allow_http)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def retries(self) -> int:
        """How often an attempt may be repeated."""
        return self._connection.retries

    def close(self) -> None:
        """Ends the login, if there was one, and the connection. Never raises: the work is done by now."""
        try:
            if self._logged_in:
                self._logged_in = False
                self._until = max(self._until, time.monotonic() + _LOGOUT_SECONDS)
                self._send_once("POST", LOGOUT, self._auth())
        except ApiError:
            pass  # the token ends by itself; a failed logout must not turn done work into a failure
        finally:
            self._session.close()

    def keep_secret(self, value: Any) -> None:
        """Learns the secrets of a settings object, so that no error text repeats what a server echoes of them."""
        self._secrets |= find_secrets(value)

    def scrub(self, text: str) -> str:
        """One line without anything that this conversation knows to be secret."""
        return scrub(text, self._secrets)

    def get(self, path: str, retries: int | None = None, seconds: float = math.inf) -> Answer:
        """Reads a resource. seconds: what all of it may take, a login included."""
        return self._call("GET", path, None, self._connection.retries if retries is None else retries, seconds)

    # A write is sent once: whoever repeats it must look first what the last one has done, see _write.py.

    def patch(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self._call("PATCH", path, body)

    def post(self, path: str, body: Any) -> Answer:
        return self._call("POST", path, body)

    def put(self, path: str) -> Answer:
        return self._call("PUT", path, None)

    def delete(self, path: str) -> Answer:
        return self._call("DELETE", path, None)

    def pause(self, error: ApiError, attempt: int) -> None:
        """Waits before the attempt after this one, counted from 1: what the server asks for, or longer each time."""
        self._sleep(min(_LONGEST_PAUSE, error.pause or _FIRST_PAUSE * 2 ** min(attempt - 1, 10)))

    def _call(self, method: str, path: str, body: Any, retries: int = 0, seconds: float = math.inf) -> Answer:
        if self._read_only and method != "GET":
            raise ApiError(f"{method} {path}: refused, nothing may be written in check mode")
        self._until = time.monotonic() + seconds
        log_in_again = True
        for attempt in range(1, 2 + retries):
            try:
                if self._token is None and self._connection.password:
                    self._log_in()
                return self._send_once(method, path, self._auth(), body)
            except ApiError as error:
                if error.status == 401 and self._logged_in and log_in_again and self._connection.token is None:
                    # Behind a balancer another Webapp may not know the token, and a token may expire (API notes,
                    # section 1).
                    log_in_again = False
                    self._token, self._logged_in = None, False
                    try:
                        self._log_in()
                        return self._send_once(method, path, self._auth(), body)
                    except ApiError as second:
                        error = second
                if not error.passing or attempt > retries:
                    raise error from None
                self.pause(error, attempt)
        raise AssertionError("unreachable")

    def _auth(self) -> Any:
        """None where a header of the user's own is all that authenticates."""
        return None if self._token is None else _Bearer(self._token)

    def _log_in(self) -> None:
        # What the environment holds need not be UTF-8; it is sent as it is there.
        name, password = (
            text.encode("utf-8", "surrogateescape")
            for text in (self._connection.username, self._connection.password or "")
        )
        answer = self._send_once("POST", LOGIN, requests.auth.HTTPBasicAuth(name, password))
        try:
            token = answer.body["users"][0]["token"]
        except (TypeError, KeyError, IndexError):
            token = None
        if not is_token(token):
            raise ApiError(f"{self.where('POST', LOGIN)}: the answer to the login holds no token")
        self._token, self._logged_in = token, True
        self._secrets.add(token)

    def where(self, method: str, path: str) -> str:
        """A request, as the first words of what is said of it."""
        return f"{method} {self._base}{path}"

    def _error(self, method: str, path: str, text: str, **facts: Any) -> ApiError:
        if method == "GET" or path == LOGIN:
            facts.update(maybe_done=False, maybe_pending=False)
        return ApiError(self.scrub(f"{self.where(method, path)}: {text}"), **facts)

    def _quote(self, text: str) -> str:
        """Some of the words of the other side; cut only when nothing secret is in them any more."""
        return self.scrub(text)[:_LONGEST_TEXT]

    def _send_once(self, method: str, path: str, auth: Any, body: Any = None) -> Answer:
        """One request. Answers that mean success come back, everything else is raised."""
        timeout = min(self._connection.timeout, self._until - time.monotonic())
        if timeout <= 0:
            raise self._error(method, path, "there was no time left for it", passing=True)
        self._exchange.begin(timeout)
        try:
            response = self._session.request(
                method,
                self._base + quote(path, safe="/%"),  # a name in it that has a slash of its own is quoted already
                json=body,
                auth=auth,
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",  # a few bytes can stand for very many
                    **self._connection.headers,
                },
                timeout=timeout,
                verify=(self._bundle or True) if self._connection.validate_certs else False,
                proxies=dict(self._proxies),
                allow_redirects=False,
                stream=True,
            )
            try:
                return self._read(method, path, response, _content(response))
            finally:
                response.close()
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._transport_error(method, path, error, timeout) from None
        except _UnusableAnswer as error:
            raise self._error(method, path, str(error), passing=error.cut, maybe_done=True) from None
        except (ValueError, OSError) as error:
            # What requests lets through.
            raise self._error(
                method,
                path,
                f"{type(error).__name__}: {error}",
                maybe_done=self._exchange.sent,
                maybe_pending=self._exchange.sent,
            ) from None

    # --- what went wrong ---

    def _check_bundle(self, bundle: str) -> None:
        """Raises ApiError where a CA file cannot be opened; a folder of such files is left to OpenSSL."""
        try:
            if not os.path.isdir(bundle):  # noqa: PTH112 - pathlib raises for what can be no path
                with open(bundle, "rb"):  # noqa: PTH123
                    pass
        except (OSError, ValueError) as error:
            problem = (
                f"there is no file {bundle}"
                if isinstance(error, FileNotFoundError)
                else (f"cannot be read ({_reason(error)})")
            )
            raise ApiError(self.scrub(f"{self._bundle_name()}: {problem}")[:_LONGEST_TEXT]) from None

    def _bundle_name(self) -> str:
        return "ca_path" if self._connection.ca_path else "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"

    def _bundle_fault(self) -> str | None:
        """What is wrong with the CA file; asked only when something went wrong, since it takes time."""
        if not self._bundle or Path(self._bundle).is_dir():
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self._bundle)
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            return f"{self._bundle_name()}: {self._bundle} holds no certificates in PEM form"
        return None

    def _transport_error(self, method: str, path: str, error: Exception, timeout: float) -> ApiError:
        """What is at the bottom of it decides, not the class that requests has wrapped around it."""
        causes = list(_causes(error))

        def found(*kinds: Any) -> Any:
            return next((cause for cause in causes if isinstance(cause, kinds)), None)

        sent = self._exchange.sent
        reason = self._quote(_reason(causes[-1]))
        name = found(socket.gaierror, UnicodeError)
        passing = name is None or getattr(name, "errno", None) == socket.EAI_AGAIN
        # Whoever has lost the connection does not know whether the other side goes on working.
        facts: dict[str, Any] = {"passing": True, "maybe_done": sent, "maybe_pending": sent}
        certificate = found(ssl.SSLCertVerificationError) or found(_OTHER_NAME)
        tls = found(ssl.SSLError) or found(requests.exceptions.SSLError, urllib3.exceptions.SSLError)
        bundle = self._bundle_fault() if tls is not None else None
        if certificate is not None or bundle is not None:
            text, facts = bundle or self._quote(_certificate_fault(certificate)), {}
        elif found(requests.exceptions.InvalidProxyURL):
            text, facts = "the proxy of the environment is not a usable address", {}
        elif not sent and found(requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
            text, facts = _proxy_fault(causes, reason, passing)
        elif found(requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError, socket.timeout):
            text = f"no answer within {round(timeout, 2):g} s"
        elif tls is not None:
            text = self._quote(_tls_fault(tls))
        elif sent and found(urllib3.exceptions.IncompleteRead, requests.exceptions.ChunkedEncodingError):
            text, facts["maybe_pending"] = "the answer was cut off", False
        elif found(requests.exceptions.ConnectionError, urllib3.exceptions.ProtocolError):
            text, facts["refused"] = f"cannot be reached ({reason})", found(ConnectionRefusedError) is not None
            text += _USE_HTTPS if sent and self._base.startswith("http://") else ""
            facts["passing"] = passing
        else:
            text, facts["passing"] = f"{type(error).__name__} ({reason})", False
        return self._error(method, path, text, **facts)

    def _read(self, method: str, path: str, response: Any, content: bytes) -> Answer:
        status = response.status_code
        body, is_json = _parse(content)
        errors = _api_errors(body)
        write = method != "GET" and path not in (LOGIN, LOGOUT)
        if not errors and status in (_WRITTEN_STATUSES if write else (200,)):
            if not is_json:
                raise self._not_json(method, path, response, content)
            meta = body.get("meta") if isinstance(body, Mapping) else None
            meta = meta if isinstance(meta, Mapping) else {}
            return Answer(body, _text(meta.get("version")), _text(meta.get("api_status")), status)
        raise self._status_error(method, path, response, errors, is_json)

    def _not_json(self, method: str, path: str, response: Any, content: bytes) -> ApiError:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        start = content.lstrip()[:1]
        status = response.status_code
        if kind == "text/html" or start == b"<":
            return self._error(
                method,
                path,
                "answered with an HTML page, not with JSON; is api_url right, or is a proxy in between?",
                status=status,
                maybe_done=True,
            )
        cut = start in (b"{", b"[") and content.rstrip()[-1:] not in (b"}", b"]")
        return self._error(
            method,
            path,
            "the answer was cut off" if cut else "the answer is not JSON",
            status=status,
            passing=cut,
            maybe_done=True,
        )

    def _status_error(
        self, method: str, path: str, response: Any, errors: list[Mapping[str, Any]], is_json: bool
    ) -> ApiError:
        status = response.status_code
        found = (error.get("code") for error in errors)
        codes = tuple(code for code in found if isinstance(code, int) and not isinstance(code, bool))
        if 300 <= status < 400:
            target = self._quote(mask_url(response.headers.get("Location", "another address")))
            return self._error(
                method,
                path,
                f"redirects to {target} (redirects are not followed; set api_url to the final address)",
                status=status,
            )
        said = self._quote("; ".join(_say(error) for error in errors[:20]))
        hints = list(dict.fromkeys(_HINTS[code] for code in codes if code in _HINTS))
        if status == 401 and not hints:
            hints = ["username or password is wrong" if path == LOGIN else "the token is not valid or has expired"]
        elif status == 403 and not hints:
            hints = [_HINTS[1005]]
        text = f"HTTP {status}" + (f", {said}" if said else "") + (f" ({'; '.join(hints)})" if hints else "")
        if status == 400 and not is_json and self._base.startswith("http://"):
            text += _USE_HTTPS
        coreapp_away = any(error.get("code") == 1014 and "wacore" in str(error.get("details", "")) for error in errors)
        return self._error(
            method,
            path,
            text,
            status=status,
            codes=codes,
            passing=status in _PASSING_STATUSES or coreapp_away or any(code in _PASSING_CODES for code in codes),
            pause=_asked_pause(response.headers.get("Retry-After", "")),
            maybe_done=status not in _REFUSING_STATUSES,
            maybe_pending=status in _PENDING_STATUSES or coreapp_away or (status in _LOST_STATUSES and not codes),
        )


# --- answers -------------------------------------------------------------------------------------------------------


class _UnusableAnswer(Exception):
    """An answer that is too large, cut off, or in a form that nobody asked for."""

    def __init__(self, message: str, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


def _content(response: Any) -> bytes:
    """The body of an answer, decoded, as far as it is complete and of a size that settings can have."""
    chunks, size = [], 0
    while True:
        chunk = response.raw.read(_CHUNK, decode_content=False)
        if not chunk:
            break
        size += len(chunk)
        if size > _LARGEST_ANSWER:
            raise _UnusableAnswer(f"the answer is longer than {_LARGEST_ANSWER} bytes")
        chunks.append(chunk)
    content = b"".join(chunks)
    expected = response.headers.get("Content-Length", "")
    if expected.isdecimal() and len(expected) < 20 and size < int(expected) and response.status_code != 204:
        raise _UnusableAnswer("the answer was cut off", cut=True)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or not content:
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _UnusableAnswer("the answer is in an encoding that was not asked for")
    return _unpacked(content)


def _unpacked(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=47)  # finds out whether it is gzip or deflate
    try:
        unpacked = unpacking.decompress(content, _LARGEST_ANSWER + 1)
    except zlib.error:
        raise _UnusableAnswer("the answer cannot be unpacked") from None
    if len(unpacked) > _LARGEST_ANSWER:
        raise _UnusableAnswer(f"the answer is longer than {_LARGEST_ANSWER} bytes")
    if not unpacking.eof:
        raise _UnusableAnswer("the answer was cut off", cut=True)
    return unpacked


def _parse(content: bytes) -> tuple[Any, bool]:
    """The body as JSON and whether it is JSON; an empty body is as good as C(null) (API notes, 2.1)."""
    if not content.strip():
        return None, True
    try:
        body = json.loads(content, parse_float=_finite, parse_constant=_finite)
        too_deep = is_nested_deeper(body)
    except ValueError:
        return None, False
    except RecursionError:
        body, too_deep = None, True
    if too_deep:
        raise _UnusableAnswer("the answer is nested too deeply")
    return body, True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a number that JSON has")
    return number


def _api_errors(body: Any) -> list[Mapping[str, Any]]:
    errors = body.get("errors") if isinstance(body, Mapping) else None
    return [error for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []


def _say(error: Mapping[str, Any]) -> str:
    parts = [f"error {error.get('code')}"] + [str(error[name]) for name in ("title", "details") if error.get(name)]
    return ": ".join(parts)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _asked_pause(text: str) -> float | None:
    """Seconds that C(Retry-After) asks for, as a number or as a date."""
    if text.isdecimal() and len(text) < 10:
        return max(1.0, float(text))
    try:
        return max(1.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


# --- errors of libraries -------------------------------------------------------------------------------------------


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that requests, urllib3 and http.client have wrapped into it, the innermost last."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or isinstance(cause, ApiError) or id(cause) in seen or len(seen) > 50:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return text.rpartition(": ")[2] if " object at 0x" in text else text


def _proxy_fault(causes: list[BaseException], reason: str, passing: bool) -> tuple[str, dict[str, Any]]:
    answers = [match for match in (_TUNNEL_STATUS.search(str(cause)) for cause in causes) if match]
    if not answers:
        return f"the proxy could not be used ({reason})", {"passing": passing}
    status = int(answers[0][1])
    hint = "; it asks for a user name and a password" if status == 407 else ""
    return f"the proxy answered HTTP {status}{hint}", {"passing": status in _PASSING_STATUSES}


def _certificate_fault(error: Any) -> str:
    if isinstance(error, _OTHER_NAME):
        return f"{_CERTIFICATE_FAULTS[62]} ({error})"
    code, said = getattr(error, "verify_code", 0), getattr(error, "verify_message", "") or _reason(error)
    if code in _CERTIFICATE_FAULTS:
        return f"{_CERTIFICATE_FAULTS[code]} ({said})"
    hint = "; give the CA that signed the client's certificate as ca_path" if code in _UNKNOWN_AUTHORITY else ""
    return f"the certificate was not accepted ({said}){hint}"


def _tls_fault(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, str) and reason in _NO_TLS:
        return "the port does not speak TLS; is it for plain http://?"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or "EOF" in str(reason or error):
        return "the connection was closed while TLS was agreed on"
    return f"TLS could not be agreed on ({reason if isinstance(reason, str) else _reason(error)})"
