"""Playing one game: the four phases of DESIGN section 6, told through a RunHandle.

Here is the order of things and the waiting; what to conclude is decided in policy.py and scoring.py.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from itertools import pairwise
from typing import Final

from agent_worker.errors import LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games import pictures, policy, scoring
from agent_worker.games.actions import Action, Group, groups, largest
from agent_worker.games.browser import VIEWPORT, Browser, Page
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.page_state import Facts
from agent_worker.games.pictures import Thumb
from agent_worker.games.reports import Ledger
from agent_worker.games.scoring import Findings

SHOT_EVERY_S: Final = 1.0
MAX_CALMING: Final = 6
"""For how many idle trials a picture is waited for to become calm before it is taken as it is."""
NEEDED_HITS: Final = 2
MAX_TRIALS: Final = 3
NOISE_KEPT: Final = 8
"""Idle trials that count: the newest, since a game is livelier once it has begun."""
USUAL_KEPT: Final = 30
"""Pictures that make the usual range: a second and a half of them, more than one bounce of a ball."""
LOOP_RATE: Final = 5.0
"""Frames per second from which a game counts as having a main loop."""


async def play(run: RunHandle, browser: Browser, job: GameJob) -> None:
    """Plays `job` to its end; the last call on `run` is `complete` or `fail`, within the budget.

    Cancelling is the way to stop it; the page is then closed within 2 s and nothing more is told.

    Raises:
        BrowserMissing, PageGone: Chromium could not be started, or all of it has died. No verdict was told: for
            all anybody knows it is not the game's fault.
    """
    started = asyncio.get_running_loop().time()
    async with browser.page() as page:
        await _Player(run, page, job, started).play()


class _Player:
    """One run in progress: the page, what was seen of it, and where it is told."""

    def __init__(self, run: RunHandle, page: Page, job: GameJob, started: float) -> None:
        self.run, self.page, self.job, self.started = run, page, job, started
        self.plan = policy.plan(job.budget_s)
        page.deadline = started + self.plan.end_s
        self.clock = asyncio.get_running_loop().time
        self.found = Findings()
        self.ledger = Ledger()
        self.watch = policy.Watch(self.plan.still_s, started)
        self.usual: deque[Thumb] = deque(maxlen=USUAL_KEPT)
        self.noise: deque[float] = deque(maxlen=NOISE_KEPT)
        self.scenes: set[int] = set()
        self.facts = Facts()
        self.last: Thumb | None = None
        self.shot_at = -math.inf
        self.shown: bytes | None = None
        self.groups: tuple[Group, ...] = ()
        self.middle = (0.5, 0.5)
        self.known_restart: Action | None = None
        self.loop_runs = False
        self.error_at = -math.inf
        self.over_at_start: frozenset[str] = frozenset()

    # -- the phases ---------------------------------------------------------------------------------------

    async def play(self) -> None:
        try:
            await self.load()
            if not self.found.blank:
                await self.discover()
                await self.explore()
        except TimeUp:
            pass
        except (LoadFailed, PageHung, PageGone) as trouble:
            if not await self.page.browser_lives():
                raise PageGone("the browser has died") from trouble
            if isinstance(trouble, LoadFailed):
                await self.run.fail(trouble.message, trouble.code)
                return
            if isinstance(trouble, PageHung):
                await self.tell_hung(trouble)
            else:
                self.found.gone = str(trouble)
        await self.tell_incidents()
        await self.show(now=True)
        await self.evaluate()

    async def load(self) -> None:
        found = self.found
        await self.run.phase(1, f"Opening {self.job.game_url}")
        loaded = await self.page.open(self.job.game_url, self.plan.load_s)
        found.load_s, found.load_finished = loaded.seconds, loaded.finished
        if loaded.finished:
            await self.run.progress(f"The page loaded in {loaded.seconds:.1f} s", loadMs=round(loaded.seconds * 1000))
        else:
            await self.run.progress(f"The page still loads after {loaded.seconds:.1f} s; going on with what is there")
        await self.first_picture()
        self.facts = await self.page.facts()
        boxes = self.facts.canvases
        found.canvases = len(boxes)
        box = largest(boxes, VIEWPORT)
        self.middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
        self.groups = groups(box)
        if boxes:
            width, height = max((each[2:] for each in boxes), key=lambda size: size[0] * size[1])
            await self.run.progress(f"Found a canvas of {width:.0f} x {height:.0f}")
        else:
            await self.run.progress("Found no canvas; the game is made of page elements, if it is one")
        await self.tell_incidents()
        found.start_trouble = self.ledger.distinct.copy()
        if found.blank:
            await self.run.progress("Nothing was painted: the picture is a single colour", kind="blank")

    async def first_picture(self) -> None:
        """Waits until something is painted, or for long enough to say that nothing is."""
        until = self.clock() + min(5.0, self.plan.load_s * 0.4)
        while True:
            seen = (await self.look(0.1))[-1]
            if not pictures.is_blank(seen):
                self.found.painted_after_s = self.clock() - self.started
                self.found.grey_levels = pictures.grey_levels(seen)
                return
            if self.clock() > until:
                return

    async def discover(self) -> None:
        await self.run.phase(2, "Looking for controls")
        await self.settle()
        await self.settle()  # the first may have seen the title fade in
        self.over_at_start = policy.over_words(self.facts.words)
        moves = "moves" if self.watch.lively else "stands still"
        await self.run.progress(f"Left alone, the picture {moves} ({_percent(policy.ordinary(self.noise))} changes)")
        await self.start_game()
        self.facts = await self.page.facts()
        pointer_only = not self.facts.hears_keys
        if pointer_only:
            await self.run.progress("The page listens to no keys; trying the pointer only")
        for again in (False, True):
            for group in self.groups:
                if not (group.needs == "key" and pointer_only) and not self.finished:
                    await self.try_group(group, again)
        self.found.restless = policy.restless(self.noise)
        self.found.untried = [
            action.name for group in self.groups for action in group.actions if action.name not in self.found.tried
        ]
        await self.run.progress(scoring.controls_line(self.found))

    async def explore(self) -> None:
        known = [action for group in self.groups for action in group.actions]
        prior = dict.fromkeys(self.found.untried, 0.5) | dict.fromkeys(self.found.controls, 1.0)
        await self.run.phase(3, f"Playing, mostly with what works; seed {self.job.seed}")
        explorer = policy.Explorer(known, prior, random.Random(self.job.seed))
        began = self.clock()
        while not self.finished and not self.passed(self.plan.explore_until_s):
            await self.burst(explorer)
            self.found.played_s = self.clock() - began

    async def evaluate(self) -> None:
        await self.run.phase(4, "Scoring what was seen")
        found, ledger = self.found, self.ledger
        found.scenes = len(self.scenes)
        found.moves_alone = self.watch.lively
        found.incidents, found.different, found.last_error = ledger.counts, ledger.distinct, ledger.last_error
        parts = scoring.rubric(found)
        for part in parts:
            await self.run.progress(f"{part.part.capitalize()} {part.score}/{part.max}: {'; '.join(part.reasons)}")
        score = scoring.total(parts)
        await self.run.complete(score, scoring.metrics(found, parts), scoring.verdict(found, score))

    # -- finding controls ---------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Waits until the picture is calm, for a while, and learns anew what it does when left alone."""
        self.usual.clear()
        self.usual.extend(await self.look(2 * self.plan.trial_s, alone=True))
        for _ in range(MAX_CALMING):
            noise = await self.idle()
            if policy.calm(self.noise, noise):
                break
        self.noise.append(noise)

    async def idle(self) -> float:
        """A trial of doing nothing: how far the picture leaves its usual range by itself."""
        seen = await self.look(self.plan.trial_s, alone=True)
        normal = pictures.envelope(self.usual)
        self.usual.extend(seen)
        return max(pictures.outside(normal, each) for each in seen)

    async def trial(self, action: Action) -> float:
        """How much of the picture leaves its usual range while `action` is done and just after."""
        normal = pictures.envelope(self.usual)
        await self.page.begin(action)
        seen = await self.look(self.plan.trial_s * 0.7)
        await self.page.end(action)
        seen += await self.look(self.plan.trial_s * 0.3)
        self.found.actions += 1
        await self.tell_incidents()
        effect = max(pictures.outside(normal, each) for each in seen)
        if effect <= self.limit:
            self.usual.extend(seen)
        return effect

    @property
    def limit(self) -> float:
        """What an effect has to exceed."""
        return policy.threshold(self.noise)

    async def start_game(self) -> None:
        """Tries what games wait for on their title screens, until the picture becomes another one."""
        for action in policy.start_gestures(self.facts.buttons, VIEWPORT, self.middle):
            if self.passed(self.plan.discover_until_s * 0.6):
                return
            effect = await self.trial(action)
            if effect > max(0.01, self.limit):
                await self.run.action(
                    f"Starting with {action.name}", f"{_doing(action)} begins something ({_percent(effect)} changed)"
                )
                await self.settle()
                return

    async def try_group(self, group: Group, again: bool) -> None:
        """Tries what has not been found to work, and to scroll, of a group."""
        settled = (*self.found.controls, *self.found.scrolls)
        left = [action for action in group.actions if action.name not in settled]
        if not left or self.passed(self.plan.discover_until_s):
            return
        await self.run.action(f"Testing {group.title}" + (" once more" if again else ""))
        self.noise.append(await self.idle())
        for action in left:
            if self.passed(self.plan.discover_until_s) or not await self.still_playing():
                return
            if action.name not in self.found.tried:
                self.found.tried.append(action.name)
            await self.try_action(action)

    async def try_action(self, action: Action) -> None:
        """Once may be chance: a control has to move the picture twice, with a look at it left alone between."""
        hits: list[float] = []
        for trial in range(MAX_TRIALS):
            if self.passed(self.plan.discover_until_s) or (trial and not await self.still_playing()):
                return
            before = self.facts.scroll
            effect = await self.trial(action)
            if effect > self.limit:
                hits.append(effect)
                self.facts = await self.page.facts()
                if self.facts.scroll != before:
                    self.found.scrolls.append(action.name)
                    await self.run.progress(f"{_doing(action)} scrolls the page; that is not counted as a control")
                    await self.page.scroll_home()
                await self.settle()
            if action.name in self.found.scrolls or not hits:
                return
            hits = [each for each in hits if each > self.limit]  # which may have risen meanwhile
            if len(hits) >= NEEDED_HITS:
                await self.tell_control(action, min(hits))
                return

    async def tell_control(self, action: Action, effect: float) -> None:
        self.found.controls[action.name] = round(effect, 4)
        alone = policy.ordinary(self.noise)
        beside = f", {_percent(alone)} by itself" if alone > policy.STILL else ""
        told = f"{_doing(action)} moves the picture ({_percent(effect)} changed{beside})"
        await self.run.progress(told, control=action.name)

    # -- playing ------------------------------------------------------------------------------------------

    async def burst(self, explorer: policy.Explorer) -> None:
        """Some gestures in a row, told in one line."""
        names: dict[str, None] = {}
        before = len(self.scenes)
        until = self.clock() + 2.5
        while self.clock() < until and not self.passed(self.plan.explore_until_s):
            if not await self.still_playing():
                break
            action, hold_s = explorer.choose()
            names[action.name] = None
            scenes, previous = len(self.scenes), self.last
            await self.page.begin(action)
            seen = await self.look(hold_s)
            await self.page.end(action)
            self.found.actions += 1
            change = pictures.changed(previous, seen[-1]) if previous else 0.0
            explorer.learn(action, 1.0 if len(self.scenes) > scenes else min(0.5, change * 5))
            await self.tell_incidents()
        fresh = len(self.scenes) - before
        if names:
            what = ", ".join(list(names)[:4]) + (", …" if len(names) > 4 else "")
            score = f", score {self.found.best_score}" if self.found.best_score is not None else ""
            told = f"{fresh} new scenes" if fresh != 1 else "1 new scene"
            await self.run.action(what, f"Played {what}: {told}, {len(self.scenes)} so far{score}")

    async def still_playing(self) -> bool:
        """Looks after the game: reads it, brings it back after a game over. False when there is no going on."""
        if self.finished:
            return False
        before, self.facts = self.facts, await self.page.facts()
        self.loop_runs = self.loop_runs or self.facts.frames - before.frames >= LOOP_RATE
        self.read_score()
        if place := self.page.strayed:
            await self.run.progress(f"The game went to {place}; opening it again", kind="left", detail=place)
            self.ledger.counts["left"] += 1
            left_s = self.started + self.plan.end_s - self.clock()
            await self.page.open(self.job.game_url, min(self.plan.load_s, left_s))
        over = policy.over_words(self.facts.words) - self.over_at_start
        if over or self.watch.stands_still(self.clock(), self.error_at):
            return await self.revive(bool(over))
        return True

    async def revive(self, over: bool) -> bool:
        """The round has ended, or the picture stands still: tries to begin again, or says what is wrong."""
        if over:
            self.found.game_overs += 1
            await self.run.progress(f"Game over after {self.clock() - self.started:.0f} s; trying to start again")
        still_s = self.watch.still_for(self.clock())
        first = (await self.look(0.05))[-1]
        for action in policy.restart_gestures(self.facts.buttons, VIEWPORT, self.middle, self.known_restart):
            await self.page.begin(action)
            await self.look(0.08)
            await self.page.end(action)
            self.found.actions += 1
            seen = (await self.look(0.25))[-1]
            self.facts = await self.page.facts()
            gone = not (policy.over_words(self.facts.words) - self.over_at_start)
            if pictures.changed(first, seen) > 4 * policy.STILL and (gone or not over):
                if over:
                    self.found.restarts += 1
                    self.known_restart = action
                    await self.run.progress(f"Started again with {action.name}")
                if self.usual:
                    await self.settle()
                return True
            if self.passed(self.plan.explore_until_s):
                return True  # out of time in the middle: nothing was shown either way
        await self.tell_standstill(over, still_s)
        return False

    async def tell_standstill(self, over: bool, still_s: float) -> None:
        found = self.found
        frames = self.facts.frames
        await asyncio.sleep(0.3)
        loop_stopped = self.loop_runs and (await self.page.facts()).frames == frames > 0
        await self.tell_incidents()
        if over:
            found.stuck = "the round was over and nothing tried began a new one"
            await self.run.progress("Found no way to start again")
        elif loop_stopped or self.watch.lively:
            found.freezes += 1
            since = self.watch.still_for(self.clock())
            cause = f"; the last script error was: {self.ledger.last_error}" if self.ledger.last_error else ""
            loop = ", its main loop has stopped" if loop_stopped else ""
            found.freeze_note = f"the picture froze after {self.clock() - since - self.started:.0f} s{cause}"
            await self.run.progress(
                f"The game froze: the picture has stood still for {since:.1f} s{loop}, "
                f"and neither controls nor restarting change it{cause}",
                kind="freeze",
                stillS=round(since, 1),
            )
        else:
            found.stuck = "nothing the agent knows changed the picture any more"
            await self.run.progress(f"Nothing changes the picture any more ({still_s:.1f} s); that may be as meant")

    # -- looking ------------------------------------------------------------------------------------------

    async def look(self, seconds: float, alone: bool = False) -> list[Thumb]:
        """Watches for a while; `alone` says that nothing is being done. Never empty, oldest first."""
        jpegs = await self.page.watch(seconds)
        seen = [pictures.thumb(jpeg) for jpeg in jpegs]
        before = [self.last or seen[0], *seen]
        change = max(pictures.changed(one, other) for one, other in pairwise(before))
        self.watch.see(self.clock(), change, alone)
        self.scenes.update(map(pictures.signature, seen))
        self.last, self.shown = seen[-1], jpegs[-1]
        await self.show()
        return seen

    async def show(self, now: bool = False) -> None:
        """Gives the newest picture to the viewers, at most one a second."""
        if self.shown and (now or self.clock() - self.shot_at >= SHOT_EVERY_S):
            self.shot_at = self.clock()
            await self.run.shot(pictures.shot(self.shown))
            self.shown = None

    def read_score(self) -> None:
        score = policy.score_of(self.facts.words)
        if score is not None:
            if self.found.first_score is None:
                self.found.first_score = score
            self.found.best_score = max(score, self.found.best_score or 0)

    async def tell_incidents(self) -> None:
        for incident in self.page.incidents():
            if incident.kind == "pageerror":
                self.error_at = self.clock()
            if line := self.ledger.enter(incident.kind, incident.detail):
                await self.run.progress(line, kind=incident.kind, detail=incident.detail)

    async def tell_hung(self, hung: PageHung) -> None:
        self.found.hung = f"the page hung while {hung.while_doing}"
        await self.tell_incidents()
        await self.run.progress(
            f"The game froze: its page did not answer for {hung.waited_s:g} s while {hung.while_doing}",
            kind="freeze",
            hung=True,
        )
        await self.page.break_script()

    def passed(self, mark_s: float) -> bool:
        """Whether so many seconds have passed since the run's start."""
        return self.clock() - self.started >= mark_s

    @property
    def finished(self) -> bool:
        """Whether playing on has no point."""
        return bool(self.found.broke or self.found.stuck)


def _doing(action: Action) -> str:
    return {"keys": f"Pressing {action.name}", "click": f"A {action.name}"}.get(action.kind, action.name.capitalize())


def _percent(part: float) -> str:
    if part >= 0.1:
        return f"{part:.0%}"
    return f"{part:.1%}" if part >= 0.001 or part == 0 else f"{part:.2%}"
