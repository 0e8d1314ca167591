"""How streams are made where the broker has little room, and which of an earlier version has had its day."""

from __future__ import annotations

from typing import Any

import pytest

from broker.config import StreamSettings
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, StorageFull, TestcastError
from broker.jetstream import stream_config
from broker.jetstream.advice import explained, lacks_room

MIB = 2**20


def of(name: str, settings: StreamSettings | None = None) -> dict[str, Any]:
    return next(each for each in stream_config.streams(1, settings) if each["name"] == name)


def test_pictures_get_half_of_what_the_broker_has_left() -> None:
    wanted = of(subjects.FRAMES)
    first, *less, last = stream_config.asks(wanted)
    assert first == (wanted, wanted), "as it is set, where there is room"
    assert [ask.made["max_bytes"] // MIB for ask in less] == [1024, 512, 256, 128, 64, 32, 16, 8, 4]
    assert all(ask.kept["max_bytes"] * 2 == ask.made["max_bytes"] for ask in less)
    assert last.made == last.kept == wanted | {"max_bytes": -1, "max_msgs": 256}, "what sets nothing aside"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (subjects.EVENTS, StreamSettings(max_bytes=MIB)),
        (subjects.FRAMES, StreamSettings(frames_max_bytes=0)),
        ("KV_PINS", None),
    ],
)
def test_other_streams_are_made_as_they_are_set_or_not_at_all(name: str, settings: StreamSettings | None) -> None:
    wanted = of(name, settings)
    assert stream_config.asks(wanted) == [(wanted, wanted)]


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (StorageFull("insufficient storage resources available (JetStream error 10047)"), True),
        (BrokerRefused("no suitable peers for placement, insufficient storage", 10005), True),
        (BrokerRefused("stream max bytes exceeds account limit max stream bytes", 10122), True),
        (BrokerRefused("no suitable peers for placement", 10005), False),
        (BrokerRefused("subjects overlap with an existing stream", 10065), False),
        (BrokerUnavailable("no leader"), False),
    ],
)
def test_what_counts_as_a_lack_of_room(error: TestcastError, lacks: bool) -> None:
    assert lacks_room(error) is lacks
    named = [explained(name, error, 1, "").message for name in (subjects.EVENTS, subjects.FRAMES)]
    said = [f"TESTCAST_{name}_MAX_BYTES" in text for name, text in zip(("EVENTS", "FRAMES"), named, strict=True)]
    assert said == [lacks, lacks]


def test_the_setting_that_a_stream_differs_from_is_its_own() -> None:
    wanted = of(subjects.FRAMES)
    standing = wanted | {"max_bytes": MIB, "max_msgs_per_subject": 5}
    told = {setting: (change.old, change.new) for change, setting in stream_config.kept(standing, wanted)}
    assert told == {"TESTCAST_FRAMES_MAX_BYTES": (MIB, 2048 * MIB), "TESTCAST_FRAMES_PER_RUN": (5, 1500)}


@pytest.mark.parametrize(
    ("messages", "created", "last", "left_over"),
    [
        (0, "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", True),
        (0, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00.123456789Z", True),
        (1, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", False),
        (0, "2026-03-01T23:00:00Z", "0001-01-01T00:00:00Z", False),
        (0, "2026-01-01T00:00:00Z", "2026-03-01T23:00:00Z", False),
    ],
)
def test_a_bucket_goes_when_it_was_empty_for_a_day(messages: int, created: str, last: str, left_over: bool) -> None:
    state = {"messages": messages, "last_ts": last}
    info = {"ts": "2026-03-02T12:00:00.5Z", "created": created, "state": state}
    assert stream_config.is_left_over(info) is left_over
