"""Several edge processes behind one port: `testcast edge --workers N`.

uvicorn's own multi-process parent swallows the second SIGTERM and knows nothing of our drain. This one listens once for
each process, hands it its socket, forwards every signal, and starts a process anew that has died by itself: who has
connected meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from broker.contract.errors import InvalidSetting
from broker.local.child_process import Child
from ws_edge.transport.listener import listen

_LOOK_S: Final = 0.1
_RESTART_S: Final = 1.0
_log = logging.getLogger("testcast.supervisor")


async def supervise(host: str, port: int, workers: int) -> int:
    """Keeps `workers` edges going until told to stop. Returns the exit status: 0 when all of them ended well."""
    try:
        listening = listen(host, port, workers)
    except InvalidSetting as error:
        _log.error("%s", error)
        return 1
    pool = WorkerPool([listening[index % len(listening)] for index in range(workers)])
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, pool.signal, number)
    return await pool.run()


class WorkerPool:
    """The processes, one for each listening socket."""

    def __init__(self, listening: Sequence[socket.socket]) -> None:
        self._listening = listening
        self._stopping = False
        self._children = [self._start(each) for each in listening]
        _log.info("%d edges on port %d", len(listening), listening[0].getsockname()[1])

    def __repr__(self) -> str:
        return f"<WorkerPool {self._children}>"

    def signal(self, number: int) -> None:
        """Passes a signal on to every process: the first drains them, a second ends them at once."""
        self._stopping = True
        for each in self._listening:
            each.close()  # nobody is to wait in a queue that no process will come back to
        for child in self._children:
            child.signal(number)

    async def run(self) -> int:
        """Until every process has ended after a signal. Returns 0 when all ended well, else 1."""
        while not self._stopping:
            for index, child in enumerate(self._children):
                if child.exit_code is not None and not self._stopping:
                    _log.error(
                        "edge process %d ended by itself (exit %d): starting another", child.pid, child.exit_code
                    )
                    await asyncio.sleep(_RESTART_S)  # one that cannot start must not be started in a frenzy
                    if not self._stopping:
                        self._children[index] = self._start(self._listening[index])
            await asyncio.sleep(_LOOK_S)
        codes = [await child.wait() for child in self._children]
        # One that was told to stop before it had learnt to listen died of the signal, with nobody on it.
        return 0 if all(code in (0, -signal.SIGTERM, -signal.SIGINT) for code in codes) else 1

    def _start(self, listening: socket.socket) -> Child:
        descriptor = listening.fileno()
        return Child([sys.executable, "-m", "ws_edge", "--fd", str(descriptor)], None, pass_fds=[descriptor])
