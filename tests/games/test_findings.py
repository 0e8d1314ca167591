"""Faults of a small game, from a sighting to what is told; and the same looks at the game unharmed find nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from agent_worker.games.actions import Action, click, key
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.findings.detectors import standing, uses
from agent_worker.games.findings.finding import HANGS, INERT, Candidate, Kind, Moment
from agent_worker.games.findings.only_once import only_once
from agent_worker.games.findings.replay_request import read_replay
from agent_worker.games.findings.reporter import Reporter
from agent_worker.games.findings.sightings import candidates_of
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.reproduce import Request, reproduce
from tests.games.broken_game import PAGE
from tests.games.playing import Answer, GameServer, OnlyThese, Written, game_server

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

LEFT, RIGHT, UP, DOWN = map(key, ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"))
SPACE = key("Space")
KNOWN = (LEFT, RIGHT, SPACE)
PLAYED = Inputs(
    tuple(Step(10 + 20 * number, action, 14) for number, action in enumerate((SPACE, LEFT, SPACE, RIGHT, RIGHT, SPACE)))
)
"""The second move, which breaks the game, is the fourth of six inputs."""
UNTIL = 150
PATIENCE_S = 300.0


class Games(NamedTuple):
    """The game's server, and a browser."""

    server: GameServer
    browser: Browser

    def url(self, fault: str) -> str:
        """The game with a fault."""
        return f"{self.server.url}/game?with={fault}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def games() -> AsyncIterator[Games]:
    with game_server() as server:
        server.answers["/game"] = Answer(PAGE.encode())
        async with Browser(judge=OnlyThese(server.port)) as browser:
            yield Games(server, browser)


@pytest_asyncio.fixture(loop_scope="module")
async def pages(games: Games) -> AsyncIterator[Pages]:
    async with games.browser.pages() as opened:
        yield opened


def soon() -> float:
    return asyncio.get_running_loop().time() + PATIENCE_S


def on_stage(pages: Pages, url: str) -> Stage:
    return Stage(pages, GameJob("00000000-0000-4000-8000-000000000000", url, 60, 7), deadline=soon())


async def told(stage: Stage, *candidates: Candidate, times: int = 2) -> tuple[Reporter, Written]:
    run = Written()
    reporter = Reporter(stage, run, 7, times=times)
    await reporter.consider(candidates, soon())
    return reporter, run


TWO_MOVES = Inputs((Step(0, LEFT, 1), Step(1, RIGHT, 1)))


async def test_an_error_is_minimised_and_shown_five_times(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("error"))
    happened = (await stage.play(PLAYED, UNTIL)).happened
    reporter, run = await told(stage, *candidates_of(happened, PLAYED, games.url("error")), times=5)
    (found,) = reporter.findings
    assert (found.kind, found.severity, found.seen) == ("error", "high", (5, 5)), "the game stands still after it"
    assert found.title == "Uncaught TypeError: Cannot read properties of null (reading 'score')"
    assert (found.inputs, found.until, found.frame) == (TWO_MOVES, 2, 2)
    assert "at frame" in found.stack
    ((data, picture),) = run.evidences
    assert data["finding"] == found.as_json() and picture.startswith(b"\xff\xd8")


async def test_what_else_a_page_reports(games: Games, pages: Pages) -> None:
    url = games.url("rejection,console,asset,left")
    stage = on_stage(pages, url)
    suspects = {each.key: each for each in candidates_of((await stage.play(TWO_MOVES, 30)).happened, TWO_MOVES, url)}
    reporter, _ = await told(stage, *suspects.values())
    assert {(each.kind, each.severity, each.title.partition(": ")[0]) for each in reporter.findings} == {
        ("error", "medium", "Unhandled promise rejection"),
        ("error", "low", "Error on the console"),
        ("asset", "medium", "Missing file"),
        ("left", "medium", "The page opens a window"),
    }
    assert {each.inputs for each in reporter.findings} == {TWO_MOVES}


async def test_a_link_that_is_clicked_may_lead_elsewhere(games: Games, pages: Pages) -> None:
    url = games.server.page("/linked", '<a href="/elsewhere" target="_blank" style="font-size: 900px">more</a>')
    stage = on_stage(pages, url)
    clicked = Inputs((Step(2, click(0.3, 0.5), 2),))
    leaves = Candidate("left", "It opens a window", clicked, 10, signature=f"popup {games.server.url}/elsewhere")
    reporter, _ = await told(stage, leaves)
    assert not reporter.findings and not reporter.seen_once


@pytest.mark.parametrize("fault", [pytest.param("softlock", marks=pytest.mark.long), "freeze", "blank"])
async def test_a_game_that_stops_is_told_by_what_is_left_of_it(games: Games, pages: Pages, fault: Kind) -> None:
    stage = on_stage(pages, games.url(fault))
    if fault == "softlock":
        suspects = await standing(stage, [Moment(Inputs(PLAYED.steps[1:5]), UNTIL)], KNOWN, soon())
    else:  # what `standing` finds is found already
        suspects = [Candidate(fault, "It stands still", TWO_MOVES, UNTIL, controls=KNOWN)]
    reporter, _ = await told(stage, *suspects)
    (found,) = reporter.findings
    assert (found.kind, found.severity, found.seen) == (fault, "high", (2, 2))
    assert [step.action for step in found.inputs.steps] == [LEFT, RIGHT]


@pytest.mark.long
async def test_a_page_that_hangs(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("hang"))
    hangs = Candidate("freeze", "It hangs", TWO_MOVES, 2, signature=HANGS)
    reporter, _ = await told(stage, hangs, times=1)
    (found,) = reporter.findings
    assert (found.kind, found.seen, found.inputs) == ("freeze", (1, 1), TWO_MOVES)


async def test_a_page_that_hangs_by_itself(games: Games, pages: Pages) -> None:
    url = games.server.page("/late", "<p>Soon</p><script>setTimeout(() => { for (;;); }, 700)</script>")
    hangs = Candidate("freeze", "It hangs", Inputs(), 80, signature=HANGS)
    reporter, _ = await told(on_stage(pages, url), hangs, times=1)
    (found,) = reporter.findings
    assert (found.kind, found.seen, found.until) == ("freeze", (1, 1), 50), "it ends between the frames 40 and 50"


async def test_an_error_at_load_and_a_game_that_never_starts(games: Games, pages: Pages) -> None:
    url = games.url("loaderror")
    stage = on_stage(pages, url)
    happened = (await stage.play(Inputs(), 5)).happened
    never = Candidate("noscripts", "It never starts", until=30)
    reporter, _ = await told(stage, never, *candidates_of(happened, Inputs(), url))
    assert {(each.kind, each.seen, each.inputs) for each in reporter.findings} == {
        ("noscripts", (2, 2), Inputs()),
        ("error", (2, 2), Inputs()),
    }


async def test_a_page_of_which_nothing_runs_never_starts(games: Games, pages: Pages) -> None:
    still = "<h1>My game</h1><a href=#>New game</a><script src=/missing.js></script>"
    inert = Candidate("noscripts", "It never starts", until=60, signature=INERT)
    reporter, _ = await told(on_stage(pages, games.server.page("/inert", still)), inert)
    assert [(each.kind, each.severity, each.seen) for each in reporter.findings] == [("noscripts", "high", (2, 2))]
    alive = still + "<script>addEventListener('keydown', () => document.body.append('!'))</script>"
    reporter, _ = await told(on_stage(pages, games.server.page("/alive", alive)), inert)
    assert not reporter.findings


async def test_a_key_that_works_only_once(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("once"))
    (space,) = (each for each in uses(dict.fromkeys(KNOWN, Moment(Inputs(), 10))) if each.action == SPACE)
    reporter, _ = await told(stage, *await only_once(stage, [space], soon()))
    (found,) = reporter.findings
    assert (found.kind, found.title, found.seen) == ("once", "Space works only once", (5, 5))
    assert [step.action for step in found.inputs.steps] == [SPACE, SPACE]


async def test_a_key_that_reaches_the_game_only_once(games: Games, pages: Pages) -> None:
    """A key that does not steer, in a game that never looks the same again: what tells is that its press is stopped."""
    known = dict.fromkeys((SPACE, LEFT), Moment(Inputs(), 10))
    stage = on_stage(pages, games.url("keptonce,tally"))
    (found,) = await only_once(stage, uses(known)[:1], soon())
    assert (found.title, found.measured) == ("Space works only once", (5, 5))
    assert "A handler of the page stopped each of them, but not the first" in found.detail
    finding = {"kind": "once", "inputs": found.inputs.as_json(), "until": found.until, "seed": 7}
    again = Request(games.url("keptonce,tally"), read_replay(finding), times=1, allow_private=True)
    assert (await reproduce(again, games.browser))[0] == 1
    deaf = on_stage(pages, games.url("deaf,tally"))  # hears no key at all any more: that is another fault
    first, second = Step(10, LEFT, 8), Step(100, LEFT, 8)
    played = Inputs().then(first, second)
    assert [(await deaf.pressed(played, each, 100, 1))[1] for each in (first, second)] == [False, True]
    assert not await only_once(deaf, uses(dict.fromkeys((LEFT, SPACE), Moment(Inputs(), 10)))[:1], soon())


@pytest.mark.long
async def test_a_key_that_steers_and_works_only_once(games: Games, pages: Pages) -> None:
    known = dict.fromkeys((LEFT, RIGHT, SPACE), Moment(Inputs(), 10))
    stage = on_stage(pages, games.url("onceleft,tally"))  # the number of moves never lets it look the same again
    (found,) = await only_once(stage, uses(known), soon())
    assert (found.title, found.measured) == ("ArrowLeft works only once", (5, 5))
    assert "7 times more" in found.detail and "between others (ArrowRight, Space)" in found.detail
    finding = {"kind": "once", "inputs": found.inputs.as_json(), "until": found.until, "seed": 7}
    again = Request(games.url("onceleft,tally"), read_replay(finding), times=1, allow_private=True)
    assert (await reproduce(again, games.browser))[0] == 1


@pytest.mark.long
async def test_a_control_that_seems_to_work_once_may_take_longer_than_the_others(games: Games, pages: Pages) -> None:
    (space,) = (each for each in uses(dict.fromkeys(KNOWN, Moment(Inputs(), 10))) if each.action == SPACE)
    for more_s, titles in ((0.0, []), (1e9, ["Space works only once"])):
        stage = on_stage(pages, games.url("once"))
        await stage.play(Inputs(), 1000)
        stage.playing_s = 250.0  # a slow game: it can be seen that it does nothing, and not that this lasts
        until_s = soon() - PATIENCE_S + 90
        left = [space]
        assert [each.title for each in await only_once(stage, left, until_s, until_s + more_s)] == titles
        assert bool(left) is not bool(titles)


async def test_a_key_for_which_the_time_does_not_suffice_is_left_for_later(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("onceleft,tally"))
    await stage.play(Inputs(), 1000)
    stage.playing_s = 100.0  # a slow game: whether it works again can be seen, and not among others
    left = uses(dict.fromkeys((LEFT, RIGHT), Moment(Inputs(), 10)))
    assert not await only_once(stage, left, soon() - PATIENCE_S + 100)
    assert [use.action for use in left] == [LEFT]


@pytest.mark.parametrize(
    ("fault", "known"),
    [
        ("wall,tally", (LEFT, SPACE)),  # it stands at the wall, and nothing leads it back
        pytest.param("tally", (LEFT, RIGHT, SPACE), marks=pytest.mark.long),
        pytest.param("wall,tally", (SPACE, UP, DOWN, LEFT, RIGHT), marks=pytest.mark.long),
        pytest.param("launch,tally", (UP, DOWN, LEFT), marks=pytest.mark.long),  # a ball that is launched
    ],
)
async def test_what_may_work_once(games: Games, pages: Pages, fault: str, known: tuple[Action, ...]) -> None:
    stage = on_stage(pages, games.url(fault))
    assert not await only_once(stage, uses(dict.fromkeys(known, Moment(Inputs(), 10))), soon())


async def test_a_proof_for_which_there_is_no_time_is_not_begun(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("softlock"))
    await stage.play(Inputs(), 1)
    stage.playing_s = 100.0  # a very slow game
    run = Written()
    reporter = Reporter(stage, run, 7)
    long = [Candidate("softlock", "It is stuck", Inputs(), until) for until in (900, 800, 700, 600)]
    opened = stage.opened
    await reporter.consider(long, soon() - PATIENCE_S + 60)
    assert reporter.refused and stage.opened == opened and not run.lines
    assert reporter.is_new(long[0]), "a shorter one may still be tried"


async def test_a_promised_key_that_is_dead(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("deadkey"))
    moments = (Moment(Inputs(), 10), Moment(Inputs(PLAYED.steps[1:2]), 50), Moment(Inputs(), 90))
    dead = Candidate("deadkey", "Space does nothing", action=SPACE, moments=moments, controls=(LEFT,))
    reporter, _ = await told(stage, dead)
    (found,) = reporter.findings
    assert (found.kind, found.seen) == ("deadkey", (2, 2)) and found.inputs.steps[-1].action == SPACE


async def test_the_game_unharmed_has_none_of_these(games: Games, pages: Pages) -> None:
    url = games.url("")
    stage = on_stage(pages, url)
    happened = (await stage.play(PLAYED, UNTIL)).happened
    assert not candidates_of(happened, PLAYED, url)
    end = Moment(PLAYED, UNTIL)
    assert not await standing(stage, [end], KNOWN, soon())
    assert not await only_once(stage, uses(dict.fromkeys((LEFT, SPACE), Moment(Inputs(), 10))), soon())
    reporter, run = await told(
        stage,
        Candidate("error", "Uncaught", PLAYED, UNTIL, signature="Error: none"),
        Candidate("softlock", "It is stuck", PLAYED, UNTIL, controls=KNOWN),
        Candidate("blank", "A single colour", PLAYED, UNTIL),
        Candidate("noscripts", "It never starts", until=30),
        Candidate("deadkey", "Dead", action=SPACE, moments=(Moment(Inputs(), 10),), controls=(LEFT,)),
    )
    assert not reporter.findings
    # That it stands still was refuted, which is more than not having been seen again.
    assert {each.kind for each in reporter.seen_once} == {"error", "blank", "noscripts", "deadkey"}
    assert not run.evidences and len(run.of_kind("seenonce")) == 4


@pytest.mark.long
async def test_an_end_that_says_so_is_no_fault(games: Games, pages: Pages) -> None:
    stage = on_stage(pages, games.url("over"))
    reporter, _ = await told(stage, Candidate("softlock", "It is stuck", TWO_MOVES, 62, controls=KNOWN))
    assert not reporter.findings and len(reporter.seen_once) == 1


async def test_a_finding_is_played_again_from_what_was_published(games: Games) -> None:
    signature = "TypeError: Cannot read properties of null (reading 'score')"
    finding = {
        "id": "f1",
        "kind": "error",
        "signature": signature,
        "inputs": TWO_MOVES.as_json(),
        "until": 4,
        "seed": 7,
    }
    broken = Request(games.url("error"), read_replay(finding), times=2, allow_private=True)
    shown, sighting = await reproduce(broken, games.browser)
    assert shown == 2 and sighting is not None and "at frame" in sighting.stack
    repaired = broken._replace(url=games.url(""), times=1)
    assert await reproduce(repaired, games.browser) == (0, None)
    in_real_time = broken._replace(replay=read_replay({**finding, "real": True}), times=1)
    assert (await reproduce(in_real_time, games.browser))[0] == 1
