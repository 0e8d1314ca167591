"""JetStream as testcast uses it: raw requests to its API over a `Connection`.

nats-py has no batched direct get, no way to ask the leader by subject, and an ordered consumer that loses the messages
it drops.

Any replica answers a direct get (`read`, `newest`), and its answer may be stale: by milliseconds usually, by 493 ms in
the worst case measured. `state`, `last` and `at` ask the leader.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NoAnswer, NotThere, StorageFull
from broker.contract.ports import Ack
from broker.jetstream import kv
from broker.jetstream.answers import read_answer
from broker.jetstream.connection import Connection, to_json
from broker.jetstream.parser import Message, header_value
from broker.jetstream.stored_headers import SEQUENCE_HEADER, STORED_HEADER

T = TypeVar("T")

MAX_SUBJECTS_PER_NEWEST: Final = 1024
"""The broker answers 413 when more keys match."""

MSG_ID_HEADER: Final = "Nats-Msg-Id"
EXPECTED_LAST_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"
TTL_HEADER: Final = "Nats-TTL"
"""How long the stream keeps a message. Only `ACCESS`, `HOOKS` and `RUNS` take it."""

_WRITE_CHECK_S: Final = 1.0
_HEARD_NS: Final = 3_000_000_000
"""Followers report every second, and elect another leader after 4 s without theirs at the earliest."""


class StreamState(NamedTuple):
    """A stream as its leader sees it."""

    epoch: str
    """Names this life of the stream: its time of creation, to be treated as opaque."""
    first_seq: int
    last_seq: int
    messages: int
    now_ms: int
    """The leader's clock when it answered, ms since 1970. 0: not known."""


class Stored(NamedTuple):
    """A stored message."""

    subject: str
    seq: int
    headers: bytes
    data: bytes
    stored_ms: int = 0
    """When the broker stored it, ms since 1970 by its clock. 0: not known."""

    def header(self, name: str) -> str | None:
        """Returns the header's value, or None."""
        value = header_value(self.headers, name.encode())
        return None if value is None else value.decode("utf-8", "replace")


class Page(NamedTuple):
    """Consecutive messages of one subject: none is missing between them."""

    messages: list[Stored]
    complete: bool
    """Nothing was stored after them, as the answering replica saw it."""


class Newest(NamedTuple):
    """The newest message of each of several subjects."""

    messages: list[Stored]
    up_to: int
    """The answer is complete up to this stream sequence."""


class Delivery(NamedTuple):
    """A message delivered by a consumer, with what is needed to acknowledge it."""

    subject: str
    seq: int
    """Sequence in the stream."""
    delivered: int
    """How often it was delivered, this time included."""
    number: int
    """Sequence in the consumer: its deliveries are counted without a gap."""
    pending: int
    """Messages that the consumer had left to deliver when it sent this one."""
    data: bytes
    headers: bytes
    reply: str
    stored_ms: int
    """When the broker stored it, ms since 1970 by its clock."""

    def header(self, name: bytes) -> bytes | None:
        """Returns the value of the last header `name`, or None."""
        return header_value(self.headers, name)


class Streams:
    """The stream API over one connection.

    Streams are named as in `broker.contract.subjects`; sequences are stream sequences. Every method raises
    `BrokerUnavailable` when the broker cannot be reached or has no leader, and `BrokerRefused` when it answers with an
    error. Holds no state of its own: make as many as you like.

    A stream or consumer that is not there is declared again (`Connection.mend`), and the request is sent once more.

    Args:
        mends: False for the one that declares.
    """

    def __init__(self, nats: Connection, *, mends: bool = True) -> None:
        self.nats = nats
        """The connection, for messages that are not stored."""
        self._mends = mends

    def __repr__(self) -> str:
        return f"<Streams {self.nats!r}>"

    async def api(self, name: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Sends one request to `$JS.API.<name>` and returns the answer.

        Raises:
            BrokerRefused: the broker answered with an error; see its `err_code`.
            NotThere: there is no such stream or consumer, and it could not be declared again.
        """
        return await self._ask(f"{self.nats.api_prefix}.{name}", b"" if body is None else to_json(body), timeout_s)

    async def _ask(
        self, subject: str, payload: bytes, timeout_s: float, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        async def work() -> dict[str, Any]:
            reply = await self.nats.request(subject, payload, headers=headers, timeout_s=timeout_s)
            return read_answer(reply.data, subject)

        return await self._mended(work)

    async def _direct(self, stream: str, query: Mapping[str, Any], timeout_s: float) -> list[Message]:
        """The replies to a direct get, the last of them a status."""

        async def work() -> list[Message]:
            subject = f"{self.nats.api_prefix}.DIRECT.GET.{stream}"
            return await self.nats.collect(subject, to_json(query), is_status, timeout_s=timeout_s)

        return await self._mended(work)

    async def _mended(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except NotThere:
            if not self._mends or not await self.nats.mend():
                raise
        return await work()

    async def state(self, stream: str, *, timeout_s: float = 2.0) -> StreamState:
        """Returns the leader's view of a stream.

        Raises:
            BrokerUnavailable: also when the leader does not hear its followers: it may have been deposed.
        """
        info = await self._leader_info(stream, timeout_s)
        state, now_ms = info["state"], ms_of(info.get("ts", "").encode())
        epoch = "".join(filter(str.isdigit, info["created"]))
        return StreamState(epoch, state["first_seq"], state["last_seq"], state["messages"], now_ms)

    async def last(self, stream: str, subject: str, *, timeout_s: float = 2.0) -> Stored | None:
        """Returns the newest message of a subject, from the leader; None when there is none.

        A deposed leader keeps answering for up to 10 s, for example after it was stopped or cut off from its peers. Use
        `last_confirmed` where an old answer would do harm.
        """
        return await self._leader_get(stream, {"last_by_subj": subject}, timeout_s)

    async def last_confirmed(self, stream: str, subject: str, *, timeout_s: float = 2.0) -> Stored | None:
        """Like `last`, but only answers when no other leader can have stored anything in the meantime.

        Raises:
            BrokerUnavailable: no leader can confirm that at the moment.
        """
        before = await self._leader_info(stream, timeout_s)
        found = await self.last(stream, subject, timeout_s=timeout_s)
        if _leadership(await self._leader_info(stream, timeout_s)) != _leadership(before):
            raise BrokerUnavailable(f"the leader of {stream} has changed")
        return found

    async def _leader_info(self, stream: str, timeout_s: float) -> dict[str, Any]:
        info = await self.api(f"STREAM.INFO.{stream}", timeout_s=timeout_s)
        peers = (info.get("cluster") or {}).get("replicas") or []
        heard = [peer for peer in peers if peer["current"] and peer["active"] < _HEARD_NS]
        if 2 * (len(heard) + 1) <= len(peers) + 1:
            raise BrokerUnavailable(f"the leader of {stream} does not hear its followers")
        return info

    async def at(self, stream: str, seq: int, *, timeout_s: float = 2.0) -> Stored | None:
        """Returns the message at a sequence, from the leader; None when it is not retained."""
        return await self._leader_get(stream, {"seq": seq}, timeout_s)

    async def _leader_get(self, stream: str, query: Mapping[str, Any], timeout_s: float) -> Stored | None:
        try:
            message = (await self.api(f"STREAM.MSG.GET.{stream}", query, timeout_s=timeout_s))["message"]
        except BrokerRefused as error:
            if error.err_code == 10037:
                return None
            raise
        return Stored(
            message["subject"],
            message["seq"],
            base64.b64decode(message.get("hdrs", "")),
            base64.b64decode(message.get("data", "")),
            ms_of(message.get("time", "").encode()),
        )

    async def store(
        self,
        subject: str,
        payload: bytes,
        *,
        msg_id: str | None = None,
        expected_last: int | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 3.0,
    ) -> Ack:
        """Publishes a message and returns once the stream has stored it.

        Args:
            subject: one of a stream's subjects.
            msg_id: identifies the message: the stream stores one of each id within its duplicate window.
            expected_last: the subject's last sequence, 0 for "none yet"; the stream refuses when it has another.
            headers: further headers.

        Raises:
            WrongLastSequence: `expected_last` is no longer the last.
            BrokerRefused: refused for another reason (full, too large).
            StorageFull: the broker has no room, or answers everything but this.
            BrokerUnavailable: no acknowledgement; the message may be stored all the same.
        """
        storage, stream = self.nats.storage, stream_of(subject)
        try:
            ack = await self._store(subject, payload, msg_id, expected_last, headers, timeout_s)
        except NoAnswer as silence:
            reason = await self._full_disk(stream, silence)
            if reason is None:
                raise
            storage.refused(stream, reason, silent=True)
            raise StorageFull(reason) from None
        except StorageFull as error:
            storage.refused(stream, error.message)
            raise
        storage.stored(stream)
        return ack

    async def _full_disk(self, stream: str, silence: NoAnswer) -> str | None:
        """Why a write was not answered, when the same stream answers reads: a nats-server that has met a full disk
        answers no write to the stream until it is restarted. None: the stream does not answer at all."""
        try:
            await self.state(stream, timeout_s=_WRITE_CHECK_S)
        except (BrokerUnavailable, BrokerRefused):
            return None
        return f"{silence.message}, while {stream} answers reads: the broker's disk may be full or was full"

    async def _store(
        self,
        subject: str,
        payload: bytes,
        msg_id: str | None,
        expected_last: int | None,
        headers: Mapping[str, str] | None,
        timeout_s: float,
    ) -> Ack:
        all_headers = dict(headers or {})
        if msg_id is not None:
            all_headers[MSG_ID_HEADER] = msg_id
        if expected_last is not None:
            all_headers[EXPECTED_LAST_HEADER] = str(expected_last)
        through = self.nats.bucket_prefix if subject.startswith("$KV.") else ""
        answer = await self._ask(through + subject, payload, timeout_s, all_headers or None)
        return Ack(answer["seq"], bool(answer.get("duplicate")))

    async def read(
        self,
        stream: str,
        subject: str,
        after: int,
        limit: int,
        *,
        max_bytes: int = 4 << 20,
        timeout_s: float = 5.0,
    ) -> Page:
        """Returns the subject's messages after sequence `after`, at most `limit` and about `max_bytes`, by direct get.

        Raises:
            BrokerUnavailable: no replica answered in time.
        """
        query = {"seq": after + 1, "batch": limit, "max_bytes": max_bytes, "next_by_subj": subject}
        replies = await self._direct(stream, query, timeout_s)
        end = replies[-1]
        if end.status == b"404":  # `after` is at or past the end
            return Page([], True)
        if end.status != b"204":
            raise BrokerRefused(f"direct get on {stream}: {end.status!r} {end.description}")
        messages = [stored_in(reply) for reply in replies[:-1]]
        return Page(messages, int(end.header(b"Nats-Num-Pending") or 0) == 0)

    async def newest(self, stream: str, wanted: Sequence[str], *, timeout_s: float = 5.0) -> Newest:
        """Returns the newest message of each subject (at most `MAX_SUBJECTS_PER_NEWEST`), by direct get.

        Raises:
            BrokerUnavailable: no replica answered in time.
        """
        query = {"multi_last": list(wanted), "batch": MAX_SUBJECTS_PER_NEWEST}
        replies = await self._direct(stream, query, timeout_s)
        end = replies[-1]
        if end.status == b"404":
            return Newest([], int(end.header(b"Nats-UpTo-Sequence") or 0))
        if end.status != b"204":
            raise BrokerRefused(f"direct get on {stream}: {end.status!r} {end.description}")
        messages = [stored_in(reply) for reply in replies[:-1]]
        return Newest(messages, int(end.header(b"Nats-UpTo-Sequence") or 0))

    async def delete(self, stream: str, seq: int) -> None:
        """Deletes one message. Harmless when it is gone already."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except BrokerRefused as error:
            if error.err_code not in {10037, 10043, 10057}:
                raise

    async def kv_get(self, bucket: str, key: str) -> Stored | None:
        """Returns the newest value of a key, from the leader (its revision is `seq`); None when there is none."""
        entry = await self.last(kv.stream(bucket), kv.subject(bucket, key))
        return entry if entry is not None and entry.header(kv.OPERATION_HEADER) is None else None

    async def kv_update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """Sets a key whose newest revision is `revision` (0: it has none). Returns the new revision.

        Raises:
            WrongLastSequence: the key has another revision.
        """
        return (await self.store(kv.subject(bucket, key), value, expected_last=revision)).seq

    async def kv_put(self, bucket: str, key: str, value: bytes) -> int:
        """Sets a key unconditionally. Returns the new revision."""
        return (await self.store(kv.subject(bucket, key), value)).seq


def delivery(message: Message) -> Delivery:
    """Reads a consumer's message. Its reply subject (`$JS.ACK.…`, with or without a domain) carries the numbers."""
    reply = message.reply.decode("ascii", "replace")
    tokens = reply.split(".")
    delivered, seq, number, stored_ns, pending = tokens[6:11] if len(tokens) >= 11 else tokens[4:9]
    subject, stored_ms = message.subject.decode("ascii", "replace"), int(stored_ns) // 1_000_000
    numbers = (int(seq), int(delivered), int(number), int(pending))
    return Delivery(subject, *numbers, message.data, message.headers, reply, stored_ms)


def ms_of(timestamp: bytes | None) -> int:
    """Returns a time of the broker (RFC 3339) as ms since 1970, 0 where there is none."""
    try:
        return int(datetime.fromisoformat((timestamp or b"").decode("ascii")).timestamp() * 1000)
    except ValueError:
        return 0


def stream_of(subject: str) -> str:
    """The stream that stores a subject of the topology."""
    tokens = subject.split(".")
    if "$KV" in tokens:  # another domain's buckets have a prefix before it
        return kv.stream(tokens[tokens.index("$KV") + 1])
    if tokens[0] == "jobs":
        return subjects.JOBS
    return subjects.FRAMES if tokens[-1] == "frames" else subjects.EVENTS


def _leadership(info: Mapping[str, Any]) -> tuple[object, object]:
    cluster = info.get("cluster") or {}
    return cluster.get("leader"), cluster.get("leader_since")


def is_status(message: Message) -> bool:
    """Whether a message ends the answer to a direct get."""
    # A stored message may carry an inline status of its publisher, but it has a sequence as well.
    return message.status is not None and message.header(SEQUENCE_HEADER) is None


def stored_in(message: Message) -> Stored:
    """Reads a message of the answer to a direct get."""
    subject = message.header(b"Nats-Subject") or b""
    seq = int(message.header(SEQUENCE_HEADER) or 0)
    stored_ms = ms_of(message.header(STORED_HEADER))
    return Stored(subject.decode("utf-8", "replace"), seq, message.headers, message.data, stored_ms)
