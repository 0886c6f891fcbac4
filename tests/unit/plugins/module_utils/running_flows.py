# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a flow as a module does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wabiz.onprem.plugins.module_utils import _run
from ansible_collections.wabiz.onprem.plugins.module_utils._options import Spec

if TYPE_CHECKING:
    from .conftest import Emulated, Scripted


def run(flow: _run.Flow, spec: Spec, server: Emulated | Scripted, task: _run.Run, **params: Any) -> dict[str, Any]:
    """A flow as a module runs it, parameters through the spec; nothing secret may be in the result."""
    connection = server.connection
    access = {"password": connection.password, "token": connection.token}
    own = {"api_url": connection.api_url, "ca_path": connection.ca_path, "retries": 0, "timeout": 5, **access}
    validated = ArgumentSpecValidator(spec).validate({**own, **params})
    assert not validated.error_messages, validated.error_messages
    result = _run.complete(flow, validated.validated_parameters, task)
    assert "canary" not in json.dumps(result)
    assert "Canary" not in json.dumps(result)
    invocation = result.pop("invocation")["module_args"]
    assert set(invocation) == set(spec)
    return result
