# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the Kubernetes API, as far as the tests need them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import requests

TIMEOUT_SECONDS = 20.0
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
PODS = "/api/v1/pods"

Object = dict[str, Any]


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def path_of(namespace: str, plural: str, name: str = "") -> str:
    """Where the objects of a kind, or one of them, are to be found."""
    groups = {
        "deployments": "apis/apps/v1",
        "replicasets": "apis/apps/v1",
        "roles": "apis/rbac.authorization.k8s.io/v1",
        "rolebindings": "apis/rbac.authorization.k8s.io/v1",
        "leases": "apis/coordination.k8s.io/v1",
    }
    return f"/{groups.get(plural, 'api/v1')}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


class KubernetesApi:
    """One user's access. Not for several threads at once."""

    def __init__(self, url: str, ca_path: str, token: str) -> None:
        self._url, self._ca_path = url, ca_path
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: str) -> Object:
        """One request; raises Refused for an error status, OSError where no server answers."""
        answer = self._session.request(
            method,
            self._url + path,
            params=query,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=TIMEOUT_SECONDS,
            verify=self._ca_path,
        )
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return dict(answer.json()) if answer.text.startswith("{") else {}

    def get(self, path: str) -> Object:
        return self.call("GET", path)

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a list."""
        return list(self.call("GET", path, **query)["items"])

    def create(self, path: str, body: Mapping[str, Any]) -> Object:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any], kind: str = STRATEGIC) -> Object:
        return self.call("PATCH", path, body, kind)

    def delete(self, path: str, grace: int | None = None, uid: str | None = None) -> Object:
        """Delete an object, only the one with this uid if given."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        return self.call("DELETE", path, options)
