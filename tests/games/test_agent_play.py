"""Playing pages that misbehave: each ends in a clear verdict, in time, and the browser lives on."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent_worker.games import policy
from agent_worker.games.chromium import program
from agent_worker.games.chromium.browser import Browser, find_chromium, find_shell
from agent_worker.games.chromium.egress_proxy import judge_public
from agent_worker.games.chromium.page_state import Incident
from agent_worker.games.errors import BrowserMissing
from agent_worker.games.handle import GameJob
from agent_worker.games.player import play
from agent_worker.games.realtime.player import RealTime
from tests.fair_clock import fair_time
from tests.games.playing import Answer, GameServer, OnlyThese, Written, game_server, played, played_until

pytestmark = pytest.mark.alone


MOVING = """<body style="margin:0"><canvas id=c width=320 height=180 style="width:1280px"></canvas><script>
  const x = c.getContext("2d"); let at = 150;
  addEventListener("keydown", (e) => { if (e.key === "ArrowLeft") at -= 15; if (e.key === "ArrowRight") at += 15; });
  (function f() { x.fillStyle = "#124"; x.fillRect(0, 0, 320, 180);
    x.fillStyle = "#fd5"; x.fillRect(at, 75, 22, 22); requestAnimationFrame(f); })();
"""


@pytest.fixture
def server() -> Iterator[GameServer]:
    with game_server() as running:
        yield running


@pytest.fixture
def forbidden() -> Iterator[GameServer]:
    """A server that pages are not to reach."""
    with game_server() as running:
        yield running


@pytest.fixture
async def browser(server: GameServer) -> AsyncIterator[Browser]:
    async with Browser(judge=OnlyThese(server.port)) as running:
        yield running


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def failure(browser: Browser, url: str, budget_s: float = 6.0) -> tuple[str, str]:
    run = await played(browser, url, budget_s)
    assert run.failure is not None and run.score is None
    return run.failure


async def test_controls_are_found_by_what_the_picture_does(server: GameServer, browser: Browser) -> None:
    url = server.page("/", MOVING + "</script>")
    run = await played_until(browser, url, lambda run: 3 in run.phases)
    assert run.controls == {"ArrowLeft", "ArrowRight"}
    assert any(line.startswith("Pressing ArrowLeft moves the picture (") for line in run.lines)
    assert all(each["seen"][0] == each["seen"][1] >= 2 for each in run.data if "control" in each)


async def test_what_only_scrolls_is_no_control(server: GameServer, browser: Browser) -> None:
    rows = "".join(f"<h1>{n} {'x' * (n * 37 % 50)}</h1>" for n in range(80))
    url = server.page("/", rows + "<script>addEventListener('keydown', () => 0)</script>")
    run = await played(browser, url)
    assert not run.controls and not run.metrics["controls"]


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [(404, "http_404", "Not Found"), pytest.param(500, "http_500", "server", marks=pytest.mark.long)],
)
async def test_an_http_error(server: GameServer, browser: Browser, status: int, code: str, word: str) -> None:
    server.answers["/"] = Answer(b"no", status)
    got, message = await failure(browser, f"{server.url}/")
    assert got == code and str(status) in message and word in message


async def test_an_unknown_host(browser: Browser) -> None:
    code, message = await failure(browser, "http://no-such-game.invalid/", budget_s=14)
    assert code == "game_unreachable" and "no-such-game.invalid" in message


async def test_nobody_listens(server: GameServer) -> None:
    port = unused_port()
    async with Browser(judge=OnlyThese(port)) as browser:
        code, message = await failure(browser, f"http://127.0.0.1:{port}/")
    assert code == "game_unreachable"
    assert "connection refused" in message and f"Is it running on port {port}?" in message


async def test_no_answer_at_all(server: GameServer, browser: Browser) -> None:
    server.answers["/"] = Answer(status=0, endless=True)
    code, message = await failure(browser, f"{server.url}/")
    assert code == "load_timeout" and "did not answer within 3 s" in message and "sends nothing" in message


async def test_a_document_that_never_ends(server: GameServer, browser: Browser) -> None:
    server.answers["/"] = Answer(b"<html><body>loading", endless=True)
    code, message = await failure(browser, f"{server.url}/")
    assert code == "load_timeout" and "was not complete after 3 s" in message


async def test_a_part_that_never_comes_is_told_but_played_without(server: GameServer, browser: Browser) -> None:
    server.answers["/slow.png"] = Answer(status=0, endless=True)
    url = server.page("/", "<img src=/slow.png>" + MOVING + "</script>")
    run = await played(browser, url)
    assert run.failure is None
    assert any(line.startswith("The page still loads after") for line in run.lines)
    assert any("still loading" in reason for reason in run.part("load")["reasons"])


async def test_not_a_page(server: GameServer, browser: Browser) -> None:
    server.answers["/"] = Answer(b"{}", headers=(("Content-Type", "application/json"),))
    assert (await failure(browser, f"{server.url}/"))[0] == "not_html"
    zipped = (("Content-Type", "application/zip"), ("Content-Disposition", "attachment; filename=game.zip"))
    server.answers["/zip"] = Answer(b"PK", headers=zipped)
    code, message = await failure(browser, f"{server.url}/zip", budget_s=12)
    assert code == "not_html" and "download" in message


async def test_an_unruly_page(server: GameServer, forbidden: GameServer, browser: Browser) -> None:
    download = (("Content-Type", "application/zip"), ("Content-Disposition", "attachment; filename=loot.zip"))
    server.answers["/loot"] = Answer(b"PK", headers=download)
    acts = f"""
      console.error("a plain complaint");
      const once = {{ once: true }};
      setTimeout(() => alert("hello there"), 500);
      setTimeout(() => fetch("/nothing-here"), 600);
      setTimeout(() => {{ const a = document.createElement("a"); a.href = "/loot"; a.click(); }}, 900);
      addEventListener("keydown", () => open("{server.url}/popup"), once);
      setTimeout(() => location.href = "{forbidden.url}/away", 1500);
    """
    kinds = {"console", "dialog", "request", "download", "popup", "left"}
    run = await played_until(browser, server.page("/", MOVING + acts + "</script>"), lambda run: kinds <= run.kinds)
    assert [each["detail"] for each in run.of_kind("console")] == ["a plain complaint"]
    assert [each["detail"] for each in run.of_kind("dialog")] == ["alert: hello there"]
    assert [each["detail"] for each in run.of_kind("request")] == [f"{server.url}/nothing-here: HTTP 404"]
    assert [each["detail"] for each in run.of_kind("download")] == ["loot.zip"]
    assert len(run.of_kind("popup")) == 1
    assert [each["detail"] for each in run.of_kind("left")] == [f"{forbidden.url}/away"]
    assert forbidden.asked.total() == 0


async def test_the_page_is_kept_from_leaving_even_where_it_may(server: GameServer, forbidden: GameServer) -> None:
    url = server.page("/", MOVING + f'setTimeout(() => location.href = "{forbidden.url}/index.html", 800);</script>')
    async with Browser(judge=OnlyThese(server.port, forbidden.port)) as browser, browser.page() as page:
        await page.open(url, 5)
        deadline = time.monotonic() + 30
        incidents: list[Incident] = []
        while not incidents and time.monotonic() < deadline:
            await page.watch(0.1)
            incidents = page.incidents()
        assert [each.kind for each in incidents] == ["left"]
        assert page.strayed is None
        assert (await page.state()).canvases
    assert forbidden.asked.total() == 0


async def test_redirects_to_refused_addresses(server: GameServer, forbidden: GameServer, browser: Browser) -> None:
    for name, target in (("/a", forbidden.url), ("/b", "http://169.254.169.254/latest"), ("/c", "http://[::1]/")):
        server.answers[name] = Answer(status=302, headers=(("Location", target),))
        code, message = await failure(browser, server.url + name, budget_s=12)
        assert code == "url_refused", (name, message)
    server.answers["/twice"] = Answer(status=302, headers=(("Location", "/a"),))
    assert (await failure(browser, f"{server.url}/twice", budget_s=12))[0] == "url_refused"
    assert forbidden.asked.total() == 0


async def test_sub_requests_to_refused_addresses(server: GameServer, forbidden: GameServer, browser: Browser) -> None:
    server.answers["/hop"] = Answer(status=302, headers=(("Location", f"{forbidden.url}/hop"),))
    socket_url = forbidden.url.replace("http", "ws")
    asks = f"""
      fetch("/hop").catch(() => 0);
      fetch("{forbidden.url}/fetch", {{ mode: "no-cors" }}).catch(() => 0);
      new Image().src = "http://localhost:{forbidden.port}/image";
      new Image().src = "http://169.254.169.254/meta";
      new WebSocket("{socket_url}/socket");
      navigator.sendBeacon("{forbidden.url}/beacon", "x");
      new Worker(URL.createObjectURL(new Blob(['fetch("{forbidden.url}/worker", {{ mode: "no-cors" }})'])));
      document.body.append(Object.assign(document.createElement("iframe"), {{ src: "{forbidden.url}/frame" }}));
    """
    run = await played(browser, server.page("/", MOVING + asks + "</script>"))
    assert forbidden.asked.total() == 0
    assert run.metrics["incidents"]["refused"] >= 8
    details = " ".join(each["detail"] for each in run.of_kind("refused"))
    assert "169.254.169.254" in details and f"localhost:{forbidden.port}" in details


async def test_the_usual_judge_refuses_this_machine(server: GameServer) -> None:
    async with Browser(judge=judge_public) as browser:
        code, message = await failure(browser, f"{server.url}/index.html")
    assert code == "url_refused" and "TESTCAST_ALLOW_PRIVATE" in message
    assert server.asked.total() == 0


async def test_a_hung_main_thread_takes_no_more_than_its_budget(server: GameServer, browser: Browser) -> None:
    hang = 'addEventListener("keydown", (e) => { if (e.code === "Space") for (;;); });</script>'
    run = await played(browser, server.page("/", MOVING + hang), budget_s=12)
    assert run.score is not None
    again = await played(browser, f"{server.url}/index.html?bug=blank", budget_s=6)
    assert again.score is not None


async def test_in_real_time_controls_are_found_by_what_the_picture_does(server: GameServer, browser: Browser) -> None:
    job, run = GameJob("id", server.page("/", MOVING + "</script>"), 200, 7), Written()
    async with browser.pages() as pages:
        real = await RealTime.on_fresh_page(run, pages, job, policy.plan(200), asyncio.get_running_loop().time())
        await real.load()
        searching = asyncio.create_task(real.discover())
        try:
            while len(run.controls) < 2 and not searching.done():
                run.told_anything.clear()
                told = asyncio.create_task(run.told_anything.wait())
                await asyncio.wait([told, searching], return_when=asyncio.FIRST_COMPLETED)
                told.cancel()
            if searching.done():
                await searching
        finally:
            searching.cancel()
            await asyncio.gather(searching, return_exceptions=True)
    assert run.controls == {"ArrowLeft", "ArrowRight"}


async def test_cancelling_a_hung_page_takes_effect_at_once(server: GameServer, browser: Browser) -> None:
    url = server.page("/", MOVING + 'setTimeout(() => { console.error("now"); for (;;); }, 700);</script>')
    run = Written()
    playing = asyncio.create_task(play(run, browser, GameJob("id", url, 120, 1)))
    async with asyncio.timeout(100):
        while not any(line.startswith("Trying to see a fault again:") for line in run.lines):
            run.told_anything.clear()
            await run.told_anything.wait()
    told = len(run.data)
    began = fair_time()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert fair_time() - began < 2
    assert not run.ends and len(run.data) == told
    assert "pages=0" in repr(browser)


async def test_a_dead_browser_is_started_anew(server: GameServer, browser: Browser) -> None:
    assert browser._next is not None
    await (await browser._next).running.close()
    run = await played(browser, f"{server.url}/index.html?bug=blank", budget_s=12)
    assert run.score is not None and browser.launches >= 2


def test_a_browser_that_is_none_is_named() -> None:
    with pytest.raises(BrowserMissing, match="TESTCAST_AGENT_CHROMIUM"):
        find_chromium("/nonexistent/chromium")


def test_playwrights_browser_without_windows_is_found_beside_its_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program, "_WITHOUT_WINDOW", ())
    own = tmp_path / "chromium-1200" / "chrome-linux64" / "chrome"
    shell = tmp_path / "chromium_headless_shell-1200" / "chrome-headless-shell-linux64" / "chrome-headless-shell"
    for each in (own, shell):
        each.parent.mkdir(parents=True)
        each.touch()
    assert find_shell(None, own) is None
    shell.chmod(0o755)
    assert find_shell(None, own) == str(shell)
    assert find_shell(str(shell)) == str(shell)


def test_a_browser_without_windows_goes_before_one_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program, "_WITHOUT_WINDOW", ("chrome-headless-shell",))
    monkeypatch.setattr(program, "may_change_user", lambda: False)
    for name in ("google-chrome", "chrome-headless-shell"):
        (tmp_path / name).touch(0o755)
    assert find_shell() == str(tmp_path / "chrome-headless-shell")
    assert find_chromium() == str(tmp_path / "google-chrome")
    monkeypatch.setattr(program, "may_change_user", lambda: True)
    monkeypatch.setattr(program, "open_to_others", lambda path: path.name != "chrome-headless-shell")
    assert find_shell() == str(tmp_path / "google-chrome"), "another user could not start it"
