"""A deploy storm: both edges of an installation are replaced, one after the other, while thousands watch.

Once politely (SIGTERM: an edge drains) and once by `kill -9`. Viewers go to the edge that is there, as a load balancer
sends them, and come back when the page would: after what the goodbye asks for, or after 0.8 to 1 s without one.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.bench import report
from tests.bench.jitter import REPLAY, replay_cells, resuming
from tests.bench.programs import Figures, Load, open_load
from tests.bench.report import NONE
from tests.bench.scenes import stack
from tests.harness import EdgeProcess, begin, event_bytes, event_log

PER_S: Final = 4.0
_FIRST_N: Final = 1_000_001
_QUIET_S: Final = 5.0
"""Before the first edge goes."""
_BETWEEN_S: Final = 3.0
"""From when all viewers are current again until the next edge goes, and until the end."""
_WAYS: Final = {"drained": signal.SIGTERM, "killed": signal.SIGKILL}
_HEAD: Final = [
    "",
    "cuts",
    "resumed",
    *REPLAY,
    "away p99, s",
    "away max, s",
    "silence p99, s",
    "silence max, s",
    "all current after, s",
    "replaced after, s",
]


class Step(NamedTuple):
    """What viewers met until all of them were current."""

    name: str
    cuts: int
    resumed: int
    got: Figures
    current_s: float | None = None
    """From the signal until all viewers were current; None: nothing was replaced."""
    replaced_s: float | None = None
    """From the signal until the replacement was ready."""

    def cells(self) -> list[str]:
        """The row below `_HEAD`."""
        away, silence = (
            [report.figure(self.got[f"{what}_{which}_ms"] / 1e3) for which in ("p99", "max")]
            for what in ("away", "silence")
        )
        times = [NONE if each is None else report.figure(each) for each in (self.current_s, self.replaced_s)]
        back = [*replay_cells(self.got), *away] if self.resumed else [NONE] * (len(REPLAY) + len(away))
        return [self.name, f"{self.cuts:,}", f"{self.resumed:,}", *back, *silence, *times]


class Way(NamedTuple):
    """One run in which both edges are replaced."""

    steps: list[Step]
    viewers: int
    events: int
    total: Figures

    def sentence(self, name: str) -> str:
        """What must be 0, and the silences of the whole run."""
        total = self.total
        return (
            f"{name.capitalize()}: {self.events} events, lost {self.viewers * self.events - total['events']}, twice or "
            f"out of order {total['disorders']}, gaps {total['gaps']}, refused and come back {total['refused']}; the "
            f"longest silence of a viewer: p99 {report.figure(total['longest_p99_ms'] / 1e3)} s, max "
            f"{report.figure(total['longest_max_ms'] / 1e3)} s."
        )


async def _publish(streams: Streams, test_id: str, stop: asyncio.Event) -> int:
    """Publishes at a steady rate until `stop`. Returns how many events."""
    began, began_ns, count = time.monotonic(), time.time_ns(), 0
    while not stop.is_set():
        data = {"n": _FIRST_N + count, "ns": began_ns + int(count / PER_S * 1e9)}
        await streams.store(subjects.events(test_id), event_bytes("Testing WASD movement", data=data))
        count += 1
        await asyncio.sleep(max(0.0, began + count / PER_S - time.monotonic()))
    return count


async def _replace(
    leaving: EdgeProcess, staying: EdgeProcess, crowd: Load, how: signal.Signals
) -> tuple[Figures, float]:
    """Ends one edge and starts another in its place.

    Returns:
        The figures when all viewers are current again, and the seconds until the replacement was ready.
    """
    crowd.tell(f"servers {staying.port}")
    began = time.monotonic()
    leaving.child.signal(how)
    await leaving.child.wait()
    await leaving.start()
    replaced_s = time.monotonic() - began
    got = await crowd.back(within_s=60)
    if got["absent"]:
        report.say(f"{got['absent']} viewers are not current after {time.monotonic() - began:.0f} s")
    return got, replaced_s


async def _way(name: str, edges: Sequence[EdgeProcess], streams: Streams, programs: Path, viewers: int) -> Way:
    test_id = await begin(streams)
    first = await event_log(streams).last(test_id) + 1
    where = await resuming(edges, streams, test_id)
    async with open_load(programs, *where, "-n", viewers) as crowd:
        await crowd.line(within_s=60)
        crowd.tell("return")
        stop = asyncio.Event()
        publishing = asyncio.create_task(_publish(streams, test_id, stop))
        await asyncio.sleep(_QUIET_S)
        got = await crowd.report()
        steps = [Step("both edges there", 0, 0, got)]
        for which, leaving, staying in (("first", edges[0], edges[1]), ("second", edges[1], edges[0])):
            cuts, resumed, at = got["closed"], got["resumed"], time.time()
            got, replaced_s = await _replace(leaving, staying, crowd, _WAYS[name])
            current_s = got["current_at"] - at
            step = Step(f"{which} {name}", got["closed"] - cuts, got["resumed"] - resumed, got, current_s, replaced_s)
            steps.append(step)
            report.say(", ".join(f"{what} {cell}" for what, cell in zip(_HEAD, step.cells(), strict=True)))
            await asyncio.sleep(_BETWEEN_S)
        stop.set()
        events = await publishing
        total = await crowd.received(events, within_s=60)
    last = await event_log(streams).last(test_id)
    assert last == first + events - 1, "the sequences that viewers resume from are those of the events"
    return Way(steps, viewers, events, total)


async def deploy(programs: Path, quick: bool) -> str:
    """Replaces both edges politely, and then by `kill -9`."""
    viewers = 1_000 if quick else 10_000
    async with stack(2) as (streams, edges):
        ways = {name: await _way(name, edges, streams, programs, viewers) for name in _WAYS}
    for name, way in ways.items():
        report.say(way.sentence(name))
    text = (
        f"{viewers:,} viewers of one run on two edges, {PER_S:g} events a second. The edges are replaced one after "
        "the other; meanwhile the viewers of one go to the other. An edge that is drained (SIGTERM) tells them when to "
        "come back; those of a killed one (`kill -9`) come after 0.8 to 1 s. Away: from the loss of a connection until "
        "its viewer has all that it missed. Silence: the longest time between two events of a viewer; p99 and max are "
        "over the viewers. The last two columns begin at the signal. All processes share two cores:"
    )
    rows = [step.cells() for way in ways.values() for step in way.steps]
    sentences = " ".join(way.sentence(name) for name, way in ways.items())
    wanted = (
        "Wanted: drained: all current within 2 s, no silence above 1.5 s; killed: no silence above 3 s; lost, twice "
        "and out of order 0."
    )
    return "\n".join([text, "", *report.table(_HEAD, rows), "", sentences, "", wanted])
