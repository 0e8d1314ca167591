"""The outermost layer of the HTTP application: what every answer has, whoever wrote it."""

from __future__ import annotations

import logging

from starlette.types import Message, Receive, Scope, Send

from ws_edge.api.response_cache import ResponseCache, ResponseCacheMiddleware
from ws_edge.api.rpc import error_response
from ws_edge.response_headers import completed

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
        started = False

        async def send_completed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = completed(message.get("headers", ()))
            await send(message)

        try:
            await self._app(scope, receive, send_completed)
        except Exception as error:
            if started:
                raise
            _log.error("a request failed", exc_info=error)
            await error_response("internal", "the edge made a mistake; its log says which")(
                scope, receive, send_completed
            )
