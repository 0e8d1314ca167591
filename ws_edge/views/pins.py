"""The pinned runs, in this edge's memory: it follows the bucket `PINS`.

Where the bucket was deleted, the edges put back what they remember. Until that is done, and while the bucket cannot be
read, nobody here can say what is pinned (`known`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from broker.contract.errors import TestcastError
from broker.jetstream.pin_store import Pin, PinChange
from broker.log import RateLimited

_RETRY_S: Final = 1.0
_limited = RateLimited(logging.getLogger("testcast.pins"), per_s=10.0)


class Watching(Protocol):
    """A watch of the bucket."""

    async def run(self) -> None:
        """Delivers until cancelled."""


class Store(Protocol):
    """The bucket. See `broker.jetstream.pin_store.PinStore`."""

    async def put(self, test_id: str, pin: Pin) -> None:
        """Pins a run."""

    def watch(
        self,
        on_change: Callable[[PinChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> Watching:
        """Delivers every pin, then every change."""


class PinsStatistics(NamedTuple):
    """What is held at one moment."""

    known: bool
    pinned: int


class Pins:
    """The pins of one edge.

    Args:
        on_change: called with the test id of each run that was pinned or unpinned, and which it was.
    """

    def __init__(self, store: Store, on_change: Callable[[str, bool], None]) -> None:
        self._store = store
        self._tell = on_change
        self._pins: dict[str, Pin] = {}
        self._current = False
        self._lost: dict[str, Pin] = {}
        """What the bucket held before it was deleted, and may not hold now."""
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Pins known={self.known} pinned={len(self._pins)}>"

    def __contains__(self, test_id: object) -> bool:
        return test_id in self._pins

    def statistics(self) -> PinsStatistics:
        """The figures of this moment."""
        return PinsStatistics(self.known, len(self._pins))

    @property
    def known(self) -> bool:
        """Whether this edge knows at the moment what is pinned."""
        return self._current and not self._lost

    def of_no_run(self, known: Callable[[str], object]) -> list[tuple[str, Pin]]:
        """The pins whose runs are not known.

        Args:
            known: something true for the test id of a run that is known.
        """
        return [(test_id, pin) for test_id, pin in self._pins.items() if not known(test_id)]

    async def run(self) -> None:
        """Follows the bucket until cancelled."""
        watch = self._store.watch(self._on_change, self._on_current, self._on_reset, self._on_lost)
        following = asyncio.ensure_future(watch.run())
        try:
            while not following.done():
                self._changed.clear()
                if self._current and self._lost:
                    await self._put_back()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait(
                    [following, changed],
                    timeout=_RETRY_S if self._lost else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                changed.cancel()
            await following
        finally:
            self._current = False
            following.cancel()

    async def _put_back(self) -> None:
        try:
            for test_id, pin in list(self._lost.items()):
                await self._store.put(test_id, pin)
                self._lost.pop(test_id, None)
        except TestcastError as error:
            _limited.warning("the bucket of pins was made again, and %d cannot be put back: %s", len(self._lost), error)

    def _on_change(self, change: PinChange) -> None:
        self._lost.pop(change.test_id, None)
        was = change.test_id in self._pins
        if change.pin is None:
            self._pins.pop(change.test_id, None)
        else:
            self._pins[change.test_id] = change.pin
        if was != (change.pin is not None):
            self._tell(change.test_id, change.pin is not None)

    def _on_current(self) -> None:
        self._current = True
        self._changed.set()

    def _on_reset(self) -> None:
        """The bucket is another one: what it does not deliver has to be put back."""
        self._lost = dict(self._pins)
        self._current = False

    def _on_lost(self) -> None:
        self._current = False
