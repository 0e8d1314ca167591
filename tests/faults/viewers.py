"""The kinds of viewers: raw sockets, pollers, `testcast tail`, a page in a real browser. Each records what it receives.

No viewer removes duplicates or sorts, so the checker gets exactly what the edge sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import httpx
import orjson
from playwright.async_api import Browser, async_playwright
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from agent_worker.games.chromium.browser import find_chromium
from agent_worker.games.chromium.program import LIGHT
from testcast.client.backoff import delay_s, retry_after_s
from tests.command import Command
from tests.faults.checker import History, Mark, Reset, Seen
from tests.harness import is_event

BEAT_S: Final = 2.0
"""Heartbeat interval of the kit's edges. An eighth of the default, so that a round detects half-open sockets."""
SILENCE_S: Final = 5.0  # two and a half heartbeats, as the contract's 35 s
_POLL_S: Final = 0.7
_OPEN_S: Final = 5.0
_START_MS: Final = 120_000
"""For a browser and its page, on a machine that others keep busy."""
_CHROMIUM: Final = ("--no-sandbox", LIGHT, "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")


class Viewer(Protocol):
    """A viewer of some runs."""

    name: str
    runs: frozenset[str]

    async def watch(self) -> None:
        """Watches until it is cancelled."""

    def position(self, run: str) -> int:
        """Sequence of the newest event of this run that it has; 0 for none."""

    def in_epoch(self, epoch: str) -> bool:
        """Whether all its positions are of this life of the stream."""


class Place(NamedTuple):
    """A viewer's position in a run."""

    after: int = 0
    epoch: str | None = None


def mark_of(event: dict[str, Any]) -> Mark | None:
    """The number that the publisher gave an event; None if it has none."""
    data = event.get("data")
    return Mark(data["life"], data["n"]) if isinstance(data, dict) and "life" in data else None


class _Watcher:
    """Base of the viewers: a name, the runs, the position in each run, and the history to which it writes."""

    def __init__(self, name: str, runs: Sequence[str], history: History) -> None:
        self.name = name
        self.runs = frozenset(runs)
        self.history = history
        self.places = {run: Place() for run in runs}
        history.watching[name] = self.runs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {[place.after for place in self.places.values()]}>"

    def position(self, run: str) -> int:
        return self.places[run].after

    def in_epoch(self, epoch: str) -> bool:
        return all(place.epoch == epoch for place in self.places.values())

    def _event(self, event: dict[str, Any]) -> None:
        run, seq = event["testId"], event["seq"]
        self.history.shown.append(Seen(self.name, run, seq, mark_of(event), time.monotonic()))
        self.places[run] = self.places[run]._replace(after=max(self.places[run].after, seq))

    def _reset(self, run: str, reason: str) -> None:
        self.history.shown.append(Reset(self.name, run, reason, time.monotonic()))
        self.places[run] = Place()

    def _sync(self, run: str, message: dict[str, Any]) -> None:
        if message["outcome"] == "reset":
            self._reset(run, message.get("reason", ""))
        self.places[run] = self.places[run]._replace(epoch=message["epoch"])

    def _resume(self, run: str) -> dict[str, Any]:
        place = self.places[run]
        return {"after": place.after, "epoch": place.epoch} if place.after else {}


class SocketViewer(_Watcher):
    """A WebSocket that follows the protocol (positions, heartbeats, goodbye) and reconnects to another edge."""

    def __init__(
        self, name: str, runs: Sequence[str], history: History, edges: Sequence[str], rng: random.Random
    ) -> None:
        super().__init__(name, runs, history)
        self._edges = edges
        self._at = rng.randrange(len(edges))
        self._rng = rng
        self._failures = 0
        self._retry_after_s: float | None = None
        self.refused = 0
        """Number of sockets closed with a 44xx code; should be 0."""

    @property
    def edge(self) -> str:
        """The address of the edge that it uses or tries."""
        return self._edges[self._at]

    async def watch(self) -> None:
        while True:
            try:
                await self._listen(self.edge)
            except ConnectionClosed as closed:
                self.refused += closed.rcvd is not None and 4400 <= closed.rcvd.code < 4500
            except (OSError, InvalidHandshake, TimeoutError):
                pass
            self._at = (self._at + 1 + self._rng.randrange(len(self._edges) - 1)) % len(self._edges)
            wait_s, self._retry_after_s = self._retry_after_s, None
            if wait_s is None:
                self._failures += 1
                wait_s = delay_s(self._failures, self._rng.random())
            await asyncio.sleep(wait_s)

    async def _listen(self, edge: str) -> None:
        url = edge.replace("http", "ws", 1) + "/ws"
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "close_timeout": 0.2, "proxy": None}
        async with connect(url, open_timeout=_OPEN_S, max_size=None, **options) as socket:
            for run in self.runs:
                await socket.send(orjson.dumps({"type": "subscribe", "testId": run, **self._resume(run)}).decode())
            while True:
                async with asyncio.timeout(SILENCE_S):
                    frame = orjson.loads(await socket.recv(decode=False))
                for message in frame if isinstance(frame, list) else [frame]:
                    self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        run = message.get("testId")
        if is_event(message):
            self._failures = 0
            self._event(message)
        elif message["type"] == "sync" and run is not None:
            self._failures = 0
            self._sync(run, message)
        elif message["type"] == "heartbeat" and run is not None:
            place = self.places[run]
            self.places[run] = place._replace(after=max(place.after, message.get("head", 0)))
        elif message["type"] == "error" and message["data"]["code"] == "not_found":
            raise ConnectionResetError  # the stream was made again, and the run has no event in it yet: asked again
        elif message["type"] == "goodbye":
            self._retry_after_s = retry_after_s(message["retryAfterMs"])


class Poller(_Watcher):
    """Calls `getEvents` repeatedly, each time at another edge."""

    def __init__(self, name: str, runs: Sequence[str], history: History, edges: Sequence[str]) -> None:
        super().__init__(name, runs, history)
        self._edges = edges

    async def watch(self) -> None:
        async with httpx.AsyncClient(timeout=3.0, trust_env=False) as http:
            turn = 0
            while True:
                for run in self.runs:
                    turn += 1
                    with contextlib.suppress(httpx.TransportError):
                        await self._poll(http, self._edges[turn % len(self._edges)], run)
                await asyncio.sleep(_POLL_S)

    async def _poll(self, http: httpx.AsyncClient, edge: str, run: str) -> None:
        answer = await http.post(f"{edge}/rpc/getEvents", json={"testId": run, **self._resume(run)})
        if answer.status_code in (404, 502, 503):  # 404: the stream was made again, and the run has no event in it yet
            return
        answer.raise_for_status()
        page = answer.json()
        self._sync(run, page)
        for event in page["events"]:
            self._event(event)
        if not page["more"]:
            place = self.places[run]
            self.places[run] = place._replace(after=max(place.after, page["head"]))


class TailViewer(_Watcher):
    """`testcast tail ID --json`, through an edge or over NATS. `settings` are variables of its environment."""

    def __init__(self, name: str, run: str, history: History, *source: str, **settings: str) -> None:
        super().__init__(name, [run], history)
        self._settings = settings
        self._argv = ("tail", run, "--json", *source)
        self.exit_code: int | None = None

    async def watch(self) -> None:
        async with Command(*self._argv, **self._settings) as command:
            assert command.process.stdout is not None
            while line := await command.process.stdout.readline():
                item = orjson.loads(line)
                if item["type"] == "reset":
                    self._reset(item["testId"], item["reason"])
                else:
                    self._event(item)
            self.exit_code = await command.process.wait()


def _mark_in(text: str) -> Mark | None:
    """The number of an event, from its message, since a page does not show `data`."""
    found = re.fullmatch(r"event (\d+)\.(\d+)", text)
    return Mark(int(found[1]), int(found[2])) if found else None


_OBSERVE: Final = """
window.seen = [];
new MutationObserver((changes) => {
  for (const change of changes)
    for (const node of change.addedNodes)
      for (const line of node.matches?.("[data-seq]") ? [node] : node.querySelectorAll?.("[data-seq]") ?? [])
        window.seen.push([Number(line.dataset.seq), line.querySelector(".line-text").textContent, Date.now()]);
}).observe(document, { childList: true, subtree: true });
"""


class PageViewer(_Watcher):
    """The dashboard's page of one run in a real Chromium. Records each line when it enters the feed."""

    def __init__(self, name: str, run: str, history: History, edge: str) -> None:
        super().__init__(name, [run], history)
        self._run = run
        self._url = f"{edge}/tests/{run}"
        self.errors: list[str] = []
        self.documents: set[float] = set()
        """When each document began that this page has had: a reload is another one."""

    async def watch(self) -> None:
        async with async_playwright() as driver:
            sandbox = _CHROMIUM if os.geteuid() == 0 else _CHROMIUM[1:]
            browser = await driver.chromium.launch(
                executable_path=find_chromium(), args=list(sandbox), timeout=_START_MS
            )
            try:
                await self._look(browser)
            finally:
                await browser.close()

    async def _look(self, browser: Browser) -> None:
        page = await browser.new_page(viewport={"width": 1280, "height": 12_000})  # tall enough for 500 lines
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        await page.add_init_script(_OBSERVE)
        await page.goto(self._url, timeout=_START_MS)
        while True:
            began, seen = await page.evaluate("[performance.timeOrigin, window.seen.splice(0)]")
            self.documents.add(began)
            for seq, text, at_ms in seen:
                at = time.monotonic() - time.time() + at_ms / 1000
                self.history.shown.append(Seen(self.name, self._run, seq, _mark_in(text), at))
                self.places[self._run] = Place(max(self.position(self._run), seq))
            await asyncio.sleep(0.1)
