"""What is kept and what goes: pins, retention by age, and the end of deletions, as one part of a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from broker.contract.errors import NotFound, TooManyPins
from broker.jetstream import pinning
from broker.jetstream.deletion import Deletion
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pin_store import PinStore
from broker.jetstream.snapshot_store import SnapshotChange
from ws_edge.config import EdgeConfig
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.keeper import Keeper, KeeperStatistics
from ws_edge.views.pins import Pins, PinsStatistics


class KeepingStatistics(NamedTuple):
    """The figures of its parts."""

    pins: PinsStatistics
    keeper: KeeperStatistics
    requested: int
    """Runs that were deleted because somebody asked this node to, since its start."""


class Keeping:
    """The pins and the keeper of one node, and what its callers ask of them.

    Args:
        watched: whether somebody watches a run on this node.
    """

    def __init__(
        self,
        log: JetStreamLog,
        catalogue: Catalogue,
        clock: BrokerClock,
        config: EdgeConfig,
        watched: Callable[[str], bool],
    ) -> None:
        self._log = log
        self._catalogue = catalogue
        self._most_pins = config.pins_per_project
        self._requested = 0
        self.pins = Pins(PinStore(log.connection), catalogue.set_pinned)
        self.keeper = Keeper(log, catalogue, self.pins, clock, config.retention, watched, by_age=config.keeper)
        self.on_deleted: list[Callable[[str], None]] = []
        """Called with the test id of each run that was deleted, once or twice: what a part holds of it has to go."""
        catalogue.on_deleted.append(self._on_mark)

    def __repr__(self) -> str:
        return f"<Keeping {self.pins!r} {self.keeper!r}>"

    def statistics(self) -> KeepingStatistics:
        """The figures of this moment."""
        return KeepingStatistics(self.pins.statistics(), self.keeper.statistics(), self._requested)

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pins.run(), name="pins")
            group.create_task(self.keeper.run(), name="keeper")

    def _on_mark(self, change: SnapshotChange) -> None:
        self.keeper.on_mark(change)
        for forget in self.on_deleted:
            forget(change.test_id)

    async def pin(self, test_id: str, by: str) -> int | None:
        """Keeps a run for good. Returns until when it is kept at most, ms since 1970; None: no such moment is known.

        Raises:
            NotFound: there is no such run. TooManyPins: its project has as many as it may have.
            BrokerUnavailable: it may be pinned all the same.
        """
        if test_id not in self.pins and self._pinned_beside(test_id) >= self._most_pins:
            raise TooManyPins(f"this project has {self._most_pins} pinned tests already: unpin one of them first")
        return await pinning.pin(self._log, test_id, by)

    def _pinned_beside(self, test_id: str) -> int:
        """How many runs of the same project are pinned, as far as this node knows."""
        run = self._catalogue.snapshot(test_id)
        if run is None:
            return 0
        others = filter(None, map(self._catalogue.snapshot, self._catalogue.pinned))
        return sum(each.project == run.project for each in others)

    async def unpin(self, test_id: str) -> None:
        """Lets a run be deleted when its time has come.

        Raises:
            NotFound: there is no such run. BrokerUnavailable: it may be pinned yet.
        """
        if not await self._log.last(test_id, confirmed=True):
            raise NotFound(test_id)
        await pinning.unpin(self._log, test_id)

    async def delete(self, test_id: str) -> None:
        """Deletes a run. See `Deletion.delete` for what it raises."""
        await Deletion(self._log).delete(test_id)
        self._requested += 1
