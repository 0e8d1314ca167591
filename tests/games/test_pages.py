"""A page that is used again is as good as a new one, whatever was done in it: a game finds nothing of it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from agent_worker.games.actions import Action
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.pages import MOST_USES, Wanted
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.trace import parting
from agent_worker.games.screen import DESKTOP, UPRIGHT, Screen
from tests.games.owned import House, a_house
from tests.games.playing import Answer
from tests.harness import until

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

KEY = Action("Shift", "keys", ("Shift",))
CLICK = Action("click", "click", x=0.4, y=0.4)
MOVE = Action("move", "move", x=0.2, y=0.9)
DRAG = Action("drag", "drag", x=0.3, y=0.3, to_x=0.6, to_y=0.6)
TAP = Action("tap", "tap", x=0.4, y=0.4)
KINDS = (
    *("mousemove", "mouseover", "pointerover", "mousedown", "mouseup", "click", "dblclick", "keydown", "keyup"),
    *("focus", "blur", "touchstart", "touchend", "scroll", "resize", "contextmenu", "visibilitychange"),
)
TELLS = """
const seen = [];
for (const kind of %s) addEventListener(kind, (e) => seen.push([kind, e.buttons, e.movementX, e.clientX, e.repeat,
  e.shiftKey, e.detail?.toString?.(), e.touches?.length].join()), true);
const picture = new Image(); picture.src = "picture.png";
const sound = new AudioContext();
const begun = { atOnce: picture.complete, history: history.length, state: history.state, name, cookie: document.cookie,
  session: { ...sessionStorage }, local: { ...localStorage }, referrer: document.referrer, scroll: [scrollX, scrollY],
  active: navigator.userActivation.hasBeenActive, focus: document.activeElement.tagName,
  size: [innerWidth, innerHeight],
  entry: performance.getEntriesByType("navigation")[0].type, sound: sound.state };
async function tell() {
  await (await fetch("asked")).text(); await new Promise((done) => setTimeout(done, 100));
  const kept = performance.getEntriesByType("resource").map((e) => e.name.split("/").pop())
    .filter((each) => each != "favicon.ico").sort();
  const held = [document.pointerLockElement, document.fullscreenElement].map((each) => each?.tagName);
  return { ...begun, seen, kept, held, hover: document.querySelectorAll(":hover").length,
    dbs: await indexedDB.databases(), caches: await caches.keys(),
    workers: (await navigator.serviceWorker.getRegistrations()).length,
    served: !!navigator.serviceWorker.controller, beside: frames.length && await beside() };
}
const beside = () => new Promise((done) => {
  addEventListener("message", (e) => done(e.data)); frames[0].postMessage("tell", "*"); });
async function leave_traces() {
  sessionStorage.a = localStorage.a = name = document.cookie = "a=1"; scrollTo(0, 500);
  history.pushState({ a: 1 }, "", "#a"); history.pushState({ a: 2 }, "", "#b");
  const asked = indexedDB.open("a");
  await new Promise((done) => { asked.onsuccess = () => done(asked.result.close()); });
  await (await caches.open("a")).put("/a", new Response("a"));
  await navigator.serviceWorker.register("worker.js"); await navigator.serviceWorker.ready;
  frames[0]?.postMessage("leave", "*"); field.focus();
  await document.body.requestPointerLock?.({}).catch((e) => e.name);
  await document.body.requestFullscreen();
  addEventListener("pagehide", () => { sessionStorage.late = localStorage.late = name = document.cookie = "late=1";
    console.error("late"); throw new Error("late"); });
  onbeforeunload = (e) => { localStorage.later = 1; e.preventDefault(); };
  return document.fullscreenElement.tagName;
}
""" % list(KINDS)  # noqa: UP031
BESIDE = """onmessage = (e) => { if (e.data === "leave") { sessionStorage.b = localStorage.b = 1; return; }
  e.source.postMessage([{ ...sessionStorage }, { ...localStorage }], "*"); };"""
WORKER = b"onfetch = (e) => e.respondWith(new Response('kept')); onactivate = (e) => e.waitUntil(clients.claim());"
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
KEPT = (("Cache-Control", "max-age=600"),)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with a_house() as running:
        yield running


@pytest.fixture
def url(house: House) -> str:
    house.server.answers |= {
        "/picture.png": Answer(GIF, headers=(("Content-Type", "image/gif"), *KEPT)),
        "/asked": Answer(b"x", headers=KEPT),
        "/worker.js": Answer(WORKER, headers=(("Content-Type", "text/javascript"),)),
    }
    other = house.other.page("/beside", f"<script>{BESIDE}</script>")
    style = "<style>body { height: 3000px } div { height: 600px } div:hover { color: red }</style>"
    body = f"<body>{style}<div>Text</div><input id=field><iframe src={other}></iframe><script>{TELLS}</script>"
    return house.server.page("/tells", body)


async def told(page: Page, screen: Screen) -> dict[str, Any]:
    """What the page reads of its world, also after a finger or the mouse has moved and a key was pressed."""
    gestures = [TAP] if screen.touch else [MOVE, CLICK]
    found: dict[str, Any] = {"first": await page.ask("tell()", "looking")}
    for action in (*gestures, Action("a", "keys", ("a",)), *gestures):
        await page.begin(action)
        await page.end(action)

    async def all_has_come() -> bool:
        return bool(await page.ask("seen.filter((each) => each.startsWith('click')).length == 2", "listening"))

    await until(all_has_come, within_s=20)
    return found | {"then": await page.ask("tell()", "looking")}


@pytest.mark.parametrize("screen", [DESKTOP, UPRIGHT], ids=["mouse", "touch"])
async def test_nothing_is_left_in_a_page_that_is_used_again(house: House, url: str, screen: Screen) -> None:
    wanted = Wanted(screen=screen)
    page = await house.pages.fresh(wanted)
    await page.open(url, 20, watched=False)
    new = await told(page, screen)
    done = [(TAP, True), (TAP, False)] if screen.touch else [(KEY, False), (CLICK, True), (DRAG, False), (CLICK, False)]
    for action, ends in done:
        assert await page.ask("leave_traces()", "using it") == "BODY", "it fills the screen"
        await page.begin(action)
        if ends:
            await page.end(action)
        again = await house.pages.fresh(wanted)
        assert again is page, "the same one"
        assert page.incidents() == [], "what it did while it was left is no news"
        await page.open(url, 20, watched=False)
        now = await told(page, screen)
        for when, all_of_it in new.items():
            changed = {name: now[when][name] for name in all_of_it if now[when][name] != all_of_it[name]}
            assert not changed, (action, when, changed, {n: all_of_it[n] for n in changed})


REMEMBERS = """<canvas id=c></canvas><script>
  const x = c.getContext("2d"), best = Number(localStorage.best ?? 0); let n = 0, keys = 0;
  addEventListener("keydown", (e) => { keys += 1 + e.repeat; localStorage.best = keys; });
  addEventListener("mousemove", (e) => { keys += 100 * e.movementX; });
  const frame = () => { x.fillStyle = `rgb(${++n % 256}, ${keys % 256}, ${best * 50})`; x.fillRect(0, 0, 300, 150);
    requestAnimationFrame(frame); };
  frame();
</script>"""


async def test_the_same_inputs_give_the_same_frames_in_a_page_that_is_used_again(house: House) -> None:
    url = house.server.page("/remembers", REMEMBERS)
    inputs = Inputs((Step(10, KEY, 20), Step(15, CLICK, 4)))
    first = await house.stage(url).play(inputs, 60, 0)
    stage = house.stage(url)
    opened: list[Page] = []
    for until_frame in (20, 60, 25, 60):  # left with a key held, and without
        opened.append(await stage.open())
        trace = await stage.play(inputs, until_frame, 0)
        assert len(trace.samples) > 15 and parting(trace, first) is None
    assert len(set(map(id, opened))) == 1 and opened[0].emptied == 3
    assert len({each.pixels for each in first.samples}) > 30


def told_of_another(page: Page) -> bool:
    return any(each.kind == "popup" for each in page.incidents())


async def test_a_page_is_not_used_again_after_what_lasts(house: House) -> None:
    url = house.server.page("/plain", "Text")

    async def opened(wanted: Wanted = Wanted()) -> Page:  # noqa: B008
        page = await house.pages.fresh(wanted)
        await page.open(url, 20, watched=False)
        return page

    page, plain = await opened(), "void 0"
    script = Wanted(("window.more = 1;",))
    for lasts, asked, wanted in (
        (Action("resize", "resize", to_x=0.5, to_y=0.5), plain, Wanted()),
        (Action("offline", "offline"), plain, Wanted()),
        (None, "void open('about:blank')", Wanted()),
        (None, "void alert('Hello')", None),
        (None, plain, script),
    ):
        if lasts is not None:
            await page.begin(lasts)
        await page.ask(asked, "using it")
        if "open(" in asked:
            await until(partial(told_of_another, page), within_s=20)
        before, page = page, await opened(wanted or Wanted())
        assert (page is before) == (wanted is None), (lasts, asked, wanted)
    new = await house.pages.fresh(script, new=True)
    assert new is not page and await house.pages.fresh(script) is not new, "nor is it used again"


async def test_a_page_is_used_so_often_and_no_more(house: House) -> None:
    script = Wanted(("window.uses = 1;",))
    used = [await house.pages.fresh(script) for _ in range(MOST_USES + 1)]
    assert {id(each) for each in used[:-1]} == {id(used[0])} and used[-1] is not used[0]


async def test_a_page_that_cannot_be_left_is_closed(house: House) -> None:
    url = house.server.page("/stays", "Text<script>onpagehide = () => { for (;;); }</script>")
    page = await house.pages.fresh()
    await page.open(url, 20, watched=False)
    another = await house.pages.fresh()
    assert another is not page
    assert await another.ask("location.href", "looking") == "about:blank"
