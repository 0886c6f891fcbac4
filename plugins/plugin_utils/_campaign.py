# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Campaigns: what their begin and their end write and remember, and what they keep others from. Pure.

During a campaign the automatic collection of messages is off (settings reference, "Campaigns"). Campaigns of different
names may overlap: the first remembers what was there, and the last that ends puts it back.

This module is private to the collection.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wabiz.onprem.plugins.module_utils._collection import MESSAGE, automatic_collection
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import lookup, parse_version, place, reports
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Refused
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Campaign
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import InvalidVariables

VARIABLES = ("wa_campaign_name", "wa_campaign_collect")
_VALIDATOR = ArgumentSpecValidator(
    {
        "wa_campaign_name": {"type": "str", "default": "campaign"},
        "wa_campaign_collect": {"type": "bool", "default": False},
    }
)
_LONGEST_NAME = 100  # characters


@dataclass(frozen=True)
class Decision:
    """What the begin or the end of a campaign does.

    known: what is on record. recorded: what is on record before anything is written, done: after it. setting, value:
    what is to be written; no setting: nothing. said: for people.
    """

    known: Campaign | None
    recorded: Campaign | None
    done: Campaign | None
    said: str
    setting: str | None = None
    value: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the last campaign ends by it."""
        return self.known is not None and self.done is None


def read_variables(given: Mapping[str, Any]) -> dict[str, Any]:
    """The name of a campaign, and whether to collect at its end; what is None or empty counts as not given.

    Raises InvalidVariables.
    """
    validated = _VALIDATOR.validate({name: value for name, value in given.items() if value not in (None, "")})
    if validated.error_messages:
        raise InvalidVariables(validated.error_messages[0])
    name, collect = (validated.validated_parameters[variable] for variable in VARIABLES)
    # Ansible takes any value for a text.
    is_text = not isinstance(given.get("wa_campaign_name"), (list, dict))
    if not is_text or len(name) > _LONGEST_NAME or not name.isprintable() or not name.strip():
        raise InvalidVariables(f"wa_campaign_name: give a printable name of at most {_LONGEST_NAME} characters")
    return {"name": name, "collect": collect}


def together(found: Iterable[Campaign | None]) -> Campaign | None:
    """What the records of all hosts say. A run that died may have reached some of them only: then it is to be repeated,
    so a campaign is over when no host has it on record any more."""
    known = [campaign for campaign in found if campaign is not None]
    if not known:
        return None
    return replace(known[0], names=tuple(sorted({name for campaign in known for name in campaign.names})))


def begin(known: Campaign | None, name: str, settings: Mapping[str, Any], version: str | None) -> Decision:
    """The begin of a campaign. settings, version: of the client. Raises Refused."""
    setting = _setting(version)
    before = _present(settings, setting)
    if known is None:
        campaign = Campaign(setting, before, (name,))
        said = f"{setting} was {_word(before)}, which is what the end of the last campaign puts back"
    else:
        campaign = replace(known, setting=setting, names=tuple(sorted({*known.names, name})))
        others = _others(known, name)
        said = f"{setting} was {_word(known.before)} before {others or 'it'}"
    has = "is on record already" if known is not None and name in known.names else "begins"
    return Decision(known, campaign, campaign, f"campaign {name} {has}: {said}", setting, False)


def end(known: Campaign | None, name: str, settings: Mapping[str, Any], version: str | None) -> Decision:
    """The end of a campaign. settings, version: of the client. Raises Refused."""
    if known is None or name not in known.names:
        running = f" (on record: {', '.join(known.names)})" if known is not None else ""
        return Decision(known, known, known, f"campaign {name} is not on record{running}, so no setting is changed")
    others = _others(known, name)
    if others:
        left = replace(known, names=tuple(other for other in known.names if other != name))
        return Decision(known, known, left, f"campaign {name} ends: {known.setting} stays off for {others}")
    setting = _setting(version)
    _present(settings, setting)
    said = f"campaign {name} ends: {setting} is {_word(known.before)}, as before"
    return Decision(known, known, None, said, setting, known.before)


def _setting(version: str | None) -> str:
    """What switches the collection on a client of this version. Raises Refused."""
    numbers = parse_version(version)
    if numbers is None:
        raise Refused(
            "the client does not tell its version, so which setting switches its collection is not known. Nothing is "
            "written; say the version with wa_settings_client_version"
        )
    return automatic_collection(numbers, MESSAGE)


def _present(settings: Mapping[str, Any], setting: str) -> bool:
    """The value that the client reports. Raises Refused where it does not."""
    value = lookup(settings, tuple(setting.split(".")))
    if isinstance(value, bool):
        return value
    raise Refused(
        f"the client does not report {setting}, so what was there cannot be remembered and what is written not be "
        "verified; nothing is written"
    )


def _others(known: Campaign, name: str) -> str:
    return ", ".join(other for other in known.names if other != name)


def _word(value: bool) -> str:
    return "on" if value else "off"


# --- what a campaign keeps others from ---------------------------------------------------------------------------


def left_alone(options: Mapping[str, Any], campaign: Campaign) -> dict[str, Any]:
    """The settings module's arguments without a say about the campaign's setting. Raises Refused for a reset."""
    state, path = options.get("state"), tuple(campaign.setting.split("."))
    if state == "absent":
        raise Refused(
            f"campaign {', '.join(campaign.names)} is on record, and a reset would switch {campaign.setting} on. "
            "Nothing is written; end the campaign first (wabiz.onprem.campaign_end)"
        )
    settings = copy.deepcopy(dict(options.get("settings") or {}))
    if state == "replaced":
        place(settings, path, False)  # what is not named goes back to its default
    elif reports(settings, path):
        place(settings, path, None)  # counts as not named
    return {**options, "settings": settings}


def in_words(campaign: Campaign) -> str:
    """What to say where the campaign's setting is left alone."""
    names = ", ".join(campaign.names)
    return (
        f"{campaign.setting} is left alone: campaign {names} is on record. What is declared of it is for the first run "
        "after its end"
    )
