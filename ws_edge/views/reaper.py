"""The reaper: no card stays "running" for ever (DESIGN, I6).

A run of which this node has heard nothing for `run_lost_s` is ended as failed. Several nodes may find that at once: the
event is written at an expected head, so it is written once, and a sign of life that was stored meanwhile prevents it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from broker.clock import now_ms
from broker.contract.errors import AlreadyEnded, NotFound, TestcastError
from broker.contract.events import Event
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.event_log import JetStreamLog
from broker.log import RateLimited
from ws_edge.views.catalogue import Catalogue

_limited = RateLimited(logging.getLogger("testcast.reaper"), per_s=10.0)
_MIN_SWEEP_S: Final = 0.5


class _StillAlive(Exception):
    """The run has moved since it was looked at."""


class Reaper:
    """Ends what nobody works on any more."""

    def __init__(self, log: JetStreamLog, catalogue: Catalogue, run_lost_s: float) -> None:
        self._log = log
        self._catalogue = catalogue
        self._run_lost_s = run_lost_s

    async def run(self) -> None:
        """Looks until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(_MIN_SWEEP_S, min(30.0, self._run_lost_s / 10)))
            if self._catalogue.stale_for_s is not None:
                continue
            for run in self._catalogue.active():
                if self._catalogue.silent_for(run.test_id, loop.time()) > self._run_lost_s:
                    await self._end_lost(run)

    async def _end_lost(self, run: Snapshot) -> None:
        never = run.attempt == 0
        what = "No worker took this test" if never else "The worker of this test went silent"
        lost = Event(
            type="error",
            status="failed",
            message=f"{what} for {self._run_lost_s:g} s, and no other took it over",
            timestamp=now_ms(),
            data={"code": "lost"},
        )

        def still_silent(found: Snapshot | None) -> None:
            if found is not None and found.seq > run.seq:
                raise _StillAlive

        try:
            await runs.end(self._log, run.test_id, lost, may=still_silent)
            await runs.drop_job(self._log.streams, run.test_id)
        except (_StillAlive, AlreadyEnded, NotFound):
            pass
        except TestcastError as error:
            _limited.warning("ending the lost test %s: %s", run.test_id, error)
