"""Live events that a client forges, on a broker without users: viewers are told, and snapshots stay right."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from nats.aio.client import Client
from websockets.asyncio.client import connect

from broker.jetstream.api import Streams
from tests.conftest import Stack
from tests.harness import begin, publish, until


async def forge(url: str, test_id: str, seq: int, predecessor: int, message: str) -> None:
    """Publishes as the server does, headers and all."""
    client = Client()
    await client.connect(url)
    body = orjson.dumps({"type": "complete", "message": message, "timestamp": 1, "data": {"score": 1}})
    headers = {
        "Nats-Stream": "EVENTS",
        "Nats-Subject": f"test.{test_id}.events",
        "Nats-Sequence": str(seq),
        "Nats-Time-Stamp": "2026-01-01T00:00:00.000000000Z",
        "Nats-Last-Sequence": str(predecessor),
    }
    await client.publish(f"test.{test_id}.live", body, headers=headers)
    await client.flush()
    await client.close()


@pytest.mark.parametrize("ahead", [1, 1000, 2**62])
async def test_a_topic_does_not_go_deaf_and_its_viewer_is_told(
    stack: Stack, stack_streams: Streams, ahead: int
) -> None:
    streams = stack_streams
    test_id = await begin(streams)
    messages: list[dict[str, Any]] = []
    async with connect(f"{stack.ws_url}?testId={test_id}", proxy=None) as socket:

        async def read() -> None:
            async for text in socket:
                found = orjson.loads(text)
                messages.extend(found if isinstance(found, list) else [found])

        reading = asyncio.create_task(read())
        first = await until(lambda: next((each["seq"] for each in messages if "seq" in each), None))
        await forge(stack.nats_url, test_id, first + ahead, first, "forged")
        await publish(streams, test_id, "real")
        await publish(streams, test_id, "and more")
        await until(lambda: any(each.get("message") == "and more" for each in messages))
        shown = [each.get("message") for each in messages]
        if "forged" in shown:
            told = [each for each in messages if each["type"] == "sync" and each["outcome"] == "reset"]
            assert told and messages.index(told[-1]) > shown.index("forged")

        async def is_right() -> bool:
            value = await streams.kv_get("RUNS", test_id)
            return value is not None and orjson.loads(value.data)["message"] == "and more"

        await until(is_right)
        reading.cancel()
