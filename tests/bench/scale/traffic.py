"""Which edges hear which run, and what the broker carries for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tests.bench.scale.measured import ASSUMED, FOLD_S, MAX_SOCKETS, Measured


class Audience(NamedTuple):
    """Runs with their viewers."""

    name: str
    groups: Sequence[tuple[int, float]]
    """Runs, and the viewers that each of them has."""
    events_per_s: float
    """Of each run, as published."""
    messages_per_s: float
    """Of each run, as an edge sends them: not above `events_per_s`."""

    @property
    def viewers(self) -> float:
        """All of them."""
        return sum(runs * each for runs, each in self.groups)

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(runs for runs, _ in self.groups)


def one_run(viewers: int, events_per_s: float, messages_per_s: float) -> Audience:
    """Everybody watches the same run."""
    return Audience("one run", [(1, float(viewers))], events_per_s, messages_per_s)


def small_runs(viewers: int, each: int, events_per_s: float, messages_per_s: float) -> Audience:
    """Each run has the same few viewers."""
    return Audience(f"runs of {each}", [(viewers // each, float(each))], events_per_s, messages_per_s)


def popular(viewers: int, runs: int, events_per_s: float, messages_per_s: float) -> Audience:
    """The n-th most popular run has a share of 1/n."""
    total = sum(1 / n for n in range(1, runs + 1))
    groups, first = [], 1
    while first <= runs:
        last = min(runs, first + first // 8)  # runs that are nearly as popular count as equal
        shares = sum(1 / n for n in range(first, last + 1))
        groups.append((last - first + 1, viewers * shares / total / (last - first + 1)))
        first = last + 1
    return Audience(f"{runs:,} runs, some popular", groups, events_per_s, messages_per_s)


def hearing(viewers: float, edges: int) -> float:
    """Returns how many of the edges have a viewer of a run, when a balancer spreads viewers at random."""
    return edges * -math.expm1(viewers * math.log1p(-1 / edges)) if edges > 1 else min(1.0, viewers)


def _heard(audience: Audience, edges: int, together: bool = False) -> float:
    """How many edges hear an event, over all runs. `together`: viewers of a run share edges as far as they fit."""
    room = MAX_SOCKETS * ASSUMED.fill
    return sum(runs * (max(1.0, each / room) if together else hearing(each, edges)) for runs, each in audience.groups)


class Edges(NamedTuple):
    """Edges that an audience needs."""

    by_sockets: int
    by_processor: int
    delivery_cores: float

    @property
    def needed(self) -> int:
        """Processes, the larger of the two."""
        return max(self.by_sockets, self.by_processor)


def edges(audience: Audience, measured: Measured, *, together: bool = False) -> Edges:
    """Returns how many processes of edges an audience needs, each with a core.

    Args:
        together: viewers of a run go to one edge, as far as it has room: a balancer that hashes the run.
    """
    deliveries_s = audience.viewers * audience.messages_per_s
    cores = deliveries_s * measured.delivery_us.value / 1e6
    by_sockets = math.ceil(audience.viewers / (MAX_SOCKETS * ASSUMED.fill))
    by_processor = math.ceil(cores / ASSUMED.busy)
    for _ in range(16):  # each edge that hears an event pays for the event, too: more edges, more of it
        processes = max(by_sockets, by_processor)
        heard_s = _heard(audience, processes, together) * audience.events_per_s
        total = cores + heard_s * measured.event_us_at(heard_s / processes) / 1e6
        by_processor = math.ceil((by_processor + total / ASSUMED.busy) / 2)  # half the way: it would swing otherwise
    return Edges(by_sockets, by_processor, cores)


class Broker(NamedTuple):
    """What the broker carries, a second."""

    stored: float
    """Events, and snapshots that are folded."""
    live: float
    """Messages of live events to edges."""
    listed: float
    """Messages of snapshots to edges: every edge follows all of them."""
    cores: float
    bytes: float
    """Sent to edges (or leaf nodes)."""


def folds_per_s(audience: Audience, processes: int, measured: Measured) -> float:
    """Returns how many snapshots are stored a second: at most so often a run, and so many an edge."""
    busy = audience.runs * min(audience.events_per_s, 1 / FOLD_S)
    return min(busy, processes * measured.folds_per_s.value)


def broker(audience: Audience, processes: int, measured: Measured, *, together: bool = False) -> Broker:
    """Returns what one broker without leaf nodes carries.

    Args:
        together: viewers of a run go to one edge, as far as it has room: a balancer that hashes the run.
    """
    events_s = audience.runs * audience.events_per_s
    live = audience.events_per_s * _heard(audience, processes, together)
    folds = folds_per_s(audience, processes, measured)
    listed = folds * processes
    stored_us, edge_us = measured.store_us(events_s + folds), measured.edge_us((live + listed) / processes)
    cores = ((events_s + folds) * stored_us + (live + listed) * edge_us) / 1e6
    return Broker(events_s + folds, live, listed, cores, (live + listed) * measured.heard_bytes.value)


def with_leaves(audience: Audience, processes: int, leaves: int, measured: Measured) -> tuple[Broker, float]:
    """Returns what a hub carries whose edges are at leaf nodes, and the cores of each leaf node.

    Snapshots cross each link once for every edge behind it: each follows them with a consumer of its own at the hub.
    """
    alone = broker(audience, processes, measured)
    live = audience.events_per_s * _heard(audience, leaves)
    out = live + alone.listed
    stored_us, link_us = measured.store_us(alone.stored), measured.edge_us(out / leaves)
    cores = (alone.stored * stored_us + out * link_us) / 1e6
    hub = Broker(alone.stored, live, alone.listed, cores, out * measured.heard_bytes.value)
    of_a_leaf = (alone.live + alone.listed) / leaves
    return hub, of_a_leaf * measured.edge_us(of_a_leaf * leaves / processes) / 1e6


def catch_up(audience: Audience, processes: int, measured: Measured, *, together: bool) -> tuple[float, float]:
    """After an outage of the broker every edge reads each of its runs once. Returns reads, and seconds they take."""
    reads = _heard(audience, processes, together)
    return reads, reads * measured.read_us.value / 1e6 / ASSUMED.broker_cores
