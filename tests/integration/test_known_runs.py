"""All runs over NATS while no edge folds them."""

from __future__ import annotations

import asyncio

from broker.contract import subjects
from broker.jetstream import kv, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from testcast.client.known_runs import KnownRuns
from tests.harness import begin, publish, until


async def statuses(known: KnownRuns) -> dict[str, str]:
    await known.refresh()
    return {run.test_id: run.status for run in known.snapshots()}


async def test_what_is_behind_is_folded_and_a_limit_is_told(nats: Connection, streams: Streams) -> None:
    first, second = await begin(streams), await begin(streams)
    known = KnownRuns(JetStreamLog(nats), nats.address)
    try:
        assert await statuses(known) == {first: "running", second: "running"}
        assert known.behind is None
        await publish(streams, first, "Done", "complete")
        assert await statuses(known) == {first: "completed", second: "running"}
    finally:
        await known.close()
    limited = KnownRuns(JetStreamLog(nats), nats.address, max_events=1)
    try:
        for number in range(1200):  # more than a page
            await nats.publish(subjects.events(second), b'{"type":"progress","message":"m","timestamp":%d}' % number)

        async def stored() -> bool:
            return (await streams.state(subjects.EVENTS)).last_seq >= 1200

        await until(stored)
        await limited.refresh()
        assert limited.behind is not None
        assert limited.behind.since_ms > 0
        while limited.behind is not None:
            await limited.refresh()
        assert (await statuses(limited))[first] == "completed"
    finally:
        await limited.close()


async def test_a_lost_bucket_and_a_new_stream_are_noticed(nats: Connection, streams: Streams) -> None:
    known = KnownRuns(JetStreamLog(nats), nats.address)
    try:
        test_id = await begin(streams)
        await streams.api(f"STREAM.DELETE.{kv.stream(subjects.RUNS)}")
        await topology.apply(nats)
        assert await statuses(known) == {test_id: "running"}
        await streams.api(f"STREAM.DELETE.{subjects.EVENTS}")
        await topology.apply(nats)
        assert await statuses(known) == {}
        again = await begin(streams)
        assert await statuses(known) == {again: "running"}
    finally:
        await known.close()


async def test_the_form_without_asyncio(nats: Connection, streams: Streams) -> None:
    from testcast import AlreadyEnded, sync

    def play() -> str:
        with sync.TestRun.create(nats.address, title="Mine", phases=["one"]) as run:
            run.phase(1)
            run.progress("a line", level=1)
            run.complete(score=7)
        try:
            with sync.TestRun.join(nats.address, run.test_id):
                raise AssertionError("it has ended")
        except AlreadyEnded:
            return run.test_id

    test_id = await asyncio.to_thread(play)
    known = KnownRuns(JetStreamLog(nats), nats.address)
    try:
        await known.refresh()
        assert [(run.test_id, run.score) for run in known.snapshots()] == [(test_id, 7)]
    finally:
        await known.close()
