"""Getting into a game: from its load to moments at which it is played, each found by experiment.

What a page offers on its title is tried: keys and buttons that its text names come first. That one of them began
something is known from the same run without it. The result is a set of named moments, each the inputs that lead to it
since the load, so that anybody can return to them by replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent_worker.games import policy
from agent_worker.games.actions import Action
from agent_worker.games.chromium.page_state import PageState
from agent_worker.games.controls import candidates
from agent_worker.games.controls.opening import (
    LOADING,
    PLAYER,
    asked,
    asks_to_turn,
    fields,
    for_fingers,
    prompted,
    restarters,
    starters,
)
from agent_worker.games.controls.promised import Promise, promised
from agent_worker.games.errors import PageGone, PageHung
from agent_worker.games.findings.standstill import moves, runs_on
from agent_worker.games.inputs import FRAMES_PER_S, Step
from agent_worker.games.owned_time.experiments import HOLD, WATCH, Effect, Lab, Moment, Spent
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.screen import UPRIGHT, Screen

SETTLE: Final = 45
"""Frames after the load, and after a step, before a game is looked at: most have drawn their first scene by then."""
MAX_LOADING: Final = 900
"""Frames of its own time that a game may show "loading"."""
MAX_LEVELS: Final = 6
"""Prompts and menus that are gone through, one after another, until the game begins."""
MAX_ALONE: Final = 600
"""Frames for which a game is left alone to see whether its round ends."""
_LEAST_ALONE, _ALONE_S = 240, 2.0
"""Of a slow game: these frames, and as many as can be played in that many seconds of real time. An end that comes later
is not met."""
_SOON: Final = 4
"""Frames after which a round is looked at that lasts for less than a second."""
_CLOSELY: Final = 12
"""Frames between two looks in the first second of a round."""
_QUICK: Final = 8
"""Frames of a press where many are tried at once."""


class Tell(Protocol):
    """Where is told what is done and found. `RunHandle` is one."""

    async def progress(self, message: str, **data: object) -> None:
        """A line in the feed."""

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something to the game."""

    async def evidence(self, message: str, jpeg: bytes | None, **data: object) -> None:
        """A line in the feed with a picture of its own."""


@dataclass(slots=True)
class Situations:
    """The moments of a game that were found, and what it said there.

    Attributes:
        lab: Made the experiments; holds the runs without input of these moments.
        title: As it stands after the load.
        playing: Moments at which it is played, the earliest first; empty: it never began.
        over: A moment after the end of a round; None: none was met.
        begun_by: What was done, one after another, to begin; empty where it plays from its load on.
        past_title: Some of that was done to leave its title, and not only to set in motion what stood still.
        restarted_by: What brings a round back; None: not met, or nothing did.
        states: What the page reported at each moment.
        sources: The texts of its scripts.
    """

    lab: Lab
    title: Moment
    playing: list[Moment] = field(default_factory=list)
    over: Moment | None = None
    begun_by: tuple[Action, ...] = ()
    past_title: bool = False
    restarted_by: Action | None = None
    states: dict[Moment, PageState] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def moments(self) -> list[Moment]:
        """Each once, the most telling first: early in a round, after its end, later in it, on the title."""
        over = [] if self.over is None else [self.over]
        return list(dict.fromkeys((*self.playing[:1], *over, *self.playing[1:], self.title)))

    @property
    def promises(self) -> tuple[Promise, ...]:
        """The keys that the page's text promises, in all situations."""

        def read(texts: Iterable[str]) -> tuple[Promise, ...]:
            return promised("\n".join(dict.fromkeys("\n".join(texts).split("\n"))))

        said = read(state.words for state in self.states.values())
        marked = read(state.keys for state in self.states.values())
        return (*said, *(each for each in marked if each.key not in {other.key for other in said}))


async def get_in(stage: Stage, told: Tell, until_s: float) -> Situations:
    """Finds moments of a game at which it is played.

    Args:
        until_s: On the event loop's clock; what was found until then is returned.

    Raises:
        LoadFailed: The game cannot be opened.
        PageHung, PageGone: It does not live until its title stands.
    """
    entry = _Entry(Lab(stage, until_s), told)
    with suppress(Spent):
        await entry.title()
        await entry.begin()
        await entry.look_on()
    return entry.found


class _Entry:
    """One way into a game."""

    def __init__(self, lab: Lab, told: Tell) -> None:
        self.lab = lab
        self.told = told
        self.found = Situations(lab, Moment("title"))
        self.steering: list[Action] = []
        """The keys that games are steered with, those first to which this one has reacted last."""
        self.answered: frozenset[str] = frozenset()
        """What it goes on asking for while the game runs: a page's instructions, not a prompt."""

    async def title(self) -> None:
        """Waits, in the game's own time, until its first scene stands."""
        lab, stage = self.lab, self.lab.stage
        lab.begin_branch()
        await lab.play(self.found.title.inputs, SETTLE)
        self.found.sources = tuple((await stage.sources()).values())
        state = await stage.state()
        touched = stage.screen._replace(touch=stage.screen.touch or for_fingers(state))
        if (wanted := UPRIGHT if asks_to_turn(state) else touched) != stage.screen:
            state = await self._shown_on(wanted)
            if wanted == UPRIGHT and asks_to_turn(state):  # it means the other way
                state = await self._shown_on(touched)
        while LOADING.search(state.words) and stage.frame < MAX_LOADING:
            await lab.play(self.found.title.inputs, stage.frame + FRAMES_PER_S)
            state = await stage.state()
        self.found.title = Moment("title", frame=stage.frame)
        self.found.states[self.found.title] = state

    async def _shown_on(self, screen: Screen) -> PageState:
        self.lab.stage.screen = screen
        await self.lab.stage.open()
        await self.lab.play(self.found.title.inputs, SETTLE)
        return await self.lab.stage.state()

    async def begin(self) -> None:
        """Goes on from the title until the game is played."""
        moment, plays = self.found.title, False
        for _ in range(MAX_LEVELS):
            if self.found.begun_by:  # as far as it has come, should time run out
                self._plays(moment)
            moment = await self.fill_in(moment)
            if not self.asked(moment) and (await self.reacts(moment) or await self.runs(moment)):
                plays = True
                self._plays(moment)
                moment = await self.set_in_motion(moment)
                break
            state = self.found.states[moment]
            more = self.asked(moment) or not self.found.begun_by or state.canvases
            step = await self.step_from(moment) if more else None
            if step is None:
                plays = await self.reacts(moment, everything=True)
                break
            moment, action = step
            self.found.past_title = True
            await self._began(action)
        if self.found.begun_by or plays:
            self._plays(moment)

    def asked(self, moment: Moment) -> frozenset[str]:
        """What the page asks for there, without what it goes on asking for while the game runs."""
        return asked(self.found.states[moment]) - self.answered

    async def runs(self, moment: Moment) -> bool:
        """Whether what was done has set something in motion that any input changes: a game of one button."""
        if not self.found.begun_by or not await self._moves_at(moment):
            return False
        return await self.reacts(moment, everything=True)

    async def set_in_motion(self, moment: Moment) -> Moment:
        """The moment after the key that lets a game run which stands still until it is steered; else the same one."""
        if await self._moves_at(moment):
            return moment
        for action in self.steering[:2] if self.lab.slow else self.steering:
            effect = await self.lab.effect(moment, action, runs=1)
            if effect is not None and await self._has_set_in_motion(effect):
                following = await self._after(effect)
                if following is not None:
                    await self._began(action)
                    return following
        return moment

    async def _has_set_in_motion(self, effect: Effect) -> bool:
        """Whether a game that stood still before a gesture moves on when a step or a jump is over."""
        later = Moment("menu", effect.inputs, effect.step.end + WATCH)
        try:
            return not await self._moves_at(effect.moment) and await self._moves_at(later)
        except (PageHung, PageGone):
            return False

    async def _moves_at(self, moment: Moment) -> bool:
        """Whether the picture changes there by itself."""
        return moves((await self.lab.baseline(moment, runs=1)).trace)

    async def _began(self, action: Action) -> None:
        self.found.begun_by += (action,)
        await self.told.action(f"Starting with {action.name}", f"{action.name} begins something")

    def _plays(self, moment: Moment) -> None:
        self.found.playing = [Moment("playing", moment.inputs, moment.frame)]
        self.found.states.setdefault(self.found.playing[0], self.found.states[moment])

    async def fill_in(self, moment: Moment) -> Moment:
        """The moment after a name was typed where the page asks for one."""
        places = fields(self.found.states[moment], self.lab.stage.screen.viewport)
        if not places or any(step.action.name.startswith("type") for step in moment.inputs.steps):
            return moment
        steps: list[Step] = []
        at = moment.frame
        for place in places[:2]:
            for action in (place, *map(candidates.typed, PLAYER)):
                steps.append(Step(at, action, 2))
                at += 3
        filled = Moment("menu", moment.inputs.then(*steps), at + 10)
        await self._look(filled)
        return filled

    async def reacts(self, moment: Moment, *, everything: bool = False) -> bool:
        """Whether the keys that games are steered with, or the pointer, do something there.

        Args:
            everything: Space, Enter and clicks count too.
        """
        state = self.found.states[moment]
        names = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "A", "D")
        tries = [*map(candidates.action_of, names), *self._moves(state)]
        if everything:
            tries += [*map(candidates.action_of, ("Space", "Enter")), *self._clicks(state)]
            return (await self.lab.first_alive(moment, tries)).alive is not None
        alive = (await self.lab.first_alive(moment, tries, _QUICK, HOLD + WATCH - len(tries) * (_QUICK + 3))).alive
        if alive is None:
            return False
        first = tries[max(0, alive - 1) : alive + 1][::-1]  # effects may be delayed
        self.steering = [each for each in dict.fromkeys((*first, *tries)) if each.kind == "keys"]
        return True

    def _moves(self, state: PageState) -> list[Action]:
        return [] if self.lab.stage.screen.touch else candidates.moves(state, self.lab.stage.screen.viewport)[:1]

    def _clicks(self, state: PageState) -> list[Action]:
        return candidates.clicks(state, self.lab.stage.screen.viewport, finger=self.lab.stage.screen.touch)[:1]

    async def step_from(self, moment: Moment) -> tuple[Moment, Action] | None:
        """The first of what may begin a game that leads on from `moment`, and the moment after it."""
        before = self.found.states[moment]
        named = prompted(before)
        weak: tuple[Moment, Action] | None = None
        tries = starters(before, self.lab.stage.screen.viewport)
        if not self.asked(moment):  # nothing is named: what does something at all is found in one run
            done = {action.name for action in self.found.begun_by}
            tries = [action for action in tries if action.name not in done]
            alive = (await self.lab.first_alive(moment, tries)).alive
            tries = [] if alive is None else tries[max(0, alive - 1) : alive + 1][::-1] + tries[alive + 1 :][:2]
        for action in tries:
            effect = await self.lab.effect(moment, action, runs=1)
            following = await self._after(effect) if effect is not None else None
            if effect is None or following is None:
                continue
            if self.asked(moment) != self.asked(following) or (not self.asked(moment) and await self.reacts(following)):
                return following, action
            if self.asked(moment) and (action.name in named or await self._has_set_in_motion(effect)):
                self.answered |= asked(self.found.states[following])
                return following, action
            weak = weak or (following, action)
        return weak if not self.asked(moment) else None

    async def _after(self, effect: Effect) -> Moment | None:
        """The moment after something has begun; soon after it where the round is over already a little later."""
        said = policy.over_words(self.found.states[effect.moment].words)
        moment = Moment("menu", effect.inputs, effect.step.end + SETTLE)
        try:
            await self._look(moment)
            if policy.over_words(self.found.states[moment].words) - said:
                moment = Moment("menu", effect.inputs, effect.step.end + _SOON)
                await self._look(moment)
        except (PageHung, PageGone):
            return None
        return moment

    async def _look(self, moment: Moment) -> None:
        """Goes to a moment and notes what the page reports there."""
        await self._stand_at(moment)
        self.found.states[moment] = await self.lab.stage.state()

    async def _stand_at(self, moment: Moment) -> None:
        stage = self.lab.stage
        if stage.frame != moment.frame or stage.done != moment.inputs.before(moment.frame):
            self.lab.begin_branch()
            await self.lab.play(moment.inputs, moment.frame)

    async def look_on(self) -> None:
        """Leaves the game alone to see how long a round lasts then, and takes a later moment of it."""
        if not self.found.playing:
            return
        first = self.found.playing[0]
        said = policy.over_words(self.found.states[first].words)
        self.lab.begin_branch()
        frame, calm, over, state = first.frame, 0, False, self.found.states[first]
        await self.lab.play(first.inputs, frame)
        ran = await runs_on(self.lab.stage)
        clock = asyncio.get_running_loop().time
        patient_s = clock() + _ALONE_S
        while not over and frame < first.frame + (MAX_ALONE if clock() < patient_s else _LEAST_ALONE):
            calm = frame - first.frame
            frame += FRAMES_PER_S if calm >= FRAMES_PER_S else _CLOSELY
            await self.lab.play(first.inputs, frame)
            state = await self.lab.stage.state()
            # Words say so, or nothing is left to run where something was: some draw "game over" from a picture.
            over = bool(policy.over_words(state.words) - said) or (ran and not await runs_on(self.lab.stage))
        calm = max(calm if over else frame - first.frame, _CLOSELY)
        early = Moment("playing", first.inputs, first.frame, calm)
        later = Moment("playing", first.inputs, first.frame + min(calm // 2, 150), calm - min(calm // 2, 150))
        self.found.playing = [early, later]
        self.found.states.setdefault(later, self.found.states[early])
        if over:
            ended = Moment("over", first.inputs, frame + SETTLE)
            self.found.states[ended] = state
            self.found.over = ended
            await self._restart(ended, state)

    async def _restart(self, over: Moment, state: PageState) -> None:
        ended = policy.over_words(state.words)
        for action in restarters(state, self.found.begun_by, self.lab.stage.screen.viewport):
            effect = await self.lab.effect(over, action)
            if effect is not None and await self._brings_back(effect, ended):
                self.found.restarted_by = action
                return

    async def _brings_back(self, effect: Effect, ended: frozenset[str]) -> bool:
        """Whether the words have gone and something runs, soon after it or a little later."""
        for later in (_SOON, SETTLE):
            try:
                await self._stand_at(Moment("over", effect.inputs, effect.step.end + later))
                words = (await self.lab.stage.state()).words
                if not ended & policy.over_words(words) and await runs_on(self.lab.stage):
                    return True
            except (PageHung, PageGone):
                return False
        return False


def situations_of(moments: Sequence[Moment]) -> list[str]:
    """The names of moments, each once."""
    return list(dict.fromkeys(moment.name for moment in moments))
