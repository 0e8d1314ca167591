"""When what a gesture did counts as a control: when it is seen or heard again, and nothing simpler does the same.

A click moves the pointer as well, a drag clicks; on a title that waits for any key, each key does something. So what a
gesture did is compared with what the simpler ones in it do at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from agent_worker.games.actions import Action, click
from agent_worker.games.controls.candidates import NO_KEY
from agent_worker.games.errors import PageGone, PageHung, TimeUp
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.experiments import HOLD, TAP, WATCH, Broken, Effect, Lab, Moment, Spent
from agent_worker.games.owned_time.trace import parting

_OF_CLICKS: Final = ("doubleclick", "hold")
"""Kinds of gestures that are made of clicks: they mean something of their own where a click does nothing."""
_AGAIN: Final = 40
"""Frames between a press and the next, where it takes two to know."""


class Trials:
    """Tries gestures in one lab. Raises as `Lab` does."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def effect(self, moment: Moment, action: Action, hold: int = HOLD, *, afresh: bool = False) -> Effect | None:
        """What `action` does at `moment` that counts, and that nothing simpler does."""
        if action.kind in _OF_CLICKS and await self._lab.effect(moment, self._click(action)) is not None:
            return None
        effect = await self._lab.effect(moment, action, hold, afresh=afresh)
        if effect is None or not await self._counts(effect):
            return None
        if action.name in ("Space", "Enter") and await self._presses_focused(moment):
            return None
        for simpler in self._simpler(action):
            less = await self._lab.effect(moment, simpler, hold)
            if less is not None and effect.same(less):
                return None
        if action.kind == "drag":
            return effect if await self._drags(effect) else None
        return effect

    async def is_stopped(self, moment: Moment, action: Action) -> bool:
        """Whether a handler of the page keeps the press of a key there from those that would come after it."""
        step = Step(moment.frame, action, TAP)
        lab = self._lab
        lab.begin_branch()
        with _noted(lab, moment.inputs.then(step), step.end):
            if lab.stage.frame > moment.frame:
                await lab.stage.open()
            return (await lab.stage.pressed(moment.inputs.then(step), step, moment.frame, 1))[1]
        return False

    async def acts_if_heard(self, moment: Moment, action: Action) -> bool:
        """Whether the press of a key does something there where no handler keeps it from the game."""
        base = await self._lab.baseline(moment)
        step = Step(moment.frame, action, HOLD)
        if base.agreed is False:
            return False
        self._lab.begin_branch()
        with _noted(self._lab, moment.inputs.then(step), step.end):
            heard = await self._lab.stage.heard(moment.inputs.then(step), step, moment.frame + HOLD + WATCH)
            return parting(heard, base.trace) is not None
        return False

    def _simpler(self, action: Action) -> list[Action]:
        """Gestures that are part of `action`, or that mean nothing in particular."""
        place = Action("move pointer", "move", x=action.x, y=action.y)
        match action.kind:
            case "keys":
                return [] if action.keys == NO_KEY.keys or len(action.keys) > 1 else [NO_KEY]
            case "click":
                return [place]
            case "rightclick" | "drag":
                return [place, self._click(action)]
            case "swipe":
                return [self._click(action)]
            case "wheel" | "doubleclick":
                return [place]
            case "hold":
                return [] if self._lab.stage.screen.touch else [place]
        return []

    def _click(self, action: Action) -> Action:
        """A click or a tap where `action` is done."""
        made = Action("tap", "tap") if self._lab.stage.screen.touch else click(0.5, 0.5)
        return replace(made, x=action.x, y=action.y)

    async def _presses_focused(self, moment: Moment) -> bool:
        """Whether Space and Enter press the button or the link there that was clicked last: the browser does that."""
        return (await self._lab.baseline(moment)).focus in ("A", "BUTTON", "INPUT", "SELECT", "SUMMARY", "TEXTAREA")

    async def _drags(self, effect: Effect) -> bool:
        """Whether it matters that the button is held on the way: moving to its end does less, or clicking nothing."""
        moment, action, hold = effect.moment, effect.step.action, effect.step.hold
        moved = await self._lab.effect(moment, Action("move pointer", "move", x=action.to_x, y=action.to_y), hold)
        if moved is None or not moved.seen:
            return True
        clicked = await self._lab.effect(moment, click(action.x, action.y), hold)
        return (clicked is None or not clicked.seen) and bool(effect.ways - moved.ways)

    async def _counts(self, effect: Effect) -> bool:
        """Whether it can be seen, or is heard each time: the first key of all often lets a page play sounds."""
        if effect.seen:
            return True
        if "sound" not in effect.ways:
            return False
        moment, action = effect.moment, effect.step.action
        once = moment.inputs.then(Step(moment.frame, action, TAP))
        again = replace(moment, inputs=once, frame=moment.frame + _AGAIN)
        second = await self._lab.effect(again, action, effect.step.hold, runs=1)
        return second is not None and "sound" in second.ways


@contextmanager
def _noted(lab: Lab, inputs: Inputs, until: int) -> Iterator[None]:
    """Notes what hangs the page or ends it, and goes on behind the block. Raises Spent where the time is over."""
    try:
        yield
    except (PageHung, PageGone) as error:
        lab.broken.append(Broken(inputs, until, error))
    except TimeUp as error:
        raise Spent from error
