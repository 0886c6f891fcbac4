# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell that makes a module of a flow.

This module is private to the collection.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.wabiz.onprem.plugins.module_utils._client import HAS_REQUESTS, REQUESTS_IMPORT_ERROR
from ansible_collections.wabiz.onprem.plugins.module_utils._run import (
    Flow,
    Run,
    complete,
    refuse,
    secrets_of,
    unexpected,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import scrub

# What Python itself raises. Not Exception: what only reads a module's argument spec ends it by one of its own.
_OF_PYTHON = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


class _Module(AnsibleModule):
    """A module whose failures and system log show no secret, whatever AnsibleModule knows of it."""

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        if not self._validated:
            result = {**result, **refuse(self._spec, self.params, msg)}
            msg = result.pop("msg")
            self.no_log_values: set[str] = set()
        super().fail_json(msg, **result)
        raise AssertionError("unreachable")

    def log(self, msg: str, log_args: dict[str, str] | None = None) -> None:
        # AnsibleModule knows the secrets of its options only, not those inside of dictionaries and addresses.
        secrets = secrets_of(self.params)
        shown = {name: scrub(str(value), secrets) for name, value in (log_args or {}).items()}
        super().log(scrub(msg, secrets), shown)

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec, self._validated = spec, False
        super().__init__(argument_spec=spec, supports_check_mode=True)
        self._validated = True


def run_module(spec: dict[str, Any], flow: Flow) -> None:
    """Validates the parameters, runs the flow and exits."""
    # This process soon ends, and at its end Python looks through all that was imported for garbage. Leaving that out
    # saves about a sixth of the whole.
    gc.freeze()
    try:
        module = _Module(spec)
    except _OF_PYTHON as error:  # a traceback would show values
        sys.stdout.write(json.dumps({"failed": True, "msg": unexpected(error)}))
        raise SystemExit(1) from None
    if not HAS_REQUESTS:
        module.fail_json(msg=missing_required_lib("requests"), exception=REQUESTS_IMPORT_ERROR)
    # The spec marks whole webhooks as secret, which keeps them out of the system log; the result is masked by its own
    # means, or it would hide what is harmless in them as well.
    module.no_log_values = set()
    result = complete(flow, module.params, Run(check_mode=module.check_mode, diff_mode=module._diff))
    # Handed over as part of the result they bring a deprecation warning from ansible-core 2.21 on.
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
