"""One run under way: its time, its stage and feed, and what becomes of what goes wrong in one of its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

from agent_worker.games.chromium.pages import Pages
from agent_worker.games.controls.discovery import ControlSearch
from agent_worker.games.errors import LoadFailed, PageGone, PageHung
from agent_worker.games.findings.finding import Candidate, hangs
from agent_worker.games.findings.reporter import Reporter
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.realtime.player import RealTime
from agent_worker.games.run import gathering, suspicions
from agent_worker.games.run.live import Live
from agent_worker.games.run.schedule import schedule
from agent_worker.games.run.summary import Summary
from agent_worker.games.run.watched_stage import WatchedStage

STOP_AFTER_S: Final = 0.2
"""How long after the page's deadline, which ends what waits for the page, everything else is ended for the verdict."""
FOR_FINDINGS: Final = 0.8
"""Part of the time that is left which the candidates of one step may take: what shows only now and then takes long."""
FOR_EARLY_FINDINGS: Final = 0.25
"""The same while the controls are looked for, which nearly all else needs."""
LEAST_FOR_FINDINGS_S: Final = 3.0

T = TypeVar("T")


class Course:
    """What the steps of one run share. Not for two tasks at once.

    Args:
        started: when the run began, on the event loop's clock.

    Attributes:
        plan: When each step ends.
        stage: The game in owned time.
        live: The run, which several tasks may use.
        summary: What was found out so far.
        real: The game in real time; None: it was not needed.
    """

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

    def __repr__(self) -> str:
        return f"<Course {self.live!r} {self.reporter!r}>"

    def at(self, mark_s: float) -> float:
        """A time of the plan on the event loop's clock."""
        return self.started + mark_s

    async def consider(
        self, candidates: Iterable[Candidate], share: float = FOR_FINDINGS, *, finish: bool = True
    ) -> None:
        """Minimises what may be wrong, shows it again and tells it, in a part of the time that is left.

        Args:
            share: That part.
            finish: What has shown again by then may be shown further until the end of the run.
        """
        suspects = [*candidates, *self.stage.take_suspects()]
        if not suspects:
            return
        doing, self.live.doing = self.live.doing, "Trying to see a fault again"
        try:
            left_s = self.at(self.plan.findings_by) - self.clock()
            until_s = self.clock() + min(left_s, max(LEAST_FOR_FINDINGS_S, left_s * share))
            await self.reporter.consider(suspects, until_s, self.at(self.plan.findings_by) if finish else until_s)
        finally:
            self.live.doing = doing
            self.stage.take_suspects()

    async def searched(self, search: ControlSearch) -> None:
        """What a search for controls has found by now; may be called again when it has gone on."""
        controls = search.result()
        gathering.of_controls(self.summary, controls)
        if controls.determinism.agreed < controls.determinism.moments:
            self.summary.time = "mixed"
        self.summary.actions += search.take_branches()
        await self.consider(suspicions.of_controls(controls, search.at))

    async def told(self, trouble: LoadFailed | PageHung | PageGone) -> bool:
        """Makes what has ended playing a part of the verdict. False: there is none.

        Raises:
            PageGone: all of the browser has died, not for a limit.
        """
        page = self.stage.page or (self.real.page if self.real else None)
        exceeded = None if page is None else page.exceeded
        if (
            exceeded is None
            and (page is None or not await page.browser_lives())
            and not isinstance(trouble, LoadFailed)
        ):
            raise PageGone("the game's browser died") from trouble
        if exceeded is not None:
            self.summary.stopped = f"the game was stopped: it {exceeded}"
            await self.live.progress(f"The game was stopped: it {exceeded}", kind="limit", detail=exceeded)
        elif isinstance(trouble, LoadFailed) and not self.stage.opened:
            await self.live.fail(trouble.message, trouble.code)
            return False
        elif isinstance(trouble, LoadFailed):
            self.summary.miss("playability", f"how it goes on: it could not be opened again ({trouble.message})")
        elif isinstance(trouble, PageHung):
            title = f"It hangs: its page did not answer for {trouble.waited_s:g} s while {trouble.while_doing}"
            await self.reporter.consider([Candidate("freeze", title, real=True)], self.stop_at)
        else:
            await self.reporter.consider([Candidate("crash", f"It crashes: {trouble}", real=True)], self.stop_at)
        return True

    async def guarded(self, step: Awaitable[T]) -> T | None:
        """A step's result; None where the page hung or was lost in it. That becomes a candidate.

        Raises:
            PageGone: all of the browser is gone.
        """
        stage = self.stage
        try:
            return await step
        except PageHung as hung:
            what = hangs(*stage.ended_by(), hung)
            if stage.page is not None:
                await stage.page.break_script()
        except PageGone as gone:
            page = stage.page
            if page is None or page.exceeded is not None or not await page.browser_lives():
                raise
            if page.gone is None:  # a call failed, and the page lives: that says nothing of the game
                stage.page = None
                self.summary.miss("playability", f"what a step would have shown: {str(gone)[:120]}")
                return None
            inputs, until = stage.ended_by()
            what = Candidate("crash", "The page's process crashes", inputs, until, detail=str(gone))
        stage.page = None
        await self.consider([what])
        return None
