"""What becomes of lines between a program and the broker: batches, the queue, phases, scores, and tests of pytest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import orjson
import pytest

from broker.contract.errors import BadInput, Fenced, TestcastError
from broker.contract.events import MAX_EVENT_BYTES, Event, check
from testcast.client.errors import EdgeRefused
from testcast.recording.batches import (
    MAX_BATCH_LINES,
    MAX_EVENTS,
    Entry,
    entry,
    event_of,
    pace_s,
)
from testcast.recording.command_run import shown_command
from testcast.recording.markers import Phases, ScoreReader
from testcast.recording.pytest_session import end_of
from testcast.recording.recorder import Recorder
from testcast.recording.redaction import Redactor
from testcast.recording.reports import Outcome, Result, Tally, failure_event, line_of
from testcast.recording.sinks import About, checked
from testcast.recording.splitter import Line, Splitter
from testcast.recording.waiting import Gap, Waiting


def a_line(text: str, stream: str = "stdout") -> Entry:
    return entry(Line(text), stream, 1)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_an_event_names_its_stream_and_its_colours_only_where_it_has_some() -> None:
    plain = event_of([a_line("one"), a_line("two")], None)
    assert (plain.message, plain.data) == ("one\ntwo", {"stream": "stdout"})
    red = entry(Line("red", "\x1b[31mred\x1b[m"), "stderr", 5)
    mixed = event_of([a_line("one"), red, a_line("two")], "phase2")
    assert mixed.data == {"stream": "mixed", "stderr": [1], "ansi": "one\n\x1b[31mred\x1b[m\ntwo"}
    assert (mixed.phase, mixed.timestamp) == ("phase2", 1)


@pytest.mark.parametrize("character", ["x", '"', "\\", "é", "😀", "\t"])
def test_the_largest_batch_is_an_event(character: str) -> None:
    waiting = Waiting()
    coloured = f"\x1b[1;31m{character * 5000}\x1b[0m\n".encode()
    for _ in range(20):
        waiting.put([entry(line, "stdout", 1) for line in Splitter().feed(coloured)])
    while (taken := waiting.take()) is not None:
        assert isinstance(taken, list)
        assert len(event_of(taken, "phase1").encode()) <= MAX_EVENT_BYTES


def test_a_million_lines_stay_below_the_events_that_are_kept_of_a_run() -> None:
    """As fast as they can come, 1,000,000 lines of 80 characters; and a line each second for days."""
    waiting, events = Waiting(), 0
    block = [a_line("x" * 80)] * 1000
    for _ in range(100):  # a tenth of them
        waiting.put(block)
        while (taken := waiting.take()) is not None:
            assert isinstance(taken, list)
            events += 1
    assert events * 10 < MAX_EVENTS / 4
    slow_s = 0.0
    for number in range(MAX_EVENTS):
        slow_s += max(1.0, pace_s(number))
    assert slow_s > 4 * 24 * 3600


# -- the queue --------------------------------------------------------------------------------------------------------


def test_lines_come_out_in_order_and_events_between_them() -> None:
    waiting = Waiting()
    mark = Event(type="progress", message="mark", timestamp=1)
    waiting.put([a_line("one"), a_line("two"), mark, a_line("three")])
    first, second, third = waiting.take(), waiting.take(), waiting.take()
    assert isinstance(first, list) and [each.line.text for each in first] == ["one", "two"]
    assert second is mark
    assert isinstance(third, list) and [each.line.text for each in third] == ["three"]
    assert waiting.take() is None


def test_one_event_has_so_many_lines_and_no_more() -> None:
    waiting = Waiting()
    waiting.put([a_line(str(number)) for number in range(MAX_BATCH_LINES + 1)])
    assert waiting.is_full_batch
    first, second = waiting.take(), waiting.take()
    assert isinstance(first, list) and isinstance(second, list)
    assert (len(first), len(second)) == (MAX_BATCH_LINES, 1)


def test_the_oldest_lines_make_room_and_the_newest_phase_stays() -> None:
    waiting = Waiting(max_bytes=10_000, patience_s=0)
    phase = Event(type="status", status="running", phase="phase2", message="Test", timestamp=1)
    waiting.put([a_line("first"), phase, *(a_line(f"line {number}") for number in range(1000))])
    assert waiting.dropped > 900
    gap = waiting.take()
    assert isinstance(gap, Gap) and gap.lines == waiting.dropped
    assert waiting.take() is phase
    rest = waiting.take()
    assert isinstance(rest, list) and rest[-1].line.text == "line 999"
    assert gap.lines + len(rest) == 1001


def test_who_puts_in_waits_for_room_while_the_other_side_moves() -> None:
    waiting = Waiting(max_bytes=20_000, patience_s=60)
    writer = threading.Thread(target=lambda: waiting.put([a_line(str(number)) for number in range(2000)]), daemon=True)
    writer.start()
    seen: list[str] = []
    while writer.is_alive() or len(waiting):
        taken = waiting.take()
        seen += [each.line.text for each in taken] if isinstance(taken, list) else []
    assert seen == [str(number) for number in range(2000)]
    assert waiting.dropped == 0


def test_nobody_waits_when_nothing_can_be_published_any_more() -> None:
    waiting = Waiting(max_bytes=5_000, patience_s=600)
    waiting.put([a_line("one")])
    waiting.discard()
    waiting.put([a_line("x" * 100)] * 1000)
    assert (waiting.dropped, len(waiting)) == (1001, 0)


# -- phases and scores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["::phase Install::", "::phase Test::"], [(1, "Install"), (2, "Test")]),
        (["::phase 3 Test it::"], [(3, "Test it")]),
        (["::phase::", "::phase::"], [(1, "Phase 1"), (2, "Phase 2")]),
        (["::phase Install::", "::phase Test::", "::phase install::"], [(1, "Install"), (2, "Test"), (1, "Install")]),
        (["::phase 2::"], [(2, "Phase 2")]),
        (["  ::phase 12 steps::  "], [(1, "12 steps")]),
        ([f"::phase {each}::" for each in "abcde"], [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (4, "e")]),
        (["::phase one", "phase ::", "see ::phase x::", "::phase x:: there", "::phases::"], []),
    ],
)
def test_a_line_begins_a_phase(lines: list[str], expected: list[tuple[int, str]]) -> None:
    phases = Phases()
    started = [phases.mark(each) for each in lines]
    assert [(each.number, each.title) for each in started if each is not None] == expected


def test_options_name_phases_and_a_pattern_begins_one() -> None:
    phases = Phases(["Install", "Test=^> jest"])
    first = phases.first()
    assert first is not None and (first.number, first.titles) == (1, ("Install", "Test"))
    assert phases.match("npm run jest") is None
    second = phases.match("> jest --ci")
    assert second is not None and second.number == 2
    assert phases.match("> jest --ci") is None, "it has begun"
    assert second.event(7).data == {"phases": ["Install", "Test"]}
    assert check(second.event(7).encode()).event.phase == "phase2"


@pytest.mark.parametrize("given", [["a"] * 5, [""], [" =x"], ["a=("]])
def test_wrong_phases_are_refused(given: list[str]) -> None:
    with pytest.raises(BadInput, match="--phase"):
        Phases(given)


@pytest.mark.parametrize(
    ("pattern", "lines", "score"),
    [
        (r"Lines +: ([\d.]+)%", ["Lines   : 81.25%", "Lines : 90%"], 90.0),
        (r"(\d+) of (\d+) passed", ["12 of 16 passed"], 75.0),
        (r"(\d+)/(\d+)", ["1/0", "200/100"], None),
        (r"score (\w+)", ["score high"], None),
    ],
)
def test_a_score_is_read_from_the_output(pattern: str, lines: list[str], score: float | None) -> None:
    reader = ScoreReader(pattern)
    for each in lines:
        reader.read(each)
    assert reader.score == score


@pytest.mark.parametrize("pattern", ["(", "no group", "(a)(b)(c)"])
def test_a_wrong_score_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadInput, match="--score-from"):
        ScoreReader(pattern)


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["npm", "test"], "npm test"),
        (["sh", "-c", "echo hi"], "sh -c 'echo hi'"),
        (["deploy", "--token", "abc", "--token=abc", "now"], "deploy --token '***' --token=*** now"),
        (["deploy", "API_KEY=abc"], "deploy API_KEY=***"),
        (["curl", "https://me:word@host/"], "curl 'https://***@host/'"),
        (["x", "y" * 500], "x " + "y" * 117 + "…"),
    ],
)
def test_the_title_shows_no_secret_option(argv: list[str], shown: str) -> None:
    assert shown_command(argv).replace("'", "") == shown.replace("'", "")


@pytest.mark.parametrize("about", [About(" "), About("x" * 201), About("fine", project="No Project")])
def test_a_wrong_title_or_project_is_refused(about: About) -> None:
    with pytest.raises(BadInput):
        checked(about)


# -- pytest -----------------------------------------------------------------------------------------------------------


def a_tally(**counts: int) -> Tally:
    tally = Tally()
    for outcome, count in counts.items():
        tally.counts[outcome] = count  # type: ignore[index]  # from keywords
    return tally


@pytest.mark.parametrize(
    ("counts", "status", "score_asked", "kind", "said", "code", "score"),
    [
        ({"passed": 3}, 0, False, "complete", "3 passed", None, None),
        ({"passed": 3}, 0, True, "complete", "3 passed", None, 100),
        ({"passed": 3, "failed": 1}, 1, False, "error", "1 failed, 3 passed", "tests_failed", None),
        ({"passed": 3, "failed": 1}, 1, True, "complete", "1 failed, 3 passed", None, 75),
        ({"passed": 3, "skipped": 9}, 2, True, "error", "3 passed, 9 skipped; Ctrl-C", "interrupted", None),
        ({}, 5, True, "error", "no tests ran", "no_tests", None),
        ({"error": 2}, 1, True, "complete", "2 errors", None, 0),
        ({}, 77, False, "error", "no tests ran", "exit_status", None),
    ],
)
def test_the_end_of_a_session(
    counts: dict[str, int], status: int, score_asked: bool, kind: str, said: str, code: str | None, score: float | None
) -> None:
    event = end_of(a_tally(**counts), status, "Ctrl-C" if status == 2 else "", 1.5, score_asked=score_asked)
    assert check(event.encode()).event.terminal
    assert (event.type, event.message) == (kind, said)
    assert (event.field("code"), event.field("score")) == (code, score)
    assert event.field("metrics")["seconds"] == 1.5


@pytest.mark.parametrize("outcome", ["passed", "failed", "error", "skipped", "xfailed", "xpassed"])
def test_a_test_is_a_line_of_one_line(outcome: Outcome) -> None:
    made = line_of(Result("a.py::test[\x1b[31m\n\x07é\ud800]", outcome, 0.126, "why\nnot"), 1)
    assert made.line.text.startswith(outcome.upper())
    assert "\n" not in made.line.text and "\x1b" not in made.line.text
    assert made.test[1:] == [outcome, 0.126]


def test_a_failure_keeps_the_end_of_its_text() -> None:
    event = failure_event(Result("a.py::test", "failed", 0.1, "begin " + "x" * 9000 + " the end"), "phase2", 1)
    detail = event.field("detail")
    assert len(detail) == 4000 and detail.startswith("…x") and detail.endswith(" the end")
    assert event.message == "FAILED a.py::test"


def test_the_plugin_costs_nothing_before_it_is_asked_for() -> None:
    program = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport pytest_testcast\n"
        "print(__import__('json').dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert set(orjson.loads(done.stdout)) - {"json", "json.decoder", "json.scanner", "json.encoder", "_json"} == {
        "pytest_testcast"
    }


# -- the recorder -----------------------------------------------------------------------------------------------------


class Refusing:
    """A sink that is refused at its second event, as with a token that has expired, or fenced."""

    def __init__(self, error: TestcastError) -> None:
        self.test_id: str | None = None
        self.trouble, self.signs, self.pending = "", 0, 0
        self._error, self._count = error, 0

    async def open(self) -> None:
        self.test_id = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"

    async def put(self, event: Event) -> None:
        self._count += 1
        if self._count > 1:
            raise self._error

    async def end(self, event: Event) -> None:
        raise self._error

    async def wait_over(self) -> TestcastError:
        return await asyncio.Future()

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("error", "stops"),
    [(EdgeRefused("the token has expired", "unauthenticated", 401), False), (Fenced("Cancelled", "ended"), True)],
)
def test_a_refusal_ends_the_recording_and_only_a_cancel_the_program(error: TestcastError, stops: bool) -> None:
    told: list[TestcastError] = []
    recorder = Recorder(Refusing(error), on_over=told.append)
    recorder.start()
    mark = Event(type="progress", message="mark", timestamp=1)
    recorder.put([a_line("one"), mark, a_line("two"), a_line("three")])
    done = recorder.finish(Event(type="complete", message="end", timestamp=2))
    assert (done.complete, done.lines, done.missing, done.error) == (False, 3, 2, error.message)
    assert (told, done.over) == (([error], error) if stops else ([], None))


# -- secrets ----------------------------------------------------------------------------------------------------------

ENVIRONMENT = {
    "NPM_TOKEN": "npm_0123456789",
    "DB_PASSWORD": "short",
    "DEPLOY_KEY_SECRET": "first line of it\nsecond line of it\n",
    "TESTCAST_TOKEN_FILE": "/run/secrets/token",
    "HOME": "/home/somebody",
}


def test_values_of_secret_variables_are_in_nothing_that_is_published() -> None:
    recorder = Recorder(Refusing(Fenced("x", "ended")), redacted=Redactor(ENVIRONMENT).item)
    told = "npm_0123456789 short /run/secrets/token /home/somebody, second line of it"
    hidden = "*** short /run/secrets/token /home/somebody, ***"
    coloured = entry(Line(told, f"\x1b[31m{told}\x1b[m"), "stdout", 1, test=[told, "passed", 0.1])
    recorder.put([coloured, Event(type="progress", message=told, timestamp=1, data={"detail": [told], "n": 1})])
    taken = recorder._waiting.take()
    assert isinstance(taken, list)
    [line] = taken
    assert line.line == Line(hidden, f"\x1b[31m{hidden}\x1b[m") and line.test == [hidden, "passed", 0.1]
    event = recorder._waiting.take()
    assert isinstance(event, Event) and (event.message, event.data) == (hidden, {"detail": [hidden], "n": 1})
    last = recorder._redacted(Event(type="error", message=told, timestamp=1))
    assert isinstance(last, Event) and last.message == hidden


def test_without_secrets_nothing_is_changed() -> None:
    line = a_line("text")
    assert Redactor({"HOME": "/home/somebody"}).item(line) is line


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["curl", "-H", "Authorization: Bearer abc.def", "x"], "curl -H Authorization: *** x"),
        (["curl", "-H", "X-Api-Key: abc"], "curl -H X-Api-Key: ***"),
        (["curl", "https://h/?a=1&token=abc&b=2"], "curl https://h/?a=1&token=***&b=2"),
        (["sh", "-c", "export A=1; TOKEN=abc npm test"], "sh -c export A=1; TOKEN=*** npm test"),
        (["sh", "-c", "deploy --token abc now"], "sh -c deploy --token *** now"),
        (["deploy", "-p", "npm_0123456789"], "deploy -p ***"),
        (["pytest", "tests/test_token.py::test_secret"], "pytest tests/test_token.py::test_secret"),
    ],
)
def test_the_title_shows_no_secret_inside_an_argument(argv: list[str], shown: str) -> None:
    assert shown_command(argv, Redactor(ENVIRONMENT)).replace("'", "") == shown
