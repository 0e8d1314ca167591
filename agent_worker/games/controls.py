"""Which keys and gestures control a game: each shown by experiment, in several situations.

Every key a game could mean is tried at moments at which it is played, on its title and after the end of a round. The
likely ones are tried alone; the others one after another in one run, as long as that stays equal to the run without
input. A control is told once it has done something twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from agent_worker.games import candidates
from agent_worker.games.actions import Action
from agent_worker.games.chromium import VIEWPORT
from agent_worker.games.experiments import GAP, HOLD, LONG, TAP, WATCH, Broken, Determinism, Effect, Lab, Moment, Spent
from agent_worker.games.promised import Promise
from agent_worker.games.stage import Stage
from agent_worker.games.starting import Situations, Tell
from agent_worker.games.wording import doing, percent


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
        self.controls = Controls(broken=self.lab.broken, determinism=self.lab.determinism)
        self.promises = {promise.key: promise for promise in situations.promises}
        known = candidates.known_keys(situations.sources)
        self.likely, self.others = candidates.keys(tuple(self.promises), known)
        self.title = ""

    async def everything(self) -> None:
        """All situations, the most telling first."""
        for moment in self.at.moments:
            state = self.at.states[moment]
            await self.alone(moment, [each for each in self.likely if each.name not in self.controls.found])
            pointer = [*candidates.moves(state, VIEWPORT)[:1], *candidates.clicks(state, VIEWPORT)[:1]]
            await self.alone(moment, [*pointer, *candidates.buttons(state, VIEWPORT)])
            await self.in_groups(moment, [each for each in self.others if each.name not in self.controls.found])
        await self.dead()

    async def alone(self, moment: Moment, actions: Iterable[Action]) -> None:
        """Each in a run of its own."""
        for action in actions:
            if action.name in self.controls.found:
                continue
            await self.say(action)
            self.tried(action, moment)
            effect = await self.lab.effect(moment, action)
            if effect is not None and (effect.seen or "sound" in effect.ways):
                await self.confirm(action, effect)

    async def in_groups(self, moment: Moment, actions: Sequence[Action]) -> None:
        """Many in one run, as long as they do nothing."""
        left = list(actions)
        size = max(1, (min(moment.calm, 420) - WATCH) // (HOLD + GAP))
        while left:
            group = left[:size]
            await self.say(group[0])
            found = await self.lab.first_alive(moment, group)
            for action in group[: found.dead]:
                self.tried(action, moment)
            if found.alive is None:
                if not found.dead:
                    return
                left = left[found.dead :]
                continue
            suspects = group[max(0, found.alive - 3) : found.alive + 1][::-1]
            culprit = suspects[0]
            for each in suspects:
                if await self._is_alive(moment, each):
                    culprit = each
                    break
            self.tried(culprit, moment)
            left = [each for each in left[found.dead :] if each != culprit]

    async def _is_alive(self, moment: Moment, action: Action) -> bool:
        await self.alone(moment, [action])
        return action.name in self.controls.found

    async def confirm(self, action: Action, effect: Effect) -> None:
        """Does it again: at another moment of the same kind, else at the same one."""
        control = Control(action.name, action, effect.step.hold, effect, promised=action.name in self.promises)
        control.situations.append(effect.moment.name)
        others = [each for each in self.at.moments if each.name == effect.moment.name and each != effect.moment]
        again = await self.lab.effect(others[0], action) if others else None
        if again is None:
            again = await self.lab.effect(effect.moment, action)
            if again is None or again.print[0] != effect.print[0]:
                return
        control.shown = control.tried = 2
        control.effect = max(effect, again, key=lambda each: each.change)
        self.controls.found[control.name] = control
        await self.told.progress(
            line(control), control=control.name, seen=[control.shown, control.tried], situations=control.situations
        )

    def tried(self, action: Action, moment: Moment) -> None:
        names = self.controls.tried.setdefault(action.name, [])
        if moment.name not in names:
            names.append(moment.name)

    async def say(self, action: Action) -> None:
        """A line for each kind of gesture."""
        title = title_of(action)
        if title != self.title:
            self.title = title
            await self.told.action(f"Testing {title}")

    async def dead(self) -> None:
        """Presses each promised key that has done nothing so far, shortly and for long, wherever it should work."""
        for promise in self.promises.values():
            if promise.key in self.controls.found or promise.when in ("sometimes", "unseen") or promise.group:
                continue
            action = candidates.action_of(promise.key)
            tries = [(moment, hold) for moment in self.at.moments for hold in (TAP, HOLD, LONG)]
            for moment, hold in tries:
                effect = await self.lab.effect(moment, action, hold)
                if effect is not None:
                    await self.confirm(action, effect)
                    break
            else:
                others = tuple(self.controls.found)
                if others and self.at.playing:
                    self.controls.dead.append(Dead(promise, tuple(tries), others))

    def result(self) -> Controls:
        """What was found, and what was not tried."""
        every = [each.name for each in (*self.likely, *self.others)]
        self.controls.untried = [name for name in every if name not in self.controls.tried]
        return self.controls


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
