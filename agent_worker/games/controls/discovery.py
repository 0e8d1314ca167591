"""Which keys and gestures control a game: each shown by experiment, in several situations.

Every key a game could mean is tried at moments at which it is played, on its title and after the end of a round. The
likely ones are tried alone; the others one after another in one run, as long as that stays equal to the run without
input. What is hardly meant (keys that no script names, gestures that nothing listens to) comes at the end of a run. A
control is told once it has done something twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from agent_worker.games.actions import ARROWS, OPPOSITE, WASD, Action
from agent_worker.games.controls import candidates
from agent_worker.games.controls.dead_keys import DeadKeys
from agent_worker.games.controls.hot_spots import hot_spots
from agent_worker.games.controls.known_controls import Control, Controls, evidence, line, told_data
from agent_worker.games.controls.starting import Situations, Tell
from agent_worker.games.controls.trials import Trials
from agent_worker.games.inputs import Step
from agent_worker.games.owned_time.experiments import BRIEF, GAP, HOLD, LONG, Effect, Lab, Moment, Spent
from agent_worker.games.wording import family_of

Between = Callable[[], Awaitable[None]]
ANY_KEY: Final = "any key"
"""The control's name where every key does the same."""
STEERING: Final = ("ArrowRight", "ArrowLeft", "D", "A", "ArrowUp", "W")
"""Controls that are held while others are tried."""
FALLING: Final = ("ArrowDown", "S")
"""Keys with which one falls faster or ducks, in a jump alone."""
MAX_USED: Final = 4
"""Controls after each of which the others are tried."""
MAX_ALONE: Final = 14
"""Likely keys that get a run each."""
MAX_BUTTONS: Final = 8
"""Buttons of a page that are tried: more of them are a shop, not a game's controls."""
MAX_SUSPECTS: Final = 5
"""How many of the gestures that had begun before a run changed are tried alone: effects may be delayed."""
FEW: Final = 4
"""With fewer controls most games cannot be played."""
MAX_GROUP: Final = 900
"""Frames of one run in which many keys are tried."""
SOON: Final = 36
"""Frames before the end of a round in which no key of such a run begins: nearly all do something sooner."""


class ControlSearch:
    """Finds the controls of a game at the moments that `get_in` has found. Not for two tasks at once.

    Args:
        between: Called once, when the likeliest keys are known; may use the stage.

    Raises:
        LoadFailed: from `likely_ones` and `rest`: the game cannot be opened any more.
    """

    def __init__(self, situations: Situations, told: Tell, between: Between | None = None) -> None:
        self.between = between
        self.lab: Lab = situations.lab
        self.at = situations
        self.told = told
        self.trials = Trials(self.lab)
        self.controls = Controls(broken=self.lab.broken, determinism=self.lab.determinism)
        self.promises = {promise.key: promise for promise in situations.promises}
        self.dead_keys = DeadKeys(situations, self.trials, self.controls, tuple(self.promises.values()))
        known = candidates.known_keys(situations.sources)
        self.likely, self.others = candidates.keys(tuple(self.promises), known)
        self.said = ""
        self._counted = 0
        self.known_spots: list[tuple[float, float]] | None = None
        self.done: set[tuple[Moment, Action]] = set()
        """Where each gesture was tried; a moment stands for its situation as well."""
        self.pointed: set[Moment] = set()
        """Where a gesture of the pointer did something."""

    @property
    def viewport(self) -> tuple[int, int]:
        """Of the game's page, in pixels."""
        return self.lab.stage.screen.viewport

    async def likely_ones(self, until_s: float, late_s: float = 0.0) -> None:
        """Tries what the game probably means, and all else where that does nothing.

        Args:
            until_s: On the event loop's clock.
            late_s: Where hardly any are known at `until_s`, the search goes on until then: most of what follows needs
                controls.
        """
        await self._until(until_s, self._in_all_situations)
        if late_s > until_s and self.has_hardly_begun():
            await self._until(late_s, self._in_all_situations)

    async def rest(self, until_s: float) -> None:
        """Tries what is left, the likely ones first, until then on the event loop's clock."""
        await self._until(until_s, self._in_all_situations)
        await self._until(until_s, self._all_the_rest)

    async def _until(self, until_s: float, work: Callable[[], Awaitable[None]]) -> None:
        self.lab.until_s = until_s
        self.lab.forget_pause()
        with suppress(Spent):
            if self.at.states:
                await work()

    async def _in_all_situations(self) -> None:
        """The most telling first."""
        for number, moment in enumerate(self.at.moments):
            if (await self.lab.baseline(moment)).agreed is False:
                continue
            if not number:
                await self.alone(moment, self.first() if self.at.states[moment].hears_keys else ())
                await self.dead_keys.look(self.confirm, early=True)
                await self.known_from_getting_in()
                await self.after_others()
            if not number and self.between is not None:
                between, self.between = self.between, None
                await between()
                self.lab.forget_pause()
            if not number:
                await self.dead_keys.look(self.confirm)
            await self.buttons(moment)
            await self.in_groups(moment, await self.meant(moment))
            await self.pointer(moment)
        await self.together(self.likely)
        if not self.controls.found:
            await self._all_the_rest()

    async def known_from_getting_in(self) -> None:
        """What was done first on the title, and what has brought a round back: both are known to do something."""
        if self.at.begun_by:
            await self.alone(self.at.title, self.at.begun_by[:1])
        if self.at.over is not None and self.at.restarted_by is not None:
            await self.alone(self.at.over, [self.at.restarted_by])

    async def _all_the_rest(self) -> None:
        for moment in self.at.moments:
            if (await self.lab.baseline(moment)).agreed is False:
                continue
            every = [*await self.meant(moment), candidates.NO_KEY, *self.likely]
            await self.in_groups(moment, list(dict.fromkeys((*every, *await self.by_pointer(moment), *self.others))))
            await self.pointer(moment)
            _, clicks, _, _ = await self.gestures(moment)
            await self.alone(moment, [candidates.long_press(clicks[0])])
        await self.together([*self.likely, *self.others])

    async def meant(self, moment: Moment) -> list[Action]:
        """What the game may mean there: keys that are promised, named or usual, and gestures that it listens to."""
        keys = [candidates.NO_KEY, *self.likely] if (state := self.at.states[moment]).hears_keys else []
        return [*keys, *(await self.by_pointer(moment) if state.hears_pointer else ())]

    async def by_pointer(self, moment: Moment) -> list[Action]:
        """All gestures of the pointer, the likeliest first."""
        return [action for each in await self.gestures(moment) for action in each]

    def has_hardly_begun(self) -> bool:
        """Whether few controls are known and a likely key was not tried yet where the game is played; of a game that
        hears no keys, whether none is known."""
        moment = self.at.moments[0]
        if moment not in self.at.states or not self.at.states[moment].hears_keys:
            return not self.controls.found
        return len(self.controls.found) < FEW and bool(self.left(self.first(), moment))

    def first(self) -> list[Action]:
        """The keys that are worth a run each where the game is played."""
        elsewhere = {key for key, promise in self.promises.items() if promise.when in ("over", "title")}
        rare = elsewhere | (candidates.RARELY_ALONE - self.promises.keys())
        return [each for each in self.likely if each.name not in rare][:MAX_ALONE]

    def left(self, actions: Iterable[Action], moment: Moment) -> list[Action]:
        """Those of which it is not known yet whether they do something in the situation of `moment`."""
        known = {each.name for each in self.controls.found.values() if moment.name in each.situations}
        return [each for each in actions if each.name not in known and (moment, each) not in self.done]

    async def alone(self, moment: Moment, actions: Iterable[Action]) -> None:
        """Each in a run of its own."""
        for action in self.left(actions, moment):
            known = self.controls.found.get(action.name)
            if known and moment.name in known.situations:
                continue
            await self.say(action)
            effect = await self.trials.effect(moment, action, LONG if action.kind == "hold" else HOLD)
            if effect is not None and known is None:
                name = ANY_KEY if action == candidates.NO_KEY else action.name
                await self.confirm(replace(action, name=name), effect)
            elif effect is not None and known is not None:
                known.situations.append(moment.name)
                known.shown, known.tried = known.shown + 1, known.tried + 1
            self.note(action, moment)
            self.done.add((moment, action))

    async def buttons(self, moment: Moment) -> None:
        """What the page offers there for clicking and has not offered before."""
        offered = candidates.buttons(self.at.states[moment], self.viewport)
        await self.alone(moment, [each for each in offered if each.name not in self.controls.tried][:MAX_BUTTONS])

    async def in_groups(self, moment: Moment, every: Sequence[Action]) -> None:
        """All gestures in one run, as long as they do nothing; then without the one that did."""
        size = max(1, (min(moment.calm, MAX_GROUP) - SOON) // (BRIEF + GAP))
        await self.alone(moment, [each for each in every if self.lab.acted(moment, each)])  # by getting in
        skipped: set[Action] = set()
        while group := [each for each in self.left(every, moment) if self._among_others(each, moment, skipped)][:size]:
            await self.say(group[min(1, len(group) - 1)])
            found = await self.lab.first_alive(moment, group)
            for action in group[: found.dead]:
                self.note(action, moment)
                self.done.add((moment, action))
            if found.alive is None:
                if not found.dead:
                    return
                continue
            suspects = group[max(0, found.alive - MAX_SUSPECTS + 1) : found.alive + 1][::-1]
            culprit = await self._culprit(moment, suspects)
            if culprit is None:
                await self.lab.baseline(moment, runs=2)
            skipped.add(culprit or suspects[0])
            if culprit and culprit.kind != "keys":
                self.pointed.add(moment)

    def _among_others(self, action: Action, moment: Moment, skipped: set[Action]) -> bool:
        """Whether it can be done among others there. No key can where any key acts, and no gesture of the pointer where
        one acts: of these, the likely ones alone are tried."""
        one_for_all = self.lab.acted(moment, candidates.NO_KEY) if action.kind == "keys" else moment in self.pointed
        return not one_for_all and action not in skipped

    async def pointer(self, moment: Moment) -> None:
        """Gestures of the pointer, each alone, where one of them does something."""
        moves, clicks, strokes, rarer = await self.gestures(moment)
        if not any(self.lab.acted(moment, each) for each in (*moves, *clicks, *strokes)):
            return
        await self.alone(moment, clicks[:3])
        await self.alone(moment, [strokes[0], strokes[2]])
        if any(each.name in self.controls.found for each in strokes):
            await self.alone(moment, [strokes[1], strokes[3]])
        await self.alone(moment, rarer)

    async def gestures(self, moment: Moment) -> tuple[list[Action], list[Action], list[Action], list[Action]]:
        """Moves, clicks, strokes and what is rarer; those of a finger where the page is for one."""
        finger, state = self.lab.stage.screen.touch, self.at.states[moment]
        spots = [] if finger else await self.spots(moment)
        clicks = candidates.clicks(state, self.viewport, spots, finger=finger)
        strokes = candidates.strokes(state, self.viewport, spots, finger=finger)
        if finger:
            return [], clicks, strokes, []
        rarer = candidates.rarer_gestures(state, self.viewport, spots)
        return candidates.moves(state, self.viewport), clicks, strokes, rarer

    async def spots(self, moment: Moment) -> list[tuple[float, float]]:
        """Where the game shows, at the first moment that is tried, that it can be clicked or dragged."""
        if self.known_spots is None:
            state = self.at.states[moment]
            hears = any(kind.startswith(("mouse", "pointer")) for kind in state.listens)
            found: list[tuple[float, float]] = []
            if hears and state.canvases:
                found = await hot_spots(self.lab, moment, candidates.box_of(state, self.viewport))
            self.known_spots = found
        return self.known_spots

    async def _culprit(self, moment: Moment, suspects: Sequence[Action]) -> Action | None:
        """The one of `suspects`, the last pressed first, that does something alone."""
        for action in suspects:
            await self.alone(moment, [action])
            if action.name in self.controls.found or self.lab.acted(moment, action):
                return action
        return None

    async def confirm(self, action: Action, effect: Effect) -> None:
        """Does it again, at another moment of the same situation or else at the same one, and tells it."""
        control = Control(action.name, action, effect.step.hold, effect, promised=action.name in self.promises)
        control.situations.append(effect.moment.name)
        gesture, hold = effect.step.action, effect.step.hold
        others = [each for each in self.at.moments if each.name == effect.moment.name and each != effect.moment]
        if self.lab.slow:  # each moment has to be played twice without input before it can be used
            others = []
        again = await self.lab.effect(others[0], gesture, hold, closely=False) if others else None
        if again is None or not again.ways & effect.ways:
            again = await self.lab.effect(effect.moment, gesture, hold, closely=False, afresh=True)
        if again is None or not again.ways & effect.ways:
            return
        control.shown = control.tried = 2
        control.effect = max(effect, again, key=lambda each: each.change)
        self.controls.found[control.name] = control
        await self.told.evidence(line(control), evidence(control.effect), **told_data(control))

    async def after_others(self) -> None:
        """Keys that did nothing so far, right after a control was used: to fall faster one has to jump before."""
        if not self.at.playing or self.lab.acted(start := self.at.playing[0], candidates.NO_KEY):
            return
        used = [each for each in self.controls.found.values() if each.action.kind == "keys"]
        for control in [each for each in used if "playing" in each.situations][:MAX_USED]:
            step = Step(start.frame, control.action, control.hold)
            moment = Moment(start.name, start.inputs.then(step), step.end + GAP, start.calm)
            steering = (*ARROWS.actions, *WASD.actions)
            opposite = [each for each in steering if OPPOSITE[each.keys[0]] in control.action.keys]
            every = list(dict.fromkeys((*opposite, *map(candidates.action_of, FALLING), *self.likely)))
            while group := [each for each in self.left(every, moment) if each.name != control.name][:MAX_ALONE]:
                found = await self.lab.first_alive(moment, group)
                for action in group[: found.dead]:
                    self.done.add((moment, action))
                if found.alive is None:
                    break
                suspects = group[max(0, found.alive - 1) : found.alive + 1][::-1]
                await self._culprit(moment, suspects)
                self.done |= {(moment, each) for each in suspects}

    async def together(self, tried: Sequence[Action]) -> None:
        """Keys of `tried` that did nothing alone, while a control is held."""
        held = next((each for each in self.controls.found.values() if each.name in STEERING), None)
        if held is None or "playing" not in held.situations:
            return
        moment = self.at.playing[0]
        holding = Moment(moment.name, moment.inputs.then(Step(moment.frame, held.action, 400)), moment.frame + 4)
        known = self.controls.found
        some = [each for each in map(candidates.action_of, candidates.MODIFIERS) if each in tried]
        left = [each for each in some if each.name not in known and (holding, each) not in self.done]
        if not left:
            return
        found = await self.lab.first_alive(holding, left)
        self.done |= {(holding, each) for each in left}
        if found.alive is None:
            return
        for modifier in left[max(0, found.alive - 2) : found.alive + 1][::-1]:
            effect = await self.trials.effect(holding, modifier)
            if effect is not None:
                both = replace(modifier, name=f"{modifier.name}+{held.name}", keys=(*modifier.keys, *held.action.keys))
                await self.confirm(both, effect)
                return

    def note(self, action: Action, moment: Moment) -> None:
        """It was tried there."""
        names = self.controls.tried.setdefault(action.name, [])
        if moment.name not in names:
            names.append(moment.name)

    async def say(self, action: Action) -> None:
        """A line for each kind of gesture."""
        title = family_of(action)
        if title != self.said:
            self.said = title
            await self.told.action(f"Testing {title}")

    def take_branches(self) -> int:
        """How many runs were made since the last call."""
        counted, self._counted = self._counted, self.lab.branches
        return self.lab.branches - counted

    def result(self) -> Controls:
        """What was found, and what was not tried."""
        every = [each.name for each in (*self.likely, *self.others)]
        self.controls.untried = [name for name in every if name not in self.controls.tried]
        self.controls.doubtful = self.dead_keys.doubtful()
        return self.controls
