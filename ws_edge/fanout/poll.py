"""Answers for viewers that poll: the events after a position, at once or when the next ones come.

A poll is a viewer of the topic like any other. It joins with its position, so that the resume table, the pace, the
ring, the replay and the leader check are those of sockets; it collects what a socket would be written, and leaves with
it. Whoever asks for the same position of the same run meanwhile waits with it, and all are given one answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from broker.contract.errors import BrokerUnavailable, NotFound
from broker.contract.position import Position
from ws_edge.encoding import Encoding
from ws_edge.fanout.answer import Answer, Stretch
from ws_edge.fanout.hub import Hub
from ws_edge.fanout.resume import ASKED, Stage
from ws_edge.fanout.session import Session

MAX_EVENTS: Final = 1000
_MAX_BYTES: Final = 256 * 1024
"""Of the events of one answer, about."""
_DECIDE_S: Final = 10.0
"""How long the answer to where a position stands may take: the leader is asked, and may be elected meanwhile."""
_KEPT_BYTES: Final = 8 << 20
"""Of answers that can never be others: whoever follows behind the first asks for the same ones."""
_FULL: Final = 1 << 40

Key = tuple[str, Position | None, int]


class PollStatistics(NamedTuple):
    """Polls at one moment, and since the start of the node."""

    waiting: int
    """Requests that wait for events."""
    open: int
    """Positions that they wait at: each is one viewer of a topic."""
    answers: int
    """Given since the start."""
    bodies: int
    """Made for them since the start: an answer that many wait for is made once."""


class _Lines:
    """Events and control messages as lines that a poll can take apart: a sequence or a type, a space, the JSON."""

    name: Final = "poll"

    def frame(self, bodies: Sequence[bytes], seqs: Sequence[int] = (), epoch: str = "") -> bytes:
        """A line for each event."""
        pairs = zip(bodies, seqs, strict=True)
        return b"".join([b"%d %b\n" % (seq, body.replace(b"\n", b" ")) for body, seq in pairs])

    def control(self, kind: str, at: Position | None = None, /, **fields: Any) -> bytes:
        """One line; a heartbeat is none."""
        if kind == "heartbeat":
            return b""
        return b"%b %b\n" % (kind.encode(), orjson.dumps({name: v for name, v in fields.items() if v is not None}))


_LINES: Final = _Lines()


class Poll:
    """A viewer that waits at one position, for all who ask for what comes after it.

    Args:
        on_done: called once, when it is of no more use, with its answer if it has one.
        on_answer: called when an answer is made.
    """

    encoding: Encoding = _LINES
    fd = -1

    def __init__(
        self, hub: Hub, key: Key, on_done: Callable[[Poll, Answer | None], None], on_answer: Callable[[], None]
    ) -> None:
        self.key = key
        self.hurried = False
        """Nobody waits for an event that is not there."""
        self.decided = asyncio.Event()
        """It has joined: everything there was at that moment has been collected."""
        self.waiters = 0
        self._hub = hub
        self._on_done = on_done
        self._on_answer = on_answer
        self._done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._done.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to see it
        self._sync: dict[str, Any] | None = None
        self._events: list[tuple[int, bytes]] = []
        self._unreadable: dict[str, Any] | None = None
        self._size = 0
        self._empty: Answer | None = None
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"<Poll {self.key[0]} waiters={self.waiters} events={len(self._events)}>"

    def join(self) -> None:
        """Joins the topic."""
        test_id, asked, _ = self.key
        self._hub.leaves_at_end(self, test_id)
        session = self._hub.subscribe(self, test_id, asked)
        if self._done.done():
            session.close()
            return
        self._session = session
        self._look()

    # -- as a viewer ---------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Nothing waits to be sent, until it is as much as one answer holds."""
        return _FULL if self._is_full else 0

    def write(self, data: bytes) -> None:
        """Takes what a viewer is told."""
        for line in data.split(b"\n"):
            word, _, text = line.partition(b" ")
            if word.isdigit():
                self._events.append((int(word), text))
                self._size += len(text)
            elif word == b"sync":
                self._sync, self._events, self._size = orjson.loads(text), [], 0
            elif word == b"unreadable":
                self._unreadable = orjson.loads(text)
        self._empty = None
        asyncio.get_running_loop().call_soon(self._look)  # a session counts as live only after this

    def queue(self, rest: memoryview) -> None:
        """See `Viewer`: it has no descriptor that something could be written to."""
        self.write(bytes(rest))

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Takes every frame."""
        if frame:
            self.write(frame)
        return True

    def session_missing(self, session: Session) -> None:
        """The run does not exist, or was deleted."""
        self._session = None
        self._finish(NotFound(self.key[0]))

    def run_ended(self, test_id: str) -> None:
        """Nothing more is to come."""
        self._look()

    # -- its answer ----------------------------------------------------------------------------------------------

    @property
    def _is_full(self) -> bool:
        return len(self._events) >= self.key[2] or self._size >= _MAX_BYTES

    @property
    def _is_current(self) -> bool:
        """It has been told everything that has gone out to viewers."""
        session, topic = self._session, self._hub.topics.get(self.key[0])
        if session is None or topic is None or topic.state != "open" or self._sync is None:
            return False
        released = topic.order.released
        if session.live is not None:
            return topic.live.position_of(session, released) >= released
        return session.stage is Stage.BEHIND and session.cursor >= released

    def _look(self) -> None:
        """Answers when there is something to say, or nothing more will come."""
        if self._done.done():
            return
        if self._is_full or self._is_current:
            self.decided.set()
            topic = self._hub.topics.get(self.key[0])
            fresh = self._sync is not None and self._sync["outcome"] != "recovered"
            ended = topic is not None and topic.ended
            if self._events or self._unreadable or fresh or ended or self.hurried:
                self.answer_now()

    def answer_now(self) -> None:
        """Gives everybody who waits here what there is."""
        if not self._done.done() and self._sync is not None:
            self._finish(self._answer())

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._finish(NotFound(self.key[0]))

    def _finish(self, outcome: Answer | NotFound) -> None:
        if self._done.done():
            return
        if isinstance(outcome, Answer):
            self._done.set_result(outcome)
        else:
            self._done.set_exception(outcome)
        self.decided.set()
        self._hub.stays(self, self.key[0])
        if self._session is not None:
            self._session.close()
            self._session = None
        self._on_done(self, outcome if isinstance(outcome, Answer) else None)

    def _answer(self) -> Answer:
        assert self._sync is not None
        self._on_answer()
        test_id, asked, limit = self.key
        topic, events, session = self._hub.topics[test_id], self._events[:limit], self._session
        released = topic.order.released
        if session is None or len(self._events) > limit or session.stage in ASKED:
            after = events[-1][0] if events else 0
        else:  # past what could not be read, too
            after = session.cursor if session.live is None else topic.live.position_of(session, released)
        if asked is not None and self._sync["outcome"] == "recovered":
            after = max(after, asked.seq)
        more = after < released
        stretch = [body for _, body in events]
        run = Stretch(stretch, self._unreadable, after, released, more, not more and topic.ended)
        return Answer(self._sync, run, asked)

    async def answer(self, wait_s: float) -> Answer:
        """What comes after the position: within `wait_s`, or nothing.

        Raises:
            NotFound: there is no such run. BrokerUnavailable: it could not be found out where the position stands.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + wait_s
        try:
            async with asyncio.timeout(max(wait_s, _DECIDE_S)):
                await self.decided.wait()
        except TimeoutError:
            raise BrokerUnavailable("the broker has not said in time where this position stands") from None
        if not self._done.done() and clock() < until:
            await asyncio.wait([self._done], timeout=until - clock())
        if self._done.done():
            return self._done.result()
        if self._empty is None:
            self._empty = self._answer()
        return self._empty


class Polls:
    """The polls of one node. All calls from the loop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._open: dict[Key, Poll] = {}
        self._kept: OrderedDict[Key, Answer] = OrderedDict()
        self._kept_bytes = 0
        self._waiting = 0
        self._answers = 0
        self._bodies = 0
        self._draining = False
        hub.on_disproved.append(lambda test_id, _newest: self.forget(test_id))

    def __repr__(self) -> str:
        return f"<Polls open={len(self._open)} waiting={self._waiting} kept={self._kept_bytes}>"

    def statistics(self) -> PollStatistics:
        """The figures of this moment."""
        return PollStatistics(self._waiting, len(self._open), self._answers, self._bodies)

    async def ask(self, test_id: str, asked: Position | None, limit: int, wait_s: float) -> Answer:
        """What comes after a position.

        Args:
            asked: None for none.
            limit: of events.
            wait_s: how long to wait for the next event, where there is none.

        Raises:
            NotFound, BrokerUnavailable.
        """
        key = (test_id, asked, limit)
        kept = self._kept.get(key)
        if kept is not None and kept.epoch == self._hub.epoch:
            self._kept.move_to_end(key)
            self._answers += 1
            return kept
        poll = self._open.get(key)
        if poll is None:
            poll = self._open[key] = Poll(self._hub, key, self._on_done, self._on_answer)
            poll.join()
        poll.waiters += 1
        self._waiting += 1
        try:
            answer = await poll.answer(0.0 if self._draining else wait_s)
        finally:
            poll.waiters -= 1
            self._waiting -= 1
            if not poll.waiters:
                poll.give_up()
        self._answers += 1
        return answer

    def drain(self) -> None:
        """Answers everybody at once with what there is, from now on."""
        self._draining = True
        for poll in tuple(self._open.values()):
            poll.hurried = True
            poll.answer_now()

    def forget(self, test_id: str) -> None:
        """A run was deleted, or an event of it was forged: nothing of it is kept."""
        for key in [key for key in self._kept if key[0] == test_id]:
            self._kept_bytes -= self._kept.pop(key).size

    def _on_done(self, poll: Poll, answer: Answer | None) -> None:
        if self._open.get(poll.key) is poll:
            del self._open[poll.key]
        if answer is not None:  # now: those who wait take it later, when the run may be deleted
            self._keep(poll.key, answer)

    def _on_answer(self) -> None:
        self._bodies += 1

    def _keep(self, key: Key, answer: Answer) -> None:
        if answer.immutable and key[1] is not None and key[1].epoch == answer.epoch and key not in self._kept:
            self._kept[key] = answer
            self._kept_bytes += answer.size
            while self._kept_bytes > _KEPT_BYTES:
                _, old = self._kept.popitem(last=False)
                self._kept_bytes -= old.size
