"""What several runs of one game say together, each with another seed: median, spread, and what all have found. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from xml.etree import ElementTree

from broker.export.junit import Check
from testcast.cli import ci_report
from testcast.cli.ci_report import Facts, Judgement, escaped
from testcast.cli.text import printable
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED

LABEL: Final = "seeds"
"""The label that the runs of one series have alike."""
_VARIES: Final = re.compile(r"\d+(\.\d+)?")
_MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Shared:
    """A finding, and in how many of the runs it was made."""

    kind: str
    title: str
    runs: int


@dataclass(frozen=True, slots=True)
class Series:
    """The runs, with their seeds from 1 on."""

    runs: Sequence[Facts]

    @property
    def scores(self) -> list[float]:
        """Of those runs that have one."""
        return [facts.run.score for facts in self.runs if facts.run.score is not None]

    @property
    def median(self) -> float | None:
        """None where no run has a score."""
        return median(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """The highest score less the lowest."""
        return max(self.scores) - min(self.scores) if self.scores else None

    @property
    def findings(self) -> list[Shared]:
        """What the runs have found, what most of them have found first."""
        titles: dict[tuple[str, str], str] = {}
        counts: Counter[tuple[str, str]] = Counter()
        for facts in self.runs:
            keys = {}
            for kind, title, same in _findings(facts.run.metrics):
                keys[kind, same] = title
            titles = keys | titles
            counts.update(keys.keys())
        found = [Shared(key[0], titles[key], times) for key, times in counts.items()]
        return sorted(found, key=lambda each: (-each.runs, each.kind, each.title))

    @property
    def common(self) -> list[Shared]:
        """What all runs with a verdict have found."""
        ended = sum(facts.run.status == "completed" for facts in self.runs)
        return [each for each in self.findings if each.runs == ended]


def _findings(metrics: Any) -> Iterator[tuple[str, str, str]]:
    """Kind and title of each finding, and what is equal where two runs have found the same."""
    given = metrics.get("findings") if isinstance(metrics, Mapping) else None
    for each in given if isinstance(given, list) else []:
        if isinstance(each, dict) and isinstance(each.get("kind"), str) and isinstance(each.get("title"), str):
            signature = each.get("signature")
            same = signature if isinstance(signature, str) else _VARIES.sub("#", each["title"])
            yield printable(each["kind"]), printable(each["title"]), same


def judge(series: Series, min_score: float | None) -> Judgement:
    """Decides what the job ends with: the first run without a verdict says why; else the median counts."""
    for seed, facts in enumerate(series.runs, 1):
        alone = ci_report.judge(facts, None)
        if alone.status != EXIT_COMPLETED:
            checks = [Check(f"Seed {seed}", alone.headline, error=True)]
            return Judgement(alone.status, f"seed {seed}: {alone.headline}", checks)
    middle, spread = series.median, series.spread
    said = "no score" if middle is None else f"median {middle:g} of 100, spread {spread:g}, {len(series.runs)} seeds"
    if min_score is None:
        return Judgement(EXIT_COMPLETED, f"completed, {said}", [])
    name = f"Median of at least {min_score:g}"
    if middle is not None and middle >= min_score:
        return Judgement(EXIT_COMPLETED, f"completed, {said}", [Check(name)])
    return Judgement(EXIT_FAILED, f"{said}, and a median of at least {min_score:g} is asked for", [Check(name, said)])


def as_json(series: Series, judgement: Judgement) -> dict[str, object]:
    """The line that `--json` prints."""
    runs = [
        {"seed": seed, "testId": facts.test_id, "status": facts.run.list_status, "score": facts.run.score}
        for seed, facts in enumerate(series.runs, 1)
    ]
    found = [{"kind": each.kind, "title": each.title, "runs": each.runs} for each in series.findings]
    known = {"median": series.median, "spread": series.spread, "runs": runs, "findings": found}
    return {**known, "exitStatus": judgement.status}


def lines(series: Series) -> list[str]:
    """What people read, without the headline."""
    said = [f"  seed {seed:<3} {_score(facts):>7}  {facts.test_id}" for seed, facts in enumerate(series.runs, 1)]
    if series.median is not None:
        said += ["", f"  median {series.median:g}, spread {series.spread:g}"]
    for each in series.findings[:_MOST_SHOWN]:
        said.append(f"  {each.kind}: {each.title} (in {each.runs} of {len(series.runs)})")
    more = len(series.findings) - _MOST_SHOWN
    return said + ([f"  and {more} more findings"] if more > 0 else [])


def _score(facts: Facts) -> str:
    return facts.run.list_status if facts.run.score is None else f"{facts.run.score:g}"


def junit(series: Series, judgement: Judgement, now_ms: int, version: str) -> bytes:
    """The JUnit document: a suite for each run. What was asked of all stands in the first."""
    root = ElementTree.Element("testsuites", {"name": "testcast"})
    for seed, facts in enumerate(series.runs, 1):
        alone = ci_report.judge(facts, None)
        checks = judgement.checks if seed == 1 else []
        document = ci_report.junit(facts, alone._replace(checks=[*alone.checks, *checks]), now_ms, version)
        for suite in ElementTree.fromstring(document).iter("testsuite"):
            suite.set("name", f"{suite.get('name', '')} (seed {seed})")
            root.append(suite)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def markdown(series: Series, judgement: Judgement) -> str:
    """The summary of a step on GitHub."""
    first, passed = series.runs[0].run, judgement.status == EXIT_COMPLETED
    said = [f"## {'✅' if passed else '❌'} {escaped(first.title)}: {escaped(judgement.headline)}", ""]
    said += ["| Seed | Score | Run |", "| ---: | ---: | --- |"]
    for seed, facts in enumerate(series.runs, 1):
        said.append(f"| {seed} | {_score(facts)} | {ci_report.link(facts)} |")
    if series.findings:
        said += ["", "### Findings", ""]
        for each in series.findings[:_MOST_SHOWN]:
            said.append(f"- **{escaped(each.kind)}** (in {each.runs} of {len(series.runs)}): {escaped(each.title)}")
    return "\n".join(said) + "\n\n"


def outputs(series: Series, judgement: Judgement) -> str:
    """The lines for the file that `GITHUB_OUTPUT` names: of the first run, with the median as the score."""
    first = series.runs[0]
    said = {
        "test-id": " ".join(facts.test_id for facts in series.runs),
        "page": first.page or "",
        "status": first.run.list_status,
        "score": "" if series.median is None else f"{series.median:g}",
        "spread": "" if series.spread is None else f"{series.spread:g}",
        "headline": judgement.headline,
    }
    return "".join(f"{name}={printable(value)}\n" for name, value in said.items())


def annotated(series: Series, judgement: Judgement) -> list[str]:
    """GitHub's workflow commands: the verdict, and what was found."""
    passed = judgement.status == EXIT_COMPLETED
    title = f"testcast: {printable(series.runs[0].run.title)}"
    said = [ci_report.workflow_command("notice" if passed else "error", title, judgement.headline)]
    found = series.findings[: ci_report.MAX_ANNOTATIONS]
    times = len(series.runs)
    return said + [
        ci_report.workflow_command("warning", each.kind, f"{each.title} (in {each.runs} of {times})") for each in found
    ]
