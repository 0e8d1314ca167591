"""Looking for faults that no event tells: controls that work only once, and a game that does not react any more.

What a page reports (errors, missing files) is read by sightings.py; all of it are candidates, which reporter.py shows
again before they are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from agent_worker.games.actions import OPPOSITE, Action
from agent_worker.games.errors import PageGone
from agent_worker.games.findings.finding import STANDSTILLS, Candidate, Moment
from agent_worker.games.findings.only_once import Use
from agent_worker.games.findings.standstill import Standstill
from agent_worker.games.owned_time.stage import Stage


async def standing(stage: Stage, ends: Iterable[Moment], controls: Sequence[Action], until_s: float) -> list[Candidate]:
    """At which ends of playing nothing that is known to work changes anything: candidates for a standstill.

    Args:
        ends: Where playing has ended, the most telling first.
        until_s: On the event loop's clock; no experiment begins after it.

    Raises:
        PageHung: It hangs where playing has ended.
    """
    clock = asyncio.get_running_loop().time
    still = Standstill(stage, tuple(controls))
    for end in ends:
        if clock() > until_s:
            break
        try:
            found = await still.quick(end.inputs, end.frame)
        except PageGone:
            if stage.page is None or not await stage.page.browser_lives():
                raise
            continue
        if found is not None:
            title = STANDSTILLS["softlock"]
            return [Candidate("softlock", title, end.inputs, end.frame, controls=tuple(controls))]
    return []


def uses(controls: Mapping[Action, Moment], most: int = 8) -> list[Use]:
    """What `only_once` tries: each key that works, what may undo it, and what the game is played with beside it.

    Args:
        controls: Each with a moment at which it works while the game is played.
    """
    found = []
    for action, moment in controls.items():
        opposites = {OPPOSITE.get(key) for key in action.keys}
        undoing = [other for other in controls if other != action and set(other.keys) & opposites]
        beside = dict.fromkeys((*undoing, *(other for other in controls if other != action)))
        if action.kind == "keys":
            found.append(Use(action, moment, tuple(undoing[:2]), tuple(beside)[:3]))
    return found[:most]
