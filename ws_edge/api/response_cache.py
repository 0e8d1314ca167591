"""The response cache: GET of `listTests` and `getTest` answered from memory while nothing has changed.

Answers are kept per set of projects: callers who see the same runs share them, and no others do.

Every page without a socket asks every 3 s and nearly always gets the same answer. The cache stands before starlette, so
that a body is encoded once per change and a 304 costs one look-up. It refuses nothing itself: a request that it does
not know, or whose caller is not allowed the answer, is passed on to the application, which says what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from broker.contract.errors import TestcastError
from ws_edge.access import ANONYMOUS, Access, Action, Principal, Undecided
from ws_edge.api.http_cache import matches

_PATHS: Final = {"/rpc/listTests": "listTests", "/rpc/getTest": "getTest"}
_MAX_RESPONSES: Final = 1000
_MAX_BYTES: Final = 16 << 20
_MAX_QUERY_BYTES: Final = 3072
"""Of a request, as it is kept. All that a page asks for takes less; a filter of many long labels is not kept."""


_Key = tuple[str, bytes, frozenset[str] | None]


class CachedResponse(NamedTuple):
    """An answer that may be sent again."""

    etag: bytes
    body: bytes
    is_current: Callable[[], bool]
    """Whether the same request would get the same answer now."""
    action: Action | None
    """What a caller must be allowed to do to get it. None: it is for anybody, and is not kept."""
    test_id: str | None
    """The run that it is about; None where it is about none."""


class ResponseCacheStatistics(NamedTuple):
    """What a response cache holds, and what it has answered since the start of the node."""

    responses: int
    body_bytes: int
    hits: int
    misses: int


class ResponseCache:
    """The responses of one node by path, query and the projects of the caller. At its limits it forgets all of them."""

    def __init__(self) -> None:
        self._responses: dict[_Key, CachedResponse] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def __repr__(self) -> str:
        return f"<ResponseCache responses={len(self._responses)} bytes={self._bytes}>"

    def statistics(self) -> ResponseCacheStatistics:
        """The figures of this moment."""
        return ResponseCacheStatistics(len(self._responses), self._bytes, self._hits, self._misses)

    def put(self, scope: Scope, response: CachedResponse, principal: Principal = ANONYMOUS) -> None:
        """Keeps the response to a principal's request, unless its path is not one that is polled or its body is too
        large."""
        if scope["path"] not in _PATHS or len(response.body) > _MAX_BYTES or response.action is None:
            return
        query = scope["query_string"]
        if len(query) > _MAX_QUERY_BYTES:
            return
        key = (scope["path"], query, principal.projects)
        before = self._responses.pop(key, None)
        self._bytes += len(response.body) - (len(before.body) if before is not None else 0)
        if len(self._responses) >= _MAX_RESPONSES or self._bytes > _MAX_BYTES:
            self._responses.clear()
            self._bytes = len(response.body)
        self._responses[key] = response

    def get(self, scope: Scope, access: Access) -> CachedResponse | None:
        """The response to a request. None: none is kept, it is not current any more, or the caller may not have it."""
        response = self._find(scope, access)
        if response is None:
            self._misses += 1
            return None
        self._hits += 1
        return response

    def _find(self, scope: Scope, access: Access) -> CachedResponse | None:
        try:
            principal = access.identify(partial(_header, scope["headers"]))
            response = self._responses.get((scope["path"], scope["query_string"], principal.projects))
            if response is None or response.action is None or not response.is_current():
                return None
            access.authorize(principal, response.action, response.test_id)
        except (TestcastError, Undecided):  # the application asks again, and says why not
            return None
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
            elif name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
                foreign = True  # the cookies that a browser sends along for other pages do not count
        state, began = scope["state"], time.monotonic()
        response = None if foreign else self.cache.get(scope, state["node"].access)
        if response is None:
            state["response_cache"] = self.cache  # where the application puts what may be sent again
            await self._app(scope, receive, send)
            return
        headers = [(b"cache-control", b"no-cache"), (b"etag", response.etag)]
        fresh = matches(asked, response.etag)
        took = time.monotonic() - began
        state["node"].calls.took(_PATHS[scope["path"]], 304 if fresh else 200, took)
        if fresh:
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(response.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


def _header(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    wanted = name.encode("latin-1")
    found = [value.decode("latin-1") for key, value in headers if key == wanted]
    return ", ".join(found) if found else None
