# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a node is seen to restart, if its backend cannot tell.

This module is private to the collection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ansible_collections.wabiz.onprem.plugins.module_utils._health import CONNECTED
from ansible_collections.wabiz.onprem.plugins.module_utils._health import Node as HealthNode
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import ClientHealth
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Node

_FIRST_ANSWER = 5.0  # seconds that a restart waits for it
_PAUSE = 0.1  # seconds between two looks for what may be over soon

# What health says of the nodes now; None if nobody knows.
Ask = Callable[[], "Sequence[HealthNode] | None"]


class Watch:
    """Looks for a sign that a node restarts, beside the command that restarts it.

    A backend that cannot tell one start from another leaves health alone to tell: a connected node has to leave it.
    """

    def __init__(self, conversation: AbstractContextManager[Ask], node: Node) -> None:
        self._conversation = conversation
        self._node = node
        self._over = threading.Event()
        self._look_at_once = threading.Event()
        self._ready = threading.Event()
        self._is_known = False
        self._was_connected = False
        self._asked = 0
        self._gap = 0.0
        self._sign = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(_FIRST_ANSWER)

    def stop(self, patience: float) -> None:
        """Ends the watch at the first sign, or after that many seconds."""
        # The command has just started the node, so now it is away, if it ever is.
        self._look_at_once.set()
        if self._was_connected and self._thread.is_alive():
            self._sign.wait(patience)
        self._over.set()
        self._look_at_once.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def unseen(self) -> str:
        """Why nothing shows that the node restarted; empty if something does."""
        if self._sign.is_set() or (self._is_known and not self._was_connected):
            return ""
        if not self._asked:
            return "the client did not say how the node was meanwhile"
        return f"the node was connected each of the {self._asked} times it was asked, at most {self._gap:.1f} s apart"

    @property
    def is_proof(self) -> bool:
        """Whether the node was seen to restart."""
        return self._was_connected and self._sign.is_set()

    def _entries(self, nodes: Sequence[HealthNode]) -> dict[str, str]:
        """What health says of the node: full name to status. A container that was made anew has another full name."""
        if len(nodes) == 1 and nodes[0].name is None:
            return {"": nodes[0].gateway_status}
        alone = [(entry, ClientHealth((entry,))) for entry in nodes]
        return {str(entry.name): entry.gateway_status for entry, one in alone if one.find(self._node)}

    def _look(self) -> None:
        try:
            with self._conversation as ask:
                first = ask()
                while first is None and not self._over.wait(_PAUSE):
                    first = ask()
                self._is_known = first is not None
                before = self._entries(first or ())
                self._was_connected = CONNECTED in before.values()
                self._ready.set()
                last = time.monotonic()
                while self._was_connected and not self._over.is_set():
                    answer = ask()
                    if answer is not None:
                        now = self._entries(answer)
                        self._asked += 1
                        self._gap, last = max(self._gap, time.monotonic() - last), time.monotonic()
                        if now.keys() != before.keys() or CONNECTED not in now.values():
                            self._sign.set()
                            return
                    self._look_at_once.wait(_PAUSE)
                    self._look_at_once.clear()
        finally:
            self._ready.set()
