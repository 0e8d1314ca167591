"""Plays one game of the trial with the agent, as the worker does, and keeps what it has told."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.handle import GameJob
from agent_worker.games.player import play
from tests.games.playing import OnlyThese, Written
from tests.trial.catalogue import Game
from tests.trial.loads import busy
from tests.trial.served import serving, site

KEPT: Final = (
    "time",
    "determinism",
    "uncontrolled",
    "speed",
    "gameSeconds",
    "coverage",
    "fps",
    "heapGrowthKB",
    "inputToPictureMs",
    "bestScore",
    "rubric",
    "lost",
    "findings",
    "seenOnce",
)
"""What a result keeps of the run's metrics, where they have it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run to make."""

    game: str
    kind: str
    budget_s: float
    seed: int
    loads: int
    """Other programs that keep a core busy meanwhile."""
    repeat: int
    """Number of the run among equal ones."""

    @property
    def name(self) -> str:
        """Of its result's file."""
        return f"{self.game}.{self.kind}.{self.budget_s:g}s.seed{self.seed}.loads{self.loads}.{self.repeat}.json"


def claimed(written: Written) -> list[str]:
    """Names of the gestures that were said to be controls, in the order in which they were told."""
    given = written.metrics.get("controls", [])
    listed = [each["control"] if isinstance(each, Mapping) else str(each) for each in given]
    return listed or sorted(written.controls)


async def played(trial: Trial, game: Game, browser: Browser, cache: Path) -> dict[str, Any]:
    """The result of one run, for JSON. An exception of the agent is a result as well."""
    written, wrong = Written(), ""
    with serving(site(game, trial.kind, cache)) as url, busy(trial.loads):
        port = int(url.split(":")[2].partition("/")[0])
        job = GameJob(
            str(uuid.uuid4()), url, trial.budget_s, trial.seed, allowed_hosts=frozenset({f"127.0.0.1:{port}"})
        )
        began = time.monotonic()
        try:
            await play(written, browser, job)
        except Exception:
            wrong = traceback.format_exc()
        took_s = time.monotonic() - began
    return result(trial, written, took_s, wrong)


def result(trial: Trial, written: Written, took_s: float, wrong: str = "") -> dict[str, Any]:
    """What is kept of a run."""
    told = [{key: value for key, value in data.items() if key != "stack"} for data in written.data]
    return {
        "game": trial.game,
        "kind": trial.kind,
        "budgetS": trial.budget_s,
        "seed": trial.seed,
        "loads": trial.loads,
        "repeat": trial.repeat,
        "machine": platform.machine(),
        "loadAverage": round(os.getloadavg()[0], 1),
        "tookS": round(took_s, 2),
        "score": written.score,
        "failure": written.failure,
        "wrong": wrong,
        "controls": claimed(written),
        "metrics": {name: written.metrics[name] for name in KEPT if name in written.metrics},
        "lines": written.lines,
        "told": [each for each in told if each],
    }


def write(trial: Trial, found: Mapping[str, Any], into: Path) -> Path:
    """Writes a result's file."""
    into.mkdir(parents=True, exist_ok=True)
    path = into / trial.name
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def browser_for_trial() -> Browser:
    """A browser that reaches servers of this machine by a job's permission only, and nothing else."""
    return Browser(judge=OnlyThese())
