# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift report: what one client is worth in it, and the forms that the whole is shown in. Pure.

A report and a client in it are dictionaries of plain JSON, since that is the first of the forms: C(drift.json).

This module is private to the collection.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.wabiz.onprem.plugins.module_utils._plan import dotted, flatten, lookup, place, reports
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import mask, one_line
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Record
from ansible_collections.wabiz.onprem.plugins.plugin_utils._work import declared_values

Entry = dict[str, Any]
Report = dict[str, Any]

STATES = ("failed", "drifted", "pending", "converged")  # the worst first
FORMATS = ("json", "csv", "html")
CSV_HEADER = ("client", "cluster", "state", "setting", "current", "wanted", "restart_bound", "error")

_PAGE = Path(__file__).with_name("_drift_page")
_LONGEST_IN_TABLE = 60  # characters of one value
# What spreadsheets begin a formula with, the full-width forms that some of them take for the same included.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


# --- one client --------------------------------------------------------------------------------------------------


def new_entry(name: str, cluster: str | None = None, api_url: str | None = None) -> Entry:
    """A client of which nothing is known yet. It is complete with C(finish)."""
    return {
        "name": name,
        "cluster": cluster if cluster is not None else name,
        "api_url": api_url,
        "client_version": None,
        "state": STATES[0],
        "error": None,
        "pending_restart": None,
        "differences": [],
        "settings": {},
    }


def add_record(entry: Entry, record: Record) -> None:
    """Says what is pending by the record of the client's container host."""
    if record.is_pending:
        entry["pending_restart"] = {
            "settings": list(record.settings),
            "containers": record.names(),
            "since": record.recorded or None,
        }


def add_comparison(
    entry: Entry,
    found: Mapping[str, Any],
    options: Mapping[str, Any],
    origins: Mapping[str, str],
    default_layer: str,
    record: Record,
) -> None:
    """Says how a client differs from its declaration.

    found: what the settings module returns in check mode. options: the module's, without the connection's. origins:
    setting to the variable that says it; default_layer: the variable for what none of them says. record: what is known
    of values that the client does not report, and of campaigns, whose setting is nobody else's.
    """
    version, before, after = found["client_version"], found["before"], found["after"]
    declared = declared_values(options, frozenset(found["unverified_settings"]))
    entry["client_version"] = version
    entry["settings"] = {dotted(path): value for path, value in sorted(flatten(before))}
    for name in found["changed_settings"]:
        if record.campaign is not None and name == record.campaign.setting:
            continue
        path = tuple(name.split("."))
        if name in declared:
            if record.sent is not None and record.sent.knows(name, declared[name], version):
                continue
            holder: dict[str, Any] = {}
            place(holder, path, declared[name])
            current, wanted = None, lookup(mask(holder), path)
        else:
            current = lookup(before, path) if reports(before, path) else None
            wanted = lookup(after, path) if reports(after, path) else None
        layer = origins.get(name, default_layer)
        # What is shown is masked, so what looks the same and differs, differs in a secret.
        secret_changed = name not in declared and current == wanted
        bound = name in found["restart_settings"]
        entry["differences"].append(_difference(name, current, wanted, layer, bound, secret_changed))


def add_providers(
    entry: Entry, names: Sequence[str], before: Mapping[str, Any], wanted: Mapping[str, Any], layer: str
) -> None:
    """Says which media providers differ.

    names: C(media.providers.<name>) of each. before, wanted: what is there and what is declared, by name and masked;
    nothing where there is none.
    """
    shown = {f"media.providers.{one_line(name)}": name for name in [*before, *wanted]}
    for setting in names:
        current, declared = (side.get(shown[setting]) or None for side in (before, wanted))
        entry["differences"].append(_difference(setting, current, declared, layer, False, current == declared))


def _difference(
    setting: str, current: Any, wanted: Any, layer: str, restart_bound: bool, secret_changed: bool
) -> dict[str, Any]:
    return {
        "setting": setting,
        "current": current,
        "wanted": wanted,
        "layer": layer,
        "restart_bound": restart_bound,
        "secret_changed": secret_changed,
    }


def finish(entry: Entry) -> Entry:
    """The client with its state, the worst that fits."""
    if entry["error"] is not None:
        state = "failed"
    elif entry["differences"]:
        state = "drifted"
    else:
        state = "pending" if entry["pending_restart"] is not None else "converged"
    return {**entry, "state": state}


# --- the whole ---------------------------------------------------------------------------------------------------


def as_report(entries: Sequence[Entry], generated: str) -> Report:
    """The whole report. generated: ISO 8601, UTC."""
    counts = {state: sum(entry["state"] == state for entry in entries) for state in reversed(STATES)}
    summary = {"clients": len(entries), **{state: counts[state] for state in ("converged", "drifted", "pending")}}
    return {
        "schema": 1,
        "generated": generated,
        "summary": {**summary, "failed": counts["failed"]},
        "clients": list(entries),
    }


def in_words(summary: Mapping[str, int]) -> str:
    """The totals in one line."""
    counts = ", ".join(f"{summary[state]} {state}" for state in ("converged", "drifted", "pending", "failed"))
    return f"{summary['clients']} {'client' if summary['clients'] == 1 else 'clients'}: {counts}"


def as_table(report: Report) -> list[str]:
    """Lines for the terminal: one for each client that is not converged, the worst first, and the totals."""
    rows = [
        (one_line(entry["name"]), entry["state"], entry["client_version"] or "-", _in_one_line(entry))
        for entry in sorted(report["clients"], key=lambda entry: STATES.index(entry["state"]))
        if entry["state"] != "converged"
    ]
    lines = []
    if rows:
        rows.insert(0, ("CLIENT", "STATE", "VERSION", "WHAT"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows]
    return [*lines, in_words(report["summary"])]


def _in_one_line(entry: Entry) -> str:
    parts = [entry["error"]] if entry["error"] else []
    parts += [_difference_in_words(difference) for difference in entry["differences"]]
    pending = entry["pending_restart"]
    if pending is not None:
        since = f" since {pending['since']}" if pending["since"] else ""
        parts.append(f"pending restart: {', '.join(pending['containers']) or 'all Coreapps'}{since}")
    return one_line("; ".join(parts))


def _difference_in_words(difference: Mapping[str, Any]) -> str:
    """One difference, without values that are too long for a line."""
    current, wanted = (
        '""' if difference[which] == "" else _shortened(as_text(difference[which])) for which in ("current", "wanted")
    )
    values = f"{current or 'not reported'} -> {wanted or 'none'}"
    if difference["secret_changed"]:
        values = f"{current} (the secret in it differs)"
    restart = ", restart" if difference["restart_bound"] else ""
    return f"{difference['setting']}: {values} ({difference['layer']}{restart})"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_IN_TABLE else f"{text[: _LONGEST_IN_TABLE - 3]}..."


def as_text(value: Any) -> str:
    """A value for people: texts as they are, nothing for null, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_json(report: Report) -> str:
    """The file C(drift.json)."""
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


# --- CSV ---------------------------------------------------------------------------------------------------------


def as_csv(report: Report) -> str:
    """The file C(drift.csv): a row for each difference, one for a client without any."""
    lines = [",".join(CSV_HEADER)]
    for entry in report["clients"]:
        shared = [entry["name"], entry["cluster"], entry["state"]]
        for difference in entry["differences"] or [{}]:
            values = [difference.get(name) for name in CSV_HEADER[3:7]]
            lines.append(",".join(_cell(value) for value in [*shared, *values, entry["error"]]))
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    """A cell that stays one cell, and text, wherever the file is opened.

    A spreadsheet may split at semicolons and tabs too, so what holds one is quoted (OWASP, "CSV injection").
    """
    text = one_line(as_text(value))
    if isinstance(value, str) and text.startswith(_FORMULA):
        text = f"'{text}"
    return '"{}"'.format(text.replace('"', '""')) if any(mark in text for mark in ',;"') else text


# --- HTML --------------------------------------------------------------------------------------------------------


def as_html(report: Report) -> str:
    """The file C(drift.html): one page that needs nothing else, and that nothing else can be loaded into.

    The report lies in it as data, which the page's own script shows as text. The page's policy allows that script and
    that style, by their digests, and nothing else.
    """
    style, script = (_read(name) for name in ("page.css", "page.js"))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "totals": in_words(report["summary"]),
        "generated": report["generated"],
        "data": _as_data(report),
    }
    # Part by part, so that nothing inside of one can be taken for the place of another.
    page, rest = "", _read("page.html")
    while "{{" in rest:
        before, _mark, rest = rest.partition("{{")
        name, _mark, rest = rest.partition("}}")
        page += before + parts[name.strip()]
    return page + rest


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """A source of a content security policy (CSP Level 3, "hash-source")."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _as_data(report: Report) -> str:
    """JSON that ends no script element and begins no comment in it, whatever it holds."""
    text = json.dumps(report, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


RENDERERS = {"json": as_json, "csv": as_csv, "html": as_html}
