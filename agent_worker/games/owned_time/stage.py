"""A game whose time the agent owns: opened as often as wanted, played frame by frame, the same for the same inputs.

The script in clock/ replaces the clocks that a page can see, before the game's own scripts run. One frame is a sixtieth
of a second of the game's time, and takes as long as the machine needs for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

from agent_worker.games.chromium import inspection
from agent_worker.games.chromium.inspection import Coverage
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.page_state import Clock, Loaded, PageState, read_clock
from agent_worker.games.chromium.pages import Pages, Wanted
from agent_worker.games.errors import DocumentLeft, LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import FRAMES_PER_S, Inputs, Step
from agent_worker.games.owned_time.script import owned_time
from agent_worker.games.owned_time.trace import Happened, Sample, Trace
from agent_worker.games.screen import DESKTOP, Screen

LOAD_TIMEOUT_S: Final = 60.0
"""For the document; long, since a busy machine is no fault of the game."""
SLOW_LOAD_S: Final = 2.0
"""A game that loads for longer gets a new page each time: a process that has kept its code would hide that, and saves
little of it."""
QUIET_S: Final = 10.0
"""For what still loads after the document has."""
MOST_HOLD_S: Final = 20.0
"""For one load, of the game's clock."""
SLICE_MS: Final = 400
"""Real time after which a page says how far it has come: one that says nothing hangs in a single callback."""
_SETTLES: Final = frozenset(("resize", "offline", "online", "wheel"))
"""Gestures whose events come with Chromium's own next frame."""
_WORD: Final = 1 << 32


class Stage:
    """One game in owned time. Not for two tasks at once.

    Args:
        deadline: On the event loop's clock; no call waits for longer.
        load_s: What loading may take.
        screen: What the game is played on; see the attribute.
        measure_code: Note what of its code runs, for `coverage`; see the attribute.

    Attributes:
        screen: As given; a change counts from the next opening on.
        page: The page that is open now; None before the first.
        frame: The frame that it has reached; 0 when it has just loaded.
        documents: How many were played since the page was opened; more than one where it loads itself again. Frames
            are counted on; the clock that a page sees begins anew with each.
        done: What was done to it since its load.
        opened: How often the game was opened.
        played: Frames that were played, over all openings.
        opening_s, playing_s: Seconds that opening it and playing frames have taken.
        measure_code: Whether pages that are opened from now on are measured. It makes the comparing of frames slow.

    Raises:
        LoadFailed: from what opens the game.
        PageHung, PageGone, TimeUp: from every method that needs the page.
    """

    def __init__(
        self,
        pages: Pages,
        job: GameJob,
        *,
        deadline: float,
        load_s: float = LOAD_TIMEOUT_S,
        screen: Screen = DESKTOP,
        measure_code: bool = False,
    ) -> None:
        self._pages = pages
        self._job = job
        self._deadline = deadline
        self._load_s = load_s
        self.screen = screen
        self.measure_code = measure_code
        self._covered = Coverage()
        self._hold_s = min(MOST_HOLD_S, load_s / 3)
        """How long one load may hold the clock."""
        self._restless = False
        """The game never stops loading: that is waited for once."""
        self._gave_up: frozenset[str] = frozenset()
        """Kinds of loads of which one never came: these are waited for once."""
        self.page: Page | None = None
        self.loaded: Loaded | None = None
        self.frame = 0
        self.done = Inputs()
        self.documents = 0
        self._skips = True
        """Frames that nobody looks at are left undrawn; not any more where the game needs them."""
        self._born = 0.0
        """When the document began that was played last, in ms: tells one from the next."""
        self._token = secrets.token_hex(8)
        self.opened = self.played = 0
        self.opening_s = self.playing_s = 0.0

    async def open(self) -> Page:
        """Opens the game afresh, without storage; its clock stands at frame 0."""
        if self.measure_code and self.page is not None and self.frame:
            with suppress(PageGone, PageHung):
                await self.coverage()
        if self._restless and self.page is not None and self.frame:
            with suppress(PageGone, PageHung, DocumentLeft):
                self._gave_up |= set((await self.about()).gave_up)
        began_s = asyncio.get_running_loop().time()
        slow = self.loaded is not None and self.loaded.seconds > SLOW_LOAD_S
        page = await self._pages.fresh(self._wanted(), new=slow or self.measure_code)
        if self.measure_code:
            await inspection.start_coverage(page)
        page.deadline = self._deadline
        self.documents, self._born = 0, 0.0
        self.page, self.frame, self.done = page, 0, Inputs()
        left_s = self._deadline - asyncio.get_running_loop().time()
        try:
            self.loaded = await page.open(self._job.game_url, max(0.0, min(self._load_s, left_s)), watched=False)
        except LoadFailed as failed:
            if failed.code == "load_timeout" and left_s < self._load_s:
                raise TimeUp("the run's time ended while opening the game") from failed
            raise
        if not self._restless:
            with suppress(DocumentLeft):
                self._restless = not await page.quiet(min(QUIET_S, self._hold_s))
        self.opened += 1
        self.opening_s += asyncio.get_running_loop().time() - began_s
        self._pages.prepare(self._wanted())
        return page

    def _wanted(self) -> Wanted:
        """What a page has to be like that is opened now."""
        script = owned_time(self._token, self._job.seed, self._hold_s, self._gave_up, skips=self._skips)
        return Wanted((script,), self._token, self.screen)

    async def play(self, inputs: Inputs, until: int, watch_from: int | None = None, every: int = 1) -> Trace:
        """Plays the game, with `inputs` since its load, to frame `until`.

        Goes on from where the game stands if all that was done to it is what `inputs` say up to there; otherwise it is
        opened afresh and played again from its load.

        Args:
            watch_from: The frame from which on samples are taken; None: none are. Where WebGL draws, of each fourth
                frame; of a large canvas, of each third; of the last in any case.
            every: Frames from one sample to the next, at least.
        """
        try:
            return await self._played(inputs, until, watch_from, every)
        except _Stale:
            self._skips, self.page = False, None
            return await self._played(inputs, until, watch_from, every)

    def needs_s(self, frames: int, openings: int = 1) -> float:
        """What so much probably takes of real time, judged by what was opened and played so far."""
        each_opening, each_frame = self.opening_s / max(1, self.opened), self.playing_s / max(1, self.played)
        return openings * each_opening + frames * each_frame

    async def _played(self, inputs: Inputs, until: int, watch_from: int | None, every: int) -> Trace:
        if self.page is None or self.frame > until or self.done != inputs.before(self.frame):
            await self.open()
        assert self.page is not None
        samples: list[Sample] = []
        happened: list[Happened] = []
        edges = [edge for edge in inputs.edges() if self.frame <= edge.at < until]
        for edge in edges:
            await self._advance(edge.at, watch_from, every, samples, happened)
            self.done = inputs.before(edge.at + 1)
            await (self.page.begin(edge.action) if edge.half == "begin" else self.page.end(edge.action))
            if edge.action.kind in _SETTLES:
                await self.page.clock("settle()", "waiting for what follows")
        self.done = inputs.before(until)
        await self._advance(until, watch_from, every, samples, happened)
        return Trace(tuple(samples), tuple(happened))

    def ended_by(self) -> tuple[Inputs, int]:
        """What was done to a page that does not answer any more, or is gone, and a frame by which it had ended: of one
        call it is not known how far it came."""
        return self.done, self.frame + FRAMES_PER_S

    async def state(self) -> PageState:
        """What the page reports of itself now."""
        assert self.page is not None
        return await self.page.state()

    async def picture(self) -> bytes:
        """The page as it stands now, a JPEG of the viewport."""
        assert self.page is not None
        return await self.page.photograph()

    async def about(self) -> Clock:
        """What the page's clock tells now: what it waits for, what it used, and what the game tells of itself."""
        assert self.page is not None
        clock = read_clock(await self.page.clock("about()", "reading the clock"))
        for told in await self.page.foreign_clocks("about()", "reading the clock of a frame"):
            clock = clock.beside(read_clock(told))
        return clock

    async def pressed(self, inputs: Inputs, step: Step, watch_from: int, every: int) -> tuple[Trace, bool]:
        """Plays `inputs` up to the frame after `step` has begun.

        Returns:
            The frames up to there, and whether a handler of the page has kept the press from those that would have come
            after it.
        """
        before = await self.play(inputs, step.at, watch_from, every)
        stopped = await self._stopped()
        press = await self.play(inputs, step.at + 1, watch_from, every)
        return Trace.of(before, press), stopped < await self._stopped()

    async def heard(self, inputs: Inputs, step: Step, until: int, every: int = 1) -> Trace:
        """The frames after `step` begins, where no handler keeps a key from the game from then on. Opens the game."""
        await self.open()
        await self.play(inputs, step.at)
        assert self.page is not None
        await self.page.clock("let()", "letting keys through")
        trace = await self.play(inputs, until, step.at, every)
        self.page = None  # it does not stand where these inputs lead
        return trace

    async def _stopped(self) -> int:
        try:
            return (await self.about()).stopped
        except DocumentLeft:
            return 0

    async def sources(self) -> Mapping[str, str]:
        """The texts of the game's scripts, by address."""
        assert self.page is not None
        return await inspection.sources(self.page)

    async def coverage(self) -> Coverage:
        """What of the game's code has run, over all openings so far. Needs `measure_code`."""
        if self.page is not None:
            self._covered = self._covered.joined(await inspection.coverage(self.page))
        return self._covered

    async def heap(self) -> int:
        """Bytes of JavaScript's memory in use, after a collection of garbage."""
        assert self.page is not None
        return await inspection.heap(self.page)

    async def uncontrolled(self) -> tuple[str, ...]:
        """What the page has used since its load that does not follow its time, such as `Worker`: sorted names."""
        return (await self.about()).uncontrolled

    async def _advance(
        self, to: int, watch_from: int | None, every: int, samples: list[Sample], happened: list[Happened]
    ) -> None:
        assert self.page is not None
        while self.frame < to:
            watched = watch_from is not None and self.frame >= watch_from
            target = min(to, self.frame + FRAMES_PER_S, to if watched or watch_from is None else watch_from)
            if self.page.foreign:
                target = self.frame + 1  # frames of other origins are moved in step
            call = f"advance({target - self.frame}, {every if watched else 0}, {SLICE_MS})"
            began_s = asyncio.get_running_loop().time()
            try:
                told, least = await self.page.clock(call, "playing"), 1
            except DocumentLeft:
                told, least = await self.page.arrive() or [target - self.frame, [], 0.0, False], 0
            frames, all_prints, born, stale = _told(told, target - self.frame, least)
            if stale:
                raise _Stale
            if born not in (0.0, self._born):
                self.documents, self._born = self.documents + 1, born
            if frames and self.page.foreign:
                for answer in await self.page.foreign_clocks(call, "playing in a frame"):
                    all_prints = _together(all_prints, _told(answer, 1, 1)[1])
            samples += [Sample(self.frame + number, *prints) for number, *prints in all_prints]
            self.played += frames
            self.playing_s += asyncio.get_running_loop().time() - began_s
            self.frame += frames
            happened += [Happened(self.frame, each) for each in self.page.incidents()]


class _Stale(Exception):
    """A picture was needed that was left out."""


def _told(told: Any, asked: int, least: int) -> tuple[int, list[list[int]], float, bool]:
    """Frames that were played, the fingerprints of those that were watched, each behind its number among them, when the
    document began, and whether a picture was needed that was left out.

    Raises:
        PageGone: That is no answer of our clock: the page has tampered with what makes it.
    """
    match told:
        case [int(frames), list(prints), int(born) | float(born), bool(stale)] if least <= frames <= asked:
            read = [[each[0], *(int(word) % _WORD for word in each[1:])] for each in prints if _is_print(each)]
            numbers = [0, *(each[0] for each in read)]
            rising = all(one < other for one, other in pairwise(numbers))
            if len(read) == len(prints) and rising and numbers[-1] <= frames:
                return frames, read, float(born), stale
    raise PageGone("its clock gave an answer that is none")


def _together(one: list[list[int]], other: list[list[int]]) -> list[list[int]]:
    """The fingerprints of a page with those of a frame in it, which stand at the same frame of the game's."""
    return [
        [number, *((5 * mine + its) % _WORD for mine, its in zip(words, others, strict=True))]
        for (number, *words), (_, *others) in zip(one, other, strict=False)
    ]


def _is_print(told: Any) -> bool:
    return isinstance(told, list) and len(told) == 6 and all(isinstance(each, int) for each in told)
