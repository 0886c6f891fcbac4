# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode says which containers would restart, and touches neither them nor any file."""

from __future__ import annotations

from support.commands import AnsibleCommands
from support.containers import ContainerDeployment
from support.deployments import apply


def test_check_mode_predicts_restarts_and_shows_debts(
    ansible: AnsibleCommands, multiconnect: ContainerDeployment
) -> None:
    names = multiconnect.container_names()
    all_of_them = ", ".join(f"{names[service]} on multi" for service in ("wacore1", "wacore2", "wacore3"))
    multiconnect.forget()
    before, values = multiconnect.started(), multiconnect.new_values()

    predicted = apply(ansible, [multiconnect], values, "--check", "--diff")
    assert predicted.rc == 0, predicted.output
    assert f"Would restart: {all_of_them}" in predicted.output
    assert (multiconnect.leftovers(), multiconnect.writes()) == ([], [])
    assert multiconnect.restarted_since(before) == set()

    owing = apply(ansible, [multiconnect], values, variables={"wa_settings_restart": "never"})
    assert owing.rc == 0, owing.output
    record = multiconnect.record("multi")
    assert record is not None
    with_debt = apply(ansible, [multiconnect], values, "--check")
    assert with_debt.rc == 0, with_debt.output
    assert f"Would restart: {all_of_them}" in with_debt.output
    assert multiconnect.record("multi") == record
    assert multiconnect.restarted_since(before) == set()

    paid = apply(ansible, [multiconnect], values)
    assert paid.rc == 0, paid.output
    assert multiconnect.restarted_since(before) == multiconnect.coreapps()
    assert multiconnect.in_force(values)
    assert multiconnect.leftovers() == []
