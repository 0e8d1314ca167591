"""How a frame reaches all of a topic's live sessions.

Ten thousand writes take a tenth of a second. They are made a slice at a time, and the loop has a turn after each:
whoever joins, and every other topic, waits for one slice of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ws_edge.encoding import Encoding
from ws_edge.fanout.figures import FanoutFigures
from ws_edge.fanout.one_call import WriteAll
from ws_edge.fanout.session import LiveSessions, Session

SLICE: Final = 500
"""Sessions that are written to in one turn of the loop: about 5 ms."""


class Audience:
    """A topic's live sessions, by encoding, in groups of at most `SLICE`.

    A frame that was offered goes to the groups one after the other; `sending` says whether some lack it. A session that
    is added meanwhile needs it no more, and comes into a group that has it.
    """

    __slots__ = ("_figures", "_groups", "_pending", "_slice", "_write_all", "before")

    def __init__(self, figures: FanoutFigures, write_all: WriteAll) -> None:
        self._write_all = write_all
        self._groups: dict[Encoding, list[LiveSessions]] = {}
        self._pending: deque[tuple[LiveSessions, int | None]] = deque()
        """Groups whose frame has not been sent yet, and the events in it; None: it is no loss not to get it."""
        self.before = 0
        """The position of those that have not been sent what was offered last."""
        self._figures = figures
        self._slice = SLICE

    def __repr__(self) -> str:
        counts = " ".join(f"{by.name}={sum(map(len, groups))}" for by, groups in self._groups.items())
        return f"<Audience {counts or 'empty'} pending={len(self._pending)}>"

    def __len__(self) -> int:
        return sum(len(live) for groups in self._groups.values() for live in groups)

    def __iter__(self) -> Iterator[Session]:
        for groups in self._groups.values():
            for live in groups:
                yield from live

    @property
    def sending(self) -> bool:
        """Not all have been sent the frame that was offered last; no other may be offered."""
        return bool(self._pending)

    def add(self, session: Session) -> None:
        """Adds a session that is not here, and has everything that was offered."""
        groups = self._groups.setdefault(session.viewer.encoding, [])
        for live in reversed(groups):
            if len(live) < self._slice and live.pending is None:
                break
        else:
            live = LiveSessions(self._write_all)
            groups.append(live)
        live.add(session)

    def discard(self, session: Session) -> None:
        """Removes a session; harmless when it is not here."""
        live = session.live
        if live is not None:
            live.discard(session)
            if not live:
                self._groups[session.viewer.encoding].remove(live)

    def clear(self) -> None:
        """Removes all."""
        for session in self:
            session.live, session.place = None, -1
        self._groups.clear()
        self._pending.clear()

    def position_of(self, session: Session, released: int) -> int:
        """The position of a session that is live, where what was offered last goes up to `released`."""
        return released if session.live is None or session.live.pending is None else self.before

    def offer(self, frame_for: Callable[[Encoding], bytes], before: int, events: int | None = None) -> None:
        """Takes what all get next, each in its encoding; every encoding frames once. `go_on` writes it.

        Args:
            before: everybody's position.
            events: how many are in the frame. None: it tells no more than that nothing has happened.
        """
        assert not self._pending
        frames = {encoding: frame_for(encoding) for encoding, groups in self._groups.items() if groups}
        self.before = before
        for encoding, frame in frames.items():
            for live in self._groups[encoding]:
                live.pending = frame
                self._pending.append((live, events))

    def go_on(self, high_water_bytes: int) -> list[Session]:
        """Writes what was offered to the next of those that wait for it.

        Returns:
            The sessions that lack events because more than `high_water_bytes` wait to be sent to them.
        """
        refused: list[Session] = []
        offered = 0
        while self._pending and (not offered or offered + len(self._pending[0][0]) <= self._slice):
            live, events = self._pending.popleft()
            frame, live.pending = live.pending, None
            assert frame is not None
            offered += len(live)
            passed_over = live.offer(frame, high_water_bytes)
            sends = len(live) - len(passed_over)
            self._figures.sends += sends
            self._figures.sent_bytes += sends * len(frame)
            self._figures.deliveries += sends * (events or 0)
            if events is not None:
                refused += passed_over
        return refused
