"""The `tests` channel: changes of the list, conflated to the newest state of each run, at most four times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from broker.contract.snapshot import Snapshot
from ws_edge.access import Principal
from ws_edge.encoding import Encoding
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.listing import RunList, to_json
from ws_edge.views.scopes import ScopedRuns

_INTERVAL_S: Final = 0.25
FULL_LIST: Final = 100
"""How many runs the first message of the channel carries."""


class Listener(Protocol):
    """What the channel needs of a viewer. None of it blocks, none of it raises."""

    @property
    def principal(self) -> Principal:
        """Who listens: it sees the runs of its projects."""

    @property
    def encoding(self) -> Encoding:
        """What messages to it are encoded with."""

    def waiting(self) -> int:
        """How many bytes wait to be sent to it."""

    def write(self, frames: bytes) -> None:
        """Sends encoded messages."""


class TestsChannelStatistics(NamedTuple):
    """Who listens at one moment, and what was sent since the start of the node."""

    listeners: int
    outdated: int
    """Listeners that get the whole list once their write buffer has room."""
    updates: int
    """Changes of the list that were sent, each to all listeners."""
    full_lists: int
    """Whole lists that were sent, each to one listener."""


class _Group:
    """The listeners that see the same runs."""

    def __init__(self, projects: frozenset[str] | None) -> None:
        self.projects = projects
        self.listeners: set[Listener] = set()
        self.outdated: set[Listener] = set()
        self.was_stale = False
        self.runs: RunList | None = None
        """What they see; None before the first round."""


class TestsChannel:
    """All viewers on this node that watch the list, grouped by the projects that they may see.

    A listener whose write buffer is beyond `high_water_bytes` when the list changes misses the change, and gets the
    whole list once it has room. A listener hears nothing of a run that it may not see, nor that one went away.

    Args:
        stale_for_s: how long what is shown has been out of date, seconds; None while it is current.
    """

    __test__ = False  # the name begins with "Test": pytest would try to collect it

    def __init__(self, high_water_bytes: int, stale_for_s: Callable[[], float | None]) -> None:
        self._groups: dict[frozenset[str] | None, _Group] = {}
        self._group_of: dict[Listener, _Group] = {}
        self._changed: set[str] = set()
        self._high_water_bytes = high_water_bytes
        self._stale_for_s = stale_for_s
        self._updates = 0
        self._full_lists = 0
        self.principals_change = False
        """Whether a listener may become another principal while it listens: each round then looks."""

    def __repr__(self) -> str:
        figures = self.statistics()
        return f"<TestsChannel listeners={figures.listeners} outdated={figures.outdated} groups={len(self._groups)}>"

    def __contains__(self, listener: object) -> bool:
        return listener in self._group_of

    def statistics(self) -> TestsChannelStatistics:
        """The figures of this moment."""
        outdated = sum(len(group.outdated) for group in self._groups.values())
        return TestsChannelStatistics(len(self._group_of), outdated, self._updates, self._full_lists)

    def add(self, listener: Listener) -> None:
        """The listener gets the whole list of what it may see within the next interval, and changes from then on."""
        self.remove(listener)
        projects = listener.principal.projects
        group = self._groups.get(projects)
        if group is None:
            group = self._groups[projects] = _Group(projects)
        group.listeners.add(listener)
        group.outdated.add(listener)
        self._group_of[listener] = group

    def remove(self, listener: Listener) -> None:
        """Ends it; harmless when it does not listen."""
        group = self._group_of.pop(listener, None)
        if group is None:
            return
        group.listeners.discard(listener)
        group.outdated.discard(listener)
        if not group.listeners:
            del self._groups[group.projects]
            if isinstance(group.runs, ScopedRuns):
                group.runs.follow(False)

    def changed(self, test_id: str) -> None:
        """A run's snapshot or stalled mark has changed."""
        self._changed.add(test_id)

    async def run(self, catalogue: Catalogue) -> None:
        """Sends until cancelled, from when the catalogue is filled."""
        await catalogue.filled.wait()
        while True:
            self._send(catalogue)
            await asyncio.sleep(_INTERVAL_S)

    def _send(self, catalogue: Catalogue) -> None:
        changed, self._changed = self._changed, set()
        stale_for_s = self._stale_for_s()
        if self.principals_change:
            for listener in [each for each, group in self._group_of.items() if _sees_other_runs(each, group)]:
                self.add(listener)
        for group in self._groups.values():
            if group.runs is None:
                group.runs = catalogue.scoped(group.projects)
                if isinstance(group.runs, ScopedRuns):
                    group.runs.follow(True)
            seen = group.runs.take_changes() if isinstance(group.runs, ScopedRuns) else changed
            self._send_to(group, group.runs, seen, stale_for_s)

    def _send_to(self, group: _Group, runs: RunList, changed: set[str], stale_for_s: float | None) -> None:
        stale = stale_for_s is not None
        if (changed or stale != group.was_stale) and len(group.listeners) > len(group.outdated):
            group.was_stale = stale
            self._send_changes(group, runs, changed, stale_for_s)
        ready = [listener for listener in group.outdated if self._has_room(listener)]
        if ready:
            self._full_lists += len(ready)
            group.outdated.difference_update(ready)
            _write(ready, _message(runs.newest(FULL_LIST), [], stale_for_s, runs.counts(), full=True))

    def _send_changes(self, group: _Group, runs: RunList, changed: set[str], stale_for_s: float | None) -> None:
        upserts = [run for run in map(runs.snapshot, changed) if run is not None]
        removed = [test_id for test_id in changed if runs.snapshot(test_id) is None]
        current = group.listeners - group.outdated
        ready = [listener for listener in current if self._has_room(listener)]
        group.outdated |= current.difference(ready)
        self._updates += 1
        _write(ready, _message(upserts, removed, stale_for_s, runs.counts()))

    def _has_room(self, listener: Listener) -> bool:
        return listener.waiting() <= self._high_water_bytes


def _sees_other_runs(listener: Listener, group: _Group) -> bool:
    return listener.principal.projects != group.projects


def _message(
    upserts: list[Snapshot],
    removed: list[str],
    stale_for_s: float | None,
    counts: dict[str, int],
    *,
    full: bool = False,
) -> dict[str, Any]:
    """The fields of a `tests` message."""
    return {
        "upserts": to_json(upserts),
        "removed": removed,
        "counts": counts,
        "full": full or None,
        "stale": stale_for_s is not None or None,
        "ageMs": None if stale_for_s is None else int(stale_for_s * 1000),
    }


def _write(listeners: Iterable[Listener], fields: dict[str, Any]) -> None:
    """Sends one message to many listeners, encoded once per encoding."""
    frames: dict[Encoding, bytes] = {}
    for listener in listeners:
        encoding = listener.encoding
        if encoding not in frames:
            frames[encoding] = encoding.control("tests", **fields)
        listener.write(frames[encoding])
