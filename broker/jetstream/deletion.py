"""Deleting one run from the broker."""

from __future__ import annotations

from broker.contract import subjects
from broker.contract.errors import NotThere
from broker.jetstream import kv, runs
from broker.jetstream.api import Streams
from broker.jetstream.event_log import JetStreamLog


async def delete_run(log: JetStreamLog, test_id: str) -> None:
    """Deletes a run's job, events, pictures and snapshot. Harmless for what is gone already.

    The events go before the snapshot, so that nobody can fold them once more. The snapshot is replaced by a mark which
    every edge receives; the broker forgets the mark as it forgets snapshots. A publisher that goes on begins a new run
    of the same id, so a run should have ended before.

    Raises:
        BrokerUnavailable: the broker does not answer; a part may be deleted. Call it again.
        BrokerRefused: this user may not delete.
    """
    streams = log.streams
    await runs.drop_job(streams, test_id)
    await _purge(streams, subjects.EVENTS, subjects.events(test_id))
    await _purge(streams, subjects.FRAMES, subjects.frames(test_id))
    bare = Streams(log.connection, mends=False)  # the bucket of earlier versions: nobody makes it anew
    await _purge(bare, kv.stream(subjects.SHOTS), kv.subject(subjects.SHOTS, test_id))
    if await streams.kv_get(subjects.RUNS, test_id) is not None:
        await streams.store(kv.subject(subjects.RUNS, test_id), b"", headers={kv.OPERATION_HEADER: "DEL"})


async def _purge(streams: Streams, stream: str, subject: str) -> None:
    try:
        await streams.api(f"STREAM.PURGE.{stream}", {"filter": subject})
    except NotThere as error:
        if not error.certain:
            raise
