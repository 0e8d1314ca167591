"""The list as those see it who may see some projects only. Nothing in it depends on a run of another project.

Runs are indexed by project, and each set of projects that is asked for has a list of its own, so that a short list
among very many runs is made without a look at the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Set
from functools import partial
from typing import Final, Protocol

from broker.contract.snapshot import Snapshot
from ws_edge.views.games import Games
from ws_edge.views.listing import ANY, GameList, Listing, Wanted, counts_of, order, page_of
from ws_edge.views.queue import Queue

_MAX_HELD: Final = 64
"""Lists of sets of projects that are kept. Sets come from tokens, of which an installation issues few kinds."""


class AllRuns(Protocol):
    """What a scoped list is made of: the catalogue."""

    queue: Queue
    pinned: set[str]
    """Test ids of the runs that somebody keeps for good."""

    @property
    def stalled(self) -> Set[str]:
        """Test ids of the runs that are marked stalled."""

    @property
    def stale_for_s(self) -> float | None:
        """How long the list has been out of date, seconds; None while it is current."""

    def stored(self, test_id: str) -> tuple[Snapshot, int] | None:
        """The snapshot as it is stored, and its revision."""

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The snapshot with its marks."""


class ScopedRuns:
    """The runs of a set of projects: a `RunList`."""

    def __init__(self, everything: AllRuns, projects: frozenset[str], among: Callable[[], Iterable[str]]) -> None:
        self._all = everything
        self._among = among
        """Test ids of the runs that may be of these projects."""
        self._projects = projects
        self._revisions: dict[str, int] = {}
        """By test id, of the runs of these projects."""
        self._fingerprint = 0
        """Of all runs and their revisions, in any order."""
        self._sorted: list[Snapshot] | None = None
        self._counts: dict[str, int] | None = None
        self._games = Games()
        self._changes: set[str] | None = None
        """None while nobody follows."""
        self.version = 0
        self.rebuild()

    def __repr__(self) -> str:
        return f"<ScopedRuns projects={sorted(self._projects)} runs={len(self._revisions)}>"

    @property
    def followed(self) -> bool:
        """Whether somebody takes the changes."""
        return self._changes is not None

    def follow(self, on: bool) -> None:
        """Begins or ends keeping the changes for `take_changes`."""
        self._changes = set() if on else None

    def take_changes(self) -> set[str]:
        """Test ids of the runs that were changed, came or went since the last call."""
        if not self._changes:
            return set()
        changes, self._changes = self._changes, set()
        return changes

    def rebuild(self) -> None:
        """Looks at every run again."""
        self._revisions.clear()
        self._fingerprint = 0
        self._touch()
        for test_id in self._among():
            stored = self._all.stored(test_id)
            if stored is not None and stored[0].project in self._projects:
                self._put(test_id, stored[1])

    def refresh(self, test_id: str) -> None:
        """A run was changed, came, went, or has another mark."""
        stored, before = self._all.stored(test_id), self._revisions.get(test_id)
        inside = stored is not None and stored[0].project in self._projects
        if before is None and not inside:
            return
        if before is not None:
            self._fingerprint ^= _hash(test_id, self._revisions.pop(test_id))
        if stored is not None and inside:
            self._put(test_id, stored[1])
        self._touch()
        if self._changes is not None:
            self._changes.add(test_id)

    def let_go(self) -> None:
        """It hears of no change from now on: what was answered from it is not current any more."""
        self._touch()

    def _put(self, test_id: str, revision: int) -> None:
        self._revisions[test_id] = revision
        self._fingerprint ^= _hash(test_id, revision)

    def _touch(self) -> None:
        self.version += 1
        self._sorted = self._counts = None

    def snapshot(self, test_id: str) -> Snapshot | None:
        """See `RunList`."""
        return self._all.snapshot(test_id) if test_id in self._revisions else None

    def newest(self, limit: int) -> list[Snapshot]:
        """See `RunList`."""
        return self._marked(self._ordered()[:limit])

    def counts(self) -> dict[str, int]:
        """See `RunList`."""
        if self._counts is None:
            self._counts = counts_of(self._ordered())
        return self._counts

    def listing(
        self, limit: int, cursor: str | None, status: str | None, query: str | None = None, wanted: Wanted = ANY
    ) -> Listing:
        """See `RunList`."""
        page, following, matching = page_of(self._ordered(), limit, cursor, status, query, wanted, self._all.pinned)
        return Listing(self._marked(page), following, self.counts(), matching)

    def games(self, limit: int, cursor: str | None) -> GameList:
        """See `RunList`."""
        return self._games.page(self.version, self._ordered, limit, cursor)

    def etag(self, epoch: str, query: str) -> str:
        """See `RunList`."""
        stalled = ",".join(sorted(self._all.stalled & self._revisions.keys()))
        no_agent = self.counts()["queued"] and not self._all.queue.agents_present
        pinned = ",".join(sorted(self._all.pinned & self._revisions.keys()))
        marks = f"{int(self._all.stale_for_s is not None)} {int(bool(no_agent))} {stalled} {pinned}"
        runs = f"{' '.join(sorted(self._projects))} {len(self._revisions)} {self._fingerprint:x}"
        return f'"{hashlib.blake2b(f"{epoch} {runs} {query} {marks}".encode(), digest_size=12).hexdigest()}"'

    def _ordered(self) -> list[Snapshot]:
        if self._sorted is None:
            found = (self._all.stored(test_id) for test_id in self._revisions)
            self._sorted = sorted((run for run, _ in filter(None, found)), key=order)
        return self._sorted

    def _marked(self, runs: list[Snapshot]) -> list[Snapshot]:
        found = (self._all.snapshot(run.test_id) for run in runs)
        return [run for run in found if run is not None]


class Scopes:
    """The scoped lists of one catalogue."""

    def __init__(self, everything: AllRuns) -> None:
        self._all = everything
        self._held: dict[frozenset[str], ScopedRuns] = {}
        """The one used last is the last."""
        self._by_project: dict[str, set[str]] = {}
        """Test ids."""

    def __repr__(self) -> str:
        return f"<Scopes held={len(self._held)}>"

    def __len__(self) -> int:
        return len(self._held)

    def of(self, projects: frozenset[str]) -> ScopedRuns:
        """The runs of these projects."""
        found = self._held.pop(projects, None)
        if found is None:
            found = ScopedRuns(self._all, projects, partial(self._in, projects))
            idle = [each for each, runs in self._held.items() if not runs.followed]
            for each in idle[: max(0, len(self._held) + 1 - _MAX_HELD)]:
                self._held.pop(each).let_go()
        self._held[projects] = found
        return found

    def _in(self, projects: frozenset[str]) -> list[str]:
        return [test_id for project in projects for test_id in self._by_project.get(project, ())]

    def move(self, test_id: str, before: str | None, after: str | None) -> None:
        """A run came (`before` is None), went (`after` is None), or is of another project than before."""
        if before == after:
            return
        if before is not None:
            self._by_project[before].discard(test_id)
            if not self._by_project[before]:
                del self._by_project[before]
        if after is not None:
            self._by_project.setdefault(after, set()).add(test_id)

    def refresh(self, test_id: str) -> None:
        """A run was changed, came, went, or has another mark."""
        for runs in self._held.values():
            runs.refresh(test_id)

    def rebuild(self) -> None:
        """Every revision may be another."""
        for runs in self._held.values():
            runs.rebuild()


def hash_of(text: str) -> int:
    """64 bits of a hash, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _hash(test_id: str, revision: int) -> int:
    return hash_of(f"{test_id} {revision}")
