# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SSH server on the loopback interface, so that modules run where Ansible has to bring them over a network."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ADDRESS = "127.0.0.1"
PATIENCE_SECONDS = 10.0
# Debian's server wants it, and leaves making it to what starts services.
PRIVILEGE_SEPARATION = Path("/run/sshd")


def find_server() -> str | None:
    """Return the path of OpenSSH's server; None where it or its client is missing."""
    # It does not start under a bare name, and is seldom on the PATH of a user.
    server = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    return server if shutil.which("ssh") else None


@contextlib.contextmanager
def running_ssh_server(server: str, place: Path) -> Iterator[Path]:
    """Serve the own account for a key made just now; yield the file of variables that lead Ansible there.

    Everything lies in `place`, which has to be private. Each host of an inventory gets a connection of its own.
    """
    host_key, user_key = (_new_key(place / name) for name in ("host_key", "user_key"))
    port = _free_port()
    known_hosts = place / "known_hosts"
    known_hosts.write_text(f"[{ADDRESS}]:{port} {host_key.with_suffix('.pub').read_text()}")
    configuration = place / "sshd_config"
    configuration.write_text(
        f"ListenAddress {ADDRESS}\nPort {port}\nHostKey {host_key}\nPidFile none\n"
        f"AuthorizedKeysFile {user_key.with_suffix('.pub')}\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
        # The place of the key is below a folder that all may write to.
        "StrictModes no\n"
        # As many as Ansible has forks knock at once.
        "MaxStartups 1000\n"
    )
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    log = place / "sshd.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", str(configuration)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        _wait_for(port, process, log)
        yield _write_variables(place, port, user_key, known_hosts)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def private_connections(place: Path) -> Iterator[dict[str, str]]:
    """Yield environment variables for one run of Ansible, which finds no open connection, and close what it opened."""
    directory = place / "connections"
    directory.mkdir()
    try:
        yield {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory)}
    finally:
        for control in directory.iterdir():
            command = ["ssh", "-F", "none", "-o", f"ControlPath={control}", "-O", "exit", "-q", ADDRESS]
            subprocess.run(command, check=False, capture_output=True)
        shutil.rmtree(directory)


def _new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port)):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the SSH server did not start: {log.read_text(errors='replace')}")
        time.sleep(0.05)


def _write_variables(place: Path, port: int, user_key: Path, known_hosts: Path) -> Path:
    path = place / "ssh.json"
    path.write_text(json.dumps({
        "ansible_connection": "ssh",
        "ansible_host": ADDRESS,
        "ansible_port": port,
        "ansible_user": getpass.getuser(),
        "ansible_ssh_private_key_file": str(user_key),
        "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={known_hosts}",
        # By Ansible's own rule all hosts would share one, since address, port and account are the same.
        "ansible_control_path": "%(directory)s/{{ inventory_hostname }}",
    }))  # fmt: skip
    return path
