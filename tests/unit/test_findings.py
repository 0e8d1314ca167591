"""The report of an agent, read of whatever it has published: as JUnit, Markdown, lines of a terminal, for MCP."""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree

import msgspec
import orjson
import pytest

from broker.contract.events import Event, check
from broker.contract.snapshot import fold
from broker.export.findings import Told, again, command_of, facts, finding_of, report_of, shown_in
from broker.export.junit import junit_xml, render
from broker.export.problems import Problems
from testcast.cli.ci_report import Facts, annotated, judge, markdown
from testcast.cli.details import Details, show_details
from testcast.cli.lines import Formatter
from testcast.cli.report_lines import rows
from testcast.cli.rows import row
from testcast.cli.terminal import Terminal
from testcast.mcp_server import shapes
from tests.exporting import HOSTILE, FixedSource, about
from tests.reporting import CONTROLS, DEAD, ERROR, FREEZE, METRICS, ONCE, STACK, told
from tests.unit.test_cli_lines import event as seen_event
from tests.unit.test_cli_lines import feed
from tests.unit.test_doc_commands import parse
from tests.unit.test_export import check_schema, run_of

ID: Final = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
ODD: Final[list[Any]] = [
    None, True, -1, 1e308, float("inf"), 2**53, "", "x" * 100_000, [], [[]], {}, {"a": 1}, HOSTILE, "\x1b[31m\u202e"
]  # fmt: skip
BEGIN: Final = {"type": "status", "status": "queued", "message": "Queued", "data": {"title": "Star Hopper"}}
TELLS: Final = {"type": "progress", "message": ERROR["title"], "data": told(ERROR, STACK)}


def end(metrics: Any = METRICS, score: int = 71) -> dict[str, Any]:
    return {"type": "complete", "message": f"Score {score}", "data": {"score": score, "metrics": metrics}}


def event(fields: dict[str, Any]) -> Event:
    return check(orjson.dumps({"timestamp": 1} | fields)).event


def noted(*events: dict[str, Any]) -> Told:
    all_told = Told()
    for seq, each in enumerate(events, 1):
        all_told.note(seq, event(each))
    return all_told


def test_the_worst_comes_first_with_what_only_its_event_tells() -> None:
    report = report_of({"findings": [DEAD, ERROR, FREEZE], "seenOnce": [ONCE]}, noted(BEGIN, TELLS))
    assert [(each.id, each.seq, each.stack) for each in report.findings] == [
        ("f1", 0, ""),
        ("f2", 2, STACK),
        ("f3", 0, ""),
    ]
    assert [each.id for each in report.once] == ["s1"]


def test_events_tell_before_the_verdict_and_a_new_attempt_begins_again() -> None:
    once = {"type": "progress", "message": "m", "data": told(ONCE)}
    report = report_of(None, noted(BEGIN, TELLS, once))
    assert [[each.id for each in part] for part in (report.findings, report.once)] == [["f2"], ["s1"]]
    attempt = {"type": "status", "status": "running", "message": "m", "data": {"attempt": 2}}
    assert report_of(None, noted(TELLS, attempt)).findings == []


@pytest.mark.parametrize(
    ("kind", "seen", "is_once"),
    [
        ("finding", [1, 1], False),
        ("seenonce", [5, 5], True),
        ("own", [4, 5], True),
        ("own", [5, 5], False),
        (5, 5, False),
    ],
)
def test_the_agent_says_what_was_seen_once_and_else_the_counts_do(kind: Any, seen: Any, is_once: bool) -> None:
    data = {"kind": kind, "finding": {**FREEZE, "seen": seen}}
    report = report_of(None, noted({"type": "progress", "message": "m", "data": data}))
    assert (len(report.findings), len(report.once)) == ((0, 1) if is_once else (1, 0))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_whatever_an_agent_has_published_is_read_or_left_out(odd: Any) -> None:
    assert finding_of(odd) is None
    for name in FREEZE:
        found = finding_of({**FREEZE, name: odd})
        if found is not None:
            assert found.severity in ("high", "medium", "low") and len(found.stack) <= 2000
            assert all(isinstance(each, str) for each in (*facts(found), *again(found), command_of(ID, found)))
    for name in ("at", "hold", "kind", "keys", "x", "y", "to_x", "name"):
        found = finding_of({**FREEZE, "inputs": [{**FREEZE["inputs"][2], "kind": "drag", name: odd}, odd]})
        assert found is not None and all(isinstance(each, str) for each in again(found))
    for name in METRICS:
        metrics = {**METRICS, name: odd}
        report = report_of(metrics, noted({"type": "progress", "message": "m", "data": {"finding": odd}}))
        assert list(rows(report, ID)) is not None and shown_in(metrics) <= METRICS.keys()
    assert report_of(odd) == ([], [], [], [])


def test_what_shows_a_finding_again_is_told_in_words() -> None:
    found = finding_of(FREEZE)
    assert found is not None
    assert again(found) == [
        "0.10 s: Space",
        "0.50 s: ArrowUp + ArrowLeft, held 2.83 s",
        "3.47 s: click at 50 %, 40 %",
        "it shows by 4.57 s",
    ]
    assert facts(found) == ["high severity", "freeze", "5 of 5 times", "3.57 s into the game"]
    once = finding_of(ONCE)
    assert once is not None
    assert again(once) == ["do nothing: it shows by 18.3 s"]
    assert facts(once)[-2:] == ["after 15.0 s", "in real time"]


def test_a_command_is_one_that_a_shell_takes_as_it_is_or_none() -> None:
    named = [finding_of({**FREEZE, "id": each}) for each in ("f1", "", "-rf", "a b", "$(x)", "a;b", "a`b`")]
    said = [command_of(ID, each) for each in named if each is not None]
    assert said == [f"testcast reproduce {ID} f1", *[""] * 6]


def test_the_command_is_one_of_the_program() -> None:
    found = finding_of(FREEZE)
    assert found is not None
    for options in ("", " --edge https://tests.example/under"):  # the second: as the page adds it
        _, *arguments = f"{command_of(ID, found)}{options}".split()
        parse(arguments)


# ── JUnit ──


async def suite_of(*events: dict[str, Any]) -> ElementTree.Element:
    snapshot, listed = run_of(BEGIN, *events)
    (suite,) = ElementTree.fromstring(await junit_xml(FixedSource(about(snapshot), listed, [])))
    return suite


async def test_junit_has_each_finding_once_as_a_failure_and_what_was_seen_once_as_output() -> None:
    incident = {"type": "progress", "message": "m", "data": {"kind": "console", "detail": "boom"}}
    same = {"type": "progress", "message": "m", "data": {"kind": "pageerror", "detail": "this.player is undefined"}}
    measured = {"type": "progress", "message": "At true speed for 4.8 s", "data": {"step": "true speed"}}
    suite = await suite_of(TELLS, incident, same, measured, end())
    check_schema(suite)
    cases = {(each.get("classname"), each.get("name")): each for each in suite.findall("testcase")}
    names = [name for group, name in cases if group == "testcast.findings"]
    assert names == [FREEZE["title"], ERROR["title"], DEAD["title"]]
    assert [name for group, name in cases if group == "testcast.problems"] == ["Console error: boom"]
    failure = cases["testcast.findings", ERROR["title"]].find("failure")
    assert failure is not None and failure.text is not None
    assert failure.get("type") == "Script error"
    for wanted in ("5 of 5 times", "0.20 s: Escape", "it shows by 0.33 s", f"testcast reproduce {ID} f2", STACK):
        assert wanted in failure.text
    once = cases["testcast.seen-once", ONCE["title"]]
    output = once.find("system-out")
    assert once.find("failure") is None and output is not None and "1 of 4 times" in (output.text or "")
    properties = {each.get("name") for each in suite.findall("properties/property")}
    assert {"metric.time", "metric.speed"} <= properties and "metric.findings" not in properties


async def test_junit_of_a_run_without_a_verdict_has_what_its_events_tell() -> None:
    suite = await suite_of(TELLS)
    check_schema(suite)
    assert [each.get("name") for each in suite.findall("testcase")] == ["The run", ERROR["title"]]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_junit_is_written_of_any_metrics(odd: Any) -> None:
    snapshot, _ = run_of(BEGIN, {"type": "complete", "message": "m", "data": {"score": 1}})
    for name in ("findings", "seenOnce", "controls", "lost"):
        for metrics in ({name: odd}, {name: [odd]}, {name: [{**FREEZE, "title": odd, "detail": odd}]}):
            run = msgspec.structs.replace(snapshot, metrics=metrics)
            (suite,) = ElementTree.fromstring(render(about(run), Problems()))
            check_schema(suite)


# ── CI, terminal, MCP ──


def followed(*events: dict[str, Any]) -> Facts:
    found = Facts("Mine", "http://game.example/")
    found.test_id = ID
    for seq, each in enumerate(events, 1):
        kind, message, data = each["type"], each["message"], each.get("data")
        found.note(seen_event(message, kind, seq=seq, data=data, status=each.get("status")))
    return found


def test_the_summary_of_a_ci_job_has_findings_commands_and_reasons() -> None:
    found = followed(BEGIN, TELLS, end())
    text = markdown(found, judge(found, None))
    for wanted in (
        "### Findings (3)",
        f"- **{FREEZE['title']}** (high severity, freeze, 5 of 5 times, 3\\.57 s into the game)",
        f"  - `testcast reproduce {ID} f1`",
        "### Seen once (1)",
        f"| {FREEZE['title']} | -20 |",
    ):
        assert wanted in text
    assert "Problems of the game" not in text, "a finding is told once"
    warnings = [each for each in annotated(found, judge(found, None)) if each.startswith("::warning")]
    assert [each.split("::")[1] for each in warnings] == [
        "warning title=Freeze", "warning title=Script error", "warning title=Dead control"
    ]  # fmt: skip
    hostile = followed(BEGIN, end({"findings": [{**FREEZE, "title": f"{HOSTILE}\n::error::x", "id": "`x`"}]}))
    [line] = [each for each in markdown(hostile, judge(hostile, None)).splitlines() if each.startswith("- **")]
    assert "&lt;script&gt;" in line and "<script>" not in line
    assert "\n" not in "".join(annotated(hostile, judge(hostile, None)))


def test_show_prints_the_report_and_a_list_how_many_findings(capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = None
    for seq, each in enumerate((BEGIN, TELLS, end()), 1):
        snapshot = fold(snapshot, ID, seq, event(each), 1000)
    assert snapshot is not None
    show_details(Terminal(), Details(snapshot, None, [], noted(BEGIN, TELLS)), None, " --edge http://e.example")
    shown = capsys.readouterr().out
    for wanted in (
        "Points lost",
        "-20",
        "(playability, stability)",
        "Findings (3)",
        "high",
        FREEZE["title"],
        "Seen once (1)",
    ):
        assert wanted in shown
    assert f"testcast reproduce {ID} f1 --edge http://e.example" in shown
    assert "ArrowLeft (4 of 4 times, promised)" in shown
    assert '"inputs"' not in shown, "no raw JSON of what stands above"
    (line,) = row(snapshot, 2000)
    assert line.plain.endswith("Score 71 · 3 findings, 1 of them high")


def test_a_line_of_a_finding_says_what_was_seen_and_one_of_a_control_is_labelled() -> None:
    shown: Formatter = feed()
    line = shown.lines(seen_event("It freezes", data=told(FREEZE)))[-1]
    assert (line.kind, line.label, line.detail) == ("problem", "finding", FREEZE["detail"])
    once = shown.lines(seen_event("Seen once", data=told(ONCE)))[-1]
    assert (once.kind, once.label) == ("progress", "seenonce")
    control = shown.lines(seen_event("A key", data={"control": "Space", "seen": [4, 4]}))[-1]
    assert (control.kind, control.label) == ("action", "control")


def test_a_coding_agent_gets_the_worst_first_with_the_command() -> None:
    report = report_of(METRICS, noted(BEGIN, TELLS))
    found = shapes.findings(ID, report, [])
    assert [(each.id, each.severity, each.kind, each.seq) for each in found] == [
        ("f1", "high", "Freeze", 0),
        ("f2", "medium", "Script error", 2),
        ("f3", "low", "Dead control", 0),
    ]
    assert found[0].reproduce == f"testcast reproduce {ID} f1"
    assert found[0].inputs[1] == "0.50 s: ArrowUp + ArrowLeft, held 2.83 s"
    assert found[1].stack is not None and "main.js:412" in found[1].stack and "\n" not in found[1].stack
    assert [each.control for each in shapes.controls(report)] == [each["control"] for each in CONTROLS]
    assert sum(each.points for each in shapes.lost_points(report)) == 100 - 71
    metrics, _ = shapes.metrics(METRICS)
    assert metrics.keys().isdisjoint({"findings", "seenOnce", "controls", "lost", "rubric"}) and metrics["fps"] == 59.8
