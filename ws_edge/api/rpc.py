"""The RPC over HTTP: reads a request, asks whether it is allowed, calls the method, writes its answer or the error."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.contract import ids
from broker.contract.errors import BadInput, TestcastError
from ws_edge.api.http_cache import if_none_match, matches
from ws_edge.api.methods import METHODS, Answer, Method, Params, RunParams
from ws_edge.api.outside import why_page_is_refused
from ws_edge.api.response_cache import CachedResponse
from ws_edge.node import Node

MAX_BODY_BYTES: Final = 16 * 1024
_STATUS: Final = {
    "forbidden": 403,
    "foreign_origin": 403,
    "not_found": 404,
    "unknown_method": 404,
    "method_not_allowed": 405,
    "already_ended": 409,
    "too_large": 413,
    "internal": 500,
    "broker_refused": 502,
    "queue_full": 503,
    "name_not_resolved": 503,
    "broker_unavailable": 503,
    "storage_full": 503,
}
"""Of the codes that are not 400."""


async def serve(request: Request) -> Response:
    """`/rpc/<method>`: POST with a JSON object, or GET with query parameters where the method only reads."""
    node: Node = request.state.node
    try:
        method = _method(request)
        principal = node.access.identify(request.headers.get)
        params = await _params(node, request, method)
        test_id = ids.parse_test_id(params.test_id) if isinstance(params, RunParams) else None
        node.access.authorize(principal, method.action, test_id)
        answer = await method.call(node, request, params)
    except TestcastError as error:
        return error_response(error.code, error.public_message)
    cache = request.scope["state"].get("response_cache")
    if cache is not None and answer.etag is not None and answer.is_current is not None:
        kept = CachedResponse(answer.etag.encode(), answer.body, answer.is_current, method.action, test_id)
        cache.put(request.scope, kept)
    return _response(request, answer)


def _method(request: Request) -> Method:
    name = request.path_params["method"]
    method = METHODS.get(name)
    if method is None:
        raise BadInput(f"{name[:80]!r} is no method: there are {', '.join(METHODS)}", code="unknown_method")
    if request.method != "POST" and not method.reads:
        raise BadInput(f"{name} changes something: use POST", code="method_not_allowed")
    return method


async def _params(node: Node, request: Request, method: Method) -> Params:
    """The parameters of a call.

    Raises:
        BadInput: they are not those of the method, or a page of another origin sends them.
    """
    if request.method != "POST":
        return _convert(method.params, dict(request.query_params), strict=False)
    reason = why_page_is_refused(node.config, request)
    if reason is not None:
        raise BadInput(reason, code="foreign_origin")
    body = await _body(request)
    try:
        given = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not JSON: {error}", code="malformed_body") from None
    if not isinstance(given, dict):
        raise BadInput(f"the body is {type(given).__name__}, expected a JSON object", code="malformed_body")
    return _convert(method.params, given, strict=True)


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


def _response(request: Request, answer: Answer) -> Response:
    headers = {"cache-control": "no-cache"}
    if answer.etag is not None:
        headers["etag"] = answer.etag
        # A POST is always answered in full: 304 is for GET and HEAD only (RFC 9110, 13.1.2).
        if request.method != "POST" and matches(if_none_match(request.scope["headers"]), answer.etag):
            return Response(status_code=304, headers=headers)
    if not answer.body:
        return Response(status_code=204, headers=headers)
    return Response(answer.body, media_type=answer.media_type, headers=headers)


def error_response(code: str, message: str, status: int | None = None) -> Response:
    """The one shape of an error.

    Args:
        status: the HTTP status; None for the one that belongs to the code.
    """
    status = status or _STATUS.get(code, 400)
    headers = {"retry-after": "2"} if status == 503 else {}
    body = orjson.dumps({"error": {"code": code, "message": message}})
    return Response(body, status_code=status, headers=headers, media_type="application/json")
