# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift reports of any size, as the playbook makes them."""

from __future__ import annotations

from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._catalogue import KEYS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._drift import as_report, finish, new_entry
from ansible_collections.wabiz.onprem.plugins.plugin_utils._fleet import add_error

NOW = "2026-01-02T03:04:05+00:00"
VERSIONS = ("2.49.3", "2.53.2", "2.55.1")


def settings(number: int) -> dict[str, Any]:
    """Twenty-five settings of one client."""
    found = {name: key.default for name, key in KEYS.items()}
    found["webhooks.url"] = f"https://hooks-{number % 7}.example.com/whatsapp/callbacks?********"
    return dict(sorted({**found, "wa_id": f"4915{number:08}", "vendor.region": f"eu-{number % 3}"}.items()))


def difference(setting: str, current: Any, wanted: Any, **more: Any) -> dict[str, Any]:
    layer = "wa_settings_group_values"
    return {
        "setting": setting,
        "current": current,
        "wanted": wanted,
        "layer": layer,
        "restart_bound": bool(KEYS[setting].restart_bound),
        "secret_changed": False,
        **more,
    }


def client(number: int, name: str | None = None) -> dict[str, Any]:
    """A client; of ten, one fails, two drift and one has a pending restart."""
    name = name or f"wa{number:04}"
    entry = new_entry(
        name, f"trio-{number // 30}" if number % 30 in (5, 6, 7) else name, f"https://{name}.example.com:9090"
    )
    kind = number % 10
    if kind == 3:
        add_error(
            entry,
            f"GET https://{name}.example.com:9090/v1/settings/application: cannot be reached (Connection refused)",
        )
        return finish(entry)
    entry.update(client_version=VERSIONS[number % 3], settings=settings(number))
    if kind in (1, 6):
        entry["differences"].append(difference("log_level", "info", "warning"))
        entry["settings"]["log_level"] = "info"
    if kind == 6:
        entry["differences"].append(
            difference("callback_backoff_delay_ms", 3000, 5000, layer="wa_settings_host_values")
        )
        url = entry["settings"]["webhooks.url"]
        entry["differences"].append(
            difference("webhooks.url", url, url, secret_changed=True, layer="wa_settings_values")
        )
        entry["differences"].append(difference("verbose_logging", None, True, layer="wa_settings_overrides"))
        del entry["settings"]["verbose_logging"]
    if kind in (6, 8):
        entry["pending_restart"] = {"settings": ["callback_persist"], "containers": ["wacore"], "since": NOW}
    return finish(entry)


def report(clients: int, *more: dict[str, Any]) -> dict[str, Any]:
    """A report of so many clients, and of further ones."""
    return as_report([*(client(number) for number in range(1, clients + 1)), *more], NOW)
