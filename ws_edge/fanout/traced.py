"""A topic with spans for the events that their publisher has marked: received, and first sent to viewers.

Used only where traces are made. Events that come by a catch-up have no spans here: they were not live.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from broker import tracing
from broker.contract.ports import LiveEvent
from ws_edge.fanout.topic import Topic

_MAX_WAITING: Final = 256


class _Unsent(NamedTuple):
    """An event that came, and went out to no viewer yet."""

    seq: int
    span: tracing.Span


class TracedTopic(Topic):
    """One test on this node."""

    def __init__(self, test_id: str, *args: Any, **named: Any) -> None:
        self._unsent: list[_Unsent] = []
        super().__init__(test_id, *args, **named)

    def on_live(self, test_id: str, event: LiveEvent) -> None:
        """Takes a live event. One that is held comes here again, and counts as received when it is taken."""
        before = self.order.received
        super().on_live(test_id, event)
        if event.trace is None or not before < event.seq <= self.order.received:
            return
        span = tracing.received(event.trace, test_id, event.seq, event.stored_ms)
        if span is not None and self.live:
            # What went out while nobody was live has no first send.
            waiting = [each for each in self._unsent if each.seq > self.order.released]
            self._unsent = [*waiting[-_MAX_WAITING:], _Unsent(event.seq, span)]

    def _flush(self) -> None:
        if self._unsent and self._outbox and self.live and not self.live.sending:
            viewers, newest, left = len(self.live), self._outbox[-1].seq, []
            for each in self._unsent:
                if each.seq <= newest:
                    each.span.set(viewers=viewers)
                    each.span.end()
                else:
                    left.append(each)
            self._unsent = left
        super()._flush()
