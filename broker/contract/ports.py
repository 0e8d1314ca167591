"""The event log as every other package sees it. Pure.

`EventLog` has two implementations: JetStream (`broker.jetstream.event_log`) and the model that the property tests drive
(`tests/model.py`). The fan-out, the writer of an agent and the tail work with this, and know nothing of NATS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol


class LiveEvent(NamedTuple):
    """An event at the moment it was stored."""

    seq: int
    """Sequence in the stream."""
    predecessor: int
    """Sequence of the event before it in the same run, 0 for a run's first. It reveals missed events."""
    data: bytes
    """The publisher's bytes."""
    stored_ms: int = 0
    """When the log stored it, ms since 1970 by the broker's clock. 0: not known."""
    trace: bytes | None = None
    """The publisher's `traceparent`, as it came, where traces are made. None: it sent none."""


class StoredEvent(NamedTuple):
    """An event as the log stores it."""

    test_id: str
    """Empty where the subject names no valid id (`test.<not a UUID>.events`)."""
    seq: int
    data: bytes
    writer: str | None = None
    """`<attempt>.<nonce>` of the writer, None where the publisher gave none."""
    msg_id: str | None = None
    """The id by which a repeated publish is recognised, None where the publisher gave none."""
    stored_ms: int = 0
    """When the log stored it, ms since 1970 by the broker's clock. 0: not known."""
    expected_last: int | None = None
    """The run's newest sequence as the publisher knew it, 0 for "none yet". None where it named none."""


class Page(NamedTuple):
    """Consecutive events of one run, or of all runs: none is missing between them."""

    events: list[StoredEvent]
    complete: bool
    """Nothing was stored after them, as the answering replica saw it. Replicas may lag behind the leader."""


class Heads(NamedTuple):
    """The log as its leader sees it."""

    epoch: str
    """Names this life of the stream: an opaque word that changes when the stream is deleted and made again."""
    last_seq: int
    """The newest sequence of the whole log."""
    newest: Mapping[str, int] | None
    """Newest sequence by test id, of runs that have events. None: the answering replica lags behind the leader."""
    bodies: Mapping[str, bytes] | None = None
    """What is stored there, by test id."""


class Ack(NamedTuple):
    """The log's confirmation that an event is stored."""

    seq: int
    duplicate: bool
    """An earlier try had stored it; `seq` is of that one."""


class Unstored(NamedTuple):
    """An event of a batch."""

    payload: bytes
    msg_id: str
    """The id by which the log recognises a repeated publish."""


class Interest(Protocol):
    """Interest in live events. It survives reconnects; while the connection is down nothing is delivered."""

    async def confirm(self) -> None:
        """Returns once the broker knows of the interest: events stored from now on are delivered.

        Raises:
            BrokerUnavailable: the broker cannot be reached.
        """

    async def close(self) -> None:
        """Ends the interest; no handler call follows. Harmless when it is closed, or the connection is down."""


OnLive = Callable[[str, LiveEvent], None]
"""Called with the test id and the event, in the reading loop. It must neither block nor raise."""


class EventLog(Protocol):
    """The events of all runs, in one order.

    Call the methods only from the loop that made the log. Each of them returns or raises within a few seconds. It
    raises `BrokerUnavailable` when the broker, or a leader, cannot be reached (the outcome is then unknown), and
    `BrokerRefused` when the broker answers with an error.
    """

    on_reconnect: list[Callable[[], None]]
    """Called after each reconnect, when every interest is restored. Events stored in between were not delivered."""
    on_disconnect: list[Callable[[], None]]
    """Called when the connection is lost."""

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as this side knows."""

    async def follow(self, test_id: str | None, on_event: OnLive) -> Interest:
        """Delivers events as they are stored, of one run or of all (None).

        Live events may arrive late, twice or not at all; compare `LiveEvent.predecessor`. Call `confirm` on the result
        before relying on it.
        """

    async def read(self, test_id: str | None, after: int, limit: int, *, max_bytes: int = ...) -> Page:
        """Reads the retained events after sequence `after`, at most `limit` of them and about `max_bytes`.

        Any replica answers, and it may lag behind the leader. Use `broker.jetstream.scan`, which waits for it.
        """

    async def last(self, test_id: str | None, *, confirmed: bool = False) -> int:
        """Returns the sequence of the newest event that is retained of a run, or of all, as the leader sees it.

        It is 0 when there is none. `Heads.last_seq` may be larger: events of probes, which have a lifetime, end there.

        Args:
            test_id: the run, None for everything that the log holds.
            confirmed: answer only when no other leader can have stored anything in the meantime. A deposed leader keeps
                answering for up to 10 s; set this where an old answer would do harm ("not found", "ahead").
        """

    async def heads(self, test_ids: Sequence[str] = ()) -> Heads:
        """Returns the leader's view of the log and of some runs, at most `MAX_HEADS` of them."""

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
            msg_id: the id by which the log recognises a repeated publish.
            expected_last: the run's newest sequence as the caller knows it, 0 for "none yet". None: any.
            writer: `<attempt>.<nonce>` of the writer.

        Raises:
            WrongLastSequence: `expected_last` is not the newest.
            BrokerUnavailable: no acknowledgement; the event may be stored all the same.
        """

    async def append_batch(
        self, test_id: str, events: Sequence[Unstored], *, expected_last: int, writer: str | None = None
    ) -> int:
        """Stores at most `MAX_ATOMIC_EVENTS` events behind one another, all of them or none.

        Returns:
            The sequence of the last one. Those before it have the sequences before it.

        Raises:
            WrongLastSequence: `expected_last` is not the newest.
            BrokerRefused: one of them is stored already, or the log takes no batches, or no more at the moment. Each
                of them may be stored alone.
            BrokerUnavailable: no acknowledgement; they may be stored all the same.
        """


MAX_ATOMIC_EVENTS = 500
"""The most events that one `append_batch` stores. The broker takes 1,000."""
MAX_HEADS = 1024
"""The most runs that one `heads` may ask for."""
