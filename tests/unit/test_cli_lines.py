"""How events are formatted as lines."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testcast.cli import lines
from testcast.cli.lines import MAX_OUTPUT_LINES, Line, Part
from testcast.cli.moments import duration
from testcast.cli.terminal import Terminal
from testcast.cli.text import uncommanding
from testcast.client.events import Event, Reset

NOON_MS = int(datetime(2026, 3, 4, 12, 3, 7).astimezone().timestamp() * 1000)
TODAY = date(2026, 3, 4)
RUN, OTHER = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11", "00000000-8a51-4c0b-9d57-2f1f6f0a7b11"


def event(message: str = "hello", kind: str = "progress", **fields: Any) -> Event:
    fields = {"test_id": RUN, "seq": 7, "timestamp": NOON_MS} | fields
    return Event(type=kind, message=message, **fields)  # type: ignore[arg-type]


def feed(*, headings: bool = True) -> lines.Formatter:
    return lines.Formatter(headings=headings, today=TODAY)


@pytest.mark.parametrize(
    ("given", "kind", "label"),
    [
        (event(kind="status", status="queued"), "queued", "queued"),
        (event(kind="status", status="running", data={"attempt": 2}), "running", "running"),
        (event(kind="status", status="running", phase="phase1"), "progress", "phase"),
        (event(), "progress", "progress"),
        (event(data={"action": "Testing WASD movement"}), "action", "action"),
        (event(data={"kind": "pageerror", "detail": "x is not a function"}), "problem", "pageerror"),
        (event(data={"kind": "a-very-long-kind"}), "problem", "a-very-lo"),
        (event(data={"kind": 7}), "progress", "progress"),
        (event(data=["kind"]), "progress", "progress"),
        (event(kind="error"), "error", "error"),
        (event(kind="error", status="failed"), "failed", "failed"),
        (event(kind="status", status="failed"), "failed", "failed"),
        (event(kind="complete", data={"score": 78}), "completed", "completed"),
    ],
)
def test_each_kind_of_event_has_its_word(given: Event, kind: str, label: str) -> None:
    line = feed().lines(given)[-1]
    assert (line.kind, line.label, line.time, line.text) == (kind, label, "12:03:07", "hello")


def test_a_phase_has_one_heading_and_the_next_attempt_has_it_again() -> None:
    shown = feed()
    given = [
        event("a", phase="phase1"),
        event("b", phase="phase1"),
        event("c"),
        event("d", phase="phase2"),
        event("e", phase="phase1"),
    ]
    texts = [line.text for each in given for line in shown.lines(each)]
    first, second = "Phase 1/4 · Load and validate", "Phase 2/4 · Discover controls"
    assert texts == [first, "a", "b", "c", second, "d", first, "e"]


def test_several_runs_have_no_headings_but_each_line_says_its_phase() -> None:
    shown = feed(headings=False)
    given = [event(phase="phase1"), event(phase="phase3", test_id=OTHER), event(), event(test_id=OTHER)]
    found = [(line.test_id, line.phase) for each in given for line in shown.lines(each)]
    assert found == [(RUN, 1), (OTHER, 3), (RUN, 1), (OTHER, 3)]


def test_another_day_is_said_once() -> None:
    shown = feed()
    yesterday = NOON_MS - 86_400_000
    found = [line.text for each in (yesterday, yesterday, NOON_MS) for line in shown.lines(event(timestamp=each))]
    assert found == ["Tuesday 3 March 2026", "hello", "hello", "Wednesday 4 March 2026", "hello"]


def test_output_is_a_line_for_each_of_its_lines_with_its_colours() -> None:
    ansi = "one\n\x1b[1;31mtwo\x1b[m\x1b[2J\x1b]0;x\x07!\n\tthree"
    made = feed().lines(event("one\ntwo!\n\tthree", data={"stream": "mixed", "stderr": [1], "ansi": ansi}))
    assert [(each.kind, each.label, each.text) for each in made] == [
        ("output", "", "one"),
        ("stderr", "stderr", "two!"),
        ("output", "", "        three"),
    ]
    assert made[1].ansi == "\x1b[1;31mtwo\x1b[m!"
    (plain,) = feed().lines(event("\x1b[2Jx\u202e", data={"stream": "tests"}))
    assert (plain.label, plain.text, plain.ansi) == ("tests", "x\ufffd", "")


def test_one_event_is_a_bounded_number_of_lines() -> None:
    data = {"stream": "mixed", "stderr": list(range(10_000)), "ansi": "\n" * 20_000}
    made = feed().lines(event("\n" * 20_000, data=data))
    assert len(made) == MAX_OUTPUT_LINES + 1
    assert (made[0].kind, made[-1].kind, made[-1].text) == ("stderr", "system", "19,001 more lines in this event")
    assert len(feed().lines(event("\n" * (MAX_OUTPUT_LINES - 1), data=data))) == MAX_OUTPUT_LINES


@pytest.mark.parametrize("data", [{"stream": "mixed"}, {"stream": "a" * 99, "stderr": 5, "ansi": 7}])
def test_output_of_another_form_is_shown_as_text(data: dict[str, Any]) -> None:
    assert [each.text for each in feed().lines(event("one\ntwo", data=data))] == ["one", "two"]


def test_a_heading_has_the_title_that_the_run_gives_its_phase() -> None:
    given = event(
        "Test it", kind="status", status="running", phase="phase2", data={"phases": ["Install", "Test\x1b[2J it"]}
    )
    assert feed().lines(given)[0].text == "Phase 2 · Test it"
    without = event("x", kind="status", status="running", phase="phase3", data={"phases": ["Install"]})
    assert feed().lines(without)[0].text == "Phase 3/4 · Explore gameplay"


def test_a_time_too_large_for_one_is_no_crash() -> None:
    assert feed().lines(event(timestamp=2**53 - 1))[-1].time == "--:--:--"


def test_the_games_own_words_stand_below_unless_the_message_has_them() -> None:
    told = event("Console error", data={"kind": "console", "detail": "x is null"})
    repeated = event("Console error: x is null", data={"kind": "console", "detail": "x is null"})
    odd = event("Console error", data={"kind": "console", "detail": {"x": 1}})
    assert [feed().lines(each)[-1].detail for each in (told, repeated, odd)] == ["x is null", "", ""]


@given(st.text())
def test_nothing_that_a_terminal_would_obey_gets_through(text: str) -> None:
    shown = feed().lines(event(text, data={"kind": text or "x", "detail": text}))[-1]
    for each in (shown.text, shown.label, shown.detail):
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or 0x202A <= ord(char) <= 0x202E for char in each)
        assert "\n" not in each


def test_an_escape_sequence_is_left_out_and_a_line_break_is_one_sign() -> None:
    assert feed().lines(event("a\x1b[2Jb\r\nc\n\n d"))[-1].text == "ab ⏎ c ⏎  d"


def test_a_very_long_message_is_cut_and_says_so() -> None:
    shown = feed().lines(event("x" * 60_000))[-1].text
    assert len(shown) < 2100
    assert shown.endswith("… (60,000 characters)")


@pytest.mark.parametrize("reason", ["expired", "ahead", "epoch"])
def test_a_reset_is_a_line_that_says_why_and_headings_begin_again(reason: Any) -> None:
    shown = feed()
    shown.lines(event(phase="phase2"))
    line = shown.lines(Reset(RUN, reason, "1"))[0]
    assert (line.kind, line.label) == ("system", "reset")
    assert line.text.startswith("gap: ")
    assert [each.kind for each in shown.lines(event(phase="phase2"))] == ["phase", "progress"]


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"metrics": {"rubric": [{"part": "load", "score": 10, "max": 15, "reasons": []}]}}, [("load", 10, 15)]),
        ({"metrics": {"rubric": [{"part": "load", "score": "10", "max": 15}, {"part": 1}, 3, {}]}}, []),
        ({"metrics": {"rubric": [{"part": "load", "score": 1, "max": 0}]}}, []),
        ({"metrics": {"rubric": "good"}}, []),
        ({"metrics": 4}, []),
        (None, []),
        ([1], []),
    ],
)
def test_a_score_by_parts_is_read_from_anything(data: Any, parts: list[tuple[str, float, float]]) -> None:
    assert lines.rubric(data) == parts


@pytest.mark.parametrize(
    ("score", "found"), [(78, 78), (78.5, 78.5), (101, None), (True, None), ("78", None), (None, None)]
)
def test_a_score_is_a_number_up_to_100(score: Any, found: float | None) -> None:
    assert lines.score_of(event(kind="complete", data={"score": score})) == found


@pytest.mark.parametrize(("ms", "text"), [(0, "0:00"), (-5, "0:00"), (41_900, "0:41"), (3_723_000, "1:02:03")])
def test_a_length_of_time(ms: float, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(("share", "filled"), [(-1, 0), (0, 0), (0.5, 10), (1, 20), (7, 20)])
def test_a_bar_is_never_longer_than_its_room(share: float, filled: int) -> None:
    assert lines.bar(share) == "█" * filled + "░" * (20 - filled)


def test_no_log_of_ci_takes_a_strangers_words_for_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    terminal, said = Terminal(), "::stop-commands::x"
    terminal.line(Line("problem", "boom ##vso[task.setvariable variable=X]y", detail=said))
    terminal.score(1.0, [Part(said, 1.0, 2.0)])
    terminal.note(f"  {said} ##[add-mask]z")
    out, err = capsys.readouterr()
    assert not [line for line in (out + err).splitlines() if line.lstrip().startswith("::")]
    assert "##" not in out + err and out.count(f"·{said}") == 2, "everything is still to be seen"
    assert uncommanding("a::b # [x] ## y\n#1") == "a::b # [x] ## y\n#1"
    terminal.command("::notice::ours", to_notes=False)
    assert capsys.readouterr().out == "::notice::ours\n"
