"""What `submit`, `list`, `tail` and `doctor` do, over NATS or through an edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import orjson
from rich.text import Text

from broker.config import BrokerConfig
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs, topology
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.local.name_resolution import check_for_submit
from testcast import config
from testcast.cli import listing
from testcast.cli.follow import Follow
from testcast.cli.targets import edge_url
from testcast.cli.terminal import Terminal
from testcast.client.edge import Edge, Watch
from testcast.client.edge import submit as submit_to_edge
from testcast.client.errors import EXIT_COMPLETED, EXIT_FAILED
from testcast.client.feed import DEFAULT_TIMEOUT_S, Tail
from testcast.local.doctor import examine

_CONNECT_S: Final = 3.0


class Place(NamedTuple):
    """Whom to ask: an edge, or else the broker."""

    edge: str | None
    broker: BrokerConfig | None


class Submission(NamedTuple):
    """What `submit` was asked for."""

    game_url: str
    title: str | None
    budget_s: float | None
    seed: int | None


class Following(NamedTuple):
    """What `tail` was asked for."""

    test_id: str | None
    after: int | None
    types: tuple[str, ...]
    timeout_s: float | None


class Listing(NamedTuple):
    """What `list` was asked for."""

    status: str | None
    limit: int
    watch: bool


@asynccontextmanager
async def _nats(place: Place) -> AsyncIterator[Connection]:
    assert place.broker is not None
    nats = await Connection.connect(place.broker.nats_url, name="testcast-cli", timeout_s=_CONNECT_S)
    try:
        yield nats
    finally:
        await nats.close()


async def submit(asked: Submission, place: Place, terminal: Terminal, *, follow: bool, as_json: bool) -> int:
    """Submits; prints the test id, or with `follow` the run."""
    if place.edge is not None:
        test_id = await submit_to_edge(
            place.edge, asked.game_url, title=asked.title, budget_seconds=asked.budget_s, seed=asked.seed
        )
    else:
        url = await check_for_submit(asked.game_url, allow_private=config.allow_private())
        job = runs.make_job(url, asked.title, asked.budget_s, asked.seed)
        async with _nats(place) as nats:
            assert place.broker is not None
            await topology.apply(nats, replicas=place.broker.replicas)
            test_id = await runs.submit(JetStreamLog(nats), job)
    if not follow:
        _told(test_id, place.edge, terminal, as_json=as_json)
        return 0
    terminal.note(
        f"test {test_id}" if place.edge is None else f"test {test_id}\n{edge_url(place.edge)}/tests/{test_id}"
    )
    return await tail(Following(test_id, None, (), None), place, terminal, as_json=as_json)


def _told(test_id: str, edge: str | None, terminal: Terminal, *, as_json: bool) -> None:
    if as_json:
        terminal.raw(orjson.dumps({"testId": test_id}))
        return
    terminal.say(test_id)
    if terminal.out.is_terminal:
        through = "" if edge is None else f" --edge {edge}"
        terminal.note(f"follow it with: testcast tail {test_id}{through}")


async def tail(asked: Following, place: Place, terminal: Terminal, *, as_json: bool) -> int:
    """Follows one run or all."""
    follow = Follow(terminal, asked.test_id, json=as_json, types=asked.types)
    if asked.test_id is None and terminal.out.is_terminal:
        since = "from now on" if asked.after is None else f"after {asked.after}"
        terminal.note(f"all runs, {since}")
    if place.edge is not None:
        async with Edge(place.edge) as edge:  # a typing error is told at once, not after ten attempts
            await (edge.call("getConfig") if asked.test_id is None else edge.call("getTest", testId=asked.test_id))
        watch = Watch(place.edge, asked.test_id, after=asked.after, timeout_s=asked.timeout_s, on_state=follow.on_state)
        return await follow.run(watch)
    timeout_s = DEFAULT_TIMEOUT_S if asked.timeout_s is None else asked.timeout_s
    async with _nats(place) as nats:
        return await follow.run(
            Tail(nats, asked.test_id, after=asked.after, timeout_s=timeout_s, on_state=follow.on_state)
        )


async def list_runs(asked: Listing, place: Place, terminal: Terminal, *, as_json: bool) -> int:
    """Lists once, or as it changes."""

    def wanted(found: Iterable[Snapshot]) -> listing.Runs:
        return listing.choose(found, asked.status, asked.limit)

    async def show(source: listing.Source) -> None:
        if asked.watch:
            await listing.watch(source, wanted, terminal, json=as_json)
        else:
            listing.show(terminal, await listing.once(source, wanted), json=as_json)

    if place.edge is not None:
        async with Edge(place.edge) as edge:
            await show(listing.EdgeSource(edge, asked.status, asked.limit))
    else:
        async with _nats(place) as nats:
            await show(listing.NatsSource(nats))
    return 0


def doctor(terminal: Terminal) -> int:
    """Prints what `examine` found. Returns 0 when nothing is missing, else 1."""
    found = examine()
    wide = max(len(each.name) for each in found)
    for each in found:
        mark = ("  ✓ ", "green") if each.ok else ("  ✗ ", "bold red")
        terminal.hang(Text.assemble(mark, (f"{each.name:{wide}}  ", "bold")), Text(each.detail))
        if each.remedy:
            style = "bright_black" if each.ok else "yellow"
            terminal.hang(Text(" " * (wide + 6)), Text(f"→ {each.remedy}", style=style))
    missing = sum(not each.ok for each in found)
    terminal.say()
    terminal.say(f"{missing} of {len(found)} need attention" if missing else "all is there")
    return EXIT_FAILED if missing else EXIT_COMPLETED
