"""Runs an edge: uvicorn with our socket under it, and the drain on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvicorn

from broker import config as broker_config
from broker.errors import TestcastError
from ws_edge import config as edge_config
from ws_edge.app import make_app
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.socket import ViewerSocket

_log = logging.getLogger("testcast.edge")


def serve(nats_url: str, replicas: int, config: EdgeConfig) -> None:
    """Serves until SIGTERM or SIGINT; the first drains, the second ends at once."""

    def on_ready(node: Node) -> None:
        # Here and not before: by now uvicorn has installed its own handlers, which close every socket at once.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, node)

    def on_signal(node: Node) -> None:
        if node.draining:
            server.should_exit = server.force_exit = True
            return
        node.draining = True
        node.hub.spawn(drain(node))

    async def drain(node: Node) -> None:
        await node.drain()
        server.should_exit = True

    server = uvicorn.Server(
        uvicorn.Config(
            make_app(nats_url, replicas, config, on_ready),
            host=config.host,
            port=config.port,
            loop="uvloop",
            http="httptools",
            ws=ViewerSocket,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=2,
            backlog=4096,
        )
    )
    server.run()
    if not server.started:
        sys.exit(1)


def main() -> None:
    """`python -m ws_edge`: everything from the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        broker = broker_config.load()
        config = edge_config.load()
    except TestcastError as error:
        sys.exit(f"testcast edge: {error}")
    serve(broker.nats_url, broker.replicas, config)
