"""Another proof on an open socket, and what becomes of the runs that a viewer may no longer watch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.contract.errors import NotFound, TestcastError
from ws_edge.access import AccessDenied, Action, NotAuthenticated, Undecided
from ws_edge.access.access import bearer, presenting
from ws_edge.transport.client import Client, missing
from ws_edge.transport.requests import ClientRequest

TRY_AGAIN: Final = 1013


async def renew(viewer: Client, request: ClientRequest) -> None:
    """Takes a new proof in place of the one the socket has. Events go on as before.

    Runs that the new proof does not show are ended with `not_found`. Share links count beside either proof.

    Raises:
        NotAuthenticated: the proof is wrong; the socket keeps the one it has.
        AccessDenied: it is somebody else's; likewise.
    """
    token, ticket = request.token, request.ticket or ""
    header = presenting(ticket, viewer.origin) if token is None else bearer(token)
    new, old = await viewer.node.access.identify_later(header), viewer.principal
    if new.subject != old.subject:
        raise AccessDenied("this proof is somebody else's: open another socket with it")
    if viewer.closing_since:
        return
    viewer.principal = new._replace(shared_runs=old.shared_runs, share_ids=old.share_ids)
    viewer.hold_proof()
    expires_ms = None if new.expires_at is None else int(new.expires_at * 1000)
    viewer.send_control("authenticated", expiresAt=expires_ms)
    if viewer in viewer.node.tests and (old.projects, old.actions) != (new.projects, new.actions):
        _follow_list_again(viewer)
    await recheck(viewer, {*viewer.sessions, *viewer.node.pictures.channel.followed_by(viewer)})


def _follow_list_again(viewer: Client) -> None:
    """The list is another one for other projects, or none."""
    viewer.node.tests.remove(viewer)
    try:
        viewer.node.access.authorize(viewer.principal, Action.LIST, None)
    except TestcastError as error:
        viewer.send_error(error.code, error.public_message)
    else:
        viewer.node.tests.add(viewer)


async def recheck(viewer: Client, test_ids: Iterable[str]) -> None:
    """Ends what the viewer follows of runs that its principal does not permit any more: events and pictures.

    A socket for which that cannot be found out is closed: the client comes back and is judged anew.
    """
    channel = viewer.node.pictures.channel
    for test_id in test_ids:
        while (test_id in viewer.sessions or channel.follows(viewer, test_id)) and not viewer.closing_since:
            principal = viewer.principal
            try:
                await _may_watch(viewer, test_id)
            except (NotFound, AccessDenied):
                if viewer.principal is principal:
                    session, followed = viewer.sessions.pop(test_id, None), channel.remove(viewer, test_id)
                    if session is not None:
                        session.close()
                    if session is not None or followed:
                        missing(viewer, test_id)
            except NotAuthenticated:
                break  # its proof has ended meanwhile, which is seen to elsewhere
            except TestcastError:
                viewer.close(TRY_AGAIN, "it cannot be found out at the moment what may be watched")
            if viewer.principal is principal:
                break


async def _may_watch(viewer: Client, test_id: str) -> None:
    access = viewer.node.access
    try:
        access.authorize(viewer.principal, Action.WATCH, test_id)
    except Undecided:
        await access.authorize_later(viewer.principal, Action.WATCH, test_id)
