"""Answers that their clients have not taken yet, and how much memory they may hold. Pure; `now` is passed in.

An answer of a megabyte waits in this process until the client has read it, and a client can choose never to. Each
connection has to make progress, and all of them together have an allowance: beyond it, those that have waited longest
are closed.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

MIN_PROGRESS_BYTES: Final = 32 * 1024
"""What a client has to take within the deadline, unless less than that is left: the pace of a bad mobile connection."""


class Waiting(Protocol):
    """A connection with an answer that is under way."""

    def unread_bytes(self) -> int:
        """How much of it waits in this process."""

    def give_up(self) -> None:
        """Ends the connection at once."""


class UnreadStatistics(NamedTuple):
    """The answers that wait for their clients."""

    waiting: int
    unread_bytes: int
    """As of when each was looked at last."""
    given_up: int
    """Since the start."""


class _Seen(NamedTuple):
    size: int
    """As of when it was looked at last."""
    size_before: int
    """When its deadline began."""
    deadline: float


class UnreadAnswers:
    """The answers of one node that wait.

    Args:
        deadline_s: how long a connection may make no progress.
        max_bytes: how much may wait in all.
    """

    def __init__(self, deadline_s: float, max_bytes: int) -> None:
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._waiting: dict[Waiting, _Seen] = {}
        """In the order in which they began to wait."""
        self._bytes = 0
        self._given_up = 0

    def __repr__(self) -> str:
        return f"<UnreadAnswers waiting={len(self._waiting)} bytes={self._bytes} given_up={self._given_up}>"

    def statistics(self) -> UnreadStatistics:
        """The figures of this moment."""
        return UnreadStatistics(len(self._waiting), self._bytes, self._given_up)

    def note(self, connection: Waiting, now: float) -> None:
        """Looks at a connection that has written an answer, or whose client has taken some of it."""
        size = connection.unread_bytes()
        if not size:
            self.forget(connection)
            return
        seen = self._waiting.get(connection)
        deadline = now + self._deadline_s if seen is None else seen.deadline
        self._see(connection, _Seen(size, max(size, seen.size_before if seen is not None else 0), deadline))
        if self._bytes > self._max_bytes:
            self._make_room()

    def forget(self, connection: Waiting) -> None:
        """It is closed, or all was taken."""
        seen = self._waiting.pop(connection, None)
        if seen is not None:
            self._bytes -= seen.size

    def sweep(self, now: float) -> None:
        """Gives up those that have made no progress. Called a few times a second."""
        for connection, seen in list(self._waiting.items()):
            if now <= seen.deadline:
                continue
            size = connection.unread_bytes()
            if not size:
                self.forget(connection)
            elif size > seen.size_before - MIN_PROGRESS_BYTES:
                self._give_up(connection)
            else:
                self._see(connection, _Seen(size, size, now + self._deadline_s))

    def _see(self, connection: Waiting, seen: _Seen) -> None:
        before = self._waiting.get(connection)
        self._bytes += seen.size - (before.size if before is not None else 0)
        self._waiting[connection] = seen

    def _make_room(self) -> None:
        for connection, seen in list(self._waiting.items()):
            size = connection.unread_bytes()
            if size:
                self._see(connection, seen._replace(size=size))
            else:
                self.forget(connection)
        for connection in list(self._waiting):
            if self._bytes <= self._max_bytes or len(self._waiting) == 1:
                return
            self._give_up(connection)

    def _give_up(self, connection: Waiting) -> None:
        self.forget(connection)
        self._given_up += 1
        connection.give_up()
