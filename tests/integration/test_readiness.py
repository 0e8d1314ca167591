"""Whom a load balancer may send viewers to, and what an edge says that it cannot do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.contract import subjects
from broker.contract.errors import StorageFull
from broker.jetstream import topology, write_check
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.full_disk import CannotMount, Filler, SmallBroker, running, small_disk, write_until_refused
from tests.harness import NO_SUCH_TEST, EdgeProcess, answers, begin, event_bytes, free_port, publish, until
from ws_edge.config import EdgeConfig
from ws_edge.node import Node

VERSION = metadata.version("testcast")
WELL: dict[str, Any] = {
    "ready": True,
    "degraded": [],
    "failed": [],
    "broker": True,
    "catalogue": True,
    "draining": False,
    "version": VERSION,
}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
        yield client


async def ready(http: httpx.AsyncClient, edge: EdgeProcess) -> tuple[int, dict[str, Any]]:
    answer = await http.get(f"{edge.url}/readyz")
    return answer.status_code, answer.json()


async def degraded(http: httpx.AsyncClient, edge: EdgeProcess) -> list[str]:
    reasons: list[str] = (await ready(http, edge))[1]["degraded"]
    return reasons


async def says(http: httpx.AsyncClient, edge: EdgeProcess, words: str) -> bool:
    return any(words in reason for reason in await degraded(http, edge))


async def test_an_edge_stays_ready_while_the_broker_is_away(
    tmp_path: Path, nats_server: EmbeddedServer, nats_edge: EdgeProcess, streams: Streams, http: httpx.AsyncClient
) -> None:
    test_id = await begin(streams, "Still there")

    async def listed() -> bool:
        tests = (await http.get(f"{nats_edge.url}/rpc/listTests")).json()["tests"]
        return [each["testId"] for each in tests] == [test_id]

    await until(listed, within_s=20)
    assert await ready(http, nats_edge) == (200, WELL)
    assert "degraded" not in (await http.get(f"{nats_edge.url}/rpc/getConfig")).json()

    never_filled = EdgeProcess(nats_server.url, tmp_path)
    await nats_server.stop()
    never_filled.spawn()
    try:
        await until(partial(says, http, nats_edge, "the broker cannot be reached"), within_s=30)
        await until(partial(says, http, nats_edge, "it was last current at"), within_s=30)
        status, body = await ready(http, nats_edge)
        assert (status, body["ready"], body["broker"], body["failed"]) == (200, True, False, [])
        assert await listed(), "the page and polls are served from memory"
        for method in ("getConfig", "listTests"):
            answer = (await http.get(f"{nats_edge.url}/rpc/{method}")).json()
            assert any("cannot be reached" in each for each in answer["degraded"])

        async def answers() -> bool:
            try:
                return (await http.get(f"{never_filled.url}/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, within_s=20)
        status, body = await ready(http, never_filled)
        assert (status, body["ready"], body["catalogue"]) == (503, False, False), "it knows no list"
        assert any("cannot be reached" in each for each in body["degraded"])
    finally:
        await never_filled.stop()

    await nats_server.start()
    await until(lambda: _is_whole(http, nats_edge), within_s=30)
    assert "degraded" not in (await http.get(f"{nats_edge.url}/rpc/listTests")).json()


async def test_a_blip_of_the_broker_makes_no_edge_of_a_fleet_unready(nats_server: EmbeddedServer) -> None:
    fleet = [Node(await Connection.connect(nats_server.url, name="node"), EdgeConfig(), 1) for _ in range(3)]
    was_unready: list[list[str]] = []
    try:
        for node in fleet:
            await node.start()
        await until(lambda: all(node.ready for node in fleet), within_s=30)
        await nats_server.stop()
        await until(lambda: all(not node.nats.connected for node in fleet), within_s=30)

        def watched(condition: Callable[[], bool]) -> bool:
            was_unready.extend(node.why_not_ready for node in fleet if not node.ready)
            return condition()

        await until(lambda: watched(lambda: all(node.stale for node in fleet)), within_s=60, what="it is told")
        assert all(node.degraded for node in fleet)
        await nats_server.start()
        await until(lambda: watched(lambda: all(not node.degraded for node in fleet)), within_s=60)
        assert was_unready == [], "a load balancer would have had nowhere to send viewers"
    finally:
        for node in fleet:
            await node.stop()


async def _is_whole(http: httpx.AsyncClient, edge: EdgeProcess) -> bool:
    return await degraded(http, edge) == []


async def test_an_edge_that_cannot_check_a_token_is_not_ready(
    tmp_path: Path, nats_server: EmbeddedServer, http: httpx.AsyncClient
) -> None:
    """It answers: who has no token may still look at what is open to everyone."""
    nobody = f"https://127.0.0.1:{free_port()}/keys"
    edge = EdgeProcess(nats_server.url, tmp_path, TESTCAST_ACCESS_KEYS=nobody, TESTCAST_ACCESS_ANONYMOUS="default")
    edge.spawn()

    async def is_filled() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return bool((await ready(http, edge))[1]["catalogue"])
        return False

    try:
        await until(is_filled, within_s=60)
        assert await says(http, edge, "the keys of tokens have not been read yet")
        assert (await ready(http, edge))[0] == 503
        assert (await http.get(f"{edge.url}/healthz")).status_code == 200
        assert (await http.get(f"{edge.url}/rpc/listTests")).status_code == 200
    finally:
        await edge.stop()


async def test_the_version_is_told(nats_edge: EdgeProcess, http: httpx.AsyncClient) -> None:
    health = (await http.get(f"{nats_edge.url}/healthz")).json()
    assert health == {"ok": True, "version": VERSION}
    assert (await http.get(f"{nats_edge.url}/rpc/getConfig")).json()["version"] == VERSION
    assert f"testcast {VERSION}: edge on 127.0.0.1 port {nats_edge.port}" in nats_edge.log.read_text()


Trouble = Callable[[], None]


async def _an_edge_says_that_nothing_is_stored(
    tmp_path: Path, broker: SmallBroker, streams: Streams, http: httpx.AsyncClient, fill: Trouble
) -> tuple[EdgeProcess, str]:
    edge = await EdgeProcess(broker.url, tmp_path).start()
    test_id = await begin(streams)
    fill()
    error, _ = await write_until_refused(streams)
    assert isinstance(error, StorageFull)
    # Whatever this edge writes next shows it. With nothing to write, its own check does.
    cancelled = await http.post(f"{edge.url}/rpc/cancelTest", json={"testId": test_id})
    assert (cancelled.status_code, cancelled.json()["error"]["code"]) == (503, "storage_full")
    assert "its disk is full" in cancelled.json()["error"]["message"]
    await until(partial(says, http, edge, "the broker stores nothing new"), within_s=60)
    status, body = await ready(http, edge)
    assert (status, body["ready"]) == (200, True), "every other edge is in the same state"
    for method in ("getConfig", "listTests"):
        answer = (await http.get(f"{edge.url}/rpc/{method}")).json()
        assert any("stores nothing new" in each for each in answer["degraded"])
    return edge, test_id


@pytest.mark.timeout(180)
async def test_a_broker_at_its_storage_limit_is_told_and_goes_on_with_room(
    tmp_path: Path, http: httpx.AsyncClient
) -> None:
    broker = SmallBroker(tmp_path, tmp_path / "store", "8M")
    async with running(broker) as nats:
        await topology.apply(nats)
        streams = Streams(nats)
        edge, test_id = await _an_edge_says_that_nothing_is_stored(tmp_path, broker, streams, http, lambda: None)
        try:
            await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"keep": 10})
            await until(lambda: _is_whole(http, edge), within_s=60, what="the edge has seen that there is room")
            assert (await publish(streams, test_id, "on we go")).seq
            log = edge.log.read_text()
            assert "testcast.storage: the broker stores nothing new" in log and "the broker stores again" in log
        finally:
            await edge.stop()


@pytest.mark.timeout(180)
async def test_a_full_disk_is_told_and_all_goes_on_after_a_restart(tmp_path: Path, http: httpx.AsyncClient) -> None:
    """A nats-server that has met a full disk answers no write until it is restarted, with or without space."""
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk"))
        except CannotMount as error:
            pytest.skip(f"no small disk can be made here: {error}")
        broker, filler = SmallBroker(tmp_path, disk / "store"), Filler(disk)
        async with running(broker) as nats:
            await topology.apply(nats)
            streams = Streams(nats)
            edge, test_id = await _an_edge_says_that_nothing_is_stored(tmp_path, broker, streams, http, filler.fill)
            try:
                filler.clear()
                await broker.stop()
                broker.start()
                await until(lambda: answers(nats), within_s=30)
                await until(lambda: _is_whole(http, edge), within_s=60, what="the edge has seen that there is room")
                assert (await publish(streams, test_id, "on we go")).seq
            finally:
                await edge.stop()


@pytest.mark.timeout(120)
async def test_the_embedded_broker_is_restarted_once_its_disk_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", 48))
        except CannotMount as error:
            pytest.skip(f"no small disk can be made here: {error}")
        async with EmbeddedServer(disk / "data") as server:
            nats = await Connection.connect(server.url, name="test", timeout_s=20)
            await topology.apply(nats)
            streams, filler = Streams(nats), Filler(disk)
            test_id = await begin(streams)
            filler.fill()
            await write_until_refused(streams)
            await until(lambda: "the broker's disk is full" in caplog.text, within_s=20)
            filler.clear()
            await until(lambda: server.statistics().starts == 2, within_s=40, what="it was restarted")
            await until(lambda: answers(nats), within_s=30)
            assert (await publish(streams, test_id, "on we go")).seq
            await nats.close()
    assert f"testcast {VERSION}: nats-server at {server.url}" in caplog.text


async def test_a_stream_that_is_silent_is_suspected_until_it_stores_again(nats: Connection) -> None:
    check, storage = write_check.WriteCheck(nats), nats.storage
    storage.refused(subjects.JOBS, "insufficient resources")
    storage.refused(subjects.EVENTS, "no answer", silent=True)
    await check.check()
    assert set(storage.refusing) == {subjects.EVENTS}, "where there is room, only silence stands"
    await check.check()
    assert set(storage.refusing) == {subjects.EVENTS}
    other = Streams(nats)
    payload = event_bytes("stored for somebody else")
    await nats.request(subjects.events(NO_SUCH_TEST), payload)
    await check.check()
    assert storage.refusing == {} and storage.silent == set()
    assert (await other.state(subjects.EVENTS)).last_seq == 1


async def test_a_check_is_no_run(nats: Connection, nats_edge: EdgeProcess, http: httpx.AsyncClient) -> None:
    await write_check.WriteCheck(nats).check()
    test_id = await begin(Streams(nats))

    async def listed() -> list[str]:
        tests = (await http.get(f"{nats_edge.url}/rpc/listTests")).json()["tests"]
        return [each["testId"] for each in tests]

    assert await until(listed, within_s=20) == [test_id]
