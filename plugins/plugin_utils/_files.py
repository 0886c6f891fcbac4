# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing files on the controller, and what is there already.

This module is private to the collection.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib

# What an export writes in the folder of a group or a host.
OF_EXPORT = ("wa_settings.yml", "wa_settings_vault.yml")
_HIDDEN_BY_A_FOLDER = ("", ".yml", ".yaml", ".json")


class InTheWay(Exception):
    """A file that has to stay as it is; the message begins with its path."""


def write_files(directory: Path, contents: Mapping[str, str | bytes]) -> list[str]:
    """Writes files, each complete or not at all, by their paths below a directory; their absolute paths.

    Nothing is in its place before everything is on the disk. Drafts are hidden files, which Ansible takes for no
    variables. Raises OSError.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    drafts: dict[Path, Path] = {}
    try:
        for name, content in contents.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            drafts[draft] = path
            with draft.open("xb") as file:
                file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        for draft, path in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    return [str(path) for path in drafts.values()]


def differs(path: Path, content: str | bytes) -> bool:
    """Whether a file is not there, or holds something else. Raises OSError."""
    new = content if isinstance(content, bytes) else content.encode()
    return not path.is_file() or path.read_bytes() != new


def encrypted(vault: VaultLib, path: Path, text: str) -> bytes:
    """The text as a vault; the file as it is where it holds the same."""
    try:
        present = path.read_bytes()
        if vault.decrypt(present) == text.encode():
            return present
    except (AnsibleError, OSError):
        pass
    return bytes(vault.encrypt(text.encode()))


def in_the_way(
    directory: Path,
    wanted: Set[PurePosixPath],
    groups: Mapping[str, Set[str]],
    hosts: Mapping[str, Any],
    replace: bool,
) -> list[Path]:
    """Files of an earlier export that are to go, since they would say something else of these hosts.

    wanted: what is to be written. groups: the groups of the hosts, with all of their hosts. replace: whether files
    of an earlier export may be replaced. Raises InTheWay where a file must stay.
    """
    stale = []
    folders = {path.parent for path in wanted}
    for folder, of_these_only in _folders(groups, hosts):
        for path in (directory / f"{folder}{ending}" for ending in _HIDDEN_BY_A_FOLDER if folder in folders):
            if path.is_file():
                raise InTheWay(f"{path}: Ansible reads no file beside a folder of its name; move it into the folder")
        for name in OF_EXPORT:
            path = directory / folder / name
            if not path.exists():
                continue
            if not replace:
                raise InTheWay(f"{path}: is there already; wa_export_force=true replaces it")
            if not of_these_only:
                raise InTheWay(f"{path}: holds for hosts that were not read as well; use another wa_export_dir")
            if folder / name not in wanted:
                stale.append(path)
    return stale


def _folders(groups: Mapping[str, Set[str]], hosts: Mapping[str, Any]) -> Iterator[tuple[PurePosixPath, bool]]:
    """The folders that hold for the hosts, and whether each holds for no others."""
    for group, members in groups.items():
        yield PurePosixPath("group_vars", group), members <= set(hosts)
    for host in hosts:
        yield PurePosixPath("host_vars", host), True
