# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing to a server whose answer may get lost: what counts is what it reports afterwards.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ansible_collections.wabiz.onprem.plugins.module_utils._client import Answer, ApiError, Client

State = TypeVar("State")


class OutcomeUnknown(Exception):
    """Nobody can say whether what was sent has taken effect; the message says why, in one line."""


class NotDone(Exception):
    """The write has not taken effect. C(state) as it was read afterwards, None where nothing can have happened."""

    def __init__(self, problem: ApiError, state: Any = None) -> None:
        super().__init__(str(problem))
        self.state = state


@dataclass(frozen=True)
class Written(Generic[State]):
    """A write that has taken effect: C(state) as it was read after it.

    problem: what went wrong with the answers, where it took a reading to find out that it was done.
    """

    state: State
    problem: ApiError | None = None

    @property
    def warnings(self) -> list[str]:
        """What a result has to say of it."""
        return [f"{self.problem}; reading back shows that it was done nevertheless"] if self.problem is not None else []


def write_and_read_back(
    client: Client,
    current: State,
    send: Callable[[State], Answer],
    read: Callable[[], State],
    taken_over: Callable[[State], Any],
) -> Written[State]:
    """Sends a write until it is done, or clear that it will not be, and reads what has become of it.

    Before every further attempt the state is read again, and C(send) gets it: the window in which somebody else's
    change can be overwritten stays small, and what an attempt has done whose answer was lost is not done twice.

    current: what was read last. send: sends what brings a state to the wanted one. taken_over: whether a state shows
    that it was sent; None where no state could show it.

    Raises NotDone and OutcomeUnknown.
    """
    doubt: ApiError | None = None  # the last attempt that may have taken effect
    pending = False  # whether one may still do so
    for attempt in range(1, 2 + client.retries):
        problem = _attempt(send, current)
        go_on = problem is not None and problem.passing and attempt <= client.retries
        if problem is not None and problem.maybe_done:
            doubt = problem
            pending = pending or problem.maybe_pending
        if problem is not None and doubt is None and not go_on:
            raise NotDone(problem)
        if problem is not None and go_on and problem.status != 202:
            client.pause(problem, attempt)
        try:
            current = read()
        except ApiError as unread:
            if problem is not None and doubt is None:
                raise NotDone(unread) from None
            written = "written, but" if doubt is None else f"{doubt}; it may have been written nevertheless, and was"
            raise OutcomeUnknown(f"{written} not read back: {unread}") from None
        if problem is None:
            return Written(current)
        taken = taken_over(current)
        if taken:
            return Written(current, None if problem.status == 202 else doubt or problem)
        if not go_on and taken is None:
            raise OutcomeUnknown(f"{problem}; whether it was written cannot be read back")
        if not go_on and pending:
            raise OutcomeUnknown(f"{problem}; it is not to be seen, but may still take effect")
        if not go_on:
            raise NotDone(problem, current)
        if problem.status == 202:
            client.pause(problem, attempt)
    raise AssertionError("unreachable")


def _attempt(send: Callable[[State], Answer], current: State) -> ApiError | None:
    """What is wrong with one attempt, if anything. C(202) says that it is still to be done."""
    try:
        answer = send(current)
    except ApiError as error:
        return error
    if answer.status != 202:
        return None
    return ApiError(
        "the client answered HTTP 202, but does not report the change",
        202,
        passing=True,
        maybe_done=True,
        maybe_pending=True,
    )
