"""Playing one game in four phases (load, discover controls, explore, evaluate), published through a RunHandle.

Here stands the order of the steps; each of them has a file of its own. The game is played in owned time (stage.py).
Where that does not work, since two runs without input differ or nothing is painted, it is played in real time
(realtime/). summary.py gathers what was found, scoring.py judges it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agent_worker.games import policy
from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.egress_proxy import Judge, JudgeNamed, judge_any
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.controls.discovery import ControlSearch
from agent_worker.games.controls.starting import Situations, get_in
from agent_worker.games.errors import LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games.findings.finding import INERT, STANDSTILL, Candidate
from agent_worker.games.findings.proofs import inert
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.inputs import FRAMES_PER_S, Inputs
from agent_worker.games.model.endpoint import Endpoint
from agent_worker.games.model.policy import ModelPolicy
from agent_worker.games.owned_time.experiments import Determinism
from agent_worker.games.realtime.player import RealTime
from agent_worker.games.run import gathering, scoring
from agent_worker.games.run.course import FOR_EARLY_FINDINGS, Course
from agent_worker.games.run.further import Further

FIRST_LOOKS: Final = (20, 60, 120, 300)
"""Frames at which the first picture is looked for: a game may take 5 s of its time to paint something."""


async def play(run: RunHandle, browser: Browser, job: GameJob, model: Endpoint | None = None) -> None:
    """Plays `job` to its end; the last call on `run` is `complete` or `fail`, within the budget.

    Cancel it to stop it; the page is then closed within 2 s and nothing more is published.

    Args:
        model: chooses gestures while the game is explored; None: the search alone does.

    Raises:
        BrowserMissing, PageGone: Chromium could not be started, or all of it has died. No verdict was published: the
            game is not known to be at fault.
    """
    started = asyncio.get_running_loop().time()
    async with browser.pages(_judge(job)) as pages:
        await _Player(run, pages, job, started, model).play()


def _judge(job: GameJob) -> Judge | None:
    """The rule for the addresses of this job alone; None: the worker's own."""
    if job.allow_private:
        return judge_any
    return JudgeNamed(job.allowed_hosts) if job.allowed_hosts else None


LEAST_FOR_GETTING_IN: Final = 0.15
"""Part of a run that getting in may take, however long an early error was shown again."""


class _Player(Course):
    """One run in progress."""

    def __init__(self, run: RunHandle, pages: Pages, job: GameJob, started: float, model: Endpoint | None) -> None:
        super().__init__(run, pages, job, started)
        self.model = None if model is None else ModelPolicy(model)

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
        except (LoadFailed, PageHung, PageGone) as trouble:
            if not await self.told(trouble):
                return
        await self.evaluate()

    async def test(self) -> None:
        """All phases but the last."""
        await self.load()
        if self.summary.time == "owned":
            situations = await self.guarded(self.get_in())
            if situations is not None and self.summary.time == "owned":
                await self.in_owned_time(situations)
                if (slow := gathering.slow_load(self.stage.loads)) is not None:
                    await self.consider([slow])
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
        if any(each.kind == "error" for each in self.stage.suspects) and await self.only_in_owned_time():
            return
        await self.stage.play(Inputs(), FIRST_LOOKS[0] if self.stage.page is None else self.stage.frame)
        boxes = (await self.stage.state()).canvases
        if boxes:
            width, height = max((each[2:] for each in boxes), key=lambda size: size[0] * size[1])
            await self.live.progress(f"Found a canvas of {width:.0f} x {height:.0f}")
        else:
            await self.live.progress("Found no canvas; the game is made of page elements, if it is one")
        if not painted:
            await self.blank()
        elif await inert(self.stage):
            await self.never_starts()

    async def first_picture(self) -> bool:
        """Whether something is painted in the first seconds of the game's time."""
        for frame in FIRST_LOOKS:
            await self.stage.play(Inputs(), frame)
            seen = await asyncio.to_thread(pictures.thumb, await self.stage.picture())
            if not pictures.is_blank(seen):
                self.summary.picture_ms = (self.summary.load_ms or 0) + round(frame * 1000 / FRAMES_PER_S)
                return True
        return False

    async def never_starts(self) -> None:
        """Something stands there, and nothing of it runs or listens: shown again, there is nothing to play."""
        await self.stage.play(Inputs(), FIRST_LOOKS[-1])
        if not await inert(self.stage):
            return
        title = "It never starts: nothing of it runs, and no input changes anything"
        await self.consider([Candidate("noscripts", title, until=FIRST_LOOKS[-1], signature=INERT)])
        if any(each.kind == "noscripts" for each in self.reporter.findings):
            raise TimeUp("there is nothing to play")

    async def blank(self) -> None:
        """Nothing is painted in owned time: only if nothing is in real time either, the game is at fault."""
        real = await self.open_in_real_time()
        await real.load()
        self.stage.page = None
        if real.found.blank:
            self.real = None
            await self.live.progress("Nothing was painted: the picture is a single colour", kind="blank")
            title = "Nothing is ever painted: the picture stays a single colour"
            await self.consider([Candidate("blank", title, until=FIRST_LOOKS[0])])
            if not self.reporter.findings:  # it was seen in both times all the same
                await self.consider([Candidate("blank", title, signature="in both times", real=True)])
            raise TimeUp("there is nothing to play")
        await self.live.progress("It paints nothing while its time is owned; playing it in real time")
        self.summary.time = "real"

    async def only_in_owned_time(self) -> bool:
        """Whether the errors while starting do not come in real time: then the agent is their cause, not the game.

        The game is played in real time then.
        """
        before = self.errors
        await (await self.open_in_real_time()).load()
        self.stage.page = None
        if self.errors > before:
            self.real = None
            return False
        self.stage.take_suspects()
        self.stage.ledger.forget()
        await self.live.progress("Its errors come only while its time is owned; playing it in real time")
        self.summary.time = "real"
        return True

    @property
    def errors(self) -> int:
        """How many errors have come so far."""
        counts = self.stage.ledger.counts
        return counts["pageerror"] + counts["console"]

    async def get_in(self) -> Situations:
        """Phase 2, its first half: finds moments at which the game is played."""
        await self.live.phase(2, "Looking for controls")
        self.live.doing = "Looking for a way into the game"
        await self.see_again()
        until = max(self.at(self.plan.in_by), self.clock() + LEAST_FOR_GETTING_IN * self.plan.findings_by)
        situations = await get_in(self.stage, self.live, until)
        found = situations.lab.determinism
        if found.moments and not found.agreed:
            await self.not_owned(found)
        return situations

    async def not_owned(self, tried: Determinism) -> None:
        """No moment agreed: from here on it is played in real time."""
        self.summary.moments, self.summary.agreed = tried.moments, 0
        await self.live.progress(
            "Two runs without input differ, so that its time cannot be owned; playing it in real time"
        )
        self.summary.time = "real"

    async def in_owned_time(self, situations: Situations) -> None:
        """Phases 2 and 3: the likely controls, and then all that further.py does."""
        self.live.doing = "Looking for controls"
        search = ControlSearch(situations, self.live, self.see_again)
        await self.guarded(search.likely_ones(self.at(self.plan.controls_by), self.at(self.plan.explore_by)))
        controls = search.result()
        if controls.determinism.moments and not controls.determinism.agreed:
            await self.not_owned(controls.determinism)
            return
        await self.searched(search)
        await self.live.phase(3, f"Playing, mostly with what works; seed {self.job.seed}")
        await Further(self, situations, search, self.model).all()

    async def see_again(self) -> None:
        """What has gone wrong so far is told while there is time to show it again."""
        await self.consider([], FOR_EARLY_FINDINGS, finish=False)

    async def evaluate(self) -> None:
        """Phase 4: turns the findings into the score."""
        await self.live.phase(4, "Scoring what was seen")
        summary = self.summary
        summary.findings = [each.as_json(stack=False) for each in self.reporter.findings]
        summary.seen_once = [each.as_json(stack=False) for each in self.reporter.seen_once]
        if self.reporter.refused and not any(each.key[0] == STANDSTILL for each in self.reporter.findings):
            summary.miss("playability", "whether it stands still at times: it plays too slowly here to show it")
        if self.real is not None:
            self.real.conclude()
            gathering.of_real(summary, self.real.found)
        else:
            summary.incidents, summary.told = self.stage.ledger.counts, list(self.stage.ledger.told)
        summary.model = None if self.model is None else self.model.statistics().as_json()
        summary.game_s, summary.owned_s = self.stage.played / FRAMES_PER_S, self.stage.opening_s + self.stage.playing_s
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
        self.real = await RealTime.on_fresh_page(self.live, self.pages, self.job, plan, self.started, self.stage.screen)
        self.real.observer.ledger = self.stage.ledger
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
            if self.model is not None:
                why = "the game is played in real time and does not wait for answers"
                self.model.passed_over(why, asked=False)
                await self.live.progress(f"The model {self.model.name} is not asked: {why}")
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
