"""The event log as every other part sees it. Pure.

Two implementations stand behind `EventLog`: JetStream (`broker.jetstream.event_log`) and the model that the property
tests drive (`tests/model.py`). Nothing outside `broker.jetstream` knows what carries the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol


class LiveEvent(NamedTuple):
    """An event at the moment it was stored."""

    seq: int
    """Sequence in the stream."""
    predecessor: int
    """Sequence of the event before it in the same run, 0 for a run's first: a gap shows in the next event."""
    data: bytes
    """What the publisher sent."""


class StoredEvent(NamedTuple):
    """An event as the log keeps it."""

    test_id: str
    """Empty where the subject names no run (`test.<no UUID>.events`)."""
    seq: int
    data: bytes
    writer: str | None = None
    """`<attempt>.<nonce>` of the writer, None where the publisher named none."""
    msg_id: str | None = None
    """What a repeated publish is recognised by, None where the publisher gave none."""


class Page(NamedTuple):
    """Consecutive events of one run, or of all: none is missing between them."""

    events: list[StoredEvent]
    complete: bool
    """Nothing more was stored after them, as the answering replica saw it. Replicas may lag behind the leader."""


class Heads(NamedTuple):
    """The log as its leader sees it."""

    epoch: str
    """This life of the stream: an opaque word that changes when the stream is deleted and made again."""
    last_seq: int
    """The newest sequence of the whole log."""
    newest: Mapping[str, int] | None
    """Newest sequence by test id, runs without events left out. None: the answering replica lags behind the leader."""


class Ack(NamedTuple):
    """The log's word that an event is stored."""

    seq: int
    duplicate: bool
    """It was stored by an earlier try; `seq` is that one's."""


class Interest(Protocol):
    """Interest in live events. It outlives reconnects, and is silent while the connection is down."""

    async def confirm(self) -> None:
        """Returns once the broker has taken the interest in: what is stored from now on is delivered.

        Raises:
            BrokerUnavailable: it cannot be reached.
        """

    async def close(self) -> None:
        """Ends it; no handler call follows. Harmless when it is closed or the connection is down."""


OnLive = Callable[[str, LiveEvent], None]
"""Called with the test id and the event, in the reading loop: must neither block nor raise."""


class EventLog(Protocol):
    """The events of all runs, in one order.

    Every method is called from the loop that made the log, and raises `BrokerUnavailable` when the broker, or a leader,
    cannot be reached ("not now": the outcome is unknown) and `BrokerRefused` when the broker answers with an error.
    None of them waits for longer than a few seconds.
    """

    on_reconnect: list[Callable[[], None]]
    """Called after each reconnect, when every interest stands again. Events stored meanwhile were not delivered."""
    on_disconnect: list[Callable[[], None]]
    """Called when the connection is lost."""

    @property
    def connected(self) -> bool:
        """The connection is up, as far as this side knows."""

    async def follow(self, test_id: str | None, on_event: OnLive) -> Interest:
        """Delivers events as they are stored, of one run or of all (None).

        A live event may be late, doubled or missing; `LiveEvent.predecessor` tells. Call `confirm` on the result
        before relying on it.
        """

    async def read(self, test_id: str | None, after: int, limit: int, *, max_bytes: int = ...) -> Page:
        """Reads the retained events after sequence `after`, at most `limit` of them and about `max_bytes`.

        Any replica answers, and may lag behind the leader: `broker.jetstream.scan` has the one policy for that.
        """

    async def last(self, test_id: str, *, confirmed: bool = False) -> int:
        """Sequence of the run's newest event as the leader sees it, 0 when there is none.

        Args:
            confirmed: only answer when no other leader can have stored anything meanwhile. A deposed leader keeps
                answering for up to 10 s; ask for this where an old answer would do harm ("gone", "ahead").
        """

    async def heads(self, test_ids: Sequence[str] = ()) -> Heads:
        """The leader's view of the log and of some runs, at most `MAX_HEADS` of them."""

    async def append(
        self,
        test_id: str,
        payload: bytes,
        *,
        msg_id: str | None = None,
        expected_last: int | None = None,
        writer: str | None = None,
    ) -> Ack:
        """Stores an event and returns once it is stored.

        Args:
            msg_id: what the log recognises a repeated publish by.
            expected_last: the run's newest sequence as the caller knows it, 0 for "none yet".
            writer: `<attempt>.<nonce>` of the writer.

        Raises:
            WrongLastSequence: `expected_last` is not the newest any more.
            BrokerUnavailable: no acknowledgement; the event may be stored all the same.
        """


MAX_HEADS = 1024
"""How many runs one `heads` may ask for."""
