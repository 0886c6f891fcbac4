# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import re
from typing import Any

from wabiz_emulator import bodies

ACTIONS = ("proceed", "status", "error", "reset", "cut", "expired_token", "html", "empty", "redirect")
DEFAULT_STATUSES = {"status": 500, "error": 500, "expired_token": 401, "html": 502, "empty": 200, "redirect": 302}
# Those that end a request; the interim ones below 200 are no answers.
STATUSES = range(200, 600)
LONGEST_DELAY = 86400


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


_TYPES: dict[str, tuple[type, ...]] = {
    "action": (str,),
    "method": (str,),
    "path": (str,),
    "times": (int, type(None)),
    "skip": (int,),
    "delay": (float,),
    "status": (int, type(None)),
    "code": (int,),
    "details": (str,),
    "location": (str,),
    "applied": (bool,),
}


def from_mapping(values: Any) -> Fault:
    """A fault from its JSON form; ValueError says what does not fit."""
    fault = Fault(**bodies.members(values, "a fault", _TYPES))
    if fault.action not in ACTIONS:
        raise ValueError(f"action: one of {', '.join(ACTIONS)} expected")
    if fault.times is not None and fault.times < 1:
        raise ValueError("times: a positive number or null expected")
    if fault.skip < 0:
        raise ValueError("skip: 0 or a positive number expected")
    if not 0 <= fault.delay <= LONGEST_DELAY:
        raise ValueError(f"delay: 0 to {LONGEST_DELAY} seconds expected")
    if fault.status is not None and fault.status not in STATUSES:
        raise ValueError(f"status: {STATUSES[0]} to {STATUSES[-1]} or null expected")
    if not re.fullmatch(r"[!-~]*", fault.location):
        raise ValueError("location: an address in ASCII without spaces expected")
    fault.method = fault.method.upper()
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
