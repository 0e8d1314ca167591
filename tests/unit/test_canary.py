"""The canary over a model of the broker, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.contract.ids import is_probe_id, is_test_id, parse_test_id, probe_id
from broker.contract.subjects import events, followed_id_of, live, probe_id_of, test_id_of
from tests.model import ModelBroker, VirtualLoop
from ws_edge.config import EdgeConfig
from ws_edge.fanout.canary import Canary, CanaryStatistics
from ws_edge.fanout.hub import Hub

EVERY_S = 5.1
"""Not at the moments at which the hub asks the leader."""


class World:
    """An edge's hub and its canary."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.broker = ModelBroker(self.loop, "")
        self.hub: Hub = self.loop.call(
            lambda: Hub(self.broker, EdgeConfig(), SimpleNamespace(snapshot=lambda _id: None))
        )
        self.refusal: Exception | None = None
        self.deliveries_s: list[float] = [0.01]
        self.payloads: list[bytes] = []
        self.canary = Canary(self.hub, self._publish, EVERY_S, self.loop.time)
        self.broker.test_id = self.canary.probe
        self.loop.call(lambda: self.hub.spawn(self.hub.run()))
        self.loop.call(lambda: self.hub.spawn(self.canary.run()))

    async def _publish(self, probe: str, payload: bytes) -> None:
        assert probe == self.canary.probe
        self.payloads.append(payload)
        if self.refusal is not None:
            raise self.refusal
        self.broker.put(payload, True, self.deliveries_s)

    def figures(self) -> CanaryStatistics:
        return self.canary.statistics()

    def told(self) -> tuple[bool, int, int]:
        figures = self.figures()
        return figures.running, figures.seconds.count, figures.missing


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.finish()


def test_the_id_of_a_probe_is_no_test_id() -> None:
    probe = probe_id(2**64 - 1)
    assert is_probe_id(probe) and not is_test_id(probe)
    assert probe_id(1) == "probe-0000000000000001"
    for subject in (events(probe), live(probe).encode()):
        assert (test_id_of(subject), probe_id_of(subject), followed_id_of(subject)) == (None, probe, probe)
    test_id = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
    assert (probe_id_of(events(test_id)), followed_id_of(events(test_id))) == (None, test_id)
    for other in ("probe-1", "probe-000000000000000g", "probe-0000000000000001 ", "Probe-0000000000000001"):
        assert not is_probe_id(other) and probe_id_of(f"test.{other}.events") is None
    with pytest.raises(Exception, match="not a"):
        parse_test_id(probe)


def test_each_probe_is_seen_and_measured(world: World) -> None:
    world.loop.run_for(21.0)
    assert world.told() == (True, 4, 0), "the first of five has waited for its topic"
    figures = world.figures()
    assert 0.009 < figures.seconds.sum / 4 < 0.1 and figures.age_s is not None and figures.age_s < 2.0
    assert len(set(world.payloads)) == 5, "each has a word of its own"


def test_it_is_nobodys_viewer(world: World) -> None:
    world.loop.run_for(21.0)
    hub = world.hub.statistics()
    assert (hub.topics, hub.live, hub.behind, hub.sockets) == (0, 0, 0, 0)
    fanout = world.hub.figures.statistics()
    assert (fanout.received, fanout.deliveries, fanout.sends, sum(fanout.syncs.values())) == (0, 0, 0, 0)


def test_a_live_event_that_is_lost_is_read_late(world: World) -> None:
    world.loop.run_for(7.0)
    assert world.told() == (True, 1, 0)
    world.deliveries_s = []
    world.loop.run_for(5.0)
    assert world.told() == (True, 2, 0)
    assert world.figures().seconds.sum > 0.2, "the leader check has found it"


def test_a_broker_that_is_away_is_missing_and_ages(world: World) -> None:
    world.loop.run_for(7.0)
    world.refusal = BrokerUnavailable("it is away")
    world.loop.run_for(30.0)
    running, seen, missing = world.told()
    assert (running, seen) == (True, 1) and missing >= 5
    age_s = world.figures().age_s
    assert age_s is not None and age_s > 29.0
    world.refusal = None
    world.loop.run_for(6.0)
    assert world.told()[1] >= 2


def test_a_probe_that_nobody_republishes_is_missing(world: World) -> None:
    world.loop.run_for(7.0)

    async def nowhere(_probe: str, _payload: bytes) -> None:
        """Acknowledged, and never stored."""

    world.canary._publish = nowhere
    world.loop.run_for(40.0)
    running, seen, missing = world.told()
    assert (running, seen) == (True, 1) and missing >= 2


def test_another_event_is_not_the_one_that_is_waited_for(world: World) -> None:
    world.loop.run_for(7.0)
    seen = world.told()[1]
    event = b'{"type":"probe","message":"0123456789abcdef","timestamp":1}'
    world.loop.call(lambda: world.broker.put(event, True, [0.01]))
    world.loop.run_for(1.0)
    assert world.told()[1] == seen


def test_a_stream_that_takes_none_is_told_once_and_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.refusal = BrokerRefused("maximum messages exceeded", 10047)
    world.loop.run_for(200.0)
    assert world.told() == (False, 0, 0) and world.figures().age_s is None
    assert sum("no canary" in record.message for record in caplog.records) == 1
    assert len(world.payloads) == 4, "once a minute"
    world.refusal = None
    world.loop.run_for(70.0)
    assert world.told()[0] and world.told()[1] > 0


def test_without_an_interval_there_is_none(world: World) -> None:
    idle = Canary(world.hub, world._publish, 0.0, world.loop.time)
    world.payloads.clear()
    task = world.loop.call(lambda: world.loop.create_task(idle.run()))
    world.loop.run_for(1.0)
    assert not task.done() and idle.statistics()[0] is False
    assert not any(idle.probe.encode() in each for each in world.payloads)
