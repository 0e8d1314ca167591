"""What several runs of one game say together (testcast/cli/seeds_report.py)."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from testcast.cli import seeds_report
from testcast.cli.ci_report import Facts
from testcast.cli.seeds_report import Series, Shared
from testcast.client.events import Event
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED, EXIT_LOST, EXIT_NO_VERDICT
from tests.unit.test_ci_report import BEGIN, NASTY, event, failed


def found(kind: str, title: str, signature: str | None = None) -> dict[str, str]:
    return {"kind": kind, "title": title} | ({} if signature is None else {"signature": signature})


def complete(score: float, *findings: dict[str, str]) -> Event:
    return event(20, "complete", data={"score": score, "metrics": {"findings": list(findings)}})


def series(*ends: Event | None) -> Series:
    runs = []
    for number, end in enumerate(ends, 1):
        facts = Facts("Mine", "http://game.example/")
        facts.test_id, facts.page = f"run-{number}", f"https://edge.example/tests/run-{number}"
        for each in (*BEGIN, *([] if end is None else [end])):
            facts.note(each)
        runs.append(facts)
    return Series(runs)


def test_the_median_and_the_spread_are_of_the_runs_with_a_score() -> None:
    several = series(complete(90), complete(70), complete(96))
    assert (several.median, several.spread) == (90, 26)
    assert (series(None).median, series(None).spread) == (None, None)


def test_a_finding_of_all_is_told_from_one_of_some() -> None:
    error, again = found("error", "Uncaught x at 12", "x at #"), found("error", "Uncaught x at 340", "x at #")
    dead, twice = found("deadkey", "W does nothing"), found("deadkey", "W does nothing")
    several = series(complete(80, error, dead, twice), complete(82, again))
    assert several.findings == [Shared("error", "Uncaught x at 12", 2), Shared("deadkey", "W does nothing", 1)]
    assert several.common == [Shared("error", "Uncaught x at 12", 2)]


@pytest.mark.parametrize("metrics", [None, 7, {"findings": "x"}, {"findings": [1, {"kind": 2}, {"title": "x"}]}])
def test_metrics_of_another_form_have_no_findings(metrics: Any) -> None:
    assert series(event(20, "complete", data={"score": 1, "metrics": metrics})).findings == []


@pytest.mark.parametrize(
    ("ends", "least", "status", "words"),
    [
        ((complete(90), complete(70), complete(96)), None, EXIT_COMPLETED, "completed, median 90 of 100, spread 26"),
        ((complete(90), complete(70), complete(96)), 90, EXIT_COMPLETED, "completed, median 90 of 100"),
        ((complete(90), complete(70), complete(80)), 85, EXIT_FAILED, "a median of at least 85 is asked for"),
        ((complete(90), failed("http_404")), None, EXIT_FAILED, "seed 2: failed: It is over"),
        ((complete(90), failed("cancelled")), 10, EXIT_NO_VERDICT, "seed 2: cancelled"),
        ((None, complete(90)), 10, EXIT_LOST, "seed 1: the events ended without a verdict"),
    ],
)
def test_each_end_has_its_status(ends: tuple[Event | None, ...], least: float | None, status: int, words: str) -> None:
    judgement = seeds_report.judge(series(*ends), least)
    assert judgement.status == status and words in judgement.headline


def test_the_junit_file_has_a_suite_for_each_seed_and_adds_up() -> None:
    several = series(complete(90), complete(70))
    document = ElementTree.fromstring(seeds_report.junit(several, seeds_report.judge(several, 85), 2_000_000, "1"))
    assert [suite.get("name") for suite in document] == ["Star Hopper (seed 1)", "Star Hopper (seed 2)"]
    for name, tag in (("tests", "testcase"), ("failures", "failure")):
        assert int(document.get(name, "-1")) == len(list(document.iter(tag)))
    asked = [each for each in document.iter("testcase") if each.get("classname") == "testcast.asked"]
    assert len(asked) == 1 and asked[0].find("failure") is not None


def test_what_a_game_says_does_nothing_in_the_summary() -> None:
    several = series(complete(90, found("error", NASTY)), complete(70, found("error", NASTY)))
    judgement = seeds_report.judge(several, None)
    text = seeds_report.markdown(several, judgement)
    assert "| 2 | 70 | [run-2](<https://edge.example/tests/run-2>) |" in text
    assert "<img" not in text and "\n::" not in text
    assert all("\n" not in line for line in seeds_report.annotated(several, judgement))
    assert all("\n" not in line for line in seeds_report.lines(several))
    assert "score=80\nspread=20\n" in seeds_report.outputs(several, judgement)


def test_json_has_each_run_with_its_seed() -> None:
    several = series(complete(90), complete(70))
    told = seeds_report.as_json(several, seeds_report.judge(several, None))
    assert told["median"] == 80 and told["spread"] == 20 and told["exitStatus"] == 0
    assert told["runs"] == [
        {"seed": 1, "testId": "run-1", "status": "completed", "score": 90},
        {"seed": 2, "testId": "run-2", "status": "completed", "score": 70},
    ]
