"""Polls from memory: `listTests` and `getTest` by GET, answered as long as nothing has changed since the last time.

Stands before starlette, since every page without a socket asks every 3 s, and nearly always gets the same: a body is
encoded once per revision, and "nothing new" (304) costs a look into a dictionary. What it does not know, it does not
judge: the application answers, and tells this what may be said again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

_PATHS: Final = frozenset(("/rpc/listTests", "/rpc/getTest"))
_MAX_KEPT: Final = 1000
_MAX_KEPT_BYTES: Final = 16 << 20


class CachedResponse(NamedTuple):
    """An answer that may be said again."""

    etag: bytes
    body: bytes
    still: Callable[[], bool]
    """Whether it would be the same now."""


class ResponseCache:
    """What was answered, by path and query. Of one node."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes], CachedResponse] = {}
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<ResponseCache kept={len(self._kept)} bytes={self._bytes}>"

    def keep(self, scope: Scope, kept: CachedResponse) -> None:
        """Remembers the answer to a request."""
        if scope["path"] not in _PATHS or len(kept.body) > _MAX_KEPT_BYTES:
            return
        key = (scope["path"], scope["query_string"])
        before = self._kept.pop(key, None)
        self._bytes += len(kept.body) - (len(before.body) if before is not None else 0)
        if len(self._kept) >= _MAX_KEPT or self._bytes > _MAX_KEPT_BYTES:
            self._kept.clear()
            self._bytes = len(kept.body)
        self._kept[key] = kept

    def known(self, scope: Scope) -> CachedResponse | None:
        """The answer to a request, if there is one that still holds."""
        kept = self._kept.get((scope["path"], scope["query_string"]))
        return kept if kept is not None and kept.still() else None


class ResponseCacheMiddleware:
    """The application, with what it has answered before it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] in _PATHS and scope["method"] == "GET":
            asked, foreign = b"", False
            for name, value in scope["headers"]:
                if name == b"if-none-match":
                    asked = value
                elif name == b"origin":  # whether it may read the answer is decided by the application
                    foreign = True
            kept = None if foreign else scope["state"]["node"].response_cache.known(scope)
            if kept is not None:
                headers = [(b"cache-control", b"no-cache"), (b"etag", kept.etag)]
                if asked == kept.etag:
                    await send({"type": "http.response.start", "status": 304, "headers": headers})
                    await send({"type": "http.response.body", "body": b""})
                    return
                headers += [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(kept.body)),
                ]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": kept.body})
                return
        await self._app(scope, receive, send)
