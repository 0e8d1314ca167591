"""Pictures that are not shown: counted by reason, each once, and logged at a limited rate."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from typing import Final

from broker.log import RateLimited
from ws_edge.views.frame_index import NO_JPEG

_MAX_RUNS: Final = 10_000
_MAX_NO_JPEGS: Final = 2_000
"""Of one run."""
_limited = RateLimited(logging.getLogger("testcast.frames"), per_s=10.0)


class RefusedFrames:
    """The count of one node. A run's pictures may be read several times: what is past the newest one noted counts."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self._noted: OrderedDict[str, int] = OrderedDict()
        self._no_jpegs: OrderedDict[str, set[int]] = OrderedDict()
        """What only the bytes have told, by test id."""

    def __repr__(self) -> str:
        return f"<RefusedFrames {self.by_reason.total()}>"

    def note(self, test_id: str, number: int, reason: str) -> None:
        """A picture is not shown, as its headers tell."""
        if number > self._noted.get(test_id, 0) and not self.is_no_jpeg(test_id, number):
            self._noted[test_id] = number
            self._noted.move_to_end(test_id)
            if len(self._noted) > _MAX_RUNS:
                self._noted.popitem(last=False)
            self._count(test_id, number, reason)

    def note_no_jpeg(self, test_id: str, number: int) -> None:
        """A picture was read, and is none."""
        known = self._no_jpegs.setdefault(test_id, set())
        if number not in known:
            if len(known) >= _MAX_NO_JPEGS:
                known.clear()
            known.add(number)
            self._no_jpegs.move_to_end(test_id)
            if len(self._no_jpegs) > _MAX_RUNS:
                self._no_jpegs.popitem(last=False)
            self._count(test_id, number, NO_JPEG)

    def is_no_jpeg(self, test_id: str, number: int) -> bool:
        """Whether a picture was read, and is none."""
        return number in self._no_jpegs.get(test_id, ())

    def _count(self, test_id: str, number: int, reason: str) -> None:
        self.by_reason[reason] += 1
        _limited.warning("test %s: picture %d is not shown: %s", test_id, number, reason)

    def forget(self) -> None:
        """The stream was made again: its numbers begin anew."""
        self._noted.clear()
        self._no_jpegs.clear()
