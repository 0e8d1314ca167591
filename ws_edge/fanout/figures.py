"""What a node's fan-out and its sockets have done since the start: plain counts, raised per flush and never per
delivery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, get_args

from broker.contract.position import Outcome, Reason
from broker.metrics.histogram import Histogram

_CODES: Final = (
    *("1000", "1001", "1002", "1003", "1005", "1006", "1007", "1008", "1009", "1011", "1012", "1013"),
    *("4400", "4401", "4403", "4404", "4429"),
)
"""Close codes that are told by themselves. A client may name thousands of others."""
OTHER: Final = "other"
_LOST: Final = 1006
"""RFC 6455, 7.1.5: the connection ended without a close frame."""


class BrokerOffset(Protocol):
    """How far the broker's clock is ahead of this process's."""

    offset_ms: float | None
    """None while it is unknown."""


class _Unknown:
    offset_ms: float | None = None


class FanoutStatistics(NamedTuple):
    """Counts since the start of the node."""

    received: int
    """Live events that have come from the broker."""
    deliveries: int
    """Events that were written to viewers, each viewer's counted."""
    sends: int
    """Writes to viewers: a write may hold many events."""
    sent_bytes: int
    catch_up_batches: int
    """Batches that were written to viewers that were behind."""
    catch_up_bytes: int
    gaps: int
    """How often live events were missing, in topics that are closed."""
    forged: int
    """Live events that were believed and had never been stored."""
    syncs: dict[str, int]
    """By outcome."""
    resets: dict[str, int]
    """By reason."""


class FanoutFigures:
    """The counts of a node's topics. The topics raise them.

    Args:
        clock: seconds, monotonic, on the scale of the loop's time. uvloop's own stands still within a turn of the loop,
            which may be long where many viewers are written to.
    """

    __slots__ = (
        "_clock",
        "broker",
        "catch_up_batches",
        "catch_up_bytes",
        "deliveries",
        "forged",
        "gaps",
        "publish_to_send",
        "pubsub_lag",
        "received",
        "resets",
        "sends",
        "sent_bytes",
        "syncs",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.received = 0
        self.deliveries = 0
        self.sends = 0
        self.sent_bytes = 0
        self.catch_up_batches = 0
        self.catch_up_bytes = 0
        self.gaps = 0
        self.forged = 0
        self.syncs: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
        self.resets: dict[str, int] = dict.fromkeys(get_args(Reason), 0)
        self.pubsub_lag = Histogram()
        """From when the broker stored an event to when it came here, seconds."""
        self.publish_to_send = Histogram()
        """From when the broker stored an event to its first write to live viewers, seconds."""
        self.broker: BrokerOffset = _Unknown()
        """The broker's clock. While it is unknown no lag is observed."""

    def __repr__(self) -> str:
        return f"<FanoutFigures received={self.received} deliveries={self.deliveries} sends={self.sends}>"

    def statistics(self) -> FanoutStatistics:
        """The counts of this moment."""
        sent = (self.received, self.deliveries, self.sends, self.sent_bytes)
        caught_up = (self.catch_up_batches, self.catch_up_bytes)
        return FanoutStatistics(*sent, *caught_up, self.gaps, self.forged, dict(self.syncs), dict(self.resets))

    def on_received(self, stored_ms: int) -> None:
        """A live event has come from the broker."""
        self.received += 1
        offset_ms = self.broker.offset_ms
        if stored_ms and offset_ms is not None:
            self.pubsub_lag.observe(self._clock() + (offset_ms - stored_ms) / 1000)

    def on_sent(self, stored_ms: list[int]) -> None:
        """Events that were stored at these times, and not held back here, are about to be written to live viewers."""
        offset_ms = self.broker.offset_ms
        if offset_ms is not None:
            now, observe = self._clock(), self.publish_to_send.observe
            for each in stored_ms:
                if each:
                    observe(now + (offset_ms - each) / 1000)

    def on_write(self, size: int) -> None:
        """Bytes are written to one viewer that is behind."""
        self.sends += 1
        self.sent_bytes += size

    def on_batch(self, size: int, events: int) -> None:
        """Past events are framed for one viewer that is behind."""
        self.catch_up_batches += 1
        self.catch_up_bytes += size
        self.deliveries += events

    def on_sync(self, outcome: Outcome, reason: Reason | None) -> None:
        """A viewer is told how it resumes."""
        self.syncs[outcome] += 1
        if outcome == "reset" and reason is not None:
            self.resets[reason] += 1


class SocketStatistics(NamedTuple):
    """Counts since the start of the node."""

    accepted: int
    """Upgrades that were answered with 101."""
    refused: dict[str, int]
    """Upgrades that were refused, by the code of the answer."""
    closes: dict[str, int]
    """Sockets that have ended, by close code."""
    drops: dict[str, int]
    """Viewers that this node gave up, by what made it do so."""


REFUSALS: Final = (
    *("node_full", "address_full", "too_fast", "too_many_tests", "too_many_requests", "unauthenticated", "forbidden"),
    *(
        "foreign_origin",
        "wrong_host",
        "malformed_request",
        "bad_handshake",
        "not_found",
        "restarting",
        "broker_unavailable",
    ),
)
"""Codes of refused upgrades that are told from the beginning."""
DROPS: Final = (
    *("half_frame", "close_unanswered", "nothing_subscribed", "too_many_messages", "early_flood", "proof_ended"),
    *("answer_not_taken", "made_room"),
)
"""The last two are of connections that are no sockets: viewers that poll."""


class SocketFigures:
    """The counts of a node's sockets."""

    __slots__ = ("_closes", "_drops", "_refused", "accepted")

    def __init__(self) -> None:
        self.accepted = 0
        self._refused: Counter[str] = Counter(dict.fromkeys(REFUSALS, 0))
        self._closes: Counter[str] = Counter(dict.fromkeys((*_CODES, OTHER), 0))
        self._drops: Counter[str] = Counter(dict.fromkeys(DROPS, 0))

    def __repr__(self) -> str:
        return f"<SocketFigures accepted={self.accepted} closed={self._closes.total()}>"

    def statistics(self) -> SocketStatistics:
        """The counts of this moment."""
        return SocketStatistics(self.accepted, dict(self._refused), dict(self._closes), dict(self._drops))

    def refused(self, code: str) -> None:
        """An upgrade was refused with this code."""
        self._refused[code] += 1

    def closed(self, code: int) -> None:
        """A socket has ended. 0: without a close frame."""
        name = str(code or _LOST)
        self._closes[name if name in self._closes else OTHER] += 1

    def dropped(self, reason: str) -> None:
        """This node gave a viewer up: one of `DROPS`."""
        self._drops[reason] += 1
