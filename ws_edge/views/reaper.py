"""The reaper: a run whose worker has died does not stay "running" for ever.

A run of which this node has heard nothing for `run_lost_s` is ended as failed. Several nodes may find it at the same
time: the event is appended at an expected position, so it is stored once, and not at all when the run has moved on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from broker.clock import now_ms
from broker.contract.errors import AlreadyEnded, NotFound, TestcastError
from broker.contract.events import Event
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.event_log import JetStreamLog
from broker.log import RateLimited
from ws_edge.views.catalogue import Catalogue

_MIN_SWEEP_S: Final = 0.5
_MAX_SWEEP_S: Final = 30.0
_limited = RateLimited(logging.getLogger("testcast.reaper"), per_s=10.0)


class _StillAlive(Exception):
    """The run has moved since it was looked at."""


class ReaperStatistics(NamedTuple):
    """Counts since the start of the node."""

    ended: int
    """Runs that this node has ended."""
    failures: int
    """Tries that the broker did not answer."""


class Reaper:
    """Ends runs that no worker works on any more.

    Args:
        run_lost_s: how long a run may be silent.
    """

    def __init__(self, log: JetStreamLog, catalogue: Catalogue, run_lost_s: float) -> None:
        self._log = log
        self._catalogue = catalogue
        self._run_lost_s = run_lost_s
        self._ended = 0
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Reaper ended={self._ended} run_lost_s={self._run_lost_s:g}>"

    def statistics(self) -> ReaperStatistics:
        """The figures of this moment."""
        return ReaperStatistics(self._ended, self._failures)

    async def run(self) -> None:
        """Looks for silent runs until cancelled. While the broker is away, silence says nothing about the workers."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(_MIN_SWEEP_S, min(_MAX_SWEEP_S, self._run_lost_s / 10)))
            if self._catalogue.stale_for_s is not None:
                continue
            for run in self._catalogue.active():
                if self._catalogue.silent_for(run.test_id, loop.time()) > self._run_lost_s:
                    await self._end_lost(run)

    async def _end_lost(self, run: Snapshot) -> None:
        what = "No worker took this test" if run.attempt == 0 else "The worker of this test went silent"
        lost = Event(
            type="error",
            status="failed",
            message=f"{what} for {self._run_lost_s:g} s, and no other took it over",
            timestamp=now_ms(),
            data={"code": "lost"},
        )

        def only_if_silent(found: Snapshot | None) -> None:
            if found is not None and found.seq > run.seq:
                raise _StillAlive

        try:
            await runs.end(self._log, run.test_id, lost, may=only_if_silent)
            self._ended += 1
            await runs.drop_job(self._log.streams, run.test_id)
        except (_StillAlive, AlreadyEnded, NotFound):
            pass
        except TestcastError as error:
            self._failures += 1
            _limited.warning("ending the lost test %s: %s", run.test_id, error)
