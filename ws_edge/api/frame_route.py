"""`GET /tests/<id>/frames/<number>`: one picture, which never changes."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from broker.contract import ids
from broker.contract.errors import TestcastError
from broker.contract.frames import MalformedFrame
from ws_edge.access import Action, Principal
from ws_edge.api import quotas, rpc
from ws_edge.api.http_cache import KEPT_S, if_none_match, kept, matches
from ws_edge.node import Node

_MAX_DIGITS: Final = 16


async def picture(request: Request) -> Response:
    """The JPEG."""
    node: Node = request.state.node
    principal: Principal | None = None
    test_id: str | None = None
    try:
        principal = await rpc.identify(node, request)
        quotas.count(node, request, "getShot", Action.WATCH, principal)
        test_id = ids.parse_test_id(request.path_params["test_id"])
        await rpc.authorize(node, principal, Action.WATCH, test_id)
        return await _answer(node, request, test_id)
    except MalformedFrame as error:
        return rpc.error_response(error.code, error.public_message, 422)
    except TestcastError as error:
        return rpc.refusal(request, error, Action.WATCH, principal, test_id)


async def _answer(node: Node, request: Request, test_id: str) -> Response:
    text = request.path_params["number"].removesuffix(".jpg")
    known = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) > 0
    found = await node.pictures.at(test_id, int(text)) if known else None
    if found is None:
        return rpc.error_response("not_found", "the test has no such picture, or it is not kept any more")
    etag = f'"{found.frame.number}"'
    headers = {"etag": etag} | kept(KEPT_S, immutable=True, shared=not node.config.access.enabled)
    if matches(if_none_match(request.scope["headers"]), etag):
        return Response(status_code=304, headers=headers)
    return Response(found.jpeg, headers=headers, media_type="image/jpeg")  # uvicorn leaves it out for HEAD
