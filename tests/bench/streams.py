"""What a delivery costs by a socket, by a stream of server-sent events, and by long polls, in turn on one edge."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench import report
from tests.bench.compare import running
from tests.bench.edges import Edge, by_polls, by_stream, next_event
from tests.bench.host import cpu_s
from tests.bench.programs import open_load, pour

_BY: Final = ("socket", "stream", "long poll")


async def _viewers(edge: Edge, by: str, test_id: str) -> list[str]:
    """Arguments for the load generator (c/load.c)."""
    if by == "socket":
        return ["-p", str(edge.port), "-u", f"/ws?testId={test_id}", "-w", '"sync"']
    if by == "stream":
        return by_stream(edge.port, test_id)
    return by_polls(edge.port, test_id, await next_event(edge.process, edge.streams, test_id))


async def _round(edge: Edge, programs: Path, by: str, viewers: int, events: int, per_s: float) -> float:
    """The edge's CPU a delivery, µs."""
    [test_id] = await edge.begin(1)
    async with open_load(programs, *await _viewers(edge, by, test_id), "-n", viewers) as crowd:
        await crowd.line(within_s=60)
        await asyncio.sleep(0.5)  # polls are open with their first answer, and ask again, which no event shows
        before = cpu_s(edge.pids())
        into = ["-m", "jetstream", "-p", edge.broker.port, "-u", f"test.{test_id}.events"]
        await pour(programs, *into, "-n", events, "-r", per_s)
        got = await crowd.received(events, within_s=60)
        used = cpu_s(edge.pids()) - before
    assert got["least"] == events and not got["gaps"] and not got["disorders"]
    return used / (viewers * events) * 1e6


async def streams(programs: Path, rounds: int, quick: bool) -> str:
    """A table of the three ways, medians of rounds in which they take turns."""
    viewers, events, per_s = 500, (50 if quick else 100), 50.0
    found: dict[str, list[float]] = {by: [] for by in _BY}
    async with running(Edge, programs) as edge:
        assert isinstance(edge, Edge)
        for number in range(rounds):
            for by in _BY if number % 2 == 0 else reversed(_BY):
                # A poll is a request for each answer: fewer events show what one costs.
                load = (6, 3.0) if by == "long poll" else (events, per_s)
                found[by].append(await _round(edge, programs, by, viewers, *load))
                report.say(f"round {number + 1}: {by}: {found[by][-1]:.2f} µs a delivery")
    rows = []
    for by, cost in found.items():
        ratios = [mine / base for mine, base in zip(cost, found["socket"], strict=True)]
        rows.append([by, report.figure(median(cost)), report.figure(median(ratios))])
    text = (
        f"{viewers} viewers of one run; {rounds} rounds in which the three take turns; {per_s:g} events a second, "
        "for long polls 3, each of which is an answer to every viewer:"
    )
    return "\n".join([text, "", *report.table(["", "CPU a delivery, µs", "÷ socket (median of rounds)"], rows)])
