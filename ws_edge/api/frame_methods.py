"""The methods about pictures over time: `getFrames`, `publishFrame`, and `getShot`, which knows the newest only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Any, Final

import msgspec
import orjson
from starlette.requests import Request

from broker.clock import now_ms
from broker.contract.errors import AlreadyEnded, NotFound
from broker.contract.frames import MalformedFrame, check_jpeg
from broker.jetstream.frame_store import FrameStore
from ws_edge.api.calls import Answer, RunParams
from ws_edge.node import Node

MAX_PUBLISH_FRAME_BYTES: Final = 90 * 1024
"""The body of `publishFrame`: a picture of 64 KiB takes 85 KiB in base64."""
LAST_PICTURE_S: Final = 10.0
"""For so long after its end a run takes pictures: an agent publishes what the end looked like after the end."""

_WholeNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class GetFrames(RunParams):
    """`getFrames`."""

    after: _WholeNumber = 0
    """Only pictures with a larger number."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 2000


class PublishFrame(RunParams):
    """`publishFrame`."""

    jpeg: str
    """In base64, at most 64 KiB before that."""
    seq: _WholeNumber = 0
    """Of the event that the picture belongs to."""
    time_ms: _WholeNumber = 0
    """When it was taken, ms since 1970."""


async def get_frames(node: Node, _request: Request, params: GetFrames) -> Answer:
    """Which pictures a run has, a page at a time."""
    snapshot = node.snapshot(params.test_id)
    began_ms = now_ms() if snapshot is None else snapshot.started_at or snapshot.created_at
    page = await node.pictures.frames.page(params.test_id, params.after, params.limit, began_ms)
    answer: dict[str, Any] = {"frames": page.rows, "newest": page.newest, "more": page.more, "gone": page.gone}
    if page.unreadable:
        answer["unreadable"] = {"count": sum(page.unreadable.values()), "reasons": page.unreadable}
    body = orjson.dumps(answer)
    return Answer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')


async def get_picture(node: Node, _request: Request, params: RunParams) -> Answer:
    """The newest picture of the game; 204 while there is none."""
    picture = await node.pictures.newest(params.test_id)
    if picture is None:
        return Answer(b"")
    return Answer(picture.jpeg, f'"{picture.tag}"', "image/jpeg")


async def publish_frame(node: Node, _request: Request, params: PublishFrame) -> Answer:
    """Stores a picture."""
    try:
        jpeg = check_jpeg(base64.b64decode(params.jpeg, validate=True))
    except (binascii.Error, ValueError):
        raise MalformedFrame("jpeg: expected the picture in base64") from None
    await _check_run(node, params.test_id, params.seq)
    store = FrameStore(node.log.streams)
    number = await store.put(params.test_id, jpeg, seq=params.seq, time_ms=params.time_ms)
    return Answer(orjson.dumps({"number": number}))


async def _check_run(node: Node, test_id: str, seq: int) -> None:
    """Returns when the run takes a picture that belongs to its event `seq`.

    Raises:
        NotFound: there is no such run. AlreadyEnded: it has ended a while ago.
        MalformedFrame: it has not come to that event.
    """
    head = node.hub.known_head(test_id)
    if not head or seq > head:
        head = await node.hub.head(test_id)
    if not head:
        raise NotFound(test_id)
    if seq > head:
        raise MalformedFrame(f"seq: {seq} is above the run's newest event, {head}")
    snapshot = node.snapshot(test_id)
    if snapshot is not None and snapshot.finished_at is not None:
        ended_for_ms = (node.broker_ms() or now_ms()) - snapshot.finished_at
        if ended_for_ms > LAST_PICTURE_S * 1000:
            text = f"the test has ended: it takes pictures for {LAST_PICTURE_S:g} s after its end"
            raise AlreadyEnded(text)
