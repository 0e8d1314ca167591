"""How a request reached this edge: questions of the HTTP application to `transport.forwarded`."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from ws_edge.config import EdgeConfig
from ws_edge.transport.foreign_pages import why_refused
from ws_edge.transport.forwarded import Outside, client_address, limited_address, seen_from_outside


def outside_of(config: EdgeConfig, request: Request) -> Outside:
    """The edge's address as the client of this request has it."""
    return seen_from_outside(config, partial(_header, request), _peer(request))


def why_page_is_refused(config: EdgeConfig, request: Request) -> str | None:
    """None when the page that sends this request may do so, or when no page sends it."""
    return why_refused(config, partial(_header, request), _peer(request))


def asker(config: EdgeConfig, request: Request) -> str:
    """The address that a limit counts this request to."""
    return limited_address(client_address(_peer(request), partial(_header, request), config.trusted_proxies))


def _header(request: Request, name: str) -> str | None:
    return ", ".join(request.headers.getlist(name)) if name in request.headers else None


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else "local"
