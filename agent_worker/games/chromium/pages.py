"""The pages of one run: opened one after another, the next one made while the last one is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import BrowserContext
from playwright.async_api import Error as PlaywrightError

from agent_worker.games.chromium.background import retrieved
from agent_worker.games.chromium.egress_proxy import EgressProxy
from agent_worker.games.chromium.incidents import IncidentLog, first_line
from agent_worker.games.chromium.page import Page
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


class Pages:
    """Opens the pages of one run, one after another, in the run's Chromium. Each begins without storage.

    Args:
        headed: Somebody looks at their windows.
    """

    def __init__(
        self,
        running: PlaywrightBrowser,
        proxy: EgressProxy,
        incidents: IncidentLog,
        exceeded: Callable[[], str | None],
        spent: Callable[[], Mapping[int, float]],
        *,
        headed: bool = False,
    ) -> None:
        self._running = running
        self._headed = headed
        self._proxy = proxy
        self._incidents = incidents
        self._exceeded = exceeded
        self._spent = spent
        self._open: tuple[BrowserContext, Page] | None = None
        self._ahead: tuple[Wanted, asyncio.Task[tuple[BrowserContext, Page]]] | None = None

    async def fresh(self, wanted: Wanted = EMPTY) -> Page:
        """An empty page, in place of the one that was open: the one that was prepared, where it is what is wanted.

        Raises:
            PageGone: The browser died.
        """
        with _gone():
            await self.close()
            self._open = await self._prepared(wanted) or await self._made(wanted)
        return self._open[1]

    def prepare(self, wanted: Wanted) -> None:
        """Begins to make the page that is probably wanted next, which takes longer than most games take to load."""
        if self._ahead is None:
            self._ahead = wanted, asyncio.get_running_loop().create_task(self._made(wanted))
            self._ahead[1].add_done_callback(retrieved)

    async def _prepared(self, wanted: Wanted) -> tuple[BrowserContext, Page] | None:
        if self._ahead is None:
            return None
        (asked, making), self._ahead = self._ahead, None
        try:
            context, page = await making
        except PlaywrightError:
            return None
        if asked == wanted and page.gone is None:
            return context, page
        page.forget()
        await context.close()
        return None

    async def _made(self, wanted: Wanted) -> tuple[BrowserContext, Page]:
        width, height = wanted.screen.viewport
        context = await self._running.new_context(
            viewport={"width": width, "height": height},
            has_touch=wanted.screen.touch,
            is_mobile=wanted.screen.touch,
            proxy={"server": self._proxy.url, "bypass": "<-loopback>"},
            accept_downloads=False,
            locale="en-US",
        )
        watched = self._exceeded, self._spent
        page = await Page.create(
            context,
            self._proxy,
            self._incidents,
            watched,
            wanted.scripts,
            touch=wanted.screen.touch,
            token=wanted.token,
            headed=self._headed,
        )
        return context, page

    async def close(self) -> None:
        """Closes the page that is open, if one is."""
        if self._open is not None:
            (context, page), self._open = self._open, None
            page.forget()
            await context.close()

    def forget(self) -> None:
        """Stops reacting to what the open page does, and to make another one."""
        if self._ahead is not None:
            self._ahead[1].cancel()
        if self._open is not None:
            self._open[1].forget()


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except PlaywrightError as error:
        raise PageGone(first_line(str(error))) from error
