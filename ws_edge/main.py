"""Runs an edge: uvicorn with the edge's own protocol for connections, and the drain on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import uvicorn

from broker import config as broker_config
from broker import log_setup, tracing
from broker.contract.errors import TestcastError
from broker.local.exposure import is_exposed, refuse_exposed
from broker.local.listening import host_port
from broker.local.signals import not_ignored
from ws_edge import config as edge_config
from ws_edge.api.app import make_app
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.transport.accept import AcceptProtocol
from ws_edge.transport.listener import BACKLOG, accept_sockets, listen
from ws_edge.transport.websocket import ViewerSocket

_GC_THRESHOLDS: Final = 20_000, 10, 50
"""With Python's own (700, 10, 10) the collector walks through every viewer again and again and finds nothing: what an
edge allocates is freed by its reference counts. The first 500 handshakes of an edge cost a quarter less with these."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_HTTP_SHUTDOWN_S: Final = 2
"""How long uvicorn waits for open HTTP requests after the drain."""
_log = logging.getLogger("testcast.edge")


class _Server(uvicorn.Server):
    """uvicorn's server, which installs handlers only for signals that were not ignored at the start."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        handled = not_ignored(_SIGNALS)
        with super().capture_signals():
            for number in set(_SIGNALS) - set(handled):
                signal.signal(number, signal.SIG_IGN)
            yield


class EdgeServer:
    """One edge process: the HTTP server, and what SIGTERM and SIGINT do. The first drains, the second ends at once."""

    def __init__(
        self, nats_url: str, replicas: int, config: EdgeConfig, metrics: socket.socket | Path | None = None
    ) -> None:
        self._drain: asyncio.Task[None] | None = None
        self._signals = not_ignored(_SIGNALS)
        self._server = _Server(
            uvicorn.Config(
                make_app(nats_url, replicas, config, self._on_ready, metrics),
                loop="uvloop",
                http=AcceptProtocol,
                ws=ViewerSocket,
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # the edge reads them itself, of its own trusted proxies only
                timeout_graceful_shutdown=_HTTP_SHUTDOWN_S,
                backlog=BACKLOG,
            )
        )

    def __repr__(self) -> str:
        return f"<EdgeServer {'running' if self._drain is None else 'draining'}>"

    def run(self, listening: socket.socket) -> bool:
        """Serves until a signal. Returns whether it could start."""
        self._server.run(accept_sockets(listening))
        return self._server.started

    def _on_ready(self, node: Node) -> None:
        """Installs the signal handlers: uvicorn has installed its own by now, and those close every socket at once."""
        gc.collect()
        gc.freeze()  # modules and classes stay for good: the collector need not look at them again
        gc.set_threshold(*_GC_THRESHOLDS)
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._on_signal, node)

    def _on_signal(self, node: Node) -> None:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_and_exit(node), name="drain")
        else:
            self._server.should_exit = self._server.force_exit = True

    async def _drain_and_exit(self, node: Node) -> None:
        try:
            await node.drain()
        finally:
            self._server.should_exit = True


def serve(
    nats_url: str,
    replicas: int,
    config: EdgeConfig,
    listening: socket.socket | None = None,
    metrics: socket.socket | Path | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        listening: the socket that the supervisor listens on; None to open one.
        metrics: where the metrics of this process are served; None: nowhere.

    Raises:
        InvalidSetting: the address cannot be listened on, or other machines reach it and authentication is off.
        SystemExit: the server could not start; its log says why.
    """
    if listening is None:
        [listening] = listen(config.host, config.port)
    refuse_exposure(config, str(listening.getsockname()[0]))
    tracing.start("edge")
    has_run = EdgeServer(nats_url, replicas, config, metrics).run(listening)
    tracing.stop()
    if not has_run:
        sys.exit(1)


def refuse_exposure(config: EdgeConfig, host: str) -> None:
    """Refuses to listen where other machines reach an edge that lets everyone do everything.

    Raises:
        InvalidSetting: it would. The message says how to set authentication up.
    """
    if not config.access.enabled and not config.insecure:
        state_dir = broker_config.load().state_dir
        files = Path() if state_dir is None else state_dir / "access"
        given = {"TESTCAST_ACCESS_KEYS": "keys.json", "TESTCAST_ACCESS_SESSION_KEY_FILE": "session.key"}
        settings = " ".join(f"{name}={shlex.quote(str(files / file))}" for name, file in given.items())
        refuse_exposed(host, f"{settings} testcast edge --host {config.host}")


def _openness(config: EdgeConfig) -> list[str]:
    """A sentence where a proxy lets others reach an edge that lets everyone do everything."""
    if config.public_url is None or config.access.enabled or config.insecure:
        return []
    return [
        f"TESTCAST_EDGE_PUBLIC_URL: whoever reaches {config.public_url.origin} may see and do everything, "
        "since authentication is off: `testcast token init` makes what TESTCAST_ACCESS_KEYS needs"
    ]


class Arguments(NamedTuple):
    """What a parent process tells this one."""

    fd: int | None
    """The listening socket of the supervisor, whose worker this is; None: this process listens by itself."""
    metrics_socket: Path | None
    """Where the parent reads the metrics; None: they are served where the settings say."""


def arguments_of(given: list[str]) -> Arguments:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m ws_edge", add_help=False)
    parser.add_argument("--fd", type=int)
    parser.add_argument("--metrics-socket", type=Path)
    return Arguments(**vars(parser.parse_args(given)))


def metrics_of(arguments: Arguments) -> socket.socket | Path | None:
    """Where the metrics of this process are served; None: nowhere.

    Raises:
        InvalidSetting: the address cannot be listened on; the message names the variable.
    """
    if arguments.metrics_socket is not None or arguments.fd is not None:
        return arguments.metrics_socket
    settings = broker_config.metrics()
    if not settings.port:
        return None
    from broker.metrics.endpoint import listening_socket  # its libraries take 0.1 s to import

    listening = listening_socket(settings.host, settings.port)
    _log.info("metrics at http://%s/metrics", host_port(settings.host, settings.port))
    if is_exposed(settings.host):
        _log.warning("TESTCAST_METRICS_HOST: whoever reaches %s may read the metrics", settings.host)
    return listening


def main() -> None:
    """`python -m ws_edge`. All settings come from the environment; the arguments are for parents of testcast's own."""
    arguments = arguments_of(sys.argv[1:])
    try:
        log_setup.configure("edge")
        broker = broker_config.load()
        config = edge_config.load()
        for each in [] if arguments.fd is not None else broker_config.unknown():
            _log.warning("%s", each)
        if arguments.fd is not None:
            listening = socket.socket(fileno=arguments.fd)
            serve(broker.nats_url, broker.replicas, config, listening, arguments.metrics_socket)
            return
        for each in [*edge_config.access_warnings(), *_openness(config)]:
            _log.warning("%s", each)
        refuse_exposure(config, config.host)
        metrics = metrics_of(arguments)
        if config.workers > 1:
            from ws_edge.supervisor import supervise  # so do its

            log_setup.configure("supervisor")
            sys.exit(asyncio.run(supervise(config.host, config.port, config.workers, metrics)))
        else:
            serve(broker.nats_url, broker.replicas, config, metrics=metrics)
    except TestcastError as error:
        log_setup.fatal("testcast edge", error)
        sys.exit(1)
