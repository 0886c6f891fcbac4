# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

TITLES = {
    1000: "Generic error",
    1004: "Resource already exists",
    1005: "Access denied",
    1006: "Resource not found",
    1008: "Required parameter is missing",
    1009: "Parameter value is not valid",
    1010: "Parameter is not required",
    1011: "Service not ready",
    1014: "Internal error",
    1015: "Too many requests",
    1016: "System overloaded",
    1017: "Not primary master",
    1018: "Not primary Coreapp",
    1024: "Password change required",
    1025: "Request is not valid",
    1031: "Account locked",
}
# The map of codes to statuses is not documented (reference, section 3): the known and the plausible ones.
STATUSES = {
    1004: 400, 1005: 403, 1006: 404, 1008: 400, 1009: 400, 1010: 400, 1015: 429, 1016: 503, 1024: 401, 1025: 400,
    1031: 403,
}  # fmt: skip


class ApiError(Exception):
    """What the API answers instead of a result: HTTP status and list of `errors` (reference, section 3)."""

    def __init__(self, code: int, details: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {details}")
        self.status = status if status is not None else STATUSES.get(code, 500)
        self.errors: list[dict[str, Any]] = [entry(code, details)]


class Unauthorized(Exception):
    """401 whose body the reference does not know (section 1); the switch `unauthorized_body` decides."""


def entry(code: int, details: str) -> dict[str, Any]:
    """One member of `errors` (reference, section 3)."""
    return {"code": code, "title": TITLES.get(code, "Error"), "details": details}
