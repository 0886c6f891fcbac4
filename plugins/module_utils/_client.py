# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTP conversation with one client: TLS, login, retries, errors. The only file that reaches a network.

This module is private to the collection.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import find_secrets, mask_url, scrub

try:
    import requests
    import requests.adapters
    import requests.auth
    import requests.utils
    from urllib3.exceptions import InsecureRequestWarning
    from urllib3.util.ssl_ import create_urllib3_context
except ImportError:
    HAS_REQUESTS = False
    REQUESTS_IMPORT_ERROR: str | None = traceback.format_exc()
    _AuthBase: Any = object
    _HTTPAdapter: Any = object
else:
    HAS_REQUESTS = True
    REQUESTS_IMPORT_ERROR = None
    _AuthBase = requests.auth.AuthBase
    _HTTPAdapter = requests.adapters.HTTPAdapter

LOGIN = "/v1/users/login"
LOGOUT = "/v1/users/logout"

# Passing faults by the API's own codes (API notes, section 3). 1014 only when it says that the Coreapp does not answer.
_PASSING_CODES = frozenset({1011, 1015, 1016, 1017, 1018})
_PASSING_STATUSES = frozenset({429, 502, 503, 504})
_FIRST_PAUSE = 0.5  # seconds, doubled with each attempt
_LONGEST_PAUSE = 60.0  # seconds, also for what a server asks for in Retry-After
_WHITESPACE = re.compile(r"\s")
_TOKEN = re.compile(r"[!-~]+")
_LONGEST_TEXT = 300  # characters of a server's own words in an error

_HINTS = {
    1005: "the account must have the admin role; an expired client build answers the same",
    1006: "this client does not know the resource",
    1009: "a value is not valid for this client",
    1010: "this client version does not know a setting that was sent",
    1024: "the account still has its first password: log in once with a new_password, then use that one",
    1031: "the account is locked",
}


class ApiError(Exception):
    """What went wrong in the conversation: one line, without secrets.

    status: the HTTP status, or None without an answer. codes: the API's error codes. passing: whether it may pass by
    itself. pause: the seconds that the server asks to wait, or None.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        codes: tuple[int, ...] = (),
        passing: bool = False,
        pause: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes
        self.passing = passing
        self.pause = pause


@dataclass(frozen=True)
class Connection:
    """How a client is reached. C(timeout) in seconds, C(retries) counts the extra attempts."""

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


def check_address(api_url: str, allow_http: bool) -> str:
    """The base address without a trailing slash. Raises ValueError, in words for the user, without secrets."""
    address = api_url.strip()
    try:
        parts = urlsplit(address)
        host, port_is_fine = parts.hostname, parts.port is None or parts.port > 0
    except ValueError:
        host, port_is_fine, parts = None, False, urlsplit("")
    if parts.scheme.lower() not in ("http", "https") or not host or not port_is_fine or _WHITESPACE.search(address):
        raise ValueError("api_url: must be an address such as https://wa1.example.com:9090")
    if "@" in parts.netloc:
        raise ValueError("api_url: must not carry user info; use username and password, or token")
    if "?" in address or "#" in address:
        raise ValueError("api_url: must not carry a query or a fragment")
    if parts.scheme.lower() == "http" and not allow_http and not _is_loopback(host):
        raise ValueError(
            f"api_url: http:// to {host} would send the password in clear; "
            "use https://, or set allow_http if that is meant"
        )
    return address.rstrip("/")


def is_token(text: Any) -> bool:
    """Whether this can be sent as a bearer token; errors about headers that cannot be sent repeat them."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Bearer(_AuthBase):  # type: ignore[misc]
    """As an auth object, since a header would lose against an entry in ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = "Bearer " + self._token
        return request


_prepared_tls_contexts: list[Any] = []


def prepare_tls_context() -> None:
    """Makes a TLS context for the next client, since that is a good part of what a short conversation costs.

    It serves once: a second conversation, such as the next item of a loop, must not trust the authorities of the first.
    """
    _prepared_tls_contexts.append(create_urllib3_context())


class _Adapter(_HTTPAdapter):  # type: ignore[misc]
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = _prepared_tls_contexts.pop() if _prepared_tls_contexts else create_urllib3_context()
        super().init_poolmanager(*args, ssl_context=context, **kwargs)


@dataclass(frozen=True)
class Answer:
    """An answer with status 200: the parsed body (None when empty), and the C(meta) of it if there is one."""

    body: Any
    version: str | None
    api_status: str | None


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
        self._secrets = {secret for secret in (connection.password, connection.token) if secret}
        self._secrets |= set(connection.headers.values())
        self._session = requests.Session()
        if connection.validate_certs:
            self._session.mount("https://", _Adapter())  # a context that checks cannot be told not to
        # Environment settings are read here, once and in the open: a session that trusts the environment lets
        # REQUESTS_CA_BUNDLE win over ca_path and ~/.netrc over the token.
        self._session.trust_env = False
        self._proxies: Mapping[str, str] = {}
        if connection.use_proxy and any(name.lower().endswith("_proxy") for name in environ):
            self._proxies = requests.utils.get_environ_proxies(self._base, no_proxy=None)
        self._verify: bool | str = connection.validate_certs
        if connection.validate_certs:
            bundle = connection.ca_path or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
            self._verify = bundle or True
            if bundle and not Path(bundle).exists():
                where = "ca_path" if bundle == connection.ca_path else "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
                raise ApiError(f"{where}: there is no file {bundle}")
        else:
            # It was asked for; nobody wants to read of it with every request.
            warnings.simplefilter("ignore", InsecureRequestWarning)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the login, if there was one, and the connection. Never raises: the work is done by now."""
        try:
            if self._logged_in:
                self._logged_in = False
                self._send_once("POST", LOGOUT, self._auth())
        except ApiError:
            pass  # the token ends by itself; a failed logout must not turn done work into a failure
        finally:
            self._session.close()

    def keep_secret(self, value: Any) -> None:
        """Learns the secrets of a settings object, so that no error text repeats what a server echoes of them."""
        self._secrets |= find_secrets(value)

    def get(self, path: str, retries: int | None = None) -> Answer:
        return self._call("GET", path, None, retries)

    def patch(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        return self._call("DELETE", path, None)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, retries: int | None = None) -> Answer:
        if self._read_only and method != "GET":
            raise ApiError(f"{method} {path}: refused, nothing may be written in check mode")
        log_in_again = True
        attempts = 1 + (self._connection.retries if retries is None else retries)
        for attempt in range(1, attempts + 1):
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
                if not error.passing or attempt == attempts:
                    raise error from None
                self._sleep(min(_LONGEST_PAUSE, error.pause or _FIRST_PAUSE * 2 ** (attempt - 1)))
        raise AssertionError("unreachable")

    def _auth(self) -> Any:
        """None where a header of the user's own is all that authenticates."""
        return None if self._token is None else _Bearer(self._token)

    def _log_in(self) -> None:
        password = self._connection.password or ""
        auth = requests.auth.HTTPBasicAuth(self._connection.username.encode(), password.encode())
        answer = self._send_once("POST", LOGIN, auth)
        try:
            token = answer.body["users"][0]["token"]
        except (TypeError, KeyError, IndexError):
            token = None
        if not is_token(token):
            raise ApiError(f"{self._where('POST', LOGIN)}: the answer to the login holds no token")
        self._token, self._logged_in = token, True
        self._secrets.add(token)

    def _where(self, method: str, path: str) -> str:
        return f"{method} {self._base}{path}"

    def _error(self, method: str, path: str, text: str, **facts: Any) -> ApiError:
        return ApiError(scrub(f"{self._where(method, path)}: {text}", self._secrets), **facts)

    def _send_once(self, method: str, path: str, auth: Any, body: Mapping[str, Any] | None = None) -> Answer:
        """One request. Answers with status 200 and a body as expected come back, everything else is raised."""
        try:
            response = self._session.request(
                method,
                self._base + quote(path),
                json=body,
                auth=auth,
                headers={"Accept": "application/json", **self._connection.headers},
                timeout=self._connection.timeout,
                verify=self._verify,
                proxies=dict(self._proxies),
                allow_redirects=False,
            )
        except requests.exceptions.RequestException as error:
            raise self._transport_error(method, path, error) from None
        except (UnicodeError, ValueError, OSError) as error:
            # What requests lets through: an unusable host name, a CA file that is no certificate.
            raise self._error(method, path, f"{type(error).__name__}: {error}") from None
        return self._read(method, path, response)

    def _transport_error(self, method: str, path: str, error: Exception) -> ApiError:
        cause = _innermost(error)
        if isinstance(error, requests.exceptions.SSLError):
            hint = "give the CA that signed the client's certificate as ca_path"
            return self._error(method, path, f"the certificate was not accepted ({cause}); {hint}")
        if isinstance(error, requests.exceptions.Timeout):
            text = f"no answer within {self._connection.timeout:g} s"
            return self._error(method, path, text, passing=True)
        if isinstance(error, requests.exceptions.ProxyError):
            return self._error(method, path, f"the proxy could not be used ({cause})")
        if isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)):
            return self._error(method, path, "the answer was cut off", passing=True)
        if isinstance(error, requests.exceptions.ConnectionError):
            unknown_host = "NameResolutionError" in repr(error) or "getaddrinfo" in repr(error)
            text = f"cannot be reached ({cause})"
            return self._error(method, path, text, passing=not unknown_host)
        return self._error(method, path, f"{type(error).__name__} ({cause})")

    def _read(self, method: str, path: str, response: Any) -> Answer:
        status, content = response.status_code, response.content
        expected = response.headers.get("Content-Length", "")
        encoded = "Content-Encoding" in response.headers
        if not encoded and expected.isdecimal() and len(content) < int(expected):
            raise self._error(method, path, "the answer was cut off", status=status, passing=True)
        body, is_json = _parse(content)
        errors = _api_errors(body)
        if status == 200 and not errors:
            if not is_json:
                raise self._not_json(method, path, response)
            meta = body.get("meta") if isinstance(body, Mapping) else None
            meta = meta if isinstance(meta, Mapping) else {}
            return Answer(body, _text(meta.get("version")), _text(meta.get("api_status")))
        raise self._status_error(method, path, response, errors)

    def _not_json(self, method: str, path: str, response: Any) -> ApiError:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        start = response.content.lstrip()[:1]
        if kind == "text/html" or start == b"<":
            return self._error(
                method,
                path,
                "answered with an HTML page, not with JSON; is api_url right, or is a proxy in between?",
                status=200,
            )
        cut = start in (b"{", b"[")
        return self._error(
            method, path, "the answer was cut off" if cut else "the answer is not JSON", status=200, passing=cut
        )

    def _status_error(self, method: str, path: str, response: Any, errors: list[Mapping[str, Any]]) -> ApiError:
        status = response.status_code
        codes = tuple(error["code"] for error in errors if isinstance(error.get("code"), int))
        if 300 <= status < 400:
            target = mask_url(response.headers.get("Location", "another address"))
            return self._error(
                method,
                path,
                f"redirects to {target}; redirects are not followed, set api_url to the final address",
                status=status,
            )
        said = "; ".join(_say(error) for error in errors)[:_LONGEST_TEXT]
        hints = [_HINTS[code] for code in codes if code in _HINTS]
        if status == 401 and not hints:
            hints = ["username or password is wrong" if path == LOGIN else "the token is not valid or has expired"]
        elif status == 403 and not hints:
            hints = [_HINTS[1005]]
        text = f"HTTP {status}" + (f", {said}" if said else "") + (f" ({'; '.join(hints)})" if hints else "")
        pause = response.headers.get("Retry-After", "")
        coreapp_away = any(error.get("code") == 1014 and "wacore" in str(error.get("details", "")) for error in errors)
        return self._error(
            method,
            path,
            text,
            status=status,
            codes=codes,
            passing=status in _PASSING_STATUSES or coreapp_away or any(code in _PASSING_CODES for code in codes),
            pause=max(1.0, float(pause)) if pause.isdecimal() else None,
        )


def _parse(content: bytes) -> tuple[Any, bool]:
    """The body as JSON and whether it is JSON; an empty body is as good as C(null) (API notes, 2.1)."""
    if not content.strip():
        return None, True
    try:
        return json.loads(content), True
    except ValueError:
        return None, False


def _api_errors(body: Any) -> list[Mapping[str, Any]]:
    errors = body.get("errors") if isinstance(body, Mapping) else None
    return [error for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []


def _say(error: Mapping[str, Any]) -> str:
    parts = [f"error {error.get('code')}"] + [str(error[name]) for name in ("title", "details") if error.get(name)]
    return ": ".join(parts)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _innermost(error: BaseException) -> str:
    """The reason at the bottom of the wrapped errors of requests and urllib3, in a few words."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or next(
            (one for one in error.args if isinstance(one, BaseException)), None
        )
        inner = inner or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return str(text).rpartition(": ")[2] if " object at 0x" in str(text) else str(text)
