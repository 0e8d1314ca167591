"""The rate limit of progress events: one message per interval and test. Pure; `now` is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
Kind = Literal["urgent", "progress", "silent"]


class Throttle(Generic[Item]):
    """Holds progress events back within a window. It drops nothing and keeps the order.

    The first progress event goes out at once and opens a window of `interval_s`. Those that come within the window go
    out together, with the next urgent event or at the window's end. An urgent event never waits. A silent item (a
    malformed event, which only moves positions) keeps its place in the order and opens no window.
    """

    __slots__ = ("_held", "_window_ends", "interval_s")

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._window_ends = float("-inf")
        self._held: list[Item] = []

    def __repr__(self) -> str:
        return f"<Throttle interval_s={self.interval_s:g} held={len(self._held)}>"

    def offer(self, item: Item, kind: Kind, now: float) -> list[Item]:
        """Takes the next item in order. Returns what is to be sent now, in order."""
        if kind == "progress":
            if now < self._window_ends:
                self._held.append(item)
                return []
            self._window_ends = now + self.interval_s
        elif kind == "silent" and self._held:
            self._held.append(item)
            return []
        if not self._held:
            return [item]
        released, self._held = [*self._held, item], []
        self._window_ends = now + self.interval_s
        return released

    @property
    def held(self) -> Sequence[Item]:
        """What was taken and is not released yet, in order."""
        return self._held

    @property
    def due(self) -> float | None:
        """When `expire` has something to release; None when nothing is held."""
        return self._window_ends if self._held else None

    def expire(self, now: float) -> list[Item]:
        """Releases what is held when its window has ended."""
        if not self._held or now < self._window_ends:
            return []
        released, self._held = self._held, []
        self._window_ends = now + self.interval_s
        return released
