"""The runs that wait for an agent, in the order in which they are taken: the oldest first. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from broker.contract.snapshot import Snapshot

PLACES: Final = 100
"""How many runs are told their place. Each run that is taken moves the place of all behind it."""
AGENT_SILENT_S: Final = 25.0
"""An agent waits for a job, or gives a sign of life every 10 s. After this time without either, none is running."""


class Queue:
    """The queued runs by the broker's time. With 10,000 of them a change costs a few microseconds."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, str]] = []
        self._since: dict[str, int] = {}
        """When each run began to wait, ms since 1970 by the broker's clock."""
        self.agents_present = True
        """Whether an agent is running that could take a run."""
        self.agent_heard_at = 0.0
        """When an agent was last heard or seen waiting, loop time."""

    def __repr__(self) -> str:
        return f"<Queue runs={len(self)} agents_present={self.agents_present}>"

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def oldest_ms(self) -> int | None:
        """Since when the run has waited that waits for longest, ms since 1970 by the broker's clock; None: none waits.

        A run that was handed back waits since then.
        """
        return min(self._since.values(), default=None)

    def change(self, before: Snapshot | None, after: Snapshot | None) -> list[str]:
        """Takes in a run's new snapshot, None when it is gone. Returns the runs whose place has changed with it."""
        old, new = _key(before), _key(after)
        if before is not None and old is not None:
            self._since.pop(before.test_id, None)
        if after is not None and new is not None:
            self._since[after.test_id] = after.created_at if after.started_at is None else after.updated_at
        if old == new:
            return []
        first = len(self._keys)
        if old is not None:
            first = index = bisect_left(self._keys, old)
            if self._keys[index : index + 1] == [old]:
                del self._keys[index]
        if new is not None:
            insort(self._keys, new)
            first = min(first, bisect_left(self._keys, new))
        return [test_id for _, test_id in self._keys[first : PLACES + 1]]

    def place(self, run: Snapshot) -> int | None:
        """The place of a queued run, 1 for the next; None beyond `PLACES`."""
        key = (run.created_at, run.test_id)
        if len(self._keys) > PLACES and key > self._keys[PLACES - 1]:
            return None
        index = bisect_left(self._keys, key, hi=min(PLACES, len(self._keys)))
        return index + 1 if self._keys[index : index + 1] == [key] else None

    def most_visible(self) -> list[str]:
        """The next runs and the newest ones, at most `PLACES` of each: what a list shows."""
        keys = self._keys if len(self._keys) <= 2 * PLACES else self._keys[:PLACES] + self._keys[-PLACES:]
        return [test_id for _, test_id in keys]


class ProjectQueues:
    """A queue for each project, for the places of its runs."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    def __repr__(self) -> str:
        return f"<ProjectQueues projects={len(self._queues)}>"

    def change(self, before: Snapshot | None, after: Snapshot | None) -> list[str]:
        """Takes in a run's new snapshot, None when it is gone. Returns the runs whose place has changed with it."""
        if _key(before) == _key(after) and (before is None or after is None or before.project == after.project):
            return []
        moved: list[str] = []
        for old, new in ((before, None), (None, after)):
            run = old or new
            if run is not None and _key(run) is not None:
                queue = self._queues.setdefault(run.project, Queue())
                moved += queue.change(old, new)
                if not queue:
                    del self._queues[run.project]
        return moved

    def place(self, run: Snapshot) -> int | None:
        """The place of a queued run among those of its project, 1 for the next; None beyond `PLACES`."""
        queue = self._queues.get(run.project)
        return None if queue is None else queue.place(run)

    def most_visible(self) -> list[str]:
        """The next runs and the newest ones of each project."""
        return [test_id for queue in self._queues.values() for test_id in queue.most_visible()]


def _key(run: Snapshot | None) -> tuple[int, str] | None:
    return (run.created_at, run.test_id) if run is not None and run.status == "queued" else None
