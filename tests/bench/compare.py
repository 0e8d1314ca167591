"""Compares the edge with other servers. Each cell uses a fresh server; the servers take turns in every round."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench import report
from tests.bench.edges import Edge, EdgeOneByOne, EdgePolls, EdgeStreams
from tests.bench.go_programs import Unavailable
from tests.bench.host import MEMORY, cpu_s, pss_kb
from tests.bench.peers import AnyCable, Centrifugo, Floor, NatsSockets, Nchan, Node, Peer, Plain
from tests.bench.programs import open_load, pour
from tests.bench.report import NONE, TIMES

SHORT_NAMES: Final[dict[str, type[Peer]]] = {
    "floor": Floor,
    "nchan": Nchan,
    "nats": NatsSockets,
    "node": Node,
    "centrifugo": Centrifugo,
    "anycable": AnyCable,
    "plain": Plain,
    "edge": Edge,
    "one-by-one": EdgeOneByOne,
    "streams": EdgeStreams,
    "polls": EdgePolls,
}
_GRACE_S: Final = 10.0
"""How long a peer may take in addition to the time of publishing."""
_MOST_SAMPLES: Final = 500_000


@dataclass(frozen=True)
class Workload:
    """One column: the number of viewers and the events per second; 0 is full rate."""

    viewers: int
    per_s: float
    seconds: float = 3.0

    def __str__(self) -> str:
        return f"{self.viewers:,} {TIMES} {self.per_s:g}/s" if self.per_s else f"{self.viewers:,}, full rate"

    def events(self, peer: type[Peer]) -> int:
        """How many events are published."""
        return round(self.per_s * self.seconds) if self.per_s else peer.full_rate_events


COLUMNS: Final = (Workload(500, 100), Workload(1_000, 400), Workload(1_000, 0), Workload(10_000, 4, seconds=5))
QUICK: Final = (
    Workload(500, 100, seconds=2),
    Workload(1_000, 400, seconds=1.5),
    Workload(1_000, 0),
    Workload(10_000, 4, seconds=2),
)


@dataclass(frozen=True)
class Cell:
    """The measurements of one server under one load."""

    open_s: float
    handshake_us: float
    """Server CPU per opened connection, including its subscription."""
    refused: int
    kb: float
    """Server memory per open connection, before the first event."""
    delivery_us: float
    """Server CPU per delivery."""
    event_us: float
    per_s: float
    """Deliveries per second, from the first to the last."""
    p50_ms: float
    p99_ms: float
    whole: bool
    """Whether every viewer had every event, in order."""
    client_us: float
    """The load generator's own CPU per delivery."""
    memory_mb: float
    """Memory of the whole server with its connections, after the events."""


@dataclass
class Row:
    """The cells of one peer in all rounds."""

    peer: type[Peer]
    cells: dict[Workload, list[Cell]] = field(default_factory=dict)
    absent: str = ""

    def figure(self, load: Workload, name: str) -> float:
        """The median over the rounds."""
        return float(median(getattr(cell, name) for cell in self.cells[load]))

    def whole(self, load: Workload) -> bool:
        """Whether all deliveries were complete in every round."""
        return all(cell.whole for cell in self.cells[load])


@contextlib.asynccontextmanager
async def running(kind: type[Peer], programs: Path) -> AsyncIterator[Peer]:
    """Runs one server, with its files in memory, and stops it when the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY) as name:
        peer = kind(Path(name), programs)
        try:
            await peer.start()
            yield peer
        finally:
            await peer.stop()


async def measure(kind: type[Peer], load: Workload, programs: Path) -> Cell:
    """Measures one cell."""
    events = load.events(kind)
    every = max(1, load.viewers * events // _MOST_SAMPLES) | 1  # odd, so that the samples cover all viewers
    async with running(kind, programs) as peer:
        pids = peer.pids()
        cpu_before, kb_before = cpu_s(pids), pss_kb(pids)
        async with open_load(programs, *peer.viewers(), "-n", load.viewers, "-e", every) as crowd:
            opened = await crowd.line(within_s=120)
            cpu_open, kb_open = cpu_s(pids), pss_kb(pids)
            sent = await pour(programs, *peer.publisher(), "-n", events, "-r", load.per_s, within_s=120)
            got = await crowd.received(events, load.seconds + _GRACE_S)
            cpu_after = cpu_s(pids)
            delivered = max(1, got["events"])
            return Cell(
                open_s=opened["open_s"],
                handshake_us=(cpu_open - cpu_before) / load.viewers * 1e6,
                refused=opened["refused"],
                kb=(kb_open - kb_before) / load.viewers,
                delivery_us=(cpu_after - cpu_open) / delivered * 1e6,
                event_us=(cpu_after - cpu_open) / events * 1e6,
                per_s=got["events"] / max(got["span_s"], 1e-3),
                p50_ms=got["p50_ms"],
                p99_ms=got["p99_ms"],
                whole=got["least"] == events and not got["gaps"] and not got["disorders"] and not sent["refused"],
                client_us=(got["cpu_s"] - opened["cpu_s"]) / delivered * 1e6,
                memory_mb=pss_kb(pids) / 1024,
            )


async def compare(programs: Path, kinds: Sequence[type[Peer]], rounds: int, quick: bool) -> list[Row]:
    """Measures all peers under all loads. The peers take turns, so that noise affects all of them."""
    rows = [Row(kind) for kind in kinds]
    for number in range(rounds):
        for load in QUICK if quick else COLUMNS:
            for row in rows if number % 2 == 0 else reversed(rows):  # nobody is always the first after a pause
                if row.absent:
                    continue
                try:
                    cell = await measure(row.peer, load, programs)
                except Unavailable as why:
                    row.absent = str(why)
                    report.say(f"{row.peer.name}: left out: {why}")
                    continue
                row.cells.setdefault(load, []).append(cell)
                report.say(
                    f"round {number + 1}: {row.peer.name}, {load}: {cell.delivery_us:.2f} µs, p50 {cell.p50_ms:.1f} "
                    f"and p99 {cell.p99_ms:.1f} ms, {cell.per_s:,.0f}/s, handshake {cell.handshake_us:.0f} µs, "
                    f"{cell.kb:.1f} KB, client {cell.client_us:.2f} µs{'' if cell.whole else ' !'}"
                )
    return rows


def tables(rows: Sequence[Row], rounds: int, quick: bool) -> str:
    """The tables for BENCHMARKS.md."""
    loads = QUICK if quick else COLUMNS
    present = [row for row in rows if row.cells]
    lines = [
        "Server CPU per delivery, µs:",
        "",
        *_costs(present, loads),
        "",
        "Latency from publication to the viewer, ms (p50 / p99), and deliveries per second and core at full rate:",
        "",
        *_speeds(present, loads),
    ]
    ours = next((row for row in present if row.peer is Edge), None)
    if ours is not None:
        lines += [
            "",
            "The edge's figure divided by the peer's: CPU per delivery, then handshake, memory and p99 with "
            f"{loads[3].viewers:,} viewers. Below 1 the edge costs less:",
            "",
            *report.table(
                ["edge ÷", *map(str, loads), "handshake", "KB", "p99"],
                [_ratios(ours, row, loads) for row in present if row is not ours],
            ),
        ]
    lines += [
        "",
        f"Median of {rounds} round{'s' if rounds > 1 else ''}. `!`: some viewer did not have every event, in order, "
        f"within {_GRACE_S:g} s of the last. Full rate is {Edge.full_rate_events:,} events for the edge and "
        f"nats-server, {Centrifugo.full_rate_events:,} for Centrifugo, which join events, and "
        f"{Peer.full_rate_events:,} for the others. A long poll brings up to 500 events that its viewer lacks, and "
        "asks again.",
        *(f"Left out: {row.peer.name}: {row.absent}." for row in rows if row.absent),
    ]
    return "\n".join(lines)


def _costs(rows: Sequence[Row], loads: Sequence[Workload]) -> list[str]:
    largest = loads[3]
    return report.table(
        ["", *map(str, loads), "handshake, µs", "KB a connection"],
        [
            [
                row.peer.name,
                *(report.figure(row.figure(load, "delivery_us"), row.whole(load)) for load in loads),
                report.figure(row.figure(largest, "handshake_us")),
                report.figure(row.figure(largest, "kb")),
            ]
            for row in rows
        ],
    )


def _speeds(rows: Sequence[Row], loads: Sequence[Workload]) -> list[str]:
    full_rate, paced = loads[2], [load for load in loads if load.per_s]
    return report.table(
        ["", *map(str, paced), "deliveries/s"],
        [
            [
                row.peer.name,
                *(
                    f"{report.figure(row.figure(load, 'p50_ms'))} / {report.figure(row.figure(load, 'p99_ms'))}"
                    f"{'' if row.whole(load) else ' !'}"
                    for load in paced
                ),
                f"{row.figure(full_rate, 'per_s'):,.0f}{'' if row.whole(full_rate) else ' !'}",
            ]
            for row in rows
        ],
    )


def _ratios(ours: Row, other: Row, loads: Sequence[Workload]) -> list[str]:
    def ratio(load: Workload, name: str, mark: bool = False) -> str:
        theirs = other.figure(load, name)
        return report.figure(ours.figure(load, name) / theirs, not mark or other.whole(load)) if theirs > 0 else NONE

    cells = [ratio(load, "delivery_us", mark=True) for load in loads]
    return [other.peer.name, *cells, *(ratio(loads[3], name) for name in ("handshake_us", "kb", "p99_ms"))]
