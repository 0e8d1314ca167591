"""What the broker's refusals of writes mean, and what becomes of the writes on one connection."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NoAnswer, StorageFull
from broker.jetstream.api import Streams
from broker.jetstream.parser import Message
from broker.jetstream.storage_health import StorageHealth

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


class Broker:
    """A connection whose answers a test chooses. A write that gets None is not answered."""

    def __init__(self, write: dict[str, Any] | None, *, reads: bool = True) -> None:
        self.storage = StorageHealth()
        self.api_prefix, self.bucket_prefix, self.mend_with = "$JS.API", "", None
        self.write = write
        self.reads = reads

    async def request(self, subject: str, *_: object, **__: object) -> Message:
        if subject.startswith("$JS.API.STREAM.INFO."):
            if not self.reads:
                raise NoAnswer("no answer on STREAM.INFO within 1 s")
            state = {"first_seq": 1, "last_seq": 7, "messages": 7}
            return _message({"created": "2026-01-01T00:00:00Z", "state": state})
        if self.write is None:
            raise NoAnswer(f"no answer on {subject} within 3 s")
        return _message(self.write)


def _message(answer: dict[str, Any]) -> Message:
    return Message(b"_INBOX.x", b"", b"", orjson.dumps(answer))


def _error(code: int, text: str, http: int = 503) -> dict[str, Any]:
    return {"error": {"code": http, "err_code": code, "description": text}}


async def store(broker: Broker, subject: str = subjects.events(RUN)) -> None:
    await Streams(broker).store(subject, b"{}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        _error(10023, "insufficient resources"),
        _error(10047, "insufficient storage resources available", 500),
        _error(10002, "resource limits exceeded for account", 400),
        _error(10077, "maximum bytes exceeded"),
        _error(10077, "write /data/EVENTS/msgs/1.blk: no space left on device"),
        _error(10012, "write meta.inf.tmp: no space left on device", 500),
        _error(10077, "write 1.blk: disk quota exceeded"),
    ],
)
async def test_a_refusal_for_want_of_room_is_named(answer: dict[str, Any]) -> None:
    broker = Broker(answer)
    with pytest.raises(StorageFull, match="no room"):
        await store(broker)
    assert set(broker.storage.refusing) == {subjects.EVENTS}
    broker.write = {"stream": "EVENTS", "seq": 8}
    await store(broker)
    assert broker.storage.refusing == {}, "once something is stored, there is room"
    assert broker.storage.statistics() == (1, 1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_error(10077, "maximum messages exceeded"), BrokerRefused),
        (_error(10077, "maximum messages per subject exceeded"), BrokerRefused),
        (_error(10054, "message size exceeds maximum allowed", 400), BrokerRefused),
        (_error(10008, "JetStream system temporarily unavailable"), BrokerUnavailable),
    ],
)
async def test_other_refusals_are_not_taken_for_a_full_disk(answer: dict[str, Any], kind: type[Exception]) -> None:
    broker = Broker(answer)
    with pytest.raises(kind) as raised:
        await store(broker)
    assert not isinstance(raised.value, StorageFull)
    assert broker.storage.refusing == {}


async def test_a_stream_that_answers_reads_and_no_writes_is_suspected() -> None:
    """What a nats-server does that has met a full disk, until it is restarted."""
    broker = Broker(None)
    with pytest.raises(StorageFull, match="answers reads: the broker's disk may be full"):
        await store(broker)
    assert set(broker.storage.refusing) == {subjects.EVENTS}


async def test_a_broker_that_answers_nothing_is_away() -> None:
    broker = Broker(None, reads=False)
    with pytest.raises(NoAnswer):
        await store(broker)
    assert broker.storage.refusing == {}


@pytest.mark.parametrize(
    ("subject", "stream"),
    [
        (subjects.events(RUN), subjects.EVENTS),
        (subjects.job(RUN), subjects.JOBS),
        (f"$KV.RUNS.{RUN}", "KV_RUNS"),
        (f"test.{RUN}.frames", "FRAMES"),
        (f"$KV.PINS.{RUN}", "KV_PINS"),
    ],
)
async def test_the_stream_that_refuses_is_known(subject: str, stream: str) -> None:
    broker = Broker(_error(10023, "insufficient resources"))
    with pytest.raises(StorageFull):
        await store(broker, subject)
    assert set(broker.storage.refusing) == {stream}


def test_the_summary_is_for_viewers() -> None:
    health = StorageHealth()
    health.refused("FRAMES", "the broker has no room to store this: maximum bytes exceeded (JetStream error 10077)")
    assert health.summary == "the broker stores no more pictures: the limit set for them is reached"
    health.refused("EVENTS", "write /data/1.blk: no space left on device")
    assert health.summary == "the broker stores nothing new: its disk is full, or its storage limit is reached"
