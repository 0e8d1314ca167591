"""How old the list is while very many runs are busy, and what the projector and the catalogue of an edge take for it.

Every run publishes an event every 5 s. One client polls the list, as a page without a socket does, and compares what it
shows of the newest runs with what the broker has stored of them. Now and then one of them ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import httpx

from broker import identity
from broker.contract import subjects
from broker.contract.ports import LiveEvent
from broker.jetstream import kv
from broker.jetstream.api import Streams
from tests.bench import report
from tests.bench.compare import running
from tests.bench.edges import Edge
from tests.bench.host import cpu_s, waited_s
from tests.bench.programs import pour
from tests.faults.checker import quantile
from tests.harness import event_bytes, event_log, until

_EVERY_S: Final = 5.0
"""Between two events of a run."""
_POLL_S: Final = 0.25
"""Between two polls. An age on this page may be this much too high."""
_NEAR: Final = 8
"""Polls in 2 s."""
_SHOWN: Final = 100
"""The newest runs, which a page of the list shows."""
_ENDING: Final = 50
"""Of those: they end one by one during the measurement."""
_LOT: Final = 250
"""Runs that begin at once."""
_BUCKET: Final = kv.stream(subjects.RUNS)
_LATE_S: Final = 20.0
"""How long the list may take to show the last event."""
_HEAD: Final = [
    "", "p50, s", "p99, s", "longest, s", "end shown: p50, s", "longest, s", "edge, one core", "polls alone",
    "broker, one core", "snapshots/s",
]  # fmt: skip


class BusyEdge(Edge):
    """The edge, with any number of polls from one address."""

    name = "testcast edge"

    def settings(self) -> dict[str, str]:
        return {"TESTCAST_EDGE_LISTS_PER_S": "0"}


class EarlierBusyEdge(BusyEdge):
    """The edge of another checkout."""

    name = "testcast edge, earlier"
    checkout: ClassVar[Path | None] = None


class _Measured(NamedTuple):
    """One edge under the load."""

    ages_s: list[float]
    """From when an event was stored until a poll showed it or a later one, of all events of the runs that are shown."""
    ends_s: list[float]
    """The same of the events that end a run."""
    edge: float
    """Cores that the edge took."""
    idle: float
    """The same while no run published and the list was polled."""
    broker: float
    snapshots_per_s: float
    hidden: int
    """Events that no poll had shown in the end; their ages are what they were by then."""


class _Stored(NamedTuple):
    seq: int
    at_s: float
    """By the clock of the broker, which is this machine's."""


class _ListPoller:
    """Polls the list and notes when it shows each event that was stored."""

    def __init__(self, edge: BusyEdge) -> None:
        self._edge = edge
        self._hidden: dict[str, list[_Stored]] = {}
        """By run, the events that no poll has shown, in order."""
        self._ends: set[int] = set()
        self.ages_s: list[float] = []
        self.ends_s: list[float] = []
        self.polls_s: list[float] = []
        self.waits_s: list[float] = []
        """Between two polls, how long the edge waited for its core, which others of this machine use as well."""

    async def follow(self, test_ids: Sequence[str]) -> None:
        """Notes each event of these runs from now on."""
        log = event_log(self._edge.streams)
        for test_id in test_ids:
            self._hidden[test_id] = []
            await log.follow(test_id, self._on_event)
        await self._edge.nats.flush()

    def _on_event(self, test_id: str, event: LiveEvent) -> None:
        self._hidden[test_id].append(_Stored(event.seq, event.stored_ms / 1000))
        if b'"complete"' in event.data:
            self._ends.add(event.seq)

    @property
    def hidden(self) -> int:
        """How many events no poll has shown."""
        return sum(map(len, self._hidden.values()))

    async def poll(self) -> None:
        """Looks at the list until cancelled."""
        url, etag = f"{self._edge.process.url}/rpc/listTests?limit={_SHOWN}", ""
        async with httpx.AsyncClient(timeout=60) as client:
            waited = waited_s(self._edge.pids())
            while True:
                began = time.monotonic()
                self.waits_s.append(-waited + (waited := waited_s(self._edge.pids())))
                answer = await client.get(url, headers={"If-None-Match": etag})
                if answer.status_code == 200:
                    etag = answer.headers.get("etag", "")  # a list that is out of date has none
                    self._take(answer.json()["tests"], time.time())
                self.polls_s.append(time.monotonic() - began)
                await asyncio.sleep(max(0.0, _POLL_S - self.polls_s[-1]))

    def _take(self, shown: Sequence[dict[str, Any]], now_s: float) -> None:
        for run in shown:
            hidden = self._hidden.get(run["testId"], [])
            while hidden and hidden[0].seq <= run["seq"]:
                stored = hidden.pop(0)
                (self.ends_s if stored.seq in self._ends else self.ages_s).append(now_s - stored.at_s)

    def give_up(self) -> None:
        """Counts what no poll has shown with the age that it has by now."""
        for hidden in self._hidden.values():
            for stored in hidden:
                (self.ends_s if stored.seq in self._ends else self.ages_s).append(time.time() - stored.at_s)

    def forget(self) -> None:
        """Begins anew with what it has seen."""
        for each in (self.ages_s, self.ends_s, self.polls_s, self.waits_s):
            each.clear()


async def _begin(edge: BusyEdge, runs: int) -> list[str]:
    """Begins the runs. Returns their test ids once the list has them."""
    test_ids = [identity.new_test_id() for _ in range(runs)]
    for at in range(0, runs, _LOT):
        lot = []
        for number, test_id in enumerate(test_ids[at : at + _LOT], at):
            data = {"title": f"Game {number}", "gameUrl": "http://game.example/", "labels": {"commit": "4f9c2d3"}}
            queued = event_bytes("Queued", "status", status="queued", data=data)
            begun = event_bytes("Running", "status", status="running", data={"attempt": 1, "worker": "w1"})
            lot += [(subjects.events(test_id), queued), (subjects.events(test_id), begun)]
        await edge.nats.publish_many(lot)
        await edge.nats.flush()
        await asyncio.sleep(0.02)
    await edge.listed(runs, within_s=240)
    return test_ids


@contextlib.asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and task.exception() is not None:
        raise SystemExit(f"bench: {task.exception()!r}")


async def _all_folded(streams: Streams) -> bool:
    """No hint of an event waits, or is being worked on."""
    hints = await streams.api(f"CONSUMER.INFO.{subjects.EVENTS}.{subjects.PROJECTOR}")
    return not hints["num_pending"] and not hints["num_ack_pending"]


async def _end_some(edge: BusyEdge, test_ids: Sequence[str], seconds: float) -> None:
    for test_id in test_ids:
        await asyncio.sleep(seconds / len(test_ids))
        done = event_bytes("Completed", "complete", data={"score": 78})
        await edge.streams.store(subjects.events(test_id), done, timeout_s=30)


async def _measure(kind: type[BusyEdge], programs: Path, runs: int, seconds: float) -> _Measured:
    async with running(kind, programs) as edge:
        assert isinstance(edge, BusyEdge)
        test_ids = await _begin(edge, runs)
        async with httpx.AsyncClient(timeout=60) as client:
            page = (await client.get(f"{edge.process.url}/rpc/listTests?limit={_SHOWN}")).json()
        newest = [run["testId"] for run in page["tests"]]
        spread = random.Random(7).sample(test_ids, runs)  # neighbours in the list publish at different times
        listed = edge.directory / "runs"
        listed.write_text("\n".join(spread) + "\n")
        poller, pids, broker = _ListPoller(edge), edge.pids(), [edge.broker.child.pid]
        await poller.follow(newest)
        async with _beside(poller.poll()):
            await until(partial(_all_folded, edge.streams), within_s=60, what="what began is folded")
            before = cpu_s(pids)
            await asyncio.sleep(seconds / 6)
            idle = (cpu_s(pids) - before) / (seconds / 6)
            per_s, warm_s = runs / _EVERY_S, 2 * _EVERY_S
            into = ["-m", "jetstream", "-p", edge.broker.port, "-u", "test.%s.events", "-l", listed, "-f", 4096]
            amount = ["-n", int(per_s * (warm_s + seconds + 2)), "-r", per_s]
            pouring = asyncio.create_task(pour(programs, *into, *amount, within_s=warm_s + seconds + 120))
            await asyncio.sleep(warm_s)
            poller.forget()
            revision = (await edge.streams.state(_BUCKET)).last_seq
            edge_s, broker_s, began = cpu_s(pids), cpu_s(broker), time.monotonic()
            await _end_some(edge, newest[:_ENDING], seconds)
            took = time.monotonic() - began
            edge_s, broker_s = cpu_s(pids) - edge_s, cpu_s(broker) - broker_s
            written = (await edge.streams.state(_BUCKET)).last_seq - revision
            sent = await pouring
            with contextlib.suppress(AssertionError):
                await until(lambda: not poller.hidden, within_s=_LATE_S)
            hidden = poller.hidden
            poller.give_up()
        most = max(sum(poller.waits_s[at : at + _NEAR]) for at in range(len(poller.waits_s)))
        waits = f"the edge waited for its core for {sum(poller.waits_s):.1f} s, for {most:.1f} s of any 2 s at most"
        late = f"latest publish {sent['latest_ms']:.0f} ms late, longest poll {max(poller.polls_s):.2f} s"
        report.say(f"{late}; {waits}")
    return _Measured(poller.ages_s, poller.ends_s, edge_s / took, idle, broker_s / took, written / took, hidden)


def _row(name: str, rounds: Sequence[_Measured]) -> list[str]:
    """All rounds of one edge together: ages of all, and means."""
    ages = [age for each in rounds for age in each.ages_s]
    ends = [age for each in rounds for age in each.ends_s]
    seconds = [quantile(ages, 0.5), quantile(ages, 0.99), max(ages), quantile(ends, 0.5), max(ends)]
    means = [
        sum(getattr(each, what) for each in rounds) / len(rounds)
        for what in ("edge", "idle", "broker", "snapshots_per_s")
    ]
    shares = [f"{each * 100:.0f} %" for each in means[:3]]
    mark = " !" if any(each.hidden for each in rounds) else ""
    cells = [name, *(f"{each:.2f}{mark}" for each in seconds), *shares, f"{means[3]:,.0f}"]
    report.say(", ".join(f"{what} {cell}" for what, cell in zip(_HEAD[1:], cells[1:], strict=True)))
    return cells


async def projector(programs: Path, runs: int, seconds: float, rounds: int, earlier: Path | None) -> str:
    """The list's age and the cost of it, of this checkout and perhaps of an earlier one, in turns.

    Args:
        earlier: an absolute path.
    """
    kinds: list[type[BusyEdge]] = [BusyEdge]
    if earlier is not None:
        EarlierBusyEdge.checkout = earlier
        kinds.append(EarlierBusyEdge)
    measured: dict[type[BusyEdge], list[_Measured]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            measured[kind].append(await _measure(kind, programs, runs, seconds))
            _row(kind.name, measured[kind][-1:])
    rows = [_row(kind.name, found) for kind, found in measured.items()]
    text = (
        f"{runs:,} runs, each with an event every {_EVERY_S:g} s ({runs / _EVERY_S:,.0f} a second), one edge, for "
        f"{seconds:g} s. The list is polled every {_POLL_S:g} s; an age is from when an event was stored until a poll "
        f"showed it, so it may be {_POLL_S:g} s too high. The edge's share is all that it does: projector, catalogue "
        "and the polls. Polls alone is its share while no run publishes. `!`: some events were not shown "
        f"{_LATE_S:g} s after the last one, and count with the age that they had by then:"
    )
    return "\n".join([text, "", *report.table(_HEAD, rows)])
