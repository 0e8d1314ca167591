"""The tables of AGENT.md from results of the trial. Pure functions of what the results say."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tests.trial.catalogue import BUGS, UNCHANGED, Game
from tests.trial.matching import Controls, Finding, Verdict, controls, verdict

Result = Mapping[str, Any]
MARKS: Final = ("<!-- trial: what follows is made by `python -m tests.trial summary --into` -->", "<!-- trial: end -->")
"""Around the tables in a document."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; empty where it would have no rows, since renderers disagree on what that shows."""
    cells = list(rows)
    lines = [head, ["---"] * len(head), *cells] if cells else []
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def controls_of(result: Result, game: Game) -> Controls:
    """The controls that a run has told, sorted."""
    return controls(result["controls"], game)


def verdict_of(result: Result, game: Game) -> Verdict:
    """What the findings of a run are worth."""
    metrics = result["metrics"]
    return verdict(game, result["kind"], metrics.get("findings", []), metrics.get("seenOnce", []))


def score_read(result: Result) -> str:
    """Whether the game's own score was read, and its best value."""
    best = result["metrics"].get("bestScore")
    return "no" if best is None else f"yes, {best}"


def coverage(result: Result) -> str:
    """The share of the scripts' code that ran."""
    found = result["metrics"].get("coverage")
    return f"{found['used'] / found['total']:.0%}" if found and found.get("total") else "—"


def determinism(result: Result) -> str:
    """At how many moments two runs without input agreed."""
    found = result["metrics"].get("determinism")
    return f"{found['agreed']} of {found['moments']}" if found else "—"


def per_game(results: Sequence[Result], games: Mapping[str, Game]) -> str:
    """One row for each run of an unchanged game."""
    rows: list[Sequence[object]] = []
    right = wrong = found = missed = 0
    for each in _of(results, UNCHANGED):
        game = games[each["game"]]
        told, metrics = controls_of(each, game), each["metrics"]
        right, wrong = right + len(told.right), wrong + len(told.wrong)
        found, missed = found + len(told.found), missed + len(told.missed)
        rows.append(
            [
                each["game"],
                ", ".join(game.made_of),
                ", ".join(game.played_with),
                f"{len(told.found)} of {len(told.found) + len(told.missed)}",
                ", ".join(told.missed) or "—",
                ", ".join(told.wrong) or "—",
                f"{score_read(each)} ({game.score})",
                coverage(each),
                each["score"] if each["score"] is not None else (each["failure"] or ["crashed"])[0],
                len(verdict_of(each, game).others),
                f"{each['tookS']:.0f} s",
                metrics.get("time", "—"),
                metrics.get("speed", "—"),
                determinism(each),
                f"{each['loads']} ({each['loadAverage']:.0f})",
            ]
        )
    head = [
        "game",
        "made of",
        "played with",
        "controls",
        "missed",
        "wrong",
        "score read",
        "code",
        "points",
        "findings",
        "took",
        "time",
        "speed",
    ]
    head += ["moments that agreed", "loads (load average)"]
    total = f"\n\nControls: precision {_share(right, right + wrong)}, recall {_share(found, found + missed)}."
    return table(head, rows) + total


def per_kind(results: Sequence[Result], games: Mapping[str, Game]) -> str:
    """For each kind of bug, in how many games it was told."""
    loads = sorted({each["loads"] for each in results})
    rows: list[Sequence[object]] = []
    sums: dict[int, list[int]] = {load: [0, 0] for load in loads}
    for kind in BUGS:
        cells: list[object] = [kind]
        for load in loads:
            runs = [each for each in _of(results, kind) if each["loads"] == load]
            judged = [(each["game"], verdict_of(each, games[each["game"]])) for each in runs]
            told = sum(found.told for _, found in judged)
            sums[load][0] += told
            sums[load][1] += len(runs)
            missed = ", ".join(f"{name}{' (once)' * found.told_once}" for name, found in judged if not found.told)
            cells += [_share(told, len(runs)), missed or "—"]
        rows.append(cells)
    rows.append(["all", *(cell for load in loads for cell in (_share(*sums[load]), ""))])
    head = ["kind", *(text for load in loads for text in (f"told, {load} loads", "missed"))]
    return table(head, rows)


def to_confirm(results: Sequence[Result], games: Mapping[str, Game]) -> list[str]:
    """One line for each finding on an unchanged game that no person has confirmed yet."""
    return [
        f"{each['game']} (loads {each['loads']}): {told(finding)}"
        for each in _of(results, UNCHANGED)
        for finding in verdict_of(each, games[each["game"]]).others
    ]


def beside(results: Sequence[Result], games: Mapping[str, Game]) -> list[str]:
    """One line for each finding on a game with a bug that does not tell it; it may be what the bug leads to."""
    return [
        f"{each['game']} ({each['kind']}, loads {each['loads']}): {told(finding)}"
        for each in results
        if each["kind"] != UNCHANGED
        for finding in verdict_of(each, games[each["game"]]).others
    ]


def told(finding: Finding) -> str:
    """A finding in a line."""
    seen = finding.get("seen", ["?", "?"])
    return f"[{finding.get('kind')}] {finding.get('title')} — {finding.get('detail', '')} (seen {seen[0]} of {seen[1]})"


def steadiness(results: Sequence[Result]) -> str:
    """Points of equal runs beside each other, and of idle beside loaded ones."""
    runs: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for each in results:
        if each["score"] is not None:
            runs[each["game"], each["kind"]][each["loads"]].append(each["score"])
    rows: list[Sequence[object]] = []
    for (game, kind), by_load in sorted(runs.items()):
        if sum(map(len, by_load.values())) > 1:
            points = [each for scores in by_load.values() for each in scores]
            told = "; ".join(f"{load} loads: {', '.join(map(str, by_load[load]))}" for load in sorted(by_load))
            rows.append([game, kind, told, max(points) - min(points)])
    return table(["game", "kind", "points", "apart by"], rows)


def speeds(results: Sequence[Result]) -> str:
    """Game seconds a second, over all runs in owned time."""
    found = [float(each["metrics"]["speed"]) for each in results if each["metrics"].get("speed")]
    if not found:
        return "No run told its speed."
    low, middle, high = min(found), statistics.median(found), max(found)
    return f"Game seconds a second: median {middle:.1f}, {low:.1f} to {high:.1f}, in {len(found)} runs."


def low_scores(results: Sequence[Result]) -> str:
    """Points of games without their scripts, which have to be below 20."""
    rows = [(each["game"], each["score"], each["failure"] or "—", each["loads"]) for each in _of(results, "noscripts")]
    return table(["game without its scripts", "points", "failure", "loads"], rows)


def summary(results: Sequence[Result], games: Mapping[str, Game]) -> str:
    """All tables."""
    known = [each for each in results if each["game"] in games]
    parts: list[tuple[str, Callable[[], str]]] = [
        ("Unchanged games", lambda: per_game(known, games)),
        ("Bugs that were put in", lambda: per_kind(known, games)),
        ("Without scripts", lambda: low_scores(known)),
        ("The same again", lambda: steadiness(known)),
        ("Speed", lambda: speeds(known)),
        ("Findings for a person to confirm", lambda: _list(to_confirm(known, games))),
        ("Findings beside the bugs", lambda: _list(beside(known, games))),
        ("Runs in which the agent failed", lambda: _list(_failed(known))),
    ]
    return "\n\n".join(f"### {title}\n\n{text() or 'None.'}" for title, text in parts) + "\n"


def put_into(document: str, made: str) -> str:
    """The document with the tables between its marks.

    Raises:
        ValueError: It has no marks.
    """
    begin, end = MARKS
    before, found, rest = document.partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise ValueError(f"the document has no {begin} and {end}")
    return f"{before}{begin}\n\n{made}\n{end}{after}"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _failed(results: Sequence[Result]) -> list[str]:
    return [
        f"{each['game']} ({each['kind']}): {each['wrong'].strip().splitlines()[-1]}"
        for each in results
        if each["wrong"]
    ]


def _of(results: Sequence[Result], kind: str) -> list[Result]:
    return [each for each in results if each["kind"] == kind]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.2f})" if whole else "—"
