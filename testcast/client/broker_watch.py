"""Following runs over NATS by the broker's address, as `watch` does through an edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from broker.contract.ids import parse_test_id
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from testcast.client.events import Item, State, Unreadable, Verdict
from testcast.client.tail import DEFAULT_TIMEOUT_S, Tail


def tail(
    broker: str,
    test_id: str | None = None,
    *,
    after: int | None = None,
    on_state: Callable[[State], None] = lambda _state: None,
    on_unreadable: Callable[[Unreadable], None] = lambda _told: None,
) -> BrokerWatch:
    """Follows a run over NATS, across lost connections: `async for item in tail(broker, test_id)`. It needs no edge.

    The items, their order and the end are those of `watch`. The login is that of the environment, as for `TestRun`.

    Args:
        broker: the broker's address, like "nats://127.0.0.1:4222"; several separated by commas.
        test_id: the run; None for all from now on (then the iteration never ends).
        after: the position (an event's `seq`) to resume after; None: a run from its first event.
        on_state: called when the connection is lost and when it is back; runs on the loop and must not block.
        on_unreadable: called when messages of the run that are no events were passed over; as `on_state`.

    Raises:
        InvalidTestId: `test_id` is none.
        NotFound: from the iteration: nothing is stored under this id.
        BrokerUnavailable: from the iteration: nothing answers there at the start.
        ConnectionLost: from the iteration: the broker has been away for a minute.
    """
    return BrokerWatch(broker, test_id, after=after, on_state=on_state, on_unreadable=on_unreadable)


class BrokerWatch:
    """An iterable over the items of a run; see `tail`. Iterate over it once."""

    def __init__(
        self,
        broker: str,
        test_id: str | None,
        *,
        after: int | None,
        on_state: Callable[[State], None],
        on_unreadable: Callable[[Unreadable], None],
    ) -> None:
        self.test_id = None if test_id is None else parse_test_id(test_id)
        self._broker = broker
        self._after = after
        self._callbacks = (on_state, on_unreadable)
        self._tail: Tail | None = None

    def __repr__(self) -> str:
        return f"<BrokerWatch {self.test_id or 'all'} position={self.position}>"

    @property
    def verdict(self) -> Verdict | None:
        """How the run ended; None before that, and for all runs."""
        return None if self._tail is None else self._tail.verdict

    @property
    def position(self) -> int:
        """Stream sequence up to which everything was delivered; resume with it as `after`."""
        return (self._after or 0) if self._tail is None else self._tail.position

    async def __aiter__(self) -> AsyncIterator[Item]:
        nats = await Connection.connect(self._broker, name="testcast-api")
        try:
            on_state, on_unreadable = self._callbacks
            self._tail = Tail(
                JetStreamLog(nats),
                self.test_id,
                after=self._after,
                timeout_s=DEFAULT_TIMEOUT_S,
                on_state=on_state,
                on_unreadable=on_unreadable,
                address=nats.address,
            )
            async for item in self._tail:
                yield item
        finally:
            await nats.close()
