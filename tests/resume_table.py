"""The resume table of broker/PROTOCOL.md as rows: what a client asks for, and what it has to be told."""

from __future__ import annotations

from typing import NamedTuple

from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.harness import EdgeProcess, begin, publish


class World(NamedTuple):
    """A run that has ended, its first five events no longer retained, and an edge that serves it."""

    edge: EdgeProcess
    streams: Streams
    test_id: str
    stored: list[int]
    """Sequences of all events, also of those that are gone."""
    gone: int
    """How many of them are."""
    epoch: str


class Asked(NamedTuple):
    """A client's position: `at` names an event by its place in the run, or what is no place in it."""

    after: int | None
    epoch: str | None


class Told(NamedTuple):
    """What it was told: why it has to start anew, or None, and the events."""

    reset: str | None
    events: list[int]


async def make_world(streams: Streams, edge: EdgeProcess) -> World:
    """Publishes the run, and purges its first events."""
    test_id = await begin(streams)
    other = await begin(streams, "its events lie between ours")
    stored = [1, 2]
    for number in range(12):
        stored.append((await publish(streams, test_id, f"{number}")).seq)
        await publish(streams, other, f"{number}")
    stored.append((await publish(streams, test_id, "Done", "complete")).seq)
    await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"filter": subjects.events(test_id), "seq": stored[5]})
    epoch = (await streams.state(subjects.EVENTS)).epoch
    return World(edge, streams, test_id, stored, 5, epoch)


def table(world: World) -> list[tuple[Asked, Told]]:
    """The rows: what is asked, and what has to be told."""
    stored, kept, here = world.stored, world.stored[world.gone :], world.epoch
    return [
        (Asked(None, None), Told(None, kept)),
        (Asked(0, here), Told(None, kept)),
        (Asked(stored[-1], here), Told(None, [])),
        (Asked(stored[8], here), Told(None, stored[9:])),
        (Asked(stored[8], None), Told(None, stored[9:])),
        (Asked(kept[0], here), Told(None, kept[1:])),
        (Asked(stored[3], here), Told("expired", kept)),
        (Asked(stored[4], here), Told("expired", kept)),  # the last that is gone: nothing proves it was the last
        (Asked(stored[8] + 1, here), Told("expired", kept)),  # another run's event: no position of this one
        (Asked(stored[-1] + 10**6, here), Told("ahead", kept)),
        (Asked(stored[8], "20200101000000"), Told("epoch", kept)),
        (Asked(stored[-1], "20200101000000"), Told("epoch", kept)),
    ]
