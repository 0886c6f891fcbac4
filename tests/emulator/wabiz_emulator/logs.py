# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import time
from typing import Any

MASK = "***"
SECRET_NAME = re.compile(r"passw|secret|token|bearer|credential|private|api_?key|^pin$|^auth", re.IGNORECASE)
# Entries per client.
REMEMBERED = 100_000


def mask_url(text: str) -> str:
    """An address without its user info, query and fragment."""
    bare = re.sub(r"[?#].*", f"?{MASK}", text, count=1, flags=re.DOTALL)
    return re.sub(r"//[^/]*@", f"//{MASK}@", bare)


def masked(value: Any, name: str = "") -> Any:
    """A copy without secrets: members with a telling name, credentials, parts of addresses; all else as it is."""
    if SECRET_NAME.search(name) and not isinstance(value, (dict, list, bool)):
        return MASK
    if isinstance(value, dict):
        if name == "basic":
            return dict.fromkeys(value, MASK)
        return {member: masked(below, member) for member, below in value.items()}
    if isinstance(value, list):
        return [masked(below, name) for below in value]
    if isinstance(value, str) and ("://" in value or name == "url"):
        return mask_url(value)
    return value


def callback_log(directory: pathlib.Path) -> JsonLines:
    """The log of a client's callbacks, in its store."""
    return JsonLines(str(directory / "callbacks.jsonl"))


class JsonLines:
    """A log of JSON lines: in a file that several processes append to, in memory per client, or in both."""

    def __init__(self, path: str | None = None, remember: bool = False) -> None:
        self._path = path
        self._remembered: dict[str, collections.deque[dict[str, Any]]] | None = {} if remember or not path else None
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else None

    def append(self, entry: dict[str, Any]) -> None:
        entry = {"time": round(time.time(), 6), **entry}
        if self._remembered is not None:
            own = self._remembered.setdefault(entry["client"], collections.deque(maxlen=REMEMBERED))
            own.append(entry)
        if self._file is not None:
            # One write per line: lines of several processes never mix.
            os.write(self._file, (json.dumps(entry) + "\n").encode())

    def read(self, client: str) -> list[dict[str, Any]]:
        """The entries of one client, oldest first."""
        if self._remembered is not None or self._path is None:
            return list((self._remembered or {}).get(client, ()))
        with open(self._path, encoding="utf-8") as file:
            entries = [json.loads(line) for line in file if line.endswith("\n")]
        return [entry for entry in entries if entry["client"] == client]

    def clear(self, client: str) -> None:
        """Forget one client's entries; a file beside the memory is kept as it is."""
        if self._remembered is not None:
            self._remembered.pop(client, None)
        elif self._file is not None:
            os.ftruncate(self._file, 0)
