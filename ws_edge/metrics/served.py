"""The page of an edge process, served on a port or a Unix socket of its own while the node runs."""

from __future__ import annotations

import platform
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from broker.version import VERSION
from ws_edge.node import Node

if TYPE_CHECKING:
    from broker.metrics.endpoint import Render
    from broker.metrics.figures import Metric

_BUILD = {"part": "edge", "version": VERSION, "python": platform.python_version()}


def page_of_node(node: Node) -> Render:
    """The whole page of this process, made for each reader anew."""
    from broker.metrics.endpoint import page_of
    from ws_edge.metrics.families import families

    own = node.hub.figures

    def collect() -> Iterable[Metric]:
        return families(node.statistics(), own.pubsub_lag, own.publish_to_send, _BUILD)

    page = page_of(collect)

    async def render() -> bytes:
        await node.installation.refresh()
        return await page()

    return render


@asynccontextmanager
async def served(node: Node, where: socket.socket | Path | None) -> AsyncIterator[None]:
    """While the block runs the node's metrics are served there; None: nowhere."""
    if where is None:
        yield
        return
    from broker.metrics.endpoint import MetricsEndpoint  # its libraries take 0.1 s to import

    endpoint = MetricsEndpoint(
        page_of_node(node), {"/healthz": lambda: (), "/readyz": lambda: () if node.ready else node.why_not_ready}
    )
    await endpoint.start(where)
    try:
        yield
    finally:
        await endpoint.stop()
