# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils import _handover
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import (
    alone,
    append,
    claim,
    drop,
    keep,
    recall,
    set_claim,
    take,
)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(_handover, "_directory", lambda: tmp_path)
    yield tmp_path


def test_what_is_kept_is_recalled_under_its_own_name_only(directory: Path) -> None:
    keep({"a": [1, None]}, "context", "one", "two")
    assert recall("context", "one", "two") == {"a": [1, None]}
    assert recall("context", "one") is None
    assert recall("contexts", "one", "two") is None
    keep(2, "context", "one", "two")
    assert recall("context", "one", "two") == 2
    drop("context", "one", "two")
    drop("context", "one", "two")
    assert recall("context", "one", "two") is None
    assert list(directory.iterdir()) == []


def test_nobody_else_can_read_it(directory: Path) -> None:
    keep("canary-password", "context", "canary-name")
    (file,) = directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"canary" not in file.read_bytes()
    assert "canary" not in file.name


def test_what_another_run_has_left_is_nothing(directory: Path) -> None:
    keep("mine", "context", "a")
    (file,) = directory.iterdir()
    file.write_bytes(b"x" + file.read_bytes())
    assert recall("context", "a") is None


def test_a_list_is_taken_once() -> None:
    append("demands", "h", 1)
    append("demands", "h", 2)
    append("demands", "i", 3)
    assert take("demands", "h") == [1, 2]
    assert take("demands", "h") == []
    assert take("demands", "i") == [3]


def test_who_does_the_work_of_a_cluster() -> None:
    assert claim("c") is None
    set_claim("c", "h", "open", "declaration")
    set_claim("c", "h", "done")
    assert claim("c") == {"host": "h", "state": "done", "declaration": "declaration"}
    set_claim("d", "h", "open")
    assert claim("d") == {"host": "h", "state": "open", "declaration": ""}


def _count(times: int) -> None:
    for _time in range(times):
        with alone("count", "h"):
            keep((recall("count", "h") or 0) + 1, "count", "h")


def test_processes_of_a_run_take_turns() -> None:
    workers = [get_context("fork").Process(target=_count, args=(20,)) for _worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert recall("count", "h") == 60
