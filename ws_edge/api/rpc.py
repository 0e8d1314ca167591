"""The RPC over HTTP: reads a request, asks whether it is allowed, calls the method, writes its answer or the error."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.contract import ids
from broker.contract.errors import BadInput, TestcastError
from broker.contract.rpc import STATUS
from ws_edge.access import Action, Principal, Undecided, audit
from ws_edge.api import quotas
from ws_edge.api.calls import Answer, Method, Params, RunParams
from ws_edge.api.http_cache import if_none_match, matches
from ws_edge.api.methods import METHODS
from ws_edge.api.outside import address_of, check_post, proofs_of
from ws_edge.api.response_cache import CachedResponse
from ws_edge.node import Node

REFUSALS: Final = frozenset({"unauthenticated", "forbidden", "foreign_origin", "not_found"})
"""Codes that go to the audit log where they come before the method: who asks may not have it."""
_REFUSALS_OF_METHODS: Final = REFUSALS - {"unauthenticated", "not_found"}
"""Codes that go there from the method itself. A public method writes down what it finds no proof for."""


async def serve(request: Request) -> Response:
    """`/rpc/<method>`: POST with a JSON object, or GET with query parameters where the method only reads."""
    node: Node = request.state.node
    began, status = time.monotonic(), 500
    try:
        response = await _serve(node, request)
        status = response.status_code
        return response
    finally:
        node.calls.took(request.path_params["method"], status, time.monotonic() - began)


async def _serve(node: Node, request: Request) -> Response:
    call = _Call()
    try:
        call.method = method = _method(request)
        if request.method == "POST":
            check_post(node.config, request)
        if method.action is not None:
            call.principal = await identify(node, request)
            request.state.principal = call.principal
        quotas.count(node, request, request.path_params["method"], method.action, call.principal)
        params = await _params(node, request, method)
        call.test_id = ids.parse_test_id(params.test_id) if isinstance(params, RunParams) else None
        if method.action is not None and call.principal is not None:
            await authorize(node, call.principal, method.action, call.test_id)
        call.allowed = True
        async with quotas.turn(node, request, request.path_params["method"]):
            answer = await method.call(node, request, params)
    except TestcastError as error:
        error = quotas.judged(node, request, error)
        if error.code in (_REFUSALS_OF_METHODS if call.allowed else REFUSALS):
            audit.refused(call.name, error.code, **call.who(node, request))
        after = getattr(error, "retry_after_s", None)
        response = error_response(error.code, error.public_message, details=error.details, retry_after_s=after)
        if isinstance(error, WrongVerb):
            response.headers["allow"] = error.allow
        return response
    if not method.reads and method.action is not None and request.path_params["method"] != "getTicket":
        call.test_id = call.test_id or answer.made
        detail = f"{request.path_params['method']} {answer.about}".rstrip()
        audit.acted(method.action, detail=detail, **call.who(node, request))
    cache = request.scope["state"].get("response_cache")
    if cache is not None and answer.etag is not None and answer.is_current is not None and call.principal is not None:
        kept = CachedResponse(answer.etag.encode(), answer.body, answer.is_current, method.action, call.test_id)
        cache.put(request.scope, kept, call.principal)
    return _response(request, answer)


class WrongVerb(BadInput):
    """The HTTP method is none that the RPC method takes.

    Attributes:
        allow: those that it takes, for the header `Allow`.
    """

    code = "method_not_allowed"

    def __init__(self, message: str, verbs: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = ", ".join(verbs)


class _Call:
    """One call, as far as it is known: what the audit log says of it."""

    method: Method | None = None
    principal: Principal | None = None
    test_id: str | None = None
    allowed = False

    @property
    def name(self) -> Action | str:
        """What was asked for."""
        return self.method.action or "public" if self.method is not None else "unknown"

    def who(self, node: Node, request: Request) -> dict[str, Any]:
        """Subject, address and run."""
        subject = "unknown" if self.principal is None else self.principal.subject
        return {"subject": subject, "address": address_of(node.config, request), "test_id": self.test_id}


async def identify(node: Node, request: Request) -> Principal:
    """Who sends a request.

    Raises:
        NotAuthenticated: it has no proof and needs one, or its proof is wrong.
    """
    header = proofs_of(node.config, request)
    try:
        return node.access.identify(header)
    except Undecided:
        return await node.access.identify_later(header)


async def authorize(node: Node, principal: Principal, action: Action, test_id: str | None) -> None:
    """Returns when the principal may do it.

    Raises:
        AccessDenied, NotFound: it may not. BrokerUnavailable: only the broker could tell.
    """
    try:
        node.access.authorize(principal, action, test_id)
    except Undecided:
        if test_id is None:
            raise
        await node.access.authorize_later(principal, action, test_id)


def _method(request: Request) -> Method:
    name = request.path_params["method"]
    method = METHODS.get(name)
    if method is None:
        raise BadInput(f"{name[:80]!r} is no method: there are {', '.join(METHODS)}", code="unknown_method")
    verbs = ("GET", "HEAD", "POST") if method.reads else ("POST",)
    if request.method not in verbs:
        raise WrongVerb(f"{name} takes GET and POST" if method.reads else f"{name} changes something: use POST", verbs)
    return method


async def _params(node: Node, request: Request, method: Method) -> Params:
    """The parameters of a call.

    Raises:
        BadInput: they are not those of the method, or a page of another origin sends them.
    """
    if request.method != "POST":
        query: dict[str, Any] = dict(request.query_params)
        repeated = {name: request.query_params.getlist(name) for name in method.params.lists if name in query}
        return _convert(method.params, query | repeated, strict=False)
    body = await _body(request, method.max_body_bytes)
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


async def _body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is too long."""
    size, pieces = 0, []
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise BadInput(f"the body is longer than {limit} bytes", code="too_large")
        pieces.append(piece)
    return b"".join(pieces)


def _response(request: Request, answer: Answer) -> Response:
    headers = {"cache-control": answer.cache_control}
    if answer.etag is not None:
        headers["etag"] = answer.etag
        # A POST is always answered in full: 304 is for GET and HEAD only (RFC 9110, 13.1.2).
        if request.method != "POST" and matches(if_none_match(request.scope["headers"]), answer.etag):
            return Response(status_code=304, headers=headers)
    if not answer.body:
        return Response(status_code=204, headers=headers)
    response = Response(answer.body, media_type=answer.media_type, headers=headers)
    for each in answer.cookies:
        response.headers.append("set-cookie", each)
    return response


def refusal(
    request: Request,
    error: TestcastError,
    action: Action,
    who: Principal | None,
    test_id: str | None = None,
    *,
    status: int | None = None,
) -> Response:
    """The answer of a route that has met an error. The audit log is told where it means that the caller may not.

    Args:
        action: what was asked for.
        who: asks; None: that was not known yet.
        status: the HTTP status; None for the one that belongs to the code.
    """
    node: Node = request.state.node
    error = quotas.judged(node, request, error)
    if error.code in REFUSALS:
        subject = "unknown" if who is None else who.subject
        audit.refused(action, error.code, subject=subject, address=address_of(node.config, request), test_id=test_id)
    after = getattr(error, "retry_after_s", None)
    return error_response(error.code, error.public_message, status, details=error.details, retry_after_s=after)


def error_response(
    code: str,
    message: str,
    status: int | None = None,
    *,
    details: dict[str, object] | None = None,
    retry_after_s: int | None = None,
) -> Response:
    """The one shape of an error. No cache keeps it: a run that is not there may come, and a reader may sign in.

    Args:
        status: the HTTP status; None for the one that belongs to the code.
        details: figures for programs.
        retry_after_s: when to try again; None for what suits the status.
    """
    status = status or STATUS.get(code, 400)
    after = retry_after_s or (2 if status == 503 else None)
    headers = {"cache-control": "no-store"} | ({} if after is None else {"retry-after": str(after)})
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    said = {"code": code, "message": message} | ({} if details is None else {"details": details})
    body = orjson.dumps({"error": said})
    return Response(body, status_code=status, headers=headers, media_type="application/json")
