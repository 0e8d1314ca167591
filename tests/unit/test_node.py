"""A node supervises its parts: one that fails is started again, and the node is not ready meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from broker.jetstream.connection import Connection
from tests.harness import free_port
from ws_edge import node as nodes
from ws_edge.config import EdgeConfig
from ws_edge.node import Node


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    """Never started; its broker is away."""
    monkeypatch.setattr(nodes, "_RESTART_S", 0.01)
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    made = Node(nats, EdgeConfig(), 1)
    yield made
    await made.stop()


async def test_a_part_that_fails_is_started_again(
    node: Node, eventually: Callable[..., Awaitable[object]], caplog: pytest.LogCaptureFixture
) -> None:
    starts = 0
    go_on = asyncio.Event()
    failing = asyncio.Event()

    async def part() -> None:
        nonlocal starts
        starts += 1
        if starts <= 2:
            raise RuntimeError("broken")
        await go_on.wait()

    async def watch() -> None:
        while not node.failed:
            await asyncio.sleep(0)
        failing.set()

    watching = asyncio.create_task(watch())
    node._run("part", part)
    await asyncio.wait_for(failing.wait(), 10)
    await eventually(lambda: starts == 3 and not node.failed)
    assert [record.message.split(";")[0] for record in caplog.records if "part" in record.message] == [
        "part has failed",
        "part has failed",
    ]
    await watching
    go_on.set()


async def test_a_node_with_a_failed_part_is_not_ready(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "connected", property(lambda _self: True))
    node.catalogue.filled.set()
    assert node.ready
    node.failed.add("catalogue")
    assert not node.ready and node.statistics().failed == 1
