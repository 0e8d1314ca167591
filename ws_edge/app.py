"""The application: HTTP routes, the node's life."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from broker.bus import Bus
from ws_edge import rpc
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.polls import Polls
from ws_edge.static import Static

_log = logging.getLogger("testcast.edge")


def make_app(nats_url: str, replicas: int, config: EdgeConfig, on_ready: Callable[[Node], None]) -> ASGIApp:
    """The edge as an ASGI application.

    Args:
        on_ready: called with the node once it has been started, inside the running loop.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        bus = Bus.dial(nats_url, name=f"edge-{config.port}")  # the page and /healthz do not wait for the broker
        node = Node(bus, config, replicas)
        await node.start()
        on_ready(node)
        try:
            yield {"node": node}
        finally:
            await node.stop()

    # For pages of other origins that the operator names: /testcast.js, and the RPC under it.
    origins = sorted(config.allowed_origins)
    cors = Middleware(CORSMiddleware, origins, allow_methods=["GET", "POST"], allow_headers=["content-type"])
    static = Static()
    application = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/rpc/{method}", rpc.serve, methods=["GET", "POST"]),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz),
            Route("/", static.page),
            Route("/tests/{test_id}", static.page),
            Route("/{name}", static.file),
            Route("/{folder}/{name}", static.file),
        ],
        middleware=[cors] if origins else [],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},  # type: ignore[dict-item]
    )
    return Polls(application)


async def _healthz(_request: Request) -> Response:
    """The process is alive."""
    return Response("ok\n", media_type="text/plain")


async def _readyz(request: Request) -> Response:
    """Viewers may be sent here."""
    node: Node = request.state.node
    body = {
        "ready": node.ready,
        "broker": node.bus.connected,
        "catalogue": node.catalogue.filled.is_set(),
        "draining": node.draining,
    }
    return Response(orjson.dumps(body), status_code=200 if node.ready else 503, media_type="application/json")


async def _http_error(_request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    response = rpc.error_response(code, str(error.detail))
    response.status_code = error.status_code
    return response


async def _internal_error(_request: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    response = rpc.error_response("internal", "the edge made a mistake; its log says which")
    response.status_code = 500
    return response
