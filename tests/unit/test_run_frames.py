"""What pictures a run has, kept current (ws_edge/views), and who is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import orjson
import pytest

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound
from broker.contract.frames import Frame
from broker.jetstream.frame_feed import Listed, LiveFrame
from tests.frame_stand_ins import MemoryFeed, MemoryRuns
from tests.model import VirtualLoop
from ws_edge.encoding import ENCODINGS
from ws_edge.views import frames as frames_module
from ws_edge.views.frame_index import AHEAD, BAD_HEADER, OUT_OF_ORDER, FrameIndex
from ws_edge.views.frames import Frames
from ws_edge.views.frames_channel import MAX_FOLLOWED, FramesChannel
from ws_edge.views.run_frames import FEW

T = TypeVar("T")
RUN, OTHER = "run", "other"


class Viewer:
    encoding = ENCODINGS["websocket"]

    def __init__(self) -> None:
        self.unsent = 0
        self.messages: list[dict[str, Any]] = []
        self.missing: list[str] = []

    def waiting(self) -> int:
        return self.unsent

    def write(self, data: bytes) -> None:
        self.messages.append(orjson.loads(data[data.index(b"{") :]))

    def frames_missing(self, test_id: str) -> None:
        self.missing.append(test_id)

    @property
    def numbers(self) -> list[int]:
        return [each["number"] for each in self.messages]


class Edge:
    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.feed, self.runs = MemoryFeed(), MemoryRuns(run=100, other=100)
        self.runs.known = {RUN: 100, OTHER: 100}
        self.on_reconnect: list[Any] = []
        self.frames: Frames = self.loop.call(lambda: Frames(self.feed, self.on_reconnect, self.runs))
        self.channel = FramesChannel(self.frames, 1000)
        self.task = self.loop.call(lambda: self.loop.create_task(self.frames.run()))

    def get(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.ensure_future(work, loop=self.loop))

    def numbers(self, test_id: str = RUN, after: int = 0, limit: int = 2000) -> list[int]:
        return [row[0] for row in self.get(self.frames.page(test_id, after, limit, 0)).rows]

    def does(self, work: Any) -> Any:
        return self.loop.call(work)

    def store(self, **how: Any) -> int:
        return int(self.loop.call(lambda: self.feed.store(RUN, **how)))

    def follower(self, test_id: str = RUN) -> Viewer:
        viewer = Viewer()
        self.loop.call(lambda: self.channel.add(viewer, test_id))
        self.loop.run_for(0.1)
        return viewer


@pytest.fixture
def edge() -> Iterator[Edge]:
    made = Edge()
    yield made
    made.loop.finish()


# -- the list ------------------------------------------------------------------------------------------------------


def test_the_list_is_read_once_and_then_kept_current(edge: Edge) -> None:
    early = [edge.store(seq=each) for each in range(3)]
    assert edge.numbers() == early
    late = [edge.store(seq=10 + each) for each in range(3)]
    assert edge.numbers() == early + late and edge.feed.lists == 1
    assert edge.numbers(after=early[1], limit=2) == [early[2], late[0]]
    assert edge.runs.asked == 1, "whether the run exists"


def test_without_interest_nothing_is_followed(edge: Edge) -> None:
    edge.store()
    assert not edge.feed.following
    assert edge.numbers() == [1] and len(edge.feed.following) == 1
    edge.loop.run_for(60)
    assert not edge.feed.following and edge.frames.statistics()[:2] == (0, 0)
    for _ in range(1000):
        edge.feed.store(RUN)
    assert edge.frames.statistics().received == 0


def test_a_picture_that_was_not_told_is_found_at_the_next(edge: Edge) -> None:
    assert edge.numbers() == []
    edge.loop.run_for(5)
    lost, told = edge.store(told=False), edge.store()
    edge.loop.run_for(1)
    assert edge.numbers() == [lost, told]


def test_a_last_picture_that_was_not_told_is_found_by_a_look(edge: Edge) -> None:
    viewer = edge.follower()
    lost = edge.store(told=False)
    edge.loop.run_for(15)
    assert viewer.numbers == [lost]
    assert edge.numbers() == [lost]
    another = edge.store(told=False)
    edge.loop.run_for(25)
    assert edge.numbers() == [lost, another]


def test_a_replica_that_lags_is_asked_again(edge: Edge) -> None:
    stored = [edge.store() for _ in range(3)]
    edge.feed.lag = 2
    edge.loop.call_later(0.7, lambda: setattr(edge.feed, "lag", 0))
    assert edge.numbers() == stored and edge.feed.lists > 1


def test_a_picture_that_was_never_stored_goes_again(edge: Edge) -> None:
    viewer, stored = edge.follower(), edge.store()
    forged = LiveFrame(Listed(Frame(10**15, 1, 1, 1)), stored)
    edge.loop.run_for(5)
    edge.does(lambda: edge.feed.tell(RUN, forged))
    edge.loop.run_for(70)
    real = edge.store()
    edge.loop.run_for(5)
    assert viewer.numbers[-1] == real and edge.numbers() == [stored, real]


def test_a_stream_that_is_made_again_is_read_again(edge: Edge) -> None:
    viewer = edge.follower()
    for _ in range(5):
        edge.store()
    assert edge.numbers() == [1, 2, 3, 4, 5]
    edge.feed.made_again()
    edge.loop.run_for(5)
    edge.store()
    edge.loop.run_for(5)
    assert edge.numbers() == [1] and viewer.numbers[-1] == 1


def test_a_broker_that_is_away_is_said_and_comes_back(edge: Edge) -> None:
    stored = edge.store()
    edge.feed.away = True
    with pytest.raises(BrokerUnavailable):
        edge.numbers()
    edge.feed.away = False
    assert edge.numbers() == [stored]
    edge.feed.away = True
    assert edge.numbers() == [stored], "what is known is told"
    lost = edge.store(told=False)
    edge.feed.away = False
    edge.does(lambda: [each() for each in edge.on_reconnect])
    edge.loop.run_for(1)
    assert edge.numbers() == [stored, lost]


def test_a_run_that_does_not_exist(edge: Edge) -> None:
    viewer = edge.follower("nobody")
    assert viewer.missing == ["nobody"] and viewer not in edge.channel
    with pytest.raises(NotFound):
        edge.numbers("nobody")
    assert edge.frames.statistics().runs == 0


def test_early_pictures_that_have_gone(edge: Edge) -> None:
    edge.feed.per_run = 3
    edge.store()
    assert edge.get(edge.frames.page(RUN, 0, 10, 0)).gone is False
    stored = [edge.store() for _ in range(5)][-3:]
    page = edge.get(edge.frames.page(RUN, 0, 10, 0))
    assert [row[0] for row in page.rows] == stored and page.gone


def test_all_lists_together_are_bounded(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "_MAX_FRAMES", 100)
    for _ in range(80):
        edge.feed.store(RUN)
        edge.feed.store(OTHER)
    assert len(edge.numbers(RUN)) == len(edge.numbers(OTHER)) == 80
    edge.loop.run_for(1)
    assert edge.frames.known(RUN) is None and edge.frames.known(OTHER) is not None
    assert len(edge.numbers(RUN)) == 80, "it is read again"


def test_of_a_run_that_is_only_followed_few_pictures_are_remembered(edge: Edge) -> None:
    viewer = edge.follower()
    for _ in range(3 * FEW):
        edge.store()
        edge.loop.run_for(0.5)
    assert viewer.numbers[-1] == 3 * FEW and edge.frames.statistics().frames == FEW
    assert len(edge.numbers()) == 3 * FEW


def test_a_flood_is_read_from_time_to_time(edge: Edge) -> None:
    viewer = edge.follower()
    edge.loop.run_for(5)
    before = edge.frames.statistics()
    for _ in range(100):
        for _ in range(100):
            edge.does(lambda: edge.feed.store(RUN))
        edge.loop.run_for(0.1)
    figures = edge.frames.statistics()
    assert figures.floods == 1 and figures.received - before.received < 100
    assert figures.reads - before.reads <= 6
    assert len(viewer.messages) <= 45
    edge.loop.run_for(20)
    assert viewer.numbers[-1] == 10_000
    last = edge.store()
    edge.loop.run_for(1)
    assert viewer.numbers[-1] == last, "it is followed again"


# -- what is not shown ---------------------------------------------------------------------------------------------


def test_a_picture_waits_for_its_event_to_be_known(edge: Edge) -> None:
    viewer = edge.follower()
    edge.runs.heads[RUN] = 101
    soon = edge.store(seq=101)
    edge.loop.run_for(1)
    assert viewer.numbers == [soon]
    ahead, good = edge.store(seq=500), edge.store(seq=101)
    edge.loop.run_for(3)
    assert viewer.numbers == [soon, good] and edge.numbers() == [soon, good]
    page = edge.get(edge.frames.page(RUN, 0, 10, 0))
    assert page.unreadable == {AHEAD: 1} and page.newest == good
    assert edge.frames.statistics().refused[AHEAD] == 1 and ahead not in edge.numbers()


def test_a_picture_that_was_ahead_is_shown_when_the_run_has_caught_up(edge: Edge) -> None:
    """The run's events were deleted, and the next one was not stored yet when its picture came."""
    viewer = edge.follower()
    edge.runs.heads[RUN] = edge.runs.known[RUN] = 50
    early, forged = edge.store(seq=300), edge.store(seq=10**6)
    edge.loop.run_for(3)
    assert viewer.numbers == [] and edge.numbers() == []
    edge.runs.heads[RUN] = edge.runs.known[RUN] = 301
    edge.loop.run_for(3)
    assert viewer.numbers == [early] and edge.numbers() == [early] and forged > early
    lists = edge.feed.lists
    edge.loop.run_for(8)
    assert edge.feed.lists - lists <= 1, "what names an event far ahead has nothing read again"


def test_a_flood_of_claims_asks_once_a_second(edge: Edge) -> None:
    edge.numbers()
    asked = edge.runs.asked
    for _ in range(30):
        for _ in range(3):
            edge.store(seq=10**6)
        edge.loop.run_for(0.1)
    assert edge.runs.asked - asked <= 4


def test_pictures_are_judged_in_order() -> None:
    index = FrameIndex()
    for number, seq in enumerate((5, 0, 7, 6, 9, 8), 1):
        index.add(Frame(number, seq, 1, 1))
    index.add(Frame(7, 0, 0, 0), BAD_HEADER)
    assert index.judge(7) == [(4, OUT_OF_ORDER)] and index.waits
    assert [row[0] for row in index.page(0, 10)[0]] == [1, 2, 3]
    assert index.judge(8, certain_to=4) == [], "9 may have been stored since"
    assert index.judge(8, certain_to=7) == [(5, AHEAD)]
    assert [row[0] for row in index.page(0, 10)[0]] == [1, 2, 3, 6] and not index.waits
    assert index.page(1, 2) == ([(2, 0, 1, 1), (3, 7, 1, 1)], True)
    assert dict(index.unreadable) == {OUT_OF_ORDER: 1, AHEAD: 1, BAD_HEADER: 1}
    index.drop_before(5)
    assert dict(index.unreadable) == {AHEAD: 1, BAD_HEADER: 1} and len(index) == 3
    newest = index.newest()
    assert newest is not None and newest.number == 6


# -- who is told ---------------------------------------------------------------------------------------------------


def test_a_viewer_is_told_the_newest_at_once_and_then_new_ones(edge: Edge) -> None:
    edge.store()
    newest = edge.store(seq=3)
    viewer = edge.follower()
    time_ms = 1000 + newest
    message = {"type": "frame", "testId": RUN, "number": newest, "eventSeq": 3, "timeMs": time_ms}
    assert viewer.messages == [message]
    later = edge.follower()
    assert later.messages == [message], "also who joins later"
    edge.loop.run_for(1)
    new = edge.store()
    assert viewer.numbers[-1] == later.numbers[-1] == new, "without delay"


def test_many_pictures_are_conflated(edge: Edge) -> None:
    viewer = edge.follower()
    edge.loop.run_for(1)
    for _ in range(30):
        edge.store()
        edge.loop.run_for(1 / 30)
    edge.loop.run_for(1)
    assert viewer.numbers[-1] == 30 and len(viewer.messages) <= 6


def test_a_slow_viewer_gets_the_newest_when_it_has_room(edge: Edge) -> None:
    slow, quick = edge.follower(), edge.follower()
    slow.unsent = 2000
    for _ in range(5):
        edge.store()
        edge.loop.run_for(0.5)
    assert slow.messages == [] and len(quick.messages) == 5
    assert edge.channel.statistics().owed == 1
    slow.unsent = 0
    edge.loop.run_for(0.5)
    assert slow.numbers == [5] and edge.channel.statistics().owed == 0


def test_who_leaves_leaves_nothing(edge: Edge) -> None:
    viewer = edge.follower()
    edge.does(lambda: edge.channel.add(viewer, OTHER))
    viewer.unsent = 2000
    edge.store()
    edge.loop.run_for(1)
    edge.does(lambda: edge.channel.leave(viewer))
    assert edge.channel.statistics()[:3] == (0, 0, 0) and viewer not in edge.channel
    viewer.unsent = 0
    edge.loop.run_for(60)
    assert viewer.messages == [] and not edge.feed.following


def test_a_viewer_may_follow_so_many(edge: Edge) -> None:
    viewer = Viewer()
    edge.runs.heads |= {f"r{each}": 1 for each in range(MAX_FOLLOWED + 1)}
    for each in range(MAX_FOLLOWED):
        edge.does(lambda each=each: edge.channel.add(viewer, f"r{each}"))
    edge.does(lambda: edge.channel.add(viewer, "r0"))
    with pytest.raises(BadInput, match="at most 200"):
        edge.channel.add(viewer, f"r{MAX_FOLLOWED}")
    edge.does(lambda: edge.channel.remove(viewer, "r0"))
    edge.does(lambda: edge.channel.add(viewer, f"r{MAX_FOLLOWED}"))
