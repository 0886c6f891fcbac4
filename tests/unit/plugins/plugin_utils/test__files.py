# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller: whole or not there, whenever the writing ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.wabiz.onprem.plugins.plugin_utils._files import (
    InTheWay,
    differs,
    encrypted,
    in_the_way,
    write_files,
)

CONTENTS: dict[str, str | bytes] = {"a/x.yml": "new a", "b/x.yml": b"new b", "c.yml": "new c"}


def test_files_are_written_below_the_directory(tmp_path: Path) -> None:
    written = write_files(tmp_path / "deep" / "er", CONTENTS)
    assert written == [str(tmp_path / "deep" / "er" / name) for name in CONTENTS]
    assert [Path(path).read_text() for path in written] == ["new a", "new b", "new c"]
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_step_leaves_each_file_old_or_new(tmp_path: Path, step: int) -> None:
    for name in list(CONTENTS)[:2]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("old")
    child = os.fork()
    if child == 0:
        _die_at(step)
        write_files(tmp_path, CONTENTS)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    for name, content in CONTENTS.items():
        path = tmp_path / name
        new = content if isinstance(content, bytes) else content.encode()
        assert (path.read_bytes() if path.exists() else b"old") in (b"old", new)
    # Not one of them before all are on the disk.
    replaced = [
        name for name in CONTENTS if (tmp_path / name).exists() and not differs(tmp_path / name, CONTENTS[name])
    ]
    assert len(replaced) == max(0, step - 3)


def _die_at(step: int) -> None:
    """Have this process killed at one of its steps: what is written of three files, then their new places."""
    steps = iter(range(100))

    def dying(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    os.fsync = dying(os.fsync)
    Path.replace = dying(Path.replace)  # type: ignore[method-assign]


def test_a_file_that_cannot_be_replaced_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "b" / "x.yml" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"x\.yml"):
        write_files(tmp_path, CONTENTS)
    assert not list(tmp_path.rglob(".*"))


def test_what_is_in_the_vault_stays_while_it_is_the_same(tmp_path: Path) -> None:
    class Secret(VaultSecret):  # type: ignore[misc]
        @property
        def bytes(self) -> bytes:
            return b"password"

    vault, path = VaultLib([("default", Secret())]), tmp_path / "vault.yml"
    first = encrypted(vault, path, "text")
    assert first.startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")
    path.write_bytes(first)
    assert encrypted(vault, path, "text") == first
    assert vault.decrypt(encrypted(vault, path, "other")) == b"other"
    path.write_text("no vault at all")
    assert vault.decrypt(encrypted(vault, path, "text")) == b"text"


GROUPS = {"all": {"a", "b"}, "eu": {"a"}}
WANTED = {PurePosixPath("group_vars/eu/wa_settings.yml")}


@pytest.mark.parametrize(
    ("present", "replace", "found"),
    [
        ("group_vars/eu/other.yml", False, []),
        ("group_vars/us/wa_settings.yml", False, []),
        ("host_vars/b/wa_settings.yml", False, []),
        ("group_vars/eu/wa_settings.yml", True, []),
        ("host_vars/a/wa_settings.yml", True, ["host_vars/a/wa_settings.yml"]),
        ("group_vars/eu/wa_settings_vault.yml", True, ["group_vars/eu/wa_settings_vault.yml"]),
        ("group_vars/all.yml", True, []),
        ("group_vars/eu/wa_settings.yml", False, "wa_export_force"),
        ("host_vars/a/wa_settings_vault.yml", False, "wa_export_force"),
        ("group_vars/all/wa_settings.yml", True, "were not read"),
        ("group_vars/eu.yml", True, "move it"),
        ("group_vars/eu", True, "move it"),
    ],
)
def test_files_that_are_there_already(tmp_path: Path, present: str, replace: bool, found: list[str] | str) -> None:
    """Host a was read, and group eu is to have a file."""
    write_files(tmp_path, {present: ""})
    if isinstance(found, str):
        with pytest.raises(InTheWay, match=f"{present}.*{found}"):
            in_the_way(tmp_path, WANTED, GROUPS, {"a": {}}, replace)
    else:
        assert in_the_way(tmp_path, WANTED, GROUPS, {"a": {}}, replace) == [tmp_path / name for name in found]
