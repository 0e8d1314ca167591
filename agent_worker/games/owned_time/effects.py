"""A moment of a game, and what one gesture did there beside the same run without it. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.trace import Sample


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a game, as what leads to it.

    Attributes:
        name: The situation, such as "title" or "playing".
        inputs: What is done up to it; all of it begins before `frame`.
        frame: The frame that stands then.
        calm: For how many frames after it the situation lasts when nothing is done.
    """

    name: str = field(compare=False)
    inputs: Inputs = field(default_factory=Inputs)
    frame: int = 0
    calm: int = field(default=900, compare=False)

    def with_steps(self, *steps: Step) -> Moment:
        """The same moment, with more done before it."""
        return Moment(self.name, self.inputs.then(*steps), self.frame, self.calm)


@dataclass(frozen=True, slots=True)
class Effect:
    """What one gesture did at a moment, beside the same run without it.

    Attributes:
        moment: Where it was done.
        step: The gesture; it begins at the moment's frame.
        first: The first compared frame at which the two runs differed.
        ways: In what: `pixels` (canvases), `page` (the document's elements), `sound` (what was played), `stored`.
        change: Part of the picture that differed, 0 to 1, where it differed most of the frames that were looked at.
        frame: That frame.
        before, after: JPEGs of that frame without and with the gesture; empty where nothing could be seen.
        scrolled: Whether the page stood scrolled elsewhere then.
        within: The difference began in one of so many frames up to `first`; 1: in that very frame.
        print: The samples from `first` on: equal for two runs that did the same.
    """

    moment: Moment
    step: Step
    first: int
    ways: frozenset[str]
    change: float
    frame: int
    before: bytes
    after: bytes
    print: tuple[Sample, ...]
    scrolled: bool = False
    within: int = 1

    @property
    def seen(self) -> bool:
        """Whether the difference can be seen; that a page has scrolled is none."""
        return "pixels" in self.ways or (self.change > 0 and not self.scrolled)

    @property
    def inputs(self) -> Inputs:
        """What shows it, since the load."""
        return self.moment.inputs.then(self.step)

    def same(self, other: Effect) -> bool:
        """Whether two gestures at one moment did the same, frame by frame, as far as both were watched."""
        pairs = zip(self.print, other.print, strict=False)
        return self.first == other.first and all(mine == theirs for mine, theirs in pairs)
