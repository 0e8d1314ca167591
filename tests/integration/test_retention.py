"""Retention by project, and what is of no run, on a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker import identity
from broker.contract import subjects
from broker.contract.retention import Retention
from broker.contract.snapshot import Snapshot
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.jetstream.pin_store import Pin, PinStore
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, begin, event_log, until
from tests.keeping import (
    JPEG,
    MakeEdge,
    Viewer,
    call,
    edges,
    ended,
    left,
    nothing_left,
    shown,
    until_dropped,
    until_shown,
)
from ws_edge.metrics.served import page_of_node


@pytest.fixture
async def make_edge(nats_server: EmbeddedServer) -> AsyncIterator[MakeEdge]:
    """Edges in this process."""
    async with edges(nats_server.url) as make:
        yield make


async def test_runs_go_when_they_have_outlived_the_age_of_their_project(make_edge: MakeEdge, streams: Streams) -> None:
    short, long = [await ended(streams, project=each) for each in ("nightly", "default")]
    running, pinned, watched = [await begin(streams), *[await ended(streams, project="nightly") for _ in range(2)]]
    await PinStore(streams.nats).put(pinned, Pin("ann", 1))
    ages = Retention(3600, {"nightly": 1.0})
    edge = await make_edge(keeper=False, retention=ages)
    for each in (short, long, pinned, watched):
        await until_shown(each, edge)
    viewer = Viewer()
    session = edge.node.hub.subscribe(viewer, watched, None)

    async def looked() -> bool:
        await edge.node.keeping.keeper.look()
        return shown(edge, short) is None

    await until(looked, within_s=60)
    assert await left(streams, short) == []
    told = (await page_of_node(edge.node)()).decode()
    assert 'testcast_edge_runs_deleted_total{reason="age"} 1.0\n' in told and "testcast_runs_pinned 1.0\n" in told
    for each in (long, running, pinned, watched):
        assert "events" in await left(streams, each)
    assert not viewer.missing
    session.close()
    other = await make_edge(retention=ages)  # it looks by itself
    await until_dropped(watched, edge, other)
    await until(lambda: nothing_left(streams, watched), within_s=30)
    for each in (long, running, pinned):
        assert "events" in await left(streams, each)


async def test_a_clock_that_is_wrong_deletes_nothing(make_edge: MakeEdge, streams: Streams) -> None:
    edge = await make_edge(keeper=False, retention=Retention(60.0))
    test_id = await ended(streams)
    await until_shown(test_id, edge)
    await until(lambda: edge.node.keeping.pins.known and edge.node.catalogue.stale_for_s is None, within_s=30)
    looks = edge.node.keeping.keeper
    clock, wall = edge.node.broker_clock, looks._wall_ms
    assert looks.now_ms() is not None

    for broker_s, wall_s in ((3600, 0), (0, 3600), (-3600, 3600)):
        known, clock.offset_ms = clock.offset_ms, (clock.offset_ms or 0) + broker_s * 1000
        looks._wall_ms = lambda wall_s=wall_s: wall() + wall_s * 1000  # type: ignore[misc]
        await looks.look()
        assert shown(edge, test_id), "one of the two clocks says that it is young"
        clock.offset_ms = known
    known, clock.offset_ms = clock.offset_ms, (clock.offset_ms or 0) + 3600_000
    looks._wall_ms = lambda: wall() + 3600_000
    await looks.look()
    assert shown(edge, test_id), "the leader says that it is young"
    clock.offset_ms = None
    assert looks.now_ms() is None, "the broker's clock is not known"
    looked_at = looks._looked_at
    await looks.look()
    assert looks._looked_at == looked_at is not None, "this was none"
    clock.offset_ms, due = known, looks._due

    async def clock_is_lost() -> list[Snapshot]:
        clock.offset_ms = None
        return await due()

    looks._due = clock_is_lost  # type: ignore[method-assign]
    await looks.look()
    assert looks._looked_at == looked_at, "nor was this, which was cut short"
    clock.offset_ms, looks._due = known, due  # type: ignore[method-assign]
    edge.node.catalogue.compared(behind=True)
    assert looks.now_ms() is None, "the list is not complete"
    edge.node.catalogue.compared(behind=False)
    edge.node.keeping.pins._current = False
    assert looks.now_ms() is None, "nobody knows what is pinned"
    assert await left(streams, test_id) == ["events", "pictures", "snapshot"]
    assert looks.statistics().deleted == 0 < looks.statistics().look_age_s


async def test_an_empty_bucket_deletes_nothing_and_what_is_of_no_run_goes(
    make_edge: MakeEdge, streams: Streams
) -> None:
    """Garbage under the id of a run, and of none; a probe; pictures of no run; a pin of no run."""
    kept = await ended(streams)
    garbage, odd = identity.new_test_id(), "test.no-id.events"
    probe, pictures = "test.probe-0123456789abcdef.events", identity.new_test_id()
    for subject in (subjects.events(garbage), odd, probe):
        await streams.store(subject, b"no event")
    await FrameStore(streams).put(pictures, JPEG)
    await PinStore(streams.nats).put(NO_SUCH_TEST, Pin("ann", 1))
    edge = await make_edge(keeper=False)
    await until_shown(kept, edge)
    looks, leftovers = edge.node.keeping.keeper, edge.node.keeping.keeper._leftovers
    edge.node.catalogue.forget(kept)  # as if the bucket were empty

    async def cleaned() -> bool:
        leftovers._next_at = 0.0
        await leftovers.look(looks.now_ms, 1.0)
        return leftovers.purged == 4

    await until(cleaned, within_s=60)
    for stream, subject in ((subjects.EVENTS, subjects.events(garbage)), (subjects.EVENTS, odd),
                            (subjects.EVENTS, probe), (subjects.FRAMES, subjects.frames(pictures))):  # fmt: skip
        assert await streams.last(stream, subject) is None
    assert await streams.kv_get(subjects.PINS, NO_SUCH_TEST) is None
    assert await left(streams, kept) == ["events", "pictures", "snapshot"]


async def test_a_stream_with_an_age_of_its_own_keeps_it_and_a_pin_says_until_when(
    make_edge: MakeEdge, nats: Connection, streams: Streams
) -> None:
    for name in ("EVENTS", "KV_RUNS"):
        config = (await streams.api(f"STREAM.INFO.{name}"))["config"]
        by_itself = {"max_age": 7 * 24 * 3600 * 10**9, "metadata": {"testcast-topology": "2"}}
        await streams.api(f"STREAM.UPDATE.{name}", config | by_itself)
    await topology.apply(nats)
    for name in ("EVENTS", "KV_RUNS"):
        config = (await streams.api(f"STREAM.INFO.{name}"))["config"]
        assert (config["max_age"], config["metadata"]["testcast-topology"]) == (0, "4"), "an earlier version's"
        assert config["metadata"].get("testcast-age-s") == ("604800" if name == "EVENTS" else None)
    await streams.api("STREAM.UPDATE.EVENTS", config_of_an_operator := await _aged(streams, 3600))
    await topology.apply(nats)
    assert (await streams.api("STREAM.INFO.EVENTS"))["config"]["max_age"] == config_of_an_operator["max_age"]
    edge = await make_edge()
    test_id = await ended(streams)
    first = (await event_log(streams).read(test_id, 0, 1)).events[0]
    status, said = await call(edge, "pinTest", test_id)
    assert (status, said["keptUntil"]) == (200, first.stored_ms + 3600_000)


async def _aged(streams: Streams, age_s: int) -> dict[str, Any]:
    config: dict[str, Any] = (await streams.api("STREAM.INFO.EVENTS"))["config"]
    return config | {"max_age": age_s * 10**9}
