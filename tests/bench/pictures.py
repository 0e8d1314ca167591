"""What pictures cost: bytes of a run, and CPU of its agent, also beside an earlier version in turns."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench import report
from tests.bench.play import GAMES

_ROOT: Final = Path(__file__).parents[2]
_PROGRAM: Final = Path(__file__).with_name("play.py")


async def _played(code: Path, game: str, budget_s: float) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}
    env |= {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_PROGRAM), game, f"{budget_s:g}"), env=env, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"playing {game} with {code} has failed")
    found: dict[str, Any] = json.loads(out)
    return found


async def pictures(rounds: int, quick: bool, earlier: Path | None) -> str:
    """Plays each game `rounds` times, with each version in turns."""
    budget_s = 10 if quick else 30
    versions = {"this version": _ROOT} | ({"earlier": earlier} if earlier else {})
    rows = []
    for game in GAMES:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
        for number in range(rounds):
            for name, code in versions.items():
                found[name].append(await _played(code, game, budget_s))
                report.say(f"{game}, {name}, round {number + 1}: {found[name][-1]}")
        rows += [_row(game, name, runs) for name, runs in found.items()]
    head = [
        "game",
        "version",
        "pictures a run",
        "a second",
        "KB of pictures",
        "KB each",
        "KB of events",
        "CPU, % of a core",
    ]
    words = (
        f"{rounds} runs of {budget_s} s each, in turns; medians. CPU is that of the agent's Python, without Chromium."
    )
    return "\n".join([words, "", *report.table(head, rows)])


def _row(game: str, name: str, runs: list[dict[str, Any]]) -> list[str]:
    def middle(of: str) -> float:
        return float(median(each[of] for each in runs))

    number, taken = middle("pictures"), median(100 * each["cpu_s"] / each["seconds"] for each in runs)
    size = middle("picture_bytes") / 1000
    cells = [f"{number:.0f}", f"{median(each['pictures'] / each['seconds'] for each in runs):.2f}"]
    stored = [f"{size:,.0f}", f"{size / number:.1f}"] if size and number else [report.NONE, report.NONE]
    return [game, name, *cells, *stored, f"{middle('event_bytes') / 1000:,.0f}", f"{taken:.1f}"]
