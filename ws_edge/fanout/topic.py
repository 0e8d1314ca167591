"""A topic: an edge's view of one test, and the sessions of its viewers.

The topic is the driver of the fan-out. What a session gets next is decided in `resume`, whether live events follow one
another in `continuity`; the topic reads, schedules and writes.

A session is either live (it shares the topic's released position and costs nothing) or behind (it has a cursor of its
own). Joining, resuming and being slow are one mechanism: a session that is behind catches up from the ring or, beyond
it, from the stream.

Nothing here waits for a viewer, and nothing here is a coroutine: what has to wait for the broker is in `repair`.

Longer than 400 lines: what is decided elsewhere meets here, and shares the state of one topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from broker.contract.ports import LiveEvent
from broker.contract.position import Decision, Position
from broker.contract.snapshot import Snapshot
from ws_edge.encoding import Encoding
from ws_edge.fanout.audience import Audience
from ws_edge.fanout.batch import BatchCache, count_of, framed
from ws_edge.fanout.continuity import Continuity, Verdict
from ws_edge.fanout.figures import FanoutFigures
from ws_edge.fanout.repair import Repair
from ws_edge.fanout.replay import ReplayPage
from ws_edge.fanout.resume import ASKED, NOWHERE, READ_ENDS, READ_STARTS, Act, Plan, Stage, plan_catch_up, plan_resume
from ws_edge.fanout.ring import Entry, Ring, entry_of, has_ended
from ws_edge.fanout.services import Services, State, TopicStatistics
from ws_edge.fanout.session import Session, Viewer
from ws_edge.fanout.sync import SyncCache
from ws_edge.fanout.throttle import Throttle

LEADER_CHECK_AFTER_SPLICE_S: Final = 0.25
"""Interest takes time to spread in a cluster: an event stored during the splice may have been missed."""
LEADER_CHECK_EVERY_S: Final = 2.0
LEADER_CHECK_AT_LEAST_EVERY_S: Final = 10.0


class Topic:
    """One test on this node. All calls from the loop."""

    def __init__(
        self,
        test_id: str,
        services: Services,
        *,
        progress_interval_s: float,
        high_water_bytes: int,
        on_quiet: Callable[[Topic], None],
        figures: FanoutFigures,
    ) -> None:
        self.test_id = test_id
        self.state: State = "opening"
        self.epoch = ""
        """The life of the stream that the positions belong to; empty until opened."""
        self.order = Continuity()
        self.figures, self.live = figures, Audience(figures, services.write_all)
        self.behind: set[Session] = set()
        self.sent_at = 0.0
        """When something last went out to all live sessions, loop time."""
        self.received_at = 0.0
        """When an event was last received, loop time."""
        self.idle_since = 0.0
        """Since when it has no session, loop time."""
        self.check_at = 0.0
        """When to ask the leader whether anything was missed, loop time."""
        self._services, self._loop = services, asyncio.get_running_loop()
        self._ring = Ring(0)
        self._batches, self._syncs = BatchCache(test_id), SyncCache(test_id)
        self._throttle: Throttle[Entry] = Throttle(progress_interval_s)
        self._throttle_timer: asyncio.TimerHandle | None = None
        self._high_water_bytes, self._on_quiet = high_water_bytes, on_quiet
        self._outbox: list[Entry] = []
        self._fresh: list[int] = []
        """When the broker stored those of the outbox that the throttle has not held back, ms since 1970."""
        self._fallback: Snapshot | None = None
        self._repair = Repair(self, services)
        self._repair.open()

    def __repr__(self) -> str:
        return f"<Topic {self.test_id} {self.state} live={len(self.live)} behind={len(self.behind)} {self.order!r}>"

    def statistics(self) -> TopicStatistics:
        """The topic as it is now."""
        order, sessions = self.order, (len(self.live), len(self.behind))
        counts = (order.received, order.released, len(order.held), order.gaps, order.repaired)
        return TopicStatistics(*sessions, *counts, len(self._ring.entries), self._ring.bytes)

    # -- viewers -------------------------------------------------------------------------------------------------

    def add(self, viewer: Viewer, asked: Position | None) -> Session:
        """Adds a viewer that joins or resumes. It is behind until it has everything."""
        session = Session(self, viewer, asked, self._loop.time())
        self.behind.add(session)
        if self.order.sound:
            self.pump(session)
        return session

    def remove(self, session: Session) -> None:
        """The viewer has gone."""
        self.live.discard(session)
        self.behind.discard(session)
        if not self.live and not self.behind:
            self.idle_since = self._loop.time()
            self._on_quiet(self)

    def pump(self, session: Session) -> None:
        """Writes what a session lacks, until its buffer is full or it is current.

        Called when the viewer may have room or new data.
        """
        if session not in self.behind or session.stage in READ_ENDS or self.state != "open":
            return
        out: list[bytes] = []
        full = self._advance(session, out)
        if out:
            data = b"".join(out)
            self.figures.on_write(len(data))
            session.viewer.write(data)
        if full:  # the kernel may take it all in this very turn
            self._loop.call_soon(self._pump_again, session)
        elif session.stage is Stage.BEHIND and session.cursor == self.order.released:
            self.behind.discard(session)  # only now: what was written may have to wait
            session.stage = Stage.LIVE
            self.live.add(session)

    def pump_all(self) -> None:
        """Pumps every session that is behind."""
        for session in tuple(self.behind):
            self.pump(session)

    def _pump_again(self, session: Session) -> None:
        if session in self.behind and session.viewer.waiting() <= self._high_water_bytes // 2:
            self.pump(session)

    def _advance(self, session: Session, out: list[bytes]) -> bool:
        """Adds what comes next to `out`. Returns False when nothing is left, or something has to be read first; True
        when it is as much as the viewer should hold."""
        room = self._high_water_bytes // 2 - session.viewer.waiting()
        while room >= 0:
            frame = self._carry_out(session)
            if frame is None:
                return False
            if frame:
                out.append(frame)
                room -= len(frame)
        return True

    def _carry_out(self, session: Session) -> bytes | None:
        """Does what comes next for a session. Returns the bytes to write, None when it has to wait or has all."""
        plan, page = self._plan(session)
        act = plan.act
        if act is Act.REST:
            return None
        if act is Act.RING:
            return self._next_batch(session, self._ring.entries)
        if act is Act.PAGE:
            assert page is not None
            return self._next_batch(session, page.entries)
        if act is Act.SYNC:
            assert plan.decision is not None
            if plan.decision.reason == "expired":  # nor is anything before it retained, whatever a page says
                self._services.replay.forget(self.test_id, self._place_of(session))
            session.stage, session.cursor = Stage.BEHIND, plan.cursor
            return self._sync(session.viewer.encoding, plan.decision)
        if act is Act.SKIP:
            session.cursor = plan.cursor
            return b""
        if act is Act.READ:
            self._read_page(session, plan.cursor)
        else:
            self._repair.ask_leader()
        return None

    def _plan(self, session: Session) -> tuple[Plan, ReplayPage | None]:
        order, ring_after, page = self.order, self._ring.after, None
        place = self._place_of(session)
        if place < ring_after:
            page = self._services.replay.cached(self.test_id, place)
        if session.stage is Stage.ASKED:
            return plan_resume(session.asked, self.epoch, order, ring_after, session.leader_answer, page), page
        return plan_catch_up(session.cursor, order, ring_after, session.leader_answer, page), page

    def _place_of(self, session: Session) -> int:
        if session.stage in ASKED:
            return 0 if session.asked is None else session.asked.seq
        return session.cursor

    def _next_batch(self, session: Session, entries: list[Entry]) -> bytes:
        released = self.order.released
        asked = (session.viewer.encoding, entries, session.cursor, released, self.epoch)
        frame, cursor, events = self._batches.frame(*asked)
        self.figures.on_batch(len(frame), events)
        # When nothing comes before the head although entries follow it, it is not retained any more.
        session.cursor = cursor if cursor > session.cursor else released
        return frame

    def _sync(self, encoding: Encoding, decision: Decision) -> bytes:
        self.figures.on_sync(decision.outcome, decision.reason)
        snapshot, stale = self._services.snapshot(self.test_id) or self._fallback, self._services.stale
        return self._syncs.frame(encoding, decision, self.epoch, self.order.released, stale, snapshot)

    def _read_page(self, session: Session, cursor: int) -> None:
        session.stage = READ_STARTS[session.stage]

        def on_page(page: ReplayPage) -> None:
            session.stage = READ_ENDS.get(session.stage, session.stage)
            if session not in self.behind:
                return
            if page.last > cursor:
                self.pump(session)
            else:  # a lagging replica, or events that are gone: the leader knows
                self._repair.ask_leader()

        self._services.replay.request(self.test_id, cursor, on_page)

    # -- events --------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """The newest event that was released has ended the run, as far as is known here. Not all have it while
        `live.sending`."""
        snapshot, last = self._services.snapshot(self.test_id) or self._fallback, self.order.released
        page = None if self._ring.entries else self._services.replay.cached(self.test_id, last - 1)
        return has_ended(self._ring.entries if page is None else page.entries, last, snapshot)

    def since(self, seq: int) -> list[Entry] | None:
        """All events after `seq` that were received, released or not; None when they are not all at hand."""
        if not self.order.sound or self.epoch != self._services.epoch or seq < self._ring.after:
            return None
        return [entry for entry in (*self._ring.since(seq), *self._outbox, *self._throttle.held) if entry.seq > seq]

    def on_arrival(self, test_id: str, event: LiveEvent) -> None:
        """Takes an event from the broker. Called in the connection's reading loop."""
        self.figures.on_received(event.stored_ms)
        self.on_live(test_id, event)

    def on_live(self, _test_id: str, event: LiveEvent) -> None:
        """Takes a live event, which may have waited."""
        if (verdict := self.order.offer(event)) is Verdict.TAKE:
            self.take(event.seq, event.data, event.stored_ms)
        elif verdict is Verdict.GAP:
            self._repair.catch_up()
        elif verdict is Verdict.DISPUTED:
            self._repair.judge()

    def take(self, seq: int, data: bytes, stored_ms: int) -> None:
        """Receives the next event in order."""
        self.order.take(seq, data)
        self.received_at = now = self._loop.time()
        entry = entry_of(self.test_id, seq, data, stored_ms, self._services.unreadable.note)
        if released := self._throttle.offer(entry, entry.kind, now):
            self._fresh.append(stored_ms)
            self._release(released)
        self._wait_for_window()

    def _on_window_end(self) -> None:
        self._throttle_timer = None
        self._release(self._throttle.expire(self._loop.time()))
        self._wait_for_window()

    def _wait_for_window(self) -> None:
        if self._throttle.due is not None and self._throttle_timer is None:
            self._throttle_timer = self._loop.call_at(self._throttle.due, self._on_window_end)

    def _release(self, entries: list[Entry]) -> None:
        if entries:
            if not self._outbox:
                self._loop.call_soon(self._flush)
            self._outbox.extend(entries)

    def _flush(self) -> None:
        """Writes what this turn of the loop has released to the live sessions, joined and framed once per encoding."""
        if self.live.sending or not self._outbox:  # `_go_on` comes back to it
            return
        entries, self._outbox = self._outbox, []
        before, self.order.released = self.order.released, entries[-1].seq
        self._ring.extend(entries)
        self._batches.clear()
        if self.live:
            self.figures.on_sent(self._fresh)
            self.live.offer(lambda by: framed(self.test_id, by, entries, self.epoch), before, count_of(entries))
            self._go_on()
        self._fresh.clear()
        self.pump_all()

    def _go_on(self) -> None:
        """Writes what is offered to the next of the live sessions."""
        self.sent_at = self._loop.time()
        try:
            for session in self.live.go_on(self._high_water_bytes):
                self.live.discard(session)
                session.stage, session.cursor, session.behind_since = Stage.BEHIND, self.live.before, self.sent_at
                self.behind.add(session)
                self.pump(session)
        finally:  # whatever is wrong with one, the others wait for it
            if self.live.sending:
                self._loop.call_soon(self._go_on)
            elif self._outbox:
                self._loop.call_soon(self._flush)

    def heartbeat(self) -> None:
        """Tells every live session that nothing has happened, and up to where."""
        if not self.live.sending:
            at, run, stale = Position(self.epoch, self.order.released), self.test_id, self._services.stale or None
            fields: dict[str, Any] = {"testId": run, "head": at.seq, "stale": stale}
            self.live.offer(lambda by: by.control("heartbeat", at, **fields), at.seq)
            self._go_on()

    # -- what was missed -----------------------------------------------------------------------------------------

    def check_due(self, now: float) -> bool:
        """The leader should be asked: after a splice, every 2 s while the topic is quiet, and every 10 s."""
        return self.check_at <= now and (self._may_lack(now) or now - self.check_at >= LEADER_CHECK_AT_LEAST_EVERY_S)

    def _may_lack(self, now: float) -> bool:
        return now - self.received_at >= LEADER_CHECK_EVERY_S or self.check_at > self.received_at

    def verify(self, newest: int, data: bytes | None, now: float) -> None:
        """Compares with the run's newest event as the leader knew it at `now`. What is lacking here is read."""
        if self.order.exceeds(newest, data):
            if newest or self.received_at < now:
                self._repair.judge()
        elif self._may_lack(now) and self.order.lacks(newest):
            self._repair.catch_up(newest)

    def reconnected(self) -> None:
        """The broker was away: whatever was published meanwhile has to be read."""
        if self.state == "open" and self.order.doubt():
            self._repair.catch_up()

    def restart(self) -> None:
        """The stream was recreated. Discards all state and tells every viewer `reset epoch`."""
        if self.state in ("missing", "closed"):
            return
        self.resume_all(0)
        self.epoch = ""
        self.order.doubt()
        self.order.held.clear()
        self._repair.abandon()
        self.state = "opening"
        self._repair.open()

    async def close(self) -> None:
        """Gives up the interest. The topic is of no more use."""
        self.state = "closed"
        self.order.doubt()
        if self._throttle_timer is not None:
            self._throttle_timer.cancel()
        await self._repair.close()

    def on_opened(self, epoch: str, received: int, fallback: Snapshot | None) -> None:
        """Interest stands, and `received` is the newest event.

        Args:
            fallback: the snapshot, where the node has none yet.
        """
        self._forget_events(received)
        self.order.believe(max(received, self._services.last_seq))
        self.epoch, self._fallback = epoch, fallback

    def on_missing(self, state: State = "missing") -> None:
        """There is no such test, or not any more: every viewer is told."""
        self.state = state
        for session in (*self.behind, *self.live):
            self.remove(session)
            session.viewer.session_missing(session)

    def on_resolved(self) -> None:
        """Nothing is known to be missing. The leader is asked soon after, since a splice may miss an event."""
        self.state = "open"
        self.check_at = self._loop.time() + LEADER_CHECK_AFTER_SPLICE_S

    def disproved(self, seq: int, newest: int) -> None:
        """What was received at `seq` is not what the stream has there: who has been sent it is told `reset`."""
        self.resume_all(newest, disproved=seq)
        self.order.doubt()
        self._services.disproved(self.test_id, newest)

    def resume_all(self, received: int, *, disproved: int | None = None) -> None:
        """What is held here is not continuous with what comes next: every viewer resumes from its position.

        Args:
            disproved: a viewer that has been sent the event at this sequence has no position.
        """
        for session in self.live:
            session.cursor = self.live.position_of(session, self.order.released)
            session.behind_since = self._loop.time()
        self.behind.update(self.live)
        self.live.clear()
        for session in self.behind:
            if session.stage not in ASKED:
                wrong = disproved is not None and session.cursor >= disproved
                session.asked = Position(self.epoch, NOWHERE if wrong else session.cursor)
            session.stage, session.leader_answer = Stage.ASKED, None
        self._services.replay.forget(self.test_id)
        self._forget_events(received)

    def _forget_events(self, received: int) -> None:
        self.order.start(received)
        self._ring.clear(received)
        self._batches.clear()
        self._outbox.clear()
        self._fresh.clear()
        self._fallback = None
        self._throttle = Throttle(self._throttle.interval_s)
        if self._throttle_timer is not None:
            self._throttle_timer.cancel()
            self._throttle_timer = None
