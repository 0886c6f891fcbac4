# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wabiz.onprem.plugins.plugin_utils import _store
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Whose
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import FileStore, Place, Problem, read_answer

SHELLS = [[shell] for shell in ("dash", "bash") if shutil.which(shell)] + [
    ["busybox", "sh"] for _once in range(1) if shutil.which("busybox")
]


class Shell:
    """A host that is this machine. faults: a folder with programs that come first on the path."""

    def __init__(self, shell: list[str], faults: Path | None = None, umask: int = 0o022, is_here: bool = False) -> None:
        self.shell = shell
        self.is_here = is_here
        self.path = f"{faults}:{os.environ['PATH']}" if faults else os.environ["PATH"]
        self.umask = umask

    def run(self, command: str) -> str:
        done = subprocess.run(
            [*self.shell, "-c", f"umask {self.umask:o}; {command}"],
            env={"PATH": self.path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise Problem(done.stdout)
        return done.stdout

    def module(self, name: str, arguments: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
        raise AssertionError(name)


@pytest.fixture(params=SHELLS, ids=" ".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "it's a state" / "records"


def store_at(place: Path, shell: list[str], **facts: Any) -> FileStore:
    return FileStore(Shell(shell, **facts), str(place), "c@h.json")


def programs(folder: Path, **scripts: str) -> Path:
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_record_is_made_read_changed_and_removed(place: Path, shell: list[str]) -> None:
    store = store_at(place, shell, umask=0)
    assert store.read() == Place()
    assert not place.exists()
    assert store.swap(None, '{"a": "it\'s $HOME `id` \\\\ ü"}', True).text == '{"a": "it\'s $HOME `id` \\\\ ü"}\n'
    assert stat.S_IMODE((place / "c@h.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    before = store.read().text
    assert store.swap(before, "two\nlines\n", True).text == "two\nlines\n"
    assert (place / "c@h.json").read_text() == "two\nlines\n"
    assert store.swap("two\nlines\n", None, True) == Place()
    assert list(place.iterdir()) == []


def test_a_change_that_came_too_late_changes_nothing(place: Path, shell: list[str]) -> None:
    store = store_at(place, shell)
    store.swap(None, "one", True)
    for old, new in ((None, "mine"), ("else", "mine"), ("else", None)):
        assert store.swap(old, new, True).text == "one\n"
    assert (place / "c@h.json").read_text() == "one\n"


def test_of_many_changes_at_once_one_wins(place: Path, shell: list[str]) -> None:
    answers: list[Place] = []
    threads = [
        threading.Thread(target=lambda at=at: answers.append(store_at(place, shell).swap(None, f"run {at}", True)))
        for at in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.text for answer in answers} == {(place / "c@h.json").read_text()}
    assert [path.name for path in place.iterdir()] == ["c@h.json"]


@pytest.mark.parametrize(
    ("build", "verdict"),
    [
        (lambda place: place.symlink_to("elsewhere"), "is a symbolic link"),
        (lambda place: place.write_text("x"), "is not a directory"),
        (
            lambda place: (place.mkdir(), (place / "c@h.json").symlink_to("/etc/passwd")),
            "holds a record that is a symbolic link",
        ),
        (lambda place: (place.mkdir(), place.chmod(0o770)), "may be written by others"),
        (lambda place: (place.mkdir(), place.chmod(0o702)), "may be written by others"),
    ],
)
def test_places_that_are_refused(place: Path, shell: list[str], build: Any, verdict: str) -> None:
    place.parent.mkdir()
    build(place)
    before = sorted(path.name for path in place.parent.rglob("*"))
    for answer in (store_at(place, shell).read(), store_at(place, shell).swap(None, "mine", True)):
        assert answer.unusable is not None
        assert answer.unusable.startswith(f"{place} {verdict}")
    assert sorted(path.name for path in place.parent.rglob("*")) == before


def test_a_directory_of_another_user_is_refused(place: Path, shell: list[str], tmp_path: Path) -> None:
    place.mkdir(parents=True)
    # Neither the present user's nor root's, whoever runs the test.
    faults = programs(tmp_path / "bin", find='case "$*" in *-user*) exit 0;; *) exec /usr/bin/find "$@";; esac')
    if os.getuid() == 0:
        os.chown(place, 12345, 12345)
        assert str(store_at(place, shell).read().unusable).endswith("belongs to another user")
    else:
        assert store_at(place, shell, faults=faults).read().unusable is None


@pytest.mark.parametrize("file_system", ["overlayfs", "aufs", "fuse-overlayfs", "unionfs"])
def test_nothing_is_kept_where_it_goes_with_a_container(
    place: Path, shell: list[str], tmp_path: Path, file_system: str
) -> None:
    store = store_at(place, shell, faults=programs(tmp_path / "bin", stat=f"echo {file_system}"))
    assert store.read() == Place(volatile=True)
    assert store.swap(None, "mine", False) == Place(volatile=True)
    assert not place.exists()
    assert store.swap(None, "mine", True) == Place("mine\n", volatile=True)


def test_a_lasting_file_system_takes_every_record(place: Path, shell: list[str], tmp_path: Path) -> None:
    store = store_at(place, shell, faults=programs(tmp_path / "bin", stat="echo ext2/ext3"))
    assert store.swap(None, "mine", False) == Place("mine\n")


@pytest.mark.parametrize("program", ["mv", "mktemp", "flock"])
def test_a_change_that_fails_leaves_what_was_there(place: Path, shell: list[str], tmp_path: Path, program: str) -> None:
    store_at(place, shell).swap(None, "one", True)
    broken = store_at(place, shell, faults=programs(tmp_path / "bin", **{program: "echo 'no space left' >&2; exit 1"}))
    with pytest.raises(Problem, match=r"c@h.json: .*no space left"):
        broken.swap("one", "two", True)
    assert [path.name for path in place.iterdir()] == ["c@h.json"]
    assert (place / "c@h.json").read_text() == "one\n"


def test_the_record_of_this_machine_needs_no_shell(place: Path) -> None:
    store = FileStore(Shell(["false"]), str(place), "c@h.json")
    assert store.read_here() == Place()
    place.mkdir(parents=True)
    assert store.read_here() == Place()
    (place / "c@h.json").write_bytes(b"text \xff\n")
    assert store.read_here().text == "text �\n"
    (place / "c@h.json").unlink()
    (place / "c@h.json").mkdir()
    with pytest.raises(Problem, match=r"c@h\.json: cannot be read \(Is a directory\)"):
        store.read_here()


@pytest.mark.parametrize(("directory", "name"), [("/state/", "/state/f"), ("/", "//f")])
def test_the_name_for_people(directory: str, name: str) -> None:
    assert FileStore(Shell(["sh"]), directory, "f").name == name


MARK = "wabiz-onprem-record"


@pytest.mark.parametrize(
    ("output", "place"),
    [
        (f"{MARK} absent ext2/ext3 fine\n{MARK}\n", Place()),
        (f"{MARK} present ext2/ext3 fine\ntext\n{MARK}\n", Place("text\n")),
        (f"Welcome!\n{MARK} present ext2/ext3 fine\ntext\n{MARK}\nbye", Place("text\n")),
        (f"{MARK} present  fine\ntext\n{MARK}\n", Place("text\n")),
        (f"{MARK} absent overlayfs fine\n{MARK}\n", Place(volatile=True)),
        (f"{MARK} absent OVERLAYFS fine\n{MARK}\n", Place(volatile=True)),
        (f"{MARK} absent xfs is not a directory\n{MARK}\n", Place(unusable="/d is not a directory")),
        # What is empty is there all the same, and makes no sense.
        (f"{MARK} present xfs fine\n{MARK}\n", Place("")),
        # A record with the mark in it is still one text.
        (f"{MARK} present xfs fine\n{MARK} x\n{MARK}\n", Place(f"{MARK} x\n")),
    ],
)
def test_answers_of_a_host(output: str, place: Place) -> None:
    assert read_answer(output, "/d") == place


@pytest.mark.parametrize("output", ["", "sh: not found", f"{MARK} xfs fine\nhalf of a rec"])
def test_what_is_no_answer(output: str) -> None:
    with pytest.raises(Problem, match="the answer of the host cannot be read"):
        read_answer(output, "/d")


def test_records_of_the_same_client_under_other_names(place: Path, shell: list[str]) -> None:
    """One by its address, one by its cluster; those of a stranger and of another host of the inventory are left."""
    place.mkdir(parents=True)
    client = "https://wa1.example.com:9090"
    empty = {"nodes": [], "returning": None, "elsewhere": []}

    def lay(cluster: str, host: str, whose: str) -> None:
        record = {**empty, "client": whose, "cluster": cluster, "host": host, "nodes": ["wacore"]}
        (place / f"{cluster}@{host}.json").write_text(json.dumps(record, indent=1))

    whose = Whose(client, "new", "h", lambda name: name in ("h", "i"))
    store = FileStore(Shell(shell), str(place), "new@h.json", whose)
    assert store.read() == store.read_here() == Place()
    for cluster, host, address in (("new", "h", client), ("other", "h", "https://wa2"), ("old", "i", client)):
        lay(cluster, host, address)
    assert [found.misnamed for found in (store.read(), store.read_here())] == ["", ""]
    for cluster, host, address in (("old", "h", client), ("new", "was h", ""), ("any", "g", client)):
        lay(cluster, host, address)
        for found in (store.read(), store.read_here()):
            assert f"{place / f'{cluster}@{host}.json'} holds a pending restart" in found.misnamed
            assert found.text is not None
        assert FileStore(Shell(shell), str(place), "new@h.json").read().misnamed == ""
        (place / f"{cluster}@{host}.json").unlink()


# --- without a shell ----------------------------------------------------------------------------------------------


class Deaf:
    """A host that is this machine, and on which nobody runs anything."""

    is_here = True

    def run(self, command: str) -> str:
        raise AssertionError(command)

    module = Shell.module


@pytest.fixture
def here(place: Path) -> FileStore:
    """A record that was made with a shell."""
    store_at(place, SHELLS[0]).swap(None, "one", True)
    return FileStore(Deaf(), str(place), "c@h.json")


def test_a_place_that_was_examined_needs_no_shell(here: FileStore, place: Path) -> None:
    assert here.swap("one", '{"a": "ü"}\n\n').text == '{"a": "ü"}\n'
    assert (place / "c@h.json").read_text(encoding="utf-8") == '{"a": "ü"}\n'
    assert stat.S_IMODE((place / "c@h.json").stat().st_mode) == 0o600
    assert store_at(place, SHELLS[0]).read().text == '{"a": "ü"}\n'
    assert here.swap('{"a": "ü"}', None) == Place()
    assert list(place.iterdir()) == []
    assert here.swap(None, "two").text == "two\n"


class Once(Shell):
    """This machine, which counts what is run on it."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(SHELLS[0], is_here=True, **facts)
        self.count = 0

    def run(self, command: str) -> str:
        self.count += 1
        return super().run(command)


def test_hosts_that_are_this_machine_have_their_directory_examined_once(place: Path) -> None:
    host = Once()
    for name in ("c@1.json", "c@2.json", "c@3.json"):
        assert FileStore(host, str(place), name).swap(None, name, False) == Place(f"{name}\n")
    assert (host.count, sorted(path.name for path in place.iterdir())) == (1, ["c@1.json", "c@2.json", "c@3.json"])
    # What was asked with another answer to this question says nothing here, and a link is looked at again.
    assert FileStore(host, str(place), "c@4.json").swap(None, "4", True).text == "4\n"
    (place / "c@5.json").symlink_to(place / "c@1.json")
    refused = FileStore(host, str(place), "c@5.json").swap(None, "5", False)
    assert (refused.unusable, host.count) == (f"{place} holds a record that is a symbolic link", 3)


def test_a_directory_here_that_is_refused_is_examined_each_time(place: Path, tmp_path: Path) -> None:
    host = Once(faults=programs(tmp_path / "bin", stat="echo overlayfs"))
    stores = [FileStore(host, str(place), name) for name in ("c@1.json", "c@2.json")]
    assert [store.swap(None, "new", False) for store in stores] == [Place(volatile=True)] * 2
    assert not place.exists()
    # With consent, the directory is made by the first one.
    assert [store.swap(None, "new", True).text for store in stores] == ["new\n"] * 2
    assert host.count == 3


@pytest.mark.parametrize(("old", "new"), [(None, "mine"), ("else", "mine"), ("else", None)])
def test_a_change_that_came_too_late_changes_nothing_here_either(
    here: FileStore, place: Path, old: str | None, new: str | None
) -> None:
    assert here.swap(old, new).text == "one\n"
    assert [path.read_text() for path in place.iterdir()] == ["one\n"]


@pytest.mark.parametrize("attempt", range(5))
def test_of_changes_with_and_without_a_shell_one_wins(here: FileStore, place: Path, attempt: int) -> None:
    stores = [store_at(place, SHELLS[0], is_here=at % 2 == attempt % 2) for at in range(6)]
    answers: list[Place] = []
    threads = [
        threading.Thread(target=lambda at=at, store=store: answers.append(store.swap("one", f"run {at}")))
        for at, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.text for answer in answers} == {here.read_here().text}
    assert [path.name for path in place.iterdir()] == ["c@h.json"]


def test_a_lock_that_is_not_given_is_a_problem(here: FileStore, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "_LOCK_SECONDS", 0.05)
    holder = os.open(place, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(Problem, match=r"c@h.json: the lock of the directory was not given within 0.05 s"):
        here.swap("one", "two")
    os.close(holder)
    assert here.swap("one", "two").text == "two\n"


def test_a_draft_that_cannot_be_written_leaves_the_record(
    here: FileStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Problem, match=r"c@h.json: No space left on device"):
        here.swap("one", "two")
    assert [path.read_text() for path in place.iterdir()] == ["one\n"]
    shutil.rmtree(place)
    with pytest.raises(Problem, match="No such file or directory"):
        here.swap("one", "two")
