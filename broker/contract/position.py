"""Positions, the resume table and the gap check (the table in broker/PROTOCOL.md). Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["live", "recovered", "reset"]
Reason = Literal["expired", "ahead", "epoch"]
Link = Literal["next", "old", "gap"]


class Position(NamedTuple):
    """A viewer has applied everything up to and including `seq` in this life of the stream.

    An `epoch` of None means the current one, as in the option `--after 120`.
    """

    epoch: str | None
    seq: int


class Decision(NamedTuple):
    """The outcome of a resume. The viewer receives, in order, the retained events after `after`."""

    outcome: Outcome
    reason: Reason | None
    after: int


def decide(asked: Position | None, epoch: str, head: int, *, retained: bool) -> Decision:
    """Decides how a viewer resumes.

    Args:
        asked: the client's position, None when it has none. A seq of 0 counts as none: nothing was seen.
        epoch: this life of the stream.
        head: the run's newest position. The caller asks the leader first when `asked` is past the head it knows.
        retained: whether the event at `asked.seq` itself is stored. It matters only when `0 < asked.seq < head`.
    """
    if asked is None:
        return Decision("live", None, 0)
    if asked.epoch is not None and asked.epoch != epoch:
        return Decision("reset", "epoch", 0)
    if asked.seq == 0:
        return Decision("live", None, 0)
    if asked.seq > head:
        return Decision("reset", "ahead", 0)
    if asked.seq < head and not retained:
        return Decision("reset", "expired", 0)
    return Decision("recovered", None, asked.seq)


def link(tail: int, seq: int, predecessor: int) -> Link:
    """Decides how a live event follows the newest one received.

    Args:
        tail: stream sequence of the newest event of this run that was received.
        seq: the live event's sequence.
        predecessor: the sequence of the event before it on its subject, as the broker names it.

    Returns:
        "next": it follows directly. "old": it was received already; a former leader that wakes up can republish old
        events. "gap": events in between were missed, and have to be read from the stream first.
    """
    if seq <= tail:
        return "old"
    return "next" if predecessor == tail else "gap"
