"""What an edge pays for the answers that viewers poll for: the list, unchanged and whole, and the events of a run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx

from broker.contract import subjects
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.bench import report
from tests.bench.host import cpu_s
from tests.bench.programs import polls
from tests.harness import EdgeProcess, begin, publish, until

_RUNS: Final = 50
_EVENTS: Final = 20
_TEXT: Final = "x" * 110
_NO_LIMITS: Final = {"TESTCAST_EDGE_LISTS_PER_S": "0", "TESTCAST_EDGE_READS_PER_S": "0"}
"""All requests come from one address."""


async def answers(programs: Path, quick: bool) -> str:
    """The processor time of an edge for each kind of answer, and its size."""
    with tempfile.TemporaryDirectory() as name:
        async with EmbeddedServer(Path(name) / "nats") as server:
            nats = await Connection.connect(server.url, name="bench")
            await topology.apply(nats)
            edge = await EdgeProcess(server.url, Path(name), **_NO_LIMITS).start()
            try:
                rows = await _rows(programs, Streams(nats), edge, 1 if quick else 4)
            finally:
                await nats.close()
                await edge.stop()
    text = "32 connections with one request at a time on each:"
    return "\n".join([text, "", *report.table(["", "CPU, µs", "bytes"], rows)])


async def _rows(programs: Path, streams: Streams, edge: EdgeProcess, seconds: int) -> list[list[str]]:
    runs = [await begin(streams, f"Run {number}") for number in range(_RUNS)]
    for _ in range(_EVENTS):
        await publish(streams, runs[0], _TEXT)
    last = await streams.last(subjects.EVENTS, subjects.events(runs[0]))
    assert last is not None
    epoch = (await streams.state(subjects.EVENTS)).epoch

    async def listed() -> str:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.get(f"{edge.url}/rpc/listTests")
        found = {each["testId"]: each["seq"] for each in answer.json().get("tests", ())}
        return str(answer.headers["etag"]) if found.get(runs[0]) == last.seq and len(found) == _RUNS else ""

    etag = await until(listed, within_s=30, what="the list of all runs")
    events = "/rpc/getEvents?" + urlencode({"testId": runs[0], "limit": _EVENTS})
    kinds = [
        (f"`listTests` of {_RUNS} runs, 304", "/rpc/listTests", ["-t", etag]),
        (f"`listTests` of {_RUNS} runs, whole", "/rpc/listTests", []),
        ("`getEvents`, nothing new", f"{events}&epoch={epoch}&after={last.seq}", []),
        (f"`getEvents`, {_EVENTS} events", events, []),
    ]
    rows = []
    for name, path, more in kinds:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.get(f"{edge.url}{path}")
        assert answer.status_code == 200, answer.text
        before = cpu_s([edge.child.pid])
        got = await polls(programs, "-p", edge.port, "-u", path, "-d", seconds, *more)
        used = (cpu_s([edge.child.pid]) - before) / got["answers"] * 1e6
        assert (got["unchanged"] > 0) == bool(more)
        size = 0 if more else len(answer.content)
        report.say(f"{name}: {used:.0f} µs, {size} bytes, {got['per_s']:.0f} a second")
        rows.append([name, report.figure(used), f"{size:,}"])
    return rows
