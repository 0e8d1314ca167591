"""The search for controls on small games whose controls are known, in a real Chromium and in owned time.

What is found does not depend on how quick the machine is: nothing here is judged by the clock on the wall.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from agent_worker.games.actions import key
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.controls import candidates
from agent_worker.games.controls.discovery import ANY_KEY, ControlSearch
from agent_worker.games.controls.known_controls import Controls
from agent_worker.games.controls.starting import Situations, get_in
from agent_worker.games.controls.trials import Trials
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.experiments import Lab, Moment
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.run import gathering
from agent_worker.games.run.summary import Summary
from agent_worker.games.screen import VIEWPORT, Screen
from tests.games import control_games
from tests.games.playing import GameServer, OnlyThese, game_server

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]


STEERED = """<canvas id=c></canvas><script>const x = c.getContext("2d"); let at = 9, by = 0, n = 0;
  addEventListener("keydown", ({ key }) => { by = { ArrowLeft: -2, ArrowRight: 2 }[key] ?? by; });
  const frame = () => { requestAnimationFrame(frame); n += 1; at += by; x.clearRect(0, 0, 300, 150);
    x.fillRect((at % 300 + 300) % 300, n % 99, 20, 20); }; frame();</script>"""


@dataclass
class Heard:
    """What was told."""

    lines: list[str] = field(default_factory=list)
    controls: dict[str, bytes | None] = field(default_factory=dict)

    async def progress(self, message: str, **data: object) -> None:
        self.lines.append(message)

    async def action(self, action: str, message: str | None = None) -> None:
        self.lines.append(action)

    async def evidence(self, message: str, jpeg: bytes | None, **data: Any) -> None:
        self.lines.append(message)
        self.controls[data["control"]] = jpeg


class House(NamedTuple):
    pages: Pages
    server: GameServer

    def stage(self, body: str) -> Stage:
        url = self.server.page("/", body)
        return Stage(self.pages, GameJob("a-test", url, 60, 7), deadline=math.inf)

    async def searched(self, body: str) -> tuple[Situations, Controls, Heard]:
        stage, heard = self.stage(body), Heard()
        situations = await get_in(stage, heard, math.inf)
        search = ControlSearch(situations, heard)
        await search.likely_ones(math.inf)
        await search.rest(math.inf)
        return situations, search.result(), heard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    with game_server() as server:
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.pages() as pages:
            yield House(pages, server)


@pytest.mark.long
async def test_all_controls_of_a_game_and_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "RARER", (*candidates.RARER[:12], "Q", "1", "Shift"))  # all of them take a minute
    situations, controls, heard = await house.searched(control_games.SHIP)
    assert [action.name for action in situations.begun_by] == ["N"]  # which stands on the canvas only
    assert situations.restarted_by is not None and situations.restarted_by.name == "R"
    where = {name: control.situations for name, control in controls.found.items()}
    assert where == {
        **{name: ["playing"] for name in ("ArrowLeft", "ArrowRight", "M", "Space", "Q")},
        "N": ["title"],
        "R": ["over"],
    }
    assert all(control.shown == control.tried >= 2 for control in controls.found.values())
    assert controls.found["Space"].delay == 41  # frames: it is delayed
    assert controls.found["M"].effect.ways == {"sound"} and heard.controls["M"] is not None
    assert controls.found["Q"].change > 0  # seen in one frame only
    assert [dead.promise.key for dead in controls.dead] == ["K"]
    assert "K: kick" in controls.dead[0].promise.quote
    assert controls.determinism.agreed == controls.determinism.moments >= 4
    assert not controls.untried and heard.controls.keys() == controls.found.keys()
    assert "Testing arrow keys" in heard.lines
    assert any(line.startswith("Pressing ArrowLeft moves the picture (") for line in heard.lines)


async def test_where_any_key_acts_the_rest_is_not_tried_one_by_one(house: House) -> None:
    hears = """<canvas id=c></canvas><script>const x = c.getContext("2d"); let n = 0;
      const frame = () => { x.fillStyle = `rgb(${n % 256}, ${performance.now() / 20 % 256}, 0)`;
        x.fillRect(0, 0, 300, 150); requestAnimationFrame(frame); }; frame();
      addEventListener("keydown", () => { n += 90; });</script>"""
    stage = house.stage(hears)
    search = ControlSearch(await get_in(stage, Heard(), math.inf), Heard())
    await search.likely_ones(math.inf)
    likely = search.take_branches()
    await search.rest(math.inf)
    assert list(search.result().found) == [ANY_KEY]
    assert search.take_branches() < 12 < len(candidates.RARER) and likely < 60


async def test_a_key_that_may_be_meant_and_does_nothing_is_listed_and_no_fault(house: House) -> None:
    """Many games say "arrow keys" and mean two of them."""
    stage = house.stage(f"<p>Arrow keys: steer</p>{STEERED}")
    search = ControlSearch(await get_in(stage, Heard(), math.inf), Heard())
    await search.likely_ones(math.inf)
    controls, summary = search.result(), Summary()
    assert {"ArrowLeft", "ArrowRight"} <= controls.found.keys() and not controls.dead
    assert [each.key for each in controls.doubtful] == ["ArrowUp", "ArrowDown"]
    gathering.of_controls(summary, controls)
    said = 'whether "Arrow keys: steer" also means ArrowUp, ArrowDown, which did nothing where other keys did'
    assert said in summary.unknown["controls"]


async def test_keys_that_a_page_marks_are_promised_where_they_are_seen(house: House) -> None:
    marked = "<p>Keys: <b><kbd> J </kbd> / <kbd>K</kbd></b><kbd hidden>Q</kbd></p><p hidden><kbd>X</kbd></p>"
    stage = house.stage(f"{marked}{STEERED}")
    await stage.play(Inputs(), 10)
    state = await stage.state()
    assert state.keys == "<kbd>J</kbd> / <kbd>K</kbd>" and "<kbd>" not in state.words
    situations = await get_in(stage, Heard(), math.inf)
    assert [each.key for each in situations.promises] == ["J", "K"]


async def test_a_key_that_is_kept_from_the_game_which_means_it_is_a_fault(house: House) -> None:
    """Many pages keep arrow keys from scrolling, also those that their game does not mean."""
    stop = "addEventListener('keydown', (e) => /Up|Down/.test(e.code) && e.stopImmediatePropagation(), true)"
    game = STEERED.replace("ArrowRight: 2 }", "ArrowRight: 2, ArrowUp: 5 }")
    stage = house.stage(f"<script>{stop}</script><p>Arrow keys: choose</p>{game}")
    search = ControlSearch(await get_in(stage, Heard(), math.inf), Heard())
    await search.likely_ones(math.inf)
    controls = search.result()
    assert [(each.promise.key, each.promise.when, each.kept_away) for each in controls.dead] == [
        ("ArrowUp", "sometimes", True)
    ]
    assert [each.key for each in controls.doubtful] == ["ArrowDown"]


PRESSED = """<canvas id=c width=800 height=600></canvas><script>const x = c.getContext("2d"); let since = 0;
  const draw = (colour) => { x.fillStyle = colour; x.fillRect(0, 0, 800, 600); }; draw("blue");
  c.addEventListener("dblclick", () => draw("red"));
  c.addEventListener("pointerdown", () => { since = performance.now(); });
  c.addEventListener("pointerup", () => { if (performance.now() - since > 500) draw("green"); });</script>"""


async def test_double_clicks_and_long_presses_where_a_click_does_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "RARER", ())  # all keys take long
    monkeypatch.setattr(candidates, "USUAL", ("ArrowLeft", "Space"))
    _, controls, _ = await house.searched(PRESSED)
    assert {name: each.shown for name, each in controls.found.items()} == {"double click": 2, "long press": 2}
    acts = "let n = 0; c.addEventListener('pointerdown', () => x.clearRect(9, n += 9, 90, 9))"
    clicked = f"{PRESSED}<script>{acts}</script>"
    trials, moment = Trials(Lab(house.stage(clicked), math.inf)), Moment("title", Inputs(), 45)
    for name in ("double click", "long press"):
        action, hold = controls.found[name].action, controls.found[name].hold
        assert await trials.effect(moment, action, hold) is None, "a click acts there"


async def test_prompts_and_names_are_answered(house: House) -> None:
    stage = house.stage(control_games.SHOP)
    situations = await get_in(stage, Heard(), math.inf)
    assert [action.name for action in situations.begun_by] == ['click "Accept"', 'click "Play"']
    assert "Hello Player" in situations.states[situations.playing[0]].words


@pytest.mark.long
async def test_a_page_for_fingers(house: House) -> None:
    stage = house.stage(control_games.FINGERS)
    situations = await get_in(stage, Heard(), math.inf)
    assert stage.screen == Screen(touch=True)
    assert [action.name for action in situations.begun_by] == ["tap"]
    trials, moment = Trials(situations.lab), situations.playing[0]
    left, right = candidates.strokes(situations.states[moment], VIEWPORT, finger=True)[:2]
    assert await trials.effect(moment, left) is not None
    assert await trials.effect(moment, right) is None  # it jumps, as each tap does


async def test_a_page_that_asks_to_be_held_upright(house: House) -> None:
    stage = house.stage(control_games.UPRIGHT)
    situations = await get_in(stage, Heard(), math.inf)
    assert stage.screen == Screen(touch=True, portrait=True)
    _, tap, *_ = candidates.clicks(situations.states[situations.title], stage.screen.viewport, finger=True)
    assert await situations.lab.effect(situations.title, tap) is not None


async def test_nothing_is_said_of_moments_that_differ_by_themselves(house: House) -> None:
    _, controls, heard = await house.searched(control_games.UNSURE)
    assert not controls.found and not controls.dead and not heard.controls
    assert controls.determinism.moments >= 1 and controls.determinism.agreed == 0


async def test_a_run_with_many_keys_names_the_one_that_did_something(house: House) -> None:
    lab = Lab(house.stage(control_games.SHIP), math.inf)
    playing = Moment("playing", Inputs((Step(20, key("N", "n")),)), 60)
    keys = [*map(key, ("Escape", "Tab")), key("X", "x"), key("Q", "q"), key("Z", "z")]
    found = await lab.first_alive(playing, keys)
    assert found.alive is not None and keys[found.alive].name == "Q"
    assert (await lab.first_alive(playing, [*keys[:3], keys[4]])).dead == 4
    assert await lab.effect(playing, keys[0]) is None


async def test_limits_in_frames_and_time(house: House) -> None:
    stage = house.stage(control_games.SHIP)
    situations = await get_in(stage, Heard(), 0.0)
    assert not situations.playing
    search = ControlSearch(situations, Heard())
    await search.likely_ones(0.0)
    await search.rest(0.0)
    controls = search.result()
    assert not controls.found and "ArrowLeft" in controls.untried


@pytest.mark.long
async def test_hardly_any_controls_are_looked_for_longer(house: House) -> None:
    stage = house.stage("<p>Press X to fire</p>" + control_games.SHIP)
    situations = await get_in(stage, Heard(), math.inf)
    search = ControlSearch(situations, Heard())
    await search.likely_ones(0.0, late_s=math.inf)
    controls = search.result()
    assert controls.found and "X" in {promise.key for promise in situations.promises}
    assert not {"ArrowLeft", "X"} & set(controls.untried)


@pytest.mark.long
async def test_a_game_of_one_button_and_a_key_that_follows_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "RARER", ())  # all keys take a minute
    monkeypatch.setattr(candidates, "USUAL", ("ArrowLeft", "ArrowDown", "Space", "Enter"))
    situations, controls, _ = await house.searched(control_games.RUNNER)
    assert [action.name for action in situations.begun_by] == ["P"]
    assert {name: each.situations for name, each in controls.found.items()} == {
        "Space": ["playing"],
        "ArrowDown": ["playing"],
        "P": ["title"],
    }


async def test_what_stands_still_until_it_is_steered_is_set_in_motion(house: House) -> None:
    situations = await get_in(house.stage(control_games.STANDS), Heard(), math.inf)
    assert [action.name for action in situations.begun_by] == ["ArrowUp"] and not situations.past_title
    assert situations.over is not None
    assert situations.restarted_by is not None and situations.restarted_by.name == "Enter"
    search = ControlSearch(situations, Heard())
    await search.known_from_getting_in()
    found = search.result().found.items()
    assert {name: each.situations for name, each in found} == {"ArrowUp": ["title"], "Enter": ["over"]}


@pytest.mark.parametrize(
    ("says", "blinks", "by_click", "begun_by"),
    [
        ("Press Enter to start", "true", "false", "Enter"),
        pytest.param("Press Space or Enter to start or restart", "true", "false", "Enter", marks=pytest.mark.long),
        ("Click to play. Enter: pause", "true", "true", "click"),
        ("Press X to start", "false", "false", "Enter"),  # it is not named, and sets the game in motion
    ],
)
async def test_a_prompt_that_stays_is_answered(
    house: House, says: str, blinks: str, by_click: str, begun_by: str
) -> None:
    situations = await get_in(house.stage(control_games.SAYS % (says, blinks, by_click)), Heard(), math.inf)
    assert [action.name for action in situations.begun_by] == [begun_by] and situations.past_title
    assert situations.playing[0].inputs.steps


@pytest.mark.long
async def test_what_moves_for_a_step_alone_has_not_begun_by_it(house: House) -> None:
    steps = """<canvas id=c></canvas><script>const x = c.getContext("2d"); let at = 9, to = 9;
      const frame = () => { at += Math.sign(to - at); x.clearRect(0, 0, 300, 150); x.fillRect(at, 50, 20, 20);
        if (at !== to) requestAnimationFrame(frame); }; frame();
      addEventListener("keydown", ({ key }) => { if (key === "ArrowRight" && at === to) { to += 30; frame(); } });
    </script>"""
    situations = await get_in(house.stage(steps), Heard(), math.inf)
    assert not situations.begun_by and situations.playing


@pytest.mark.long
async def test_a_round_that_lasts_for_less_than_a_second(house: House) -> None:
    situations = await get_in(house.stage(control_games.BRIEF), Heard(), math.inf)
    playing = situations.playing[0]
    assert "again" not in situations.states[playing].words and playing.calm <= 45
    assert situations.over is not None and "(P)lay again" in situations.states[situations.over].words
    assert situations.restarted_by is not None and situations.restarted_by.name == "P"


async def test_an_end_that_no_word_tells(house: House) -> None:
    situations = await get_in(house.stage(control_games.STOPS), Heard(), math.inf)
    assert situations.over is not None and 300 <= situations.over.frame <= 420
    assert situations.restarted_by is not None and situations.restarted_by.name == "Enter"


@pytest.mark.long
async def test_a_hand_over_the_canvas_says_where_to_drag(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "RARER", ())
    monkeypatch.setattr(candidates, "USUAL", ("ArrowLeft",))
    _, controls, _ = await house.searched(control_games.SPRITE)
    assert {"drag left", "drag right"} <= controls.found.keys()
    assert "click" not in controls.found
