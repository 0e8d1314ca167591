"""A batch of events that is published under a key, and how much of it is stored. Pure.

The events are stored at once, or one after the other. Each has a message id made of the run, the key and its place in
the batch, so that whoever sends the same batch again finds what is stored already, and continues after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from broker.contract.errors import BadInput, KeyReused, MalformedEvent
from broker.contract.events import MAX_EVENT_BYTES, check
from broker.contract.ports import StoredEvent

MAX_BATCH_EVENTS: Final = 100
"""Where they are stored one after the other, more would keep a request open for seconds."""
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Batch(NamedTuple):
    """Valid events of one run, in order. Only the last one may end the run."""

    test_id: str
    key: str
    payloads: tuple[bytes, ...]

    def msg_id(self, index: int) -> str:
        """The message id of an event."""
        return f"{self.test_id}.http.{self.key}.{index}"

    def index_of(self, msg_id: str | None) -> int | None:
        """Which event a message id is of; None: none of a batch with this key."""
        before, dot, index = (msg_id or "").rpartition(".")
        if not dot or before != f"{self.test_id}.http.{self.key}" or not (index.isascii() and index.isdigit()):
            return None
        return int(index) if len(index) <= 9 else None


def make_batch(test_id: str, key: str, events: Sequence[Any]) -> Batch:
    """Checks every event as a reader does.

    Args:
        key: 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
        events: JSON values.

    Raises:
        BadInput: naming the first event that is none, and what is wrong with it.
    """
    if _KEY.fullmatch(key) is None:
        raise BadInput("key: expected 1 to 64 of A-Z, a-z, 0-9, _ and -")
    if len(events) > MAX_BATCH_EVENTS:
        raise BadInput(f"events: at most {MAX_BATCH_EVENTS} at a time, got {len(events)}")
    payloads: list[bytes] = []
    for index, given in enumerate(events):
        try:
            payload = orjson.dumps(given)
            terminal = check(payload).event.terminal
        except MalformedEvent as error:
            raise BadInput(f"events[{index}]: {error.message}", code=error.code) from None
        except TypeError as error:  # deeper than can be written
            raise BadInput(f"events[{index}]: {error}", code=MalformedEvent.code) from None
        if len(payload) > MAX_EVENT_BYTES:
            raise BadInput(f"events[{index}]: {len(payload)} bytes; at most {MAX_EVENT_BYTES} are taken", "too_large")
        if terminal and index + 1 < len(events):
            raise BadInput(f"events[{index}]: it ends the run, and {len(events) - 1 - index} events follow it")
        payloads.append(payload)
    return Batch(test_id, key, tuple(payloads))


class Progress(msgspec.Struct, frozen=True):
    """How much of a batch is stored, as far as a run was read."""

    head: int
    """Sequence up to which the run was read; its newest event where it was read to the end."""
    stored: int = 0
    """How many of the batch's events are stored: the first ones."""
    seq: int = 0
    """Sequence of the last of those, 0 for none."""
    ended: bool = False
    """Somebody else has ended the run."""
    strangers: bool = False
    """Somebody else has written after the expected position, before the batch was stored as a whole."""


def advance(progress: Progress, batch: Batch, event: StoredEvent, after: int | None) -> Progress:
    """Takes in the next event of the run.

    Args:
        after: the position after which the publisher expects nothing but its own events; None: it expects nothing.

    Raises:
        KeyReused: the key was used for other events.
    """
    if event.seq <= progress.head:
        return progress
    progress = msgspec.structs.replace(progress, head=event.seq)
    index = batch.index_of(event.msg_id)
    if index is not None:
        if index < progress.stored:  # stored again, long after: the first time counts
            return progress
        check_same(batch, index, event.data)
        return msgspec.structs.replace(progress, stored=index + 1, seq=event.seq)
    if progress.stored >= len(batch.payloads):
        return progress
    if after is not None and event.seq > after:
        progress = msgspec.structs.replace(progress, strangers=True)
    return msgspec.structs.replace(progress, ended=progress.ended or _ends(event.data))


def check_same(batch: Batch, index: int, stored: bytes) -> None:
    """Returns when the event stored under a message id of the batch is the batch's.

    Raises:
        KeyReused: it is another one.
    """
    if index >= len(batch.payloads) or _canonical(stored) != _canonical(batch.payloads[index]):
        raise KeyReused(f"the key {batch.key!r} was used for other events of test {batch.test_id}")


def _canonical(payload: bytes) -> bytes:
    """The same bytes for the same event, however its publisher has written it; itself where it is no JSON."""
    try:
        return orjson.dumps(orjson.loads(payload), option=orjson.OPT_SORT_KEYS)
    except (ValueError, TypeError):
        return payload


def _ends(data: bytes) -> bool:
    try:
        return check(data).event.terminal
    except MalformedEvent:
        return False
