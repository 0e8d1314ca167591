"""Whether an upgrade request is let in: limits, address, origin, principal, drain, handshake, in this order.

`enter` counts the viewer, `admit` judges the rest. Where a look elsewhere is needed to tell who it is, `admit` raises
`Undecided`, and `admit_later` judges.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from broker.contract.errors import BrokerUnavailable, TestcastError
from ws_edge.access import AccessDenied, Header, NotAuthenticated, Principal, audit
from ws_edge.transport import handshake
from ws_edge.transport.buckets import TooManyRequests
from ws_edge.transport.foreign_pages import why_refused
from ws_edge.transport.forwarded import client_address, limited_address
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.own_pages import with_own_cookies
from ws_edge.transport.services import Services

PATH: Final = "/ws"


_ASKED_FOR: Final = "connect"
"""In the audit log."""
_IDENTIFY_S: Final = 5.0
"""How long an upgrade may wait for the answer to who sends it."""


class Entered(NamedTuple):
    """A viewer that is counted, until its address leaves `node.admission`."""

    address: str
    """What it counts as."""
    peer: str
    """The address at the other end of the connection."""
    request_id: str = ""


class Admitted(NamedTuple):
    """A viewer that is let in."""

    answer: bytes
    """The 101 response."""
    principal: Principal
    origin: str | None
    """The Origin of the page that opens the socket."""


def enter(node: Services, request: handshake.Request, peername: object, request_id: str = "") -> Entered:
    """Counts the viewer. At the limits the answer is short, and comes before any other work.

    Args:
        peername: the transport's.

    Raises:
        Refusal: with the response to send. Nothing counts against the limits then.
    """
    peer = peer_address(peername)
    address = limited_address(client_address(peer, request.headers.get, node.config.trusted_proxies))
    refused = node.admission.enter(address, node.hub.time())
    if refused is not None:
        after = str(refused.retry_after_s)
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, refused.code, refused.message, retry_after=after)
    return Entered(address, peer, request_id)


def admit(node: Services, request: handshake.Request, entered: Entered) -> Admitted:
    """Judges an upgrade request.

    Raises:
        Refusal: with the response to send.
        Undecided: `admit_later` can tell.
    """
    if request.path != PATH:
        raise Refusal(HTTPStatus.NOT_FOUND, "not_found", f"the WebSocket is at {PATH}")
    return _admitted(request, identify(node, request, entered), entered)


async def admit_later(node: Services, request: handshake.Request, entered: Entered) -> Admitted:
    """Like `admit`, for a request that it was undecided about.

    Raises:
        Refusal: with the response to send.
    """
    return _admitted(request, await identify_later(node, request, entered), entered)


def identify(node: Services, request: handshake.Request, entered: Entered) -> Principal:
    """Who wants to be a viewer, by a socket or a stream.

    Raises:
        Refusal: it is not let in; with the response to send.
        Undecided: `identify_later` can tell.
    """
    reason = why_refused(node.config, request.headers.get, entered.peer)
    if reason is not None:
        audit.refused(_ASKED_FOR, "foreign_origin", subject="unknown", **_who(entered))
        raise Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", reason)
    try:
        principal = node.access.identify(_proofs(node, request, entered))
    except TestcastError as error:
        raise _not_let_in(node, error, entered) from None
    _check_staying(node)
    return principal


async def identify_later(node: Services, request: handshake.Request, entered: Entered) -> Principal:
    """Like `identify`, with a look elsewhere.

    Raises:
        Refusal: it is not let in; with the response to send.
    """
    _check_staying(node)
    try:
        async with asyncio.timeout(_IDENTIFY_S):
            principal = await node.access.identify_later(_proofs(node, request, entered))
    except TestcastError as error:
        raise _not_let_in(node, error, entered) from None
    except TimeoutError:
        raise _not_let_in(node, BrokerUnavailable("it took too long to find out who sends this"), entered) from None
    _check_staying(node)
    return principal


def _proofs(node: Services, request: handshake.Request, entered: Entered) -> Header:
    """The headers that may prove who sends the request."""
    if "cookie" not in request.headers:
        return request.headers.get
    return with_own_cookies(node.config, request.headers.get, entered.peer)


def _admitted(request: handshake.Request, principal: Principal, entered: Entered) -> Admitted:
    return Admitted(handshake.accept(request, entered.request_id), principal, request.headers.get("origin"))


def _check_staying(node: Services) -> None:
    if node.draining:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "restarting", "this node is going away", retry_after="1")


def _not_let_in(node: Services, error: TestcastError, entered: Entered) -> Refusal:
    if isinstance(error, NotAuthenticated):
        try:
            node.quotas.take("sign-ins", entered.address)  # who guesses is slowed down here as at the RPC
        except TooManyRequests as too_many:
            after = str(too_many.retry_after_s)
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, too_many.code, too_many.public_message, retry_after=after)
    if isinstance(error, NotAuthenticated | AccessDenied):
        audit.refused(_ASKED_FOR, error.code, subject="unknown", **_who(entered))
    if isinstance(error, NotAuthenticated):
        return Refusal(HTTPStatus.UNAUTHORIZED, error.code, error.public_message, www_authenticate="Bearer")
    if isinstance(error, AccessDenied):
        return Refusal(HTTPStatus.FORBIDDEN, error.code, error.public_message)
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.public_message, retry_after="2")


def _who(entered: Entered) -> dict[str, Any]:
    """Of the audit log."""
    return {"address": entered.address, "fields": {"request": entered.request_id}}


def peer_address(peername: object) -> str:
    """The address in a transport's `peername`."""
    return str(peername[0]) if isinstance(peername, tuple) else "local"
