"""A session: one viewer's interest in one topic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker.position import Position

if TYPE_CHECKING:
    from ws_edge.topic import Topic


class Viewer(Protocol):
    """What a topic needs of a socket. None of it blocks, none of it raises."""

    @property
    def transport(self) -> asyncio.Transport:
        """For how much waits in it."""

    def write(self, frames: bytes) -> None:
        """Sends them; only while the session stands."""

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

    __slots__ = ("asked", "cursor", "looked", "reading", "settled", "topic", "viewer")

    def __init__(self, topic: Topic, viewer: Viewer, asked: Position | None) -> None:
        self.topic = topic
        self.viewer = viewer
        self.asked = asked
        self.cursor = 0
        """Everything up to here has been written to the socket; only meaningful while behind."""
        self.settled = False
        """The resume has been decided and its `sync` written."""
        self.looked: Looked | None = None
        """The leader was asked: the position is past all that is known here, or a read has not found what follows."""
        self.reading = False
        """A page is being read for it."""

    def close(self) -> None:
        """Ends it; harmless when it has ended."""
        self.topic.remove(self)
