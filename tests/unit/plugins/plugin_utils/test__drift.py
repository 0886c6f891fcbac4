# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of the drift report, whatever clients answer."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.wabiz.onprem.plugins.plugin_utils._drift import (
    CSV_HEADER,
    add_comparison,
    add_record,
    as_csv,
    as_html,
    as_json,
    as_report,
    as_table,
    finish,
    new_entry,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._fleet import add_error
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import Campaign, Pending, Record, Sent

NOW = "2026-01-02T03:04:05+00:00"
PENDING = Record("c", "h", generation=1, noted=1, recorded=NOW, nodes=(Pending("wacore"),), settings=("log_level",))
ODD = (
    *("=1+1", "-1+1", "@A1", "+1", " =1", "\t=1", "a\nb", 'a"b', "a;=1", "\ud800", "\u2028"),
    *("</script><script>alert(1)</script>", "<!--", "]]>", "{{ data }}"),
)
texts = st.text(alphabet='ab=-,;"<\n\u00e4', max_size=8) | st.sampled_from(ODD)
leaves = st.none() | st.booleans() | st.integers() | texts | st.lists(texts, max_size=3)


def difference(
    setting: str = "log_level", current: Any = "info", wanted: Any = "warning", **more: Any
) -> dict[str, Any]:
    return {
        "setting": setting,
        "current": current,
        "wanted": wanted,
        "layer": "wa_settings_values",
        "restart_bound": True,
        "secret_changed": False,
        **more,
    }


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    entry = new_entry(draw(texts), draw(texts), draw(texts))
    if draw(st.booleans()):
        add_error(entry, draw(texts))
    if draw(st.booleans()):
        add_record(entry, PENDING)
    entry["settings"] = draw(st.dictionaries(texts, leaves, max_size=3))
    entry["differences"] = [
        difference(*draw(st.tuples(texts, leaves, leaves))) for _number in range(draw(st.integers(0, 2)))
    ]
    return finish(entry)


reports = st.lists(entries(), max_size=4).map(lambda found: as_report(found, NOW))


def found(**more: Any) -> dict[str, Any]:
    """What the module returns in check mode of a client with one setting that differs."""
    return {
        "before": {"log_level": "info", "webhooks": {"url": "https://a.example.com/?********"}},
        "after": {"log_level": "warning", "webhooks": {"url": "https://a.example.com/?********"}},
        "changed_settings": ["log_level"],
        "restart_settings": ["log_level"],
        "unverified_settings": [],
        "client_version": "2.53.2",
        **more,
    }


def compared(result: dict[str, Any], options: dict[str, Any] | None = None, sent: Sent | None = None) -> dict[str, Any]:
    entry = new_entry("one")
    record = Record("one", "one", sent=sent)
    add_comparison(entry, result, options or {}, {"log_level": "wa_settings_values"}, "wa_settings_state", record)
    return finish(entry)


@pytest.mark.parametrize(
    ("error", "differs", "pending", "state"),
    [
        (True, True, True, "failed"),
        (True, False, False, "failed"),
        (False, True, True, "drifted"),
        (False, False, True, "pending"),
        (False, False, False, "converged"),
    ],
)
def test_state_is_the_worst(error: bool, differs: bool, pending: bool, state: str) -> None:
    entry = new_entry("one")
    if error:
        add_error(entry, "no")
    if differs:
        entry["differences"].append(difference())
    if pending:
        add_record(entry, PENDING)
    assert finish(entry)["state"] == state


def test_difference_of_a_reported_setting() -> None:
    entry = compared(found())
    assert entry["differences"] == [difference()]
    assert entry["settings"] == {"log_level": "info", "webhooks.url": "https://a.example.com/?********"}
    assert entry["client_version"] == "2.53.2"


def test_setting_of_a_campaign_is_no_difference() -> None:
    entry = new_entry("one")
    names = {"changed_settings": ["callback_persist", "log_level"], "restart_settings": ["callback_persist"]}
    record = Record("one", "one", campaign=Campaign("callback_persist", True, ("spring",)))
    add_comparison(entry, found(**names), {}, {}, "wa_settings_state", record)
    assert [one["setting"] for one in entry["differences"]] == ["log_level"]


def test_what_looks_the_same_differs_in_its_secret_and_nobody_but_the_state_says_so() -> None:
    (one,) = compared(found(changed_settings=["webhooks.url"], restart_settings=[]))["differences"]
    assert (one["secret_changed"], one["restart_bound"], one["layer"]) == (True, False, "wa_settings_state")


def test_setting_that_is_not_reported_is_masked_and_no_change_of_a_secret() -> None:
    options = {"extra_settings": {"vendor": {"api_key": "canary"}}, "settings": None}
    names = {"changed_settings": ["vendor.api_key"], "unverified_settings": ["vendor.api_key"], "restart_settings": []}
    (one,) = compared(found(**names), options)["differences"]
    assert (one["current"], one["wanted"], one["secret_changed"]) == (None, "********", False)


@pytest.mark.parametrize(
    ("value", "version", "state"),
    [(True, "2.53.2", "converged"), (False, "2.53.2", "drifted"), (True, "2.53.1", "drifted")],
)
def test_setting_that_was_sent_before_is_no_difference(value: bool, version: str, state: str) -> None:
    names = {key: ["verbose_logging"] for key in ("changed_settings", "unverified_settings", "restart_settings")}
    sent = Sent("salt", version).learn({"verbose_logging": value})
    assert compared(found(**names), {"settings": {"verbose_logging": True}}, sent)["state"] == state


def test_pending_restart_names_the_hosts_that_could_not_be_told() -> None:
    entry = new_entry("one")
    add_record(entry, Record("c", "h", elsewhere=("other",), recorded=NOW))
    assert entry["pending_restart"] == {"settings": [], "containers": ["all Coreapps on other"], "since": NOW}


@given(reports)
def test_json_says_everything(report: dict[str, Any]) -> None:
    assert json.loads(as_json(report)) == report
    assert sum(report["summary"][state] for state in ("converged", "drifted", "pending", "failed")) == len(
        report["clients"]
    )


@given(reports)
def test_csv_has_a_row_for_each_difference_and_no_formula(report: dict[str, Any]) -> None:
    text = as_csv(report)
    assert text.split("\n", maxsplit=1)[0] == ",".join(CSV_HEADER)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {len(CSV_HEADER)}
    assert len(rows) == 1 + sum(max(1, len(client["differences"])) for client in report["clients"])
    expected = [one for client in report["clients"] for one in client["differences"] or [{}]]
    for row, one in zip(rows[1:], expected, strict=True):
        for name, value in zip(CSV_HEADER, row, strict=True):
            number = isinstance(one.get(name), int)
            assert number or not value.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    # A spreadsheet that splits at semicolons sees the same cells as a whole.
    assert all(";" not in line or '"' in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""), (True, "true"), (-5, "-5"), ("-5", "'-5"), (["a", "b"], '"[""a"", ""b""]"'), ("=A1", "'=A1"),
        ("a;=A1", '"a;=A1"'), ("a\n=A1", "a =A1"), ("\uff1dA1", "'\uff1dA1"),
    ],
)  # fmt: skip
def test_csv_cell(value: Any, cell: str) -> None:
    entry = new_entry("one")
    entry["differences"].append(difference(current=value))
    line = as_csv(as_report([finish(entry)], NOW)).splitlines()[1]
    assert line == f"one,one,drifted,log_level,{cell},warning,true,"


@given(reports)
def test_table_has_a_line_for_each_client_that_is_not_converged(report: dict[str, Any]) -> None:
    lines = as_table(report)
    worse = [client for client in report["clients"] if client["state"] != "converged"]
    assert len(lines) == (len(worse) + 1 if worse else 0) + 1
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(("current", "shown"), [(None, "not reported"), ("", '""'), ("info", "info")])
def test_table_tells_an_empty_text_from_nothing(current: str | None, shown: str) -> None:
    entry = new_entry("one")
    entry["differences"].append(difference(current=current))
    assert f"log_level: {shown} -> warning (" in as_table(as_report([finish(entry)], NOW))[1]


class Page(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag in ("script", "style"):
            self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.texts[self._inside][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


EMPTY = Page(as_html(as_report([], NOW)))


@given(reports)
def test_page_has_the_same_elements_whatever_is_in_the_report(report: dict[str, Any]) -> None:
    page = Page(as_html(report))
    assert [tag for tag, _attrs in page.elements] == [tag for tag, _attrs in EMPTY.elements]
    data, script = page.texts["script"]
    assert json.loads(data) == report
    assert not re.search("[<>&]", data)
    assert [script] == EMPTY.texts["script"][1:]


def test_policy_allows_the_own_script_and_style_and_nothing_else() -> None:
    (policy,) = [
        str(attrs["content"]) for tag, attrs in EMPTY.elements if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (style,), script = EMPTY.texts["style"], EMPTY.texts["script"][1]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert rules == {
        "default-src": "'none'", "style-src": f"'sha256-{digests[0]}'", "script-src": f"'sha256-{digests[1]}'",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    # The policy comes before what it is about.
    tags = [tag for tag, attrs in EMPTY.elements]
    position = next(at for at, (_tag, attrs) in enumerate(EMPTY.elements) if "http-equiv" in attrs)
    assert position < min(tags.index("style"), tags.index("script"))


def test_page_names_no_other_address_and_takes_no_markup() -> None:
    page = as_html(as_report([], NOW))
    assert set(re.findall(r"https?://[^\s\"']+", page)) <= {"https://www.gnu.org/licenses/gpl-3.0.txt)"}
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert way not in page
    assert not [
        attrs for _tag, attrs in EMPTY.elements if any(name.startswith("on") or name == "style" for name in attrs)
    ]
