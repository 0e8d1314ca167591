"""100,000 sockets of one run on one machine: how soon an event has reached all of them, and what memory they take.

A process may open 20,000 files on many machines, and an address has 28,000 ports: so there are eight edge processes,
and eight load generators that connect from an address of their own (127.0.0.2 to 127.0.0.9).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.bench import report
from tests.bench.alone import open_crowds
from tests.bench.compare import running
from tests.bench.edges import Edge, EightEdges
from tests.bench.host import kernel_kb, open_sockets, pss_kb, rss_kb, tcp_kb
from tests.bench.programs import Load, pour

_CROWDS: Final = 8
_EVENTS: Final = 5
"""Of each row."""
_HOLD_MINUTES: Final = 10.0
_QUICK_MINUTES: Final = 10 / 60
_WANTED: Final = "Wanted: at most 1.2 s until an event has reached all, and 2.2 KB of the processes' memory a socket."
_HEAD: Final = [
    "",
    "still open",
    "an event reached all in, ms",
    "the slowest one, ms",
    "half of them in, ms",
    "lost, twice or out of order",
    "PSS, KB a socket",
    "RSS, KB a socket",
]


class Memory(NamedTuple):
    """Memory at one moment, KB."""

    pss: int
    """Of the edge's processes; pages that they share count once."""
    rss: int
    """Of the edge's processes; pages that they share count for each."""
    kernel: int
    """The kernel's objects, those of all sockets of this machine among them."""
    buffers: int
    """What TCP holds in buffers, on this machine."""

    @classmethod
    def of(cls, edge: Edge) -> Memory:
        """The memory now."""
        return cls(pss_kb(edge.pids()), rss_kb(edge.pids()), kernel_kb(), tcp_kb())


class _Held(NamedTuple):
    """The sockets that are open."""

    programs: Path
    edge: Edge
    loads: Sequence[Load]
    total: int
    before: Memory
    """When none was."""


class Reached(NamedTuple):
    """What became of a few events, one after the other."""

    open: int
    all_ms: list[float]
    half_ms: list[float]
    wrong: int
    """Deliveries that are missing, came twice or out of order, since the start."""


async def sockets_100k(programs: Path, quick: bool, minutes: float) -> str:
    """Opens the sockets, publishes, holds them for `minutes` (0: ten), and publishes again."""
    total = 5_000 if quick else 100_000
    hold_minutes = _QUICK_MINUTES if quick else minutes or _HOLD_MINUTES
    async with running(EightEdges, programs) as edge, contextlib.AsyncExitStack() as stack:
        assert isinstance(edge, EightEdges)
        before = Memory.of(edge)
        loads, opened = await open_crowds(stack, programs, edge, total, _CROWDS, in_flight=100)
        open_s, refused = max(each["open_s"] for each in opened), sum(each["refused"] for each in opened)
        taken, held = Memory.of(edge), _Held(programs, edge, loads, total, before)
        report.say(f"{sum(each['open'] for each in opened):,} open in {open_s:.1f} s; refused and come back: {refused}")
        shares = sorted(open_sockets(pid) for pid in edge.pids())
        rows = [await _row(held, "at once", 0)]
        await asyncio.sleep(hold_minutes * 60)
        after = f"after {hold_minutes:g} min" if hold_minutes >= 1 else f"after {hold_minutes * 60:.0f} s"
        rows.append(await _row(held, after, _EVENTS))
    grown = (taken.kernel - before.kernel, taken.buffers - before.buffers)
    kernel = [report.figure(max(0, each) / (2 * total)) for each in grown]
    text = (
        f"{total:,} sockets of one run on {edge.workers} processes, which share two cores with the broker and "
        f"{_CROWDS} load generators. All are open after {open_s:.1f} s; {refused} were refused at first and came "
        f"back. Each process has {shares[0]:,} to {shares[-1]:,} of them. The processes use {before.pss / 1024:.0f} MB "
        f"before and {taken.pss / 1024:.0f} MB with the sockets (PSS, before the first event). The kernel takes "
        f"{kernel[0]} KB for an end of a connection (`Slab` of /proc/meminfo before and after; both ends are on this "
        f"machine), and {kernel[1]} KB in buffers (/proc/net/sockstat). {_EVENTS} events for each row, one after the "
        "other; medians where nothing else is said:"
    )
    return "\n".join([text, "", *report.table(_HEAD, rows), "", _WANTED])


async def _row(held: _Held, name: str, had: int) -> list[str]:
    """Publishes events behind the first `had`. Returns the row below `_HEAD`."""
    got = await _events(held, had)
    now = Memory.of(held.edge)
    cells = [
        name,
        f"{got.open:,}",
        report.figure(median(got.all_ms)),
        report.figure(max(got.all_ms)),
        report.figure(median(got.half_ms)),
        str(got.wrong),
        report.figure((now.pss - held.before.pss) / held.total),
        report.figure((now.rss - held.before.rss) / held.total),
    ]
    report.say(", ".join(f"{what} {cell}".strip() for what, cell in zip(_HEAD, cells, strict=True)))
    return cells


async def _events(held: _Held, had: int) -> Reached:
    """Publishes events, each when the one before has reached all."""
    all_ms, half_ms, wrong, still = [], [], 0, 0
    for number in range(had, had + _EVENTS):
        await pour(held.programs, *held.edge.publisher(), "-n", 1, "-o", number)
        got = await asyncio.gather(*(load.received(number + 1, 30) for load in held.loads))
        all_ms.append(max(each["max_ms"] for each in got))
        half_ms.append(max(each["p50_ms"] for each in got))
        still = sum(each["open"] for each in got)
        missing = held.total * (number + 1) - sum(each["events"] for each in got)
        wrong = missing + sum(each["disorders"] for each in got)
    return Reached(still, all_ms, half_ms, wrong)
