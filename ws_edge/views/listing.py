"""The pages of a list of runs: newest first, filtered, with a cursor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    def listing(self, limit: int, cursor: str | None, status: str | None, query: str | None = None) -> Listing:
        """One page, newest first.

        Args:
            limit: the longest page.
            cursor: `next_cursor` of the page before; None for the first page.
            status: only runs in this one of `LIST_STATUSES`.
            query: only runs whose title, address, id or newest message contains it, in any case.

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


def page_of(
    runs: Sequence[Snapshot], limit: int, cursor: str | None, status: str | None, query: str | None
) -> tuple[list[Snapshot], str | None]:
    """One page of runs that are in order, and the cursor of the next one.

    Raises:
        BadInput: the cursor is not one that was given out.
    """
    found = runs
    if status is not None:
        found = [run for run in found if run.list_status == status]
    if query:
        wanted = query.lower()
        found = [run for run in found if _contains(run, wanted)]
    if cursor is not None:
        last = _parse_cursor(cursor)
        found = [run for run in found if order(run) > last]
    page = list(found[:limit])
    return page, f"{page[-1].created_at}.{page[-1].test_id}" if len(found) > limit else None


def _contains(run: Snapshot, wanted: str) -> bool:
    return any(wanted in text.lower() for text in (run.title, run.game_url, run.test_id, run.message) if text)


def _parse_cursor(cursor: str) -> tuple[int, str]:
    created_at, _, test_id = cursor.partition(".")
    try:
        if not (created_at.isascii() and created_at.isdigit() and len(created_at) <= _MAX_TIME_DIGITS):
            raise InvalidTestId(cursor)
        return (-int(created_at), ids.parse_test_id(test_id))
    except InvalidTestId:
        raise BadInput(f"cursor: {cursor[:80]!r} was not given out by listTests", code="invalid_cursor") from None


def to_json(runs: Iterable[Snapshot]) -> list[Any]:
    """Snapshots as plain values, ready for JSON."""
    return [msgspec.to_builtins(run) for run in runs]
