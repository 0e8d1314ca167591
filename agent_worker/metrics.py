"""The metrics of an agent worker, and whether it is well: families and checks made of its parts' `statistics()`."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from agent_worker.publish.run_statistics import RunStatistics
from broker.jetstream.subscription import ConnectionStatistics
from broker.metrics.figures import Metric, counter, counters, gauge, histogram, histograms, info
from broker.version import VERSION

if TYPE_CHECKING:
    from agent_worker.games.chromium.browser import Browser, BrowserStatistics
    from agent_worker.work.worker import Worker, WorkerStatistics
    from broker.jetstream.connection import Connection

_BUILD: Final = {"part": "agent", "version": VERSION, "python": platform.python_version()}
_A: Final = "testcast_agent_"
_AWAY: Final = ConnectionStatistics(False, 0, 0, 0, 0)


class AgentMetrics:
    """What this process has so far, as far as metrics go. Its parts are set as they are made.

    Attributes:
        concurrency: runs at the same time.
        connection: None: the broker has not answered yet.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.connection: Connection | None = None
        self.browser: Browser | None = None
        self.worker: Worker[Any] | None = None

    def __repr__(self) -> str:
        return f"<AgentMetrics {self.connection!r} {self.browser!r} {self.worker!r}>"

    def collect(self) -> Iterable[Metric]:
        """The families of this moment. What this process does not have yet is left out."""
        yield info("testcast_build_info", "What is running; always 1.", _BUILD)
        yield gauge(f"{_A}slots", "Runs that this agent plays at the same time, at most.", self.concurrency)
        yield from _of_connection(_AWAY if self.connection is None else self.connection.statistics())
        if self.browser is not None:
            yield from _of_browser(self.browser.statistics())
        if self.worker is not None:
            yield from _of_worker(self.worker.statistics())
            yield from _of_runs(self.worker.statistics().runs)
            timings = self.worker.timings
            yield histogram(f"{_A}run_seconds", "How long attempts took, from the first event.", timings.run_s)
            phases = [(phase, seconds) for phase, seconds in timings.phase_s.items()]
            yield histograms(f"{_A}phase_seconds", "How long the phases of runs took.", "phase", phases)
            yield histogram(f"{_A}store_seconds", "From publishing an event to its acknowledgement.", timings.store_s)

    def amiss(self) -> list[str]:
        """What a restart of this process may mend. That the broker is away is not among it."""
        failure = "" if self.browser is None else self.browser.statistics().failure
        return [failure] if failure else []

    def not_ready(self) -> list[str]:
        """Why this agent cannot take a job at the moment, free slots or not."""
        if self.connection is None or not self.connection.connected:
            return ["the broker is away"]
        if self.worker is None:
            return ["it is starting"]
        reason = self.worker.statistics().not_pulling
        return [*([reason] if reason else []), *self.amiss()]


def _of_connection(now: ConnectionStatistics) -> Iterable[Metric]:
    yield gauge(f"{_A}broker_connected", "1 while the broker is connected.", now.connected)
    yield counter(f"{_A}broker_reconnects_total", "Times the connection came back.", now.reconnects)
    yield counter(f"{_A}broker_dropped_total", "Messages of the broker that could not be handled.", now.dropped)


def _of_browser(now: BrowserStatistics) -> Iterable[Metric]:
    yield counter(f"{_A}browser_launches_total", "Times Chromium was started.", now.launches)
    yield gauge(f"{_A}browser_failing", "1 if Chromium could not be started the last time.", bool(now.failure))
    yield gauge(f"{_A}egress_connections", "Connections of games to their proxies.", now.egress_open)
    yield counter(f"{_A}egress_requests_total", "Requests of games that were carried.", now.egress_carried)
    yield counter(f"{_A}egress_refused_total", "Requests of games that were refused.", now.egress_turned_away)


def _of_worker(now: WorkerStatistics) -> Iterable[Metric]:
    yield gauge(f"{_A}runs", "Runs that are being played.", now.playing)
    yield gauge(f"{_A}leases", "Jobs that are held.", now.leases)
    yield counter(f"{_A}leases_lost_total", "Jobs whose lease ran out, or that another agent took.", now.leases_lost)
    yield counter(f"{_A}jobs_total", "Jobs that were taken.", now.taken)
    yield counters(f"{_A}attempts_total", "Runs that this agent began to play.", "kind", now.attempts)
    yield counters(f"{_A}runs_ended_total", "How the jobs that were taken ended.", "outcome", now.outcomes)
    yield gauge(f"{_A}pulling", "1 while jobs can arrive, or could with a free slot.", not now.not_pulling)


def _of_runs(now: RunStatistics) -> Iterable[Metric]:
    yield gauge(f"{_A}outbox_events", "Events that are not stored yet.", now.pending)
    yield gauge(f"{_A}outbox_bytes", "Bytes of the events that are not stored yet.", now.pending_bytes)
    yield counter(f"{_A}events_stored_total", "Events that the broker acknowledged.", now.stored)
    frames = {"stored": now.screenshots, "refused": now.screenshots_refused, "failed": now.screenshots_failed}
    yield counters(f"{_A}frames_total", "What became of pictures for viewers.", "outcome", frames)
    yield counter(f"{_A}heartbeats_total", "Signs of life of runs.", now.heartbeats)
    yield counter(f"{_A}heartbeat_failures_total", "Ownership checks without an answer.", now.heartbeat_failures)
