"""Takes the README's pictures of the dashboard: a real stack, real agents, the real page. Run by `make screenshot`.

Writes docs/dashboard.png (the list, with runs in several states) and docs/run.png (one run's page). Takes about two
minutes, since the agents really play.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from playwright.async_api import Page, ViewportSize, async_playwright

from agent_worker.browser import find_chromium
from testcast.stack import Stack, free_port

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs"
SIZE: ViewportSize = {"width": 1180, "height": 820}
DEADLINE_S = 180.0


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits for a condition, or ends the program."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        if time.monotonic() > deadline:
            sys.exit(f"screenshot: not within {DEADLINE_S:g} s: {what}")
        await asyncio.sleep(0.2)


async def submit(http: httpx.AsyncClient, url: str, title: str, budget_s: int) -> str:
    """Queues a run and returns its id."""
    answer = await http.post("/rpc/submitTest", json={"gameUrl": url, "title": title, "budgetSeconds": budget_s})
    answer.raise_for_status()
    return str(answer.json()["testId"])


async def photograph(http: httpx.AsyncClient, page: Page, edge: str, game: str) -> None:
    """Plays the runs and takes the pictures."""

    async def status(test_id: str) -> str:
        return str((await http.get(f"/rpc/getTest?testId={test_id}")).json()["test"]["status"])

    finished = [
        await submit(http, game, "Star Hopper", 30),
        await submit(http, f"{game}?bug=crash", "Star Hopper, build 41", 20),
    ]

    async def all_finished() -> bool:
        return all([await status(test_id) in ("completed", "failed") for test_id in finished])

    await until(all_finished, "the first runs have ended")
    finished.append(await submit(http, "http://127.0.0.1:9/", "Tile Storm", 20))
    await until(all_finished, "the unreachable game is reported")
    running = await submit(http, game, "Star Hopper, build 42", 60)
    await submit(http, f"{game}?bug=freeze", "Star Hopper, nightly", 60)
    await submit(http, game, "Moon Lander", 60)
    await page.goto(edge)

    async def exploring() -> bool:
        test = (await http.get(f"/rpc/getTest?testId={running}")).json()["test"]
        return bool(test["phase"] in ("phase3", "phase4"))

    await until(exploring, "a run is exploring")
    await page.screenshot(path=OUT / "dashboard.png")
    await page.goto(f"{edge}/tests/{finished[0]}")
    await page.locator(".screen img").first.wait_for(state="visible")
    await page.screenshot(path=OUT / "run.png")


async def main() -> None:
    """Starts everything in a folder of its own, and stops all of it."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as state_dir:
        stack = Stack(Path(state_dir))
        try:
            await stack.start_broker(port=0)
            game = await stack.start_game()
            edge = await stack.start_edge(free_port(), game)
            stack.start_agent(allow_private=True)
            async with async_playwright() as playwright, httpx.AsyncClient(base_url=edge, trust_env=False) as http:
                browser = await playwright.chromium.launch(
                    executable_path=find_chromium(), chromium_sandbox=False, args=["--disable-gpu"]
                )
                page = await browser.new_page(viewport=SIZE, color_scheme="light", device_scale_factor=1)
                await photograph(http, page, edge, game)
                await browser.close()
        finally:
            await stack.stop()
    print(f"docs/dashboard.png, docs/run.png ({OUT})")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
