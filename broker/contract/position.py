"""Positions, the resume table and the gap check (DESIGN 3 and 5). Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["live", "recovered", "reset"]
Reason = Literal["expired", "ahead", "epoch"]
Link = Literal["next", "old", "gap"]


class Position(NamedTuple):
    """What a viewer has applied: everything up to and including `seq` in this life of the stream.

    `epoch` None means "the current one": what a person types as `--after 120`.
    """

    epoch: str | None
    seq: int


class Decision(NamedTuple):
    """The answer to a resume. The viewer gets, in order, what is retained after `after`."""

    outcome: Outcome
    reason: Reason | None
    after: int


def decide(asked: Position | None, epoch: str, head: int, *, retained: bool) -> Decision:
    """The resume table.

    Args:
        asked: the client's position, None when it has none. A seq of 0 has seen nothing, so it counts as none.
        epoch: this life of the stream.
        head: the newest position known for the run, after a look at the leader when `asked` is past it.
        retained: the event at `asked.seq` itself is still stored (or is the head); only looked at when
            `0 < asked.seq < head`.
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
    """How a live event fits behind the newest one seen.

    Args:
        tail: stream sequence of the newest event of this run that was seen.
        seq: the live event's own sequence.
        predecessor: the sequence of the event before it on its subject, as the broker names it.

    Returns:
        "next" it follows directly; "old" it was seen already (a woken ex-leader can republish old ones);
        "gap" something between was missed and has to be read from the stream first.
    """
    if seq <= tail:
        return "old"
    return "next" if predecessor == tail else "gap"
