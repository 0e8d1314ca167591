"""What a game showed, frame by frame, as fingerprints that can be compared. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agent_worker.games.chromium.page_state import Incident


class Sample(NamedTuple):
    """Fingerprints (32 bit) of what stands after one frame: equal where nothing differs."""

    frame: int
    pixels: int
    """All canvases."""
    page: int
    """The document's elements, what stands in its fields, and what the game tells of itself."""
    sound: int
    """What was played."""
    stored: int = 0
    """What is in the page's storage."""
    cell: int = 0
    """The scene, coarsely: equal for pictures that a person would call the same. Follows from the others."""


class Happened(NamedTuple):
    """An incident, and the frame after which it was seen."""

    frame: int
    incident: Incident


@dataclass(frozen=True, slots=True)
class Trace:
    """A stretch of a game: a sample of each frame that was compared, and what happened in it. Oldest first."""

    samples: tuple[Sample, ...] = ()
    happened: tuple[Happened, ...] = ()

    @classmethod
    def of(cls, *parts: Trace) -> Trace:
        """Stretches that follow one another, as one."""
        return cls(
            tuple(sample for part in parts for sample in part.samples),
            tuple(each for part in parts for each in part.happened),
        )


def parting(one: Trace, other: Trace) -> int | None:
    """The first frame at which two traces differ, of those that both have; None: they agree."""
    theirs = {sample.frame: sample for sample in other.samples}
    for mine in one.samples:
        if mine.frame in theirs and theirs[mine.frame] != mine:
            return mine.frame
    return None
