"""A game that takes too much ends its own run, with a verdict that says so; its neighbours and the worker go on.

And what a game's browser is given at all: no rights, no secrets, nothing that outlives the run.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent_worker.games.chromium import processes
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.limits import Limits
from agent_worker.games.errors import PageGone
from agent_worker.games.handle import GameJob
from agent_worker.games.player import play
from tests.games.playing import GameServer, OnlyThese, Written, game_server, played
from tests.harness import until

pytestmark = pytest.mark.alone

HOGS = {
    "memory": "setInterval(() => { const b = new Uint8Array(5e7); b.fill(7); kept.push(b); }, 1);",
    "textures": """const g = document.createElement("canvas").getContext("webgl");
      const d = new Uint8Array(4096 * 4096 * 4).fill(9);
      setInterval(() => { const t = g.createTexture(); g.bindTexture(g.TEXTURE_2D, t); kept.push(t);
        g.texImage2D(g.TEXTURE_2D, 0, g.RGBA, 4096, 4096, 0, g.RGBA, g.UNSIGNED_BYTE, d); g.finish(); }, 1);""",
}


@pytest.fixture
def server() -> Iterator[GameServer]:
    with game_server() as running:
        yield running


async def test_a_game_that_takes_all_memory_ends_alone(server: GameServer) -> None:
    hogs = [
        server.page(f"/{name}", f"<h1>a game</h1><script>const kept = []; {script}</script>")
        for name, script in HOGS.items()
    ]
    url = server.page("/neighbour", "<h1>another game</h1>")
    limits = Limits(memory_mb=700)
    async with Browser(judge=OnlyThese(server.port), limits=limits) as browser, browser.page() as neighbour:
        await neighbour.open(url, 20)
        for hog in hogs:
            run = await played(browser, hog, budget_s=120)  # it ends as soon as the limit is met
            assert run.score is not None and run.failure is None
            assert "the game was stopped: it took more than 700 MB of memory" in run.lines[-1]
            assert [each["detail"] for each in run.of_kind("limit")] == ["took more than 700 MB of memory"]
            assert run.part("stability")["score"] == 0
            assert (await neighbour.state()).words == "another game"
        assert neighbour.exceeded is None


async def test_a_browser_is_given_nothing_of_the_worker(
    server: GameServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TESTCAST_NATS_URL", "nats://edge:hunter2@127.0.0.1:4222")
    url = server.page("/", "<h1>a game</h1>")
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.page() as page:
            await page.open(url, 20)
            assert browser._workshop is not None
            home = browser._workshop.path
            (run,) = _runs(home)
            started = _processes(str(run))
            assert len(started) >= 5
            for process in started:
                _look_at(process, browser, page._proxy.credentials[1], str(tmp_path))
    await until(lambda: not _runs(home) and not home.exists())
    await until(lambda: not _processes(str(run)) and not any("chrom" in _read(each / "comm") for each in started))


def _look_at(process: Path, browser: Browser, proxy_secret: str, elsewhere: str) -> None:
    if not _read(process / "cmdline"):
        return  # it has ended meanwhile
    environment, command = _read(process / "environ"), _read(process / "cmdline")
    assert not [word for word in ("hunter2", "TESTCAST", proxy_secret) if word in environment + command]
    assert "remote-debugging-port" not in command
    assert ("--no-sandbox" in command) == (not browser.walls.sandbox)
    status = dict(line.split(":\t", 1) for line in _read(process / "status").splitlines())
    assert status["NoNewPrivs"] == "1"
    if browser.walls.own_user:
        assert not {"0", str(os.geteuid())} & {*status["Uid"].split(), *status["Gid"].split()}
        assert not status["Groups"].split()
        assert not [each for each in _open_files(process) if elsewhere in each]
    if browser.walls.own_network and os.geteuid() == 0:
        assert (process / "ns" / "net").readlink() != Path("/proc/self/ns/net").readlink()


def _open_files(process: Path) -> list[str]:
    found = []
    for each in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(each.readlink()))
    return found


def _runs(home: Path) -> list[Path]:
    return list(home.glob("run-*"))


def _processes(named: str) -> list[Path]:
    """The processes of Chromium whose command names that directory, and those that they have started."""
    found = [each for each in Path("/proc").iterdir() if each.name.isdigit() and named in _read(each / "cmdline")]
    every = {pid for each in found for pid in processes.members(processes.process(int(each.name)))}
    return [each for each in map(Path, (f"/proc/{pid}" for pid in every)) if "chrom" in _read(each / "comm")]


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


async def test_a_browser_that_dies_is_not_held_against_the_worker(server: GameServer) -> None:
    url = server.page("/", "<h1>a game</h1>")
    async with Browser(judge=OnlyThese(server.port)) as browser:
        run = Written()
        playing = asyncio.create_task(play(run, browser, GameJob("id", url, 60, 1)))
        assert browser._workshop is not None
        home = browser._workshop.path
        await until(lambda: 1 in run.phases and run.lines[1:], within_s=30)
        for run_directory in _runs(home):
            for process in _processes(str(run_directory)):
                with suppress(OSError):
                    os.kill(int(process.name), signal.SIGKILL)
        with pytest.raises(PageGone, match="browser died"):
            await playing
        assert not run.ends  # another attempt may succeed; the third that is lost ends the run
        async with browser.page() as page:
            await page.open(url, 20)
