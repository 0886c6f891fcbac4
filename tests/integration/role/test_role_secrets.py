# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role is given in confidence is nowhere to be found after a run that writes, records and restarts."""

from __future__ import annotations

from pathlib import Path

from support.commands import AnsibleCommands
from support.deployments import NewDeployment, apply
from support.emulator import PASSWORD

WEBHOOK = "https://me:canary-user@hooks.example.com/wa?auth=canary-query"


def test_secrets_are_in_no_output_and_in_no_file(
    ansible: AnsibleCommands, new_single: NewDeployment, tmp_path: Path
) -> None:
    single = new_single(wa_settings_password=PASSWORD, wa_settings_token="")
    values = {"log_level": "warning", "webhooks": {"url": WEBHOOK}}
    left = apply(ansible, [single], values, "-vvv", "--diff", "-e", "wa_settings_restart=never")
    assert left.rc == 0, left.output
    assert single.pending() == ["wacore"]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and ansible.inputs not in path.parents]
    assert files
    for secret in (PASSWORD, "canary-user", "canary-query"):
        assert secret not in left.output
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
    done = apply(ansible, [single], values, "-vvv", "--diff")
    assert done.rc == 0, done.output
    assert single.running("log_level") == {"warning"}
    for secret in (PASSWORD, "canary-user", "canary-query"):
        assert secret not in done.output
