"""What the tests of playing share: a web server for games of a test's own, and a run that is only written down."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.handle import GameJob
from agent_worker.games.player import play
from broker.contract.url_policy import GameUrlRefused
from tests.fair_clock import fair_time

DEMO = Path(__file__).parents[2] / "agent_worker" / "games" / "demo_game"
_TYPES = {".html": "text/html", ".js": "text/javascript"}


class Answer(NamedTuple):
    """What the server says to one path; `endless` keeps the connection open after the body."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/html"),)
    endless: bool = False


class GameServer:
    """A web server on loopback: the demo game's files, and what a test puts into `answers`."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.closing = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.asked[path] += 1
                answer = outer.answers.get(path) or outer.from_demo(path)
                with suppress(OSError):
                    if answer.status:
                        self.send_response(answer.status)
                        for name, value in answer.headers:
                            self.send_header(name, value)
                        self.end_headers()
                        self.wfile.write(answer.body)
                        self.wfile.flush()
                    if answer.endless:
                        outer.closing.wait(60)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def from_demo(self, path: str) -> Answer:
        file = DEMO / path.lstrip("/")
        if not file.is_file():
            return Answer(b"not here", 404)
        return Answer(file.read_bytes(), headers=(("Content-Type", _TYPES[file.suffix]),))

    def page(self, path: str, body: str) -> str:
        """Puts an HTML page there; returns its address."""
        self.answers[path] = Answer(f"<!doctype html><meta charset=utf-8>{body}".encode())
        return self.url + path


@contextmanager
def game_server() -> Iterator[GameServer]:
    """A running GameServer."""
    server = GameServer()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.server.shutdown()
        thread.join()
        server.server.server_close()


@dataclass
class Written:
    """A RunHandle that writes down what it is told."""

    phases: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    screenshots: list[bytes] = field(default_factory=list)
    evidences: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    """Data of a line, and its picture."""
    score: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    failure: tuple[str, str] | None = None
    ends: int = 0
    seconds: float = 0.0
    ended: float = 0.0
    told_anything: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: str | None, data: dict[str, Any] | None = None) -> None:
        assert not self.ends, f"told after the end: {message}"
        self.told_anything.set()
        if message:
            self.lines.append(message)
        self.data.append(data or {})

    async def phase(self, n: int, message: str = "") -> None:
        self.phases.append(n)
        self.tell(message)

    async def progress(self, message: str, **data: object) -> None:
        self.tell(message, data)

    async def action(self, action: str, message: str | None = None) -> None:
        self.tell(message, {"action": action})

    async def complete(self, score: int, metrics: dict[str, object], message: str | None = None) -> None:
        self.tell(message)
        self.score, self.metrics = score, metrics
        self.ends += 1
        self.ended = fair_time()

    async def fail(self, message: str, code: str) -> None:
        self.tell(message)
        self.failure = (code, message)
        self.ends += 1
        self.ended = fair_time()

    async def screenshot(self, jpeg: bytes, on_lost: Callable[[], None] | None = None) -> None:
        self.screenshots.append(jpeg)

    async def evidence(self, message: str, jpeg: bytes | None, **data: object) -> None:
        self.tell(message, data)
        if jpeg is not None:
            self.evidences.append((data, jpeg))

    @property
    def controls(self) -> set[str]:
        """The gestures that were told to work."""
        return {data["control"] for data in self.data if "control" in data}

    def doing(self, action: str) -> bool:
        """Whether that action was told."""
        return any(data.get("action") == action for data in self.data)

    def part(self, name: str) -> dict[str, Any]:
        """One part of the rubric."""
        found: dict[str, Any] = next(part for part in self.metrics["rubric"] if part["part"] == name)
        return found

    @property
    def kinds(self) -> set[str]:
        """The kinds of the lines so far."""
        return {data["kind"] for data in self.data if "kind" in data}

    def findings(self, kind: str) -> list[dict[str, Any]]:
        """The findings of one kind that were told."""
        return [each["finding"] for each in self.of_kind("finding") if each["finding"]["kind"] == kind]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The data of the lines of one kind."""
        return [data for data in self.data if data.get("kind") == kind]


async def played(browser: Browser, url: str, budget_s: float = 8.0, seed: int = 7) -> Written:
    """Plays to the end; the end comes once, and within the budget."""
    written = Written()
    began = fair_time()
    await play(written, browser, GameJob("00000000-0000-4000-8000-000000000000", url, budget_s, seed))
    written.seconds = fair_time() - began
    assert written.ends == 1
    assert written.ended - began <= budget_s
    assert written.seconds < budget_s + 2  # the page's closing comes after the verdict
    return written


async def played_until(browser: Browser, url: str, seen: Callable[[Written], bool], budget_s: float = 300.0) -> Written:
    """Plays until the run has told what `seen` waits for, then stops: quick where the machine is, patient if not."""
    written = Written()
    job = GameJob("00000000-0000-4000-8000-000000000000", url, budget_s, 7)
    playing = asyncio.create_task(play(written, browser, job))
    try:
        while not seen(written):
            written.told_anything.clear()
            told = asyncio.create_task(written.told_anything.wait())
            await asyncio.wait([told, playing], return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            assert not playing.done(), f"ended first: {written.lines}"
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    return written


class OnlyThese:
    """A judge (egress_proxy.py) that lets ports of this machine through, and nothing else."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports

    def __call__(self, host: str, port: int, addresses: list[str]) -> None:
        if addresses != ["127.0.0.1"] or port not in self.ports:
            raise GameUrlRefused("url_refused", f"{host}:{port} is not for this test")
