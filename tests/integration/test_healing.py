"""Streams, buckets and consumers that are deleted under a running edge, worker and publisher."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.publish.run import TestRun
from agent_worker.work.player import Player
from agent_worker.work.worker import Worker
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, Fenced, NotThere
from broker.jetstream import runs, topology
from broker.jetstream.access_store import AccessStore
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.jetstream.pull_consumer import PullConsumer
from broker.jetstream.requeue import requeue as queue_again
from broker.jetstream.snapshot_store import SnapshotStore
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import MakeEdge
from tests.harness import JPEG, Reader, begin, event_bytes, event_log, publish, store_picture, until
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.views import requeue

GAME = "http://127.0.0.1:1/"
DELETIONS = [
    ["STREAM.DELETE.JOBS"],
    ["CONSUMER.DELETE.JOBS.workers"],
    ["STREAM.DELETE.KV_RUNS"],
    ["STREAM.DELETE.EVENTS"],
    ["STREAM.DELETE.EVENTS", "STREAM.DELETE.KV_RUNS"],
    ["STREAM.DELETE.FRAMES", "CONSUMER.DELETE.EVENTS.projector"],
]


async def at_once(run: RunHandle, _job: GameJob) -> None:
    """A player that completes each run at once."""
    await run.progress("Playing")
    await run.complete(50, {})


@contextlib.asynccontextmanager
async def working(url: str, player: Player[GameJob] = at_once, concurrency: int = 2) -> AsyncIterator[Worker[GameJob]]:
    """A worker on a connection of its own."""
    nats = await Connection.connect(url, name="worker")
    worker = Worker(nats, player, read_job=read_job, name="w", concurrency=concurrency)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await task
        await nats.close()


async def test_everything_gets_current_again_whatever_is_deleted(
    nats_server: EmbeddedServer, streams: Streams, make_edge: MakeEdge
) -> None:
    edge = await make_edge()
    steps = itertools.count()
    async with (
        httpx.AsyncClient(base_url=edge.url, timeout=30) as client,
        working(nats_server.url),
        TestRun.create(nats_server.url, title="Published", worker="p") as run,
    ):
        for deletion in DELETIONS:
            for each in deletion:
                await streams.api(each)
            step = f"step {next(steps)}"
            await run.progress(step)
            await run.screenshot(JPEG)
            submitted = await client.post("/rpc/submitTest", json={"gameUrl": GAME})
            assert submitted.status_code == 200, (deletion, submitted.text)
            test_id, seen = submitted.json()["testId"], list[object]()

            async def is_current(test_id: str = test_id, step: str = step, seen: list[object] = seen) -> bool:
                listed = (await client.get("/rpc/listTests")).json()
                found = {each["testId"]: each for each in listed["tests"]}
                published = found.get(run.test_id, {})
                picture = await client.get("/rpc/getShot", params={"testId": run.test_id})
                seen[:] = [found.get(test_id), published, picture.status_code, listed.get("stale")]
                return (
                    found.get(test_id, {}).get("status") == "completed"
                    and published.get("message") == step
                    and picture.status_code == 200
                )

            try:
                await until(is_current, within_s=30, what=f"all is current after {deletion}")
            except AssertionError as error:
                error.add_note(f"the submitted run, the published one, its picture, stale: {seen}")
                raise
        await run.complete(1)


async def test_runs_whose_jobs_were_lost_are_queued_again(
    nats_server: EmbeddedServer, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker makes the stream again, so the node learns of it from its own look."""
    monkeypatch.setattr(requeue, "_LOOK_S", 0.3)
    node = Node(await Connection.connect(nats_server.url, name="node"), EdgeConfig(canary_s=0), 1)
    await node.start()
    try:
        waiting = {await runs.submit(node.log, runs.make_job(GAME, "Game", 30, seed)) for seed in range(3)}
        foreign = await begin(streams)
        await publish(streams, foreign, "Waiting", "status", status="queued")

        def statuses() -> dict[str, str]:
            return {run.test_id: run.status for run, _ in node.catalogue.all()}

        await until(lambda: {*waiting, foreign} <= {*statuses()}, within_s=20)
        await streams.api("STREAM.DELETE.JOBS")
        async with working(nats_server.url):
            await until(lambda: {statuses()[test_id] for test_id in waiting} == {"completed"}, within_s=40)
        assert statuses()[foreign] == "queued"
    finally:
        await node.stop()


async def test_a_job_that_was_purged_just_now_is_stored_again(nats: Connection, streams: Streams) -> None:
    """Within the time in which the broker refuses a message of the same id."""
    log = event_log(streams)
    test_id = await runs.submit(log, runs.make_job(GAME, "Game", 30, 1))
    await streams.api("STREAM.PURGE.JOBS")
    for _ in range(2):  # the second edge to find it is harmless
        assert await queue_again(log, test_id)
        assert (await streams.state(subjects.JOBS)).messages == 1


@pytest.mark.parametrize("deletion", ["STREAM.DELETE.JOBS", "CONSUMER.DELETE.JOBS.workers"])
async def test_a_worker_does_not_wait_for_ever_to_acknowledge_a_job_that_is_gone(
    nats_server: EmbeddedServer, nats: Connection, streams: Streams, deletion: str
) -> None:
    await topology.apply(nats, lease_s=2.0)
    log = event_log(streams)
    playing, go_on = asyncio.Event(), asyncio.Event()

    async def player(run: RunHandle, job: GameJob) -> None:
        playing.set()
        await go_on.wait()
        await at_once(run, job)

    async with working(nats_server.url, player, concurrency=1):
        first = await runs.submit(log, runs.make_job(GAME, "First", 30, 1))
        await asyncio.wait_for(playing.wait(), 20)
        await streams.api(deletion)
        second = await runs.submit(log, runs.make_job(GAME, "Second", 30, 1))
        go_on.set()
        for test_id in (first, second):

            async def has_ended(test_id: str = test_id) -> bool:
                snapshot = (await runs.read(log, test_id)).snapshot
                return snapshot is not None and snapshot.status == "completed"

            await until(has_ended, within_s=40)


async def test_a_writer_is_fenced_in_a_stream_that_has_lost_its_events(
    nats_server: EmbeddedServer, streams: Streams
) -> None:
    """A stream that was restored from a backup: its sequences are below those that the writer knows."""
    for _ in range(5):
        await begin(streams)
    with pytest.raises(Fenced):
        await _publish_across_a_restore(TestRun.create(nats_server.url, title="Published", worker="first"), streams)


async def _publish_across_a_restore(handle: TestRun, streams: Streams) -> None:
    async with handle as run:
        await run.flush()
        config = (await streams.api("STREAM.INFO.EVENTS"))["config"]
        await streams.api("STREAM.DELETE.EVENTS")
        await streams.api("STREAM.CREATE.EVENTS", config)
        started = event_bytes("Started", "status", status="running", data={"attempt": 2, "worker": "second"})
        await event_log(streams).append(run.test_id, started, writer="2.other")
        await run.progress("from before")
        await run.flush()


async def test_a_viewer_is_told_of_a_new_stream_and_gets_what_follows(
    nats_server: EmbeddedServer, streams: Streams, make_edge: MakeEdge
) -> None:
    edge = await make_edge()
    async with TestRun.create(nats_server.url, title="Published", worker="p") as run:
        await run.flush()
        async with connect(f"{edge.ws_url}?testId={run.test_id}") as connection:
            reader = Reader(connection)
            before = await reader.control("sync")
            last = (await reader.events(2))[-1]
            await streams.api(f"STREAM.DELETE.{subjects.EVENTS}")
            await run.progress("after it")
            told = before
            while told["epoch"] == before["epoch"]:  # the gap may show before the new epoch does
                told = await reader.control("sync", within_s=20)
                assert told["outcome"] == "reset"
            assert told["reason"] == "epoch"
            (event,) = await reader.events(1, within_s=20)
            assert event["message"] == "after it"
            assert event["seq"] > last["seq"], "positions never run backwards"
        await run.complete(1)


async def test_no_queued_run_is_left_when_its_job_cannot_be_stored(
    nats_server: EmbeddedServer, nats: Connection
) -> None:
    """Of a connection that does not declare: the stream of jobs stays away."""
    streams = Streams(nats)
    log = event_log(streams)
    await streams.api("STREAM.DELETE.JOBS")
    seen: list[str] = []
    await log.follow(None, lambda test_id, _event: seen.append(test_id))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_ELECTION_S", 0.2)
        with pytest.raises(NotThere):
            await runs.submit(log, runs.make_job(GAME, "Game", 5, 1))
    await until(lambda: len(seen) == 2)
    snapshot = (await runs.read(log, seen[0])).snapshot
    assert snapshot is not None
    assert (snapshot.status, snapshot.message) == (
        "failed",
        "The job could not be queued: the broker is not available at the moment: try again in a few seconds",
    )


async def test_submitting_that_is_interrupted_leaves_no_queued_run(nats: Connection) -> None:
    streams = Streams(nats)
    log = event_log(streams)
    await streams.api("STREAM.DELETE.JOBS")
    seen: list[str] = []
    await log.follow(None, lambda test_id, _event: seen.append(test_id))
    submitting = asyncio.create_task(runs.submit(log, runs.make_job(GAME, "Game", 5, 1)))
    await until(lambda: len(seen) == 1)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    await until(lambda: len(seen) == 2)
    snapshot = (await runs.read(log, seen[0])).snapshot
    assert snapshot is not None and snapshot.status == "failed"


async def test_a_job_whose_acknowledgement_was_lost_is_submitted(nats: Connection, streams: Streams) -> None:
    """A worker has begun the run by then: it stands."""
    log = event_log(streams)
    store = streams.store
    begun: list[str] = []

    async def lossy(subject: str, payload: bytes, **options: Any) -> Any:
        if subject.startswith("jobs.") and not begun:
            begun.append(test_id := subject.rpartition(".")[2])
            await store(subject, payload, **options)
            await publish(streams, test_id, "Running", "status", status="running")
        if subject.startswith("jobs."):
            raise NotThere("lost", certain=False)
        return await store(subject, payload, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_ELECTION_S", 0.2)
        patch.setattr(log.streams, "store", lossy)
        test_id = await runs.submit(log, runs.make_job(GAME, "Game", 5, 1))
    assert [test_id] == begun
    snapshot = (await runs.read(log, test_id)).snapshot
    assert snapshot is not None and snapshot.status == "running"


async def test_what_an_operator_has_set_stays(
    nats: Connection, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    """Of every stream, bucket and consumer. What testcast cannot work without is added, and said."""
    caplog.set_level(logging.INFO)
    minutes = 60 * 10**9
    own = {"max_age": 42 * minutes, "max_bytes": 1 << 30, "compression": "s2", "duplicate_window": minutes}
    names = [config["name"] for config in topology.streams(1)]
    for name in names:
        config = (await streams.api(f"STREAM.INFO.{name}"))["config"]
        await streams.api(f"STREAM.UPDATE.{name}", config | own | {"description": "ours"})
    lease = (await streams.api("CONSUMER.INFO.JOBS.workers"))["config"] | {"max_ack_pending": 7, "ack_wait": minutes}
    body = {"stream_name": "JOBS", "config": lease, "action": "update"}
    await streams.api("CONSUMER.CREATE.JOBS.workers", body)
    before = [(await streams.api(f"STREAM.INFO.{name}"))["config"] for name in names]

    declared = await topology.apply(nats)
    await declared.once()

    assert [(await streams.api(f"STREAM.INFO.{name}"))["config"] for name in names] == before
    stands = (await streams.api("CONSUMER.INFO.JOBS.workers"))["config"]
    assert (stands["max_ack_pending"], stands["ack_wait"]) == (7, minutes)
    told = [line for line in caplog.messages if line.startswith("the stream EVENTS keeps")]
    assert told == [
        "the stream EVENTS keeps its max_age of 2520 s: pins and TESTCAST_RETENTION keep nothing for longer",
        "the stream EVENTS keeps its max_bytes of 1073741824; TESTCAST_EVENTS_MAX_BYTES says unlimited",
    ]

    events = before[0] | {"subjects": ["mine.>"]}
    events.pop("republish")
    await streams.api("STREAM.UPDATE.EVENTS", events)
    await declared.once()
    after = (await streams.api("STREAM.INFO.EVENTS"))["config"]
    assert after["subjects"] == ["mine.>", "test.*.events"] and after["republish"] == before[0]["republish"]
    assert after["max_age"] == 42 * minutes
    assert "changed the stream EVENTS: subjects mine.> -> mine.>, test.*.events; republish none -> test.*.events" in (
        caplog.text
    )


async def test_a_stream_of_a_newer_version_is_left_as_it_is(nats: Connection, streams: Streams) -> None:
    config = (await streams.api("STREAM.INFO.EVENTS"))["config"]
    newer = config | {"metadata": {"testcast-topology": "99"}, "subjects": ["test.*.events", "more.*"]}
    newer["republish"] = {"src": "test.*.events", "dest": "live.>"} | {"dest": "other.{{wildcard(1)}}"}
    await streams.api("STREAM.UPDATE.EVENTS", newer)
    await topology.apply(nats)
    assert (await streams.api("STREAM.INFO.EVENTS"))["config"]["republish"]["dest"] == "other.{{wildcard(1)}}"


async def test_settings_apply_when_a_stream_is_made(
    nats: Connection, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTCAST_EVENTS_MAX_AGE_S", "60")
    monkeypatch.setenv("TESTCAST_EVENTS_MAX_BYTES", "1000000")
    for config in topology.streams(1):
        await streams.api(f"STREAM.DELETE.{config['name']}")
    await topology.apply(nats)
    found = {each["name"]: (await streams.api(f"STREAM.INFO.{each['name']}"))["config"] for each in topology.streams(1)}
    assert (found["EVENTS"]["max_age"], found["EVENTS"]["max_bytes"]) == (0, 1_000_000)
    assert found["KV_RUNS"]["max_age"] == found["FRAMES"]["max_age"] == 0, "edges delete what is old"


async def test_a_stream_in_the_way_is_named_and_replaced_once_it_is_deleted(
    nats: Connection, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.gather(*(streams.api(f"STREAM.DELETE.{name}") for name in ("EVENTS", "FRAMES")))
    await streams.api("STREAM.CREATE.THEIRS", {"name": "THEIRS", "subjects": ["test.>"]})
    with pytest.raises(BrokerRefused, match=r"EVENTS: subjects overlap .* the stream THEIRS takes messages of test"):
        await topology.apply(nats)
    declared = topology.Topology(nats)
    declaring = asyncio.create_task(declared.until_standing())
    await until(lambda: "EVENTS" in declared.problems)
    await until(lambda: "THEIRS" in caplog.text)
    assert await SnapshotStore(nats).get("4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11") == (None, 0), "the others are used"
    await streams.api("STREAM.DELETE.THEIRS")
    await asyncio.wait_for(declaring, 20)
    assert declared.problems == {} and declared.made["EVENTS"] == 1
    assert (await streams.api("CONSUMER.INFO.EVENTS.projector"))["name"] == "projector"


@pytest.mark.parametrize(
    ("delete", "make", "reason"),
    [
        ("JOBS", {"name": "JOBS", "subjects": ["jobs.test.*"]}, "retention 'limits', and testcast needs 'workqueue'"),
        ("KV_RUNS", {"name": "KV_RUNS", "mirror": {"name": "EVENTS"}}, "KV_RUNS is a mirror"),
    ],
)
async def test_a_stream_that_cannot_be_used_is_named(
    nats: Connection, streams: Streams, delete: str, make: dict[str, Any], reason: str
) -> None:
    await streams.api(f"STREAM.DELETE.{delete}")
    await streams.api(f"STREAM.CREATE.{delete}", make)
    with pytest.raises(BrokerRefused, match=reason):
        await topology.apply(nats)


async def test_more_replicas_than_nodes_are_named(nats: Connection, streams: Streams) -> None:
    await streams.api("STREAM.DELETE.JOBS")
    with pytest.raises(BrokerRefused, match="TESTCAST_NATS_REPLICAS is 3, and this server is no cluster"):
        await topology.apply(nats, replicas=3, timeout_s=1)


async def test_all_who_meet_the_same_gap_share_one_declaration(nats: Connection, streams: Streams) -> None:
    declared = await topology.apply(nats)
    made: list[str] = []
    declared.on_made.append(made.append)
    for config in topology.streams(1):
        await streams.api(f"STREAM.DELETE.{config['name']}")
    jobs = PullConsumer(nats, subjects.JOBS, subjects.WORKERS)
    met = await asyncio.gather(
        *(streams.state(subjects.EVENTS) for _ in range(20)),
        streams.store(subjects.job("x"), b"{}"),
        store_picture(streams, "x"),
        FrameStore(streams).newest("x"),
        AccessStore(nats).get("revoked.x"),
        SnapshotStore(nats).get("x"),
        event_log(streams).heads(),
        runs.drop_job(streams, "y"),
    )
    assert not [each for each in met if isinstance(each, Exception)]
    assert {each["name"] for each in topology.streams(1)} | {"projector", "webhooks", "workers"} == set(made)
    assert [each.subject for each in await jobs.pull(1, expires_s=2)] == ["jobs.test.x"]
    await jobs.close()
