"""The fan-out under every interleaving: real hub, topic and replay against a model broker, on a virtual clock.

Each viewer is judged by what its transport received, frame by frame, as it comes:

* an event is the one that was stored at its sequence, and the very next valid one after what the viewer had;
* after `live` or `reset` it begins with the first one retained;
* a heartbeat's head never passes an event that the viewer has not got;
* `reset` comes only for a reason the resume table knows;

and when all faults are healed and every viewer reads: none lacks a retained event.

Longer than 400 lines: one state machine, whose rules share its state.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.contract.position import Position
from broker.jetstream.scan import SECOND_LOOK_S
from tests.event_source import EventSource
from tests.harness import NO_SUCH_TEST as TEST_ID
from tests.harness import is_event
from tests.model import FrameReader, Kept, Life, ModelBroker, ModelTransport, VirtualLoop
from ws_edge.config import EdgeConfig
from ws_edge.encoding import ENCODINGS, Encoding
from ws_edge.fanout import audience, batch, continuity, one_call, repair, replay, topic
from ws_edge.fanout.hub import Hub
from ws_edge.fanout.ring import Ring
from ws_edge.fanout.session import Session
from ws_edge.fanout.topic import LEADER_CHECK_EVERY_S, Topic
from ws_edge.transport import socket_writer
from ws_edge.transport.socket_writer import SocketWriter

HIGH_WATER: Final = 4096
HUNT: Final = os.environ.get("HYPOTHESIS_PROFILE") == "hunt"

SIZES = st.sampled_from([0, 0, 0, 300, 3000, 20_000])
DELAYS = st.sampled_from([0.0, 0.0, 0.01, 0.2, 3.0])
DELIVERIES = st.one_of(st.just([0.0]), st.lists(DELAYS, max_size=2))
KINDS = st.sampled_from(["progress", "progress", "status", "malformed"])


class NoSnapshots:
    """A catalogue that knows nothing yet: the topic folds for itself."""

    def snapshot(self, test_id: str) -> None:
        return None


class Loud:
    """In place of a rate-limited log: what comes with a traceback is a bug."""

    def __init__(self) -> None:
        self.tracebacks: list[str] = []

    def warning(self, text: str, *args: object, exc_info: bool = False) -> None:
        if exc_info:
            self.tracebacks.append(traceback.format_exc())


LOUD: Final = Loud()


class Descriptors:
    """In place of `os`, where frames go directly to the kernel."""

    def __init__(self) -> None:
        self.viewers: dict[int, ModelViewer] = {}

    def write(self, fd: int, data: bytes) -> int:
        viewer = self.viewers[fd]
        assert viewer.fd == fd and not viewer.left, "by a way that is closed"
        return viewer.transport.write_direct(data)


DESCRIPTORS: Final = Descriptors()


class ModelViewer(SocketWriter):
    """A client that believes what PROTOCOL.md says, and checks it; its way out is the real one."""

    transport: ModelTransport

    def __init__(self, broker: ModelBroker, loop: VirtualLoop, asked: Position | None, ahead: bool) -> None:
        super().__init__()
        self.broker = broker
        self.asked = asked
        self.ahead = ahead
        """Its position was past everything there was when it asked."""
        self._descriptor = len(DESCRIPTORS.viewers)
        self._stream = EventSource() if self._descriptor % 2 else None
        """Every second one reads server-sent events."""
        feed = FrameReader(self._on_message).feed if self._stream is None else self._on_stream
        self.transport = ModelTransport(loop, feed, HIGH_WATER // 2, HIGH_WATER // 8)
        self.transport.on_resume = self.resume_writing
        self.session: Session | None = None
        self.position = asked.seq if asked is not None else 0
        self.epoch = asked.epoch if asked is not None else None
        """That of its position: None is the current one, whichever that is."""
        DESCRIPTORS.viewers[self._descriptor] = self
        self.forged_at = 0
        """Of the newest forged event that it was sent and not told of; 0 for none."""
        self.synced = False
        self.missing = False
        self.left = False
        self.log: list[str] = []

    def __repr__(self) -> str:
        return f"<viewer at {self.epoch}/{self.position}: {' '.join(self.log[-30:])}>"

    @property
    def encoding(self) -> Encoding:
        return ENCODINGS["websocket" if self._stream is None else "sse"]

    def _on_stream(self, data: bytes) -> None:
        assert self._stream is not None
        for message in self._stream.feed(data):
            said = orjson.loads(message.data)
            assert message.event == ("message" if is_event(said) else said["type"])
            self._on_message(said)
            if is_event(said) or said["type"] == "heartbeat":  # the position to resume from
                assert message.id == f"{self.epoch}.{said.get('seq', said.get('head'))}"

    def resume_writing(self) -> None:
        assert self.session is not None
        self.session.topic.pump(self.session)

    def session_missing(self, session: Session) -> None:
        self.missing = True
        known = [event for event in self.broker.life.retained() if event.stored_at < self.broker.loop.now - 2.0]
        assert not known, "there is such a test, and has been for long"

    @property
    def life(self) -> Life:
        """The life of the stream it is told about."""
        return self.broker.lives[self.epoch or "1"]

    @property
    def confused(self) -> bool:
        """The stream is another one now and it has not been told yet: what it gets until then does not count."""
        return self.epoch != self.broker.life.epoch

    def _on_message(self, message: dict[str, Any]) -> None:
        assert not self.left, "written to after it has left"
        if is_event(message):
            self.log.append(f"{message['seq']}")
            self._on_event(message)
            return
        kind = message["type"]
        self.log.append(f"{kind}:{message.get('outcome', '')}:{message.get('reason', '')}:{message.get('head')}")
        assert message["testId"] == TEST_ID
        if kind == "sync":
            self._on_sync(message)
        elif kind == "unreadable":
            assert self.synced and message["count"] == sum(message["reasons"].values()) > 0
        else:
            assert kind == "heartbeat" and self.synced
            head = message["head"]
            if not self.confused and not self.forged_at and head > self.position:
                assert not self._between(head + 1), f"a heartbeat jumps over events: {self}"
                self.position = head

    def _between(self, seq: int) -> list[int]:
        """What it should have had before `seq`."""
        between = self.life.valid_retained if self.position == 0 else self.life.valid
        return between(self.position, seq - 1)

    def _on_sync(self, sync: dict[str, Any]) -> None:
        outcome, reason, epoch = sync["outcome"], sync.get("reason"), sync["epoch"]
        assert epoch in self.broker.lives
        life = self.broker.lives[epoch]
        had = self.epoch
        if outcome == "reset":
            self.forged_at = 0
            if self.broker.forged:  # who has been sent none may be told as well
                assert reason in ("ahead", "expired", "epoch")
            elif reason == "epoch":
                assert had is not None and had != epoch, f"reset epoch in the same epoch: {self}"
            elif reason == "ahead":
                gone = self.position <= life.floor  # with all before it: the leader cannot tell it from one to come
                assert not self.synced and (self.ahead or gone or self.broker.life.epoch != "1"), f"not ahead: {self}"
            elif had in (None, epoch) and epoch == self.broker.life.epoch:
                assert reason == "expired"
                held = self.position > life.floor and any(event.seq == self.position for event in life.events)
                assert not held, f"what is retained has not expired: {self}"
                if self.position == 0:
                    assert life.floor, f"nothing has expired: {self}"
            self.position, self.ahead = 0, False
        elif outcome == "live":
            assert self.position == 0 and reason is None
        else:
            assert outcome == "recovered" and reason is None
            assert self.position > 0 or self.synced, f"recovered what it never had: {self}"
            real = not self.ahead or epoch != "1" or self.broker.forged  # a forged event is believed for a moment
            assert had in (None, epoch) and real, f"recovered from nowhere: {self}"
        self.epoch, self.synced = epoch, True

    def _on_event(self, event: dict[str, Any]) -> None:
        seq = event["seq"]
        assert self.synced and event["testId"] == TEST_ID
        if self._is_forged(event):
            self.forged_at = max(self.forged_at, seq)
        if self.forged_at:
            self.position = max(self.position, seq)
            return
        assert seq > self.position, f"out of order, or twice: {self}"
        if not self.confused:
            assert not self._between(seq), f"{self._between(seq)} were passed over: {self}"
            kept = next((each for each in self.life.events if each.seq == seq), None)
            assert kept is not None, f"{seq} was never stored in this life: {self}"
            assert kept.valid and {**orjson.loads(kept.raw), "testId": TEST_ID, "seq": seq} == event
        self.position = seq

    def _is_forged(self, event: dict[str, Any]) -> bool:
        bare = {name: value for name, value in event.items() if name not in ("seq", "testId")}
        forged = any(seq == event["seq"] and orjson.loads(raw) == bare for seq, raw in self.broker.forged)
        return forged and not any(
            each.valid and each.seq == event["seq"] and orjson.loads(each.raw) == bare for each in self.life.events
        )

    def judge(self) -> None:
        """All is well, and there was time enough."""
        if self.missing:
            return
        if self.forged_at and not self.confused:
            assert self.forged_at <= self.life.floor, f"nobody told it that {self.forged_at} is forged: {self}"
            return
        assert self.synced, f"never told anything: {self}, {self.session and self.session.topic}"
        assert not self.confused, f"nobody told it that the stream is another one: {self}"
        lacks = self.life.valid_retained(self.position)
        assert not lacks, f"{lacks} never came: {self}, {self.session.topic if self.session else None}"


class Spine(RuleBasedStateMachine):
    """One test, its broker, a node, and the faults that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.broker = ModelBroker(self.loop, TEST_ID)
        self.viewers: list[ModelViewer] = []
        self.heads: dict[tuple[int, str], int] = {}
        self.count = 0
        DESCRIPTORS.viewers.clear()
        LOUD.tracebacks.clear()

    @initialize(
        interval=st.sampled_from([0.0, 1.0]),
        events=st.integers(0, 30),
        page_bytes=st.sampled_from([45_000, 1 << 20]),
        slice_of=st.sampled_from([1, 2, 1000]),
    )
    def start(self, interval: float, events: int, page_bytes: int, slice_of: int) -> None:
        audience.SLICE = slice_of  # type: ignore[misc]  # put back by the fixture
        config = EdgeConfig(progress_interval_s=interval, high_water_bytes=HIGH_WATER, heartbeat_s=1.5, io_uring=False)
        self.broker.max_page_bytes = page_bytes
        self.hub: Hub = self.loop.call(partial(Hub, self.broker, config, NoSnapshots()))
        self.loop.call(lambda: self.hub.spawn(self.hub.run()))
        for _ in range(1 + events):
            self._publish("status", 0, [0.0])
        self.loop.run_for(0.01)

    # -- what agents do ------------------------------------------------------------------------------------------

    def _publish(self, kind: str, size: int, deliveries_s: list[float]) -> Kept:
        self.count += 1
        event: dict[str, Any] = {"type": kind, "message": f"{self.count} " + "x" * size, "timestamp": self.count}
        if kind == "status":
            event["status"] = "running"
        raw = b"nonsense" if kind == "malformed" else orjson.dumps(event)
        return self.broker.put(raw, kind != "malformed", deliveries_s)

    @rule(kind=KINDS, size=SIZES, deliveries_s=DELIVERIES)
    def publish(self, kind: str, size: int, deliveries_s: list[float]) -> None:
        self.loop.call(lambda: self._publish(kind, size, deliveries_s))

    @rule(count=st.integers(2, 25), kind=KINDS, size=SIZES, deliveries_s=DELIVERIES)
    def publish_many(self, count: int, kind: str, size: int, deliveries_s: list[float]) -> None:
        self.loop.call(lambda: [self._publish(kind, size, deliveries_s) for _ in range(count)])

    @rule(count=st.integers(1, 20))
    def others_publish(self, count: int) -> None:
        self.broker.life.pass_over(count, self.loop.now)

    # -- what the broker does ------------------------------------------------------------------------------------

    @precondition(lambda self: self.broker.life.events)
    @rule(data=st.data(), delay_s=DELAYS)
    def an_old_live_message_again(self, data: st.DataObject, delay_s: float) -> None:
        kept = data.draw(st.sampled_from(self.broker.life.events))
        self.loop.call(lambda: self.broker.deliver(kept, delay_s))

    @rule(lags_s=st.lists(st.sampled_from([0.0, 0.05, 0.5]), min_size=1, max_size=3))
    def replicas_lag(self, lags_s: list[float]) -> None:
        self.broker.lags_s = lags_s

    @rule(ago_s=st.sampled_from([0.0, 0.3, 3.0]))
    def an_old_leader_answers(self, ago_s: float) -> None:
        """It has been replaced that long ago, and does not know it."""
        self.broker.deposed_s = ago_s

    @rule(latency_s=st.sampled_from([0.001, 0.02, 0.3]))
    def answers_take(self, latency_s: float) -> None:
        self.broker.latency_s = latency_s

    @rule(count=st.integers(1, 6))
    def requests_fail(self, count: int) -> None:
        self.broker.failing = count

    @rule(data=st.data())
    @precondition(lambda self: self.broker.life.retained())
    def purge(self, data: st.DataObject) -> None:
        up_to = data.draw(st.sampled_from(self.broker.life.retained())).seq
        self.broker.life.purge(up_to, self.loop.now)

    @rule(events=st.integers(0, 40))
    def recreate(self, events: int) -> None:
        self.broker.recreate()
        for _ in range(events):
            self.loop.call(lambda: self._publish("status", 0, [0.0]))

    @rule(away_s=st.sampled_from([0.0, 0.1, 7.0]))
    def the_broker_is_away(self, away_s: float) -> None:
        self.loop.call(self.broker.disconnect)
        if away_s:
            self.loop.run_for(away_s)

    @rule()
    def the_broker_is_back(self) -> None:
        self.loop.call(self.broker.reconnect)

    # -- what viewers do -----------------------------------------------------------------------------------------

    def _join(self, asked: Position | None) -> ModelViewer:
        life = self.broker.life
        last = life.events[-1].seq if life.events else 0
        ahead = asked is not None and asked.epoch in (None, life.epoch) and asked.seq > last
        viewer = ModelViewer(self.broker, self.loop, asked, ahead)
        self.viewers.append(viewer)
        viewer.session = self.loop.call(lambda: self.hub.subscribe(viewer, TEST_ID, asked))
        viewer.sessions[TEST_ID] = viewer.session
        return viewer

    @rule()
    def join(self) -> None:
        self._join(None)

    @precondition(lambda self: self.broker.life.events)
    @rule(data=st.data(), named=st.booleans())
    def resume_anywhere(self, data: st.DataObject, named: bool) -> None:
        """At any event there ever was, gone or malformed ones too."""
        life = self.broker.life
        seq = data.draw(st.sampled_from(life.events)).seq
        self._join(Position(life.epoch if named else None, seq))

    @rule(by=st.integers(1000, 2000))
    def resume_ahead(self, by: int) -> None:
        life = self.broker.life
        self._join(Position(life.epoch, life.last_seq + by))

    @rule(seq=st.integers(0, 40))
    def resume_from_another_life(self, seq: int) -> None:
        self._join(Position("0", seq))

    @property
    def here(self) -> list[ModelViewer]:
        return [viewer for viewer in self.viewers if not viewer.left and not viewer.missing]

    def _leave(self, viewer: ModelViewer) -> None:
        def close() -> None:
            assert viewer.session is not None
            viewer.left = True
            del viewer.sessions[TEST_ID]
            viewer.session.close()

        self.loop.call(close)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self._leave(data.draw(st.sampled_from(self.here)))

    @precondition(lambda self: any(viewer.synced for viewer in self.here))
    @rule(data=st.data())
    def reconnect(self, data: st.DataObject) -> None:
        """What a client does whose socket broke; what was in its buffer is lost."""
        viewer = data.draw(st.sampled_from([viewer for viewer in self.here if viewer.synced]))
        self._leave(viewer)
        again = self._join(Position(viewer.epoch, viewer.position))
        again.ahead = False

    @property
    def caught_up(self) -> list[ModelViewer]:
        return [viewer for viewer in self.here if viewer.synced and not viewer.transport.get_write_buffer_size()]

    @precondition(lambda self: self.caught_up)
    @rule(data=st.data())
    def subscribe_again(self, data: st.DataObject) -> None:
        """On the same socket, which may be open directly to the kernel, and may be full."""
        self._subscribe_again(data.draw(st.sampled_from(self.caught_up)))

    def _subscribe_again(self, viewer: ModelViewer) -> None:
        def again() -> None:
            viewer.sessions.pop(TEST_ID).close()
            viewer.asked = Position(viewer.epoch, viewer.position)
            viewer.session = self.hub.subscribe(viewer, TEST_ID, viewer.asked)
            viewer.sessions[TEST_ID] = viewer.session

        self.loop.call(again)

    @precondition(lambda self: self.here)
    @rule(data=st.data(), room=st.sampled_from([0, 500, 10_000]))
    def stall(self, data: st.DataObject, room: int) -> None:
        viewer = data.draw(st.sampled_from(self.here))
        self.loop.call(lambda: viewer.transport.room(room))

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        viewer = data.draw(st.sampled_from(self.here))
        self.loop.call(lambda: viewer.transport.room(float("inf")))

    MEANWHILE: Final = ("publish", "join", "resume", "leave", "heartbeat", "restart", "stall")

    @precondition(lambda self: self.here and self._topics())
    @rule(data=st.data(), what=st.lists(st.sampled_from(MEANWHILE), min_size=1, max_size=3))
    def while_an_event_goes_out(self, data: st.DataObject, what: list[str]) -> None:
        """Between two of the slices in which it goes out."""
        here = list(self.here)
        picked = [data.draw(st.sampled_from(here)) for _ in what]
        self.begin_to_send()
        for each, viewer in zip(what, picked, strict=True):
            self.meanwhile(each, viewer)

    def begin_to_send(self) -> None:
        """Publishes an event, and lets the loop turn until some have been sent it."""
        self.loop.call(lambda: self._publish("status", 0, [0.0]))
        for _ in range(5):
            if any(each.live.sending for each in self._topics()):
                break
            self.loop.turns(1)

    def meanwhile(self, what: str, viewer: ModelViewer) -> None:
        for each in self._topics():
            if what == "heartbeat":
                self.loop.call(each.heartbeat)
            elif what == "restart":
                self.loop.call(each.restart)
        if what == "publish":
            self.loop.call(lambda: self._publish("status", 0, [0.0]))
        elif what == "join":
            self.join()
        elif viewer in self.here and what == "leave":
            self._leave(viewer)
        elif viewer in self.here and viewer.synced and what == "resume":
            self._join(Position(viewer.epoch, viewer.position)).ahead = False
        elif viewer in self.here and what == "stall":
            self.loop.call(lambda: viewer.transport.room(0))

    # -- time ----------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def turns(self, count: int) -> None:
        self.loop.turns(count)

    @rule(seconds=st.sampled_from([0.001, 0.06, 0.3, 1.1, 3.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_for(seconds)

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def a_head_never_goes_back_within_an_epoch(self) -> None:
        if self.broker.forged:
            return
        for each in self._topics():
            key = (id(each), each.epoch)
            order = each.order
            assert self.heads.get(key, 0) <= order.released <= order.received, f"{each} was at {self.heads.get(key)}"
            if each.state not in ("opening", "closed") and each.epoch:
                self.heads[key] = order.released

    @invariant()
    def nothing_is_logged_with_a_traceback(self) -> None:
        assert not LOUD.tracebacks, LOUD.tracebacks[0]

    @invariant()
    def a_stalled_viewer_costs_one_high_water_mark(self) -> None:
        for viewer in self.viewers:
            assert viewer.transport.most_before <= HIGH_WATER, "written to although it was full"

    @invariant()
    def what_the_projector_is_given_has_no_hole(self) -> None:
        if self.broker.forged:  # the projector looks for the event that the stream has told it of
            return
        for each in self._topics():
            if each.epoch != self.broker.life.epoch:  # the hub does not know yet that the stream is another one
                continue
            begin, events = each._ring.after, self.broker.life.events
            assert not begin or each.since(begin - 1) is None
            released, received = each.order.released, each.order.received
            for seq in (begin, released, received, *(kept.seq for kept in events if begin <= kept.seq <= received)):
                given = each.since(seq)
                stored = [kept.seq for kept in events if seq < kept.seq <= each.order.received]
                if given is None:
                    continue
                seqs = [entry.seq for entry in given]
                gone = [seq for seq in stored if seq not in seqs]  # so a read of the stream would not find them either
                assert seqs == sorted(set(seqs)) and set(seqs) <= set(stored), f"{each} behind {seq}"
                assert all(seq <= self.broker.life.floor for seq in gone), f"{each} behind {seq} lacks {gone}"

    def _topics(self) -> list[Topic]:
        return list(self.hub.topics.values()) if hasattr(self, "hub") else []

    @rule()
    def all_is_well(self) -> None:
        broker = self.broker
        self.nothing_is_logged_with_a_traceback()
        broker.lags_s, broker.deposed_s, broker.latency_s, broker.failing = [0.0], 0.0, 0.001, 0
        self.loop.call(broker.reconnect)
        for viewer in self.here:
            self.loop.call(partial(viewer.transport.room, float("inf")))
        self.loop.run_for(12.0)
        reads = broker.reads
        self.loop.run_for(3.0)
        assert broker.reads - reads <= 3, (
            f"nothing happens, and yet {broker.reads - reads} reads: {self._topics()} {self.here}"
        )
        self.nothing_is_logged_with_a_traceback()
        for viewer in self.here:
            viewer.judge()
        for each in self._topics():
            sound = each.order.sound or each.state == "closed"
            assert sound and each.state in ("open", "closed") and not each.behind, f"{each} has not settled"

    def teardown(self) -> None:
        try:
            if hasattr(self, "hub"):
                self.all_is_well()
                for viewer in self.here:
                    self._leave(viewer)
                self.loop.run_for(6.0)
                assert not self.hub.topics
        finally:
            self.loop.finish()


class Forging(Spine):
    """The same, on a broker where others may publish live events."""

    @rule(
        seq=st.sampled_from(["next", "soon", "far", "here", "before"]),
        predecessor=st.sampled_from(["right", "right", "wrong"]),
        twice=st.booleans(),
    )
    def forge(self, seq: str, predecessor: str, twice: bool) -> None:
        self.loop.call(lambda: self._forge(seq, predecessor))
        if twice:
            self.loop.call(lambda: self._forge(seq, predecessor))

    def _forge(self, seq: str, predecessor: str) -> None:
        self.count += 1
        for each in self._topics():
            received = each.order.received
            last = max(self.broker.life.last_seq, received)
            seqs = {"next": last + 1, "soon": last + 7, "far": 2**62, "here": received, "before": max(1, received - 1)}
            raw = orjson.dumps({"type": "complete", "message": f"forged {self.count}", "timestamp": 1})
            self.broker.forge(seqs[seq], received if predecessor == "right" else received + 3, raw)


@pytest.fixture(autouse=True)
def small_and_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits, so that short histories reach all of them."""
    monkeypatch.setattr(replay, "_BLOCK", 8)
    monkeypatch.setattr(replay, "PAGE", 16)
    monkeypatch.setattr(replay, "_CACHE_BYTES", 40_000)
    monkeypatch.setattr(repair, "PAGE_EVENTS", 7)
    monkeypatch.setattr(continuity, "MAX_HELD", 5)
    monkeypatch.setattr(audience, "SLICE", 2)
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 1024)
    monkeypatch.setattr(topic, "Ring", partial(Ring, max_bytes=8000, max_entries=10))
    for module in (repair, replay):
        monkeypatch.setattr(module, "_limited", LOUD)
    for module in (one_call, socket_writer):
        monkeypatch.setattr(module, "os", DESCRIPTORS)


class TestSpine(Spine.TestCase):  # type: ignore[misc, valid-type]
    """Hypothesis plays it."""

    settings = settings(
        deadline=None,
        max_examples=3000 if HUNT else 120,
        stateful_step_count=40 if HUNT else 30,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    pytestmark = pytest.mark.timeout(1800 if HUNT else 120)


class TestForging(Forging.TestCase):  # type: ignore[misc, valid-type]
    """With forged live events."""

    settings = settings(
        deadline=None,
        derandomize=not HUNT,
        max_examples=3000 if HUNT else 60,
        stateful_step_count=40 if HUNT else 25,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    pytestmark = pytest.mark.timeout(1800 if HUNT else 120)


# -- what it has found, one by one ---------------------------------------------------------------------------------


@pytest.fixture
def spine() -> Iterator[Spine]:
    """Ten events, one viewer that has them all."""
    spine = Spine()
    spine.start(interval=0.0, events=9, page_bytes=45_000, slice_of=2)
    spine.join()
    spine.loop.run_for(1.0)
    assert spine.viewers[0].position == 10
    yield spine
    spine.teardown()


def lost(spine: Spine, count: int) -> list[Kept]:
    """Events whose live messages never come."""
    return [spine.loop.call(lambda: spine._publish("status", 0, [])) for _ in range(count)]


def forget(spine: Spine, from_seq: int, seconds: float) -> None:
    """The leader could not write what it had acknowledged, and leads on until its next write."""
    spine.broker.forgets_from = from_seq
    spine.loop.run_for(seconds)
    spine.broker.forgets_from = math.inf
    spine.loop.run_for(SECOND_LOOK_S)
    spine.publish("status", 0, [0.0])
    spine.all_is_well()


@pytest.mark.parametrize("what", [*Spine.MEANWHILE, "nothing"])
@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("viewers", [7, 12])
def test_while_an_event_goes_out(spine: Spine, what: str, turns: int, viewers: int) -> None:
    """In slices of two: whatever happens between two of them, each viewer gets the event once."""
    for _ in range(viewers - 1):
        spine.join()
    spine.loop.run_for(1.0)
    spine.begin_to_send()
    assert any(each.live.sending for each in spine._topics()), "some have it, and others wait"
    spine.loop.turns(turns)
    spine.meanwhile(what, spine.viewers[-1])
    spine.all_is_well()
    assert {viewer.position for viewer in spine.here} == {12 if what == "publish" else 11}


def test_a_leader_that_forgets_for_a_moment_resets_no_live_viewer(spine: Spine) -> None:
    spine.publish("status", 0, [0.0])
    spine.loop.run_for(0.5)
    forget(spine, 11, LEADER_CHECK_EVERY_S)
    assert spine.viewers[0].position == 12 and not any("reset" in line for line in spine.viewers[0].log)


def test_a_leader_that_forgets_for_a_moment_resets_nobody_who_comes(spine: Spine) -> None:
    newest = lost(spine, 1)[0].seq
    spine._join(Position("1", newest))  # from another edge, where the event has arrived
    forget(spine, newest, SECOND_LOOK_S / 2)
    for viewer in spine.viewers:
        assert viewer.position == newest + 1 and not any("reset" in line for line in viewer.log)


def test_what_was_missed_and_is_gone_is_a_reset(spine: Spine) -> None:
    spine.broker.life.purge(lost(spine, 3)[-1].seq, spine.loop.now)
    spine.publish("status", 0, [0.0])
    spine.loop.run_for(0.5)
    assert spine.viewers[0].log[-2:] == ["sync:reset:expired:14", "14"]


def test_a_live_event_that_is_gone_before_what_it_follows_was_read(spine: Spine) -> None:
    """Nothing is left that could fill the gap: it must not be looked for for ever."""
    lost(spine, 2)
    spine.publish("status", 0, [0.0])
    spine.broker.life.purge(13, spine.loop.now)
    spine.all_is_well()


def test_a_live_event_that_was_never_stored_changes_nothing(spine: Spine) -> None:
    forged = Kept(900, 899, b'{"type":"complete","message":"forged","timestamp":1}', True, 0.0)
    spine.loop.call(lambda: spine.broker.deliver(forged, 0.0))
    spine.loop.run_for(0.01)
    spine.publish("status", 0, [0.0])
    spine.all_is_well()
    assert spine.viewers[0].log.count("11") == 1 and "900" not in spine.viewers[0].log


@pytest.mark.parametrize("seq", [11, 12, 500, 2**62], ids=["exactly the next", "soon", "later", "far"])
def test_a_forged_event_that_follows_is_taken_back(spine: Spine, seq: int) -> None:
    """Its predecessor is right, so it cannot be told from a stored one when it comes."""
    viewer = spine.viewers[0]
    forged = b'{"type":"complete","message":"forged","timestamp":1}'
    spine.loop.call(lambda: spine.broker.forge(seq, 10, forged))
    spine.loop.run_for(0.01)
    assert (str(seq) in viewer.log) == (seq < 2**62), "what the stream cannot have is not shown at all"
    spine.publish("status", 0, [0.0])
    stored = seq in (11, 2**62)  # so far has the stream come, or the event is not believed in the first place
    spine.loop.run_for(0.5 if stored else SECOND_LOOK_S + 0.5)
    assert viewer.log[-1] == "11" and (seq == 2**62 or any("reset" in line for line in viewer.log))
    spine.publish("status", 0, [0.0])
    spine.all_is_well()
    assert viewer.position == 12 and not viewer.forged_at


def test_a_forged_last_event_is_found_without_another(spine: Spine) -> None:
    forged = b'{"type":"complete","message":"forged","timestamp":1}'
    spine.loop.call(lambda: spine.broker.forge(11, 10, forged))
    spine.loop.run_for(6.0)
    told = [line for line in spine.viewers[0].log if not line.startswith("heartbeat")]
    assert "sync:reset:ahead:10" in told and told[-1] == "10"


def test_a_stored_event_whose_live_message_was_forged_before_it(spine: Spine) -> None:
    """The sequence and the predecessor are right, and only the text differs; its own live message is lost."""
    forged = b'{"type":"complete","message":"forged","timestamp":1}'
    spine.loop.call(lambda: spine.broker.forge(11, 10, forged))
    lost(spine, 1)
    spine.loop.run_for(6.0)
    told = [line for line in spine.viewers[0].log if not line.startswith("heartbeat")]
    assert told[-1] == "11" and not spine.viewers[0].forged_at


def test_a_topic_that_is_flooded_with_forged_events_recovers(spine: Spine) -> None:
    for number in range(40):
        seq = 100 + number
        spine.loop.call(lambda seq=seq: spine.broker.forge(seq, spine._topics()[0].order.received, b"{}"))  # type: ignore[misc]
        spine.publish("status", 0, [0.0])
        spine.loop.run_for(0.5)
    spine.all_is_well()
    assert spine.viewers[0].position == 50


def test_what_comes_live_during_the_splice_is_not_left_to_the_leader_check() -> None:
    spine = Spine()
    spine.start(interval=0.0, events=0, page_bytes=45_000, slice_of=2)
    spine.loop.run_for(2.5)
    assert spine.hub.epoch, "so that the splice need not ask for it"
    spine.broker.latency_s = 0.2
    spine.join()
    spine.loop.run_for(0.35)  # flushed, and the leader has said what is newest
    spine.publish("status", 0, [0.0])
    spine.loop.run_for(0.001)
    (topic,) = spine._topics()
    assert (topic.state, topic.order.received) == ("opening", 0)
    while topic.state == "opening":
        spine.loop.run_for(0.01)
    assert topic.order.received == 2, "known without asking anew"
    spine.teardown()


def test_a_viewer_that_comes_while_the_leader_is_asked_is_not_part_of_the_answer(spine: Spine) -> None:
    spine.broker.latency_s = 0.3
    spine.resume_ahead(1000)
    spine.loop.run_for(0.2)  # the leader has answered, the answer is on its way
    late = spine._join(Position("1", lost(spine, 1)[0].seq))
    spine.loop.run_for(3.0)
    assert late.log[0].startswith("sync:recovered")


def test_a_page_of_earlier_times_does_not_lead_in_a_circle(spine: Spine) -> None:
    """The first page is kept in memory, what it leads to is gone from the stream."""
    viewer = spine.viewers[0]
    spine.loop.call(lambda: viewer.transport.room(0))
    spine.publish_many(4, "status", 300, [0.0])
    spine.join()
    spine.loop.run_for(1.0)
    spine.publish_many(25, "status", 300, [0.0])
    spine.broker.life.purge(30, spine.loop.now)
    spine.loop.run_for(1.0)
    spine.loop.call(lambda: viewer.transport.room(float("inf")))
    spine.loop.run_for(1.0)
    assert sum("expired" in line for line in viewer.log) <= 1


def test_whoever_watches_a_stream_that_is_made_anew_is_never_told_that_there_is_no_such_test(spine: Spine) -> None:
    spine.broker.latency_s = 0.3  # longer than the hub waits between two looks at the leader
    spine.recreate(0)
    spine.loop.run_for(8.0)
    assert not spine.viewers[0].missing and "sync:reset:epoch:0" in spine.viewers[0].log
    spine.broker.latency_s = 0.001
    spine.publish("status", 0, [0.0])
    spine.all_is_well()
    assert spine.viewers[0].position == 1


@pytest.mark.parametrize("since_then", [1, 30], ids=["in the ring", "past the ring"])
def test_a_position_from_before_all_of_a_run_was_purged_has_expired(spine: Spine, since_then: int) -> None:
    """The topic opens while nothing is retained: its ring begins at 0, and yet not with the run's first event."""
    spine.recreate(9)
    spine.broker.life.purge(9, spine.loop.now)
    spine.loop.run_for(8.0)
    assert [topic.order.received for topic in spine._topics()] == [0]
    spine.publish_many(since_then, "status", 0, [0.0])
    spine.loop.run_for(1.0)
    late = spine._join(Position(spine.broker.life.epoch, 5))
    spine.loop.run_for(1.0)
    assert late.log[0].startswith("sync:reset:expired") and late.position == 9 + since_then


def test_what_waits_of_the_answer_to_a_subscription_is_not_overtaken(spine: Spine) -> None:
    """The session is not yet among the socket's own when its first frames are written."""
    [viewer] = spine.viewers
    assert viewer.fd >= 0
    spine.loop.call(lambda: viewer.transport.room(0))
    spine._subscribe_again(viewer)
    spine.publish("status", 0, [0.0])
    spine.loop.run_for(0.1)
    assert viewer.fd == -1
    spine.loop.call(lambda: viewer.transport.room(float("inf")))
    assert viewer.log[-2:] == ["sync:recovered::10", "11"]


def test_a_run_of_many_large_events_opens(spine: Spine) -> None:
    """Its snapshot is folded from more pages than one would think from the number of events."""
    spine.publish_many(40, "status", 20_000, [0.0])
    spine.loop.run_for(1.0)
    spine._leave(spine.viewers[0])
    spine.loop.run_for(6.0)
    assert not spine._topics()
    spine.join()
    spine.all_is_well()


def test_a_stalled_viewer_delays_nobody(spine: Spine) -> None:
    """Fan-out happens within a turn or two, whoever does not read."""
    spine.join()
    spine.loop.run_for(0.1)
    spine.loop.call(lambda: spine.viewers[0].transport.room(0))
    now = spine.loop.now
    for seq in range(11, 60):
        spine.publish("status", 3000, [0.0])
        spine.loop.turns(3)
        assert spine.viewers[1].position == seq
    assert (spine.viewers[0].position, spine.loop.now) == (10, now)
