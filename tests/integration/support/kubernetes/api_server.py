# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server of the stand-in, over HTTPS. What it does not know it refuses; it never makes believe."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web

from support.kubernetes.deployment_controller import reconcile
from support.kubernetes.objects import Object, Objects, Refused, selected

STEP_SECONDS = 0.05
VERBS = ["create", "delete", "get", "list", "patch"]
KINDS = {
    "": {"namespaces": "Namespace", "pods": "Pod"},
    "apps": {"deployments": "Deployment"},
}
NOT_IN_NAMESPACES = {"namespaces"}
PATCHES = {"application/merge-patch+json": False, "application/strategic-merge-patch+json": True}
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0-stand-in"}


class _Handler(tornado.web.RequestHandler):
    def initialize(self, objects: Objects, tokens: dict[str, bool]) -> None:
        self._stored, self._tokens = objects, tokens

    def prepare(self) -> None:
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")
        if self.request.method != "GET" and not self._tokens[token]:
            raise Refused(403, "Forbidden", f"{self.request.path} is forbidden: this user may only read")

    def write_error(self, status_code: int, **keywords: Any) -> None:
        error = keywords["exc_info"][1]
        if not isinstance(error, Refused):
            error = Refused(status_code, "InternalError", repr(error))
        self.set_status(error.code)
        status = {"code": error.code, "reason": error.reason, "message": error.message, "status": "Failure"}
        self._answer({"kind": "Status", "apiVersion": "v1", **status})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, Refused):
            super().log_exception(typ, value, tb)

    def _answer(self, body: Object) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))


class _Discovery(_Handler):
    def get(self) -> None:
        path = self.request.path.strip("/")
        if path == "version":
            self._answer(VERSION)
        elif path == "api":
            self._answer({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "apis":
            groups = [
                {"name": group, "versions": [version], "preferredVersion": version}
                for group in filter(None, KINDS)
                for version in [{"groupVersion": f"{group}/v1", "version": "v1"}]
            ]
            self._answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        else:
            self._answer(self._resources(path.removeprefix("api/").removeprefix("apis/")))

    def _resources(self, group_version: str) -> Object:
        kinds = KINDS[group_version.removesuffix("v1").rstrip("/")]
        resources = [
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": plural not in NOT_IN_NAMESPACES,
                "verbs": VERBS,
            }
            for plural, kind in kinds.items()
        ]
        return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}


class _Objects(_Handler):
    """`group` is empty for the core; `part` is empty or status."""

    def _place(self, group: str, namespace: str | None, plural: str, name: str | None = "") -> tuple[str, str]:
        """Where an object is kept; a list may leave the namespace open. Raises Refused for what there is not."""
        known = plural in KINDS.get(group, {})
        astray = namespace is not None if plural in NOT_IN_NAMESPACES else namespace is None and name is not None
        if not known or astray:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return plural, namespace or ""

    def _dry(self) -> bool:
        return self.get_query_argument("dryRun", "") == "All"

    def get(self, group: str, namespace: str | None, plural: str, name: str | None, part: str | None) -> None:
        _plural, place = self._place(group, namespace, plural, name)
        if name is not None:
            self._answer(self._stored.get(plural, place, name))
            return
        if self.get_query_argument("watch", "") or self.get_query_argument("fieldSelector", ""):
            raise Refused(400, "BadRequest", "the stand-in knows neither watches nor field selectors")
        selector = self.get_query_argument("labelSelector", "")
        items = [
            found
            for found in self._stored.of(plural, namespace)
            if selected(found["metadata"].get("labels") or {}, selector)
        ]
        version = f"{group}/v1".lstrip("/")
        kind = f"{KINDS[group][plural]}List"
        self._answer(
            {"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": self._stored.version}, "items": items}
        )

    def post(self, group: str, namespace: str | None, plural: str, name: str | None, part: str | None) -> None:
        plural, place = self._place(group, namespace, plural)
        body = {"apiVersion": f"{group}/v1".lstrip("/"), "kind": KINDS[group][plural], **json.loads(self.request.body)}
        created = self._stored.create(plural, place, body, self._dry())
        self.set_status(201)
        self._answer(created)

    def patch(self, group: str, namespace: str | None, plural: str, name: str, part: str | None) -> None:
        plural, place = self._place(group, namespace, plural)
        kind = self.request.headers.get("Content-Type", "")
        if kind not in PATCHES:
            raise Refused(415, "UnsupportedMediaType", f"the stand-in knows no {kind}")
        patch = json.loads(self.request.body)
        self._answer(self._stored.patch(plural, place, name, patch, PATCHES[kind], part or "", self._dry()))

    def delete(self, group: str, namespace: str | None, plural: str, name: str, part: str | None) -> None:
        plural, place = self._place(group, namespace, plural)
        options = json.loads(self.request.body or b"{}")
        grace = options.get("gracePeriodSeconds", self.get_query_argument("gracePeriodSeconds", None))
        self._answer(self._stored.delete(plural, place, name, None if grace is None else int(grace), self._dry()))


class ApiServer:
    """The stand-in in a thread of its own. tokens: token → whether its bearer may write."""

    def __init__(self, certificate: str, key: str, tokens: dict[str, bool]) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._tokens = tokens
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.port = 0

    def start(self) -> None:
        self._thread.start()
        if not self._listening.wait(20):
            raise AssertionError("the API server did not start")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        objects = Objects()
        arguments = {"objects": objects, "tokens": self._tokens}
        route = r"(?:/namespaces/([^/]+))?/([^/]+)(?:/([^/]+))?(?:/(status))?"
        application = tornado.web.Application(
            [
                (r"/(?:version|api|apis|api/v1|apis/[^/]+/v1)/?", _Discovery, arguments),
                (rf"/api/()v1{route}", _Objects, arguments),
                (rf"/apis/([^/]+)/v1{route}", _Objects, arguments),
            ],
            log_function=lambda _handler: None,
        )
        server = tornado.httpserver.HTTPServer(application, ssl_options=self._context)
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        self._listening.set()
        while not self._end.is_set():
            reconcile(objects)
            try:
                await asyncio.wait_for(self._end.wait(), STEP_SECONDS)
            except asyncio.TimeoutError:
                continue
        server.stop()
        await server.close_all_connections()
