"""The agents that an edge knows: who is busy with what, as different people may see it; and how long runs wait."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from broker.contract.errors import BrokerRefused, BrokerUnavailable
from tests.model import VirtualLoop
from tests.views import World
from ws_edge.views.agent_list import MAX_LISTED, REMEMBERED_S, AgentList, durations, waits
from ws_edge.views.queue import AGENT_SILENT_S

AT_MS = 1_800_000_000_000


class Broker:
    """Says how many agents wait, or fails."""

    def __init__(self) -> None:
        self.waiting: int | Exception = 0
        self.asked = 0

    async def api(self, _subject: str, timeout_s: float) -> dict[str, Any]:
        assert timeout_s > 0
        self.asked += 1
        if isinstance(self.waiting, Exception):
            raise self.waiting
        return {"num_waiting": self.waiting}


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    return World(loop)


class Known:
    """An `AgentList` in virtual time."""

    def __init__(self, world: World) -> None:
        self.world, self.broker, self.also = world, Broker(), list[bytes]()
        streams: Any = self.broker
        self.list = AgentList(streams, world.catalogue, lambda: AT_MS, self.also.append)

    def alive(self, test_id: str | None, worker: Any) -> None:
        payload = worker if isinstance(worker, bytes) else orjson.dumps({"attempt": 1, "worker": worker})
        self.world.loop.call(lambda: self.list.on_alive(test_id, payload))

    def told(self, *projects: str) -> dict[str, Any]:
        scope = frozenset(projects) if projects else None
        answer: dict[str, Any] = self.world.loop.call(lambda: self.list.told(self.world.catalogue.scoped(scope)))
        return answer

    def refresh(self) -> None:
        task = self.world.loop.create_task(self.list.refresh())
        self.world.loop.turns(5)
        assert task.done()


@pytest.fixture
def known(world: World) -> Known:
    return Known(world)


def test_a_busy_agent_and_one_whose_run_has_ended(world: World, known: Known) -> None:
    going = world.run("Going", started_at=AT_MS - 9000, worker="w-1")
    over = world.run("Over", status="completed", worker="w-2")
    known.alive(over.test_id, "w-2")
    known.alive(going.test_id, "w-1")
    busy, run = {"worker": "w-1", "busy": True, "heardMs": AT_MS}, {"testId": going.test_id, "title": "Going"}
    assert known.told() == {
        "agents": [
            busy | {"runs": [run | {"sinceMs": AT_MS - 9000}]},
            {"worker": "w-2", "busy": False, "heardMs": AT_MS},
        ],
        "queue": {"length": 0},
    }
    assert len(known.also) == 2, "who else wants them gets them"
    again = msgspec.structs.replace(going, attempt=2, seq=going.seq + 100)
    world.store(again)
    assert known.told()["agents"][0] == busy | {"runs": [run]}, "when the second attempt began is not known"
    world.store(msgspec.structs.replace(again, worker="w-9", seq=again.seq + 100))
    assert known.told()["agents"][0]["busy"] is False, "another agent has the run"


def test_an_agent_that_plays_two_runs_has_both(world: World, known: Known) -> None:
    one, two = (world.run(title, project=project, worker="w") for title, project in (("one", "a"), ("two", "b")))
    for _ in range(2):
        for run in (one, two):
            known.alive(run.test_id, "w")
            world.loop.run_for(5)
    (agent,) = known.told()["agents"]
    assert [run["title"] for run in agent["runs"]] == ["one", "two"]
    world.catalogue.place_by_project()
    assert [run["title"] for run in known.told("b")["agents"][0]["runs"]] == ["two"]
    for _ in range(6):  # of the first one nothing is heard any more
        world.loop.run_for(5)
        known.alive(two.test_id, "w")
    (agent,) = known.told()["agents"]
    assert [run["title"] for run in agent["runs"]] == ["two"]
    world.store(msgspec.structs.replace(two, status="completed", seq=two.seq + 100))
    assert known.told()["agents"][0]["busy"] is False


def test_a_crowd_of_runs_of_one_agent_is_cut(world: World, known: Known) -> None:
    runs = [world.run(str(number), worker="w") for number in range(70)]
    for run in runs:
        known.alive(run.test_id, "w")
    assert {run["title"] for run in known.told()["agents"][0]["runs"]} == {str(number) for number in range(6, 70)}


def test_silence_is_told_and_then_forgotten(world: World, known: Known) -> None:
    known.alive(world.run(worker="w").test_id, "w")
    world.loop.run_for(AGENT_SILENT_S - 1)
    assert "silent" not in known.told()["agents"][0]
    world.loop.run_for(2)
    assert known.told()["agents"][0]["silent"] is True
    world.loop.run_for(REMEMBERED_S)
    assert known.told()["agents"] == []


def test_of_a_foreign_run_nothing_is_told_but_that_the_agent_is_busy(world: World, known: Known) -> None:
    world.catalogue.place_by_project()
    theirs = world.run("secret", project="b", worker="w-1", started_at=AT_MS - 1)
    own = world.run("own", project="a", worker="w-2")
    for _ in range(3):
        world.run(project="b", status="completed", worker="w-1", started_at=AT_MS - 60_000, finished_at=AT_MS)
    queued = world.run("secret", project="b", status="queued")
    for run, worker in ((theirs, "w-1"), (own, "w-2")):
        known.alive(run.test_id, worker)
    answer = known.told("a")
    assert answer["agents"][0] == {"worker": "w-1", "busy": True, "heardMs": AT_MS}
    assert [run["title"] for run in answer["agents"][1]["runs"]] == ["own"]
    assert answer["queue"] == {"length": 0}, "how many wait elsewhere, and since when, is nobody's business"
    everything = orjson.dumps(answer).decode()
    assert not any(secret in everything for secret in (theirs.test_id, "secret", queued.test_id))
    world.run("own", project="a", status="queued")
    assert known.told("a")["queue"] == {"length": 1}, "an estimate would tell of the others' runs"
    assert known.told()["queue"]["waitsMs"], "who may see all is told"


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b'{"worker": 5}', b'{"worker": ""}'])
def test_what_is_no_sign_of_life_changes_nothing(world: World, known: Known, payload: bytes) -> None:
    known.alive(world.run().test_id, payload)
    known.alive(None, "nobody's")
    known.alive(world.run().test_id, "w" * 201)
    assert known.told()["agents"] == []


def test_a_crowd_of_names_is_cut(world: World, known: Known) -> None:
    run = world.run()
    for number in range(1500):
        known.alive(run.test_id, f"w-{number}")
    answer = known.told()
    assert (len(answer["agents"]), answer["more"]) == (MAX_LISTED, 1000 - MAX_LISTED)


def test_how_many_wait_is_asked_for_now_and_then_and_may_not_be_known(world: World, known: Known) -> None:
    assert "free" not in known.told()
    known.broker.waiting = 2
    known.refresh()
    known.refresh()
    assert known.told()["free"] == 2 and known.broker.asked == 1
    for failure, free in ((BrokerUnavailable("away"), None), (BrokerRefused("no consumer"), 0)):
        known.broker.waiting = failure
        world.loop.run_for(5)
        known.refresh()
        assert known.told().get("free") == free


def test_the_waits_of_the_queue(world: World, known: Known) -> None:
    assert "waitsMs" not in known.told()["queue"]
    oldest = world.run(status="queued")
    world.run(status="queued")
    assert known.told()["queue"] == {"length": 2, "oldestMs": oldest.created_at}
    for took in (30_000, 40_000, 60_000):
        world.run(status="completed", worker="w", started_at=AT_MS - took, finished_at=AT_MS)
    assert "waitsMs" not in known.told()["queue"], "nobody is busy"
    going = world.run(worker="w", started_at=AT_MS - 15_000)
    known.alive(going.test_id, "w")
    assert known.told()["queue"]["waitsMs"] == [25_000, 65_000]
    second = world.run(worker="w", started_at=AT_MS - 5_000)
    known.alive(second.test_id, "w")
    assert known.told()["queue"]["waitsMs"] == [25_000, 35_000], "the same agent plays two"


def test_estimates() -> None:
    measured = [30_000, 40_000, 60_000]
    assert waits(100_000, [85_000], measured, 3) == [25_000, 65_000, 105_000]
    assert waits(100_000, [85_000, 95_000], measured, 3) == [25_000, 35_000, 65_000], "two agents"
    assert waits(100_000, [51_000], measured, 1) == [10_000], "it takes longer than most"
    assert waits(100_000, [39_000], measured, 1) == [], "longer than any: nothing can be said"
    assert waits(100_000, [99_000], measured[:2], 1) == [] == waits(100_000, [], measured, 1)


def test_durations_are_those_of_completed_runs_that_an_agent_played(world: World) -> None:
    times: dict[str, Any] = {"started_at": 1000, "finished_at": 4000}
    runs = [
        world.run(status="completed", worker="w", **times),
        world.run(status="completed", **times),
        world.run(status="failed", worker="w", **times),
        world.run(worker="w", started_at=1000),
        world.run(status="completed", worker="w", started_at=1000, finished_at=9000),
    ]
    assert durations(runs) == [8000, 3000]
