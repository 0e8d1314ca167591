"""Whether a game's memory grows while it is played, in owned time: the same play on a busy machine and on an idle one.

Memory is measured after everything that nobody needs was collected, every few seconds of the game's time. A game that
loads or caches something grows for a while and stops; one that leaks grows in every stretch, at the end as at the
beginning.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from agent_worker.games.actions import Action
from agent_worker.games.inputs import FRAMES_PER_S, Inputs, Step
from agent_worker.games.owned_time.stage import Stage

STRETCHES: Final = 5
"""Stretches in each of which a leak has to show."""
STRETCH: Final = 4 * FRAMES_PER_S
"""Frames of one."""
WARM_UP: Final = 6 * FRAMES_PER_S
"""Frames before the first: what a game makes once is made then."""
FRAMES: Final = WARM_UP + STRETCHES * STRETCH
"""Frames after a moment that a measurement takes."""
LEAST_KB: Final = 256
"""KiB in every stretch, 64 in a second of the game's time: 230 MiB in an hour. Less may be a cache that fills."""
STEADY: Final = 0.5
"""What the least stretch has to grow beside the average one: what grows less and less comes to an end."""
_EVERY: Final = 24
"""Frames between two gestures."""
_HOLD: Final = 10
_KB: Final = 1024


@dataclass(frozen=True, slots=True)
class Heap:
    """What was measured.

    Attributes:
        kb: KiB at the beginning and after each stretch.
        inputs: What was done, since the load.
        begin: The frame at which it was measured first.
        until: The last frame.
    """

    kb: tuple[int, ...]
    inputs: Inputs
    begin: int
    until: int

    @property
    def growth_kb(self) -> int:
        """KiB by which it has grown in all."""
        return self.kb[-1] - self.kb[0]

    @property
    def growths(self) -> list[int]:
        """KiB by which it has grown in each stretch."""
        return [later - earlier for earlier, later in pairwise(self.kb)]

    @property
    def leaks(self) -> bool:
        """Whether it grows in every stretch, and does not come to an end."""
        grown = self.growths
        if len(grown) < STRETCHES:
            return False
        return min(grown) >= LEAST_KB and min(grown) >= STEADY * sum(grown) / len(grown)


def playing(gestures: Sequence[Action], begin: int, until: int) -> list[Step]:
    """The gestures in turn, from frame `begin` on."""
    times = range(begin, until - _HOLD, _EVERY) if gestures else ()
    return [Step(at, gestures[number % len(gestures)], _HOLD) for number, at in enumerate(times)]


async def measure(
    stage: Stage, leading_in: Inputs, frame: int, gestures: Sequence[Action], until_s: float
) -> Heap | None:
    """Plays from a moment on, and measures the memory from time to time.

    Args:
        leading_in: What leads to the moment, since the load.
        frame: The moment.
        until_s: On the event loop's clock.

    Returns:
        None: It could not be measured to its end in that time.

    Raises:
        LoadFailed, PageHung, PageGone, TimeUp: see errors.py.
    """
    until = frame + FRAMES
    return await measure_again(stage, leading_in.then(*playing(gestures, frame, until)), until, until_s)


async def measure_again(stage: Stage, inputs: Inputs, until: int, until_s: float = math.inf) -> Heap | None:
    """The same measurement up to frame `until`, with the same inputs, from the load on. See `measure`."""
    begin = max(0, until - STRETCHES * STRETCH)
    until = begin + STRETCHES * STRETCH
    kb: list[int] = []
    clock = asyncio.get_running_loop().time
    began_s = clock()
    for at in range(begin, until + 1, STRETCH):
        await stage.play(inputs, at)
        a_frame_s = (clock() - began_s) / max(1, at)  # by this play alone: frames that are compared take longer
        if clock() + (until - at) * a_frame_s > until_s:
            return None
        kb.append(await _used_kb(stage))
    return Heap(tuple(kb), inputs, begin, until)


async def _used_kb(stage: Stage) -> int:
    """KiB that the page's scripts hold, objects and buffers, after what nobody needs was collected."""
    objects = await stage.heap()
    assert stage.page is not None
    told = await stage.page.devtools("Runtime.getHeapUsage", {}, "measuring its memory")
    return (objects + int(told.get("embedderHeapUsedSize", 0)) + int(told.get("backingStorageSize", 0))) // _KB
