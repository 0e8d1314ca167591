"""The RPC: one function a method, parameters in, JSON out. Errors carry a code, a sentence and a status."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.clock import now_ms
from broker.contract import ids
from broker.contract.errors import BadInput, BrokerUnavailable, NotFound, TestcastError
from broker.contract.events import Status, check, for_viewer
from broker.contract.position import Position, decide
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.scan import pages, retains
from broker.local.name_resolution import check_for_submit
from ws_edge.api.response_cache import CachedResponse
from ws_edge.node import Node
from ws_edge.transport.handshake import origin_allowed
from ws_edge.views.catalogue import to_json

MAX_BODY_BYTES: Final = 16 * 1024
_STATUS: Final = {
    "not_found": 404,
    "unknown_method": 404,
    "method_not_allowed": 405,
    "already_ended": 409,
    "too_large": 413,
    "foreign_origin": 403,
    "queue_full": 503,
    "broker_unavailable": 503,
    "broker_refused": 502,
    "not_ready": 503,
}


class Params(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Base of all parameters: an unknown one is an error, not a typo that goes unnoticed."""


class ListTests(Params):
    """`listTests`."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None
    status: Status | None = None
    query: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class OneTest(Params):
    """Methods about one test."""

    test_id: str


class GetEvents(Params):
    """`getEvents`."""

    test_id: str
    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    epoch: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 500


class SubmitTest(Params):
    """`submitTest`."""

    game_url: str
    title: str | None = None
    budget_seconds: float | None = None
    seed: int | None = None


class NoParams(Params):
    """Methods without parameters."""


class Answer(NamedTuple):
    """A body with its ETag, or without one where it may not be kept."""

    body: bytes
    etag: str | None = None
    media_type: str = "application/json"
    still: Callable[[], bool] | None = None
    """Whether the same question would be answered the same now; None: it may not be kept."""


class Method(NamedTuple):
    """One RPC method."""

    params: type[Params]
    call: Callable[[Node, Request, Any], Awaitable[Answer]]
    reads: bool
    """Changes nothing: may be asked for with GET."""


async def list_tests(node: Node, request: Request, params: ListTests) -> Answer:
    """The newest runs, a page at a time, with the counts by status: from memory, also while the broker is away."""
    if not node.catalogue.filled.is_set():
        raise BrokerUnavailable("this node has not reached the broker yet, so it does not know the list")
    stale_for_s = node.catalogue.stale_for_s
    query = f"{params.limit} {params.cursor} {params.status} {params.query}"
    etag = None if node.stale else node.catalogue.etag(node.hub.epoch, query)
    listing = node.catalogue.listing(params.limit, params.cursor, params.status, params.query)
    answer: dict[str, Any] = {"tests": to_json(listing.tests), "counts": listing.counts, "epoch": node.hub.epoch}
    if listing.next_cursor is not None:
        answer["nextCursor"] = listing.next_cursor
    if node.stale:
        answer |= {"stale": True, "ageMs": int((stale_for_s or 0) * 1000)}
    return Answer(orjson.dumps(answer), etag, still=_unchanged(node))


def _unchanged(node: Node) -> Callable[[], bool]:
    version, epoch = node.catalogue.version, node.hub.epoch
    return lambda: node.catalogue.version == version and node.hub.epoch == epoch and not node.stale


async def get_test(node: Node, _request: Request, params: OneTest) -> Answer:
    """One run's snapshot."""
    test_id, epoch = ids.parse_test_id(params.test_id), node.hub.epoch
    snapshot = await _snapshot(node, test_id)
    body = orjson.dumps({"test": msgspec.to_builtins(snapshot), "epoch": epoch})
    return Answer(body, _digest(body), still=lambda: node.hub.epoch == epoch and node.snapshot(test_id) == snapshot)


async def get_events(node: Node, _request: Request, params: GetEvents) -> Answer:
    """A run's events after a position, by the resume table: what a poll asks for."""
    test_id, log = ids.parse_test_id(params.test_id), node.log
    epoch = (await log.heads()).epoch
    asked = None if params.after is None else Position(params.epoch, params.after)
    last = await log.last(test_id)
    if not last or (asked is not None and asked.seq > last):  # "not found" and "ahead" have to be certain
        last = await log.last(test_id, confirmed=True)
    if not last:
        raise NotFound(test_id)
    retained = True
    if asked is not None and 0 < asked.seq < last and asked.epoch in (None, epoch):
        retained = await retains(log, test_id, asked.seq, last)
    decision = decide(asked, epoch, last, retained=retained)
    events, head = [], decision.after
    async for page in pages(log, test_id, decision.after, last, limit=params.limit):
        for stored in page.events:
            head = stored.seq
            try:
                events.append(orjson.Fragment(for_viewer(test_id, stored.seq, check(stored.data))))
            except BadInput:
                continue  # malformed: seen, not shown
        break  # one page an answer
    answer: dict[str, Any] = {"outcome": decision.outcome, "epoch": epoch, "head": head, "events": events}
    answer["more"] = head < last
    if decision.reason is not None:
        answer["reason"] = decision.reason
    if decision.outcome != "recovered":
        answer["snapshot"] = msgspec.to_builtins(await _snapshot(node, test_id))
    return Answer(orjson.dumps(answer))


async def connect_to_test(node: Node, request: Request, params: OneTest) -> Answer:
    """Where to open a socket for a run, and what to show until it delivers."""
    test_id = ids.parse_test_id(params.test_id)
    last = await node.log.last(test_id)
    if not last:
        raise NotFound(test_id)
    epoch = node.hub.epoch or (await node.log.heads()).epoch
    forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
    scheme = "wss" if forwarded.split(",")[0].strip() == "https" else "ws"
    host = request.headers.get("host", f"{node.config.host}:{node.config.port}")
    answer = {
        "url": f"{scheme}://{host}/ws?testId={test_id}",
        "snapshot": msgspec.to_builtins(await _snapshot(node, test_id)),
        "epoch": epoch,
        "head": last,
    }
    return Answer(orjson.dumps(answer))


async def submit_test(node: Node, _request: Request, params: SubmitTest) -> Answer:
    """Queues a run."""
    url = await check_for_submit(params.game_url, allow_private=node.config.allow_private)
    job = runs.make_job(url, params.title, params.budget_seconds, params.seed)
    return Answer(orjson.dumps({"testId": await runs.submit(node.log, job)}))


async def cancel_test(node: Node, _request: Request, params: OneTest) -> Answer:
    """Ends a run as cancelled."""
    test_id = ids.parse_test_id(params.test_id)
    snapshot = await node.cancel(test_id)
    return Answer(orjson.dumps({"testId": test_id, "status": snapshot.status}))


async def get_shot(node: Node, _request: Request, params: OneTest) -> Answer:
    """The newest picture of the game, as the agent sees it; 204 while there is none, which is no error."""
    test_id = ids.parse_test_id(params.test_id)
    picture = await node.shots.newest(test_id)
    if picture is None:
        return Answer(b"")
    return Answer(picture.jpeg, f'"{picture.revision}"', "image/jpeg")


async def get_config(node: Node, _request: Request, _params: NoParams) -> Answer:
    """What the page needs to know of this installation."""
    answer: dict[str, Any] = {"now": now_ms()}
    if node.config.demo_game_url is not None:
        answer["demoGameUrl"] = node.config.demo_game_url
    return Answer(orjson.dumps(answer))


METHODS: Final[Mapping[str, Method]] = {
    "listTests": Method(ListTests, list_tests, True),
    "getTest": Method(OneTest, get_test, True),
    "getEvents": Method(GetEvents, get_events, True),
    "connectToTest": Method(OneTest, connect_to_test, True),
    "getShot": Method(OneTest, get_shot, True),
    "getConfig": Method(NoParams, get_config, True),
    "submitTest": Method(SubmitTest, submit_test, False),
    "cancelTest": Method(OneTest, cancel_test, False),
}


async def serve(request: Request) -> Response:
    """`/rpc/<method>`: POST with a JSON object, or GET with query parameters where the method only reads."""
    node: Node = request.state.node
    try:
        answer = await _call(node, request)
    except TestcastError as error:
        return error_response(error.code, error.public_message)
    headers = {"cache-control": "no-cache"}
    if answer.etag is not None:
        headers["etag"] = answer.etag
        if answer.still is not None and request.method == "GET":
            node.response_cache.keep(request.scope, CachedResponse(answer.etag.encode(), answer.body, answer.still))
        if request.headers.get("if-none-match") == answer.etag:
            return Response(status_code=304, headers=headers)
    if not answer.body:
        return Response(status_code=204, headers=headers)
    return Response(answer.body, media_type=answer.media_type, headers=headers)


async def _call(node: Node, request: Request) -> Answer:
    name = request.path_params["method"]
    method = METHODS.get(name)
    if method is None:
        raise BadInput(f"{name[:80]!r} is no method: there are {', '.join(METHODS)}", code="unknown_method")
    if request.method in ("GET", "HEAD"):
        if not method.reads:
            raise BadInput(f"{name} changes something: use POST", code="method_not_allowed")
        given: Any = dict(request.query_params)
        return await method.call(node, request, _convert(method.params, given, strict=False))
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if not origin_allowed(origin, host, node.config.allowed_origins):
        raise BadInput(f"pages of {origin} may not call this", code="foreign_origin")
    body = await _body(request)
    try:
        given = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not JSON: {error}", code="malformed_body") from None
    if not isinstance(given, dict):
        raise BadInput(f"the body is {type(given).__name__}, expected a JSON object", code="malformed_body")
    return await method.call(node, request, _convert(method.params, given, strict=True))


def _convert(params: type[Params], given: dict[str, Any], *, strict: bool) -> Params:
    try:
        return msgspec.convert(given, params, strict=strict)
    except msgspec.ValidationError as error:
        raise BadInput(str(error).replace("Object", "the request"), code="invalid_params") from None


async def _body(request: Request) -> bytes:
    """The body, refused as soon as it is too long."""
    size, pieces = 0, []
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise BadInput(f"the body is longer than {MAX_BODY_BYTES} bytes", code="too_large")
        pieces.append(piece)
    return b"".join(pieces)


async def _snapshot(node: Node, test_id: str) -> Snapshot:
    """From memory, or, for a run this node has not heard of yet, folded from its events.

    Raises:
        NotFound: no event of it is stored.
    """
    known = node.snapshot(test_id)
    if known is None:
        known = (await runs.read(node.log, test_id)).snapshot
    if known is None:
        raise NotFound(test_id)
    return known


def error_response(code: str, message: str, details: Mapping[str, Any] | None = None) -> Response:
    """The one shape of an error."""
    error: dict[str, Any] = {"code": code, "message": message}
    if details is not None:
        error["details"] = details
    status = _STATUS.get(code, 400)
    headers = {"retry-after": "2"} if status == 503 else {}
    return Response(orjson.dumps({"error": error}), status_code=status, headers=headers, media_type="application/json")


def _digest(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
