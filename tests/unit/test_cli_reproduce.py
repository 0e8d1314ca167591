"""Which finding of a run is played again, and where (testcast/cli/reproduce.py)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from broker.config import load
from broker.contract.errors import BadInput
from testcast.cli.details import Details
from testcast.cli.reproduce import finding_of, may_be_private, speed_of
from testcast.cli.server import Server
from testcast.client.events import Event, from_stored
from tests.harness import NO_SUCH_TEST

LOCAL, PUBLIC = "http://127.0.0.1:3000/", "https://game.example/"


def details(*told: object, metrics: Any = None) -> Details:
    events = [event(number, each) for number, each in enumerate(told, 1)]
    run: Any = SimpleNamespace(test_id=NO_SUCH_TEST, metrics=metrics)
    return Details(run, None, events)


def event(seq: int, finding: object) -> Event:
    data = {"kind": "finding", "finding": finding}
    stored = {"type": "progress", "message": "It breaks", "timestamp": 1, "data": data}
    found = from_stored(NO_SUCH_TEST, seq, orjson.dumps(stored))
    assert found is not None
    return found


def test_the_newest_event_says_what_a_finding_is() -> None:
    run = details({"id": "f1", "until": 1}, {"id": "f2"}, {"id": "f1", "until": 2})
    assert finding_of(run, "f1") == {"id": "f1", "until": 2}
    verdict = details(metrics={"findings": [{"id": "f1"}, None], "seenOnce": [{"id": "s1"}, {"id": 5}]})
    assert finding_of(verdict, "s1") == {"id": "s1"}


@pytest.mark.parametrize("metrics", [None, [], {"findings": 5}, {"findings": [{"id": ["f1"]}]}])
def test_a_finding_that_there_is_not(metrics: Any) -> None:
    with pytest.raises(BadInput, match="has no finding f1: it has none"):
        finding_of(details("f1", None, {"id": ""}, metrics=metrics), "f1")
    with pytest.raises(BadInput, match="has no finding f9: it has f1, f2"):
        finding_of(details({"id": "f1"}, {"id": "f2"}, metrics=metrics), "f9")


@pytest.mark.parametrize(
    ("setting", "named", "url", "nats_url", "expected"),
    [
        (None, None, LOCAL, "nats://127.0.0.1:4222", True),
        (None, None, LOCAL, "nats://broker.example:4222", False),
        (None, LOCAL, LOCAL, "nats://broker.example:4222", True),
        (None, PUBLIC, PUBLIC, "nats://127.0.0.1:4222", False),
        (None, "http://10.0.0.5/", "http://10.0.0.5/", "nats://127.0.0.1:4222", False),
        ("0", LOCAL, LOCAL, "nats://127.0.0.1:4222", False),
        ("1", None, LOCAL, "nats://broker.example:4222", True),
    ],
)
def test_which_games_may_be_private(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, named: str | None, url: str, nats_url: str, expected: bool
) -> None:
    monkeypatch.delenv("TESTCAST_ALLOW_PRIVATE", raising=False)
    if setting is not None:
        monkeypatch.setenv("TESTCAST_ALLOW_PRIVATE", setting)
    assert may_be_private(named, url, Server(None, load({"TESTCAST_NATS_URL": nats_url}))) is expected


def test_a_window_shows_the_game_at_its_own_speed() -> None:
    assert (speed_of(None, headed=True), speed_of(None, headed=False), speed_of(3, headed=True)) == (1, None, 3)
