# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils._summary import (
    client_of,
    of_all_clients,
    report,
    so_far,
    summary_line,
)


@pytest.mark.parametrize(
    ("summary", "check_mode", "may_restart", "line"),
    [
        ((["x"], [], []), False, True, "c: changed: x; pending restarts: none"),
        (
            (["x", "y"], ["a on h", "b on h"], []),
            False,
            False,
            "c: changed: x, y; restarted: a on h, b on h; pending restarts: none",
        ),
        (([], [], ["a on h"]), False, False, "c: pending restarts: a on h, left by this run"),
        ((["x"], ["a on h"], []), True, True, "c: would change: x; would restart: a on h"),
        (
            (["x"], ["a on h"], ["a on h", "b on i", "d on i"]),
            True,
            True,
            "c: would change: x; would restart: a on h; would stay pending: b on i, d on i",
        ),
    ],
)
def test_the_line_for_each_client(
    summary: tuple[list[str], list[str], list[str]], check_mode: bool, may_restart: bool, line: str
) -> None:
    told = dict(zip(("changed_settings", "restarted", "pending"), summary, strict=True))
    assert summary_line("c", told, check_mode, may_restart) == line
    only = summary_line("c", told, check_mode, may_restart, "h")
    assert only == line.replace("pending restarts:", "pending restarts on h:")


def test_the_report_is_one_for_the_whole_run() -> None:
    assert report("h", {"x": 1}) == {
        "data": {"wa_settings_report": {"h": {"x": 1}}},
        "per_host": False,
        "aggregate": True,
    }


def summary(**lists: list[str]) -> dict[str, list[str]]:
    return {"changed_settings": [], "restarted": [], "pending": [], **lists}


@pytest.fixture
def host(request: pytest.FixtureRequest) -> str:
    """What is kept lasts as long as the process, so each test has a host of its own."""
    return str(request.node.nodeid)


def test_a_host_that_has_not_used_the_role_has_nothing_to_tell(host: str) -> None:
    assert so_far(host) is None


def test_what_was_done_adds_up_and_what_is_pending_is_the_latest(host: str) -> None:
    of_all_clients(host, "c u", summary(changed_settings=["b"], restarted=["x on h"], pending=["y on h"]))
    found = of_all_clients(host, "c u", summary(changed_settings=["a"], restarted=["y on h"]))
    assert found == {"changed_settings": ["a", "b"], "restarted": ["x on h", "y on h"], "pending": []}
    assert so_far(host) == found


def test_one_record_takes_nothing_off_the_other_hosts_of_the_cluster(host: str) -> None:
    of_all_clients(host, "c u", summary(pending=[f"x on {host}", "y on i"]))
    assert of_all_clients(host, "c u", summary(), only_own=True)["pending"] == ["y on i"]


def test_a_check_run_takes_nothing_off(host: str) -> None:
    of_all_clients(host, "c u", summary(pending=["x on h"]), check_mode=True)
    assert of_all_clients(host, "c u", summary(), check_mode=True)["pending"] == ["x on h"]


def test_nodes_of_two_clients_are_told_apart(host: str) -> None:
    of_all_clients(host, "c u", summary(changed_settings=["a"], restarted=["x on h"]))
    assert of_all_clients(host, "d v", summary(changed_settings=["a"], pending=["x on h"])) == {
        "changed_settings": ["a"],
        "restarted": ["x on h (cluster c)"],
        "pending": ["x on h (cluster d)"],
    }


def test_clients_of_one_name_are_told_apart_by_their_addresses() -> None:
    assert client_of("c", {"api_url": "https://one", "token": "t"}) == "c https://one"
