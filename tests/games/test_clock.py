"""The page's own time: each thing that tells or takes time follows the clock, in a real Chromium.

A page's script writes into `out`; what stands there after some frames is known beforehand, on any machine.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agent_worker.games.inputs import Inputs
from tests.games.owned import House, a_house
from tests.games.playing import Answer

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

EPOCH_MS = 1_700_000_000_000
FRAME_MS = 1000 / 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with a_house() as running:
        yield running


async def test_dates(house: House) -> None:
    script = """
      class Day extends Date { twice() { return 2 * this.getTime(); } }
      const at = () => out.push([Date.now(), +new Date(), new Date().constructor === Date, new Date() instanceof Date,
        new Day().twice(), new Day() instanceof Day, new Date(5).getTime(), typeof Date(), Date.UTC(1970, 0, 2),
        +new Date(Date()), new Intl.DateTimeFormat("en", { timeStyle: "medium" }).format() ===
        new Intl.DateTimeFormat("en", { timeStyle: "medium" }).format(new Date())]);
      at(); setTimeout(at, 1500);
    """
    later = EPOCH_MS + 1500
    assert await house.ran(script, 100) == [
        [EPOCH_MS, EPOCH_MS, True, True, 2 * EPOCH_MS, True, 5, "string", 86400000, EPOCH_MS, True],
        [later, later, True, True, 2 * later, True, 5, "string", 86400000, later // 1000 * 1000, True],
    ]


async def test_performance(house: House) -> None:
    script = """
      out.push(performance.now(), performance.timeOrigin, performance.timing.navigationStart,
        performance.memory.usedJSHeapSize);
      performance.mark("a");
      setTimeout(() => { performance.mark("b"); out.push(performance.measure("ab", "a", "b").duration);
        out.push(performance.measure("a-", "a").duration, performance.measure("all").duration);
        out.push(performance.getEntries().map((each) => each.entryType).join(), document.timeline.currentTime);
        addEventListener("x", (event) => out.push(event.timeStamp)); dispatchEvent(new Event("x")); }, 250);
    """
    assert await house.ran(script, 20) == [
        *(0, EPOCH_MS, EPOCH_MS, 1e7),
        *(250, 250, 250),
        *("mark,measure,measure,measure,mark", 250, 250),
    ]


async def test_the_window_seems_as_large_as_its_viewport(house: House) -> None:
    # A game may have a variable of its own that is called `screen`.
    script = "window.screen = null; out.push(outerWidth, outerHeight, innerWidth, innerHeight);"
    assert await house.ran(script, 2) == [1280, 720, 1280, 720]


async def test_timers(house: House) -> None:
    script = """
      const say = (what) => out.push(`${what} ${Math.round(performance.now())}`);
      setTimeout(say, 20, "second"); setTimeout(say, 10, "first"); setTimeout("say('text')", 30);
      clearTimeout(setTimeout(say, 15, "never")); setTimeout(() => say(String(this === window)), 40);
      let n = 0; const every = setInterval(() => { say("tick"); if (++n === 2) clearInterval(every); }, 45);
      const nest = (left) => left ? setTimeout(nest, 0, left - 1) : say("nested");
      setTimeout(nest, 100, 7);
    """
    assert await house.ran(script, 20) == [
        *("first 10", "second 20", "text 30", "true 40", "tick 45", "tick 90"),
        "nested 112",  # the first five start at once, the other three after 4 ms each
    ]


async def test_animation_frames(house: House) -> None:
    script = """
      const say = (what, at) => out.push(`${what} ${Math.round(at ?? performance.now())}`);
      let other = 0;
      requestAnimationFrame((at) => { say("a", at); cancelAnimationFrame(other);
        Promise.resolve().then(() => say("microtask")); requestAnimationFrame((at) => say("d", at)); });
      other = requestAnimationFrame(() => say("cancelled"));
      requestAnimationFrame((at) => say("c", at));
      requestIdleCallback((deadline) => say("idle " + deadline.didTimeout + (deadline.timeRemaining() > 0)));
    """
    assert await house.ran(script, 4) == ["idle falsetrue 1", "a 17", "microtask 17", "c 17", "d 33"]


async def test_what_a_page_posts_to_itself(house: House) -> None:
    script = """
      const channel = new MessageChannel(); let n = 0;
      channel.port1.onmessage = ({ data }) => { n += 1; if (n < 5) channel.port2.postMessage(data);
        else out.push(["channel", data.deep[0], performance.now()]); };
      channel.port2.postMessage({ deep: [7] });
      addEventListener("message", ({ data, source }) => out.push([data, source === window, performance.now()]));
      postMessage("to myself", "*");
      scheduler.postTask(() => "task", { delay: 50 }).then((said) => out.push([said, performance.now()]));
      scheduler.yield().then(() => out.push("yielded"));
      AbortSignal.timeout(80).addEventListener("abort", ({ target }) => out.push([target.reason.name,
        performance.now()]));
    """
    assert await house.ran(script) == [
        *(["to myself", True, 0], "yielded"),
        *(["channel", 7, 0], ["task", 50], ["TimeoutError", 80]),
    ]


async def test_a_loop_of_messages_lets_time_pass(house: House) -> None:
    script = """
      const { port1, port2 } = new MessageChannel(); let turns = 0;
      port1.onmessage = () => { turns += 1; port2.postMessage(0); }; port2.postMessage(0);
      const frame = () => { out.push(turns); requestAnimationFrame(frame); }; requestAnimationFrame(frame);
    """
    once, again = await house.ran(script, 3), await house.ran(script, 3)
    assert once == again and 0 < once[0] < once[1] < once[2]


async def test_chance_comes_from_the_seed(house: House) -> None:
    url = house.server.page(
        "/",
        """<script>const out = [Math.random(), crypto.randomUUID(),
      [...crypto.getRandomValues(new Uint16Array(3))].join()];</script>""",
    )
    drawn = []
    for seed in (1, 1, 2):
        page = await house.stage(url, seed).open()
        drawn.append(await page.ask("out", "reading"))
    one, same, other = drawn
    assert one == same and not set(one) & set(other)


async def test_a_busy_wait_ends(house: House) -> None:
    script = """
      requestAnimationFrame(() => { const until = performance.now() + 60; while (performance.now() < until);
        out.push(Math.round(performance.now())); requestAnimationFrame((at) => out.push(Math.round(at))); });
    """
    assert await house.ran(script, 8) == [77, 83]  # the three frames between are dropped


async def test_loads_take_no_time(house: House) -> None:
    dot = b'<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"><rect width="2" height="2"/></svg>'
    house.server.answers["/dot.svg"] = Answer(dot, headers=(("Content-Type", "image/svg+xml"),))
    house.server.answers["/more.js"] = Answer(b"out.push('script');", headers=(("Content-Type", "text/javascript"),))
    house.server.answers["/data.json"] = Answer(b'{"n": 5}', headers=(("Content-Type", "application/json"),))
    script = """
      const at = (what) => () => out.push(`${what} ${Math.round(performance.now())}`);
      const get = async () => { const { n } = await (await fetch("/data.json")).json(); at("fetch" + n)(); };
      const xhr = () => { const x = new XMLHttpRequest(); x.open("GET", "/data.json"); x.onload = at("xhr");
        x.send(); };
      const picture = () => { const i = new Image(); i.onload = at("picture"); i.src = "/dot.svg?" + out.length; };
      const tag = (name, some) => document.body.append(Object.assign(document.createElement(name), some));
      const inner = () => { const d = document.createElement("div"); document.body.append(d);
        d.innerHTML = "<img src='/dot.svg?inner'>"; d.firstChild.onload = at("inner"); };
      const base = () => { const asked = indexedDB.open("b", 1);
        asked.onupgradeneeded = () => asked.result.createObjectStore("s");
        asked.onsuccess = () => { const t = asked.result.transaction("s", "readwrite");
          t.objectStore("s").put(5, "k");
        t.oncomplete = () => { const then = asked.result.transaction("s").objectStore("s").get("k");
            then.onsuccess = at("database"); }; }; };
      const all = [get, xhr, picture, () => tag("script", { src: "/more.js" }), inner, base,
        () => tag("iframe", { src: "/data.json", onload: at("frame") }),
        () => crypto.subtle.digest("SHA-256", new Uint8Array(9)).then(at("digest")),
        () => new Blob(["x"]).text().then(at("blob")),
        () => document.createElement("canvas").toBlob(at("toBlob"))];
      all.forEach((each, n) => setTimeout(each, 100 * (n + 1)));
    """
    assert await house.ran(script, 66) == [
        *("fetch5 100", "xhr 200", "picture 300", "script", "inner 500", "database 600"),
        *("frame 700", "digest 800", "blob 900", "toBlob 1000"),
    ]


class Overtaken(dict[str, Answer]):
    """Answers of a server that has an answer to /first only after it was asked for /second."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.second = threading.Event()

    def get(self, path: str, default: Any = None) -> Any:
        if path == "/second":
            self.second.set()
        elif path == "/first":
            self.second.wait(20)
        return super().get(path, default)


async def test_requests_come_in_the_order_in_which_they_were_sent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Answer(b"said", headers=(("Content-Type", "text/plain"),))
    monkeypatch.setattr(house.server, "answers", Overtaken({"/first": text, "/second": text, "/at-once": text}))
    script = """
      const sent = (path, set = () => 0, wait = true) => { const x = new XMLHttpRequest(); set(x);
        x.open("GET", path, wait); x.send(); return x; };
      const said = (what) => (event) => out.push([what, event.target.readyState, event.target.responseText]);
      sent("/first", (x) => { x.onload = said("first"); x.onloadend = () => out.push("end of the first"); });
      sent("/second", (x) => x.addEventListener("readystatechange", (e) => x.readyState === 4 && said("second")(e)));
      sent("/missing", (x) => x.addEventListener("load", () => out.push(x.status)));
      sent("/first", (x) => { x.onabort = () => out.push("aborted"); x.onload = said("never"); }).abort();
      out.push(sent("/at-once", undefined, false).responseText, new XMLHttpRequest() instanceof XMLHttpRequest);
      fetch("/second").then(() => out.push("fetch"));
      sent("/second", (x) => { x.onerror = said("never"); x.onload = said("last"); });
    """
    assert await house.ran(script, 4) == [
        *("aborted", "said", True, ["first", 4, "said"], "end of the first", ["second", 4, "said"], 404, "fetch"),
        ["last", 4, "said"],
    ]


async def test_errors_are_still_errors(house: House) -> None:
    script = """
      addEventListener("error", (event) => out.push(event.message));
      setTimeout(() => missing(), 20); requestAnimationFrame(() => { throw new Error("in a frame"); });
      setTimeout(() => fetch("http://127.0.0.1:1/"), 30);
    """
    url = house.server.page("/", f"<script>const out = [];{script}</script>")
    stage = house.stage(url)
    trace = await stage.play(Inputs(), 30)
    assert stage.page is not None
    assert await stage.page.ask("out", "reading") == [
        "Uncaught Error: in a frame",
        "Uncaught ReferenceError: missing is not defined",
    ]
    errors = [each.incident.detail for each in trace.happened if each.incident.kind == "pageerror"]
    assert errors[:2] == ["Error: in a frame", "ReferenceError: missing is not defined"]
    assert "Failed to fetch" in errors[2]  # nobody handles it


async def test_animations(house: House) -> None:
    body = """<style>@keyframes go { to { transform: translateX(600px); } }
      #a { animation: go 1s linear both; } #b { transition: margin-left 500ms linear; }</style>
      <div id=a>a</div><div id=b>b</div><div id=c>c</div>"""
    script = """
      const x = () => Math.round(new DOMMatrix(getComputedStyle(a).transform).e);
      const margin = () => Math.round(parseFloat(getComputedStyle(b).marginLeft));
      a.onanimationend = () => out.push(["end", Math.round(performance.now() / 1000 * 60)]);
      b.addEventListener("transitionend", () => out.push(["transitioned",
        Math.round(performance.now() / 1000 * 60)]));
      const web = c.animate([{ opacity: 0 }, { opacity: 1 }], 200);
        web.finished.then(() => out.push(["finished", web.playState]));
      let n = 0; const frame = () => { n += 1; if (n === 31) { out.push([x(), margin()]);
        b.style.marginLeft = "100px"; }
        if (n === 47) out.push([x(), margin()]); requestAnimationFrame(frame); }; requestAnimationFrame(frame);
    """
    once = await house.ran(script, 75, body)
    assert once == await house.ran(script, 75, body)
    assert [each[0] for each in once] == ["finished", 310, 470, "end", "transitioned"]
    assert once[0] == ["finished", "finished"]
    assert once[2][1] in (50, 51, 52, 53)  # half of its way


async def test_sounds_and_films(house: House) -> None:
    rate, seconds = 8000, 1
    wave = b"RIFF" + (36 + rate * seconds).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    wave += b"".join(n.to_bytes(size, "little") for n, size in ((1, 2), (1, 2), (rate, 4), (rate, 4), (1, 2), (8, 2)))
    wave += b"data" + (rate * seconds).to_bytes(4, "little") + bytes(128 for _ in range(rate * seconds))
    house.server.answers["/a.wav"] = Answer(wave, headers=(("Content-Type", "audio/wav"),))
    script = """
      const at = (what) => () => out.push(`${what} ${Math.round(performance.now())}`);
      const sound = new Audio("/a.wav"); sound.muted = true; sound.onended = at("ended");
      sound.oncanplaythrough = () => { setTimeout(() => { sound.play().then(at("playing")); }, 100);
        setTimeout(() => out.push(sound.currentTime, sound.paused), 600); };
      const context = new AudioContext(); const node = context.createOscillator(); node.connect(context.destination);
      node.onended = at("oscillator"); node.start(); node.stop(0.3);
      setTimeout(() => out.push(context.currentTime, context.state), 500);
      setTimeout(() => context.suspend().then(() => out.push(context.state)), 700);
      setTimeout(() => out.push(context.currentTime), 1500);
    """
    assert await house.ran(script, 100) == [
        *("playing 100", "oscillator 300", 0.5, "running", 0.5, False),
        *("suspended", "ended 1100", 0.7),
    ]


async def test_visibility_and_focus(house: House) -> None:
    assert await house.ran("out.push(document.hidden, document.visibilityState, document.hasFocus());") == [
        *(False, "visible", True),
    ]


async def test_observers_tell_in_the_frame(house: House) -> None:
    script = """
      let n = 0; new ResizeObserver(([{ contentRect }]) => out.push(["size", contentRect.width, n])).observe(box);
      new IntersectionObserver(([each]) => out.push(["seen", each.isIntersecting, n])).observe(box);
      const frame = () => { n += 1; if (n === 5) box.style.width = "70px"; requestAnimationFrame(frame); };
      requestAnimationFrame(frame);
    """
    assert await house.ran(script, 12, "<div id=box style='width:50px;height:9px'></div>") == [
        *(["size", 50, 0], ["seen", True, 0], ["size", 70, 5]),
    ]


async def test_frames_of_the_same_origin_share_the_clock(house: House) -> None:
    house.server.page(
        "/inner",
        """<script>
      requestAnimationFrame((at) => parent.out.push(["inner", at === parent.performance.now(),
        performance.now() === at]));
      setTimeout(() => parent.out.push(["inner timer", Date.now()]), 100);</script>""",
    )
    body = """<iframe src=/inner></iframe>
      <iframe srcdoc='<script>setTimeout(() => parent.out.push(innerWidth), 50)</script>'></iframe>"""
    script = """
      const made = document.createElement("iframe"); document.body.append(made);
      const there = made.contentDocument; there.open();
      there.write("<script>setTimeout(() => parent.out.push('written'), 150)<\\/script>"); there.close();
      made.contentWindow.setTimeout(function () { out.push(["theirs", this === made.contentWindow]); }, 200);
      setTimeout(() => made.remove(), 250);
      made.contentWindow.setTimeout(() => out.push("of a frame that is gone"), 300);
    """
    url = house.server.page("/", f"<body><script>window.out = [];</script>{body}<script>{script}</script>")
    stage = house.stage(url)
    await stage.play(Inputs(), 30)
    assert stage.page is not None
    assert await stage.page.ask("out", "reading") == [
        *(["inner", True, True], 300, ["inner timer", EPOCH_MS + 100], "written", ["theirs", True]),
    ]


DRAWN = {
    "canvas": """const x = c.getContext("2d"); const frame = (at) => { x.fillStyle = "#fff"; x.fillRect(0, 0, 300, 150);
      x.fillStyle = "#000"; x.fillRect(at < 80 ? 10 : 11, 10, 9, 9); requestAnimationFrame(frame); };""",
    "webgl": """const gl = c.getContext("webgl"); const frame = (at) => { gl.clearColor(at < 80 ? 0.2 : 0.3, 0, 0, 1);
      gl.clear(gl.COLOR_BUFFER_BIT); requestAnimationFrame(frame); };""",
    "offscreen": """const x = c.transferControlToOffscreen().getContext("2d"); const frame = (at) => {
      x.fillRect(0, 0, at < 80 ? 30 : 31, 9); requestAnimationFrame(frame); };""",
}


@pytest.mark.parametrize("kind", DRAWN)
async def test_what_a_canvas_shows_is_compared(house: House, kind: str) -> None:
    script = f"{DRAWN[kind]} requestAnimationFrame(frame);"
    url = house.server.page("/", f"<canvas id=c></canvas><script>{script}</script>")
    one, same = [(await house.stage(url).play(Inputs(), 8, watch_from=0)).samples for _ in range(2)]
    assert one == same and [each.frame for each in one] == ([4, 8] if kind == "webgl" else list(range(1, 9)))
    early, late = ([each.pixels for each in one if (each.frame > 4) == part] for part in (False, True))
    assert len(set(early)) == 1 and len(set(late)) == 1 and early[0] != late[0]
    assert len({each.page for each in one}) == 1


async def test_what_is_not_of_the_pages_time_is_named(house: House) -> None:
    script = """new Worker(URL.createObjectURL(new Blob(["0"]))); new WebSocket("ws://127.0.0.1:1/");
      new AudioContext().createAnalyser().getByteFrequencyData(new Uint8Array(9));"""
    stage = house.stage(house.server.page("/", f"<script>{script}</script>"))
    await stage.play(Inputs(), 2)
    assert set(await stage.uncontrolled()) == {"Worker", "WebSocket", "AnalyserNode"}


async def test_the_clock_is_not_the_pages(house: House) -> None:
    script = """
      for (const key in window) if (key.startsWith("__vt")) out.push(key);
      out.push(Object.keys(window).includes("__vt"), __vt(), __vt("guess"));
      try { delete window.__vt; } catch {} window.__vt = () => ({ advance: () => "forged" });
      try { Object.defineProperty(window, "__vt", { value: 1 }); } catch (error) { out.push(error.name); }
    """
    assert await house.ran(script) == [False, None, None, "TypeError"]
