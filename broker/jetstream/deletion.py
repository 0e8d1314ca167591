"""Deleting runs from the broker, with everything that belongs to them.

A deletion begins with a mark in place of the run's snapshot. From then on it is carried to its end, whoever has begun
it: every edge sees the mark, drops the run, and finishes what nobody finishes. Each step may be taken any number of
times, by any number of edges at once. The last step replaces the mark by one that says so, and that has a lifetime.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, NotEnded, NotFound, NotThere, Pinned, WrongLastSequence
from broker.contract.ports import StoredEvent
from broker.contract.snapshot import Snapshot
from broker.jetstream import kv, runs
from broker.jetstream.access_store import AccessStore
from broker.jetstream.api import Streams
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pin_store import PinStore
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from broker.log import RateLimited

_TRIES: Final = 5
_PAGE: Final = 1000
_BEGINS: Final = ("queued", "running")
_limited = RateLimited(logging.getLogger("testcast.deletion"), per_s=10.0)


class Found(NamedTuple):
    """A run as its deletion finds it, by the leader's word."""

    snapshot: Snapshot | None
    """None: none of its messages can be read."""
    last_ms: int
    """When its newest message was stored, by the broker's clock; 0: not known."""
    now_ms: int
    """The broker's clock; 0: not known."""


May = Callable[[Found], None]
"""Returns when the run may be deleted, and raises otherwise."""


def _any(_found: Found) -> None:
    """Any run may be deleted."""


class Deletion:
    """Deletes runs over one connection. Holds no state of its own."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log = log
        self._plain = Streams(log.connection, mends=False)
        """For streams that need not be there."""
        self._store = SnapshotStore(log.connection)
        self._pins = PinStore(log.connection)
        self._access = AccessStore(log.connection)

    def __repr__(self) -> str:
        return f"<Deletion {self._log!r}>"

    async def delete(self, test_id: str, may: May = _any) -> Snapshot | None:
        """Deletes a run that has ended: job, events, pictures, pin, share links and snapshot.

        Args:
            may: called with the run as it was found.

        Returns:
            What it was; None where nothing of it could be read, or another deletion of it had begun.

        Raises:
            NotFound: there is no such run, or not any more.
            NotEnded: it is queued or running.
            Pinned: it is pinned, or was at this very moment.
            BrokerUnavailable: the broker does not answer. The deletion may have begun: then edges carry it to its end.
            BrokerRefused: this user may not delete.
        """
        for _ in range(_TRIES):
            state = await self._log.state()
            entry = await self._store.newest(test_id)
            if entry is not None and entry.kind == "deleting" and entry.is_deletion(state.epoch):
                await self.finish(test_id, state.epoch)
                return None
            found = await self._look(test_id, entry, state.now_ms)
            if found.snapshot is not None and not found.snapshot.ended:
                raise NotEnded(f"test {test_id} is {found.snapshot.status}: cancel it first")
            may(found)
            await self._refuse_pinned(test_id)
            try:
                await self._store.begin_deletion(test_id, entry.revision if entry else 0, state.epoch)
            except WrongLastSequence:  # it was folded at this moment, or another deletion has begun
                continue
            await self.finish(test_id, state.epoch)
            return found.snapshot
        raise BrokerUnavailable(f"test {test_id} is written to all the time: it could not be deleted")

    async def _look(self, test_id: str, entry: SnapshotChange | None, now_ms: int) -> Found:
        last = await self._log.streams.last_confirmed(subjects.EVENTS, subjects.events(test_id))
        if last is not None:
            return Found((await runs.read(self._log, test_id)).snapshot, last.stored_ms, now_ms)
        if entry is not None and entry.snapshot is not None:  # its events have gone, and the snapshot soon would
            return Found(entry.snapshot, entry.snapshot.updated_at, now_ms)
        raise NotFound(test_id)

    async def _refuse_pinned(self, test_id: str) -> None:
        if await self._pins.get(test_id) is not None:
            raise Pinned(f"test {test_id} is pinned: unpin it first")

    async def finish(self, test_id: str, epoch: str) -> None:
        """Carries a deletion that has begun to its end. Nothing happens where none has, or it has ended.

        Args:
            epoch: the life of the stream of events that it began in.

        Raises:
            Pinned: somebody has pinned the run before it began: the run stays, and edges fold it again.
            BrokerUnavailable: a part may be deleted. BrokerRefused: this user may not.
        """
        state = await self._log.state()  # before the mark: what is stored later may be a new run of the same id
        mark = await self._store.newest(test_id)
        if mark is None or mark.kind != "deleting" or mark.epoch != epoch:
            return
        if state.epoch != epoch:
            return  # the events were restored from a backup since, and nobody has deleted these
        try:
            await self._refuse_pinned(test_id)  # who pins looks for the mark after that: one of the two is seen
        except Pinned:
            await self._store.remove(test_id, mark.revision)
            raise
        await runs.drop_job(self._log.streams, test_id)
        await self.purge(subjects.EVENTS, subjects.events(test_id), state.last_seq + 1)
        await self.purge(subjects.FRAMES, subjects.frames(test_id))
        await self.purge(kv.stream(subjects.SHOTS), kv.subject(subjects.SHOTS, test_id))
        await self._pins.remove(test_id)
        await self._access.end_shares(test_id)
        await self._store.end_deletion(test_id, epoch)

    async def purge(self, stream: str, subject: str, before: int = 0) -> None:
        """Removes the messages of one subject. Harmless when there are none, or there is no such stream.

        Args:
            before: only those with smaller sequences; 0: all.
        """
        body: dict[str, str | int] = {"filter": subject} | ({"seq": before} if before else {})
        try:
            await self._plain.api(f"STREAM.PURGE.{stream}", body)
        except NotThere as error:
            if not error.certain:
                raise

    async def after(self, test_id: str, mark: SnapshotChange) -> bool:
        """Decides what becomes of events that were published under the id of a deleted run.

        A late publisher's events are deleted as well, and the log says so. Events that begin as a run's do are a new
        run of the same id.

        Args:
            mark: of the deleted run, in this life of the stream.

        Returns:
            Whether they are a new run.
        """
        if mark.kind == "deleting":
            return False
        events = (await self._log.read(test_id, 0, _PAGE)).events
        late = 0
        for each in events:
            if _begins(each):
                break
            late = each.seq
        if late:
            await self.purge(subjects.EVENTS, subjects.events(test_id), late + 1)
            await self.purge(subjects.FRAMES, subjects.frames(test_id))
            await self._store.end_deletion(test_id, mark.epoch)  # whoever watches it meanwhile is told
            _limited.warning("test %s was deleted, and somebody still publishes to it: that is deleted too", test_id)
        return bool(events) and not late


def _begins(stored: StoredEvent) -> bool:
    """Whether an event is one that runs begin with. Each phase of a worker is a `status running`, too, and so is its
    handing on: of a worker, only its first attempt begins a run."""
    event = runs.parse(stored.data)
    if event is None or event.type != "status" or event.status not in _BEGINS:
        return False
    if stored.writer is None:
        return True
    return event.field("attempt") == 1 and event.field("handover") is not True


async def delete_run(log: JetStreamLog, test_id: str) -> None:
    """Deletes a run that has ended. See `Deletion.delete`."""
    await Deletion(log).delete(test_id)
