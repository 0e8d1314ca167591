"""An edge as a queue: what has arrived since its last turn goes to all viewers in one turn, one write each. Pure."""

from __future__ import annotations

import random
from typing import NamedTuple


class Fanout(NamedTuple):
    """What a simulated edge does."""

    us_a_delivery: float
    p50_ms: float
    p99_ms: float
    busy: float
    """Share of a core."""


def simulate(
    viewers: int, per_s: float, delivery_us: float, event_us: float, *, seconds: float = 20.0, seed: int = 1
) -> Fanout:
    """Returns what an edge with these viewers of one run does.

    Args:
        per_s: events a second, at even distances with a jitter of a tenth.
        delivery_us: one write to one viewer, however many events it carries.
        event_us: one event, whatever the number of viewers.
    """
    rng = random.Random(seed)
    arrivals = [(number + 0.1 * rng.random()) / per_s for number in range(int(seconds * per_s))]
    latencies: list[float] = []
    now = worked = 0.0
    first = 0
    while first < len(arrivals):
        now = max(now, arrivals[first])
        last = first
        while last < len(arrivals) and arrivals[last] <= now:
            last += 1
        events_s, writes_s = (last - first) * event_us / 1e6, viewers * delivery_us / 1e6
        for arrival in arrivals[first:last]:
            latencies += [now + events_s + writes_s * (place + 0.5) / 20 - arrival for place in range(20)]
        worked += events_s + writes_s
        now += events_s + writes_s
        first = last
    latencies.sort()
    span = max(now, seconds)
    return Fanout(
        us_a_delivery=worked * 1e6 / (len(arrivals) * viewers),
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1e3,
        busy=worked / span,
    )


def pure_delivery_us(measured_us: float, viewers: int, event_us: float) -> float:
    """Returns the share of a delivery that is no share of the event."""
    return measured_us - event_us / viewers
