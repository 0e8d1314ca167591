"""The HTTP application: its routes, and the lifespan that starts and stops the node."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from broker.jetstream.connection import Connection
from broker.log import RateLimited
from broker.version import VERSION
from ws_edge.access import Action, Principal
from ws_edge.api import badge, durable_route, event_route, export, frame_route, health, rpc
from ws_edge.api.edge_app import EdgeApp
from ws_edge.api.methods import METHODS
from ws_edge.api.outside import address_of, limited_address_of
from ws_edge.api.response_cache import ResponseCacheMiddleware
from ws_edge.api.static import OPENAPI, REFERENCE, Static, further_pages
from ws_edge.config import EdgeConfig
from ws_edge.metrics.served import served
from ws_edge.node import Node
from ws_edge.transport.buckets import TooManyRequests
from ws_edge.transport.stream_request import SEVERAL
from ws_edge.transport.upgrade import PATH as SOCKET_PATH

PUBLIC: Final = "public"
"""Anybody may ask: the answer is the same for everybody, and says nothing of any run."""
BY_METHOD: Final = "by method"
"""Each method of the RPC names its own action."""

_HEADERS: Final = ["content-type", "authorization", "last-event-id", "if-none-match"]
"""What pages of allowed origins may send."""
_log = logging.getLogger("testcast.edge")
_failures = RateLimited(_log, per_s=1.0)


def make_app(
    nats_url: str,
    replicas: int,
    config: EdgeConfig,
    on_ready: Callable[[Node], None],
    metrics: socket.socket | Path | None = None,
) -> EdgeApp:
    """The edge as an ASGI application.

    Args:
        on_ready: called with the node once it has been started, inside the running loop.
        metrics: where the metrics of this process are served; None: nowhere.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        # Without waiting: the page and /healthz are served while the broker is away.
        nats = Connection.dial(nats_url, name=f"edge-{config.port}")
        node = Node(nats, config, replicas)
        _log.info("testcast %s: edge on %s port %d, broker %s", VERSION, config.host, config.port, nats.address)
        node.calls.tell(METHODS)
        await node.start()
        on_ready(node)
        try:
            async with served(node, metrics):
                yield {"node": node}
        finally:
            await node.stop()

    # For pages of the other origins that the operator names: they load /testcast.js and call the RPC.
    origins = config.allowed_origins
    cors = Middleware(
        _Cors,
        origins,  # type: ignore[arg-type]
        allow_methods=["GET", "POST"],
        allow_headers=_HEADERS,
        expose_headers=durable_route.EXPOSED,
    )
    application = Starlette(
        lifespan=lifespan,
        routes=routes(config, Static(config)),
        middleware=[cors] if origins else [],
        exception_handlers={
            HTTPException: _http_error,  # type: ignore[dict-item]
            ClientDisconnect: _gone,  # type: ignore[dict-item]
            Exception: _internal_error,
        },
    )
    application.router.redirect_slashes = False  # its redirects are absolute and name the Host that was asked for
    return EdgeApp(ResponseCacheMiddleware(application))


class Door(Route):
    """A route that names what its caller must be allowed to do."""

    def __init__(self, path: str, endpoint: Callable[..., Any], asks: Action | str, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        if asks == BY_METHOD:
            self.methods = None  # each method of the RPC says which it takes: starlette's `Allow` would name others
        self.asks = asks
        """`PUBLIC`, `BY_METHOD`, or the action that the endpoint asks for."""


def _oidc_routes(config: EdgeConfig) -> list[Door]:
    """Where people come to and from a provider of OpenID Connect, if there is one."""
    if config.oidc is None or config.access.session_key is None:
        return []
    from ws_edge.api.oidc import Oidc  # its library takes a while to import

    oidc = Oidc(config.oidc, config.access.session_key, _session, partial(address_of, config))

    async def callback(request: Request) -> Response:
        """A sign-in like any other, as often: each asks the provider."""
        try:
            request.state.node.quotas.take("sign-ins", limited_address_of(config, request))
        except TooManyRequests as error:
            return rpc.error_response(error.code, error.public_message, retry_after_s=error.retry_after_s)
        return await oidc.callback(request)

    return [Door("/oidc/login", oidc.login, PUBLIC), Door("/oidc/callback", callback, PUBLIC)]


def _session(request: Request, principal: Principal) -> str:
    """Begins a session: the `Set-Cookie`."""
    proofs = request.state.node.proofs
    assert proofs is not None and proofs.sessions is not None, "config demands both"
    cookie: str = proofs.sessions.begin(principal).cookie
    return cookie


def routes(config: EdgeConfig, static: Static) -> list[Door]:
    """Every route. The pages and files of the dashboard are the same for everybody and hold nothing of a run."""
    prefix = config.prefix.decode()
    return [
        *_oidc_routes(config),
        *([Door(prefix, _to_directory, PUBLIC)] if prefix else []),
        Door("/rpc/{method}", rpc.serve, BY_METHOD),
        Door("/healthz", health.healthz, PUBLIC),
        Door("/readyz", health.readyz, PUBLIC),
        Door(SOCKET_PATH, _no_upgrade, PUBLIC),
        Door("/", static.page, PUBLIC),
        *(Door(address, static.further_page, PUBLIC) for address in further_pages()),
        Door(REFERENCE, static.reference, PUBLIC),
        Door(OPENAPI, static.openapi, PUBLIC),
        Door("/tests/{test_id}", static.page, PUBLIC),
        Door("/tests/{test_id}/", _without_slash, PUBLIC),
        Door(export.PATH, export.Exports().serve, Action.WATCH),
        Door(event_route.PATH, event_route.events, Action.WATCH, methods=["GET"]),
        Door(durable_route.PATH, durable_route.stream, Action.WATCH, methods=["GET"]),
        Door(SEVERAL, event_route.streams_only, PUBLIC, methods=["GET"]),
        Door("/tests/{test_id}/frames/{number}", frame_route.picture, Action.WATCH, methods=["GET"]),
        Door(badge.PATH, badge.badge, Action.LIST, methods=["GET"]),
        Door("/{name}", static.file, PUBLIC),
        Door("/{folder}/{name:path}", static.file, PUBLIC),
    ]


class _Cors(CORSMiddleware):
    """Tells the pages of allowed origins that they may read answers. One set judges origins here and at the socket."""

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether the operator allows it."""
        return origin in self.allow_origins


async def _to_directory(request: Request) -> Response:
    """The prefix without its slash: relative addresses would lead beside it."""
    return _redirect(request, f"{request.scope['path']}/")


async def _without_slash(request: Request) -> Response:
    """A run's address with a slash at its end."""
    return _redirect(request, f"../{quote(request.path_params['test_id'])}")


def _redirect(request: Request, to: str) -> Response:
    query = request.scope["query_string"].decode("latin-1")
    return Response(status_code=307, headers={"location": f"{to}?{query}" if query else to})


async def _no_upgrade(_request: Request) -> Response:
    """A request for the socket that does not ask for an upgrade, or whose Upgrade a proxy has removed."""
    text = (
        "This is the address of a WebSocket, and the request asks for no upgrade. "
        "A proxy in between has to pass the headers Upgrade and Connection on.\n"
    )
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    return Response(text, status_code=426, headers=headers, media_type="text/plain")


async def _http_error(_request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    response = rpc.error_response(code, str(error.detail), error.status_code)
    response.headers.update(error.headers or {})  # Allow, of a 405
    return response


async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
    """The client left before its request was whole: nobody reads this."""
    return Response(status_code=400)


async def _internal_error(_request: Request, error: Exception) -> Response:
    _failures.log(logging.ERROR, "a request failed", exc_info=error)
    return rpc.error_response("internal", "the edge made a mistake; its log says which")
