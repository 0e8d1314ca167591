"""The methods for agents that have a token and no connection to the broker: `createRun` and `publishEvents`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import orjson
from starlette.requests import Request

from broker.contract.batch import MAX_BATCH_EVENTS, make_batch
from broker.contract.errors import BadInput
from broker.contract.labels import check_labels
from broker.contract.url_policy import check_game_url
from broker.jetstream import publishing
from broker.jetstream.runs import MAX_TITLE_CHARS
from ws_edge.access.projects import project_for
from ws_edge.api.calls import Answer, Params, RunParams, principal_of
from ws_edge.node import Node

MAX_PUBLISH_BYTES: Final = 1 << 20
"""The body of `publishEvents`: a batch of ordinary events, or a dozen of the largest."""


class CreateRun(Params):
    """`createRun`."""

    title: str | None = None
    game_url: str | None = None
    project: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    labels: dict[str, str] | None = None


class PublishEvents(RunParams):
    """`publishEvents`."""

    events: Annotated[list[Any], msgspec.Meta(max_length=MAX_BATCH_EVENTS)]
    key: Annotated[str, msgspec.Meta(max_length=64)]
    """1 to 64 of `A-Za-z0-9_-`: the same batch sent again with its key is stored once."""
    after_seq: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    """The newest sequence that the publisher knows: 409 when anybody has written after it."""


async def create_run(node: Node, request: Request, params: CreateRun) -> Answer:
    """Begins a run, in one of the caller's projects. Its events come from the caller."""
    project = project_for(principal_of(request), params.project)
    title = params.title
    if title is not None and (not title.strip() or len(title) > MAX_TITLE_CHARS):
        raise BadInput(f"title: expected 1 to {MAX_TITLE_CHARS} characters")
    url = None if params.game_url is None else check_game_url(params.game_url)
    test_id, seq = await publishing.create(node.log, title, url, project, check_labels(params.labels or {}))
    epoch = node.hub.epoch or (await node.log.heads()).epoch
    return Answer(orjson.dumps({"testId": test_id, "seq": seq, "epoch": epoch}), made=test_id)


async def publish_events(node: Node, _request: Request, params: PublishEvents) -> Answer:
    """Stores a batch of events."""
    batch = make_batch(params.test_id, params.key, params.events)
    stored = node.catalogue.stored(params.test_id)
    known = None if stored is None or stored[0].epoch != node.hub.epoch else stored[0]
    published = await publishing.publish(node.log, batch, after=params.after_seq, since=known)
    return Answer(orjson.dumps({"seq": published.seq, "stored": published.stored}))
