"""The metrics of a stack: one page of all its processes, and what the process that started them knows."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from broker.contract.errors import InvalidSetting
from broker.local.embedded_server import EmbeddedServer
from broker.local.listening import host_port, reachable
from broker.metrics.children import Children, private_directory
from broker.metrics.endpoint import MetricsEndpoint, listening_socket, page_of
from broker.metrics.figures import Metric, counter, gauge, gauges, info
from broker.version import VERSION
from testcast import config
from testcast.local.stack import Stack


@asynccontextmanager
async def serving(stack: Stack, part: str) -> AsyncIterator[str]:
    """Serves the page of a stack whose processes are started inside the block.

    Args:
        part: the command that runs the stack.

    Yields:
        The page's address; else, where nothing is to be served, or no setting names a port and the usual one is taken,
        why there is none, as part of a sentence.

    Raises:
        InvalidSetting: the host or the port that the settings name cannot be listened on.
    """
    settings, named = config.stack_metrics()
    if not settings.port:
        yield "none (TESTCAST_METRICS_PORT)"
        return
    try:
        listening = listening_socket(settings.host, settings.port)
    except InvalidSetting as error:
        if named or not error.message.startswith("TESTCAST_METRICS_PORT"):
            raise
        yield f"none: {error.message.partition(': ')[2]}; TESTCAST_METRICS_PORT names another"
        return
    with private_directory() as directory:
        stack.children = Children(directory)

        def collect() -> Iterable[Metric]:
            return figures(stack, part)

        endpoint = MetricsEndpoint(stack.children.page_with(page_of(collect), part))
        await endpoint.start(listening)
        try:
            yield f"http://{host_port(reachable(settings.host), settings.port)}/metrics"
        finally:
            await endpoint.stop()


def figures(stack: Stack, part: str) -> Iterable[Metric]:
    """What the process that started the stack knows: its children, and its broker."""
    build = {"part": part, "version": VERSION, "python": platform.python_version()}
    yield info("testcast_build_info", "What is running; always 1.", build)
    running = stack.statistics()
    kinds = {"broker": running.brokers, "edge": running.edges, "agent": running.agents, "game": running.games}
    yield gauges("testcast_processes", "Processes that run.", "kind", kinds)
    lost = {kind: stack.lost[kind] for kind in kinds if kind != "broker"}
    yield gauges("testcast_processes_lost", "Processes that ended and are not started again.", "kind", lost)
    restarts = max(0, stack.server.statistics().starts - 1) if stack.server is not None else 0
    yield counter("testcast_process_restarts_total", "Processes that were started again.", restarts)
    if stack.server is not None:
        yield from _of_broker(stack.server)


def _of_broker(server: EmbeddedServer) -> Iterable[Metric]:
    now = server.statistics()
    yield gauge("testcast_broker_running", "1 while the broker that was started here runs.", now.running)
    yield counter("testcast_broker_restarts_total", "Times the broker was started again.", max(0, now.starts - 1))
    if server.disk is not None:
        yield gauge("testcast_broker_disk_full", "1 while nothing can be stored.", server.disk.statistics().full)
        if (free := server.disk.last_free_bytes) is not None:
            yield gauge("testcast_broker_disk_free_bytes", "Free space where the broker stores.", free)
