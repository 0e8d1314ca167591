"""`GET /tests/<id>/events` as JSON: the events after a position, at once or when the next ones come.

The same address as a stream of server-sent events never comes here: `transport.deadlines` takes the connection over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.contract.errors import BadInput, TestcastError
from broker.contract.ids import parse_test_id
from broker.contract.position import Position
from ws_edge.access import Action, Principal
from ws_edge.api import quotas, rpc
from ws_edge.api.export import Proof
from ws_edge.api.http_cache import KEPT_S, if_none_match, kept, matches
from ws_edge.api.outside import limited_address_of
from ws_edge.encoding.event_stream import MEDIA_TYPE
from ws_edge.fanout.answer import Answer
from ws_edge.fanout.poll import MAX_EVENTS
from ws_edge.node import Node
from ws_edge.transport.stream_request import accepts_stream

PATH: Final = "/tests/{test_id}/events"
MAX_WAIT_S: Final = 30.0
_SHORT_S: Final = 60
"""How long a cache may keep a stretch that may have grown: whoever gets it asks on from its end."""
T = TypeVar("T")


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    epoch: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    wait: Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_S)] = 0.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_EVENTS)] = 500


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class ViewersFull(TestcastError):
    """The node, or the address, has as many viewers as it may. The same request succeeds later."""

    def __init__(self, code: str, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s


async def events(request: Request) -> Response:
    """A page of a run's events."""
    return await answered(request, _events)


async def _events(node: Node, request: Request, test_id: str, who: Principal) -> Response:
    is_stream = accepts_stream(request.headers.get("accept"))  # of a HEAD; a GET does not come here
    try:
        params = msgspec.convert(dict(request.query_params), _Params, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(str(error).replace("Object", "the request"), code="invalid_params") from None
    asked = None if params.after is None else Position(params.epoch, params.after)
    wait_s = 0.0 if request.method == "HEAD" else params.wait
    answer = await poll(node, request, who, test_id, asked, params.limit, wait_s)
    if request.method == "HEAD" and is_stream:
        return Response(headers={"cache-control": "no-store"}, media_type=MEDIA_TYPE)
    headers = {"etag": answer.etag} | cached(node, answer, asked, "accept") | closing(node)
    if matches(if_none_match(request.scope["headers"]), answer.etag):
        return Response(status_code=304, headers=headers)
    return Response(answer.body, headers=headers, media_type="application/json")


async def streams_only(_request: Request) -> Response:
    """Several runs at once are there as a stream, and as nothing else."""
    text = f"several runs are followed as a stream: send Accept: {MEDIA_TYPE}, or open a socket"
    return rpc.error_response("not_acceptable", text, 406)


async def answered(request: Request, make: Callable[[Node, Request, str, Principal], Awaitable[Response]]) -> Response:
    """Checks who asks for which run, and has the answer made; or says why not."""
    node: Node = request.state.node
    who: Principal | None = None
    test_id: str | None = None
    try:
        who = await rpc.identify(node, request)
        quotas.count(node, request, "getEvents", Action.WATCH, who)
        test_id = parse_test_id(request.path_params["test_id"])
        await rpc.authorize(node, who, Action.WATCH, test_id)
        return await make(node, request, test_id, who)
    except ClientGone:
        return Response(status_code=204)
    except TestcastError as error:
        status = 503 if isinstance(error, ViewersFull) else None
        return rpc.refusal(request, error, Action.WATCH, who, test_id, status=status)


async def poll(
    node: Node, request: Request, who: Principal, test_id: str, asked: Position | None, limit: int, wait_s: float
) -> Answer:
    """What comes after a position. Who waits is a viewer, and counts as one.

    Raises:
        NotFound, BrokerUnavailable, NotAuthenticated, ViewersFull, ClientGone.
    """
    if not wait_s:
        return await node.polls.ask(test_id, asked, limit, 0.0)
    async with as_viewer(node, request), proved(node, who, test_id) as proof:
        asking = asyncio.ensure_future(node.polls.ask(test_id, asked, limit, wait_s))
        leaving = asyncio.ensure_future(_left(request))

        def end() -> None:
            leaving.cancel()

        proof.on_end = end
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            proof.check()
            if not asking.done():
                raise ClientGone
            return asking.result()
        finally:
            proof.on_end = lambda: None
            for each in (asking, leaving):
                each.cancel()
            await asyncio.gather(asking, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def as_viewer(node: Node, request: Request) -> AsyncIterator[None]:
    """While the block runs the request counts as an open viewer."""
    address = limited_address_of(node.config, request)
    refused = node.admission.enter(address, asyncio.get_running_loop().time(), handshake=False)
    if refused is not None:
        raise ViewersFull(refused.code, refused.message, refused.retry_after_s)
    try:
        yield
    finally:
        node.admission.leave(address)


@asynccontextmanager
async def proved(node: Node, who: Principal, test_id: str) -> AsyncIterator[Proof]:
    """While the block runs the end of the caller's proof is watched for."""
    proof = Proof(node, who, test_id)
    try:
        proof.check()
        yield proof
    finally:
        proof.release()


def cached(node: Node, answer: Answer, asked: Position | None, *vary: str) -> dict[str, str]:
    """The headers that say how long caches may keep an answer, and which.

    What lies between two positions of one life of the stream never changes. An answer that ends at the head is one of
    several right ones: who gets it later asks on from its end.
    """
    named = asked is not None and asked.epoch == answer.epoch and answer.outcome == "recovered"
    shared = not node.config.access.enabled
    fields = [*vary, *(("origin",) if node.config.allowed_origins else ())]
    if named and answer.immutable:
        return kept(KEPT_S, immutable=True, shared=shared, vary=fields)
    return kept(_SHORT_S if named and answer.events else None, shared=shared, vary=fields)


def closing(node: Node) -> dict[str, str]:
    """The header by which a client that polls goes to another node."""
    return {"connection": "close"} if node.draining else {}
