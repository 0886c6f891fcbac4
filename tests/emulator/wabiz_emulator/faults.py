# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

ACTIONS = ("proceed", "status", "error", "reset", "cut", "expired_token", "html", "empty", "redirect")
DEFAULT_STATUSES = {"status": 500, "error": 500, "expired_token": 401, "html": 502, "empty": 200, "redirect": 302}


@dataclasses.dataclass
class Fault:
    """One way to go wrong, for requests of `method` ("" is any) whose path starts with `path`.

    It lets `skip` requests pass, then strikes `times` times (None: always). `delay` is in seconds and comes first.
    With `applied` the request takes effect although its answer is spoilt.
    """

    action: str = "proceed"
    method: str = ""
    path: str = ""
    times: int | None = 1
    skip: int = 0
    delay: float = 0.0
    status: int | None = None
    code: int = 1014
    details: str = "Emulated fault"
    location: str = "/"
    applied: bool = False

    def matches(self, method: str, path: str) -> bool:
        return self.method in ("", method) and path.startswith(self.path)

    @property
    def answer_status(self) -> int:
        return self.status if self.status is not None else DEFAULT_STATUSES.get(self.action, 200)


def from_mapping(values: Mapping[str, Any]) -> Fault:
    """A fault from its JSON form; ValueError says what does not fit."""
    unknown = set(values) - {field.name for field in dataclasses.fields(Fault)}
    if unknown:
        raise ValueError(f"unknown in a fault: {', '.join(sorted(unknown))}")
    fault = Fault(**values)
    if fault.action not in ACTIONS:
        raise ValueError(f"action: one of {', '.join(ACTIONS)} expected")
    if fault.times is not None and fault.times < 1:
        raise ValueError("times: a positive number or null expected")
    return fault


def take(faults: list[Fault], method: str, path: str) -> Fault | None:
    """The fault that strikes this request, if any; counts it, and removes what is used up."""
    for fault in faults:
        if not fault.matches(method, path):
            continue
        if fault.skip:
            fault.skip -= 1
            continue
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                faults.remove(fault)
        return dataclasses.replace(fault)
    return None
