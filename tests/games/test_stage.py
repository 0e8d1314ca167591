"""A game on a stage: what is known of it, and what becomes of one that hangs, leaves, or is another each time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_worker.games.errors import PageHung
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import parting
from tests.games.owned import House, a_house
from tests.games.playing import Answer
from tests.harness import until

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with a_house() as running:
        yield running


async def test_a_script_that_does_not_return_hangs(house: House) -> None:
    script = "requestAnimationFrame(() => requestAnimationFrame(() => { for (;;); }));"
    stage = house.stage(house.server.page("/", f"<script>{script}</script>"))
    with pytest.raises(PageHung, match="while playing"):
        await stage.play(Inputs(), 60)
    assert stage.page is not None
    await stage.page.break_script()


async def test_what_a_game_shows_and_tells(house: House) -> None:
    body = """<canvas id=c></canvas><label>Your name <input id=who></label><input type=checkbox checked>
      <select id=level><option>easy<option>hard</select><dialog open>Accept cookies?</dialog><p>Text</p>"""
    script = """
      const x = c.getContext("2d"); let n = 0; window.render_game_to_text = () => JSON.stringify({ n });
      window.advanceTime = () => {};
      const frame = () => { x.fillText(++n < 30 ? "Press N" : "Score 12", 9, 9);
        if (n < 60) requestAnimationFrame(frame); };
      requestAnimationFrame(frame); setTimeout(() => { alert("Hello"); addEventListener("keydown", () => 0); }, 300);
      function unused() { return 5; }
      console.error("odd"); setTimeout(function late() { missing.there; }, 500);
    """
    url = house.server.page("/shown", f"<body>{body}<script>{script}</script>")
    stage = house.stage(url, measure_code=True)
    await stage.play(Inputs(), 20)
    first = await stage.state()
    assert first.words.split("\n")[0] == "Press N" and "Accept cookies?" in first.words and "Text" in first.words
    assert [(each.kind, each.name, each.checked, each.options) for each in first.fields] == [
        ("text", "Your name", False, ()),
        ("checkbox", "", True, ()),
        ("select-one", "level", False, ("easy", "hard")),
    ]
    assert (await stage.about()).text == '{"n":20}' and not (await stage.about()).loop.stopped
    trace = await stage.play(Inputs(), 70)
    last = await stage.state()
    assert last.words.split("\n")[0] == "Score 12" and last.dialogs == ("Hello",) and last.hears_keys
    clock = await stage.about()
    assert clock.loop.stopped and clock.advances and clock.uncontrolled == ()
    told = {each.incident.kind: each.incident for each in trace.happened}
    assert told["console"].stack.startswith(url) if "console" in told else True
    assert "late" in told["pageerror"].stack and "missing" in told["pageerror"].detail
    sources = await stage.sources()
    assert list(sources) == [url] and "function unused" in sources[url]
    covered = await stage.coverage()
    assert 0 < covered.used < covered.total and len(covered.functions) >= 5
    await stage.play(Inputs(), 10)  # opened afresh
    assert covered.functions <= (await stage.coverage()).functions
    assert 100_000 < await stage.heap() < 100_000_000


async def test_a_page_that_loads_itself_again_is_played_on(house: House) -> None:
    script = """
      sessionStorage.loads = Number(sessionStorage.loads ?? 0) + 1;
      let n = 0; const frame = () => { document.body.textContent = `${sessionStorage.loads} ${++n}`;
        if (n === 20 && sessionStorage.loads < 3) location.reload(); requestAnimationFrame(frame); };
      requestAnimationFrame(frame);
    """
    stage = house.stage(house.server.page("/again", f"<body><script>{script}</script>"))
    traces = []
    for _ in range(2):
        traces.append(await stage.play(Inputs(), 70, watch_from=0))
        assert (await stage.state()).words.strip() == "3 30" and stage.documents == 3
        await stage.open()
    assert parting(*traces) is None
    assert (
        [each.frame for each in traces[0].samples] == list(range(1, 71)) == [each.frame for each in traces[1].samples]
    )


async def test_a_page_that_is_kept_from_leaving_is_played_on(house: House) -> None:
    script = """let n = 0; const frame = () => { n += 1; if (n === 20) location.href = "http://127.0.0.1:1/";
      requestAnimationFrame(frame); }; requestAnimationFrame(frame);"""
    stage = house.stage(house.server.page("/", f"<script>{script}</script>"))
    trace = await stage.play(Inputs(), 40)
    assert stage.page is not None and await stage.page.ask("n", "reading") == 40
    assert [each.incident.kind for each in trace.happened] == ["left"]


async def test_a_frame_of_another_origin_is_moved_in_step(house: House) -> None:
    inner = house.other.page(
        "/foreign",
        """<canvas id=c></canvas><script>const x = c.getContext("2d"); let n = 0;
      const frame = () => { n += 1; x.fillRect(n, 0, 9, 9); requestAnimationFrame(frame); };
      requestAnimationFrame(frame); addEventListener("keydown", () => { n += 50; });</script>""",
    )
    stage = house.stage(house.server.page("/", f"<iframe id=f src={inner}></iframe><script>f.focus()</script>"))
    traces = [await stage.play(Inputs(), 12, watch_from=0)]
    assert stage.page is not None
    (told,) = await stage.page.foreign_clocks("about()", "reading")
    assert told["frame"] == 12 and "frame of another origin" in await stage.uncontrolled()
    await stage.open()
    traces.append(await stage.play(Inputs(), 12, watch_from=0))
    assert parting(*traces) is None
    assert len({each.pixels for each in traces[0].samples}) == 12


async def test_modules_that_ask_for_modules_are_waited_for(house: House) -> None:
    kind = (("Content-Type", "text/javascript"),)
    house.server.answers["/a.js"] = Answer(b"import('/b.js').then(({ go }) => go());", headers=kind)
    house.server.answers["/b.js"] = Answer(b"const { at } = await import('/c.js'); export const go = at;", headers=kind)
    house.server.answers["/c.js"] = Answer(
        b"export const at = () => requestAnimationFrame((now) => { window.first = now; });", headers=kind
    )
    stage = house.stage(house.server.page("/", "<script type=module>import('/a.js');</script>"))
    await stage.play(Inputs(), 3)
    assert stage.page is not None and await stage.page.ask("Math.round(first)", "reading") == 17


async def test_a_game_is_moved_by_its_hook_where_it_asks_for_no_frames(house: House) -> None:
    script = """let ms = 0; window.advanceTime = async (by) => { ms += by; await null; };
      window.render_game_to_text = () => JSON.stringify({ ms: Math.round(ms) });"""
    stage = house.stage(house.server.page("/", f"<script>{script}</script>"))
    trace = await stage.play(Inputs(), 30, watch_from=0)
    assert (await stage.about()).text == '{"ms":500}' and len({each.page for each in trace.samples}) == 30
    loop = "const f = () => requestAnimationFrame(f); f();"  # a game that moves itself is not moved twice
    stage = house.stage(house.server.page("/", f"<script>{script}{loop}</script>"))
    await stage.play(Inputs(), 30)
    assert (await stage.about()).text == '{"ms":0}'


async def test_a_picture_that_never_comes_is_waited_for_once(house: House) -> None:
    house.server.answers["/never.png"] = Answer(status=0, endless=True)
    house.server.answers["/soon.json"] = Answer(b"5", headers=(("Content-Type", "application/json"),))
    script = "let n = 0; fetch('/soon.json').then((r) => r.json()).then((five) => { n = five; });"
    url = house.server.page("/", f"<body><img src=/never.png><script>{script}</script>")
    stage = Stage(house.pages, GameJob("a-test", url, 60, 7), deadline=math.inf, load_s=6)
    for waited_before in (False, True):
        await stage.open()
        assert stage.page is not None
        assert ("document" in (await stage.about()).gave_up) is waited_before
        await stage.play(Inputs(), 2)
        assert await stage.page.ask("n", "reading") == 5, "what does come is still waited for"
        assert (await stage.about()).uncontrolled == ("document that takes longer than 2 s",)


async def test_what_waits_for_its_turn_behind_a_load_that_never_comes_comes_all_the_same(house: House) -> None:
    house.server.answers["/never.json"] = Answer(status=0, endless=True)
    house.server.answers["/soon.json"] = Answer(b"5", headers=(("Content-Type", "application/json"),))
    script = """const out = []; fetch("/never.json"); for (let n = 0; n < 8; n++) {
      fetch("/soon.json").then(() => out.push(n));
      const x = new XMLHttpRequest(); x.onload = () => out.push(`xhr ${n}`); x.open("GET", "/soon.json"); x.send(); }"""
    url = house.server.page("/", f"<body><script>{script}</script>")
    stage = Stage(house.pages, GameJob("a-test", url, 60, 7), deadline=math.inf, load_s=6)
    await stage.play(Inputs(), 3)
    page = stage.page
    assert page is not None

    async def all_came() -> bool:
        return bool(await page.ask("out.length", "reading") == 16)

    await until(all_came, within_s=30)
    expected = [*map(str, range(8)), *(f"xhr {n}" for n in range(8))]
    assert sorted(map(str, await page.ask("out", "reading"))) == sorted(expected)
