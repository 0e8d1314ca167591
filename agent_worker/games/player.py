"""Playing one game in four phases (load, discover controls, explore, evaluate), published through a RunHandle.

Here stands the order of the steps; each of them has a file of its own. The game is played in owned time (stage.py).
Where that does not work, since two runs without input differ or nothing is painted, it is played in real time
(realtime/). summary.py gathers what was found, scoring.py judges it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

from agent_worker.games import gathering, heap, pictures, policy, scoring, suspicions
from agent_worker.games.browser import Browser, Pages
from agent_worker.games.controls import Controls, find_controls
from agent_worker.games.egress_proxy import Judge, JudgeNamed, judge_any
from agent_worker.games.episodes import Explored
from agent_worker.games.errors import LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games.findings import HANGS, Candidate
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.inputs import FRAMES_PER_S, Inputs
from agent_worker.games.live import Live
from agent_worker.games.realtime.player import RealTime
from agent_worker.games.realtime.stretch import true_speed
from agent_worker.games.reporter import Reporter
from agent_worker.games.schedule import schedule
from agent_worker.games.search import explore
from agent_worker.games.seat import Seeded
from agent_worker.games.starting import Situations, get_in
from agent_worker.games.stress import stress
from agent_worker.games.summary import Summary
from agent_worker.games.watched_stage import WatchedStage

STOP_AFTER_S: Final = 0.2
"""How long after the page's deadline, which ends what waits for the page, everything else is ended for the verdict."""
FIRST_LOOKS: Final = (20, 60, 120, 300)
"""Frames at which the first picture is looked for: a game may take 5 s of its time to paint something."""

T = TypeVar("T")


async def play(run: RunHandle, browser: Browser, job: GameJob) -> None:
    """Plays `job` to its end; the last call on `run` is `complete` or `fail`, within the budget.

    Cancel it to stop it; the page is then closed within 2 s and nothing more is published.

    Raises:
        BrowserMissing, PageGone: Chromium could not be started, or all of it has died. No verdict was published: the
            game is not known to be at fault.
    """
    started = asyncio.get_running_loop().time()
    async with browser.pages(_judge(job)) as pages:
        await _Player(run, pages, job, started).play()


def _judge(job: GameJob) -> Judge | None:
    """The rule for the addresses of this job alone; None: the worker's own."""
    if job.allow_private:
        return judge_any
    return JudgeNamed(job.allowed_hosts) if job.allowed_hosts else None


class _Player:
    """One run in progress."""

    def __init__(self, run: RunHandle, pages: Pages, job: GameJob, started: float) -> None:
        self.pages, self.job, self.started = pages, job, started
        self.plan = schedule(job.budget_s)
        self.clock = asyncio.get_running_loop().time
        deadline = started + self.plan.end_s
        self.stop_at = deadline + STOP_AFTER_S
        self.stage = WatchedStage(pages, job, deadline=deadline, load_s=self.plan.load_s)
        self.live = Live(run, self.stage)
        self.stage.tell, self.stage.show = self.live.progress, self.live.show_picture
        self.reporter = Reporter(self.stage, self.live, job.seed)
        self.summary = Summary()
        self.real: RealTime | None = None

    async def play(self) -> None:
        """All phases; what goes wrong on the way becomes part of the verdict."""
        try:
            async with asyncio.timeout_at(self.stop_at) as limit, self.live.running():
                await self.test()
        except TimeUp:
            pass
        except TimeoutError:
            if not limit.expired():
                raise
        except LoadFailed as failed:
            if not self.stage.opened:
                await self.live.fail(failed.message, failed.code)
                return
            self.summary.miss("playability", f"how it goes on: it could not be opened again ({failed.message})")
        await self.evaluate()

    async def test(self) -> None:
        """All phases but the last."""
        await self.load()
        if self.summary.time == "owned":
            situations = await self.guarded(self.get_in())
            if situations is not None and self.summary.time == "owned":
                await self.in_owned_time(situations)
        if self.summary.time == "real":
            await self.in_real_time()

    # -- the phases ---------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Phase 1: opens the game and looks for a first picture."""
        await self.live.phase(1, f"Opening {self.job.game_url}")
        await self.stage.open()
        loaded = self.stage.loaded
        assert loaded is not None
        summary = self.summary
        summary.load_ms, summary.finished = round(loaded.seconds * 1000), loaded.finished
        if loaded.finished:
            await self.live.progress(f"The page loaded in {loaded.seconds:.1f} s", loadMs=summary.load_ms)
            summary.note("load", f"loaded in {loaded.seconds:.1f} s")
        else:
            await self.live.progress(f"The page still loads after {loaded.seconds:.1f} s; going on with what is there")
            summary.note("load", f"still loading after {loaded.seconds:.1f} s")
        self.live.doing = "Loading"
        painted = await self.guarded(self.first_picture())
        if painted is None:
            return
        boxes = (await self.stage.state()).canvases
        if boxes:
            width, height = max((each[2:] for each in boxes), key=lambda size: size[0] * size[1])
            await self.live.progress(f"Found a canvas of {width:.0f} x {height:.0f}")
        else:
            await self.live.progress("Found no canvas; the game is made of page elements, if it is one")
        if not painted:
            await self.blank()

    async def first_picture(self) -> bool:
        """Whether something is painted in the first seconds of the game's time."""
        for frame in FIRST_LOOKS:
            await self.stage.play(Inputs(), frame)
            seen = await asyncio.to_thread(pictures.thumb, await self.stage.picture())
            if not pictures.is_blank(seen):
                self.summary.picture_ms = (self.summary.load_ms or 0) + round(frame * 1000 / FRAMES_PER_S)
                return True
        return False

    async def blank(self) -> None:
        """Nothing is painted in owned time: only if nothing is in real time either, the game is at fault."""
        real = await self.open_in_real_time()
        await real.load()
        self.stage.page = None
        if real.found.blank:
            await self.live.progress("Nothing was painted: the picture is a single colour", kind="blank")
            title = "Nothing is ever painted: the picture stays a single colour"
            await self.consider([Candidate("blank", title, until=FIRST_LOOKS[-1])])
            self.summary.time = "owned"
            raise TimeUp("there is nothing to play")
        await self.live.progress("It paints nothing while its time is owned; playing it in real time")
        self.summary.time = "real"

    async def get_in(self) -> Situations:
        """Phase 2, its first half: finds moments at which the game is played."""
        await self.live.phase(2, "Looking for controls")
        self.live.doing = "Looking for a way into the game"
        situations = await get_in(self.stage, self.live, self.at(self.plan.in_by))
        found = situations.lab.determinism
        if found.moments and not found.agreed:
            self.summary.moments, self.summary.agreed = found.moments, 0
            await self.live.progress(
                "Two runs without input differ, so that its time cannot be owned; playing it in real time"
            )
            self.summary.time = "real"
        return situations

    async def in_owned_time(self, situations: Situations) -> None:
        """Phases 2 and 3: controls, true speed, memory, playing, rough handling."""
        self.live.doing = "Looking for controls"
        controls = await self.guarded(
            find_controls(self.stage, situations, self.live, self.at(self.plan.controls_by))
        ) or Controls(determinism=situations.lab.determinism)
        gathering.of_controls(self.summary, controls)
        self.summary.actions += situations.lab.branches
        if controls.determinism.agreed < controls.determinism.moments:
            self.summary.time = "mixed"
        await self.consider(suspicions.of_controls(controls, situations))
        await self.live.phase(3, f"Playing, mostly with what works; seed {self.job.seed}")
        await self.guarded(self.at_true_speed(situations, controls))
        await self.guarded(self.measure_heap(situations, controls))
        explored = await self.guarded(self.explore(situations, controls))
        if explored is not None:
            gathering.of_explored(self.summary, explored)
            await self.consider(suspicions.of_explored(explored, controls))
        await self.guarded(self.stress(situations, controls))
        self.live.doing = ""

    async def at_true_speed(self, situations: Situations, controls: Controls) -> None:
        """Plays for a few seconds without owning the game's time."""
        if not self.plan.real_s or self.clock() + self.plan.real_s > self.at(self.plan.heap_by):
            self.summary.miss("visuals", "how smoothly it runs at true speed: no time was left for it")
            return
        self.live.doing = "Playing at true speed"
        usual = [control for control in controls.found.values() if "playing" in control.situations]
        delay = min((control.delay for control in usual), default=1)
        self.stage.page = None
        found, page = await true_speed(
            self.pages,
            self.job.game_url,
            situations.begun_by,
            [control.action for control in usual],
            seconds=self.plan.real_s,
            load_s=self.plan.load_s,
            deadline=self.started + self.plan.end_s,
            frames_to_effect=max(1, delay),
            show=self.live.show_picture,
        )
        await self.stage.note(page.incidents())
        gathering.of_stretch(self.summary, found)
        await self.live.progress(found.line(), kind="truespeed")
        if found.drops_frames:
            await self.consider([gathering.frames(found)])

    async def measure_heap(self, situations: Situations, controls: Controls) -> None:
        """Sees whether the game's memory grows while it is played."""
        if not situations.playing or self.clock() > self.at(self.plan.heap_by):
            self.summary.miss("stability", "whether its memory grows: no time was left for it")
            return
        self.live.doing = "Measuring its memory"
        moment = situations.playing[0]
        gestures = [control.action for control in controls.found.values() if "playing" in control.situations]
        found = await heap.measure(self.stage, moment.inputs, moment.frame, gestures)
        gathering.of_heap(self.summary, found)
        if found.leaks:
            await self.consider([gathering.leak(found)])

    async def explore(self, situations: Situations, controls: Controls) -> Explored:
        """Plays on by seeded search."""
        self.live.doing = "Playing"
        rng = random.Random(self.job.seed)
        return await explore(
            self.stage,
            list(controls.found.values()),
            situations.moments,
            self.job.seed,
            self.live.progress,
            Seeded(rng),
            self.at(self.plan.explore_by),
        )

    async def stress(self, situations: Situations, controls: Controls) -> None:
        """Treats the game roughly. What the agent causes by it is neither counted nor told."""
        self.live.doing = "Treating it roughly"
        self.stage.quiet = True
        try:
            found = list(controls.found.values())
            until = self.at(self.plan.stress_by)
            episodes = await stress(self.stage, found, situations.moments, self.live.progress, until)
        finally:
            self.stage.quiet = False
        await self.consider(suspicions.of_stress(episodes, controls, self.job.game_url))

    async def evaluate(self) -> None:
        """Phase 4: turns the findings into the score."""
        await self.live.phase(4, "Scoring what was seen")
        summary = self.summary
        summary.findings = [each.as_json(stack=False) for each in self.reporter.findings]
        summary.seen_once = [each.as_json(stack=False) for each in self.reporter.seen_once]
        if self.real is not None:
            self.real.conclude()
            gathering.of_real(summary, self.real.found)
        else:
            summary.incidents, summary.told = self.stage.ledger.counts, list(self.stage.ledger.told)
        summary.game_s, summary.owned_s = self.stage.played / FRAMES_PER_S, self.stage.playing_s
        shown = summary.evidence
        parts = scoring.rubric(shown)
        for part in parts:
            await self.live.progress(f"{part.part.capitalize()} {part.score}/{part.max}: {'; '.join(part.reasons)}")
        score = scoring.total(parts)
        await self.live.complete(score, summary.metrics(), scoring.verdict(shown, score))

    # -- in real time -------------------------------------------------------------------------------------

    async def open_in_real_time(self) -> RealTime:
        """The game on a fresh page whose time is the machine's."""
        self.stage.page = None
        plan = policy.plan(self.job.budget_s)
        self.real = await RealTime.on_fresh_page(self.live, self.pages, self.job, plan, self.started)
        return self.real

    async def in_real_time(self) -> None:
        """Phases 2 and 3 of a game whose time cannot be owned. What it does there can't be shown again by frames."""
        self.live.doing = ""
        real = self.real or await self.open_in_real_time()
        try:
            if not real.found.load_s:
                await real.load()
            await self.live.phase(2, "Looking for controls, in real time")
            await real.discover()
            await self.live.phase(3, f"Playing in real time, mostly with what works; seed {self.job.seed}")
            await real.explore(self.job.seed)
        except PageHung as hung:
            real.found.hung = f"its page did not answer for {hung.waited_s:g} s while {hung.while_doing}"
            await real.page.break_script()
        except PageGone as gone:
            if not await real.page.browser_lives():
                raise
            real.found.gone = str(gone)
        finally:
            real.conclude()
        await real.observer.report_incidents()
        await real.observer.publish_screenshot(now=True)
        await self.consider(gathering.faults_of_real(real.found))

    # -- what goes wrong ----------------------------------------------------------------------------------

    def at(self, mark_s: float) -> float:
        """A time of the plan on the event loop's clock."""
        return self.started + mark_s

    async def consider(self, candidates: Iterable[Candidate]) -> None:
        """Minimises what may be wrong, shows it again and tells it."""
        suspects = [*candidates, *self.stage.take_suspects()]
        if not suspects:
            return
        doing, self.live.doing = self.live.doing, "Trying to see a fault again"
        try:
            await self.reporter.consider(suspects, self.at(self.plan.findings_by))
        finally:
            self.live.doing = doing
            self.stage.take_suspects()

    async def guarded(self, step: Awaitable[T]) -> T | None:
        """A step's result; None where the page hung or was lost in it. That becomes a candidate.

        Raises:
            PageGone: all of the browser is gone.
        """
        stage = self.stage
        try:
            return await step
        except PageHung as hung:
            inputs, until = stage.done, stage.frame + FRAMES_PER_S
            if stage.page is not None:
                await stage.page.break_script()
            what = Candidate("freeze", "It hangs: its script does not return", inputs, until, HANGS, str(hung))
        except PageGone as gone:
            page = stage.page
            if page is None or page.exceeded is not None or not await page.browser_lives():
                raise
            inputs, until = stage.done, stage.frame + FRAMES_PER_S
            what = Candidate("crash", "The page's process crashes", inputs, until, detail=str(gone))
        stage.page = None
        await self.consider([what])
        return None
