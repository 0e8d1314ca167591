"""A game whose time the agent owns: opened as often as wanted, played frame by frame, the same for the same inputs.

The script in clock/ replaces the clocks that a page can see, before the game's own scripts run. One frame is a sixtieth
of a second of the game's time, and takes as long as the machine needs for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent_worker.games.browser import Pages
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import FRAMES_PER_S, Inputs
from agent_worker.games.page import Page
from agent_worker.games.page_state import Loaded, PageState
from agent_worker.games.trace import Happened, Sample, Trace

_CLOCK: Final = (Path(__file__).parent / "clock" / "clock.js").read_text()
LOAD_TIMEOUT_S: Final = 15.0


class Stage:
    """One game in owned time. Not for two tasks at once.

    Attributes:
        page: The page that is open now; None before the first.
        frame: The frame that it has reached; 0 when it has just loaded.
        done: What was done to it since its load.
        opened: How often the game was opened.
        played: Frames that were played, over all openings.

    Raises:
        LoadFailed: from what opens the game.
        PageHung, PageGone, TimeUp: from every method that needs the page.
    """

    def __init__(self, pages: Pages, job: GameJob, *, deadline: float, load_s: float = LOAD_TIMEOUT_S) -> None:
        self._pages = pages
        self._job = job
        self._deadline = deadline
        self._load_s = load_s
        self.page: Page | None = None
        self.loaded: Loaded | None = None
        self.frame = 0
        self.done = Inputs()
        self.opened = self.played = 0

    async def open(self) -> Page:
        """Opens the game afresh, without storage; its clock stands at frame 0."""
        page = await self._pages.fresh((f"window.__vtSeed={self._job.seed};window.__vtClear=1;", _CLOCK))
        page.deadline = self._deadline
        self.page, self.frame, self.done = page, 0, Inputs()
        self.loaded = await page.open(self._job.game_url, self._load_s)
        self.opened += 1
        return page

    async def play(self, inputs: Inputs, until: int, watch_from: int | None = None) -> Trace:
        """Plays the game, with `inputs` since its load, to frame `until`.

        Goes on from where the game stands if all that was done to it is what `inputs` say up to there; otherwise it is
        opened afresh and played again from its load.

        Args:
            watch_from: The frame from which on samples are taken; None: none are.
        """
        if self.page is None or self.frame > until or self.done.before(self.frame) != inputs.before(self.frame):
            await self.open()
        assert self.page is not None
        samples: list[Sample] = []
        happened: list[Happened] = []
        edges = [edge for edge in inputs.edges() if self.frame <= edge.at < until]
        for edge in edges:
            await self._advance(edge.at, watch_from, samples, happened)
            await (self.page.begin(edge.action) if edge.half == "begin" else self.page.end(edge.action))
        self.done = inputs.before(until)
        await self._advance(until, watch_from, samples, happened)
        return Trace(tuple(samples), tuple(happened))

    async def state(self) -> PageState:
        """What the page reports of itself now."""
        assert self.page is not None
        return await self.page.state()

    async def picture(self) -> bytes:
        """The page as it stands now, a JPEG of the viewport."""
        assert self.page is not None
        return await self.page.photograph()

    async def _advance(self, to: int, watch_from: int | None, samples: list[Sample], happened: list[Happened]) -> None:
        assert self.page is not None
        while self.frame < to:
            watched = watch_from is not None and self.frame >= watch_from
            target = min(to, self.frame + FRAMES_PER_S, to if watched or watch_from is None else watch_from)
            told = await self.page.ask(f"__vt.advance({target - self.frame}, {int(watched)})", "playing")
            for number, text in enumerate(told, self.frame + 1):
                pixels, page, stored = (int(part) for part in text.split("/"))
                samples.append(Sample(number, pixels, page, stored))
            self.played += target - self.frame
            self.frame = target
            happened += [Happened(self.frame, each) for each in self.page.incidents()]
