"""What becomes of a page of the repository on the site, and of a docstring on its page of reference."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import site_pages
import site_reference

ROOT = Path(__file__).resolve().parents[2]
FILES = {"docs/access.md", "docs/run.png", "broker/PROTOCOL.md", "README.md", "ws_edge/node.py", "docs/concepts.md"}


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("docs/access.md", "access.md"),
        ("docs/pictures/line.svg", "pictures/line.svg"),
        ("broker/PROTOCOL.md", "protocol.md"),
        ("ARCHITECTURE.md", "architecture.md"),
        ("README.md", "index.md"),
        ("tests/README.md", "tests.md"),
        ("clients/go/README.md", "clients/go.md"),
        ("ws_edge/node.py", "source/ws_edge/node.py.md"),
        (".env.example", "source/.env.example.md"),
        ("broker/schemas/event.json", "source/broker/schemas/event.json"),
        ("testcast/__init__.py", "reference/python.md"),
    ],
)
def test_where_a_file_stands_on_the_site(path: str, there: str) -> None:
    assert site_pages.staged(path) == there


@pytest.mark.parametrize(
    ("path", "text", "becomes"),
    [
        ("docs/concepts.md", "[p](../broker/PROTOCOL.md#ids)", "[p](protocol.md#ids)"),
        ("broker/PROTOCOL.md", "[a](../docs/access.md)", "[a](access.md)"),
        ("docs/concepts.md", "![r](run.png)", "![r](run.png)"),
        ("docs/concepts.md", "[`node`](../ws_edge/node.py#L3)", "[`node`](source/ws_edge/node.py.md)"),
        ("docs/concepts.md", "[s](../README.md#running-it-for-others)", "[s](reference/settings.md)"),
        ("docs/concepts.md", "[s](../README.md#three-ways-to-use-it)", "[s](index.md)"),
        ("docs/concepts.md", "[x](https://example.org/a.md) [y](#here)", "[x](https://example.org/a.md) [y](#here)"),
        ("docs/concepts.md", "see [the folder](../ws_edge) and [gone](gone.md)", "see the folder and gone"),
        ("docs/concepts.md", "`[p](../broker/PROTOCOL.md)`", "`[p](../broker/PROTOCOL.md)`"),
        ("docs/concepts.md", "```md\n[p](access.md)\n```", "```md\n[p](access.md)\n```"),
        ("README.md", "[a](docs/access.md)", "[a](access.md)"),
    ],
)
def test_links_lead_to_where_pages_stand_on_the_site(path: str, text: str, becomes: str) -> None:
    assert site_pages.page(path, text, FILES.__contains__) == becomes + "\n"


def test_a_part_of_the_readme_stands_elsewhere() -> None:
    text = "[a](docs/access.md) [l](#limits) [t](#three-ways-to-use-it) <https://example.org>"
    moved = "[a](../access.md) [l](limits.md) [t](../index.md) <https://example.org>\n"
    assert site_pages.page("README.md", text, FILES.__contains__, at="reference/settings.md") == moved


def test_a_file_is_shown_whole_also_where_it_has_fences() -> None:
    shown = site_pages.source("a/b.py", 'TEXT = """\n```\ncode\n```\n"""\n')
    assert "````python\nTEXT" in shown
    assert shown.endswith('"""\n````\n')
    assert "exclude: true" in shown


def test_a_section_ends_where_the_next_begins() -> None:
    assert site_pages.section("# A\n\n## B\n\nb\n\n### C\n\nc\n\n## D\n\nd\n", "B") == "b\n\n### C\n\nc\n"
    with pytest.raises(ValueError, match="no section 'E'"):
        site_pages.section("# A\n", "E")


def test_a_page_that_does_not_exist_is_left_out_of_the_navigation() -> None:
    sections = [{"title": "S", "pages": [["A", "docs/access"], ["B", "docs/none"]]}]
    line, used = site_pages.navigation(sections, FILES.__contains__)
    assert tomllib.loads(line) == {"nav": [{"S": [{"A": "access.md"}]}]}
    assert used == ["docs/access.md"]


def test_every_page_of_docs_stands_in_the_navigation_once() -> None:
    sections = tomllib.loads((ROOT / "docs" / "site" / "navigation.toml").read_text(encoding="utf-8"))["section"]
    listed = [f"{name}.md" for each in sections for _, name in each["pages"]]
    assert len(listed) == len(set(listed))
    pages = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}" for path in (ROOT / "docs").rglob("*.md")}
    assert pages - set(listed) == set()


def test_a_docstring_becomes_markdown() -> None:
    text = """Follows a run.

    Two lines
    of prose.

    Args:
        edge: the address,
            over two lines.
        after, epoch: the position.

    Raises on opening:
        NotFound; Fenced when it ended.
    """
    assert site_reference.docstring(text) == (
        "Follows a run.\n\nTwo lines\nof prose.\n\n"
        "**Args**\n\n* `edge`: the address, over two lines.\n* `after`, `epoch`: the position.\n\n"
        "**Raises on opening**\n\nNotFound; Fenced when it ended.\n"
    )


def test_a_signature_shows_types_and_defaults() -> None:
    page = site_reference.python()
    assert "async TestRun.complete(" in page
    assert "game_url: str = ''," in page
    assert "on_state: Callable[[State], None] = ...," in page
    assert "### EdgeRefused" in page
    assert "* `test_id`: the run" in page
