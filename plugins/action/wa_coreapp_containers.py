# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import (
    TEMPLATE,
    Ambiguous,
    Container,
    NotFound,
    by_command,
    read_inspection,
    select,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._records import Records

_SPEC: dict[str, Any] = {
    "backend": {"type": "str", "required": True, "choices": ["docker", "podman", "command"]},
    "names": {"type": "list", "elements": "str", "default": []},
    "image_pattern": {"type": "str", "default": r"whatsapp\.biz/coreapp"},
    "state_dir": {"type": "str", "required": True},
    "cluster": {"type": "str", "required": True},
    "only_if_owed": {"type": "bool", "default": False},
}
# A container may go between the listing and the inspection.
_ATTEMPTS = 3


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(argument_spec=_SPEC)
        try:
            result.update(self._look(params))
        except AnsibleActionFail as problem:
            # Returned, because failed_when does not apply to what is raised.
            result.update(failed=True, msg=str(problem))
        return result

    def _look(self, params: dict[str, Any]) -> dict[str, Any]:
        debt, problem = Records(self, params["state_dir"], params["cluster"]).read()
        look = debt is not None or not params["only_if_owed"]
        found: dict[str, Any] = {
            "debt": None if debt is None else asdict(debt),
            "containers": self._containers(params) if look else [],
        }
        if problem is not None:
            found["warnings"] = [f"the record of owed restarts cannot be read, so everything is owed: {problem}"]
        return found

    def _containers(self, params: dict[str, Any]) -> list[Container]:
        if params["backend"] == "command":
            return by_command(params["names"])
        try:
            found = read_inspection(self._inspect(params["backend"]))
            return select(found, params["names"], params["image_pattern"])
        except re.error as error:
            raise AnsibleActionFail(
                f"image_pattern: {params['image_pattern']} is no regular expression: {error}"
            ) from None
        except Ambiguous as error:
            raise AnsibleActionFail(
                f"{params['backend']}: {error}; name those of this client in wa_settings_restart_containers"
            ) from None
        except NotFound as error:
            raise AnsibleActionFail(f"{params['backend']}: {error}") from None
        except ValueError:
            raise AnsibleActionFail(f"{params['backend']}: the answer to inspect cannot be read") from None

    def _inspect(self, engine: str) -> str:
        command = (
            f"ids=$({engine} ps --all --quiet --no-trunc) || exit; "
            f'test -z "$ids" || {engine} inspect --type container --format {shlex.quote(TEMPLATE)} $ids'
        )
        environment = self._compute_environment_string()
        for attempts_left in reversed(range(_ATTEMPTS)):
            answer = self._low_level_execute_command(
                f"{environment} /bin/sh -c {shlex.quote(command)}".strip(), executable="/bin/sh"
            )
            if answer["rc"] == 0:
                return str(answer["stdout"])
            if "o such" not in answer["stderr"] or not attempts_left:
                break
        reason = (answer["stderr"].strip() or answer["stdout"].strip())[-500:]
        raise AnsibleActionFail(f"{engine}: the containers cannot be listed: {reason}")
