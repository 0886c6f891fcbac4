# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    COREAPP,
    MASTER,
    Campaign,
    Lease,
    Node,
    Pending,
    Record,
    Sent,
    Unreadable,
    Whose,
    begin_restart,
    demand,
    file_name,
    has_started_since,
    highest,
    is_same,
    may_take,
    note_written,
    others_record,
    parse,
    render,
    settle,
    tidy,
    under_present_names,
    unknown,
    withdraw,
)

NAMES = st.sampled_from(["wacore1", "wacore2", "wamaster"])
TEXTS = st.text(max_size=8)
COUNTS = st.integers(0, 5)
NODES = st.builds(
    Node,
    name=NAMES,
    id=st.sampled_from(["", "id1", "id2"]),
    kind=st.sampled_from([COREAPP, MASTER]),
    running=st.booleans(),
    incarnation=st.sampled_from(["", "1", "2"]),
)
ENTRIES = st.builds(Pending, name=NAMES, id=TEXTS, kind=TEXTS, generation=COUNTS, incarnation=TEXTS, unit=TEXTS)
LEASES = st.builds(
    Lease,
    token=TEXTS,
    run=TEXTS,
    controller=TEXTS,
    machine=TEXTS,
    process=TEXTS,
    since=TEXTS,
    seconds=st.floats(0, 1e6),
    renewal=COUNTS,
)
SENT = st.builds(Sent, salt=TEXTS, version=st.none() | TEXTS, digests=st.dictionaries(TEXTS, TEXTS, max_size=2))
RECORDS = st.builds(
    Record,
    cluster=TEXTS,
    host=TEXTS,
    client=TEXTS,
    generation=COUNTS,
    noted=COUNTS,
    recorded=TEXTS,
    nodes=st.lists(ENTRIES, max_size=3).map(tuple),
    settings=st.lists(TEXTS, max_size=2).map(tuple),
    returning=st.none() | ENTRIES,
    connected_before=st.none() | COUNTS,
    elsewhere=st.lists(TEXTS, max_size=2).map(tuple),
    lease=st.none() | LEASES,
    sent=st.none() | SENT,
    campaign=st.none() | st.builds(Campaign, TEXTS, st.booleans(), st.lists(TEXTS, max_size=2).map(tuple)),
).map(lambda record: replace(record, generation=max(record.generation, record.noted)))
CAMPAIGN = Campaign("garbagecollector_enable.messages", True, ("spring",))
LEASE = Lease("token", "run", "box", "boot", "7/99", "now", 60.0)


def coreapp(name: str = "wacore1", **facts: Any) -> Node:
    return Node(name, **{"id": f"id of {name}", "incarnation": "1", **facts})


def demanded(record: Record, *nodes: Node, **facts: Any) -> Record:
    given_facts: dict[str, Any] = {"settings": ["axolotl"], "recorded": "now", "connected_before": 2, **facts}
    return demand(record, nodes, **given_facts)


EMPTY = Record("c", "h")


# --- the file ----------------------------------------------------------------------------------------------------


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert parse(render(record), record.cluster, record.host) == record


@pytest.mark.parametrize(
    ("cluster", "host", "name"),
    [
        ("c", "h", "c@h.json"),
        ("a/b", "..", "a%2Fb@...json"),
        ("a@b", "c", "a%40b@c.json"),
        ("a", "b@c", "a@b%40c.json"),
        ("ü", "h h", "%C3%BC@h%20h.json"),
    ],
)
def test_file_names(cluster: str, host: str, name: str) -> None:
    assert file_name(cluster, host) == name


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_two_records_never_share_a_file(cluster: str, host: str, other: str, other_host: str) -> None:
    assert (file_name(cluster, host) == file_name(other, other_host)) == ((cluster, host) == (other, other_host))
    assert "/" not in file_name(cluster, host)


@pytest.mark.parametrize(("length", "is_long"), [(199, False), (200, True)])
def test_long_names_are_shortened_to_what_a_file_system_takes(length: int, is_long: bool) -> None:
    name = file_name("c" * (length - 1), "h")
    assert (len(name) == 64 + len(".json")) == is_long
    assert len(name.encode()) <= 255


BROKEN: list[tuple[str, Any, str]] = [
    ("cluster", 1, "lacks a text"),
    ("cluster", "d", "it belongs to h of cluster d"),
    ("host", "i", "it belongs to i of cluster c"),
    ("format", 1, "format is not known"),
    ("generation", True, "lacks a number"),
    ("generation", -1, "lacks a number"),
    ("noted", "1", "lacks a number"),
    ("recorded", None, "lacks a text"),
    ("nodes", {}, "lacks a list"),
    ("nodes", ["a"], "not an object"),
    ("nodes", [{"name": "a"}], "id is missing"),
    ("settings", [1], "lacks a text"),
    ("returning", [], "not an object"),
    ("connected_before", "2", "lacks a number"),
    ("elsewhere", "h", "lacks a list"),
    ("lease", [], "lacks an object"),
    ("lease", {"token": "t"}, "is missing"),
    ("sent", {"salt": 1, "version": None, "digests": {}}, "salt in it is of the wrong kind"),
    ("sent", {"salt": "s", "version": None, "digests": []}, "digests in it is of the wrong kind"),
    ("campaign", [], "an object where one is expected"),
    ("campaign", {"setting": "s", "before": True}, "names is missing"),
    ("campaign", {"setting": "s", "before": None, "names": []}, "before in it is of the wrong kind"),
    ("campaign", {"setting": "s", "before": True, "names": [1]}, "a text where one is expected"),
]


@pytest.mark.parametrize(("name", "value", "said"), BROKEN)
def test_what_makes_no_sense_is_no_record(name: str, value: Any, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        parse(json.dumps({**json.loads(render(EMPTY)), name: value}), "c", "h")


@pytest.mark.parametrize("name", sorted({*json.loads(render(EMPTY))} - {"format", "campaign"}))
def test_a_record_without_a_member_is_none(name: str) -> None:
    found = json.loads(render(EMPTY))
    del found[name]
    with pytest.raises(Unreadable, match=f"{name} is missing"):
        parse(json.dumps(found), "c", "h")


def test_a_record_from_before_campaigns_has_none() -> None:
    found = json.loads(render(EMPTY))
    del found["campaign"]
    assert parse(json.dumps(found), "c", "h") == EMPTY


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", "1"])
def test_what_is_no_json_object_is_no_record(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text, "c", "h")


# --- the lease ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lease", "token", "gone", "unchanged", "may"),
    [
        (None, "other", False, 0, True),
        (LEASE, "token", False, 0, True),
        (LEASE, "other", False, 0, False),
        (LEASE, "other", True, 0, True),
        (LEASE, "other", False, 59.9, False),
        (LEASE, "other", False, 60.0, True),
    ],
)
def test_who_may_take_a_lease(lease: Lease | None, token: str, gone: bool, unchanged: float, may: bool) -> None:
    assert may_take(lease, token, gone, unchanged) is may


def test_a_lease_names_its_holder_to_people() -> None:
    assert "box (process 7, since now)" in str(LEASE)


# --- demands and what pays for them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Node("a", "1"), Pending("a", "2"), True),
        (Node("a", "1"), Pending("b", "1"), True),
        (Node("a", ""), Pending("b", ""), False),
        (Node("a", "1"), Pending("b", "2"), False),
    ],
)
def test_which_node_is_the_same(one: Node, other: Pending, same: bool) -> None:
    assert is_same(one, other) is same


@pytest.mark.parametrize(
    ("noted", "now", "running", "started"),
    [
        ("1", "2", True, True),
        ("1", "1", True, False),
        ("", "2", True, False),
        ("1", "", True, False),
        ("1", "2", False, False),
    ],
)
def test_what_proves_a_start(noted: str, now: str, running: bool, started: bool) -> None:
    assert has_started_since(Pending("a", incarnation=noted), Node("a", incarnation=now, running=running)) is started


def test_a_demand_is_written_down() -> None:
    record = demanded(EMPTY, coreapp("b"), coreapp("a", unit="deployment"), elsewhere=["z", "y"])
    assert record == Record(
        "c",
        "h",
        generation=1,
        recorded="now",
        nodes=(Pending("a", "id of a", COREAPP, 1, "1", "deployment"), Pending("b", "id of b", COREAPP, 1, "1")),
        settings=("axolotl",),
        connected_before=2,
        elsewhere=("y", "z"),
    )
    assert record.is_pending
    assert record.waits


def test_a_second_demand_keeps_what_was_there() -> None:
    first = note_written(demanded(EMPTY, coreapp("a"), coreapp("b")), [coreapp("a"), coreapp("b")])
    second = demanded(first, coreapp("b"), settings=["beaver"], recorded="later", connected_before=1, elsewhere=["z"])
    assert [(entry.name, entry.generation) for entry in second.nodes] == [("a", 1), ("b", 2)]
    assert (second.settings, second.recorded, second.connected_before) == (("axolotl", "beaver"), "now", 2)
    assert (second.generation, second.noted) == (2, 1)


def test_a_demand_that_names_no_node_is_pending_until_it_is_noted() -> None:
    record = demanded(EMPTY)
    assert record.is_pending
    assert not note_written(record, []).is_pending
    assert [entry.name for entry in note_written(record, [coreapp("a")]).nodes] == ["a"]


def test_what_runs_after_the_writing_has_to_restart_and_what_is_stopped_has_not() -> None:
    record = demanded(EMPTY, coreapp("a"), coreapp("b"))
    now = [coreapp("a", incarnation="2"), coreapp("b", running=False), coreapp("new"), coreapp("m", kind=MASTER)]
    noted = note_written(record, now, 3)
    assert [(entry.name, entry.incarnation) for entry in noted.nodes] == [("a", "2"), ("new", "1")]
    assert (noted.noted, noted.connected_before) == (1, 3)


def test_masters_are_noted_only_where_the_demand_is_about_them() -> None:
    master = coreapp("m", kind=MASTER)
    record = note_written(demanded(EMPTY, coreapp("a"), master), [coreapp("a"), master])
    assert [entry.name for entry in record.nodes] == ["a", "m"]
    later = note_written(demanded(record, coreapp("a")), [coreapp("a"), replace(master, incarnation="2")])
    assert [(entry.name, entry.generation, entry.incarnation) for entry in later.nodes] == [
        ("a", 2, "1"),
        ("m", 1, "1"),
    ]


def test_a_withdrawn_demand_leaves_what_was_there_before() -> None:
    before = note_written(demanded(EMPTY, coreapp("a")), [coreapp("a")])
    after = withdraw(demanded(before, coreapp("b"), settings=["x"], connected_before=9, elsewhere=["z"]), before)
    assert after == replace(before, generation=2, noted=2)
    assert withdraw(demanded(EMPTY, coreapp("a")), EMPTY) == replace(EMPTY, generation=1, noted=1)


def test_a_restart_pays_for_the_demands_up_to_its_own() -> None:
    record = note_written(demanded(EMPTY, coreapp("a"), coreapp("b")), [coreapp("a"), coreapp("b")])
    begun = begin_restart(record, coreapp("a"))
    assert begun.returning == Pending("a", "id of a", COREAPP, 1, "1")
    settled = settle(begun, coreapp("a", incarnation="2"), 1)
    assert (settled.returning, [entry.name for entry in settled.nodes]) == (None, ["b"])
    later = demanded(begun, coreapp("a"))
    assert [entry.name for entry in settle(later, coreapp("a"), 1).nodes] == ["a", "b"]
    assert settle(later, coreapp("a"), 1).returning is None
    assert settle(begun, coreapp("b"), 1).returning == begun.returning


@pytest.mark.parametrize(
    ("now", "pending", "returning"),
    [
        # The same names; one that takes another's place.
        ([Node("a"), Node("gone")], ["a", "gone"], "gone"),
        ([Node("a"), Node("b")], ["a", "b", "gone"], "b"),
        # What has another name has not restarted.
        ([Node("new")], ["a", "gone", "new"], "new"),
        ([Node("a"), Node("new")], ["a", "gone", "new"], "new"),
        # Health did not list it, so nobody knew that it was a master's.
        ([Node("new", kind=MASTER)], ["a", "gone", "new"], "new"),
        ([Node("x"), Node("y")], ["a", "gone", "x", "y"], None),
        # What has no node any more is for whoever takes it off.
        ([], ["a", "gone"], "gone"),
    ],
)
def test_what_was_pending_under_other_names_is_pending_for_the_nodes_of_now(
    now: list[Node], pending: list[str], returning: str | None
) -> None:
    record = demand(Record("c", "h"), [Node("a"), Node("gone")], settings=["x"], recorded="", connected_before=1)
    record = replace(record, noted=record.generation, returning=Pending("gone", listed="gone"))
    found = under_present_names(record, now)
    assert [entry.name for entry in found.nodes] == pending
    assert {entry.generation for entry in found.nodes} == {1}
    back = None if returning is None else Pending(returning, listed="gone" if returning == "gone" else "")
    assert found.returning == back


def test_the_name_in_health_that_has_to_come_back_is_on_record() -> None:
    begun = begin_restart(demanded(EMPTY, coreapp("a")), coreapp("a"), "a:1")
    kept = parse(render(begun), begun.cluster, begun.host)
    assert kept.returning is not None
    assert kept.returning.listed == "a:1"
    assert kept == begun


def test_what_was_sent_is_known_in_whatever_order() -> None:
    sent = Sent("salt", None)
    assert sent.digest("x", {"a": 1, "b": 2}) == sent.digest("x", {"b": 2, "a": 1})
    assert sent.digest("x", {"a": 1}) != sent.digest("y", {"a": 1})


def test_nothing_is_left_of_a_record_that_is_paid() -> None:
    record = note_written(demanded(EMPTY, coreapp("a")), [coreapp("a")])
    paid = settle(begin_restart(record, coreapp("a")), coreapp("a"), 1)
    assert (paid.settings, paid.recorded, paid.connected_before) == ((), "", None)
    assert paid.is_empty
    assert not replace(paid, lease=LEASE).is_empty
    assert not replace(paid, sent=Sent("s", None)).is_empty
    assert not replace(paid, campaign=CAMPAIGN).is_empty
    assert not replace(paid, campaign=CAMPAIGN).is_pending


@given(RECORDS)
def test_tidying_up_takes_nothing_that_is_pending(record: Record) -> None:
    tidied = tidy(record)
    assert tidied.is_pending == record.is_pending
    assert (tidied.nodes, tidied.returning, tidied.elsewhere, tidied.sent, tidied.lease) == (
        record.nodes,
        record.returning,
        record.elsewhere,
        record.sent,
        record.lease,
    )


@given(RECORDS, st.lists(NODES, max_size=3))
def test_a_demand_forgets_nobody(record: Record, nodes: list[Node]) -> None:
    after = demanded(record, *nodes)
    assert after.generation > record.generation
    assert all(after.find(node) is not None for node in nodes)
    assert all(after.find(entry) is not None for entry in record.nodes)
    assert after.is_pending


@given(RECORDS, NODES, COUNTS)
def test_settling_touches_no_other_node_and_no_later_demand(record: Record, node: Node, generation: int) -> None:
    after = settle(record, node, generation)
    assert [entry for entry in record.nodes if not is_same(entry, node) or entry.generation > generation] == [
        *after.nodes
    ]


@pytest.mark.parametrize(("counts", "found"), [((), None), ((None,), None), ((None, 2, 1), 2), ((0, None), 0)])
def test_the_highest_count_is_the_measure(counts: tuple[int | None, ...], found: int | None) -> None:
    assert highest(*counts) == found


def test_what_people_are_told() -> None:
    record = replace(EMPTY, nodes=(Pending("a"), Pending("b")), returning=Pending("a"), elsewhere=("z",))
    assert record.labels() == ["a on h", "b on h", "all Coreapps on z"]
    assert replace(EMPTY, returning=Pending("a")).labels() == ["a on h"]
    assert EMPTY.labels() == []


def test_what_cannot_be_read_leaves_everything_pending_masters_included() -> None:
    record = parse(render(unknown("c", "h")), "c", "h")
    assert record.is_pending
    assert record.labels() == ["all coreapps on h", "all masters on h"]
    noted = note_written(record, [coreapp("a"), coreapp("m", kind=MASTER)])
    assert [entry.name for entry in noted.nodes] == ["a", "m"]


# --- what a client does not report -------------------------------------------------------------------------------


def test_an_unreported_value_is_known_again_without_being_kept() -> None:
    sent = Sent("salt", "v2.57").learn({"axolotl": "canary", "other": {"a": [1]}})
    assert sent.knows("axolotl", "canary", "v2.57") is True
    assert sent.knows("other", {"a": [1]}, "v2.57") is True
    assert sent.knows("axolotl", "else", "v2.57") is False
    assert sent.knows("axolotl", "canary", "v2.58") is None
    assert sent.knows("beaver", "canary", "v2.57") is None
    assert "canary" not in render(replace(EMPTY, sent=sent))
    assert Sent("pepper", "v2.57").digest("axolotl", 1) != sent.digest("axolotl", 1)
    assert sent.digest("axolotl", 1) != sent.digest("beaver", 1)
    assert sent.learn({"new": 1}).knows("axolotl", "canary", "v2.57") is True


def test_a_campaign_is_the_clients_that_it_was_begun_for() -> None:
    record = replace(EMPTY, client="https://a", campaign=CAMPAIGN)
    assert (record.is_of_another("https://a"), record.is_of_another("https://b")) == (False, True)
    problem = WHOSE.misnamed([("/state/old@h.json", render(replace(record, cluster="old")))])
    assert "/state/old@h.json holds a campaign of this client, begun when its wa_settings_cluster was old" in problem


WHOSE = Whose("https://a", "c", "h", lambda name: name in ("h", "other"))


@pytest.mark.parametrize(
    ("cluster", "host", "made"),
    [
        ("old", "h", "when its wa_settings_cluster was old. Run once with that name;"),
        ("c", "box", "for the host box, which is not in this inventory. Run once with that name;"),
        (
            "old",
            "box",
            "for the host box, which is not in this inventory, when its wa_settings_cluster was old. Run once",
        ),
        ("old", "other", None),
        ("c", "other", None),
    ],
)
def test_what_is_pending_under_other_names(cluster: str, host: str, made: str | None) -> None:
    pending = render(demand(Record(cluster, host), [Node("wacore")], settings=(), recorded="", connected_before=1))
    problem = WHOSE.misnamed([("/state/file.json", pending)])
    assert problem.startswith(f"/state/file.json holds a pending restart of this client, made {made}" if made else "")
    assert bool(problem) == bool(made)


def test_records_under_other_names_of_which_nothing_is_pending() -> None:
    assert WHOSE.misnamed([("a", "{"), ("b", "[]"), ("c", render(Record("x", "h")))]) == WHOSE.misnamed([]) == ""


@pytest.mark.parametrize(
    ("host", "leaves"), [("h", False), ("gone", False), ("other", True), ("gone@other", False), ("a host", False)]
)
def test_files_that_another_host_sees_to(host: str, leaves: bool) -> None:
    assert WHOSE.leaves_file(file_name("c", host)) == leaves
    assert WHOSE.leaves_file(file_name("c" * 300, host)) is False
    assert WHOSE.leaves_file(f"{file_name('c', host)}.txt")


def test_a_record_at_another_address_may_be_another_clients() -> None:
    """Told by its cluster's name only, as where two inventories share a directory."""
    staging = demand(Record("c", "x", client="https://b"), [Node("n")], settings=(), recorded="", connected_before=1)
    problem = WHOSE.misnamed([("f", render(staging))])
    assert problem.startswith("f holds a pending restart of https://b, made for the host x, which is not in this inv")
    assert problem.endswith("If that is another client, give each a wa_settings_cluster of its own")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            Record("c", "h", client="https://other", elsewhere=("i",)),
            "f holds a pending restart of another client, https://other; give each client on this host a "
            "wa_settings_cluster of its own. If it is the same client at a new address, remove the file and run with "
            "wa_settings_restart: always",
        ),
        (
            Record("c", "h", client="https://other", campaign=Campaign("x", True, ("spring",))),
            "f holds a campaign of another client, https://other; give each client on this host a "
            "wa_settings_cluster of its own. If it is the same client at a new address, put that into the file",
        ),
    ],
)
def test_what_is_said_of_a_record_of_another_client(record: Record, said: str) -> None:
    assert others_record("f", record) == said
