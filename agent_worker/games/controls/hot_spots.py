"""Where the pointer becomes a hand over a canvas: what a game draws there means something to a click or a drag."""

from __future__ import annotations

import asyncio
from typing import Final

from agent_worker.games.actions import Box
from agent_worker.games.owned_time.effects import Moment
from agent_worker.games.owned_time.experiments import Lab

COLUMNS: Final = 12
ROWS: Final = 7
"""Places that are looked at: what is as large as a twelfth of the canvas is met."""
STAYS: Final = 3
"""Frames at each: some libraries look at the pointer 20 times a second."""
ENOUGH: Final = 2
_HANDS: Final = ("pointer", "grab", "move")
_CURSOR: Final = """((x, y) => {
  const at = document.elementFromPoint(x * innerWidth, y * innerHeight);
  return at ? getComputedStyle(at).cursor : "";
})"""


async def hot_spots(lab: Lab, moment: Moment, box: Box) -> list[tuple[float, float]]:
    """Places in parts of the viewport, from the middle of `box` outwards; empty where the pointer never changes.

    What this does to the page is not among what was done to it, so that the next play opens the game afresh. It ends
    with the round, or where the next look would probably take longer than there is time.

    Raises:
        Spent: There is no time at all.
    """
    lab.begin_branch()
    stage, clock = lab.stage, asyncio.get_running_loop().time
    await lab.play(moment.inputs, moment.frame)
    page = stage.page
    assert page is not None
    left, top, width, height = box
    places = [((column + 0.5) / COLUMNS, (row + 0.5) / ROWS) for row in range(ROWS) for column in range(COLUMNS)]
    found: list[tuple[float, float]] = []
    try:
        for x, y in sorted(places, key=lambda each: (each[0] - 0.5) ** 2 + (each[1] - 0.5) ** 2):
            if stage.frame > moment.frame + moment.calm or clock() + stage.needs_s(STAYS, 0) > lab.until_s:
                break
            place = left + width * x, top + height * y
            await page.point(*place)
            await lab.play(moment.inputs, stage.frame + STAYS)
            if await page.ask(f"{_CURSOR}({place[0]}, {place[1]})", "looking at the pointer") in _HANDS:
                found.append(place)
                if len(found) == ENOUGH:
                    break
    finally:
        stage.page = None
    return found
