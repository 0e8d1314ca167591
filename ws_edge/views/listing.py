"""The pages of a list of runs: newest first, filtered, with a cursor. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence, Set
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from broker.contract import ids
from broker.contract.errors import BadInput, InvalidTestId
from broker.contract.snapshot import LIST_STATUSES, Snapshot

_MAX_TIME_DIGITS: Final = 16


class Listing(NamedTuple):
    """One page of the list, newest first."""

    tests: list[Snapshot]
    next_cursor: str | None
    counts: dict[str, int]
    """Of all runs that the caller may see, whatever the filter."""
    matching: int
    """How many runs the filter lets through, on all pages."""


class Wanted(NamedTuple):
    """What a run must have, besides a status and a text."""

    game_urls: frozenset[str] = frozenset()
    """Its address is one of these; empty: any."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values, all of which it has."""
    since_ms: int | None = None
    """It began then or later, ms since 1970 by the broker's clock."""
    until_ms: int | None = None
    """It began before then."""
    pinned: bool = False
    """Somebody keeps it for good."""


ANY: Final = Wanted()


class Game(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A game, by its address, as its runs tell of it."""

    game_url: str
    title: str
    """Of its newest run."""
    runs: int
    active: int
    """Runs that have not ended."""
    last_at: int
    """When its newest run began, ms since 1970 by the broker's clock."""
    last_test_id: str
    last_status: str
    """One of `LIST_STATUSES`."""
    last_score: float | None = None
    """The newest score; None: no run has one."""
    scores: list[float | None]
    """Of the newest runs that have ended, the oldest of them first; None: it ended without a score."""


class GameList(NamedTuple):
    """One page of games, the one with the newest run first."""

    games: list[Game]
    next_cursor: str | None
    total: int
    """How many games there are on all pages."""


class RunList(Protocol):
    """Runs as somebody may see them: all of a node, or those of some projects."""

    version: int
    """Rises with every change of a snapshot or of a mark, of these runs."""

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here, with its marks; None for a run that is not one of these."""

    def newest(self, limit: int) -> list[Snapshot]:
        """The newest runs."""

    def counts(self) -> dict[str, int]:
        """How many runs are in each of `LIST_STATUSES`."""

    def listing(
        self, limit: int, cursor: str | None, status: str | None, query: str | None = None, wanted: Wanted = ANY
    ) -> Listing:
        """One page, newest first.

        Args:
            limit: the longest page.
            cursor: `next_cursor` of the page before; None for the first page.
            status: only runs in this one of `LIST_STATUSES`.
            query: only runs whose title, address, id, newest message or label, as `name=value`, contains it, in any
                case.
            wanted: only runs that have all of this.

        Raises:
            BadInput: the cursor is not one of `next_cursor`.
        """

    def games(self, limit: int, cursor: str | None) -> GameList:
        """One page of the games that these runs test, the one with the newest run first.

        Raises:
            BadInput: the cursor is not one of `next_cursor`.
        """

    def etag(self, epoch: str, query: str) -> str:
        """The ETag of the answer to a query. It changes with nothing but these runs, and is the same on every node."""


def order(run: Snapshot) -> tuple[int, str]:
    """The key by which the list is sorted."""
    return (-run.created_at, run.test_id)


def counts_of(runs: Iterable[Snapshot]) -> dict[str, int]:
    """How many of the runs are in each of `LIST_STATUSES`."""
    counts: dict[str, int] = dict.fromkeys(LIST_STATUSES, 0)
    for run in runs:
        counts[run.list_status] += 1
    return counts


class OrderedRuns:
    """Runs in the order of the list, and how many are in each status. With ten thousand busy runs nearly all changes
    leave both as they are."""

    def __init__(self) -> None:
        self.by_id: dict[str, Snapshot] = {}
        """Changed by `replace` alone."""
        self._counts = counts_of(())
        self._ids: list[str] | None = None
        """In the order of the list; None: a run came, went or begins at another time."""
        self._ordered: list[Snapshot] | None = None

    def __repr__(self) -> str:
        return f"<OrderedRuns runs={len(self.by_id)}>"

    def counts(self) -> dict[str, int]:
        """How many are in each of `LIST_STATUSES`."""
        return dict(self._counts)

    def replace(self, test_id: str, run: Snapshot | None) -> None:
        """A run has another snapshot, is new, or is gone (None)."""
        before = self.by_id.get(test_id)
        if before is not None:
            self._counts[before.list_status] -= 1
        if run is not None:
            self._counts[run.list_status] += 1
            self.by_id[test_id] = run
        else:
            self.by_id.pop(test_id, None)
        if before is None or run is None or before.created_at != run.created_at:
            self._ids = None
        self._ordered = None

    def ordered(self) -> list[Snapshot]:
        """The runs, newest first. Not to be changed."""
        if self._ordered is None:
            if self._ids is None:
                self._ids = [run.test_id for run in sorted(self.by_id.values(), key=order)]
            self._ordered = [self.by_id[test_id] for test_id in self._ids]
        return self._ordered


def page_of(
    runs: Sequence[Snapshot],
    limit: int,
    cursor: str | None,
    status: str | None,
    query: str | None,
    wanted: Wanted = ANY,
    pins: Set[str] = frozenset(),
) -> tuple[list[Snapshot], str | None, int]:
    """One page of runs that are in order, the cursor of the next one, and how many runs match on all pages.

    Args:
        pins: the ids of the runs that somebody keeps for good; a stored snapshot does not say it.

    Raises:
        BadInput: the cursor is not one that was given out.
    """
    found = _between(runs, wanted)
    if wanted.game_urls:
        found = [run for run in found if run.game_url in wanted.game_urls]
    for name, value in wanted.labels:  # ten times as fast as a function that is called for each run
        found = [run for run in found if run.labels is not None and run.labels.get(name) == value]
    if wanted.pinned:
        found = [run for run in found if run.test_id in pins]
    if status is not None:
        found = [run for run in found if run.list_status == status]
    if query:
        sought = query.lower()
        found = [run for run in found if _contains(run, sought)]
    begin = 0 if cursor is None else bisect_right(found, parse_cursor(cursor), key=order)
    page = list(found[begin : begin + limit])
    return page, cursor_after(page[-1]) if len(found) > begin + limit else None, len(found)


def _between(runs: Sequence[Snapshot], wanted: Wanted) -> Sequence[Snapshot]:
    if wanted.since_ms is None and wanted.until_ms is None:
        return runs
    begin = 0 if wanted.until_ms is None else bisect_right(runs, -wanted.until_ms, key=_age)
    end = len(runs) if wanted.since_ms is None else bisect_right(runs, -wanted.since_ms, key=_age)
    return runs[begin:end]


def _age(run: Snapshot) -> int:
    return -run.created_at


def cursor_after(run: Snapshot) -> str:
    """The cursor of the page that follows a run."""
    return f"{run.created_at}.{run.test_id}"


def _contains(run: Snapshot, wanted: str) -> bool:
    if wanted in run.title.lower() or wanted in run.game_url.lower() or wanted in run.test_id:
        return True
    if wanted in run.message.lower():
        return True
    return run.labels is not None and any(wanted in f"{name}={value}".lower() for name, value in run.labels.items())


def parse_cursor(cursor: str) -> tuple[int, str]:
    """The place in the order that a cursor names.

    Raises:
        BadInput: it is not one that was given out.
    """
    created_at, _, test_id = cursor.partition(".")
    try:
        if not (created_at.isascii() and created_at.isdigit() and len(created_at) <= _MAX_TIME_DIGITS):
            raise InvalidTestId(cursor)
        return (-int(created_at), ids.parse_test_id(test_id))
    except InvalidTestId:
        raise BadInput(f"cursor: {cursor[:80]!r} was not given out by this method", code="invalid_cursor") from None


def to_json(runs: Iterable[Snapshot]) -> list[Any]:
    """Snapshots as plain values, ready for JSON."""
    return [msgspec.to_builtins(run) for run in runs]
