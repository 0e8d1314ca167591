"""What pictures a run has, without their bytes: the list from the stream, and each new one as it is stored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.contract.frames import MAX_JPEG_BYTES, SEQ_HEADER, TIME_HEADER, Frame, MalformedFrame, check_jpeg, frame_of
from broker.contract.ports import Interest
from broker.jetstream.api import Streams, delivery, ms_of
from broker.jetstream.connection import Connection, Subscription
from broker.jetstream.frame_store import Picture
from broker.jetstream.parser import Message
from broker.jetstream.stored_headers import PREDECESSOR_HEADER, SEQUENCE_HEADER, SIZE_HEADER, STORED_HEADER

TOO_LARGE: Final = "it is too large"
BAD_HEADER: Final = "a header is malformed"
_SILENCE_S: Final = 5.0


class Listed(NamedTuple):
    """A stored picture, as far as its headers tell."""

    frame: Frame
    """`seq`, `time_ms` and `size` are 0 where `reason` says why they cannot be read."""
    reason: str = ""
    """Why it is not shown; empty when nothing is known against it."""


class LiveFrame(NamedTuple):
    """A picture that was stored this moment."""

    listed: Listed
    predecessor: int
    """The run's picture before it, 0 where that is not kept any more or never was."""


class FramesState(NamedTuple):
    """The stream of pictures, and one run's part of it, as the leader sees them."""

    epoch: str
    """Names this life of the stream, to be treated as opaque."""
    oldest_number: int
    """Of all runs; every picture below it has gone."""
    oldest_ms: int
    """When the oldest picture of all runs was stored, ms since 1970; 0: there is none."""
    newest_number: int
    """Of all runs."""
    per_run: int
    """How many pictures of a run are kept; 0: any number."""
    pictures: int
    """Of the run."""


class FrameFeed:
    """Reads what pictures there are. Every method raises `BrokerUnavailable` and `BrokerRefused` as `Streams` does."""

    def __init__(self, nats: Connection) -> None:
        self._nats = nats
        self._streams = Streams(nats)

    def __repr__(self) -> str:
        return f"<FrameFeed {subjects.FRAMES}>"

    async def follow(self, test_id: str, on_frame: Callable[[LiveFrame], None]) -> Interest:
        """Calls `on_frame` with the headers of each picture of a run as it is stored. It must neither block nor raise.

        Pictures may be told late, twice or not at all; compare `LiveFrame.predecessor`.
        """

        def on_message(message: Message) -> None:
            number, predecessor = message.header(SEQUENCE_HEADER) or b"", message.header(PREDECESSOR_HEADER) or b""
            if _is_number(number) and _is_number(predecessor):  # else a client has published it
                stored_ms = ms_of(message.header(STORED_HEADER))
                on_frame(LiveFrame(_listed(int(number), message.header, stored_ms), int(predecessor)))

        subscription = await self._nats.subscribe(subjects.stored_frame(test_id), on_message)
        return _Interest(self._nats, subscription)

    async def state(self, test_id: str) -> FramesState:
        """Returns the leader's view of a run's pictures."""
        subject = subjects.frames(test_id)
        info = await self._streams.api(f"STREAM.INFO.{subjects.FRAMES}", {"subjects_filter": subject})
        state, most = info["state"], int(info["config"].get("max_msgs_per_subject", -1))
        return FramesState(
            epoch="".join(filter(str.isdigit, info["created"])),
            oldest_number=state["first_seq"],
            oldest_ms=ms_of(state["first_ts"].encode()) if state["messages"] else 0,
            newest_number=state["last_seq"],
            per_run=max(0, most),
            pictures=int((state.get("subjects") or {}).get(subject, 0)),
        )

    async def all_of(self, test_id: str) -> list[Listed]:
        """Returns the run's pictures in order of number.

        Any replica answers, and it may lag behind the leader by up to half a second.
        """
        return await self._read(test_id, {"deliver_policy": "all"})

    async def newest_of(self, test_id: str) -> list[Listed]:
        """Returns the run's newest picture, or nothing. It may lag as `all_of` does."""
        return await self._read(test_id, {"deliver_policy": "last"})

    async def _read(self, test_id: str, policy: dict[str, Any]) -> list[Listed]:
        """A consumer for this one reading: a direct get has no form that leaves the pictures' bytes out."""
        found: list[Listed] = []
        progress, inbox, name = asyncio.Event(), self._nats.inbox(), secrets.token_hex(8)
        expected: int | None = None

        def on_message(message: Message) -> None:
            if message.status is None:
                each = delivery(message)
                found.append(_listed(each.seq, message.header, each.stored_ms))
                if each.pending == 0 or len(found) == expected:
                    progress.set()

        subscription = await self._nats.subscribe(inbox, on_message)
        try:
            subject = subjects.frames(test_id)
            request = f"CONSUMER.CREATE.{subjects.FRAMES}.{name}.{subject}"
            config = _CONSUMER | policy | {"name": name, "deliver_subject": inbox, "filter_subject": subject}
            body = {"stream_name": subjects.FRAMES, "config": config, "action": "create"}
            expected = int((await self._streams.api(request, body)).get("num_pending", 0))
            await self._until(progress, found, expected)
        finally:
            await subscription.close()  # the broker removes a consumer that nobody listens to
        return found

    async def _until(self, progress: asyncio.Event, found: list[Listed], expected: int) -> None:
        while len(found) < expected and not progress.is_set():
            before = len(found)
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await progress.wait()
            except TimeoutError:
                if len(found) == before:
                    raise BrokerUnavailable("the broker has begun to list the pictures, and gone silent") from None

    async def at(self, test_id: str, number: int) -> Picture | None:
        """Returns one picture, from the leader; None when it is not kept, or is another run's.

        Raises:
            MalformedFrame: it is not a JPEG, or its headers are wrong.
        """
        stored = await self._streams.at(subjects.FRAMES, number)
        if stored is None or stored.subject != subjects.frames(test_id):
            return None
        given = {name: stored.header(name) for name in (SEQ_HEADER, TIME_HEADER)}
        return Picture(frame_of(number, given, stored.stored_ms, len(stored.data)), check_jpeg(stored.data))


_CONSUMER: Final = {
    "ack_policy": "none",
    "max_deliver": 1,
    "mem_storage": True,
    "num_replicas": 1,
    "inactive_threshold": int(5e9),
    "headers_only": True,
}


class _Interest:
    def __init__(self, nats: Connection, subscription: Subscription) -> None:
        self._nats = nats
        self._subscription = subscription

    async def confirm(self) -> None:
        await self._nats.flush()

    async def close(self) -> None:
        await self._subscription.close()


def _listed(number: int, header: Callable[[bytes], bytes | None], stored_ms: int) -> Listed:
    size = header(SIZE_HEADER) or b""
    length = int(size) if _is_number(size) else 0
    if length > MAX_JPEG_BYTES:
        return Listed(Frame(number, 0, 0, 0), TOO_LARGE)
    seq, time = header(SEQ_HEADER.encode()), header(TIME_HEADER.encode())
    given = {
        SEQ_HEADER: None if seq is None else seq.decode("latin-1"),
        TIME_HEADER: None if time is None else time.decode("latin-1"),
    }
    try:
        return Listed(frame_of(number, given, stored_ms, length))
    except MalformedFrame:
        return Listed(Frame(number, 0, 0, 0), BAD_HEADER)


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) < 20
