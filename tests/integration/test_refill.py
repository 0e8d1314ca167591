"""The bucket of snapshots is a view: deleted, emptied or forged, it is filled again from the events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
import pytest

from broker import identity
from broker.contract import subjects
from broker.contract.errors import WrongLastSequence
from broker.jetstream import kv, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.snapshot_store import SnapshotStore
from broker.local.embedded_server import EmbeddedServer
from tests.harness import begin, publish, until
from tests.integration.nodes import MakeNode, nodes
from ws_edge.node import Node
from ws_edge.views import refill

BUCKET = kv.stream(subjects.RUNS)


@pytest.fixture
async def make_node(nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeNode]:
    """Starts nodes in this process that compare often, and stops them after the test."""
    for name, seconds in (("_LOOK_S", 0.3), ("_SURVEY_S", 1.0), ("_SETTLE_S", 0.2), ("_RETRY_S", 0.3)):
        monkeypatch.setattr(refill, name, seconds)
    async with nodes(nats_server.url) as make:
        yield make


async def listing(node: Node) -> dict[str, Any]:
    found = node.catalogue.listing(200, None, None)
    tests = [msgspec.to_builtins(run) for run in found.tests]
    return {"tests": tests, "counts": found.counts} | ({"stale": True} if node.stale else {})


async def lists(node: Node, ids: list[str]) -> bool:
    """The node lists exactly these runs, the newest first, as current."""
    found = await listing(node)
    return "stale" not in found and [run["testId"] for run in found["tests"]] == ids[::-1]


async def stored(streams: Streams) -> int:
    return (await streams.state(BUCKET)).messages


async def play(streams: Streams, count: int) -> list[str]:
    ids = [await begin(streams, f"run {number}") for number in range(count)]
    for test_id in ids[::2]:
        await publish(streams, test_id, "Done", "complete", data={"score": 50})
    await publish(streams, ids[1], "Cancelled", "error", status="failed", data={"code": "cancelled"})
    return ids


async def test_a_bucket_that_is_deleted_is_filled_again_and_the_list_is_stale_meanwhile(
    nats: Connection, streams: Streams, make_node: MakeNode
) -> None:
    edge, other = await make_node(), await make_node()
    ids = await play(streams, 6)
    for each in (edge, other):
        await until(lambda each=each: lists(each, ids))  # type: ignore[misc]
    counts = {"queued": 0, "running": 2, "completed": 3, "failed": 0, "cancelled": 1}
    await until(lambda: _counts(edge, counts))
    await streams.api(f"STREAM.DELETE.{BUCKET}")
    await until(lambda: is_stale(edge), what="the list is stale", within_s=20)
    assert [run["testId"] for run in (await listing(edge))["tests"]] == ids[::-1], "what is known is served"
    await topology.apply(nats)
    for each in (edge, other):
        await until(lambda each=each: lists(each, ids), within_s=30)  # type: ignore[misc]
    assert await stored(streams) == 6
    third = await make_node()
    await until(lambda: lists(third, ids))
    assert (await listing(third))["counts"] == counts


async def _counts(edge: Node, expected: dict[str, int]) -> bool:
    return bool((await listing(edge)).get("counts") == expected)


async def is_stale(edge: Node) -> bool:
    return bool((await listing(edge)).get("stale"))


async def test_keys_that_are_lost_come_back(streams: Streams, make_node: MakeNode) -> None:
    """One key, or all of them; under a running node, or while none is running."""
    edge = await make_node()
    ids = await play(streams, 4)
    await until(lambda: lists(edge, ids))
    for lost in ({"filter": kv.subject(subjects.RUNS, ids[1])}, {}):
        await streams.api(f"STREAM.PURGE.{BUCKET}", lost)
        await until(lambda: _count(streams, 4), within_s=20, what="filled again under the running node")
    await edge.stop()
    await streams.api(f"STREAM.PURGE.{BUCKET}")
    again = await make_node()
    await until(lambda: lists(again, ids), within_s=20)
    assert await _count(streams, 4)


async def _count(streams: Streams, count: int) -> bool:
    return await stored(streams) == count


async def test_what_is_forged_is_judged_alone_and_replaced(streams: Streams, make_node: MakeNode) -> None:
    """Every value that any client may have written, each in the key of another run."""
    edge = await make_node()
    honest = await begin(streams, "honest")
    await until(lambda: lists(edge, [honest]))
    entry = await streams.kv_get(subjects.RUNS, honest)
    assert entry is not None
    good = orjson.loads(entry.data)
    forged: list[dict[str, Any] | bytes] = [
        entry.data,  # of another run
        b"no snapshot",
        b"\xff",
        b"[]",
        b'{"a":' * 500 + b"1" + b"}" * 500,
        good | {"seq": 2**62},
        good | {"seq": 2**53 - 1, "title": "ahead of the stream"},
        good | {"epoch": "1", "title": "of another life"},
        {name: value for name, value in good.items() if name != "epoch"} | {"createdAt": 2**53 - 1, "title": "old"},
        good | {"title": ["wrong type"]},
        good | {"title": "huge" * 50_000, "seq": 2**50},
        good | {"title": "believable", "status": "completed", "score": 99, "finishedAt": 1},
        good | {"title": "past its own events", "seq": good["seq"] + 1},
        good | {"title": "behind them", "seq": 0, "createdAt": 0, "updatedAt": 0},
    ]
    ids = [await begin(streams, f"run {number}") for number in range(len(forged))]
    for test_id in ids[::2]:
        await publish(streams, test_id, "Done", "complete", data={"score": 50})
    await until(lambda: lists(edge, [honest, *ids]))
    for test_id, value in zip(ids, forged, strict=True):
        data = value if isinstance(value, bytes) else orjson.dumps(value | {"testId": test_id})
        await streams.kv_put(subjects.RUNS, test_id, data)
    await streams.kv_put(subjects.RUNS, "no-uuid", entry.data)
    await streams.kv_put(subjects.RUNS, identity.new_test_id(), b"of no run")
    deleted = await begin(streams, "its key is deleted")
    await until(lambda: _is_listed(edge, deleted))
    await streams.store(kv.subject(subjects.RUNS, deleted), b"", headers={kv.OPERATION_HEADER: "DEL"})

    async def right() -> bool:
        found = await listing(edge)
        titles = [run["title"] for run in found["tests"]]
        wanted = ["honest", *(f"run {number}" for number in range(len(forged))), "its key is deleted"]
        ended = {run["testId"] for run in found["tests"] if run["status"] == "completed"}
        return "stale" not in found and titles == wanted[::-1] and ended == set(ids[::2])

    await until(right, within_s=20)
    of_no_run = identity.new_test_id()
    await streams.kv_put(subjects.RUNS, of_no_run, orjson.dumps(good | {"testId": of_no_run}))
    restarted = await make_node()
    for each in (edge, restarted):
        await until(lambda each=each: lists(each, [honest, *ids, deleted]), within_s=20)  # type: ignore[misc]


async def _is_listed(edge: Node, test_id: str) -> bool:
    return any(run["testId"] == test_id for run in (await listing(edge))["tests"])


async def test_a_run_whose_events_are_gone_is_listed_no_more(streams: Streams, make_node: MakeNode) -> None:
    edge = await make_node()
    gone, stays = await begin(streams, "gone"), await begin(streams, "stays")
    await until(lambda: lists(edge, [gone, stays]))
    await edge.stop()
    await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"filter": subjects.events(gone)})
    restarted = await make_node()
    await until(lambda: lists(restarted, [stays]), within_s=20)


async def test_publishers_clocks_decide_nothing(streams: Streams, make_node: MakeNode) -> None:
    """Neither the order of the list nor what it holds: timestamps of 0, of seconds, and of a far day."""
    edge = await make_node()
    ids = []
    for timestamp in (2**53 - 1, 0, 1_700_000_000, 1):
        ids.append(test_id := await begin(streams, f"at {timestamp}"))
        await publish(streams, test_id, "Done", "complete", data={"score": 1}, timestamp=timestamp)
        early = identity.new_test_id()
        await until(lambda: _is_listed(edge, ids[-1]))
        await publish(streams, early, "First", "status", status="queued", timestamp=timestamp)
        await until(lambda early=early: _is_listed(edge, early))  # type: ignore[misc]
        ids.append(early)
    await until(lambda: lists(edge, ids))
    found = await listing(edge)
    assert (found["counts"]["completed"], found["counts"]["queued"]) == (4, 4)
    first = (await streams.read(subjects.EVENTS, subjects.ALL_EVENTS, 0, 1)).messages[0]
    assert found["tests"][-1]["createdAt"] == first.stored_ms


async def test_a_publisher_with_huge_fields_is_folded(streams: Streams, make_node: MakeNode) -> None:
    edge = await make_node()
    test_id, huge = identity.new_test_id(), "é" * 28_000
    await publish(streams, test_id, "m", "status", status="queued", data={"title": huge})
    await publish(streams, test_id, "m", "status", status="running", data={"worker": huge})
    await publish(streams, test_id, "m", "status", status="running", data={"gameUrl": huge})
    await publish(streams, test_id, huge, "error")
    await publish(streams, test_id, huge, "complete", data={"score": 3})

    async def ended() -> bool:
        return any(run["status"] == "completed" and run["score"] == 3 for run in (await listing(edge))["tests"])

    await until(ended)


async def test_a_run_that_goes_on_while_its_snapshot_is_removed_stays_listed(
    streams: Streams, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill, "_SURVEY_S", 600.0)
    edge = await make_node()
    test_id = await begin(streams, "goes on")
    await until(lambda: lists(edge, [test_id]))
    remove = SnapshotStore.remove
    refused: list[str] = []

    def is_folded(revision: int) -> bool:
        known = edge.catalogue.stored(test_id)
        return known is not None and known[1] > revision

    async def publish_and_remove(store: SnapshotStore, test_id: str, revision: int) -> None:
        await publish(streams, test_id, "next", status="running")
        await until(lambda: is_folded(revision), within_s=20)
        try:
            await remove(store, test_id, revision)
        except WrongLastSequence:
            refused.append(test_id)
            raise

    monkeypatch.setattr(SnapshotStore, "remove", publish_and_remove)
    await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"filter": subjects.events(test_id)})
    edge.catalogue.doubted.add(test_id)
    edge.catalogue.changed.set()
    await until(lambda: refused, within_s=20)
    looks = edge.refill.statistics().looks
    await until(lambda: edge.refill.statistics().looks > looks)
    assert await _is_listed(edge, test_id)
