"""JetStream as testcast uses it: raw requests to its API over a `Connection`.

nats-py has no batched direct get, no way to ask the leader by subject, and an ordered consumer that loses the messages
it drops.

Any replica answers a direct get (`read`, `newest`), and its answer may be stale: by milliseconds usually, by 493 ms in
the worst case measured. `state`, `last` and `at` ask the leader.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from broker.contract.errors import BrokerRefused, BrokerUnavailable, WrongLastSequence
from broker.contract.ports import Ack
from broker.jetstream import kv
from broker.jetstream.connection import Connection, to_json
from broker.jetstream.parser import Message, header_value

MAX_SUBJECTS_PER_NEWEST: Final = 1024
"""The broker answers 413 when more keys match."""

MSG_ID_HEADER: Final = "Nats-Msg-Id"
EXPECTED_LAST_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"
TIME_HEADER: Final = b"Nats-Time-Stamp"
"""When the broker stored a message, RFC 3339 with nanoseconds. On direct gets and on republished messages."""

STREAM_FULL: Final = 10077
"""A stream's limit was reached, of all messages or of one subject's; only the description tells which. Its code is 503,
as for errors that pass."""

_WRONG_LAST: Final = {10071, 10164}
"""10164 occurs in clusters only."""
_NOT_LEADER_YET: Final = {10008, 10158, 10023, 10074}
"""System unavailable, a publish during an election, no space, no quorum."""
_HEARD_NS: Final = 3_000_000_000
"""Followers report every second, and elect another leader after 4 s without theirs at the earliest."""
_LAST_IN_TEXT = re.compile(r"wrong last sequence: (\d+)")


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


class Streams:
    """The stream API over one connection.

    Streams are named as in `broker.contract.subjects`; sequences are stream sequences. Every method raises
    `BrokerUnavailable` when the broker cannot be reached or has no leader, and `BrokerRefused` when it answers with an
    error. Holds no state of its own: make as many as you like.
    """

    def __init__(self, nats: Connection) -> None:
        self.nats = nats
        """The connection, for messages that are not stored."""

    def __repr__(self) -> str:
        return f"<Streams {self.nats!r}>"

    async def api(self, name: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Sends one request to `$JS.API.<name>` and returns the answer.

        Raises:
            BrokerRefused: the broker answered with an error; see its `err_code`.
        """
        payload = b"" if body is None else to_json(body)
        reply = await self.nats.request(f"$JS.API.{name}", payload, timeout_s=timeout_s)
        return _answer(reply.data)

    async def state(self, stream: str, *, timeout_s: float = 2.0) -> StreamState:
        """Returns the leader's view of a stream.

        Raises:
            BrokerRefused: there is no such stream.
            BrokerUnavailable: also when the leader does not hear its followers: it may have been deposed.
        """
        info = await self._leader_info(stream, timeout_s)
        state = info["state"]
        epoch = "".join(filter(str.isdigit, info["created"]))
        return StreamState(
            epoch, state["first_seq"], state["last_seq"], state["messages"], ms_of(info.get("ts", "").encode())
        )

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
            BrokerUnavailable: no acknowledgement; the message may be stored all the same.
        """
        all_headers = dict(headers or {})
        if msg_id is not None:
            all_headers[MSG_ID_HEADER] = msg_id
        if expected_last is not None:
            all_headers[EXPECTED_LAST_HEADER] = str(expected_last)
        reply = await self.nats.request(subject, payload, headers=all_headers or None, timeout_s=timeout_s)
        answer = _answer(reply.data)
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
        replies = await self.nats.collect(
            f"$JS.API.DIRECT.GET.{stream}", to_json(query), _is_status, timeout_s=timeout_s
        )
        end = replies[-1]
        if end.status == b"404":  # `after` is at or past the end
            return Page([], True)
        if end.status != b"204":
            raise BrokerRefused(f"direct get on {stream}: {end.status!r} {end.description}")
        messages = [_stored(reply) for reply in replies[:-1]]
        return Page(messages, int(end.header(b"Nats-Num-Pending") or 0) == 0)

    async def newest(self, stream: str, wanted: Sequence[str], *, timeout_s: float = 5.0) -> Newest:
        """Returns the newest message of each subject (at most `MAX_SUBJECTS_PER_NEWEST`), by direct get.

        Raises:
            BrokerUnavailable: no replica answered in time.
        """
        query = {"multi_last": list(wanted), "batch": MAX_SUBJECTS_PER_NEWEST}
        replies = await self.nats.collect(
            f"$JS.API.DIRECT.GET.{stream}", to_json(query), _is_status, timeout_s=timeout_s
        )
        end = replies[-1]
        if end.status == b"404":
            return Newest([], int(end.header(b"Nats-UpTo-Sequence") or 0))
        if end.status != b"204":
            raise BrokerRefused(f"direct get on {stream}: {end.status!r} {end.description}")
        messages = [_stored(reply) for reply in replies[:-1]]
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


def _leadership(info: Mapping[str, Any]) -> tuple[object, object]:
    cluster = info.get("cluster") or {}
    return cluster.get("leader"), cluster.get("leader_since")


def _is_status(message: Message) -> bool:
    # A stored message may carry an inline status of its publisher, but it has a sequence as well.
    return message.status is not None and message.header(b"Nats-Sequence") is None


def _stored(message: Message) -> Stored:
    subject = message.header(b"Nats-Subject") or b""
    seq = int(message.header(b"Nats-Sequence") or 0)
    stored_ms = ms_of(message.header(TIME_HEADER))
    return Stored(subject.decode("utf-8", "replace"), seq, message.headers, message.data, stored_ms)


def _answer(data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(data)
    error = answer.get("error")
    if error is None:
        return answer
    code, text = int(error.get("err_code", 0)), str(error.get("description", "refused"))
    if code in _WRONG_LAST:
        found = _LAST_IN_TEXT.search(text)
        raise WrongLastSequence(text, code, int(found[1]) if found else None)
    if code != STREAM_FULL and (code in _NOT_LEADER_YET or error.get("code") == 503):
        raise BrokerUnavailable(f"the broker has no leader at the moment: {text}")
    raise BrokerRefused(text, code)
