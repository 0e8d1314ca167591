"""Nodes in the process of the test, where it has to look inside or to change something."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from broker.jetstream.connection import Connection
from tests.harness import until
from ws_edge.config import EdgeConfig
from ws_edge.node import Node

MakeNode = Callable[[], Awaitable[Node]]


class StoppableNode(Node):
    """A node that remembers that it was stopped."""

    stopped = False

    async def stop(self) -> None:
        self.stopped = True
        await super().stop()


@asynccontextmanager
async def nodes(nats_url: str) -> AsyncIterator[MakeNode]:
    """Starts nodes at this broker, and stops them at the end."""
    started: list[StoppableNode] = []

    async def make() -> Node:
        node = StoppableNode(await Connection.connect(nats_url, name="node"), EdgeConfig(canary_s=0), 1)
        started.append(node)
        await node.start()
        await until(lambda: node.ready, within_s=20)
        return node

    try:
        yield make
    finally:
        for node in started:
            if not node.stopped:  # by the test
                await node.stop()
