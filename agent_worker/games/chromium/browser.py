"""Starting Chromium through Playwright: one for each run, behind walls and within limits.

A `Browser` is what a worker has: each call of `page` starts a Chromium of its own, in a directory of its own, behind an
egress proxy of its own, and ends all of it. No run meets what another one left, or its end. One Chromium waits, started
and unused, for the next run.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Playwright, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from agent_worker.games.chromium import processes
from agent_worker.games.chromium.background import retrieved
from agent_worker.games.chromium.confinement import Place, Walls, Workshop, wanted_walls
from agent_worker.games.chromium.egress_proxy import EgressProxy, Judge, judge_public
from agent_worker.games.chromium.incidents import IncidentLog, first_line
from agent_worker.games.chromium.limits import Limits
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.chromium.patience import Watched
from agent_worker.games.chromium.processes import Process, Watch
from agent_worker.games.chromium.program import arguments, find_chromium, find_shell, unwanted
from agent_worker.games.errors import BrowserMissing

__all__ = ["Browser", "Page", "Walls", "find_chromium", "find_shell"]

CLOSE_TIMEOUT_S: Final = 1.5
"""A cancelled run must be gone within 2 s."""
_LIMITS: Final = Limits()
_ALL_WALLS: Final = Walls()
_PATH: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class BrowserStatistics(NamedTuple):
    """Where a browser stands."""

    launches: int
    """How often Chromium was started."""
    waiting: bool
    """One is started, or being started, for the next run."""
    pages: int
    """Pages that are open now."""
    egress_open: int
    """Connections that these have now to their proxies."""
    egress_carried: int
    """Requests and tunnels that the proxies carried, those of pages that are gone included."""
    egress_turned_away: int
    """Requests and connections that they refused: `EgressProxy.turned_away`."""
    failure: str
    """Why no Chromium could be started the last time; empty when one could."""


class _Chromium:
    """One Chromium that runs, with all that has to go when it ends."""

    def __init__(
        self, running: PlaywrightBrowser, place: Place, process: Process, way_out: socket.socket | None
    ) -> None:
        self.running = running
        self.place = place
        self.process = process
        self.way_out = way_out
        """Listens inside its network; None where it shares the machine's."""

    def lives(self) -> bool:
        """Whether it runs, and the driver has a connection to it."""
        return self.running.is_connected() and processes.lives(self.process)

    async def end(self) -> None:
        """Closes it, and kills what has not gone after `CLOSE_TIMEOUT_S`."""
        try:
            with suppress(PlaywrightError, TimeoutError):
                await asyncio.wait_for(self.running.close(), CLOSE_TIMEOUT_S)
        finally:
            processes.end(self.process)
            if self.way_out is not None:
                self.way_out.close()
            self.place.remove()


class Browser:
    """Starts a Chromium for each run, inside `async with`.

    Args:
        executable: As for `find_shell`; for `find_chromium` if `headed`.
        judge: Which addresses pages may reach (egress_proxy.py).
        limits: What one run may take.
        allow_root: Games may run as root where root cannot become another user. For games of one's own.
        environment: What Chromium is told of the worker's environment; nothing else of it reaches a game.
        walls: Those to put up, where this machine lets them stand.
        ahead: Start one for the next run while none is played, which saves that run a second.
        headed: With a window, for people who watch.
    """

    def __init__(
        self,
        executable: str | None = None,
        judge: Judge = judge_public,
        *,
        limits: Limits = _LIMITS,
        allow_root: bool = False,
        environment: Mapping[str, str] = _PATH,
        walls: Walls = _ALL_WALLS,
        ahead: bool = True,
        headed: bool = False,
    ) -> None:
        self._executable = executable
        self._judge = judge
        self._limits = limits
        self._allow_root = allow_root
        self._environment = dict(environment)
        self._at_most = walls
        self._ahead = ahead
        self._headed = headed
        self._driver: Playwright | None = None
        self._workshop: Workshop | None = None
        self._next: asyncio.Task[_Chromium] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._pages = 0
        self._proxies: set[EgressProxy] = set()
        self._carried = self._turned_away = 0
        """Of the proxies that are gone."""
        self._failure = ""
        self.walls = Walls()
        """The walls that stand; known inside `async with`."""
        self.launches = 0
        """How often Chromium was started; 0 before `async with`."""

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<Browser pages={now.pages} launches={now.launches} waiting={now.waiting}>"

    def statistics(self) -> BrowserStatistics:
        """Where the browser stands now."""
        return BrowserStatistics(
            self.launches,
            self._next is not None,
            self._pages,
            sum(each.statistics().open for each in self._proxies),
            self._carried + sum(each.carried for each in self._proxies),
            self._turned_away + sum(each.turned_away for each in self._proxies),
            self._failure,
        )

    async def __aenter__(self) -> Self:
        self._driver = await async_playwright().start()
        try:
            self._workshop = Workshop()
            own = self._driver.chromium.executable_path
            found = find_chromium(self._executable) if self._headed else find_shell(self._executable, Path(own))
            self._chromium = found or own
            possible = wanted_walls(self._chromium, self._workshop, self._allow_root)
            self.walls = Walls(*(one and other for one, other in zip(possible, self._at_most, strict=True)))
            first = await self._first()
            self._next = asyncio.get_running_loop().create_task(_ready(first))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._close()

    async def _close(self) -> None:
        waiting, self._next = self._next, None
        if waiting is not None:
            with suppress(BrowserMissing):
                await (await waiting).end()
        if self._workshop:
            self._workshop.close()
        if self._driver:
            await self._driver.stop()

    @asynccontextmanager
    async def page(self, judge: Judge | None = None) -> AsyncIterator[Page]:
        """A page in a Chromium of its own, as `pages` opens it."""
        async with self.pages(judge) as pages:
            yield await pages.fresh()

    @asynccontextmanager
    async def pages(self, judge: Judge | None = None) -> AsyncIterator[Pages]:
        """The pages of one run, in a Chromium of its own; gone within 2 s. `judge`: of these alone.

        Raises:
            BrowserMissing: Chromium could not be started.
            PageGone: It died just now; another call starts another one.
        """
        chromium = await self._take()
        self._pages += 1
        watch = Watch(chromium.process, chromium.place.path, self._limits)
        watch.start()
        pages: Pages | None = None

        watched = Watched(lambda: watch.exceeded, lambda: processes.main_threads(chromium.process), chromium.lives)
        incidents = IncidentLog()
        try:
            secret = secrets.token_urlsafe(32)
            egress = EgressProxy(judge or self._judge, incidents.on_trouble, secret=secret, listening=chromium.way_out)
            async with self._counted(egress), egress as proxy:
                pages = Pages(chromium.running, proxy, incidents, watched, headed=self._headed)
                yield pages
        finally:
            if pages:
                pages.forget()
            watch.stop()
            self._pages -= 1
            await chromium.end()
            if self._ahead:
                self._prepare()

    @asynccontextmanager
    async def _counted(self, proxy: EgressProxy) -> AsyncIterator[None]:
        """Its figures are among those of this browser from here on."""
        self._proxies.add(proxy)
        try:
            yield
        finally:
            self._proxies.discard(proxy)
            self._carried += proxy.carried
            self._turned_away += proxy.turned_away

    async def _take(self) -> _Chromium:
        """The Chromium that waits, or a new one. Cancelled: what was being started is left for the next run."""
        while True:
            self._prepare()
            starting, self._next = self._next, None
            assert starting is not None
            try:
                chromium = await asyncio.shield(starting)
            except asyncio.CancelledError:
                if self._next is None:
                    self._next = starting
                else:
                    starting.add_done_callback(self._not_needed)
                raise
            if chromium.lives():
                return chromium
            await chromium.end()

    def _prepare(self) -> None:
        """Starts the Chromium of the next run, unless one waits."""
        failed = self._next is not None and self._next.done() and self._next.exception() is not None
        if self._next is None or failed:
            self._next = asyncio.get_running_loop().create_task(self._launch(self.walls))

    def _not_needed(self, started: asyncio.Task[_Chromium]) -> None:
        if not started.cancelled() and started.exception() is None:
            self._ending = asyncio.get_running_loop().create_task(started.result().end())

    async def _first(self) -> _Chromium:
        """Starts Chromium behind the strongest walls that it starts behind, and keeps to these."""
        failure: BrowserMissing | None = None
        for walls in self.walls.attempts():
            try:
                chromium = await self._launch(walls)
            except BrowserMissing as error:
                if isinstance(error.__cause__, PlaywrightTimeoutError):
                    raise  # a slow machine is no reason to go without a wall
                failure = failure or error
                continue
            self.walls = walls._replace(own_network=chromium.way_out is not None)
            return chromium
        assert failure is not None
        raise failure

    async def _launch(self, walls: Walls) -> _Chromium:
        assert self._driver is not None and self._workshop is not None
        place = Place(self._workshop.path, walls.own_user)
        receiving = asyncio.ensure_future(asyncio.to_thread(place.receive))
        running: PlaywrightBrowser | None = None
        try:
            running = await self._driver.chromium.launch(
                executable_path=place.program(self._chromium, walls, self._limits),
                chromium_sandbox=walls.sandbox,
                headless=not self._headed,
                args=arguments(),
                ignore_default_args=unwanted(),
                env=place.environment(self._environment),
            )
            pid, way_out = await receiving
        except (PlaywrightError, OSError) as error:
            receiving.add_done_callback(retrieved)
            place.remove()
            if running is not None:
                await running.close()
            self._failure = f"no Chromium could be started: {first_line(str(error))}"
            raise BrowserMissing(
                "No Chromium could be started. Install one (on Debian: apt install chromium), or name it "
                f"in TESTCAST_AGENT_CHROMIUM. ({first_line(str(error))})"
            ) from error
        self.launches += 1
        self._failure = ""
        return _Chromium(running, place, processes.process(pid), way_out)


async def _ready(chromium: _Chromium) -> _Chromium:
    return chromium
