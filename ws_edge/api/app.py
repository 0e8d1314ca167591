"""The HTTP application: its routes, and the lifespan that starts and stops the node."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.jetstream.connection import Connection
from broker.version import VERSION
from ws_edge.api import health, rpc
from ws_edge.api.response_cache import ResponseCacheMiddleware
from ws_edge.api.static import Static
from ws_edge.config import EdgeConfig
from ws_edge.node import Node

_log = logging.getLogger("testcast.edge")


def make_app(
    nats_url: str, replicas: int, config: EdgeConfig, on_ready: Callable[[Node], None]
) -> ResponseCacheMiddleware:
    """The edge as an ASGI application.

    Args:
        on_ready: called with the node once it has been started, inside the running loop.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        # Without waiting: the page and /healthz are served while the broker is away.
        nats = Connection.dial(nats_url, name=f"edge-{config.port}")
        node = Node(nats, config, replicas)
        _log.info("testcast %s: edge on %s port %d, broker %s", VERSION, config.host, config.port, nats.address)
        await node.start()
        on_ready(node)
        try:
            yield {"node": node}
        finally:
            await node.stop()

    # For pages of the other origins that the operator names: they load /testcast.js and call the RPC.
    origins = sorted(config.allowed_origins)
    cors = Middleware(CORSMiddleware, origins, allow_methods=["GET", "POST"], allow_headers=["content-type"])
    static = Static()
    application = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/rpc/{method}", rpc.serve, methods=["GET", "POST"]),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/", static.page),
            Route("/tests/{test_id}", static.page),
            Route("/{name}", static.file),
            Route("/{folder}/{name}", static.file),
        ],
        middleware=[cors] if origins else [],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},  # type: ignore[dict-item]
    )
    return ResponseCacheMiddleware(application)


async def _http_error(_request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return rpc.error_response(code, str(error.detail), error.status_code)


async def _internal_error(_request: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return rpc.error_response("internal", "the edge made a mistake; its log says which")
