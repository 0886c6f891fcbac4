# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

from wabiz_emulator.settings import version_tuple
from wabiz_emulator.switches import Switches

# Reference, section 4.2: a version with an even second number is a beta.
LIFE = datetime.timedelta(days=180)
BETA_LIFE = datetime.timedelta(days=45)


def expires_on(client_version: str, built: datetime.date) -> datetime.date:
    """The day on which a build of this version expires."""
    beta = version_tuple(client_version)[1:2][0] % 2 == 0
    return built + (BETA_LIFE if beta else LIFE)


def expire_timestamp(switches: Switches, now: float) -> int:
    """End of the build's life in seconds since the epoch, midnight in UTC."""
    if switches.expires_on:
        day = datetime.date.fromisoformat(switches.expires_on)
    else:
        day = expires_on(switches.client_version, datetime.datetime.fromtimestamp(now, datetime.timezone.utc).date())
    return int(datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc).timestamp())
