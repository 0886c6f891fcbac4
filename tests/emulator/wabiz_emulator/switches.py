# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from wabiz_emulator.bodies import is_integer

# Settable, but not in the GET samples (reference, sections 2.3 and 2.4). Four of them are in the recorded defaults of
# 2.33.4 (section 12), so a later version dropped each: the one that replaced or ended it, for the referral media the
# first one of the present samples. These versions are guesses.
ABSENT_FROM_SAMPLES = [
    "axolotl_context_striping_disabled",
    "db_garbagecollector_enable@2.49",
    "pass_through@2.35",
    "sent_status@2.41.2",
    "skip_referral_media_download@2.49.1",
    "webhook_payload_conversation_pricingmodel_disabled",
]


# What a text has to look like, where any would be taken and break what reads it.
_FORMS = {
    "client_version": re.compile(r"v?\d{1,4}(\.\d{1,4}){1,3}[-+.\w]*"),
    "www_authenticate": re.compile(r"[ -~]*"),
}
# Seconds, about thirty years: what goes further breaks calendars and clocks.
MOST_SECONDS = 1e9
SHARDS = range(1, 33)


def _about(meaning: str, choices: tuple[Any, ...] = ()) -> dict[str, Any]:
    return {"meaning": meaning, "choices": choices}


@dataclass
class Switches:
    """How one client behaves where the reference leaves it open. Times are in seconds."""

    nested: str = field(
        default="merge",
        metadata=_about("what PATCH does to members of nested objects that are not named", ("merge", "replace")),
    )
    unknown_keys: str = field(
        default="reject", metadata=_about("keys that the client does not know", ("reject", "drop", "keep"))
    )
    wrong_types: str = field(
        default="reject", metadata=_about("values that are not valid for their key", ("reject", "drop", "keep"))
    )
    http_webhooks: str = field(default="reject", metadata=_about("a webhook address with http", ("reject", "accept")))
    unreported: list[str] = field(
        default_factory=ABSENT_FROM_SAMPLES.copy,
        metadata=_about("dotted names that GET leaves out; with @ and a version, from that version on"),
    )
    report_all: bool = field(default=False, metadata=_about("GET reports every key, whatever `unreported` says"))
    delays_in_get: str = field(
        default="integer", metadata=_about("type of the millisecond keys in GET", ("integer", "string"))
    )
    delays_on_write: str = field(
        default="both", metadata=_about("accepted types of the millisecond keys", ("both", "integer", "string"))
    )
    write_answer: str = field(
        default="null", metadata=_about("body after PATCH and DELETE", ("null", "object", "empty", "meta"))
    )
    flat_get: bool = field(
        default=False, metadata=_about("GET without the settings.application wrapper, as some gateways answer")
    )
    client_version: str = field(default="2.57.2", metadata=_about("version that gates the keys"))
    meta: str = field(
        default="version",
        metadata=_about(
            "v2.57.2, 2.57.2, 3.0.1, meta without version, no meta",
            ("version", "bare", "placeholder", "unversioned", "none"),
        ),
    )
    dropped_keys: list[str] = field(
        default_factory=list, metadata=_about("dotted names that are accepted with 200 but not stored")
    )
    default_overrides: dict[str, Any] = field(
        default_factory=dict, metadata=_about("nested settings that replace the documented defaults")
    )
    login: bool = field(
        default=True, metadata=_about("false: a gateway with ready tokens only, the login routes answer 404")
    )
    form_login: bool = field(
        default=True, metadata=_about("the login takes new_password from a form as well as from JSON")
    )
    unauthorized_body: str = field(default="empty", metadata=_about("body of a 401", ("empty", "errors")))
    www_authenticate: str = field(
        default='Basic realm="Secured"', metadata=_about("header WWW-Authenticate of a 401, empty: none")
    )
    demanded_headers: dict[str, str] = field(
        default_factory=dict, metadata=_about("names and values of headers that a gateway in front asks for")
    )
    demanded_headers_status: int = field(
        default=401, metadata=_about("answer where a demanded header is missing or wrong", (401, 403))
    )
    demanded_headers_suffice: bool = field(
        default=False, metadata=_about("who sends them is admin: no Authorization needed, none looked at")
    )
    absent_certificate: str = field(
        default="errors", metadata=_about("body of the 404 of a certificate", ("errors", "empty"))
    )
    token_seconds: float = field(default=604800.0, metadata=_about("life of a token"))
    wa_id: str = field(default="49301234567", metadata=_about("the registered number, in GET only"))
    expires_on: str = field(
        default="", metadata=_about("day on which the build expires, YYYY-MM-DD; empty: its full life from today")
    )
    shards: int = field(default=1, metadata=_about("1 in a cluster: high availability; more: multiconnect"))
    connect_seconds: float = field(default=0.5, metadata=_about("time from start or promotion to connected"))
    uninitialized_seconds: float = field(
        default=0.0, metadata=_about("time after a start in which a node is uninitialized")
    )
    unregistered: bool = field(
        default=False, metadata=_about("no phone number is registered: health says so, wa_id is empty")
    )
    heartbeat_timeout: float = field(
        default=3.0, metadata=_about("silence after which the others take a node for dead")
    )
    gone_nodes: str = field(
        default="omit", metadata=_about("stopped and dead nodes in the health of a cluster", ("omit", "disconnected"))
    )

    def changed(self, changes: Any) -> Switches:
        """A copy with `changes` (name → value); ValueError names an unknown switch or a value that does not fit."""
        if not isinstance(changes, Mapping):
            raise ValueError("switches: a JSON object expected")
        known = {each.name: each for each in fields(self)}
        accepted: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown switch {name}")
            current = getattr(self, name)
            least = -MOST_SECONDS if name == "token_seconds" else 0
            if isinstance(current, float) and type(value) in (int, float) and not least <= value <= MOST_SECONDS:
                raise ValueError(f"switch {name}: {least:.0f} to {MOST_SECONDS:.0f} seconds expected")
            fitting = float(value) if isinstance(current, float) and is_integer(value) else value
            if type(fitting) is not type(current):
                raise ValueError(f"switch {name}: {type(current).__name__} expected")
            choices = known[name].metadata["choices"]
            if choices and fitting not in choices:
                raise ValueError(f"switch {name}: one of {', '.join(map(str, choices))} expected")
            form = _FORMS.get(name)
            if form is not None and not form.fullmatch(str(fitting)):
                raise ValueError(f"switch {name}: {known[name].metadata['meaning']} expected")
            problem = _problem(name, fitting)
            if problem:
                raise ValueError(f"switch {name}: {problem} expected")
            # A leading v would be there twice in answers.
            accepted[name] = str(fitting).removeprefix("v") if name == "client_version" else fitting
        return replace(self, **accepted)


def _problem(name: str, value: Any) -> str | None:
    """What would be expected of a value that has the switch's type and still breaks what reads it."""
    if name in ("unreported", "dropped_keys") and not all(isinstance(member, str) for member in value):
        return "a list of texts"
    if name == "demanded_headers" and not all(isinstance(member, str) for member in value.values()):
        return "an object of texts"
    if name == "shards" and value not in SHARDS:
        return f"{SHARDS[0]} to {SHARDS[-1]}"
    if name == "expires_on" and value:
        try:
            day = datetime.date.fromisoformat(value)
        except ValueError:
            day = datetime.date.min
        # What is earlier has no time stamp.
        if day.year < 1970 or len(value) != len("YYYY-MM-DD"):
            return "a day as YYYY-MM-DD"
    return None


def from_text(assignments: list[str]) -> dict[str, Any]:
    """Command line form `name=value`; the value is JSON where it parses as the switch's type, else a plain string."""
    types = {each.name: type(getattr(Switches(), each.name)) for each in fields(Switches)}
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"NAME=VALUE expected, found {assignment}")
        try:
            changes[name] = text if types.get(name) is str else json.loads(text)
        except ValueError:
            raise ValueError(f"switch {name}: JSON expected") from None
    return changes
