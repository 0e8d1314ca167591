"""Stress: what people and devices do to a game that no tester of its rules does. Each with its counterfactual.

Every stress is a short episode from a moment of play, and beside it the same episode without it. Both end with the same
use of the controls, so that a game that no longer answers shows. What only the first one has was caused by the stress:
`Episode.only_here`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from agent_worker.games.actions import ARROWS, SPACE, Action, Mouse, Outside, can_join, click, key, together
from agent_worker.games.errors import PageGone, PageHung, TimeUp
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Trace, parting
from agent_worker.games.play.episodes import (
    BLANK,
    DEAF,
    STILL,
    STOPPED,
    Control,
    Episode,
    Event,
    Situation,
    Tell,
    errors,
)
from agent_worker.games.play.look import Look, ended_by, look
from agent_worker.games.screen import PORTRAIT

_LENGTH: Final = 60
"""Frames that a stress may take."""
_CALM: Final = 20
"""Frames after it before the controls are used."""
_TAP: Final = 8
"""Frames for which a control is held after it, and those between two."""
_MAX_TAPS: Final = 6
_LAST: Final = 40
"""Frames at the end in which the game's loop and its picture are watched."""
_REACH: Final = _LENGTH + _CALM + 2 * _TAP * _MAX_TAPS + _LAST
"""Frames of an episode at most, from its moment on."""
_MAX_KEYS: Final = 12
"""Keys that are held at once: more than two hands can."""

Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Stress:
    """One stress: its name, and what is done from frame `at` on, within `_LENGTH` frames, with these controls."""

    name: str
    done: Callable[[int, Sequence[Action]], Steps]
    from_load: bool = False
    """It is done to the way into the game, not to a moment of play."""
    many: bool = False
    """So much is done that it is asked whether the game hears its controls afterwards, although it may move on."""
    portrait: bool | None = None
    """Only on a screen that is held upright, or only on one that is not; None: on any."""


def _other(kind: Mouse | Outside, name: str = "", *, to_x: float = 0.5, to_y: float = 0.5) -> Action:
    """A gesture that is no control of most games; `resize` is to `to_x, to_y` of the viewport."""
    return Action(name or kind, kind, to_x=to_x, to_y=to_y)


def _nothing(_at: int, _controls: Sequence[Action]) -> Steps:
    return ()


def _rapid(at: int, controls: Sequence[Action]) -> Steps:
    return tuple(Step(at + 2 * number, controls[number % len(controls)], 1) for number in range(_LENGTH // 2))


def _hammer(at: int, controls: Sequence[Action]) -> Steps:
    # The last one found is seldom a direction: it jumps, shoots, rotates.
    return tuple(Step(at + 3 * number, controls[-1], 1) for number in range(_LENGTH // 3))


def _all_at_once(at: int, controls: Sequence[Action]) -> Steps:
    keys = tuple(dict.fromkeys(each for action in controls if action.kind == "keys" for each in action.keys))
    held = Action("all at once", "keys", keys[:_MAX_KEYS]) if keys else controls[0]
    clicks = [Step(at + 10, each, 4) for each in controls if each.kind == "click"][:1]
    return (Step(at, held, 30), *clicks)


def _pairs(at: int, controls: Sequence[Action]) -> Steps:
    pairs = [
        together(one, other) for n, one in enumerate(controls) for other in controls[n + 1 :] if can_join(one, other)
    ]
    return tuple(Step(at + 10 * number, each, 8) for number, each in enumerate(pairs[: _LENGTH // 10]))


def _resize(to_x: float, to_y: float) -> Callable[[int, Sequence[Action]], Steps]:
    action = _other("resize", f"resize to {to_x:g} x {to_y:g}", to_x=to_x, to_y=to_y)
    return lambda at, _: (Step(at, action, 40),)


def _there_and_back(away: Action, back: Action) -> Callable[[int, Sequence[Action]], Steps]:
    return lambda at, _: (Step(at, away, 1), Step(at + 40, back, 1))


def _held_over_blur(at: int, controls: Sequence[Action]) -> Steps:
    return (Step(at, controls[0], 50), Step(at + 5, _other("blur"), 1), Step(at + 40, _other("focus"), 1))


def _zoom(at: int, _: Sequence[Action]) -> Steps:
    wheels = [_other("wheel", "wheel down", to_y=0.9), _other("wheel", "wheel up", to_y=0.1)]
    keys = [key("Ctrl+Plus", "Control+="), key("Ctrl+Minus", "Control+-"), key("Ctrl+0", "Control+0")]
    zooms = [Action(each.name, "keys", tuple(each.keys[0].split("+", 1))) for each in keys]
    return tuple(Step(at + 10 * number, each, 4) for number, each in enumerate([*wheels, *zooms]))


def _right_click(at: int, _: Sequence[Action]) -> Steps:
    right, double = _other("rightclick", "right click"), _other("doubleclick", "double click")
    return (Step(at, right, 4), Step(at + 15, double, 4), Step(at + 30, right, 4))


def _start_twice(at: int, _: Sequence[Action]) -> Steps:
    starts = (key("Enter"), key("Space"), click(0.5, 0.5))
    return tuple(Step(at + 2 * number, starts[number % 3], 1) for number in range(12))


STRESSES: Final = (
    Stress("rapid inputs", _rapid, many=True),
    Stress("one control hammered", _hammer, many=True),
    Stress("all controls at once", _all_at_once),
    Stress("controls in pairs", _pairs),
    Stress("start twice", _start_twice, from_load=True),
    Stress("small window and back", _resize(0.4, 0.5), portrait=False),
    Stress("portrait and back", _resize(0.4, 1.0), portrait=False),
    Stress("turned and back", _resize(PORTRAIT[1] / PORTRAIT[0], PORTRAIT[0] / PORTRAIT[1]), portrait=True),
    Stress("focus lost and back", _there_and_back(_other("blur"), _other("focus"))),
    Stress("focus lost with a control held", _held_over_blur),
    Stress("tab hidden and shown", _there_and_back(_other("hide"), _other("show"))),
    Stress("network lost and back", _there_and_back(_other("offline"), _other("online"))),
    Stress("wheel and zoom keys", _zoom),
    Stress("right click and double click", _right_click),
)
MANY: Final = tuple(each for each in STRESSES if each.many)
"""What some games do not survive: cheap, and worth trying early."""


def applicable(stage: Stage) -> list[Stress]:
    """Those that there are on the screen on which the game is played."""
    return [each for each in STRESSES if each.portrait in (None, stage.screen.portrait)]


async def stress(
    stage: Stage,
    controls: Sequence[Control],
    situations: Sequence[Situation],
    told: Tell,
    until_s: float,
    stresses: Sequence[Stress] | None = None,
) -> list[Episode]:
    """Plays each stress from a moment of play, and the same without it.

    Args:
        stresses: All that are applicable, without it.
        situations: The first whose name begins with "play" is used, else the last; without any, the page as loaded.
        until_s: On the event loop's clock. No stress is begun that would probably take longer.

    Returns:
        An episode for each stress, with the one without it as `against`.

    Raises:
        LoadFailed, PageGone: The game could not be opened again.
    """
    clock = asyncio.get_running_loop().time
    actions = [each.action for each in controls] or [*ARROWS.actions, *SPACE.actions]
    inputs, frame = _moment(situations)
    without: dict[int, Episode] = {}
    episodes: list[Episode] = []
    stresses = applicable(stage) if stresses is None else stresses
    for each in stresses:
        at = 1 if each.from_load else frame
        base = Inputs() if each.from_load else inputs
        runs = (1 if at in without else 2) * (2 if each.many else 1)
        if clock() + stage.needs_s(runs * (at + _REACH), runs) >= until_s:
            break
        with suppress(TimeUp):
            if at not in without:
                many = any(other.many for other in stresses if other.from_load is each.from_load)
                nothing = Stress(f"without {each.name}", _nothing, many=many)
                without[at] = await _played(stage, nothing, base, at, actions)
            episode = await _played(stage, each, base, at, actions, without[at])
            episodes.append(episode)
            if episode.only_here:
                await told(_line(episode), step="stress")
    if episodes:
        harmless = sum(not each.only_here for each in episodes)
        ways = "one way" if len(episodes) == 1 else f"{len(episodes)} ways"
        await told(f"Treated it roughly in {ways}; {harmless} had no effect that lasts", step="stress")
    return episodes


def _moment(situations: Sequence[Situation]) -> tuple[Inputs, int]:
    playing = [each for each in situations if each.name.startswith("play")]
    chosen = playing[0] if playing else situations[-1] if situations else None
    return (chosen.inputs, max(1, chosen.frame)) if chosen else (Inputs(), 1)


async def _played(
    stage: Stage,
    what: Stress,
    base: Inputs,
    at: int,
    controls: Sequence[Action],
    against: Episode | None = None,
) -> Episode:
    """One episode from frame `at`: the stress, a pause, each of some controls; then the game is watched."""
    done, begin = what.done(at, controls), at + _LENGTH + _CALM
    taps = [Step(begin + 2 * _TAP * number, each, _TAP) for number, each in enumerate(controls[:_MAX_TAPS])]
    inputs = base.then(*done, *taps)
    end = begin + 2 * _TAP * len(taps) + _LAST
    events: list[Event] = []
    trace = Trace()
    try:
        await stage.play(inputs, at)  # what happens up to here is not of this episode
        trace = await stage.play(inputs, end - _LAST, watch_from=begin)
        middle = await look(stage)
        last = await stage.play(inputs, end)
        now = await look(stage)
        happened = (*trace.happened, *last.happened)
        events += [Event(each.frame, each.incident.kind, each.incident.detail) for each in happened if each.frame > at]
        events += _silence(trace, middle, now)
        if what.many and not now.over:  # a round that has ended hears nothing for a good reason
            untouched = await stage.play(base.then(*done), end - _LAST, watch_from=begin)
            events += [Event(end, DEAF)] if parting(trace, untouched) is None else []
    except (PageHung, PageGone) as trouble:
        if stage.page is None or not await stage.page.browser_lives():
            raise
        events.append(Event(stage.ended_by()[1], await ended_by(stage.page, trouble), str(trouble)))
        await stage.page.break_script()
        await stage.open()
    return Episode(what.name, inputs, at, end, tuple(events), trace=trace, against=against)


def _silence(trace: Trace, middle: Look, now: Look) -> list[Event]:
    """What is missing at the end: the loop, the picture, any change although the controls are used."""
    events = []
    if now.state.frames == middle.state.frames:
        events.append(Event(now.frame, STOPPED))
    if now.blank:
        events.append(Event(now.frame, BLANK))
    if len({(each.pixels, each.page) for each in trace.samples}) == 1:
        events.append(Event(now.frame, STILL))
    return events


def _line(episode: Episode) -> str:
    shown = errors(episode.only_here) or list(episode.only_here)
    words = {STOPPED: "the main loop stops", BLANK: "the picture is blank", STILL: "nothing changes any more"}
    words[DEAF] = "the controls do nothing any more"
    effect = words.get(shown[0].kind, shown[0].detail or shown[0].kind)
    return f"After {episode.name}, and not without: {effect}"[:300]
