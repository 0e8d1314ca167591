"""What a CI job is told: the exit status of each way in which a run ends, JUnit, Markdown, GitHub's annotations."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from testcast.cli.ci_report import Facts, annotated, escaped, judge, junit, markdown, outputs
from testcast.client.events import Event, Reset

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
NASTY = "a\n::add-mask::x | <img src=x> [b](http://evil.example) @team `c` 100%"
RUBRIC = [{"part": "load", "score": 10, "max": 15, "reasons": ["slow"]}]


def event(seq: int, kind: str = "progress", **fields: Any) -> Event:
    fields = {"message": f"m{seq}", "timestamp": 1_000_000 + seq * 1000} | fields
    return Event(test_id=RUN, seq=seq, type=kind, **fields)  # type: ignore[arg-type]


BEGIN = (
    event(1, "status", status="queued", data={"title": "Star Hopper", "gameUrl": "http://game.example/"}),
    event(2, "status", status="running", data={"attempt": 1}),
    event(3, "status", status="running", phase="phase1"),
    event(5, phase="phase1", data={"kind": "console", "detail": NASTY}),
    event(6, phase="phase1", data={"kind": "console", "detail": NASTY}),
    event(9, "status", status="running", phase="phase3"),
)
COMPLETE = event(20, "complete", phase="phase3", data={"score": 78, "metrics": {"rubric": RUBRIC}})


def facts(*items: Event | Reset) -> Facts:
    found = Facts("Mine", "http://game.example/")
    found.test_id, found.page = RUN, f"https://edge.example/tests/{RUN}"
    for each in items:
        found.note(each)
    return found


def failed(code: str) -> Event:
    return event(20, "error", status="failed", message="It is over", data={"code": code})


def timed_out() -> Facts:
    found = facts(*BEGIN)
    found.timed_out_s = 60
    return found


def unheard() -> Facts:
    found = facts(*BEGIN)
    found.unheard = "the broker is away"
    return found


@pytest.mark.parametrize(
    ("found", "least", "status", "words"),
    [
        (facts(*BEGIN, COMPLETE), None, 0, "completed, score 78 of 100"),
        (facts(*BEGIN, COMPLETE), 78, 0, "completed, score 78 of 100"),
        (facts(*BEGIN, COMPLETE), 78.5, 1, "score 78 of 100, and at least 78.5 is asked for"),
        (facts(*BEGIN, event(20, "complete")), None, 0, "completed, no score"),
        (facts(*BEGIN, event(20, "complete")), 0, 1, "no score, and at least 0 is asked for"),
        (facts(*BEGIN, failed("crash")), 10, 1, "failed: It is over"),
        (facts(*BEGIN, failed("cancelled")), 10, 4, "cancelled"),
        (facts(*BEGIN, failed("lost")), 10, 4, "ended without a verdict: It is over"),
        (timed_out(), None, 4, "not ended within 60 s"),
        (unheard(), None, 3, "the broker is away"),
        (facts(*BEGIN), None, 3, "the events ended without a verdict"),
        (facts(), None, 3, "the events ended without a verdict"),
    ],
)
def test_each_end_has_its_status_and_its_junit(found: Facts, least: float | None, status: int, words: str) -> None:
    judgement = judge(found, least)
    assert (judgement.status, judgement.headline) == (status, words)
    suite = ElementTree.fromstring(junit(found, judgement, 2_000_000, "testcast 1")).find("testsuite")
    assert suite is not None
    bad = [each for each in suite.iter("testcase") if each.get("classname") != "testcast.problems"]
    failing = any(each.find("failure") is not None or each.find("error") is not None for each in bad)
    skipped = suite.find("testcase/skipped") is not None
    assert (failing or skipped) == (status != 0)
    names = [each.get("name", "") for each in suite.iter("testcase")]
    assert any("Score of at least" in each for each in names) == (least is not None)


def test_a_run_that_was_not_submitted_has_a_report() -> None:
    found = Facts("Mine", "http://game.example/")
    found.refused = ("broker_unavailable", "nothing answers")
    judgement = judge(found, 80)
    root = ElementTree.fromstring(junit(found, judgement, 2_000_000, "testcast 1"))
    error = root.find("testsuite/testcase/error")
    assert error is not None
    assert (error.get("message"), error.get("type")) == ("nothing answers", "broker_unavailable")
    assert "not submitted" in markdown(found, judgement)
    assert "status=refused\n" in outputs(found, judgement)


def test_the_summary_shows_score_phases_problems_and_the_page_and_no_stranger_s_markup() -> None:
    found = facts(*BEGIN, COMPLETE)
    text = markdown(found, judge(found, 80))
    for wanted in (
        "## ❌ Star Hopper: score 78 of 100, and at least 80 is asked for",
        f"[{RUN}](<https://edge.example/tests/{RUN}>)",
        "| load | 10/15 |",
        "| Load and validate | 0\\:06 |",
        "| Explore gameplay | 0\\:11 |",
        "### Problems of the game (1)",
        "- **Console error** (2 times): a",
    ):
        assert wanted in text
    [line] = [each for each in text.splitlines() if each.startswith("- ")]
    assert "&lt;img src=x&gt;" in line
    assert all(f"\\{each}" in line for each in "|[]()@`:.")
    assert "http\\:" in line  # an address alone would be a link


def test_markdown_is_escaped_as_commonmark_reads_it_back() -> None:
    every = "".join(map(chr, range(33, 127)))
    shown = escaped(every)
    back = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\") == every
    assert escaped("x" * 1000).endswith("…")


def test_annotations_are_one_line_each_whatever_a_game_says() -> None:
    found = facts(*BEGIN, COMPLETE)
    verdict, problem = annotated(found, judge(found, 80))
    assert verdict.startswith("::error title=testcast%3A Star Hopper::score 78 of 100")
    assert verdict.endswith(f"%0Ahttps://edge.example/tests/{RUN}")
    assert problem.startswith("::warning title=Console error::a ::add-mask::x")
    assert problem.endswith("100%25 (2 times)")
    assert "\n" not in verdict + problem
    assert annotated(found, judge(found, None))[0].startswith("::notice ")
    odd = facts(event(1, "status", status="queued", data={"title": "a\r\nb::c,d", "gameUrl": "http://g/"}), COMPLETE)
    assert "\n" not in annotated(odd, judge(odd, None))[0]
    loud = facts(*BEGIN[:3], event(4, data={"kind": "console", "detail": "\x1b[31mred\x07"}),
                 event(5, "error", status="failed", message="\x1b]0;x\x07over\r\n::error::y"))  # fmt: skip
    said = "".join(annotated(loud, judge(loud, None)))
    assert not any(each < " " for each in said)
    assert "c%2Cd::" in annotated(odd, judge(odd, None))[0]
    assert outputs(odd, judge(odd, None)).count("\n") == 5


def test_events_that_are_delivered_again_after_a_reset_count_once() -> None:
    found = facts(*BEGIN, Reset(RUN, "expired"), *BEGIN[3:], COMPLETE)
    assert [each.times for each in found.problems.found] == [2]
    assert (found.run.title, found.run.game_url) == ("Mine", "http://game.example/")  # what named it is gone
