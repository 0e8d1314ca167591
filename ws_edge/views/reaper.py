"""The reaper: a run whose worker has died does not stay "running" for ever.

A run of which this node has heard nothing for `run_lost_s` is ended as failed. Several nodes may find it at the same
time: the event is appended at an expected position, so it is stored once, and not at all when the run has moved on.

A node that has just started has heard nothing of any run. How long a run is silent then follows from the broker's
times, once its agent has had time for a sign of life.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from broker.clock import now_ms
from broker.contract.errors import AlreadyEnded, NotFound, TestcastError
from broker.contract.events import Event
from broker.contract.moments import utc
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.event_log import JetStreamLog
from broker.log import RateLimited
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.catalogue import Catalogue

_MIN_SWEEP_S: Final = 0.5
_MAX_SWEEP_S: Final = 30.0
_SIGN_OF_LIFE_S: Final = 30.0
"""An agent gives one every 10 s."""
_SHOWN_CHARS: Final = 120
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

    def __init__(self, log: JetStreamLog, catalogue: Catalogue, clock: BrokerClock, run_lost_s: float) -> None:
        self._log = log
        self._catalogue = catalogue
        self._clock = clock
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
        while True:
            await asyncio.sleep(max(_MIN_SWEEP_S, min(_MAX_SWEEP_S, self._run_lost_s / 10)))
            if self._catalogue.stale_for_s is not None:
                continue
            for run in self._catalogue.active():
                if self._is_lost(run, asyncio.get_running_loop().time()):
                    await self._end_lost(run)

    def _is_lost(self, run: Snapshot, now: float) -> bool:
        silent_s = self._catalogue.silent_for(run.test_id, now)
        if silent_s > self._run_lost_s:
            return True
        known = self._catalogue.heard(run.test_id) or run.epoch is None
        return not known and silent_s > _SIGN_OF_LIFE_S and self._is_old(run, now)

    def _is_old(self, run: Snapshot, now: float) -> bool:
        """Whether the run's newest event was stored `run_lost_s` ago, by the broker's clock."""
        now_ms = self._clock.now_ms(now)
        return now_ms is not None and now_ms - run.updated_at > self._run_lost_s * 1000

    async def _end_lost(self, run: Snapshot) -> None:
        def only_if_silent(found: Snapshot | None) -> None:
            now = asyncio.get_running_loop().time()
            silent = self._catalogue.silent_for(run.test_id, now) > self._run_lost_s
            if found is not None and (found.seq > run.seq or not (silent or self._is_old(found, now))):
                raise _StillAlive

        try:
            found = (await runs.read(self._log, run.test_id)).snapshot
            lost = Event(
                type="error",
                status="failed",
                message=what_happened(found or run, self._run_lost_s),
                timestamp=now_ms(),
                data={"code": "lost"},
            )
            await runs.end(self._log, run.test_id, lost, since=found, may=only_if_silent)
            self._ended += 1
            await runs.drop_job(self._log.streams, run.test_id)
        except (_StillAlive, AlreadyEnded, NotFound):
            pass
        except TestcastError as error:
            self._failures += 1
            _limited.warning("ending the lost test %s: %s", run.test_id, error)


def what_happened(run: Snapshot, silent_s: float) -> str:
    """Says of a run that has been silent for `silent_s` what its agent did last, and when the broker stored that."""
    begun = run.status != "queued" or run.started_at is not None or run.attempt > 0 or run.worker is not None
    if not begun:
        return f"No worker took this test for {silent_s:g} s"
    who = f"worker {run.worker}" if run.worker else "agent"
    attempt = f", attempt {run.attempt}," if run.attempt > 1 else ""
    since = f"{utc(run.updated_at):%Y-%m-%d %H:%M:%S} UTC"
    last = run.message if len(run.message) <= _SHOWN_CHARS else run.message[: _SHOWN_CHARS - 1] + "…"
    said = f" since its last message, “{last}”," if last else " since its last event"
    when = f" at {since}" if run.updated_at else ""
    return f"The {who}{attempt} of this test has been silent{said}{when}: nothing came for {silent_s:g} s"
