# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that a client says of its settings, in clear: what the playbook export writes down.

This module is private to the collection.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._client import ApiError
from ansible_collections.wabiz.onprem.plugins.module_utils._options import CONNECTION, Spec, read_connection
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import Declaration, parse_version, show_version
from ansible_collections.wabiz.onprem.plugins.module_utils._providers import ask_providers
from ansible_collections.wabiz.onprem.plugins.module_utils._run import Params, Result, Run
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import ask_settings


def reading_spec() -> Spec:
    return dict(CONNECTION)


def read_all(params: Params, run: Run) -> Result:
    """The flow of the module C(wa_settings_export): C(reading), which C(open_reading) opens.

    Nothing is masked in it, and nothing that masks results finds anything in it.
    """
    with run.connect(read_connection(params), True) as client:
        settings, answer = ask_settings(client, Declaration())
        try:
            providers: Any = list(ask_providers(client).values())
        except ApiError as error:
            if error.status != 404:
                raise
            providers = None  # a client that has none of them yet
    version = show_version(parse_version(answer.version))
    reading = json.dumps({"settings": settings, "providers": providers, "version": version})
    return {"changed": False, "reading": base64.b64encode(reading.encode()).decode()}


def open_reading(reading: str) -> dict[str, Any]:
    """C(settings) and C(version) as the client reports them, C(providers) as a list; None where it knows none."""
    opened: dict[str, Any] = json.loads(base64.b64decode(reading))
    return opened
