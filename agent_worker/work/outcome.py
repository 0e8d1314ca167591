"""What becomes of a job: decides what is written to its run, and what the queue is told. Pure.

`before_playing` decides from the run's history alone, `after_playing` from how the player stopped, `end_of` from what
fenced the writer. work/worker.py carries the decisions out, work/lease.py answers the queue.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from agent_worker.publish.writer import History
from broker.contract.errors import Fenced
from broker.contract.handle import public_reason

MAX_LOST_ATTEMPTS: Final = 3
"""After this many lost attempts the run itself is the likely cause. It is not tried again."""


class TryAgain(Exception):
    """This worker could not play the job, and another attempt may succeed. Counts as a lost attempt.

    Args:
        suspect: what is played is the likely cause: it ended what it was played with, and nothing else was harmed.
    """

    def __init__(self, message: str, *, suspect: bool = False) -> None:
        super().__init__(message)
        self.suspect = suspect


class End(Enum):
    """How a job's work ended, as far as the queue is concerned."""

    STORED = "stored"
    """This worker stored the run's terminal event."""
    ENDED = "ended"
    """Another writer ended the run: it was cancelled, or given up as lost."""
    FENCED = "fenced"
    """Another worker owns the run, and its job."""
    HANDED_ON = "handed on"
    """This worker stops; the next attempt continues at once."""
    AGAIN = "again"
    """This worker could not play the job; another attempt may."""


class Failure(NamedTuple):
    """The content of an `error` event that ends a run."""

    message: str
    code: str


class Decision(NamedTuple):
    """What is written to a run before its job is answered with `end`."""

    end: End
    failure: Failure | None = None
    """Ends the run as failed."""
    remark: str | None = None
    """A line for the feed, written before the run is left to the next attempt."""
    lost_to: str | None = None
    """Why what is played is the likely cause; a field of the remark."""


class Stopped(NamedTuple):
    """How playing stopped, while this worker still owned the run."""

    published_end: bool
    """The player published the run's terminal event."""
    worker_stops: bool
    """The worker was told to stop."""
    in_time: bool
    """The player returned or raised within its limit."""
    limit_s: float
    error: BaseException | None = None
    """What the player raised; None when it returned, or was cancelled."""


def before_playing(history: History) -> Decision | None:
    """Whether a job's run is over before it is played. None: play it."""
    if history.ended:
        return Decision(End.ENDED)
    if history.lost >= MAX_LOST_ATTEMPTS:
        attempts = ", ".join(map(str, sorted(history.attempts - history.handed_on)))
        if history.lost_to:
            often = len(history.lost_to)
            times = "each time" if often >= history.lost else {1: "once", 2: "twice"}.get(often, f"{often} times")
            message = f"Given up after {history.lost} attempts ({attempts}): {times}, {history.lost_to[-1]}"
            return Decision(End.STORED, Failure(message, "lost_to_game"))
        message = f"Given up: three workers were lost on this run (attempts {attempts})"
        return Decision(End.STORED, Failure(message, "lost"))
    return None


def after_playing(stopped: Stopped) -> Decision:
    """What a worker does about a run that it owns and whose player has stopped.

    A terminal event that was published counts first. A stopping worker counts before the player's error: the signal
    that stops the worker may have stopped its browser as well.
    """
    if stopped.published_end:
        return Decision(End.STORED)
    if stopped.worker_stops:
        return Decision(End.HANDED_ON)
    error = stopped.error
    if isinstance(error, TryAgain):
        reason = public_reason(error)
        return Decision(
            End.AGAIN, remark=f"This worker cannot play on: {reason}", lost_to=reason if error.suspect else None
        )
    if not stopped.in_time:
        message = f"The agent was still busy after {stopped.limit_s:g} s and was stopped"
        return Decision(End.STORED, Failure(message, "agent_timeout"))
    if error is not None:
        return Decision(End.STORED, Failure(f"The agent failed: {public_reason(error)}", "agent_error"))
    return Decision(End.STORED, Failure("The agent ended without a result", "no_result"))


def end_of(fenced: Fenced) -> End:
    """How a job ends whose writer was fenced."""
    return End.ENDED if fenced.reason == "ended" else End.FENCED
