"""Several edge processes behind one port: `testcast edge --workers N`.

uvicorn's own multi-process parent does not pass on a second SIGTERM, and does not wait for a drain. This one opens one
listening socket per process, passes every signal on, and replaces a process that has ended by itself. Connections that
arrive meanwhile wait in the socket's queue for the new process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from broker.contract.errors import InvalidSetting
from broker.local.child_process import Child, python_module
from broker.local.signals import not_ignored
from broker.metrics.children import Children, private_directory
from broker.metrics.endpoint import MetricsEndpoint, Render, page_of
from broker.metrics.figures import Metric, counter, gauges
from ws_edge.transport.listener import listen

_LOOK_S: Final = 0.1
"""Between two looks at the processes."""
_RESTART_S: Final = 1.0
"""Before a process is replaced: one that cannot start must not be started in a tight loop."""
_log = logging.getLogger("testcast.supervisor")


async def supervise(host: str, port: int, workers: int, metrics: socket.socket | Path | None = None) -> int:
    """Keeps `workers` edges running until a signal. Returns the exit status: 0 when all of them ended well.

    Args:
        metrics: where the metrics of all of them are served as one page; None: nowhere.
    """
    try:
        listening = listen(host, port, workers)
    except InvalidSetting as error:
        _log.error("%s", error)
        return 1
    with contextlib.ExitStack() as stack:
        children = None if metrics is None else Children(stack.enter_context(private_directory()))
        pool = WorkerPool([listening[index % len(listening)] for index in range(workers)], children)
        loop = asyncio.get_running_loop()
        for number in not_ignored((signal.SIGTERM, signal.SIGINT)):
            loop.add_signal_handler(number, pool.signal, number)
        if children is None or metrics is None:
            return await pool.run()
        logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each process and reading
        endpoint = MetricsEndpoint(page_of_pool(pool, children))
        await endpoint.start(metrics)
        try:
            return await pool.run()
        finally:
            await endpoint.stop()


def page_of_pool(pool: WorkerPool, children: Children) -> Render:
    """One page of the supervisor and of those of its processes that answer in time."""

    def collect() -> Iterable[Metric]:
        figures = pool.statistics()
        yield gauges("testcast_processes", "Processes that are kept running.", "kind", {"edge": figures.processes})
        yield gauges(
            "testcast_processes_silent",
            "Processes whose figures are missing here, since they did not answer in time.",
            "kind",
            {"edge": max(0, figures.processes - children.answered)},
        )
        yield counter(
            "testcast_process_restarts_total",
            "Processes that ended by themselves and were replaced.",
            figures.restarts,
        )

    return children.page_with(page_of(collect), "supervisor")


class WorkerPoolStatistics(NamedTuple):
    """The processes of one supervisor."""

    processes: int
    restarts: int
    """Processes that ended by themselves and were replaced."""


class WorkerPool:
    """The processes, one for each listening socket.

    Args:
        children: where they serve their metrics; None: nowhere.
    """

    def __init__(self, listening: Sequence[socket.socket], children: Children | None = None) -> None:
        self._listening = listening
        self._metrics = children
        self._stopping = False
        self._restarts = 0
        self._children = [self._start(index) for index in range(len(listening))]
        _log.info("%d edges on port %d", len(listening), listening[0].getsockname()[1])

    def __repr__(self) -> str:
        return f"<WorkerPool {self._children} restarts={self._restarts}>"

    def statistics(self) -> WorkerPoolStatistics:
        """The figures of this moment."""
        return WorkerPoolStatistics(len(self._children), self._restarts)

    def signal(self, number: int) -> None:
        """Passes a signal on to every process. The first one drains them, a second one ends them at once."""
        self._stopping = True
        for each in self._listening:
            each.close()  # or connections would wait in the queue of a socket that no process accepts from
        for child in self._children:
            child.signal(number)

    async def run(self) -> int:
        """Watches the processes until a signal, then waits for them. Returns 0 when all of them ended well, else 1."""
        while not self._stopping:
            for index, child in enumerate(self._children):
                if child.exit_code is not None:
                    await self._replace(index, child)
            await asyncio.sleep(_LOOK_S)
        codes = [await child.wait() for child in self._children]
        # A process that gets the signal before it has installed its handlers dies of it, and has no viewers yet.
        return 0 if all(code in (0, -signal.SIGTERM, -signal.SIGINT) for code in codes) else 1

    async def _replace(self, index: int, child: Child) -> None:
        if self._stopping:
            return
        _log.error("edge process %d ended by itself (exit %d): starting another", child.pid, child.exit_code)
        await asyncio.sleep(_RESTART_S)
        if not self._stopping:
            self._children[index] = self._start(index)
            self._restarts += 1

    def _start(self, index: int) -> Child:
        descriptor = self._listening[index].fileno()
        arguments = ["--fd", str(descriptor)]
        if self._metrics is not None:
            name = f"edge-{index + 1}"
            self._metrics.forget(name)
            arguments += ["--metrics-socket", str(self._metrics.path_for(name))]
        return Child(python_module("ws_edge", *arguments), None, pass_fds=[descriptor])
