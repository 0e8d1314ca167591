"""The response cache: GET of `listTests` and `getTest` answered from memory while nothing has changed.

Every page without a socket asks every 3 s and nearly always gets the same answer. The cache stands before starlette, so
that a body is encoded once per change and a 304 costs one look-up. It refuses nothing itself: a request that it does
not know, or whose caller is not allowed the answer, is passed on to the application, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from broker.contract.errors import TestcastError
from ws_edge.access import Access, Action, Undecided
from ws_edge.api.http_cache import matches

_PATHS: Final = frozenset(("/rpc/listTests", "/rpc/getTest"))
_MAX_RESPONSES: Final = 1000
_MAX_BYTES: Final = 16 << 20


class CachedResponse(NamedTuple):
    """An answer that may be sent again."""

    etag: bytes
    body: bytes
    is_current: Callable[[], bool]
    """Whether the same request would get the same answer now."""
    action: Action
    """What a caller must be allowed to do to get it."""
    test_id: str | None
    """The run that it is about; None where it is about none."""


class ResponseCacheStatistics(NamedTuple):
    """What a response cache holds, and what it has answered since the start of the node."""

    responses: int
    body_bytes: int
    hits: int
    misses: int


class ResponseCache:
    """The responses of one node by path and query. At its limits it forgets all of them."""

    def __init__(self) -> None:
        self._responses: dict[tuple[str, bytes], CachedResponse] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def __repr__(self) -> str:
        return f"<ResponseCache responses={len(self._responses)} bytes={self._bytes}>"

    def statistics(self) -> ResponseCacheStatistics:
        """The figures of this moment."""
        return ResponseCacheStatistics(len(self._responses), self._bytes, self._hits, self._misses)

    def put(self, scope: Scope, response: CachedResponse) -> None:
        """Keeps the response to a request, unless its path is not one that is polled or its body is too large."""
        if scope["path"] not in _PATHS or len(response.body) > _MAX_BYTES:
            return
        key = (scope["path"], scope["query_string"])
        before = self._responses.pop(key, None)
        self._bytes += len(response.body) - (len(before.body) if before is not None else 0)
        if len(self._responses) >= _MAX_RESPONSES or self._bytes > _MAX_BYTES:
            self._responses.clear()
            self._bytes = len(response.body)
        self._responses[key] = response

    def get(self, scope: Scope, access: Access) -> CachedResponse | None:
        """The response to a request. None: none is kept, it is not current any more, or the caller may not have it."""
        response = self._responses.get((scope["path"], scope["query_string"]))
        if response is None or not response.is_current() or not _is_allowed(access, scope, response):
            self._misses += 1
            return None
        self._hits += 1
        return response


class ResponseCacheMiddleware:
    """The application behind its response cache."""

    def __init__(self, app: ASGIApp) -> None:
        self.cache = ResponseCache()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] not in _PATHS or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        asked, foreign = b"", False
        for name, value in scope["headers"]:
            if name == b"if-none-match":
                asked = value if not asked else asked + b"," + value
            elif name == b"origin":  # the application adds what allows a page of another origin to read the answer
                foreign = True
        state = scope["state"]
        response = None if foreign else self.cache.get(scope, state["node"].access)
        if response is None:
            state["response_cache"] = self.cache  # where the application puts what may be sent again
            await self._app(scope, receive, send)
            return
        headers = [(b"cache-control", b"no-cache"), (b"etag", response.etag)]
        if matches(asked, response.etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(response.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


def _is_allowed(access: Access, scope: Scope, response: CachedResponse) -> bool:
    """Whether the caller may have a response. The application asks again, and says why not."""
    try:
        access.authorize(access.identify(partial(_header, scope["headers"])), response.action, response.test_id)
    except (TestcastError, Undecided):
        return False
    return True


def _header(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    wanted = name.encode("latin-1")
    return next((value.decode("latin-1") for key, value in headers if key == wanted), None)
