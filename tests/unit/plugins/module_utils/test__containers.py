# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils._containers import (
    COREAPP,
    MASTER,
    Ambiguous,
    NotFound,
    by_command,
    read_inspection,
    read_time,
    select,
)

PATTERN = r"whatsapp\.biz/coreapp"


def found(name: str, image: str = "docker.whatsapp.biz/coreapp:v2.57.2", **more: Any) -> dict[str, Any]:
    """A container as an engine shows it."""
    facts = {"state": "running", "started": "2026-01-02T03:04:05.6Z", "service": "", "flags": [""]}
    return {"id": (name * 64)[:64], "name": f"/{name}", "image": image, **facts, **more}


COMPOSE = [
    found("biz-wacore1-1"),
    found("biz-master1-1", flags=["master", ""]),
    found("biz-dbupgrade-1", flags=["upgrade", ""], state="exited"),
    found("biz-waweb-1", image="docker.whatsapp.biz/web:v2.57.2"),
    found("biz-db-1", image="mysql:8.0.33"),
    found("biz-wacore2-1", state="exited"),
    found("biz-wacore3-1", image="registry.example.com/wa:7", service="wacore3"),
    found("other-master1-1", image="postgres:13.8", service="master1"),
]


def test_coreapps_and_masters_are_found_by_image_and_service() -> None:
    chosen = select(COMPOSE, [], PATTERN)
    assert [(c["name"], c["kind"], c["alive"]) for c in chosen] == [
        ("biz-master1-1", MASTER, True),
        ("biz-wacore1-1", COREAPP, True),
        ("biz-wacore2-1", COREAPP, False),
        ("biz-wacore3-1", COREAPP, True),
    ]


@pytest.mark.parametrize("name", ["biz-wacore1-1", "biz_wacore1_1", ("biz-wacore1-1" * 64)[:12]])
def test_a_name_means_one_container_in_either_spelling_of_compose(name: str) -> None:
    assert [c["name"] for c in select(COMPOSE, [name], PATTERN)] == ["biz-wacore1-1"]


def test_the_exact_name_wins_over_the_other_spelling() -> None:
    twins = [found("biz-wacore-1"), found("biz_wacore_1")]
    assert [c["name"] for c in select(twins, ["biz_wacore_1"], PATTERN)] == ["biz_wacore_1"]


def test_names_that_are_missing_are_an_error() -> None:
    with pytest.raises(NotFound, match="no such container: gone, lost"):
        select(COMPOSE, ["biz-wacore1-1", "gone", "lost"], PATTERN)


def test_containers_of_several_clients_are_refused_without_names() -> None:
    mixed = [found("a-wacore-1", project="a"), found("b-wacore-1", project="b")]
    with pytest.raises(Ambiguous, match=r"several Compose projects \(a, b\)"):
        select(mixed, [], PATTERN)
    assert [c["name"] for c in select(mixed, ["b-wacore-1"], PATTERN)] == ["b-wacore-1"]


def test_what_is_no_coreapp_does_not_make_a_second_client() -> None:
    others = [
        found("c-web-1", "docker.whatsapp.biz/web:v2", project="c"),
        found("d-up-1", flags=["upgrade"], project="d"),
    ]
    # An engine shows a label that is not there as null.
    mixed = [found("a-wacore-1", project="a"), found("plain-wacore", project=None, service=None), *others]
    assert [c["name"] for c in select(mixed, [], PATTERN)] == ["a-wacore-1", "plain-wacore"]


def test_an_upgrade_job_is_no_coreapp_even_if_named() -> None:
    assert select(COMPOSE, ["biz-dbupgrade-1"], PATTERN) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05.678901234Z", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
        ("2026-01-02 05:04:05.5 +0200 CEST", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=timezone.utc)),
    ],
)
def test_times_of_both_engines(text: str, moment: datetime) -> None:
    assert read_time(text) == pytest.approx(moment.timestamp(), abs=1e-5)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "", "soon"])
def test_times_that_are_none(text: str) -> None:
    assert read_time(text) is None


@pytest.mark.parametrize("state", ["running", "restarting", "paused"])
def test_states_in_which_the_former_values_live_on(state: str) -> None:
    assert select([found("wacore", state=state)], [], PATTERN)[0]["alive"]


@pytest.mark.parametrize("state", ["exited", "created", "dead", "removing", ""])
def test_states_in_which_nothing_runs(state: str) -> None:
    assert not select([found("wacore", state=state)], [], PATTERN)[0]["alive"]


def test_the_engines_lines_are_read() -> None:
    lines = "\n".join(json.dumps(container) for container in COMPOSE)
    assert read_inspection(f"{lines}\n\n") == COMPOSE


@pytest.mark.parametrize("output", ["{", "[]", "Error: no such thing"])
def test_what_an_engine_does_not_print_is_refused(output: str) -> None:
    with pytest.raises(ValueError):
        read_inspection(output)


def test_nodes_of_a_command_are_taken_by_their_names() -> None:
    assert [(c["name"], c["kind"], c["alive"], c["started"]) for c in by_command(["b", "a", "b"])] == [
        ("b", COREAPP, True, None),
        ("a", COREAPP, True, None),
    ]
