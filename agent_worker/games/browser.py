"""The agent's hands and eyes: Chromium through Playwright. The only file that imports playwright.

A `Browser` is one Chromium process for the whole worker; a `Page` is one run's own context in it, behind a
gate of its own (gate.py). Whatever the game does, no call here waits for longer than its stated time: a page
whose script never returns raises `PageHung`, one whose process is gone raises `PageGone`.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import BrowserContext, CDPSession, ConsoleMessage, Dialog, Frame, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page as PlaywrightPage
from playwright.async_api import Request as PlaywrightRequest
from playwright.async_api import Response as PlaywrightResponse

from agent_worker.errors import BrowserMissing, LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games.actions import Action
from agent_worker.games.egress_proxy import TROUBLE_HEADER, Gate, Judge, Trouble, judge_public
from agent_worker.games.loading import explain_failure, explain_status, origin
from agent_worker.games.page_state import Facts, Incident, Loaded, merged

VIEWPORT: Final = (1280, 720)
"""16:9 like the dashboard's card; games made for desktops fit."""
REPLY_TIMEOUT_S: Final = 3.0
"""A page that has not answered for this long hangs: its own script has not returned in all that time."""
CLOSE_TIMEOUT_S: Final = 1.5
"""A cancelled run must be gone within 2 s."""
MAX_INCIDENTS: Final = 500

_PROBE: Final = Path(__file__).with_name("probe.js")
_FLAGS: Final = (
    "--disable-quic",  # QUIC would go round the gate
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",  # and so would WebRTC
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever else tries to: no name is found
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--mute-audio",
    "--no-first-run",
    "--deny-permission-prompts",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SCREENCAST: Final = {"format": "jpeg", "quality": 70, "maxWidth": 640, "maxHeight": 360, "everyNthFrame": 3}
"""At most 20 pictures a second, and none while nothing moves; scaled by the compositor, which costs least."""
_CANDIDATES: Final = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser")

T = TypeVar("T")


def find_chromium(given: str | None = None) -> str | None:
    """The browser to start: `given`, else an installed Chrome or Chromium, else None for Playwright's own.

    Raises:
        BrowserMissing: `given` is not a file that can be run.
    """
    if given:
        if not os.access(given, os.X_OK):
            raise BrowserMissing(f"TESTCAST_AGENT_CHROMIUM is {given!r}, which is not a program.")
        return given
    return next((found for name in _CANDIDATES if (found := shutil.which(name))), None)


class Browser:
    """One Chromium, alive inside `async with`; started anew when it has died.

    Args:
        executable: As for `find_chromium`.
        judge: Which addresses pages may reach (gate.py).
    """

    def __init__(self, executable: str | None = None, judge: Judge = judge_public) -> None:
        self._executable = executable
        self._judge = judge
        self._driver: Playwright | None = None
        self._chromium: PlaywrightBrowser | None = None
        self._starting = asyncio.Lock()
        self.launches = 0
        """How often Chromium was started; 0 before `async with`."""

    def __repr__(self) -> str:
        running = self._chromium is not None and self._chromium.is_connected()
        contexts = len(self._chromium.contexts) if self._chromium and running else 0
        return f"<Browser {'running' if running else 'stopped'} pages={contexts} launches={self.launches}>"

    async def __aenter__(self) -> Self:
        self._driver = await async_playwright().start()
        try:
            await self._running()
        except BaseException:
            await self._driver.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._chromium:
            with suppress(PlaywrightError, TimeoutError):
                await asyncio.wait_for(self._chromium.close(), 5)
        if self._driver:
            await self._driver.stop()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A fresh page with nothing stored, in a context of its own; closed within 2 s on leaving.

        Raises:
            BrowserMissing: Chromium could not be started (again).
            PageGone: It died just now; another try starts it anew.
        """
        chromium = await self._running()
        page: Page | None = None
        troubles: deque[Trouble] = deque(maxlen=100)
        async with Gate(self._judge, troubles.append) as gate:
            try:
                context = await chromium.new_context(
                    viewport={"width": VIEWPORT[0], "height": VIEWPORT[1]},
                    proxy={"server": gate.url, "bypass": "<-loopback>"},
                    accept_downloads=False,
                    locale="en-US",
                )
            except PlaywrightError as error:
                raise PageGone(_short(str(error))) from error
            try:
                try:
                    page = await Page.create(context, gate, troubles)
                except PlaywrightError as error:
                    raise PageGone(_short(str(error))) from error
                yield page
            finally:
                if page:
                    page.forget()
                with suppress(PlaywrightError, TimeoutError):
                    await asyncio.wait_for(context.close(), CLOSE_TIMEOUT_S)

    async def _running(self) -> PlaywrightBrowser:
        assert self._driver is not None
        async with self._starting:
            if self._chromium is None or not self._chromium.is_connected():
                sandbox = [] if hasattr(os, "geteuid") and os.geteuid() else ["--no-sandbox"]
                try:
                    self._chromium = await self._driver.chromium.launch(
                        executable_path=find_chromium(self._executable), args=[*_FLAGS, *sandbox]
                    )
                except PlaywrightError as error:
                    raise BrowserMissing(
                        "No Chromium could be started. Install one (on Debian: apt install chromium), or name it "
                        f"in TESTCAST_AGENT_CHROMIUM. ({_short(str(error))})"
                    ) from error
                self.launches += 1
            return self._chromium


@dataclass(slots=True)
class Page:
    """One run's page. Not to be used by two tasks at once."""

    _page: PlaywrightPage
    _cdp: CDPSession
    _gate: Gate
    _troubles: deque[Trouble]
    deadline: float = math.inf
    """On the event loop's clock; nothing waits for longer. Infinite at first."""
    _incidents: deque[Incident] = field(default_factory=lambda: deque(maxlen=MAX_INCIDENTS))
    _home: str | None = None
    _frame_id: str = ""
    _gone: str | None = None
    _download: str | None = None
    _latest: deque[bytes] = field(default_factory=lambda: deque(maxlen=90))
    _pictures: int = 0
    _jobs: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    async def create(cls, context: BrowserContext, gate: Gate, troubles: deque[Trouble]) -> Page:
        await context.add_init_script(path=_PROBE)
        page = await context.new_page()
        cdp = await context.new_cdp_session(page)
        self = cls(page, cdp, gate, troubles)
        tree = await cdp.send("Page.getFrameTree")
        self._frame_id = str(tree["frameTree"]["frame"]["id"])
        # Lambdas throughout: Playwright sets attributes on a bound method's object, which slots forbid.
        cdp.on("Page.screencastFrame", lambda event: self._on_picture(event))
        cdp.on("Fetch.requestPaused", lambda event: self._start(self._on_document(event)))
        # Every document asked for is looked at before it is: that is how a game is kept from leaving.
        await cdp.send("Fetch.enable", {"patterns": [{"resourceType": "Document", "requestStage": "Request"}]})
        page.on("console", lambda message: self._on_console(message))
        page.on("pageerror", lambda error: self._note("pageerror", _first_lines(f"{error.name}: {error.message}")))
        page.on("requestfailed", lambda request: self._on_request_failed(request))
        page.on("response", lambda response: self._on_response(response))
        page.on("dialog", lambda dialog: self._start(self._on_dialog(dialog)))
        page.on("download", lambda download: self._on_download(download.suggested_filename))
        page.on("crash", lambda _: self._on_gone("the page's process crashed"))
        page.on("close", lambda _: self._on_gone("the page closed itself"))
        context.on("page", lambda other: self._start(self._on_popup(other)) if other is not page else None)
        return self

    async def browser_lives(self) -> bool:
        """Whether only this page is gone; a browser that dies takes a moment to be known as dead."""
        browser = self._page.context.browser
        for _ in range(6):
            if browser is None or not browser.is_connected():
                return False
            await asyncio.sleep(0.05)
        return True

    def forget(self) -> None:
        """Stops reacting; what is under way is given up."""
        for job in self._jobs:
            job.cancel()

    async def open(self, url: str, timeout_s: float) -> Loaded:
        """Goes to `url` and waits until its document is read, at most `timeout_s`; then a little for the rest.

        Raises:
            LoadFailed: With the code and the words for it (loading.py).
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        self._home, self._download = None, None
        self._troubles.clear()
        carried = self._gate.carried
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._page.goto(url, wait_until="commit", timeout=0)
        except TimeoutError:
            raise explain_failure(url, None, self._trouble(), timeout_s, self._gate.carried > carried) from None
        except PlaywrightError as error:
            if "Download is starting" in str(error) or self._download:
                name = f" ({self._download})" if self._download else ""
                raise LoadFailed("not_html", f"The address is a download{name}, not a page.") from None
            raise explain_failure(url, _short(str(error)), self._trouble(), timeout_s) from None
        if response is None:
            raise LoadFailed("game_unreachable", "The address led to no page.")
        if TROUBLE_HEADER in response.headers:
            raise explain_failure(url, None, self._trouble(), timeout_s)
        if failure := explain_status(response.status, response.status_text, response.headers.get("content-type")):
            raise failure
        await self._start_pictures()
        # From here on the page is kept where it is; redirects before were the address's own business.
        self._home = self._page.url
        try:
            async with asyncio.timeout_at(start + timeout_s):
                await self._page.wait_for_load_state("domcontentloaded", timeout=0)
        except TimeoutError:
            raise LoadFailed(
                "load_timeout", f"The page began to load but was not complete after {timeout_s:g} s."
            ) from None
        finished = True
        try:
            patience_s = min(start + timeout_s - loop.time(), max(1.0, timeout_s / 3))
            async with asyncio.timeout(patience_s):
                await self._page.wait_for_load_state("load", timeout=0)
        except TimeoutError:
            finished = False
        return Loaded(self._page.url, response.status, finished, loop.time() - start)

    @property
    def strayed(self) -> str | None:
        """Where the page is, if that is not the origin it was opened on; else None."""
        here = self._page.url
        return here if self._home and origin(here) != origin(self._home) else None

    def incidents(self) -> list[Incident]:
        """What happened since the last call, oldest first."""
        while self._troubles:
            trouble = self._troubles.popleft()
            kind = "refused" if trouble.code == "url_refused" else "request"
            self._incidents.append(Incident(kind, f"{trouble.host}:{trouble.port}: {trouble.message}"))
        found = list(self._incidents)
        self._incidents.clear()
        return found

    async def watch(self, seconds: float) -> list[bytes]:
        """Watches the page for a while: every picture that differed, 640 x 360 JPEG, oldest first.

        Never empty: where nothing moved it is the newest picture alone.

        Raises:
            PageHung, PageGone, TimeUp: So do all methods from here on; see errors.py.
        """
        before = self._pictures
        await asyncio.sleep(seconds)
        if self._gone:
            raise PageGone(self._gone)
        fresh = min(self._pictures - before, len(self._latest))
        if fresh:
            return list(self._latest)[-fresh:]
        return [self._latest[-1] if self._latest else await self._photograph()]

    async def _start_pictures(self) -> None:
        """Has pictures sent from now on. The process that shows the page may just be taking it over: asked again."""
        self._latest.clear()
        for _ in range(20):
            try:
                await asyncio.wait_for(self._cdp.send("Page.stopScreencast"), REPLY_TIMEOUT_S)
                await asyncio.wait_for(self._cdp.send("Page.startScreencast", _SCREENCAST), REPLY_TIMEOUT_S)
                return
            except PlaywrightError as error:
                if "active page" not in str(error):
                    raise PageGone(self._gone or _short(str(error))) from error
            except TimeoutError:
                raise PageHung(REPLY_TIMEOUT_S, "beginning to show it") from None
            await asyncio.sleep(0.05)
        raise PageGone("it never became the active page")

    async def _photograph(self) -> bytes:
        answer = await self._reply(
            self._cdp.send("Page.captureScreenshot", {"format": "jpeg", "quality": 70}), "taking a picture"
        )
        return base64.b64decode(answer["data"])

    async def facts(self) -> Facts:
        """What the page says of itself now; empty while it changes to another document."""
        main, *rest = self._page.frames
        told = [await self._reply(_ask(main), "reading the page")]
        for frame in rest[:4]:
            with suppress(TimeoutError):  # a frame that does not answer is left out
                told.append(await asyncio.wait_for(_ask(frame), 0.5))
        return merged([each for each in told if each])

    async def begin(self, action: Action) -> None:
        """Presses, points or strokes as `action` says, and holds it until `end`."""
        keyboard, mouse = self._page.keyboard, self._page.mouse
        x, y = action.x * VIEWPORT[0], action.y * VIEWPORT[1]
        for key in action.keys:
            await self._reply(keyboard.down(key), f"pressing {key}")
        if action.kind in ("click", "drag", "move"):
            await self._reply(mouse.move(x, y, steps=3 if action.kind == "move" else 1), "moving the pointer")
        if action.kind in ("click", "drag"):
            await self._reply(mouse.down(), "clicking")
        if action.kind == "drag":
            to_x, to_y = action.to_x * VIEWPORT[0], action.to_y * VIEWPORT[1]
            await self._reply(mouse.move(to_x, to_y, steps=5), "dragging")

    async def end(self, action: Action) -> None:
        """Lets go of what `begin` holds."""
        for key in reversed(action.keys):
            await self._reply(self._page.keyboard.up(key), f"letting go of {key}")
        if action.kind in ("click", "drag"):
            await self._reply(self._page.mouse.up(), "letting go")

    async def scroll_home(self) -> None:
        """Back to the top left corner of the page."""
        await self._reply(self._page.evaluate("window.scrollTo(0, 0)"), "scrolling")

    async def break_script(self) -> bool:
        """Stops a script that never returns. Whether the page answers again."""
        with suppress(PlaywrightError, TimeoutError):
            await asyncio.wait_for(self._cdp.send("Runtime.terminateExecution"), 1)
            await asyncio.wait_for(self._page.evaluate("1"), 1)
            return True
        return False

    def _on_picture(self, event: dict[str, Any]) -> None:
        self._latest.append(base64.b64decode(event["data"]))
        self._pictures += 1
        # The next one comes only after this: a busy worker gets fewer pictures, not a queue of them.
        self._start(self._send("Page.screencastFrameAck", {"sessionId": event["sessionId"]}))

    async def _send(self, method: str, params: dict[str, Any]) -> None:
        await self._cdp.send(method, params)

    async def _reply(self, asked: Awaitable[T], while_doing: str) -> T:
        if self._gone:
            if isinstance(asked, Coroutine):
                asked.close()
            raise PageGone(self._gone)
        left_s = self.deadline - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(asked, max(0.0, min(REPLY_TIMEOUT_S, left_s)))
        except TimeoutError:
            if left_s < REPLY_TIMEOUT_S:
                raise TimeUp from None
            raise PageHung(REPLY_TIMEOUT_S, while_doing) from None
        except PlaywrightError as error:
            raise PageGone(self._gone or _short(str(error))) from error

    def _trouble(self) -> Trouble | None:
        return self._troubles[-1] if self._troubles else None

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled():
            task.exception()  # a page that went away in the middle: `_gone` says so where it matters

    def _note(self, kind: str, detail: str) -> None:
        self._incidents.append(Incident(kind, detail[:400]))

    def _on_console(self, message: ConsoleMessage) -> None:
        # What Chromium itself says of a failed request comes as an event of its own, with the reason.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self._note("console", _first_lines(message.text))

    def _on_request_failed(self, request: PlaywrightRequest) -> None:
        why = request.failure or "failed"
        # ERR_ABORTED is the page's own change of mind; a tunnel that failed is told by the gate.
        if "ERR_ABORTED" not in why and "ERR_TUNNEL" not in why and "ERR_BLOCKED_BY_CLIENT" not in why:
            self._note("request", f"{_short_url(request.url)}: {why}")

    def _on_response(self, response: PlaywrightResponse) -> None:
        told = response.status < 400 or TROUBLE_HEADER in response.headers
        if not told and not response.url.endswith("/favicon.ico"):
            self._note("request", f"{_short_url(response.url)}: HTTP {response.status}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self._note("dialog", f"{dialog.type}: {_first_lines(dialog.message)}")
        await dialog.dismiss()

    def _on_download(self, name: str) -> None:
        self._download = name
        self._note("download", name)

    async def _on_popup(self, other: PlaywrightPage) -> None:
        self._note("popup", _short_url(other.url))
        await other.close()

    def _on_gone(self, why: str) -> None:
        if self._gone is None:
            self._gone = why
            self._note("crash", why)

    async def _on_document(self, event: dict[str, Any]) -> None:
        url = str(event["request"]["url"])
        leaves = event["frameId"] == self._frame_id and self._home and origin(url) != origin(self._home)
        if leaves:
            self._note("left", _short_url(url))
            reason = {"requestId": event["requestId"], "errorReason": "Aborted"}
            await self._cdp.send("Fetch.failRequest", reason)
        else:
            await self._cdp.send("Fetch.continueRequest", {"requestId": event["requestId"]})


async def _ask(frame: Frame) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] | None = await frame.evaluate("window.__testcast?.()")
    except PlaywrightError:
        if frame.page.is_closed():
            raise
        return None  # the frame's document went away while it was asked
    return told


def _first_lines(text: str) -> str:
    return " ".join(text.strip().splitlines()[:2])[:300]


def _short(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "no reason given"


def _short_url(url: str) -> str:
    return url if len(url) <= 160 else url[:157] + "..."
