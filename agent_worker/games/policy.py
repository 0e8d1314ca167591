"""What the agent decides, as pure functions of what it has seen. The caller passes time and randomness in.

Times are seconds on the caller's clock; parts of the picture are 0 to 1 (pictures.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agent_worker.games.actions import Action, can_join, click, key, together
from agent_worker.games.errors import PageHung, TimeUp

if TYPE_CHECKING:
    import random

HUNG_AFTER_CPU_S: Final = 3.0
"""A page that has not answered while its main thread took this much processor time hangs: its own script does not
return. Not by the clock on the wall: on a busy machine an honest page waits for its turn."""
HUNG_AFTER_S: Final = 60.0
"""And one that has not answered for this long, whatever it does."""
REPLY_TIMEOUT_S: Final = 3.0
"""For what the browser answers without the page."""
MIN_EFFECT: Final = 0.0006
"""35 of the thumb's 57,600 pixels: a sprite of 24 viewport pixels that moves changes more."""
CLEAR_FACTOR: Final = 1.25
"""How far above the loudest idle moment a control's effect must be."""
RESTLESS: Final = 0.12
"""A picture that changes by this much when nothing is done hides the effect of a control."""
LITTLE: Final = 0.15
"""Expected gain of a gesture that did nothing when it was tried: it may have an effect later, such as after a pause."""
SUSPECT_S: Final = 0.8
"""How long a picture may stand still around a script error before the agent looks for the cause."""
STILL: Final = 0.0004
"""Below this two pictures are the same: JPEG noise and a blinking cursor change less."""

_OVER: Final = re.compile(
    r"\b(game\s*over|you(?:'ve| have)? (?:died|lose|lost|crashed|are dead)|play again|try again)\b", re.I
)
_MARKED: Final = re.compile(r"[(\[](\w)[)\]](?=\w)")
_SCORE: Final = re.compile(r"\b(?:score|points|pts)\b\W{0,4}(\d{1,9})|\b(\d{1,9})\s*(?:points|pts)\b", re.I)
_START_WORDS: Final = re.compile(r"\b(start|play|new game|begin|tap|go)\b", re.I)
_RESTART_WORDS: Final = re.compile(r"\b(again|restart|retry|new game|replay|continue|start|play|resume)\b", re.I)


@dataclass(frozen=True, slots=True)
class Plan:
    """When each phase has to be over, in seconds from the run's start, and how long its steps take.

    Attributes:
        load_s: What loading may take.
        discover_until_s: When the search for controls ends.
        explore_until_s: When playing ends.
        end_s: When waiting for a page that does not answer ends.
        trial_s: How long one gesture is held and watched.
        still_s: How long a picture has to stand still before the agent looks for the cause.
    """

    load_s: float
    discover_until_s: float
    explore_until_s: float
    end_s: float
    trial_s: float
    still_s: float


def plan(budget_s: float) -> Plan:
    """Divides a budget of at least 5 s: loading gets at most half, discovering ends at half, playing gets the rest.

    A twentieth is kept for the verdict, 1.3 to 2 s. Short budgets get shorter trials, which see less.
    """
    return Plan(
        load_s=min(15.0, budget_s * 0.5),
        discover_until_s=min(budget_s * 0.5, 40.0),
        explore_until_s=budget_s - min(2.0, max(1.3, budget_s * 0.05)),
        end_s=budget_s - 0.8,
        trial_s=min(0.35, max(0.25, budget_s / 100)),
        still_s=min(3.0, max(1.2, budget_s * 0.06)),
    )


def no_reply(waited_s: float, used_s: float | None, left_s: float, while_doing: str) -> PageHung | TimeUp | None:
    """What it means that a page does not answer; None: not yet anything.

    Args:
        waited_s: Since when.
        used_s: Processor time that its main thread took in the meantime; None: not known.
        left_s: Seconds that are left of the run.
        while_doing: What was asked of it.
    """
    if (waited_s if used_s is None else used_s) >= HUNG_AFTER_CPU_S or waited_s >= HUNG_AFTER_S:
        return PageHung(round(waited_s, 1), while_doing)
    return TimeUp(f"the run's time ended while {while_doing}") if left_s <= 0 else None


def ordinary(noise: Sequence[float]) -> float:
    """How much the picture changes when nothing is done, given the results of idle trials (at least one).

    Where most trials are calm, the others do not count: a round ended or a scene faded in during them.
    """
    calm_ones = [each for each in noise if calm(noise, each)]
    return max(calm_ones if len(calm_ones) * 2 >= len(noise) else noise)


def threshold(noise: Sequence[float]) -> float:
    """The part of the picture that a control's effect must exceed."""
    return ordinary(noise) * CLEAR_FACTOR + MIN_EFFECT


def calm(noise: Sequence[float], now: float) -> bool:
    """Whether the picture is about as quiet `now` as at its quietest, so that a trial can show an effect."""
    return now <= 2 * min(noise, default=now) + 4 * MIN_EFFECT


def restless(noise: Sequence[float]) -> bool:
    """Whether the picture moves so much by itself that a missing effect proves nothing."""
    return ordinary(noise) > RESTLESS


def over_words(words: str) -> frozenset[str]:
    """The phrases among `words` that say a round has ended, in lower case."""
    return frozenset(" ".join(match.lower().split()) for match in _OVER.findall(without_marks(words)))


def without_marks(words: str) -> str:
    """Texts that mark a letter as a key, such as "(P)lay again", without the marks."""
    return _MARKED.sub(r"\1", words)


def score_of(words: str) -> int | None:
    """The first score among `words`, or None."""
    match = _SCORE.search(words)
    return int(match[1] or match[2]) if match else None


Button = tuple[str, float, float]
"""Text and middle of a button, in viewport pixels."""


def start_gestures(buttons: Sequence[Button], viewport: tuple[int, int], middle: tuple[float, float]) -> list[Action]:
    """Gestures that may begin a game, the likeliest first: a button that says so, Space, Enter, the middle."""
    return [*_buttons(buttons, _START_WORDS, viewport), key("Space"), click(*middle), key("Enter")]


def restart_gestures(
    buttons: Sequence[Button], viewport: tuple[int, int], middle: tuple[float, float], known: Action | None
) -> list[Action]:
    """Gestures that may begin the next round; the one that worked before (`known`) comes first."""
    x, y = middle
    tries = [
        *_buttons(buttons, _RESTART_WORDS, viewport),
        key("Space"),
        key("Enter"),
        click(x, y),
        key("R", "r"),
        click(x, min(0.95, y + 0.1), "click below the middle"),
        click(x, min(0.95, y + 0.2), "click further down"),
    ]
    return [known, *(each for each in tries if each != known)] if known else tries


def _buttons(buttons: Sequence[Button], wanted: re.Pattern[str], viewport: tuple[int, int]) -> list[Action]:
    width, height = viewport
    return [click(x / width, y / height, f'click "{text}"') for text, x, y in buttons if wanted.search(text)][:3]


@dataclass(slots=True)
class Watch:
    """Follows the picture through time: when it stands still, and whether it used to move by itself."""

    still_s: float
    changed_at: float
    samples: int = 0
    alone_samples: int = 0
    alone_moves: int = 0

    def see(self, now: float, change: float, alone: bool) -> None:
        """One more picture at `now` that differs by `change`; `alone` if nothing was done in between."""
        self.samples += 1
        if change > STILL:
            self.changed_at = now
        if alone:
            self.alone_samples += 1
            self.alone_moves += change > STILL

    def still_for(self, now: float) -> float:
        """Seconds since the picture last changed."""
        return now - self.changed_at

    def stands_still(self, now: float, error_at: float = -math.inf) -> bool:
        """Whether it is time to look for the cause: sooner after a script error at `error_at`."""
        suspect = error_at > self.changed_at - SUSPECT_S
        return self.still_for(now) >= (min(SUSPECT_S, self.still_s) if suspect else self.still_s)

    @property
    def lively(self) -> bool:
        """Whether the picture used to move when nothing was done, so that a standstill is a fault."""
        return self.alone_samples >= 3 and self.alone_moves * 2 > self.alone_samples


@dataclass(slots=True)
class Explorer:
    """Chooses the next gesture: mostly what has shown new scenes, sometimes any, at times two keys at once.

    Equal seeds and equal gains give equal choices.
    """

    actions: Sequence[Action]
    prior: Mapping[str, float]
    """Expected gain of each action, by name; an action that is missing here has `LITTLE`."""
    rng: random.Random
    tries: dict[str, int] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)

    def choose(self) -> tuple[Action, float]:
        """The next gesture and how many seconds to hold it."""
        action = self._pick()
        if self.rng.random() < 0.25:
            other = self._pick()
            if can_join(action, other):
                action = together(action, other)
        return action, self.rng.choice((0.08, 0.15, 0.25, 0.4))

    def learn(self, action: Action, gain: float) -> None:
        """The gain of `action`: 1 for a scene never seen, less for a mere change, 0 for nothing."""
        for name in action.name.split("+"):
            self.tries[name] = self.tries.get(name, 0) + 1
            self.gains[name] = self.gains.get(name, 0.0) + gain

    def _pick(self) -> Action:
        if self.rng.random() < 0.2:
            return self.rng.choice(self.actions)
        return self.rng.choices(self.actions, [self._weight(each) for each in self.actions])[0]

    def _weight(self, action: Action) -> float:
        # The prior counts like one try, so that an action that was never tried is not behind from the start.
        gain = self.prior.get(action.name, LITTLE) + self.gains.get(action.name, 0.0)
        return 0.05 + gain / (1 + self.tries.get(action.name, 0))
