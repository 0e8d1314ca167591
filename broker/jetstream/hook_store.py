"""The bucket `HOOKS`: which webhooks are to be told of which runs' ends, shared by all edges.

An entry is created once, so that every edge may try to. The consumer `webhooks` gives each to one edge at a time. A
settled entry gets another value and stays until its lifetime is over: so nobody creates it again.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Final, NamedTuple

import orjson

from broker.contract import subjects
from broker.contract.errors import NotThere, WrongLastSequence
from broker.contract.ids import is_test_id
from broker.jetstream import kv
from broker.jetstream.api import TTL_HEADER, Delivery, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.pull_consumer import PullConsumer, ack_soon, nak
from broker.jetstream.survey import stored_subjects

LIFETIME_S: Final = 3 * 24 * 3600
"""Of an entry. Ends of runs are looked at for a third of it."""
_STREAM: Final = kv.stream(subjects.HOOKS)
_ENDED: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_LIFETIME: Final = {TTL_HEADER: f"{LIFETIME_S}s"}


class HookKey(NamedTuple):
    """One end of a run, for one webhook."""

    hook: str
    """The webhook's name: a-z, 0-9, _ and -."""
    test_id: str
    ended_ms: int

    def __str__(self) -> str:
        return f"{self.hook}.{self.test_id}.{self.ended_ms}"


class Due(NamedTuple):
    """An entry that this edge holds until it answers for it, or for a minute."""

    key: HookKey
    since_ms: int
    """When it was created, by the broker's clock."""
    delivery: Delivery


class HookStore:
    """Creates, leases and settles entries.

    Every method raises `BrokerUnavailable` when the broker does not answer in time, and `BrokerRefused` when it answers
    with an error.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)
        self._consumer = PullConsumer(connection, _STREAM, subjects.WEBHOOKS)

    def __repr__(self) -> str:
        return f"<HookStore {subjects.HOOKS}>"

    async def since(self, hook: str) -> int:
        """Returns since when the webhook is known, ms since 1970 by the broker's clock. From now on, if it is new."""
        while True:
            entry = await self._streams.last(_STREAM, kv.subject(subjects.HOOKS, hook))
            if entry is not None:
                return entry.stored_ms
            with contextlib.suppress(WrongLastSequence):  # another edge was first
                await self._streams.kv_update(subjects.HOOKS, hook, b"{}", 0)

    async def known(self) -> set[HookKey]:
        """Returns the keys of all entries. What is none is left aside."""
        found = await stored_subjects(self._streams, _STREAM, kv.subject(subjects.HOOKS, "*.*.*"))
        return {key for each in found if (key := _key_of(each)) is not None}

    async def create(self, key: HookKey) -> bool:
        """Creates an entry. Returns whether there was none."""
        try:
            subject = kv.subject(subjects.HOOKS, str(key))
            await self._streams.store(subject, _value("waiting"), expected_last=0, headers=_LIFETIME)
        except WrongLastSequence:
            return False
        return True

    async def pull(self, batch: int, *, expires_s: float) -> list[Due]:
        """Returns entries that nobody has settled, as soon as there is one; none when none came in that time.

        Raises:
            NotThere: the consumer is gone; it was declared again.
        """
        found = []
        for delivery in await self._consumer.pull(batch, expires_s=expires_s):
            key = _key_of(delivery.subject)
            if key is None or _state(delivery.data) != "waiting":
                await ack_soon(self._connection, [delivery])
            else:
                found.append(Due(key, delivery.stored_ms, delivery))
        return found

    async def settle(self, due: Due, outcome: str) -> None:
        """Says how it went: nobody gets the entry any more."""
        subject = kv.subject(subjects.HOOKS, str(due.key))
        with contextlib.suppress(WrongLastSequence):  # its lease was over, and another edge has settled it
            value = _value(outcome)
            await self._streams.store(subject, value, expected_last=due.delivery.seq, headers=_LIFETIME)
        await ack_soon(self._connection, [due.delivery])

    async def again(self, due: Due, after_s: float) -> None:
        """Hands the entry back, to be delivered to any edge after a while."""
        await nak(self._connection, due.delivery, delay_s=after_s)

    async def mend(self) -> None:
        """Declares the bucket and its consumer again, if one of them is gone."""
        with contextlib.suppress(NotThere):
            await self._connection.mend()

    async def close(self) -> None:
        """Hands back what was pulled and not taken."""
        await self._consumer.close()


def _value(state: str) -> bytes:
    return orjson.dumps({"state": state})


def _state(data: bytes) -> Any:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value.get("state") if isinstance(value, dict) else None


def _key_of(subject: str) -> HookKey | None:
    parts = kv.key_of(subject).split(".")
    if len(parts) != 3 or not is_test_id(parts[1]) or not _ENDED.fullmatch(parts[2]):
        return None
    return HookKey(parts[0], parts[1], int(parts[2]))
