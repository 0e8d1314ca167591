"""What a run has found out, gathered: the evidence for the score, and `data.metrics` of the verdict. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from agent_worker.games.inputs import FRAMES_PER_S
from agent_worker.games.run.scoring import Evidence, Fault, PartName, deductions, rubric

MAX_METRICS_BYTES: Final = 30 << 10
"""A snapshot leaves out metrics of more than 32 KiB."""
MAX_PROBLEMS: Final = 20
MAX_PROBLEM_CHARS: Final = 160
_MAX_LISTED: Final = 60
"""Inputs that were tried or not, by name."""

Time = Literal["owned", "real", "mixed"]


@dataclass(slots=True)
class Summary:
    """What a run has found out so far. Milliseconds; None: not measured.

    Attributes:
        time: Whose time the game was played in.
        findings, seen_once: As `data.finding` has them, without stacks.
        controls: As `data.control` lines have them.
        tried, untried: Names of inputs.
        searched: All inputs were tried where runs without input agree.
        moments, agreed: How many moments were played twice without input, and how often both runs agreed.
        uncontrolled: What the game uses that is not in the agent's hands.
        stopped: What ended the run early.
    """

    time: Time = "owned"
    findings: list[dict[str, Any]] = field(default_factory=list)
    seen_once: list[dict[str, Any]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    searched: bool = False
    moments: int = 0
    agreed: int = 0
    uncontrolled: list[str] = field(default_factory=list)
    incidents: Counter[str] = field(default_factory=Counter)
    told: list[tuple[str, str]] = field(default_factory=list)
    """Kind and detail of the incidents, each once."""
    load_ms: int | None = None
    finished: bool = True
    picture_ms: int | None = None
    actions: int = 0
    scenes: int = 0
    best_score: int | None = None
    game_overs: int = 0
    restarts: int = 0
    game_s: float = 0.0
    """Seconds of the game's time that were played."""
    owned_s: float = 0.0
    """Seconds that this took."""
    coverage: dict[str, int] | None = None
    fps: float | None = None
    long_tasks_ms: int | None = None
    input_ms: int | None = None
    heap_kb: int | None = None
    good: dict[PartName, list[str]] = field(default_factory=dict)
    unknown: dict[PartName, list[str]] = field(default_factory=dict)
    stopped: str | None = None
    model: dict[str, object] | None = None
    """What a model has done in it; None: there is none."""

    def note(self, part: PartName, what: str) -> None:
        """Something that speaks for the game, or that was seen."""
        self.good.setdefault(part, []).append(what)

    def miss(self, part: PartName, what: str) -> None:
        """Something that could not be found out."""
        self.unknown.setdefault(part, []).append(what)

    @property
    def evidence(self) -> Evidence:
        """What the score is made of."""
        faults = [
            Fault(each["kind"], each["severity"], each["title"], each["id"], _from_load(each)) for each in self.findings
        ]
        if self.stopped is not None and not any(each.kind == "crash" for each in faults):
            faults.append(Fault("crash", "high", self.stopped))
        counts = (len(self.tried), len(self.controls))
        return Evidence(faults, self.incidents, self.finished, *counts, self.searched, self.good, self.unknown)

    def metrics(self) -> dict[str, object]:
        """`data.metrics` of the verdict, within `MAX_METRICS_BYTES`: see AGENT.md, "The score"."""
        shown = self.evidence
        return bounded(
            {
                "rubric": [part.as_json() for part in rubric(shown)],
                "lost": [each.as_json() for each in deductions(shown)],
                "findings": self.findings,
                "seenOnce": self.seen_once,
                "controls": self.controls,
                "tried": self.tried[:_MAX_LISTED],
                "untried": self.untried[:_MAX_LISTED],
                "unknown": ["whether it sounds right", "whether it is fun", *_flat(self.unknown)],
                "time": self.time,
                "determinism": {"moments": self.moments, "agreed": self.agreed},
                "uncontrolled": self.uncontrolled,
                "gameSeconds": round(self.game_s, 1),
                "speed": round(self.game_s / self.owned_s, 1) if self.owned_s > 0 else None,
                "coverage": self.coverage,
                "loadMs": self.load_ms,
                "firstPictureMs": self.picture_ms,
                "fps": self.fps,
                "longTasksMs": self.long_tasks_ms,
                "inputToPictureMs": self.input_ms,
                "heapGrowthKB": self.heap_kb,
                "actions": self.actions,
                "scenes": self.scenes,
                "bestScore": self.best_score,
                "gameOvers": self.game_overs,
                "restarts": self.restarts,
                "freezes": sum(each["kind"] == "freeze" for each in self.findings),
                "incidents": dict(self.incidents),
                "problems": self.problems(),
                **({} if self.model is None else {"model": self.model}),
            }
        )

    def problems(self) -> list[dict[str, str]]:
        """What was wrong, each once, findings first: for comparing runs, which does not read their events."""
        found = [(each["kind"], each["title"]) for each in self.findings]
        if self.stopped is not None:
            found.insert(0, ("limit", self.stopped))
        listed = [*found, *(each for each in self.told if each[0] != "pageerror")][:MAX_PROBLEMS]
        return [{"kind": kind, "detail": detail[:MAX_PROBLEM_CHARS]} for kind, detail in listed]


def _from_load(finding: dict[str, Any]) -> bool:
    shown_again = not finding.get("real", True)  # by frames
    return shown_again and not finding["inputs"] and finding["frame"] <= FRAMES_PER_S


def _flat(unknown: Mapping[PartName, Sequence[str]]) -> list[str]:
    return [each for listed in unknown.values() for each in listed]


def bounded(metrics: dict[str, object], most: int = MAX_METRICS_BYTES) -> dict[str, object]:
    """`metrics` in at most so many bytes of JSON.

    What events have told too is given up first: things seen once, then the inputs of the mildest findings, then these.
    `cut` counts what is missing.
    """
    kept = dict(metrics)
    seen, found = _listed(kept, "seenOnce"), _listed(kept, "findings")
    cut = 0
    while len(msgspec.json.encode(kept)) > most:
        long = next((each for each in reversed(found) if each.get("inputs")), None)
        if seen:
            seen.pop()
        elif long is not None:
            long["inputs"] = []
        elif found:
            found.pop()
        else:
            break
        cut += 1
        kept["cut"] = cut
    return kept


def _listed(kept: dict[str, object], name: str) -> list[dict[str, Any]]:
    """A list of `kept` that may be changed."""
    given = kept.get(name)
    copied = [dict(each) for each in given] if isinstance(given, list) else []
    kept[name] = copied
    return copied
