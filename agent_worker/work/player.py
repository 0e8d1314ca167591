"""What the worker knows of a job and of the agent that plays it: a budget, a run to publish to, nothing more."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from agent_worker.publish.run import TestRun


class Job(Protocol):
    """One job. What else it holds is between `ReadJob` and the player."""

    @property
    def budget_s(self) -> float:
        """Seconds that the player may take."""

    @property
    def run_data(self) -> Mapping[str, object]:
        """`data` of the run's first event, where none was stored before the job."""


J = TypeVar("J", bound=Job)
P = TypeVar("P", bound=Job, contravariant=True)

ReadJob = Callable[[str, bytes], J]
"""Makes a job of a test id and a payload from the queue, to which anybody may write.

Raises:
    BadInput: the payload is not a job that may be played. The run ends with its message and code.
"""


class Player(Protocol[P]):
    """Plays one job: the game tester, or an agent of another kind."""

    def __call__(self, run: TestRun, job: P, /) -> Coroutine[Any, Any, None]:
        """Plays `job` and publishes to `run`; its last call is `run.complete` or `run.fail`.

        Cancelled when the run is over, when its time is up, or when the worker stops; it then has 2 s to release what
        it holds.

        Raises:
            TryAgain: it could not play for a reason that is not the job's fault; another attempt may succeed.
        """
