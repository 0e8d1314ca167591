"""Whether the live events of a run follow one another without a hole. Pure.

Two numbers: `received` is the newest event taken from the broker, `released` the newest one sent to viewers. The
throttle may hold progress events between them.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from broker.contract.ports import LiveEvent
from broker.contract.position import link

MAX_HELD: Final = 4096
"""Live events kept while missing ones are read from the stream. What comes beyond is read from there too."""
AHEAD: Final = 1_000_000
"""How far past the leader's newest sequence a live event is believed: several times what a broker stores between two
looks at its leader. What lies further is read from the stream first."""


class Verdict(Enum):
    """What becomes of a live event."""

    TAKE = "take"
    """It is the next one."""
    DROP = "drop"
    """It was received before: a deposed leader republishes old events when it wakes up."""
    HOLD = "hold"
    """Missing events are being read; it is kept until they are here."""
    GAP = "gap"
    """Events before it are missing and have to be read; it is kept until they are here."""
    DISPUTED = "disputed"
    """The stream cannot hold both it and the newest event received: one of them was never stored."""


class Continuity:
    """The order of one run's events on this node."""

    __slots__ = ("before", "data", "first", "gaps", "held", "limit", "received", "released", "repaired", "sound")

    def __init__(self) -> None:
        self.received = 0
        self.released = 0
        self.data: bytes | None = None
        """The newest event received, as it is stored; None where it was not read."""
        self.before = 0
        """The event that was received before it."""
        self.limit = AHEAD
        """A live event past it is not believed."""
        self.first = 0
        """The event that was taken when nothing older was retained; 0 while no such event is known."""
        self.gaps = 0
        """How often events were missing."""
        self.repaired = 0
        """How many of these gaps were closed."""
        self.sound = False
        """Nothing is known to be missing: the next live event can be taken."""
        self.held: list[LiveEvent] = []

    def __repr__(self) -> str:
        state = "sound" if self.sound else f"held={len(self.held)}"
        return f"<Continuity received={self.received} released={self.released} gaps={self.gaps} {state}>"

    def offer(self, event: LiveEvent) -> Verdict:
        """Judges a live event. The caller calls `take` after `TAKE`, reads the stream after `GAP`, and has it judge
        between the two after `DISPUTED`."""
        if self.sound:
            position = link(self.received, event.seq, event.predecessor)
            if position == "next" and event.seq <= self.limit:
                return Verdict.TAKE
            if position == "old":
                return Verdict.DISPUTED if self._disputes(event.seq, event.data) else Verdict.DROP
            self.gaps += 1
            self.sound = False
            self._hold(event)
            return Verdict.GAP
        self._hold(event)
        return Verdict.HOLD

    def _disputes(self, seq: int, data: bytes) -> bool:
        if self.data is None or seq <= self.before:
            return False
        return seq < self.received or data != self.data

    def take(self, seq: int, data: bytes) -> None:
        """The event at `seq` follows the newest one received."""
        if not self.received:
            self.first = seq
        self.before, self.received, self.data = self.received, seq, data

    def exceeds(self, newest: int, data: bytes | None) -> bool:
        """The leader has nothing as new as what was received, or something else in its place. It may have been purged.

        Args:
            newest: the run's newest sequence as the leader knows it.
            data: what is stored there; None where that is not known.
        """
        if not self.sound or self.data is None:
            return False
        return newest < self.received or (newest == self.received and data is not None and data != self.data)

    def believe(self, last_seq: int) -> None:
        """Live events are believed up to `AHEAD` past `last_seq`, a sequence that the stream is known to have."""
        self.limit = max(self.limit, last_seq + AHEAD)

    def lacks(self, newest: int) -> bool:
        """Whether the leader knows a newer event than was received; then the order is in doubt."""
        if newest <= self.received or not self.sound:
            return False
        self.gaps += 1
        self.sound = False
        return True

    def doubt(self) -> bool:
        """Events may be missing, because the connection was away. Returns whether the order was sound before."""
        before, self.sound = self.sound, False
        return before

    def resolve(self) -> list[LiveEvent]:
        """What was missing is here. Returns the held events, which have to be offered again, in order."""
        self.sound, self.repaired = True, self.gaps
        held, self.held = self.held, []
        return held

    def forget_held(self, count: int, newest: int) -> None:
        """Of the first `count` held events, drops those that the leader does not have: purged, or forged."""
        self.held[:count] = [event for event in self.held[:count] if event.seq <= newest]

    def start(self, received: int) -> None:
        """Discards everything before; the next event follows `received`."""
        self.received = self.released = self.before = received
        self.first, self.data = 0, None

    def _hold(self, event: LiveEvent) -> None:
        if len(self.held) < MAX_HELD:
            self.held.append(event)
