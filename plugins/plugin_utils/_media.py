# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The media providers of the role C(wa_settings), beside its settings. Pure.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import one_line

Result = dict[str, Any]
Call = Callable[[str, Mapping[str, Any]], Result]


def keep_by_modules(call: Call, wanted: Sequence[Mapping[str, Any]]) -> Result:
    """These media providers and no others, where only modules reach the client; as C(media_providers) does it.

    call: runs a module of the collection by its name, with options beside the connection's. wanted: options of
    C(wa_media_provider). C(before) in the result is what was there, by name and masked, of those that differ.
    """
    listed = call("wa_media_provider_info", {})
    if listed.get("failed"):
        return {**listed, "changed": False}
    names = {one["name"] for one in wanted}
    others = [{"name": one["name"], "state": "absent"} for one in listed["providers"] if one["name"] not in names]
    found: Result = {"changed": False, "changed_settings": []}
    before: Result = {}
    for one in [*wanted, *others]:
        result = call("wa_media_provider", {option: value for option, value in one.items() if value is not None})
        if result.get("changed"):
            result["changed_settings"] = [f"media.providers.{one_line(one['name'])}"]
            before[one["name"]] = result.get("before") or {}
        found = combined(found, result)
        if found.get("failed"):
            break
    return {**found, "before": before}


def combined(found: Mapping[str, Any], beside: Mapping[str, Any]) -> Result:
    """Two results of one task as one. Where C(beside) failed, both have."""
    result = {**found, "changed": bool(found.get("changed") or beside.get("changed"))}
    result.update({name: beside[name] for name in ("failed", "msg", "outcome_unknown") if name in beside})
    names = [*found.get("changed_settings", ()), *beside.get("changed_settings", ())]
    result["changed_settings"] = sorted(names)
    for name in ("warnings", "diff"):
        both = [
            one
            for held in (found.get(name), beside.get(name))
            if held
            for one in (held if isinstance(held, list) else [held])
        ]
        if both:
            result[name] = both
    return result
