"""Controls that work only once, by experiment.

Many things work once for good reasons: a key that starts the game, a ball that is launched, a weapon that has to cool
down. So a control is told only in three cases.

*The game looks as if it had never been used*: the picture has become equal to that of the run without it, by itself or
by the opposite control. From there on the control has to change nothing at several later moments, at each of which it
does change something in the run without the first use.

*A key that steers*, which no game means once, and beside which the key that steers the other way works: this one and
other controls are used for a quarter of a minute, and the key after each of them. It has to change nothing at any of
these moments, and something at `TIMES` of them where it was not used before; the other controls have to act at the
first and at the last. Where the game stood still before the key was used and moves after it, it is not told: it may
have launched something.

*A key that no longer reaches the game*, steering or not: after the first use, a handler of the page stops it on its way
each time, and none of the other keys. All else is the same, and it has to do something where it is let through.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from agent_worker.games.actions import OPPOSITE, Action
from agent_worker.games.errors import PageGone, PageHung, TimeUp
from agent_worker.games.findings.finding import TIMES, Candidate, Moment, hangs
from agent_worker.games.inputs import FRAMES_PER_S, Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Trace, parting

HOLD: Final = 8
"""Frames for which the control is used: games that move in steps look at a key every 8 to 12 frames, and do so once."""
WATCH: Final = 60
"""Frames for which it is watched."""
REACH: Final = 600
"""Frames after a moment in which all of it happens: longer than what has to cool down usually takes."""
FIRST: Final = 90
"""Frames after the first use that it is tried again."""
EVERY: Final = 61
"""Frames between two later moments; no multiple of a usual animation."""
SAME_FOR: Final = 20
"""Frames for which two pictures are equal before they count as such: figures pass each other."""
AMONG: Final = 7
"""How often a key that steers is used among the other controls: now and then it does nothing for a good reason."""
QUIET: Final = 24
"""Frames before another control in which it is seen whether a game moves by itself."""


class Pace(NamedTuple):
    """How a key is used among others, in frames."""

    first: int
    """After its first use."""
    holds: tuple[int, ...]
    """For which the other controls are held, in turn."""
    quiet: int
    """Between another control and the key."""
    pause: int
    """Between the key and the next other control."""

    @property
    def reach(self) -> int:
        """In which all of that happens after a moment."""
        return self.first + AMONG * (max(self.holds) + self.quiet + HOLD + self.pause)


CALM: Final = Pace(FIRST, (14, 8, 24), 24, WATCH)
BRISK: Final = Pace(60, (8,), 12, 30)
"""Where it is known that the key does not reach the game: nothing has to cool down."""
_RUNS_OF_A_FAULT: Final = 3 + TIMES
"""Long runs that it takes to show a fault so, after the two that show that it may be one."""
_STRIDE: Final = 4
"""Each such frame is compared, since these runs are long."""


class Use(NamedTuple):
    """One control, and where it is known to work."""

    action: Action
    moment: Moment
    others: tuple[Action, ...] = ()
    """Controls that may undo it, the likeliest first."""
    beside: tuple[Action, ...] = ()
    """Controls with which the game is played in between, those that may undo it first."""

    @property
    def steers(self) -> bool:
        """Whether it is one key, of those that games are steered with."""
        return len(self.action.keys) == 1 and self.action.keys[0] in OPPOSITE


async def only_once(stage: Stage, uses: list[Use], until_s: float, last_s: float = 0.0) -> list[Candidate]:
    """Those of the controls that work only once; each is shown at `TIMES` later moments already.

    Args:
        uses: What was tried is taken from it.
        until_s: On the event loop's clock; no run is begun that would probably take longer, and what was not finished
            stays in `uses`.
        last_s: A control that has done nothing the second time may be tried until then, where that is later.
    """
    clock = asyncio.get_running_loop().time
    found: list[Candidate] = []
    unfinished: list[Use] = []
    while uses and clock() + stage.needs_s(*_least(uses[0])) < until_s:
        use = uses.pop(0)
        try:
            candidate = await _Trial(stage, use, until_s, max(until_s, last_s)).candidate()
        except TimeUp:
            unfinished.append(use)
            continue
        except PageHung as hung:
            found.append(hangs(*stage.ended_by(), hung))
            if stage.page is not None:
                await stage.page.break_script()
            stage.page = None
            break  # each of the others might wait as long
        except PageGone:
            if stage.page is None or not await stage.page.browser_lives():
                raise
            continue
        if candidate is not None:
            found.append(candidate)
    uses[:0] = unfinished
    return found


def _least(use: Use) -> tuple[int, int]:
    """Frames and openings that it takes to see that a control works more than once."""
    return 2 * (use.moment.frame + FIRST + HOLD + WATCH), 2


class _Trial:
    def __init__(self, stage: Stage, use: Use, until_s: float, last_s: float) -> None:
        self.stage, self.use, self.until_s, self.last_s = stage, use, until_s, last_s
        self.at = use.moment.frame
        self.known: dict[Inputs, Trace] = {}
        self.pace = CALM

    def afford(self, frames: int, runs: int = 1) -> None:
        """Raises TimeUp where so many frames would probably take longer than there is time."""
        if asyncio.get_running_loop().time() + self.stage.needs_s(frames, runs) > self.until_s:
            raise TimeUp("no time is left for another run")

    async def open(self, frames: int) -> None:
        """Opens the game for a run of so many frames; raises TimeUp as `afford` does."""
        self.afford(frames)
        await self.stage.open()

    async def played(self, *steps: Step, until: int) -> Trace:
        """The frames after the moment, with these steps; from the load on."""
        inputs = self.use.moment.inputs.then(*steps)
        known = self.known.get(inputs)
        if known is None or known.samples[-1].frame < until:
            until = until if until <= self.at + FIRST + HOLD + WATCH else self.at + REACH
            await self.open(until)
            known = self.known[inputs] = await self.stage.play(inputs, until, self.at)
        return known

    async def differs(self, before: tuple[Step, ...], step: Step) -> bool:
        """Whether a step changes anything after others."""
        until = step.end + WATCH
        without = await self.played(*before, until=until)
        await self.open(until)
        with_it = await self.stage.play(self.use.moment.inputs.then(*before, step), until, step.at)
        return parting(with_it, without) is not None

    async def candidate(self) -> Candidate | None:
        """A fault, if it is one."""
        first = Step(self.at, self.use.action, HOLD)
        again = Step(self.at + FIRST, self.use.action, HOLD)
        if await self.differs((first,), again) or not await self.differs((), first):
            return None
        self.until_s = self.last_s
        kept_away = await self.is_kept_away(first, again)
        if kept_away and (found := await self.among_others(first, kept_away=True)):
            return found
        made = await self.undone(first)
        found = None if made is None else await self.looking_the_same(*made)
        return found or await self.among_others(first, kept_away=False)

    async def looking_the_same(self, steps: tuple[Step, ...], same_from: int) -> Candidate | None:
        """A fault, if the control does nothing from the frame on at which the game looks as if it had not been used."""
        shown = 0
        for number in range(2 * TIMES):
            later = Step(same_from + number * EVERY, self.use.action, HOLD)
            if later.end + WATCH > self.at + REACH or not await self.same(steps, later.at):
                break
            if not await self.differs((), later):
                continue
            if await self.differs(steps, later):
                return None
            shown += 1
            if shown == TIMES:
                undone = f", and {steps[1].action.name} had brought it back" if len(steps) > 1 else ""
                return self.told(
                    (*steps, later),
                    f"After it was used once{undone}, the picture was the same as without it. From there on it changed "
                    f"nothing at {TIMES} moments; without the first use it did at each of them.",
                )
        return None

    async def among_others(self, first: Step, *, kept_away: bool) -> Candidate | None:
        """A fault, if the key does nothing ever after, while the game is played with other controls, although it steers
        or because a handler keeps it from the game."""
        steers = self.use.steers and bool(self.use.others)
        if not self.use.beside or not (steers or kept_away):
            return None
        self.pace = BRISK if kept_away else CALM
        others, later = self.in_turn()
        used = await self.sampled(first, *others)
        if kept_away:
            with_it, kept_away = await self.pressed_again(first, others, later)
        else:
            with_it = await self.sampled(first, *others, *later)
        if parting(with_it, used) is not None or not (steers or kept_away):
            return None
        self.afford(_RUNS_OF_A_FAULT * (self.at + self.pace.reach), _RUNS_OF_A_FAULT)
        unused = await self.sampled(*others)
        acts = parting(unused, await self.sampled(*others[1:])) is not None
        acts_after = parting(used, await self.sampled(first, *others[:-1])) is not None
        launched = moves_before(used, others[0].at) and not moves_before(unused, others[0].at)
        if not acts or not acts_after or launched:
            return None
        return await self.shown_at(first, others, later, (used, unused), kept_away=kept_away)

    async def is_kept_away(self, first: Step, again: Step) -> bool:
        """Whether a handler keeps the second press from the game, and not the first."""
        await self.open(again.at)
        inputs = self.use.moment.inputs.then(first, again)
        stopped = [(await self.stage.pressed(inputs, step, again.at, 1))[1] for step in (first, again)]
        return stopped == [False, True]

    async def pressed_again(self, first: Step, others: tuple[Step, ...], later: tuple[Step, ...]) -> tuple[Trace, bool]:
        """The run with all of it, and whether a handler keeps the key from the game each time but the first, and none
        of the other keys, of which there is one: a panel that it opens may keep all keys from the game."""
        end = self.at + self.pace.reach
        inputs = self.use.moment.inputs.then(first, *others, *later)
        await self.open(end)
        parts: list[Trace] = []
        stopped: dict[Step, bool] = {}
        for step in sorted((first, *others, *later), key=lambda each: each.at):
            part, stopped[step] = await self.stage.pressed(inputs, step, self.at, _STRIDE)
            parts.append(part)
        parts.append(await self.stage.play(inputs, end, self.at, _STRIDE))
        keys = any(step.action.kind == "keys" for step in others)
        alone = not stopped[first] and not any(stopped[step] for step in others)
        return Trace.of(*parts), keys and alone and all(stopped[step] for step in later)

    async def shown_at(
        self,
        first: Step,
        others: tuple[Step, ...],
        later: tuple[Step, ...],
        without: tuple[Trace, Trace],
        *,
        kept_away: bool,
    ) -> Candidate | None:
        """The fault, if the key does something at `TIMES` of the later moments where it was not used before.

        Args:
            without: The runs with the other controls alone, after the first use and without it.
        """
        used, unused = without
        shown: list[Step] = []
        for step in later:
            if parting(await self.sampled(*others, step, until=step.end + WATCH), unused) is not None:
                shown.append(step)
            if len(shown) == TIMES:
                break
        else:
            return None
        last = shown[-1]
        steps = (first, *(step for step in others if step.at < last.at), last)
        why = ""
        if kept_away:
            inputs = self.use.moment.inputs.then(*steps)
            if parting(await self.stage.heard(inputs, last, last.end + WATCH, _STRIDE), used) is None:
                return None
            why = (
                " A handler of the page stopped each of them, but not the first; let through, the last does something."
            )
        names = ", ".join(dict.fromkeys(step.action.name for step in others))
        seconds = (later[-1].end - first.at) // FRAMES_PER_S
        return self.told(
            steps,
            f"After it was used once, it was used {len(later)} times more in {seconds} s, between others ({names}), "
            f"and changed nothing.{why} Without the first use it did at {TIMES} of these moments.",
        )

    def in_turn(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """Uses of the other controls, and one of the key after each of them."""
        others: list[Step] = []
        later: list[Step] = []
        at = self.at + self.pace.first
        for number in range(AMONG):
            other = self.use.beside[number % len(self.use.beside)]
            others.append(Step(at, other, self.pace.holds[number % len(self.pace.holds)]))
            later.append(Step(others[-1].end + self.pace.quiet, self.use.action, HOLD))
            at = later[-1].end + self.pace.pause
        return tuple(others), tuple(later)

    async def sampled(self, *steps: Step, until: int | None = None) -> Trace:
        """The frames after the moment, some of them, with these steps; from the load on."""
        end = self.at + self.pace.reach if until is None else until
        await self.open(end)
        return await self.stage.play(self.use.moment.inputs.then(*steps), end, self.at, _STRIDE)

    def told(self, steps: tuple[Step, ...], detail: str) -> Candidate:
        """The fault, with the inputs that show it."""
        name = self.use.action.name
        return Candidate(
            "once",
            f"{name} works only once",
            self.use.moment.inputs.then(*steps),
            steps[-1].end + WATCH,
            signature=f"once {name}",
            detail=detail,
            action=self.use.action,
            measured=(TIMES, TIMES),
        )

    async def undone(self, first: Step) -> tuple[tuple[Step, ...], int] | None:
        """What is done until the game looks as if nothing had been, and the frame from which on it does."""
        for steps in ((first,), *((first, Step(first.end + 4, other, HOLD)) for other in self.use.others)):
            same_from = await self.same_from(steps)
            if same_from is not None:
                return steps, same_from
        return None

    async def same_from(self, steps: tuple[Step, ...]) -> int | None:
        """The frame from which on the picture is that of the run without the steps; None: it never is for long."""
        until = self.at + REACH
        without = await self.played(until=until)
        theirs = {each.frame: (each.pixels, each.page) for each in without.samples}
        begun = max(step.end for step in steps)
        same = 0
        for each in (await self.played(*steps, until=until)).samples:
            same = same + 1 if each.frame >= begun and theirs.get(each.frame) == (each.pixels, each.page) else 0
            if same == SAME_FOR:
                return each.frame
        return None

    async def same(self, steps: tuple[Step, ...], frame: int) -> bool:
        """Whether it still is at a frame."""
        until = frame + WATCH
        one, other = await self.played(*steps, until=until), await self.played(until=until)
        pictures = [{each.frame: (each.pixels, each.page) for each in trace.samples} for trace in (one, other)]
        return all(pictures[0].get(at) == pictures[1].get(at) for at in range(frame - SAME_FOR + 1, frame + 1))


def moves_before(trace: Trace, frame: int) -> bool:
    """Whether the picture changes by itself: shortly before a frame at which something is done."""
    return len({(each.pixels, each.page) for each in trace.samples if frame - QUIET <= each.frame < frame}) > 1
