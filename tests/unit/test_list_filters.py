"""The list's filters: the pages are exactly the runs that match, each once; and the games of a list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import BadInput
from broker.contract.snapshot import Snapshot
from ws_edge.views.games import MAX_SCORES, Games
from ws_edge.views.listing import Game, Wanted, order, page_of

URLS = ["", "http://a.example/", "http://b.example/"]
STATUSES: Any = ["queued", "running", "completed", "failed"]
PINS = frozenset(f"00000000-0000-4000-8000-{number:012d}" for number in (0, 3, 4, 11))


def snapshot(number: int, **fields: Any) -> Snapshot:
    given: dict[str, Any] = {"title": "Game", "game_url": URLS[1], "status": "running", "created_at": number} | fields
    rest: dict[str, Any] = {"phase": None, "message": "", "seq": number, "updated_at": 0, "attempt": 1}
    return Snapshot(test_id=f"00000000-0000-4000-8000-{number:012d}", **given, **rest)


@st.composite
def lists(draw: st.DrawFn) -> list[Snapshot]:
    labels = st.one_of(st.none(), st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), min_size=1))
    fields = st.fixed_dictionaries(
        {
            "game_url": st.sampled_from(URLS),
            "status": st.sampled_from(STATUSES),
            "error_code": st.sampled_from([None, "cancelled"]),
            "labels": labels,
            "created_at": st.integers(1, 9),
            "score": st.one_of(st.none(), st.integers(0, 100)),
        }
    )
    return sorted((snapshot(n, **each) for n, each in enumerate(draw(st.lists(fields, max_size=30)))), key=order)


filters = st.fixed_dictionaries(
    {
        "status": st.sampled_from([None, *STATUSES, "cancelled"]),
        "query": st.sampled_from([None, "A=1", "b.example", "nothing"]),
        "wanted": st.builds(
            Wanted,
            st.sampled_from([frozenset[str](), frozenset(URLS[1:2]), frozenset(URLS[1:])]),
            st.sampled_from([(), (("a", "1"),), (("a", "1"), ("b", "2"))]),
            st.one_of(st.none(), st.integers(0, 10)),
            st.one_of(st.none(), st.integers(0, 10)),
            st.booleans(),
        ),
    }
)


def matches(run: Snapshot, status: str | None, query: str | None, wanted: Wanted) -> bool:
    """The same as the list says, in the plainest words."""
    labels = run.labels or {}
    texts = [run.title, run.game_url, run.test_id, run.message, *(f"{name}={value}" for name, value in labels.items())]
    return (
        (status is None or run.list_status == status)
        and (query is None or any(query.lower() in text.lower() for text in texts))
        and (not wanted.game_urls or run.game_url in wanted.game_urls)
        and all(labels.get(name) == value for name, value in wanted.labels)
        and (wanted.since_ms is None or run.created_at >= wanted.since_ms)
        and (wanted.until_ms is None or run.created_at < wanted.until_ms)
        and (not wanted.pinned or run.test_id in PINS)
    )


@given(runs=lists(), asked=filters, limit=st.integers(1, 7))
def test_the_pages_are_exactly_the_runs_that_match(runs: list[Snapshot], asked: dict[str, Any], limit: int) -> None:
    expected = [run for run in runs if matches(run, **asked)]
    found, cursor = list[Snapshot](), None
    while True:
        page, cursor, matching = page_of(runs, limit, cursor, **asked, pins=PINS)
        assert matching == len(expected), "on every page"
        found += page
        if cursor is None:
            break
        assert len(page) == limit
    assert found == expected


@given(runs=lists(), limit=st.integers(1, 3))
def test_the_games_are_those_of_the_runs(runs: list[Snapshot], limit: int) -> None:
    games, cursor = Games(), None
    found: list[Game] = []
    while True:
        page = games.page(1, lambda: runs, limit, cursor)
        found, cursor = found + page.games, page.next_cursor
        if cursor is None:
            break
    by_url = {url: [run for run in runs if run.game_url == url] for url in URLS[1:]}
    newest = sorted((each[0] for each in by_url.values() if each), key=order)
    assert [game.last_test_id for game in found] == [run.test_id for run in newest]
    assert page.total == len(newest)
    for game in found:
        its = by_url[game.game_url]
        assert game.runs == len(its) and game.active == sum(not run.ended for run in its)
        assert game.scores == [run.score for run in its if run.ended][:MAX_SCORES][::-1]
        assert game.last_score == next((run.score for run in its if run.score is not None), None)


def test_a_cursor_that_was_not_given_out_is_refused() -> None:
    for wrong in ("", "x", "1.2", "9" * 30 + ".4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"):
        with pytest.raises(BadInput):
            Games().page(1, lambda: [snapshot(1)], 1, wrong)


def test_games_are_put_together_once_for_each_change() -> None:
    runs, games = [snapshot(1)], Games()
    assert games.page(1, lambda: runs, 9, None).total == 1
    runs = [snapshot(2, game_url=URLS[2]), *runs]
    assert games.page(1, lambda: runs, 9, None).total == 1
    assert [game.game_url for game in games.page(2, lambda: runs, 9, None).games] == [URLS[2], URLS[1]]
