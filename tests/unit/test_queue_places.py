"""The queue's places, what the reaper says of a run that is lost, and the broker's clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import NotPermitted
from broker.contract.events import Status
from broker.contract.snapshot import Snapshot
from tests.model import VirtualLoop
from ws_edge.views.agents import Agents
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.queue import AGENT_SILENT_S, PLACES, Queue
from ws_edge.views.reaper import what_happened


def snapshot_at(created_at: int, number: int, status: Status = "queued") -> Snapshot:
    return Snapshot(
        test_id=f"00000000-0000-4000-8000-{number:012d}", title="", game_url="", status=status, phase=None, message="",
        seq=1, created_at=created_at, updated_at=1, attempt=0,
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 9), st.sampled_from(["queued", "running", None]))))
def test_places_are_those_of_a_sorted_list_and_every_move_is_told(steps: list[tuple[int, int, Any]]) -> None:
    queue, runs = Queue(), dict[int, Snapshot]()
    for number in range(140):  # beyond the last place
        runs[number] = snapshot_at(5, number)
        queue.change(None, runs[number])

    def places() -> dict[str, int | None]:
        return {run.test_id: queue.place(run) for run in runs.values() if run.status == "queued"}

    for number, created_at, status in steps:
        before = places()
        after = None if status is None else snapshot_at(created_at, number, status)
        told = queue.change(runs.get(number), after)
        if after is None:
            runs.pop(number, None)
        else:
            runs[number] = after
        now = places()
        ordered = sorted(
            (run for run in runs.values() if run.status == "queued"), key=lambda r: (r.created_at, r.test_id)
        )
        expected = {run.test_id: place if place <= PLACES else None for place, run in enumerate(ordered, 1)}
        assert now == expected and len(queue) == len(ordered)
        itself = f"00000000-0000-4000-8000-{number:012d}"
        moved = {each for each in now if each in before and before[each] != now[each]} - {itself}
        assert moved <= set(told) and len(told) <= PLACES + 1


def test_the_oldest_has_waited_since_it_was_submitted_or_handed_back() -> None:
    queue, old, young = Queue(), snapshot_at(1000, 1), snapshot_at(5000, 2)
    assert queue.oldest_ms is None
    queue.change(None, old)
    queue.change(None, young)
    assert queue.oldest_ms == 1000
    running = msgspec.structs.replace(old, status="running", started_at=2000, updated_at=8000)
    queue.change(old, running)
    assert queue.oldest_ms == 5000
    back = msgspec.structs.replace(running, status="queued", updated_at=9000)
    queue.change(running, back)
    assert queue.place(back) == 1 and queue.oldest_ms == 5000, "it is next, and has not waited for long"
    queue.change(young, None)
    assert queue.oldest_ms == 9000
    queue.change(back, msgspec.structs.replace(back, updated_at=9500))  # played in between, not seen here
    assert queue.oldest_ms == 9500
    queue.change(back, None)
    assert queue.oldest_ms is None


# -- the reaper's words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "queued", "attempt": 0}, "No worker took this test for 900 s"),
        (
            {"attempt": 0, "message": "Step 3", "updated_at": 1_700_000_000_000},
            "The agent of this test has been silent since its last message, “Step 3”, at 2023-11-14 22:13:20 UTC: "
            "nothing came for 900 s",
        ),
        (
            {"status": "queued", "attempt": 2, "worker": "w-1", "message": "", "updated_at": 0},
            "The worker w-1, attempt 2, of this test has been silent since its last event: nothing came for 900 s",
        ),
        (
            {"status": "queued", "attempt": 0, "started_at": 5, "message": "m" * 999, "updated_at": 0},
            "“" + "m" * 119 + "…”",
        ),
    ],
)
def test_the_reaper_says_what_happened(fields: dict[str, Any], expected: str) -> None:
    said = what_happened(
        msgspec.structs.replace(snapshot_at(1, 1, "running"), **{"attempt": 1, "message": "hello"} | fields), 900
    )
    assert expected in said and ("No worker" in said) == ("No worker" in expected)


def test_the_brokers_clock_is_what_it_said_and_the_time_since() -> None:
    clock = BrokerClock()
    assert clock.now_ms(5.0) is None
    clock.set(1_000_000, 100.0)
    clock.set(0, 101.0)
    assert clock.now_ms(102.5) == 1_002_500
    clock.set(500_000, 103.0)
    assert clock.now_ms(103.0) == 500_000, "it was set back"


class Broker:
    """The queue's consumer, asked for its waiting pulls."""

    def __init__(self) -> None:
        self.waiting = 0
        self.asked = 0
        self.denies = False

    async def api(self, name: str, **_: Any) -> dict[str, Any]:
        assert name == "CONSUMER.INFO.JOBS.workers"
        self.asked += 1
        if self.denies:
            raise NotPermitted("this user may not publish on $JS.API.CONSUMER.INFO.JOBS.workers")
        return {"num_waiting": self.waiting}


def start_agents(loop: VirtualLoop, queue: Queue, broker: Any, played: list[float]) -> None:
    def set_agents(*, present: bool) -> None:
        queue.agents_present = present

    catalogue: Any = SimpleNamespace(
        queue=queue, stale_for_s=None, set_agents=set_agents, last_played_at=lambda: played[0]
    )
    loop.create_task(Agents(broker, catalogue).run())


def test_an_edge_that_may_not_ask_says_nothing_of_agents(loop: VirtualLoop) -> None:
    queue, broker = Queue(), Broker()
    broker.denies = True
    queue.change(None, snapshot_at(1, 1))
    start_agents(loop, queue, broker, [0.0])
    loop.run_for(100)
    assert queue.agents_present and broker.asked


def test_whether_an_agent_is_running(loop: VirtualLoop) -> None:
    queue, broker, played = Queue(), Broker(), [0.0]
    start_agents(loop, queue, broker, played)
    loop.run_for(100)
    assert queue.agents_present and not broker.asked, "the broker is asked while runs are queued only"
    queue.change(None, snapshot_at(1, 1))
    loop.run_for(10)
    assert not queue.agents_present and broker.asked, "none waits, and nothing was heard for long"
    broker.waiting = 1
    loop.run_for(3)
    assert queue.agents_present
    broker.waiting = 0
    loop.run_for(AGENT_SILENT_S - 3)
    assert queue.agents_present
    loop.run_for(6)
    assert not queue.agents_present
    played[0] = loop.time()
    loop.run_for(AGENT_SILENT_S - 3)
    assert queue.agents_present, "a busy agent waits for no job"
    loop.run_for(6)
    assert not queue.agents_present, "it counts from when the run was last heard of"
    queue.agent_heard_at = loop.time()
    loop.run_for(3)
    assert queue.agents_present, "a sign of life"
