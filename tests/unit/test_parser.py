"""Our reading of the broker's messages against nats-py's, cut into pieces anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.protocol.parser import Parser

from broker.jetstream.client import _Parser, _Reader
from broker.jetstream.parser import Handler, Message, dispatch, header_value

_TOKEN = st.binary(min_size=1, max_size=8).filter(lambda token: not set(token) & set(b" \t\r\n\x0b\x0c"))
_SUBJECT = st.lists(_TOKEN, min_size=1, max_size=4).map(b".".join)
_HEADERS = st.sampled_from(
    [b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0 204\r\n\r\n", b"NATS/1.0\r\nNats-Sequence: 7\r\nX: MSG a 1 0\r\n\r\n"]
)
_OTHERS = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'a mistake'\r\n", b'INFO {"a": 1}\r\n'])


@st.composite
def _message(draw: st.DrawFn) -> bytes:
    subject, sid, reply = draw(_SUBJECT), draw(st.integers(1, 4)), draw(st.one_of(st.just(b""), _SUBJECT))
    headers, data = draw(_HEADERS), draw(st.binary(max_size=40))
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid, *([reply] if reply else [])]
    sizes = [b"%d" % len(headers)] * bool(headers) + [b"%d" % (len(headers) + len(data))]
    return b" ".join(words + sizes) + b"\r\n" + headers + data + b"\r\n"


class _Recorder:
    """In the client's place: what it was told, in order."""

    def __init__(self, ours: range) -> None:
        self.told: list[Any] = []
        self.parser: _Parser
        self.handlers: dict[bytes, Handler] = {b"%d" % sid: self._handler(sid) for sid in ours}

    def _handler(self, sid: int) -> Handler:
        return lambda message: self.told.append((sid, *message))

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.told.append((sid, bytes(subject), bytes(reply), headers or b"", data))

    async def _process_ping(self) -> None:
        await asyncio.sleep(0)  # an answer is written: meanwhile more arrives
        self.told.append("ping")

    async def _process_pong(self) -> None:
        self.told.append("pong")

    async def _process_err(self, text: str) -> None:
        self.told.append(text)

    async def _process_info(self, info: Any) -> None:
        self.told.append(info)

    def on_handler_error(self, message: Message, error: Exception) -> None:
        raise error


@given(
    said=st.lists(st.one_of(_message(), _message(), _OTHERS), max_size=12),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
)
def test_reads_what_nats_py_reads_however_it_is_cut(said: list[bytes], cuts: list[int]) -> None:
    theirs, ours = _Recorder(range(0)), _Recorder(range(1, 4))  # of subscription 4 only nats-py knows
    reference, parser = Parser(theirs), _Parser(ours)
    stream = b"".join(said)

    async def read() -> None:
        await reference.parse(stream)
        at = turn = 0
        while at < len(stream):
            step = cuts[turn % len(cuts)]
            await parser.parse(stream[at : at + step])
            at, turn = at + step, turn + 1

    asyncio.run(read())
    assert ours.told == theirs.told
    assert len(ours.told) == len([each for each in said if each != b"+OK\r\n"])
    assert not parser.buf


@given(
    said=st.lists(st.one_of(_message(), _message(), _OTHERS), max_size=12),
    cuts=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=6),
)
def test_nothing_overtakes_on_the_way_past_nats_py(said: list[bytes], cuts: list[tuple[int, int]]) -> None:
    """Whole messages are taken as they arrive; what nats-py reads in a task of its own keeps its place among them."""
    theirs, ours = _Recorder(range(0)), _Recorder(range(1, 4))
    parser = ours.parser = _Parser(ours)
    stream = b"".join(said)

    async def read() -> None:
        await Parser(theirs).parse(stream)
        reader = _Reader(ours, 1 << 16)  # type: ignore[arg-type]

        async def read_as_nats_py_does() -> None:
            while not reader.at_eof():
                await parser.parse(await reader.read(64))

        reading = asyncio.create_task(read_as_nats_py_does())
        at = turn = 0
        while at < len(stream):
            step, turns = cuts[turn % len(cuts)]
            reader.feed_data(stream[at : at + step])
            for _ in range(turns):
                await asyncio.sleep(0)
            at, turn = at + step, turn + 1
        reader.feed_eof()
        await reading

    asyncio.run(read())
    assert ours.told == theirs.told
    assert parser.idle


@pytest.mark.parametrize(
    "wrong",
    [
        b"MSG a x 5\r\nhello\r\n",
        b"MSG a 1 -5\r\nhello\r\n",
        b"HMSG a 1 9 5\r\nhello\r\n",
        b"MSG a 1\r\n",
        b"MSGS a 1 0\r\n\r\n",
    ],
)
def test_leaves_what_is_malformed_to_nats_py(wrong: bytes) -> None:
    taken = dispatch(wrong, {b"1": lambda _message: pytest.fail("taken")}, lambda _message, _error: None)
    assert taken == (0, False)


def test_a_handler_that_raises_ends_nothing() -> None:
    failed: list[Exception] = []

    def fail(_message: Message) -> None:
        raise RuntimeError("no")

    two = b"MSG a 1 2\r\nhi\r\n" * 2
    assert dispatch(two, {b"1": fail}, lambda _message, error: failed.append(error)) == (len(two), True)
    assert len(failed) == 2


def test_the_last_header_of_a_name_counts() -> None:
    block = b"NATS/1.0\r\nNats-Sequence: 1\r\nNats-Sequence:  22 \r\n\r\n"
    assert header_value(block, b"Nats-Sequence") == b"22"
    assert header_value(block, b"Sequence") is None
