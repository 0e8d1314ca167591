"""The rubric (agent_worker/games/scoring.py)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games import scoring
from agent_worker.games.scoring import Findings


def sound() -> Findings:
    """A game without fault, as far as could be seen."""
    return Findings(
        load_s=0.4,
        painted_after_s=0.6,
        grey_levels=12,
        canvases=1,
        moves_alone=True,
        tried=["ArrowLeft", "ArrowRight", "Space", "click", "Enter"],
        controls={"ArrowLeft": 0.05, "ArrowRight": 0.05, "Space": 0.1, "click": 0.1},
        actions=80,
        scenes=60,
        first_score=0,
        best_score=120,
        game_overs=2,
        restarts=2,
        played_s=30,
    )


def judged(found: Findings) -> tuple[int, dict[str, int], str]:
    parts = scoring.rubric(found)
    score = scoring.total(parts)
    return score, {part.part: part.score for part in parts}, scoring.verdict(found, score)


def test_the_parts_add_up_to_a_hundred_and_a_sound_game_gets_them() -> None:
    assert sum(part.max for part in scoring.rubric(sound())) == 100
    score, _, verdict = judged(sound())
    assert score == 100 and verdict == "Test complete! Score: 100/100"


def test_a_blank_page_gets_next_to_nothing_for_the_right_reason() -> None:
    score, parts, verdict = judged(Findings(load_s=0.4, canvases=1))
    assert score <= 15 and parts["visuals"] == parts["controls"] == parts["playability"] == 0
    assert verdict.endswith("(nothing was ever painted)")


def test_a_freeze_costs_more_than_half() -> None:
    found = sound()
    found.freezes, found.freeze_note = 1, "the picture froze after 6 s"
    score, parts, verdict = judged(found)
    assert score < 50 and parts["stability"] <= 5 and parts["playability"] <= 4
    assert "the game froze" in verdict


def test_a_crash_names_its_error() -> None:
    found = sound()
    found.freezes, found.freeze_note, found.last_error = 1, "the picture froze after 6 s", "TypeError: x"
    found.incidents, found.different = Counter(pageerror=1), Counter(pageerror=1)
    score, parts, verdict = judged(found)
    assert score < 50 and parts["stability"] == 0 and "script error stopped the game" in verdict
    assert any("TypeError: x" in reason for part in scoring.rubric(found) for reason in part.reasons)


def test_a_hang_and_a_lost_page_leave_no_stability() -> None:
    for field in ("hung", "gone"):
        found = sound()
        setattr(found, field, "it is no more")
        score, parts, _ = judged(found)
        assert score < 50 and parts["stability"] == 0


def test_not_knowing_is_neither_merit_nor_fault() -> None:
    found = sound()
    found.controls = {}
    dead = judged(found)[1]["controls"]
    found.restless = True
    unclear = judged(found)[1]["controls"]
    found.restless, found.tried, found.untried = False, ["ArrowLeft"], ["Space", "Enter"]
    hurried = judged(found)[1]["controls"]
    assert dead == 0 < unclear == hurried < 12
    assert any("Space" in each for each in scoring.unknowns(found))


def test_what_is_unknown_is_said() -> None:
    found = sound()
    found.best_score, found.game_overs, found.restarts = None, 0, 0
    unknown = " ".join(scoring.unknowns(found))
    assert "none could be read" in unknown and "none was recognised" in unknown
    assert "none could be read" not in " ".join(scoring.unknowns(sound()))


def test_misbehaviour_costs_a_little_each() -> None:
    base = judged(sound())[1]["stability"]
    for kind in ("console", "request", "refused", "dialog", "download", "popup", "left", "pageerror"):
        found = sound()
        found.incidents, found.different = Counter({kind: 3}), Counter({kind: 1})
        assert base - 6 <= judged(found)[1]["stability"] < base, kind


counts = st.integers(0, 50)


@given(
    st.builds(
        Findings,
        load_s=st.floats(0, 60),
        load_finished=st.booleans(),
        painted_after_s=st.none() | st.floats(0, 60),
        start_trouble=st.dictionaries(st.sampled_from(["pageerror", "console", "request"]), counts).map(Counter),
        grey_levels=st.integers(0, 32),
        canvases=counts,
        moves_alone=st.booleans(),
        restless=st.booleans(),
        tried=st.lists(st.text(max_size=5), max_size=5),
        controls=st.dictionaries(st.text(max_size=5), st.floats(0, 1), max_size=6),
        actions=counts,
        scenes=counts,
        first_score=st.none() | counts,
        best_score=st.none() | counts,
        game_overs=counts,
        restarts=counts,
        stuck=st.none() | st.just("stuck"),
        freezes=st.integers(0, 3),
        freeze_note=st.none() | st.just("froze"),
        hung=st.none() | st.just("hung"),
        gone=st.none() | st.just("gone"),
        incidents=st.dictionaries(st.sampled_from(["pageerror", "left", "dialog", "popup"]), counts).map(Counter),
    )
)
def test_no_part_leaves_its_bounds(found: Findings) -> None:
    parts = scoring.rubric(found)
    for part in parts:
        assert 0 <= part.score <= part.max and part.reasons
    assert 0 <= scoring.total(parts) <= 100
    assert scoring.metrics(found, parts)["rubric"] == [part.as_json() for part in parts]


def test_the_problems_are_few_and_short_and_the_gravest_come_first() -> None:
    told = [("console", f"{n} " + "x" * 500) for n in range(30)]
    listed = scoring.problems(Findings(painted_after_s=1.0, hung="the page hung while loading", told=told))
    assert len(listed) == scoring.MAX_PROBLEMS
    assert listed[0] == {"kind": "freeze", "detail": "the page hung while loading"}
    assert {len(each["detail"]) for each in listed[1:]} == {scoring.MAX_PROBLEM_CHARS}
    assert scoring.problems(Findings(painted_after_s=1.0)) == []
    assert scoring.problems(Findings())[0]["kind"] == "blank"
