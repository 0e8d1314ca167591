"""Results of several runs of the fault kit in files, and their sum.

python -m tests.faults --seed 7 --rounds 60 --result results/7.jsonl
python -m tests.faults --sum results/*.jsonl
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.faults import kit
from tests.faults.checker import Recovery

_WHATS: Final = ("lost", "duplicated", "out of order", "phantom", "reset")
_STEPS_S: Final = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 30.0, float("inf"))
_BAR: Final = 40
"""Characters of the longest bar."""


class Result(NamedTuple):
    """What one world of one run has shown."""

    seed: int
    world: str
    took_s: float
    acked: int
    deliveries: int
    violations: dict[str, int]
    complaints: list[str]
    longest_wait_s: float
    longest_wait_of: str
    recoveries: list[Recovery]


def result_of(outcome: kit.Outcome, seed: int, world: str) -> Result:
    """An outcome as it is written."""
    verdict = outcome.verdict
    counts = Counter(each.what for each in verdict.violations)
    shown = (outcome.took_s, verdict.acked, verdict.deliveries, dict(counts), outcome.complaints)
    return Result(seed, world, *shown, verdict.longest_wait_s, verdict.longest_wait_of, verdict.recoveries)


def append(result: Result, file: Path) -> None:
    """Adds a line to a file of results: JSON with Infinity, which only the standard library writes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(msgspec.to_builtins(result)) + "\n")


def read(files: Iterable[Path]) -> list[Result]:
    """All results of these files.

    Raises:
        SystemExit: a file cannot be read, or a line in it is no result; the message names both.
    """
    found: list[Result] = []
    for file in files:
        try:
            lines = file.read_text("utf-8").splitlines()
        except OSError as error:
            raise SystemExit(f"{file}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            try:
                found.append(msgspec.convert(json.loads(line), Result))
            except (ValueError, msgspec.ValidationError) as error:
                raise SystemExit(f"{file}, line {number}: {error}") from None
    return found


def clean(results: Sequence[Result]) -> bool:
    """Whether there is a result, and none has a violation or a complaint."""
    return bool(results) and not any(each.violations or each.complaints for each in results)


def summed(results: Sequence[Result]) -> str:
    """The table by kind, the totals, and how often everybody was current again after how long."""
    recoveries = [recovery for each in results for recovery in each.recoveries]
    counts = sum((Counter(each.violations) for each in results), Counter[str]())
    longest = max(results, key=lambda each: each.longest_wait_s, default=None)
    lines = [
        *kit.rows(recoveries),
        "",
        f"{len(recoveries)} faults in {len(results)} runs with the seeds {_listed({each.seed for each in results})}, "
        f"{sum(each.took_s for each in results):.0f} s in all",
        f"events acknowledged {sum(each.acked for each in results)}, "
        f"deliveries {sum(each.deliveries for each in results)}",
        ", ".join(f"{what} {counts[what]}" for what in _WHATS),
    ]
    if longest is not None:
        lines.append(f"longest time without news {longest.longest_wait_s:.1f} s ({longest.longest_wait_of})")
    lines += ["", "Every viewer current again, s after the fault began:", *_histogram(recoveries)]
    lines += [f"COMPLAINT {each.world}, seed {each.seed}: {text}" for each in results for text in each.complaints[:40]]
    return "\n".join(lines)


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _histogram(recoveries: Sequence[Recovery]) -> list[str]:
    counts = [0] * len(_STEPS_S)
    for each in recoveries:
        counts[next(at for at, step in enumerate(_STEPS_S) if each.took_s <= step)] += 1
    most = max([*counts, 1])
    names = [f"to {step:g}" for step in _STEPS_S[:-1]] + ["longer"]
    return [
        f"{name:>7} {count:5} {'#' * -(-count * _BAR // most)}".rstrip()
        for name, count in zip(names, counts, strict=True)
    ]
