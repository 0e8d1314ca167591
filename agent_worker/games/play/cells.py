"""The archive of a search: coarsely different moments of a game, each with the best inputs that reach it. Pure.

The idea is Go-Explore's (Ecoffet and others, 2019): remember what was reached, return to a promising moment, explore
from there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_worker.games.inputs import FRAMES_PER_S, Inputs
from agent_worker.games.play.goals import bucket

if TYPE_CHECKING:
    import random

Raster = bytes
"""A picture as `WIDTH` x `HEIGHT` grey values, by rows."""
WIDTH: Final = 64
HEIGHT: Final = 36
MAX_CELLS: Final = 4000
"""10 MB of pictures. A search of a minute reaches some hundreds."""
_GRIDS: Final = ((16, 9), (8, 6), (4, 3), (2, 2))
"""Columns and rows of a cell's picture, from fine to coarse."""
_MOVED: Final = 4
"""Grey levels by which a point must differ to count as another: dark red on dark blue differs by 7."""
_FLAT: Final = 10
"""Grey levels within which a picture is one colour."""
MAX_RESTLESS: Final = 0.4
"""The part of the points that may be left out because they change by themselves."""
_WATCHED: Final = 40
"""Looks of which nearly all are new before the pictures are compared more coarsely."""
_DEEP: Final = 20 * FRAMES_PER_S
"""Frames of replay at which a moment is half as attractive: from there returning takes longer than exploring."""


class Cell(NamedTuple):
    """What makes two moments the same for the search."""

    picture: int
    score: int
    """`goals.bucket` of the score."""
    words: int
    """Of the page's words; see `Look.words`."""


@dataclass(slots=True)
class Entry:
    """A moment that was reached."""

    cell: Cell
    raster: Raster
    inputs: Inputs
    frame: int
    score: int | None
    number: int
    """Of the order in which they were found."""
    since: int = 0
    """The frame at which the round began in which it lies."""
    seen: int = 1
    fruitless: int = 0
    """How often it was explored from since anything new came of that."""


@dataclass(slots=True)
class Archive:
    """All moments that were reached, by cell. Equal calls in equal order give equal archives."""

    entries: dict[Cell, Entry] = field(default_factory=dict)
    grid: int = 0
    """Which of the grids pictures are compared by; it only becomes coarser."""
    reference: Raster = b""
    """The first picture."""
    mask: int = 0
    """Points that are looked at have all bits set; 0: all are. See `leave_out`."""
    _fresh: deque[bool] = field(default_factory=lambda: deque(maxlen=_WATCHED))
    _found: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"<Archive cells={len(self)} grid={_GRIDS[self.grid]}>"

    def see(self, raster: Raster, score: int | None, words: int, inputs: Inputs, frame: int, since: int = 0) -> bool:
        """A moment was reached. Returns whether it is a new one.

        A known cell keeps the way that reaches it with the higher score, then the shorter one.
        """
        self.reference = self.reference or raster
        cell = Cell(self._picture(raster), bucket(score), words)
        known = self.entries.get(cell)
        self._fresh.append(known is None)
        if known is None:
            if len(self) < MAX_CELLS:
                self._found += 1
                self.entries[cell] = Entry(cell, raster, inputs, frame, score, self._found, since)
        else:
            known.seen += 1
            if _rank(score, frame) > _rank(known.score, known.frame):
                known.raster, known.inputs, known.frame, known.score = raster, inputs, frame, score
                known.since = since
        if sum(self._fresh) >= 0.9 * _WATCHED and self.grid + 1 < len(_GRIDS):
            self._coarsen()
        return known is None

    def choose(self, rng: random.Random, deepest: int) -> Entry | None:
        """The moment to return to: seldom visited, new, with a high score, quickly reached. None: there is none.

        Args:
            deepest: Frames from the load beyond which no moment is returned to.
        """
        entries = [each for each in self.entries.values() if each.frame <= deepest]
        if not entries:
            return None
        best = max((each.score or 0 for each in entries), default=0)
        entry = rng.choices(entries, [self._weight(each, best) for each in entries])[0]
        entry.fruitless += 1  # until it has borne fruit
        return entry

    def _weight(self, entry: Entry, best: int) -> float:
        score = 1 + 3 * max(0, entry.score or 0) / best if best > 0 else 1.0
        recent = 2.0 if entry.number > self._found - 12 else 1.0
        # Deeper is better, since a longer life leads further, but only as long as returning is cheap.
        common = math.sqrt(entry.seen)
        return score * recent / (math.pow(1 + entry.fruitless, 1.5) * common * (1 + (entry.frame / _DEEP) ** 2))

    def _picture(self, raster: Raster) -> int:
        return signature(masked(raster, self.mask), masked(self.reference, self.mask), *_GRIDS[self.grid])

    def leave_out(self, rasters: Sequence[Raster]) -> None:
        """Leaves out of all pictures what changes between `rasters`, in which nothing was done: a clock, clouds.

        Where that is much of the picture, such as in a game that scrolls by itself, nothing is left out.
        """
        restless = [max(values) - min(values) > _MOVED for values in zip(*rasters, strict=True)]
        if sum(restless) <= MAX_RESTLESS * len(restless):
            self.mask = int.from_bytes(bytes(0 if each else 255 for each in restless), "big")
            self.reference = rasters[-1]
            self._sort_again()

    def _coarsen(self) -> None:
        """Compares pictures by the next grid, since by this one nearly every look is new and nothing is told apart."""
        self.grid += 1
        self._fresh.clear()
        self._sort_again()

    def _sort_again(self) -> None:
        """Gives each entry its cell by what pictures are compared by now."""
        before, self.entries = list(self.entries.values()), {}
        for entry in before:
            cell = entry.cell._replace(picture=self._picture(entry.raster))
            known = self.entries.get(cell)
            entry.cell = cell
            if known is None or _rank(entry.score, entry.frame) > _rank(known.score, known.frame):
                entry.seen += known.seen if known else 0
                entry.fruitless = max(entry.fruitless, known.fruitless if known else 0)
                self.entries[cell] = entry
            else:
                known.seen += entry.seen


def _rank(score: int | None, frame: int) -> tuple[int, int]:
    return score or 0, -frame


def masked(raster: Raster, mask: int) -> Raster:
    """`raster` with 0 for each point that `mask` leaves out."""
    return (int.from_bytes(raster, "big") & mask).to_bytes(len(raster), "big") if mask else raster


def signature(raster: Raster, reference: Raster, columns: int, rows: int) -> int:
    """A coarse fingerprint: the grey of each field in four classes, and which fields hold a point that is not as in
    `reference`. The first tells scenes apart, the second where something small stands before a quiet background."""
    number = 0
    for row in range(rows):
        lines = range(row * HEIGHT // rows, (row + 1) * HEIGHT // rows)
        for column in range(columns):
            left, right = column * WIDTH // columns, (column + 1) * WIDTH // columns
            total, moved = 0, False
            for line in lines:
                part = raster[line * WIDTH + left : line * WIDTH + right]
                total += sum(part)
                was = reference[line * WIDTH + left : line * WIDTH + right]
                if not moved and part != was:
                    moved = any(abs(one - other) > _MOVED for one, other in zip(part, was, strict=True))
            grey = total // (len(lines) * (right - left)) >> 6
            number = number << 3 | grey << 1 | moved
    return number


def changed(one: Raster, other: Raster) -> float:
    """The part of the points, 0 to 1, that differ visibly."""
    return sum(abs(mine - theirs) > _MOVED for mine, theirs in zip(one, other, strict=True)) / len(one)


def flat(raster: Raster) -> bool:
    """Whether it is one colour."""
    return max(raster) - min(raster) <= _FLAT
