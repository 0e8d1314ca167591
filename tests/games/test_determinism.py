"""Equal inputs and an equal seed give equal frames, whatever else the machine does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent_worker.games.actions import Action, click, key
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.trace import Trace, parting
from tests.games.owned import House, a_house
from tests.games.playing import Answer
from tests.harness import until

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

DOM = """<style>@keyframes fall { to { top: 400px; } } div { position: absolute; width: 30px; height: 30px; top: 0;
    background: red; animation: fall 1s linear both; } div.hit { transition: opacity 200ms; opacity: 0; }</style>
  <p id=score>0</p><script>
  let points = 0;
  setInterval(() => { const drop = document.createElement("div"); drop.style.left = Math.random() * 900 + "px";
    drop.onanimationend = () => drop.remove(); document.body.append(drop); }, 150);
  addEventListener("keydown", () => { const drop = document.querySelector("div:not(.hit)"); if (!drop) return;
    drop.classList.add("hit"); drop.addEventListener("transitionend", () => drop.remove());
    score.textContent = ++points; localStorage.best = points; });
</script>"""
WEBGL = """<canvas id=c width=320 height=200></canvas><script>
  const gl = c.getContext("webgl"), program = gl.createProgram();
  const shader = (kind, text) => { const s = gl.createShader(kind); gl.shaderSource(s, text); gl.compileShader(s);
    gl.attachShader(program, s); };
  shader(gl.VERTEX_SHADER, "attribute vec2 p; void main() { gl_Position = vec4(p, 0, 1); gl_PointSize = 20.0; }");
  shader(gl.FRAGMENT_SHADER, "precision mediump float; uniform vec4 k; void main() { gl_FragColor = k; }");
  gl.linkProgram(program); gl.useProgram(program); gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.enableVertexAttribArray(0); gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  let x = 0, last = performance.now(); addEventListener("keydown", () => { x = -x; });
  const frame = (at) => { x += (Math.random() - 0.4) * (at - last) / 500; last = at; if (x > 1) x = -1;
    gl.clearColor(0, 0, 0, 1); gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform4f(gl.getUniformLocation(program, "k"), Math.abs(x), 1, 0, 1);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([x, 0]), gl.DYNAMIC_DRAW); gl.drawArrays(gl.POINTS, 0, 1);
    requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
</script>"""
PROMISES = """<canvas id=c width=320 height=200></canvas><script type=module>
  const x = c.getContext("2d"), wait = (ms) => new Promise((done) => setTimeout(done, ms));
  let keys = 0; addEventListener("keydown", () => { keys += 1; });
  const level = async (n) => (await fetch(`/level.json?${n}`)).json();
  const walker = async (row) => { for (let n = 0; ; n++) { const { step } = await level(row);
    await Promise.all([wait(20 + Math.random() * 60), null, (async () => { for (let k = 0; k < 9; k++) await k; })()]);
    x.fillStyle = `hsl(${Math.random() * 360} 90% 50%)`; x.fillRect(n * step + keys, row * 40, step, 30); } };
  for (let row = 0; row < 4; row++) walker(row);
</script>"""
PLAYED = Inputs(tuple(Step(at, key("Space"), 3) for at in (20, 47, 80)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with a_house() as running:
        running.server.answers["/level.json"] = Answer(b'{"step": 5}', headers=(("Content-Type", "application/json"),))
        yield running


@contextmanager
def company() -> Iterator[None]:
    """Two loops that take all the processor time they can get."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


READ = """<p id=said></p><script>const word = new Uint8Array(4), own = requestAnimationFrame; let frames = 0;
  window.requestAnimationFrame = (call) => own((at) => { if (++frames % 10 === 3) {
    gl.readPixels(160, 100, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, word); said.textContent = word; } call(at); });</script>"""
NEEDED = {
    "nothing": (WEBGL, True),
    "what it adds to": (WEBGL.replace("gl.clear(gl.COLOR_BUFFER_BIT);", ""), True),
    "the last frame": (
        WEBGL.replace("requestAnimationFrame(frame); };", "at < 400 && requestAnimationFrame(frame); };"),
        False,
    ),
    "what a mask leaves": (WEBGL.replace("gl.clear(", "gl.colorMask(at < 500, true, true, true); gl.clear("), False),
    "what is not cleared": (
        WEBGL.replace("gl.clear(", "gl.enable(gl.SCISSOR_TEST); gl.scissor(0, 0, 90, 90); gl.clear(").replace(
            "gl.clear(gl.COLOR_BUFFER_BIT);", "gl.clear(gl.COLOR_BUFFER_BIT); gl.disable(gl.SCISSOR_TEST);"
        ),
        True,
    ),
    "what was drawn before a framebuffer": (
        WEBGL.replace(
            "gl.clear(gl.COLOR_BUFFER_BIT);",
            """if (at < 500) gl.clear(gl.COLOR_BUFFER_BIT); else { const f = gl.createFramebuffer();
              gl.bindFramebuffer(gl.FRAMEBUFFER, f); gl.deleteFramebuffer(f); }""",
        ),
        False,
    ),
    "what follows a framebuffer that is gone": (
        WEBGL.replace(
            "gl.clear(gl.COLOR_BUFFER_BIT);",
            """if (at >= 500) { const f = gl.createFramebuffer(); gl.bindFramebuffer(gl.FRAMEBUFFER, f);
              gl.deleteFramebuffer(f); } gl.clear(gl.COLOR_BUFFER_BIT);""",
        ),
        True,
    ),
    "what goes into a texture": (
        WEBGL.replace('"webgl"', '"webgl2"').replace(
            "requestAnimationFrame(frame); };",
            """if (at % 100 < 17) { const f = gl.createFramebuffer(), t = gl.createTexture();
              gl.bindTexture(gl.TEXTURE_2D, t); gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, 320, 200);
              gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, f);
              gl.framebufferTexture2D(gl.DRAW_FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, t, 0);
              gl.blitFramebuffer(0, 0, 320, 200, 0, 0, 320, 200, gl.COLOR_BUFFER_BIT, gl.NEAREST);
              gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null); } requestAnimationFrame(frame); };""",
        ),
        False,
    ),
    "a point": (READ + WEBGL, False),
    "a copy": (
        WEBGL.replace("<script>", "<canvas id=d></canvas><script>", 1).replace(
            "requestAnimationFrame(frame); };",
            "if (at % 100 < 17) d.getContext('2d').drawImage(c, 0, 0, 300, 150); requestAnimationFrame(frame); };",
        ),
        False,
    ),
}


ALWAYS = {"nothing", "what a mask leaves", "what follows a framebuffer that is gone", "a copy"}
"""Of `NEEDED`, what `make test` has time for. The others are for `make long`."""
assert NEEDED.keys() >= ALWAYS


@pytest.mark.parametrize(
    "needed", [each if each in ALWAYS else pytest.param(each, marks=pytest.mark.long) for each in NEEDED]
)
async def test_frames_are_left_undrawn_where_nothing_needs_them(house: House, needed: str) -> None:
    body, leaves_out = NEEDED[needed]
    url = house.server.page("/", body)
    traces: list[list[Trace]] = []
    for skips in (True, False):
        stage = house.stage(url)
        stage._skips = skips
        traces.append([await stage.play(PLAYED, stop, stop - 3) for stop in (50, 58, 63, 31, 41)])
        assert stage._skips == (skips and leaves_out)
    assert all(parting(*both) is None and both[0].samples for both in zip(*traces, strict=True))


async def trace(house: House, url: str, seed: int, inputs: Inputs, until: int) -> Trace:
    """From the load on, in a page of its own."""
    return await house.stage(url, seed).play(inputs, until, watch_from=0)


@pytest.mark.parametrize(
    "body", [DOM, WEBGL, pytest.param(PROMISES, marks=pytest.mark.long)], ids=["dom", "webgl", "promises"]
)
async def test_small_games_of_each_kind(house: House, body: str) -> None:
    url = house.server.page("/", body)
    one = await trace(house, url, 1, PLAYED, 110)
    with company():
        assert parting(one, await trace(house, url, 1, PLAYED, 110)) is None
    assert len({(each.pixels, each.page) for each in one.samples}) > 20
    unplayed = await trace(house, url, 1, Inputs(), 110)
    assert parting(one, unplayed) in range(21, 40)  # and not before the first key
    assert parting(one, await trace(house, url, 2, PLAYED, 110)) is not None


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_the_demo_game(house: House, seed: int) -> None:
    inputs = Inputs((Step(5, key("Enter")), Step(30, key("ArrowLeft"), 30), Step(80, key("Space"), 20)))
    url = f"{house.server.url}/index.html"
    one = await trace(house, url, seed, inputs, 150)
    with company():
        assert parting(one, await trace(house, url, seed, inputs, 150)) is None
    shorter = Inputs(inputs.steps[:1])
    assert parting(one, await trace(house, url, seed, shorter, 150)) in range(31, 35)


KEYS = st.sampled_from(["Enter", "ArrowLeft", "ArrowRight", "Space"]).map(key)
STEPS = st.builds(Step, st.integers(0, 60), KEYS | st.just(click(0.5, 0.5)), st.integers(1, 40))


@pytest.mark.long
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=1, max_size=5), cut=st.integers(1, 69))
async def test_any_inputs_in_the_demo_game(house: House, steps: list[Step], cut: int) -> None:
    url, inputs = f"{house.server.url}/index.html", Inputs().then(*steps)
    whole = await trace(house, url, 3, inputs, 70)
    stage = house.stage(url, 3)
    first = await stage.play(inputs, cut, watch_from=0)  # in two parts, which must make no difference
    rest = await stage.play(inputs, 70, watch_from=0)
    parts = Trace((*first.samples, *rest.samples))
    assert parting(parts, whole) is None
    for each in (parts, whole):  # its canvas is large: each third frame is compared, and the last of each call
        assert {*range(3, 71, 3), 70} <= {sample.frame for sample in each.samples}


async def test_what_an_input_draws_changes_nothing_that_is_drawn_later(house: House) -> None:
    """The handlers of libraries draw numbers, too: each click would be a control of a game that draws any."""
    url = house.server.page(
        "/draws",
        """<form id=f><input id=field></form><script>const out = [], drawn = [];
      addEventListener("keydown", async () => { drawn.push(Math.random());
        f.requestSubmit(); field.focus(); drawn.push(Math.random());
        await null; drawn.push(crypto.randomUUID()); });
      f.onsubmit = (event) => { event.preventDefault(); Math.random(); };
      field.onfocus = field.onblur = () => Math.random();
      addEventListener("keyup", () => { field.blur(); dispatchEvent(new Event("mine")); });
      const frame = () => { out.push(Math.random()); requestAnimationFrame(frame); }; frame();</script>""",
    )
    told = []
    for presses in ((), (5, 9), (5, 9), (6,)):
        stage = house.stage(url)
        await stage.play(Inputs(tuple(Step(at, key("A", "a"), 2) for at in presses)), 20)
        assert stage.page is not None
        told.append(await stage.page.ask("[out, drawn]", "reading"))
    assert all(out == told[0][0] and len(set(out)) > 15 for out, _ in told), "the frames draw the same"
    drawn = [each for _, each in told]
    assert drawn[1] == drawn[2] and len(set(drawn[1])) == 6 and not set(drawn[1]) & set(drawn[3])


async def test_what_is_drawn_when_a_load_is_here_does_not_depend_on_when_that_is(house: House) -> None:
    """A handler of an input asks for a file, which comes before the next frame is asked for, or after it."""
    house.server.answers["/level"] = Answer(b"x", headers=(("Cache-Control", "max-age=600"),))
    url = house.server.page(
        "/asks",
        """<script>const out = []; addEventListener("keydown", async () => {
        await (await fetch("/level")).text(); out.push(Math.random()); });
      const frame = () => { out.push(Math.random()); requestAnimationFrame(frame); }; frame();</script>""",
    )
    inputs = Inputs((Step(5, key("A", "a"), 2),))
    drawn = []
    for waits in (False, True, True):
        stage = house.stage(url)
        await stage.play(inputs, 6)  # the key is down
        assert stage.page is not None
        if waits:
            await stage.page.quiet(5)
        await stage.play(inputs, 20)
        drawn.append(await stage.page.ask("out", "reading"))
    assert drawn[0] == drawn[1] == drawn[2] and len(set(drawn[0])) > 15


@pytest.mark.parametrize(
    "kind", ["blur", "resize", *(pytest.param(each, marks=pytest.mark.long) for each in ("hide", "wheel"))]
)
async def test_what_happens_from_outside(house: House, kind: str) -> None:
    script = """let n = 0; const seen = []; const frame = () => { n += 1; requestAnimationFrame(frame); };
      requestAnimationFrame(frame); const note = (event) => { seen.push(`${event.type} ${n}`);
        document.body.textContent = seen; }; addEventListener("blur", note); addEventListener("resize", note);
      document.addEventListener("visibilitychange", note); addEventListener("wheel", note);"""
    url = house.server.page("/", f"<body><p>none</p><script>{script}</script>")
    action = Action(kind, kind, to_y=0.8)  # type: ignore[arg-type]
    inputs = Inputs((Step(10, action, 10), Step(30, Action("show", "show"), 1)))
    one = await trace(house, url, 1, inputs, 40)
    stage = house.stage(url, 1)
    assert parting(one, await stage.play(inputs, 40, watch_from=0)) is None
    assert stage.page is not None
    seen, frames = await stage.page.ask("[seen, n]", "reading")
    assert seen[0] == {"hide": "visibilitychange 10"}.get(kind, f"{kind} 10")
    assert frames == (20 if kind == "hide" else 40)  # a hidden page is not drawn


async def test_the_scrolling_of_the_browser_is_no_difference(house: House) -> None:
    rows = "".join(f"<h1>{n}</h1>" for n in range(80))
    url = house.server.page("/", f"<body>{rows}<script>addEventListener('keydown', () => 0)</script>")
    without = await trace(house, url, 1, Inputs(), 60)
    stage = house.stage(url, 1)
    with_key = await stage.play(Inputs((Step(10, key("ArrowDown"), 4), Step(20, key("Space"), 4))), 60, watch_from=0)
    page = stage.page
    assert page is not None
    await until(lambda: page.ask("scrollY > 0", "reading"))  # Chromium scrolls in its own time, smoothly
    assert parting(without, with_key) is None
