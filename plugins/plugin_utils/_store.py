# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where records lie: a directory on the container host, read and changed by lines of a POSIX shell.

A change compares and replaces in one step under a lock, so that no other run's change is lost. It takes no Python on
the host; a module's payload would cost half a second each time.

This module is private to the collection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Whose

_MARK = "wabiz-onprem-record"
_ALSO = "wabiz-onprem-other-record"
# What a container's own root file system is on; it goes with the container.
_VOLATILE = ("overlay", "aufs", "fuse-overlay", "fuse.fuse-overlay", "unionfs")
# What the shell below says of a place or a record that another account keeps to itself.
_UNREADABLE = "cannot be read;"
_LOCK_SECONDS = 30.0
_LOCK_POLL = 0.01
# Directories here that the shell below has found usable for this process, which ends with its task; each with what
# C(swap) was told of places that may go with a container.
_examined: set[tuple[str, bool]] = set()

_EXAMINE = r"""
examine() {
  place=$d
  while test -n "$place" && ! test -e "$place" && ! test -L "$place"; do place=${place%/*}; done
  test -n "$place" || place=/
  fs=$(stat -f -c %T "$place" 2>/dev/null)
  missing=
  for program in find flock mktemp; do command -v $program >/dev/null || missing="$missing $program"; done
  if test -n "$missing"; then verdict="is on a host without the programs$missing, which the record needs"
  elif test -L "$d"; then verdict='is a symbolic link'
  elif test -e "$d" && ! test -d "$d"; then verdict='is not a directory'
  elif test -L "$f"; then verdict='holds a record that is a symbolic link'
  elif test -d "$d" && ! { test -r "$d" && test -x "$d"; }; then verdict='cannot be read; does the play need become?'
  elif test -d "$d" && test -n "$(find "$d" -prune \( -perm -020 -o -perm -002 \) -print)"; then
    verdict='may be written by others; take that right away (chmod go-w)'
  elif test -d "$d" && ! test -O "$d" && test -z "$(find "$d" -prune -user 0 -print)"; then
    verdict='belongs to another user'
  elif test -e "$f" && ! test -r "$f"; then verdict='holds a record that cannot be read; does the play need become?'
  elif ! test -w "$place"; then verdict='cannot be written; does the play need become?'
  else verdict=fine; fi
}
look() {
  there=absent text=
  test -e "$f" || return
  there=present text=$(cat "$f" 2>/dev/null)
}
tell() { printf '%s\n' "$mark $there $fs $verdict" "$text" "$mark"; }
"""
_READ = r"""
examine
look
if test -n "$client"; then
  grep -lsF -e "$client" -e "$cluster" "$d"/*.json | while IFS= read -r other; do
    test "$other" != "$f" || continue
    printf '%s\n' "$also $other"; cat "$other"
  done
fi
tell
"""
# The place is examined once for each lease: nobody else may write to it, so it stays what it was.
_SWAP = r"""
if test "$known" = yes; then verdict=fine fs=; else examine; fi
test "$verdict" = fine || { look; tell; exit 0; }
case "$volatile$fs" in no*overlay*|noaufs*|nounionfs*) look; tell; exit 0;; esac
umask 077
test -d "$d" || mkdir -p "$d" || exit
exec 9<"$d" || exit
flock -w 30 9 || { echo 'the lock of the directory was not given within 30 s'; exit 1; }
look
if test "$there" = "$expected" && test "$text" = "$old"; then
  if test -z "$new"; then rm -f "$f" || exit; there=absent
  else
    draft=$(mktemp "$d/.draft.XXXXXX") || exit
    { printf '%s\n' "$new" >"$draft" && { sync "$draft" 2>/dev/null || sync; } && mv -f "$draft" "$f"; } ||
      { rm -f "$draft"; exit 1; }
    there=present
  fi
  text=$new
  sync "$d" 2>/dev/null || sync
fi
tell
"""


class Problem(Exception):
    """Something could not be found out or done on a host; the message says what, in one line."""

    def of(self, what: str) -> Problem:
        """The same, with the words for what it is a problem of before it."""
        return Problem(f"{what}: {self}")


class Unreachable(Problem):
    """A host that no connection leads to. reason: what Ansible says of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"unreachable: {reason}")
        self.reason = reason

    def of(self, what: str) -> Problem:
        """Itself: it has nothing to do with what would have been done there."""
        return self


class Host(Protocol):
    """A host that commands reach, over the connection of the present task."""

    @property
    def is_here(self) -> bool:
        """Whether it is this machine and this account."""

    def run(self, command: str) -> str:
        """Runs lines of a POSIX shell there; what they printed. Raises Problem where they fail, or Unreachable."""

    def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        """Runs a module there; its result."""


@dataclass(frozen=True)
class Place:
    """What was found where a record lies.

    text: the record, or None. unusable: why no record may be kept there. volatile: whether it goes with a container.
    misnamed: what is wrong if there are records of the same client under other names. hidden: whether there may be a
    record that this account cannot read.
    """

    text: str | None = None
    unusable: str | None = None
    volatile: bool = False
    misnamed: str = ""
    hidden: bool = False


class Store(Protocol):
    """Where one record lies."""

    name: str  # for people

    def read(self) -> Place:
        """What is there now. Raises Problem."""

    def swap(self, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        """Replaces C(old) by C(new) if that is still what is there. None stands for no record.

        volatile: whether the place may go with a container; None where the place was examined before. Returns what is
        there afterwards. Raises Problem.
        """


class FileStore:
    """A record in a directory of the host that the present task is connected to.

    whose: the client whose records are looked for under other names; None if nobody's are.
    """

    def __init__(self, host: Host, directory: str, file: str, whose: Whose | None = None) -> None:
        self._host = host
        self._directory = directory.rstrip("/") or "/"
        self.name = f"{self._directory}/{file}"
        self._whose = whose

    def read_here(self) -> Place:
        """The same as C(read), where the host is this machine and this account. Raises Problem."""
        try:
            others = self._others_here()
            return Place(self._text_here(), misnamed=self._whose.misnamed(others) if self._whose is not None else "")
        except OSError as error:
            raise Problem(f"{self.name}: cannot be read ({error.strerror}); does the play need become?") from None

    def _text_here(self) -> str | None:
        try:
            return Path(self.name).read_bytes().decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _others_here(self) -> Iterator[tuple[str, str]]:
        whose = self._whose
        if whose is None:
            return
        client, cluster = whose.marks
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._directory) as entries:
            # By the name first: a controller may have the records of a thousand hosts here.
            for name in sorted(entry.name for entry in entries if not whose.leaves_file(entry.name)):
                path = f"{self._directory}/{name}"
                if path == self.name:
                    continue
                with contextlib.suppress(OSError):
                    text = Path(path).read_bytes().decode(errors="replace")
                    if client in text or cluster in text:
                        yield path, text

    def read(self) -> Place:
        client, cluster = self._whose.marks if self._whose is not None else ("", "")
        return self._call(_READ, client=client, cluster=cluster, also=_ALSO)

    def swap(self, old: str | None, new: str | None, volatile: bool | None = None) -> Place:
        if self._host.is_here and (volatile is None or self._is_examined(volatile)):
            return self._swap_here(old, new)
        expected = "absent" if old is None else "present"
        allowed, known = ("yes" if fact else "no" for fact in (volatile, volatile is None))
        found = self._call(_SWAP, old=old, expected=expected, new=new, volatile=allowed, known=known)
        was_written = found.unusable is None and (volatile or not found.volatile)
        if self._host.is_here and volatile is not None and was_written:
            _examined.add((self._directory, volatile))
        return found

    def _is_examined(self, volatile: bool) -> bool:
        """Whether the shell would find nothing new at this place: the record of another host was changed there."""
        return (self._directory, volatile) in _examined and not Path(self.name).is_symlink()

    def _swap_here(self, old: str | None, new: str | None) -> Place:
        """What the lines of the shell do at a place that was examined before, without their processes. Raises Problem.

        Each of them would cost more than all the rest that a restart takes here. The lock is held for the comparison
        and the replacement only: all hosts of a fleet without machines may have their records in one directory.
        """
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with self._draft(_one_end(new)) as draft:
                    _lock(directory)
                    present = _one_end(self._text_here())
                    swaps = present == _one_end(old)
                    if swaps and draft is not None:
                        draft.replace(self.name)
                    elif swaps:
                        Path(self.name).unlink(missing_ok=True)
                    fcntl.flock(directory, fcntl.LOCK_UN)
                if swaps:
                    os.fsync(directory)
                return Place(_one_end(new) if swaps else present)
            finally:
                os.close(directory)
        except OSError as error:
            raise Problem(f"{self.name}: {error.strerror or error}") from None

    @contextlib.contextmanager
    def _draft(self, text: str | None) -> Iterator[Path | None]:
        """A file beside the record with this text, which is gone after the block, or has become the record."""
        if text is None:
            yield None
            return
        handle, name = tempfile.mkstemp(prefix=".draft.", dir=self._directory)
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def _call(self, script: str, **words: str | None) -> Place:
        names = {"mark": _MARK, "d": self._directory, "f": self.name, **words}
        values = "\n".join(f"{name}={shlex.quote((word or '').rstrip())}" for name, word in names.items())
        try:
            return read_answer(self._host.run(f"{values}\n{_EXAMINE}\n{script}"), self._directory, self._whose)
        except Problem as problem:
            raise problem.of(self.name) from None


def _one_end(text: str | None) -> str | None:
    """A record with one end of line after it, as the shell writes and reads it."""
    return None if text is None else f"{text.rstrip()}\n"


def _lock(directory: int) -> None:
    """Locks a directory as the shell's C(flock) does. Raises OSError."""
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError(f"the lock of the directory was not given within {_LOCK_SECONDS:g} s") from None
            time.sleep(_LOCK_POLL)


def read_answer(output: str, directory: str, whose: Whose | None = None) -> Place:
    """What the scripts print. Raises Problem where it is not that."""
    before, found, rest = output.partition(_MARK + " ")
    head, _newline, rest = rest.partition("\n")
    text, end, _after = rest.rpartition(_MARK)
    if not found or not end:
        raise Problem(f"the answer of the host cannot be read: {' '.join(output.split())[:200] or 'nothing'}")
    there, _space, rest = head.partition(" ")
    file_system, _space, verdict = rest.partition(" ")
    sections = (section.partition("\n") for section in before.split(f"{_ALSO} ")[1:])
    others = ((name, text) for name, _newline, text in sections)
    return Place(
        text=text if there == "present" else None,
        unusable=None if verdict == "fine" else f"{directory} {verdict}",
        volatile=file_system.lower().startswith(_VOLATILE),
        misnamed=whose.misnamed(others) if whose is not None else "",
        hidden=_UNREADABLE in verdict,
    )
