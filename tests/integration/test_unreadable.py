"""Messages that are no events: nobody watches, and their publisher gets an acknowledgement all the same."""

from __future__ import annotations

import httpx
import orjson

from broker import identity
from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.conftest import MakeEdge
from tests.harness import begin, until

GOOD = {"type": "progress", "message": "m", "timestamp": 1}
FOREIGN = [
    (orjson.dumps(GOOD | {"timestamp": "2026-01-02T03:04:05Z"}), "`timestamp` is not a whole number of milliseconds"),
    (orjson.dumps(GOOD | {"phase": 1}), "`phase` is not one of phase1 … phase4"),
    (orjson.dumps(GOOD | {"status": "done"}), "`status` is not one of queued, running, completed, failed"),
    (b"started", "it is not JSON"),
]


async def test_what_nobody_watches_is_logged_with_run_and_reason(streams: Streams, make_edge: MakeEdge) -> None:
    edge = await make_edge()
    begun, only_bad = await begin(streams), identity.new_test_id()
    for test_id in (begun, only_bad):
        for raw, _ in FOREIGN:
            await streams.store(subjects.events(test_id), raw)
    await streams.store("test.not-a-uuid.events", orjson.dumps(GOOD))

    def logged() -> bool:
        text = edge.log.read_text()
        of_runs = all(f"test {test_id}: " in text for test_id in (begun, only_bad))
        return of_runs and text.count(" cannot be read and is not shown: ") == 2 * len(FOREIGN) + 1

    await until(logged, within_s=20, what="a line for each reason and run")
    text = edge.log.read_text()
    for test_id in (begun, only_bad):
        assert all(f"cannot be read and is not shown: {reason}" in text for _, reason in FOREIGN), test_id
    assert "the second part of its subject is not a UUID" in text
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = (await http.get(f"{edge.url}/rpc/getEvents", params={"testId": begun})).json()
    assert answer["unreadable"]["reasons"] == {reason: 1 for _, reason in FOREIGN}


async def test_a_byte_order_mark_is_no_obstacle(streams: Streams, make_edge: MakeEdge) -> None:
    edge = await make_edge()
    test_id = await begin(streams)
    await streams.store(subjects.events(test_id), b"\xef\xbb\xbf" + orjson.dumps(GOOD | {"message": "marked"}))

    async def folded() -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = (await http.get(f"{edge.url}/rpc/getTest", params={"testId": test_id})).json()
        return bool(answer["test"]["message"] == "marked")

    await until(folded, within_s=20)
