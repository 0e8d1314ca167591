"""Who may do what: the one question that every entry point asks before it answers. Pure.

Every RPC method, socket verb and stream names the action it asks for. `OpenAccess` allows everything, which suits an
edge on loopback; an edge that others can reach puts its own `Access` in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from broker.contract.errors import TestcastError


class Action(Enum):
    """What a request wants to do."""

    LIST = "list"
    """See which runs there are, and the settings of the installation."""
    WATCH = "watch"
    """See one run: its snapshot, events and picture."""
    SUBMIT = "submit"
    CANCEL = "cancel"
    PUBLISH = "publish"
    DELETE = "delete"
    ADMIN = "admin"


class Principal(NamedTuple):
    """Who asks."""

    subject: str
    """A name for logs; never a secret."""


ANONYMOUS: Final = Principal("anonymous")


class AccessDenied(TestcastError):
    """The principal may not do this."""

    code = "forbidden"


class Access(Protocol):
    """Decides who may do what. Both methods are called in the event loop, for every request, and must not block."""

    def identify(self, header: Callable[[str], str | None]) -> Principal:
        """Who sends a request.

        Args:
            header: looks a request header up by its lower-case name.

        Raises:
            AccessDenied: the request carries a proof that is wrong. It is refused, never treated as anonymous.
        """

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """Returns when the principal may do it.

        Args:
            test_id: the run that is asked for; None where the action is about no run.

        Raises:
            AccessDenied: it may not.
            NotFound: the principal must not learn that there is such a run.
        """


class OpenAccess:
    """Allows everything to everyone."""

    def identify(self, header: Callable[[str], str | None]) -> Principal:
        """Everyone is anonymous."""
        return ANONYMOUS

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """Always returns."""
