"""Which keys and gestures control a game: each shown by experiment, in several situations.

Every key a game could mean is tried at moments at which it is played, on its title and after the end of a round. The
likely ones are tried alone; the others one after another in one run, as long as that stays equal to the run without
input. A control is told once it has done something twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from agent_worker.games import candidates, pictures
from agent_worker.games.actions import Action
from agent_worker.games.chromium import VIEWPORT
from agent_worker.games.experiments import GAP, HOLD, LONG, TAP, WATCH, Broken, Determinism, Effect, Lab, Moment, Spent
from agent_worker.games.inputs import Step
from agent_worker.games.promised import Promise
from agent_worker.games.stage import Stage
from agent_worker.games.starting import Situations, Tell
from agent_worker.games.trials import Trials
from agent_worker.games.wording import doing, percent

ANY_KEY: Final = "any key"
"""The control's name where every key does the same."""
STEERING: Final = ("ArrowRight", "ArrowLeft", "D", "A", "ArrowUp", "W")
"""Controls that are held while others are tried."""
MAX_GROUP: Final = 420
"""Frames of one run in which many keys are tried."""


@dataclass(slots=True)
class Control:
    """One key or gesture that does something.

    Attributes:
        name: `ArrowLeft`, `A`, `click`, `drag left`, `any key`.
        action, hold: What shows it, and for how many frames.
        effect: What it did where that was seen best; holds the pictures before and after.
        shown, tried: In how many runs it did something, of those that were made where it has an effect.
        situations: Where it does something.
        promised: The page's text names it.
    """

    name: str
    action: Action
    hold: int
    effect: Effect
    shown: int = 1
    tried: int = 1
    situations: list[str] = field(default_factory=list)
    promised: bool = False

    @property
    def change(self) -> float:
        """Part of the picture that it changed, 0 to 1."""
        return self.effect.change

    @property
    def delay(self) -> int:
        """Frames between its begin and the first difference."""
        return self.effect.first - self.effect.step.at

    def as_json(self) -> dict[str, object]:
        """As in `data.metrics.controls`: see AGENT.md."""
        return {
            "control": self.name,
            "change": round(self.change, 4),
            "seen": [self.shown, self.tried],
            "situations": list(self.situations),
            "promised": self.promised,
        }


@dataclass(frozen=True, slots=True)
class Dead:
    """A key that the page's text promises and that did nothing wherever it was tried.

    Attributes:
        promise: What the text says.
        tries: Where, and for how many frames, it was pressed in a run of its own.
        others: Controls that did something at those moments.
    """

    promise: Promise
    tries: tuple[tuple[Moment, int], ...]
    others: tuple[str, ...]


@dataclass(slots=True)
class Controls:
    """What the search has found.

    Attributes:
        found: By name, in the order in which they were found.
        tried: Names of all that was tried, and in which situations.
        untried: Names of what no time was left for.
        dead: Promised keys that do nothing.
        broken: What hung the page or ended it.
        determinism: Of the moments that were used.
    """

    found: dict[str, Control] = field(default_factory=dict)
    tried: dict[str, list[str]] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    determinism: Determinism = field(default_factory=Determinism)


async def find_controls(stage: Stage, situations: Situations, told: Tell, until_s: float) -> Controls:
    """Finds the controls of a game at the moments that `get_in` has found.

    Args:
        until_s: On the event loop's clock; what was found until then is returned.

    Raises:
        LoadFailed: The game cannot be opened any more.
    """
    assert situations.lab.stage is stage
    situations.lab.until_s = until_s
    search = _Search(situations, told)
    with suppress(Spent):
        await search.everything()
    return search.result()


class _Search:
    def __init__(self, situations: Situations, told: Tell) -> None:
        self.lab: Lab = situations.lab
        self.at = situations
        self.told = told
        self.trials = Trials(self.lab)
        self.controls = Controls(broken=self.lab.broken, determinism=self.lab.determinism)
        self.promises = {promise.key: promise for promise in situations.promises}
        known = candidates.known_keys(situations.sources)
        self.likely, self.others = candidates.keys(tuple(self.promises), known)
        self.said = ""

    async def everything(self) -> None:
        """All situations, the most telling first."""
        for moment in self.at.moments:
            if (await self.lab.baseline(moment)).agreed is False:
                continue
            await self.any_key(moment)
            await self.alone(moment, self.likely)
            await self.pointer(moment)
            await self.in_groups(moment, self.others)
        await self.together()
        await self.dead()

    def left(self, actions: Iterable[Action]) -> list[Action]:
        """Those that are no known controls."""
        return [each for each in actions if each.name not in self.controls.found]

    async def any_key(self, moment: Moment) -> None:
        """Presses a key that no game means: what it does there, every key does."""
        effect = await self.trials.any_key(moment)
        if effect is not None and ANY_KEY not in self.controls.found:
            await self.confirm(replace(candidates.NO_KEY, name=ANY_KEY), effect)

    async def alone(self, moment: Moment, actions: Iterable[Action]) -> None:
        """Each in a run of its own."""
        for action in actions:
            known = self.controls.found.get(action.name)
            if known and (moment.name in known.situations or not self._telling(action)):
                continue
            await self.say(action)
            self.note(action, moment)
            effect = await self.trials.effect(moment, action)
            if effect is not None and known is None:
                await self.confirm(action, effect)
            elif effect is not None and known is not None:
                known.situations.append(moment.name)
                known.shown, known.tried = known.shown + 1, known.tried + 1

    def _telling(self, action: Action) -> bool:
        """Whether it is worth a run to know in which other situations a known control acts."""
        return action.name in self.promises or action.name in ("Space", "Enter", "click")

    async def pointer(self, moment: Moment) -> None:
        """Moves, clicks on what is offered and on the picture, drags, and the rarer gestures."""
        state = self.at.states[moment]
        await self.alone(moment, candidates.moves(state, VIEWPORT))
        await self.alone(moment, candidates.buttons(state, VIEWPORT)[:8])
        places = candidates.clicks(state, VIEWPORT)
        await self.alone(moment, places[:1])
        await self.in_groups(moment, self.left(places[1:]))
        await self.in_groups(moment, self.left(candidates.strokes(state, VIEWPORT)))
        await self.in_groups(moment, self.left(candidates.rarer_gestures(state, VIEWPORT)))

    async def in_groups(self, moment: Moment, actions: Sequence[Action]) -> None:
        """Many in one run, as long as they do nothing."""
        left = self.left(actions)
        if self.trials.answers_any(moment, left):
            await self.alone(moment, left if left and left[0].kind != "keys" else [])
            return
        size = max(1, (min(moment.calm, MAX_GROUP) - WATCH) // (HOLD + GAP))
        while left := self.left(left):
            group = left[:size]
            await self.say(group[0])
            found = await self.lab.first_alive(moment, group)
            for action in group[: found.dead]:
                self.note(action, moment)
            if found.alive is None:
                if not found.dead:
                    return
                left = left[found.dead :]
                continue
            culprit = await self._culprit(moment, group[max(0, found.alive - 3) : found.alive + 1][::-1])
            if culprit is None and (await self.lab.baseline(moment, runs=2)).until < moment.frame + MAX_GROUP // 2:
                return
            left = [each for each in left[found.dead :] if each is not (culprit or group[found.alive])]

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
        again = await self.trials.effect(others[0], gesture, hold) if others else None
        again = again or await self.trials.effect(effect.moment, gesture, hold, afresh=True)
        if again is None:
            return
        control.shown = control.tried = 2
        control.effect = max(effect, again, key=lambda each: each.change)
        self.controls.found[control.name] = control
        await self.told.evidence(line(control), evidence(control.effect), **told_data(control))

    async def together(self) -> None:
        """Keys that did nothing alone, while a control is held."""
        held = next((each for each in self.controls.found.values() if each.name in STEERING), None)
        if held is None or "playing" not in held.situations:
            return
        moment = self.at.playing[0]
        holding = Moment(moment.name, moment.inputs.then(Step(moment.frame, held.action, 400)), moment.frame + 4)
        left = self.left([*map(candidates.action_of, candidates.MODIFIERS)])
        found = await self.lab.first_alive(holding, left)
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
        title = title_of(action)
        if title != self.said:
            self.said = title
            await self.told.action(f"Testing {title}")

    async def dead(self) -> None:
        """Presses each promised key that has done nothing so far, shortly and for long, wherever it should work."""
        for promise in self.promises.values():
            if promise.key in self.controls.found or not self._must_act(promise):
                continue
            action = candidates.action_of(promise.key)
            tries = [(moment, hold) for moment in self.at.moments for hold in (TAP, HOLD, LONG)]
            acted = False
            for moment, hold in tries:
                effect = await self.trials.effect(moment, action, hold)
                if effect is not None:
                    await self.confirm(action, effect)
                acted |= self.lab.acted(moment, action, hold)
                if acted:
                    break
            others = tuple(each.name for each in self.controls.found.values() if "playing" in each.situations)
            if not acted and others:
                self.controls.dead.append(Dead(promise, tuple(tries), others))

    def _must_act(self, promise: Promise) -> bool:
        """Whether the situations that were met are enough to say that a promised key does nothing."""
        if promise.when in ("sometimes", "unseen") or not self.at.playing:
            return False
        if promise.when == "over" and self.at.over is None:
            return False
        if not promise.group:
            return True
        alive = [each for each in promise.group if each in self.controls.found]
        opposite = {"ArrowLeft": "ArrowRight", "ArrowRight": "ArrowLeft", "A": "D", "D": "A"}.get(promise.key)
        return not alive or opposite in alive

    def result(self) -> Controls:
        """What was found, and what was not tried."""
        every = [each.name for each in (*self.likely, *self.others)]
        self.controls.untried = [name for name in every if name not in self.controls.tried]
        return self.controls


def evidence(effect: Effect) -> bytes | None:
    """The picture with a gesture; None where nothing could be seen."""
    return pictures.screenshot(effect.after) if effect.after else None


def told_data(control: Control) -> dict[str, object]:
    """`data` of the event that tells a control."""
    return control.as_json() | {"firstFrame": control.effect.first}


def title_of(action: Action) -> str:
    """What a gesture is one of, for the feed."""
    if action.kind != "keys":
        return "clicking" if action.kind == "click" else "dragging and moving the pointer"
    if action.name.startswith("Arrow"):
        return "arrow keys"
    if action.name in tuple("WASD"):
        return "WASD movement"
    if action.name in ("Space", "Enter"):
        return "Space and Enter"
    return "digits" if action.name.isdigit() else "letters" if len(action.name) == 1 else "other keys"


def line(control: Control) -> str:
    """A control's line in the feed."""
    times = f"{control.shown} of {control.tried} times"
    if not control.effect.seen:
        return f"{doing(control.action)} is heard and not seen ({times})"
    return f"{doing(control.action)} moves the picture ({percent(control.change)} changed, {times})"
