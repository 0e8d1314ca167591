"""Who may write to a run, and how each event is stored exactly once.

A publish names the sequence it expects to be the run's last, its writer, and a message id. The broker refuses it when
another event came first; the writer then reads what came and either continues or is fenced. Events that wait are
published as one atomic batch, under the same rules. broker/PROTOCOL.md has them.

Pure: `History`, `remember`, `judge`. With I/O: `read_history` and `Writer`.
"""

from __future__ import annotations

import logging
import random
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from broker.contract import projects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, Fenced, WrongLastSequence
from broker.contract.ports import EventLog, StoredEvent, Unstored
from broker.jetstream import runs
from broker.jetstream.answers import BATCHES_DISABLED
from broker.jetstream.scan import pages
from broker.log import RateLimited
from broker.retry import Backoff, retry

LOST_TO: Final = "lostTo"
"""Field of an attempt's last event: what is played ended it, and why that is known."""
_MAX_REASON_CHARS: Final = 300
_FIRST_RETRY_S: Final = 0.05
_LONGEST_RETRY_S: Final = 0.5
"""A new leader is used within this time. Elections take 4 to 9 s; while nobody leads, a try is answered at once."""
_MAX_FAILED: Final = 3
"""Batches in a row that were refused or not acknowledged. From then on events go alone: each try costs as many messages
as the batch has."""
_WRITER = re.compile(r"(\d{1,9})\.([0-9A-Za-z_-]{1,64})", re.ASCII)

_log = logging.getLogger("testcast.run")
_limited = RateLimited(_log, per_s=5.0)


class WriterId(NamedTuple):
    """One attempt's writer, as `Testcast-Writer` names it."""

    attempt: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.attempt}.{self.nonce}"


class History(NamedTuple):
    """What a run's events, up to and including the one at `head`, say about the attempts at it."""

    head: int = 0
    """0 when nothing is stored."""
    ended: bool = False
    attempts: frozenset[int] = frozenset()
    handed_on: frozenset[int] = frozenset()
    project: str = projects.DEFAULT
    """The run's project, as its first event names it."""
    lost_to: tuple[str, ...] = ()
    """For each attempt that what was played ended, the reason that its worker gave."""

    @property
    def next_attempt(self) -> int:
        """Number of the next attempt, from 1."""
        return max(self.attempts, default=0) + 1

    @property
    def lost(self) -> int:
        """Attempts that ended neither with the run nor by handing it on. Assumes that none is still going on."""
        return len(self.attempts - self.handed_on)

    @property
    def last_handed_on(self) -> bool:
        """The newest attempt handed the run on."""
        return bool(self.attempts) and max(self.attempts) in self.handed_on


def writer_of(event: StoredEvent) -> WriterId | None:
    """The writer that `event` names; None when it names none, which other publishers need not do."""
    found = _WRITER.fullmatch(event.writer or "")
    return WriterId(int(found[1]), found[2]) if found else None


def remember(history: History, stored: StoredEvent) -> History:
    """`history` with one more event. Only writers that name themselves count as attempts: only they are fenced."""
    event, writer = runs.parse(stored.data), writer_of(stored)
    if not history.head and event is not None and projects.is_project(event.field("project")):
        history = history._replace(project=event.field("project"))
    history = history._replace(head=stored.seq, ended=history.ended or (event is not None and event.terminal))
    if writer is None:
        return history
    attempts, handed_on = history.attempts | {writer.attempt}, history.handed_on
    if event is not None and event.field("handover") is True:
        handed_on |= {writer.attempt}
    lost_to, reason = history.lost_to, event.field(LOST_TO) if event is not None else None
    if isinstance(reason, str):
        lost_to = (*lost_to, reason[:_MAX_REASON_CHARS])
    return history._replace(attempts=attempts, handed_on=handed_on, lost_to=lost_to)


def judge(events: Iterable[StoredEvent], own: WriterId, msg_id: str | None) -> dict[str, int]:
    """Decides whether a writer may continue after events stored after its last known head, in order.

    Args:
        own: the writer that asks.
        msg_id: the publish that was refused, None when nothing was.

    Returns:
        The writer's own events among them, by message id: their sequences. Without `msg_id` in it, only other
        publishers wrote, and the writer continues from the new head. With it, what fences the writer may follow; it is
        met at the next publish.

    Raises:
        Fenced: the run has ended, or another worker owns it.
    """
    found: dict[str, int] = {}
    for stored in events:
        if _is_own(stored, own):
            if stored.msg_id is not None:
                found[stored.msg_id] = stored.seq
            continue
        fence = _fence(stored, own)
        if fence is None:
            continue
        if msg_id in found:
            break
        raise fence
    return found


def own_among(events: Iterable[StoredEvent], own: WriterId) -> dict[str, int]:
    """Sequences of the writer's own events, by message id."""
    return {each.msg_id: each.seq for each in events if each.msg_id is not None and _is_own(each, own)}


def _is_own(stored: StoredEvent, own: WriterId) -> bool:
    writer = writer_of(stored)
    return writer is not None and writer.nonce == own.nonce


def _fence(stored: StoredEvent, own: WriterId) -> Fenced | None:
    """Why `own` may not write behind this event of somebody else; None when it may."""
    writer = writer_of(stored)
    if writer is not None and writer.attempt >= own.attempt:
        return Fenced(f"another worker has taken the run over (attempt {writer.attempt})", "attempt")
    event = runs.parse(stored.data)
    if event is not None and event.terminal:
        return Fenced(f"the run has ended: {event.message}", "ended")
    return None


async def _events(log: EventLog, test_id: str, after: int, up_to: int) -> list[StoredEvent]:
    """The run's events after `after`, at least as far as `up_to`."""
    return [event async for page in pages(log, test_id, after, up_to) for event in page.events]


async def read_history(log: EventLog, test_id: str) -> History:
    """Reads all of the run's events, up to what the leader says is the last.

    Raises:
        BrokerUnavailable: no leader, or the replicas stay behind it for seconds.
    """
    history = History()
    for event in await _events(log, test_id, 0, await log.last(test_id)):
        history = remember(history, event)
    return history


class Writer:
    """Writes one attempt's events, each stored once and in order, until it is fenced.

    `write` and `write_next` are for one task at a time; `look` may be called concurrently. The event that fenced a
    writer stays in the stream, so a fenced writer stays fenced.

    Args:
        attempt: one more than the highest in the run's events; 1 on a new run.
        head: sequence of the run's newest event that is known, 0 when there is none.
    """

    def __init__(self, log: EventLog, test_id: str, attempt: int, head: int) -> None:
        self.id = WriterId(attempt, secrets.token_hex(6))
        self.head = head
        """Sequence of the run's newest event that writing has shown."""
        self.stored = 0
        """How many events this writer has stored."""
        self._log = log
        self.test_id = test_id
        self._seen = head  # events up to here do not fence this writer
        self._count = 0
        self._unacknowledged: dict[str, int] = {}
        """Own events that are stored behind the head without an acknowledgement: their sequences by message id."""
        self._failed_batches = 0
        """In a row."""
        self._backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S, random.Random())

    def __repr__(self) -> str:
        return f"<Writer {self.id} of {self.test_id} head={self.head} stored={self.stored}>"

    async def write(self, payload: bytes) -> int:
        """Publishes until the event is stored, however long the broker is away. Returns its sequence.

        Raises:
            Fenced: this writer may not write any more.
            BrokerRefused: the broker will never accept the event.
        """
        self._count += 1
        msg_id = self._msg_id(self._count)

        def not_yet(error: Exception) -> None:
            _limited.warning("run %s: event %d is not stored yet: %s", self.test_id, self._count, error)

        seq = self._unacknowledged.pop(msg_id, None)
        while seq is None:
            seq = await retry(
                lambda: self._try(payload, msg_id), backoff=self._backoff, source=self._log, on_failure=not_yet
            )
            self._backoff.reset()
        self.head = seq
        self.stored += 1
        return seq

    async def write_next(self, payloads: Sequence[bytes]) -> list[int]:
        """Tries to store all of these events as one batch, once. Where that fails, or there is one alone, stores the
        first as `write` does.

        Returns:
            Their sequences: of the first one, or of all.
        """
        ids = [self._msg_id(self._count + number) for number in range(1, len(payloads) + 1)]
        if len(ids) > 1 and ids[0] not in self._unacknowledged and self._failed_batches < _MAX_FAILED:
            batch = [Unstored(payload, msg_id) for payload, msg_id in zip(payloads, ids, strict=True)]
            try:
                last = await self._log.append_batch(self.test_id, batch, expected_last=self.head, writer=str(self.id))
            except (BrokerUnavailable, BrokerRefused) as error:
                # Whether they are stored shows when the first one is published alone.
                disabled = isinstance(error, BrokerRefused) and error.err_code == BATCHES_DISABLED
                self._failed_batches = _MAX_FAILED if disabled else self._failed_batches + 1
            else:
                self._failed_batches = 0
                self._count += len(batch)
                self.stored += len(batch)
                self.head = last
                return list(range(last - len(batch) + 1, last + 1))
        return [await self.write(payloads[0])]

    def _msg_id(self, number: int) -> str:
        return f"{self.test_id}.{self.id.nonce}.{number}"

    async def _try(self, payload: bytes, msg_id: str) -> int | None:
        """One publish; None when another publisher's event came first and the head was moved to it."""
        try:
            ack = await self._log.append(
                self.test_id, payload, msg_id=msg_id, expected_last=self.head, writer=str(self.id)
            )
        except WrongLastSequence as refusal:
            last = refusal.last
        else:
            if ack.duplicate:  # so may be those behind it, which were published with it
                last = await self._log.last(self.test_id)
                behind = await _events(self._log, self.test_id, ack.seq, last) if last > ack.seq else []
                self._unacknowledged = own_among(behind, self.id)
            return ack.seq
        if last is None:
            last = await self._log.last(self.test_id)
        self._unacknowledged = judge(
            await _events(self._log, self.test_id, self._unseen_after(self.head, last), last), self.id, msg_id
        )
        stored_at = self._unacknowledged.pop(msg_id, None)
        self.head = stored_at or last
        return stored_at

    async def look(self) -> None:
        """Asks the leader whether this writer still owns the run.

        Raises:
            Fenced: it does not.
            BrokerUnavailable: the leader does not answer.
        """
        newest = await self._log.last(self.test_id)
        after = self._unseen_after(max(self.head, self._seen), newest)
        if newest > after:
            judge(await _events(self._log, self.test_id, after, newest), self.id, None)
            self._seen = newest

    def _unseen_after(self, seen: int, newest: int) -> int:
        """The sequence after which events may be new to this writer.

        The newest is below the known head where the stream has lost events: it was restored from a backup, or made
        again. The run continues from there, and all of its events are new.
        """
        return seen if newest >= self.head else 0
