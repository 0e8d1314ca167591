"""What a delivery costs by a socket, by a stream of server-sent events, and by long polls, in turn on one edge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, cast

from tests.bench import report
from tests.bench.compare import running
from tests.bench.edges import Edge
from tests.bench.host import cpu_s
from tests.bench.programs import pour
from tests.harness import event_log, until

_SEQ: Final = re.compile(rb'"seq":(\d+),"type"')
_AFTER: Final = re.compile(rb'"after":(\d+),"more"')
_EPOCH: Final = re.compile(rb'"epoch":"(\w+)"')
_KEY: Final = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
_BY: Final = ("socket", "stream", "long poll")


class Reader(asyncio.Protocol):
    """One viewer, which looks at the newest sequence only."""

    def __init__(self, request: Callable[[Reader], bytes], *, polls: bool) -> None:
        self._request = request
        self._polls = polls
        self._transport: asyncio.Transport
        self._rest = b""
        self.epoch = b""
        self.position = 0
        self.synced = False
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases
        self._transport.write(self._request(self))

    def data_received(self, data: bytes) -> None:
        if self._polls:
            self._on_answer(data)
            return
        self.synced = self.synced or b"sync" in data
        newest = data.rfind(b'"seq":')
        if newest >= 0 and (found := _SEQ.match(data, newest)):
            self.position = int(found[1])

    def _on_answer(self, data: bytes) -> None:
        self._rest += data
        found = _AFTER.search(self._rest)
        if found is None or not self._rest.endswith(b"}"):
            return
        if not self.epoch:
            epoch = _EPOCH.search(self._rest)
            assert epoch is not None
            self.epoch = epoch[1]
        self.position, self.synced, self._rest = int(found[1]), True, b""
        self.answers += 1
        self._transport.write(self._request(self))

    def leave(self) -> None:
        self._transport.abort()


def _requests(by: str, test_id: str) -> Callable[[Reader], bytes]:
    """The request of a viewer from where it is."""

    def request(viewer: Reader) -> bytes:
        if by == "socket":
            head = f"GET /ws?testId={test_id} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{_KEY}"
        elif by == "stream":
            head = f"GET /tests/{test_id}/events HTTP/1.1\r\nAccept: text/event-stream\r\n"
        else:
            at = f"&after={viewer.position}&epoch={viewer.epoch.decode()}" if viewer.synced else ""
            head = f"GET /tests/{test_id}/events?wait=30{at} HTTP/1.1\r\n"
        return f"{head}Host: localhost\r\n\r\n".encode()

    return request


def _itself(reader: Reader) -> Reader:
    return reader


async def _round(edge: Edge, programs: Path, by: str, viewers: int, events: int, per_s: float) -> tuple[float, float]:
    """The edge's CPU a delivery, µs, and events an answer."""
    [test_id] = await edge.begin(1)
    loop = asyncio.get_running_loop()
    request = _requests(by, test_id)
    crowd = [Reader(request, polls=by == "long poll") for _ in range(viewers)]
    for start in range(0, viewers, 50):
        for each in crowd[start : start + 50]:
            await loop.create_connection(partial(_itself, each), "127.0.0.1", edge.port)
        await until(lambda: sum(each.synced for each in crowd) >= start + 50, within_s=60)  # noqa: B023
    await asyncio.sleep(0.5)
    answers, before = sum(each.answers for each in crowd), cpu_s(edge.pids())
    into = ["-m", "jetstream", "-p", edge.broker.port, "-u", f"test.{test_id}.events"]
    await pour(programs, *into, "-n", events, "-r", per_s)
    last = await event_log(edge.streams).last(test_id)
    await until(lambda: all(each.position >= last for each in crowd), within_s=60)
    used = cpu_s(edge.pids()) - before
    answers = sum(each.answers for each in crowd) - answers
    for each in crowd:
        each.leave()
    await asyncio.sleep(0.3)
    return used / (viewers * events) * 1e6, viewers * events / max(1, answers)


async def streams(programs: Path, rounds: int, quick: bool) -> str:
    """A table of the three ways, medians of rounds in which they take turns."""
    viewers, events, per_s = 500, (50 if quick else 100), 50.0
    found: dict[str, list[tuple[float, float]]] = {by: [] for by in _BY}
    async with running(Edge, programs) as edge:
        assert isinstance(edge, Edge)
        for number in range(rounds):
            for by in _BY if number % 2 == 0 else reversed(_BY):
                # A poll is a request for each answer: fewer events show what one costs.
                load = (6, 3.0) if by == "long poll" else (events, per_s)
                found[by].append(await _round(edge, programs, by, viewers, *load))
                report.say(f"round {number + 1}: {by}: {found[by][-1][0]:.2f} µs a delivery")
    cost = {by: median(each for each, _ in cells) for by, cells in found.items()}
    rows = [
        [by, report.figure(cost[by]), report.figure(median(ratio))]
        for by in _BY
        if (ratio := [mine[0] / base[0] for mine, base in zip(found[by], found["socket"], strict=True)])
    ]
    text = (
        f"{viewers} viewers of one run; {rounds} rounds in which the three take turns; {per_s:g} events a second, "
        "for long polls 3, each of which is an answer to every viewer:"
    )
    return "\n".join([text, "", *report.table(["", "CPU a delivery, µs", "÷ socket (median of rounds)"], rows)])
