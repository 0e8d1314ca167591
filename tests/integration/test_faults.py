"""A short test of everything at once: a cluster, edges, publishers and viewers, and a few faults of different kinds.

The long one is `make faults`; what a table of it said is in BENCHMARKS.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import kit
from tests.faults.world import Size

SIZE = Size(edges=2, runs=2, sockets=6, streams=2, pollers=1, long_polls=1, tails=1, pages=0)


@pytest.mark.timeout(240)
async def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    kinds = ["broker leader killed", "edge killed", "agent replaced"]
    outcome = await kit.run(tmp_path, SIZE, seed=3, rounds=len(kinds), length_s=2, kinds=kinds)
    assert outcome.complaints == []
    assert outcome.verdict.violations == []
    assert sorted(each.fault.kind for each in outcome.verdict.recoveries) == sorted(kinds)
    assert outcome.verdict.acked > 0
    assert all(each.took_s < 60 for each in outcome.verdict.recoveries)
