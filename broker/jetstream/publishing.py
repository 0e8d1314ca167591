"""Publishing for somebody who has no connection to the broker: a run is created, batches of events are stored."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from broker import identity
from broker.clock import now_ms
from broker.contract import projects
from broker.contract.batch import Batch, Progress, advance, check_same
from broker.contract.errors import (
    AlreadyEnded,
    BrokerRefused,
    BrokerUnavailable,
    Conflict,
    NotFound,
    WrongLastSequence,
)
from broker.contract.events import Event
from broker.contract.ports import EventLog, Unstored
from broker.contract.snapshot import Snapshot
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.runs import store_first
from broker.jetstream.scan import first_page, pages
from broker.retry import retry

_PATIENCE_S: Final = 5.0
"""For each event to be stored. The publisher sends the batch again after that."""
_MAX_CONFLICTS: Final = 8
"""Tries to store one event of a run that others write to."""


class Published(NamedTuple):
    """A batch that is stored."""

    seq: int
    """Sequence of its last event, the run's newest for an empty batch."""
    stored: int
    """How many events it has."""


async def create(
    log: JetStreamLog, title: str | None, game_url: str | None, project: str, labels: Mapping[str, str]
) -> tuple[str, int]:
    """Stores the first event of a new run, which fixes its project and labels. Returns the test id and the event's
    sequence.

    Args:
        labels: as `broker.contract.labels.check_labels` returns them.

    Raises:
        BrokerUnavailable: no acknowledgement.
    """
    test_id = identity.new_test_id()
    named = None if project == projects.DEFAULT else project
    fields = {"title": title, "gameUrl": game_url, "project": named, "labels": dict(labels) or None}
    data = {name: value for name, value in fields.items() if value is not None}
    started = Event(type="status", status="running", message="Started", timestamp=now_ms(), data=data or None)
    seq = await retry(lambda: store_first(log, test_id, started), within_s=_PATIENCE_S, source=log)
    return test_id, seq


async def publish(log: EventLog, batch: Batch, *, after: int | None, since: Snapshot | None) -> Published:
    """Stores a batch of events, or what is missing of it: at once where the stream takes that, else one after the
    other. Sent again, it answers the same.

    With `after`, what was stored of the batch before is found however long ago that was. Without it, the message ids
    are recognised within the broker's duplicate window.

    Args:
        after: the run's newest sequence as the publisher knows it. None: any.
        since: a snapshot of the run, from which on it is read.

    Raises:
        NotFound: there is no such run.
        Conflict: somebody else has written after `after`.
        AlreadyEnded: the run has a terminal event.
        KeyReused: the key was used for other events.
        BrokerUnavailable: no acknowledgement in time. A part of the batch may be stored.
    """
    test_id, last = batch.test_id, await log.last(batch.test_id)
    if not last or (after is not None and after > last):
        last = await log.last(test_id, confirmed=True)
    if not last:
        raise NotFound(test_id)
    if after is not None and after > last:
        raise Conflict(f"the newest event of test {test_id} is {last}, which is before {after}", last)
    known = since if since is not None and since.seq <= last else None
    progress = _beginning(known, after)
    conflicts, at_once = 0, True
    while True:
        progress = await _read(log, batch, progress, last, after)
        if progress.stored >= len(batch.payloads):
            return Published(progress.seq or progress.head, len(batch.payloads))
        if progress.ended:
            raise AlreadyEnded(f"test {test_id} has ended already")
        if progress.strangers:
            raise Conflict(f"somebody else has written to test {test_id}", progress.head)
        if at_once and (rest := await _store_rest(log, batch, progress)) is not None:
            return Published(rest, len(batch.payloads))
        at_once = False
        try:
            progress, conflicts = await _store_next(log, batch, progress), 0
            last = progress.head
        except WrongLastSequence as refused:
            conflicts += 1
            if conflicts > _MAX_CONFLICTS:
                raise BrokerUnavailable(f"test {test_id} has too many other writers at the moment") from None
            last = refused.last or await log.last(test_id)


def _beginning(known: Snapshot | None, after: int | None) -> Progress:
    """From where on the run is read: all that may be of the batch, and what may have ended the run."""
    if known is not None and known.ended:
        return Progress(after or 0, ended=True)  # the batch may have ended it
    read_up_to = 0 if known is None else known.seq
    return Progress(read_up_to if after is None else min(after, read_up_to))


async def _read(log: EventLog, batch: Batch, progress: Progress, last: int, after: int | None) -> Progress:
    if progress.head >= last:
        return progress
    async with aclosing(pages(log, batch.test_id, progress.head, last)) as found:
        async for page in found:
            for event in page.events:
                progress = advance(progress, batch, event, after)
    return progress


async def _store_rest(log: EventLog, batch: Batch, progress: Progress) -> int | None:
    """Stores all that is missing behind the newest event, and returns the sequence of the last one. None: it is one
    alone, or was refused for any reason, or not acknowledged; storing the next one by itself shows what there is."""
    events = [Unstored(payload, batch.msg_id(index)) for index, payload in enumerate(batch.payloads)]
    missing = events[progress.stored :]
    if len(missing) < 2:
        return None
    try:
        return await log.append_batch(batch.test_id, missing, expected_last=progress.head)
    except (BrokerRefused, BrokerUnavailable):
        return None


async def _store_next(log: EventLog, batch: Batch, progress: Progress) -> Progress:
    """Stores the next event behind the newest one.

    Raises:
        WrongLastSequence: another event came first, which may be this one.
    """
    index, head = progress.stored, progress.head

    async def store() -> Progress:
        msg_id = batch.msg_id(index)
        ack = await log.append(batch.test_id, batch.payloads[index], msg_id=msg_id, expected_last=head)
        if ack.duplicate:
            for stored in await first_page(log, batch.test_id, ack.seq - 1, ack.seq, limit=1):
                if stored.seq == ack.seq:
                    check_same(batch, index, stored.data)
        newest = head if ack.duplicate else ack.seq
        return msgspec.structs.replace(progress, stored=index + 1, seq=ack.seq, head=newest)

    return await retry(store, within_s=_PATIENCE_S, source=log)
