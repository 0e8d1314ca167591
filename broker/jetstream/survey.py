"""The newest sequence of every subject of a stream, without the messages: what a view has to be compared with.

A direct get answers at most 1,024 subjects, and with their whole messages. A consumer delivers headers only, about 150
bytes a subject: 10,000 runs are 2 MB and a twentieth of a second of this process. Where the user may make no consumer,
direct gets answer the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any, Final

from broker.contract.errors import BrokerUnavailable, NotPermitted, TestcastError
from broker.jetstream import kv
from broker.jetstream.api import Stored, Streams, delivery
from broker.jetstream.parser import Message, header_value

_OPERATION: Final = kv.OPERATION_HEADER.encode()
_SILENCE_S: Final = 5.0
"""Between two deliveries. Then a message was lost on the way, or the consumer is gone."""
_AT_ONCE: Final = 256
"""Whole messages of at most 64 KiB: one answer is at most 16 MiB."""


async def newest_of_all(streams: Streams, stream: str, subject: str) -> dict[str, int]:
    """Returns the sequence of the newest message by subject, for the subjects that match the filter `subject`.

    Deleted keys of a bucket are left out. The answer comes from one replica, which may lag behind the leader.

    Raises:
        BrokerUnavailable: the broker cannot be reached, or the answer was not whole.
        BrokerRefused: there is no such stream.
    """
    try:
        return await _delivered(streams, stream, subject)
    except NotPermitted:
        return await _asked_for(streams, stream, subject)


async def stored_subjects(streams: Streams, stream: str, subject: str) -> list[str]:
    """Returns the subjects that match the filter `subject` and have a message in the stream.

    Raises:
        BrokerRefused: there is no such stream.
    """
    found: list[str] = []
    while True:
        info = await streams.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": len(found)})
        page = info["state"].get("subjects") or {}
        found.extend(page)
        if not page or len(found) >= int(info.get("total", 0)):
            return found


async def newest_after(streams: Streams, stream: str, subject: str, after: int) -> list[Stored]:
    """Returns the newest messages of the subjects that match the filter `subject`, those stored after `after`.

    Raises:
        BrokerUnavailable: no replica answered in time. BrokerRefused: there is no such stream.
    """
    if (await streams.state(stream)).last_seq <= after:
        return []
    names, found = await stored_subjects(streams, stream, subject), list[Stored]()
    for start in range(0, len(names), _AT_ONCE):
        newest = await streams.newest(stream, names[start : start + _AT_ONCE])
        found += [each for each in newest.messages if each.seq > after]
    return found


async def _asked_for(streams: Streams, stream: str, subject: str) -> dict[str, int]:
    names, found = await stored_subjects(streams, stream, subject), dict[str, int]()
    for start in range(0, len(names), _AT_ONCE):
        newest = await streams.newest(stream, names[start : start + _AT_ONCE])
        kept = [each for each in newest.messages if each.header(kv.OPERATION_HEADER) is None]
        found |= {each.subject: each.seq for each in kept if each.subject}
    return found


async def _delivered(streams: Streams, stream: str, subject: str) -> dict[str, int]:
    found: dict[str, int] = {}
    numbers = _Numbers()
    changed = asyncio.Event()

    def on_message(message: Message) -> None:
        changed.set()
        if message.status is not None:
            return
        taken = delivery(message)
        numbers.take(taken.number, taken.pending)
        if not (kv.is_entry(taken.subject) and header_value(taken.headers, _OPERATION) is not None):
            found[taken.subject] = taken.seq

    inbox = streams.nats.inbox()
    subscription = await streams.nats.subscribe(inbox, on_message)
    try:
        name = secrets.token_hex(8)
        body = {"stream_name": stream, "config": _consumer(name, inbox, subject), "action": "create"}
        info = await streams.api(f"CONSUMER.CREATE.{stream}.{name}.{subject}", body)
        numbers.expected = int(info.get("num_pending", 0)) + int(info.get("delivered", {}).get("consumer_seq", 0))
        while not numbers.whole:
            changed.clear()
            async with asyncio.timeout(_SILENCE_S):
                await changed.wait()
            if numbers.broken:
                raise BrokerUnavailable(f"a message of {stream} was lost on the way")
    except TimeoutError:
        raise BrokerUnavailable(f"{stream} does not deliver its messages") from None
    finally:
        with contextlib.suppress(TestcastError):
            await subscription.close()
    with contextlib.suppress(TestcastError):  # it would go by itself after 5 s
        await streams.api(f"CONSUMER.DELETE.{stream}.{name}")
    return found


class _Numbers:
    """Whether all that was to come has come, each in its place."""

    def __init__(self) -> None:
        self.expected: int | None = None
        self.broken = False
        self._last = 0
        self._ended = False

    def take(self, number: int, pending: int) -> None:
        self.broken |= number != self._last + 1
        self._last = number
        self._ended = pending == 0

    @property
    def whole(self) -> bool:
        return not self.broken and (self._ended or self.expected == 0)


def _consumer(name: str, inbox: str, subject: str) -> dict[str, Any]:
    return {
        "name": name,
        "deliver_subject": inbox,
        "deliver_policy": "last_per_subject",
        "filter_subject": subject,
        "headers_only": True,
        "ack_policy": "none",
        "max_deliver": 1,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(5e9),
    }
