"""Search and stress on small games of the tests' own: what is reached, and that it is the same with the same seed."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import pytest_asyncio

from agent_worker.games.actions import Action, key
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.errors import TimeUp
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.play.episodes import (
    BLANK,
    DEAF,
    HUNG,
    OVER,
    RESTARTED,
    STILL,
    STOPPED,
    STUCK,
    Episode,
    Explored,
)
from agent_worker.games.play.search import explore
from agent_worker.games.play.seat import Choice, Seeded, View
from agent_worker.games.play.stress import STRESSES, stress
from tests.games.playing import GameServer, OnlyThese, game_server

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

CANVAS = """<body style="margin:0;background:#123"><canvas id=c width=320 height=180 style="width:640px;height:360px">
</canvas><p>Score</p><p id=score>0</p><script>
  const x = c.getContext("2d"), down = new Set();
  let score = 0, tick = 0, error = null, draw = () => {};
  const box = (colour, ...at) => { x.fillStyle = colour; x.fillRect(...at); };
  const points = (now) => { score = now; document.getElementById("score").textContent = String(score); };
  addEventListener("keydown", (e) => { if (!e.repeat) { down.add(e.code); press(e.code); } });
  addEventListener("keyup", (e) => down.delete(e.code));
  function frame() { tick += 1; requestAnimationFrame(frame); draw(); }
  requestAnimationFrame(frame);
"""
# One room after the other to the right. In each, one of three doors leads on; there is no way out behind the others.
MAZE = """
  const right = ["ArrowUp", "ArrowDown", "ArrowRight"];
  let room = 0, lost = false;
  function press(code) {
    if (lost || room === right.length || !["ArrowUp", "ArrowDown", "ArrowRight"].includes(code)) return;
    if (code === right[room]) room += 1; else lost = true;
    if (room === right.length) points(100);
  }
  draw = () => { box("#123", 0, 0, 320, 180); box(lost ? "#a33" : "#fff", 20 + room * 80, lost ? 20 : 80, 30, 30);
    box("#7a5", tick % 100, 170, 10, 10); };
</script>"""
# A key lies on the left, a door is on the right; without the key the door stays shut.
DOOR = """
  let at = 160, has = false;
  function press() {}
  draw = () => {
    if (down.has("ArrowLeft")) at = Math.max(0, at - 3);
    if (down.has("ArrowRight")) at = Math.min(300, at + 3);
    if (at < 10) has = true;
    if (at > 290 && has && score === 0) points(50);
    box("#123", 0, 0, 320, 180); box(has ? "#fd5" : "#fff", at, 90, 20, 20); box("#7a5", 310, 80, 10, 40);
  };
</script>"""
SEQUENCE = """
  const wanted = ["ArrowLeft", "Space", "ArrowRight"];
  let step = 0;
  function press(code) {
    if (!wanted.includes(code)) return;
    step = code === wanted[step] ? step + 1 : code === wanted[0] ? 1 : 0;
    if (step === 3) { step = 0; points(score + 10); }
  }
  draw = () => { box("#123", 0, 0, 320, 180); for (let i = 0; i < step; i++) box("#fd5", 40 + i * 80, 60, 60, 60); };
</script>"""
ERROR_AT = """
  function press(code) { if (code === "Space") points(score + 1); }
  draw = () => { box("#123", 0, 0, 320, 180); box("#fff", 10 + score * 12, 60, 20, 20);
    if (score === 7) { points(8); throw new TypeError("seven is too many"); } };
</script>"""
# A round lasts two seconds. It is begun again by R and by nothing else, and no sooner than half a second later.
ROUNDS = """
  let over = 0, at = 100, began = 0;
  function press(code) { if (over && code === "KeyR" && tick - over > 30) { over = 0; at = 100; began = tick; } }
  draw = () => {
    if (!over && tick - began > 120) over = tick;
    if (!over && down.has("ArrowLeft")) at -= 2;
    if (!over && down.has("ArrowRight")) at += 2;
    box("#123", 0, 0, 320, 180); box("#fff", at, 60, 20, 20);
    if (over) { box("#511", 60, 40, 200, 100); WORDS }
  };
</script>"""
GAME_OVER = 'x.fillStyle = "#fff"; x.fillText("GAME OVER - press R", 90, 90);'
WALK = """
  let at = 100, hid = false;
  document.addEventListener("visibilitychange", () => (hid ||= document.hidden));
  function press() {}
  draw = () => { if (down.has("ArrowLeft")) at -= 2; if (down.has("ArrowRight")) at += 2; BUG
    box("#123", 0, 0, 320, 180); box("#fff", at, 60, 20, 20); box("#7a5", tick % 300, 170, 10, 10); };
</script>"""


@dataclass(frozen=True)
class Known:
    """A control or a situation."""

    name: str
    action: Action
    hold: int = 8


class At(NamedTuple):
    """A situation."""

    name: str
    inputs: Inputs
    frame: int


class Games(NamedTuple):
    """What all tests here share: a Chromium and a server."""

    pages: Pages
    server: GameServer

    def stage(self, body: str) -> Stage:
        url = self.server.page("/", CANVAS + body)
        deadline = asyncio.get_running_loop().time() + 600
        return Stage(self.pages, GameJob("search", url, 60.0, 7), deadline=deadline, measure_code=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def games() -> AsyncIterator[Games]:
    with game_server() as server:
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.pages() as pages:
            yield Games(pages, server)


def controls(*names: str) -> list[Known]:
    return [Known(name, key(name)) for name in names]


async def silent(message: str, **data: object) -> None:
    pass


class UpTo(Seeded):
    """Ends the search when a score is reached: what comes after it is not looked at."""

    def __init__(self, seed: int, score: float) -> None:
        super().__init__(random.Random(seed))
        self.score = score

    async def choose(self, view: View) -> Choice:
        if view.score is not None and view.score >= self.score:
            raise TimeUp("that is enough")
        return await super().choose(view)


async def explored(
    stage: Stage, *names: str, most: int, frames: int = 150, seed: int = 3, score: float = math.inf
) -> Explored:
    until_s = asyncio.get_running_loop().time() + 600
    playing = [At("playing", Inputs(), 10)]
    policy = UpTo(seed, score)
    return await explore(stage, controls(*names), playing, seed, silent, policy, until_s, frames=frames, most=most)


async def test_a_maze_with_dead_ends_is_left_by_returning(games: Games) -> None:
    stage = games.stage(MAZE)
    found = await explored(stage, "ArrowUp", "ArrowDown", "ArrowRight", most=60, frames=60, seed=1, score=100)
    assert found.best is not None and found.best.value == 100 and found.best.name == "score"
    assert found.returns >= 3
    await stage.play(found.best.inputs, found.best.frame)
    assert "100" in (await stage.state()).words  # the inputs reach it again


async def test_a_door_is_passed_after_its_key(games: Games) -> None:
    found = await explored(games.stage(DOOR), "ArrowLeft", "ArrowRight", most=60, seed=1, score=50)
    assert found.best is not None and found.best.value == 50


@pytest.mark.long
async def test_a_score_that_rises_by_one_sequence_only(games: Games) -> None:
    found = await explored(games.stage(SEQUENCE), "ArrowLeft", "ArrowRight", "Space", most=60, seed=2, score=20)
    assert found.best is not None and found.best.value >= 20


async def test_equal_seeds_find_an_error_in_equal_episodes(games: Games) -> None:
    stage = games.stage(ERROR_AT)
    one = await explored(stage, "ArrowLeft", "Space", most=6)
    other = await explored(stage, "ArrowLeft", "Space", most=6)
    assert one.episodes == other.episodes and one.frames == other.frames
    another = await explored(stage, "ArrowLeft", "Space", most=3, seed=4)
    assert another.episodes[1:] != one.episodes[1:3]
    (first, *_) = [each for each in one.episodes if each.of_kind("pageerror")]
    (error,) = first.of_kind("pageerror")
    assert "seven is too many" in error.detail and first.begun < error.frame <= first.until
    trace = await stage.play(first.inputs, first.until)
    shown = [each.incident.detail for each in trace.happened if each.incident.kind == "pageerror"]
    assert shown == [error.detail]


async def test_a_round_that_is_over_by_its_words_is_begun_again(games: Games) -> None:
    found = await explored(games.stage(ROUNDS.replace("WORDS", GAME_OVER)), "ArrowLeft", "ArrowRight", most=4)
    first = found.overs[0]
    assert first.words == ("game over",) and first.ignored is True
    assert first.restart is not None and first.restart.name == "R"
    assert found.restart == first.restart and found.restarts >= 2
    assert any(each.of_kind(OVER) and each.of_kind(RESTARTED) for each in found.episodes)


@pytest.mark.long
async def test_a_round_that_is_over_without_a_word_is_known_by_experiment(games: Games) -> None:
    found = await explored(games.stage(ROUNDS.replace("WORDS", "")), "ArrowLeft", "ArrowRight", most=12, frames=300)
    first = found.overs[0]
    assert first.words == () and first.ignored is True
    assert first.restart is not None and first.restart.name == "R"


@pytest.mark.long
async def test_what_nothing_brings_back_is_no_end_of_a_round(games: Games) -> None:
    stuck = ROUNDS.replace("WORDS", "").replace("KeyR", "KeyQ")
    found = await explored(games.stage(stuck), "ArrowLeft", "ArrowRight", most=3, frames=300)
    assert not found.overs and found.restart is None
    assert any(each.of_kind(STUCK) for each in found.episodes)


async def stressed(games: Games, bug: str, *names: str) -> list[Episode]:
    stage = games.stage(WALK.replace("BUG", bug))
    until_s = asyncio.get_running_loop().time() + 600
    playing = [At("playing", Inputs((Step(4, key("ArrowRight"), 6),)), 20)]
    chosen = [each for each in STRESSES if each.name in names]
    assert len(chosen) == len(names)
    return await stress(stage, controls("ArrowLeft", "ArrowRight"), playing, silent, until_s, chosen)


@pytest.mark.long
async def test_a_stress_without_effect_claims_none(games: Games) -> None:
    names = [each.name for each in STRESSES]
    episodes = await stressed(games, "", *names)
    assert [each.name for each in episodes] == names
    assert all(each.only_here == () and each.against is not None for each in episodes)


async def test_what_only_a_stress_causes_is_its_effect(games: Games) -> None:
    bug = """
      if (down.has("ArrowLeft") && down.has("ArrowRight")) throw new RangeError("both at once");
      if (innerWidth < 700) throw new TypeError("too small");
      if (hid) draw = () => {};
    """
    names = ["all controls at once", "portrait and back", "tab hidden and shown", "wheel and zoom keys"]
    both, small, hidden, none = await stressed(games, bug, *names)
    assert {(each.kind, each.detail) for each in both.only_here} == {("pageerror", "RangeError: both at once")}
    assert {(each.kind, each.detail) for each in small.only_here} == {("pageerror", "TypeError: too small")}
    assert [each.kind for each in hidden.only_here] == [STILL]
    assert none.only_here == ()


async def test_a_game_that_moves_on_and_hears_nothing_any_more_is_seen(games: Games) -> None:
    locks = "window.keys ??= (addEventListener('keydown', () => keys++), 0); if (keys > 9) at = 100;"
    (locked,) = await stressed(games, locks, "rapid inputs")
    assert [each.kind for each in locked.only_here] == [DEAF]
    (unharmed,) = await stressed(games, "", "one control hammered")
    assert unharmed.only_here == ()


async def test_the_input_that_hangs_a_page_under_stress_is_kept(games: Games) -> None:
    (hung,) = await stressed(games, "press = () => { if (down.size > 1) for (;;); };", "all controls at once")
    (event,) = hung.only_here
    assert event.kind == HUNG
    assert "all at once" in {step.action.name for step in hung.inputs.before(event.frame).steps}


async def test_a_loop_that_stops_for_good_is_seen(games: Games) -> None:
    bug = "if (hid) { x.clearRect(0, 0, 320, 180); document.body.innerHTML = ''; frame = () => {}; }"
    (episode,) = await stressed(games, bug, "tab hidden and shown")
    assert {STOPPED, BLANK} <= {each.kind for each in episode.only_here}
