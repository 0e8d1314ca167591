"""Reading and writing for many runs at once, on a real broker: alone, and as the projector does it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from broker import identity
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.contract.ports import StoredEvent
from broker.jetstream import kv, runs
from broker.jetstream.api import EXPECTED_LAST_HEADER, Streams
from broker.jetstream.bulk import BulkWriter, Write, consecutive
from broker.local.embedded_server import EmbeddedServer
from tests.harness import STALL_S, answers, event_bytes, event_log, publish, until
from tests.integration.nodes import MakeNode, nodes
from ws_edge.node import Node
from ws_edge.views import batch_folder, projector

RUNS = 150


def a_write(revision: int, key: str | None = None) -> Write:
    return Write(kv.subject(subjects.RUNS, key or identity.new_test_id()), b"{}", revision, b"Testcast-Folded: 1\r\n")


async def test_each_write_is_answered_by_itself(streams: Streams) -> None:
    writer = BulkWriter(streams.nats)
    first = [a_write(0) for _ in range(50)]
    stored = await writer.store(first)
    assert all(stored) and len(set(stored)) == 50
    again = [write._replace(expected_last=seq or 0) for write, seq in zip(first, stored, strict=True)]
    again[7] = again[7]._replace(expected_last=1_000)
    renewed = await writer.store(again)
    assert [index for index, seq in enumerate(renewed) if seq is None] == [7]
    entry = await streams.last(kv.stream(subjects.RUNS), first[8].subject)
    assert entry is not None and entry.seq == renewed[8] and entry.header("Testcast-Folded") == "1"


async def test_writes_at_the_same_time_share_one_subscription(streams: Streams) -> None:
    writer, before = BulkWriter(streams.nats), streams.nats.statistics()
    found = await asyncio.gather(*(writer.store([a_write(0) for _ in range(10)]) for _ in range(5)))
    assert all(all(each) for each in found)
    assert streams.nats.statistics().subscriptions == before.subscriptions + 1


async def test_a_lost_connection_is_told(nats_server: EmbeddedServer, streams: Streams) -> None:
    writer = BulkWriter(streams.nats)
    assert all(await writer.store([a_write(0)]))
    await nats_server.stop()
    with pytest.raises(BrokerUnavailable):
        await writer.store([a_write(0)])


async def test_events_of_all_runs_are_read_from_a_sequence_on(streams: Streams) -> None:
    ids = [identity.new_test_id() for _ in range(7)]
    for test_id in ids:
        await publish(streams, test_id, "x" * 100)

    async def read(first: int, limit: int, max_bytes: int = 1 << 20) -> Sequence[StoredEvent]:
        return await consecutive(streams.nats, first, limit, max_bytes)

    assert [(each.test_id, each.seq) for each in await read(3, 3)] == [(ids[2], 3), (ids[3], 4), (ids[4], 5)]
    assert 1 <= len(await read(1, 7, 300)) < 7
    await streams.delete(subjects.EVENTS, 4)
    assert [each.seq for each in await read(3, 5)] == [3, 5, 6, 7]
    assert [each.seq for each in await read(4, 5)] in ([], [5, 6, 7]) and await read(8, 5) == []


async def test_what_a_publisher_names_is_believed_only_where_the_broker_has_checked_it(streams: Streams) -> None:
    one, another = identity.new_test_id(), identity.new_test_id()
    first = (await publish(streams, one, "x")).seq
    await event_log(streams).append(one, event_bytes("x"), expected_last=first)
    other = (await publish(streams, another, "x")).seq
    forged = {EXPECTED_LAST_HEADER: str(other), f"{EXPECTED_LAST_HEADER}-Subject": subjects.events(another)}
    await streams.store(subjects.events(one), event_bytes("x"), headers=forged, timeout_s=STALL_S)
    read = await consecutive(streams.nats, first, 10, 1 << 20)
    assert [each.expected_last for each in read] == [None, first, None, None]


@pytest.fixture
async def make_node(nats_server: EmbeddedServer) -> AsyncIterator[MakeNode]:
    async with nodes(nats_server.url) as make:
        yield make


async def _publish_to_all(streams: Streams, ids: Sequence[str], message: str, kind: str = "progress") -> None:
    await streams.nats.publish_many([(subjects.events(test_id), event_bytes(message, kind)) for test_id in ids])
    await streams.nats.flush()


async def _shown(nodes: Sequence[Node], ids: Sequence[str], message: str) -> None:
    def shown() -> bool:
        found = [node.catalogue.snapshot(test_id) for node in nodes for test_id in ids]
        return all(each is not None and each.message == message for each in found)

    await until(shown, within_s=60, what=f"the lists show {message!r}")


async def _lists_are_the_folds(streams: Streams, nodes: Sequence[Node], ids: Sequence[str]) -> None:
    """Each snapshot is what the run's events make, up to the newest of them."""
    for test_id in ids:
        found = await runs.read(event_log(streams), test_id)
        assert found.snapshot is not None and found.snapshot.seq == found.head
        for node in nodes:
            stored = node.catalogue.stored(test_id)
            assert stored is not None
            assert stored[0] == msgspec.structs.replace(found.snapshot, epoch=stored[0].epoch)


async def test_two_edges_fold_many_busy_runs_in_batches(
    streams: Streams, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (projector, batch_folder):
        monkeypatch.setattr(module, "FEW", 1)  # a busy machine may pull a few hints at a time
    monkeypatch.setattr(batch_folder, "_LOOK_S", STALL_S)
    monkeypatch.setattr(projector, "_MANY", 2)
    nodes = [await make_node(), await make_node()]
    ids = [identity.new_test_id() for _ in range(RUNS)]

    def together() -> int:
        return sum(node.projector.statistics().together for node in nodes)

    for number in range(24):
        if number >= 4 and together() > RUNS:
            break  # on a busy machine a round may be over before its events are read
        await _publish_to_all(streams, ids, f"round {number}")
        await _shown(nodes, ids, f"round {number}")
    await _publish_to_all(streams, ids[: RUNS // 2], "done", "complete")
    await _shown(nodes, ids[: RUNS // 2], "done")
    await _lists_are_the_folds(streams, nodes, ids[::10])
    assert together() > RUNS, [node.projector.statistics() for node in nodes]


async def test_a_broker_that_dies_under_many_busy_runs_costs_no_snapshot(
    nats_server: EmbeddedServer, streams: Streams, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "_MANY", 8)
    nodes = [await make_node(), await make_node()]
    ids = [identity.new_test_id() for _ in range(RUNS)]
    await _publish_to_all(streams, ids, "before")
    await _shown(nodes, ids, "before")

    def written() -> int:
        return sum(node.projector.statistics().written for node in nodes)

    for number in range(3):
        before = written()
        await _publish_to_all(streams, ids, f"while it dies, {number}")
        await until(lambda: written() > before)  # noqa: B023  # it is not called later
        os.kill(nats_server.child.pid, signal.SIGKILL)
        await nats_server.stop()
        await nats_server.start()
        await until(lambda: answers(streams.nats), within_s=30)
    await _publish_to_all(streams, ids, "after")
    await _shown(nodes, ids, "after")
    await _lists_are_the_folds(streams, nodes, ids[::5])
