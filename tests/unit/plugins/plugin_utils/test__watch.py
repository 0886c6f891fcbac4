# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ansible_collections.wabiz.onprem.plugins.module_utils import _health
from ansible_collections.wabiz.onprem.plugins.plugin_utils import _watch
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Node
from ansible_collections.wabiz.onprem.plugins.plugin_utils._watch import Ask, Watch

A, B, DOWN = (_health.Node("a:1", "coreapp", state) for state in ("connected", "connecting", "disconnected"))
OTHERS = _health.Node("b:2", "coreapp", "connected"), _health.Node("b:2", "coreapp", "disconnected")
ALONE = tuple(_health.Node(None, "coreapp", state) for state in ("connected", "connecting"))


@pytest.mark.parametrize(
    ("answers", "nothing_happened"),
    [
        ([[A]], True),
        ([[A], [A], [DOWN]], False),
        ([[A], [B]], False),
        ([[A], []], False),
        ([[A], ()], False),
        ([[A], None], True),
        ([[A], None, [A]], True),
        ([[A], None, [DOWN]], False),
        ([None, [DOWN]], False),
        ([None, [A]], True),
        ([[A], [replace(A, name="a:2")]], False),
        ([[A], [A, replace(A, name="a:2")]], False),
        ([[A, OTHERS[0]], [A, OTHERS[1]], [A]], True),
        ([[DOWN], [A]], False),
        ([[OTHERS[0]]], False),
        ([None], True),
        ([[ALONE[0]]], True),
        ([[ALONE[0]], [ALONE[1]]], False),
    ],
)
def test_what_shows_that_a_command_has_restarted_a_node(
    answers: list[Sequence[_health.Node] | None], nothing_happened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "_FIRST_ANSWER", 0.5)
    left = list(answers)

    @contextmanager
    def conversation() -> Iterator[Ask]:
        def ask() -> Sequence[_health.Node] | None:
            return left.pop(0) if len(left) > 1 else left[0]

        yield ask

    watch = Watch(conversation(), Node("a"))
    assert watch._thread.daemon, "a task that ends does not wait for it"
    watch.start()
    start = time.monotonic()
    watch.stop(0.15 if nothing_happened else 20.0)
    assert time.monotonic() - start < 5
    assert bool(watch.unseen) is nothing_happened
    assert not watch._thread.is_alive()


def test_a_client_that_says_nothing_is_told_apart_from_a_node_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_FIRST_ANSWER", 0.05)

    @contextmanager
    def conversation() -> Iterator[Ask]:
        yield lambda: None

    watch = Watch(conversation(), Node("a"))
    watch.start()
    watch.stop(0.0)
    assert (watch.unseen, watch.is_proof) == ("the client did not say how the node was meanwhile", False)


def test_a_command_starts_when_the_node_was_looked_at() -> None:
    seen: list[str] = []

    @contextmanager
    def conversation() -> Iterator[Ask]:
        time.sleep(0.05)
        yield lambda: seen.append("looked") or [A]  # type: ignore[func-returns-value]

    watch = Watch(conversation(), Node("a"))
    watch.start()
    assert seen[:1] == ["looked"]
    watch.stop(0.0)


def test_what_was_not_seen_is_told_with_how_closely_it_was_looked_for() -> None:
    asked: list[float] = []

    @contextmanager
    def conversation() -> Iterator[Ask]:
        def ask() -> Sequence[_health.Node]:
            asked.append(time.monotonic())
            return [A]

        yield ask

    watch = Watch(conversation(), Node("a"))
    watch.start()
    watch.stop(0.2)
    times, gap = re.findall(r"[\d.]+", watch.unseen)
    # The first question was asked before the command.
    assert int(times) == len(asked) - 1 > 0
    assert float(gap) <= round(asked[-1] - asked[0], 1) + 0.1


def test_a_client_that_does_not_answer_at_once_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_FIRST_ANSWER", 0.05)
    answers, ended = threading.Event(), threading.Event()

    @contextmanager
    def conversation() -> Iterator[Ask]:
        def ask() -> Sequence[_health.Node]:
            answers.wait(20.0)
            return [DOWN]

        yield ask
        ended.set()

    watch = Watch(conversation(), Node("a"))
    start = time.monotonic()
    watch.start()
    threading.Timer(0.1, answers.set).start()
    watch.stop(20.0)
    assert time.monotonic() - start < 5
    assert ended.is_set()
    assert watch.unseen == ""


def test_a_node_is_looked_at_the_moment_its_command_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be away for a shorter time than lies between two looks."""
    monkeypatch.setattr(_watch, "_PAUSE", 60.0)
    state, looks = [A], threading.Semaphore(0)

    @contextmanager
    def conversation() -> Iterator[Ask]:
        def ask() -> Sequence[_health.Node]:
            looks.release()
            return list(state)

        yield ask

    watch = Watch(conversation(), Node("a"))
    watch.start()
    for _look in ("before the command", "beside it"):
        assert looks.acquire(timeout=20)
    state[:] = [DOWN]
    start = time.monotonic()
    watch.stop(30.0)
    assert time.monotonic() - start < 5
    assert watch.unseen == ""
