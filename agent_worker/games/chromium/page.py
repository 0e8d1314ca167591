"""One run's page in Chromium, through Playwright: opens an address, acts on the page and watches it.

No call waits for longer than its stated time, whatever the game does: a page whose script does not return raises
`PageHung`, one whose process is gone raises `PageGone`. browser.py starts the browsers.

Longer than 400 lines: all that touches one page of Playwright's stands here, for real time and for owned time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, CDPSession, Dialog, Frame
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page as PlaywrightPage
from playwright.async_api import Response as PlaywrightResponse

from agent_worker.games.actions import Action
from agent_worker.games.chromium.background import Background
from agent_worker.games.chromium.egress_proxy import TROUBLE_HEADER, EgressProxy
from agent_worker.games.chromium.emptying import leave
from agent_worker.games.chromium.gestures import LASTING, Gestures
from agent_worker.games.chromium.incidents import IncidentLog, first_line, first_lines, short_url
from agent_worker.games.chromium.loading import explain_failure, explain_status
from agent_worker.games.chromium.page_state import Incident, Loaded, PageState, merged
from agent_worker.games.chromium.patience import Watched, answered, while_it_lives
from agent_worker.games.chromium.program import SCREENCAST, WINDOW
from agent_worker.games.chromium.screencast import Screencast
from agent_worker.games.chromium.staying import Staying
from agent_worker.games.errors import DocumentLeft, LoadFailed, PageGone, PageHung

_PROBE: Final = Path(__file__).with_name("probe.js")

NAME: Final = "Player"
"""What the agent answers where a dialog asks for a text: games ask for a name. To all others it says yes."""
EMPTYING_S: Final = 10.0
"""For leaving a document, on a busy machine. A page that takes longer is closed."""
ARRIVAL_S: Final = 30.0
"""For a document that a page went to; what still loads then loads on."""
_LEFT: Final = ("navigated", "context was destroyed", "Cannot find", "Promise was collected")
"""In what Chromium says of a document that has gone."""

_ENDLESS: Final = ("media", "eventsource")
"""Kinds of requests that are not waited for: of sounds and films Chromium reads what it needs, and the clock waits."""

T = TypeVar("T")


@dataclass(slots=True)
class Page:
    """One run's page. Not to be used by two tasks at once."""

    _page: PlaywrightPage
    _cdp: CDPSession
    _proxy: EgressProxy
    _log: IncidentLog
    _watched: Watched
    _gestures: Gestures
    _staying: Staying
    deadline: float = math.inf
    """On the event loop's clock; no call waits for longer. Infinite at first."""
    emptied: int = 0
    """How often it was made as good as new."""
    _token: str = ""
    _farewell: Any = None  # what a document said of its clock when it was left
    _gone: str | None = None
    _forgotten: bool = False
    _download: str | None = None
    _marked: bool = False  # something has happened that another document would notice
    _leaving: bool = False
    _dialogs: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    _asked: set[object] = field(default_factory=set)  # requests under way
    _screencast: Screencast = field(default_factory=Screencast)
    _background: Background = field(default_factory=Background)

    @classmethod
    async def create(
        cls,
        context: BrowserContext,
        proxy: EgressProxy,
        incidents: IncidentLog,
        watched: Watched,
        scripts: Sequence[str] = (),
        *,
        touch: bool = False,
        token: str = "",
        headed: bool = False,
    ) -> Page:
        """Opens an empty page in `context`, whose requests go through `proxy`.

        Args:
            scripts: run in every frame before its own scripts.
            touch: it has a touch screen.
            token: of its clock, where one of `scripts` gives it its own time.
            headed: somebody looks at its window.
        """
        for script in scripts:
            await context.add_init_script(script)
        await context.add_init_script(path=_PROBE)
        page = await context.new_page()
        # Chromium without windows has the pointer enter a page's first document, if no script has run before it.
        await page.evaluate("0")
        cdp = await context.new_cdp_session(page)
        tree = await cdp.send("Page.getFrameTree")
        staying = Staying(cdp.send, str(tree["frameTree"]["frame"]["id"]), proxy.credentials, incidents)
        gestures = Gestures(page, cdp, touch=touch)
        self = cls(page, cdp, proxy, incidents, watched, gestures, staying, _token=token)
        if token:
            if not headed:
                window = await cdp.send("Browser.getWindowForTarget")
                await cdp.send("Browser.setWindowBounds", {"windowId": window["windowId"], "bounds": WINDOW})
            gestures.happen = lambda kind: self.clock(f"happen({kind!r})", kind)
            staying.kept = lambda: self._stays()
        self._listen(context)
        await self._gestures.connect()
        await staying.begin()
        await cdp.send("Runtime.enable")
        return self

    def _listen(self, context: BrowserContext) -> None:
        page, cdp, log = self._page, self._cdp, self._log
        # Lambdas throughout: Playwright sets attributes on a bound method's object, which slots forbid.
        cdp.on("Page.screencastFrame", lambda event: self._on_picture(event))
        cdp.on("Fetch.requestPaused", lambda event: self._background.start(self._staying.on_document(event)))
        cdp.on("Fetch.authRequired", lambda event: self._background.start(self._staying.on_question(event)))
        page.on("console", lambda message: log.console(message.type, message.text, message.location))
        cdp.on("Runtime.consoleAPICalled", lambda event: self._on_console(event))
        cdp.on("Runtime.exceptionThrown", lambda event: log.exception(event["exceptionDetails"]))
        page.on("request", lambda request: self._asked.add(request) if request.resource_type not in _ENDLESS else None)
        page.on("requestfinished", lambda request: self._asked.discard(request))
        page.on("requestfailed", lambda request: self._asked.discard(request))
        page.on("requestfailed", lambda request: log.request_failed(request.url, request.failure or "failed"))
        page.on("response", lambda each: log.response(each.url, each.status, TROUBLE_HEADER in each.headers))
        page.on("dialog", lambda dialog: self._background.start(self._on_dialog(dialog)))
        page.on("download", lambda download: self._on_download(download.suggested_filename))
        page.on("crash", lambda _: self._on_gone("the page's process crashed"))
        page.on("close", lambda _: self._on_gone("the page closed itself"))
        context.on("page", lambda other: self._background.start(self._on_popup(other)) if other is not page else None)

    async def browser_lives(self) -> bool:
        """Whether only this page is gone. Waits 0.3 s, since a browser that dies may lose its pages first."""
        browser = self._page.context.browser
        for _ in range(6):
            if browser is None or not browser.is_connected() or not self._watched.lives():
                return False
            await asyncio.sleep(0.05)
        return True

    @property
    def exceeded(self) -> str | None:
        """The limit for which the game was stopped, as the end of "The game was stopped: it …"; None if it was not."""
        return self._watched.exceeded()

    @property
    def gone(self) -> str | None:
        """Why the page is no more, such as that its process crashed; None: it is, whatever a call has raised."""
        return self._gone

    async def empty(self) -> bool:
        """Leaves the document for an empty one, as a new page has it: nothing of what was kept or held is left.

        Returns:
            False: it is to be closed. Something was done that the next document would notice, as by a window of another
            size, or it could not be left.
        """
        if self._gone or self._marked:
            return False
        self._staying.home, self._leaving = None, True
        try:
            async with asyncio.timeout(EMPTYING_S):
                await self._reply(leave(self._page, self._cdp), "leaving it")
                await self._gestures.release()
        except (PageHung, PageGone, PlaywrightError, TimeoutError):
            return False
        finally:
            self._leaving = False
        self._background.cancel()
        self._dialogs.clear()
        self._asked.clear()
        self._farewell = None
        self.emptied += 1
        return self._gone is None and not self._marked

    def forget(self) -> None:
        """Stops reacting to events, and cancels what is under way."""
        self._forgotten = True
        self._background.cancel()

    async def open(self, url: str, timeout_s: float, *, watched: bool = True) -> Loaded:
        """Goes to `url` and waits at most `timeout_s` until its document is read, and part of that for the rest.

        Args:
            watched: Chromium sends pictures of it from now on, for `watch`.

        Raises:
            LoadFailed: With the code and the message for it (loading.py).
            PageGone: It died meanwhile, or its browser did.
            PageHung: No pictures could be had of it.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        response = await self._go(url, timeout_s)
        if TROUBLE_HEADER in response.headers:
            raise explain_failure(url, None, self._log.trouble, timeout_s)
        if failure := explain_status(response.status, response.status_text, response.headers.get("content-type")):
            raise failure
        if watched:
            await self._start_pictures()
        # From here on the page is kept on its origin; redirects before this point belong to the address.
        self._staying.home = self._page.url
        try:
            async with asyncio.timeout_at(start + timeout_s):
                await self._loaded("domcontentloaded")
        except TimeoutError:
            raise LoadFailed(
                "load_timeout", f"The page began to load but was not complete after {timeout_s:g} s."
            ) from None
        finished = True
        try:
            patience_s = min(start + timeout_s - loop.time(), max(1.0, timeout_s / 3))
            async with asyncio.timeout(patience_s):
                await self._loaded("load")
        except TimeoutError:
            finished = False
        return Loaded(self._page.url, response.status, finished, loop.time() - start)

    async def _loaded(self, state: Literal["domcontentloaded", "load"]) -> None:
        try:
            await while_it_lives(self._page.wait_for_load_state(state, timeout=0), self._watched)
        except PlaywrightError as error:
            raise PageGone(self._gone or first_line(str(error))) from error

    async def _go(self, url: str, timeout_s: float) -> PlaywrightResponse:
        """Asks for the document, and returns when the head of its answer is here."""
        self._staying.home = self._download = None
        self._log.forget_troubles()
        carried = self._proxy.carried
        try:
            async with asyncio.timeout(timeout_s):
                going = self._page.goto(url, wait_until="commit", timeout=0)
                response = await while_it_lives(going, self._watched)
        except TimeoutError:
            connected = self._proxy.carried > carried
            raise explain_failure(url, None, self._log.trouble, timeout_s, connected) from None
        except PlaywrightError as error:
            if "Download is starting" in str(error) or self._download:
                name = f" ({self._download})" if self._download else ""
                raise LoadFailed("not_html", f"The address is a download{name}, not a page.") from None
            if self._gone or not await self.browser_lives():
                raise PageGone(self._gone or "its browser died") from error
            raise explain_failure(url, first_line(str(error)), self._log.trouble, timeout_s) from None
        if response is None:
            raise LoadFailed("game_unreachable", "The address led to no page.")
        return response

    @property
    def strayed(self) -> str | None:
        """Where the page is, if that is not the origin it was opened on; else None."""
        return self._page.url if self._staying.leaves(self._page.url) else None

    def incidents(self) -> list[Incident]:
        """What happened since the last call, oldest first."""
        return self._log.take()

    @property
    def newest(self) -> bytes | None:
        """The newest picture that the page has sent; None: none of this document yet. Does not wait."""
        return self._screencast.newest

    async def watch(self, seconds: float) -> list[bytes]:
        """Watches the page for a while: every picture that differed, 640 x 360 JPEG, oldest first.

        Never empty: where nothing moved, it is the newest picture alone.

        Raises:
            PageHung, PageGone, TimeUp: As do all methods below; see errors.py.
        """
        before = self._screencast.count
        await asyncio.sleep(seconds)
        if self._gone:
            raise PageGone(self._gone)
        return self._screencast.since(before) or [self._screencast.newest or await self.photograph()]

    async def _start_pictures(self) -> None:
        """Has pictures sent from now on. Asks again while the page moves to another renderer process."""
        self._marked = True
        self._screencast.clear()
        for _ in range(20):
            try:
                await self.devtools("Page.stopScreencast", {}, "beginning to show it")
                await self.devtools("Page.startScreencast", SCREENCAST, "beginning to show it")
                return
            except PageGone as error:
                if self._gone or "active page" not in str(error):
                    raise
            await asyncio.sleep(0.05)
        raise PageGone("it never became the active page")

    @property
    def viewport(self) -> tuple[int, int]:
        """Its width and height in pixels, before anything resized it."""
        return self._gestures.viewport

    async def photograph(self) -> bytes:
        """The viewport as it stands now, a JPEG."""
        form = {"format": "jpeg", "quality": 70}
        answer = await self.devtools("Page.captureScreenshot", form, "taking a picture")
        return base64.b64decode(answer["data"])

    async def state(self) -> PageState:
        """What the page's probe reports now; empty while the page changes to another document."""
        main, *rest = self._page.frames
        told = [await self._reply(_ask(main), "reading the page")]
        for frame in rest[:4]:
            with suppress(TimeoutError):  # a frame that does not answer is left out
                told.append(await asyncio.wait_for(_ask(frame), 5))
        return replace(merged([each for each in told if each]), dialogs=tuple(self._dialogs))

    async def begin(self, action: Action) -> None:
        """Does what `action` says, and holds its keys, button or finger until `end`."""
        self._marked = self._marked or action.kind in LASTING
        await self._reply(self._gestures.begin(action), f"{action.name} began")

    async def end(self, action: Action) -> None:
        """Releases what `begin` holds."""
        await self._reply(self._gestures.end(action), f"{action.name} ended")

    async def point(self, x: float, y: float) -> None:
        """Moves the pointer to a place in parts of the viewport."""
        await self._reply(self._gestures.point(x, y), "pointing")

    async def ask(self, expression: str, while_doing: str) -> Any:
        """The value of a JavaScript expression in the page, awaited if it is a promise."""
        return await self._reply(self._page.evaluate(expression), while_doing)

    async def devtools(self, method: str, asked: Mapping[str, Any], while_doing: str) -> dict[str, Any]:
        """What Chromium's DevTools protocol answers to one call."""
        return await self._reply(self._cdp.send(method, dict(asked)), while_doing)

    def on_devtools(self, event: str, heard: Callable[[dict[str, Any]], None]) -> None:
        """Has `heard` called with each event of that name."""
        self._cdp.on(event, heard)

    async def clock(self, call: str, while_doing: str) -> Any:
        """What a method of the page's clock (owned_time/clock/) answers, such as `advance(60,1,100)`, of any shape.

        Asks the page's document without Playwright, which is quicker, and leaves nothing in it.
        """
        asked = {"expression": f"__vt({self._token!r}).{call}", "awaitPromise": True, "returnByValue": True}
        self._farewell = None
        try:
            told = await self.devtools("Runtime.evaluate", asked, while_doing)
        except PageGone as error:
            if self._gone is None and any(each in str(error) for each in _LEFT):
                raise DocumentLeft(str(error)) from error
            raise
        if "__vt" in str(told.get("exceptionDetails")):
            raise DocumentLeft("the page has no clock yet")
        if "exceptionDetails" in told:
            raise PageGone(f"its clock failed: {first_line(str(told['exceptionDetails'].get('exception')))}")
        return told["result"].get("value")

    async def quiet(self, within_s: float) -> bool:
        """Waits until nothing loads, and says whether that came; modules that ask for modules cannot be waited for in
        the page. Some pages never stop."""
        last = asyncio.get_running_loop().time() + within_s
        while self._asked or not await self._at_rest():
            if asyncio.get_running_loop().time() > last:
                return False
            await asyncio.sleep(0.01)
        return True

    async def _at_rest(self) -> bool:
        await self.clock("hop()", "waiting for what it loads")
        return not self._asked

    @property
    def foreign(self) -> list[Frame]:
        """Frames of other origins than the page's, at most 8: each of these origins has a clock of its own."""
        here = urlsplit(self._page.url).netloc
        others = (each for each in self._page.frames[1:] if urlsplit(each.url).netloc not in ("", here))
        return list(islice(others, 8))

    async def foreign_clocks(self, call: str, while_doing: str) -> list[Any]:
        """What `clock` would answer in the frames of other origins; those that are gone or have none are left out."""
        clock, told = f"globalThis.__vt?.({self._token!r})", []
        for frame in self.foreign:
            with suppress(PageGone):
                told.append(
                    await self._reply(frame.evaluate(f"{clock}?.outermost ? {clock}.{call} : null"), while_doing)
                )
        return [each for each in told if each is not None]

    async def arrive(self) -> Any:
        """Waits for the document that the page went to; returns what `advance` would have answered before."""
        last = asyncio.get_running_loop().time() + ARRIVAL_S
        farewell, self._farewell = self._farewell, None
        asked = {
            "expression": "document.readyState === 'complete' && typeof __vt === 'function'",
            "returnByValue": True,
        }
        while asyncio.get_running_loop().time() < last:
            with suppress(*((PageGone,) if not self._gone else ())):
                told = await self.devtools("Runtime.evaluate", asked, "waiting for its next document")
                if told["result"].get("value") is True:
                    break
            await asyncio.sleep(0.02)
        return farewell

    def _on_console(self, event: dict[str, Any]) -> None:
        said = str(event["args"][0].get("value", "")) if event["args"] else ""
        if self._token and said.startswith(self._token):
            with suppress(ValueError):
                self._farewell = json.loads(said[len(self._token) :])

    def _stays(self) -> None:
        if self._token:  # the page does not get where it wants to go: its clock goes on
            self._background.start(self.clock("stay()", "keeping it on its page"))

    async def scroll_home(self) -> None:
        """Back to the top left corner of the page."""
        await self._reply(self._page.evaluate("window.scrollTo(0, 0)"), "scrolling")

    async def break_script(self) -> None:
        """Stops a script that does not return; gives up after 2 s."""
        with suppress(PlaywrightError, TimeoutError):
            await asyncio.wait_for(self._cdp.send("Runtime.terminateExecution"), 1)
            await asyncio.wait_for(self._page.evaluate("1"), 1)

    def _on_picture(self, event: dict[str, Any]) -> None:
        self._screencast.add(base64.b64decode(event["data"]))
        # The next one comes only after this: a busy worker gets fewer pictures, not a queue of them.
        self._background.start(self._cdp.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]}))

    async def _reply(self, asked: Awaitable[T], while_doing: str) -> T:
        if self._gone:
            if isinstance(asked, Coroutine):
                asked.close()
            raise PageGone(self._gone)
        try:
            return await answered(asked, self.deadline, self._watched, while_doing)
        except PlaywrightError as error:
            raise PageGone(self._gone or first_line(str(error))) from error
        except PageHung:
            self._marked = True
            raise

    async def _on_dialog(self, dialog: Dialog) -> None:
        if self._leaving:  # a page that asks whether it may be left
            await dialog.accept()
            return
        self._log.note("dialog", f"{dialog.type}: {first_lines(dialog.message)}")
        self._dialogs.append(first_lines(dialog.message))
        await dialog.accept(NAME if dialog.type == "prompt" else None)

    def _on_download(self, name: str) -> None:
        self._download, self._marked = name, True
        self._log.note("download", name)
        self._stays()

    async def _on_popup(self, other: PlaywrightPage) -> None:
        self._marked = True
        self._log.note("popup", short_url(other.url))
        await other.close()

    def _on_gone(self, why: str) -> None:
        if self._gone is None:
            self._gone = why
            if self.exceeded is None and not self._forgotten:  # else that is told
                self._log.note("crash", why)


async def _ask(frame: Frame) -> dict[str, Any] | None:
    try:
        reported: dict[str, Any] | None = await frame.evaluate("window.__testcast?.()")
    except PlaywrightError:
        if frame.page.is_closed():
            raise
        return None  # the frame's document went away while it was asked
    return reported
