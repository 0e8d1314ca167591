"""The rubric (agent_worker/games/run/scoring.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games.run import scoring
from agent_worker.games.run.scoring import COSTS, INCIDENT_COSTS, PARTS, Evidence, Fault, Severity

SOUND = Evidence(tried=30, controls=4, searched=True, good={"load": ["loaded in 0.4 s"]})

faults = st.builds(
    Fault,
    st.sampled_from([*COSTS, "of a later version"]),
    st.sampled_from(get_args(Severity)),
    st.text(min_size=1, max_size=400),
    st.none() | st.just("f1"),
)
evidence = st.builds(
    Evidence,
    faults=st.lists(faults, max_size=12),
    incidents=st.dictionaries(st.sampled_from([*INCIDENT_COSTS, "dialog"]), st.integers(0, 50)),
    finished=st.booleans(),
    tried=st.integers(0, 60),
    controls=st.integers(0, 60),
    searched=st.booleans(),
    unknown=st.dictionaries(st.sampled_from(list(PARTS)), st.lists(st.text(max_size=9), max_size=2)),
)


def score(shown: Evidence) -> int:
    return scoring.total(scoring.rubric(shown))


def parts(shown: Evidence) -> dict[str, int]:
    return {part.part: part.score for part in scoring.rubric(shown)}


def of(kind: str, severity: Severity = "high", why: str = "it is so") -> Fault:
    return Fault(kind, severity, why, "f1")


def with_faults(*found: Fault) -> Evidence:
    return replace(SOUND, faults=found)


@given(evidence)
def test_every_lost_point_has_its_reason_and_no_part_leaves_its_bounds(shown: Evidence) -> None:
    rubric, lost = scoring.rubric(shown), scoring.deductions(shown)
    assert scoring.total(rubric) == 100 - sum(each.points for each in lost)
    assert all(each.points > 0 and each.why for each in lost)
    for part in rubric:
        assert 0 <= part.score <= part.max == PARTS[part.part] and part.reasons
        assert part.max - part.score == sum(each.points for each in lost if each.part == part.part)
    assert sum(part.max for part in rubric) == 100


@given(evidence, faults, st.randoms())
def test_one_more_finding_never_raises_the_score(shown: Evidence, fault: Fault, rng: object) -> None:
    worse = [*shown.faults, fault]
    rng.shuffle(worse)  # type: ignore[attr-defined]
    assert score(replace(shown, faults=worse)) <= score(shown)


@given(evidence, st.randoms())
def test_the_order_of_the_findings_makes_no_difference(shown: Evidence, rng: object) -> None:
    mixed: list[Fault] = list(shown.faults)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    assert score(replace(shown, faults=mixed)) == score(shown)


@given(evidence, st.sampled_from(list(INCIDENT_COSTS)), st.integers(1, 9))
def test_one_more_incident_never_raises_the_score(shown: Evidence, kind: str, times: int) -> None:
    more = {**shown.incidents, kind: shown.incidents.get(kind, 0) + times}
    assert score(replace(shown, incidents=more)) <= score(shown)


@given(faults, st.sampled_from(get_args(Severity)))
def test_a_graver_finding_costs_at_least_as_much(fault: Fault, other: Severity) -> None:
    ranks = {"high": 2, "medium": 1, "low": 0}
    graver, milder = sorted((fault.severity, other), key=lambda each: -ranks[each])
    assert score(with_faults(fault._replace(severity=graver))) <= score(with_faults(fault._replace(severity=milder)))


@given(
    st.integers(1, 60), st.integers(1, 60), st.booleans(), st.dictionaries(st.sampled_from(list(PARTS)), st.just(["x"]))
)
def test_neither_the_number_of_controls_nor_what_is_unknown_makes_a_difference(
    tried: int, controls: int, searched: bool, unknown: dict[scoring.PartName, Sequence[str]]
) -> None:
    assert score(Evidence(tried=tried, controls=controls, searched=searched, unknown=unknown)) == 100


def test_a_sound_game_gets_everything() -> None:
    assert score(SOUND) == 100 and scoring.verdict(SOUND, 100) == "Test complete! Score: 100/100"
    assert scoring.rubric(SOUND)[0].reasons == ["loaded in 0.4 s"]


@pytest.mark.parametrize("severity", get_args(Severity))
def test_a_game_that_never_starts_gets_less_than_20(severity: Severity) -> None:
    assert score(with_faults(of("noscripts", severity))) < 20


def test_a_game_that_breaks_while_it_starts_gets_less_than_20() -> None:
    at_load = of("error")._replace(from_load=True)
    broken = replace(with_faults(of("asset"), at_load), controls=0, tried=3, searched=False)
    assert score(broken) < 20, "there was no time to try all inputs"
    late, mild = (of("asset"), of("error")), (of("asset"), at_load._replace(severity="low"))
    for sounder in ({"controls": 1}, {"tried": 2}, {"faults": late}, {"faults": mild}):
        assert score(replace(broken, **sounder)) > 50


def test_a_game_that_stays_blank_gets_less_than_20() -> None:
    assert score(with_faults(of("blank"))) < 20


@pytest.mark.parametrize(("kind", "at_most"), [("crash", 50), ("freeze", 50), ("softlock", 70), ("error", 80)])
def test_what_ends_a_game_costs_much(kind: str, at_most: int) -> None:
    shown = with_faults(of(kind))
    assert score(shown) <= at_most and parts(shown)["stability"] <= 10


def test_a_control_that_is_promised_and_dead_costs() -> None:
    one, two = with_faults(of("deadkey", "medium")), with_faults(of("deadkey", "medium"), of("deadkey", "medium"))
    assert parts(two)["controls"] < parts(one)["controls"] < 25
    assert 25 - parts(two)["controls"] < 2 * (25 - parts(one)["controls"])


def test_no_control_is_a_fault_only_where_all_were_tried_and_could_be_told_apart() -> None:
    searched = Evidence(tried=30, controls=0, searched=True)
    assert parts(searched)["controls"] == 0 and "nothing that was tried" in scoring.verdict(searched, 60)
    assert score(replace(searched, searched=False)) == score(replace(searched, tried=0)) == 100


def test_an_incident_that_a_finding_tells_is_not_paid_twice() -> None:
    finding, both = with_faults(of("left")), replace(with_faults(of("left")), incidents={"left": 3})
    assert score(both) == score(finding) < score(replace(SOUND, incidents={"download": 3}))


def test_the_verdict_names_the_gravest_and_counts_the_rest() -> None:
    shown = with_faults(of("deadkey", "medium", "W does nothing"), of("freeze", "high", "it freezes"))
    assert scoring.verdict(shown, 40) == "Test complete! Score: 40/100 (it freezes, and 1 more)"


def test_what_is_unknown_is_said_and_what_is_lost_comes_first() -> None:
    shown = replace(with_faults(of("asset", "medium", "a.png is missing")), unknown={"load": ["the time it takes"]})
    load = scoring.rubric(shown)[0]
    assert load.reasons == ["lost 3: a.png is missing", "loaded in 0.4 s", "not found out: the time it takes"]
    assert scoring.deductions(shown)[0].as_json() == {
        "points": 4,
        "why": "a.png is missing",
        "part": "visuals",
        "finding": "f1",
    }
