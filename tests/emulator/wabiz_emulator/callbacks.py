# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callbacks: what a Coreapp posts to `webhooks.url`, when it tries again, and what of it survives a restart."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import json
import pathlib
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wabiz_emulator import logs, settings

if TYPE_CHECKING:
    import ssl

    from wabiz_emulator.store import FileStore

STATUSES = ("sent", "delivered", "read", "failed")
# Seconds that a receiver may take; the reference does not say.
TIMEOUT = 10.0
# Seconds; delays may be longer than what a lock can wait.
LONGEST_PAUSE = 3600.0


def payload(event: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of the callback about an event under the settings `values`; None: nobody wants to hear of it.

    Reference, section 2.3, for the choices. The form of conversation and pricing is a guess.
    """
    if "status" not in event:
        return dict(event["notice"])
    status = event["status"]
    # Before 2.41.2 there is no choice but `sent_status`.
    choices = values["webhooks"].get("message", {"sent": values["sent_status"]})
    if not choices.get(status, True):
        return None
    shown = {name: event[name] for name in ("id", "recipient_id", "status", "timestamp")}
    if not values["webhook_payload_conversation_pricingmodel_disabled"]:
        shown["conversation"] = {"id": f"conversation-{event['recipient_id']}"}
        shown["pricing"] = {"billable": True, "pricing_model": "CBP"}
    return {"statuses": [shown]}


def delay_seconds(failures: int, values: Mapping[str, Any]) -> float:
    """How long to wait after so many failures: longer by the same step each time, up to the maximum."""
    step, most = values["callback_backoff_delay_ms"], values["max_callback_backoff_delay_ms"]
    return float(min(failures * step, most)) / 1000


@dataclasses.dataclass(order=True)
class _Waiting:
    """One callback of a Coreapp: when to try, in seconds of the monotonic clock, and where it is on disk, if it is."""

    due: float
    name: str
    event: dict[str, Any] = dataclasses.field(compare=False)
    path: pathlib.Path | None = dataclasses.field(compare=False)
    failures: int = dataclasses.field(compare=False, default=0)


class Deliveries:
    """The callbacks of one life of a Coreapp's process. `running` (usable values) and `authority` are of its start.

    Events wait outside, as on Meta's servers, until a connected Coreapp takes them into its folder. There a callback
    stays until it is acknowledged where `callback_persist` is in force, else in the memory of this process only.
    """

    def __init__(
        self,
        client: str,
        store: FileStore,
        node: str,
        log: logs.JsonLines,
        running: Mapping[str, Any],
        authority: str | None,
    ) -> None:
        self._client, self._store, self._node, self._log = client, store, node, log
        self._persist: bool = running["callback_persist"]
        self._workers: int = running["webhooks"]["max_concurrent_requests"]
        self._authority = authority
        self._open: dict[str, _Waiting] = {}
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._started = False
        self._own = store.callback_folder(node)
        for path in sorted(self._own.glob("*.json")):
            # Another Coreapp may just have taken it over.
            with contextlib.suppress(FileNotFoundError):
                self._add(path, persist=True)

    def fetch(self, connected: bool) -> None:
        """Take what has happened since the last time, and what the folders of nodes that are gone still hold."""
        if not connected:
            return
        others = [folder for folder in self._store.callback_folders() if folder != self._own]
        gone = [folder for folder in others if not self._store.reachable(folder.name)]
        for folder in (self._store.events, *gone):
            for path in sorted(folder.glob("*.json")):
                # Another Coreapp may be faster.
                with contextlib.suppress(FileNotFoundError):
                    taken = path.rename(self._own / path.name)
                    self._add(taken, persist=self._persist or folder != self._store.events)

    def close(self) -> None:
        """Say what goes with this process."""
        with self._changed:
            for waiting in self._open.values():
                if waiting.path is None:
                    self._say("lost", waiting)

    def _add(self, path: pathlib.Path, persist: bool) -> None:
        waiting = _Waiting(0.0, path.name, json.loads(path.read_bytes()), path if persist else None)
        if not persist:
            path.unlink()
        with self._changed:
            self._open[waiting.name] = waiting
        self._queue(waiting)
        if not self._started:
            self._started = True
            for _worker in range(self._workers):
                threading.Thread(target=self._work, daemon=True).start()

    def _queue(self, waiting: _Waiting) -> None:
        with self._changed:
            heapq.heappush(self._waiting, waiting)
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting or self._waiting[0].due > time.monotonic():
                    pause = self._waiting[0].due - time.monotonic() if self._waiting else LONGEST_PAUSE
                    self._changed.wait(min(pause, LONGEST_PAUSE))
                waiting = heapq.heappop(self._waiting)
            self._try(waiting)

    def _try(self, waiting: _Waiting) -> None:
        state = self._store.fresh()
        values = settings.usable(state.settings, state.switches)
        body = payload(waiting.event, values)
        url = values["webhooks"]["url"]
        if body is None or not url:
            self._done("dropped", waiting)
            return
        outcome = self._outcome(url, body)
        if outcome == 200:
            self._done("delivered", waiting)
            return
        waiting.failures += 1
        delay = delay_seconds(waiting.failures, values)
        waiting.due = time.monotonic() + delay
        self._say("failed", waiting, outcome=outcome, failures=waiting.failures, delay=delay)
        self._queue(waiting)

    def _outcome(self, url: str, body: dict[str, Any]) -> int | str:
        """The receiver's status, or the kind of fault; not more, since addresses may hold secrets."""
        # Most Coreapps of tests never call back, and start faster without these.
        import http.client

        try:
            return _post(url, json.dumps(body).encode(), self._tls)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return type(error).__name__

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context()
        if self._authority:
            context.load_verify_locations(cadata=self._authority)
        return context

    def _done(self, event: str, waiting: _Waiting) -> None:
        if waiting.path is not None:
            waiting.path.unlink(missing_ok=True)
        with self._changed:
            del self._open[waiting.name]
        self._say(event, waiting)

    def _say(self, event: str, waiting: _Waiting, **details: Any) -> None:
        entry = {"client": self._client, "node": self._node, "event": event}
        entry |= {name: waiting.event[name] for name in ("id", "status") if name in waiting.event}
        self._log.append({**entry, **details})


def _post(url: str, body: bytes, context: ssl.SSLContext) -> int:
    """POST to an HTTPS address and return the status; a redirect is not followed (reference, section 7)."""
    import base64
    import http.client
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.scheme != "https":
        raise ValueError("not HTTPS")
    headers = {"Content-Type": "application/json"}
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT, context=context)
    with contextlib.closing(connection):
        connection.request("POST", target, body, headers)
        return connection.getresponse().status
