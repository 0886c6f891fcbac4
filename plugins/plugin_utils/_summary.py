# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role tells of a run: a line for each client, the facts of a host, and the report for workflows.

This module is private to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import alone, keep, recall

# What a failed handler says if no record says it.
LOST = "The restart that was asked for is not on record, so ask for it again"


def summary_line(
    cluster: str, summary: Mapping[str, Sequence[str]], check_mode: bool, may_restart: bool = True, only_on: str = ""
) -> str:
    """One line for one client: what changed, what restarted, what is pending.

    only_on: the one host of a cluster whose record has been read.
    """
    change, restart = ("would change", "would restart") if check_mode else ("changed", "restarted")
    parts = [f"{change}: {', '.join(summary['changed_settings'])}"] if summary["changed_settings"] else []
    parts += [f"{restart}: {', '.join(summary['restarted'])}"] if summary["restarted"] else []
    if check_mode and summary["restarted"]:
        left = [name for name in summary["pending"] if name not in summary["restarted"]]
        parts += [f"would stay pending: {', '.join(left)}"] if left else []
    else:
        held = ", left by this run" if summary["pending"] and not may_restart else ""
        where = f" on {only_on}" if only_on else ""
        parts.append(f"pending restarts{where}: {', '.join(summary['pending']) or 'none'}{held}")
    return f"{cluster}: {'; '.join(parts)}"


def client_of(cluster: str, connection: Mapping[str, Any]) -> str:
    """What tells the clients of one host apart."""
    return f"{cluster} {connection['api_url']}"


def of_all_clients(
    host: str, client: str, summary: Mapping[str, list[str]], only_own: bool = False, check_mode: bool = False
) -> dict[str, list[str]]:
    """The summary of all that a host has done in this run, and of what is pending now.

    summary: the latest of one client. only_own: it knows the record of this host only, so what was known of the other
    hosts of the cluster stays. check_mode: nothing was written down, so all stays.
    """
    with alone("summaries", host):
        known: dict[str, dict[str, list[str]]] = recall("summaries", host) or {}
        before = known.get(client, {"changed_settings": [], "restarted": [], "pending": []})
        left = [one for one in before["pending"] if check_mode or (only_own and not one.endswith(f" on {host}"))]
        known[client] = {
            "changed_settings": sorted({*before["changed_settings"], *summary["changed_settings"]}),
            "restarted": [*before["restarted"], *summary["restarted"]],
            "pending": list(dict.fromkeys([*left, *summary["pending"]])),
        }
        keep(known, "summaries", host)
    return _together(known)


def so_far(host: str) -> dict[str, list[str]] | None:
    """The same, as it was last; None if the host has not used the role in this run."""
    known = recall("summaries", host)
    return _together(known) if known else None


def _together(known: Mapping[str, Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """One summary of those of several clients."""
    if len(known) == 1:
        return dict(next(iter(known.values())))
    # Containers of two clients may have one name.
    found = {
        name: [f"{entry} (cluster {of.rpartition(' ')[0]})" for of, one in known.items() for entry in one[name]]
        for name in ("restarted", "pending")
    }
    return {"changed_settings": sorted({name for one in known.values() for name in one["changed_settings"]}), **found}


def report(host: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary as C(set_stats) takes it."""
    return {"data": {"wa_settings_report": {host: summary}}, "per_host": False, "aggregate": True}
