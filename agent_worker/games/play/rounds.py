"""Ends of rounds: recognised by words and by experiment, and how the next round is begun.

The experiment compares three runs from the same moment: nothing is done, the controls are used, gestures are tried that
may begin a new round. A gesture is said to restart a game only if the game did not begin again by itself in that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent_worker.games.actions import Action, click, key, largest
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Happened, parting
from agent_worker.games.play.cells import changed
from agent_worker.games.play.episodes import GameOver
from agent_worker.games.play.look import Look, look
from agent_worker.games.policy import restart_gestures

_PAUSE: Final = 45
"""Frames before a restart is tried: many games ignore input for half a second, so that nobody restarts by accident."""
_SETTLE: Final = 30
"""Frames after a gesture until it is judged: a fade or a scene's change."""
_ALONE: Final = 180
"""Frames in which a game may begin again by itself."""
_TAP: Final = 6
"""Frames for which a control is held in the experiment, and those between two."""
_MAX_TAPS: Final = 12
_BACK: Final = 0.004
"""The part of the picture that another one shows when a round has begun again."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of a round's end, and where the game stands now: `stage.play(inputs, frame)`."""

    over: GameOver
    inputs: Inputs
    frame: int
    back: bool
    """The game goes on: a round was begun, by a gesture or by itself."""
    happened: tuple[Happened, ...] = ()
    """Incidents on the way."""


async def end_of_round(
    stage: Stage, inputs: Inputs, seen: Look, controls: Sequence[Action], known: Action | None, *, tried: bool
) -> Ending:
    """Brings the game back from where it stands after `seen`, the look that showed that a round is over.

    Args:
        inputs: All that was done since the load.
        controls: The gestures with which the game is played.
        known: The gesture that began a round before.
        tried: Also makes the experiment, at the price of two replays.
    """
    phrases = tuple(sorted(seen.over))
    ignored: bool | None = None
    if tried:
        alone = await stage.play(inputs, seen.frame + _ALONE, watch_from=seen.frame)
        by_itself = await look(stage)
        if _is_back(seen, by_itself) and phrases:
            over = GameOver(inputs, seen.frame, phrases, None, None)
            return Ending(over, inputs, by_itself.frame, back=True)
        others = [each for each in controls if each != known][:_MAX_TAPS]
        taps = [Step(seen.frame + 2 * _TAP * number, each, _TAP) for number, each in enumerate(others)]
        until = min(seen.frame + _ALONE, seen.frame + 2 * _TAP * (len(taps) + 1))
        used = await stage.play(inputs.then(*taps), until, watch_from=seen.frame)
        ignored = parting(alone, used) is None if taps else None
    return await _restart(stage, inputs, seen, known, ignored)


async def _restart(stage: Stage, inputs: Inputs, seen: Look, known: Action | None, ignored: bool | None) -> Ending:
    at, frame = inputs, seen.frame + _PAUSE
    phrases = tuple(sorted(seen.over))
    happened: list[Happened] = []

    async def looked() -> Look:
        trace = await stage.play(at, frame)
        happened.extend(each for each in trace.happened if each.frame > seen.frame)
        return await look(stage)

    def ending(gesture: Action | None, back: bool) -> Ending:
        over = GameOver(inputs, seen.frame, phrases, ignored, gesture)
        return Ending(over, at, frame, back, tuple(happened))

    before = await looked()
    if phrases and _is_back(seen, before):
        return ending(None, back=True)  # by itself
    for gesture in _gestures(seen, known, stage.screen.viewport):
        step = Step(frame, gesture)
        at, frame = at.then(step), step.end + _SETTLE
        after = await looked()
        if _is_back(seen if phrases else before, after):
            return ending(gesture, back=True)
        before = after
    return ending(None, back=False)


def _gestures(seen: Look, known: Action | None, viewport: tuple[int, int]) -> list[Action]:
    """What may begin a round again: what a button or the text names first."""
    left, top, width, height = largest(seen.state.canvases, viewport)
    tries = restart_gestures(seen.state.buttons, viewport, (left + width / 2, top + height / 2), known)
    named = [key(word.upper(), word) for word in ("r", "n", "p") if _asks_for(word, seen.state.words)]
    unique = list(dict.fromkeys([*named, *tries])) if known is None else list(dict.fromkeys(tries))
    return unique or [click(0.5, 0.5)]


def _asks_for(letter: str, words: str) -> bool:
    told = f" {words.lower()} ".replace('"', " ").replace("'", " ").replace("[", " ").replace("]", " ")
    return any(f"{verb} {letter} " in told for verb in ("press", "hit", "key"))


def _is_back(then: Look, now: Look) -> bool:
    return not (then.over & now.over) and changed(then.raster, now.raster) >= _BACK
