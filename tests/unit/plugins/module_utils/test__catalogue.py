# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One fact, one place: the catalogue against the module's documentation, its argument spec and the emulator's table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from ansible_collections.wabiz.onprem.plugins.module_utils import _settings
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import (
    KEYS,
    READ_ONLY,
    RESTART_BOUND,
    Certainty,
    Key,
    Kind,
)
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import show_version
from ansible_collections.wabiz.onprem.plugins.modules import wa_application_settings
from wabiz_emulator import settings as emulated

DOCUMENTATION = yaml.safe_load(wa_application_settings.DOCUMENTATION)
SPEC = _settings.application_settings_spec()
# The emulator has a default for every key, also for those of which the sources disagree.
EMULATED_KINDS = {
    "boolean": Kind.BOOLEAN,
    "delay": Kind.MILLISECONDS,
    "integer": Kind.COUNT,
    "words": Kind.TEXT_SET,
    "url": Kind.URL,
    "choice": Kind.TEXT,
}


def options(level: Mapping[str, Any], below: str, above: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Dotted name, entry and text of every option that is no group; the text is the groups' and its own."""
    for name, entry in level.items():
        text = above + " ".join(lines(entry)) + " "
        if below in entry:
            for inner, leaf, whole in options(entry[below], below, text):
                yield f"{name}.{inner}", leaf, whole
        else:
            yield name, entry, text


def lines(entry: Mapping[str, Any]) -> list[str]:
    description = entry.get("description", [])
    return [description] if isinstance(description, str) else list(description)


DOCUMENTED = {
    name: (entry, text)
    for name, entry, text in options(DOCUMENTATION["options"]["settings"]["suboptions"], "suboptions")
}
# With the webhook group, which the module's own spec leaves to read_settings.
SPECIFIED = {name: entry for name, entry, _text in options(_settings._options_of_settings(), "options")}


def test_every_key_is_documented_and_specified_and_nothing_else_is() -> None:
    assert list(DOCUMENTED) == list(SPECIFIED) == list(KEYS)
    assert not READ_ONLY & set(KEYS)


@pytest.mark.parametrize(("name", "key"), KEYS.items())
def test_documentation_and_spec_say_the_same(name: str, key: Key) -> None:
    entry, _text = DOCUMENTED[name]
    said = {attribute: entry[attribute] for attribute in ("type", "elements", "choices") if attribute in entry}
    assert said == {attribute: value for attribute, value in SPECIFIED[name].items() if attribute != "no_log"}
    assert SPECIFIED[name].get("no_log", False) == key.secret
    assert "default" not in entry, "what is not named is left alone"


@pytest.mark.parametrize(("name", "key"), KEYS.items())
def test_the_text_of_the_documentation_says_what_the_catalogue_says(name: str, key: Key) -> None:
    entry, text = DOCUMENTED[name]
    assert ("Takes effect when the Coreapp is restarted." in text) == key.restart_bound
    default = re.findall(r"Default of the client is V\((.*?)\)", text)
    certain = key.certainty is Certainty.CERTAIN
    assert default == ([str(key.default).lower()] if certain else [])
    assert ("Sources disagree about the default" in text) == (key.certainty is Certainty.UNKNOWN)
    assert re.findall(r"From\s+client\s+version\s+(\d[\d.]*\d)", text) == (
        [show_version(key.since)] if key.since else []
    )
    assert ("Deprecated" in text) == (key.deprecated is not None)
    if key.deprecated is not None and key.deprecated != (0,):
        assert f"Deprecated from client version {show_version(key.deprecated)}" in text
    if key.successor:
        assert f"O(settings.{key.successor})" in text
    if key.fixed_since:
        assert f"Cannot be switched on from client version {show_version(key.fixed_since)} on" in text
    if key.kind in (Kind.MILLISECONDS, Kind.COUNT) and not key.choices:
        assert "A positive whole number" in text
    if key.kind is Kind.MILLISECONDS:
        assert text.startswith("Milliseconds")
    assert lines(entry)


def test_the_default_of_restart_bound_is_the_documented_union() -> None:
    assert (
        SPEC["restart_bound"]["default"] == DOCUMENTATION["options"]["restart_bound"]["default"] == list(RESTART_BOUND)
    )
    # settings.md, "Restart list": prose and table together.
    assert {name.split(".")[0] for name in RESTART_BOUND if not name.startswith("webhooks.")} == {
        "callback_persist",
        "garbagecollector_enable",
        "verbose_logging",
        "log_level",
        "axolotl_context_striping_disabled",
        "db_garbagecollector_enable",
        "pass_through",
    }
    assert [name for name in RESTART_BOUND if name.startswith("webhooks.")] == ["webhooks.max_concurrent_requests"]


def test_the_emulator_reads_the_reference_in_the_same_way() -> None:
    # The page has dropped some keys, long before any version that somebody may still run.
    witness = {".".join(path): key for path, key in emulated.KEYS.items() if not key.until}
    assert set(witness) == set(KEYS)
    for name, key in KEYS.items():
        other = witness[name]
        assert EMULATED_KINDS[other.kind] is key.kind, name
        assert other.restart == key.restart_bound, name
        assert tuple(other.since) == (key.since or ()), name
        assert set(other.choices) == set(key.choices), name
        if key.certainty is not Certainty.UNKNOWN:
            assert (sorted(other.default) if isinstance(other.default, list) else other.default) == key.default, name
    assert KEYS["pass_through"].fixed_since == emulated.PASS_THROUGH_ENDS


@pytest.mark.parametrize(("name", "key"), KEYS.items())
def test_a_row_makes_sense(name: str, key: Key) -> None:
    if key.choices:
        defaults = key.default if isinstance(key.default, list) else [key.default]
        assert set(defaults) <= set(key.choices)
        assert len(set(key.choices)) == len(key.choices)
    assert (key.default is None) == (key.certainty is Certainty.UNKNOWN)
    assert key.successor is None or (key.successor in KEYS and key.deprecated is not None)
    assert (key.fixed_since is None) == (key.fixed_value is None)
    assert all(part.isidentifier() for part in name.split("."))
