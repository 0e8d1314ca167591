"""The jitter profile: every viewer loses its connection without a word again and again, and resumes.

It is the profile of AnyCable's public benchmark: 10,000 clients, 120 messages at 2 a second, each client cut about
every 15 s and away for 2 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import httpx

from tests.bench import report
from tests.bench.compare import running
from tests.bench.host import cpu_s
from tests.bench.peers import Edge
from tests.bench.programs import Figures, open_load, pour
from tests.harness import event_log

CUT_EVERY_S: Final = 15.0
AWAY_S: Final = 2.0
PER_S: Final = 2.0


async def resuming(edge: Edge) -> list[str]:
    """Arguments for viewers of the edge's run that come back to their positions (c/load.c)."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{edge.process.url}/rpc/connectToTest", json={"testId": edge.test_id})
    epoch = answer.raise_for_status().json()["epoch"]
    first = await event_log(edge.streams).last(edge.test_id) + 1
    resume = f"/ws?testId={edge.test_id}&after=%u&epoch={epoch}"
    return [*edge.viewers(), "-r", resume, "-o", str(first)]


def row(got: Figures, viewers: int, events: int) -> list[str]:
    """The cells of one run."""
    lost = viewers * events - got["events"]
    replay = [report.figure(got[f"replay_{which}_ms"]) for which in ("p50", "p95", "p99", "max")]
    return [f"{got['cuts']:,}", f"{got['resumed']:,}", str(lost), str(got["disorders"]), str(got["gaps"]), *replay]


HEAD: Final = [
    "cuts",
    "resumed",
    "lost",
    "twice or out of order",
    "gaps",
    *(f"replay {x}, ms" for x in ("p50", "p95", "p99", "max")),
]


async def jitter(programs: Path, quick: bool) -> str:
    """The profile on one process."""
    viewers, events = (1_000, 40) if quick else (10_000, 120)
    async with running(Edge, programs) as edge:
        assert isinstance(edge, Edge)
        async with open_load(programs, *await resuming(edge), "-n", viewers) as crowd:
            await crowd.line(within_s=60)
            before = cpu_s(edge.pids())
            crowd.tell(f"jitter {CUT_EVERY_S} {AWAY_S}")
            await pour(programs, *edge.publisher(), "-n", events, "-r", PER_S)
            crowd.tell("calm")
            got = await crowd.received(events, within_s=30)
            used = cpu_s(edge.pids()) - before
    cells = row(got, viewers, events)
    report.say(", ".join(f"{name} {cell}" for name, cell in zip(HEAD, cells, strict=True)))
    text = (
        f"{viewers:,} viewers of one run, {events} events at {PER_S:g} a second ({viewers * events:,} deliveries), on "
        f"one process, which used {used / (events / PER_S) * 100:.0f} % of its core. Each viewer is cut about every "
        f"{CUT_EVERY_S:g} s and away for {AWAY_S:g} s. Replay: from the beginning of a connection until the viewer has "
        f"all that had been published then. Live events: p50 {report.figure(got['p50_ms'])} ms, p99 "
        f"{report.figure(got['p99_ms'])} ms:"
    )
    return "\n".join([text, "", *report.table(HEAD, [cells])])
