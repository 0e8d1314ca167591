"""The `tests` channel: changes to the list, conflated (a run's newest state counts), at most four a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from broker.contract.snapshot import Snapshot
from ws_edge.encoding import ENCODINGS
from ws_edge.views.catalogue import Catalogue, to_json

_INTERVAL_S: Final = 0.25
FULL_LIST: Final = 100
"""How many runs the first message of the channel carries."""


class Listener(Protocol):
    """What the channel needs of a socket."""

    @property
    def transport(self) -> asyncio.Transport:
        """For how much waits in it."""

    def write(self, frames: bytes) -> None:
        """Sends them."""


class TestsChannel:
    """Everybody on this node who watches the list."""

    __test__ = False

    def __init__(self, high_water_bytes: int, is_stale: Callable[[], bool]) -> None:
        self._listeners: set[Listener] = set()
        self._outdated: set[Listener] = set()
        """Their socket was full when something changed: they get the whole list once it is not."""
        self._changed: set[str] = set()
        self._high_water_bytes = high_water_bytes
        self._is_stale = is_stale
        self._was_stale = False

    def __repr__(self) -> str:
        return f"<TestsChannel listeners={len(self._listeners)} outdated={len(self._outdated)}>"

    def __contains__(self, listener: object) -> bool:
        return listener in self._listeners

    def add(self, listener: Listener) -> None:
        """The listener gets the whole list at the next turn, and changes from then on."""
        self._listeners.add(listener)
        self._outdated.add(listener)

    def remove(self, listener: Listener) -> None:
        """Harmless when it is none."""
        self._listeners.discard(listener)
        self._outdated.discard(listener)

    def changed(self, test_id: str) -> None:
        """A run's snapshot, or its being stalled, has changed."""
        self._changed.add(test_id)

    async def run(self, catalogue: Catalogue) -> None:
        """Sends until cancelled."""
        await catalogue.filled.wait()
        while True:
            self._send(catalogue)
            await asyncio.sleep(_INTERVAL_S)

    def _send(self, catalogue: Catalogue) -> None:
        changed, self._changed = self._changed, set()
        stale = self._is_stale()
        if (changed or stale != self._was_stale) and len(self._listeners) > len(self._outdated):
            self._was_stale = stale
            upserts = [run for run in map(catalogue.snapshot, changed) if run is not None]
            removed = [test_id for test_id in changed if catalogue.snapshot(test_id) is None]
            frame = _frame(upserts, removed, stale, catalogue.counts())
            for listener in self._listeners - self._outdated:
                if listener.transport.get_write_buffer_size() > self._high_water_bytes:
                    self._outdated.add(listener)
                else:
                    listener.write(frame)
        ready = [each for each in self._outdated if each.transport.get_write_buffer_size() <= self._high_water_bytes]
        if ready:
            whole = _frame(catalogue.newest(FULL_LIST), [], stale, catalogue.counts(), full=True)
            for listener in ready:
                listener.write(whole)
                self._outdated.discard(listener)


def _frame(
    upserts: list[Snapshot], removed: list[str], stale: bool, counts: dict[str, int], *, full: bool = False
) -> bytes:
    return ENCODINGS["websocket"].control(
        "tests", upserts=to_json(upserts), removed=removed, counts=counts, full=full or None, stale=stale or None
    )
