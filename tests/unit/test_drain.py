"""How a node sends its viewers away: in batches, no faster than another node takes them, within its time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model import VirtualLoop
from ws_edge.fanout.drain import drain


class Hub:
    """The sockets of a node."""

    def __init__(self) -> None:
        self.sockets: set[Any] = set()


class Socket:
    """A viewer that goes when it is told to."""

    def __init__(self, hub: Hub, loop: VirtualLoop, told: list[tuple[float, int]]) -> None:
        self.closing_since = 0.0
        self._hub, self._loop, self._told = hub, loop, told
        hub.sockets.add(self)

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        assert reason
        self._told.append((self._loop.time(), retry_after_ms))
        self._hub.sockets.discard(self)


class Staying(Socket):
    """A viewer that does not go."""

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        self._told.append((self._loop.time(), retry_after_ms))


def drained(loop: VirtualLoop, hub: Any, within_s: float) -> float:
    """Drains the node. Returns how long that takes."""
    began = loop.time()
    loop.run_until_complete(drain(hub, within_s))
    loop.check()
    return loop.time() - began


@pytest.mark.parametrize(
    ("viewers", "within_s", "spread_s"),
    [(50, 10, 1.8), (2_000, 10, 1.8), (4_000, 10, 3.6), (15_000, 10, 4.5), (15_000, 1, 0.45), (0, 10, None)],
)
def test_viewers_are_told_in_batches(loop: VirtualLoop, viewers: int, within_s: float, spread_s: float | None) -> None:
    """At most 1,000 a second, unless half of the time is too short for it."""
    hub, told = Hub(), list[tuple[float, int]]()
    for _ in range(viewers):
        Socket(hub, loop, told)
    took_s = drained(loop, hub, within_s)
    assert len(told) == viewers
    assert took_s <= within_s / 2 + 0.001
    if spread_s is not None:
        times = [at for at, _ in told]
        assert times[-1] - times[0] == pytest.approx(spread_s)
        assert len(set(times)) == 10
        assert all(100 <= ms < 1000 for _, ms in told)


def test_who_does_not_go_is_waited_for_until_the_time_is_over(loop: VirtualLoop) -> None:
    hub, told = Hub(), list[tuple[float, int]]()
    Staying(hub, loop, told)
    Socket(hub, loop, told)
    assert drained(loop, hub, 3) == pytest.approx(3, abs=0.06)
    assert (len(told), len(hub.sockets)) == (2, 1)


def test_who_goes_already_is_not_told_again(loop: VirtualLoop) -> None:
    hub, told = Hub(), list[tuple[float, int]]()
    Staying(hub, loop, told).closing_since = 1.0
    drained(loop, hub, 1)
    assert told == []
