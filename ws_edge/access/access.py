"""What every entry point asks before it answers: who sends this, and may they do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ws_edge.access.principal import ANONYMOUS, Action, Principal

Header = Callable[[str], str | None]
"""Looks a request header up by its lower-case name. Repeated ones are joined by ", "."""


def bearer(token: str) -> Header:
    """A request that carries nothing but a token."""
    return lambda name: f"Bearer {token}" if name == "authorization" else None


def presenting(ticket: str, origin: str | None) -> Header:
    """A request that carries nothing but a ticket, from a page of `origin`."""
    return {"sec-websocket-protocol": f"ticket.{ticket}", "origin": origin}.get


class Access(Protocol):
    """Decides who sends a request and what they may do.

    `identify` and `authorize` are called in the event loop for every request and do not block. They raise `Undecided`
    where memory does not suffice; then the caller awaits `identify_later` or `authorize_later`, which always decide.
    """

    def identify(self, header: Header) -> Principal:
        """Who sends a request.

        Raises:
            NotAuthenticated: it has no proof and needs one, or its proof is wrong, expired or revoked.
            Undecided: only a look elsewhere can tell.
        """

    async def identify_later(self, header: Header) -> Principal:
        """Who sends a request, with a look elsewhere. A ticket is used up by this.

        Raises:
            NotAuthenticated: as above.
        """

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """Returns when the principal may do it.

        Args:
            test_id: the run that is asked for; None where the action is about no run.

        Raises:
            AccessDenied: it may not.
            NotFound: no such run exists for this principal.
            Undecided: the project of the run is not known here, or this answer would tell a foreign run from a
                missing one by its speed.
        """

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """Returns when the principal may do it, with a look at the run's events.

        Raises:
            AccessDenied, NotFound: as above. BrokerUnavailable: the broker is away.
        """


class OpenAccess:
    """Allows everything to everyone: for an edge on loopback."""

    def identify(self, header: Header) -> Principal:
        """Everyone is anonymous."""
        return ANONYMOUS

    async def identify_later(self, header: Header) -> Principal:
        """Everyone is anonymous."""
        return ANONYMOUS

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """Always returns."""

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """Always returns."""
