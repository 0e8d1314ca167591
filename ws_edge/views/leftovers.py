"""What is stored and is of no run: events that nobody can read, probes, pictures without a run, pins of what is gone.

No run is deleted here. What an id has stored goes when the newest of it is older than any run may become, and when the
broker's leader says so at that moment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from broker.contract import subjects
from broker.contract.errors import NotFound, NotThere
from broker.contract.retention import is_over
from broker.jetstream import runs
from broker.jetstream.api import Stored
from broker.jetstream.deletion import Deletion
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pin_store import PinStore
from broker.jetstream.survey import stored_subjects
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.pins import Pins

_EVERY_S: Final = 3600.0
_FIRST_S: Final = 300.0
_AT_ONCE: Final = 64
"""Whole messages of at most 64 KiB."""
_MOST: Final = 200
"""Subjects that one look empties of each stream."""

Clock = Callable[[], int | None]
"""The time by which things are old, ms since 1970; None: nothing is old at the moment."""


class Leftovers:
    """One node's share of the cleaning.

    Args:
        stays: whether what is stored under a test id stays, whatever its age.
    """

    def __init__(
        self,
        log: JetStreamLog,
        deletion: Deletion,
        catalogue: Catalogue,
        pins: Pins,
        stays: Callable[[str], bool],
    ) -> None:
        self._log = log
        self._deletion = deletion
        self._catalogue = catalogue
        self._pins = pins
        self._pin_store = PinStore(log.connection)
        self._age_s = 0.0
        self._stays = stays
        self._next_at = asyncio.get_running_loop().time() + _FIRST_S * random.uniform(0.5, 1.5)
        self.purged = 0
        """Subjects that were emptied, since the start of the node."""

    def __repr__(self) -> str:
        return f"<Leftovers purged={self.purged}>"

    async def look(self, clock: Clock, age_s: float) -> None:
        """Cleans, if an hour has passed since the last time.

        Args:
            age_s: how old what is of no run may become.

        Raises:
            BrokerUnavailable, BrokerRefused: a part may be cleaned.
        """
        loop = asyncio.get_running_loop()
        if clock() is None or loop.time() < self._next_at:
            return
        self._age_s = age_s
        self._next_at = loop.time() + _EVERY_S * random.uniform(0.8, 1.2)
        await self._clean(subjects.EVENTS, subjects.ALL_EVENTS, clock)
        await self._clean(subjects.FRAMES, subjects.ALL_FRAMES, clock)
        for test_id, pin in self._pins.of_no_run(self._catalogue.stored):
            if is_over(self._age_s, pin.at_ms, clock()) and not await self._log.last(test_id, confirmed=True):
                await self._pin_store.remove(test_id)

    async def _clean(self, stream: str, filter_subject: str, clock: Clock) -> None:
        try:
            names = await stored_subjects(self._log.streams, stream, filter_subject)
        except NotThere:
            return
        suspects = [each for each in names if self._is_of_no_run(each)]
        emptied = 0
        for start in range(0, len(suspects), _AT_ONCE):
            newest = await self._log.streams.newest(stream, suspects[start : start + _AT_ONCE])
            for each in newest.messages:
                if emptied < _MOST and is_over(self._age_s, each.stored_ms, clock()):
                    emptied += await self._empty(stream, each, clock)

    def _is_of_no_run(self, subject: str) -> bool:
        test_id = subjects.test_id_of(subject)
        return test_id is None or not (self._catalogue.stored(test_id) or self._stays(test_id))

    async def _empty(self, stream: str, suspect: Stored, clock: Clock) -> bool:
        """Empties a subject up to the message that was judged. Returns whether it did."""
        last = await self._log.streams.last_confirmed(stream, suspect.subject)
        if last is None or not is_over(self._age_s, last.stored_ms, clock()):
            return False
        test_id = subjects.test_id_of(suspect.subject)
        if test_id is not None and (not self._is_of_no_run(suspect.subject) or await self._is_a_run(test_id)):
            return False
        await self._deletion.purge(stream, suspect.subject, last.seq + 1)
        self.purged += 1
        return True

    async def _is_a_run(self, test_id: str) -> bool:
        """Whether the run has an event that can be read: then it is a run, and goes as one."""
        try:
            return (await runs.read(self._log, test_id)).snapshot is not None
        except NotFound:
            return False
