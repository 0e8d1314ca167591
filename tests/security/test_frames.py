"""Frames and messages that break the protocol, grow without end or pack more than they show; floods of each verb."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import orjson

from broker import identity
from tests.harness import Reader, say
from tests.security.attacks import Act, Table, as_test
from tests.security.system import DEADLINE_S, System, Visitor

ATTACKS: Final[Table[System]] = Table()
_MASK: Final = bytes(4)
_TEXT, _CONTINUATION, _CLOSE, _PING = 0x1, 0x0, 0x8, 0x9
_FIN: Final = 0x80


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A frame (RFC 6455, 5.2), masked with zeros."""
    size = len(payload)
    first = (_FIN if fin else 0) | rsv << 4 | opcode
    mask = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + (_MASK if masked else b"") + payload


async def close_code(visitor: Visitor, *sent: bytes) -> int:
    """What an edge closes with after these bytes; 0 where it just ends the connection.

    Raises:
        TimeoutError: it keeps the socket open.
    """
    async with visitor.upgraded() as (reader, writer), asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            for piece in sent:
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                opcode, size = await reader.readexactly(2)
                if size >= 126:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
                payload = await reader.readexactly(size)
                if opcode & 15 == _CLOSE:
                    return int.from_bytes(payload[:2], "big")
    return 0


_subscribe: Final = orjson.dumps({"type": "subscribe", "channel": "tests"})
BROKEN: Final[dict[str, tuple[bytes, set[int]]]] = {
    "a frame without a mask": (frame(_TEXT, _subscribe, masked=False), {1002}),
    "a frame with RSV1 (compressed, which was not agreed)": (frame(_TEXT, zlib.compress(_subscribe), rsv=4), {1002}),
    "a frame with RSV2 and RSV3": (frame(_TEXT, b"x", rsv=3), {1002}),
    "an opcode that is not assigned": (frame(0x3, b"x"), {1002}),
    "a control opcode that is not assigned": (frame(0xB, b"x"), {1002}),
    "a ping of 126 bytes": (frame(_PING, b"x" * 126), {1002}),
    "a ping in pieces": (frame(_PING, b"x", fin=False), {1002}),
    "a continuation of nothing": (frame(_CONTINUATION, b"x"), {1002}),
    "a new message within another": (frame(_TEXT, b"x", fin=False) + frame(_TEXT, b"y"), {1002}),
    "a length of 2^63": (struct.pack("!BBQ", _FIN | _TEXT, 0x80 | 127, 1 << 63) + _MASK, {1002, 1009}),
    "a length of 1 GB": (struct.pack("!BBQ", _FIN | _TEXT, 0x80 | 127, 1 << 30) + _MASK, {1009}),
    "a length of 20 KB, sent": (frame(_TEXT, b"x" * 20_000), {1009}),
    "a close of one byte": (frame(_CLOSE, b"x"), {1002}),
    "a close with a reserved code": (frame(_CLOSE, struct.pack("!H", 1005)), {1002}),
    "text that is no UTF-8": (frame(_TEXT, b"\xff\xfe"), {1007}),
    "text that is no UTF-8, in pieces": (
        frame(_TEXT, b"\xce\xba\xe1", fin=False) + frame(_CONTINUATION, b"\xff"),
        {1007},
    ),
    "a binary message": (frame(0x2, _subscribe), {1003}),
    "HTTP instead of frames": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", {1002, 1009}),
}


def _broken(sent: bytes, codes: set[int]) -> Act:
    async def act(system: System) -> None:
        async with system.visitor(system.ann()) as ann:
            code = await close_code(ann, sent)
            assert code in codes | {0}, code
            assert (await ann.query("listTests")).status_code == 200

    return act


for _name, (_sent, _codes) in BROKEN.items():
    _answer = f"closed with {' or '.join(map(str, sorted(_codes)))}"
    ATTACKS.add(f"frame: {_name}", _answer, _broken(_sent, _codes))


@ATTACKS.attack("frame: a message in 20,000 pieces of a byte", "1009 at 16 KiB")
async def _(system: System) -> None:
    pieces = frame(_TEXT, b"{", fin=False) + frame(_CONTINUATION, b" ", fin=False) * 20_000
    async with system.visitor(system.ann()) as ann:
        assert await close_code(ann, pieces) in (1009, 4429, 0)


@ATTACKS.attack("frame: a message in 200,000 empty pieces", "closed, or held in no memory")
async def _(system: System) -> None:
    before = _memory_kb(system)
    async with system.visitor(system.ann()) as ann, ann.upgraded() as (reader, writer):
        empty = frame(_CONTINUATION, b"", fin=False) * 10_000
        with contextlib.suppress(ConnectionError):
            writer.write(frame(_TEXT, b"{", fin=False))
            for _number in range(20):
                writer.write(empty)
                await writer.drain()
            writer.write(frame(_CONTINUATION, b"}"))
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read(1), "it says what is wrong"
        assert (await ann.query("listTests")).status_code == 200
    assert _memory_kb(system) - before < 32 * 1024


def _memory_kb(system: System) -> int:
    status = Path(f"/proc/{system.edge.child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@ATTACKS.attack("frame: compression is offered with every parameter", "none is agreed to")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for offer in ("permessage-deflate", "permessage-deflate; server_max_window_bits=15", "x-webkit-deflate-frame"):
            close = frame(_CLOSE, struct.pack("!H", 1000))
            await ann.framed(close, lines=[f"Sec-WebSocket-Extensions: {offer}"])


@ATTACKS.attack("frame: a deflate bomb in a frame", "1002: it is never unpacked")
async def _(system: System) -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = packer.compress(b" " * 64_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
    before = _memory_kb(system)
    async with system.visitor(system.ann()) as ann:
        await ann.framed(frame(_TEXT, bomb[:-4], rsv=4), lines=["Sec-WebSocket-Extensions: permessage-deflate"])
    assert _memory_kb(system) - before < 32 * 1024


MESSAGES: Final[dict[str, bytes]] = {
    "nested 8,000 deep": b"[" * 8000 + b"]" * 8000,
    "a list of messages": b'[{"type":"subscribe","channel":"tests"}]',
    "null": b"null",
    "a position of 5,000 digits": b'{"type":"subscribe","testId":"%s","after":' + b"9" * 5000 + b"}",
    "a position that is a float": b'{"type":"subscribe","testId":"%s","after":1.5}',
    "a position that is true": b'{"type":"subscribe","testId":"%s","after":true}',
    "an epoch of 10,000 characters": b'{"type":"subscribe","testId":"%s","after":1,"epoch":"' + b"e" * 10_000 + b'"}',
    "a test id that is an object": b'{"type":"subscribe","testId":{"$ne":null}}',
    "a test id with a subject in it": b'{"type":"subscribe","testId":"*.events"}',
    "a type that is a method": b'{"type":"__class__","testId":"%s"}',
    "a lone surrogate": b'{"type":"\\ud800"}',
    "a channel that is not there": b'{"type":"subscribe","channel":"admin"}',
}


def _malformed(sent: bytes) -> Act:
    async def act(system: System) -> None:
        text = sent.replace(b"%s", system.alpha.test_id.encode())
        async with system.visitor(system.ann()) as ann:
            code = await close_code(ann, frame(_TEXT, text))
            assert code == 4400, code

    return act


for _name, _sent in MESSAGES.items():
    ATTACKS.add(f"message: {_name}", "closed with 4400", _malformed(_sent))


# -- floods of each verb ----------------------------------------------------------------------------------------------


async def _flood(system: System, attacker: Visitor, messages: list[dict[str, Any]]) -> None:
    """Sends all of it on one socket as fast as it goes. Meanwhile another viewer is answered, and memory stays."""
    before = _memory_kb(system)
    async with system.visitor(system.ann()) as ann, ann.socket(f"?testId={system.alpha.test_id}") as bystander:
        reader = Reader(bystander)
        assert (await reader.next(DEADLINE_S))["type"] == "sync"
        async with attacker.upgraded() as (heard, writer):
            reading = asyncio.create_task(heard.read(50_000_000))
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    for start in range(0, len(messages), 500):
                        writer.write(
                            b"".join(frame(_TEXT, orjson.dumps(each)) for each in messages[start : start + 500])
                        )
                        await writer.drain()
            await say(bystander, {"type": "subscribe", "testId": identity.new_test_id()})
            assert (await reader.control("error", DEADLINE_S))["data"]["code"] == "not_found"
            assert (await ann.query("listTests")).status_code == 200
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await reading
    assert _memory_kb(system) - before < 64 * 1024


def _flood_of(message: dict[str, Any], count: int) -> Act:
    async def act(system: System) -> None:
        async with system.visitor(system.ann()) as attacker:
            ids = {"<new>": identity.new_test_id, "<own>": lambda: system.alpha.test_id}
            made = [{name: ids.get(value, lambda value=value: value)() for name, value in message.items()}] * count
            await _flood(system, attacker, made)

    return act


for _name, _message, _count in (
    ("cancel of a run that is not there", {"type": "cancel", "testId": "<new>"}, 10_000),
    ("subscribe to a run", {"type": "subscribe", "testId": "<own>"}, 5_000),
    ("subscribe to a run that is not there", {"type": "subscribe", "testId": "<new>"}, 5_000),
    ("subscribe to the list", {"type": "subscribe", "channel": "tests"}, 5_000),
    ("unsubscribe", {"type": "unsubscribe", "testId": "<own>"}, 10_000),
    ("authenticate with a wrong token", {"type": "authenticate", "token": "a.b.c"}, 5_000),
    ("authenticate with a wrong ticket", {"type": "authenticate", "ticket": "t" * 40}, 5_000),
):
    ATTACKS.add(
        f"flood: {_count:,} of {_name} on one socket",
        "others are answered, memory stays within 64 MB",
        _flood_of(_message, _count),
    )


@ATTACKS.attack("flood: 30,000 pings on one socket", "others are answered, memory stays within 64 MB")
async def _(system: System) -> None:
    before = _memory_kb(system)
    async with (
        system.visitor(system.ann()) as ann,
        system.visitor(system.ann()) as attacker,
        attacker.upgraded() as (_reader, writer),  # it never reads the pongs
    ):
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(5):
                for _number in range(60):
                    writer.write(frame(_PING, b"x" * 100) * 500)
                    await writer.drain()
        assert (await ann.query("listTests")).status_code == 200
        assert _memory_kb(system) - before < 64 * 1024


test_attack = as_test(ATTACKS)
