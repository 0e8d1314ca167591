"""Getting into a game: from its load to moments at which it is played, each found by experiment.

What a page offers on its title is tried: keys and buttons that its text names come first. That one of them began
something is known from the same run without it. The result is a set of named moments, each the inputs that lead to it
since the load, so that anybody can return to them by replay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent_worker.games import candidates, policy
from agent_worker.games.actions import Action, key
from agent_worker.games.chromium import VIEWPORT
from agent_worker.games.errors import PageGone, PageHung
from agent_worker.games.experiments import Effect, Lab, Moment, Spent
from agent_worker.games.inputs import FRAMES_PER_S
from agent_worker.games.page_state import PageState
from agent_worker.games.promised import Promise, promised
from agent_worker.games.stage import Stage

SETTLE: Final = 45
"""Frames after the load, and after a step, before a game is looked at: most have drawn their first scene by then."""
MAX_LOADING: Final = 900
"""Frames of its own time that a game may show "loading"."""
MAX_LEVELS: Final = 4
"""Menus that are gone through, one after another, until the game begins."""
MAX_ALONE: Final = 900
"""Frames for which a game is left alone to see whether its round ends."""

_LOADING: Final = re.compile(r"\b(?:loading|please wait|laden|chargement|cargando)\b", re.I)
_BEGIN: Final = re.compile(
    r"\b(?:start|play|begin|new game|tap|click|go|continue|easy|normal|single[ -]?player|1 player|level 1|spielen"
    r"|jouer|jugar|giocare|jogar|играть|ok|next|skip)\b",
    re.I,
)
_PROMPT: Final = re.compile(
    r"\b(?:(?:press|hit|tap|click|push)\b.{0,32}\b(?:start|begin|play|continue)|(?:click|tap) (?:any|here)|any key)\b",
    re.I,
)
_CONSENT: Final = re.compile(
    r"^(?:accept|agree|i agree|allow|ok(?:ay)?|got it|yes|i am over|close|\u00d7|\u2715|no,? thanks)", re.I
)


class Tell(Protocol):
    """Where is told what is done and found. `RunHandle` is one."""

    async def progress(self, message: str, **data: object) -> None:
        """A line in the feed."""

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something to the game."""


@dataclass(slots=True)
class Situations:
    """The moments of a game that were found, and what it said there.

    Attributes:
        lab: Made the experiments; holds the runs without input of these moments.
        title: As it stands after the load.
        playing: Moments at which it reacts or moves, the earliest first; empty: it never began.
        over: A moment after the end of a round; None: none was met.
        begun_by: What was done, one after another, to begin; empty where it plays from its load on.
        restarted_by: What brings a round back; None: not met, or nothing did.
        states: What the page reported at each moment.
        sources: The texts of its scripts.
    """

    lab: Lab
    title: Moment
    playing: list[Moment] = field(default_factory=list)
    over: Moment | None = None
    begun_by: tuple[Action, ...] = ()
    restarted_by: Action | None = None
    states: dict[Moment, PageState] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def moments(self) -> list[Moment]:
        """All of them, those at which it is played first."""
        others = [self.title, self.over]
        return [*self.playing, *(each for each in others if each is not None and each not in self.playing)]

    @property
    def promises(self) -> tuple[Promise, ...]:
        """The keys that the page's text promises, in all situations."""
        return promised("\n".join(dict.fromkeys("\n".join(state.words for state in self.states.values()).split("\n"))))


async def get_in(stage: Stage, told: Tell, until_s: float) -> Situations:
    """Finds moments of a game at which it is played.

    Args:
        until_s: On the event loop's clock; what was found until then is returned.

    Raises:
        LoadFailed: The game cannot be opened.
        PageHung, PageGone: It does not live until its title stands.
    """
    lab = Lab(stage, until_s)
    entry = _Entry(lab, told)
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

    async def title(self) -> None:
        """Waits, in the game's own time, until its first scene stands."""
        lab = self.lab
        lab.begin_branch()
        await lab.play(self.found.title.inputs, SETTLE)
        self.found.sources = await sources(lab.stage)
        state = await lab.stage.state()
        while _LOADING.search(state.words) and lab.stage.frame < MAX_LOADING:
            await lab.play(self.found.title.inputs, lab.stage.frame + FRAMES_PER_S)
            state = await lab.stage.state()
        self.found.title = Moment("title", frame=lab.stage.frame, calm=2 * FRAMES_PER_S)
        self.found.states[self.found.title] = state

    async def begin(self) -> None:
        """Goes on from the title until the game is played."""
        moment = self.found.title
        for _ in range(MAX_LEVELS):
            state = self.found.states[moment]
            if not asks(state) and await self.reacts(moment):
                break
            step = await self._step_from(moment, state)
            if step is None:
                break
            moment, action = step
            self.found.begun_by += (action,)
            await self.told.action(f"Starting with {action.name}", f"{action.name} begins something")
        if self.found.begun_by or await self.reacts(moment):
            self.found.playing = [Moment("playing", moment.inputs, moment.frame)]
            self.found.states[self.found.playing[0]] = self.found.states[moment]

    async def reacts(self, moment: Moment) -> bool:
        """Whether the usual keys or the pointer do something there."""
        state = self.found.states[moment]
        tries = [*map(candidates.action_of, ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Space"))]
        tries += [*candidates.moves(state, VIEWPORT)[:1], *candidates.clicks(state, VIEWPORT)[:1]]
        return (await self.lab.first_alive(moment, tries)).alive is not None

    async def _step_from(self, moment: Moment, state: PageState) -> tuple[Moment, Action] | None:
        """The first of what may begin a game that does something, and the moment after it."""
        for action in starters(state, self.found):
            effect = await self.lab.effect(moment, action)
            if effect is not None:
                following = await self._after(effect)
                if following is not None:
                    return following, action
        return None

    async def _after(self, effect: Effect) -> Moment | None:
        moment = Moment("menu", effect.inputs, effect.step.end + SETTLE)
        self.lab.begin_branch()
        try:
            await self.lab.play(moment.inputs, moment.frame)
        except (PageHung, PageGone):
            return None
        self.found.states[moment] = await self.lab.stage.state()
        return moment

    async def look_on(self) -> None:
        """Leaves the game alone to see how long a round lasts then, and takes a later moment of it."""
        if not self.found.playing:
            return
        first = self.found.playing[0]
        self.lab.begin_branch()
        frame, over = first.frame, False
        while not over and frame < first.frame + MAX_ALONE:
            frame += FRAMES_PER_S
            await self.lab.play(first.inputs, frame)
            state = await self.lab.stage.state()
            over = bool(policy.over_words(state.words) - policy.over_words(self.found.states[first].words))
        calm = frame - first.frame - (FRAMES_PER_S if over else 0)
        early = Moment("playing", first.inputs, first.frame, max(calm, FRAMES_PER_S))
        self.found.states[early] = self.found.states.pop(first)
        later = Moment("playing", first.inputs, first.frame + min(calm // 2, 150), max(calm // 2, FRAMES_PER_S))
        self.found.playing = [early, later] if later.frame > early.frame else [early]
        self.found.states.setdefault(later, self.found.states[early])
        if over:
            self.found.over = Moment("over", first.inputs, frame + SETTLE, FRAMES_PER_S)
            self.found.states[self.found.over] = state
            await self._restart(self.found.over, state)

    async def _restart(self, over: Moment, state: PageState) -> None:
        ended = policy.over_words(state.words)
        for action in starters(state, self.found):
            effect = await self.lab.effect(over, action)
            following = await self._after(effect) if effect is not None else None
            if following and not ended & policy.over_words(self.found.states.pop(following).words):
                self.found.restarted_by = action
                return


def asks(state: PageState) -> bool:
    """Whether the page asks for something before it begins: a button, or a line such as "press Space to start"."""
    return bool(_PROMPT.search(state.words)) or any(_BEGIN.search(text) for text, _, _ in state.buttons)


def starters(state: PageState, found: Situations) -> list[Action]:
    """What may begin a game, or bring a round back: what the page names first."""
    middle = candidates.clicks(state, VIEWPORT)[0]
    named = [promise for promise in promised(state.words) if promise.when in ("title", "over", "")]
    consents = _offered(state, _CONSENT)
    first = [candidates.action_of(promise.key) for promise in named if not promise.group]
    usual = [key("Space"), key("Enter"), middle]
    letters = [candidates.action_of(each) for each in ("N", "S", "P", "R")]
    others = candidates.buttons(state, VIEWPORT)
    tries = [*consents, *_offered(state, _BEGIN), *first, *found.begun_by, *usual, *letters, *others]
    return list({action.name: action for action in reversed(tries)}.values())[::-1]


def _offered(state: PageState, wanted: re.Pattern[str]) -> list[Action]:
    named = {text for text, _, _ in state.buttons if wanted.search(text)}
    every = candidates.buttons(state, VIEWPORT)
    return [each for each in every if any(each.name == f'click "{text[:24]}"' for text in named)]


_SOURCES: Final = """(async () => {
  const found = [], seen = new Set();
  const take = async (url) => {
    if (seen.has(url) || seen.size > 40 || new URL(url).origin !== location.origin) return;
    seen.add(url);
    const text = await fetch(url).then((r) => (r.ok ? r.text() : ""), () => "");
    found.push(text.slice(0, 2e6));
    for (const [, name] of text.matchAll(/\\bimport\\b[^"';]*["'](\\.[^"']+)["']/g))
      await take(new URL(name, url).href);
  };
  for (const script of document.scripts) {
    if (script.src) await take(script.src);
    else found.push(script.textContent);
  }
  return found;
})()"""


async def sources(stage: Stage) -> tuple[str, ...]:
    """The texts of the page's scripts, those of other origins left out."""
    assert stage.page is not None
    found: Sequence[str] = await stage.page.ask(_SOURCES, "reading its scripts")
    return tuple(found)
