"""The stage of a run: what happens to the game on it becomes lines of the feed, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.page_state import Incident, Loading
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.chromium.reports import Ledger
from agent_worker.games.findings.finding import Candidate
from agent_worker.games.findings.sightings import candidates_of
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Trace
from agent_worker.games.realtime.stretch import processors

Tell = Callable[..., Awaitable[None]]
Show = Callable[[bytes], Awaitable[None]]
PICTURE_EVERY_S: Final = 0.75
"""A picture takes up to 60 ms, for which the game stands still."""


class WatchedStage(Stage):
    """A stage whose incidents are told.

    Attributes:
        ledger: What has happened.
        quiet: Incidents are neither counted nor told: the agent is the cause of them.
        tell: Gets a line for the feed; None: nobody listens yet.
        show: Gets a picture of the page now and then; None: nobody looks.
        loads: Each load of the game in a new page so far.
        suspects: What may be wrong, of what has happened since `take_suspects`.
    """

    def __init__(self, pages: Pages, job: GameJob, *, deadline: float, load_s: float) -> None:
        super().__init__(pages, job, deadline=deadline, load_s=load_s)
        self.ledger = Ledger()
        self.quiet = False
        self.tell: Tell | None = None
        self.show: Show | None = None
        self._shown_at = 0.0
        self.suspects: list[Candidate] = []
        self.loads: list[Loading] = []

    async def open(self) -> Page:
        """See `Stage`."""
        if self.page is not None:
            await self.note(self.page.incidents())
        before = processors()
        page = await super().open()
        after = processors()
        if self.loaded is not None and self.loaded.finished and page.emptied == 0:
            idle = after.idle_share(before) if before and after else None
            self.loads.append(Loading(self.loaded.seconds, idle))
        return page

    async def play(self, inputs: Inputs, until: int, watch_from: int | None = None, every: int = 1) -> Trace:
        """See `Stage`."""
        clock = asyncio.get_running_loop().time
        trace = await super().play(inputs, until, watch_from, every)
        if not self.quiet and trace.happened:
            happened = [(each.frame, each.incident) for each in trace.happened]
            self.suspects += candidates_of(happened, inputs, self._job.game_url)
        await self.note([each.incident for each in trace.happened])
        if self.show is not None and clock() - self._shown_at >= PICTURE_EVERY_S:
            self._shown_at = clock()
            await self.show(await self.picture())
        return trace

    def take_suspects(self) -> list[Candidate]:
        """Hands over what may be wrong."""
        taken, self.suspects = self.suspects, []
        return taken

    async def note(self, incidents: list[Incident]) -> None:
        """Counts what has happened, and tells what is new."""
        if self.quiet:
            return
        for each in incidents:
            if (line := self.ledger.enter(each.kind, each.detail)) and self.tell is not None:
                await self.tell(line, kind=each.kind, detail=each.detail)
