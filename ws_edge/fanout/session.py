"""A session: one viewer's interest in one topic; and how a frame reaches many that are live."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Protocol

from broker.contract.position import Position
from ws_edge.encoding import Encoding
from ws_edge.fanout.one_call import WriteAll
from ws_edge.fanout.resume import LeaderAnswer, Stage


class Viewer(Protocol):
    """What a topic needs of a transport. All calls come from the loop; none blocks and none raises.

    Nothing is called after the viewer has closed its sessions.
    """

    @property
    def encoding(self) -> Encoding:
        """How its messages are encoded; never changes."""

    @property
    def fd(self) -> int:
        """The descriptor that a frame may be written to directly, because nothing waits before it; -1 when something
        does, or may. Each session is told of a change (`Session.set_fd`)."""

    def waiting(self) -> int:
        """Bytes that wait to be sent."""

    def write(self, data: bytes) -> None:
        """Sends frames, however many bytes wait."""

    def queue(self, rest: memoryview) -> None:
        """Sends the part of a frame that a direct write did not take."""

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Sends a frame, unless more than `high_water_bytes` wait: then nothing happens, and it returns False."""

    def session_missing(self, session: Session) -> None:
        """The test does not exist. The session has been removed already."""


class Owner(Protocol):
    """The topic behind a session, as the session and its viewer see it."""

    @property
    def test_id(self) -> str:
        """The run."""

    @property
    def state(self) -> str:
        """ "deleted" once the run was deleted."""

    @property
    def ended(self) -> bool:
        """Viewers that are live have the run's last event."""

    def pump(self, session: Session) -> None:
        """Writes what the session lacks, as far as the viewer takes it."""

    def remove(self, session: Session) -> None:
        """Ends the session; harmless when it has ended."""


class Session:
    """One viewer's interest in one topic."""

    __slots__ = ("asked", "behind_since", "cursor", "leader_answer", "live", "place", "stage", "topic", "viewer")

    def __init__(self, topic: Owner, viewer: Viewer, asked: Position | None, now: float = 0.0) -> None:
        self.topic = topic
        self.viewer = viewer
        self.asked = asked
        self.cursor = 0
        """Everything up to here has been written; meaningful while `stage` is BEHIND or READING."""
        self.stage = Stage.ASKED
        self.behind_since = now
        """Since when it has not been live, loop time; meaningful while it is not."""
        self.leader_answer: LeaderAnswer | None = None
        """What the leader said about this session's position; None when it was not asked."""
        self.live: LiveSessions | None = None
        """The live sessions that it is one of; None while it is not live."""
        self.place = -1
        """Its index there."""

    def __repr__(self) -> str:
        return f"<Session {self.topic.test_id} {self.stage.value} cursor={self.cursor}>"

    def set_fd(self, fd: int) -> None:
        """The viewer's `fd` has changed."""
        if self.live is not None:
            self.live.fds[self.place] = fd

    def close(self) -> None:
        """Ends it; harmless when it has ended."""
        self.topic.remove(self)


class LiveSessions:
    """Live sessions of one encoding, in no order. What a delivery needs of each is packed side by side."""

    __slots__ = ("_sessions", "_write_all", "fds", "pending")

    def __init__(self, write_all: WriteAll) -> None:
        self._write_all = write_all
        self._sessions: list[Session] = []
        self.fds = array("i")
        """Their viewers' `fd`, place by place."""
        self.pending: bytes | None = None
        """A frame that is theirs and has not been sent to them yet."""

    def __repr__(self) -> str:
        return f"<LiveSessions {len(self._sessions)}{' pending' if self.pending is not None else ''}>"

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def add(self, session: Session) -> None:
        """Adds a session that is not here."""
        session.live, session.place = self, len(self._sessions)
        self._sessions.append(session)
        self.fds.append(session.viewer.fd)

    def discard(self, session: Session) -> None:
        """Removes a session that is here; the last one takes its place."""
        place, session.live, session.place = session.place, None, -1
        last, fd = self._sessions.pop(), self.fds.pop()
        if last is not session:
            self._sessions[place], self.fds[place] = last, fd
            last.place = place

    def offer(self, frame: bytes, high_water_bytes: int) -> list[Session]:
        """Writes a frame to each viewer, unless more than `high_water_bytes` wait to be sent to it.

        This is the hot path. What is done once per delivery is in `write_all`, which touches no viewer object, since
        with ten thousand viewers none of them is in the CPU cache. Everything but "the kernel took the whole frame" is
        left to `Viewer`.

        Returns:
            The sessions that were not written to.
        """
        refused: list[Session] = []
        for place, sent in self._write_all(self.fds, frame):
            session = self._sessions[place]
            if self.fds[place] >= 0:  # no copy of the rest: at full rate frames are large, and most wait
                session.viewer.queue(memoryview(frame)[sent:])
            elif not session.viewer.offer(frame, high_water_bytes):
                refused.append(session)
        return refused
