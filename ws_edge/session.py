"""A session: one viewer's interest in one topic; and how a frame goes out to all of a topic's viewers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker.position import Position

if TYPE_CHECKING:
    from ws_edge.topic import Topic


class Viewer(Protocol):
    """What a topic needs of a socket. None of it blocks, none of it raises."""

    fd: int
    """Where a frame may go straight to the kernel: nothing waits before it. -1 while something does, or may."""

    @property
    def transport(self) -> asyncio.Transport:
        """For how much waits in it."""

    def write(self, frames: bytes | memoryview) -> None:
        """Sends them; only while the session stands."""

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Writes it, unless more than `high_water_bytes` wait to be sent: then nothing happens, and False."""

    def session_missing(self, session: Session) -> None:
        """The test does not exist. The session has been removed already."""


class Straight:
    """A viewer's `fd`, first in the object: what every delivery reads shares a cache line with the object's head."""

    __slots__ = ("fd",)
    fd: int


def offer_all(viewers: Iterable[Viewer], frame: bytes, high_water_bytes: int) -> list[int]:
    """Writes a frame to each viewer, unless more than `high_water_bytes` wait to be sent to it.

    The hot path: all that is done once per delivery is in this loop. It looks at one field of the viewer, since of ten
    thousand objects none is in the processor's cache, and leaves everything but the whole frame taken to `Viewer`.

    Returns:
        The places of those that were not written to.
    """
    write, size = os.write, len(frame)
    refused: list[int] = []
    for place, viewer in enumerate(viewers):
        fd = viewer.fd
        if fd < 0:
            if not viewer.offer(frame, high_water_bytes):
                refused.append(place)
            continue
        try:
            sent = write(fd, frame)
        except OSError:  # full, or gone: the transport waits, or finds the same error
            sent = 0
        if sent != size:
            viewer.write(memoryview(frame)[sent:])  # no copy: at full rate frames are large, and most wait
    return refused


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
