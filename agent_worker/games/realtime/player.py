"""Playing one game in real time, by watching its pictures: for games whose time cannot be owned.

What to press next is decided in policy.py; observer.py watches, discovery.py finds controls. What is concluded claims
less than in owned time: nothing can be played again.
"""

from __future__ import annotations

import random
from typing import Final

from agent_worker.games import policy
from agent_worker.games.actions import WHOLE, Action, groups, largest
from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.pages import Pages, Wanted
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.realtime.discovery import Discovery
from agent_worker.games.realtime.observer import Observer
from agent_worker.games.screen import DESKTOP, Screen
from agent_worker.games.wording import percent

LOOP_RATE: Final = 5.0
"""Calls of requestAnimationFrame between two looks from which a game counts as having a main loop."""
BURST_S: Final = 2.5
"""Gestures that are played in this time make one line in the feed."""
LOOP_PATIENCE_S: Final = 3.0
"""How long a main loop has to make no call at all before it counts as stopped: no busy machine delays one so long."""


class RealTime:
    """One game, played in real time from a fresh page on.

    Args:
        started: when the run began, on the event loop's clock.
    """

    def __init__(self, run: RunHandle, page: Page, job: GameJob, plan: policy.Plan, started: float) -> None:
        self.run, self.page, self.job, self.plan = run, page, job, plan
        self.observer = Observer(run, page, plan, started)
        self.found = self.observer.found
        self.groups = groups(WHOLE)
        self.middle = (0.5, 0.5)
        self.known_restart: Action | None = None
        self.loop_runs = False
        self.over_at_start: frozenset[str] = frozenset()

    @classmethod
    async def on_fresh_page(
        cls, run: RunHandle, pages: Pages, job: GameJob, plan: policy.Plan, started: float, screen: Screen = DESKTOP
    ) -> RealTime:
        """With a page of its own, in place of the one that was open."""
        page = await pages.fresh(Wanted(screen=screen))
        page.deadline = started + plan.end_s
        return cls(run, page, job, plan, started)

    async def load(self) -> None:
        """Opens the game and looks for a first picture and for where the game is on the page.

        Raises:
            LoadFailed: the game could not be opened.
            PageHung, PageGone, TimeUp: as all that follows.
        """
        found, observer = self.found, self.observer
        left_s = self.plan.end_s - observer.elapsed_s
        loaded = await self.page.open(self.job.game_url, max(0.1, min(self.plan.load_s, left_s)))
        found.load_s, found.load_finished = loaded.seconds, loaded.finished
        await self._first_picture()
        boxes = (await observer.read_state()).canvases
        found.canvases = len(boxes)
        box = largest(boxes, self.page.viewport)
        self.middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
        self.groups = groups(box)
        await observer.report_incidents()

    async def _first_picture(self) -> None:
        """Waits until something is painted, for at most 5 s."""
        until_s = self.observer.elapsed_s + min(5.0, self.plan.load_s * 0.4)
        while True:
            seen = (await self.observer.look(0.1))[-1]
            if not pictures.is_blank(seen):
                self.found.painted_after_s = self.observer.elapsed_s
                self.found.grey_levels = pictures.grey_levels(seen)
                return
            if self.observer.passed(until_s):
                return

    async def discover(self) -> None:
        """Starts the game and finds its controls."""
        observer = self.observer
        await observer.settle()
        await observer.settle()  # the title may have faded in during the first
        self.over_at_start = policy.over_words(observer.state.words)
        moves = "moves" if observer.watch.lively else "stands still"
        alone = percent(policy.ordinary(observer.noise))
        await self.run.progress(f"Left alone, the picture {moves} ({alone} changes)")
        discovery = Discovery(observer, self.groups, self.middle, self.still_playing)
        await discovery.start_game()
        pointer_only = not (await observer.read_state()).hears_keys
        if pointer_only:
            await self.run.progress("The page listens to no keys; trying the pointer only")
        await discovery.find_controls(pointer_only)

    async def explore(self, seed: int) -> None:
        """Plays until the time is up or there is no going on."""
        known = [action for group in self.groups for action in group.actions]
        prior = dict.fromkeys(self.found.untried, 0.5) | dict.fromkeys(self.found.controls, 1.0)
        explorer = policy.Explorer(known, prior, random.Random(seed))
        began_s = self.observer.elapsed_s
        while not self.observer.finished and not self.observer.passed(self.plan.explore_until_s):
            await self.burst(explorer)
            self.found.played_s = self.observer.elapsed_s - began_s

    def conclude(self) -> None:
        """Brings `found` up to date with what the observer has counted."""
        found, ledger = self.found, self.observer.ledger
        found.scenes = len(self.observer.scenes)
        found.moves_alone = self.observer.watch.lively
        found.incidents, found.different, found.last_error = ledger.counts, ledger.distinct, ledger.last_error
        found.told = list(ledger.told)

    # -- playing ------------------------------------------------------------------------------------------

    async def burst(self, explorer: policy.Explorer) -> None:
        """Some gestures in a row, published as one line."""
        observer = self.observer
        names: dict[str, None] = {}
        before = len(observer.scenes)
        until_s = min(observer.elapsed_s + BURST_S, self.plan.explore_until_s)
        while not observer.passed(until_s):
            if not await self.still_playing():
                break
            action, hold_s = explorer.choose()
            names[action.name] = None
            scenes, previous = len(observer.scenes), observer.last
            await self.page.begin(action)
            seen = await observer.look(hold_s)
            await self.page.end(action)
            self.found.actions += 1
            change = pictures.changed(previous, seen[-1]) if previous else 0.0
            explorer.learn(action, 1.0 if len(observer.scenes) > scenes else min(0.5, change * 5))
            await observer.report_incidents()
        if names:
            fresh = len(observer.scenes) - before
            what = ", ".join(list(names)[:4]) + (", …" if len(names) > 4 else "")
            score = f", score {self.found.best_score}" if self.found.best_score is not None else ""
            scenes_seen = f"{fresh} new scenes" if fresh != 1 else "1 new scene"
            await self.run.action(what, f"Played {what}: {scenes_seen}, {len(observer.scenes)} so far{score}")

    async def still_playing(self) -> bool:
        """Reads the game, and brings it back after a game over. False when there is no going on."""
        observer = self.observer
        if observer.finished:
            return False
        frames = observer.state.frames
        state = await observer.read_state()
        self.loop_runs = self.loop_runs or state.frames - frames >= LOOP_RATE
        observer.read_score()
        if place := self.page.strayed:
            await self.run.progress(f"The game went to {place}; opening it again", kind="left", detail=place)
            observer.ledger.counts["left"] += 1
            await self.page.open(self.job.game_url, min(self.plan.load_s, self.plan.end_s - observer.elapsed_s))
        over = policy.over_words(state.words) - self.over_at_start
        if over or observer.watch.stands_still(observer.clock(), observer.error_at):
            return await self.revive(bool(over))
        return True

    async def revive(self, over: bool) -> bool:
        """The round has ended, or the picture stands still: tries to begin again, or reports what is wrong."""
        observer = self.observer
        if over:
            self.found.game_overs += 1
            await self.run.progress(f"Game over after {observer.elapsed_s:.0f} s; trying to start again")
        still_s = observer.watch.still_for(observer.clock())
        first = (await observer.look(0.05))[-1]
        viewport = self.page.viewport
        for action in policy.restart_gestures(observer.state.buttons, viewport, self.middle, self.known_restart):
            await self.page.begin(action)
            await observer.look(0.08)
            await self.page.end(action)
            self.found.actions += 1
            seen = (await observer.look(0.25))[-1]
            gone = not (policy.over_words((await observer.read_state()).words) - self.over_at_start)
            if pictures.changed(first, seen) > 4 * policy.STILL and (gone or not over):
                if over:
                    self.found.restarts += 1
                    self.known_restart = action
                    await self.run.progress(f"Started again with {action.name}")
                if observer.usual:
                    await observer.settle()
                return True
            if observer.passed(self.plan.explore_until_s):
                return True  # out of time in the middle: nothing was shown either way
        await self.report_standstill(over, still_s)
        return False

    async def report_standstill(self, over: bool, still_s: float) -> None:
        """Nothing tried changed the picture: decides whether the game froze."""
        found, observer = self.found, self.observer
        stopped = self.loop_runs and not over and await self._loop_has_stopped()
        await observer.report_incidents()
        if over:
            found.stuck = "the round was over and nothing tried began a new one"
            await self.run.progress("Found no way to start again")
        elif stopped:
            found.freezes += 1
            since_s = observer.watch.still_for(observer.clock())
            last_error = observer.ledger.last_error
            cause = f"; the last script error was: {last_error}" if last_error else ""
            found.freeze_note = f"the picture froze after {observer.elapsed_s - since_s:.0f} s{cause}"
            await self.run.progress(
                f"The game froze: the picture has stood still for {since_s:.1f} s, its main loop has stopped, "
                f"and neither controls nor restarting change it{cause}",
                kind="freeze",
                stillS=round(since_s, 1),
            )
        else:
            found.stuck = "nothing the agent knows changed the picture any more"
            await self.run.progress(f"Nothing changes the picture any more ({still_s:.1f} s); that may be as meant")

    async def _loop_has_stopped(self) -> bool:
        """Whether the main loop makes no call for `LOOP_PATIENCE_S`."""
        frames = (await self.observer.read_state()).frames
        until = self.observer.clock() + LOOP_PATIENCE_S
        while self.observer.clock() < until:
            await self.observer.look(0.3)
            if (await self.observer.read_state()).frames != frames:
                return False
        return True
