"""How a request reached this edge: questions of the HTTP application to `transport.forwarded`."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from broker.contract.errors import BadInput
from ws_edge.access import Header, NotAuthenticated
from ws_edge.access.cookies import own_cookies
from ws_edge.config import EdgeConfig
from ws_edge.transport.foreign_pages import why_refused
from ws_edge.transport.forwarded import Outside, client_address, limited_address, seen_from_outside
from ws_edge.transport.own_pages import is_of_other_scheme, is_own_origin, with_own_cookies


def outside_of(config: EdgeConfig, request: Request) -> Outside:
    """The edge's address as the client of this request has it."""
    return seen_from_outside(config, partial(_header, request), _peer(request))


def why_page_is_refused(config: EdgeConfig, request: Request) -> str | None:
    """None when the page that sends this request may do so, or when no page sends it."""
    return why_refused(config, partial(_header, request), _peer(request))


def header_of(request: Request) -> Header:
    """Looks up the request's headers, as `Access.identify` does."""
    return partial(_header, request)


def proofs_of(config: EdgeConfig, request: Request) -> Header:
    """Looks up the headers that may prove who sends a request: its cookies only where a page of this edge sends it."""
    changes = request.method == "POST"
    return with_own_cookies(config, header_of(request), _peer(request), changes=changes)


def is_foreign_page(config: EdgeConfig, request: Request) -> bool:
    """Whether the page that sends a request is none of this edge's own, or has come without TLS."""
    header = header_of(request)
    return header("origin") is not None and not is_own_origin(config, header, _peer(request))


def check_post(config: EdgeConfig, request: Request) -> None:
    """Returns when a POST may be carried out: pages of this edge and of allowed origins may send JSON.

    A program that sends neither an Origin nor a cookie of the edge is no browser.

    Raises:
        BadInput: the Origin is not a known one, or is missing where a browser sends this; or it is no JSON.
    """
    header = header_of(request)
    origin = header("origin")
    reason = why_page_is_refused(config, request)
    if reason is None and is_of_other_scheme(config, header, _peer(request)):
        reason = f"pages of {origin!r} may not connect here: this server is reached over https only"
    is_browsers = origin is not None or header("sec-fetch-site") is not None
    if reason is None and origin is None and (is_browsers or _has_own_cookie(header)):
        reason = "a request that changes something and has a cookie needs its Origin"
    if reason is not None:
        raise BadInput(reason, code="foreign_origin")
    media_type = (header("content-type") or "").partition(";")[0].strip(" \t").lower()
    if is_browsers and media_type != "application/json":
        raise BadInput("the body of a POST is JSON: content-type: application/json", code="unsupported_media_type")


def _has_own_cookie(header: Header) -> bool:
    if header("authorization") is not None:
        return False  # cookies are left aside
    try:
        return bool(own_cookies(header))
    except NotAuthenticated:
        return True


def address_of(config: EdgeConfig, request: Request) -> str:
    """Where the request comes from, for logs."""
    return client_address(_peer(request), header_of(request), config.trusted_proxies)


def limited_address_of(config: EdgeConfig, request: Request) -> str:
    """What this request counts against: the address of its client."""
    return limited_address(client_address(_peer(request), partial(_header, request), config.trusted_proxies))


def _header(request: Request, name: str) -> str | None:
    return ", ".join(request.headers.getlist(name)) if name in request.headers else None


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else "local"
