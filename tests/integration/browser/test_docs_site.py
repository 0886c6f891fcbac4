# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site as a reader meets it: from a web server, without any other, on a desk and on a phone."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

SITE = Path(os.environ["WABIZ_DOCS_SITE"]).parent
PAGES = sorted(str(page.relative_to(SITE)) for page in SITE.rglob("*.html") if "_static" not in page.parts)
PHONE = {"width": 390, "height": 844}
LINKS = "Array.from(document.links, link => [link.getAttribute('href'), link.href])"
IDS = "Array.from(document.querySelectorAll('[id]'), element => element.id)"
TOO_WIDE = """() => Array.from(document.querySelectorAll('article *, header *'))
    .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
    .filter(element => !element.closest('.table-wrapper, .highlight, pre, table, .sidebar-drawer, .toc-drawer'))
    .map(element => element.outerHTML.slice(0, 120))"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that has not gone wrong, and has asked for nothing that is not there or lies elsewhere."""
    wrong: list[str] = []
    page = browser.new_page(base_url=address)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("response", lambda answer: None if answer.status < 400 else wrong.append(answer.url))
    page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else wrong.append(asked.url))
    yield page
    page.close()
    assert wrong == []


def test_every_link_leads_somewhere(page: Page) -> None:
    links, ids = {}, {}
    for name in PAGES:
        page.goto(name)
        assert "ERROR:" not in page.locator("article").inner_text(), name
        links[name], ids[name] = page.evaluate(LINKS), set(page.evaluate(IDS))
    assert len(PAGES) > 20
    broken = []
    for name in PAGES:
        for written, target in links[name]:
            parts = urlsplit(target)
            if parts.scheme == "http":
                path = unquote(parts.path).lstrip("/")
                known = ids.get(path, set())
                if not (SITE / path).is_file() or (
                    path in ids and parts.fragment and unquote(parts.fragment) not in known
                ):
                    broken.append((name, written))
            elif parts.scheme not in ("https", "mailto"):
                broken.append((name, written))
    assert broken == []


def test_guides_and_reference_are_one_click_away(page: Page) -> None:
    page.goto("index.html")
    for title in ("Cookbook", "Restarts", "Wabiz.Onprem"):
        page.locator(".sidebar-tree").get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)


def test_search_finds_what_a_page_says(page: Page) -> None:
    page.goto("index.html")
    page.get_by_role("textbox", name="Search").fill("wa_settings_partial_cluster")
    page.keyboard.press("Enter")
    # The titles come first, then what each page says.
    expect(page.locator("#search-results a").first).to_be_visible(timeout=20_000)
    expect(page.locator("#search-results")).to_contain_text("wa_settings", timeout=20_000)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off_on_a_phone(page: Page, name: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(TOO_WIDE) == []
