# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the part of AWX's API that the modules of `awx.awx` use.

It keeps objects, and refuses what AWX refuses. It starts no job, knows no user, and takes any field for any object.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from awx_rules import credential_type_refused, schedule_refused, survey_refused

API = "/api/v2/"
ASSOCIATIONS = ("credentials", "success_nodes", "failure_nodes", "always_nodes")
TEMPLATES = ("projects", "job_templates", "workflow_job_templates")
Object = dict[str, Any]


class Refused(Exception):
    """A request that is answered with 400 and this object."""

    def __init__(self, body: Object) -> None:
        super().__init__(str(body))
        self.body = body


@dataclass
class Awx:
    """The objects by kind, and what was sent to change them. `playbooks` is what each project's repository holds."""

    playbooks: set[str]
    url: str = ""
    objects: dict[str, list[Object]] = field(default_factory=dict)
    surveys: dict[str, Object] = field(default_factory=dict)
    links: dict[str, list[int]] = field(default_factory=dict)
    writes: list[tuple[str, str, Any]] = field(default_factory=list)

    def add(self, kind: str, /, **values: Any) -> Object:
        """Create an object, as somebody else would have done it."""
        number = 1 + sum(len(known) for known in self.objects.values())
        url = f"{API}{kind}/{number}/"
        created = {
            "id": number,
            "type": kind.removesuffix("s"),
            "url": url,
            "summary_fields": {},
            "related": {},
            **values,
        }
        if kind in TEMPLATES:
            created["related"]["survey_spec"] = f"{url}survey_spec/"
        if kind == "projects":
            # AWX knows the playbooks of a project once it has fetched them.
            created |= {"scm_revision": "", "summary_fields": {"current_update": {"id": number}}}
        self.objects.setdefault(kind, []).append(created)
        return created

    def named(self, kind: str, name: str) -> Object:
        (found,) = [one for one in self.objects.get(kind, []) if one.get("name", one.get("identifier")) == name]
        return found

    def linked(self, one: Object, association: str) -> list[int]:
        return self.links.get(f"{one['url']}{association}/", [])

    def survey(self, one: Object) -> Object:
        return self.surveys.get(f"{one['url']}survey_spec/", {})

    # --- requests

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """The status and the body of an answer."""
        parts = urlsplit(target)
        path = parts.path
        kind, *rest = path.removeprefix(API).strip("/").split("/")
        if method != "GET":
            self.writes.append((method, path, body))
        if not rest:
            return self._collection(method, kind, dict(parse_qsl(parts.query)), body)
        if rest[1:] == ["survey_spec"]:
            return self._survey(method, path, body)
        if rest[1:] and rest[1] in ASSOCIATIONS:
            return self._association(method, path, body)
        if kind == "project_updates":
            project = next(one for one in self.objects["projects"] if one["id"] == int(rest[0]))
            project |= {"scm_revision": "1", "summary_fields": {}}
            return 200, {"status": "successful"}
        one = next((one for one in self.objects.get(kind, []) if one["id"] == int(rest[0])), None)
        if one is None:
            return 404, {}
        if rest[1:] == ["create_approval_template"]:
            created = self.add("workflow_approval_templates", **body)
            one["unified_job_template"] = created["id"]
            one["related"]["unified_job_template"] = created["url"]
            return 201, created
        if method == "PATCH":
            self._check(kind, {**one, **body})
            one |= body
        return 200, one

    def _collection(self, method: str, kind: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            self._check(kind, body)
            return 201, self.add(kind, **body)
        kinds = TEMPLATES if kind == "unified_job_templates" else (kind,)
        found = [one for each in kinds for one in self.objects.get(each, []) if _fits(one, query)]
        return 200, {"count": len(found), "next": None, "results": found}

    def _survey(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            if refused := survey_refused(body):
                raise Refused({"error": refused[0]})
            self.surveys[path] = body
        return 200, self.surveys.get(path, {})

    def _association(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        linked = self.links.setdefault(path, [])
        if method == "POST":
            if body.get("disassociate"):
                linked.remove(body["id"])
            else:
                linked.append(body["id"])
            return 204, None
        return 200, {"count": len(linked), "next": None, "results": [{"id": number} for number in linked]}

    def _check(self, kind: str, body: Object) -> None:
        refused: list[str] = []
        if kind == "credential_types":
            refused = credential_type_refused(body)
        elif kind == "schedules":
            refused = schedule_refused(body)
        elif kind == "job_templates":
            (project,) = [one for one in self.objects.get("projects", []) if one["id"] == body["project"]]
            if not project["scm_revision"] or body["playbook"] not in self.playbooks:
                refused = ["Playbook not found for project."]
        if refused:
            raise Refused({"__all__": refused})


def _fits(one: Object, query: dict[str, str]) -> bool:
    query = {name: value for name, value in query.items() if name not in ("page_size", "order_by")}
    either = {name: query.pop(name) for name in list(query) if name.startswith("or__")}
    if either and not any(str(one.get(name.removeprefix("or__"))) == value for name, value in either.items()):
        return False
    return all(str(one.get(name)) == value for name, value in query.items())


@contextmanager
def running_awx(playbooks: set[str]) -> Iterator[Awx]:
    """A stand-in on a port of its own, with an organization and an inventory, until the block ends."""
    awx = Awx(playbooks)
    awx.add("organizations", name="Default")
    awx.add("inventories", name="Clients")

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            try:
                status, body = awx.answer(self.command, self.path, json.loads(sent) if sent else None)
            except Refused as refused:
                status, body = 400, refused.body
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - names that http.server calls

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    awx.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield awx
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
