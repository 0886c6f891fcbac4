# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import copy
import dataclasses
import fcntl
import json
import os
import pathlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from wabiz_emulator import accounts, faults
from wabiz_emulator.health import NodeRecord
from wabiz_emulator.switches import Switches


@dataclasses.dataclass
class State:
    """What Webapp, Coreapps and masters of a client share. `settings` holds explicit values only."""

    token_key: str
    users: dict[str, accounts.User]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    switches: Switches = dataclasses.field(default_factory=Switches)
    faults: list[faults.Fault] = dataclasses.field(default_factory=list)
    providers: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    webhook_ca: str | None = None
    # Random mark of a revoked token → end of its life, seconds since the epoch.
    revoked: dict[str, int] = dataclasses.field(default_factory=dict)


def first_state() -> State:
    """A client nobody has logged in to yet (reference, section 1)."""
    first_user = accounts.user(accounts.FIRST_PASSWORD, owes_change=True)
    return State(secrets.token_hex(32), {accounts.FIRST_NAME: first_user})


def state_from_mapping(values: Mapping[str, Any]) -> State:
    users = {name: accounts.User(**user) for name, user in values["users"].items()}
    return State(**{
        **values,
        "users": users,
        "switches": Switches(**values["switches"]),
        "faults": [faults.Fault(**fault) for fault in values["faults"]],
    })  # fmt: skip


class Store(Protocol):
    """One client's shared store."""

    def read(self) -> State:
        """The present state; not to be modified."""

    def change(self) -> contextlib.AbstractContextManager[State]:
        """The state to modify, alone; kept when the block ends without an exception."""

    def node_records(self) -> dict[str, NodeRecord]:
        """Node name → record, of every node that ever registered."""

    def write_node(self, record: NodeRecord) -> None:
        """Publish a node's record."""

    def reachable(self, name: str) -> bool:
        """Whether the node's process runs at this moment, whatever its record says."""

    def emit(self, event: dict[str, Any]) -> bool:
        """Hand an event to the Coreapps, for a callback; False where they are simulated, and deliver none."""


class MemoryStore:
    """A store for nodes that are simulated in the Webapp's own process."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._nodes: dict[str, NodeRecord] = {}

    def read(self) -> State:
        return self._state

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        yield self._state

    def node_records(self) -> dict[str, NodeRecord]:
        return self._nodes

    def write_node(self, record: NodeRecord) -> None:
        self._nodes[record.name] = record

    def reachable(self, name: str) -> bool:
        # A simulated node beats for ever until it is stopped or killed.
        return not self._nodes[name].stopped and self._nodes[name].beat == float("inf")

    def emit(self, event: dict[str, Any]) -> bool:
        return False


class FileStore:
    """A store in a directory, for processes and containers on one volume: JSON files replaced as a whole, `flock`."""

    def __init__(self, directory: str | os.PathLike[str], create: Callable[[], State] = first_state) -> None:
        self.directory = pathlib.Path(directory)
        self._nodes_directory = self.directory / "nodes"
        self._nodes_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What has happened and no Coreapp has heard of yet, and what each Coreapp still has to deliver.
        self.events = self.directory / "events"
        self._callbacks = self.directory / "callbacks"
        for folder in (self.events, self._callbacks):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._path = self.directory / "state.json"
        self._signature: tuple[int, int, int] | None = None
        self._state = State("", {})
        self._nodes: dict[str, tuple[tuple[int, int, int], NodeRecord]] = {}
        with self._locked():
            if not self._path.exists():
                _replace(self._path, dataclasses.asdict(create()))

    def read(self) -> State:
        signature = _signature(self._path)
        if signature != self._signature:
            self._state = state_from_mapping(json.loads(self._path.read_bytes()))
            self._signature = signature
        return self._state

    def fresh(self) -> State:
        """The present state read anew, for threads: what `read` remembers is for one alone."""
        return state_from_mapping(json.loads(self._path.read_bytes()))

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        with self._locked():
            state = copy.deepcopy(self.read())
            yield state
            _replace(self._path, dataclasses.asdict(state))

    def node_records(self) -> dict[str, NodeRecord]:
        found = {}
        for entry in os.scandir(self._nodes_directory):
            if not entry.name.endswith(".json"):
                continue
            path = self._nodes_directory / entry.name
            # The signature is taken first: at worst a newer record is read twice.
            signature = _signature(path)
            known = self._nodes.get(entry.name)
            if known is None or known[0] != signature:
                known = (signature, NodeRecord(**json.loads(path.read_bytes())))
                self._nodes[entry.name] = known
            found[known[1].name] = known[1]
        return dict(sorted(found.items()))

    def write_node(self, record: NodeRecord) -> None:
        _replace(self._nodes_directory / f"{record.name}.json", dataclasses.asdict(record))

    def reachable(self, name: str) -> bool:
        return lock_is_held(self.node_lock_path(name))

    def emit(self, event: dict[str, Any]) -> bool:
        # The name sorts by time.
        _replace(self.events / f"{time.time_ns():020}-{secrets.token_hex(4)}.json", event)
        return True

    def callback_folder(self, node: str) -> pathlib.Path:
        """Where a Coreapp keeps its callbacks."""
        folder = self._callbacks / node
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def callback_folders(self) -> list[pathlib.Path]:
        """Those of all Coreapps, present and past; each has the name of its node."""
        return sorted(self._callbacks.iterdir())

    def node_lock_path(self, name: str) -> pathlib.Path:
        """The file that a node's process keeps locked: the kernel lets go of it however the process ends."""
        return self._nodes_directory / f"{name}.lock"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.directory / "state.lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def hold_lock(path: str | os.PathLike[str], patience: float) -> int:
    """Lock a file for as long as this process lives; waits `patience` seconds, then TimeoutError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    give_up = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{path} is held by another process") from None
            time.sleep(0.01)


def lock_is_held(path: str | os.PathLike[str]) -> bool:
    """Whether a living process holds the lock on a file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _signature(path: pathlib.Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _replace(path: pathlib.Path, values: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.uname().nodename}")
    with open(temporary, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(values, file)
    os.replace(temporary, path)
