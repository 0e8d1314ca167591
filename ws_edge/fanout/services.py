"""What a topic needs of its node, and what it tells of itself."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from ws_edge.fanout.one_call import WriteAll
from ws_edge.fanout.repair import LogSource
from ws_edge.fanout.replay import Replay
from ws_edge.fanout.unreadable import UnreadableEvents

State = Literal["opening", "open", "missing", "deleted", "closed"]
"""Of a topic."""


class Services(LogSource, Protocol):
    """What a topic needs of its node."""

    replay: Replay
    unreadable: UnreadableEvents
    write_all: WriteAll
    """How a frame gets to many sockets."""
    stale: bool
    """No leader has answered for a while: what is shown may be old."""
    last_seq: int
    """The newest sequence of the stream as its leader has said last; 0 before."""

    def disproved(self, test_id: str, newest: int) -> None:
        """A live event of the run was never stored, and `newest` is its newest one."""


class TopicStatistics(NamedTuple):
    """One topic in numbers."""

    live: int
    behind: int
    received: int
    released: int
    held: int
    """Live events that wait for missing ones."""
    gaps: int
    """How often events were missing."""
    repaired: int
    """How many of these gaps were closed: what was missing was read, or is known to be gone."""
    ring_events: int
    ring_bytes: int
