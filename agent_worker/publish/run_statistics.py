"""The figures of a run, and how long publishing took, in histograms that several runs share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from broker.contract.events import PHASES, Phase
from broker.metrics.histogram import DURATION_S, Histogram


class RunStatistics(NamedTuple):
    """Where a handle stands."""

    stored: int
    """Events that the broker has acknowledged."""
    pending: int
    """Events that wait to be stored, in order."""
    pending_bytes: int
    screenshots: int = 0
    """Screenshots that were stored."""
    screenshots_refused: int = 0
    """No JPEG, or too large."""
    screenshots_failed: int = 0
    """The broker did not take them."""
    heartbeats: int = 0
    """Ownership checks that succeeded, each followed by a sign of life."""
    heartbeat_failures: int = 0
    """Ownership checks that the broker did not answer."""

    @staticmethod
    def total(runs: Iterable[RunStatistics]) -> RunStatistics:
        """The sums over several runs."""
        return RunStatistics(*map(sum, zip(_NOTHING, *runs, strict=True)))


_NOTHING: Final = RunStatistics(0, 0, 0)


class Timings:
    """The histograms of one worker, or of one run by itself. Seconds."""

    def __init__(self) -> None:
        self.store_s = Histogram()
        """From handing an event over until the broker has acknowledged it."""
        self.phase_s: dict[Phase, Histogram] = {phase: Histogram(DURATION_S) for phase in PHASES}
        """From the start of a phase until the next one, or the run's last event."""
        self.run_s = Histogram(DURATION_S)
        """From an attempt's first event until its worker has let go of the run."""

    def __repr__(self) -> str:
        return f"<Timings store={self.store_s!r} run={self.run_s!r}>"


class PhaseTimer:
    """The phase that a run is in, and since when. Times are seconds of one clock."""

    def __init__(self, timings: Timings) -> None:
        self.timings = timings
        self._phase: Phase | None = None
        self._since_s = 0.0

    def __repr__(self) -> str:
        return f"<PhaseTimer {self._phase} since={self._since_s:g}>"

    def enter(self, phase: Phase | None, now_s: float) -> None:
        """Another phase begins, or with None no other: counts how long the one before took."""
        if self._phase is not None:
            self.timings.phase_s[self._phase].observe(now_s - self._since_s)
        self._phase, self._since_s = phase, now_s
