"""Whether an upgrade request is let in: limits, address, origin, principal, drain, handshake, in this order."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final, NamedTuple

from ws_edge.access import AccessDenied, NotAuthenticated, Principal, Undecided, audit
from ws_edge.transport import handshake
from ws_edge.transport.foreign_pages import why_refused
from ws_edge.transport.forwarded import client_address, limited_address
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.services import Services

PATH: Final = "/ws"


class Admitted(NamedTuple):
    """A viewer that is let in. It counts against the limits until its address leaves `node.admission`."""

    answer: bytes
    """The 101 response."""
    address: str
    principal: Principal


def admit(node: Services, request: handshake.Request, peer: object) -> Admitted:
    """Judges an upgrade request.

    Args:
        peer: the transport's `peername`.

    Raises:
        Refusal: with the response to send. Nothing counts against the limits then.
    """
    address = _enter(node, request, peer)
    try:
        if request.path != PATH:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", f"the WebSocket is at {PATH}")
        reason = why_refused(node.config, request.headers.get, peer_address(peer))
        if reason is not None:
            raise Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", reason)
        try:
            principal = node.access.identify(request.headers.get)
        except NotAuthenticated as error:
            audit.refused("connect", error.code, subject="unknown", address=address)
            status = HTTPStatus.UNAUTHORIZED
            raise Refusal(status, error.code, error.message, www_authenticate="Bearer") from None
        except Undecided:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise Refusal(status, "not_ready", "it is not known yet who you are", retry_after="1") from None
        except AccessDenied as error:
            raise Refusal(HTTPStatus.FORBIDDEN, error.code, error.message) from None
        if node.draining:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "restarting", "this node is going away", retry_after="1")
        return Admitted(handshake.accept(request), address, principal)
    except Refusal:
        node.admission.leave(address)
        raise


def _enter(node: Services, request: handshake.Request, peer: object) -> str:
    """Counts the viewer. At the limits the answer is short, and comes before any other work."""
    address = limited_address(client_address(peer_address(peer), request.headers.get, node.config.trusted_proxies))
    refused = node.admission.enter(address, asyncio.get_running_loop().time())
    if refused is not None:
        after = str(refused.retry_after_s)
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, refused.code, refused.message, retry_after=after)
    return address


def peer_address(peername: object) -> str:
    """The address in a transport's `peername`."""
    return str(peername[0]) if isinstance(peername, tuple) else "local"
