"""What pictures one run has: numbers, sequences, times and sizes, in 29 bytes each. Pure.

A picture is *judged* before it is shown: its sequence must be one that the run has reached, and no older than that of a
picture before it. The second rule leaves out what a worker still publishes whose run has passed to another one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import Final

from broker.contract.frames import Frame

AHEAD: Final = "its sequence is above the run's newest event"
OUT_OF_ORDER: Final = "its sequence is below that of a picture before it"
NO_JPEG: Final = "it is not a JPEG"
BAD_HEADER: Final = "a header is malformed"
TOO_LARGE: Final = "it is too large"
REASONS: Final = ("", AHEAD, OUT_OF_ORDER, NO_JPEG, BAD_HEADER, TOO_LARGE)
"""Why a picture is not shown; the empty one: it is."""
_WAITS: Final = 255
"""It is not judged: the run's newest event must be asked for."""
BYTES_EACH: Final = 8 + 8 + 8 + 4 + 1


class FrameIndex:
    """The pictures of one run in order of number."""

    __slots__ = ("_numbers", "_reasons", "_seqs", "_sizes", "_times", "_top", "_waiting", "unreadable")

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._seqs = array("Q")
        self._times = array("Q")
        self._sizes = array("I")
        self._reasons = array("B")
        self._waiting = 0
        """How many of the last pictures wait to be judged."""
        self._top = 0
        """The highest sequence of a picture that is shown."""
        self.unreadable: Counter[str] = Counter()
        """Pictures that are kept and not shown, by reason."""

    def __repr__(self) -> str:
        return f"<FrameIndex {len(self._numbers)} newest={self.last_number} waiting={self._waiting}>"

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        return self._place(number) is not None

    @property
    def last_number(self) -> int:
        """The newest picture's number, whether or not it is shown; 0 for none."""
        return self._numbers[-1] if self._numbers else 0

    @property
    def first(self) -> Frame | None:
        """The oldest picture that is kept, whether or not it is shown."""
        return self._frame(0) if self._numbers else None

    @property
    def waits(self) -> bool:
        """Whether a picture waits to be judged."""
        return self._waiting > 0

    def add(self, frame: Frame, reason: str = "") -> None:
        """Adds a picture that is newer than all others. It waits to be judged (`judge`) unless `reason` is given."""
        self._numbers.append(frame.number)
        self._seqs.append(frame.seq)
        self._times.append(frame.time_ms)
        self._sizes.append(frame.size)
        self._reasons.append(REASONS.index(reason) if reason else _WAITS)
        if reason:
            self.unreadable[reason] += 1
        if self._waiting or not reason:
            self._waiting += 1

    def judge(self, head: int, certain_to: int = 0) -> list[tuple[int, str]]:
        """Judges pictures that wait, in order.

        Args:
            head: the run's newest event, at least.
            certain_to: pictures up to this number were stored before the run's newest event was asked for: `head` is no
                older than they are.

        Returns:
            The number and the reason of each picture that will not be shown.
        """
        refused: list[tuple[int, str]] = []
        while self._waiting:
            place = len(self._numbers) - self._waiting
            if self._reasons[place] == _WAITS:
                seq = self._seqs[place]
                if seq > head and self._numbers[place] > certain_to:
                    break
                reason = AHEAD if seq > head else OUT_OF_ORDER if 0 < seq < self._top else ""
                self._reasons[place] = REASONS.index(reason)
                if reason:
                    self.unreadable[reason] += 1
                    refused.append((self._numbers[place], reason))
                else:
                    self._top = max(self._top, seq)
            self._waiting -= 1
        return refused

    def lowest_ahead(self) -> int | None:
        """The lowest sequence of the pictures that named an event above the run's newest; None: there is none."""
        if not self.unreadable[AHEAD]:
            return None
        ahead = REASONS.index(AHEAD)
        return min(seq for seq, reason in zip(self._seqs, self._reasons, strict=True) if reason == ahead)

    def refuse(self, number: int, reason: str) -> bool:
        """Something was found to be wrong with a picture. Returns whether it was shown until now."""
        place = self._place(number)
        if place is None or self._reasons[place]:
            return False
        self._reasons[place] = REASONS.index(reason)
        self.unreadable[reason] += 1
        return True

    def newest(self) -> Frame | None:
        """The newest picture that is shown."""
        for place in range(len(self._numbers) - self._waiting - 1, -1, -1):
            if not self._reasons[place]:
                return self._frame(place)
        return None

    def is_shown(self, number: int) -> bool:
        """Whether there is such a picture, and nothing is known against it."""
        place = self._place(number)
        return place is not None and not self._reasons[place]

    def page(self, after: int, limit: int) -> tuple[list[tuple[int, int, int, int]], bool]:
        """The pictures after a number that are shown, as (number, seq, time, size), and whether more follow."""
        rows: list[tuple[int, int, int, int]] = []
        for place in range(bisect_right(self._numbers, after), len(self._numbers) - self._waiting):
            if self._reasons[place]:
                continue
            if len(rows) == limit:
                return rows, True
            rows.append((self._numbers[place], self._seqs[place], self._times[place], self._sizes[place]))
        return rows, False

    def drop_before(self, number: int) -> None:
        """Pictures below a number are not kept any more."""
        self._drop(bisect_left(self._numbers, number))

    def keep_newest(self, count: int) -> None:
        """Only so many pictures are kept."""
        self._drop(len(self._numbers) - count)

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        self.unreadable -= Counter(REASONS[each] for each in self._reasons[:count] if 0 < each < _WAITS)
        for each in (self._numbers, self._seqs, self._times, self._sizes, self._reasons):
            del each[:count]
        self._waiting = min(self._waiting, len(self._numbers))

    def _frame(self, place: int) -> Frame:
        return Frame(self._numbers[place], self._seqs[place], self._times[place], self._sizes[place])

    def _place(self, number: int) -> int | None:
        place = bisect_left(self._numbers, number)
        return place if place < len(self._numbers) and self._numbers[place] == number else None
