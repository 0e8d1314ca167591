"""A run's verdict as JUnit XML, as CI systems read it. Pure.

One suite: the run itself, each part of the score, each finding and each other problem of the game as a failure, and the
tests of a session. What was seen once is a case that passes, with what was seen as its output.
The order of the elements is that of the schema of Jenkins' xUnit plugin, which GitLab and GitHub's reporters read, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from xml.etree import ElementTree

import orjson

from broker.contract.errors import MalformedEvent
from broker.contract.events import check
from broker.contract.moments import utc
from broker.export.findings import Finding, Told, again, beside, command_of, facts, report_of
from broker.export.problems import Part, Problem, Problems, parts_of
from broker.export.source import About, Source
from broker.export.suite import FAILED, Case, Suite

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may contain, even escaped."""
_MAX_TEXT_CHARS: Final = 2000
_RUN: Final = "testcast.run"
_SCORE: Final = "testcast.score"
_PROBLEMS: Final = "testcast.problems"
_ASKED: Final = "testcast.asked"
_FINDINGS: Final = "testcast.findings"
_SEEN_ONCE: Final = "testcast.seen-once"


class Check(NamedTuple):
    """Something that a CI job has asked of a run."""

    name: str
    problem: str | None = None
    """Why it does not hold; None: it does."""
    error: bool = False
    """It cannot be said of the game whether it holds."""


async def junit_xml(source: Source) -> bytes:
    """Returns the document.

    Raises:
        BrokerUnavailable, BrokerRefused: the run cannot be read to its end.
    """
    problems, suite, told = Problems(), Suite(), Told()
    async for events in source.events():
        for seq, raw in events:
            try:
                event = check(raw).event
            except MalformedEvent:
                continue
            if not suite.note(event) and not told.note(seq, event):
                problems.note(seq, event)
    return render(source.about, problems, tests=suite, told=told)


def render(
    about: About,
    problems: Problems,
    checks: Sequence[Check] = (),
    tests: Suite | None = None,
    told: Told | None = None,
) -> bytes:
    """The document of a run with these problems and findings, with what was asked of it, and the tests of a session."""
    run, tested = about.snapshot, tests or Suite()
    report = report_of(run.metrics, told)
    cases = [_run_case(about, tested), *map(_check_case, checks), *map(_part_case, parts_of(run.metrics))]
    cases += [_finding_case(run.test_id, each) for each in report.findings]
    cases += [_once_case(run.test_id, each) for each in report.once]
    cases += [*map(_problem_case, beside(problems.found, report)), *map(_test_case, tested.cases)]
    if tested.more:
        cases.append(_more(_RUN, tested.more, "tests"))
    if problems.more:
        cases.append(_more(_PROBLEMS, problems.more, "problems"))
    counts = {
        "tests": str(len(cases)),
        "failures": str(_count(cases, "failure")),
        "errors": str(_count(cases, "error")),
        "time": f"{_seconds(about):.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "testcast", **counts})
    began = utc(run.started_at or run.created_at)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {"name": _text(run.title), **counts, "skipped": str(_count(cases, "skipped")), "timestamp": f"{began:%FT%T}"},
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(about):
        ElementTree.SubElement(properties, "property", {"name": _text(name), "value": _text(value)})
    suite.extend(cases)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _properties(about: About) -> Iterable[tuple[str, str]]:
    run = about.snapshot
    yield "testId", run.test_id
    yield "status", run.list_status
    if run.score is not None:
        yield "score", f"{run.score:g}"
    if run.game_url:
        yield "gameUrl", run.game_url
    yield "attempt", str(run.attempt)
    yield "exportedAt", f"{utc(about.exported_ms):%FT%TZ}"
    for name, value in (run.labels or {}).items():
        yield f"label.{name}", value
    for name, value in (run.metrics if isinstance(run.metrics, dict) else {}).items():
        if name != "rubric" and isinstance(value, str | int | float):
            yield f"metric.{name}", value if isinstance(value, str) else orjson.dumps(value).decode()


def _more(group: str, count: int, what: str) -> ElementTree.Element:
    more = _case(group, f"{count} more")
    _add(more, "failure", f"{count} further {what} are not listed", type="more")
    return more


def _test_case(test: Case) -> ElementTree.Element:
    group, _, name = test.nodeid.partition("::")
    case = _case(group.removesuffix(".py").replace("/", "."), name or test.nodeid, test.seconds)
    if test.outcome in ("failed", "error"):
        last = test.detail.strip().rpartition("\n")[2]
        tag = "failure" if test.outcome == "failed" else "error"
        _add(case, tag, last or test.outcome, type=test.outcome).text = _text(test.detail)
    elif test.outcome in ("skipped", "xfailed"):
        _add(case, "skipped", test.outcome)
    return case


def _run_case(about: About, suite: Suite) -> ElementTree.Element:
    run = about.snapshot
    case = _case(_RUN, "The run", _seconds(about))
    if run.list_status == "failed" and not (suite.cases and run.error_code == FAILED):
        said = run.error or run.message or "the run failed"
        _add(case, "error", said, type=run.error_code or "failed")
    elif run.list_status == "cancelled":
        _add(case, "skipped", "the run was cancelled")
    elif not run.ended:
        _add(case, "skipped", f"the run was {run.status} when this was written, {utc(about.exported_ms):%F %T} UTC")
    if run.message:
        ElementTree.SubElement(case, "system-out").text = _text(run.message)
    return case


def _check_case(check: Check) -> ElementTree.Element:
    case = _case(_ASKED, check.name)
    if check.problem is not None:
        _add(case, "error" if check.error else "failure", check.problem, type="asked")
    return case


def _part_case(part: Part) -> ElementTree.Element:
    case = _case(_SCORE, part.name)
    said = "\n".join((f"{part.score:g} of {part.max:g}", *part.reasons))
    ElementTree.SubElement(case, "system-out").text = _text(said)
    return case


def _finding_case(test_id: str, finding: Finding) -> ElementTree.Element:
    case = _case(_FINDINGS, finding.title)
    _add(case, "failure", finding.title, type=finding.name).text = _text(_found(test_id, finding))
    return case


def _once_case(test_id: str, finding: Finding) -> ElementTree.Element:
    case = _case(_SEEN_ONCE, finding.title)
    ElementTree.SubElement(case, "system-out").text = _text(f"Seen once: {_found(test_id, finding)}")
    return case


def _found(test_id: str, finding: Finding) -> str:
    """What was seen, and what shows it again; the stack comes last, since the text may be cut."""
    command, shown = command_of(test_id, finding), again(finding)
    lines = [finding.detail or finding.title, ", ".join(facts(finding))]
    lines += ["How to see it again:", *(f"  {each}" for each in shown)] if shown else []
    lines += [f"  {command}"] if command else []
    return "\n".join([*lines, *([finding.stack] if finding.stack else [])])


def _problem_case(problem: Problem) -> ElementTree.Element:
    case = _case(_PROBLEMS, f"{problem.name}: {problem.text}"[:200])
    times = "once" if problem.times == 1 else f"{problem.times} times"
    said = f"{problem.text}\n{times}, first at {utc(problem.time_ms):%F %T} UTC (event {problem.seq})"
    _add(case, "failure", problem.text, type=problem.name).text = _text(said)
    return case


def _case(group: str, name: str, seconds: float = 0.0) -> ElementTree.Element:
    said = {"name": _text(name) or "?", "classname": group, "time": f"{seconds:.3f}"}
    return ElementTree.Element("testcase", said)


def _add(case: ElementTree.Element, tag: str, message: str, **attributes: str) -> ElementTree.Element:
    said = {name: _text(value) for name, value in attributes.items()}
    return ElementTree.SubElement(case, tag, {"message": _text(message), **said})


def _count(cases: Iterable[ElementTree.Element], tag: str) -> int:
    return sum(case.find(tag) is not None for case in cases)


def _seconds(about: About) -> float:
    run = about.snapshot
    if run.started_at is None:
        return 0.0
    return max(0, (run.finished_at or about.exported_ms) - run.started_at) / 1000


def _text(text: str) -> str:
    """A text of strangers that XML can hold, at most `_MAX_TEXT_CHARS` long."""
    cleaned = _NOT_XML.sub("\ufffd", text)
    return cleaned if len(cleaned) <= _MAX_TEXT_CHARS else f"{cleaned[: _MAX_TEXT_CHARS - 1]}…"
