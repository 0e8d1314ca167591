"""Watching a game: pictures of it, what is usual in them, its incidents, and what the feed says of both.

An `Observer` belongs to one run. discovery.py and player.py act on the page and ask it what that did.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from functools import partial
from itertools import pairwise
from typing import Final

from agent_worker.games import policy
from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.page_state import PageState
from agent_worker.games.chromium.pictures import Thumb
from agent_worker.games.chromium.reports import Ledger
from agent_worker.games.handle import RunHandle
from agent_worker.games.realtime.seen import Seen
from broker.contract.frames import MAX_FRAMES_PER_S

SCREENSHOT_EVERY_S: Final = 1 / MAX_FRAMES_PER_S
MAX_CALMING: Final = 6
"""For how many idle trials a picture is waited for to become calm before it is taken as it is."""
NOISE_KEPT: Final = 8
"""Idle trials that count: the newest, since a game is livelier once it has begun."""
USUAL_KEPT: Final = 30
"""Pictures that make the usual range: a second and a half of them, more than one bounce of a ball."""


class Observer:
    """What was seen of a run's page. Not for two tasks at once.

    Args:
        started: when the run began, on the event loop's clock.

    Raises:
        PageHung, PageGone, TimeUp: from every method that looks at the page.
    """

    def __init__(self, run: RunHandle, page: Page, plan: policy.Plan, started: float) -> None:
        self.run = run
        self.page = page
        self.plan = plan
        self.started = started
        self.clock = asyncio.get_running_loop().time
        self.found = Seen()
        self.ledger = Ledger()
        self.watch = policy.Watch(plan.still_s, started)
        self.state = PageState()
        """What the page last reported of itself."""
        self.scenes: set[int] = set()
        """Fingerprints of all scenes that were seen."""
        self.last: Thumb | None = None
        """The newest picture; None before the first."""
        self.noise: deque[float] = deque(maxlen=NOISE_KEPT)
        """Results of the newest idle trials."""
        self.usual: deque[Thumb] = deque(maxlen=USUAL_KEPT)
        """Pictures that show nothing but what happens by itself."""
        self.error_at = -math.inf
        """When the newest script error came."""
        self._unpublished: bytes | None = None
        self._published: Thumb | None = None
        """The picture that viewers have, or are about to have."""
        self._screenshot_at = -math.inf

    def __repr__(self) -> str:
        return f"<Observer scenes={len(self.scenes)} actions={self.found.actions} incidents={self.ledger.counts}>"

    # -- time ---------------------------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run's start."""
        return self.clock() - self.started

    def passed(self, mark_s: float) -> bool:
        """Whether `mark_s` seconds have passed since the run's start."""
        return self.elapsed_s >= mark_s

    @property
    def finished(self) -> bool:
        """Whether playing on has no point."""
        return bool(self.found.broke or self.found.stuck)

    # -- looking ------------------------------------------------------------------------------------------

    async def read_state(self) -> PageState:
        """Asks the page for its state, keeps it in `state`, and returns it."""
        self.state = await self.page.state()
        return self.state

    async def look(self, seconds: float, alone: bool = False) -> list[Thumb]:
        """Watches for a while; `alone` says that nothing is being done. Never empty, oldest first."""
        jpegs = await self.page.watch(seconds)
        # Beside the event loop: a lively game makes 40 pictures in a look, and a busy machine takes a second for them.
        seen = await asyncio.to_thread(lambda: [pictures.thumb(jpeg) for jpeg in jpegs])
        before = [self.last or seen[0], *seen]
        change = max(pictures.changed(one, other) for one, other in pairwise(before))
        self.watch.see(self.clock(), change, alone)
        self.scenes.update(map(pictures.signature, seen))
        self.last, self._unpublished = seen[-1], jpegs[-1]
        await self.publish_screenshot()
        return seen

    async def settle(self) -> None:
        """Waits, for a limited time, until the picture is calm, and learns again what it does by itself."""
        self.usual.clear()
        self.usual.extend(await self.look(2 * self.plan.trial_s, alone=True))
        for _ in range(MAX_CALMING):
            noise = await self._idle()
            if policy.calm(self.noise, noise):
                break
        self.noise.append(noise)

    async def idle(self) -> None:
        """A trial of doing nothing; its result is added to `noise`."""
        self.noise.append(await self._idle())

    async def _idle(self) -> float:
        """How far the picture leaves its usual range by itself."""
        seen = await self.look(self.plan.trial_s, alone=True)
        outside = self.outside_usual(seen)
        self.usual.extend(seen)
        return outside

    def outside_usual(self, seen: list[Thumb]) -> float:
        """The largest part of the picture that leaves its usual range in one of `seen`."""
        normal = pictures.envelope(self.usual)
        return max(pictures.outside(normal, each) for each in seen)

    @property
    def limit(self) -> float:
        """The part of the picture that the effect of a control has to exceed."""
        return policy.threshold(self.noise)

    def read_score(self) -> None:
        """Notes the score that the page shows, if any."""
        score = policy.score_of(self.state.words)
        if score is not None:
            if self.found.first_score is None:
                self.found.first_score = score
            self.found.best_score = max(score, self.found.best_score or 0)

    # -- publishing ---------------------------------------------------------------------------------------

    async def publish_screenshot(self, now: bool = False) -> None:
        """Gives the newest picture to the viewers, at most two a second unless `now`, where it differs visibly from the
        one that they have. A picture that stands still is not repeated, whatever is told meanwhile."""
        jpeg, seen, had = self._unpublished, self.last, self._published
        if jpeg is None or seen is None or not (now or self.clock() - self._screenshot_at >= SCREENSHOT_EVERY_S):
            return
        self._unpublished = None
        if had is not None and not await asyncio.to_thread(pictures.changed, had, seen):
            return
        self._screenshot_at, self._published = self.clock(), seen
        await self.run.screenshot(await asyncio.to_thread(pictures.screenshot, jpeg), partial(self._lost, seen))

    def _lost(self, seen: Thumb) -> None:
        """Viewers have not got a picture: it is published again, also of a game that stands still."""
        if self._published is seen:
            self._published = None

    async def report_incidents(self) -> None:
        """Publishes what happened to the page since the last call, each incident once."""
        for incident in self.page.incidents():
            if incident.kind == "pageerror":
                self.error_at = self.clock()
            if line := self.ledger.enter(incident.kind, incident.detail):
                await self.run.progress(line, kind=incident.kind, detail=incident.detail)
