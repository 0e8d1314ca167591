"""`python -m agent_worker` from the outside, with a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.contract import subjects
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer
from tests.harness import event_log, free_port

Eventually = Callable[..., Awaitable[Any]]
Start = Callable[..., Child]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts workers; none outlives the test."""
    started: list[Child] = []

    def start(**settings: str) -> Child:
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **settings}
        child = Child([sys.executable, "-m", "agent_worker"], tmp_path / "agent.log", env=environ)
        started.append(child)
        return child

    yield start
    for child in started:
        await child.stop(5)


async def test_a_wrong_setting_ends_it_with_a_sentence(agent: Start) -> None:
    child = agent(TESTCAST_AGENT_CONCURRENCY="zero")
    assert await asyncio.wait_for(child.wait(), 20) == 2
    assert child.last_lines() == "testcast agent: TESTCAST_AGENT_CONCURRENCY: 'zero' is not a number"


async def test_it_waits_for_its_broker_and_ends_when_told(agent: Start, eventually: Eventually) -> None:
    child = agent(TESTCAST_NATS_URL="nats://127.0.0.1:1")
    await eventually(lambda: "trying again" in child.last_lines(), within_s=30)
    child.signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_it_says_what_is_wrong_with_a_game_and_hands_on_what_it_has(
    agent: Start, nats_server: EmbeddedServer, streams: Streams, eventually: Eventually, unused_game: str
) -> None:
    child = agent(TESTCAST_NATS_URL=nats_server.url, TESTCAST_AGENT_ALLOW_PRIVATE="1", TESTCAST_AGENT_CONCURRENCY="1")

    async def snapshot(test_id: str) -> Any:
        return (await runs.read(event_log(streams), test_id)).snapshot

    async def has_ended() -> bool:
        return bool((await snapshot(absent)).ended)

    absent = await runs.submit(event_log(streams), runs.make_job(f"http://127.0.0.1:{free_port()}/", "Absent", 30, 1))
    await eventually(has_ended, within_s=60)
    found = await snapshot(absent)
    assert found.status == "failed"
    assert "did not answer" in found.error

    async def has_begun() -> bool:
        return bool((await snapshot(slow)).phase == "phase1")

    slow = await runs.submit(event_log(streams), runs.make_job(unused_game, "Never answers", 60, 1))
    await eventually(has_begun, within_s=30)
    told_at = time.monotonic()
    child.signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 30) == 0, child.last_lines(30)
    print(f"{time.monotonic() - told_at:.1f} s to hand a run on and close the browser")
    page = await streams.read(subjects.EVENTS, subjects.events(slow), 0, 100)
    assert b'"handover":true' in page.messages[-1].data


async def test_a_browser_that_is_killed_is_not_the_games_fault(
    agent: Start, nats_server: EmbeddedServer, streams: Streams, eventually: Eventually, unused_game: str
) -> None:
    child = agent(TESTCAST_NATS_URL=nats_server.url, TESTCAST_AGENT_ALLOW_PRIVATE="1", TESTCAST_AGENT_CONCURRENCY="1")
    test_id = await runs.submit(event_log(streams), runs.make_job(unused_game, "Never answers", 60, 1))

    async def messages() -> list[str]:
        page = await streams.read(subjects.EVENTS, subjects.events(test_id), 0, 100)
        return [json.loads(message.data)["message"] for message in page.messages]

    async def opening() -> bool:
        return any(message.startswith("Opening") for message in await messages())

    await eventually(opening, within_s=30)
    for pid in browsers_of(child.pid):
        with contextlib.suppress(ProcessLookupError):  # one ends when the other does
            os.kill(pid, signal.SIGKILL)

    async def second_attempt() -> bool:
        return sum(message.startswith("Opening") for message in await messages()) == 2

    await eventually(second_attempt, within_s=30)
    told = await messages()
    assert any("cannot play on" in message for message in told)
    assert any(message.startswith("Attempt 2") for message in told)


def browsers_of(pid: int) -> list[int]:
    """The Chromium processes below a process, without their helpers."""
    found: list[int] = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
        if b"chrom" in command[0] and not any(word.startswith(b"--type=") for word in command):
            found.append(int(each))
        found += browsers_of(int(each))
    return found


@pytest.fixture
async def unused_game() -> AsyncIterator[str]:
    """A server that takes connections and never answers."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()
