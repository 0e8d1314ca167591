"""The simulation at sizes that were measured: what it says beside what was measured, and how far it may be off."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.bench.edges import EdgeOneByOne
from tests.bench.report import PAGE
from tests.bench.scale import fanout, storm
from tests.bench.scale.measured import Measured, NotMeasured, Page, number


class Check(NamedTuple):
    """A figure that was measured and is no parameter of what is compared with it."""

    what: str
    measured: float
    simulated: float
    may_be_off: float
    """Share of what was measured."""

    @property
    def off(self) -> float:
        """By which share of the measured figure the simulated one is above it."""
        return self.simulated / self.measured - 1

    @property
    def holds(self) -> bool:
        """Whether the simulation is near enough."""
        return abs(self.off) <= self.may_be_off


def checks(measured: Measured, page: Path = PAGE) -> list[Check]:
    """Returns the comparisons.

    Raises:
        NotMeasured: BENCHMARKS.md lacks what the simulation is compared with.
    """
    at = Page(page.read_text("utf-8"))
    event_us = measured.event_us.value
    near_us = fanout.pure_delivery_us(measured.delivery_near_us.value, 500, event_us)
    far_us = fanout.pure_delivery_us(measured.delivery_us.value, 10_000, event_us)
    joined, many = fanout.simulate(1_000, 400, near_us, event_us), fanout.simulate(10_000, 4, far_us, event_us)
    edge, latency = EdgeOneByOne.name, _Latency(at)
    joined_us = at.figure("peers", edge, "1,000 x 400/s").value
    found = [
        Check("1,000 viewers at 400 events a second: µs a delivery", joined_us, joined.us_a_delivery, 0.15),
        Check("the same: median latency, ms", latency(edge, "1,000 x 400/s", 0), joined.p50_ms, 0.25),
        Check("the same: p99, ms", latency(edge, "1,000 x 400/s", 1), joined.p99_ms, 0.35),
        Check("10,000 viewers at 4 events a second: median, ms", latency(edge, "10,000 x 4/s", 0), many.p50_ms, 0.15),
        Check("the same: p99, ms", latency(edge, "10,000 x 4/s", 1), many.p99_ms, 0.25),
    ]
    return [*found, *_of_sockets(at, measured, far_us), *_of_storm(at, measured), *_of_opening(at, measured)]


class _Latency:
    """The second table of the peers, whose rows have the same names as the first one's."""

    def __init__(self, page: Page) -> None:
        body = page.body("peers")
        self._table = Page("<!-- bench:x -->" + body[body.index("Latency from publication") :] + "<!-- /bench:x -->")

    def __call__(self, row: str, column: str, which: int) -> float:
        return self._table.figure("x", row, column, which=which).value


def _of_sockets(page: Page, measured: Measured, far_us: float) -> list[Check]:
    """50,000 sockets on four processes, which share two cores."""
    all_ms = page.figure("sockets", "at once", "one event reached all in, ms").value
    one_ms = (12_500 * far_us + measured.event_us.value) / 1e3
    return [Check("50,000 sockets on two cores: one event has reached all after, ms", all_ms, 2 * one_ms, 0.35)]


def _of_storm(page: Page, measured: Measured) -> list[Check]:
    """10,000 viewers come back to one edge; the load generator opens them no faster than it did before."""
    text = page.body("Mass reconnect")
    opened = re.search(r"10,000 sockets opened by one process \| ([\d.]+) s", text)
    back = re.search(r"all 10,000 back and current \| ([\d.]+) s \(median ([\d.]+) s\)", text)
    if opened is None or back is None:
        raise NotMeasured("BENCHMARKS.md does not say how a mass reconnect went")
    opens_per_s = 10_000 / number(opened[1])
    edges = storm.Edges(1, measured.handshake_us.value, measured.poll_us.value, 1.0, 5_000, 20.0, 10_000, opens_per_s)
    simulated = storm.simulate(10_000, edges)
    return [
        Check("10,000 viewers whose edge was killed: all are back after, s", number(back[1]), simulated.all_s, 0.25),
        Check("the same: half of them are back after, s", number(back[2]), simulated.half_s, 0.25),
    ]


def _of_opening(page: Page, measured: Measured) -> list[Check]:
    """10,000 viewers open their sockets as fast as one process takes them."""
    head, _, row = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.body("open").splitlines()
        if line.startswith("|")
    ]
    took_s = number(row[head.index("opened and subscribed, s")])
    edges = storm.Edges(1, measured.handshake_us.value, measured.poll_us.value, 1.0, 0, 20.0, 10_000)
    simulated = storm.simulate(10_000, edges, first_s=(0.0, 0.01))
    return [
        Check("10,000 viewers open their sockets at one process: all are open after, s", took_s, simulated.all_s, 0.25)
    ]
