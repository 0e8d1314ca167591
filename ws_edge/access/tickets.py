"""Tickets: how a page that has no cookie of an edge opens a socket. Pure but for random ids.

A browser lets no page set a header on a WebSocket, and a token in an address would stand in logs. The page asks for a
ticket with its token and offers it as a subprotocol. A ticket works once, within 30 s, at any edge, and only from the
Origin that asked for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from ws_edge.access.access import Header
from ws_edge.access.principal import NotAuthenticated, Principal
from ws_edge.access.sessions import claims_of, principal_of
from ws_edge.access.signer import NotSigned, Signer

LIFETIME_S: Final = 30.0
REMEMBERED_S: Final = 120.0
"""How long a ticket counts as used: longer than it lives, by any edge's clock."""
_TYP: Final = "testcast-ticket+jwt"
_OFFER: Final = "ticket."


class Ticket(NamedTuple):
    """A ticket that is valid, but for having been used."""

    ticket_id: str
    principal: Principal


def offered(header: Header) -> str | None:
    """The ticket that an upgrade request offers among its subprotocols; None when it offers none.

    Raises:
        NotAuthenticated: it offers several.
    """
    protocols = [each.strip(" \t") for each in (header("sec-websocket-protocol") or "").split(",")]
    found = [each.removeprefix(_OFFER) for each in protocols if each.startswith(_OFFER)]
    if len(found) > 1:
        raise NotAuthenticated("more than one ticket was offered")
    return found[0] if found else None


class Tickets:
    """Issues tickets, and reads them.

    Args:
        session_key: the secret that all edges of an installation share.
        now: seconds since 1970.
    """

    def __init__(self, session_key: bytes, now: Callable[[], float]) -> None:
        self._signer = Signer(session_key, _TYP)
        self._now = now

    def __repr__(self) -> str:
        return "<Tickets>"

    def issue(self, principal: Principal, origin: str | None) -> tuple[str, float]:
        """A ticket, and how long it is valid, seconds: never longer than the proof behind it.

        Args:
            origin: the Origin of the request that asks; None where it has none.
        """
        now = self._now()
        until = now + LIFETIME_S if principal.expires_at is None else min(now + LIFETIME_S, principal.expires_at)
        own = {"exp": until, "tid": secrets.token_urlsafe(16), "origin": origin or ""}
        return self._signer.sign(claims_of(principal) | own), until - now

    def read(self, ticket: str, origin: str | None) -> Ticket:
        """A ticket as it is presented.

        Args:
            origin: the Origin of the request that presents it.

        Raises:
            NotAuthenticated: it is none, has expired, or was asked for by a page of another origin.
        """
        try:
            claims = self._signer.read(ticket, self._now())
        except NotSigned as error:
            raise NotAuthenticated(f"the ticket is not valid: {error}; ask for another one") from None
        if claims["origin"] != (origin or ""):
            raise NotAuthenticated("the ticket was given to a page of another origin")
        return Ticket(claims["tid"], principal_of(claims))
