"""The bucket `RUNS`: one folded snapshot per run, written by the projector only, watched by every edge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from broker.contract import snapshot as snapshots
from broker.contract import subjects
from broker.contract.snapshot import Snapshot
from broker.jetstream.api import Stored, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.log import RateLimited

_OPERATION: Final = "KV-Operation"
_limited = RateLimited(logging.getLogger("testcast.snapshots"), per_s=10.0)


class SnapshotChange(NamedTuple):
    """A new revision of the bucket."""

    test_id: str
    revision: int
    kind: Literal["written", "removed", "unreadable"]
    """An unreadable value is no snapshot, or another run's: it was forged or damaged, and the next fold replaces it."""
    snapshot: Snapshot | None
    """Only with "written"."""


class SnapshotStore:
    """Reads, writes and watches snapshots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)

    def __repr__(self) -> str:
        return f"<SnapshotStore {subjects.RUNS}>"

    async def get(self, test_id: str) -> tuple[Snapshot | None, int]:
        """The stored snapshot and its revision, from the leader. The snapshot is None where there is none (revision 0
        when nothing was ever written), or none that can be read.

        Raises:
            BrokerUnavailable: no leader.
        """
        entry = await self._streams.last(subjects.kv_stream(subjects.RUNS), subjects.kv(subjects.RUNS, test_id))
        if entry is None:
            return None, 0
        return _change(test_id, entry).snapshot, entry.seq

    async def put(self, snapshot: Snapshot, revision: int) -> int:
        """Compares and sets: writes when the newest revision is still `revision`. Returns the new one.

        Raises:
            WrongLastSequence: somebody else was quicker.
            BrokerUnavailable: no acknowledgement; it may be written all the same.
        """
        subject = subjects.kv(subjects.RUNS, snapshot.test_id)
        return (await self._streams.store(subject, snapshot.encode(), expected_last=revision)).seq

    def watch(
        self,
        on_change: Callable[[SnapshotChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> OrderedConsumer:
        """Every run's newest snapshot, then every change, in order of revision. `run()` of the result does the work.

        Args:
            on_change: called with each revision.
            on_current: called when all that was stored at the start is delivered, and after each restart again.
            on_reset: called when the bucket is another one now: what was delivered before is void.
        """

        def on_message(entry: Stored) -> None:
            test_id = subjects.test_id_of(entry.subject)
            if test_id is not None:
                on_change(_change(test_id, entry))

        bucket, every = subjects.kv_stream(subjects.RUNS), subjects.kv(subjects.RUNS, ">")
        return OrderedConsumer(self._connection, bucket, every, on_message, on_current, on_reset)


def _change(test_id: str, entry: Stored) -> SnapshotChange:
    if entry.header(_OPERATION) is not None or not entry.data:
        return SnapshotChange(test_id, entry.seq, "removed", None)
    try:
        return SnapshotChange(test_id, entry.seq, "written", snapshots.decode(entry.data, test_id))
    except msgspec.MsgspecError as error:
        _limited.warning("the snapshot stored for test %s is not one: %s", test_id, error)
        return SnapshotChange(test_id, entry.seq, "unreadable", None)
