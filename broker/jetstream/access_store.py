"""The bucket `ACCESS`: what all edges must know of access, each entry with a lifetime of its own.

Keys are `revoked.<hash>`, `share.<test id>.<share id>` and `used.<ticket id>`. No value has a secret in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from broker.contract import subjects
from broker.contract.errors import BadInput, NotThere, WrongLastSequence
from broker.jetstream import kv
from broker.jetstream.api import TTL_HEADER, Stored, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.survey import stored_subjects

_ENDLESS_S: Final = 100 * 365 * 24 * 3600.0
"""What is to live for longer has no end: the server counts nanoseconds in 64 bits, and refuses a larger number."""
_LONGEST_SHARE_S: Final = 90 * 24 * 3600.0
"""No share link lives longer."""
_KEY: Final = re.compile(r"[a-z]{1,16}(?:\.[A-Za-z0-9_-]{1,64}){1,2}")
_STREAM: Final = kv.stream(subjects.ACCESS)


class AccessChange(NamedTuple):
    """A new revision of a key."""

    key: str
    value: bytes | None
    """None: the key was deleted."""


class AccessStore:
    """Reads, writes and watches the bucket.

    Every method raises `BrokerUnavailable` when the broker does not answer in time, and `BrokerRefused` when it answers
    with an error. A lifetime is in seconds, and None means no end. An entry is gone when its lifetime is over; that is
    no change that watchers are told.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)

    def __repr__(self) -> str:
        return f"<AccessStore {subjects.ACCESS}>"

    async def create(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        """Sets a key that was never set, or whose lifetime is over. Returns whether this call has set it.

        Of any number of calls at the same time, on any edges, one returns True. After `BrokerUnavailable` the key may
        be set all the same.
        """
        try:
            await self._store(key, value, ttl_s, expected_last=0)
        except WrongLastSequence:
            return False
        return True

    async def put(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Sets a key, whatever it has."""
        await self._store(key, value, ttl_s)

    async def delete(self, key: str, ttl_s: float | None) -> None:
        """Deletes a key. Harmless when it is not there.

        Args:
            ttl_s: how long the bucket remembers that: as long as the entry would have lived, so that every follower
                learns it, however long it was away.
        """
        await self._store(key, b"", ttl_s, operation="DEL")

    async def get(self, key: str) -> bytes | None:
        """The value of a key, from the leader; None when it has none."""
        entry = await self._streams.kv_get(subjects.ACCESS, _checked(key))
        return None if entry is None else _change(entry).value

    async def end_shares(self, test_id: str) -> None:
        """Deletes every share link of a run. Harmless when it has none, or there is no bucket."""
        every = kv.subject(subjects.ACCESS, f"share.{test_id}.*")
        try:
            found = await stored_subjects(self._streams, _STREAM, every)
        except NotThere as error:
            if not error.certain:
                raise
            return
        for key in map(kv.key_of, found):
            if await self.get(key) is not None:
                await self.delete(key, _LONGEST_SHARE_S)

    def watch(
        self,
        on_change: Callable[[AccessChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> OrderedConsumer:
        """Delivers every key's newest revision, then every change.

        Args:
            on_change: called with each revision; it must neither block nor raise.
            on_current: called when everything stored at the start has been delivered, and again after each restart.
            on_reset: called when the bucket was deleted and made again: everything in it is gone.
            on_lost: called when the bucket does not answer: what was delivered may be out of date until `on_current`.

        Returns:
            The consumer. Nothing is delivered until its `run()` is running.
        """
        every = kv.subject(subjects.ACCESS, ">")

        def on_message(entry: Stored) -> None:
            on_change(_change(entry))

        return OrderedConsumer(self._connection, _STREAM, every, on_message, on_current, on_reset, on_lost)

    async def _store(
        self,
        key: str,
        value: bytes,
        ttl_s: float | None,
        *,
        expected_last: int | None = None,
        operation: str | None = None,
    ) -> None:
        headers = {} if operation is None else {kv.OPERATION_HEADER: operation}
        if ttl_s is not None and ttl_s < _ENDLESS_S:
            headers[TTL_HEADER] = f"{max(1, int(ttl_s) + 1)}s"  # whole seconds, and never less than was asked for
        subject = kv.subject(subjects.ACCESS, _checked(key))
        await self._streams.store(subject, value, expected_last=expected_last, headers=headers)


def _checked(key: str) -> str:
    """A key that is one subject of the bucket: no wildcard, no further levels."""
    if _KEY.fullmatch(key) is None:
        raise BadInput(f"{key[:80]!r} is no key of the bucket {subjects.ACCESS}")
    return key


def _change(entry: Stored) -> AccessChange:
    deleted = entry.header(kv.OPERATION_HEADER) is not None or not entry.data
    return AccessChange(kv.key_of(entry.subject), None if deleted else entry.data)
