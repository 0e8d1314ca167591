"""The site as it is built: every link leads somewhere, nothing is loaded from outside, and it works from files.

One build serves all tests of this file. They need no server.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from playwright.async_api import Page, Request, TimeoutError, expect

import build_site
import site_pages
import testcast
from testcast.cli.main import cli
from tests.harness import until

ROOT = Path(__file__).resolve().parents[2]
WIDE = (
    "index.html",
    "concepts.html",
    "comparison.html",
    "protocol.html",
    "reference/settings.html",
    "reference/python.html",
)
"""Pages with wide tables, long lines of code, large pictures."""


_COUNTED = ("h2", "h3", "li", "table", "tr", "pre", "blockquote", "img")


class _Parsed(HTMLParser):
    """What a page links to, loads, and can be linked to; and how many lists, tables and so on its article has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._in_article = "<article" not in text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes one tag."""
        given = {name: value or "" for name, value in attrs}
        self._in_article = self._in_article or tag == "article"
        if self._in_article and tag in _COUNTED:
            self.counts[tag] += 1
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given.get("href", ""))
        else:
            self.loads += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]

    def handle_endtag(self, tag: str) -> None:
        """Notes the end of the article."""
        self._in_article = self._in_article and tag != "article"


@cache
def _parsed(path: Path) -> _Parsed:
    return _Parsed(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("site") / "site"
    build_site.build(out)
    yield out
    _parsed.cache_clear()


def _pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 30
    return found


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    broken: list[str] = []
    for page in _pages(site):
        if page.name == "404.html":  # its links begin at the root of a server
            continue
        for link in (*_parsed(page).links, *_parsed(page).loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            there = target.is_file()
            if there and parts.fragment and target.suffix == ".html":
                there = unquote(parts.fragment) in _parsed(target).anchors | {"__top"}
            if not there:
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    loads = {load for page in _pages(site) for load in _parsed(page).loads}
    assert [load for load in loads if urlsplit(load).scheme not in ("", "data") or load.startswith("//")] == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", styles) == []


def test_a_page_is_on_the_site_what_it_is_on_a_forge(site: Path) -> None:
    # The site's Markdown wants a blank line before a list, and four blanks before what belongs to an item.
    forge = MarkdownIt("commonmark").enable("table")
    differ: list[str] = []
    for path in (ROOT / "broker" / "PROTOCOL.md", *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        page = (site / site_pages.staged(path.relative_to(ROOT).as_posix())).with_suffix(".html")
        if path.name != "README.md" and page.is_file():
            here, there = _parsed(page).counts, _Parsed(forge.render(path.read_text(encoding="utf-8"))).counts
            differ += [f"{path.name}: {tag} {there[tag]}, {here[tag]}" for tag in _COUNTED if here[tag] != there[tag]]
    assert differ == []


def test_the_reference_has_every_public_name_and_every_command(site: Path) -> None:
    python = _parsed(site / "reference" / "python.html").anchors
    assert {name for name in testcast.__all__ if name.lower() not in python} == set()
    command = _parsed(site / "reference" / "command.html").anchors
    assert {name for name in cli.commands if f"testcast-{name}" not in command} == set()
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(TESTCAST_\w+)`", table, re.MULTILINE)) <= set(re.findall(r"TESTCAST_\w+", settings))


@pytest.mark.asyncio(loop_scope="session")
async def test_it_works_from_files_search_included(site: Path, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: _note(request, asked))
    await page.goto((site / "index.html").as_uri())
    search = page.get_by_label("Search", exact=True).locator("input")

    async def is_open() -> bool:  # the page listens to the key when its script is through
        await page.keyboard.press("Control+k")
        with suppress(TimeoutError):
            await search.wait_for(timeout=3000)
        return await search.is_visible()

    await until(is_open)
    await expect(search).to_be_focused()
    await page.keyboard.type("fencing")
    found = page.locator("a[href*='concepts.html']").filter(has_text="Attempts and fencing")
    await expect(found.last).to_be_visible()
    await found.last.click()
    await expect(page.get_by_role("heading", name="Attempts and fencing")).to_be_visible()
    assert [address for address in asked if not address.startswith(("file:", "data:", "about:", "blob:"))] == []


def _note(request: Request, asked: list[str]) -> None:
    asked.append(request.url)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", WIDE)
async def test_no_page_is_wider_than_a_phone(site: Path, page: Page, name: str) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.goto((site / name).as_uri())
    await expect(page.locator("h1").first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broken = "[...document.images].filter(each => each.complete && !each.naturalWidth).map(each => each.src)"
    assert await page.evaluate(broken) == []
