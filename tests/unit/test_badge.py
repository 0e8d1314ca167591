"""Badges: which run a name leads to, for whom, and a picture that anybody can read."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from broker.contract.snapshot import Snapshot
from tests.model import VirtualLoop
from tests.views import World
from ws_edge.api import badge, badge_svg
from ws_edge.api.badge import newest_ended, slug_of
from ws_edge.api.badge_svg import NO_RUNS, Verdict, svg, verdict_of

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    return World(loop)


def ended(world: World, title: str, score: float | None, **fields: Any) -> Snapshot:
    url = fields.pop("game_url", f"http://{slug_of(title)}.example/")
    return world.run(title, status=fields.pop("status", "completed"), score=score, game_url=url, **fields)


def found(world: World, named: str, project: str | None = None, seen: frozenset[str] | None = None) -> float | None:
    run = world.loop.call(lambda: newest_ended(world.catalogue.scoped(seen), named, project))
    return None if run is None else run.score


def test_a_game_is_found_by_its_address_title_or_short_form(world: World) -> None:
    ended(world, "Star Hopper!", 50)
    ended(world, "Star Hopper!", 78)
    world.run("Star Hopper!", game_url="http://star-hopper.example/")  # goes on
    ended(world, "Star Hopper!", None, status="failed", error_code="cancelled")
    ended(world, "Другая игра", 12)
    named = ("http://star-hopper.example/", "HTTP://Star-Hopper.example", "http:/star-hopper.example/", "star hopper!",
             "star-hopper")  # fmt: skip
    assert [found(world, each) for each in named] == [78] * len(named)
    assert [found(world, each) for each in ("другая-игра", "Другая игра")] == [12, 12]
    assert [found(world, each) for each in ("star", "hopper", "-", "!", "", "http://", "\0")] == [None] * 7


def test_a_failed_run_is_the_newest_and_an_address_goes_before_a_title(world: World) -> None:
    ended(world, "Pong", 90)
    failed = ended(world, "Pong", None, status="failed", error_code="crash")
    run = world.loop.call(lambda: newest_ended(world.catalogue.scoped(None), "pong", None))
    assert run is not None
    assert run.test_id == failed.test_id
    assert verdict_of(run) == Verdict("failed", badge_svg.RED)
    ended(world, "http://pong.example/", 1, game_url="http://other.example/")
    assert found(world, "http://pong.example/") is None  # the failed run has no score


def test_an_unseen_project_is_like_an_unknown_game(world: World) -> None:
    ended(world, "Pong", 30, project="a")
    ended(world, "Pong", 60, project="b")
    assert found(world, "pong") == 60
    assert [found(world, "pong", each) for each in ("a", "b", "c")] == [30, 60, None]
    seen = frozenset({"a"})
    assert [found(world, "pong", each, seen) for each in (None, "a", "b")] == [30, 30, None]
    assert found(world, "pong", None, frozenset()) is None
    ended(world, "Secret", 99, project="b")
    assert found(world, "secret", None, seen) is None


@pytest.mark.parametrize(
    ("score", "text", "colour"),
    [
        (100, "100/100", badge_svg.GREEN),
        (70, "70/100", badge_svg.GREEN),
        (69.6, "70/100", badge_svg.GREEN),
        (69.4, "69/100", badge_svg.AMBER),
        (40, "40/100", badge_svg.AMBER),
        (0, "0/100", badge_svg.RED),
        (None, "completed", badge_svg.GREEN),
    ],
)
def test_a_score_has_its_colour(world: World, score: float | None, text: str, colour: str) -> None:
    assert verdict_of(ended(world, "Pong", score)) == Verdict(text, colour)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", [badge_svg.GREEN, badge_svg.AMBER, badge_svg.RED, badge_svg.GREY, badge_svg.NAME])
def test_white_text_can_be_read_on_every_colour(colour: str) -> None:
    assert 1.05 / (_luminance(colour) + 0.05) >= 4.5


@pytest.mark.parametrize(
    "text", ["a<script>alert(1)</script>&\"'", "\0\x1b\ud800\ufffe\u202e\n", "x" * 500, "日本語 🎮", "", "]]>"]
)
def test_whatever_a_title_says_the_picture_is_well_formed_and_says_it(text: str) -> None:
    picture = svg(text, NO_RUNS, text)
    root = ElementTree.fromstring(picture.encode())
    assert root.tag == f"{_SVG}svg"
    assert {each.tag.removeprefix(_SVG) for each in root.iter()} <= {"svg", "title", "clipPath", "rect", "g", "text"}
    title, (name, verdict) = root.find(f"{_SVG}title"), [each.text or "" for each in root.iter(f"{_SVG}text")]
    assert title is not None
    assert (title.text or "") == root.get("aria-label")
    assert verdict == "no runs"
    assert (len(name), len(title.text or "")) <= (40, 200)
    if "script" in text:
        assert name == text[:40]
    assert "\u202e" not in picture


def test_a_long_list_of_others_is_looked_at_twice_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badge, "_PAGE", 2)
    for number in range(20):
        ended(world, "Pong", number, project="a")
    pages: list[int] = []
    listing = world.catalogue.listing

    def counted(*given: Any, **more: Any) -> Any:
        pages.append(given[0])
        return listing(*given, **more)

    monkeypatch.setattr(world.catalogue, "listing", counted)
    assert found(world, "pong", "b") is None and len(pages) == 2
