"""The pages of one run: opened one after another, the same one as often as it can be made as good as new."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import BrowserContext
from playwright.async_api import Error as PlaywrightError

from agent_worker.games.chromium.background import retrieved
from agent_worker.games.chromium.egress_proxy import EgressProxy
from agent_worker.games.chromium.incidents import IncidentLog, first_line
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.patience import Watched, while_it_lives
from agent_worker.games.errors import PageGone
from agent_worker.games.screen import DESKTOP, Screen


class Wanted(NamedTuple):
    """What a page has to be like."""

    scripts: tuple[str, ...] = ()
    """Run in every frame before its own."""
    token: str = ""
    """Of its clock, where one of `scripts` gives it its own time."""
    screen: Screen = DESKTOP


EMPTY: Final = Wanted()
MOST_USES: Final = 40
"""Of one page, so that what a process gathers comes to an end."""


class _Open(NamedTuple):
    wanted: Wanted
    context: BrowserContext
    page: Page


class Pages:
    """Opens the pages of one run, one after another, in the run's Chromium. Each begins as a new one would.

    Args:
        headed: Somebody looks at their windows.
    """

    def __init__(
        self,
        running: PlaywrightBrowser,
        proxy: EgressProxy,
        incidents: IncidentLog,
        watched: Watched,
        *,
        headed: bool = False,
    ) -> None:
        self._running = running
        self._headed = headed
        self._proxy = proxy
        self._incidents = incidents
        self._watched = watched
        self._open: _Open | None = None
        self._again = False
        """The page that is open may be used again."""
        self._ahead: tuple[Wanted, asyncio.Task[_Open]] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def fresh(self, wanted: Wanted = EMPTY, *, new: bool = False) -> Page:
        """An empty page, in place of the one that was open: the same one, or the one that was prepared, where that is
        what is wanted. What earlier pages have not told yet is dropped.

        Args:
            new: It was not used before and will not be again, since what its process has seen before would count.

        Raises:
            PageGone: The browser died.
        """
        with _gone():
            if self._open is None or new or not await self._is_as_new(self._open, wanted):
                await self.close()
                self._open = await self._prepared(wanted) or await self._made(wanted)
                self._again = not new
        self._incidents.take()
        return self._open.page

    async def _is_as_new(self, opened: _Open, wanted: Wanted) -> bool:
        fits = self._again and opened.wanted == wanted and opened.page.emptied + 1 < MOST_USES
        return fits and await opened.page.empty()

    def prepare(self, wanted: Wanted) -> None:
        """Begins to make the page that is probably wanted next, which takes longer than most games take to load."""
        if self._ahead is not None and self._ahead[0] == wanted:
            return
        loop, before = asyncio.get_running_loop(), self._ahead
        self._ahead = wanted, loop.create_task(self._made(wanted))
        self._ahead[1].add_done_callback(retrieved)
        if before is not None:
            closing = loop.create_task(self._closed(before[1]))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            closing.add_done_callback(retrieved)

    async def _prepared(self, wanted: Wanted) -> _Open | None:
        if self._ahead is None or self._ahead[0] != wanted:
            return None
        (_, making), self._ahead = self._ahead, None
        try:
            made = await making
        except (PlaywrightError, PageGone):
            return None
        if made.page.gone is None:
            return made
        await self._closed(making)
        return None

    async def _made(self, wanted: Wanted) -> _Open:
        return await while_it_lives(self._make(wanted), self._watched)

    async def _make(self, wanted: Wanted) -> _Open:
        width, height = wanted.screen.viewport
        context = await self._running.new_context(
            viewport={"width": width, "height": height},
            has_touch=wanted.screen.touch,
            is_mobile=wanted.screen.touch,
            proxy={"server": self._proxy.url, "bypass": "<-loopback>"},
            accept_downloads=False,
            locale="en-US",
        )
        page = await Page.create(
            context,
            self._proxy,
            self._incidents,
            self._watched,
            wanted.scripts,
            touch=wanted.screen.touch,
            token=wanted.token,
            headed=self._headed,
        )
        return _Open(wanted, context, page)

    async def _closed(self, making: asyncio.Task[_Open]) -> None:
        """Closes a page that is being made, once it is."""
        with suppress(PlaywrightError, PageGone):
            made = await making
            made.page.forget()
            await while_it_lives(made.context.close(), self._watched)

    async def close(self) -> None:
        """Closes the page that is open, if one is."""
        if self._open is not None:
            opened, self._open = self._open, None
            opened.page.forget()
            await while_it_lives(opened.context.close(), self._watched)

    def forget(self) -> None:
        """Stops reacting to what the open page does, and to make another one."""
        for closing in self._closing:
            closing.cancel()
        if self._ahead is not None:
            self._ahead[1].cancel()
        if self._open is not None:
            self._open.page.forget()


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except PlaywrightError as error:
        raise PageGone(first_line(str(error))) from error
