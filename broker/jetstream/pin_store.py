"""The bucket `PINS`: the runs that somebody keeps for good, by test id, each with who has said so and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from broker.contract import subjects
from broker.contract.ids import is_test_id
from broker.jetstream import kv
from broker.jetstream.api import Stored, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.survey import newest_after

_STREAM: Final = kv.stream(subjects.PINS)
_MAX_BY_CHARS: Final = 255


class Pin(NamedTuple):
    """That a run is kept."""

    by: str
    """The subject that has pinned it; empty where that is not known."""
    at_ms: int
    """When, ms since 1970, by the clock of the process that has written it; 0 where that is not known."""


class PinChange(NamedTuple):
    """A new revision of a run's entry."""

    test_id: str
    pin: Pin | None
    """None: it is not pinned any more."""


class PinStore:
    """Reads, writes and watches pins.

    Every method raises `BrokerUnavailable` when the broker does not answer in time, and `BrokerRefused` when it answers
    with an error.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)

    def __repr__(self) -> str:
        return f"<PinStore {subjects.PINS}>"

    async def get(self, test_id: str) -> Pin | None:
        """Returns a run's pin, from a leader that is surely the leader; None when there is none."""
        entry = await self._streams.last_confirmed(_STREAM, kv.subject(subjects.PINS, test_id))
        return None if entry is None else _change(entry).pin

    async def put(self, test_id: str, pin: Pin) -> None:
        """Pins a run. That there is such a run is not looked at."""
        value = orjson.dumps({"by": pin.by[:_MAX_BY_CHARS], "atMs": pin.at_ms})
        await self._streams.store(kv.subject(subjects.PINS, test_id), value)

    async def remove(self, test_id: str) -> None:
        """Removes a run's pin. Harmless when there is none."""
        if await self._streams.kv_get(subjects.PINS, test_id) is None:
            return
        headers = {kv.OPERATION_HEADER: "DEL"}
        await self._streams.store(kv.subject(subjects.PINS, test_id), b"", headers=headers)

    async def all(self) -> dict[str, Pin]:
        """Returns every pin, by direct gets: for a user who may make no consumers."""
        found = await newest_after(self._streams, _STREAM, kv.subject(subjects.PINS, ">"), 0)
        changes = [_change(each) for each in found]
        return {each.test_id: each.pin for each in changes if each.pin is not None and is_test_id(each.test_id)}

    def watch(
        self,
        on_change: Callable[[PinChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> OrderedConsumer:
        """Delivers every pin, then every change. See `SnapshotStore.watch` for the arguments.

        Returns:
            The consumer. Nothing is delivered until its `run()` is running.
        """

        def on_message(entry: Stored) -> None:
            change = _change(entry)
            if is_test_id(change.test_id):
                on_change(change)

        every = kv.subject(subjects.PINS, ">")
        return OrderedConsumer(self._connection, _STREAM, every, on_message, on_current, on_reset, on_lost)


def _change(entry: Stored) -> PinChange:
    test_id = kv.key_of(entry.subject)
    if entry.header(kv.OPERATION_HEADER) is not None:
        return PinChange(test_id, None)
    given = _object(entry.data)  # whatever it says, somebody wants the run to be kept
    by, at_ms = given.get("by"), given.get("atMs")
    when = at_ms if isinstance(at_ms, int) and not isinstance(at_ms, bool) and 0 <= at_ms < 2**53 else 0
    return PinChange(test_id, Pin(by[:_MAX_BY_CHARS] if isinstance(by, str) else "", when))


def _object(value: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return given if isinstance(given, dict) else {}
