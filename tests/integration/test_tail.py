"""A tail over NATS when live messages are missing, or were not sent by the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats as nats_py
import pytest

from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.local.embedded_server import EmbeddedServer
from testcast.client import tail as tailing
from testcast.client.events import Event, Item
from testcast.client.tail import Tail
from tests.harness import begin, publish, republish, until


class Collected:
    """A tail in this process, on a connection of its own."""

    def __init__(self, source: Tail) -> None:
        self.source = source
        self.items: list[Item] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for item in self.source:
            self.items.append(item)

    @property
    def messages(self) -> list[str]:
        return [each.message if isinstance(each, Event) else f"reset {each.reason}" for each in self.items]

    async def has(self, *messages: str) -> None:
        """Waits until exactly these have come."""
        await until(lambda: self.messages == list(messages), what=f"{messages}, not {self.messages}")


@asynccontextmanager
async def collected(nats_url: str, test_id: str | None) -> AsyncIterator[Collected]:
    nats = await Connection.connect(nats_url, name="tail")
    found = Collected(Tail(JetStreamLog(nats), test_id))
    try:
        yield found
    finally:
        found.task.cancel()
        await asyncio.gather(found.task, return_exceptions=True)
        await nats.close()


@pytest.mark.parametrize("every", [False, True])
async def test_missed_live_events_are_found_by_the_gap_they_leave(
    nats_server: EmbeddedServer, streams: Streams, monkeypatch: pytest.MonkeyPatch, every: bool
) -> None:
    monkeypatch.setattr(tailing, "LEADER_CHECK_S", 3600)
    test_id = await begin(streams)
    async with collected(nats_server.url, None if every else test_id) as tail:
        await until(lambda: tail.source.position == 2, what="the splice")
        before = [] if every else ["Queued", "Running"]
        await republish(streams, False)
        await publish(streams, test_id, "missed 1")
        await publish(streams, test_id, "missed 2")
        await republish(streams, True)
        await publish(streams, test_id, "live")
        await tail.has(*before, "missed 1", "missed 2", "live")


@pytest.mark.parametrize("every", [False, True])
async def test_a_last_event_that_was_missed_is_found_by_asking(
    nats_server: EmbeddedServer, streams: Streams, every: bool
) -> None:
    test_id = await begin(streams)
    async with collected(nats_server.url, None if every else test_id) as tail:
        await until(lambda: tail.source.position == 2, what="the splice")
        before = [] if every else ["Queued", "Running"]
        await republish(streams, False)
        await publish(streams, test_id, "Done", "complete")
        await tail.has(*before, "Done")
        if not every:
            await tail.task
            assert tail.source.verdict == "completed"


async def test_events_that_are_gone_are_reported(
    nats_server: EmbeddedServer, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "LEADER_CHECK_S", 3600)
    test_id = await begin(streams)
    async with collected(nats_server.url, test_id) as tail:
        await tail.has("Queued", "Running")
        await republish(streams, False)
        for message in ("gone", "kept"):
            ack = await publish(streams, test_id, message)
        await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"seq": ack.seq})
        await republish(streams, True)
        await publish(streams, test_id, "live")
        await tail.has("Queued", "Running", "reset expired", "kept", "live")


async def test_what_others_publish_on_the_live_subject_is_not_believed(
    nats_server: EmbeddedServer, nats: Connection, streams: Streams
) -> None:
    test_id = await begin(streams)
    forged = b'{"type":"complete","message":"forged","timestamp":1}'
    async with collected(nats_server.url, test_id) as tail:
        await tail.has("Queued", "Running")
        await nats.publish(subjects.live(test_id), forged)
        await nats.publish(subjects.live(test_id), b"\xff")
        headers = {"Nats-Sequence": "900", "Nats-Last-Sequence": "899"}
        forger = await nats_py.connect(nats_server.url)
        await forger.publish(subjects.live(test_id), forged, headers=headers)
        await forger.flush()
        await forger.close()
        await publish(streams, test_id, "true")
        await tail.has("Queued", "Running", "true")


async def test_events_that_are_malformed_or_of_an_unknown_type_are_passed_over(
    nats_server: EmbeddedServer, streams: Streams
) -> None:
    test_id = await begin(streams)
    async with collected(nats_server.url, test_id) as tail:
        await streams.store(subjects.events(test_id), b"not json")
        await streams.store(subjects.events(test_id), b'{"type":"shiny","status":"failed"}')
        await publish(streams, test_id, "Done", "complete")
        await tail.task
        assert tail.messages == ["Queued", "Running", "Done"]
