"""Events that cannot be read: counted by reason, logged by reason and run, and told to viewers.

They are never forwarded. Without a word, their publisher would see an acknowledgement and an empty page.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from broker.contract.errors import MalformedEvent

WINDOW_S: Final = 60.0
"""A reason is logged once for a run within this time."""
_MAX_LINES: Final = 50
"""Lines within a window, for all runs and reasons: a flood of bad input must not fill a disk."""
_MAX_RUNS: Final = 10_000
_log = logging.getLogger("testcast.unreadable")


class Passed(Protocol):
    """A stored event that may have been passed over."""

    @property
    def seq(self) -> int:
        """Its sequence."""

    @property
    def reason(self) -> str:
        """Why it cannot be read; empty when it can."""


def told(entries: Iterable[Passed]) -> dict[str, Any] | None:
    """What a viewer is told of the events that were passed over among `entries`; None when none was."""
    passed = [entry for entry in entries if entry.reason]
    if not passed:
        return None
    return {"seq": passed[-1].seq, "count": len(passed), "reasons": dict(Counter(entry.reason for entry in passed))}


class UnreadableStatistics(NamedTuple):
    """What could not be read since the start of the node, each event counted once."""

    events: int
    by_reason: dict[str, int]


class UnreadableEvents:
    """The count and the log of one node. All calls from the loop.

    Topics, replays and the projector read the same events: of each run, only what is past the newest one noted counts.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_reason: Counter[str] = Counter()
        self._noted: OrderedDict[str, int] = OrderedDict()
        """The newest sequence noted of each run."""
        self._window_ends = 0.0
        self._logged: set[tuple[str, str]] = set()
        self._not_shown = 0

    def __repr__(self) -> str:
        return f"<UnreadableEvents {self._by_reason.total()}>"

    def statistics(self) -> UnreadableStatistics:
        """The figures of this moment."""
        return UnreadableStatistics(self._by_reason.total(), dict(self._by_reason))

    def note(self, test_id: str, seq: int, error: MalformedEvent) -> None:
        """An event was passed over."""
        reason = error.reason
        if seq <= self._noted.get(test_id, 0):
            return
        self._noted[test_id] = seq
        self._noted.move_to_end(test_id)
        if len(self._noted) > _MAX_RUNS:
            self._noted.popitem(last=False)
        self._by_reason[reason] += 1
        now = self._clock()
        if now >= self._window_ends:
            self._start_window(now)
        if (test_id, reason) in self._logged or len(self._logged) >= _MAX_LINES:
            self._not_shown += 1
            return
        self._logged.add((test_id, reason))
        _log.warning("test %s: event %d cannot be read and is not shown: %s", test_id, seq, error.message)

    def forget(self) -> None:
        """The stream was made again: its sequences begin anew."""
        self._noted.clear()

    def _start_window(self, now: float) -> None:
        if self._not_shown:
            _log.warning("%d more events could not be read, for the reasons logged before", self._not_shown)
        self._window_ends, self._not_shown = now + WINDOW_S, 0
        self._logged.clear()
