"""What came of playing, as values: search.py and stress.py make them, detectors read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from agent_worker.games.actions import Action
from agent_worker.games.inputs import Inputs
from agent_worker.games.owned_time.trace import Trace

HUNG: Final = "hung"
"""Kind of an event: the page's script did not return. The episode ends with it."""
GONE: Final = "gone"
"""The page's process has died. The episode ends with it."""
LOST: Final = "lost"
"""The page lives, but went to another document than the one that was played. The episode ends with it."""
STOPPED: Final = "stopped"
"""No frame was asked for any more, where the game had asked for one each frame."""
STILL: Final = "still"
"""The coarse picture has not changed any more, whatever was done."""
BLANK: Final = "blank"
"""The coarse picture is one colour and no word is shown, where there was something before."""
OVER: Final = "over"
"""A round has ended."""
RESTARTED: Final = "restarted"
"""The next round was begun; `detail` is the gesture's name."""
STUCK: Final = "stuck"
"""Neither the controls nor what may restart a game has changed anything."""
DEAF: Final = "deaf"
"""Every control was used, and each frame was as it is without that."""
SCORE: Final = "score"
"""The number that counts has changed; `detail` is its value."""


class Control(Protocol):
    """What playing needs of a control."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def action(self) -> Action:
        """The gesture."""

    @property
    def hold(self) -> int:
        """Frames for which it was held when it was found."""


class Situation(Protocol):
    """What playing needs of a situation: a moment of the game and how it is reached."""

    @property
    def name(self) -> str:
        """Such as `title` or `playing`."""

    @property
    def inputs(self) -> Inputs:
        """What leads there from the load on."""

    @property
    def frame(self) -> int:
        """The frame at which it is reached."""


class Tell(Protocol):
    """Takes lines for the feed; `RunHandle.progress` is one."""

    async def __call__(self, message: str, **data: object) -> None:
        """One line, and data of it."""


class Event(NamedTuple):
    """Something that happened in an episode."""

    frame: int
    """Frames since the load; it was seen after this one."""
    kind: str
    """One of this file's, or that of an `Incident`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of play, and all that is needed to see it again: `stage.play(episode.inputs, episode.until)`.

    Attributes:
        name: What it is for: `alone`, `explore`, or the name of a stress.
        inputs: From the load on.
        begun: The frame at which it begins; what stands before was played before.
        until: The frame at which it ends.
        events: What happened in it, oldest first.
        new: Coarse pictures that nobody had reached before.
        cut: The time was up in the middle of it.
        trace: Samples of each frame from `begun` on, where they were taken.
        against: The same stretch without what `name` says, where that was played.
    """

    name: str
    inputs: Inputs
    begun: int
    until: int
    events: tuple[Event, ...] = ()
    new: int = 0
    cut: bool = False
    trace: Trace | None = None
    against: Episode | None = None

    def of_kind(self, *kinds: str) -> list[Event]:
        """Its events of these kinds."""
        return [event for event in self.events if event.kind in kinds]

    @property
    def only_here(self) -> tuple[Event, ...]:
        """Its events of a kind and detail that the same stretch without what `name` says does not have."""
        theirs = {event[1:] for event in self.against.events} if self.against else set()
        return tuple(event for event in self.events if event[1:] not in theirs)


@dataclass(frozen=True, slots=True)
class Best:
    """The highest score that was read, and how it is reached."""

    value: int
    name: str
    """What the page calls it; `goals.UNLABELLED` where it says nothing."""
    inputs: Inputs
    frame: int


@dataclass(frozen=True, slots=True)
class GameOver:
    """The end of a round."""

    inputs: Inputs
    frame: int
    words: tuple[str, ...]
    """The phrases that say so; none: it was concluded from what follows alone."""
    ignored: bool | None
    """By experiment: with every control tried, all frames were those without; None: that was not tried."""
    restart: Action | None
    """What began the next round; None: nothing did that was tried."""


@dataclass(frozen=True, slots=True)
class Code:
    """How much of a game's scripts was run, in characters of source."""

    used: int
    total: int


@dataclass(frozen=True, slots=True)
class Explored:
    """What a search has found.

    Attributes:
        episodes: In the order in which they were played; the same for the same game, seed and number.
        cells: Coarsely different moments that were reached.
        frames: Frames that were played for it, replays included.
        returns: How often an earlier moment was returned to.
        best: None: no number could be read that a player wants more of.
        overs: Ends of rounds, the first ones with their experiments.
        restart: What begins a round again.
        code: None: it could not be measured.
        lasted: The longest life in frames, from a round's begin to its end or to where it was left.
    """

    episodes: tuple[Episode, ...]
    cells: int
    frames: int
    returns: int
    best: Best | None
    overs: tuple[GameOver, ...]
    restart: Action | None
    code: Code | None
    lasted: int

    @property
    def restarts(self) -> int:
        """How often a round was begun again."""
        return sum(len(each.of_kind(RESTARTED)) for each in self.episodes)


def errors(events: Sequence[Event]) -> list[Event]:
    """Those that a developer calls an error."""
    return [event for event in events if event.kind in ("pageerror", "console", "request", HUNG, GONE)]
