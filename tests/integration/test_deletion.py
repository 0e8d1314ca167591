"""Deleting and pinning over an edge, on a real broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotEnded, NotFound, Pinned, TestcastError
from broker.contract.roles import Role
from broker.contract.snapshot import Snapshot
from broker.jetstream import kv, pinning
from broker.jetstream.access_store import AccessStore
from broker.jetstream.api import Streams
from broker.jetstream.deletion import Deletion
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pin_store import Pin, PinStore
from broker.jetstream.snapshot_store import SnapshotStore
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, Reader, begin, event_log, publish, say, until
from tests.in_process import ByProject, Edge
from tests.keeping import (
    MakeEdge,
    Viewer,
    call,
    edges,
    ended,
    is_pinned,
    left,
    nothing_left,
    shown,
    until_dropped,
    until_shown,
)
from tests.secure_broker import secure_broker
from ws_edge.views import keeper


@pytest.fixture
async def make_edge(nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeEdge]:
    """Edges that go on quickly with what was cut short."""
    monkeypatch.setattr(keeper, "_GRACE_S", 0.5)
    monkeypatch.setattr(keeper, "_AGAIN_S", 0.5)
    async with edges(nats_server.url) as make:
        yield make


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
    assert edge.node.keeping.statistics().requested == 1
    assert await left(streams, test_id) == []
    await until_dropped(test_id, edge, other)
    await until(lambda: live.missing and slow.missing, within_s=30)
    assert test_id not in other.node.hub.topics and other.node.catalogue.etag("1", "") != before
    for at in (edge, other):
        for method in ("deleteTest", "getTest", "getEvents", "pinTest", "unpinTest", "connectToTest"):
            assert (await call(at, method, test_id))[0] == 404, method
    again = Viewer()
    other.node.hub.subscribe(again, test_id, None)
    await until(lambda: again.missing, within_s=30)
    assert await left(streams, stays) == ["events", "pictures", "snapshot"]
    assert 'action="delete" subject="anonymous"' in caplog.text and '"deleteTest"' in caplog.text


async def test_a_socket_is_told_and_stays_open(stack: Stack, stack_streams: Streams) -> None:
    test_id, stays = await ended(stack_streams), await begin(stack_streams)
    async with (
        connect(f"{stack.ws_url}?testId={test_id}") as socket,
        httpx.AsyncClient(base_url=stack.edge_url) as http,
    ):
        reader = Reader(socket)
        assert (await reader.control("sync", within_s=30))["testId"] == test_id
        answer = await http.post("/rpc/deleteTest", json={"testId": test_id})
        assert answer.status_code == 200, answer.text
        said = await reader.control("error", within_s=30)
        assert (said["testId"], said["data"]) == (test_id, {"code": "not_found", "deleted": True})
        await say(socket, {"type": "subscribe", "testId": stays})
        assert (await reader.control("sync", within_s=30))["testId"] == stays


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
            await until(partial(is_pinned, at, each), within_s=30)
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
        await until(partial(nothing_left, streams, each), within_s=30)
        mark = await store.newest(each)
        assert mark is not None and mark.kind == "deleted"
    assert "events" in await left(streams, old), "that mark is about what was stored before a restore"
    late = await make_edge()
    assert not shown(late, first) and not shown(late, second)


async def test_a_late_publisher_brings_back_nothing_and_a_new_beginning_does(
    make_edge: MakeEdge, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    edge = await make_edge()
    test_id = await ended(streams, project="a")
    await until_shown(test_id, edge)
    await call(edge, "deleteTest", test_id)
    await publish(streams, test_id, "I am still here")
    await until(lambda: nothing_left(streams, test_id), within_s=30)
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


async def test_an_edges_login_suffices_and_no_agents_or_readers_does(tmp_path: Path) -> None:
    async with secure_broker(tmp_path) as broker:
        roles = {role: await broker.connect(role) for role in (Role.EDGE, Role.AGENT, Role.READER, Role.OPERATOR)}
        try:
            streams, log = Streams(roles[Role.OPERATOR]), JetStreamLog(roles[Role.EDGE])
            test_id = await ended(streams)
            await AccessStore(roles[Role.EDGE]).put(f"share.{test_id}.one", b"{}", 60)
            await streams.store(subjects.job(test_id), b"{}")
            for role in (Role.AGENT, Role.READER):
                other = JetStreamLog(roles[role])
                for work in (Deletion(other).delete(test_id), pinning.pin(other, test_id, "x")):
                    with pytest.raises((BrokerRefused, BrokerUnavailable)):
                        await work
            assert await pinning.pin(log, test_id, "ann") is None
            with pytest.raises(Pinned):
                await Deletion(log).delete(test_id)
            await pinning.unpin(log, test_id)
            await Deletion(log).delete(test_id)
            assert await left(streams, test_id) == []
            assert not roles[Role.EDGE].denials.kinds
        finally:
            for each in roles.values():
                await each.close()
