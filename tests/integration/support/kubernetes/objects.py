# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of the stand-in: objects with the rules of the Kubernetes API for versions, patches and deletion."""

from __future__ import annotations

import copy
import json
import secrets
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

Object = dict[str, Any]

# Lists that a strategic merge patch merges, and by which key; every other list is replaced.
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
# What the API server fills in where a Deployment says nothing.
DEPLOYMENT_DEFAULTS: Object = {"replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
ROLLING_DEFAULTS = {"maxSurge": "25%", "maxUnavailable": "25%"}


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(target: Any, patch: Any, strategic: bool) -> Any:
    """A JSON merge patch (RFC 7386), or a strategic one, laid over an object."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif strategic and isinstance(value, list) and key in MERGE_KEYS:
            result[key] = _merged_list(result.get(key) or [], value, MERGE_KEYS[key])
        else:
            result[key] = merged(result.get(key), value, strategic)
    return result


def _merged_list(target: list[Object], patch: list[Object], key: str) -> list[Object]:
    by_key = {item[key]: item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            by_key.pop(item[key], None)
        else:
            by_key[item[key]] = merged(by_key.get(item[key]), item, strategic=True)
    return list(by_key.values())


class Objects:
    """Every object of the stand-in. Not for several threads at once: all of it lives in the server's event loop."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._version = 0

    def of(self, plural: str, namespace: str | None = None) -> Iterator[Object]:
        """Copies of the objects of a kind, of one namespace or of all."""
        for (kind, place, _name), found in sorted(self._objects.items()):
            if kind == plural and namespace in (None, place):
                yield copy.deepcopy(found)

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """A copy of one object; raises Refused."""
        try:
            return copy.deepcopy(self._objects[plural, namespace, name])
        except KeyError:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found') from None

    @property
    def version(self) -> str:
        return str(self._version)

    def create(self, plural: str, namespace: str, body: Object, dry_run: bool = False) -> Object:
        """Add an object; raises Refused."""
        created = copy.deepcopy(body)
        metadata = created.setdefault("metadata", {})
        if "generateName" in metadata and "name" not in metadata:
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)
        if (plural, namespace, metadata["name"]) in self._objects:
            raise Refused(409, "AlreadyExists", f'{plural} "{metadata["name"]}" already exists')
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        if namespace:
            metadata["namespace"] = namespace
        created["status"] = {"phase": "Pending"} if plural == "pods" else {}
        return self._keep(plural, namespace, _with_defaults(plural, created), dry_run)

    def patch(
        self,
        plural: str,
        namespace: str,
        name: str,
        patch: Object,
        strategic: bool,
        part: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Change an object, or its status where `part` says so; raises Refused."""
        before = self.get(plural, namespace, name)
        wanted = (patch.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != before["metadata"]["resourceVersion"]:
            raise Refused(
                409, "Conflict", f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified'
            )
        after = merged(before, patch, strategic)
        # The status is a resource of its own: neither of the two can be changed by way of the other.
        kept = [key for key in ("spec", "status") if (key == "status") != (part == "status")]
        for key in kept:
            after[key] = copy.deepcopy(before.get(key, {}))
        for key in ("uid", "creationTimestamp", "generation", "resourceVersion", "namespace", "name"):
            if key in before["metadata"]:
                after["metadata"][key] = before["metadata"][key]
        after = _with_defaults(plural, after)
        if after == before:
            return before
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] += 1
        return self._keep(plural, namespace, after, dry_run)

    def delete(self, plural: str, namespace: str, name: str, grace: int | None = None, dry_run: bool = False) -> Object:
        """Delete an object; a pod on a node is only marked, until its kubelet deletes it with no grace."""
        found = self.get(plural, namespace, name)
        on_node = plural == "pods" and bool(found["spec"].get("nodeName"))
        if on_node and grace != 0:
            if "deletionTimestamp" not in found["metadata"]:
                found["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace or 30}
                return self._keep(plural, namespace, found, dry_run)
            return found
        if not dry_run:
            self._version += 1
            del self._objects[plural, namespace, name]
        return found

    def _keep(self, plural: str, namespace: str, kept: Object, dry_run: bool) -> Object:
        if not dry_run:
            self._version += 1
            kept["metadata"]["resourceVersion"] = self.version
            self._objects[plural, namespace, kept["metadata"]["name"]] = copy.deepcopy(kept)
        return kept


def _with_defaults(plural: str, body: Object) -> Object:
    if plural != "deployments":
        return body
    spec = {**DEPLOYMENT_DEFAULTS, **body["spec"]}
    strategy = {"type": "RollingUpdate", **(spec.get("strategy") or {})}
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = {**ROLLING_DEFAULTS, **(strategy.get("rollingUpdate") or {})}
    return {**body, "spec": {**spec, "strategy": strategy}}


def selected(labels: Mapping[str, str], selector: str) -> bool:
    """Whether labels meet a selector of the form `name=value,…`."""
    terms = [term.partition("=") for term in selector.split(",") if term]
    return all(labels.get(name) == value.lstrip("=") for name, _equals, value in terms)


def template_hash(deployment: Object) -> str:
    """What tells the pods of one template from those of another."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return uuid.uuid5(uuid.NAMESPACE_OID, text).hex[:10]
