"""`clients/playwright` as it is installed, with a real suite, watched on a real page while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from agent_worker.games.chromium.browser import find_chromium
from agent_worker.games.chromium.program import LIGHT
from tests.conftest import Stack
from tests.harness import until
from tests.npm import TOOLS, install, run_node
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

SUITE = Path(__file__).parent / "playwright_suite"
SECRET = "a-secret-of-the-game"


def lay_out(folder: Path) -> None:
    """A suite in a folder of its own, with Playwright Test and the reporter next to it."""
    shutil.copytree(SUITE, folder, dirs_exist_ok=True)
    install("playwright", folder)
    for name in ("@playwright", "playwright", "playwright-core"):
        (folder / "node_modules" / name).symlink_to(TOOLS / name)


async def run_suite(folder: Path, url: str, *arguments: str) -> tuple[int | None, str]:
    flags = [LIGHT, "--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    environment = {
        "CHROMIUM": str(find_chromium()),
        "CHROMIUM_FLAGS": json.dumps(flags),
        "GAME_TOKEN": SECRET,
        "GO_ON": str(folder / "go-on"),
        "TESTCAST_EDGE_URL": url,
    }
    return await run_node(TOOLS / "@playwright/test/cli.js", "test", *arguments, cwd=folder, environment=environment)


async def runs_of(url: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/rpc/listTests", params={"labels": "commit=abc"})
    found: list[dict[str, Any]] = answer.json()["tests"]
    return [each for each in found if each["title"] == "A small suite"]


async def test_a_suite_is_watched_while_it_runs(stack: Stack, page: Page, proxy: Proxy, tmp_path: Path) -> None:
    """The edge is away for a moment in the middle. Each test is a line, and a failure has its text, but no secret."""
    lay_out(tmp_path)
    suite = asyncio.create_task(run_suite(tmp_path, proxy.url))
    try:
        run = (await until(lambda: runs_of(stack.edge_url)))[0]
        await page.goto(f"{stack.edge_url}/tests/{run['testId']}")
        lines = page.locator(".line[data-seq] .line-text")
        await expect(lines.filter(has_text="PASSED game.spec.mjs \u203a the game \u203a needs luck")).to_have_count(1)
        proxy.http = "refuse"
        proxy.cut()
        (tmp_path / "go-on").touch()
        await until(lambda: (tmp_path / "test-results").exists())
        proxy.http = "pass"
        status, said = await suite
    finally:
        suite.cancel()
        await asyncio.wait([suite])
    assert status == 1, "the suite's own exit status: it has failed"
    assert re.findall(r"^testcast: .*", said, re.MULTILINE) == [f"testcast: {proxy.url}/tests/{run['testId']}"]
    await expect(page.locator(".verdict")).to_contain_text("80")
    await expect(lines.last).to_have_text("1 failed, 3 passed, 1 flaky, 1 skipped")
    async with httpx.AsyncClient() as client:
        stored = await client.get(f"{stack.edge_url}/rpc/getEvents", params={"testId": run["testId"]})
    assert SECRET not in stored.text
    events = stored.json()["events"]
    told = [re.sub(r"\(\d+\.\d\d s", "(n s", each) for each in (event["message"] for event in events)]
    assert told[1:] == [
        "Collecting",
        "6 tests, 1 worker",
        "Testing",
        "PASSED game.spec.mjs \u203a the game \u203a starts (n s)",
        "FAILED game.spec.mjs \u203a the game \u203a needs luck (n s, is tried again)",
        "PASSED game.spec.mjs \u203a the game \u203a needs luck (n s, retry 1)",
        "PASSED game.spec.mjs \u203a the game \u203a waits for its reader (n s)",
        "FAILED game.spec.mjs \u203a the game \u203a has a score (n s, is tried again)",
        "FAILED game.spec.mjs \u203a the game \u203a has a score (n s, retry 1)",
        "SKIPPED game.spec.mjs \u203a the game \u203a flies (n s)",
        "PASSED game.spec.mjs \u203a the game \u203a never ends (n s)",
        "Finishing",
        "1 failed, 3 passed, 1 flaky, 1 skipped",
    ]
    failed = next(each for each in events if "has a score" in each["message"])
    assert 'Expected: "score 42"' in failed["data"]["detail"] and 'Received: "score ***"' in failed["data"]["detail"]
    end = events[-1]
    assert (end["type"], end["data"]["score"]) == ("complete", 80)
