"""The jitter profile: every viewer loses its connection without a word again and again, and resumes.

It is the profile of AnyCable's public benchmark: 10,000 clients, 120 messages at 2 a second, each client cut about
every 15 s and away for 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.jetstream.api import Streams
from tests.bench import report
from tests.bench.compare import running
from tests.bench.edges import Edge, next_event
from tests.bench.host import cpu_s
from tests.bench.programs import Figures, open_load, pour
from tests.harness import EdgeProcess

CUT_EVERY_S: Final = 15.0
AWAY_S: Final = 2.0
PER_S: Final = 2.0
_WHICH: Final = ("p50", "p95", "p99", "max")
REPLAY: Final = [f"replay {which}, ms" for which in _WHICH]
_HEAD: Final = ["cuts", "resumed", "lost", "twice or out of order", "gaps", *REPLAY]


async def resuming(edges: Sequence[EdgeProcess], streams: Streams, test_id: str) -> list[str]:
    """Arguments for viewers of a run that come back to their positions (c/load.c). Its next event is their first."""
    following = await next_event(edges[0], streams, test_id)
    where = [word for edge in edges for word in ("-p", str(edge.port))]
    run = f"/ws?testId={test_id}"
    back = ["-r", f"{run}&after=%u&epoch={following.epoch}", "-o", str(following.seq)]
    return [*where, "-u", run, "-w", '"sync"', *back]


def replay_cells(got: Figures) -> list[str]:
    """The cells below `REPLAY`."""
    return [report.figure(got[f"replay_{which}_ms"]) for which in _WHICH]


async def jitter(programs: Path, quick: bool) -> str:
    """The profile on one process."""
    viewers, events = (1_000, 40) if quick else (10_000, 120)
    async with running(Edge, programs) as edge:
        assert isinstance(edge, Edge)
        async with open_load(
            programs, *await resuming([edge.process], edge.streams, edge.test_id), "-n", viewers
        ) as crowd:
            await crowd.line(within_s=60)
            before = cpu_s(edge.pids())
            crowd.tell(f"jitter {CUT_EVERY_S} {AWAY_S}")
            await pour(programs, *edge.publisher(), "-n", events, "-r", PER_S)
            crowd.tell("calm")
            got = await crowd.received(events, within_s=30)
            used = cpu_s(edge.pids()) - before
    lost = viewers * events - got["events"]
    counts = (f"{got['cuts']:,}", f"{got['resumed']:,}", str(lost), str(got["disorders"]), str(got["gaps"]))
    cells = [*counts, *replay_cells(got)]
    report.say(", ".join(f"{name} {cell}" for name, cell in zip(_HEAD, cells, strict=True)))
    text = (
        f"{viewers:,} viewers of one run, {events} events at {PER_S:g} a second ({viewers * events:,} deliveries), on "
        f"one process, which used {used / (events / PER_S) * 100:.0f} % of its core. Each viewer is cut about every "
        f"{CUT_EVERY_S:g} s and away for {AWAY_S:g} s. Replay: from the beginning of a connection until the viewer has "
        f"all that had been published then. Live events: p50 {report.figure(got['p50_ms'])} ms, p99 "
        f"{report.figure(got['p99_ms'])} ms:"
    )
    return "\n".join([text, "", *report.table(_HEAD, [cells])])
