"""An agent's report of a game as lines of text: lost points, findings, what was seen once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from broker.export.findings import Control, Finding, Lost, Report, again, command_of, facts
from testcast.cli.text import printable

_STYLES: Final = {"high": "bold red", "medium": "yellow", "low": "bright_black"}
_MAX_GESTURES: Final = 20
"""Of a finding; the page shows all."""


class Row(NamedTuple):
    """A line, or a heading."""

    label: str
    """At most 8 characters; empty for what continues the row above."""
    text: str
    style: str = ""
    """Of the label; of the text, for a heading."""
    heading: bool = False
    whole: bool = False
    """It stays in one piece, to be copied."""


def rows(report: Report, test_id: str, options: str = "") -> Iterator[Row]:
    """The lines of a report.

    Args:
        options: what a further command needs to reach the same server.
    """
    if report.lost:
        yield Row("", "Points lost", "bold", heading=True)
    for lost in report.lost:
        yield Row(f"-{lost.points:g}", printable(f"{lost.why}{_parts(lost)}"), "red")
    yield from _findings("Findings", report.findings, test_id, options)
    yield from _findings("Seen once", report.once, test_id, options)


def _parts(lost: Lost) -> str:
    return f" ({', '.join(lost.parts)})" if lost.parts else ""


def _findings(title: str, findings: Sequence[Finding], test_id: str, options: str) -> Iterator[Row]:
    if findings:
        yield Row("", f"{title} ({len(findings)})", "bold", heading=True)
    for each in findings:
        yield Row(each.severity, printable(each.title), _STYLES[each.severity])
        yield Row("", printable(", ".join(facts(each)[1:])))
        shown = again(each)
        if len(shown) > _MAX_GESTURES:
            shown = [*shown[: _MAX_GESTURES - 1], "…", shown[-1]]
        if shown:
            yield Row("", printable("; ".join(shown)))
        if command := command_of(test_id, each):
            yield Row("", f"{command}{options}", whole=True)


def controls_text(controls: Sequence[Control]) -> str:
    """Controls in one line: `ArrowLeft (4 of 4 times, promised), click (4 of 4 times)`."""
    return printable(", ".join(f"{each.name} ({_evidence(each)})" for each in controls))


def _evidence(control: Control) -> str:
    shown, tried = control.seen
    return f"{shown:g} of {tried:g} times{', promised' if control.promised else ''}"


def findings_text(report: Report) -> str:
    """How many findings there are, for a line about a run: `2 findings, 1 of them high`. Empty: none."""
    count = len(report.findings)
    high = sum(each.severity == "high" for each in report.findings)
    if not count:
        return ""
    words = f"{count} finding{'' if count == 1 else 's'}"
    return f"{words}, {high} of them high" if high else words
