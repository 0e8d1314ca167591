"""Which of the keys that a page's text promises do nothing, and of which of them that is a fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from agent_worker.games.actions import Action
from agent_worker.games.controls import candidates
from agent_worker.games.controls.known_controls import Controls, Dead
from agent_worker.games.controls.promised import Promise
from agent_worker.games.controls.starting import Situations
from agent_worker.games.controls.trials import Trials
from agent_worker.games.inputs import Step
from agent_worker.games.owned_time.experiments import GAP, HOLD, LONG, TAP, Effect, Moment

_AFTER: Final = 3
"""Controls after each of which it is tried what a key would do."""
_OTHER_WAY: Final = {"ArrowLeft": "ArrowRight", "ArrowRight": "ArrowLeft", "A": "D", "D": "A"}


class DeadKeys:
    """Looks for them in one game. Raises as `Lab` does.

    Args:
        controls: What was found so far; gets what is dead.
        promises: One for each key.
    """

    def __init__(
        self, situations: Situations, trials: Trials, controls: Controls, promises: tuple[Promise, ...]
    ) -> None:
        self._at, self._lab, self._trials = situations, situations.lab, trials
        self._controls, self._promises = controls, promises
        self._kept_away: dict[str, bool] = {}
        """Whether keys are kept from the game, by their controls' names."""

    async def look(self, confirm: Callable[[Action, Effect], Awaitable[None]], *, early: bool = False) -> None:
        """Presses each promised key that has done nothing so far, shortly and for long, wherever it should work.

        Args:
            confirm: Called for one that did something after all.
            early: Only those that a handler of the page keeps from the game, which takes a moment to know: others may
                do something only right after another control.
        """
        for promise in self._promises:
            told = any(each.promise == promise for each in self._controls.dead)
            if promise.key in self._controls.found or told or not self._at.playing:
                continue
            kept_away = await self._is_kept_away(promise)
            if not kept_away and (early or not (self._is_known_where(promise) and self._is_meant(promise))):
                continue
            tries = [(each, LONG) for each in self._at.moments] + [(self._at.moments[0], TAP)]
            if kept_away:
                tries = [(self._where(promise), HOLD)]
            await self._press(promise, tries, kept_away, confirm)

    async def _press(
        self,
        promise: Promise,
        tries: list[tuple[Moment, int]],
        kept_away: bool,
        confirm: Callable[[Action, Effect], Awaitable[None]],
    ) -> None:
        action = candidates.action_of(promise.key)
        for moment, hold in tries:
            effect = await self._trials.effect(moment, action, hold)
            if effect is not None:
                await confirm(action, effect)
            if self._lab.acted(moment, action, hold):
                return
        others = tuple(each.name for each in self._controls.found.values() if "playing" in each.situations)
        if others:
            self._controls.dead.append(Dead(promise, tuple(tries), others, kept_away))

    def doubtful(self) -> list[Promise]:
        """Keys that do nothing and of which it is not known whether they are meant."""
        return [each for each in self._promises if self._is_doubtful(each)]

    def _is_known_where(self, promise: Promise) -> bool:
        """Whether the situations that were met are enough to say that a promised key does nothing."""
        if promise.when in ("sometimes", "unseen"):
            return False
        if promise.when == "over":
            return self._at.over is not None
        # Where it had begun by itself, a key for the title may be for after the end of a round.
        return promise.when != "title" or self._at.past_title

    def _is_meant(self, promise: Promise) -> bool:
        """Whether the text promises this very key."""
        alive = [each for each in promise.group if each in self._controls.found]
        return not alive or _OTHER_WAY.get(promise.key) in alive

    def _where(self, promise: Promise) -> Moment:
        """The first moment at which it has to hold."""
        wanted = {"over": self._at.over, "title": self._at.title}.get(promise.when)
        return self._at.playing[0] if wanted is None else wanted

    async def _is_kept_away(self, promise: Promise) -> bool:
        """Whether a handler of the page stops the key on its way to the game, and the key does something there, or
        right after another one, where that is left out: so the game means it, whatever else the text may say."""
        if promise.when == "unseen" or (promise.when in ("over", "title") and not self._is_known_where(promise)):
            return False
        if promise.key not in self._kept_away:
            self._kept_away[promise.key] = await self._let_through(promise)
        return self._kept_away[promise.key]

    async def _let_through(self, promise: Promise) -> bool:
        action, start = candidates.action_of(promise.key), self._where(promise)
        if not await self._trials.is_stopped(start, action):
            return False
        after = []  # as to fall faster one has to jump before
        for control in [each for each in self._controls.found.values() if each.action.kind == "keys"][:_AFTER]:
            step = Step(start.frame, control.action, control.hold)
            after.append(Moment(start.name, start.inputs.then(step), step.end + GAP, start.calm))
        for moment in (start, *after):
            if await self._trials.acts_if_heard(moment, action):
                return True
        return False

    def _is_doubtful(self, promise: Promise) -> bool:
        found, told = self._controls.found, {each.promise.key for each in self._controls.dead}
        silent = "playing" in self._controls.tried.get(promise.key, ()) and not self._has_acted(promise.key)
        return silent and promise.key not in told and any(key in found for key in promise.group)

    def _has_acted(self, key: str) -> bool:
        """Whether a key has done anything anywhere, be it seen or not, or the same as any other key."""
        tries = [(moment, hold) for moment in self._at.moments for hold in (HOLD, LONG, TAP)]
        action = candidates.action_of(key)
        return key in self._controls.found or any(self._lab.acted(moment, action, hold) for moment, hold in tries)
