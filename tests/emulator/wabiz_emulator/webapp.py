# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from wabiz_emulator import accounts, bodies, builds, health, settings
from wabiz_emulator.errors import ApiError, Unauthorized, entry
from wabiz_emulator.store import State, Store

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
SETTINGS = "/v1/settings/application"
PROVIDERS = f"{SETTINGS}/media/providers"
WEBHOOK_CA = "/v1/certificates/webhooks/ca"
USERS = "/v1/users"
KINDS = ("none", "bearer", "basic", "apikey")
FORM_TYPE = "application/x-www-form-urlencoded"


@dataclasses.dataclass(frozen=True)
class Request:
    """One request; `path` without the client's prefix and without the query. Names of headers in any case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


@dataclasses.dataclass
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who asks: kind of authorization, user name as far as known, its token; `trusted` by a gateway in front."""

    kind: str = "none"
    user: str | None = None
    token: accounts.Token | None = None
    trusted: bool = False


class Webapp:
    """The HTTP API of one client (reference, sections 1 to 4, 6 and 7), without the sockets."""

    def __init__(self, store: Store, api_key: str | None = None, wacore_hostname: str = "wacore") -> None:
        self.store = store
        self._api_key = api_key
        self._wacore_hostname = wacore_hostname
        self._routes: dict[tuple[str, str], Callable[[Request, Caller], Response]] = {
            ("GET", "/"): lambda request, caller: Response(200, b"<html><title>Webapp</title></html>", "text/html"),
            ("POST", "/v1/users/login"): self._login,
            ("POST", "/v1/users/logout"): self._logout,
            ("GET", SETTINGS): self._get_settings,
            ("PATCH", SETTINGS): self._patch_settings,
            ("DELETE", SETTINGS): self._delete_settings,
            ("GET", PROVIDERS): self._get_providers,
            ("POST", PROVIDERS): self._post_provider,
            ("GET", "/v1/health"): self._health,
            ("GET", "/v1/account/shards"): self._get_shards,
            ("POST", "/v1/account/shards"): self._post_shards,
            ("GET", "/v1/support"): self._support,
            ("PUT", "/v1/services/message/gc"): self._collect_messages,
            ("PUT", "/v1/services/media/gc"): self._collect_media,
            ("GET", WEBHOOK_CA): self._get_webhook_ca,
            ("POST", WEBHOOK_CA): self._post_webhook_ca,
            ("DELETE", WEBHOOK_CA): self._delete_webhook_ca,
            ("GET", "/v1/certificates/external/ca"): self._get_external_ca,
            ("GET", USERS): self._get_users,
            ("POST", USERS): self._post_user,
        }
        # The last part of these paths is a name.
        self._named_routes: dict[tuple[str, str], Callable[[Request, Caller, str], Response]] = {
            ("DELETE", PROVIDERS): self._delete_provider,
            ("GET", USERS): self._get_user,
            ("PUT", USERS): self._put_user,
            ("DELETE", USERS): self._delete_user,
        }

    def answer(self, request: Request, caller: Caller) -> Response:
        """The answer to one request."""
        try:
            self._require_demanded_headers(request)
            # The server leaves the body of the answer out.
            method = "GET" if request.method == "HEAD" else request.method
            route = self._routes.get((method, request.path))
            collection, _slash, name = request.path.rpartition("/")
            named = self._named_routes.get((method, collection))
            if route is None and named is not None and name:
                return named(request, caller, unquote(name))
            if route is None:
                raise ApiError(1006, f"No such resource: {method} {request.path}")
            return route(request, caller)
        except ApiError as error:
            return self.failure(error.status, error.errors)
        except Unauthorized as error:
            return self.unauthorized(str(error))

    def caller(self, request: Request) -> Caller:
        """Who sends this request; for a bearer the user only if the token is valid."""
        kind, _space, credentials = request.authorization.partition(" ")
        kind = kind.lower() or "none"
        state = self.store.read()
        if state.switches.demanded_headers and state.switches.demanded_headers_suffice:
            return Caller(kind if kind in KINDS else "other", trusted=True)
        if kind == "bearer":
            token = accounts.verify(credentials.strip(), state.token_key)
            if token and token.mark not in state.revoked and token.user in state.users:
                return Caller(kind, token.user, token)
        elif kind == "basic":
            return Caller(kind, _basic(credentials)[0])
        elif kind == "apikey":
            return Caller(kind, None if credentials.strip() != self._api_key else "")
        return Caller(kind if kind in KINDS else "other")

    def failure(self, status: int, errors: list[dict[str, Any]]) -> Response:
        response = self._json({"errors": errors}, status)
        response.headers = self._challenge(status)
        return response

    def unauthorized(self, details: str) -> Response:
        switches = self.store.read().switches
        if switches.unauthorized_body == "empty":
            return Response(401, headers=self._challenge(401))
        return self.failure(401, [entry(1005, details)])

    def _challenge(self, status: int) -> dict[str, str]:
        scheme = self.store.read().switches.www_authenticate
        return {"WWW-Authenticate": scheme} if status == 401 and scheme else {}

    def revoke(self, token: accounts.Token) -> None:
        """This token is worth nothing from now on; others of the same user stay (reference, section 1)."""
        now = time.time()
        with self.store.change() as state:
            state.revoked = {mark: expires for mark, expires in state.revoked.items() if expires > now}
            state.revoked[token.mark] = token.expires

    def _login(self, request: Request, caller: Caller) -> Response:
        state = self._with_accounts()
        name, password = _basic(request.authorization.partition(" ")[2])
        account = state.users.get(name)
        if caller.kind != "basic" or account is None or not account.knows(password):
            raise Unauthorized("Wrong user name or password")
        body = _login_body(request, state.switches.form_login)
        new_password = body.get("new_password")
        if new_password is None:
            if account.owes_change:
                raise ApiError(1024, "The password has to be changed: send new_password")
        else:
            changed = accounts.user(_strong(body, "new_password"), account.role)
            with self.store.change() as changing:
                changing.users[name] = changed
        text, token = accounts.issue(name, state.token_key, state.switches.token_seconds)
        return self._json({"users": [{"token": text, "expires_after": accounts.expires_after(token)}]})

    def _logout(self, request: Request, caller: Caller) -> Response:
        self._with_accounts()
        if caller.token is None:
            raise Unauthorized("Invalid token")
        self.revoke(caller.token)
        return self._json({})

    def _get_users(self, request: Request, caller: Caller) -> Response:
        state = self._as_admin(caller)
        return self._json({"users": [_shown(name, account) for name, account in sorted(state.users.items())]})

    def _post_user(self, request: Request, caller: Caller) -> Response:
        self._as_built_in_admin(caller)
        body = _json_object(request.body)
        _require(body, "username")
        _require(body, "password")
        name = body["username"]
        if not isinstance(name, str) or not 4 <= len(name) <= 32:
            raise ApiError(1009, "Parameter 'username' has to have 4 to 32 characters")
        with self.store.change() as state:
            if name in state.users:
                raise ApiError(1004, f"User {name} exists already")
            state.users[name] = accounts.user(_strong(body, "password"), _role(body) or accounts.USER)
        return self._json({"users": [{"username": name}]}, 201)

    def _get_user(self, request: Request, caller: Caller, name: str) -> Response:
        state = self._as_user(caller) if caller.user == name else self._as_admin(caller)
        return self._json({"users": [_shown(name, _existing(state, name))]})

    def _put_user(self, request: Request, caller: Caller, name: str) -> Response:
        state = self._as_user(caller) if caller.user == name else self._as_admin(caller)
        _existing(state, name)
        body = _json_object(request.body)
        role = _role(body)
        if role:
            self._as_built_in_admin(caller)
            if name == accounts.FIRST_NAME and role != accounts.ADMIN:
                raise ApiError(1009, f"{name} keeps its role")
        else:
            _require(body, "password")
        with self.store.change() as state:
            account = _existing(state, name)
            if "password" in body:
                account = accounts.user(_strong(body, "password"), account.role)
            state.users[name] = dataclasses.replace(account, role=role or account.role)
        return self._json({"users": [{"username": name}]})

    def _delete_user(self, request: Request, caller: Caller, name: str) -> Response:
        self._as_built_in_admin(caller)
        if name == accounts.FIRST_NAME:
            raise ApiError(1009, f"{name} cannot be deleted")
        with self.store.change() as state:
            _existing(state, name)
            del state.users[name]
        return self._json({"users": [{"username": name}]})

    def _get_settings(self, request: Request, caller: Caller) -> Response:
        state = self._as_admin(caller)
        self._require_settings_service()
        values = settings.reported(state.settings, state.switches)
        return self._json(values if state.switches.flat_get else {"settings": {"application": values}})

    def _patch_settings(self, request: Request, caller: Caller) -> Response:
        self._as_admin(caller)
        self._require_settings_service()
        body = _json_object(request.body)
        with self.store.change() as state:
            state.settings = settings.patched(state.settings, body, state.switches)
        return self._write_answer()

    def _delete_settings(self, request: Request, caller: Caller) -> Response:
        self._as_admin(caller)
        self._require_settings_service()
        with self.store.change() as state:
            state.settings = {}
        return self._write_answer()

    def _get_providers(self, request: Request, caller: Caller) -> Response:
        state = self._as_admin(caller)
        self._require_settings_service()
        values = {"media": {"providers": state.providers}}
        return self._json(values if state.switches.flat_get else {"settings": {"application": values}})

    def _post_provider(self, request: Request, caller: Caller) -> Response:
        self._as_admin(caller)
        self._require_settings_service()
        provider = _provider(_json_body(request.body))
        with self.store.change() as state:
            state.providers = [known for known in state.providers if known["name"] != provider["name"]] + [provider]
        return self._write_answer()

    def _delete_provider(self, request: Request, caller: Caller, name: str) -> Response:
        self._as_admin(caller)
        self._require_settings_service()
        with self.store.change() as state:
            left = [known for known in state.providers if known["name"] != name]
            if len(left) == len(state.providers):
                raise ApiError(1006, f"No media provider {name}")
            state.providers = left
        return self._write_answer()

    def _health(self, request: Request, caller: Caller) -> Response:
        state = self._as_user(caller, api_key=True)
        records = self._live_nodes()
        if any(record.clustered for record in records):
            every = self.store.node_records().values()
            return self._json({"health": health.cluster_health(every, state.switches, time.time())})
        return self._json({"health": {"gateway_status": self._single_coreapp(records).gateway_status}})

    def _get_shards(self, request: Request, caller: Caller) -> Response:
        state = self._as_user(caller)
        return self._json({"account": {"shards": state.switches.shards}})

    def _post_shards(self, request: Request, caller: Caller) -> Response:
        self._as_admin(caller)
        if not any(record.clustered for record in self._live_nodes()):
            raise ApiError(1000, "Shards are for a multiconnect cluster", 400)
        body = _json_object(request.body)
        _require(body, "shards")
        if not bodies.is_integer(body["shards"]) or body["shards"] not in (1, 2, 4, 8, 16, 32):
            raise ApiError(1009, "Parameter 'shards' has to be one of 1, 2, 4, 8, 16, 32")
        with self.store.change() as state:
            state.switches = state.switches.changed({"shards": body["shards"]})
        return self._json({}, 201)

    def _support(self, request: Request, caller: Caller) -> Response:
        state = self._as_user(caller)
        records = self._live_nodes()
        support = {
            record.name: {
                "description": f"v{state.switches.client_version}",
                "expire_timestamp": builds.expire_timestamp(state.switches, time.time()),
                # What Meta's diagnostics take for the number (reference, section 12); the form is a guess.
                "debug_info": "" if state.switches.unregistered else state.switches.wa_id,
                "multi_connect": record.clustered,
                "role": record.role,
                "shards": state.switches.shards,
                "socket_conn": "UP" if record.gateway_status == "connected" else "DN",
            }
            for record in records
        }
        if any(record.clustered for record in records):
            return self._json({"support": support})
        return self._json({"support": support[self._single_coreapp(records).name]})

    def _collect_messages(self, request: Request, caller: Caller) -> Response:
        self._as_user(caller)
        records = self._live_nodes()
        processing = {"status": "processing"}
        if any(record.clustered for record in records):
            coreapps = {record.name: processing for record in records if record.kind == "coreapp"}
            if not coreapps:
                raise self._timed_out(self._wacore_hostname)
            for name in coreapps:
                self._collected("message", "messages_deleted", node=name)
            return self._json({"services": {"message": {"gc": coreapps}}})
        self._single_coreapp(records)
        self._collected("message", "messages_deleted")
        return self._json({"services": {"message": {"gc": processing}}})

    def _collect_media(self, request: Request, caller: Caller) -> Response:
        self._as_user(caller)
        self._require_settings_service()
        self._collected("media", "items_deleted")
        return self._json({"services": {"media": {"gc": {"status": "processing"}}}})

    def _collected(self, service: str, counter: str, **members: str) -> None:
        """Completion is a callback (reference, section 6); there was nothing to delete. Its form is a guess."""
        done = {"status": "complete", counter: 0, **members}
        self.store.emit({"notice": {"services": {service: {"gc": done}}}})

    def _get_webhook_ca(self, request: Request, caller: Caller) -> Response:
        authority = self._as_admin(caller).webhook_ca
        if authority is None:
            return self._no_certificate("No CA certificate was uploaded for webhooks")
        return Response(200, authority.encode(), TEXT_TYPE)

    def _get_external_ca(self, request: Request, caller: Caller) -> Response:
        return self._no_certificate("No CA certificate was uploaded for the Webapp")

    def _no_certificate(self, details: str) -> Response:
        if self.store.read().switches.absent_certificate == "empty":
            return Response(404)
        raise ApiError(1006, details)

    def _post_webhook_ca(self, request: Request, caller: Caller) -> Response:
        self._as_admin(caller)
        text = request.body.decode("ascii", errors="replace")
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise ApiError(1009, "The body has to be a PEM bundle")
        with self.store.change() as state:
            state.webhook_ca = text
        return self._write_answer()

    def _delete_webhook_ca(self, request: Request, caller: Caller) -> Response:
        self._as_admin(caller)
        with self.store.change() as state:
            state.webhook_ca = None
        return self._write_answer()

    def _require_demanded_headers(self, request: Request) -> None:
        switches = self.store.read().switches
        if any(request.headers.get(name) != value for name, value in switches.demanded_headers.items()):
            if switches.demanded_headers_status == 401:
                raise Unauthorized("The gateway's key is missing or wrong")
            raise ApiError(1005, "The gateway's key is missing or wrong")

    def _with_accounts(self) -> State:
        state = self.store.read()
        if not state.switches.login:
            raise ApiError(1006, "No such resource")
        return state

    def _as_user(self, caller: Caller, api_key: bool = False) -> State:
        by_key = api_key and caller.kind == "apikey" and caller.user is not None
        if caller.token is None and not by_key and not caller.trusted:
            raise Unauthorized("Invalid credentials")
        return self.store.read()

    def _as_admin(self, caller: Caller) -> State:
        state = self._as_user(caller)
        if caller.trusted:
            return state
        if caller.user is None or state.users[caller.user].role != accounts.ADMIN:
            raise ApiError(1005, "Admin role is required")
        return state

    def _as_built_in_admin(self, caller: Caller) -> State:
        """Only this account creates and deletes users (reference, section 1)."""
        state = self._as_admin(caller)
        if not caller.trusted and caller.user != accounts.FIRST_NAME:
            raise ApiError(1005, f"Only {accounts.FIRST_NAME} may do that")
        return state

    def _live_nodes(self) -> list[health.NodeRecord]:
        """The nodes that the Webapp hears of; outside a cluster it notices at once that a Coreapp does not run."""
        now = time.time()
        switches = self.store.read().switches
        records = [record for record in self.store.node_records().values() if health.alive(record, switches, now)]
        live = [record for record in records if record.clustered or self.store.reachable(record.name)]
        if not live:
            raise self._timed_out(self._wacore_hostname)
        return live

    def _single_coreapp(self, records: list[health.NodeRecord]) -> health.NodeRecord:
        coreapps = [record for record in records if record.kind == "coreapp"]
        if not coreapps:
            raise self._timed_out(self._wacore_hostname)
        return max(coreapps, key=lambda record: record.started)

    def _require_settings_service(self) -> None:
        """Settings go through the primary master, outside a cluster through the Coreapp (reference, section 3)."""
        records = self._live_nodes()
        if not any(record.clustered for record in records):
            self._single_coreapp(records)
            return
        masters = [record for record in records if record.kind == "master"]
        if not masters:
            raise self._timed_out(self._wacore_hostname)
        primaries = [record for record in masters if record.role == "primary_master"]
        if not primaries:
            raise ApiError(1017, "Request reached a node that is not the primary master")
        if not any(self.store.reachable(record.name) for record in primaries):
            raise self._timed_out(primaries[0].hostname)

    def _timed_out(self, hostname: str) -> ApiError:
        return ApiError(1014, f"Connection timed out. Please check if wacore is running: {hostname}:6252")

    def _write_answer(self) -> Response:
        kind = self.store.read().switches.write_answer
        if kind == "meta":
            return self._json({})
        return Response(200, {"null": b"null", "object": b"{}", "empty": b""}[kind])

    def _json(self, values: dict[str, Any], status: int = 200) -> Response:
        meta = self._meta()
        return Response(status, json.dumps({**values, "meta": meta} if meta is not None else values).encode())

    def _meta(self) -> dict[str, str] | None:
        switches = self.store.read().switches
        if switches.meta == "none":
            return None
        if switches.meta == "unversioned":
            return {"api_status": "stable"}
        versions = {"version": f"v{switches.client_version}", "bare": switches.client_version, "placeholder": "3.0.1"}
        return {"version": versions[switches.meta], "api_status": "stable"}


def _basic(credentials: str) -> tuple[str, str]:
    try:
        name, _colon, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return name, password


def _json_body(body: bytes) -> Any:
    try:
        values = bodies.parsed(body)
    except ValueError:
        raise ApiError(1025, "The body is not valid JSON") from None
    broken = bodies.broken_text(values)
    if broken is not None:
        raise ApiError(1009, f"Parameter '{broken}' has to be Unicode text")
    return values


def _json_object(body: bytes) -> dict[str, Any]:
    values = _json_body(body)
    if not isinstance(values, dict):
        raise ApiError(1025, "The body has to be a JSON object")
    return values


def _login_body(request: Request, form_login: bool) -> dict[str, Any]:
    """The body's members; curl calls JSON a form as well, unless told otherwise, so JSON comes first."""
    if not request.body.strip():
        return {}
    try:
        return _json_object(request.body)
    except ApiError:
        if form_login and request.headers.get("Content-Type", "").lower().startswith(FORM_TYPE):
            return dict(parse_qsl(request.body.decode("utf-8", errors="replace")))
        raise


def _require(body: Mapping[str, Any], name: str) -> None:
    if name not in body:
        raise ApiError(1008, f"Parameter '{name}' is missing")


def _strong(body: Mapping[str, Any], name: str) -> str:
    password = body[name]
    if not isinstance(password, str) or not accounts.password_is_strong(password):
        raise ApiError(1009, f"Parameter '{name}' does not follow the password rules")
    return password


def _role(body: Mapping[str, Any]) -> str | None:
    """The wanted role, under the name by which it is shown; that it can be given is a guess."""
    role = body.get("ROLES")
    if role not in (None, accounts.ADMIN, accounts.USER):
        raise ApiError(1009, f"Parameter 'ROLES' has to be {accounts.ADMIN} or {accounts.USER}")
    return role


def _existing(state: State, name: str) -> accounts.User:
    if name not in state.users:
        raise ApiError(1006, f"No user {name}")
    return state.users[name]


def _shown(name: str, account: accounts.User) -> dict[str, str]:
    return {"username": name, "ROLES": account.role}


def _provider(body: Any) -> dict[str, Any]:
    """The one provider in a list that the edge takes (reference, section 7)."""
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        raise ApiError(1009, "The body has to be a list of one provider")
    provider: dict[str, Any] = body[0]
    for name in ("name", "type", "config"):
        _require(provider, name)
    for name in provider:
        if name not in ("name", "type", "config"):
            raise ApiError(1010, f"Parameter '{name}' is not required")
    if not isinstance(provider["name"], str) or not provider["name"]:
        raise ApiError(1009, "Parameter 'name' has to be a string")
    if provider["type"] != "www":
        raise ApiError(1009, "Parameter 'type' has to be www")
    config = provider["config"]
    basic = config.get("basic") if isinstance(config, dict) else None
    if isinstance(basic, dict) and set(config) == {"basic"}:
        valid = set(basic) == {"username", "password"} and all(isinstance(text, str) for text in basic.values())
    else:
        valid = isinstance(config, dict) and set(config) == {"bearer"} and isinstance(config["bearer"], str)
    if not valid:
        raise ApiError(1009, "Parameter 'config' has to hold basic (username, password) or bearer")
    return provider
