"""The newest pictures of a page. Pure; page.py receives them."""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_PICTURES: Final = 90
"""Four seconds at 20 pictures a second: no look of the agent takes longer."""


class Screencast:
    """A buffer of JPEG pictures, oldest dropped first."""

    def __init__(self) -> None:
        self._latest: deque[bytes] = deque(maxlen=MAX_PICTURES)
        self.count = 0
        """Pictures since the page was made, those that were dropped included."""

    def __repr__(self) -> str:
        return f"<Screencast kept={len(self._latest)} count={self.count}>"

    @property
    def newest(self) -> bytes | None:
        """The newest picture; None when there is none of this document."""
        return self._latest[-1] if self._latest else None

    def add(self, jpeg: bytes) -> None:
        """Takes one more picture."""
        self._latest.append(jpeg)
        self.count += 1

    def since(self, count: int) -> list[bytes]:
        """The kept pictures that came after `count` was read, oldest first."""
        fresh = min(self.count - count, len(self._latest))
        return list(self._latest)[-fresh:] if fresh else []

    def clear(self) -> None:
        """Drops the pictures: the page shows another document."""
        self._latest.clear()
