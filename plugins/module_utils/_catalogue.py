# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key table of the application settings: data, no logic.

One row is one settable key of C(/v1/settings/application), under its dotted name. Facts come from the project's
reference of the settings (Meta's page "Application settings", section 2.3 of the API notes for the marks of certainty).

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """How a value is written, compared and sent."""

    BOOLEAN = "boolean"
    COUNT = "count"  # a positive whole number, sent as an integer
    MILLISECONDS = "milliseconds"  # documented as a string, reported as an integer
    TEXT = "text"
    URL = "url"
    TEXT_SET = "text set"  # a list whose order and repeats mean nothing


class Certainty(Enum):
    """How far the documented default can be relied on."""

    CERTAIN = "certain"  # Meta's page says it, nothing contradicts it
    LIKELY = "likely"  # samples or recordings show it, the page does not say it
    UNKNOWN = "unknown"  # the sources contradict each other


@dataclass(frozen=True)
class Key:
    """One settable key.

    C(since), C(deprecated) and C(fixed_since) are client versions such as C((2, 49, 1)).
    C(fixed_value) is what the key cannot be changed to any more from C(fixed_since) on.
    """

    kind: Kind
    default: Any = None
    certainty: Certainty = Certainty.CERTAIN
    choices: tuple[Any, ...] = ()
    since: tuple[int, ...] | None = None
    deprecated: tuple[int, ...] | None = None
    successor: str | None = None
    restart_bound: bool = False
    secret: bool = False
    fixed_since: tuple[int, ...] | None = None
    fixed_value: Any = None


MEDIA_KINDS = ("audio", "document", "image", "sticker", "video", "voice")

READ_ONLY = frozenset({"wa_id"})

KEYS: Mapping[str, Key] = {
    "callback_backoff_delay_ms": Key(Kind.MILLISECONDS, 3000),
    "max_callback_backoff_delay_ms": Key(Kind.MILLISECONDS, 900000),
    "callback_persist": Key(Kind.BOOLEAN, True, restart_bound=True),
    "heartbeat_interval": Key(Kind.COUNT, 5),
    "unhealthy_interval": Key(Kind.COUNT, 30),
    "media.auto_download": Key(Kind.TEXT_SET, list(MEDIA_KINDS), Certainty.LIKELY, choices=MEDIA_KINDS),
    "webhooks.url": Key(Kind.URL, "", Certainty.LIKELY, secret=True),
    "webhooks.max_concurrent_requests": Key(Kind.COUNT, 6, choices=(6, 12, 18, 24), restart_bound=True),
    "webhooks.message.sent": Key(Kind.BOOLEAN, True, since=(2, 41, 2)),
    "webhooks.message.delivered": Key(Kind.BOOLEAN, True, since=(2, 41, 2)),
    "webhooks.message.read": Key(Kind.BOOLEAN, True, since=(2, 41, 2)),
    "notify_user_change_number": Key(Kind.BOOLEAN, None, Certainty.UNKNOWN),
    "show_security_notifications": Key(Kind.BOOLEAN, False),
    "axolotl_context_striping_disabled": Key(Kind.BOOLEAN, False, since=(2, 25), restart_bound=True),
    "skip_referral_media_download": Key(Kind.BOOLEAN, False),
    "garbagecollector_enable.messages": Key(Kind.BOOLEAN, True, since=(2, 49, 1), restart_bound=True),
    "garbagecollector_enable.media": Key(Kind.BOOLEAN, False, since=(2, 49, 1), restart_bound=True),
    "db_garbagecollector_enable": Key(
        Kind.BOOLEAN,
        True,
        Certainty.LIKELY,
        deprecated=(2, 49),
        successor="garbagecollector_enable.messages",
        restart_bound=True,
    ),
    "verbose_logging": Key(Kind.BOOLEAN, False, since=(2, 51, 1), restart_bound=True),
    "log_level": Key(
        Kind.TEXT, "info", choices=("info", "warning", "error", "fatal"), since=(2, 51, 1), restart_bound=True
    ),
    "pass_through": Key(Kind.BOOLEAN, False, restart_bound=True, fixed_since=(2, 35), fixed_value=True),
    "sent_status": Key(Kind.BOOLEAN, None, Certainty.UNKNOWN, deprecated=(0,), successor="webhooks.message.sent"),
    "webhook_payload_conversation_pricingmodel_disabled": Key(Kind.BOOLEAN, False, deprecated=(2, 39)),
}

RESTART_BOUND = tuple(sorted(name for name, key in KEYS.items() if key.restart_bound))
