"""Experiments on a game in owned time: the run up to a moment, once with an input and once without it.

What differs between the two was caused by the input, provided that two runs without it do not differ. So every moment
is run twice without input first, and is discarded where these two differ. What is told of a game's controls comes from
here, and from nothing that was merely watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from agent_worker.games.actions import Action
from agent_worker.games.chromium import pictures
from agent_worker.games.errors import PageGone, PageHung, TimeUp
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.effects import Effect, Moment
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Happened, Sample, Trace, parting

__all__ = [
    "BRIEF",
    "GAP",
    "HOLD",
    "LONG",
    "TAP",
    "WATCH",
    "Baseline",
    "Broken",
    "Determinism",
    "Effect",
    "Found",
    "Lab",
    "Moment",
    "Spent",
]

TAP: Final = 4
"""Frames of a short press: the shortest that games which look at their keys 15 times a second can see."""
HOLD: Final = 14
"""Frames of a press that is tried first. Games that move in steps look at a held key every 8 to 12 frames."""
LONG: Final = 40
"""Frames of a press for what only a long one does."""
BRIEF: Final = 10
"""Frames of a press where many are tried in one branch; what is found so is tried again with `HOLD`."""
GAP: Final = 2
"""Frames between two presses in one branch."""
WATCH: Final = 72
"""Frames for which a gesture is watched after its end before it counts as dead: effects may be delayed."""
SLOW_S: Final = 0.8
"""What a branch takes of real time on the average where a game counts as slow."""
LOOKS: Final = (8, 24, 48, HOLD + WATCH)
"""Frames after a moment at which pictures are taken, of the run without input and of those with one."""


class Spent(Exception):
    """The time or the frames that were given for experiments are used up. Says nothing about the game."""


@dataclass(slots=True)
class Baseline:
    """A moment's run without input.

    Attributes:
        trace: Samples from the moment's frame on.
        until: The last frame of it.
        pictures: JPEGs, by their frame.
        focus: The kind of element that has the focus, such as `BUTTON`.
        scroll: How far the page was scrolled at its end.
        agreed: Whether a second run had the same samples, of those that both have; None where none was made.
        shorter: The one that this one continues, if that has agreed.
        final: No longer one is made: two runs would differ.
    """

    trace: Trace
    until: int
    pictures: dict[int, bytes]
    focus: str = ""
    scroll: str = ""
    agreed: bool | None = None
    shorter: Baseline | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """Inputs after which the page did not answer any more, or was gone."""

    inputs: Inputs
    until: int
    error: PageHung | PageGone


class Found(NamedTuple):
    """What a branch with one gesture after another has shown.

    Attributes:
        alive: Index of the last gesture that had begun when the run parted from the one without; None: it never did.
        dead: How many gestures, from the first on, were watched to their end and did nothing.
    """

    alive: int | None
    dead: int


@dataclass(slots=True)
class Determinism:
    """How many moments were tried, and in how many two runs without input agreed."""

    moments: int = 0
    agreed: int = 0


class Lab:
    """Makes experiments on one stage. Not for two tasks at once.

    Args:
        until_s: On the event loop's clock; no branch begins that would probably end later.
        most_frames: How many frames all branches together may play.

    Attributes:
        branches: How many runs were made.
        happened: Incidents of all branches, each with the inputs that led to it.
        broken: What hung the page or ended it.

    Raises:
        Spent: from every method that plays.
        LoadFailed: The game cannot be opened any more.
    """

    def __init__(self, stage: Stage, until_s: float, most_frames: int = 200_000) -> None:
        self.stage = stage
        self.until_s = until_s
        self.determinism = Determinism()
        self.branches = 0
        self.happened: list[tuple[Inputs, Happened]] = []
        self.broken: list[Broken] = []
        self._last_frame = stage.played + most_frames
        self._baselines: dict[Moment, Baseline] = {}
        self._effects: dict[tuple[Moment, Step], Effect | None] = {}
        self._branch_s = 0.5  # a guess, before the first
        self._began_s: float | None = None

    async def play(self, inputs: Inputs, until: int, watch_from: int | None = None) -> Trace:
        """As `Stage.play`, within the limits. What happens is kept.

        Raises:
            PageHung, PageGone: After it was noted in `broken`.
        """
        try:
            trace = await self.stage.play(inputs, until, watch_from)
        except (PageHung, PageGone) as error:
            self.broken.append(Broken(inputs.before(until), until, error))
            raise
        except TimeUp as error:
            raise Spent from error
        self.happened += [(inputs.before(each.frame), each) for each in trace.happened]
        return trace

    @property
    def slow(self) -> bool:
        """Whether so few branches can be made that the most telling ones have to do."""
        return self._branch_s > SLOW_S

    def begin_branch(self) -> None:
        """Counts a branch, and refuses one for which no time is left."""
        now = asyncio.get_running_loop().time()
        if self._began_s is not None:
            self._branch_s += 0.3 * (now - self._began_s - self._branch_s)
        self._began_s = None
        if now + self._branch_s > self.until_s or self.stage.played > self._last_frame:
            raise Spent
        self._began_s = now
        self.branches += 1

    def forget_pause(self) -> None:
        """What was done since the last branch belongs to none."""
        self._began_s = None

    async def baseline(self, moment: Moment, frames: int = HOLD + WATCH, *, runs: int = 2) -> Baseline:
        """The run without input for at least `frames` after `moment`, as far as it can be trusted; kept for later.

        Args:
            runs: 1 leaves out the second run, which tells whether the first can be trusted.
        """
        known = self._baselines.get(moment)
        if known and known.agreed is None and known.shorter and known.shorter.until >= moment.frame + frames:
            return known.shorter
        if known is None or (known.until < moment.frame + frames and not known.final):
            longer = await self._without(moment, frames, looks=True)
            longer.shorter = known if known and known.agreed else None
            known = self._baselines[moment] = longer
        if runs > 1 and known.agreed is None:
            known = self._baselines[moment] = await self._agreement(moment, known)
        return known

    async def _agreement(self, moment: Moment, base: Baseline) -> Baseline:
        """Runs a moment without input once more; what holds only for a shorter stretch is trusted for that stretch."""
        again = await self._without(moment, base.until - moment.frame, looks=False)
        base.agreed = parting(again.trace, base.trace) is None
        if base.shorter is not None and not base.agreed:
            base.shorter.final = True
            return base.shorter
        base.final = not base.agreed
        self._count(base)
        return base

    def _count(self, base: Baseline) -> None:
        """Each moment counts once, however long it was watched."""
        if base.shorter is None:
            self.determinism.moments += 1
            self.determinism.agreed += base.agreed is True

    async def _without(self, moment: Moment, frames: int, *, looks: bool) -> Baseline:
        self.begin_branch()
        if not looks or self.stage.frame > moment.frame:
            await self.stage.open()
        samples: list[Sample] = []
        shots: dict[int, bytes] = {}
        focus = ""
        stops = [moment.frame + look for look in LOOKS if look < frames] if looks else []
        for stop in [*stops, moment.frame + frames]:
            samples += (await self.play(moment.inputs, stop, moment.frame)).samples
            if looks and stop - moment.frame in LOOKS:
                shots[stop] = await self.stage.picture()
                focus = focus or await self.focused()
        scroll = await self.scroll() if looks else ""
        return Baseline(Trace(tuple(samples)), moment.frame + frames, shots, focus, scroll)

    async def scroll(self) -> str:
        """How far the page is scrolled now."""
        assert self.stage.page is not None
        return str(await self.stage.page.ask("`${scrollX} ${scrollY}`", "reading how far it is scrolled"))

    async def focused(self) -> str:
        """The kind of element that has the page's focus, such as `BUTTON`."""
        assert self.stage.page is not None
        return str(await self.stage.page.ask("document.activeElement?.tagName ?? ''", "looking for the focus"))

    async def effect(
        self,
        moment: Moment,
        action: Action,
        hold: int = HOLD,
        *,
        afresh: bool = False,
        runs: int = 2,
        closely: bool = True,
    ) -> Effect | None:
        """What `action` does at `moment`; None: nothing in `WATCH` frames, or nothing can be said there.

        A gesture that hangs the page or ends it has no effect here; it stands in `broken`.

        Args:
            afresh: Runs it again, even if it was run before.
            runs: As for `baseline`.
            closely: Where the pictures that were taken show nothing and the canvases did differ, takes better ones.
        """
        step = Step(moment.frame, action, hold)
        if not afresh and (moment, step) in self._effects:
            known = self._effects[moment, step]
            return known and replace(known, moment=moment)  # by the name that it has now
        base = await self.baseline(moment, hold + WATCH, runs=runs)
        effect: Effect | None = None
        if base.agreed is not False:
            self.begin_branch()
            with suppress(PageHung, PageGone):
                effect = await self._with(moment, step, base)
            if effect is not None and closely and not effect.change and "pixels" in effect.ways:
                effect = await self._closer(effect, base)
        self._effects[moment, step] = effect
        return effect

    def acted(self, moment: Moment, action: Action, hold: int = HOLD) -> bool:
        """Whether an experiment has shown that this does something there, be it seen or not."""
        return self._effects.get((moment, Step(moment.frame, action, hold))) is not None

    async def _with(self, moment: Moment, step: Step, base: Baseline) -> Effect | None:
        inputs = moment.inputs.then(step)
        if self.stage.frame > moment.frame:
            await self.stage.open()
        samples: list[Sample] = []
        shots: dict[int, bytes] = {}
        first: int | None = None
        stops = sorted({*base.pictures, moment.frame + step.hold + WATCH})
        for stop in stops:
            trace = await self.play(inputs, stop, moment.frame)
            samples += trace.samples
            first = first or parting(trace, base.trace)
            if first and stop in base.pictures:
                shots[stop] = await self.stage.picture()
            if len(shots) >= 2:
                break
        if first is None:
            return None
        change, frame = _clearest(base.pictures, shots)
        equal = max((sample.frame for sample in samples if sample.frame < first), default=moment.frame)
        return Effect(
            moment,
            step,
            first,
            _ways(samples, base.trace),
            change,
            frame,
            base.pictures.get(frame, b""),
            shots.get(frame, b""),
            tuple(sample for sample in samples if sample.frame >= first),
            await self.scroll() != base.scroll,
            first - equal,
        )

    async def _closer(self, effect: Effect, base: Baseline) -> Effect:
        """The same, with pictures of a frame at which the canvases do differ: some effects last for a frame."""
        theirs = {sample.frame: sample.pixels for sample in base.trace.samples}
        frames = [each.frame for each in effect.print if theirs.get(each.frame, each.pixels) != each.pixels]
        frame = frames[len(frames) // 2]
        shots = []
        for inputs in (effect.moment.inputs, effect.inputs):
            self.begin_branch()
            await self.play(inputs, frame)
            shots.append(await self.stage.picture())
        change = pictures.changed(pictures.thumb(shots[0]), pictures.thumb(shots[1]))
        return replace(effect, change=change, frame=frame, before=shots[0], after=shots[1])

    async def first_alive(
        self, moment: Moment, actions: Sequence[Action], hold: int = BRIEF, watch: int = WATCH
    ) -> Found:
        """Does one gesture after another in one branch, as long as it stays equal to one run without any.

        That nothing differs shows also that the two agree. Where they part, that may be chance: try the gesture alone.

        Args:
            watch: Frames for which the last one is watched after its end.
        """
        every = hold + GAP
        base = await self.baseline(moment, len(actions) * every + watch, runs=1)
        if base.agreed is False:
            return Found(None, 0)
        self.begin_branch()
        if self.stage.frame > moment.frame:
            await self.stage.open()
        steps = [Step(moment.frame + number * every, action, hold) for number, action in enumerate(actions)]
        steps = [step for step in steps if step.end + watch <= base.until]
        inputs = moment.inputs.then(*steps)
        stops = [step.at + every for step in steps[:-1]] + [base.until]
        try:
            for stop in stops:
                parted = parting(await self.play(inputs, stop, moment.frame), base.trace)
                if parted is not None:
                    return self._noted(moment, steps, _found(steps, parted))
        except (PageHung, PageGone):
            return self._noted(moment, steps, _found(steps, self.stage.frame + 1))
        if steps and base.agreed is None:
            base.agreed = True
            self._count(base)
        return self._noted(moment, steps, Found(None, len(steps)))

    def _noted(self, moment: Moment, steps: Sequence[Step], found: Found) -> Found:
        for step in steps[: found.dead]:
            self._effects.setdefault((moment, Step(moment.frame, step.action, HOLD)), None)
        return found


def _found(steps: Sequence[Step], parted: int) -> Found:
    began = sum(step.at < parted for step in steps)
    return Found(max(0, began - 1), sum(step.end + WATCH <= parted for step in steps))


def _ways(samples: Sequence[Sample], without: Trace) -> frozenset[str]:
    theirs = {sample.frame: sample for sample in without.samples}
    ways: set[str] = set()
    for mine in samples:
        other = theirs.get(mine.frame, mine)
        ways |= {way for way in ("pixels", "page", "sound", "stored") if getattr(mine, way) != getattr(other, way)}
    return frozenset(ways)


def _clearest(without: dict[int, bytes], those: dict[int, bytes]) -> tuple[float, int]:
    """The largest part of the picture that differs, and its frame; 0 and the last frame if none does."""
    changes = [
        (pictures.changed(pictures.thumb(without[frame]), pictures.thumb(shot)), frame) for frame, shot in those.items()
    ]
    return max(changes, default=(0.0, 0))
