"""What a viewer that is behind gets next. Pure: the topic carries out the returned plan.

The stages of a session:

    ASKED ──page needed──▶ JUDGING ──page here──▶ ASKED        its position is being judged
    ASKED ──`sync` written──▶ BEHIND                           it has a cursor of its own
    BEHIND ──page needed──▶ READING ──page here──▶ BEHIND
    BEHIND ──at the head──▶ LIVE ──buffer full──▶ BEHIND       live, it shares the topic's head
    any ──stream restarted──▶ ASKED
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple, Protocol

from broker.contract.position import Decision, Position, decide


class Stage(Enum):
    """Where a session is on its way to the head."""

    ASKED = "asked"
    """Its position has not been judged yet."""
    JUDGING = "judging"
    """A page around its position is being read, to judge it."""
    BEHIND = "behind"
    """Everything up to its cursor has been written."""
    READING = "reading"
    """Behind, and the page after its cursor is being read."""
    LIVE = "live"


NOWHERE: Final = 2**63 - 1
"""A sequence past every other: the position of a viewer that has been sent what was never stored."""
ASKED: Final = (Stage.ASKED, Stage.JUDGING)
"""The position is not judged."""
READ_STARTS = {Stage.ASKED: Stage.JUDGING, Stage.BEHIND: Stage.READING}
READ_ENDS = {started: before for before, started in READ_STARTS.items()}


class LeaderAnswer(NamedTuple):
    """The leader's answer: of all events up to `received` only those up to `newest` are retained. It stays true."""

    newest: int
    received: int


class Order(Protocol):
    """The positions of the topic (`continuity.Continuity`)."""

    received: int
    released: int
    first: int
    """No event before it is retained; 0 when that is not known of any."""


class PageView(Protocol):
    """A page of past events that is at hand."""

    def holds(self, seq: int) -> bool:
        """Whether the event at `seq` was retained when the page was read."""


class Act(Enum):
    """What the topic does for a session."""

    SYNC = "sync"
    """Write the `sync` that `decision` says, and continue from its position."""
    RING = "ring"
    """Send from the ring."""
    PAGE = "page"
    """Send from the page at hand."""
    SKIP = "skip"
    """Nothing is retained up to `cursor`: continue there."""
    READ = "read"
    """Read the page around `cursor` first."""
    ASK = "ask"
    """Ask the leader first."""
    REST = "rest"
    """Nothing is left to send."""


class Plan(NamedTuple):
    """The next act, and what it needs."""

    act: Act
    cursor: int = 0
    decision: Decision | None = None


_RING: Final = Plan(Act.RING)
_PAGE: Final = Plan(Act.PAGE)
_ASK: Final = Plan(Act.ASK)
_REST: Final = Plan(Act.REST)


def plan_resume(
    asked: Position | None,
    epoch: str,
    order: Order,
    ring_after: int,
    answer: LeaderAnswer | None,
    page: PageView | None,
) -> Plan:
    """The next act for a session whose position has not been judged.

    Args:
        asked: the client's position, None for none.
        epoch: this life of the stream.
        order: the topic's positions.
        ring_after: the ring holds everything after this sequence.
        answer: the leader's answer, None when it was not asked.
        page: the page at hand that reaches beyond `asked`, None when there is none.
    """
    retained = True
    if asked is not None and asked.seq and asked.epoch in (None, epoch):
        if asked.seq > order.received and answer is None:
            return _ASK
        if asked.seq < order.first:
            retained = False
        elif asked.seq < ring_after:
            found = _retained(asked.seq, answer, page)
            if found is None:
                return Plan(Act.READ, asked.seq)
            retained = found
    decision = decide(asked, epoch, order.received, retained=retained)
    return Plan(Act.SYNC, decision.after, decision)


def plan_catch_up(
    cursor: int, order: Order, ring_after: int, answer: LeaderAnswer | None, page: PageView | None
) -> Plan:
    """The next act for a session that has a cursor.

    Args:
        order: the topic's positions.
        ring_after: the ring holds everything after this sequence.
        answer: the leader's answer, None when it was not asked.
        page: the page at hand that reaches beyond `cursor`, None when there is none.
    """
    if cursor >= order.released:  # past it, where another edge's throttle was ahead of this one's
        return _REST
    if cursor >= ring_after:
        return _RING
    retained = _retained(cursor, answer, page)
    if retained is None:
        return Plan(Act.READ, cursor)
    if cursor and not retained:
        return Plan(Act.SYNC, 0, Decision("reset", "expired", 0))
    if page is not None:
        return _PAGE
    assert answer is not None  # without it, what is not on a page is not known
    return Plan(Act.SKIP, min(order.released, answer.received))


def _retained(seq: int, answer: LeaderAnswer | None, page: PageView | None) -> bool | None:
    """Whether the event at `seq`, which is not in the ring, is retained; None when that has to be read."""
    if page is not None:
        return page.holds(seq)
    if answer is not None and answer.newest <= seq < answer.received:
        return answer.newest == seq
    return None
