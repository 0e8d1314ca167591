"""Whether anything still changes a game: every key, every button, clicks all over it, and ten seconds of waiting.

The same stretch is played twice, once with all that and once without. Where all frames are the same, nothing that was
tried has changed anything. An end of the game that says so, or that shows by its picture, is no fault.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent_worker.games.actions import ARROWS, SPACE, Action, click, key
from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.page_state import PageState
from agent_worker.games.chromium.pictures import Thumb
from agent_worker.games.errors import PageGone, PageHung
from agent_worker.games.findings.finding import Sighting
from agent_worker.games.findings.sightings import signature_of
from agent_worker.games.inputs import FRAMES_PER_S, Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Happened, Trace, parting

WAIT: Final = 10 * FRAMES_PER_S
"""Frames for which nothing changes anything before that is a fault: cut scenes and animations take a while."""
END_SCREEN: Final = 0.12
"""Part of the picture: what says that a game is over covers more than a sprite that moves."""
SOON: Final = 60
"""Frames after the last input at which a standstill is looked for: its cause is the input."""
EVERY: Final = 4
"""Frames from one that is compared to the next: what changes a game changes it for longer."""
_TAP, _GAP = 4, 4
_LOOK: Final = 40
"""Frames after which it is looked whether anything has changed."""
_HOLD: Final = 14
"""Frames that a known control is held: games that move in steps look at a key every 8 to 12 frames."""
_KEYS: Final = (
    *("Enter", "Space", "Escape", "Tab", "Backspace", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"),
    *"abcdefghijklmnopqrstuvwxyz0123456789",
)
_GRID: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
_RESTART: Final = ("Space", "Enter", "r", "n", "Escape", "p")
_ENDED: Final = re.compile(
    r"\b(game\s*over|the end|you(?:'ve| have)? (?:died|win|won|lose|lost|crashed|are dead|did it)|play again|try again|"
    r"congratulations|victory|defeat(?:ed)?|winner|final score|high ?score|time'?s up|thanks for playing|well done|"
    r"restart|level complete|completed?|finished|reload|refresh|paused?)\b",
    re.I,
)


class Reaction(NamedTuple):
    """What came of trying everything at one moment."""

    parted: int | None
    """The first frame that differs from the same without; None: nothing has changed anything."""
    moves: bool
    """The picture moves by itself."""
    loop: bool
    """The page has its next animation frame, or timer, to run."""
    words: str
    dialogs: int
    errors: set[str]


class _Waited(NamedTuple):
    """A stretch in which nothing is tried, and what is tried in it otherwise."""

    steps: tuple[Step, ...]
    until: int
    trace: Trace
    """Empty where nothing is left to run."""
    loop: bool
    words: str
    happened: tuple[Happened, ...]


def quick_tries(controls: Sequence[Action], state: PageState, viewport: tuple[int, int]) -> list[Action]:
    """The known controls, what usually begins a round again, and the page's buttons."""
    return [*controls, *_buttons(state, viewport), *map(key, _RESTART), click(0.5, 0.5)]


def all_tries(controls: Sequence[Action], state: PageState, viewport: tuple[int, int]) -> list[Action]:
    """Every key that a game could mean, every button, clicks all over the page, drags in each direction."""
    grid = [click(x, y, f"click at {x:g}, {y:g}") for y in _GRID for x in _GRID]
    drags = [
        Action(name, "drag", x=0.5, y=0.5, to_x=0.5 + dx, to_y=0.5 + dy)
        for name, dx, dy in (("left", -0.3, 0.0), ("right", 0.3, 0.0), ("up", 0.0, -0.3), ("down", 0.0, 0.3))
    ]
    return [*controls, *_buttons(state, viewport), *grid, *drags, *map(key, _KEYS), *controls]


def _buttons(state: PageState, viewport: tuple[int, int]) -> list[Action]:
    return [click(x / viewport[0], y / viewport[1], f'click "{text}"') for text, x, y in state.buttons][:8]


def one_after_another(tries: Sequence[Action], at: int, controls: Sequence[Action] = ()) -> list[Step]:
    """The gestures as steps from frame `at` on; known controls are held for longer."""
    steps = []
    for each in tries:
        hold = _HOLD if each in controls else _TAP
        steps.append(Step(at, each, hold))
        at += hold + _GAP
    return steps


@dataclass(slots=True)
class Standstill:
    """Experiments about a game that does not react any more. Not for two tasks at once.

    Args:
        controls: What is known to change the game elsewhere; none known: the usual keys.
        never: It has to have stood still from the load on; else it has to have reacted before.
    """

    stage: Stage
    controls: tuple[Action, ...] = ()
    never: bool = False
    errors: set[str] = field(default_factory=set)
    """Signatures of the errors that were reported on the way to where it stood still."""
    _without: dict[tuple[Inputs, int, bool], _Waited] = field(default_factory=dict)
    """What came of waiting: the same for the same inputs, or the game is not deterministic and nothing is told."""

    async def narrow(self, inputs: Inputs, until: int) -> Inputs | None:
        """The shortest beginning of the inputs after which it stands still; None: it does not."""
        return await first_beginning(inputs, until, self._stands)

    async def _stands(self, inputs: Inputs, at: int) -> bool:
        found = await self.reaction(inputs, at, thorough=False)
        self.errors = found.errors
        return found.parted is None

    async def quick(self, inputs: Inputs, until: int) -> Sighting | None:
        """Whether nothing changes anything with these inputs, of what is known to work."""
        at = soon_after(inputs, until)
        return Sighting(at) if await self._stands(inputs, at) else None

    async def full(self, inputs: Inputs, until: int) -> Sighting | None:
        """Whether it does so for `WAIT`, whatever is tried, and does not without the last of the inputs."""
        at = soon_after(inputs, until)
        found = await self.reaction(inputs, at, thorough=True)
        if found.parted is not None:
            return None
        if self.never:
            return None if found.moves else Sighting(at)
        before = await self._alive(inputs, at, found)
        if before is None or await self._ended(inputs, at):
            return None
        return Sighting(at, kind="freeze" if before.moves and not found.moves else "softlock")

    async def _alive(self, inputs: Inputs, at: int, now: Reaction) -> Reaction | None:
        """How the game reacted without the last inputs, or earlier where there are none; None: not at all, or words
        say that it has ended since."""
        steps = inputs.steps
        if steps:
            lengths = sorted({len(steps) - 1, max(0, len(steps) - 2), len(steps) // 2, 0}, reverse=True)
            moments = [(Inputs(steps[:length]), at) for length in lengths]
        else:
            moments = [(inputs, frame) for frame in (at // 2, max(0, at - 2 * FRAMES_PER_S), FRAMES_PER_S)]
        for moment in moments:
            before = await self.reaction(*moment, thorough=False)
            if before.parted is None:
                continue
            ended = before.dialogs != now.dialogs or _newly_ended(before.words, now.words)
            return None if ended else before
        return None

    async def reaction(self, inputs: Inputs, at: int, *, thorough: bool) -> Reaction:
        """Tries what there is to try from frame `at` on, beside the same without."""
        stage, key = self.stage, (inputs, at, thorough)
        waited = self._without.get(key)
        if waited is None:
            waited = self._without[key] = await self._wait(inputs, at, thorough=thorough)
        if not waited.loop:
            return await self._stopped(inputs, waited, at)
        parted = await _parted(stage, inputs.then(*waited.steps), waited, at)
        return _reaction(parted, moves(waited.trace), waited)

    async def _wait(self, inputs: Inputs, at: int, *, thorough: bool) -> _Waited:
        stage = self.stage
        await stage.open()
        happened = (await stage.play(inputs, at)).happened
        state, loop = await stage.state(), await runs_on(stage)
        known = self.controls or (*ARROWS.actions, *SPACE.actions)
        tries = (all_tries if thorough else quick_tries)(known, state, stage.screen.viewport)
        steps = one_after_another(tries, at, known)
        until = max(steps[-1].end + SOON, at + (WAIT if thorough else 0))
        trace = await stage.play(inputs, until, at, EVERY) if loop else Trace()
        return _Waited(tuple(steps), until, trace, loop, state.words, (*happened, *trace.happened))

    async def _stopped(self, inputs: Inputs, waited: _Waited, at: int) -> Reaction:
        """The same where nothing is left to run: what does not change at all has not been changed by anything."""
        if self.stage.frame != at:
            await self.stage.open()
        with_all = await _answered(self.stage, inputs.then(*waited.steps), waited.until, at)
        changed = with_all is None or moves(with_all)
        return _reaction(at if changed else None, changed, waited)

    async def _ended(self, inputs: Inputs, at: int) -> bool:
        """Whether the picture changed, about when the game stood still, by more than it usually does: an end screen."""
        since = inputs.steps[-1].at if inputs.steps else max(0, at - SOON)
        frames = sorted({max(0, since - SOON), since, at})
        if len(frames) < 3:
            return False
        await self.stage.open()
        seen: list[Thumb] = []
        for frame in frames:
            await self.stage.play(inputs, frame)
            seen.append(pictures.thumb(await self.stage.picture()))
        usual, now = pictures.changed(seen[0], seen[1]), pictures.changed(seen[1], seen[2])
        return now > 1.5 * usual + END_SCREEN


def soon_after(inputs: Inputs, until: int) -> int:
    """The frame at which to look for what the last of the inputs has caused."""
    return min(until, inputs.end + SOON) if inputs.steps else until


async def first_beginning(inputs: Inputs, until: int, holds: Callable[[Inputs, int], Awaitable[bool]]) -> Inputs | None:
    """The shortest beginning of inputs for which something holds, by halving; None: it does not for all of them."""
    if not await holds(inputs, until):
        return None
    low, high = 0, len(inputs.steps)
    while low < high:
        middle = (low + high) // 2
        shorter = Inputs(inputs.steps[:middle])
        if await holds(shorter, soon_after(shorter, until)):
            high = middle
        else:
            low = middle + 1
    return Inputs(inputs.steps[:high])


def _reaction(parted: int | None, moving: bool, waited: _Waited) -> Reaction:
    incidents = [each.incident for each in waited.happened]
    dialogs = sum(each.kind == "dialog" for each in incidents)
    errors = {signature_of(each) for each in incidents if each.kind == "pageerror"}
    return Reaction(parted, moving, waited.loop, waited.words, dialogs, errors)


async def _answered(stage: Stage, inputs: Inputs, until: int, at: int) -> Trace | None:
    """The run with all that was tried, from the load on; None: something has ended the page, so it did react."""
    try:
        return await stage.play(inputs, until, at, EVERY)
    except (PageHung, PageGone):
        return None


async def _parted(stage: Stage, inputs: Inputs, waited: _Waited, at: int) -> int | None:
    """The first frame at which the run with all that was tried differs from the one without; looked for on the way."""
    if stage.frame != at:
        await stage.open()
    for until in (*range(at + _LOOK, waited.until, _LOOK), waited.until):
        trace = await _answered(stage, inputs, until, stage.frame if stage.frame > at else at)
        parted = at if trace is None else parting(trace, waited.trace)
        if parted is not None:
            return parted
    return None


async def runs_on(stage: Stage) -> bool:
    """Whether the page has an animation frame left to run, or a timer where it uses no animation frames."""
    clock = await stage.about()
    loop = clock.loop
    others = loop.timers or loop.tasks or loop.animations
    return bool(loop.frames or (others and "requestAnimationFrame" not in clock.used))


def moves(trace: Trace) -> bool:
    """Whether the picture changes in a stretch without input."""
    return len({(each.pixels, each.page) for each in trace.samples}) > 1


def _newly_ended(before: str, now: str) -> bool:
    def said(words: str) -> set[str]:
        return {" ".join(each.lower().split()) for each in _ENDED.findall(words)}

    return bool(said(now) - said(before))
