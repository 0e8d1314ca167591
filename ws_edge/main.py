"""Runs an edge: uvicorn with our socket under it, and the drain on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from typing import Final

import uvicorn

from broker import config as broker_config
from broker.contract.errors import TestcastError
from ws_edge import config as edge_config
from ws_edge.api.app import make_app
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.supervisor import supervise
from ws_edge.transport.accept import AcceptProtocol
from ws_edge.transport.listener import BACKLOG, listen
from ws_edge.transport.websocket import ViewerSocket

_GC_THRESHOLDS: Final = 20_000, 10, 50
"""Python's own (700, 10, 10) has the collector walk through every viewer time and again while it finds nothing: what an
edge makes goes by its reference counts. Its first 500 handshakes cost a quarter less with these."""

_log = logging.getLogger("testcast.edge")


def serve(nats_url: str, replicas: int, config: EdgeConfig, listening: socket.socket | None = None) -> None:
    """Serves until SIGTERM or SIGINT; the first drains, the second ends at once.

    Args:
        listening: the supervisor's socket, None to listen on one's own.

    Raises:
        InvalidSetting: the address cannot be listened on.
    """
    if listening is None:
        [listening] = listen(config.host, config.port)

    def on_ready(node: Node) -> None:
        # Here and not before: by now uvicorn has installed its own handlers, which close every socket at once.
        gc.collect()
        gc.freeze()  # modules and classes stay: no need to look at them ever again
        gc.set_threshold(*_GC_THRESHOLDS)
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
        try:
            await node.drain()
        finally:
            server.should_exit = True

    server = uvicorn.Server(
        uvicorn.Config(
            make_app(nats_url, replicas, config, on_ready),
            loop="uvloop",
            http=AcceptProtocol,
            ws=ViewerSocket,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=2,
            backlog=BACKLOG,
        )
    )
    server.run([listening])
    if not server.started:
        sys.exit(1)


def main() -> None:
    """`python -m ws_edge`: everything from the environment; `--fd N` is how the supervisor hands on its socket."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        broker = broker_config.load()
        config = edge_config.load()
    except TestcastError as error:
        sys.exit(f"testcast edge: {error}")
    if sys.argv[1:2] == ["--fd"]:
        serve(broker.nats_url, broker.replicas, config, socket.socket(fileno=int(sys.argv[2])))
    elif config.workers > 1:
        sys.exit(asyncio.run(supervise(config.host, config.port, config.workers)))
    else:
        try:
            serve(broker.nats_url, broker.replicas, config)
        except TestcastError as error:
            sys.exit(f"testcast edge: {error}")
