"""What a viewer asks for on its socket, carried out: each verb after the access it needs was granted.

Where that cannot be decided from memory, everything the client says from then on waits in its `backlog`: its messages
take effect in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound, TestcastError
from broker.contract.position import Position
from ws_edge.access import AccessDenied, Action, NotAuthenticated, Undecided, audit
from ws_edge.fanout.proofs import NOT_AUTHENTICATED
from ws_edge.transport.client import NOT_ALLOWED, Client, missing
from ws_edge.transport.quotas import own_subject
from ws_edge.transport.renewal import renew
from ws_edge.transport.requests import VERBS, ClientRequest, Opening, parse_message

MAX_WAITING: Final = 64
"""Messages of one client that may wait. Then nothing more is read from it."""
_MAX_CANCELS: Final = 2
"""Of one client: under way, and waiting."""
_DECIDE_S: Final = 5.0
"""How long one decision may take, with a look at the broker."""


def open_with(viewer: Client, opening: Opening) -> None:
    """Subscribes the viewer to what its address names."""
    for test_id in opening.test_ids:
        take(viewer, ClientRequest("subscribe", test_id, opening.asked, in_url=True))


def on_message(viewer: Client, data: bytes) -> None:
    """Carries out one text message."""
    try:
        request = parse_message(data)
    except BadInput as error:
        viewer.refuse(error)
        return
    take(viewer, request)


def take(viewer: Client, request: ClientRequest) -> None:
    """Carries out a request, now or when its turn comes."""
    if viewer.closing_since:
        return
    if viewer.backlog is not None:
        viewer.backlog.append(request)
        return
    try:
        allow(viewer, request)
    except Undecided:
        viewer.backlog = deque([request])
        viewer.node.hub.spawn(_work_off(viewer))
    except TestcastError as error:
        _refused(viewer, request, error)
    else:
        _execute(viewer, request)


def allow(viewer: Client, request: ClientRequest) -> None:
    """Returns when the viewer may do what it asks for.

    Raises:
        TestcastError: it may not. Undecided: only a look elsewhere can tell.
    """
    action = VERBS[request.verb]
    if action is None:
        raise Undecided
    if request.verb == "unsubscribe" and request.test_id in viewer.sessions:
        return  # letting go needs no permission, also when the one to watch has ended
    if request.verb == "unsubscribe frames" and viewer.node.pictures.channel.follows(viewer, request.test_id or ""):
        return
    viewer.node.access.authorize(viewer.principal, action, request.test_id)


async def _work_off(viewer: Client) -> None:
    """Decides what waits, one after the other, until nothing does."""
    try:
        while viewer.backlog and not viewer.closing_since:
            await _decide(viewer, viewer.backlog[0])
            viewer.backlog.popleft()
    finally:
        viewer.backlog = None
        viewer.backlog_ended()


async def _decide(viewer: Client, request: ClientRequest) -> None:
    try:
        async with asyncio.timeout(_DECIDE_S):
            if request.verb == "authenticate":
                await renew(viewer, request)
                return
            try:
                allow(viewer, request)
            except Undecided:
                await allow_later(viewer, request)
    except TestcastError as error:
        if not viewer.closing_since:
            _refused(viewer, request, error)
    except TimeoutError:
        if not viewer.closing_since:
            _refused(viewer, request, BrokerUnavailable("the broker has not answered in time"))
    else:
        if not viewer.closing_since:
            _execute(viewer, request)


async def allow_later(viewer: Client, request: ClientRequest) -> None:
    """Like `allow`, with a look elsewhere.

    Raises:
        TestcastError: it may not.
    """
    action = VERBS[request.verb]
    assert action is not None and request.test_id is not None
    await viewer.node.access.authorize_later(viewer.principal, action, request.test_id)


def _refused(viewer: Client, request: ClientRequest, error: TestcastError) -> None:
    test_id = request.test_id
    if isinstance(error, AccessDenied | NotAuthenticated | NotFound):
        name, subject = VERBS[request.verb] or request.verb, viewer.principal.subject
        audit.refused(name, error.code, subject=subject, address=viewer.address, test_id=test_id, fields=viewer.ids())
    if isinstance(error, NotFound) and request.verb in ("subscribe", "subscribe frames") and test_id is not None:
        missing(viewer, test_id)
        return
    viewer.send_error(error.code, error.public_message, test_id)
    if request.in_url and isinstance(error, AccessDenied | NotAuthenticated):
        viewer.close(NOT_ALLOWED if isinstance(error, AccessDenied) else NOT_AUTHENTICATED, error.public_message)


def _execute(viewer: Client, request: ClientRequest) -> None:
    test_id = request.test_id
    if test_id is None:
        tests = viewer.node.tests
        (tests.add if request.verb == "subscribe tests" else tests.remove)(viewer)
    elif request.verb == "subscribe frames":
        _follow_pictures(viewer, test_id)
    elif request.verb == "unsubscribe frames":
        viewer.node.pictures.channel.remove(viewer, test_id)
    elif request.verb == "subscribe":
        _subscribe(viewer, test_id, request.asked)
    elif request.verb == "cancel":
        _start_cancel(viewer, test_id)
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
    session = viewer.node.hub.subscribe(viewer, test_id, asked)
    viewer.sessions[session.topic.test_id] = session  # one string for all viewers: their own has 85 bytes each


def _follow_pictures(viewer: Client, test_id: str) -> None:
    try:
        viewer.node.pictures.channel.add(viewer, test_id)
    except BadInput as error:
        viewer.send_error(error.code, error.public_message, test_id)


def _start_cancel(viewer: Client, test_id: str) -> None:
    """One at a time: each reads a run and writes to the stream. One more may wait: the event that a cancel brings is
    seen before the cancel is done."""
    if len(viewer.cancels) >= _MAX_CANCELS:
        viewer.send_error("too_many_requests", "another cancel is under way: try again in a moment", test_id)
        return
    viewer.cancels = (*viewer.cancels, test_id)
    if len(viewer.cancels) == 1:
        viewer.node.hub.spawn(_cancel(viewer))


async def _cancel(viewer: Client) -> None:
    while viewer.cancels:
        test_id = viewer.cancels[0]
        try:
            viewer.node.quotas.take("cancels", viewer.address, own_subject(viewer.principal))
            await viewer.node.cancel(test_id)
            subject, address = viewer.principal.subject, viewer.address
            audit.acted(Action.CANCEL, subject=subject, address=address, test_id=test_id, fields=viewer.ids())
        except TestcastError as error:
            if not viewer.closing_since:
                viewer.send_error(error.code, error.public_message, test_id)
        finally:
            viewer.cancels = viewer.cancels[1:]
