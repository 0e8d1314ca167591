"""The player's seat: what is known when the next gesture is chosen, what can be chosen, and who chooses. Pure.

A policy sees a `View` and returns a `Choice`: one of the view's options and for how long it is held, or no action and
why. Whoever asks plays nothing else: a policy, whatever a page tells it, can do nothing that is not listed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from agent_worker.games.actions import Action, can_join, together

if TYPE_CHECKING:
    import random

MAX_HOLD: Final = 120
"""Frames for which one gesture is held at most: two seconds of the game's own time."""
_HOLDS: Final = (5, 9, 15, 24)
"""Frames for which the seeded policy holds a gesture: from a tap to a walk across a part of the picture."""
_UNTRIED: Final = 0.5
"""Expected gain of a gesture that nobody has tried."""
_LITTLE: Final = 0.15
"""Expected gain of one that did nothing: it may have an effect later, such as after a pause."""


@dataclass(frozen=True, slots=True)
class Option:
    """One gesture that may be chosen, and what is known of it."""

    action: Action
    change: float | None = None
    """The part of the picture that it has changed, 0 to 1; None: it has not been tried."""
    tries: int = 0
    """How often it was played."""
    gain: float = 0.0
    """What that has brought in all: 1 for each time that something was seen, read or reached for the first time."""


@dataclass(frozen=True, slots=True)
class Done:
    """A gesture that was played, and what came of it."""

    action: Action
    hold: int
    """Frames."""
    change: float
    """The part of the picture that is another than before it, 0 to 1."""
    new: bool = False
    """Whether it has led to a picture, a score or code that was not reached before."""


@dataclass(frozen=True, slots=True)
class View:
    """A moment at which the next gesture is chosen."""

    goal: str
    """What playing is for, in the agent's own words."""
    options: tuple[Option, ...]
    """All that may be chosen, at least one."""
    frame: int = 0
    """Frames of the game's own time since its load, 60 a second."""
    picture: bytes = b""
    """A JPEG of the page; empty: there is none."""
    words: str = ""
    """The page's text: whatever the page wants it to be."""
    score: int | None = None
    """None: none could be read."""
    done: tuple[Done, ...] = ()
    """The latest gestures, the newest last."""
    left_s: float = math.inf
    """Seconds of real time that playing may still take."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to play next, or that someone else has to choose."""

    action: Action | None
    """One of the view's options, or two of them with keys as one; None: the policy makes no choice."""
    hold: int = 1
    """Frames for which it is held, 1 to `MAX_HOLD`."""
    reason: str = ""
    """For people, of one line: why this gesture, or why none."""


class Policy(Protocol):
    """Chooses gestures for one run. Called by one task, one call at a time."""

    @property
    def looks(self) -> bool:
        """Whether it would look at the picture now, and at the text. Where not, a view need not have them: a picture
        takes as long as a hundred frames."""

    async def choose(self, view: View) -> Choice:
        """The next gesture.

        It may wait, though not for longer than `view.left_s`, can be cancelled at any time, and raises nothing else:
        what goes wrong makes a choice without an action.
        """


class Seeded:
    """The search's own choice: mostly what has brought something, sometimes any, at times two keys at once.

    Equal views in equal order and an equally seeded `rng` give equal choices. It always makes one.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __repr__(self) -> str:
        return "<Seeded>"

    @property
    def looks(self) -> bool:
        """See `Policy`."""
        return False

    async def choose(self, view: View) -> Choice:
        """See `Policy`. It does not wait."""
        return self.pick(view.options)

    def pick(self, options: Sequence[Option]) -> Choice:
        """The next gesture out of `options`, at least one."""
        action = self._one(options)
        if self._rng.random() < 0.25:
            other = self._one(options)
            if can_join(action, other):
                action = together(action, other)
        return Choice(action, self._rng.choice(_HOLDS))

    def _one(self, options: Sequence[Option]) -> Action:
        if self._rng.random() < 0.2:
            return self._rng.choice(options).action
        return self._rng.choices(options, [_weight(each) for each in options])[0].action


def _weight(option: Option) -> float:
    # The prior counts like one try, so that an action that was never tried is not behind from the start.
    prior = _UNTRIED if option.change is None else 1.0 if option.change > 0 else _LITTLE
    return 0.05 + (prior + option.gain) / (1 + option.tries)
