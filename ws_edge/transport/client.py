"""A viewer that can ask for something: what the verbs need of a socket."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from broker.contract.errors import BadInput
from ws_edge.access import Principal
from ws_edge.fanout.session import Session, Viewer
from ws_edge.transport.requests import ClientRequest
from ws_edge.transport.services import Services

NOT_ALLOWED: Final = 4403
NO_SUCH_TEST: Final = 4404


class Client(Viewer, Protocol):
    """One socket."""

    node: Services
    principal: Principal
    address: str
    """Where the viewer comes from, as it counts against the limits."""
    origin: str | None
    """The Origin of its upgrade request."""
    sessions: dict[str, Session]
    """What it follows, by test id."""
    named_in_url: int
    """How many tests its address names."""
    closing_since: float
    """When the closing handshake began, loop time; 0 while the socket is open."""
    backlog: deque[ClientRequest] | None
    """What it has said and waits for a decision, the oldest first; None while nothing waits."""
    cancels: tuple[str, ...]
    """Test ids of its cancels that are not done yet; the first is under way."""

    def ids(self) -> dict[str, object]:
        """What the log says of it: `viewer`, `request`, `address`."""

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        """Tells the client what is wrong; the socket stays open."""

    def send_control(self, kind: str, **fields: object) -> None:
        """Tells the client something."""

    def refuse(self, error: BadInput) -> None:
        """Says what is wrong and closes: trying the same again would not help."""

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake."""

    def hold_proof(self) -> None:
        """Its principal has changed: from now on the end of the new proof counts."""

    def backlog_ended(self) -> None:
        """Nothing waits any more: what the client says is read again."""


def missing(viewer: Client, test_id: str) -> None:
    """The test does not exist for this viewer: 4404 for a socket that was opened for it alone."""
    viewer.send_error("not_found", f"there is no test {test_id}", test_id)
    if viewer.named_in_url == 1 and not viewer.sessions:
        viewer.close(NO_SUCH_TEST, "no such test")
