"""The outermost layer of the HTTP application: what every answer has, whoever wrote it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from broker import tracing
from broker.log import bound
from ws_edge.api.response_cache import ResponseCache, ResponseCacheMiddleware
from ws_edge.api.rpc import error_response
from ws_edge.response_headers import completed
from ws_edge.transport import told
from ws_edge.transport.forwarded import client_address, tells_addresses

_REQUEST_ID: Final = told.REQUEST_ID.encode()
_READY: Final = "/readyz"
_TRACE: Final = tracing.HEADER.encode()
_log = logging.getLogger("testcast.edge")


class EdgeApp:
    """The application behind its response cache. Adds to each answer the headers of `response_headers`."""

    def __init__(self, app: ResponseCacheMiddleware) -> None:
        self._app = app

    @property
    def cache(self) -> ResponseCache:
        """The answers that are kept."""
        return self._app.cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = False, 0
        request_id = _id_of(scope)

        async def send_completed(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                message["headers"] = [*completed(message.get("headers", ())), (b"x-request-id", request_id.encode())]
            elif status >= 400:
                _tell(scope, status, message.get("body", b""))
                status = 0  # the rest of a body is no other answer
            await send(message)

        with bound(request=request_id):
            if tracing.on:
                _continue_trace(scope)
            try:
                await self._app(scope, receive, send_completed)
            except Exception as error:
                if started:
                    raise
                _log.error("a request failed", exc_info=error)
                await error_response("internal", "the edge made a mistake; its log says which")(
                    scope, receive, send_completed
                )


def _id_of(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == _REQUEST_ID]
    if len(given) != 1:
        return told.new_id()
    return told.id_of(scope["state"]["node"].config, lambda _name: given[0].decode("latin-1"), _peer(scope))


def _continue_trace(scope: Scope) -> None:
    """A trusted proxy, and a program on this machine, may say which trace a request belongs to."""
    given = next((value for name, value in scope["headers"] if name == _TRACE), None)
    if given is not None and tells_addresses(scope["state"]["node"].config, _peer(scope)):
        tracing.adopt(given)


def _tell(scope: Scope, status: int, body: bytes) -> None:
    path = scope["path"]
    if path == _READY:
        return  # what an edge cannot do is no refusal: the parts concerned say it
    trusted = scope["state"]["node"].config.trusted_proxies
    address = client_address(_peer(scope), partial(_header, scope["headers"]), trusted)
    told.refused(status, told.code_in(body), told.Message(body), address=address, path=path)


def _header(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    found = [value.decode("latin-1") for key, value in headers if key == name.encode("latin-1")]
    return ", ".join(found) if found else None


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "local"
