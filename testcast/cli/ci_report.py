"""What a CI job is told of a run: the judgement, the Markdown summary, GitHub's annotations. Pure.

Everything comes from the events that were followed, so that there is a report also when the connection was lost.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from broker.contract import snapshot as snapshots
from broker.contract.snapshot import CANCELLED, Snapshot
from broker.export.findings import Finding, Report, Told, again, beside, command_of, report_of
from broker.export.findings import facts as facts_of
from broker.export.junit import Check, render
from broker.export.problems import Problem, Problems, parts_of
from broker.export.source import About
from testcast.cli.lines import PHASES, phase_number
from testcast.cli.moments import duration
from testcast.cli.text import printable
from testcast.client.events import Event, Item
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED, EXIT_LOST, EXIT_NO_VERDICT

MAX_PROBLEMS_SHOWN: Final = 20
MAX_ANNOTATIONS: Final = 10
"""Of each kind in a step: GitHub shows no more."""
_MAX_TEXT_CHARS: Final = 300
_MARKDOWN: Final = re.compile(r"[\\`*_{}\[\]()#!|~^$:.@]")
"""What may mean something inside a line: to Markdown, to GitHub (mentions, formulas), or in an address, which would
become a link."""
_LOST: Final = "lost"
"""`data.code` of a run that an edge has ended because its agent was silent."""


class Facts:
    """What the followed events say of a run.

    Args:
        title, game_url: as they were submitted, until the events name others.
    """

    def __init__(self, title: str, game_url: str) -> None:
        self._named = (title, game_url)
        self._clear()
        self.test_id = ""
        """Empty before the run was submitted."""
        self.page: str | None = None
        self.refused: tuple[str, str] | None = None
        """Why there is no run: the error's code and text."""
        self.unheard: str | None = None
        """Why its end was not seen."""
        self.timed_out_s: float | None = None
        """It did not end within this time, and was cancelled."""

    def _clear(self) -> None:
        self.problems = Problems()
        self.told = Told()
        self._snapshot: Snapshot | None = None
        self._phases: dict[int, list[int]] = {}

    def note(self, item: Item) -> None:
        """Takes what is delivered next. After a reset, the events that are kept are delivered from the first."""
        if not isinstance(item, Event):
            self._clear()
            return
        if self._snapshot is not None and item.seq <= self._snapshot.seq:
            return
        if not self.told.note(item.seq, item.published):
            self.problems.note(item.seq, item.published)
        self._snapshot = snapshots.fold(self._snapshot, item.test_id, item.seq, item.published, item.timestamp)
        if phase := phase_number(item.phase):
            times = self._phases.setdefault(phase, [item.timestamp, item.timestamp])
            times[1] = item.timestamp

    @property
    def run(self) -> Snapshot:
        """The run as far as it was followed."""
        title, game_url = self._named
        if self._snapshot is not None and self._snapshot.game_url:
            return self._snapshot
        if self._snapshot is not None:  # the event that named it is no longer kept
            return msgspec.structs.replace(self._snapshot, title=title, game_url=game_url)
        code, said = self.refused or (None, "")
        return Snapshot(
            test_id=self.test_id,
            title=title,
            game_url=game_url,
            status="queued" if self.refused is None else "failed",
            phase=None,
            message=said,
            seq=0,
            created_at=0,
            updated_at=0,
            attempt=0,
            error=said or None,
            error_code=code,
        )

    @property
    def report(self) -> Report:
        """What its agent reports of the game."""
        return report_of(self.run.metrics, self.told)

    @property
    def phases(self) -> list[tuple[str, int]]:
        """The name of each phase that was seen, in order, and how long it took, ms."""
        if not self._phases:
            return []
        began = sorted((times[0], phase) for phase, times in self._phases.items())
        ends = [each[0] for each in began[1:]] + [max(times[1] for times in self._phases.values())]
        return [(PHASES[phase - 1], max(0, end - begin)) for (begin, phase), end in zip(began, ends, strict=True)]


class Judgement(NamedTuple):
    """What a CI job makes of a run."""

    status: int
    """The exit status."""
    headline: str
    """Why, in one line."""
    checks: list[Check]
    """What was asked for beside the run itself, for the JUnit file."""


def judge(facts: Facts, min_score: float | None) -> Judgement:
    """Decides what the job ends with. The rows are in the order of what matters more."""
    run = facts.run
    asked = [] if min_score is None else [_score_check(run.score, min_score, ended=run.ended)]
    if facts.refused is not None:
        return Judgement(EXIT_LOST, f"not submitted: {facts.refused[1]}", asked)
    if facts.timed_out_s is not None:
        said = f"not ended within {facts.timed_out_s:g} s"
        return Judgement(EXIT_NO_VERDICT, said, [Check("Ends in time", said, error=True), *asked])
    if facts.unheard is not None or not run.ended:
        said = facts.unheard or "the events ended without a verdict"
        return Judgement(EXIT_LOST, said, [Check("Is followed to its end", said, error=True), *asked])
    if run.list_status == "cancelled" or run.error_code in (CANCELLED, _LOST):
        word = "cancelled" if run.list_status == "cancelled" else f"ended without a verdict: {run.error or run.message}"
        return Judgement(EXIT_NO_VERDICT, word, asked)
    if run.status == "failed":
        return Judgement(EXIT_FAILED, f"failed: {run.error or run.message}", asked)
    score = "no score" if run.score is None else f"score {run.score:g} of 100"
    if asked and asked[0].problem is not None:
        return Judgement(EXIT_FAILED, f"{score}, and at least {min_score:g} is asked for", asked)
    return Judgement(EXIT_COMPLETED, f"completed, {score}", asked)


def _score_check(score: float | None, least: float, *, ended: bool) -> Check:
    name = f"Score of at least {least:g}"
    if score is not None and score >= least:
        return Check(name)
    return Check(name, "the run has no score" if score is None or not ended else f"the score is {score:g}")


def junit(facts: Facts, judgement: Judgement, now_ms: int, version: str) -> bytes:
    """The JUnit document: as `testcast export --junit` writes it, with a case for each thing that was asked for."""
    run = facts.run
    if not run.created_at:
        run = msgspec.structs.replace(run, created_at=now_ms)
    about = About(run, run.epoch or "", run.seq, now_ms, version)
    return render(about, facts.problems, judgement.checks, told=facts.told)


# -- GitHub -------------------------------------------------------------------------------------------------------


def markdown(facts: Facts, judgement: Judgement) -> str:
    """The summary of a step."""
    run, passed = facts.run, judgement.status == EXIT_COMPLETED
    lines = [f"## {'✅' if passed else '❌'} {escaped(run.title)}: {escaped(judgement.headline)}", ""]
    lines += ["| | |", "| --- | --- |", f"| Game | {escaped(run.game_url)} |"]
    if facts.test_id:
        lines.append(f"| Run | {link(facts)} |")
    if run.score is not None:
        lines.append(f"| Score | **{run.score:g}** of 100 |")
    if run.started_at is not None and run.finished_at is not None:
        lines.append(f"| Took | {duration(run.finished_at - run.started_at)} |")
    if run.labels:
        lines.append(f"| Labels | {', '.join(escaped(f'{name}={value}') for name, value in run.labels.items())} |")
    lines += _table(
        ("Part of the score", "Points"), [(p.name, f"{p.score:g}/{p.max:g}") for p in parts_of(run.metrics)]
    )
    report = facts.report
    lines += _table(("Why points are lost", "Points"), [(each.why, f"-{each.points:g}") for each in report.lost])
    lines += _findings("Findings", report.findings, facts.test_id)
    lines += _findings("Seen once", report.once, facts.test_id)
    lines += _table(("Phase", "Took"), [(name, duration(took_ms)) for name, took_ms in facts.phases])
    lines += _problems(beside(facts.problems.found, report), facts.problems.more)
    return "\n".join(lines) + "\n\n"


def link(facts: Facts) -> str:
    """The run's id as Markdown, which leads to its page where that is known."""
    return facts.test_id if facts.page is None else f"[{facts.test_id}](<{_in_brackets(facts.page)}>)"


def _table(heads: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    return [
        "",
        f"| {heads[0]} | {heads[1]} |",
        "| --- | ---: |",
        *(f"| {escaped(a)} | {escaped(b)} |" for a, b in rows),
    ]


def _findings(title: str, findings: Sequence[Finding], test_id: str) -> list[str]:
    if not findings:
        return []
    lines = ["", f"### {title} ({len(findings)})", ""]
    for each in findings[:MAX_PROBLEMS_SHOWN]:
        lines.append(f"- **{escaped(each.title)}** ({escaped(', '.join(facts_of(each)))})")
        lines += [f"  - {escaped(line)}" for line in [_more(each), "; ".join(again(each))] if line]
        command = command_of(test_id, each)
        lines += [f"  - `{command}`"] if test_id and command else []
    more = len(findings) - MAX_PROBLEMS_SHOWN
    return lines + ([f"- and {more} more"] if more > 0 else [])


def _more(finding: Finding) -> str:
    """What the title does not say already."""
    return "" if finding.detail in finding.title else finding.detail


def _problems(found: Sequence[Problem], further: int) -> list[str]:
    if not found:
        return []
    more = len(found) + further - MAX_PROBLEMS_SHOWN
    lines = ["", f"### Problems of the game ({len(found) + further})", ""]
    lines += [f"- **{escaped(each.name)}**{_times(each)}: {escaped(each.text)}" for each in found[:MAX_PROBLEMS_SHOWN]]
    return lines + ([f"- and {more} more"] if more > 0 else [])


def _times(problem: Problem) -> str:
    return "" if problem.times == 1 else f" ({problem.times} times)"


def escaped(text: str) -> str:
    """A text of strangers as Markdown that shows it and does nothing else: no link, no mention, no HTML."""
    shown = printable(text)
    if len(shown) > _MAX_TEXT_CHARS:
        shown = shown[: _MAX_TEXT_CHARS - 1] + "…"
    return "".join(
        html.escape(each, quote=False) if each in "<>&" else _MARKDOWN.sub(r"\\\g<0>", each) for each in shown
    )


def _in_brackets(url: str) -> str:
    """An address between angle brackets, which ends at none of its own."""
    return re.sub(r"[<>\\|\s]", lambda found: f"%{ord(found[0]):02X}", url)


def annotated(facts: Facts, judgement: Judgement) -> list[str]:
    """GitHub's workflow commands: the verdict, and the problems of the game."""
    passed = judgement.status == EXIT_COMPLETED
    title = printable(facts.run.title)
    where = "" if facts.page is None else f"\n{facts.page}"
    said = [
        workflow_command(
            "notice" if passed else "error", f"testcast: {title}", f"{printable(judgement.headline)}{where}"
        )
    ]
    report = facts.report
    for each in report.findings[:MAX_ANNOTATIONS]:
        command = command_of(facts.test_id, each)
        text = f"{printable(each.title)} ({', '.join(facts_of(each))})"
        said.append(workflow_command("warning", each.name, f"{text}\n{command}" if command else text))
    found = beside(facts.problems.found, report)[: MAX_ANNOTATIONS + 1 - len(said)]
    return said + [workflow_command("warning", each.name, f"{printable(each.text)}{_times(each)}") for each in found]


def workflow_command(name: str, title: str, text: str) -> str:
    """A workflow command. `%`, CR and LF would end it or mean something else; in a property `:` and `,` as well."""

    def data(given: str) -> str:
        return given.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    named = data(printable(title)).replace(":", "%3A").replace(",", "%2C")
    return f"::{name} title={named}::{data(text)}"


def outputs(facts: Facts, judgement: Judgement) -> str:
    """The lines for the file that `GITHUB_OUTPUT` names, one `name=value` each."""
    run = facts.run
    said = {
        "test-id": facts.test_id,
        "page": facts.page or "",
        "status": run.list_status if facts.refused is None else "refused",
        "score": "" if run.score is None else f"{run.score:g}",
        "headline": judgement.headline,
    }
    return "".join(f"{name}={printable(value)}\n" for name, value in said.items())
