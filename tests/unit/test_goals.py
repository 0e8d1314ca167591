"""Reading numbers and the end of a round from a page's words, and the archive of a search."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_worker.games.actions import key
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.play import goals
from agent_worker.games.play.cells import HEIGHT, WIDTH, Archive, changed, flat, masked, signature
from agent_worker.games.play.episodes import Episode, Event
from agent_worker.games.play.goals import UNLABELLED, Scoreboard, Seen, bucket, measure, readings, rises_with_play


def read(words: str, told: str | None = None) -> dict[str, int]:
    return {name: each.value for name, each in readings(words, told).items()}


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("Score: 120", {"score": 120}),
        ("120 pts", {"score": 120}),
        ("SCORE 00120", {"score": 120}),
        ("score\n120", {"score": 120}),
        ("120\nScore", {"score": 120}),
        ("Score\tLives\n1,250\t3", {"score": 1250, "lives": 3}),
        ("Score\nLives\n120\n3", {"score": 120, "lives": 3}),
        ("Lines: 4  Level: 2", {"lines": 4, "level": 2}),
        ("Coins x 12", {"coins": 12}),
        ("Score: -5", {"score": -5}),
        ("Score: 10/50", {"score": 10}),
        ("Your score: 7 High score: 90", {"score": 7, "best": 90}),
        ("HI-SCORE 500\nSCORE 20", {"best": 500, "score": 20}),
        ("Best 12\n3 points", {"best": 12, "score": 3}),
        ("Score 118\nScore 119\nScore 120", {"score": 120}),  # a canvas: the last one was drawn last
        ("[Score=42]", {"score": 42}),
        ("Wave #3", {"level": 3}),
        ("7", {UNLABELLED: 7}),
        ("Score 12.5", {"score": 12}),
    ],
)
def test_numbers_are_read_by_their_labels(words: str, numbers: dict[str, int]) -> None:
    assert read(words) == numbers


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Score 10 points to win",
        "Get 5 coins to open the door",
        "50 points for each star",
        "highscores",
        "underscore 5",
        "scored 5 goals",
        "v1.2.3",
        "Score",
        "Level up!",
        "Press 1 to start",
    ],
)
def test_what_is_no_number_of_a_game(words: str) -> None:
    assert read(words) == {}


def test_what_a_game_tells_of_itself_goes_before_what_it_shows() -> None:
    told = json.dumps({"mode": "playing", "hero": {"lives": 2, "x": 4}, "score": 30, "highScore": 90, "paused": True})
    found = readings("Score 10\nLives 3", told)
    assert {name: (each.value, each.hook) for name, each in found.items()} == {
        "score": (30, True),
        "lives": (2, True),
        "best": (90, True),
    }
    assert read("", "score: 12, lives: 1") == {"score": 12, "lives": 1}


@settings(max_examples=50)
@given(st.text(), st.none() | st.text())
def test_any_text_can_be_read(words: str, told: str | None) -> None:
    for name, each in readings(words, told).items():
        assert each.name == name and abs(each.value) < 10**13
    goals.over_words(words)
    goals.plain_words(words)


@given(st.integers(0, 10**9), st.sampled_from(["Score: {}", "{} pts", "SCORE {:06d}", "Score\n{}", "points {:,}"]))
def test_a_score_is_read_in_every_wording(score: int, wording: str) -> None:
    assert read(wording.format(score))["score"] == score


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_any_json_can_be_told(told: object) -> None:
    assert read("", json.dumps({"score": told, "level": [told]})).keys() <= {"score"}


@pytest.mark.parametrize(
    ("played", "alone", "counts"),
    [
        ([0, 0, 1, 2, 3], [0, 0, 0], True),
        ([0, 1, 2, 0, 1], [0, 0, 0], True),  # a new round
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], False),  # a clock
        ([9, 8, 7], [9, 9, 9], False),  # what falls
        ([0, 5, 3, 6, 2], [0, 0, 0], False),  # a speed
        ([0, 0, 1], [0, 0, 0], False),  # once is not enough
        ([0, 1, 2], [], False),  # it is not known what it does alone
    ],
)
def test_a_number_without_a_label_counts_if_play_makes_it_rise(
    played: list[int], alone: list[int], counts: bool
) -> None:
    frames = [Seen(10 * number, value) for number, value in enumerate(played)]
    by_itself = [Seen(10 * number, value) for number, value in enumerate(alone)]
    assert rises_with_play(frames, by_itself) is counts


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20))
def test_what_does_the_same_without_play_never_counts(values: list[int]) -> None:
    frames = [Seen(10 * number, value) for number, value in enumerate(values)]
    assert not rises_with_play(frames, frames)


def test_the_best_is_a_score_that_changes_with_the_inputs_that_reach_it() -> None:
    board, jump = Scoreboard(), Inputs((Step(3, key("Space")),))
    assert board.best is None
    board.see(readings("Level 1\nScore 0"), [], Inputs(), 1)
    assert board.see(readings("Level 1\nScore 30"), [], jump, 20) == 30
    board.see(readings("Level 2\nScore 10"), [], Inputs(), 40)
    assert board.best is not None
    assert (board.best.value, board.best.name, board.best.inputs, board.best.frame) == (30, "score", jump, 20)
    still = Scoreboard()
    still.see(readings("Level 1"), [], Inputs(), 1)
    assert still.best is None  # it has never changed, and is no score


def test_a_number_without_a_label_is_named_as_such() -> None:
    board = Scoreboard(alone=[Seen(0, 0), Seen(100, 0)])
    seen: list[Seen] = []
    counted = [board.see(readings(str(value)), seen, Inputs(), 10 * value) for value in range(4)]
    assert counted == [None, None, 2, 3]
    assert board.best is not None and (board.best.name, board.best.value) == (UNLABELLED, 3)
    assert measure(readings("3")) is None


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9))
def test_a_higher_score_is_never_in_a_lower_bucket(one: int, more: int) -> None:
    assert bucket(one) <= bucket(one + more)
    assert bucket(one) != 0 == bucket(None)


@pytest.mark.parametrize("words", ["GAME OVER", "You died", "You win!", "Time's up", "Play again?", "VICTORY"])
def test_the_end_of_a_round_is_read(words: str) -> None:
    assert goals.over_words(f"Score 3\n{words}\nBest 9")


# -- the archive ----------------------------------------------------------------------------------------------------


def raster(*points: tuple[int, int], grey: int = 200) -> bytes:
    """A dark picture with fields of 4 x 4 points that are lighter."""
    picture = bytearray([20]) * (WIDTH * HEIGHT)
    for x, y in points:
        for row in range(y, min(HEIGHT, y + 4)):
            picture[row * WIDTH + x : row * WIDTH + min(WIDTH, x + 4)] = bytes([grey]) * min(4, WIDTH - x)
    return bytes(picture)


def test_the_archive_keeps_the_best_way_to_each_moment() -> None:
    archive = Archive()
    assert archive.see(raster((0, 0)), 0, 1, Inputs(), 10)
    assert archive.see(raster((30, 0)), 0, 1, Inputs((Step(1, key("a")),)), 90)
    assert not archive.see(raster((30, 0)), 0, 1, Inputs((Step(1, key("b")),)), 60)  # sooner
    assert not archive.see(raster((30, 0)), 0, 1, Inputs((Step(1, key("c")),)), 70)  # later
    assert archive.see(raster((30, 0)), 5, 1, Inputs(), 90)  # another score
    assert archive.see(raster((30, 0)), 5, 2, Inputs(), 90)  # other words
    assert {each.inputs.steps[0].action.name for each in archive.entries.values() if each.inputs.steps} == {"b"}


def test_what_moves_by_itself_does_not_make_a_moment() -> None:
    archive = Archive()
    archive.leave_out([raster((x, 30)) for x in range(0, 12, 2)])
    assert archive.see(raster((2, 30)), None, 0, Inputs(), 1)
    assert not archive.see(raster((9, 30)), None, 0, Inputs(), 2)
    assert archive.see(raster((9, 30), (40, 10)), None, 0, Inputs(), 3)


def test_a_picture_that_moves_everywhere_is_looked_at_all_the_same() -> None:
    archive = Archive()
    archive.leave_out([bytes([grey]) * (WIDTH * HEIGHT) for grey in (0, 100, 200)])
    assert archive.mask == 0


def test_pictures_are_compared_more_coarsely_where_each_is_new() -> None:
    archive = Archive()
    rng = random.Random(1)
    for number in range(200):
        archive.see(raster((rng.randrange(60), rng.randrange(32)), (rng.randrange(60), 0)), 0, 0, Inputs(), number)
    assert archive.grid > 0 and len(archive) < 200
    assert sum(entry.seen for entry in archive.entries.values()) >= len(archive)


@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 31), st.integers(0, 9)), min_size=1, max_size=12))
def test_equal_calls_make_equal_archives(calls: list[tuple[int, int, int]]) -> None:
    one, other = Archive(), Archive()
    for archive in (one, other):
        for number, (x, y, score) in enumerate(calls):
            archive.see(raster((x, y)), score, 0, Inputs(), number)
    assert one.entries == other.entries
    chosen = [archive.choose(random.Random(4), 10**6) for archive in (one, other)]
    assert chosen[0] == chosen[1] is not None


def test_moments_that_take_long_to_reach_are_not_returned_to() -> None:
    archive = Archive()
    archive.see(raster((0, 0)), 0, 0, Inputs(), 2000)
    assert archive.choose(random.Random(1), 1800) is None
    archive.see(raster((30, 0)), 0, 0, Inputs(), 1000)
    entry = archive.choose(random.Random(1), 1800)
    assert entry is not None and entry.frame == 1000


def test_a_moment_that_bears_no_fruit_is_left_for_others() -> None:
    archive = Archive()
    for number in range(6):
        archive.see(raster((number * 10, 0)), 0, 0, Inputs(), number)
    rng = random.Random(2)
    chosen = [archive.choose(rng, 100) for _ in range(12)]
    assert len({each.number for each in chosen if each}) == 6


def test_pictures_as_greys() -> None:
    assert flat(raster()) and not flat(raster((3, 3)))
    assert changed(raster(), raster((0, 0))) == 16 / (WIDTH * HEIGHT)
    one, other = raster((0, 0)), raster((4, 0))
    assert signature(one, one, 16, 9) != signature(other, one, 16, 9)
    assert signature(one, one, 2, 2) != signature(raster((60, 30)), one, 2, 2)
    assert masked(one, 0) == one


def test_an_episode_is_held_against_the_one_without() -> None:
    error, other = Event(9, "pageerror", "x"), Event(12, "pageerror", "y")
    without = Episode("without", Inputs(), 0, 20, (Event(5, "pageerror", "x"),))
    stressed = Episode("resize", Inputs(), 0, 20, (error, other), against=without)
    assert stressed.only_here == (other,) and stressed.of_kind("pageerror") == [error, other]
