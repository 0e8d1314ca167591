"""The games that a list of runs tests, each with its newest scores. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from broker.contract.snapshot import Snapshot
from ws_edge.views.listing import Game, GameList, cursor_after, order, parse_cursor

MAX_SCORES: Final = 30
"""Of each game: a small line of scores shows no more."""


def games_of(runs: Sequence[Snapshot], limit: int, cursor: str | None) -> GameList:
    """One page of the games that runs test, the game with the newest run first. A run without an address is in none.

    Args:
        runs: in the order of the list, the newest first.
        limit: the longest page.
        cursor: `next_cursor` of the page before; None for the first page.

    Raises:
        BadInput: the cursor is not one that was given out.
    """
    by_url: dict[str, list[Snapshot]] = {}
    for run in runs:
        if run.game_url:
            by_url.setdefault(run.game_url, []).append(run)
    games = list(by_url.values())  # in the order of their newest runs
    begin = 0 if cursor is None else bisect_right(games, parse_cursor(cursor), key=lambda each: order(each[0]))
    page = games[begin : begin + limit]
    following = cursor_after(page[-1][0]) if len(games) > begin + limit else None
    return GameList([_game(each) for each in page], following, len(games))


def _game(runs: list[Snapshot]) -> Game:
    """A game from its runs, the newest first."""
    newest = runs[0]
    ended = [run.score for run in runs if run.ended][:MAX_SCORES]
    return Game(
        game_url=newest.game_url,
        title=newest.title,
        runs=len(runs),
        active=sum(not run.ended for run in runs),
        last_at=newest.created_at,
        last_test_id=newest.test_id,
        last_status=newest.list_status,
        last_score=next((run.score for run in runs if run.score is not None), None),
        scores=ended[::-1],
    )
