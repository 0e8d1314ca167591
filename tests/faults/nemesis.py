"""Injects faults by a seeded schedule: kills, stops, cut and impaired links. Each fault is healed again."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.checker import LATE_S, Fault
from tests.faults.cluster import BrokerNode
from tests.faults.damage import BESIDE, DISK, NEW_STREAM, Damage
from tests.faults.link import CLEAR, Weather
from tests.faults.strike import Strike
from tests.faults.world import Edge, World
from tests.harness import until

_PAUSE_S: Final = 1.5 * LATE_S  # an event that is late after this pause belongs to the next fault
_DELAY: Final = Weather(delay_s=0.4)
_NARROW: Final = Weather(bytes_per_s=6_000)  # enough for a few events a second, not for a quick replay
_TRICKLE: Final = Weather(bytes_per_s=1_200)  # less than a viewer of every run receives
_STALLED: Final = Weather(stalled=True)
_CUT: Final = Weather(cut=True)

_PARTS: Final = ("edge-broker", "viewer-edge", "broker", "edge", "agent")
"""First words of the kinds, in the order in which two faults are healed: a restarted part needs the earlier ones."""

_DAMAGES: Final = BESIDE.keys() | NEW_STREAM.keys() | DISK.keys()


def _part(kind: str) -> str:
    return kind.split()[0]


class Nemesis:
    """Injects faults, one round after the other. The same seed gives the same schedule of kinds, targets and lengths.

    Args:
        length_s: average duration of a fault; each lasts 0.5 to 1.5 times as long.
    """

    def __init__(self, world: World, seed: int, length_s: float) -> None:
        self._world = world
        self._rng = random.Random(seed)
        self._length_s = length_s

    def __repr__(self) -> str:
        return f"<Nemesis of {self._world!r}>"

    def schedule(self, rounds: int, kinds: list[str]) -> list[str]:
        """Returns `rounds` kinds in random order. The counts of two kinds differ by at most one."""
        deck: list[str] = []
        while len(deck) < rounds:
            deck += self._rng.sample(kinds, len(kinds))
        return deck[:rounds]

    async def strike(self, kind: str, settle_s: float = 60.0) -> Fault:
        """Injects one fault, heals it, and waits until every viewer is current again.

        Raises:
            AssertionError: some viewer is not current `settle_s` after the fault was healed.
        """
        held_s = self._rng.uniform(0.5, 1.5) * self._length_s
        began = time.monotonic()
        strike = await KINDS[kind](self)
        await asyncio.sleep(max(0.0, held_s))
        await strike.heal()
        healed = time.monotonic()
        await self._world.settled(healed, within_s=settle_s)
        current_at = time.monotonic()
        await self._world.cluster.whole()
        await asyncio.sleep(_PAUSE_S)
        return Fault(kind, strike.target, began, healed, current_at)

    async def two_at_once(self) -> Strike:
        """Two faults of different parts at the same time."""
        pair: list[str] = []
        while len({_part(kind) for kind in pair}) < 2:
            pair = self._rng.sample([kind for kind in KINDS if _part(kind) in _PARTS and kind not in _DAMAGES], 2)
        strikes = {kind: await KINDS[kind](self) for kind in pair}

        async def heal() -> None:
            for kind in sorted(pair, key=lambda each: _PARTS.index(_part(each))):
                await strikes[kind].heal()

        return Strike(" and ".join(f"{kind} {strike.target}" for kind, strike in strikes.items()), heal)

    def _stop(self, target: str, signal_to: Callable[[int], None]) -> Strike:
        """SIGSTOP; healed by SIGCONT."""
        signal_to(signal.SIGSTOP)

        async def heal() -> None:
            signal_to(signal.SIGCONT)

        return Strike(target, heal)

    # -- brokers -------------------------------------------------------------------------------------------------

    async def kill_leader(self) -> Strike:
        """kill -9 of the node that leads EVENTS."""
        return await self._kill_node(await self._world.cluster.leader())

    async def kill_follower(self) -> Strike:
        """kill -9 of a node that does not lead EVENTS."""
        return await self._kill_node(await self._follower())

    async def stop_leader(self) -> Strike:
        """SIGSTOP of the leader; healed by SIGCONT. It resumes as a deposed leader."""
        leader = await self._world.cluster.leader()
        return self._stop(leader.name, leader.signal)

    async def stop_follower(self) -> Strike:
        """SIGSTOP of a follower; healed by SIGCONT."""
        follower = await self._follower()
        return self._stop(follower.name, follower.signal)

    async def cut_leader_off(self) -> Strike:
        """Cuts the leader off from its peers. Its clients still ask it, and it does not know that it is deposed."""
        leader = await self._world.cluster.leader()
        leader.set_peers(_CUT)

        async def heal() -> None:
            leader.set_peers(CLEAR)

        return Strike(leader.name, heal)

    async def _follower(self) -> BrokerNode:
        leader = await self._world.cluster.leader()
        return self._rng.choice([node for node in self._world.cluster.nodes if node is not leader])

    async def _kill_node(self, node: BrokerNode) -> Strike:
        await node.kill()

        async def heal() -> None:
            node.start()

        return Strike(node.name, heal)

    # -- edges ---------------------------------------------------------------------------------------------------

    async def kill_edge(self) -> Strike:
        """kill -9; healed by a restart on the same port."""
        edge = self._edge()
        await edge.kill()
        return Strike(edge.name, edge.start)

    async def drain_edge(self) -> Strike:
        """SIGTERM; healed by a restart on the same port."""
        edge = self._edge()
        edge.signal(signal.SIGTERM)

        async def heal() -> None:
            await until(lambda: edge.process.child.exit_code is not None, within_s=20, what="a drained edge ends")
            await edge.start()

        return Strike(edge.name, heal)

    async def stop_edge(self) -> Strike:
        """SIGSTOP; healed by SIGCONT."""
        edge = self._edge()
        return self._stop(edge.name, edge.signal)

    def _edge(self) -> Edge:
        return self._rng.choice(self._world.edges)

    # -- publishers ----------------------------------------------------------------------------------------------

    async def kill_agent(self) -> Strike:
        """kill -9; healed by the next attempt, which takes the run over."""
        run = self._run()
        await self._world.publishing.current(run).kill()

        async def heal() -> None:
            self._world.publishing.start_next(run)

        return Strike(run[:8], heal)

    async def stop_agent(self) -> Strike:
        """SIGSTOP; healed by SIGCONT, before another publisher takes the run over."""
        run = self._run()
        return self._stop(run[:8], self._world.publishing.current(run).child.signal)

    async def zombie_agent(self) -> Strike:
        """SIGSTOP, and another publisher takes the run over. After SIGCONT the first one is fenced and ends."""
        publishing, run = self._world.publishing, self._run()
        old = publishing.current(run)
        old.child.signal(signal.SIGSTOP)
        publishing.start_next(run)

        async def heal() -> None:
            began = time.monotonic()
            await until(lambda: publishing.last_acked(run) > 0, within_s=30, what="another takes the run over")
            old.child.signal(signal.SIGCONT)
            await until(lambda: old.has("fenced"), within_s=30, what=f"{old!r} is fenced; woken at {began:.1f}")

        return Strike(run[:8], heal)

    def _run(self) -> str:
        return self._rng.choice(self._world.publishing.runs)

    # -- links ---------------------------------------------------------------------------------------------------

    def _broker_link(self, weather: Weather) -> Strike:
        edge = self._edge()
        edge.set_broker_weather(weather)

        async def heal() -> None:
            edge.set_broker_weather(CLEAR)

        return Strike(edge.name, heal)

    def _viewer_link(self, weather: Weather) -> Strike:
        edge = self._edge()
        edge.front.weather = weather

        async def heal() -> None:
            edge.front.weather = CLEAR

        return Strike(edge.name, heal)


def _links(of: Callable[[Nemesis, Weather], Strike], weather: Weather) -> Callable[[Nemesis], Awaitable[Strike]]:
    async def strike(nemesis: Nemesis) -> Strike:
        return of(nemesis, weather)

    return strike


def _damage(damage: Damage) -> Callable[[Nemesis], Awaitable[Strike]]:
    async def strike(nemesis: Nemesis) -> Strike:
        return await damage(nemesis._world, nemesis._rng)

    return strike


KINDS: Final[dict[str, Callable[[Nemesis], Awaitable[Strike]]]] = {
    "broker leader killed": Nemesis.kill_leader,
    "broker follower killed": Nemesis.kill_follower,
    "broker leader stopped": Nemesis.stop_leader,
    "broker follower stopped": Nemesis.stop_follower,
    "broker leader cut off": Nemesis.cut_leader_off,
    "edge killed": Nemesis.kill_edge,
    "edge drained": Nemesis.drain_edge,
    "edge stopped": Nemesis.stop_edge,
    "agent killed": Nemesis.kill_agent,
    "agent stopped": Nemesis.stop_agent,
    "agent replaced": Nemesis.zombie_agent,
    "edge-broker dropped": _links(Nemesis._broker_link, _CUT),
    "edge-broker half-open": _links(Nemesis._broker_link, _STALLED),
    "edge-broker delayed": _links(Nemesis._broker_link, _DELAY),
    "edge-broker throttled": _links(Nemesis._broker_link, _NARROW),
    "viewer-edge dropped": _links(Nemesis._viewer_link, _CUT),
    "viewer-edge half-open": _links(Nemesis._viewer_link, _STALLED),
    "viewer-edge delayed": _links(Nemesis._viewer_link, _DELAY),
    "viewer-edge throttled": _links(Nemesis._viewer_link, _TRICKLE),
    "two at once": Nemesis.two_at_once,
    **{kind: _damage(damage) for kind, damage in {**BESIDE, **NEW_STREAM, **DISK}.items()},
}
