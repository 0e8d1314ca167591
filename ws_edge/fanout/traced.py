"""Spans for the events of a topic that their publisher has marked: received, and first sent to viewers.

Used only where traces are made. Events that come by a catch-up have no spans here: they were not live.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Final, NamedTuple, Protocol

from broker import tracing
from broker.contract.ports import LiveEvent, OnLive
from ws_edge.fanout.continuity import Continuity

_MAX_WAITING: Final = 256


class Unsent(NamedTuple):
    """An event that came, and went out to no viewer yet."""

    seq: int
    span: tracing.Span


class TracedTopic(Protocol):
    """What the spans are about."""

    order: Continuity
    unsent: list[Unsent]
    """Events with a span that were released to nobody yet."""

    @property
    def live(self) -> Sized:
        """The sessions that share the topic's position."""

    def on_live(self, test_id: str, event: LiveEvent) -> None:
        """Takes a live event."""


def traced(topic: TracedTopic) -> OnLive:
    """Takes a topic's live events, with spans for those that are marked."""

    def on_live(test_id: str, event: LiveEvent) -> None:
        if event.trace is None or event.seq <= topic.order.received:
            topic.on_live(test_id, event)
            return
        span = tracing.received(event.trace, test_id, event.seq, event.stored_ms)
        topic.on_live(test_id, event)
        if span is not None and topic.live and topic.order.received >= event.seq:
            # Those at or below what was released went to nobody: their spans are not kept.
            waiting = [each for each in topic.unsent if each.seq > topic.order.released]
            topic.unsent = [*waiting[-_MAX_WAITING:], Unsent(event.seq, span)]

    return on_live


def first_sends(topic: TracedTopic) -> list[Unsent]:
    """What was released goes out to live viewers now. Returns what still waits."""
    viewers, left = len(topic.live), []
    for each in topic.unsent:
        if each.seq <= topic.order.released:
            each.span.set(viewers=viewers)
            each.span.end()
        else:
            left.append(each)
    return left
