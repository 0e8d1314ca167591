"""What metrics cost: an edge that counts and is scraped every second, beside edges that do not, in turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from tests.bench import report
from tests.bench.compare import Workload, measure
from tests.bench.edges import EarlierEdge, Edge
from tests.harness import free_port

LOAD: Final = Workload(1_000, 100, seconds=5)
_GOAL: Final = 1.02
_EVERY_S: Final = 1.0


class ScrapedEdge(Edge):
    """The edge as it is, with its page read every second."""

    name = "counted, scraped every second"

    def settings(self) -> dict[str, str]:
        self._metrics_port = free_port()
        return {"TESTCAST_METRICS_PORT": str(self._metrics_port)}

    async def start(self) -> None:
        await super().start()
        task = asyncio.create_task(self._scrape())
        self._started.callback(task.cancel)

    async def _scrape(self) -> None:
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get(url)
                    assert "testcast_edge_deliveries_total" in answer.text
                await asyncio.sleep(_EVERY_S)


class UncountedEdge(Edge):
    """The same code with the counters of its fan-out replaced by calls that do nothing, no canary and no page."""

    name = "not counted"
    module = "tests.bench.uncounted"

    def settings(self) -> dict[str, str]:
        return {"TESTCAST_EDGE_CANARY_S": "0"}


async def metrics(programs: Path, rounds: int, earlier: bool) -> str:
    """CPU for each delivery. The edges take turns, so that the machine's other work affects all of them alike."""
    kinds: list[type[Edge]] = [ScrapedEdge, UncountedEdge, *([EarlierEdge] if earlier else [])]
    found: dict[type[Edge], list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            cell = await measure(kind, LOAD, programs)
            found[kind].append(cell.delivery_us)
            report.say(f"round {number + 1}: {kind.name}: {cell.delivery_us:.3f} µs{'' if cell.whole else ' !'}")
    rows = [[kind.name, f"{median(each):.2f}", f"{min(each):.2f}", _ratio(found, kind)] for kind, each in found.items()]
    head = ["", "CPU for a delivery, µs", "least", "counted ÷ this, median of the rounds"]
    text = (
        f"{LOAD} with {LOAD.seconds:g} s of events, {rounds} rounds in turns. Goal: {_GOAL:g}. `not counted` is the "
        "same code with the counters of its fan-out replaced by calls that do nothing, no canary and no page."
    )
    return "\n".join([text, "", *report.table(head, rows)])


def _ratio(found: dict[type[Edge], list[float]], kind: type[Edge]) -> str:
    """The scraped edge's figure divided by this one's, in the same round."""
    ratios: Sequence[float] = [mine / its for mine, its in zip(found[ScrapedEdge], found[kind], strict=True)]
    return f"{median(ratios):.3f}"
