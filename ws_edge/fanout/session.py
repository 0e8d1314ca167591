"""A session: one viewer's interest in one topic; and how a frame goes out to all of a topic's viewers."""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker.contract.position import Position

if TYPE_CHECKING:
    from ws_edge.fanout.topic import Topic


class Viewer(Protocol):
    """What a topic needs of a socket. None of it blocks, none of it raises."""

    fd: int
    """Where a frame may go straight to the kernel: nothing waits before it. -1 while something does, or may. Whenever
    it changes, each of the viewer's sessions is told (`Session.straight`)."""

    @property
    def transport(self) -> asyncio.Transport:
        """For how much waits in it."""

    def write(self, frames: bytes) -> None:
        """Sends them; only while the session stands."""

    def queue(self, rest: memoryview) -> None:
        """Sends what the kernel did not take of a frame, once it does."""

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Writes it, unless more than `high_water_bytes` wait to be sent: then nothing happens, and False."""

    def session_missing(self, session: Session) -> None:
        """The test does not exist. The session has been removed already."""


class Looked(NamedTuple):
    """What the leader said: of all events up to `tail` only those up to `newest` are retained. True for ever after."""

    newest: int
    tail: int


class Session:
    """One viewer's interest in one topic."""

    __slots__ = ("asked", "cursor", "looked", "place", "reading", "settled", "topic", "viewer")

    def __init__(self, topic: Topic, viewer: Viewer, asked: Position | None) -> None:
        self.topic = topic
        self.viewer = viewer
        self.asked = asked
        self.cursor = 0
        """Everything up to here has been written to the socket; only meaningful while behind."""
        self.place = -1
        """Among the topic's live sessions; -1 while behind."""
        self.settled = False
        """The resume has been decided and its `sync` written."""
        self.looked: Looked | None = None
        """The leader was asked: the position is past all that is known here, or a read has not found what follows."""
        self.reading = False
        """A page is being read for it."""

    def straight(self, fd: int) -> None:
        """The viewer's `fd` is another one."""
        if self.place >= 0:
            self.topic.live.fds[self.place] = fd

    def close(self) -> None:
        """Ends it; harmless when it has ended."""
        self.topic.remove(self)


class LiveSessions:
    """A topic's live sessions in no order, and what a delivery needs of each packed side by side."""

    __slots__ = ("_sessions", "fds")

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self.fds = array("i")
        """Their viewers' `fd`, place by place."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def add(self, session: Session) -> None:
        """One that is not here."""
        session.place = len(self._sessions)
        self._sessions.append(session)
        self.fds.append(session.viewer.fd)

    def discard(self, session: Session) -> None:
        """The last one takes its place; harmless when it is not here."""
        place, session.place = session.place, -1
        if place < 0:
            return
        last, fd = self._sessions.pop(), self.fds.pop()
        if last is not session:
            self._sessions[place], self.fds[place] = last, fd
            last.place = place

    def clear(self) -> None:
        """All are behind."""
        for session in self._sessions:
            session.place = -1
        self._sessions.clear()
        del self.fds[:]

    def offer(self, frame: bytes, high_water_bytes: int) -> list[Session]:
        """Writes a frame to each viewer, unless more than `high_water_bytes` wait to be sent to it.

        The hot path: all that is done once per delivery is in this loop. It looks at no object of the viewer's, since
        of ten thousand none is in the processor's cache, and leaves everything but the whole frame taken to `Viewer`.

        Returns:
            Those that were not written to.
        """
        write, size = os.write, len(frame)
        refused: list[Session] = []
        for place, fd in enumerate(self.fds):
            if fd < 0:
                session = self._sessions[place]
                if not session.viewer.offer(frame, high_water_bytes):
                    refused.append(session)
                continue
            try:
                sent = write(fd, frame)
            except OSError:  # full, or gone: the transport waits, or finds the same error
                sent = 0
            if sent != size:  # no copy of the rest: at full rate frames are large, and most wait
                self._sessions[place].viewer.queue(memoryview(frame)[sent:])
        return refused
