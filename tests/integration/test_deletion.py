"""Deleting and pinning over an edge, and retention by project, on a real broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import NotEnded, NotFound, Pinned, TestcastError
from broker.contract.retention import Retention
from broker.contract.snapshot import Snapshot
from broker.jetstream import kv, topology
from broker.jetstream.access_store import AccessStore
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.deletion import Deletion
from broker.jetstream.frame_store import FrameStore
from broker.jetstream.pin_store import Pin, PinStore
from broker.jetstream.snapshot_store import SnapshotStore
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, begin, event_log, publish, until
from tests.in_process import ByProject, Edge, a_client
from ws_edge.fanout.session import Session
from ws_edge.transport.websocket import ENCODING
from ws_edge.views import keeper

JPEG: Final = b"\xff\xd8\xff\xe0 picture"
MakeEdge = Callable[..., Awaitable[Edge]]


@pytest.fixture
async def make_edge(nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeEdge]:
    """Starts edges in this process, and stops them after the test. They go on quickly with what was cut short."""
    monkeypatch.setattr(keeper, "_GRACE_S", 0.5)
    monkeypatch.setattr(keeper, "_AGAIN_S", 0.5)
    started: list[Edge] = []

    async def make(**settings: Any) -> Edge:
        edge = await Edge(nats_server.url, **settings).start()
        started.append(edge)
        return edge

    yield make
    for edge in started:
        await edge.stop()


class Viewer:
    """A viewer whose transport takes nothing more after `takes` writes."""

    def __init__(self, takes: int = 1000) -> None:
        self.encoding, self.fd = ENCODING, -1
        self.takes = takes
        self.got: list[bytes] = []
        self.missing: list[str] = []

    def waiting(self) -> int:
        return 0 if len(self.got) < self.takes else 1 << 30

    def write(self, data: bytes) -> None:
        self.got.append(data)

    def queue(self, rest: memoryview) -> None:
        raise AssertionError

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        if self.waiting() > high_water_bytes:
            return False
        self.got.append(frame)
        return True

    def session_missing(self, session: Session) -> None:
        self.missing.append(session.topic.test_id)


async def ended(streams: Streams, title: str = "A game", *, project: str | None = None, events: int = 0) -> str:
    """A run that has completed, with a picture."""
    test_id = identity.new_test_id()
    data = {"title": title, "gameUrl": "http://game.example/"} | ({} if project is None else {"project": project})
    await publish(streams, test_id, "Queued", "status", status="queued", data=data)
    for number in range(events):
        await publish(streams, test_id, f"step {number}")
    await FrameStore(streams).put(test_id, JPEG)
    await publish(streams, test_id, "Done", "complete", data={"score": 50})
    return test_id


async def left(streams: Streams, test_id: str) -> list[str]:
    """Names of what is stored of a run yet. Marks are nothing."""
    found = {
        "events": await streams.last(subjects.EVENTS, subjects.events(test_id)),
        "pictures": await streams.last(subjects.FRAMES, subjects.frames(test_id)),
        "snapshot": await streams.kv_get(subjects.RUNS, test_id),
        "pin": await streams.kv_get(subjects.PINS, test_id),
        "share": await streams.kv_get(subjects.ACCESS, f"share.{test_id}.one"),
        "job": await streams.last(subjects.JOBS, subjects.job(test_id)),
    }
    return [name for name, each in found.items() if each is not None]


def shown(edge: Edge, test_id: str) -> Snapshot | None:
    return edge.node.snapshot(test_id)


async def until_shown(test_id: str, *edges: Edge) -> None:
    for edge in edges:
        await until(lambda edge=edge: (run := shown(edge, test_id)) is not None and run.ended, within_s=30)  # type: ignore[misc]


async def until_dropped(test_id: str, *edges: Edge) -> None:
    for edge in edges:
        await until(lambda edge=edge: shown(edge, test_id) is None, within_s=30)  # type: ignore[misc]


async def call(edge: Edge, method: str, test_id: str, name: str = "root") -> tuple[int, Any]:
    async with a_client(edge, name) as client:
        answer: httpx.Response = await client.post(f"/rpc/{method}", json={"testId": test_id})
    said = answer.json()
    return answer.status_code, said["error"]["code"] if "error" in said else said


async def test_all_of_a_run_goes_on_every_edge_and_its_viewers_are_told(
    make_edge: MakeEdge, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "testcast.audit")
    edge, other = await make_edge(), await make_edge()
    test_id, stays = await ended(streams, "Gone soon"), await ended(streams, "Stays")
    running = await begin(streams)
    await AccessStore(streams.nats).put(f"share.{test_id}.one", b"{}", 60)
    await streams.store(subjects.job(test_id), b"{}")
    for each in (test_id, stays):
        await until_shown(each, edge, other)
    live, slow = Viewer(), Viewer(takes=1)
    for viewer in (live, slow):
        other.node.hub.subscribe(viewer, test_id, None)
    await until(lambda: len(other.node.hub.topics[test_id].live) == 1 and slow.got, within_s=30)
    assert len(other.node.hub.topics[test_id].behind) == 1, "one viewer is in the middle of the replay"
    before = other.node.catalogue.etag("1", "")

    assert await call(edge, "deleteTest", running) == (409, "not_ended")
    assert await call(edge, "deleteTest", NO_SUCH_TEST) == (404, "not_found")
    assert await call(edge, "deleteTest", test_id.upper()) == (400, "invalid_test_id")
    assert await call(edge, "deleteTest", test_id) == (200, {"testId": test_id, "deleted": True})
    assert await left(streams, test_id) == []
    await until_dropped(test_id, edge, other)
    await until(lambda: live.missing and slow.missing, within_s=30)
    assert test_id not in other.node.hub.topics and other.node.catalogue.etag("1", "") != before
    for each in (edge, other):
        for method in ("deleteTest", "getTest", "getEvents", "pinTest", "unpinTest", "connectToTest"):
            assert (await call(each, method, test_id))[0] == 404, method
    again = Viewer()
    other.node.hub.subscribe(again, test_id, None)
    await until(lambda: again.missing, within_s=30)
    assert await left(streams, stays) == ["events", "pictures", "snapshot"]
    assert 'action="delete" subject="anonymous"' in caplog.text and '"deleteTest"' in caplog.text


async def test_a_run_of_another_project_can_neither_be_deleted_nor_pinned(
    make_edge: MakeEdge, streams: Streams
) -> None:
    edge = await make_edge()
    edge.node.access = ByProject(edge.node)
    theirs = await ended(streams, project="a")
    await until_shown(theirs, edge)
    for method in ("deleteTest", "pinTest", "unpinTest"):
        assert await call(edge, method, theirs, "bob") == (404, "not_found")
        assert await call(edge, method, theirs, "amy") == (403, "forbidden"), "she may list and watch"
    assert await left(streams, theirs) == ["events", "pictures", "snapshot"]
    assert (await call(edge, "pinTest", theirs, "ann"))[0] == 200
    pin = await PinStore(streams.nats).get(theirs)
    assert pin is not None and pin.by == "ann" and abs(pin.at_ms - now_ms()) < 3_600_000


async def test_a_pin_is_shown_by_every_edge_and_keeps_a_run_from_being_deleted(
    make_edge: MakeEdge, streams: Streams
) -> None:
    edge, other = await make_edge(pins_per_project=2), await make_edge()
    runs = [await ended(streams) for _ in range(3)]
    for each in runs:
        await until_shown(each, edge, other)
    tag = other.node.catalogue.etag("1", "")
    for each in runs[:2]:
        assert await call(edge, "pinTest", each) == (200, {"testId": each, "pinned": True})
        assert (await call(edge, "pinTest", each))[0] == 200, "twice is once"
        for at in (edge, other):
            await until(lambda at=at, each=each: getattr(shown(at, each), "pinned", False), within_s=30)  # type: ignore[misc]
    assert other.node.catalogue.etag("1", "") == edge.node.catalogue.etag("1", "") != tag
    assert await call(edge, "pinTest", runs[2]) == (409, "too_many_pins")
    assert await call(edge, "deleteTest", runs[0]) == (409, "pinned")
    assert await call(edge, "pinTest", NO_SUCH_TEST) == (404, "not_found")
    stored = await streams.kv_get(subjects.RUNS, runs[0])
    assert stored is not None and b"pinned" not in stored.data, "it is a mark of edges"
    for each in runs[:2]:
        assert await call(other, "unpinTest", each) == (200, {"testId": each, "pinned": False})
    await until(lambda: not edge.node.catalogue.pinned and not other.node.catalogue.pinned, within_s=30)
    assert other.node.catalogue.etag("1", "") == tag
    assert (await call(edge, "deleteTest", runs[0]))[0] == 200


async def test_pins_are_put_back_when_their_bucket_was_deleted(make_edge: MakeEdge, streams: Streams) -> None:
    edge = await make_edge()
    test_id = await ended(streams)
    await until_shown(test_id, edge)
    await call(edge, "pinTest", test_id)
    await until(lambda: test_id in edge.node.catalogue.pinned, within_s=30)
    await streams.api(f"STREAM.DELETE.{kv.stream(subjects.PINS)}")

    async def stands() -> bool:
        try:
            return await streams.kv_get(subjects.PINS, test_id) is not None
        except TestcastError:
            return False

    await until(stands, within_s=60)
    await until(lambda: edge.node.keeping.pins.known, within_s=30)
    assert shown(edge, test_id).pinned  # type: ignore[union-attr]


async def test_what_an_edge_has_begun_and_not_ended_is_ended_by_another(make_edge: MakeEdge, streams: Streams) -> None:
    """The edge was killed after each of its steps."""
    store, epoch = SnapshotStore(streams.nats), (await event_log(streams).state()).epoch
    first, second, old = [await ended(streams) for _ in range(3)]
    edge = await make_edge()
    for each in (first, second, old):
        await until_shown(each, edge)
    await store.begin_deletion(first, (await store.get(first))[1], epoch)
    await store.begin_deletion(second, (await store.get(second))[1], epoch)
    await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"filter": subjects.events(second)})
    await store.begin_deletion(old, (await store.get(old))[1], "another life of the stream")
    for each in (first, second):
        await until_dropped(each, edge)
        await until(lambda each=each: _nothing_left(streams, each), within_s=30)  # type: ignore[misc]
        mark = await store.newest(each)
        assert mark is not None and mark.kind == "deleted"
    assert "events" in await left(streams, old), "that mark is about what was stored before a restore"
    late = await make_edge()
    assert not shown(late, first) and not shown(late, second)


async def _nothing_left(streams: Streams, test_id: str) -> bool:
    mark = await SnapshotStore(streams.nats).newest(test_id)
    return not await left(streams, test_id) and mark is not None and mark.kind == "deleted"


async def test_a_late_publisher_brings_back_nothing_and_a_new_beginning_does(
    make_edge: MakeEdge, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    edge = await make_edge()
    test_id = await ended(streams, project="a")
    await until_shown(test_id, edge)
    await call(edge, "deleteTest", test_id)
    await publish(streams, test_id, "I am still here")
    await until(lambda: _nothing_left(streams, test_id), within_s=30)
    await until(lambda: f"test {test_id} was deleted, and somebody still publishes" in caplog.text, within_s=30)
    assert shown(edge, test_id) is None
    await publish(streams, test_id, "Once more", "status", status="running", data={"title": "New"})
    await until(lambda: shown(edge, test_id), within_s=30)
    assert shown(edge, test_id).title == "New"  # type: ignore[union-attr]


async def test_a_deletion_says_that_the_broker_is_away_and_succeeds_later(
    make_edge: MakeEdge, streams: Streams, nats_server: EmbeddedServer
) -> None:
    edge = await make_edge()
    test_id = await ended(streams)
    await until_shown(test_id, edge)
    await nats_server.stop()
    await until(lambda: not edge.node.nats.connected, within_s=30)
    for method in ("deleteTest", "pinTest", "unpinTest"):
        assert await call(edge, method, test_id) == (503, "broker_unavailable")
    assert shown(edge, test_id), "it is shown as long as it stands"
    await nats_server.start()
    await until(lambda: _is_deleted(edge, test_id), within_s=60)


async def _is_deleted(edge: Edge, test_id: str) -> bool:
    return (await call(edge, "deleteTest", test_id))[0] in (200, 404)


async def test_two_at_once_and_a_pin_in_between(streams: Streams, make_edge: MakeEdge) -> None:
    """Without a fold: nobody else writes to the bucket."""
    deletion, pins = Deletion(event_log(streams)), PinStore(streams.nats)
    test_id = await ended(streams)
    both = await asyncio.gather(*(deletion.delete(test_id) for _ in range(4)), return_exceptions=True)
    assert all(each is None or isinstance(each, Snapshot | NotFound) for each in both), both
    assert any(isinstance(each, Snapshot) for each in both) and await left(streams, test_id) == []

    pinned = await ended(streams)
    await pins.put(pinned, Pin("ann", 1))
    with pytest.raises(Pinned):
        await deletion.delete(pinned)
    epoch = (await event_log(streams).state()).epoch
    store = SnapshotStore(streams.nats)
    await store.begin_deletion(pinned, 0, epoch)  # as of one that looked before the pin was there
    with pytest.raises(Pinned):
        await deletion.finish(pinned, epoch)
    assert "events" in await left(streams, pinned)
    edge = await make_edge()
    await until_shown(pinned, edge)
    with pytest.raises(NotEnded):
        await deletion.delete(await begin(streams))


# -- retention -----------------------------------------------------------------------------------------------------


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
    for each in (long, running, pinned, watched):
        assert "events" in await left(streams, each)
    assert not viewer.missing
    session.close()
    other = await make_edge(retention=ages)  # it looks by itself
    await until_dropped(watched, edge, other)
    await until(lambda: _nothing_left(streams, watched), within_s=30)
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
    await looks.look()
    clock.offset_ms = known
    edge.node.catalogue.compared(behind=True)
    assert looks.now_ms() is None, "the list is not complete"
    edge.node.catalogue.compared(behind=False)
    edge.node.keeping.pins._current = False
    assert looks.now_ms() is None, "nobody knows what is pinned"
    assert await left(streams, test_id) == ["events", "pictures", "snapshot"]
    assert looks.statistics().deleted == 0


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
    edge = await make_edge(keeper=False, retention=Retention(1.0))
    await until_shown(kept, edge)
    looks, leftovers = edge.node.keeping.keeper, edge.node.keeping.keeper._leftovers
    edge.node.catalogue.forget(kept)  # as if the bucket were empty

    async def cleaned() -> bool:
        leftovers._next_at = 0.0
        await leftovers.look(looks.now_ms)
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
        assert (config["max_age"], config["metadata"]["testcast-topology"]) == (0, "3"), "an earlier version's"
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
