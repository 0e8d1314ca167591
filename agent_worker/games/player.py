"""Playing one game in four phases (load, discover controls, explore, evaluate), published through a RunHandle.

Here stands the order of the steps. What to conclude from them is decided in policy.py and scoring.py; observer.py
watches, discovery.py finds controls.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from agent_worker.games import pictures, policy, scoring
from agent_worker.games.actions import WHOLE, Action, groups, largest
from agent_worker.games.browser import Browser
from agent_worker.games.chromium import VIEWPORT
from agent_worker.games.discovery import Discovery, percent
from agent_worker.games.egress_proxy import Judge, JudgeNamed, judge_any
from agent_worker.games.errors import LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.observer import Observer
from agent_worker.games.page import Page

LOOP_RATE: Final = 5.0
"""Calls of requestAnimationFrame between two looks from which a game counts as having a main loop."""
BURST_S: Final = 2.5
"""Gestures that are played in this time make one line in the feed."""
STOP_AFTER_S: Final = 0.2
"""How long after the page's deadline, which ends what waits for the page, everything else is ended for the verdict."""


async def play(run: RunHandle, browser: Browser, job: GameJob) -> None:
    """Plays `job` to its end; the last call on `run` is `complete` or `fail`, within the budget.

    Cancel it to stop it; the page is then closed within 2 s and nothing more is published.

    Raises:
        BrowserMissing, PageGone: Chromium could not be started, or all of it has died. No verdict was published: the
            game is not known to be at fault.
    """
    started = asyncio.get_running_loop().time()
    async with browser.page(_judge(job)) as page:
        await _Player(run, page, job, started).play()


def _judge(job: GameJob) -> Judge | None:
    """The rule for the addresses of this job alone; None: the worker's own."""
    if job.allow_private:
        return judge_any
    return JudgeNamed(job.allowed_hosts) if job.allowed_hosts else None


class _Player:
    """One run in progress."""

    def __init__(self, run: RunHandle, page: Page, job: GameJob, started: float) -> None:
        self.run, self.page, self.job = run, page, job
        self.plan = policy.plan(job.budget_s)
        page.deadline = started + self.plan.end_s
        self.stop_at = page.deadline + STOP_AFTER_S
        self.observer = Observer(run, page, self.plan, started)
        self.found = self.observer.found
        self.groups = groups(WHOLE)
        self.middle = (0.5, 0.5)
        self.known_restart: Action | None = None
        self.loop_runs = False
        self.over_at_start: frozenset[str] = frozenset()

    async def play(self) -> None:
        """All phases; what goes wrong on the way becomes part of the verdict."""
        try:
            async with asyncio.timeout_at(self.stop_at) as limit:
                await self.load()
                if not self.found.blank:
                    await self.discover()
                    await self.explore()
        except TimeUp:
            pass
        except TimeoutError:
            if not limit.expired():
                raise
        except (LoadFailed, PageHung, PageGone) as trouble:
            if not await self.page.browser_lives() and self.page.exceeded is None:
                raise PageGone("the game's browser died") from trouble
            if self.page.exceeded is not None:
                pass  # told below
            elif isinstance(trouble, LoadFailed):
                await self.run.fail(trouble.message, trouble.code)
                return
            elif isinstance(trouble, PageHung):
                await self.report_hung(trouble)
            else:
                self.found.gone = str(trouble)
        await self.observer.report_incidents()
        if self.page.exceeded is not None:
            await self.report_exceeded(self.page.exceeded)
        await self.observer.publish_screenshot(now=True)
        await self.evaluate()

    # -- the phases ---------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Phase 1: opens the game and looks for a first picture and for where the game is on the page."""
        found, observer = self.found, self.observer
        await self.run.phase(1, f"Opening {self.job.game_url}")
        loaded = await self.page.open(self.job.game_url, self.plan.load_s)
        found.load_s, found.load_finished = loaded.seconds, loaded.finished
        if loaded.finished:
            await self.run.progress(f"The page loaded in {loaded.seconds:.1f} s", loadMs=round(loaded.seconds * 1000))
        else:
            await self.run.progress(f"The page still loads after {loaded.seconds:.1f} s; going on with what is there")
        await self.first_picture()
        boxes = (await observer.read_state()).canvases
        found.canvases = len(boxes)
        box = largest(boxes, VIEWPORT)
        self.middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
        self.groups = groups(box)
        if boxes:
            width, height = max((each[2:] for each in boxes), key=lambda size: size[0] * size[1])
            await self.run.progress(f"Found a canvas of {width:.0f} x {height:.0f}")
        else:
            await self.run.progress("Found no canvas; the game is made of page elements, if it is one")
        await observer.report_incidents()
        found.start_trouble = observer.ledger.distinct.copy()
        if found.blank:
            await self.run.progress("Nothing was painted: the picture is a single colour", kind="blank")

    async def first_picture(self) -> None:
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
        """Phase 2: starts the game and finds its controls."""
        observer = self.observer
        await self.run.phase(2, "Looking for controls")
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

    async def explore(self) -> None:
        """Phase 3: plays until the time is up or there is no going on."""
        known = [action for group in self.groups for action in group.actions]
        prior = dict.fromkeys(self.found.untried, 0.5) | dict.fromkeys(self.found.controls, 1.0)
        await self.run.phase(3, f"Playing, mostly with what works; seed {self.job.seed}")
        explorer = policy.Explorer(known, prior, random.Random(self.job.seed))
        began_s = self.observer.elapsed_s
        while not self.observer.finished and not self.observer.passed(self.plan.explore_until_s):
            await self.burst(explorer)
            self.found.played_s = self.observer.elapsed_s - began_s

    async def evaluate(self) -> None:
        """Phase 4: turns the findings into the score."""
        await self.run.phase(4, "Scoring what was seen")
        found, ledger = self.found, self.observer.ledger
        found.scenes = len(self.observer.scenes)
        found.moves_alone = self.observer.watch.lively
        found.incidents, found.different, found.last_error = ledger.counts, ledger.distinct, ledger.last_error
        found.told = list(ledger.told)
        parts = scoring.rubric(found)
        for part in parts:
            await self.run.progress(f"{part.part.capitalize()} {part.score}/{part.max}: {'; '.join(part.reasons)}")
        score = scoring.total(parts)
        await self.run.complete(score, scoring.metrics(found, parts), scoring.verdict(found, score))

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
        for action in policy.restart_gestures(observer.state.buttons, VIEWPORT, self.middle, self.known_restart):
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

    # -- reporting ----------------------------------------------------------------------------------------

    async def report_standstill(self, over: bool, still_s: float) -> None:
        """Nothing tried changed the picture: decides whether the game froze."""
        found, observer = self.found, self.observer
        frames = observer.state.frames
        await asyncio.sleep(0.3)
        loop_stopped = self.loop_runs and (await self.page.state()).frames == frames > 0
        await observer.report_incidents()
        if over:
            found.stuck = "the round was over and nothing tried began a new one"
            await self.run.progress("Found no way to start again")
        elif loop_stopped or observer.watch.lively:
            found.freezes += 1
            since_s = observer.watch.still_for(observer.clock())
            last_error = observer.ledger.last_error
            cause = f"; the last script error was: {last_error}" if last_error else ""
            loop = ", its main loop has stopped" if loop_stopped else ""
            found.freeze_note = f"the picture froze after {observer.elapsed_s - since_s:.0f} s{cause}"
            await self.run.progress(
                f"The game froze: the picture has stood still for {since_s:.1f} s{loop}, "
                f"and neither controls nor restarting change it{cause}",
                kind="freeze",
                stillS=round(since_s, 1),
            )
        else:
            found.stuck = "nothing the agent knows changed the picture any more"
            await self.run.progress(f"Nothing changes the picture any more ({still_s:.1f} s); that may be as meant")

    async def report_exceeded(self, what: str) -> None:
        """The game took more of the machine than one run may, and its browser was ended for it."""
        self.found.gone = self.found.exceeded = f"the game was stopped: it {what}"
        await self.run.progress(f"The game was stopped: it {what}", kind="limit", detail=what)

    async def report_hung(self, hung: PageHung) -> None:
        """The page's main thread does not answer: reports it, and stops its script."""
        self.found.hung = f"the page hung while {hung.while_doing}"
        await self.observer.report_incidents()
        await self.run.progress(
            f"The game froze: its page did not answer for {hung.waited_s:g} s while {hung.while_doing}",
            kind="freeze",
            hung=True,
        )
        await self.page.break_script()
