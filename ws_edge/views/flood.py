"""When a run has more pictures than are taken in one by one. Pure."""

from __future__ import annotations

from typing import Final

MAX_PER_S: Final = 40
"""Twenty times what an agent publishes."""
_PAUSE_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 60.0


class Flood:
    """Counts the pictures of one run, and says when to stop following it and until when. Times are monotonic, s."""

    __slots__ = ("_count", "_pause_s", "_second", "paused_until", "times")

    def __init__(self) -> None:
        self.paused_until = float("-inf")
        self.times = 0
        """How often there were too many."""
        self._pause_s = _PAUSE_S
        self._second = float("-inf")
        self._count = 0

    def __repr__(self) -> str:
        return f"<Flood times={self.times}>"

    def is_one(self, now: float) -> bool:
        """Counts a picture. Returns whether it is too many within its second."""
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        self._count += 1
        return self._count > MAX_PER_S

    def pause(self, now: float) -> None:
        """The run is not followed for a while: for longer each time that the flood goes on."""
        goes_on = now - self.paused_until < _PAUSE_S
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s) if goes_on else _PAUSE_S
        self.paused_until = now + self._pause_s
        self.times += 1
