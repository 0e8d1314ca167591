"""Viewers that have lost their edges: when each comes back, and what the edges that are left do meanwhile. Pure.

Viewers are counted and not told apart: `waiting[tick][failures]` come in that tick. The edges that are left are one
queue with the limits and the processors of all of them; a balancer that spreads evenly makes them so.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict, deque
from typing import Final, NamedTuple

from testcast.client.backoff import POLL_AFTER_FAILURES, delay_s

TICK_S: Final = 0.02
_LONGEST_S: Final = 900.0


class Storm(NamedTuple):
    """How it went."""

    half_s: float
    """Half of the viewers are back and current."""
    p99_s: float
    all_s: float
    refused: int
    """Handshakes that were told to come later."""
    given_up: int
    """Handshakes that were not served before their client gave up: work done for nobody."""
    longest_queue: int
    polled: int
    """Viewers that failed twice or more, and polled meanwhile."""
    homeless: int
    """Viewers for whom there is no socket on any edge, for as long as no edge is added. They poll."""


class Edges(NamedTuple):
    """The processes that take the viewers."""

    processes: int
    handshake_us: float
    refused_us: float
    free: float
    """Share of a core that each has left for handshakes."""
    handshakes_per_s: float
    """Each one's limit; twice as many at once. 0: none."""
    connect_s: float
    """How long a client waits."""
    room: int
    """Sockets that all of them have left."""
    arrivals_per_s: float = 0.0
    """What the clients together can open; 0: any number. A load generator has such a limit."""


def simulate(viewers: int, edges: Edges, *, first_s: tuple[float, float] | None = None, seed: int = 1) -> Storm:
    """Returns how long `viewers` take to come back.

    Args:
        first_s: when each comes for the first time, evenly between these; None: as after a lost connection.
    """
    course = _Course(viewers, edges, random.Random(seed))
    for _ in range(viewers):
        at = delay_s(1, course.rng.random()) if first_s is None else course.rng.uniform(*first_s)
        course.coming[int(at / TICK_S)][1] += 1
    while course.left and course.tick * TICK_S < _LONGEST_S:
        course.serve(course.let_in())
        course.tick += 1
    came = sum(count for _, count in course.back)
    times = _quantiles(course.back, min(viewers, edges.room))
    return Storm(*times, course.refused, course.given_up, course.longest, course.polled, viewers - came)


class _Course:
    """A storm as it goes on, tick by tick."""

    def __init__(self, viewers: int, edges: Edges, rng: random.Random) -> None:
        self.rng = rng
        self.coming: dict[int, Counter[int]] = defaultdict(Counter)
        """Viewers by the tick in which they come and how often they have failed."""
        self.back: list[tuple[int, int]] = []
        """Viewers that have come back, by tick."""
        self.left = self._room = min(viewers, edges.room)
        self.tick = self.refused = self.given_up = self.longest = self.polled = 0
        self._viewers, self._edges = viewers, edges
        self._queue: deque[tuple[int, int, int]] = deque()  # tick of arrival, failures, how many
        self._most = 2 * edges.processes * edges.handshakes_per_s
        self._tokens = self._most
        self._held: Counter[int] = Counter()

    def let_in(self) -> float:
        """Takes those who come in this tick, or refuses them. Returns the work that refusing was, µs."""
        edges = self._edges
        self._tokens = min(self._most, self._tokens + edges.processes * edges.handshakes_per_s * TICK_S)
        self._held.update(self.coming.pop(self.tick, {}))
        let, work_us = int(edges.arrivals_per_s * TICK_S) if edges.arrivals_per_s else self._viewers, 0.0
        for failures in sorted(self._held):
            count = min(self._held[failures], let)
            let -= count
            self._held[failures] -= count
            taken = min(count, self._room, int(self._tokens)) if edges.handshakes_per_s else min(count, self._room)
            self._tokens -= taken
            self._room -= taken
            if taken:
                self._queue.append((self.tick, failures, taken))
            self.refused += count - taken
            work_us += (count - taken) * edges.refused_us
            self._again(failures + 1, count - taken)
        return work_us

    def serve(self, used_us: float) -> None:
        """Serves those who wait, with what the processors have left in this tick."""
        edges = self._edges
        work_us = edges.processes * edges.free * TICK_S * 1e6 - used_us
        while self._queue and work_us > 0:
            arrived, failures, count = self._queue.popleft()
            done = min(count, int(work_us / edges.handshake_us) + 1)
            work_us -= done * edges.handshake_us
            if done < count:
                self._queue.appendleft((arrived, failures, count - done))
            if (self.tick - arrived) * TICK_S > edges.connect_s:
                self.given_up += done
                self._room += done
                self._again(failures + 1, done)
            else:
                self.back.append((self.tick, done))
                self.left -= done
        self.longest = max(self.longest, sum(count for _, _, count in self._queue))

    def _again(self, failures: int, count: int) -> None:
        """Has viewers come again after their backoff, evenly between its ends."""
        if failures == POLL_AFTER_FAILURES + 1:
            self.polled += count
        first, last = (self.tick + 1 + int(delay_s(failures, chance) / TICK_S) for chance in (0.0, 0.999))
        places = last - first + 1
        for place in range(places):
            self.coming[first + place][failures] += count // places
        for place in self.rng.sample(range(places), count % places):
            self.coming[first + place][failures] += 1


def _quantiles(back: list[tuple[int, int]], viewers: int) -> tuple[float, float, float]:
    """When half, 99 % and all of those have come back that do."""
    found, sofar = [], 0
    wanted = [viewers * 0.5, viewers * 0.99, viewers]
    for tick, count in back:
        sofar += count
        while wanted and sofar >= wanted[0]:
            wanted.pop(0)
            found.append((tick + 1) * TICK_S)
    found += [math.inf] * (3 - len(found))
    return found[0], found[1], found[2]


def deployment(processes: int, at_once: int, drain_s: float, start_s: float) -> tuple[float, float, float]:
    """Rolls all processes, `at_once` at a time, each with a replacement that stands before it drains.

    Viewers of a drained process go to those that have the fewest sockets, as with a balancer of least connections.

    Returns:
        Seconds that it takes, how often a viewer moves on average, and the fullest process compared with the mean.
    """
    old, new, moved, fullest = [1.0] * processes, [0.0] * processes, 0.0, 1.0
    for begin in range(0, processes, at_once):
        batch = range(begin, min(begin + at_once, processes))
        leaving = sum(old[place] for place in batch)
        for place in batch:
            old[place] = 0.0
        moved += leaving
        stand = [("old", place) for place in range(begin + at_once, processes)]
        stand += [("new", place) for place in range(min(begin + at_once, processes))]
        for _ in range(200):  # a two-hundredth of them at a time, each to whoever has the fewest
            kind, place = min(stand, key=lambda each: (old if each[0] == "old" else new)[each[1]])
            (old if kind == "old" else new)[place] += leaving / 200
        fullest = max(fullest, *old, *new)
    batches = -(-processes // at_once)
    return batches * (drain_s + start_s), moved / processes, fullest
