"""A run as one JSON object (broker/PROTOCOL.md, Export). Pure."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from broker.contract.errors import BadInput
from broker.contract.frames import Frame, check_jpeg
from broker.contract.snapshot import Snapshot
from broker.export.source import About, Source

FORMAT: Final = "testcast-run"
VERSION: Final = 1
"""Grows when a reader of the version before would misread the object. Further fields are no new version."""
_ONLY_LIVE: Final = ("pinned", "stalled", "queuePlace", "noAgent")
"""Fields that an edge adds to a snapshot: they say nothing of the run itself."""


def snapshot_fields(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as viewers receive it, without what is true only of the moment."""
    fields: dict[str, Any] = orjson.loads(snapshot.encode())
    return {name: value for name, value in fields.items() if name not in _ONLY_LIVE}


def heading(about: About) -> dict[str, Any]:
    """The fields before the events."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "madeBy": f"testcast {about.version}",
        "exportedAt": about.exported_ms,
        "ended": about.snapshot.ended,
        "epoch": about.epoch,
        "head": about.head,
        "eventsGone": about.events_gone,
        "framesGone": about.frames_gone,
        "snapshot": snapshot_fields(about.snapshot),
    }
    if not about.stretch.whole:
        fields |= {"from": about.stretch.first, "to": min(about.stretch.last, about.head)}
    return fields


def frame_fields(frame: Frame, jpeg: bytes) -> bytes:
    """One picture as a JSON object."""
    said = b'{"number":%d,"seq":%d,"timeMs":%d,"bytes":%d,"jpeg":"%b"}'
    return said % (frame.number, frame.seq, frame.time_ms, len(jpeg), base64.b64encode(jpeg))


def unreadable_fields(reasons: Mapping[str, int]) -> dict[str, Any]:
    """What is said of messages that are no events."""
    return {"count": sum(reasons.values()), "reasons": dict(reasons)}


async def json_pieces(source: Source) -> AsyncGenerator[bytes, None]:
    """Yields the document in pieces. The last of them closes the object, so that one that was cut off is no JSON.

    Raises:
        BrokerUnavailable, BrokerRefused: the run cannot be read to its end.
    """
    yield orjson.dumps(heading(source.about))[:-1] + b',"events":['
    first = True
    async for events in source.events():
        if events:
            yield (b"\n" if first else b",\n") + b",\n".join(event for _, event in events)
            first = False
    yield b'\n],"frames":['
    first = True
    async for frames in source.frames():
        if frames:
            yield (b"\n" if first else b",\n") + b",\n".join(frame_fields(*each) for each in frames)
            first = False
    yield b'\n],"unreadable":' + orjson.dumps(unreadable_fields(source.unreadable())) + b"}\n"


class _Frame(msgspec.Struct, rename="camel"):
    number: int
    seq: int
    time_ms: int
    jpeg: str


class _Event(msgspec.Struct):
    timestamp: Any = 0


class _Document(msgspec.Struct, rename="camel"):
    format: str
    version: int
    snapshot: Snapshot
    events: list[_Event]
    frames: list[_Frame]


class Pictures(NamedTuple):
    """What an animation is made of."""

    frames: list[tuple[Frame, bytes]]
    times: tuple[int, int]
    """Of the first and the last event, ms since 1970 by the publisher's clock. 0: there is none."""


def pictures_of(document: bytes) -> Pictures:
    """Reads the pictures of a document.

    Raises:
        BadInput: it is none that this version reads.
    """
    try:
        read = msgspec.json.decode(document, type=_Document)
    except msgspec.MsgspecError as error:
        raise BadInput(f"this is no export of a run: {error}") from None
    if (read.format, read.version) != (FORMAT, VERSION):
        raise BadInput(f"this is no export that this version reads: {read.format} {read.version}")
    frames = []
    for each in read.frames:
        try:
            jpeg = check_jpeg(base64.b64decode(each.jpeg, validate=True))
        except ValueError as error:
            raise BadInput(f"picture {each.number} is not in base64: {error}") from None
        frames.append((Frame(each.number, each.seq, each.time_ms, len(jpeg)), jpeg))
    times = [each.timestamp for each in read.events if type(each.timestamp) is int and each.timestamp > 0]
    return Pictures(frames, (times[0], times[-1]) if times else (0, 0))
