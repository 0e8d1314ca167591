"""Fixtures: a real Chromium in front of the real edge, with a proxy that fails on demand between the two."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from agent_worker.games.chromium.browser import find_chromium
from agent_worker.games.chromium.program import LIGHT
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import Stack
from tests.harness import CONSOLE, PatientStreams
from tests.proxy import Proxy

_FLAGS = [
    LIGHT,
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=20_000)  # conditions, not sleeps: a busy machine is slow, and that is no failure


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as the agent finds it; every test gets a context of its own."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none to give
    async with async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=find_chromium(), args=[*_FLAGS, *sandbox])
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stack_streams(stack: Stack) -> AsyncIterator[Streams]:
    """JetStream of the shared stack, in the browser's loop."""
    connected = await Connection.connect(stack.nats_url, name="test")
    yield PatientStreams(connected)
    await connected.close()


@pytest_asyncio.fixture(loop_scope="session")
async def own_streams(nats_server: EmbeddedServer) -> AsyncIterator[Streams]:
    """JetStream of the broker of this test alone, in the browser's loop."""
    connected = await Connection.connect(nats_server.url, name="test")
    yield PatientStreams(connected)
    await connected.close()


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(stack: Stack) -> AsyncIterator[Proxy]:
    """The way from the browser to the edge."""
    async with Proxy(stack.edge.port) as standing:
        yield standing


class Console:
    """What the page wrote to its console."""

    def __init__(self, page: Page) -> None:
        self.lines: list[str] = []
        page.on("console", self._on_line)

    def _on_line(self, message: ConsoleMessage) -> None:
        self.lines.append(message.text)

    def count(self, part: str) -> int:
        """How many lines hold this."""
        return sum(part in line for line in self.lines)


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A page of 1280 by 800, nothing loaded yet. A script error that nobody caught fails the test."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    fresh = await context.new_page()
    errors: list[str] = []
    request.node.stash[CONSOLE] = Console(fresh).lines
    fresh.on("pageerror", lambda error: errors.append(str(error)))
    yield fresh
    await context.close()
    assert errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def console(page: Page) -> Console:
    """The page's console."""
    return Console(page)
