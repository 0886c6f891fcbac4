# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one task of a run hands over to a later one: what was meant, secrets among it.

A task's result, a fact and a registered variable can be shown and cached, so none of them may carry a password. This
lies encrypted in the run's own temporary directory, under a key that only the processes of this run have: it is made
when the strategy loads the action's class, before the workers are forked.

This module is private to the collection.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible import constants

try:
    from cryptography import fernet
except ImportError:
    # A requirement of ansible-core, which ansible-test does without when it imports this file.
    fernet = None  # type: ignore[assignment,unused-ignore]

RUN = secrets.token_hex(8)
# Of the process that forks the workers, where the strategy has loaded this.
_MAIN = os.getpid()

_CIPHER: Any = fernet and fernet.Fernet(fernet.Fernet.generate_key())
if _CIPHER is not None:
    # The first use looks up the algorithms, which each worker would do anew.
    _CIPHER.decrypt(_CIPHER.encrypt(b""))
_PREFIX = "wabiz-onprem"


def is_orphan() -> bool:
    """Whether this process is a worker whose run was killed."""
    return _MAIN not in (os.getpid(), os.getppid())


def _directory() -> Path:
    return Path(constants.DEFAULT_LOCAL_TMP)


def _path(kind: str, *names: str) -> Path:
    name = hashlib.sha256("\n".join(names).encode()).hexdigest()[:24]
    return _directory() / f"{_PREFIX}-{kind}-{name}"


def keep(value: Any, kind: str, *names: str) -> None:
    """Keeps a value of plain JSON under its kind and names, for the rest of the run."""
    path = _path(kind, *names)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(_CIPHER.encrypt(json.dumps(value).encode()))
    draft.replace(path)


def recall(kind: str, *names: str) -> Any:
    """What was kept, or None."""
    return _read(_path(kind, *names))


def _read(path: Path) -> Any:
    try:
        return json.loads(_CIPHER.decrypt(path.read_bytes()))
    except (FileNotFoundError, fernet.InvalidToken):
        return None


def drop(kind: str, *names: str) -> None:
    """Forgets what was kept."""
    _path(kind, *names).unlink(missing_ok=True)


def append(kind: str, name: str, value: Any) -> None:
    """Adds to a list that is kept."""
    with alone(kind, name):
        keep([*(recall(kind, name) or ()), value], kind, name)


def take(kind: str, name: str) -> list[Any]:
    """A list that was kept, which is forgotten with this."""
    with alone(kind, name):
        found = recall(kind, name) or []
        drop(kind, name)
    return list(found)


def uses_of(host: str, play: str) -> list[str]:
    """What was kept under C(contexts) for each use of the role by a host in a play."""
    return [name for of, name in recall("contexts", host) or () if of == play]


def set_claim(cluster: str, host: str, state: str, declaration: str | None = None) -> None:
    """Says which host does the work of a cluster in this run, for which declaration, and how far it is.

    state: C(open), C(done) or C(failed).
    """
    before = claim(cluster) or {}
    said = before.get("declaration", "") if declaration is None else declaration
    keep({"host": host, "state": state, "declaration": said}, "claim", cluster)


def claim(cluster: str) -> dict[str, str] | None:
    """What C(set_claim) said last."""
    found: dict[str, str] | None = recall("claim", cluster)
    return found


@contextlib.contextmanager
def alone(kind: str, *names: str) -> Iterator[None]:
    """Lets one process of this run at a time into the block, for these names."""
    with _path(f"{kind}-lock", *names).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
