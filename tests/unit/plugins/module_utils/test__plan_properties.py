# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds of every plan, for random settings of the client and random declarations.

The number of examples comes from the hypothesis profile (see tests/unit/conftest.py).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import assume, event, given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.module_utils import _plan, _secrets
from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS, MEDIA_KINDS, Certainty, Key, Kind

Settings = dict[str, Any]
SettingPath = tuple[str, ...]

PATHS: Mapping[SettingPath, Key] = {tuple(name.split(".")): key for name, key in KEYS.items()}
NEWEST = (2, 57, 2)


# --- a model of the server: what settings.md and the API notes (2.1 to 2.4) leave possible -----------------------


@dataclass
class Server:
    """Stored settings behind GET, PATCH and DELETE. Nothing of the code under test is used here."""

    stored: Settings
    nested: str  # merge or replace, for members that a PATCH does not name
    unreported: frozenset[str]  # top-level keys that GET leaves out
    delays_as_strings: bool

    def get(self) -> Settings:
        shown = {name: copy.deepcopy(value) for name, value in self.stored.items() if name not in self.unreported}
        for name in ("callback_backoff_delay_ms", "max_callback_backoff_delay_ms"):
            if name in shown and self.delays_as_strings:
                shown[name] = str(shown[name])
        return shown

    def patch(self, body: Settings) -> None:
        assert body, "an empty PATCH"
        assert "wa_id" not in body, "wa_id is read-only"
        body = copy.deepcopy(body)
        for name in ("callback_backoff_delay_ms", "max_callback_backoff_delay_ms"):
            if name in body:
                assert isinstance(body[name], str), "the documented type of a delay is a string"
                body[name] = int(body[name])
        self.stored = merged(self.stored, body) if self.nested == "merge" else {**self.stored, **body}

    def delete(self) -> None:
        kept = {name: value for name, value in self.stored.items() if (name,) not in PATHS and name not in GROUPS}
        defaults: Settings = {"wa_id": "4930"}
        for path, default in DEFAULTS.items():
            put(defaults, path, copy.deepcopy(default))
        self.stored = {**kept, **defaults}


GROUPS = frozenset(path[0] for path in PATHS if len(path) > 1)
# A client has a default for the keys, too, of which the sources disagree.
DEFAULTS = {path: True if key.certainty is Certainty.UNKNOWN else key.default for path, key in PATHS.items()}


def merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{name: merged(base.get(name), value) for name, value in changes.items()}}


def put(settings: Settings, path: SettingPath, value: Any) -> None:
    for name in path[:-1]:
        settings = settings.setdefault(name, {})
    settings[path[-1]] = value


def leaves(settings: Mapping[str, Any], above: SettingPath = ()) -> dict[SettingPath, Any]:
    found: dict[SettingPath, Any] = {}
    for name, value in settings.items():
        found.update(leaves(value, (*above, name)) if isinstance(value, dict) and value else {(*above, name): value})
    return found


def means(path: SettingPath, value: Any) -> Any:
    """What a value says, whatever its form."""
    key = PATHS.get(path)
    if key is not None and key.kind in (Kind.COUNT, Kind.MILLISECONDS):
        return int(value)
    if key is not None and key.kind is Kind.TEXT_SET:
        return frozenset(value)
    return value


def meaning(settings: Mapping[str, Any]) -> dict[SettingPath, Any]:
    return {path: means(path, value) for path, value in leaves(settings).items()}


# --- random settings ---------------------------------------------------------------------------------------------

# Hypothesis knows the mask from the source, and that is never a value that can be meant.
odd_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=7)
secret_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="*"), min_size=4, max_size=12
)
json_values = st.none() | st.booleans() | st.integers(-9, 9) | odd_text | st.lists(st.integers(0, 3), max_size=2)
unknown_names = st.sampled_from(["new_key", "newer_key", "new.key", "x_token"])


@st.composite
def webhook_urls(draw: st.DrawFn) -> str:
    user_info = draw(st.just("") | secret_text.map(lambda text: quote(text, safe=":") + "@"))
    query = draw(st.just("") | secret_text.map(lambda text: "?auth=" + text))
    fragment = draw(st.just("") | secret_text.map(lambda text: "#" + text))
    return f"https://{user_info}h{draw(st.integers(0, 2))}.example.com/wa{query}{fragment}"


def values_of(key: Key) -> st.SearchStrategy[Any]:
    """Values as they are declared; a client stores those of delays as integers."""
    if key.kind is Kind.BOOLEAN:
        return st.booleans()
    if key.kind is Kind.TEXT_SET:
        return st.lists(st.sampled_from(MEDIA_KINDS), max_size=8)
    if key.kind is Kind.URL:
        return st.just("") | webhook_urls()
    if key.choices:
        return st.sampled_from(key.choices)
    return st.sampled_from([key.default, 1, 7, 86_400_000])


@st.composite
def known_settings(draw: st.DrawFn) -> Settings:
    settings: Settings = {}
    for path in draw(st.sets(st.sampled_from(sorted(PATHS)), max_size=12)):
        put(settings, path, draw(values_of(PATHS[path])))
    return settings


# Below an unknown name there is either always an object or never one, as in an API with types.
unknown_objects = st.dictionaries(st.sampled_from(["a", "b", "x_token"]), json_values, max_size=3)
unknown_settings = st.builds(
    lambda flat, deep: {**flat, **{f"{name}_object": value for name, value in deep.items()}},
    st.dictionaries(unknown_names, json_values, max_size=2),
    st.dictionaries(unknown_names, unknown_objects, max_size=2),
)
unknown_members = st.dictionaries(st.sampled_from(["webhooks", "media"]), unknown_objects, max_size=2)


@st.composite
def servers(draw: st.DrawFn) -> Server:
    everything: Settings = {}
    for path, default in DEFAULTS.items():
        put(everything, path, copy.deepcopy(default))
    stored = merged(merged(merged(everything, draw(known_settings())), draw(unknown_settings)), draw(unknown_members))
    # An older client lacks keys altogether.
    for name in draw(st.sets(st.sampled_from(sorted(stored)), max_size=6)):
        del stored[name]
    return Server(
        {**stored, "wa_id": "4930"},
        draw(st.sampled_from(["merge", "replace"])),
        frozenset(draw(st.sets(st.sampled_from(sorted({*stored, "wa_id"})), max_size=6))),
        draw(st.booleans()),
    )


@st.composite
def declared(draw: st.DrawFn) -> Settings:
    """Known settings in the forms in which people write them."""
    settings = draw(known_settings())
    for name in ("callback_backoff_delay_ms", "max_callback_backoff_delay_ms", "heartbeat_interval"):
        if name in settings and draw(st.booleans()):
            settings[name] = str(settings[name])
    return settings


declarations = st.builds(
    _plan.read_declaration,
    declared(),
    st.builds(lambda top, members: {**top, **members}, unknown_settings, unknown_members),
)


def carry_out(plan: _plan.Plan, server: Server) -> None:
    if plan.delete:
        server.delete()
    elif plan.patch:
        server.patch(plan.patch)


def named(path: SettingPath, declaration: _plan.Declaration) -> bool:
    return any(path[: len(leaf)] == leaf for leaf in declaration.leaves())


# --- what holds --------------------------------------------------------------------------------------------------


@given(servers(), declarations)
def test_present_yields_the_declaration_and_changes_nothing_else(
    server: Server, declaration: _plan.Declaration
) -> None:
    before, reported = copy.deepcopy(server.stored), server.get()
    plan = _plan.plan(reported, declaration)
    event(f"writes: {plan.writes}, {server.nested}")
    carry_out(plan, server)
    after = meaning(server.stored)
    for path, value in declaration.leaves().items():
        if path in plan.sent:
            assert after[path] == means(path, value)
        elif not _plan.reports(reported, path):
            assert value == (PATHS[path].default if path in PATHS else {})
        elif path in PATHS:
            assert after[path] == means(path, value)
        elif value != {}:
            # Nothing tells the type of an unknown key: "5" and 5 are taken for the same.
            assert str(after[path]).lower() == str(value).lower()
    # A group that GET hides as a whole cannot be sent complete: nothing is known of its other members.
    hidden = {path[0] for path in plan.sent if path[0] not in reported and len(path) > 1}
    blind = hidden if server.nested == "replace" else set()
    old = meaning(before)
    for path, value in old.items():
        if path not in plan.sent and path[0] not in blind and (value != {} or path in after):
            assert after[path] == value
    assert all(path in old or named(path, declaration) for path in after)


@given(servers(), declarations, st.sampled_from(["present", "replaced", "absent"]), st.sampled_from(["send", "skip"]))
def test_planning_again_yields_nothing_and_the_prediction_was_right(
    server: Server, declaration: _plan.Declaration, state: str, unreported: str
) -> None:
    reported = server.get()
    plan = _plan.plan(reported, declaration, state, unreported)
    assert plan.before == _plan.canonical_settings(reported)
    assert plan.writes == bool(plan.changed)
    assert set(plan.restart) == {name for name in plan.changed if name in KEYS and KEYS[name].restart_bound}
    carry_out(plan, server)
    again = _plan.plan(server.get(), declaration, state, unreported)
    hidden = [path for path in declaration.leaves() if path[0] in server.unreported]
    assert all(path in hidden for path in again.sent), "only what is never reported is sent again"
    assert not (unreported == "skip" and again.writes)
    assert _plan.not_taken_over(plan.sent, server.get()) == []
    if state != "absent":
        unverified = {path[0] for path in plan.sent if ".".join(path) in plan.unverified}
        after = {name: value for name, value in plan.after.items() if name not in unverified}
        truth = {
            name: value for name, value in _plan.canonical_settings(server.get()).items() if name not in unverified
        }
        assert after == truth


@given(servers(), declarations)
def test_replaced_ends_at_the_declaration_or_the_certain_default(
    server: Server, declaration: _plan.Declaration
) -> None:
    before, reported = server.get(), _plan.canonical_settings(server.get())
    carry_out(
        _plan.plan(before, declaration, "replaced", version=NEWEST if not wants_pass_through(declaration) else None),
        server,
    )
    after = _plan.canonical_settings(server.get())
    for path, key in PATHS.items():
        if path in declaration.known or not _plan.reports(reported, path):
            continue
        restored = key.certainty is Certainty.CERTAIN and key.deprecated is None
        assert _plan.lookup(after, path) == (key.default if restored else _plan.lookup(reported, path))
    for path, value in leaves(reported).items():
        if path not in PATHS and not named(path, declaration) and value != {}:
            assert _plan.lookup(after, path) == value


def wants_pass_through(declaration: _plan.Declaration) -> bool:
    return declaration.known.get(("pass_through",)) is True


@given(servers())
def test_absent_ends_at_the_defaults(server: Server) -> None:
    reported = server.get()
    plan = _plan.plan(reported, _plan.Declaration(), "absent")
    assert plan.patch == {}
    differing = [
        path
        for path, key in PATHS.items()
        if _plan.reports(reported, path)
        and (key.certainty is Certainty.CERTAIN or path == ("webhooks", "url"))
        and means(path, _plan.lookup(reported, path)) != means(path, key.default)
    ]
    assert plan.delete == bool(differing)
    carry_out(plan, server)
    after = meaning(server.get())
    for path, key in PATHS.items():
        if plan.delete and path in after and key.certainty is not Certainty.UNKNOWN:
            assert after[path] == means(path, key.default)
        if plan.delete and _plan.reports(plan.after, path) and key.certainty is not Certainty.UNKNOWN:
            assert means(path, _plan.lookup(plan.after, path)) == means(path, key.default)


@given(servers(), declarations, st.sampled_from(["present", "replaced"]))
def test_a_patch_holds_the_changed_keys_complete_and_nothing_else(
    server: Server, declaration: _plan.Declaration, state: str
) -> None:
    reported = server.get()
    plan = _plan.plan(reported, declaration, state)
    assert set(plan.patch) == {path[0] for path in plan.sent}
    body = leaves(plan.patch)
    for path, value in leaves(reported).items():
        if path[0] in plan.patch and path not in plan.sent and value != {}:
            assert body[path] == value
    assert set(plan.sent) <= set(declaration.leaves()) | {path for path in PATHS if _plan.reports(reported, path)}


# --- secrets -----------------------------------------------------------------------------------------------------

# Letters that occur nowhere else, so that finding them means a leak.
canaries = st.text("ЖЩЮЯ", min_size=4, max_size=8)
noise = st.text(st.sampled_from(list("ab1 /:@?#&=%+.;,[]'\"<>\\\t\n\u200b")), max_size=6)


@st.composite
def leaky_urls(draw: st.DrawFn, canary: str) -> str:
    """A URL with the canary as password, query or fragment, among odd characters; it may not follow the grammar."""
    where = draw(st.sampled_from(["password", "user", "query", "fragment", "quoted"]))
    odd, more = draw(noise), draw(noise)
    user_info, tail = "", ""
    if where == "password":
        user_info = f"me:{odd}{canary}{more}@"
    elif where == "user":
        user_info = f"{canary}@"
    elif where == "query":
        tail = f"?{odd}{canary}{more}"
    elif where == "fragment":
        tail = f"#{odd}{canary}{more}"
    else:
        tail = f"?auth={quote(odd + canary)}"
    port = draw(st.sampled_from(["", ":9090"]))
    return f"https://{user_info}h.example.com{port}/{draw(st.sampled_from(['', 'wa', 'a:b']))}{tail}"


@st.composite
def leaks(draw: st.DrawFn) -> tuple[str, str]:
    canary = draw(canaries)
    return canary, draw(leaky_urls(canary))


def shows(canary: str, text: str) -> bool:
    return canary in text or quote(canary) in text or any(letter in text for letter in "ЖЩЮЯ")


@given(leaks(), noise)
def test_no_form_of_masking_lets_a_secret_through(leak: tuple[str, str], before: str) -> None:
    canary, url = leak
    settings = {
        "webhooks": {"url": url},
        "callback": url,
        "list": [{"address": url}],
        "password": canary,
        "tokens": [canary, {"deep": canary}],
    }
    assert not shows(canary, repr(_secrets.mask(settings)))
    echoes = [url, canary, f"{before} {url}", f"{before}{canary}", f"value '{url}' of webhooks.url"]
    for echo in echoes:
        line = _secrets.scrub(f"HTTP 400, error 1009: {echo}", _secrets.find_secrets(settings))
        assert not shows(canary, line)
        assert line.isprintable()


@given(leaks(), leaks(), st.sampled_from(["present", "replaced", "absent"]))
def test_a_diff_shows_that_a_secret_changed_but_not_the_secret(
    old: tuple[str, str], new: tuple[str, str], state: str
) -> None:
    current = {"webhooks": {"url": old[1]}, "x_token": old[0], "list": [old[1]]}
    try:
        declaration = _plan.read_declaration(
            {"webhooks": {"url": new[1]}}, {"x_token": new[0], "list": [new[1]], "new": new[1]}
        )
    except _plan.InvalidOptions as refusal:
        assert not shows(new[0], str(refusal))
        assume(False)
    plan = _plan.plan(current, declaration, state)
    unverified = {tuple(name.split(".")): plan.sent[tuple(name.split("."))] for name in plan.unverified}
    diff = _plan.show_diff(plan.before, plan.after, unverified)
    assert not shows(new[0], repr(diff))
    assert not shows(old[0], repr(diff))
    assert (diff["before"] != diff["after"]) == plan.writes
    assert not shows(new[0] + old[0], " ".join(plan.warnings))
