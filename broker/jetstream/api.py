"""JetStream as testcast uses it: raw requests to its API over a `Connection`.

nats-py has no batched direct get, no way to ask the leader by subject, and an ordered consumer that loses the messages
it drops.

Direct gets are answered by any replica and may be stale by milliseconds (worst seen: 493 ms); `state` and `last` ask
the leader.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, WrongLastSequence
from broker.contract.ports import Ack
from broker.jetstream.connection import Connection, to_json
from broker.jetstream.parser import Message, header_value

MAX_SUBJECTS_PER_NEWEST: Final = 1024
"""The broker answers 413 beyond this many matching keys."""

MSG_ID_HEADER: Final = "Nats-Msg-Id"
EXPECTED_LAST_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"

STREAM_FULL: Final = 10077
"""A limit was reached: all messages or those of a subject, told apart by the description only; HTTP-like code 503."""

_WRONG_LAST = {10071, 10164}
_NOT_LEADER_YET = {
    10008,
    10158,
    10023,
    10074,
}  # system unavailable, a publish under election, no space, no quorum
_HEARD_NS: Final = 3_000_000_000
"""Followers are heard from every second, and elect nobody else before 4 s without their leader."""
_LAST_IN_TEXT = re.compile(r"wrong last sequence: (\d+)")


class StreamState(NamedTuple):
    """A stream as its leader sees it."""

    epoch: str
    """This life of the stream: its creation instant, an opaque word."""
    first_seq: int
    last_seq: int
    messages: int


class Stored(NamedTuple):
    """A message as it is stored."""

    subject: str
    seq: int
    headers: bytes
    data: bytes

    def header(self, name: str) -> str | None:
        """Value of the header, or None."""
        value = header_value(self.headers, name.encode())
        return None if value is None else value.decode("utf-8", "replace")


class Page(NamedTuple):
    """Some of one subject's messages, in order, none missing between them."""

    messages: list[Stored]
    complete: bool
    """Nothing more was stored behind them, as the answering replica saw it."""


class Newest(NamedTuple):
    """The newest message of each of several subjects."""

    messages: list[Stored]
    up_to: int
    """The stream sequence that the answer takes in."""


class Delivery(NamedTuple):
    """A message handed out by a pull consumer, with what is needed to answer for it."""

    subject: str
    seq: int
    """Of the stream."""
    delivered: int
    """How often, this time included."""
    number: int
    """Of the consumer: its deliveries are counted without a gap."""
    pending: int
    """Messages that the consumer had for somebody when it sent this one."""
    data: bytes
    headers: bytes
    reply: str


class Streams:
    """The stream API. Every method raises `BrokerUnavailable` when the broker, or a leader, is not there."""

    def __init__(self, nats: Connection) -> None:
        self.nats = nats

    async def api(self, name: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """One request to `$JS.API.<name>`.

        Raises:
            BrokerRefused: the broker answered with an error; `err_code` says which.
        """
        payload = b"" if body is None else to_json(body)
        reply = await self.nats.request(f"$JS.API.{name}", payload, timeout_s=timeout_s)
        return _answer(reply.data)

    async def state(self, stream: str, *, timeout_s: float = 2.0) -> StreamState:
        """The leader's view of a stream.

        Raises:
            BrokerRefused: there is no such stream.
            BrokerUnavailable: also when who answers has lost its followers: it may have been replaced, and not know.
        """
        info = await self._leader_info(stream, timeout_s)
        state = info["state"]
        epoch = "".join(filter(str.isdigit, info["created"]))
        return StreamState(epoch, state["first_seq"], state["last_seq"], state["messages"])

    async def last(self, stream: str, subject: str, *, timeout_s: float = 2.0) -> Stored | None:
        """The newest message of a subject, from the leader; None when there is none.

        A leader that was stopped, or is cut off from its peers, answers for up to 10 s as if nothing had happened.
        Where an old answer would do harm, ask `last_confirmed`.
        """
        return await self._leader_get(stream, {"last_by_subj": subject}, timeout_s)

    async def last_confirmed(self, stream: str, subject: str, *, timeout_s: float = 2.0) -> Stored | None:
        """Like `last`, and no other leader can have stored anything meanwhile.

        Raises:
            BrokerUnavailable: nobody can say so at the moment.
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
        """The message at a sequence, from the leader; None when it is not retained."""
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
        """Publishes and waits until the stream has stored it.

        Args:
            msg_id: what the stream recognises a repeated publish by.
            expected_last: the subject's last sequence, 0 for "none yet"; anything else stored since is a refusal.

        Raises:
            WrongLastSequence: `expected_last` is not the last any more.
            BrokerRefused: refused for another reason (full, too large).
            BrokerUnavailable: no acknowledgement; it may be stored all the same.
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
        """The subject's messages behind sequence `after`, at most `limit` of them and about `max_bytes`, by direct get.

        Raises:
            BrokerUnavailable: no replica answered in time.
        """
        query = {"seq": after + 1, "batch": limit, "max_bytes": max_bytes, "next_by_subj": subject}
        replies = await self.nats.collect(
            f"$JS.API.DIRECT.GET.{stream}", to_json(query), _is_status, timeout_s=timeout_s
        )
        end = replies[-1]
        if end.status == b"404":  # starts past the end
            return Page([], True)
        if end.status != b"204":
            raise BrokerRefused(f"direct get on {stream}: {end.status!r} {end.description}")
        messages = [_stored(reply) for reply in replies[:-1]]
        return Page(messages, int(end.header(b"Nats-Num-Pending") or 0) == 0)

    async def newest(self, stream: str, wanted: Sequence[str], *, timeout_s: float = 5.0) -> Newest:
        """The newest message of each subject (at most `MAX_SUBJECTS_PER_NEWEST`), by direct get.

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
        """Removes one message; one that is gone already is fine."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except BrokerRefused as error:
            if error.err_code not in {10037, 10043, 10057}:
                raise

    async def kv_get(self, bucket: str, key: str) -> Stored | None:
        """The newest entry of a key, from the leader (its revision is `seq`); None when there is none."""
        entry = await self.last(subjects.kv_stream(bucket), subjects.kv(bucket, key))
        return entry if entry is not None and entry.header("KV-Operation") is None else None

    async def kv_update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """Compare and set; revision 0 means "there is none yet". Returns the new revision.

        Raises:
            WrongLastSequence: somebody else was quicker.
        """
        return (await self.store(subjects.kv(bucket, key), value, expected_last=revision)).seq

    async def kv_put(self, bucket: str, key: str, value: bytes) -> int:
        """Sets, whatever was there. Returns the new revision."""
        return (await self.store(subjects.kv(bucket, key), value)).seq


def delivery(message: Message) -> Delivery:
    """Reads what a consumer says about a message in its reply subject (`$JS.ACK.…`, with or without a domain)."""
    reply = message.reply.decode("ascii", "replace")
    tokens = reply.split(".")
    delivered, seq, number, _, pending = tokens[6:11] if len(tokens) >= 11 else tokens[4:9]
    subject = message.subject.decode("ascii", "replace")
    return Delivery(subject, int(seq), int(delivered), int(number), int(pending), message.data, message.headers, reply)


def _leadership(info: Mapping[str, Any]) -> tuple[object, object]:
    cluster = info.get("cluster") or {}
    return cluster.get("leader"), cluster.get("leader_since")


def _is_status(message: Message) -> bool:
    # A stored message may carry an inline status of its publisher's, but always has its sequence as well.
    return message.status is not None and message.header(b"Nats-Sequence") is None


def _stored(message: Message) -> Stored:
    subject = message.header(b"Nats-Subject") or b""
    seq = int(message.header(b"Nats-Sequence") or 0)
    return Stored(subject.decode("utf-8", "replace"), seq, message.headers, message.data)


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
