"""The application: HTTP routes, the dashboard's files, the node's life."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from broker import subjects
from broker.bus import Bus
from broker.errors import InvalidTestId
from ws_edge import rpc
from ws_edge.config import EdgeConfig
from ws_edge.node import Node

_DASHBOARD: Final = Path(__file__).resolve().parent.parent / "dashboard_ui"
_log = logging.getLogger("testcast.edge")
_SECURITY: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


def make_app(nats_url: str, replicas: int, config: EdgeConfig, on_ready: Callable[[Node], None]) -> Starlette:
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

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/rpc/{method}", rpc.serve, methods=["GET", "POST"]),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz),
            Route("/", _page),
            Route("/tests/{test_id}", _page),
            Mount("/", _Files(directory=_DASHBOARD)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},  # type: ignore[dict-item]
    )


class _Files(StaticFiles):
    """The dashboard's files: asked for anew each time (304 when unchanged), so that an update is seen at once."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_SECURITY | {"cache-control": "no-cache"})
        return response


async def _page(request: Request) -> Response:
    """The dashboard; a run's own page is the same document."""
    test_id = request.path_params.get("test_id")
    if test_id is not None:
        try:
            subjects.parse_test_id(test_id)
        except InvalidTestId as error:
            return FileResponse(_DASHBOARD / "index.html", 404, headers=_SECURITY | {"x-error": error.code})
    return FileResponse(_DASHBOARD / "index.html", headers=_SECURITY | {"cache-control": "no-cache"})


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
