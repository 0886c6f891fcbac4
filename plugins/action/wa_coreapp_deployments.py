# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._deployments import (
    ANNOTATION,
    as_containers,
    changed_annotations,
    choose,
    joint_debt,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._records import CHANGE_SPEC

_SPEC: dict[str, Any] = {
    "answers": {"type": "list", "elements": "dict", "required": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "image_pattern": {"type": "str", "default": r"whatsapp\.biz/coreapp"},
    "cluster": {"type": "str", "required": True},
    "only_if_owed": {"type": "bool", "default": False},
    "change": {"type": "dict", "options": CHANGE_SPEC},
}


def _resources(answers: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The objects of a kind in results of C(kubernetes.core.k8s_info).

    Those tasks run with C(no_log), for the sake of the environment in a pod's template, and their errors are ignored,
    so a failure is told here: raises LookupError.
    """
    found: list[Mapping[str, Any]] = []
    for answer in answers:
        if answer.get("skipped"):
            continue
        if "resources" not in answer or answer.get("api_found") is False:
            raise LookupError(_reason(answer))
        found += [resource for resource in answer["resources"] if resource.get("kind") == kind]
    return found


def _reason(answer: Mapping[str, Any]) -> str:
    """Why a module failed, without the traceback where it broke down."""
    lines = str(answer.get("module_stderr") or answer.get("msg") or "no answer").splitlines()
    telling = [line for line in lines if re.match(r"\S+(Error|Exception): |Reason: |HTTP response body: ", line)]
    return " ".join(telling or lines)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        try:
            result.update(self._find(params))
        except re.error as error:
            problem = f"image_pattern: {params['image_pattern']} is no regular expression: {error}"
            result.update(failed=True, msg=problem)
        except LookupError as error:
            # Returned, not raised: failed_when does not apply to what is raised.
            result.update(failed=True, msg=f"kubernetes: {error}")
        return result

    def _find(self, params: dict[str, Any]) -> dict[str, Any]:
        deployments, pods = (_resources(params["answers"], kind) for kind in ("Deployment", "Pod"))
        chosen = choose(deployments, params["names"], params["image_pattern"])
        debt, problems = joint_debt(chosen, params["cluster"])
        look = debt is not None or not params["only_if_owed"]
        found: dict[str, Any] = {
            "debt": None if debt is None else asdict(debt),
            "containers": as_containers(chosen, pods) if look else [],
        }
        if problems:
            found["warnings"] = [
                f"the record of owed restarts cannot be read, so everything is owed: {problem}" for problem in problems
            ]
        if params["change"] is not None:
            recorded = datetime.now(timezone.utc).isoformat(timespec="seconds")
            change = {"cluster": params["cluster"], **params["change"]}
            found["patches"] = [
                {"name": name, "definition": {"metadata": {"annotations": {ANNOTATION: text}}}}
                for name, text in changed_annotations(chosen, pods, change, recorded).items()
            ]
        return found
