"""What is kept while an episode is under way. It becomes an `Episode`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.trace import Happened
from agent_worker.games.play import goals
from agent_worker.games.play.episodes import BLANK, OVER, RESTARTED, SCORE, STOPPED, Episode, Event
from agent_worker.games.play.look import Look

TAP: Final = 6
"""Frames up to which a gesture is short."""
LOOK: Final = 10
"""Frames in which a game could be played for as long as a look at it takes."""


@dataclass(slots=True)
class Tally:
    """What a gesture has brought in the run."""

    change: float | None
    tries: int = 0
    gain: float = 0.0


@dataclass(slots=True)
class Under:
    """An episode under way."""

    name: str
    inputs: Inputs
    begun: int
    frame: int
    since: int
    """The frame at which the round began."""
    events: list[Event] = field(default_factory=list)
    new: int = 0
    still: int = 0
    """Looks in a row without any change."""
    barren: int = 0
    """Gestures in a row that brought nothing new."""
    better: bool = False
    """A score was reached that was not before."""
    ended: bool = False
    """There is no going on from where it stands."""
    loose: list[goals.Seen] = field(default_factory=list)
    """Values of the number without a label."""

    def note(self, kind: str, detail: str = "") -> None:
        """Adds an event; of most kinds only the first."""
        if kind in (SCORE, OVER, RESTARTED) or not any(event.kind == kind for event in self.events):
            self.events.append(Event(self.frame, kind, detail))

    def add(self, happened: Sequence[Happened]) -> None:
        """Adds incidents, but for those of what was played before the episode."""
        fresh = [each for each in happened if each.frame > self.begun or not self.begun]
        self.events += [Event(each.frame, each.incident.kind, each.incident.detail) for each in fresh]

    def episode(self, cut: bool) -> Episode:
        """As a value."""
        events = tuple(sorted(self.events, key=lambda event: event.frame))
        return Episode(self.name, self.inputs, self.begun, self.frame, events, self.new, cut)


@dataclass(slots=True)
class Pace:
    """Whether holding a gesture for long pays: what is new for each frame of long gestures, beside short ones."""

    new: list[float] = field(default_factory=lambda: [1.0, 1.0])
    """Of short and of long ones; as if each had brought something once."""
    frames: list[float] = field(default_factory=lambda: [20.0, 40.0])
    last: int = 0

    def held(self, steps: Sequence[Step], frames: int) -> None:
        """Gestures were done that took `frames`."""
        if steps:
            self.last = int(max(step.hold for step in steps) > TAP)
            self.frames[self.last] += frames + LOOK

    def gained(self, new: int) -> None:
        """They have brought so much."""
        self.new[self.last] += new

    def long_pays(self) -> float:
        """How often a long gesture is done as such, 0.4 to 1."""
        short, long = (new / frames for new, frames in zip(self.new, self.frames, strict=True))
        return min(1.0, max(0.4, long / short))


@dataclass(slots=True)
class Watch:
    """Notes what may be a fault, for others to try: what is compared here is too coarse to claim one."""

    moved: bool = False
    """The picture or the words have changed at some time."""
    looped: bool = False
    """Frames were asked for, each after the other."""

    def compare(self, under: Under, before: Look, now: Look) -> None:
        """Two looks in a row."""
        same = before.raster == now.raster and before.state.words == now.state.words
        self.moved = self.moved or not same
        under.still = under.still + 1 if same else 0
        calls, apart = now.state.frames - before.state.frames, now.frame - before.frame
        self.looped = self.looped or calls >= apart > 4
        if self.looped and calls == 0 and apart > 4:
            under.note(STOPPED)
        if now.blank and not before.blank:
            under.note(BLANK)


@dataclass(slots=True)
class Line:
    """A line of the feed under way, begun at `at` of the event loop's clock."""

    at: float
    names: dict[str, None] = field(default_factory=dict)
    new: int = 0

    def text(self, cells: int, score: int | None) -> str:
        """Such as "Played ArrowLeft, Space: 3 new scenes, 21 so far, score 140"."""
        what = ", ".join(list(self.names)[:4]) + (", …" if len(self.names) > 4 else "")
        scenes = "1 new scene" if self.new == 1 else f"{self.new} new scenes"
        return f"Played {what}: {scenes}, {cells} so far" + (f", score {score}" if score is not None else "")
