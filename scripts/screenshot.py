"""Takes a screenshot of each state of the dashboard, with a real stack and real agents. Run by `make screenshot`.

It writes docs/<state>.png. It takes about four minutes, because the agents play real games.
"""

import asyncio
import io
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from PIL import Image
from playwright.async_api import Page, ViewportSize, WebSocketRoute, async_playwright

from agent_worker.games.chromium.browser import find_chromium
from testcast.local.stack import Stack, free_port

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs"
SIZE: ViewportSize = {"width": 1180, "height": 820}
PHONE: ViewportSize = {"width": 380, "height": 780}
MAX_BYTES: Final = 150_000
DEADLINE_S = 180.0
SETTLED_MS = 3000


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits for a condition, and exits when it does not hold within `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        if time.monotonic() > deadline:
            sys.exit(f"screenshot: gave up after {DEADLINE_S:g} s: {what}")
        await asyncio.sleep(0.2)


async def submit(http: httpx.AsyncClient, url: str, title: str, budget_s: int, commit: str = "") -> str:
    """Submits a game and returns the test id."""
    job: dict[str, Any] = {"gameUrl": url, "title": title, "budgetSeconds": budget_s}
    if commit:
        job["labels"] = {"commit": commit}
    answer = await http.post("/rpc/submitTest", json=job)
    answer.raise_for_status()
    return str(answer.json()["testId"])


def palette(full: Image.Image, colours: int) -> Image.Image:
    """The image with fewer colours: one half for the frequent ones (the games), one for the rare ones (badges)."""
    chosen: list[int] = []
    for method in (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE):
        chosen += (full.quantize(colours // 2, method).getpalette() or [])[: colours // 2 * 3]
    both = Image.new("P", (1, 1))
    both.putpalette(chosen)
    return full.quantize(palette=both, dither=Image.Dither.NONE)


class Camera:
    """A browser page whose WebSockets can be cut."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._sockets: list[WebSocketRoute] = []
        self._cut = False

    async def attach(self) -> None:
        """Must be called before the page is loaded."""
        await self.page.route_web_socket("**/ws", self._on_socket)

    async def _on_socket(self, socket: WebSocketRoute) -> None:
        if self._cut:
            await socket.close(code=1011, reason="cut for the screenshot")
        else:
            socket.connect_to_server()
            self._sockets.append(socket)

    async def cut(self) -> None:
        """Closes every socket, and every new one."""
        self._cut = True
        for socket in self._sockets:
            await socket.close(code=1011, reason="cut for the screenshot")

    async def connection_status(self, text: str) -> None:
        """Waits until the connection status shows `text`."""
        await self.page.locator("#connection", has_text=text).wait_for(timeout=DEADLINE_S * 1000)

    async def goes_to(self, address: str) -> bool:
        """Goes there. False, and a line that says so, where this version has no such page."""
        answer = await self.page.goto(address)
        if answer is not None and answer.ok:
            return True
        print(f"{address}: there is no such page")  # noqa: T201
        return False

    async def take(self, name: str) -> None:
        """Writes docs/<name>.png, with as many colours as `MAX_BYTES` allow."""
        await self.page.evaluate("document.fonts.ready")
        full = Image.open(io.BytesIO(await self.page.screenshot(animations="disabled"))).convert("RGB")
        for colours in (256, 128, 64, 32):
            packed = io.BytesIO()
            palette(full, colours).save(packed, "PNG", optimize=True)
            if packed.tell() <= MAX_BYTES:
                break
        (OUT / f"{name}.png").write_bytes(packed.getvalue())
        print(f"docs/{name}.png {packed.tell() / 1000:.0f} kB, {colours} colours")  # noqa: T201


async def photograph(
    http: httpx.AsyncClient, camera: Camera, edge: str, game: str, start_agent: Callable[[int], object]
) -> None:
    """Has the runs played and takes the screenshots. An agent plays two runs at once: the wall has a second agent."""
    page = camera.page

    async def test(test_id: str) -> dict[str, Any]:
        return dict((await http.get(f"/rpc/getTest?testId={test_id}")).json()["test"])

    await page.goto(edge)
    await page.get_by_text("No tests yet").wait_for()
    await page.get_by_role("button", name="Test the demo game").wait_for()
    await camera.connection_status("Live")
    await camera.take("empty")

    finished = [
        await submit(http, game, "Star Hopper, build 39", 15, "4f1c2aa"),
        await submit(http, game, "Star Hopper, build 40", 30, "9be07d1"),
        await submit(http, f"{game}?bug=crash", "Star Hopper, build 41", 20, "a7712fe"),
    ]

    async def all_finished() -> bool:
        return all([(await test(test_id))["status"] in ("completed", "failed") for test_id in finished])

    await until(all_finished, "the first runs have ended")
    finished.append(await submit(http, f"http://127.0.0.1:{free_port()}/", "Tile Storm", 20))
    await until(all_finished, "the unreachable game is reported")
    running = await submit(http, game, "Star Hopper, build 42", 600, "c03d5e8")  # longer than all the pictures take
    await submit(http, f"{game}?bug=freeze", "Star Hopper, nightly", 90)
    await submit(http, game, "Moon Lander", 60)

    async def exploring() -> bool:
        return (await test(running)).get("phase") in ("phase3", "phase4")

    await until(exploring, "a run is exploring")
    await photograph_list(camera, running)
    await photograph_views(camera, edge, running)
    await photograph_runs(camera, edge, running, completed=finished[1], failed=finished[3])
    await photograph_a_moment(camera, edge, running)
    start_agent(2)
    for title in ("Comet Run", "Orbit", "Star Hopper, touch"):
        await submit(http, game, title, 120)
    await photograph_the_wall(camera, edge)
    await photograph_history(camera, edge, game, finished[1], finished[2])
    await page.goto(edge)
    await camera.connection_status("Live")
    await page.locator(f'[data-test-id="{finished[1]}"] .screen img').wait_for(state="visible")
    await photograph_an_outage(camera)


async def photograph_list(camera: Camera, running: str) -> None:
    """Takes the screenshots of the list: light, dark, with an open feed, and on a phone."""
    page = camera.page
    await page.locator(f'[data-test-id="{running}"] .screen img').wait_for(state="visible")
    await camera.connection_status("Live")
    await camera.take("dashboard")
    await page.emulate_media(color_scheme="dark")
    await camera.take("dark")
    await page.emulate_media(color_scheme="light")
    card = page.locator(f'[data-test-id="{running}"]')
    await card.get_by_role("button", name="Live Feed").click()
    await card.locator(".line-action").first.wait_for()
    await page.evaluate("scrollTo(0, 0)")
    await camera.take("feed")
    await card.get_by_role("button", name="Live Feed").click()
    await page.set_viewport_size(PHONE)
    await camera.take("phone")
    await page.set_viewport_size(SIZE)


async def photograph_views(camera: Camera, edge: str, running: str) -> None:
    """Takes the screenshots of the table, of the cards by game, and of the agents."""
    page = camera.page
    await page.goto(f"{edge}/?view=table")
    await page.locator(f'.row[data-test-id="{running}"]').wait_for()
    await camera.connection_status("Live")
    await camera.take("table")
    await page.goto(f"{edge}/?group=game")
    await page.locator(f'[data-test-id="{running}"] .screen img').wait_for(state="visible")
    await camera.take("by-game")
    await page.goto(edge)
    await page.locator(f'[data-test-id="{running}"] .screen img').wait_for(state="visible")
    await page.wait_for_timeout(SETTLED_MS)  # the pictures of the other cards
    await page.locator("#agents").click()
    await page.get_by_role("dialog", name="Agents").get_by_text("Busy with").first.wait_for()
    await camera.take("agents")


async def photograph_a_moment(camera: Camera, edge: str, running: str) -> None:
    """Takes the screenshot of a run at a moment before now."""
    page = camera.page
    await page.goto(f"{edge}/tests/{running}")
    await page.locator(".line-action").first.wait_for()
    if await page.locator(".recorder-live").count() == 0:
        return
    lines = page.locator(".line-action .line-text")
    await lines.nth(3).wait_for()
    await lines.nth(await lines.count() // 2).click()
    await page.locator('.recorder-live[aria-pressed="false"]').wait_for()
    await page.locator(".screen img").first.wait_for(state="visible")
    await page.wait_for_timeout(SETTLED_MS)  # the thumbnails
    await camera.take("moment")


async def photograph_the_wall(camera: Camera, edge: str) -> None:
    """Takes the screenshot of the wall, with several tests that run."""
    page = camera.page
    if not await camera.goes_to(f"{edge}/wall"):
        return
    await page.locator(".tile").nth(3).wait_for()
    await page.wait_for_timeout(3 * SETTLED_MS)  # the pictures of games that have just begun
    await camera.take("wall")


async def photograph_history(camera: Camera, edge: str, game: str, first: str, second: str) -> None:
    """Takes the screenshots of a game's history, and of two runs side by side."""
    page = camera.page
    if await camera.goes_to(f"{edge}/games?{urlencode({'url': game})}"):
        await page.locator(".past-runs tbody tr").first.wait_for()
        await camera.connection_status("Live")
        await camera.take("history")
    if await camera.goes_to(f"{edge}/compare?a={first}&b={second}"):
        await page.locator(".side .screen img").last.wait_for(state="visible")
        await camera.take("compare")


async def photograph_runs(camera: Camera, edge: str, running: str, **ended: str) -> None:
    """Takes the screenshots of single runs: one that is running, and ended ones by status."""
    page = camera.page
    await page.goto(f"{edge}/tests/{running}")
    await page.locator(".screen img").first.wait_for(state="visible")
    await page.locator(".line-action").first.wait_for()
    await camera.take("run")
    for name, test_id in ended.items():
        await page.goto(f"{edge}/tests/{test_id}")
        await page.locator(".line-text").first.wait_for()
        await page.locator("main .badge", has_text=name).wait_for()
        if name == "completed":
            await page.locator(".screen img").first.wait_for(state="visible")
        await camera.take(name)


async def photograph_an_outage(camera: Camera) -> None:
    """Takes the screenshots of a page whose sockets fail: nothing else passes; then polls do; then streams do."""
    page = camera.page
    polls, streams = "**/rpc/listTests*", "**/events?*"
    for address in (polls, streams):
        await page.route(address, lambda route: route.abort())
    await camera.cut()
    await camera.connection_status("Reconnecting 3/10")
    await page.locator("#connection").click()
    await camera.take("reconnecting")
    await page.unroute(polls)
    await camera.connection_status("Polling")
    await camera.take("polling")
    await page.unroute(streams)
    await camera.connection_status("Live over HTTP")
    await camera.take("streaming")


async def main() -> None:
    """Starts a stack in a temporary directory, takes the screenshots and stops the stack."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as state_dir:
        stack = Stack(Path(state_dir))
        try:
            await stack.start_broker(port=0)
            game = await stack.start_game()
            edge = await stack.start_edge(free_port(), game, allow_private=True)
            start_agent = partial(stack.start_agent, allow_private=True)
            start_agent(1)
            async with async_playwright() as playwright, httpx.AsyncClient(base_url=edge, trust_env=False) as http:
                browser = await playwright.chromium.launch(
                    executable_path=find_chromium(), chromium_sandbox=False, args=["--disable-gpu"]
                )
                page = await browser.new_page(viewport=SIZE, color_scheme="light", device_scale_factor=1)
                page.set_default_timeout(DEADLINE_S * 1000)
                camera = Camera(page)
                await camera.attach()
                await photograph(http, camera, edge, game, start_agent)
                await browser.close()
        finally:
            await stack.stop()


if __name__ == "__main__":
    asyncio.run(main())
