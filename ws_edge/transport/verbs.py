"""What a viewer asks for on its socket, carried out: each verb after the access it needs was granted."""

from __future__ import annotations

from typing import Final, Protocol

from broker.contract.errors import BadInput, NotFound, TestcastError
from broker.contract.position import Position
from ws_edge.access import AccessDenied, Principal
from ws_edge.fanout.session import Session, Viewer
from ws_edge.transport.quotas import own_subject
from ws_edge.transport.requests import VERBS, ClientRequest, Opening, parse_message
from ws_edge.transport.services import Services

NOT_ALLOWED: Final = 4403
NO_SUCH_TEST: Final = 4404


class Client(Viewer, Protocol):
    """A viewer that can ask for something: what the verbs need of a socket."""

    node: Services
    principal: Principal
    sessions: dict[str, Session]
    """What it follows, by test id."""
    named_in_url: int
    """How many tests its address names."""
    closing_since: float
    """When the closing handshake began, loop time; 0 while the socket is open."""

    @property
    def address(self) -> str:
        """What it counts as against the limits."""

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        """Tells the client what is wrong; the socket stays open."""

    def refuse(self, error: BadInput) -> None:
        """Says what is wrong and closes: trying the same again would not help."""

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake."""


def open_with(viewer: Client, opening: Opening) -> None:
    """Subscribes the viewer to what its address names."""
    for test_id in opening.test_ids:
        try:
            viewer.node.access.authorize(viewer.principal, VERBS["subscribe"], test_id)
        except NotFound:
            missing(viewer, test_id)
        except AccessDenied as error:
            viewer.send_error(error.code, error.message, test_id)
            viewer.close(NOT_ALLOWED, error.message)
            return
        else:
            _subscribe(viewer, test_id, opening.asked)


def on_message(viewer: Client, data: bytes) -> None:
    """Carries out one text message."""
    try:
        request = parse_message(data)
    except BadInput as error:
        viewer.refuse(error)
        return
    try:
        viewer.node.access.authorize(viewer.principal, VERBS[request.verb], request.test_id)
    except TestcastError as error:
        viewer.send_error(error.code, error.public_message, request.test_id)
        return
    _execute(viewer, request)


def _execute(viewer: Client, request: ClientRequest) -> None:
    test_id = request.test_id
    if test_id is None:
        tests = viewer.node.tests
        (tests.add if request.verb == "subscribe tests" else tests.remove)(viewer)
    elif request.verb == "subscribe":
        _subscribe(viewer, test_id, request.asked)
    elif request.verb == "cancel":
        viewer.node.hub.spawn(_cancel(viewer, test_id))
    elif (session := viewer.sessions.pop(test_id, None)) is not None:
        session.close()


def _subscribe(viewer: Client, test_id: str, asked: Position | None) -> None:
    standing = viewer.sessions.pop(test_id, None)
    if standing is not None:
        standing.close()
    if len(viewer.sessions) >= viewer.node.config.max_subscriptions:
        limit = viewer.node.config.max_subscriptions
        viewer.send_error("too_many_subscriptions", f"at most {limit} tests on one socket", test_id)
        return
    viewer.sessions[test_id] = viewer.node.hub.subscribe(viewer, test_id, asked)


async def _cancel(viewer: Client, test_id: str) -> None:
    try:
        viewer.node.quotas.take("cancels", viewer.address, own_subject(viewer.principal))
        await viewer.node.cancel(test_id)
    except TestcastError as error:
        if not viewer.closing_since:
            viewer.send_error(error.code, error.public_message, test_id)


def missing(viewer: Client, test_id: str) -> None:
    """The test does not exist for this viewer: 4404 for a socket that was opened for it alone."""
    viewer.send_error("not_found", f"there is no test {test_id}", test_id)
    if viewer.named_in_url == 1 and not viewer.sessions:
        viewer.close(NO_SUCH_TEST, "no such test")
