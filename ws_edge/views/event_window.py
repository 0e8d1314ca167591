"""A window on the stream of events: what was read of all runs at once, and what it proves about each of them. Pure.

A run that is folded alone is read with a request of its own. Where very many runs are busy, the events of all of them
lie side by side in the stream, and one request reads those of hundreds of runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from broker.contract.ports import StoredEvent

MAX_EVENTS: Final = 8_192
MAX_BYTES: Final = 8 * 2**20
"""Of bodies. What is beyond has been folded long ago, here or on another edge."""
_MAX_RUNS: Final = 100_000
"""Runs of which something is remembered, about 100 bytes each. Beyond that the window begins again."""


class EventWindow:
    """Every event that the stream holds after `after`, up to `up_to`, of all runs. It forgets the bodies of the oldest,
    and remembers for each run how far it has forgotten."""

    def __init__(self) -> None:
        self.after = 0
        self.up_to = 0
        self._events: dict[str, list[StoredEvent]] = {}
        """By run, in order; no run has an empty list."""
        self._forgotten: dict[str, int] = {}
        """By run, the newest event whose body is forgotten."""
        self._order: deque[tuple[str, int]] = deque()
        """Runs and sequences in the order of the stream, also of what is forgotten already."""
        self._count = self._bytes = 0

    def __repr__(self) -> str:
        return f"<EventWindow after={self.after} up_to={self.up_to} events={self._count}>"

    def __len__(self) -> int:
        """How many events it holds with their bodies."""
        return self._count

    def begin(self, after: int) -> None:
        """Forgets everything, and begins behind the sequence `after`."""
        self.after = self.up_to = after
        self._events.clear()
        self._forgotten.clear()
        self._order.clear()
        self._count = self._bytes = 0

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Takes in what the stream holds after `up_to`: consecutive events, of which none is left out."""
        if len(self._forgotten) + len(self._events) > _MAX_RUNS:
            self.begin(self.up_to)
        for event in events:
            if event.seq <= self.up_to:
                continue
            self.up_to = event.seq
            if not event.test_id:  # nobody can ask for it
                continue
            self._events.setdefault(event.test_id, []).append(event)
            self._order.append((event.test_id, event.seq))
            self._count += 1
            self._bytes += len(event.data)
        self._trim()

    def since(self, test_id: str, seq: int) -> list[StoredEvent] | None:
        """All events of a run after `seq`, which is 1 or more, up to `up_to`. None: it cannot be told.

        The window has them all when it reaches back to `seq`, or has forgotten nothing after it. So it does when the
        publisher of the first of them named `seq` as the run's last event: the broker has stored it on that condition.
        """
        held = [event for event in self._events.get(test_id, ()) if event.seq > seq]
        if seq >= self._forgotten.get(test_id, self.after):
            return held
        return held if held and held[0].expected_last == seq else None

    def forget(self, test_id: str, seq: int) -> None:
        """The events of a run up to `seq` are not needed any more."""
        held = self._events.get(test_id)
        if held is None or held[0].seq > seq:
            return
        kept = [event for event in held if event.seq > seq]
        gone = held[: len(held) - len(kept)]
        self._count -= len(gone)
        self._bytes -= sum(len(event.data) for event in gone)
        self._forgotten[test_id] = gone[-1].seq
        if kept:
            self._events[test_id] = kept
        else:
            del self._events[test_id]

    def _trim(self) -> None:
        while self._order and (
            self._count > MAX_EVENTS or self._bytes > MAX_BYTES or len(self._order) > 2 * MAX_EVENTS
        ):
            self.forget(*self._order.popleft())
