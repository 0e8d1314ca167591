"""The shortest inputs that still show a fault: delta debugging over gestures, holds and waiting. Pure.

Zeller and Hildebrandt's `ddmin` takes gestures out; then each is held as shortly as it can be, and the time between
them is cut. Nothing is assumed of the fault: the result is always one that was itself seen to show it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from agent_worker.games.inputs import Inputs, Step

Shows = Callable[[Inputs, int], Awaitable[int | None]]
"""Plays inputs from the load on to a frame at most; the frame at which the fault has shown, or None."""
MAX_TRIES: Final = 60
SHORT_HOLD: Final = 4
"""Frames that a key is held when somebody taps it."""


@dataclass(frozen=True, slots=True)
class Minimal:
    """The shortest that was found.

    Attributes:
        inputs: They were seen to show the fault.
        until: The frame at which it had shown then.
        tries: How many inputs were tried.
        finished: False where tries or time ended first: there may be shorter ones.
    """

    inputs: Inputs
    until: int
    tries: int
    finished: bool


class _Spent(Exception):
    """Tries or time are over."""


async def minimise(
    inputs: Inputs, until: int, shows: Shows, *, tries: int = MAX_TRIES, expired: Callable[[], bool] = lambda: False
) -> Minimal | None:
    """Looks for shorter inputs that show a fault.

    Args:
        until: The frame to which `inputs` have to be played.
        tries: How often `shows` may be called, at most.
        expired: Whether it is time to stop; asked before each try.

    Returns:
        None: not even `inputs` themselves have shown it again.
    """
    search = _Search(shows, tries, expired)
    try:
        if not await search.better(inputs.before(until), until):
            return None
        try:
            await search.fewer()
            await search.shorter_holds()
            await search.less_waiting()
        except _Spent:
            return Minimal(search.inputs, search.until, search.tried, False)
    except _Spent:
        return None
    return Minimal(search.inputs, search.until, search.tried, True)


@dataclass(slots=True)
class _Search:
    shows: Shows
    left: int
    expired: Callable[[], bool]
    inputs: Inputs = field(default_factory=Inputs)
    until: int = 0
    tried: int = 0
    known: dict[Inputs, bool] = field(default_factory=dict)

    async def better(self, inputs: Inputs, until: int | None = None) -> bool:
        """Whether these show it as well; they are the best known then."""
        if inputs in self.known:
            return self.known[inputs]
        if not self.left or self.expired():
            raise _Spent
        self.left -= 1
        self.tried += 1
        frame = await self.shows(inputs, self.until if until is None else until)
        self.known[inputs] = frame is not None
        if frame is not None:
            self.inputs, self.until = inputs, frame
        return frame is not None

    async def fewer(self) -> None:
        """`ddmin`: takes out parts, first halves, then ever smaller ones, until no single gesture can be missed."""
        if not self.inputs.steps or await self.better(Inputs()):
            return
        parts = 2
        while len(self.inputs.steps) >= 2:
            steps, size = self.inputs.steps, -(-len(self.inputs.steps) // parts)
            chunks = [steps[start : start + size] for start in range(0, len(steps), size)]
            if await self._any([Inputs(each) for each in chunks]):
                parts = 2
            elif await self._any([_without(steps, place, size) for place in range(0, len(steps), size)]):
                parts = max(parts - 1, 2)
            elif size == 1:
                return
            else:
                parts = min(parts * 2, len(steps))

    async def _any(self, choices: Sequence[Inputs]) -> bool:
        for each in choices:
            if each != self.inputs and await self.better(each):
                return True
        return False

    async def shorter_holds(self) -> None:
        """Taps instead of holding, all at once if that does it; else each as shortly as it can be."""
        for most in (1, SHORT_HOLD):
            tapped = [replace(step, hold=min(step.hold, most)) for step in self.inputs.steps]
            if await self.better(Inputs(tuple(tapped))):
                break
        for place in range(len(self.inputs.steps)):
            await self._least(self.inputs.steps[place].hold, 1, partial(self._held, place))

    def _held(self, place: int, hold: int) -> Inputs:
        steps = list(self.inputs.steps)
        steps[place] = replace(steps[place], hold=hold)
        return Inputs(tuple(steps))

    async def less_waiting(self) -> None:
        """Lets each gesture, and those after it, begin as early as it can."""
        for place in range(len(self.inputs.steps)):
            earliest = self.inputs.steps[place - 1].end if place else 0
            first = min(self.inputs.steps[place].at, earliest)
            await self._least(self.inputs.steps[place].at, first, partial(self._moved, place))

    def _moved(self, place: int, at: int) -> Inputs:
        steps = self.inputs.steps
        by = steps[place].at - at
        return Inputs((*steps[:place], *(replace(each, at=each.at - by) for each in steps[place:])))

    async def _least(self, now: int, least: int, made: Callable[[int], Inputs]) -> None:
        """Tries the least value, then halves the way to it; `now` is known to do."""
        low = least
        while low < now:
            value = low if low == least else (low + now) // 2
            if await self.better(made(value)):
                now = value
            else:
                low = value + 1


def _without(steps: tuple[Step, ...], start: int, size: int) -> Inputs:
    return Inputs((*steps[:start], *steps[start + size :]))
