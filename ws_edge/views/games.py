"""The games that a list of runs tests, each with its newest scores. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from broker.contract.snapshot import Snapshot
from ws_edge.views.listing import Game, GameList, cursor_after, order, parse_cursor

MAX_SCORES: Final = 30
"""Of each game: a small line of scores shows no more."""


class Games:
    """The games that a list of runs tests, put together once for each change of the list.

    A run without an address is in none.
    """

    def __init__(self) -> None:
        self._version: int | None = None
        self._found: list[tuple[Snapshot, Game]] = []
        """Each with its newest run, in the order of these."""

    def __repr__(self) -> str:
        return f"<Games {len(self._found)}>"

    def page(self, version: int, runs: Callable[[], Sequence[Snapshot]], limit: int, cursor: str | None) -> GameList:
        """One page, the game with the newest run first.

        Args:
            version: another one for every change of the runs.
            runs: returns them in the order of the list, the newest first.
            limit: the longest page.
            cursor: `next_cursor` of the page before; None for the first page.

        Raises:
            BadInput: the cursor is not one that was given out.
        """
        last = None if cursor is None else parse_cursor(cursor)
        if version != self._version:
            self._found, self._version = _grouped(runs()), version
        found = self._found
        begin = 0 if last is None else bisect_right(found, last, key=lambda each: order(each[0]))
        page = found[begin : begin + limit]
        following = cursor_after(page[-1][0]) if len(found) > begin + limit else None
        return GameList([game for _, game in page], following, len(found))


def _grouped(runs: Sequence[Snapshot]) -> list[tuple[Snapshot, Game]]:
    by_url: dict[str, list[Snapshot]] = {}
    for run in runs:
        if run.game_url:
            by_url.setdefault(run.game_url, []).append(run)
    return [(each[0], _game(each)) for each in by_url.values()]


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
