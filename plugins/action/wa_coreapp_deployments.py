# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import NotFound
from ansible_collections.wabiz.onprem.plugins.module_utils._deployments import (
    ANNOTATION,
    Ambiguous,
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
    """The objects of a kind in results of C(kubernetes.core.k8s_info), of loops as well.

    Those tasks run with C(no_log), for the sake of the environment in a pod's template, so a failure is told here.
    """
    found: list[Mapping[str, Any]] = []
    for answer in answers:
        if "results" in answer:
            found += _resources(answer["results"], kind)
        elif answer.get("failed") or answer.get("unreachable") or answer.get("api_found") is False:
            raise AnsibleActionFail(f"kubernetes: {answer.get('msg') or 'no answer'}")
        else:
            found += [resource for resource in answer.get("resources") or () if resource.get("kind") == kind]
    return found


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        deployments, pods = (_resources(params["answers"], kind) for kind in ("Deployment", "Pod"))
        try:
            chosen = choose(deployments, params["names"], params["image_pattern"])
        except re.error as error:
            raise AnsibleActionFail(
                f"image_pattern: {params['image_pattern']} is no regular expression: {error}"
            ) from None
        except (NotFound, Ambiguous) as error:
            raise AnsibleActionFail(f"kubernetes: {error}") from None
        debt, problems = joint_debt(chosen, params["cluster"])
        if problems:
            result["warnings"] = [
                f"the record of owed restarts cannot be read, so everything is owed: {problem}" for problem in problems
            ]
        look = debt is not None or not params["only_if_owed"]
        result["debt"] = None if debt is None else asdict(debt)
        result["containers"] = as_containers(chosen, pods) if look else []
        if params["change"] is not None:
            recorded = datetime.now(timezone.utc).isoformat(timespec="seconds")
            change = {"cluster": params["cluster"], **params["change"]}
            result["patches"] = [
                {"name": name, "definition": {"metadata": {"annotations": {ANNOTATION: text}}}}
                for name, text in changed_annotations(chosen, pods, change, recorded).items()
            ]
        return result
