"""Phase 2: finding out which gestures control a game, by what they change in its picture."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from agent_worker.games import policy
from agent_worker.games.actions import Action, Group
from agent_worker.games.realtime.observer import Observer
from agent_worker.games.realtime.seen import controls_line
from agent_worker.games.wording import doing, percent

NEEDED_HITS: Final = 2
"""One effect may be chance: a control has to change the picture twice."""
MAX_TRIALS: Final = 3


class Discovery:
    """One search for controls; what it finds stands in the observer's findings.

    Args:
        groups: the gestures to try.
        middle: the middle of the game, in parts of the viewport.
        still_playing: looks after the game between two gestures; False when there is no going on.
    """

    def __init__(
        self,
        observer: Observer,
        groups: Sequence[Group],
        middle: tuple[float, float],
        still_playing: Callable[[], Awaitable[bool]],
    ) -> None:
        self.observer = observer
        self.groups = groups
        self.middle = middle
        self._still_playing = still_playing
        self.found = observer.found
        self.run = observer.run
        self.until_s = observer.plan.discover_until_s

    async def start_game(self) -> None:
        """Tries what games wait for on their title screens, until the picture becomes another one."""
        observer = self.observer
        for action in policy.start_gestures(observer.state.buttons, observer.page.viewport, self.middle):
            if observer.passed(self.until_s * 0.6):
                return
            effect = await self._trial(action)
            if effect > max(0.01, observer.limit):
                message = f"{doing(action)} begins something ({percent(effect)} changed)"
                await self.run.action(f"Starting with {action.name}", message)
                await observer.settle()
                return

    async def find_controls(self, pointer_only: bool) -> None:
        """Tries all groups, twice, as far as time allows."""
        for again in (False, True):
            for group in self.groups:
                if not (group.needs == "key" and pointer_only) and not self.observer.finished:
                    await self._try_group(group, again)
        names = [action.name for group in self.groups for action in group.actions]
        self.found.restless = policy.restless(self.observer.noise)
        self.found.untried = [name for name in names if name not in self.found.tried]
        await self.run.progress(controls_line(self.found))

    @property
    def _time_is_up(self) -> bool:
        return self.observer.passed(self.until_s)

    async def _try_group(self, group: Group, again: bool) -> None:
        """Tries those of a group that are not yet known to work or to scroll."""
        settled = (*self.found.controls, *self.found.scrolls)
        left = [action for action in group.actions if action.name not in settled]
        if not left or self._time_is_up:
            return
        await self.run.action(f"Testing {group.title}" + (" once more" if again else ""))
        await self.observer.idle()
        for action in left:
            if self._time_is_up or not await self._still_playing():
                return
            if action.name not in self.found.tried:
                self.found.tried.append(action.name)
            await self._try_action(action)

    async def _try_action(self, action: Action) -> None:
        observer, hits = self.observer, list[float]()
        for trial in range(MAX_TRIALS):
            if self._time_is_up or (trial and not await self._still_playing()):
                return
            scroll = observer.state.scroll
            effect = await self._trial(action)
            if effect > observer.limit:
                hits.append(effect)
                if (await observer.read_state()).scroll != scroll:
                    self.found.scrolls.append(action.name)
                    await self.run.progress(f"{doing(action)} scrolls the page; that is not counted as a control")
                    await observer.page.scroll_home()
                await observer.settle()
            if action.name in self.found.scrolls or not hits:
                return
            hits = [each for each in hits if each > observer.limit]  # settling may have raised the limit
            if len(hits) >= NEEDED_HITS:
                await self._report_control(action, min(hits))
                return

    async def _trial(self, action: Action) -> float:
        """How much of the picture leaves its usual range while `action` is done and just after."""
        observer = self.observer
        await observer.page.begin(action)
        seen = await observer.look(observer.plan.trial_s * 0.7)
        await observer.page.end(action)
        seen += await observer.look(observer.plan.trial_s * 0.3)
        self.found.actions += 1
        await observer.report_incidents()
        effect = observer.outside_usual(seen)
        if effect <= observer.limit:
            observer.usual.extend(seen)
        return effect

    async def _report_control(self, action: Action, effect: float) -> None:
        self.found.controls[action.name] = round(effect, 4)
        alone = policy.ordinary(self.observer.noise)
        beside = f", {percent(alone)} by itself" if alone > policy.STILL else ""
        message = f"{doing(action)} moves the picture ({percent(effect)} changed{beside})"
        await self.run.progress(message, control=action.name)
