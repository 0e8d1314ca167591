"""The `tests` channel: changes of the list, conflated to the newest state of each run, at most four times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from broker.contract.snapshot import Snapshot
from ws_edge.encoding import Encoding
from ws_edge.views.catalogue import Catalogue, to_json

_INTERVAL_S: Final = 0.25
FULL_LIST: Final = 100
"""How many runs the first message of the channel carries."""


class Listener(Protocol):
    """What the channel needs of a viewer. None of it blocks, none of it raises."""

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


class TestsChannel:
    """All viewers on this node that watch the list.

    A listener whose write buffer is beyond `high_water_bytes` when the list changes misses the change, and gets the
    whole list once it has room.

    Args:
        stale_for_s: how long what is shown has been out of date, seconds; None while it is current.
    """

    __test__ = False  # the name begins with "Test": pytest would try to collect it

    def __init__(self, high_water_bytes: int, stale_for_s: Callable[[], float | None]) -> None:
        self._listeners: set[Listener] = set()
        self._outdated: set[Listener] = set()
        self._changed: set[str] = set()
        self._high_water_bytes = high_water_bytes
        self._stale_for_s = stale_for_s
        self._was_stale = False
        self._updates = 0
        self._full_lists = 0

    def __repr__(self) -> str:
        return f"<TestsChannel listeners={len(self._listeners)} outdated={len(self._outdated)}>"

    def __contains__(self, listener: object) -> bool:
        return listener in self._listeners

    def statistics(self) -> TestsChannelStatistics:
        """The figures of this moment."""
        return TestsChannelStatistics(len(self._listeners), len(self._outdated), self._updates, self._full_lists)

    def add(self, listener: Listener) -> None:
        """The listener gets the whole list within the next interval, and changes from then on."""
        self._listeners.add(listener)
        self._outdated.add(listener)

    def remove(self, listener: Listener) -> None:
        """Ends it; harmless when it does not listen."""
        self._listeners.discard(listener)
        self._outdated.discard(listener)

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
        stale = stale_for_s is not None
        if (changed or stale != self._was_stale) and len(self._listeners) > len(self._outdated):
            self._was_stale = stale
            self._send_changes(catalogue, changed, stale_for_s)
        ready = [listener for listener in self._outdated if self._has_room(listener)]
        if ready:
            self._full_lists += len(ready)
            self._outdated.difference_update(ready)
            _write(ready, _message(catalogue.newest(FULL_LIST), [], stale_for_s, catalogue.counts(), full=True))

    def _send_changes(self, catalogue: Catalogue, changed: set[str], stale_for_s: float | None) -> None:
        upserts = [run for run in map(catalogue.snapshot, changed) if run is not None]
        removed = [test_id for test_id in changed if catalogue.snapshot(test_id) is None]
        current = self._listeners - self._outdated
        ready = [listener for listener in current if self._has_room(listener)]
        self._outdated |= current.difference(ready)
        self._updates += 1
        _write(ready, _message(upserts, removed, stale_for_s, catalogue.counts()))

    def _has_room(self, listener: Listener) -> bool:
        return listener.waiting() <= self._high_water_bytes


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
