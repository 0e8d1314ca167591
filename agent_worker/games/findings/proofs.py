"""When a fault counts as shown: for each kind an experiment that can be repeated, from the load on.

A proof opens the game afresh, plays inputs and says at which frame the fault has shown, or that it has not. What is
compared is the game with itself: the same frames once with an input and once without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent_worker.games.actions import Action, click, key
from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.page import Page
from agent_worker.games.errors import PageGone, PageHung
from agent_worker.games.findings import heap
from agent_worker.games.findings.finding import HANGS, INERT, STANDSTILLS, TIMES, Candidate, Moment, Sighting
from agent_worker.games.findings.sightings import in_incidents
from agent_worker.games.findings.standstill import WAIT, Standstill, first_beginning, soon_after
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Happened, Trace, parting

WATCH: Final = 90
"""Frames for which a control is watched before it counts as having done nothing: effects may be delayed."""
HOLD: Final = 14
"""Frames that a control is held: games that move in steps look at a key every 8 to 12 frames."""
BLANK_FOR: Final = 180
"""Frames for which a picture stays a single colour before that is a fault: scenes fade through black."""
_STEPPED: Final = 120
"""Frames that are played one by one where no input tells when it may show."""
_ENDS_WITHIN: Final = 10
"""Frames within which it is known when a page has ended: one that does not answer can't say where it stands."""
_LATE_S: Final = 0.4
_LATE_LOOKS: Final = 8
ENOUGH_TRIES: Final = 60
FEW_TRIES: Final = 12
"""For what takes ten game seconds, or a page that hangs, at each try."""

Play = Callable[[Inputs, int], Awaitable[Sighting | None]]
"""Plays inputs to a frame, from the load on; None: the fault has not shown."""


class Proof(NamedTuple):
    """How a fault is shown again."""

    full: Play
    quick: Play
    """Enough to tell shorter inputs from those that show nothing."""
    tries: int = ENOUGH_TRIES
    minimises: bool = True
    frames: int = 0
    """Frames without which it cannot be shown; 0: few, it is begun in any case."""
    narrow: Callable[[Inputs, int], Awaitable[Inputs | None]] | None = None
    """Finds the input that has caused it, where others follow that changed nothing: the inputs up to there."""
    errors: Callable[[], set[str]] = set
    """Signatures of errors that were reported where it has shown last."""


def proof_of(candidate: Candidate, stage: Stage) -> Proof | None:
    """What shows `candidate` again; None: it cannot be shown by frames."""
    if candidate.real or candidate.measured is not None:
        return None
    if candidate.kind in ("error", "left", "asset"):
        shows = _OfIncident(stage, candidate.kind, candidate.signature)
        return Proof(shows.full, shows.quick)
    if candidate.kind == "crash" or candidate.signature == HANGS:
        ends = _Ends(stage, PageGone if candidate.kind == "crash" else PageHung)
        return Proof(ends, ends, FEW_TRIES)
    if candidate.kind in STANDSTILLS:
        still = Standstill(stage, candidate.controls)
        least = 2 * (candidate.until + WAIT) + TIMES * WATCH
        return Proof(still.full, still.quick, FEW_TRIES, frames=least, narrow=still.narrow, errors=lambda: still.errors)
    if candidate.signature == INERT:
        inert = _Inert(stage)
        return Proof(inert, inert, minimises=False)
    if candidate.kind == "noscripts":
        never = Standstill(stage, candidate.controls, never=True)
        return Proof(never.full, never.full, minimises=False)
    if candidate.kind == "blank":
        blank = _Blank(stage)
        return Proof(blank.full, blank.quick, narrow=blank.narrow)
    if candidate.kind == "deadkey" and candidate.action is not None and candidate.moments:
        dead = _DeadKey(stage, candidate)
        return Proof(dead, dead, minimises=False)
    if candidate.kind == "once" and candidate.action is not None:
        once = _Once(stage, candidate.action)
        return Proof(once, once, minimises=False)
    if candidate.kind == "heap":
        grows = _Grows(stage)
        return Proof(grows, grows, minimises=False)
    return None


@dataclass(slots=True)
class _OfIncident:
    """The page reports it: an error, a missing file, an attempt to leave."""

    stage: Stage
    kind: str
    signature: str

    async def quick(self, inputs: Inputs, until: int) -> Sighting | None:
        page = await self.stage.open()
        try:
            found = in_incidents((await self.stage.play(inputs, until)).happened, self.kind, self.signature)
        except (PageHung, PageGone):
            return None
        return found or await self._late(page, until)

    async def full(self, inputs: Inputs, until: int) -> Sighting | None:
        """The same, frame by frame after the last input has begun, so that the frame is known."""
        page = await self.stage.open()
        first = max((step.at for step in inputs.steps), default=max(0, until - _STEPPED))
        try:
            found = in_incidents((await self.stage.play(inputs, first)).happened, self.kind, self.signature)
            while found is None and self.stage.frame < until:
                frame = self.stage.frame + 1
                found = in_incidents((await self.stage.play(inputs, frame)).happened, self.kind, self.signature)
        except (PageHung, PageGone):
            return None
        return found or await self._late(page, until)

    async def _late(self, page: Page, until: int) -> Sighting | None:
        """What the network or the browser has to say comes a moment later than the frame that caused it."""
        if self.kind == "error" and not self.signature.startswith("console"):
            return None
        for _ in range(_LATE_LOOKS):
            await asyncio.sleep(_LATE_S / _LATE_LOOKS)
            late = [Happened(until, each) for each in page.incidents()]
            if found := in_incidents(late, self.kind, self.signature):
                return found
        return None


@dataclass(slots=True)
class _Ends:
    """The page hangs, or its process dies."""

    stage: Stage
    how: type[PageHung | PageGone]

    async def __call__(self, inputs: Inputs, until: int) -> Sighting | None:
        page = await self.stage.open()
        frame = until
        try:
            for frame in (*range(_ENDS_WITHIN, until, _ENDS_WITHIN), until):
                await self.stage.play(inputs, frame)
        except (PageHung, PageGone) as ended:
            if isinstance(ended, PageHung):
                await page.break_script()
            elif not await page.browser_lives():
                raise
            elif page.gone is None:  # a call has failed, and the page lives
                return None
            return Sighting(frame, str(ended)) if isinstance(ended, self.how) else None
        return None


@dataclass(slots=True)
class _Blank:
    """The picture becomes a single colour and stays so; it was painted before, or is painted without the last input."""

    stage: Stage

    async def quick(self, inputs: Inputs, until: int) -> Sighting | None:
        at = soon_after(inputs, until)
        return Sighting(at) if await self._blank(inputs, at, afresh=True) else None

    async def full(self, inputs: Inputs, until: int) -> Sighting | None:
        at = soon_after(inputs, until)
        if not await self._blank(inputs, at, afresh=True) or not await self._blank(inputs, at + BLANK_FOR):
            return None
        if not inputs.steps and at <= BLANK_FOR:
            return Sighting(at)
        before = (Inputs(inputs.steps[:-1]), at) if inputs.steps else (inputs, at - BLANK_FOR)
        return None if await self._blank(*before, afresh=True) else Sighting(at)

    async def narrow(self, inputs: Inputs, until: int) -> Inputs | None:
        """The inputs up to that after which the picture is a single colour."""
        return await first_beginning(inputs, until, self._blank)

    async def _blank(self, inputs: Inputs, frame: int, *, afresh: bool = False) -> bool:
        if afresh:
            await self.stage.open()
        await self.stage.play(inputs, frame)
        return pictures.is_blank(pictures.thumb(await self.stage.picture()))


@dataclass(slots=True)
class _Inert:
    """Nothing of the page runs, nothing listens to input, and what usually begins a game changes nothing."""

    stage: Stage

    async def __call__(self, inputs: Inputs, until: int) -> Sighting | None:
        await self.stage.open()
        await self.stage.play(inputs, until)
        if not await inert(self.stage):
            return None
        width, height = self.stage.screen.viewport
        buttons = [(x / width, y / height) for _, x, y in (await self.stage.state()).buttons]
        beginnings = [
            *map(key, ("Space", "Enter", "ArrowRight")),
            *(click(*place) for place in [(0.5, 0.5), *buttons[:3]]),
        ]
        steps = [Step(until + number * HOLD, action) for number, action in enumerate(beginnings)]
        end = steps[-1].end + WATCH
        without = await self.stage.play(inputs, end, until)
        await self.stage.open()
        changed = parting(await self.stage.play(inputs.then(*steps), end, until), without)
        return Sighting(until) if changed is None else None


async def inert(stage: Stage) -> bool:
    """Whether nothing of the page is left to run, and nothing listens to input but links and buttons."""
    return (await stage.about()).loop.stopped and (await stage.state()).listens <= {"click"}


class _DeadKey:
    """A promised control changes nothing, at moments at which another control does."""

    def __init__(self, stage: Stage, candidate: Candidate) -> None:
        assert candidate.action is not None
        self.stage, self.action, self.others = stage, candidate.action, candidate.controls
        self.moments = candidate.moments
        self.turn = 0

    async def __call__(self, inputs: Inputs, until: int) -> Sighting | None:
        moment = self.moments[self.turn % len(self.moments)]
        moment = Moment(moment.inputs, moment.frame + 7 * (self.turn // len(self.moments)))
        self.turn += 1
        without = await self._watched(moment, None)
        if parting(await self._watched(moment, self.action), without) is not None:
            return None
        for other in self.others:
            if parting(await self._watched(moment, other), without) is not None:
                return Sighting(moment.frame)
        return None

    async def _watched(self, moment: Moment, action: Action | None) -> Trace:
        return await watched(self.stage, moment, action)


@dataclass(slots=True)
class _Once:
    """The last input changes nothing, and does where the earlier ones of its kind are left out."""

    stage: Stage
    action: Action

    async def __call__(self, inputs: Inputs, until: int) -> Sighting | None:
        *earlier, last = inputs.steps
        used = Moment(Inputs(tuple(earlier)), last.at)
        fresh = Moment(Inputs(tuple(step for step in earlier if step.action != self.action)), last.at)
        if not await self._changes(fresh, last.hold) or await self._changes(used, last.hold):
            return None
        return Sighting(last.at)

    async def _changes(self, moment: Moment, hold: int) -> bool:
        with_it = await watched(self.stage, moment, self.action, hold)
        return parting(with_it, await watched(self.stage, moment, None, hold)) is not None


@dataclass(slots=True)
class _Grows:
    """What is kept in memory grows in every stretch before the last frame."""

    stage: Stage

    async def __call__(self, inputs: Inputs, until: int) -> Sighting | None:
        await self.stage.open()
        found = await heap.measure_again(self.stage, inputs, until)
        assert found is not None  # it had all the time it needs
        grown = ", ".join(str(each) for each in found.growths)
        return Sighting(until, f"It grew by {grown} KB in stretches of {heap.STRETCH} frames") if found.leaks else None


async def watched(stage: Stage, moment: Moment, action: Action | None, hold: int = HOLD) -> Trace:
    """The frames after a moment, with a gesture that begins there or with none, from the load on."""
    inputs = moment.inputs if action is None else moment.inputs.then(Step(moment.frame, action, hold))
    await stage.open()
    return await stage.play(inputs, moment.frame + hold + WATCH, moment.frame)
